"""Whether a processor in a pipeline can have anything to do, as far as processors say what they take and give.

# The rule, which must never be wrong where it says no.
#
# From the data frame classes that a pipeline `takes` follow those that can come to its first processor, and so on down:
# each processor is asked what `comes_of` what comes to it. A function that names its result gives that in place of
# what it takes; what it does not take passes by. One that says nothing (a class, a block, a function without a return
# annotation) may give anything, and nothing is said about those below it. A processor that takes data frames only, none
# of which can come to it, cannot fit. A frame can be of a class that is named when one of the two derives from the
# other, or some class from both.
#
# Control, system and lifecycle frames may always come: others than the user send them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from trio_pipes._base import ConfigurationError, are_classes, refuse

from ._frames import DataFrame, Frame

__all__ = ["Types", "check_gives", "check_takes", "checked_types", "come_to_route", "in_place_of"]

Types = tuple[type[Frame], ...]


def checked_types(types: object, what: str) -> Types | None:
    """Frame classes that a user names: one, or several; None when nothing is said."""
    if types is None:
        return None
    named: tuple[Any, ...] = (types,)
    if isinstance(types, Iterable) and not isinstance(types, str | type):
        named = tuple(types)
    if not are_classes(named, Frame):
        raise refuse(f"Pipeline({what}", types, f"frame classes: {what}=(TextFrame, AudioFrame)")
    return named


def check_takes(name: str, types: Types, coming: Types | None) -> None:
    """Raise `ConfigurationError` when none of the frames that a processor takes can be among those that come to it."""
    if coming is None or not all(issubclass(t, DataFrame) for t in types):
        return
    if types and not any(_may_be_one_of(t, coming) for t in types):
        raise ConfigurationError(
            f"{name!r} takes {names_of(types)}, and none can come to it: what is above it gives {names_of(coming)}"
        )


def check_gives(name: str, types: Types, coming: Types | None) -> None:
    """Raise `ConfigurationError` when what a pipeline is said to give cannot come out of it."""
    for wanted in types:
        if coming is not None and issubclass(wanted, DataFrame) and not _may_be_one_of(wanted, coming):
            raise ConfigurationError(f"{name!r} is said to give {wanted.__name__}, and gives {names_of(coming)}")


def in_place_of(taken: Types, given: Types | None, coming: Types | None) -> Types | None:
    """What is below a processor that takes some of the frames that come, gives others for them, and lets the rest by."""
    if coming is None or given is None:
        return None
    passing = (t for t in coming if not issubclass(t, taken))
    return tuple(dict.fromkeys((*passing, *given)))


def come_to_route(name: str, value: type[Frame], coming: Types | None) -> Types | None:
    """What can come to the route for one class."""
    if coming is None:
        return None
    entering = tuple(t if issubclass(t, value) else value for t in coming if _may_be_both(t, value))
    if not entering:
        raise ConfigurationError(
            f"{name!r} has a route for {value.__name__}, and none can come to it: what is above it gives {names_of(coming)}"
        )
    return entering


def _may_be_one_of(wanted: type[Frame], coming: Types) -> bool:
    return any(_may_be_both(wanted, t) for t in coming)


def _may_be_both(one: type[Frame], other: type[Frame]) -> bool:
    """Whether a frame can be of both classes."""
    return issubclass(one, other) or any(issubclass(cls, other) for cls in _family(one))


def _family(cls: type[Frame]) -> Iterator[type[Frame]]:
    """A class and those that derive from it."""
    yield cls
    for derived in cls.__subclasses__():
        yield from _family(derived)


def names_of(types: Types) -> str:
    return " or ".join(t.__name__ for t in types) or "no data frames"
