"""Filters: some frames go on, the others are dropped.

What the engine carries (lifecycle frames, heartbeats, `PauseFrame`) passes each of them, and so do errors. System frames
do too, unless it is asked for otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from trio_pipes._base import ConfigurationError, are_classes, check_flag, refuse
from trio_pipes.flow._annotations import caller_names
from trio_pipes.flow._frames import URGENT, Direction, Frame
from trio_pipes.flow._processor import FrameProcessor

from ._question import Question
from ._which import check_direction, concerns, is_content, may_be_asked_about

__all__ = ["FrameFilter", "FunctionFilter", "IdentityFilter", "NullFilter"]

DOWN = Direction.DOWNSTREAM


class IdentityFilter(FrameProcessor):
    """Lets every frame through: a stand-in for a filter."""

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name, inline=True)


class FrameFilter(FrameProcessor):
    """Lets frames of some classes through, and drops the other data and control frames.

    `direction` is the way that it looks at, None for both; what goes the other way passes. With
    `filter_system_frames=True` system frames, errors excepted, are dropped too, unless they are of the classes.
    """

    types: tuple[type[Frame], ...]
    direction: Direction | None
    filter_system_frames: bool

    def __init__(
        self,
        *types: type[Frame],
        direction: Direction | None = DOWN,
        filter_system_frames: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name, inline=True)
        who = type(self).__name__
        if not are_classes(types, Frame):
            raise refuse(f"{who}(types", types, f"frame classes: {who}(TextFrame, AudioFrame)")
        check_direction(f"{who}(direction", direction)
        check_flag(f"{who}(filter_system_frames", filter_system_frames)
        self.types = types
        self.direction = direction
        self.filter_system_frames = filter_system_frames

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Pass a frame on, or drop it."""
        if isinstance(frame, self.types) or not concerns(self.direction, direction) or not self._is_asked(frame):
            await self.push_frame(frame, direction)

    def _is_asked(self, frame: Frame) -> bool:
        return may_be_asked_about(frame) if self.filter_system_frames else is_content(frame)


class NullFilter(FrameFilter):
    """Drops every data and control frame that comes down, or goes the way that `direction` says; None: both."""

    def __init__(self, *, direction: Direction | None = DOWN, name: str | None = None) -> None:
        super().__init__(direction=direction, name=name)


class FunctionFilter(FrameProcessor):
    """Lets those frames through for which a function gives True, and drops those for which it gives False.

    The function may be sync or async. It is asked about data and control frames of the type its parameter is annotated
    with (none: all of them), with `filter_system_frames=True` also about system frames, errors excepted; what it is not
    asked about passes. `direction` is the way that it looks at, None for both. An error in it is this processor's
    error; so is an answer that is neither True nor False.
    """

    direction: Direction | None
    filter_system_frames: bool

    def __init__(
        self,
        function: Callable[[Any], bool] | Callable[[Any], Awaitable[bool]],
        *,
        direction: Direction | None = DOWN,
        filter_system_frames: bool = False,
        name: str | None = None,
    ) -> None:
        who = type(self).__name__
        self._question = Question(f"{who}(function", function, caller_names(1), classes=False, may_wait=True)
        super().__init__(name, inline=not self._question.is_async)
        check_direction(f"{who}(direction", direction)
        check_flag(f"{who}(filter_system_frames", filter_system_frames)
        if not filter_system_frames and all(t._lane == URGENT for t in self._question.types):
            raise ConfigurationError(
                f"{who}(filter_system_frames=False): {function!r} is annotated to take system frames only, which pass "
                "a filter by; expected filter_system_frames=True"
            )
        self.direction = direction
        self.filter_system_frames = filter_system_frames

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Pass a frame on, or drop it, as the function says."""
        question = self._question
        asked = concerns(self.direction, direction) and self._is_asked(frame) and isinstance(frame, question.types)
        if not asked or await question.wait_answer(frame):
            await self.push_frame(frame, direction)

    def _is_asked(self, frame: Frame) -> bool:
        return may_be_asked_about(frame) if self.filter_system_frames else is_content(frame)
