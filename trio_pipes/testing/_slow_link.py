"""`SlowLink`: frames that are on their way for a while.

# Latency, not throughput.
#
# A handler that sleeps for each frame would let one frame pass per delay. On a link frames follow each other: each has its own
# time of arrival, and a task for each direction lets them out in order. So the link keeps frames that its handlers have long
# given away, and must do what the engine does for frames in its lanes: drop what an interrupt makes stale, be bounded, and
# let the last frame go behind all others.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trio_pipes import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    StartFrame,
    StopFrame,
    SystemFrame,
)
from trio_pipes._base import FINITE, check_count, check_instance, check_number

__all__ = ["SlowLink"]


class SlowLink(FrameProcessor):
    """Lets each data and control frame out `seconds` (and up to `jitter` more) after it came in, in order, both ways.

    Seconds are on Trio's clock; the same `seed` gives the same jitter. At most `in_flight` frames are on their way in each
    direction: then those who push wait. System frames pass at once. An interrupt drops what it makes stale; `flush()` does not
    wait for what is on its way, the end does.
    """

    def __init__(
        self, seconds: float, *, jitter: float = 0.0, seed: int = 0, in_flight: int = 64, name: str | None = None
    ) -> None:
        super().__init__(name)
        check_number("SlowLink(seconds", seconds, "a finite number of seconds, 0 or more", most=FINITE)
        check_number("SlowLink(jitter", jitter, "a finite number of seconds, 0 or more", most=FINITE)
        check_instance("SlowLink(seed", seed, int, "a whole number")
        check_count("SlowLink(in_flight", in_flight, "a whole number, 1 or more")
        self._seconds, self._jitter, self._seed, self._in_flight = seconds, jitter, seed, in_flight

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """A task for each direction."""
        self._ways = {direction: _Way() for direction in Direction}
        self._ended = False
        self._random = random.Random(self._seed)
        async with trio.open_nursery() as nursery:
            for direction, way in self._ways.items():
                nursery.start_soon(self._serve, way, direction)
            yield
            nursery.cancel_scope.cancel(reason=f"{self.name} is closed")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Send it on its way."""
        if isinstance(frame, StartFrame | SystemFrame):
            if isinstance(frame, StartFrame):
                self._ended = False
                for way in self._ways.values():
                    way.clear()  # what a run that was cut off has left, within `async with pipeline:`
            await self.push_frame(frame, direction)
        elif isinstance(frame, EndFrame | StopFrame):
            for way in self._ways.values():
                await way.empty()
            self._ended = True
            await self.push_frame(frame, direction)
        elif self._ended:  # nobody would wait for the link any more
            await trio.sleep(self._delay())
            await self.push_frame(frame, direction)
        else:
            way = self._ways[direction]
            while len(way.frames) >= self._in_flight:
                await way.changes()
            way.put(trio.current_time() + self._delay(), frame)

    def _delay(self) -> float:
        return self._seconds + self._random.uniform(0, self._jitter)

    async def on_interrupt(self) -> None:
        """Lose what is stale."""
        for way in self._ways.values():
            way.drop_stale()

    async def _serve(self, way: _Way, direction: Direction) -> None:
        while True:
            while not way.frames:
                await way.changes()
            due, frame = way.frames[0]
            await trio.sleep_until(due)
            if way.frames and way.frames[0][1] is frame:  # no interrupt came
                try:
                    await self.push_frame(frame, direction)
                finally:
                    way.take(frame)


class _Way:
    """What is under way in one direction."""

    def __init__(self) -> None:
        self.frames: deque[tuple[float, Frame]] = deque()
        self._changed = trio.Event()

    async def changes(self) -> None:
        await self._changed.wait()

    async def empty(self) -> None:
        while self.frames:
            await self.changes()

    def put(self, due: float, frame: Frame) -> None:
        latest = self.frames[-1][0] if self.frames else -math.inf
        self.frames.append((max(due, latest), frame))  # in order, whatever the jitter
        self._tell()

    def take(self, frame: Frame) -> None:
        if self.frames and self.frames[0][1] is frame:
            self.frames.popleft()
        self._tell()

    def clear(self) -> None:
        self.frames.clear()
        self._tell()

    def drop_stale(self) -> None:
        kept = [entry for entry in self.frames if not entry[1].interruptible]
        self.frames.clear()
        self.frames.extend(kept)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
