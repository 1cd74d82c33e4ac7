"""Keys of a telephone, and what was entered with them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from trio_pipes._base import check_instance, check_timeout, refuse
from trio_pipes.flow import DataFrame, Direction, EndFrame, Frame, FrameProcessor, StartFrame, StopFrame

from ._alarm import Alarm
from ._frames import TranscriptionFrame

__all__ = ["DTMFAggregator", "DTMFFrame"]

KEYS: Final = "0123456789*#ABCD"


@attrs.define(eq=False)
class DTMFFrame(DataFrame):
    """The user has pressed a key. It survives an interrupt: what was entered counts."""

    key: str
    """`"0"` to `"9"`, `"*"`, `"#"`, `"A"` to `"D"`."""
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        if not (isinstance(self.key, str) and len(self.key) == 1 and self.key in KEYS):
            raise refuse("DTMFFrame(key", self.key, f"one of the keys {KEYS}")


class DTMFAggregator(FrameProcessor):
    """Puts keys together to what was entered, and pushes it as a `TranscriptionFrame`: `"DTMF: 123#"`.

    It is complete when the key `termination` is pressed (None: there is none), when no key has been for `timeout` seconds
    (None: it may take for ever), and at the end of the run. The first key asks for an interrupt, as the first word of a user
    does. The keys go on as well, before it.
    """

    def __init__(
        self,
        *,
        timeout: float | None = 2.0,
        termination: str | None = "#",
        prefix: str = "DTMF: ",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        check_timeout("DTMFAggregator(timeout", timeout)
        if termination is not None and (
            not isinstance(termination, str) or len(termination) != 1 or termination not in KEYS
        ):
            raise refuse("DTMFAggregator(termination", termination, f"one of the keys {KEYS}, or None for none")
        check_instance("DTMFAggregator(prefix", prefix, str, "a string")
        self._timeout = math.inf if timeout is None else timeout
        self._termination = termination
        self._prefix = prefix
        self._keys = ""
        self._pressed_at = 0.0  # the last of them, on Trio's clock
        self._alarm = Alarm(self._complete)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Watch the time beside the handlers."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._alarm.run)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel(reason=f"{self.name} is closed")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Take a key, and pass on every frame."""
        if isinstance(frame, StartFrame):
            self._keys = ""  # of a run that was cut off, within `async with pipeline:`
            self._alarm.set(math.inf)
        elif isinstance(frame, EndFrame | StopFrame):
            await self._complete()
        elif isinstance(frame, DTMFFrame) and direction is Direction.DOWNSTREAM:
            await self._take(frame)
            return
        await self.push_frame(frame, direction)

    async def _take(self, frame: DTMFFrame) -> None:
        if not self._keys:
            self.interrupt()
        self._keys += frame.key
        self._pressed_at = trio.current_time()
        self._alarm.set(self._pressed_at + self._timeout)
        await self.push_frame(frame)
        if frame.key == self._termination:
            await self._complete()

    async def _complete(self) -> None:
        keys, self._keys = self._keys, ""
        self._alarm.set(math.inf)
        if keys:
            await self.push_frame(TranscriptionFrame(self._prefix + keys, stopped_at=self._pressed_at))
