"""`BrokerBus`: what buses over brokers have in common.

# How it works.
#
# One task, the keeper, connects, uses the connection until it is lost, and connects again. On a connection there are three
# tasks: one reads, one asks (it alone sends commands, one after the other, so that no cancel of anybody
# else can leave half a command behind), and one looks at the clock. Whatever somebody wants from the broker is a
# fact that the asking task finds: topics that should be attended and are not, requests about names, messages in the outbox.
# So there is nothing to undo when a sender or a subscriber is cancelled while it waits, and nothing to
# repeat after a reconnection but the same look at the facts.
#
# Brokers carry a message to who is listening, and keep nothing. What is sent while a receiver's connection is away is
# lost to it; it is told by a `BusGap` as soon as it listens again.
#
# The tasks live in the nursery of one of the blocks in which the bus is open. When that block is left before others, the
# keeper moves to another one between two commands and takes the connection along. It is shielded: cancelling the block
# lets it send what it was given, for as long as `FLUSH` allows.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final, TypeVar

import attrs
import trio
from outcome import Error, Outcome, Value

from trio_pipes._base import FINITE, BusError, Codec, check_number
from trio_pipes.host import Bus, BusGap, BusMessage, SystemMessage

from ._backoff import Backoff
from ._broker_link import BrokerLink, LinkLost, Refused
from ._broker_names import BrokerNames
from ._broker_statistics import BrokerStatistics
from ._inbox import Inbox
from ._outbox import Outbox
from ._wire import Sealer, check_channel, check_topic

__all__ = ["BrokerBus"]

logger = logging.getLogger("trio_pipes")

T = TypeVar("T")

# Seconds that a connection may take to be made, with names looked up, certificates and password.
CONNECT: Final = 10.0

# Seconds that closing the bus waits for what was sent.
FLUSH: Final = 5.0

# Seconds between two tries to connect: the first and the longest.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 5.0

# A connection too slow for so many bytes a second counts as lost.
SLOWEST: Final = 100_000

# Batches that are under way at a time, past the asking task: what comes meanwhile waits for an answer, and goes in one piece.
MOST_BATCHES: Final = 2

# Senders and topics that were quiet for so many seconds are forgotten.
QUIET: Final = 3600.0


@attrs.define(eq=False)
class _Request:
    """Something to be asked of the broker, on this connection or the next."""

    do: Callable[[BrokerLink], Awaitable[Any]]
    done: trio.Event = attrs.field(factory=trio.Event)
    result: Outcome[Any] | None = None

    def answer(self, result: Outcome[Any]) -> None:
        """For whoever waits for it, if anybody does."""
        self.result = result
        self.done.set()


class BrokerBus(Bus):
    """Base of the buses over brokers: give it `_connect`. `where` names the broker in texts, without secrets."""

    crosses: ClassVar[bool] = True

    def __init__(self, where: str, *, channel: str, lease: float, send_timeout: float) -> None:
        call = type(self).__name__
        check_channel(f"{call}(channel", channel)
        check_number(f"{call}(lease", lease, "seconds, at least 1", least=1.0, most=FINITE)
        check_number(
            f"{call}(send_timeout", send_timeout, "a finite number of seconds above 0", above=True, most=FINITE
        )
        super().__init__(lease)
        self.channel: str = channel
        """Buses with the same one, on the same broker, hear each other."""
        self._where = where
        self._send_timeout = send_timeout
        self._codec = Codec()
        self._sealer = Sealer(channel, self.id)
        self._outbox = Outbox(self._sealer)
        codec = self._codec
        self._inbox = Inbox(self.id, channel, codec, self._topics, self._deliver, self._tell_gap, self._note)
        self._names = BrokerNames(lease, self._ask, self._ask_later)
        self._opening = trio.Lock()
        self._homes: list[trio.Nursery] = []  # of the blocks in which it is open
        self._keeper_home: trio.Nursery | None = None
        self._keeper = trio.CancelScope()
        self._keeper_gone = trio.Event()
        self._stopping = False
        self._link: BrokerLink | None = None
        self._is_new = False  # the link: nothing is attended on it yet
        self._was_lost = False  # a link, since the bus was opened
        self._attended: set[str | None] = set()
        self._changed: set[str | None] = set()  # topics to look at: attended, though nobody is there, or the reverse
        self._waiting = trio.lowlevel.ParkingLot()  # for topics to be attended
        self._requests: dict[_Request, None] = {}
        self._asking = trio.lowlevel.ParkingLot()
        self._ping_due = False
        self._answer_by: float | None = None  # to the asking task
        self._written_by: float | None = None  # to what was sent past it
        self._forget_at = 0.0
        self._connections = 0
        self._gaps = 0
        self._last_error: str | None = None

    def __repr__(self) -> str:
        state = "connected" if self._outbox.is_open else "not connected" if self._homes else "not open"
        return f"<{type(self).__name__} {self.id} on {self._where}, channel {self.channel!r}, {state}>"

    @abstractmethod
    async def _connect(self) -> BrokerLink:
        """A connection. Raises `LinkLost` or `Refused`, with a text that has no secrets. Cancelled after `CONNECT` seconds."""

    # -- opening and closing

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        async with self._opening:  # the second waits for the first one's connection
            if not self._homes and self._link is None:
                self._link = await self._first_link()
                self._is_new, self._was_lost = True, False
        error: BaseException | None = None
        async with trio.open_nursery() as home:
            self._homes.append(home)
            if self._keeper_home is None:
                self._start_keeper(home)
            try:
                if self._homes == [home]:
                    await self._wait_ready()
                yield
            except BaseException as exc:  # noqa: ASYNC103, BLE001  (raised again below: alone, and not in the nursery's group)
                error = exc
            try:
                unsent = await self._leave_block(home)
            finally:
                if home is self._keeper_home:  # a fault of ours: what is shielded must not outlast it
                    self._keeper.cancel()
        if unsent:
            lost = BusError(
                f"{unsent} {'message was' if unsent == 1 else 'messages were'} not taken by {self._where} before the bus was closed: {self._last_error}"
            )
            if error is None:
                raise lost
            logger.warning("%s", lost)
        if error is not None:
            raise error

    async def _first_link(self) -> BrokerLink:
        try:
            return await self._try_connect()
        except (LinkLost, Refused) as exc:
            raise BusError(f"cannot connect to {self._where}: {exc}") from exc

    async def _wait_ready(self) -> None:
        """Broadcasts arrive. Raises `BusError` where the broker lets nobody listen."""
        with trio.move_on_after(CONNECT):
            while not self._outbox.is_open and self._link is not None:
                await self._waiting.park()
        if not self._outbox.is_open:
            raise BusError(self._last_error or f"{self._where} did not answer for {CONNECT:g} s")

    async def _try_connect(self) -> BrokerLink:
        with trio.move_on_after(CONNECT):
            link = await self._connect()
            self._connections += 1
            return link
        raise LinkLost(f"no answer for {CONNECT:g} s")

    def _start_keeper(self, home: trio.Nursery) -> None:
        self._keeper_home = home
        self._keeper = trio.CancelScope(shield=True)
        self._keeper_gone = trio.Event()
        self._stopping = False
        home.start_soon(self._keep, name=f"{self._where}: keeper")

    async def _leave_block(self, home: trio.Nursery) -> int:
        """The block of this nursery ends. Gives how many messages it could not send."""
        self._homes.remove(home)
        if home is self._keeper_home:
            await self._stop_keeper()
            self._keeper_home = None
            if self._homes:
                self._start_keeper(self._homes[0])
        if self._homes or self._keeper_home is not None:
            return 0
        await self._drop_link()
        closed = BusError(f"{self!r} was closed")
        for subscription in tuple(self._subscriptions):
            subscription.fail(closed)
        for request in self._requests:
            request.answer(Error(closed))
        self._requests.clear()
        return self._outbox.clear(closed)

    async def _stop_keeper(self) -> None:
        """When it has sent what there is, if nobody else can; and else when its command has been answered."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FLUSH):
            if not self._homes and not self._keeper_gone.is_set():
                await self._outbox.wait_empty()
            self._stopping = True
            self._asking.unpark_all()
            await self._keeper_gone.wait()
        self._keeper.cancel(reason=f"{self!r} is closed, and its broker did not answer in {FLUSH:g} s")
        with trio.CancelScope(shield=True):
            await self._keeper_gone.wait()  # at once

    async def _drop_link(self) -> None:
        self._outbox.close()
        self._written_by = None
        self._attended.clear()
        self._waiting.unpark_all()
        link, self._link = self._link, None
        if link is not None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await link.aclose()

    # -- the keeper

    async def _keep(self) -> None:
        try:
            with self._keeper:
                backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
                while not self._stopping:
                    if self._link is None and not await self._reconnect(backoff.pause):
                        backoff.grow()
                        continue
                    since = trio.current_time()
                    if await self._use_link():
                        return
                    (backoff.reset if trio.current_time() - since > self.lease else backoff.grow)()
        finally:
            if self._keeper.cancel_called or not self._stopping:  # perhaps in the middle of a command
                await self._drop_link()  # noqa: ASYNC102  (it shields itself, for a second)
            self._keeper_gone.set()

    async def _reconnect(self, pause: float) -> bool:
        with trio.move_on_after(pause):
            await self._wait_stopping()
            return False
        try:
            self._link = await self._try_connect()
        except (LinkLost, Refused) as exc:
            self._last_error = f"cannot connect to {self._where}: {exc}"
            return False
        self._is_new = True
        return True

    async def _wait_stopping(self) -> None:
        while not self._stopping:
            await self._asking.park()

    async def _use_link(self) -> bool:
        """True: the keeper is to stop, and the link is in order. False: the link was lost."""
        link = self._link
        assert link is not None
        try:
            async with trio.open_nursery() as nursery:
                if self._is_new:
                    self._inbox.hold()
                nursery.start_soon(link.read, self._inbox.take)
                nursery.start_soon(self._watch)
                await self._ask_link(link)
                nursery.cancel_scope.cancel()
        except* (LinkLost, Refused) as lost:
            self._last_error = f"lost the connection to {self._where}: {_text(lost)}"
            self._was_lost = True
        else:
            return True
        logger.warning("%s; connecting again", self._last_error)
        await self._drop_link()
        return False

    async def _watch(self) -> None:
        """A connection that is cut says nothing: it is lost when it has not answered for a while."""
        while True:
            now = trio.current_time()
            tick = now + self.lease / 12
            if now > self._forget_at:
                self._forget_at = now + QUIET / 10
                self._inbox.numbers.forget(now - QUIET)
                self._sealer.forget(now - QUIET)
            answers = [by for by in (self._answer_by, self._written_by) if by is not None]
            if not answers:
                self._ping_due = True
                self._asking.unpark()
            elif min(answers) <= now:
                raise LinkLost("no answer")
            await trio.sleep_until(min([tick, *answers]))

    # -- asking the broker: one command after the other

    async def _ask_link(self, link: BrokerLink) -> None:
        """Do what there is to do, until the keeper is to stop."""
        try:
            if self._is_new:
                await self._begin(link)
            while not self._stopping:
                self._expect_answer()
                if self._changed:
                    await self._attend_changed(link)
                elif self._requests:
                    await self._ask_one(link, next(iter(self._requests)))
                elif self._outbox.has_work:
                    batch = self._outbox.take()
                    self._expect_answer(sum(len(data) for _, data in batch))
                    self._outbox.send(len(batch))
                    await link.publish(batch)
                    self._outbox.acknowledge()
                elif self._ping_due:
                    self._ping_due = False
                    await link.ping()
                else:
                    self._answer_by = None
                    await self._asking.park()
        finally:
            self._answer_by = None

    def _expect_answer(self, size: int = 0) -> None:
        self._answer_by = trio.current_time() + self.lease / 4 + size / SLOWEST

    async def _begin(self, link: BrokerLink) -> None:
        """On a new connection: attend what is wanted, say that messages may have been lost, and let senders in."""
        topics: list[str | None] = [None, *self._topics]
        self._changed.clear()
        self._expect_answer()
        await link.attend(topics)
        self._attended.update(topics)
        self._is_new = False
        if self._was_lost:
            logger.info("connected to %s again", self._where)
            self._tell_gap(BusGap())
        await self._inbox.go_on()
        self._outbox.open()
        self._waiting.unpark_all()

    async def _attend_changed(self, link: BrokerLink) -> None:
        changed, self._changed = self._changed, set()
        come = [topic for topic in changed if topic in self._topics and topic not in self._attended]
        gone = [topic for topic in changed if topic in self._attended and topic not in self._topics]
        if come:
            await link.attend(come)
            self._attended.update(come)
            self._waiting.unpark_all()
        if gone:
            self._attended.difference_update(gone)  # at once: who comes back meanwhile has to ask again
            await link.unattend([topic for topic in gone if topic is not None])

    async def _ask_one(self, link: BrokerLink, request: _Request) -> None:
        try:
            result: Outcome[Any] = Value(await request.do(link))
        except Refused as exc:
            result = Error(BusError(f"{self._where} refused: {exc}"))
        self._requests.pop(request, None)
        request.answer(result)

    async def _ask(self, do: Callable[[BrokerLink], Awaitable[T]]) -> T:
        """Have it asked, on this connection or the next, and give the answer."""
        self._refuse_closed()
        request = _Request(do)
        self._requests[request] = None
        self._asking.unpark()
        try:
            with trio.move_on_after(self._send_timeout):
                await request.done.wait()
        finally:
            self._requests.pop(request, None)
        if request.result is None:
            raise self._away()
        answer: T = request.result.unwrap()
        return answer

    def _ask_later(self, do: Callable[[BrokerLink], Awaitable[object]]) -> None:
        """Have it asked when there is a connection; nobody waits for the answer."""
        if self._homes:
            self._requests[_Request(do)] = None
            self._asking.unpark()

    def _refuse_closed(self) -> None:
        if not self._homes:
            raise BusError(f"{self!r}: open it with 'async with bus:', or give it to a runner")

    def _away(self) -> BusError:
        reason = self._last_error or "it does not answer"
        return BusError(f"{self._where} took nothing for {self._send_timeout:g} s: {reason}")

    # -- messages out

    async def _publish(self, message: BusMessage) -> bool:
        self._refuse_closed()
        body = self._codec.encode(message)
        topic = None if message.target is None else message.target.partition("/")[0]
        if topic is not None:
            check_topic("send(target", topic)
        system = isinstance(message, SystemMessage)
        if not self._outbox.put_nowait(topic, body, system=system):
            with trio.move_on_after(self._send_timeout) as scope:
                await self._outbox.put(topic, body, system=system)
            if scope.cancelled_caught:
                raise self._away()
        self._send_now()
        if self._outbox.is_crowded:
            await trio.lowlevel.cancel_shielded_checkpoint()  # it will be sent
        return True

    def _send_now(self) -> None:
        """What waits: in this step, if not too much is under way already; else the asking task does it."""
        link, outbox = self._link, self._outbox
        if not (outbox.is_open and outbox.has_work) or link is None:
            return
        if not link.publishes_nowait:
            self._asking.unpark()
        elif outbox.batches < MOST_BATCHES:
            batch = outbox.take()
            if link.publish_nowait(batch, self._acknowledged):
                outbox.send(len(batch))
                self._written_by = trio.current_time() + self.lease / 4
            else:
                self._asking.unpark()

    def _acknowledged(self) -> None:
        self._outbox.acknowledge()
        self._written_by = trio.current_time() + self.lease / 4 if self._outbox.batches else None
        self._send_now()

    # -- told

    def _tell_gap(self, gap: BusGap, topic: str | None = None) -> None:
        """Tell all subscriptions, or those that are on this topic."""
        self._gaps += 1
        for subscription in tuple(self._subscriptions):
            if topic is None or subscription.name.partition("/")[0] == topic:
                subscription.put_system(gap)

    def _note(self, text: str) -> None:
        self._last_error = text

    # -- topics

    async def _attend(self, topic: str) -> None:
        self._refuse_closed()
        check_topic("subscribe(name", topic)
        if topic in self._attended:
            await trio.lowlevel.checkpoint()
            return
        self._changed.add(topic)
        self._asking.unpark()
        with trio.move_on_after(self._send_timeout):
            while topic not in self._attended:
                await self._waiting.park()
                self._refuse_closed()
            return
        raise self._away()

    def _unattend(self, topic: str) -> None:
        self._inbox.numbers.leave(topic)
        self._changed.add(topic)
        self._asking.unpark()

    # -- names

    async def claim(self, names: Iterable[str], owner: str) -> dict[str, str]:
        """As `Bus.claim`. Raises `BusError` when the broker is away for longer than `send_timeout`."""
        return await self._names.claim(tuple(names), owner)

    async def renew(self, owner: str) -> set[str]:
        """As `Bus.renew`. Raises `BusError` when the broker is away for longer than `send_timeout`."""
        return await self._names.renew(owner)

    async def release(self, names: Iterable[str] | None, owner: str) -> None:
        """As `Bus.release`. Raises `BusError` when the broker is away for longer than `send_timeout`."""
        await self._names.release(None if names is None else tuple(names), owner)

    # -- looked at

    def statistics(self) -> BrokerStatistics:
        """Counts at this moment."""
        return BrokerStatistics(
            **attrs.asdict(super().statistics(), recurse=False),
            connected=self._outbox.is_open,
            connections=self._connections,
            unacknowledged=len(self._outbox),
            gaps=self._gaps,
            duplicates=self._inbox.duplicates,
            unknown=self._inbox.unknown,
            unreadable=self._inbox.unreadable,
            last_error=self._last_error,
        )


def _text(lost: BaseExceptionGroup[Any]) -> str:
    for error in lost.exceptions:
        return _text(error) if isinstance(error, BaseExceptionGroup) else str(error)
    return ""
