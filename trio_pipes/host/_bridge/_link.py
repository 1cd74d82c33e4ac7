"""One end of a bridge between two pipelines: what is under way, in both directions.

# Room.
#
# Each direction has a window: so many frames may have been sent and not yet be in the other pipeline. There they wait in
# a queue, from which a task pushes them, and waits where the pipeline has no room; so a slow pipeline makes the other one
# slow, and neither fills the bus. Frames are numbered and what was taken is said as a number, so a lost word about it is
# made up for by the next.
#
# Interrupts.
#
# Both ends count them in one number. The end where one happens counts on and says so, in a system message that overtakes
# frames; the other interrupts its pipeline too. A frame carries the number that its sender knew. One that comes with an
# older number was made, or was under way, before the interrupt: it is dropped, unless it is uninterruptible.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from trio_pipes.flow import Direction, Frame, SystemFrame

from ._messages import (
    BridgeClose,
    BridgeFrame,
    BridgeInterrupt,
    BridgeKeep,
    BridgeTaken,
    BridgeUrgent,
    OfALink,
)

if TYPE_CHECKING:
    from .._bus import BusMessage

__all__ = ["BridgeStatistics", "End", "Link", "LinkDown"]

UP, DOWN = Direction.UPSTREAM, Direction.DOWNSTREAM


class LinkDown(Exception):
    """The other end is gone."""


@attrs.define
class BridgeStatistics:
    """What has crossed at one end, up to this moment."""

    sent: int = 0
    """Frames."""
    received: int = 0
    """Frames that came from the other side and were pushed on."""
    stale: int = 0
    """Frames that came after an interrupt that they were made before."""
    lost: int = 0
    """Frames that were sent and never came, or were under way when the other side went."""
    refused: int = 0
    """Frames of a pipeline that was not active."""
    passed: int = 0
    """Frames that would have crossed, and passed by since nobody was there."""


class End(Protocol):
    """Whose link it is."""

    counts: BridgeStatistics

    async def send(self, message: BusMessage) -> bool: ...
    def spawn(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None: ...
    def accepts(self, number: int) -> bool:
        """Whether frames made under this activation are wanted."""
        ...

    async def deliver(self, frame: Frame, direction: Direction) -> None:
        """Push a frame that came."""
        ...

    def interrupted_by_peer(self) -> None: ...
    def lost(self, link: Link, count: int) -> None: ...
    def closed_by_peer(self, link: Link) -> None: ...


@attrs.define(eq=False)
class _Lane:
    """One direction."""

    direction: Direction
    sent: int = 0
    acknowledged: int = 0
    """Of those sent, how many are in the other pipeline."""
    room: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    queue: deque[BridgeFrame] = attrs.field(factory=deque)
    arrived: int = 0
    taken: int = 0
    """Of those that arrived, how many are in the pipeline."""
    told: int = 0
    feeds: bool = False
    epoch: int = 0
    """Of the one that arrived last."""


class Link:
    """This end's view."""

    def __init__(self, end: End, peer: str, serial: int, window: int) -> None:
        self.peer = peer
        self.serial = serial
        self.active = False  # the far side, as the near side sees it
        self.number = 0
        self.is_down = False
        self.heard = trio.current_time()
        self._end = end
        self._window = window
        self._epoch = 0
        self._lanes = {DOWN: _Lane(DOWN), UP: _Lane(UP)}
        self._urgent: deque[BridgeUrgent] = deque()
        self._urgent_runs = False

    # -- out

    async def send(self, frame: Frame, direction: Direction, number: int) -> None:
        """Send a frame; waits for room, except with a system frame. Raises `LinkDown`."""
        up = direction is UP
        if isinstance(frame, SystemFrame):
            if self.is_down:
                raise LinkDown
            self._end.counts.sent += 1
            await self._say(BridgeUrgent(serial=self.serial, up=up, number=number, frame=frame))
            return
        lane = self._lanes[direction]
        while not self.is_down and lane.sent - lane.acknowledged >= self._window:
            await lane.room.park()
        if self.is_down:
            raise LinkDown
        lane.sent += 1
        self._end.counts.sent += 1
        message = BridgeFrame(
            serial=self.serial, up=up, seq=lane.sent, epoch=self._epoch, number=number, frame=frame, target=self.peer
        )
        if not await self._end.send(message):
            raise LinkDown

    async def _say(self, message: OfALink) -> None:
        message.target = self.peer
        await self._end.send(message)

    def interrupt(self) -> None:
        """This pipeline was interrupted."""
        self._epoch += 1
        self._drop_stale()
        self._end.spawn(self._say, BridgeInterrupt(serial=self.serial, epoch=self._epoch))

    async def keep(self) -> None:
        """Tell the other end what it may have missed."""
        down, up = self._lanes[DOWN], self._lanes[UP]
        await self._say(
            BridgeKeep(serial=self.serial, epoch=self._epoch, sent=(down.sent, up.sent), taken=(down.taken, up.taken))
        )

    async def close(self) -> None:
        """Tell the other end that there is nothing here any more."""
        await self._say(BridgeClose(serial=self.serial, taken=(self._lanes[DOWN].taken, self._lanes[UP].taken)))

    def go_down(self) -> None:
        """The other end is gone: whoever waits for room does not any more."""
        if not self.is_down:
            self.is_down = True
            self.active = False
            under_way = sum(lane.sent - lane.acknowledged for lane in self._lanes.values())
            for lane in self._lanes.values():
                lane.room.unpark_all()
            if under_way:
                self._end.lost(self, under_way)

    # -- in

    def take(self, message: OfALink) -> None:
        """What the other end says."""
        self.heard = trio.current_time()
        if isinstance(message, BridgeFrame):
            self._arrived(message)
        elif isinstance(message, BridgeUrgent):
            self._urgent.append(message)
            if not self._urgent_runs:
                self._urgent_runs = True
                self._end.spawn(self._feed_urgent)
        elif isinstance(message, BridgeTaken):
            self._acknowledged(self._lanes[UP if message.up else DOWN], message.taken)
        elif isinstance(message, BridgeInterrupt):
            self._see_epoch(message.epoch)
        elif isinstance(message, BridgeKeep):
            self._see_epoch(message.epoch)
            for lane, sent, taken in zip(
                (self._lanes[DOWN], self._lanes[UP]), message.sent, message.taken, strict=True
            ):
                self._missing(lane, sent)
                self._acknowledged(lane, taken)
        else:
            for lane, taken in zip((self._lanes[DOWN], self._lanes[UP]), message.taken, strict=True):
                self._acknowledged(lane, taken)
            self._end.closed_by_peer(self)

    def _arrived(self, message: BridgeFrame) -> None:
        lane = self._lanes[UP if message.up else DOWN]
        if message.seq <= lane.arrived:
            return  # a copy
        if message.epoch == lane.epoch:  # where a handler was stopped in between, its frame may have been left out
            self._missing(lane, message.seq - 1)
        lane.arrived, lane.epoch = message.seq, message.epoch
        self._see_epoch(message.epoch)
        lane.queue.append(message)
        if not lane.feeds:
            lane.feeds = True
            self._end.spawn(self._feed, lane)

    def _missing(self, lane: _Lane, sent: int) -> None:
        """So many were sent before now."""
        count = sent - lane.arrived
        if count > 0:
            lane.arrived = sent
            if not lane.queue and not lane.feeds:
                lane.taken = sent
            self._end.lost(self, count)

    @staticmethod
    def _acknowledged(lane: _Lane, taken: int) -> None:
        if taken > lane.acknowledged:
            lane.acknowledged = taken
            lane.room.unpark_all()

    def _see_epoch(self, epoch: int) -> None:
        if epoch > self._epoch:
            self._epoch = epoch
            self._drop_stale()
            self._end.interrupted_by_peer()

    def _drop_stale(self) -> None:
        for lane in self._lanes.values():
            kept = [message for message in lane.queue if not self._is_stale(message)]
            self._end.counts.stale += len(lane.queue) - len(kept)
            lane.queue.clear()
            lane.queue.extend(kept)

    def _is_stale(self, message: BridgeFrame) -> bool:
        return message.epoch < self._epoch and message.frame.interruptible

    async def _feed(self, lane: _Lane) -> None:
        """Push what has come, while there is something."""
        while lane.queue:
            message = lane.queue.popleft()
            if self._is_stale(message):
                self._end.counts.stale += 1
            else:
                await self._deliver(message, lane.direction)
            lane.taken = message.seq if lane.queue else lane.arrived
            if 2 * (lane.taken - lane.told) >= self._window:
                lane.told = lane.taken
                await self._say(BridgeTaken(serial=self.serial, up=lane.direction is UP, taken=lane.taken))
        lane.taken = lane.arrived
        lane.feeds = False

    async def _feed_urgent(self) -> None:
        while self._urgent:
            message = self._urgent.popleft()
            await self._deliver(message, UP if message.up else DOWN)
        self._urgent_runs = False

    async def _deliver(self, message: BridgeFrame | BridgeUrgent, direction: Direction) -> None:
        if self._end.accepts(message.number):
            self._end.counts.received += 1
            await self._end.deliver(message.frame, direction)
        else:
            self._end.counts.refused += 1
