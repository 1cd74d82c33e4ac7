"""Between processes: a connection that is lost."""

from __future__ import annotations

import trio

from net_kit import Broker, Note
from trio_pipes import BusGap


# The peer's reader ended with its connection; the bus said that it was running, and nothing came any more.
async def test_g21_a_lost_connection_is_told_and_made_again(pipes_clock) -> None:
    broker = Broker()
    async with (
        broker.bus() as one,
        broker.bus() as two,
        two.subscribe("a", Note) as first,
        two.subscribe("b") as second,
    ):
        for n in range(3):
            broker.cut()
            with trio.fail_after(5):
                for messages in (first, second):
                    assert isinstance(await messages.receive(), BusGap)
            for name, messages in (("a", first), ("b", second)):
                await one.send(Note(target=name, n=n))
                got = await messages.receive()
                assert isinstance(got, Note)
                assert got.n == n
        assert two.statistics().connections == 4


# No cable says that it was cut: nothing answers, that is all.
async def test_g21_a_connection_that_only_falls_silent_is_noticed_within_a_third_of_the_lease(pipes_clock) -> None:
    broker = Broker()
    async with broker.bus(lease=12.0) as bus, bus.subscribe("a") as messages:
        await trio.sleep(60)
        (link,) = broker.links
        broker.pause()
        await trio.sleep(4.01)
        assert link.is_closed
        assert not bus.statistics().connected
        broker.go_on()
        with trio.fail_after(10):
            assert isinstance(await messages.receive(), BusGap)
