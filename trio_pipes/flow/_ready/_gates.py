"""Gates: one that frames open and close, and one that is told from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, final

import trio
from trio_util import AsyncBool, RepeatedEvent

from trio_pipes._base import ConfigurationError, check_flag
from trio_pipes.flow._annotations import caller_names
from trio_pipes.flow._frames import Direction, Frame

from ._gate import AtEnd, Gate, Overflow
from ._notifiers import Notifier, check_notifier
from ._question import Question
from ._which import may_be_asked_about

__all__ = ["FrameGate", "NotifierGate"]

When = type[Frame] | tuple[type[Frame], ...] | Callable[[Any], bool]


@final
class FrameGate(Gate):
    """Keeps data and control frames until a frame comes that opens it, and lets them out behind that one.

    `opens` and `closes` are a frame class, several as a tuple, or a function (not async) that gives True for such a
    frame. They are asked about each data, control and system frame that comes by, either way: `opens` while it is
    closed, `closes` while it is open. The frame that opens it goes first, then what was kept, in order; the frame that
    closes it is the first that is kept. System frames are not held. `start_open` says how a run begins.

    `direction` is the way that it holds, None for both. It keeps `limit` frames each way; one more is a `FloodError`, or
    with `overflow="drop_oldest"` the oldest is dropped. With `drops=True` it keeps nothing and drops what it does not
    let through. An interrupt makes what is kept stale, uninterruptible frames excepted. The end, which it never holds,
    goes behind what is kept: that is let out, or dropped with `at_end="drop"`.

    When frames have waited for `timeout` seconds and it has not opened, that is a `FrameTimeout` that names it, what it
    waits for and what it keeps. Where errors are only reported, the frames are dropped.
    """

    start_open: bool

    def __init__(
        self,
        opens: When,
        closes: When | None = None,
        *,
        start_open: bool = False,
        direction: Direction | None = Direction.DOWNSTREAM,
        limit: int = 1000,
        overflow: Overflow = "error",
        drops: bool = False,
        at_end: AtEnd = "release",
        timeout: float | None = None,
        name: str | None = None,
    ) -> None:
        names = caller_names(1)
        self._opens = Question("FrameGate(opens", opens, names)
        self._closes = None if closes is None else Question("FrameGate(closes", closes, names)
        check_flag("FrameGate(start_open", start_open)
        self.start_open = self._open = start_open
        super().__init__(
            direction=direction,
            limit=limit,
            overflow=overflow,
            drops=drops,
            at_end=at_end,
            timeout=timeout,
            name=name,
        )

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._open

    def _waits_for(self) -> str:
        return str(self._opens)

    def _begin(self) -> None:
        self._open = self.start_open
        super()._begin()

    async def _pass(self, frame: Frame, direction: Direction) -> None:
        if may_be_asked_about(frame):
            if not self._open:
                if self._opens.answer(frame):
                    await self._pass_and_open(frame, direction)
                    return
            elif self._closes is not None and self._closes.answer(frame):
                self._open = False
                self._has_closed()
        await super()._pass(frame, direction)

    async def _pass_and_open(self, frame: Frame, direction: Direction) -> None:
        self._open = True
        way = self._way_of(frame, direction)
        if way is None:
            await self.push_frame(frame, direction)
            self._has_opened()
        elif self._ended:  # nothing is kept any more, and who would let it out is going
            self._has_opened()
            await way.take(frame)
        else:
            way.put_first(frame)
            self._has_opened()
            await way.wait_emptied()


@final
class NotifierGate(Gate):
    """Keeps data and control frames until a notifier says that they may go.

    The notifier is a `trio.Event`, which opens the gate when it is set, for good; an `AsyncBool` of trio_util: the gate
    is open while it is True; or a `RepeatedEvent` of trio_util: each `set()` lets out what is kept then, and the gate
    stays closed. A `FrameNotifier` elsewhere in the pipeline can tell it, and so can any other part of the program.

    The other settings are those of `FrameGate`.
    """

    notifier: Notifier

    def __init__(
        self,
        notifier: Notifier,
        *,
        direction: Direction | None = Direction.DOWNSTREAM,
        limit: int = 1000,
        overflow: Overflow = "error",
        drops: bool = False,
        at_end: AtEnd = "release",
        timeout: float | None = None,
        name: str | None = None,
    ) -> None:
        check_notifier("NotifierGate(notifier", notifier)
        if drops is True and isinstance(notifier, RepeatedEvent):
            raise ConfigurationError(
                "NotifierGate(drops=True): a RepeatedEvent lets out what was kept, expected another notifier or drops=False"
            )
        self.notifier = notifier
        super().__init__(
            direction=direction,
            limit=limit,
            overflow=overflow,
            drops=drops,
            at_end=at_end,
            timeout=timeout,
            name=name,
        )

    @property
    def is_open(self) -> bool:
        """Whether it is open: what the notifier says now."""
        if isinstance(self.notifier, trio.Event):
            return self.notifier.is_set()
        return isinstance(self.notifier, AsyncBool) and bool(self.notifier.value)

    def _waits_for(self) -> str:
        if isinstance(self.notifier, AsyncBool):
            return "its AsyncBool to be True"
        return f"its {type(self.notifier).__name__} to be set"

    def _other_work(self) -> tuple[Callable[[], Awaitable[object]], ...]:
        return (self._listen,)

    async def _listen(self) -> None:
        notifier: Any = self.notifier
        if isinstance(notifier, trio.Event):
            await notifier.wait()
            self._has_opened()
        elif isinstance(notifier, AsyncBool):
            while True:
                await notifier.wait_value(True)
                self._has_opened()
                await notifier.wait_value(False)
                self._has_closed()
        else:
            while True:
                await notifier.wait()
                for way in self._ways.values():
                    way.free()
                self._has_closed()
