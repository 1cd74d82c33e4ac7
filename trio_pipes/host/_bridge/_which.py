"""Which frames cross a bridge."""

from __future__ import annotations

from typing import Final

from trio_pipes._base import check_classes, refuse
from trio_pipes.flow import (
    CancelFrame,
    CancelTaskFrame,
    EndTaskFrame,
    ErrorFrame,
    Frame,
    HeartbeatFrame,
    InterruptionFrame,
    InterruptionTaskFrame,
    LifecycleFrame,
    MetricsFrame,
    PauseFrame,
    PauseUrgentFrame,
    ResumeFrame,
    StopTaskFrame,
)

__all__ = ["Which"]

# They begin, end, steer or tell of the run that they are in. An interrupt crosses, but not as a frame.
NEVER: Final = (
    *(LifecycleFrame, CancelFrame, InterruptionFrame, HeartbeatFrame, ErrorFrame, MetricsFrame),
    *(EndTaskFrame, StopTaskFrame, CancelTaskFrame, InterruptionTaskFrame, PauseFrame, PauseUrgentFrame, ResumeFrame),
)


class Which:
    """A user's choice."""

    def __init__(self, call: str, frames: object, exclude: object) -> None:
        expected = "a class of frames, or a tuple of them"
        self._frames = (Frame,) if frames is None else check_classes(f"{call}(frames", frames, Frame, expected, least=1)
        never = [cls.__name__ for cls in self._frames if issubclass(cls, NEVER)]
        if never:
            raise refuse(f"{call}(frames", frames, f"frames that can cross; never do: {', '.join(never)}")
        self._exclude = check_classes(f"{call}(exclude", exclude, Frame, expected)
        self._known: dict[type[Frame], bool] = {}

    def crosses(self, frame: Frame) -> bool:
        """Whether this one does."""
        cls = type(frame)
        known = self._known.get(cls)
        if known is None:
            known = issubclass(cls, self._frames) and not issubclass(cls, (*NEVER, *self._exclude))
            self._known[cls] = known
        return known
