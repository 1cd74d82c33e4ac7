"""What the observers that speak OpenTelemetry have in common: its packages, our scope, names and attributes.

The packages are `opentelemetry-api`, and where something is to come of it `opentelemetry-sdk`; see the extra `[otel]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from trio_pipes._base import check_function, check_instance, import_extra, refuse, refuse_awaitable

__all__ = [
    "DIRECTION",
    "ERROR_TYPE",
    "LANE",
    "MODEL",
    "OPERATION",
    "PROCESSOR",
    "STATE",
    "check_attributes",
    "clean",
    "error_type",
    "naming",
    "opentelemetry",
    "our_version",
    "without_count",
]

# Attributes. Where OpenTelemetry's semantic conventions have a name for a thing, it is theirs.
PROCESSOR: Final = "trio_pipes.processor"
DIRECTION: Final = "trio_pipes.direction"
LANE: Final = "trio_pipes.lane"
STATE: Final = "trio_pipes.state"
MODEL: Final = "gen_ai.request.model"
OPERATION: Final = "gen_ai.operation.name"
ERROR_TYPE: Final = "error.type"

Attributes = Mapping[str, str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]]

_COUNT: Final = re.compile(r"#\d+$")
_EXPECTED: Final = (
    "attributes: names, each with a text, a number of 64 bits, True, False, or a list of one kind of these"
)


def opentelemetry(module: str, who: str) -> Any:
    """A module of OpenTelemetry, `"trace"` for `opentelemetry.trace`.

    Raises `MissingExtra`, which says that `who` needs it.
    """
    return import_extra(f"opentelemetry.{module}", "otel", who)


def our_version() -> str | None:
    """The version of this package, for the scope of what it tells."""
    try:
        return version("trio-pipes")
    except PackageNotFoundError:  # run from a source tree
        return None


def without_count(name: str) -> str:
    """A name that stays the same from run to run: `"Shout"` for `"Shout#17"`, which is the 18th of its kind."""
    return _COUNT.sub("", name)


def error_type(error: BaseException | None) -> str:
    """What OpenTelemetry calls the type of an error."""
    if error is None:
        return "_OTHER"
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def check_attributes(what: str, value: object) -> dict[str, Any]:
    """Attributes for everything that an observer tells, or None for none."""
    if value is None:
        return {}
    check_instance(what, value, Mapping, _EXPECTED)
    assert isinstance(value, Mapping)
    if not all(isinstance(name, str) and name and _is_plain(name) and _is_value(it) for name, it in value.items()):
        raise refuse(what, value, _EXPECTED)
    return dict(value)


def _is_value(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(it) and type(it) is type(value[0]) for it in value)
    return _is_plain(value)


def _is_plain(value: object) -> bool:
    """What an exporter can write: one attribute that it cannot loses all that is sent with it."""
    if isinstance(value, str):
        return value.isascii() or clean(value) == value
    return isinstance(value, bool | float) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def clean(text: str) -> str:
    """Text that can be sent: half a character, as there is in the names of some files, cannot."""
    return text.encode(errors="backslashreplace").decode()


def naming(who: str, name_of: Callable[[str], object]) -> Callable[[str], str]:
    """A user's `name_of`, whose answers are looked at."""
    check_function(f"{who}(name_of", name_of, "a sync function that gives a name for a processor's name", "name")

    def checked(name: str) -> str:
        given = name_of(name)
        refuse_awaitable(given, "name_of")
        if not (isinstance(given, str) and given):
            raise TypeError(f"name_of gave {given!r} for {name!r}, expected a non-empty string")
        return clean(given)

    return checked
