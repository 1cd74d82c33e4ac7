"""Each frame once: a frame is pushed at every processor that it comes to, and a broadcast one both ways."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from trio_pipes.flow import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Direction,
    Frame,
    FrameProcessor,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)

__all__ = ["Once", "Speech", "SpeechEvents"]

REMEMBERED: Final = 1000


class Once:
    """Tells the first time from the others, as far as its memory goes: back to the last thousand or two."""

    def __init__(self) -> None:
        self._new: set[Hashable] = set()
        self._old: set[Hashable] = set()

    def is_new(self, key: Hashable) -> bool:
        """Whether this is the first time that this one comes."""
        if key in self._new or key in self._old:
            return False
        if len(self._new) == REMEMBERED:
            self._old, self._new = self._new, set()
        self._new.add(key)
        return True


Speech = (
    UserStartedSpeakingFrame
    | UserStoppedSpeakingFrame
    | UserTurnStartedFrame
    | UserTurnStoppedFrame
    | BotStartedSpeakingFrame
    | BotStoppedSpeakingFrame
)


class _Kinds(dict[type[Frame], type[Frame] | None]):
    """Of a frame's class: the one of the six that it is, or None. Asked for each frame, so it is worked out once."""

    def __missing__(self, cls: type[Frame]) -> type[Frame] | None:
        self[cls] = kind = next((kind for kind in Speech.__args__ if issubclass(cls, kind)), None)
        return kind


class SpeechEvents:
    """The frames that tell who speaks, each event once, where it is first told.

    A frame of the same kind with the same `at` is the same event, when it goes the other way or another processor
    has made it: a copy. Where the pipeline has frames for the user's turn these are what counts, and the ones for the user's speech
    are only pauses and coughs: from the first one of them on, `has_turns` is True.
    """

    def __init__(self) -> None:
        self.has_turns = False
        self._kinds = _Kinds()
        self._once = Once()
        self._told: dict[tuple[type[Frame], float], tuple[FrameProcessor, Direction]] = {}  # by whom first

    def take(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> Speech | None:
        """A processor pushes a frame: the frame, if it is one of the six and tells something new."""
        kind = self._kinds[type(frame)]
        if kind is None or not self._once.is_new(frame.id):
            return None
        event: Speech = frame  # type: ignore[assignment]  # its kind says so
        if self._told.setdefault((kind, event.at), (processor, direction)) != (processor, direction):
            return None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        if kind is UserTurnStartedFrame or kind is UserTurnStoppedFrame:
            self.has_turns = True
        return event
