"""The deadline that a frame carries.

# How a deadline costs nothing where there is none.
#
# The hot path reads one attribute of a frame, `interruptible`, and takes what `is True` for an ordinary frame. A frame
# with a deadline has 1 there (or 0): equal to what it was, so an interrupt treats it as before, but another object. So
# it takes the long way, where there is time to look.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio

from trio_pipes._base import FrameTimeout, check_number

from ._frames import ORDERED, Direction, Frame

__all__ = [
    "by_deadline",
    "check_deadline",
    "deadline_of",
    "has_deadline",
    "is_interruptible",
    "missed",
    "with_deadline",
]

F = TypeVar("F", bound=Frame)

KEY: Final = "deadline"


def with_deadline(frame: F, seconds: float | None = None, *, at: float | None = None) -> F:
    """Give a data or control frame a deadline: `seconds` from now, or `at` a time of Trio's clock; returns the frame.

    A processor that gets it later does not handle it, and one that is still handling it then is stopped: both are a
    `FrameTimeout` at that processor. `at=math.inf` takes a deadline away. It is the frame's own: a new frame that is
    made from this one has it by `with_deadline(new, at=deadline_of(frame))`.
    """
    if not isinstance(frame, Frame) or frame._lane != ORDERED:
        raise TypeError(f"with_deadline was given {frame!r}, expected a data or control frame")
    if (seconds is None) is (at is None):
        raise TypeError(f"with_deadline(seconds={seconds!r}, at={at!r}): expected one of the two")
    if seconds is not None:
        at = trio.current_time() + _number("seconds", seconds, 0)
    at = _number("at", at, -math.inf)
    if at == math.inf:
        frame.metadata.pop(KEY, None)
        _mark(frame, kind=bool)
    else:
        frame.metadata[KEY] = at
        _mark(frame, kind=int)
    return frame


def _number(name: str, value: object, least: float) -> float:
    check_number(f"with_deadline({name}", value, "a number of seconds" + " from 0" * (least == 0), least=least)
    return float(value)  # type: ignore[arg-type]  # looked at just above


def _mark(frame: Any, kind: type[int]) -> None:
    frame.interruptible = kind(frame.interruptible)


def deadline_of(frame: Frame) -> float:
    """The deadline of a frame, on Trio's clock; `math.inf` when it has none."""
    try:
        deadline: float = frame.metadata.get(KEY, math.inf)
    except AttributeError:
        raise TypeError(f"deadline_of was given {frame!r}, expected a frame") from None
    return deadline


def has_deadline(frame: Frame) -> bool:
    """Whether a frame is marked."""
    return frame.interruptible.__class__ is int


def is_interruptible(frame: object) -> bool:
    """The same for anything: a frame *class* that is pushed by mistake is not."""
    return isinstance(value := getattr(frame, "interruptible", False), int) and bool(value)


def check_deadline(frame: Frame, who: str) -> None:
    """Raise `FrameTimeout` for a frame that comes late."""
    late = trio.current_time() - deadline_of(frame)
    if late >= 0:
        raise FrameTimeout(f"{frame.name} came to {who!r} {late:.3f} s after its deadline")


async def by_deadline(
    process: Callable[[Frame, Direction], Awaitable[None]], frame: Frame, direction: Direction, who: str
) -> None:
    """Handle a frame that has a deadline; raises `FrameTimeout`."""
    check_deadline(frame, who)
    with trio.CancelScope() as scope:
        scope.deadline = deadline_of(frame)
        await process(frame, direction)
    if scope.cancelled_caught:
        raise missed(frame, who)


def missed(frame: Frame, who: str) -> FrameTimeout:
    """The error of one that was still handling it."""
    return FrameTimeout(f"{who!r} has not done with {frame.name} by its deadline")
