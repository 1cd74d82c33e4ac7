"""`BusBridge`: the place in a pipeline where another pipeline, on whatever runner, does its part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Literal

import attrs
import trio

from trio_pipes._base import (
    ConfigurationError,
    FrameTimeout,
    check_count,
    check_flag,
    check_iterable,
    check_name,
    check_timeout,
    refuse,
)
from trio_pipes.flow import Direction, EndFrame, Frame, FrameProcessor, StopFrame, SystemFrame

from ._link import BridgeStatistics
from ._near_end import NearEnd
from ._which import Which

__all__ = ["BusBridge"]

Away = Literal["wait", "drop", "pass"]


class BusBridge(FrameProcessor):
    """Hands frames to a `BridgedPipeline` elsewhere, and pushes those on that come back, as if that stood at this place.

    `to`: the name of the task that runs it, or several, of which the active one is used. `frames`: classes of those that
    cross, in either direction (None: all but lifecycle, requests to the task, errors and metrics, which never do); `exclude`:
    classes of those that pass by. While no far pipeline is active, or it is slow, a frame waits, at most `timeout`
    seconds (None: no limit), and is then dropped with an `ErrorFrame`; `away="drop"` drops it and `away="pass"` lets it
    pass by at once where none is active. At most `window` frames of each direction are under way. With `interrupts` an
    interrupt here is one there, and the other way round. At the end what is under way is waited for, `flush_timeout` seconds.
    """

    def __init__(
        self,
        to: str | Iterable[str],
        *,
        frames: type[Frame] | tuple[type[Frame], ...] | None = None,
        exclude: type[Frame] | tuple[type[Frame], ...] = (),
        timeout: float | None = 10.0,
        away: Away = "wait",
        window: int = 32,
        interrupts: bool = True,
        flush_timeout: float | None = 5.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        call = "BusBridge("
        if isinstance(to, str):
            to = (to,)
        check_iterable(f"{call}to", to, "the name of a task, or several")
        self.to: tuple[str, ...] = tuple(to)
        if not self.to:
            raise refuse(f"{call}to", to, "at least one name of a task")
        for one in self.to:
            check_name(f"{call}to", one, "the name of a task, or several")
        check_timeout(f"{call}timeout", timeout)
        check_timeout(f"{call}flush_timeout", flush_timeout)
        check_count(f"{call}window", window, "a number of frames, at least 1")
        check_flag(f"{call}interrupts", interrupts)
        if away not in ("wait", "drop", "pass"):
            raise refuse(f"{call}away", away, "'wait', 'drop' or 'pass'")
        self._which = Which("BusBridge", frames, exclude)
        self._timeout = float("inf") if timeout is None else timeout
        self._away = away
        self._flush_timeout = float("inf") if flush_timeout is None else flush_timeout
        self._end = NearEnd(self, self.to, window, interrupts)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        if self.task.name in self.to:
            raise ConfigurationError(
                f"BusBridge(to={self.task.name!r}) is in the task of that name: its frames would go round"
            )
        async with self._end.opened(self.task):
            yield

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, EndFrame | StopFrame):
            await self._end.flush(self._flush_timeout)
        elif self._which.crosses(frame):
            await self._cross(frame, direction)
            return
        await self.push_frame(frame, direction)

    async def _cross(self, frame: Frame, direction: Direction) -> None:
        if not self._end.has_somebody and (self._away != "wait" or isinstance(frame, SystemFrame)):
            if self._away == "pass":
                self._end.counts.passed += 1
                await self.push_frame(frame, direction)
            else:
                await self._drop(frame, "nobody there is active")
            return
        with trio.move_on_after(self._timeout) as scope:
            await self._end.cross(frame, direction)
        if scope.cancelled_caught:
            await self._drop(frame, f"it waited {self._timeout:g} s for somebody to be active, or for room")

    async def _drop(self, frame: Frame, why: str) -> None:
        text = f"{self.name}: {frame.name} did not cross to {' or '.join(map(repr, self.to))}: {why}"
        await self.push_error(text, FrameTimeout(text))

    async def on_interrupt(self) -> None:
        self._end.interrupted()

    def bridge_statistics(self) -> BridgeStatistics:
        """What has crossed here, up to this moment."""
        return attrs.evolve(self._end.counts)
