"""The entrance of a task: how frames get into its pipeline.

What is queued before the run is kept. During the run an ordered frame goes straight into the first processor's lane
while there is room. Otherwise it goes through the push channel, a Trio memory channel, which a feeder empties in
batches; there is a feeder while there is something in it. System frames, and frames that go up, do not wait in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from threading import get_ident
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import checkpoint_if_cancelled

from trio_pipes._base import FloodError
from trio_pipes.flow import Direction, FlushMarker, Frame, SystemFrame

if TYPE_CHECKING:
    from trio_pipes.flow._engine import Engine

    from ._home import Home

__all__ = ["Entrance"]

Channel = tuple[trio.MemorySendChannel[Frame | list[Frame]], trio.MemoryReceiveChannel[Frame | list[Frame]]]

KEPT = 10_000  # frames queued before the run, at most


class Entrance:
    """Where frames are queued."""

    def __init__(self, name: str, queue_size: int, engine: Engine, home: Home) -> None:
        self.name = name
        self._home = home
        self.count = 0  # frames accepted
        self._size = queue_size
        self._channel: Channel | None = None  # made when there is no room in the first lane for the first time
        self._engine = engine
        self._kept: list[Frame] = []  # queued before the run
        self._kept_special: list[tuple[Frame, Direction]] = []  # and what does not wait behind the others
        # An eighth of the channel: one wake-up of the scheduler for several frames, and still bounded.
        self._batch = max(1, queue_size // 8)
        self._ordinary: set[type] = set()
        self._at_end: Callable[[], None] = lambda: None
        self._open = False  # the run has begun
        self._straight = False  # frames may go into the pipeline, and nobody is before them in the channel
        # The thread of the run, while it is straight and refuses nothing: one look tells.
        self._quick: int | None = None
        self._overflow: list[Frame] = []  # from inside, where nobody may wait
        self._next_in: deque[Frame] = deque()  # out of the channel, and not in the pipeline yet
        self.refusal: str | None = None  # why nothing more is accepted
        self.broken = False

    def _ends_of_channel(self) -> Channel:
        if self._channel is None:
            self._channel = trio.open_memory_channel(self._size)
        return self._channel

    def waiting(self) -> int:
        """Frames and batches that are not in the pipeline yet."""
        if self._channel is None:
            return 0
        statistics = self._channel[0].statistics()
        return statistics.current_buffer_used + statistics.tasks_waiting_send + len(self._next_in)

    # -- in

    def is_ordinary(self, frame: object) -> bool:
        """Whether it is a frame of the ordered lane that asks for nothing; remembers the classes that are."""
        cls = type(frame)
        if cls not in self._ordinary:
            if not isinstance(frame, Frame) or frame._lane != 0:
                return False
            self._ordinary.add(cls)
        return hasattr(frame, "id")  # not made without its __init__

    def batches(self, frames: Iterable[Frame]) -> Iterator[list[Frame]]:
        """Runs of ordinary frames, and each frame that is not by itself."""
        iterator = iter(frames)
        while batch := list(islice(iterator, self._batch)):
            if self._ordinary.issuperset(map(type, batch)) or all(map(self.is_ordinary, batch)):
                yield batch
            else:
                for frame in batch:
                    yield [frame]

    async def put(self, frame: Frame, direction: Direction) -> None:
        """Accept one frame; waits for room only with an ordered frame that goes down, and not inside."""
        self._home.check("queue_frame")
        await checkpoint_if_cancelled()
        self.check()
        if not self._open:
            self._keep(frame, direction)
        elif direction is Direction.UPSTREAM or isinstance(frame, SystemFrame):
            self._put_special(frame, direction)
        else:
            await self._send(frame)
            self.count += 1

    async def put_ordinary(self, frame: Frame) -> None:
        """Accept one ordinary frame that goes down; waits for room, except inside and before the run."""
        await checkpoint_if_cancelled()
        if get_ident() == self._quick:
            inbox = self._inbox
            if len(inbox.q) < inbox.limit:
                inbox.enqueue((frame,))
            else:
                await self._send(frame)
        else:
            self.check()
            if not self._open:
                self._keep(frame, Direction.DOWNSTREAM)
                return
            await self._send(frame)
        self.count += 1

    async def put_batch(self, batch: list[Frame]) -> None:
        """Accept a batch of ordinary frames that go down."""
        await checkpoint_if_cancelled()
        if get_ident() == self._quick and len(self._inbox.q) + len(batch) <= self._inbox.limit:
            self._inbox.enqueue(batch)
            self.count += len(batch)
            return
        self._home.check("queue_frames")
        self.check()
        if self._open:
            await self._send(batch)
            self.count += len(batch)
        else:
            for frame in batch:
                self._keep(frame, Direction.DOWNSTREAM)

    async def put_marked(self, frame: Frame, marker: FlushMarker) -> None:
        """Accept an ordered frame that goes down, with a marker right behind it."""
        self._home.check("queue_frame")
        await checkpoint_if_cancelled()
        self.check()
        if self._straight and len(self._inbox.q) + 2 <= self._inbox.limit:
            self._inbox.enqueue((frame, marker))
            self.count += 1
        elif self._open:
            await self._send([frame, marker])
            self.count += 1
        else:
            self._keep(frame, Direction.DOWNSTREAM)
            self._kept.append(marker)

    async def _send(self, item: Frame | list[Frame]) -> None:
        """Through the channel."""
        try:
            if not self._overflow:
                self._ends_of_channel()[0].send_nowait(item)
                self._need_feeder()
                return
        except trio.WouldBlock:
            pass
        if self._engine.is_inside():
            self._put_aside(item)
            return
        try:
            await self._ends_of_channel()[0].send(item)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            self.check()
            raise

    def _put_aside(self, item: Frame | list[Frame]) -> None:
        """From inside: a task of the engine waits for room in the caller's place."""
        first = not self._overflow
        self._overflow.extend(item if isinstance(item, list) else [item])
        if len(self._overflow) > self._engine.params.lane_limit:
            self._engine.flood(self.name, "that its own processors queued", len(self._overflow))
        if first:
            self._engine.spawn(self._pump, self._ends_of_channel()[0].clone())
            self._need_feeder()

    async def _pump(self, send: trio.MemorySendChannel[Frame | list[Frame]]) -> None:
        with send:
            while self._overflow and not self.broken:
                try:
                    await send.send(self._overflow[0])
                except trio.BrokenResourceError:
                    return
                self._overflow.pop(0)

    def _keep(self, frame: Frame, direction: Direction) -> None:
        if len(self._kept) + len(self._kept_special) >= KEPT:
            raise FloodError(f"{self.name} keeps at most {KEPT:,} frames before its run, and was given one more")
        if direction is Direction.UPSTREAM or isinstance(frame, SystemFrame):
            self._kept_special.append((frame, direction))
        else:
            self._kept.append(frame)
        self.count += 1

    def _put_special(self, frame: Frame, direction: Direction) -> None:
        graph = self._engine.graph
        down = direction is Direction.DOWNSTREAM
        end = graph.source.below if down else graph.sink.above
        if isinstance(frame, SystemFrame):
            end.accept_urgent(frame, direction)
        else:
            end.accept_up(frame)
        self.count += 1

    def check(self) -> None:
        """Raise what a frame queued now gets, if it would not be accepted."""
        if self.refusal is not None:
            error = trio.BrokenResourceError if self.broken else trio.ClosedResourceError
            raise error(f"{self.name} accepts no more frames: {self.refusal}")
        self._home.check("queue_frame")

    # -- its life

    def open(self) -> None:
        """The run has begun."""
        self._open = True

    def go_live(self, at_end: Callable[[], None]) -> None:
        """Frames may go into the pipeline; `at_end` is called when all have that were accepted."""
        self._at_end = at_end
        self._set_straight(True)
        self._inbox = self._engine.graph.first.inbox
        if self._kept or self._kept_special or self.waiting():
            self._need_feeder()
        elif self.refusal is not None and not self.broken:
            at_end()

    def close(self, why: str) -> None:
        """Accept nothing more; what was accepted goes in."""
        if self.refusal is None:
            self.refusal = why
            self._quick = None
            if self._channel is not None:
                self._channel[0].close()
            if self._straight:
                self._at_end()

    def break_off(self, why: str) -> None:
        """The run is over: what has not gone in is lost, and those who wait are told."""
        if self.refusal is None or not self.broken:
            self.broken = True
            self.refusal = why
            self._quick = None
        for end in self._channel or ():
            end.close()
        self._kept.clear()
        self._next_in.clear()

    async def mark(self, marker: FlushMarker) -> None:
        """Put a marker behind everything queued so far."""
        self.check()
        if self._straight:
            self._inbox.enqueue((marker,))  # as what was queued in this pass: an interrupt counts these from behind
        elif self._open:
            await self._send(marker)
        else:
            self._kept.append(marker)

    def _set_straight(self, straight: bool) -> None:
        self._straight = straight
        self._quick = self._home.thread if straight and self.refusal is None else None

    # -- the feeder

    def _need_feeder(self) -> None:
        if self._straight:
            self._set_straight(False)
            self._engine.spawn(self._feed)

    async def _feed(self) -> None:
        """Move frames into the pipeline until there are none."""
        self.count -= len(self._kept_special)  # counted when they were kept, and again now
        while self._kept_special:
            self._put_special(*self._kept_special.pop(0))
        while self._kept:
            await self._into_pipeline(self._kept.pop(0))
        try:
            while (item := await self._next()) is not None:
                if not isinstance(item, list):
                    await self._into_pipeline(item)
                elif len(self._inbox.q) + len(item) <= self._inbox.limit:
                    self._inbox.enqueue(item)
                else:
                    self._next_in.extend(item)
                    await self._in_turn(self._next_in)
        except trio.EndOfChannel:
            pass
        except trio.ClosedResourceError:
            return  # broken off
        self._set_straight(True)
        if self.refusal is not None and not self.broken:
            self._at_end()

    async def _in_turn(self, frames: deque[Frame]) -> None:
        """Wait for room with the first frame; those behind it, as many as the lane holds, come in with it."""
        while frames:
            frame = frames.popleft()
            if isinstance(frame, FlushMarker):
                self._inbox.enqueue((frame,))
                continue
            if len(self._inbox.q) >= self._inbox.limit:
                self._take_more(frames)
            await self._inbox.put_or_wait(frame, frames)

    def _take_more(self, frames: deque[Frame]) -> None:
        """As many as the lane holds, from the channel."""
        assert self._channel is not None
        while len(frames) < self._size:
            try:
                item = self._channel[1].receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return
            frames.extend(item if isinstance(item, list) else (item,))

    async def _next(self) -> Frame | list[Frame] | None:
        """What is next in the channel; None: nothing, and nobody is waiting to put something in."""
        if self._channel is None:
            return None
        receive = self._channel[1]
        try:
            return receive.receive_nowait()
        except trio.WouldBlock:
            return await receive.receive() if self._overflow else None

    async def _into_pipeline(self, frame: Frame) -> None:
        if isinstance(frame, FlushMarker):
            self._inbox.enqueue((frame,))
        else:
            await self._inbox.put_or_wait(frame)
