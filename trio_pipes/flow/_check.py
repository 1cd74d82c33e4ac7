"""The one check of what somebody wants to push or queue."""

from __future__ import annotations

from ._frames import Direction, Frame

__all__ = ["check_frame"]


def check_frame(frame: object, direction: object, who: str) -> None:
    """Raise `TypeError` unless these can be pushed."""
    if not isinstance(frame, Frame):
        hint = f" Make one: {frame.__name__}(...)." if isinstance(frame, type) and issubclass(frame, Frame) else ""
        raise TypeError(f"{who!r} was given {frame!r} to push, expected a Frame.{hint}")
    if not isinstance(direction, Direction):
        raise TypeError(
            f"{who!r} was given the direction {direction!r}, expected Direction.DOWNSTREAM or Direction.UPSTREAM"
        )
    try:
        _ = frame.id, frame.interruptible
    except AttributeError:
        raise TypeError(
            f"{who!r} was given a {type(frame).__name__} that was made without Frame.__init__. Declare its fields "
            "with @attrs.define(eq=False), or call super().__init__() first."
        ) from None
