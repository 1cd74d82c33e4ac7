"""`Subscription`: one place where messages arrive, with a bounded buffer of its own.

# Who waits, and who gives way.
#
# A sender puts into the buffers of all subscriptions in one step of its own. Trio would go on with it until it
# awaits, so a reader that keeps up could find its buffer overrun in a single step of somebody else. Hence a sender
# gives way once where a buffer is half full; and where one is full, it lets the reader run as long as that takes
# something in each pass of Trio's loop, before it is said to be too slow. It never waits for a reader that is busy
# elsewhere, except where the subscription asked for that with `overflow="wait"`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, cast

import attrs
import trio
from trio.lowlevel import Abort, ParkingLot, Task, current_task, reschedule, wait_task_rescheduled

from trio_pipes._base import SubscriberTooSlow

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ._messages import BusMessage

__all__ = ["CROWDED", "FULL", "TAKEN", "Overflow", "Subscription", "SubscriptionStatistics"]

Overflow = Literal["error", "drop_oldest", "wait"]

# How a put went: the sender goes on, gives way when it has served everybody, or has to come again.
TAKEN: Final = 0
CROWDED: Final = 1
FULL: Final = 2

# A reader takes so many messages, or works for so long, before it lets others run. (`flow` has the same figures for frames.)
MESSAGES_A_TURN: Final = 64
SECONDS_A_TURN: Final = 0.001

# System messages never wait. This many unread ones are no backlog: nobody is reading.
SYSTEM_LIMIT: Final = 10_000


@attrs.frozen
class SubscriptionStatistics:
    """A subscription at one moment."""

    name: str
    waiting: int
    """Data messages in its buffer."""
    waiting_system: int
    """System messages that have not been read."""
    taken: int
    """Messages that were read, in all."""
    dropped: int
    """Messages that made room for newer ones (`overflow="drop_oldest"`)."""


class Subscription:
    """What `bus.subscribe(...)` gives: `async with` opens it, `async for` reads it.

    One task reads it at a time. System messages come first.
    """

    def __init__(
        self,
        name: str,
        types: tuple[type[BusMessage], ...],
        buffer: int,
        overflow: Overflow,
        enter: Callable[[Subscription], Awaitable[None]],
        leave: Callable[[Subscription], None],
    ) -> None:
        self.name: str = name
        self.types: tuple[type[BusMessage], ...] = types
        self._overflow = overflow
        self._room = buffer
        self._crowd = buffer // 2
        self._enter = enter
        self._leave = leave
        self._data: deque[BusMessage] = deque()
        self._system: deque[BusMessage] = deque()
        self._senders = ParkingLot()  # who waits for room
        self._reader: Task | None = None  # parked here
        self._due = False  # the reader will look again in the next pass of Trio's loop
        self._gave_way = False  # somebody did, and the reader has not come since
        self._credit = MESSAGES_A_TURN
        self._until = 0.0
        self._taken = 0
        self._dropped = 0
        self._state: Literal["new", "open", "over"] = "new"
        self._error: Exception | None = None

    def __repr__(self) -> str:
        return f"<subscription of {self.name!r}: {len(self._data) + len(self._system)} waiting>"

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError(f"{self!r} has been opened before: call bus.subscribe() again")
        self._state = "open"
        try:
            await self._enter(self)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether no more messages come."""
        return self._state == "over"

    def close(self) -> None:
        """Take no more messages, and forget those that were not read."""
        if self._state != "over":
            self._state = "over"
            self._leave(self)
            self._data.clear()
            self._system.clear()
            self._end(trio.ClosedResourceError(f"the subscription of {self.name!r} is closed"))

    def fail(self, error: Exception) -> None:
        """Take no more messages; whoever reads gets what is there, and then this error."""
        if self._state != "over":
            self._state = "over"
            self._leave(self)
            self._end(error)

    def _end(self, error: Exception) -> None:
        if self._error is None or isinstance(error, trio.ClosedResourceError):
            self._error = error
        self._senders.unpark_all()
        if self._reader is not None:
            self._wake()

    # -- reading

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> BusMessage:
        if self._credit <= 0 or perf_counter() > self._until:
            await self._give_way()  # before a message is taken: a cancel loses none
        while True:
            if self._system:
                message = self._system.popleft()
                break
            if self._data:
                message = self._data.popleft()
                if self._senders:
                    self._senders.unpark()
                break
            if self._error is not None:
                raise self._error
            await self._park()
        self._credit -= 1
        self._taken += 1
        self._gave_way = False
        return message

    async def receive(self) -> BusMessage:
        """The next message. Raises `SubscriberTooSlow`, `BusError`, or `trio.ClosedResourceError` when no more can come."""
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self.__anext__()

    def receive_nowait(self) -> BusMessage:
        """The next message. Raises `trio.WouldBlock` when none is there."""
        for queue in (self._system, self._data):
            if queue:
                self._taken += 1
                self._gave_way = False
                if queue is self._data and self._senders:
                    self._senders.unpark()
                return queue.popleft()
        if self._error is not None:
            raise self._error
        raise trio.WouldBlock

    async def _park(self) -> None:
        if self._reader is not None:
            raise trio.BusyResourceError(f"another task is reading the subscription of {self.name!r}")
        self._reader = current_task()

        def stop(_: object) -> Abort:
            self._reader = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(stop)
        self._begin_turn()

    async def _give_way(self) -> None:
        self._due = True
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._begin_turn()

    def _begin_turn(self) -> None:
        self._due = False
        self._credit = MESSAGES_A_TURN
        self._until = perf_counter() + SECONDS_A_TURN

    def _wake(self) -> None:
        reader, self._reader = cast("Task", self._reader), None
        self._due = True
        reschedule(reader)

    # -- what the bus does

    def put_system(self, message: BusMessage) -> int:
        """A system message: there is always room."""
        if len(self._system) >= SYSTEM_LIMIT:
            self.fail(SubscriberTooSlow(f"{self.name!r} left {SYSTEM_LIMIT:,} system messages unread"))
            return TAKEN
        self._system.append(message)
        if self._reader is not None:
            self._wake()
        return TAKEN

    def put(self, message: BusMessage) -> int:
        """A data message: TAKEN, CROWDED or FULL."""
        waiting = len(self._data)
        if waiting >= self._crowd:
            return self._put_crowded(message, waiting)
        self._data.append(message)
        if self._reader is not None:
            self._wake()
        return TAKEN

    def _put_crowded(self, message: BusMessage, waiting: int) -> int:
        how = TAKEN if self._gave_way and not self._due else CROWDED
        if waiting >= self._room:
            if self._overflow != "drop_oldest":
                return FULL
            self._data.popleft()
            self._dropped += 1
        elif self._senders and self._overflow == "wait":
            return FULL  # others were here before
        self._data.append(message)
        if self._reader is not None:
            self._wake()
            how = CROWDED
        self._gave_way = True
        return how

    async def put_late(self, message: BusMessage) -> None:
        """Come again with what was refused as FULL, when everybody else has been served."""
        if self._overflow == "wait":
            while self._state == "open" and len(self._data) >= self._room:
                await self._senders.park()
        else:
            await self._let_it_read()
        if self._state != "open":
            return
        if len(self._data) >= self._room:
            text = f"{self.name!r} left {len(self._data)} messages unread, and its buffer={self._room} has no room for {message!r:.200}"
            self.fail(SubscriberTooSlow(text))
            return
        self._data.append(message)
        if self._reader is not None:
            self._wake()

    async def _let_it_read(self) -> None:
        """Give way as long as the buffer is full and the reader comes for it: only who does not is too slow."""
        while self._state == "open" and len(self._data) >= self._room:
            taken = self._taken
            for _ in range(2):  # in one pass it may run after us
                await trio.lowlevel.cancel_shielded_checkpoint()
            if self._taken == taken and not self._due:
                return

    # -- looked at

    @property
    def dropped(self) -> int:
        """How many messages made room for newer ones (`overflow="drop_oldest"`)."""
        return self._dropped

    def statistics(self) -> SubscriptionStatistics:
        """Counts at this moment."""
        return SubscriptionStatistics(self.name, len(self._data), len(self._system), self._taken, self._dropped)
