"""What every gate does, whatever opens it: it keeps frames or drops them while it is closed, and has a deadline."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Literal

import trio

from trio_pipes._base import FrameTimeout, check_count, check_flag, check_timeout, refuse
from trio_pipes.flow._frames import ADDRESSED, LIFECYCLE, Direction, EndFrame, Frame, StartFrame, StopFrame

from ._beside import WorksBeside
from ._way import Way
from ._which import check_direction, concerns, is_content

__all__ = ["AtEnd", "Gate", "Overflow"]

Overflow = Literal["error", "drop_oldest"]
AtEnd = Literal["release", "drop"]


class Gate(WorksBeside):
    """The part that does not know what opens it."""

    direction: Direction | None
    limit: int
    overflow: Overflow
    drops: bool
    at_end: AtEnd
    timeout: float | None
    dropped: int
    """Frames that it has dropped in this run, or in the last one; those that became stale do not count."""

    def __init__(
        self,
        *,
        direction: Direction | None,
        limit: int,
        overflow: Overflow,
        drops: bool,
        at_end: AtEnd,
        timeout: float | None,
        name: str | None,
    ) -> None:
        super().__init__(name)
        who = type(self).__name__
        check_direction(f"{who}(direction", direction)
        check_count(f"{who}(limit", limit, "a whole number of frames, at least 1")
        if overflow not in ("error", "drop_oldest"):
            raise refuse(f"{who}(overflow", overflow, '"error" or "drop_oldest"')
        check_flag(f"{who}(drops", drops)
        if at_end not in ("release", "drop"):
            raise refuse(f"{who}(at_end", at_end, '"release" or "drop"')
        check_timeout(f"{who}(timeout", timeout)
        self.direction = direction
        self.limit = limit
        self.overflow = overflow
        self.drops = drops
        self.at_end = at_end
        self.timeout = timeout
        self._make_ready()

    def _make_ready(self) -> None:
        self.dropped = 0
        self._ways = {way: Way(self, way) for way in Direction if concerns(self.direction, way)}
        self._ended = False
        self._closed_since = 0.0  # seconds on Trio's clock
        self._turned_away_since: float | None = None  # the first one that it has dropped since then
        self._met = trio.Event()  # something may wait for it to open

    # -- what is seen of it

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether it is open."""

    @property
    def kept(self) -> int:
        """Frames that it keeps now."""
        return sum(len(way.kept) for way in self._ways.values())

    # -- for what opens it

    @abstractmethod
    def _waits_for(self) -> str:
        """What would open it, for the text of an error."""

    def _other_work(self) -> tuple[Callable[[], Awaitable[object]], ...]:
        """What is to be done beside the frames."""
        return ()

    def _way_of(self, frame: Frame, direction: Direction) -> Way | None:
        """The way that a frame goes; None: it is not held."""
        if is_content(frame) or (frame._lane == ADDRESSED and not self._keeps_nothing):
            return self._ways.get(direction)
        return None

    async def _pass(self, frame: Frame, direction: Direction) -> None:
        """Handle a frame that may come through, or not."""
        way = self._way_of(frame, direction)
        if way is None:
            await self.push_frame(frame, direction)
        else:
            await way.take(frame)

    def _has_opened(self) -> None:
        for way in self._ways.values():
            way.look()

    def _has_closed(self) -> None:
        self._closed_since = trio.current_time()
        self._turned_away_since = None
        self._met.set()
        for way in self._ways.values():
            way.look()

    # -- for its ways

    @property
    def _lets_through(self) -> bool:
        return self.is_open or (self._ended and self.at_end == "release")

    @property
    def _keeps_nothing(self) -> bool:
        return self.drops or self._ended

    def _interrupts(self) -> int:
        return self._running_node("process_frame").engine.owner.interrupts

    def _met_closed(self) -> None:
        if self._turned_away_since is None:
            self._turned_away_since = trio.current_time()
        self._met.set()

    # -- a processor

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Let a frame through, keep it or drop it; the end goes behind what is kept."""
        if frame._lane != LIFECYCLE:
            await self._pass(frame, direction)
            return
        if isinstance(frame, StartFrame):
            self._begin()
        elif isinstance(frame, EndFrame | StopFrame):
            await self._end()
        await self.push_frame(frame, direction)

    def _begin(self) -> None:
        self._make_ready()  # a run that was cut off may have left something, within `async with pipeline:`
        self._has_closed()
        watch = () if self.timeout is None else (self._watch,)
        self._begin_work(*(way.let_out for way in self._ways.values()), *watch, *self._other_work())

    async def _end(self) -> None:
        self._ended = True
        for way in self._ways.values():
            if self.at_end == "drop" and not self.is_open:
                self.dropped += way.drop()
            way.look()
        for way in self._ways.values():
            await way.wait_emptied()
        self._end_work()

    async def on_interrupt(self) -> None:
        """Forget what is stale now."""
        self._turned_away_since = None
        for way in self._ways.values():
            way.drop_stale()

    # -- the deadline

    async def _watch(self) -> None:
        assert self.timeout is not None
        while True:
            self._met = trio.Event()
            since = self._waits_since()
            if since is None:
                await self._met.wait()
            elif trio.current_time() < since + self.timeout:
                await trio.sleep_until(since + self.timeout)
            else:
                self._report(self._too_late(since))
                for way in self._ways.values():
                    self.dropped += way.drop()
                self._has_closed()

    def _waits_since(self) -> float | None:
        """Since when something waits for it to open."""
        if self._lets_through:
            return None
        if self.drops:
            return self._turned_away_since
        came = [way.kept[0].since for way in self._ways.values() if way.kept and not way.kept[0].free]
        return max(min(came), self._closed_since) if came else None

    def _too_late(self, since: float) -> FrameTimeout:
        frames = [kept.frame for way in self._ways.values() for kept in way.kept]
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(type(f).__name__ for f in frames).items())
        has = f"keeps {kinds}, first {frames[0].name}" if frames else f"has dropped {self.dropped} frames"
        return FrameTimeout(
            f"{self.name!r} has not opened within its timeout ({self.timeout:g} s, since {since:.3f} s on Trio's clock): "
            f"it waits for {self._waits_for()}, and {has}"
        )
