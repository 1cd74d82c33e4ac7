"""A frame as a record of JSON, and back. Only classes that are listed are made; nothing is imported by name."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import attrs

import trio_pipes
from trio_pipes import (
    ConfigurationError,
    EndFrame,
    Frame,
    PipesError,
    StartFrame,
    StopFrame,
)
from trio_pipes._base import check_iterable, left_out_of, refuse

__all__ = ["FrameCodec", "RecordingError"]

PLAIN: Final = (type(None), bool, int, str)
# Of every frame: told apart, or made anew.
BASE: Final = frozenset(field.name for field in attrs.fields(Frame))


class RecordingError(PipesError, ValueError):
    """A recording that cannot be read, with the number of the line, or a frame that cannot be recorded, with its field."""


class FrameCodec:
    """Knows classes of frames, and of records in their fields, by their names."""

    def __init__(self, classes: Iterable[type[Any]] = (), skip: Collection[str] = ()) -> None:
        self.classes: dict[str, type[Any]] = {}
        check_iterable("FrameCodec(classes", classes, "a list of frame classes, or of classes made with attrs")
        for known in (*_own(), *classes):
            if not isinstance(known, type) or not attrs.has(known):
                raise ConfigurationError(f"classes: {known!r}, expected frame classes, or classes made with attrs")
            if "__init__" in vars(known) and "__attrs_attrs__" not in vars(known):
                raise ConfigurationError(
                    f"classes: {known.__name__} has an __init__ of its own: use @attrs.define(eq=False)"
                )
            if self.classes.setdefault(known.__name__, known) is not known:
                raise ConfigurationError(f"classes: two are called {known.__name__}, and a recording has only the name")
        if (
            isinstance(skip, str)
            or not isinstance(skip, Collection)
            or not all(isinstance(each, str) and "." in each for each in skip)
        ):
            raise refuse("FrameCodec(skip", skip, "fields as 'TextFrame.text'")
        self._skip = frozenset(skip)

    # -- to JSON

    def encode(self, frame: Frame) -> dict[str, Any]:
        """The record of a frame, without time and direction."""
        record: dict[str, Any] = {"frame": type(frame).__name__, "fields": self._fields(frame, type(frame).__name__)}
        if frame.pts is not None:
            record["pts"] = frame.pts
        if frame.metadata:
            record["metadata"] = self._value(frame.metadata, f"{type(frame).__name__}.metadata")
        return record

    def _fields(self, record: Any, where: str) -> dict[str, Any]:
        cls = type(record)
        if self.classes.get(cls.__name__) is not cls:
            raise RecordingError(f"{where} cannot be recorded: give its class, classes=[{cls.__name__}]")
        fields = {}
        left_out = left_out_of(cls)  # what is not sent to another process is not recorded either
        for field in attrs.fields(cls):
            at = f"{where}.{field.name}"
            if field.name in left_out or self._is_left_out(cls, field.name):
                continue
            if not field.init:
                raise RecordingError(
                    f"{at} cannot be recorded: {cls.__name__} is made without it. Leave it out with "
                    f"skip=['{cls.__name__}.{field.name}']"
                )
            fields[str(field.alias)] = self._value(getattr(record, field.name), at)
        return fields

    def _is_left_out(self, cls: type[Any], name: str) -> bool:
        if issubclass(cls, Frame) and name in BASE:
            return True
        return f"{cls.__name__}.{name}" in self._skip

    def _value(self, value: Any, where: str) -> Any:
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if kind is bytes:
            return {"$bytes": base64.b64encode(value).decode()}
        if kind is list:
            return [self._value(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if kind is tuple:
            return {"$tuple": [self._value(item, f"{where}[{i}]") for i, item in enumerate(value)]}
        if kind is dict:
            if all(type(key) is str and not key.startswith("$") for key in value):
                return {key: self._value(item, f"{where}[{key!r}]") for key, item in value.items()}
            pairs = [
                [self._value(key, f"a key of {where}"), self._value(item, f"{where}[{key!r}]")]
                for key, item in value.items()
            ]
            return {"$dict": pairs}
        if attrs.has(kind):
            return {"$record": kind.__name__, "fields": self._fields(value, f"{where} ({kind.__name__})")}
        name = where.partition("[")[0]
        raise RecordingError(
            f"{where} cannot be recorded: it is {value!r}, expected numbers, texts, bytes, None, and lists, tuples, dicts and "
            f"listed classes of them. Leave it out with skip=['{name}']"
        )

    # -- from JSON

    def decode(self, record: Mapping[str, Any]) -> Frame:
        """A new frame of a record."""
        frame = self._make(record["frame"], record["fields"], Frame)
        frame.pts = record.get("pts")
        if record.get("metadata"):
            frame.metadata.update(self._back(record["metadata"]))
        return frame  # type: ignore[no-any-return]  # asked for

    def _make(self, name: object, fields: object, base: type[Any]) -> Any:
        cls = self.classes.get(name) if isinstance(name, str) else None
        if cls is None or not issubclass(cls, base):
            raise RecordingError(f"{name!r} is none of the frame classes that were given: classes=[{name}]")
        if not isinstance(fields, dict):
            raise RecordingError(f"the fields of {name} are {fields!r}, expected a JSON object")
        values = {key: self._back(value) for key, value in fields.items()}
        try:
            return cls(**values)
        except (TypeError, ValueError) as exc:
            raise RecordingError(f"no {name} can be made of {fields!r}: {exc}") from exc

    def _back(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._back(item) for item in value]
        if not isinstance(value, dict):
            return value
        special = [key for key in value if key.startswith("$")]
        if not special:
            return {key: self._back(item) for key, item in value.items()}
        try:
            match (len(value), value):
                case (1, {"$float": str(text)}):
                    return float(text)
                case (1, {"$bytes": str(text)}):
                    return base64.b64decode(text, validate=True)
                case (1, {"$tuple": list(items)}):
                    return tuple(self._back(item) for item in items)
                case (1, {"$dict": list(pairs)}):
                    return {self._back(key): self._back(item) for key, item in pairs}
                case (2, {"$record": name, "fields": fields}):
                    return self._make(name, fields, object)
        except RecordingError:
            raise
        except (binascii.Error, ValueError, TypeError) as exc:
            raise RecordingError(f"{value!r} cannot be read: {exc}") from exc
        raise RecordingError(f"{value!r} cannot be read: {special[0]!r} is none of the forms that there are")


def _own() -> list[type[Frame]]:
    """The frames of this library that are not the engine's alone."""
    from trio_pipes.voice import TranscriptionFrame

    lifecycle = (StartFrame, EndFrame, StopFrame)
    public = [getattr(trio_pipes, name) for name in trio_pipes.__all__]
    frames = [each for each in public if isinstance(each, type) and issubclass(each, Frame)]
    return [each for each in frames if each not in lifecycle] + [TranscriptionFrame]
