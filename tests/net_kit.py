"""A broker in memory that can be broken in every way, for tests of what all broker buses share, on the autojump clock.

Real Redis and PostgreSQL are tested by the tests that are marked `server`; here it is about the order of things.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Sequence

import attrs
import trio

from trio_pipes import DataMessage, SystemMessage
from trio_pipes._base import on_wire
from trio_pipes.net._broker_bus import BrokerBus
from trio_pipes.net._broker_link import BrokerLink, LinkLost, Refused


@on_wire("tests.net.note", version=1)
@attrs.define(eq=False, kw_only=True)
class Note(DataMessage):
    n: int = 0
    text: str = ""


@on_wire("tests.net.shout", version=1)
@attrs.define(eq=False, kw_only=True)
class Shout(SystemMessage):
    n: int = 0


class Broker:
    """Carries messages at once to who attends their topics."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.names: dict[str, str] = {}
        self.leases: dict[str, float] = {}
        self.refuses: str | None = None
        """What it says to whoever connects."""
        self.answers = True
        """False: it takes what is sent, and does nothing until this is True again."""
        self.loses_next = 0
        """So many messages vanish."""
        self.acknowledges = True
        """False: the connection breaks after a batch has been carried, before that is acknowledged."""
        self.batches: list[int] = []
        self.commands: list[str] = []
        self.connected = 0
        self._more = trio.lowlevel.ParkingLot()

    def bus(self, **options: object) -> FakeBus:
        return FakeBus(self, **options)

    def cut(self) -> None:
        """Break all connections."""
        for link in tuple(self.links):
            link.lose("it was cut")

    def pause(self) -> None:
        self.answers = False

    def go_on(self) -> None:
        self.answers = True
        self._more.unpark_all()

    async def reach(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.answers:
            await self._more.park()

    def carry(self, topic: str | None, data: bytes) -> None:
        if self.loses_next:
            self.loses_next -= 1
            return
        for link in self.links:
            if topic in link.attended:
                link.arrive(data)

    def inject(self, data: bytes, topic: str | None = None) -> None:
        """Somebody who is no bus sends this."""
        self.carry(topic, data)

    def is_alive(self, owner: str) -> bool:
        return self.leases.get(owner, -math.inf) > trio.current_time()


class FakeLink(BrokerLink):
    """One connection to it."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.attended: set[str | None] = set()
        self.is_lost: str | None = None
        self.is_closed = False
        self._in: list[bytes] = []
        self._more = trio.lowlevel.ParkingLot()
        self._asking = False
        broker.links.append(self)

    def lose(self, why: str) -> None:
        self.is_lost = why
        if self in self.broker.links:
            self.broker.links.remove(self)
        self._more.unpark_all()
        self.broker._more.unpark_all()

    def arrive(self, data: bytes) -> None:
        self._in.append(data)
        self._more.unpark_all()

    async def read(self, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        while True:
            if self.is_lost:
                raise LinkLost(self.is_lost)
            while self._in:
                await deliver(self._in.pop(0))
            await self._more.park()

    async def _ask(self, what: str) -> None:
        """There and, if nothing is broken, back."""
        assert not self._asking, "two commands at once"
        assert not self.is_closed, "a command on a closed link"
        self._asking = True
        self.broker.commands.append(what)
        await self.broker.reach()
        if self.is_lost:
            raise LinkLost(self.is_lost)
        self._asking = False  # a cancelled one leaves it set: no command may follow

    async def publish(self, batch: Sequence[tuple[str | None, bytes]]) -> None:
        await self._ask("publish")
        self.broker.batches.append(len(batch))
        for topic, data in batch:
            self.broker.carry(topic, data)
        if not self.broker.acknowledges:
            self.broker.acknowledges = True
            self.lose("it broke before it could answer")
            raise LinkLost("it broke before it could answer")

    async def attend(self, topics: Collection[str | None]) -> None:
        await self._ask("attend")
        self.attended.update(topics)

    async def unattend(self, topics: Collection[str]) -> None:
        await self._ask("unattend")
        self.attended.difference_update(topics)

    async def ping(self) -> None:
        await self._ask("ping")

    async def claim(self, names: Sequence[str], owner: str, lease: float) -> dict[str, str]:
        await self._ask("claim")
        broker = self.broker
        has = {name: broker.names[name] for name in names if name in broker.names}
        taken = {name: other for name, other in has.items() if other != owner and broker.is_alive(other)}
        broker.leases[owner] = trio.current_time() + lease
        if not taken:
            broker.names.update(dict.fromkeys(names, owner))
        return taken

    async def renew(self, owner: str, lease: float) -> bool:
        await self._ask("renew")
        if not self.broker.is_alive(owner):
            return False
        self.broker.leases[owner] = trio.current_time() + lease
        return True

    async def release(self, names: Sequence[str], owner: str, *, lease_too: bool) -> None:
        await self._ask("release")
        for name in names:
            if self.broker.names.get(name) == owner:
                del self.broker.names[name]
        if lease_too:
            self.broker.leases.pop(owner, None)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_closed = True
        self.lose("it is closed")


class FakeBus(BrokerBus):
    """A bus over it."""

    def __init__(self, broker: Broker, **options: object) -> None:
        settings: dict[str, object] = {"channel": "tests", "lease": 12.0, "send_timeout": 30.0} | options
        super().__init__("a broker in memory", **settings)  # type: ignore[arg-type]
        self.broker = broker

    async def _connect(self) -> BrokerLink:
        await self.broker.reach()
        if self.broker.refuses is not None:
            raise Refused(self.broker.refuses)
        self.broker.connected += 1
        return FakeLink(self.broker)
