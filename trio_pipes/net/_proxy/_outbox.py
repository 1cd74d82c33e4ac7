"""What waits to be written to a link: urgent first, and all of it bounded."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

__all__ = ["Outbox"]

# So much may wait for a slow link; then whoever puts waits too, and in the end the subscriptions drop, and tell of it.
BYTES: Final = 4 * 1_048_576

# Urgent ones never wait. With so many unread, the other end is not reading: as with the system messages of a subscription.
MOST_URGENT: Final = 10_000


class Outbox:
    """One task reads it; any may put."""

    def __init__(self) -> None:
        self._urgent: deque[bytes] = deque()
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._something = trio.Event()
        self._room = trio.lowlevel.ParkingLot()

    async def put(self, data: bytes) -> None:
        """Wait until there is room, and put it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._bytes > BYTES:
            await self._room.park()
        self._queue.append(data)
        self._bytes += len(data)
        self._something.set()

    def put_urgent(self, data: bytes) -> bool:
        """Before all that waits. False: too many of these wait already."""
        if len(self._urgent) >= MOST_URGENT:
            return False
        self._urgent.append(data)
        self._something.set()
        return True

    async def take(self) -> bytes:
        """The next."""
        await self._something.wait()
        if self._urgent:
            data = self._urgent.popleft()
        else:
            data = self._queue.popleft()
            self._bytes -= len(data)
            self._room.unpark()
        if not self._urgent and not self._queue:
            self._something = trio.Event()
        return data
