"""`Outbox`: messages that were given to a broker bus and are not acknowledged yet. No I/O.

# Who waits for whom.
#
# A sender comes in while there is room and the broker is there, and goes on at once. What is in here is sent, in order,
# and again on the next connection when its fate is unknown: numbers (see `_wire`) let the receivers drop copies. So
# a sender that was let in never has to be told of a failure, and one that was not let in knows that its
# message has not gone out. System messages have a room of their own and go first.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final

import attrs
import trio

from ._wire import Sealer

__all__ = ["Outbox"]

# How much may be unacknowledged: enough for a connection across the world, little enough to be forgotten in a crash.
MOST_MESSAGES: Final = 1000
MOST_BYTES: Final = 1 << 20

# What goes out in one piece: what is urgent waits for no more than this.
BATCH_MESSAGES: Final = 200
BATCH_BYTES: Final = 1 << 16

# Whoever puts without ever waiting gives way when so many messages have not been looked at.
CROWD: Final = 64


@attrs.define(eq=False)
class _Lane:
    waiting: deque[tuple[str | None, bytes]] = attrs.field(factory=deque)
    senders: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    messages: int = 0
    """Waiting or under way."""
    size: int = 0
    """Of all these, in bytes."""

    def has_room(self, size: int) -> bool:
        """One message fits always, whatever its size."""
        return not self.messages or (self.messages < MOST_MESSAGES and self.size + size <= MOST_BYTES)

    def add(self, topic: str | None, body: bytes) -> None:
        self.waiting.append((topic, body))
        self.messages += 1
        self.size += len(body)


class Outbox:
    """Two lanes, and what is under way."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._system = _Lane()
        self._data = _Lane()
        self._sealed: deque[tuple[_Lane, int, tuple[str | None, bytes]]] = deque()
        self._batches: deque[int] = deque()  # of these, sent on this connection: how many at a time
        self._sent = 0  # all of them
        self._clears = 0
        self._cleared_by: Exception | None = None
        self._empty = trio.lowlevel.ParkingLot()
        self.is_open: bool = False
        """Whether senders are let in: there is a connection."""

    def __len__(self) -> int:
        return self._system.messages + self._data.messages

    @property
    def has_work(self) -> bool:
        """Whether something is there that has not been sent on this connection."""
        return bool(len(self._sealed) > self._sent or self._system.waiting or self._data.waiting)

    @property
    def batches(self) -> int:
        """How many have been sent and are not acknowledged."""
        return len(self._batches)

    @property
    def is_crowded(self) -> bool:
        """Whether whoever puts should give way to who sends."""
        return len(self._data.waiting) + len(self._system.waiting) >= CROWD

    def put_nowait(self, topic: str | None, body: bytes, *, system: bool) -> bool:
        """If there is room, and nobody waits for it, it will be sent."""
        lane = self._system if system else self._data
        if not self.is_open or lane.senders or not lane.has_room(len(body)):
            return False
        lane.add(topic, body)
        return True

    async def put(self, topic: str | None, body: bytes, *, system: bool) -> None:
        """Wait until there is room; then it will be sent. Cancelled: it will not. Raises what `clear` was given meanwhile."""
        lane = self._system if system else self._data
        clears = self._clears
        while True:
            await lane.senders.park()
            if self._clears != clears and self._cleared_by is not None:
                raise self._cleared_by
            if self.is_open and lane.has_room(len(body)):
                break
        lane.add(topic, body)

    def close(self) -> None:
        """The connection has gone: keep senders out, and what was under way is to be sent again."""
        self.is_open = False
        self._batches.clear()
        self._sent = 0

    def open(self) -> None:
        """There is a connection: let senders in."""
        self.is_open = True
        self._system.senders.unpark_all()
        self._data.senders.unpark_all()

    def take(self) -> list[tuple[str | None, bytes]]:
        """What to send next, in envelopes: first what may have been lost with another connection."""
        if len(self._sealed) == self._sent:
            self._seal()
        return [parcel for _, _, parcel in islice(self._sealed, self._sent, self._sent + BATCH_MESSAGES)]

    def _seal(self) -> None:
        room, count = BATCH_BYTES, 0
        for lane in (self._system, self._data):
            while lane.waiting and room > 0 and count < BATCH_MESSAGES:
                topic, body = lane.waiting.popleft()
                room -= len(body)
                count += 1
                self._sealed.append((lane, len(body), (topic, self._sealer.seal(topic, body))))

    def send(self, count: int) -> None:
        """The first `count` of what was taken are under way, on this connection."""
        self._batches.append(count)
        self._sent += count

    def acknowledge(self) -> None:
        """The oldest batch has arrived."""
        count = self._batches.popleft()
        self._sent -= count
        for _ in range(count):
            lane, size, _ = self._sealed.popleft()
            lane.messages -= 1
            lane.size -= size
            if lane.senders:
                lane.senders.unpark()
        if not len(self):
            self._empty.unpark_all()

    def clear(self, why: Exception) -> int:
        """Forget what is in here, and turn away who waits. Gives how many messages were in here."""
        lost = len(self)
        self._clears += 1
        self._cleared_by = why
        self._sealed.clear()
        self.close()
        for lane in (self._system, self._data):
            lane.waiting.clear()
            lane.messages = lane.size = 0
            lane.senders.unpark_all()
        return lost

    async def wait_empty(self) -> None:
        """Return when everything has been acknowledged."""
        while len(self):
            await self._empty.park()
