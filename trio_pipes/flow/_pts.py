"""Presentation times: frames get one from the task's clock, and are held until the clock has reached it.

# How long to sleep.
#
# A task's clock is anybody's: it may run at another speed than Trio's, change its speed, stand still or jump. So a
# wait is never computed once. The clock is read again and again, and the next look is placed by the speed it had
# since the last one: when that says "soon", exactly then, and otherwise after half of the time that seems to be
# left, at most `LONGEST`. With the default clock a frame leaves at its very time, after a few looks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heapify, heappop, heappush
from typing import Any, ClassVar, Final, cast

import attrs
import trio

from trio_pipes._base import FINITE, check_count, check_number

from ._frames import (
    DataFrame,
    Direction,
    EndFrame,
    FlushMarker,
    Frame,
    LifecycleFrame,
    StartFrame,
    StopFrame,
    SystemFrame,
)
from ._node import Node
from ._processor import FrameProcessor

__all__ = ["ReleaseAtPts", "StampPts"]

EARLY: Final = 1000  # nanoseconds before its time that a frame may leave: a clock that rounds would cost one more look
FIRST: Final = 0.02  # seconds to the second look, which tells how fast the clock is
SOON: Final = 0.1  # seconds
LONGEST: Final = 0.25  # seconds between two looks
SHORTEST: Final = 0.0001


class StampPts(FrameProcessor):
    """Gives data frames that have no `pts` one: the time of the task's clock, and `delay` seconds more."""

    def __init__(self, delay: float = 0.0, *, name: str | None = None) -> None:
        super().__init__(name, inline=True)
        check_number("StampPts(delay", delay, "a finite number of seconds", least=-FINITE, most=FINITE)
        self._delay = round(delay * 1e9)

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Stamp a data frame that goes down; pass on every frame."""
        if direction is Direction.DOWNSTREAM and isinstance(frame, DataFrame) and frame.pts is None:
            frame.pts = self.task.clock.get_time() + self._delay
        await self.push_frame(frame, direction)


@attrs.define(order=True)
class _Held:
    """A frame and when it leaves; among equals the one that came first."""

    pts: int
    arrival: int
    frame: Frame = attrs.field(order=False)
    interrupts: int = attrs.field(order=False)  # that had taken effect when it came


class _ReleaseNode(Node):
    """Leaves the marker of a flush to the processor, while that holds what came before it."""

    __slots__ = ()

    async def lifecycle(self, frame: Frame) -> None:
        if not (type(frame) is FlushMarker and cast("ReleaseAtPts", self.processor)._keeps(frame)):
            await super().lifecycle(frame)

    async def let_go(self, marker: FlushMarker) -> None:
        """Hand on one that was kept."""
        await self._carry_on(marker)


class ReleaseAtPts(FrameProcessor):
    """Holds what comes down until the task's clock has reached its `pts`, and lets it out in the order of `pts`.

    Frames without `pts` pass at once, and so does what is urgent or goes up. The end waits for what is held, and so does
    a `flush` for what came before it. An interrupt drops it, except uninterruptible frames. `limit` frames are held at most; then the one who
    pushes waits.
    """

    _node_class: ClassVar[type[Node]] = _ReleaseNode

    def __init__(self, limit: int = 1000, *, name: str | None = None) -> None:
        super().__init__(name)
        check_count("ReleaseAtPts(limit", limit)
        self.limit = limit
        self._empty()

    def _empty(self) -> None:
        self._held: list[_Held] = []
        self._markers: list[tuple[int, FlushMarker]] = []  # each with the arrivals before it
        self._arrivals = 0
        self._leaving = False  # one is on its way out
        self._more = trio.Event()  # something was put in, or taken out by an interrupt
        self._less = trio.Event()  # something has left

    @property
    def held(self) -> int:
        """Frames that wait for their time."""
        return len(self._held)

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Hold a frame that has a `pts`; pass on the others, the last one behind everything held."""
        if isinstance(frame, StartFrame):
            more = self._more
            self._empty()  # of what a run that was cut off has left, within `async with pipeline:`
            more.set()
        elif isinstance(frame, EndFrame | StopFrame):
            while self._held or self._leaving:
                await self._less.wait()
        elif direction is Direction.DOWNSTREAM and frame.pts is not None and not _passes(frame):
            await self._hold(frame, frame.pts)
            return
        await self.push_frame(frame, direction)

    async def _hold(self, frame: Frame, pts: Any) -> None:
        if not isinstance(pts, int) or isinstance(pts, bool):
            raise TypeError(f"{frame.name} has pts={pts!r}, expected a whole number of nanoseconds since the start")
        if not self._held and not self._leaving and pts - self.task.clock.get_time() <= EARLY:
            await self.push_frame(frame)
            return
        while len(self._held) >= self.limit:
            await self._less.wait()
        self._arrivals += 1
        heappush(self._held, _Held(pts, self._arrivals, frame, self._interrupts()))
        self._more.set()

    def _keeps(self, marker: FlushMarker) -> bool:
        """Whether a marker has to wait for what is held."""
        waits = bool(self._held or self._leaving)
        if waits:
            self._markers.append((self._arrivals, marker))
        return waits

    async def _let_markers_go(self) -> None:
        while self._markers and all(held.arrival > self._markers[0][0] for held in self._held):
            _, marker = self._markers.pop(0)
            await cast("_ReleaseNode", self._running_node("process_frame")).let_go(marker)

    def _interrupts(self) -> int:
        return self._running_node("process_frame").engine.owner.interrupts

    async def on_interrupt(self) -> None:
        """Drop what is stale now."""
        now = self._interrupts()
        self._held = [held for held in self._held if not held.frame.interruptible or held.interrupts == now]
        heapify(self._held)
        self._more.set()
        self._has_left()

    def _has_left(self) -> None:
        self._less.set()
        self._less = trio.Event()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Release frames in a task beside the handlers."""
        self._empty()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._release)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel(reason=f"{self.name} is closed")

    async def _release(self) -> None:
        clock: Any = None
        look: _Look | None = None
        while True:
            self._more = trio.Event()
            await self._let_markers_go()
            if not self._held:
                look = None
                await self._more.wait()
                continue
            if look is None or clock is not self.task.clock:
                clock = self.task.clock
                look = _Look(clock)
            left = self._held[0].pts - clock.get_time()
            if left > EARLY:
                with trio.move_on_after(look.pause(left)):
                    await self._more.wait()
                continue
            held = heappop(self._held)
            if not held.frame.interruptible or held.interrupts == self._interrupts():
                self._leaving = True
                await self.push_frame(held.frame)
                self._leaving = False
            self._has_left()


def _passes(frame: Frame) -> bool:
    return isinstance(frame, SystemFrame | LifecycleFrame)


class _Look:
    """When to look at a clock again."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._last: tuple[float, int] | None = None  # Trio's time and the clock's, at the last look

    def pause(self, left: int) -> float:
        """Seconds to the next look, when the clock has `left` nanoseconds to go."""
        now, time = trio.current_time(), self._clock.get_time()
        last, self._last = self._last, (now, time)
        if last is None or now <= last[0]:
            return min(FIRST, left / 1e9)
        speed = (time - last[1]) / 1e9 / (now - last[0])
        if speed <= 0:
            return LONGEST
        seconds: float = left / 1e9 / speed
        return min(max(seconds if seconds < SOON else seconds / 2, SHORTEST), LONGEST)
