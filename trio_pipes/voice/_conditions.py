"""Conditions that frames make true and false: when the user is muted, or may be silent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

from trio_pipes._base import check_callable, check_methods
from trio_pipes.flow import BotStartedSpeakingFrame, BotStoppedSpeakingFrame, Frame, StartFrame

from ._frame_types import FrameTypes, check_frame_types

__all__ = ["Between", "DuringFirstSpeech", "FrameCondition", "UntilFirstSpeech", "WhileBotSpeaks"]


class FrameCondition(Protocol):
    """Something that is so or not, as far as frames tell."""

    def holds(self, frame: Frame, /) -> bool:
        """Whether it is so, now that this frame has come. Asked for each frame, of both ways; first for the `StartFrame` of a run."""
        ...


class WhileBotSpeaks:
    """From each `BotStartedSpeakingFrame` to its `BotStoppedSpeakingFrame`: the bot is never interrupted."""

    def __init__(self) -> None:
        self._speaks = False

    def holds(self, frame: Frame) -> bool:
        """While the bot speaks."""
        if isinstance(frame, BotStartedSpeakingFrame):
            self._speaks = True
        elif isinstance(frame, BotStoppedSpeakingFrame | StartFrame):
            self._speaks = False
        return self._speaks


class DuringFirstSpeech:
    """While the bot speaks for the first time: its greeting is not interrupted. Before it the user is heard."""

    def __init__(self) -> None:
        self._speaks = self._done = False

    def holds(self, frame: Frame) -> bool:
        """While the bot speaks, once."""
        if isinstance(frame, StartFrame):
            self._speaks = self._done = False
        elif isinstance(frame, BotStartedSpeakingFrame):
            self._speaks = not self._done
        elif isinstance(frame, BotStoppedSpeakingFrame):
            self._done = self._done or self._speaks
            self._speaks = False
        return self._speaks


class UntilFirstSpeech:
    """From the start until the bot has spoken for the first time: nothing is heard before or during its greeting."""

    def __init__(self) -> None:
        self._done = False

    def holds(self, frame: Frame) -> bool:
        """Until the bot stops for the first time."""
        if isinstance(frame, StartFrame):
            self._done = False
        elif isinstance(frame, BotStoppedSpeakingFrame):
            self._done = True
        return not self._done


class Between:
    """From a frame of one class to a frame of another: while a function is called, a film is shown, a button is held.

    Where several such times overlap, `key` tells which frames belong together: `key(frame)` is the same for both, and it holds until
    the last one is over. An end that has no beginning means nothing.
    """

    def __init__(self, begins: FrameTypes, ends: FrameTypes, *, key: Callable[[Any], Hashable] | None = None) -> None:
        self._begins = check_frame_types("Between(begins", begins)
        self._ends = check_frame_types("Between(ends", ends)
        if key is not None:
            check_callable("Between(key", key, "a function of a frame, or None")
        self._key = key
        self._on: set[Hashable] = set()

    def holds(self, frame: Frame) -> bool:
        """Until each that has begun has ended."""
        if isinstance(frame, StartFrame):
            self._on.clear()
        if isinstance(frame, self._ends):
            self._on.discard(self._key and self._key(frame))
        elif isinstance(frame, self._begins):
            self._on.add(self._key and self._key(frame))
        return bool(self._on)


class AnyOf:
    """Several conditions, all of them asked."""

    def __init__(self, what: str, conditions: Iterable[FrameCondition]) -> None:
        self._conditions = tuple(conditions)
        for condition in self._conditions:
            check_methods(
                what, condition, ["holds"], "conditions, each with a method holds(), such as WhileBotSpeaks()"
            )

    def holds(self, frame: Frame) -> bool:
        """Whether one of them holds."""
        answers = [self._ask(condition, frame) for condition in self._conditions]
        return any(answers)

    def _ask(self, condition: FrameCondition, frame: Frame) -> bool:
        answer: Any = condition.holds(frame)
        if not isinstance(answer, bool):
            raise TypeError(f"{condition!r}.holds() gave {answer!r}, expected True or False")
        return answer
