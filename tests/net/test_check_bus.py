"""`check_bus`: what the library has passes, and each rule can be broken."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio

from net_kit import Broker, FakeBus, FakeLink
from trio_pipes import BusError, BusMessage, ConfigurationError, MemoryBus, Subscription, SystemMessage
from trio_pipes.net._broker_link import BrokerLink
from trio_pipes.testing import RuleBroken, check_bus
from trio_pipes.testing._bus_rules import BUS_RULES

PAGE = Path(__file__).parent.parent.parent / "docs" / "testing.md"


async def cut(bus: FakeBus) -> None:
    if bus._link is not None:
        bus._link.lose("it was cut")  # type: ignore[attr-defined]


async def test_k2_memory_bus_keeps_every_rule(autojump_clock) -> None:
    bus = MemoryBus()
    await check_bus(lambda: bus)


async def test_k2_what_broker_buses_share_keeps_every_rule(autojump_clock) -> None:
    broker = Broker()

    async def inject(data: bytes) -> None:
        broker.inject(data)

    await check_bus(broker.bus, cut=cut, inject=inject)
    assert not broker.links


class Mistaken(FakeBus):
    """A bus over the broker in memory with a mistake; it is made with the broker."""

    link_class: type[FakeLink] = FakeLink

    async def _connect(self) -> BrokerLink:
        await trio.lowlevel.checkpoint()
        return self.link_class(self.broker)


class HearsAll(Mistaken):
    """Who is not asked for gets it as well."""

    async def _deliver(self, message: BusMessage) -> None:
        message.target = None
        await super()._deliver(message)


class HearsItself(Mistaken):
    async def send(self, message: BusMessage) -> bool:
        message.source = ""
        return await super().send(message)


class Shortens(Mistaken):
    async def _deliver(self, message: BusMessage) -> None:
        if getattr(message, "text", ""):
            message.text = message.text[:1]  # type: ignore[attr-defined]
        await super()._deliver(message)


class SwapsTwo(Mistaken):
    held: BusMessage | None = None

    async def _deliver(self, message: BusMessage) -> None:
        if getattr(message, "n", 0) == 500 and self.held is None:
            self.held = message
            return
        await super()._deliver(message)
        if self.held is not None:
            held, self.held = self.held, None
            await super()._deliver(held)


class KnowsNoUrgency(Mistaken):
    async def _deliver(self, message: BusMessage) -> None:
        if isinstance(message, SystemMessage):
            for one in self._named.get(message.target or "", ()):
                one._data.append(message)
                one._reader and one._wake()
            return
        await super()._deliver(message)


class IsLate(Mistaken):
    """`subscribe` does not wait for the broker."""

    async def _attend(self, topic: str) -> None:
        self._changed.add(topic)
        self._asking.unpark()


class Replays(Mistaken):
    """A new subscription gets the last message that was sent to its name."""

    async def _publish(self, message: BusMessage) -> bool:
        self.broker.last = message  # type: ignore[attr-defined]
        return await super()._publish(message)

    async def _enter(self, subscription: Subscription) -> None:
        await super()._enter(subscription)
        last = getattr(self.broker, "last", None)
        if last is not None and last.target == subscription.name:
            subscription.put(last)


class CutsNames(Mistaken):
    """Names below a name are the name."""

    async def _deliver(self, message: BusMessage) -> None:
        if message.target is not None:
            message.target = message.target.partition("/")[0]
        await super()._deliver(message)


class DropsLarge(Mistaken):
    async def _deliver(self, message: BusMessage) -> None:
        if len(getattr(message, "text", "")) < 500_000:
            await super()._deliver(message)


class LosesAtClosing(Mistaken):
    async def _stop_keeper(self) -> None:
        self._outbox.clear(BusError("lost"))
        await super()._stop_keeper()


class GivesToAll(Mistaken):
    async def claim(self, names: Iterable[str], owner: str) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return {}


class NoLease(Mistaken):
    async def claim(self, names: Iterable[str], owner: str) -> dict[str, str]:
        taken = await super().claim(names, owner)
        self.broker.leases[owner] = 1e9
        return taken

    async def renew(self, owner: str) -> set[str]:
        await trio.lowlevel.checkpoint()
        return set()


class TellsNoGap(Mistaken):
    def _tell_gap(self, *gap: object) -> None:
        pass


class SendsOnce(Mistaken):
    async def _drop_link(self) -> None:
        self._outbox._sealed.clear()
        self._outbox._data.messages = len(self._outbox._data.waiting)
        await super()._drop_link()


class TrustsAll(Mistaken):
    """Junk ends it."""

    def _note(self, text: str) -> None:
        if "hello" in text:
            raise RuntimeError("what is this?")


MISTAKES = {
    HearsAll: "targeted",
    HearsItself: "broadcast",
    Shortens: "content",
    SwapsTwo: "order",
    KnowsNoUrgency: "system_first",
    IsLate: "at_once",
    Replays: "left",
    CutsNames: "below",
    DropsLarge: "size",
    LosesAtClosing: "closed",
    GivesToAll: "names",
    NoLease: "lease",
    TellsNoGap: "gap",
    SendsOnce: "sent_again",
    TrustsAll: "junk",
}


@pytest.mark.parametrize(("mistake", "rule"), MISTAKES.items(), ids=lambda it: getattr(it, "__name__", it))
async def test_k2_each_mistake_is_found_and_named(autojump_clock, mistake: type[Mistaken], rule: str) -> None:
    broker = Broker()

    async def inject(data: bytes) -> None:
        broker.inject(data)

    with pytest.raises(RuleBroken) as caught:
        await check_bus(
            lambda: mistake(broker), cut=cut, inject=inject, skip=sorted({*BUS_RULES} - {rule}), patience=3.0
        )
    assert caught.value.rule == rule


async def test_what_cannot_work_is_refused(autojump_clock) -> None:
    bus = MemoryBus()
    for options in (
        {"make_bus": bus},
        {"make_bus": lambda: None},
        {"skip": ["no such rule"]},
        {"cut": 3},
        {"inject": "x"},
        {"patience": 0},
    ):
        with pytest.raises(ConfigurationError):
            await check_bus(**{"make_bus": lambda: bus, **options})


def test_the_page_lists_the_rules() -> None:
    table = PAGE.read_text().partition("`check_bus` is for")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(BUS_RULES)
