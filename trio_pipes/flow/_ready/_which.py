"""Which frames a ready-made processor is about."""

from __future__ import annotations

from trio_pipes._base import check_classes, check_instance
from trio_pipes.flow._frames import ORDERED, URGENT, Direction, ErrorFrame, Frame

__all__ = ["check_direction", "check_frame_types", "concerns", "is_content", "may_be_asked_about"]


def check_direction(what: str, value: object) -> None:
    """One direction, or None for both."""
    check_instance(what, value, Direction, "a Direction, or None for both", optional=True)


def check_frame_types(what: str, value: object) -> tuple[type[Frame], ...]:
    """A frame class, or a tuple of them."""
    return check_classes(what, value, Frame, "a frame class, or a tuple of them", least=1)


def concerns(wanted: Direction | None, direction: Direction) -> bool:
    """Whether a processor that was told `wanted` looks at what goes that way."""
    return wanted is None or direction is wanted


def is_content(frame: Frame) -> bool:
    """Whether it may be dropped: a data or control frame that is not the engine's or meant for it."""
    return frame._lane == ORDERED


def may_be_asked_about(frame: Frame) -> bool:
    """Whether users' functions are shown it: what the engine carries, and an error, are not theirs to stop."""
    lane = frame._lane
    return lane == ORDERED or (lane == URGENT and not isinstance(frame, ErrorFrame))
