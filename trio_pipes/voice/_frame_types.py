"""Classes of frames that somebody names."""

from __future__ import annotations

from trio_pipes._base import check_classes
from trio_pipes.flow import Frame

__all__ = ["FrameTypes", "check_frame_types"]

FrameTypes = type[Frame] | tuple[type[Frame], ...]


def check_frame_types(what: str, value: object) -> tuple[type[Frame], ...]:
    """A class of frames, or several."""
    return check_classes(what, value, Frame, "a frame class, or a tuple of them", least=1)
