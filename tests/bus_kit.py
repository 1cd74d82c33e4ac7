"""A broker in memory, for tests: buses that "cross" between processes that are not there, on the autojump clock.

    async with open_medium() as medium:
        one, two = medium.bus(), medium.bus()          # as two processes would have
        runner = PipelineRunner(..., bus=one)
        medium.cut(two)                                # its connection is away
        medium.mend(two)                               # and back: its subscriptions get a BusGap

Each bus has a link from the medium that keeps the order of messages, and takes `delay` seconds, unless it is told otherwise:
`medium.delay[two] = 5.0`, `medium.lose = lambda message, bus: ...`, `medium.jitter = 0.1` (then messages overtake). What
arrives is a copy: made by `Codec` where `medium.codec` is set, else shallow. Names are owned under leases, as a broker has them.
"""

from __future__ import annotations

import copy
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Any, ClassVar

import trio

from trio_pipes import Bus, BusError, BusGap, BusMessage
from trio_pipes.host._bus import topic_of


class MediumBus(Bus):
    """One process's bus. It is open from when it was made; make it with `medium.bus()`."""

    crosses: ClassVar[bool] = True

    def __init__(self, medium: Medium, lease: float) -> None:
        super().__init__(lease)
        self._medium = medium
        self.is_cut = False
        self.blocks = 0  # that it is open in
        self._line: list[tuple[float, int, BusMessage]] = []
        self._more = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        self.blocks += 1
        try:
            yield
        finally:
            self.blocks -= 1

    async def _publish(self, message: BusMessage) -> bool:
        await trio.lowlevel.checkpoint()
        while self.is_cut and self._medium.holds:  # noqa: ASYNC110 # a kit for tests
            await trio.sleep(0.1)
        return self._medium.carry(self, message)

    async def claim(self, names: Iterable[str], owner: str) -> dict[str, str]:
        await self._reach()
        return self._medium.names.claim(names, owner, self.lease)

    async def renew(self, owner: str) -> set[str]:
        await self._reach()
        return self._medium.names.renew(owner, self.lease)

    async def release(self, names: Iterable[str] | None, owner: str) -> None:
        await self._reach()
        self._medium.names.release(names, owner)

    async def _reach(self) -> None:
        """There and back. As a real one: it waits for the connection, but not for ever."""
        self._medium.requests += 1
        deadline = trio.current_time() + 5.0
        await trio.sleep(2 * self._medium.delay_of(self))
        while self.is_cut:
            if trio.current_time() >= deadline:
                raise BusError("the medium is cut")
            await trio.sleep(0.1)

    def tell_gap(self, gap: BusGap) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.put_system(gap)

    def arrive_at(self, when: float, message: BusMessage) -> None:
        heappush(self._line, (when, next(self._medium.counter), message))
        self._more.unpark_all()

    async def read(self) -> None:
        while True:
            if not self._line:
                await self._more.park()
                continue
            if self._line[0][0] > trio.current_time():
                with trio.move_on_at(self._line[0][0]):
                    await self._more.park()  # or something that comes before it
                continue
            _, _, message = heappop(self._line)
            if not self.is_cut:
                await self._deliver(message)


class LeasedNames:
    """Who owns which names, until the owner was not heard of for its lease."""

    def __init__(self) -> None:
        self.owner_of: dict[str, str] = {}
        self.until: dict[str, float] = {}
        self.had: dict[str, set[str]] = {}  # what each owner believes to own

    def _lives(self, owner: str) -> bool:
        return self.until.get(owner, 0.0) > trio.current_time()

    def claim(self, names: Iterable[str], owner: str, lease: float) -> dict[str, str]:
        names = tuple(names)
        self.until[owner] = trio.current_time() + lease
        taken = {name: has for name in names if (has := self.owner_of.get(name, owner)) != owner and self._lives(has)}
        if not taken:
            self.owner_of.update(dict.fromkeys(names, owner))
            self.had.setdefault(owner, set()).update(names)
        return taken

    def renew(self, owner: str, lease: float) -> set[str]:
        self.until[owner] = trio.current_time() + lease
        mine = self.had.setdefault(owner, set())
        lost = {name for name in mine if self.owner_of.get(name, owner) != owner}
        mine -= lost
        self.owner_of.update(dict.fromkeys(mine, owner))
        return lost

    def release(self, names: Iterable[str] | None, owner: str) -> None:
        mine = self.had.get(owner, set())
        for name in tuple(mine) if names is None else tuple(names):
            mine.discard(name)
            if self.owner_of.get(name) == owner:
                del self.owner_of[name]
        if names is None:
            self.until.pop(owner, None)
            self.had.pop(owner, None)


class Medium:
    """What lies between the buses that it made. Get one with `open_medium()`."""

    def __init__(self, nursery: trio.Nursery, seed: int = 0) -> None:
        self._nursery = nursery
        self.buses: list[MediumBus] = []
        self.names = LeasedNames()
        self.delay: dict[MediumBus, float] = {}
        """Seconds to and from a bus; 1 ms where nothing else is said."""
        self.jitter = 0.0
        """Up to so many seconds more, at random: then messages overtake each other."""
        self.lose: Callable[[BusMessage, MediumBus], bool] = lambda message, bus: False
        """Whether this message is lost on its way to this bus."""
        self.tells_gaps = True
        """A bus that lost a message, or was cut, tells its subscriptions. False: a broker that notices nothing."""
        self.holds = False
        """What a bus that is cut sends waits, as at a broker, until it is mended. False: it is lost."""
        self.copies: Callable[[BusMessage], int] = lambda message: 1
        """How often a message arrives."""
        self.codec: Any = None
        self.counter = count()
        self.random = random.Random(seed)
        self.carried: list[BusMessage] = []
        """What was sent, in order."""
        self.requests = 0
        """Claims, renewals and releases."""

    def bus(self, lease: float = 10.0) -> MediumBus:
        """One more process's bus."""
        made = MediumBus(self, lease)
        self.buses.append(made)
        self._nursery.start_soon(made.read)
        return made

    def delay_of(self, bus: MediumBus) -> float:
        return self.delay.get(bus, 0.001)

    def cut(self, *buses: MediumBus) -> None:
        """Take their connections away: what they send, and what is sent to them, is lost."""
        for bus in buses:
            bus.is_cut = True

    def mend(self, *buses: MediumBus) -> None:
        """Give them a connection again."""
        for bus in buses:
            bus.is_cut = False
            if self.tells_gaps:
                bus.tell_gap(BusGap())

    def carry(self, sender: MediumBus, message: BusMessage) -> bool:
        self.carried.append(message)
        if sender.is_cut:
            return True
        data = None if self.codec is None else self.codec.encode(message)
        found = False
        for bus in self.buses:
            if bus is sender:
                continue
            target = message.target
            if target is not None and not any(topic_of(one.name) == topic_of(target) for one in bus._subscriptions):
                continue
            found = True
            if bus.is_cut:
                continue
            if self.lose(message, bus):
                if self.tells_gaps:
                    bus.tell_gap(BusGap(peer=sender.id, missed=1))
                continue
            when = trio.current_time() + self.delay_of(sender) + self.delay_of(bus)
            for _ in range(self.copies(message)):
                late = self.jitter * self.random.random()
                arrived = copy.copy(message) if data is None else self.codec.decode(data)
                bus.arrive_at(when + late, arrived)
        return found or message.target is None


@asynccontextmanager
async def open_medium(seed: int = 0) -> AsyncIterator[Medium]:
    """A medium for as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        yield Medium(nursery, seed)
        nursery.cancel_scope.cancel()
