"""`Bus`: who gets which message, whatever carries it between processes.

# Names and topics.
#
# A message without a target is a broadcast. One with a target is for the subscriptions of that name alone, found in
# one look-up however many there are. The *topic* of a name is what stands before its first slash: a broker carries
# topics, so that "runner-1f/job-7" costs the process a dict entry and the broker nothing. Where the target
# is subscribed in this process, a message does not leave it. A subscription of "runner-1f/" gets what is for names
# below that nobody else here has: who stands for a runner that is not on this bus needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from secrets import token_hex
from threading import get_ident
from types import TracebackType
from typing import ClassVar, Self

import attrs
import trio
from trio.lowlevel import Task, cancel_shielded_checkpoint, checkpoint_if_cancelled, current_task

from trio_pipes._base import ConfigurationError, are_classes, check_count, check_name, refuse

from ._listener import Listener
from ._messages import BusGap, BusMessage, SystemMessage
from ._subscription import CROWDED, FULL, Overflow, Subscription

__all__ = ["Bus", "BusStatistics", "topic_of"]

POLICIES = ("error", "drop_oldest", "wait")


def topic_of(name: str) -> str:
    """What stands before the first slash of a name: what a broker carries it under."""
    return name.partition("/")[0]


@attrs.frozen
class BusStatistics:
    """A bus at one moment. Counts are of this process."""

    subscriptions: int
    sent: int
    """Messages given to `send`."""
    received: int
    """Messages that came from other processes."""
    undelivered: int
    """Targeted messages whose name nobody had, as far as this bus can tell."""


@attrs.define(eq=False)
class _Kind:
    """One class of messages."""

    is_system: bool
    is_local: bool
    audience: tuple[Subscription, ...] | None = None
    """Who gets its broadcasts; None: not looked up since somebody came or went."""


def _wants(types: tuple[type[BusMessage], ...], cls: type[BusMessage]) -> bool:
    """Whether a broadcast of this class is for a subscription of these types."""
    if cls.internal:
        types = tuple([one for one in types if one.internal])
        return bool(types) and issubclass(cls, types)
    return not types or issubclass(cls, (BusGap, *types))


class Bus:
    """What all buses do. Make a `MemoryBus`, or one of `trio_pipes.net`.

    `async with bus:` opens it; a runner opens the bus it is given for its run. Several blocks may be open at once.
    """

    crosses: ClassVar[bool] = False
    """Whether it reaches other processes."""

    def __init__(self, lease: float) -> None:
        self.id: str = token_hex(4)
        """Tells this bus object from all others on the same medium."""
        self.lease: float = lease
        """Seconds after which a runner that is not heard of is forgotten."""
        self._named: dict[str, tuple[Subscription, ...]] = {}
        self._subscriptions: dict[Subscription, None] = {}
        self._topics: Counter[str] = Counter()
        self._kinds: dict[type[BusMessage], _Kind] = {}
        self._open_blocks: dict[Task, list[AbstractAsyncContextManager[None]]] = {}
        self._thread: int | None = None  # of the Trio run that has subscriptions here
        self._sent = 0
        self._received = 0
        self._undelivered = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} with {len(self._subscriptions)} subscriptions>"

    # -- opening

    def _opened(self) -> AbstractAsyncContextManager[None]:
        """One block in which the bus is open. Several may overlap, in any order of leaving."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._check_thread()
        self._thread = get_ident()
        block = self._opened()
        try:
            await block.__aenter__()
        except BaseException:
            self._forget_thread()
            raise
        self._open_blocks.setdefault(current_task(), []).append(block)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        blocks = self._open_blocks[current_task()]
        block = blocks.pop()
        if not blocks:
            del self._open_blocks[current_task()]
        try:
            return await block.__aexit__(kind, value, tb)  # noqa: ASYNC102  (the block's own)
        finally:
            self._forget_thread()

    def _check_thread(self) -> None:
        if self._thread is not None and self._thread != get_ident():
            raise RuntimeError(f"{self!r} is used by a Trio run in another thread: use a bus of this run, or a broker")

    def _forget_thread(self) -> None:
        if not (self._subscriptions or self._open_blocks):
            self._thread = None

    # -- sending

    async def send(self, message: BusMessage) -> bool:
        """Give a message to those it is for. False: it has a target, and this bus knows that nobody has that name.

        Waits for nobody but subscriptions in this process that asked for it (`overflow="wait"`), after all others
        have been served, and for a broker that is slow. When it is cancelled then, these do not get the message.
        Raises `BusError` where the message cannot be carried, `WireError` where it cannot be written for the wire.
        """
        await checkpoint_if_cancelled()
        if self._thread is not None and self._thread != get_ident():
            self._check_thread()
        self._sent += 1
        cls = type(message)
        kind = self._kinds.get(cls) or self._kind_of(cls, message)
        found, crowded, late = self._route(message, kind)
        if self.crosses and not kind.is_local and (message.target is None or not found):
            found = await self._publish(message) or found
        if late or crowded:
            await self._settle(message, late, crowded)
        if not found and message.target is not None:
            self._undelivered += 1
            return False
        return True

    async def _deliver(self, message: BusMessage) -> None:
        """A message from another process: give it to those it is for. Never waits for a reader."""
        self._received += 1
        cls = type(message)
        kind = self._kinds.get(cls) or self._kind_of(cls, message)
        _, crowded, late = self._route(message, kind)
        if late or crowded:
            await self._settle(message, late, crowded)

    async def _settle(self, message: BusMessage, late: list[Subscription] | None, crowded: bool) -> None:
        """Everybody else has it: come again to those who had no room, and let them read."""
        for subscription in late or ():
            await subscription.put_late(message)
        if crowded:
            await cancel_shielded_checkpoint()  # it has been delivered

    def _route(self, message: BusMessage, kind: _Kind) -> tuple[bool, bool, list[Subscription] | None]:
        """Whether somebody is there, whether to give way, and who has to be served when all others have been."""
        target = message.target
        source = message.source
        if target is None:
            audience = kind.audience
            if audience is None:
                audience = self._audience(type(message), kind)
            if source:
                audience = tuple([one for one in audience if one.name != source]) if source in self._named else audience
        else:
            found = self._named.get(target)
            if found is None:
                if not isinstance(target, str):
                    raise refuse(f"{type(self).__name__}.send(message.target", target, "a name, or None for everybody")
                if "/" not in target:
                    return False, False, None
                found = self._named.get(topic_of(target) + "/", ())
                if not found:
                    return False, False, None
            audience = found
            cls = type(message)
            audience = tuple([one for one in audience if not one.types or issubclass(cls, one.types)])
        if kind.is_system:
            for subscription in audience:
                subscription.put_system(message)
            return True, False, None
        crowded, late = False, None
        for subscription in audience:
            how = subscription.put(message)
            if how:
                if how == CROWDED:
                    crowded = True
                elif how == FULL:
                    late = late or []
                    late.append(subscription)
        return True, crowded, late

    def _kind_of(self, cls: type[BusMessage], message: object) -> _Kind:
        if not isinstance(message, BusMessage):
            raise refuse(f"{type(self).__name__}.send(message", message, "an instance of a class below BusMessage")
        kind = self._kinds[cls] = _Kind(issubclass(cls, SystemMessage), cls.local)
        return kind

    def _audience(self, cls: type[BusMessage], kind: _Kind) -> tuple[Subscription, ...]:
        kind.audience = tuple([one for one in self._subscriptions if _wants(one.types, cls)])
        return kind.audience

    # -- subscribing

    def subscribe(
        self, name: str, *types: type[BusMessage], buffer: int = 64, overflow: Overflow = "error"
    ) -> Subscription:
        """A place where messages for `name` arrive, and broadcasts of others: those of the classes `types`, or all.

        Open it with `async with`: nothing that is sent later is missed. `buffer` is how many data messages may
        wait; when it is full, `overflow` says what happens: the subscription ends with `SubscriberTooSlow` ("error"), its
        oldest message is dropped and counted ("drop_oldest"), or senders in this process wait ("wait"). Several
        subscriptions may have one name; each gets every message. A name that ends in a slash stands for all names
        below it that nobody here has.
        """
        call = f"{type(self).__name__}.subscribe("
        check_name(f"{call}name", name)
        if not are_classes(types, BusMessage):
            raise refuse(f"{call}*types", types, "classes below BusMessage")
        check_count(f"{call}buffer", buffer, "a whole number of messages, at least 1")
        if overflow not in POLICIES:
            raise refuse(f"{call}overflow", overflow, "'error', 'drop_oldest' or 'wait'")
        if overflow == "wait" and self.crosses:
            raise ConfigurationError(
                f"{call}overflow='wait'): works in one process only, since no sender in another can be made to wait. "
                "Take 'error' or 'drop_oldest', and a buffer for the longest pause of the reader."
            )
        return Subscription(name, types, buffer, overflow, self._enter, self._leave)

    def listen(
        self,
        name: str,
        *types: type[BusMessage],
        handle: Callable[[BusMessage], bool | None],
        failed: Callable[[Exception], None],
    ) -> Listener:
        """As `subscribe`, for this library's own protocols: `handle(message)` is called in the step in which one arrives.

        It must be quick and not raise; it may give True for its sender to give way. `failed(error)` is called once
        where the bus can carry no more.
        """
        return Listener(name, types, handle, failed, self._enter, self._leave)

    async def _enter(self, subscription: Subscription) -> None:
        self._add(subscription)
        await self._attend(topic_of(subscription.name))

    def _add(self, subscription: Subscription) -> None:
        self._check_thread()
        self._thread = get_ident()
        name = subscription.name
        self._subscriptions[subscription] = None
        self._named[name] = (*self._named.get(name, ()), subscription)
        self._topics[topic_of(name)] += 1
        self._forget_audiences()

    def _leave(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        name = subscription.name
        del self._subscriptions[subscription]
        rest = tuple([one for one in self._named[name] if one is not subscription])
        if rest:
            self._named[name] = rest
        else:
            del self._named[name]
        self._forget_audiences()
        topic = topic_of(name)
        self._topics[topic] -= 1
        if not self._topics[topic]:
            del self._topics[topic]
            self._unattend(topic)
        self._forget_thread()

    def _forget_audiences(self) -> None:
        for kind in self._kinds.values():
            kind.audience = None

    # -- what carries messages between processes

    async def _publish(self, message: BusMessage) -> bool:
        """Carry it to the other processes. False: it has a target, and nobody there has it."""
        raise NotImplementedError

    async def _attend(self, topic: str) -> None:
        """Return when nothing that is sent to the topic from now on is missed. Called for each subscription."""
        await trio.lowlevel.checkpoint()

    def _unattend(self, topic: str) -> None:
        """The last subscription of this topic has gone."""

    # -- names

    async def claim(self, names: Iterable[str], owner: str) -> dict[str, str]:
        """Make `owner` (a runner's id) the owner of all these names, or of none: gives those that others have, with their owner."""
        raise NotImplementedError

    async def renew(self, owner: str) -> set[str]:
        """Say that the owner is alive. Gives names that it lost: its lease had run out, and somebody else has them now."""
        raise NotImplementedError

    async def release(self, names: Iterable[str] | None, owner: str) -> None:
        """Give back names; None: all."""
        raise NotImplementedError

    # -- looked at

    def statistics(self) -> BusStatistics:
        """Counts at this moment."""
        return BusStatistics(len(self._subscriptions), self._sent, self._received, self._undelivered)
