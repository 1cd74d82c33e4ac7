"""Messages as each release wrote them: `python tests/wire_records.py` writes those of this version that are missing.

A record, `base/wire_records/<version>/<tag>.json`, has the bytes of a message and what they say, for each class that the library
lists. The bytes of a release that is out are never changed; what they say changes with a class whose fields were renamed by
an upgrade. `--again` writes the records of this version anew, which is for before its release.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import sys
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence, Set as AbstractSet
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import attrs

from source_tree import MODULES
from trio_pipes import Codec, Frame, LLMTokenUsage, TextFrame
from trio_pipes._base import find_class, left_out_of
from trio_pipes._base._listing import TAGS, Listed
from trio_pipes._base._wire_types import field_hints

RECORDS = Path(__file__).parent / "base" / "wire_records"
MOMENT = dt.datetime(2026, 11, 21, 12, 30, 0, 250_000, tzinfo=dt.UTC)

# By annotation: never what a default is likely to be, so that a field that is lost is seen.
SAMPLES: dict[Any, Callable[[], Any]] = {
    type(None): lambda: None,
    bool: lambda: True,
    int: lambda: 7,
    float: lambda: 0.25,
    str: lambda: "a text, ä",
    bytes: lambda: b"\x00\x01\xfe\xff",
    dt.datetime: lambda: MOMENT,
    dt.date: MOMENT.date,
    dt.timedelta: lambda: dt.timedelta(seconds=1.5),
    uuid.UUID: lambda: uuid.UUID(int=7),
    Decimal: lambda: Decimal("1.10"),
    Any: lambda: {"a": [1, 2.5, None, b"\xff"], "when": MOMENT, "id": uuid.UUID(int=9), "price": Decimal("0.10")},
    object: lambda: ["anything"],
    Frame: lambda: TextFrame("in another"),
}
# Where the class asks for more than its annotations tell.
OTHERWISE: dict[str, dict[str, Any]] = {
    "trio_pipes.pause": {"interruptible": False, "processor": "reader"},
    "trio_pipes.pause-urgent": {"processor": "reader"},
    "trio_pipes.resume": {"processor": "reader"},
    "trio_pipes.switch-service": {"service": "second"},
    "trio_pipes.metrics": {"data": [LLMTokenUsage(1, 2)]},
    "trio_pipes.voice.dtmf": {"key": "#"},
    **{f"trio_pipes.{tag}": {"interruptible": False} for tag in ("start", "end", "stop")},
}


ABSENT: list[str] = []
"""Modules that list classes and need an extra that is not installed here."""


def ours() -> dict[str, Listed]:
    """Every class that the library lists."""
    for name, path in MODULES.items():
        if "on_wire(" in path.read_text() and "_base" not in name:
            try:
                importlib.import_module(name)
            except ImportError:
                ABSENT.append(name)
    return {tag: listed for tag, listed in sorted(TAGS.items()) if listed.cls.__module__.startswith("trio_pipes.")}


def sample_of(listed: Listed) -> Any:
    """An object with something in every field."""
    hints = field_hints(listed.cls)
    otherwise = OTHERWISE.get(listed.tag, {})
    given = {}
    for field in attrs.fields(listed.cls):
        if field.init and field.name not in left_out_of(listed.cls):
            alias = str(field.alias)
            given[alias] = otherwise[alias] if alias in otherwise else sample(hints[field.name])
    made = listed.cls(**given)
    if isinstance(made, Frame):
        made.pts = 1_500_000
        made.metadata["topic"] = ["sea", 1]
    return made


def sample(hint: Any) -> Any:
    """A value that the annotation allows."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in SAMPLES:
        return SAMPLES[hint]()
    if origin is typing.Literal:
        return arguments[-1]
    if origin in (typing.Union, types.UnionType):
        return sample(next(it for it in arguments if it is not type(None)))
    if origin is typing.Annotated:
        return sample(arguments[0])
    kind = origin or hint
    if issubclass(kind, Mapping):
        key, value = arguments or (str, Any)
        return {sample(key): sample(value)}
    if issubclass(kind, tuple) and arguments[-1:] != (...,):
        return tuple(sample(it) for it in arguments)
    if issubclass(kind, Sequence | AbstractSet):
        return (kind if kind in (list, tuple, set, frozenset) else list)([sample(arguments[0] if arguments else Any)])
    if issubclass(kind, Enum):
        return list(kind)[-1]
    listed = find_class(kind)
    if listed is None:
        raise LookupError(f"no sample of {hint}: put one into SAMPLES or OTHERWISE of {Path(__file__).name}")
    return sample_of(listed)


def said(value: Any) -> Any:
    """What an object says, as JSON."""
    if attrs.has(type(value)):
        cls = type(value)
        skipped = left_out_of(cls)
        fields = {
            str(it.alias): said(getattr(value, it.name))
            for it in attrs.fields(cls)
            if it.init and it.name not in skipped
        }
        if isinstance(value, Frame):
            fields |= {"pts": value.pts, "metadata": said(value.metadata)}
        return {"of": cls.__name__, **fields}
    match value:
        case Enum():
            return {"enum": value.name}
        case dict():
            return [[said(key), said(item)] for key, item in value.items()]
        case list() | tuple():
            return [said(item) for item in value]
        case set() | frozenset():
            return sorted(map(said, value))
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return {"bytes": value.hex()}
        case _:
            return {type(value).__name__: str(value)}


def codec_for(listed: Listed) -> Codec:
    """A codec that takes also what usually stays in its process."""
    return Codec(allow=[listed.cls])


def write(version: str, *, again: bool = False) -> list[Path]:
    """Write the records of a version, the missing ones or all of them; which were written."""
    folder = RECORDS / version
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for tag, listed in ours().items():
        path = folder / f"{tag.replace(':', '_')}.json"
        if again or not path.exists():
            made = sample_of(listed)
            data = codec_for(listed).encode(made)
            record = {"tag": tag, "version": listed.version, "says": said(made), "bytes": data.hex()}
            path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
            written.append(path)
    return written


def version() -> str:
    """The release that is being made: `0.1` of `0.1.0`."""
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    return ".".join(project["version"].split(".")[:2])


if __name__ == "__main__":
    for path in write(version(), again="--again" in sys.argv):
        print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
