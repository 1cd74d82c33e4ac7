"""What tells a gate to open: one of the ways in which Trio programs tell each other something.

::

    trio.Event                it has happened, and stays so
    trio_util.AsyncBool       it is so, or it is not, and that may change
    trio_util.RepeatedEvent   it happens now, and may happen again
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, final

import trio
from trio_util import AsyncBool, RepeatedEvent

from trio_pipes._base import check_instance
from trio_pipes.flow._annotations import caller_names
from trio_pipes.flow._frames import Direction, Frame
from trio_pipes.flow._processor import FrameProcessor

from ._question import Question
from ._which import check_direction, concerns, may_be_asked_about

__all__ = ["FrameNotifier", "Notifier", "check_notifier"]


class Flag(Protocol):
    """An `AsyncBool`; trio_util has no types of its own."""

    @property
    def value(self) -> bool: ...

    @value.setter
    def value(self, x: bool) -> None: ...


class Repeats(Protocol):
    """A `RepeatedEvent`, or a `trio.Event`."""

    def set(self) -> None: ...

    async def wait(self) -> None: ...


Notifier = Flag | Repeats


def check_notifier(what: str, value: object) -> None:
    """One of the three."""
    expected = "a trio.Event, or an AsyncBool or RepeatedEvent of trio_util"
    check_instance(what, value, trio.Event | AsyncBool | RepeatedEvent, expected)


@final
class FrameNotifier(FrameProcessor):
    """Passes every frame on, and tells a notifier when a certain one comes by.

    `when` is a frame class, several as a tuple, or a function, sync or async, that gives True for the frame. It is asked
    about data, control and system frames that come down, or go the way that `direction` says, None for both. Then the
    `trio.Event` or `RepeatedEvent` is set, the `AsyncBool` becomes True, and after that the frame goes on.
    """

    notifier: Notifier
    direction: Direction | None

    def __init__(
        self,
        notifier: Notifier,
        when: type[Frame] | tuple[type[Frame], ...] | Callable[[Any], bool] | Callable[[Any], Awaitable[bool]],
        *,
        direction: Direction | None = Direction.DOWNSTREAM,
        name: str | None = None,
    ) -> None:
        self._question = Question("FrameNotifier(when", when, caller_names(1), may_wait=True)
        super().__init__(name, inline=not self._question.is_async)
        check_notifier("FrameNotifier(notifier", notifier)
        check_direction("FrameNotifier(direction", direction)
        self.notifier = notifier
        self.direction = direction

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Look at a frame and pass it on."""
        asked = concerns(self.direction, direction) and may_be_asked_about(frame)
        if asked and await self._question.wait_answer(frame):
            notifier: Any = self.notifier
            if isinstance(notifier, AsyncBool):
                notifier.value = True
            else:
                notifier.set()
        await self.push_frame(frame, direction)
