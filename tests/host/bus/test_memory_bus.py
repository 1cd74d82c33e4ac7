"""`MemoryBus`: who gets which message, in which order, and what happens when somebody reads too slowly."""

import attrs
import pytest
import trio
import trio.testing

from trio_pipes import BusGap, BusMessage, ConfigurationError, DataMessage, MemoryBus, SubscriberTooSlow, SystemMessage


@attrs.define(eq=False)
class Data(DataMessage):
    n: int = 0


@attrs.define(eq=False)
class Other(DataMessage):
    n: int = 0


@attrs.define(eq=False)
class Urgent(SystemMessage):
    n: int = 0


def numbers(subscription) -> list[int]:
    """What it holds."""
    got = []
    while True:
        try:
            got.append(subscription.receive_nowait().n)
        except trio.WouldBlock:
            return got


async def test_b1_a_broadcast_reaches_everybody_but_its_sender(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("a") as a, bus.subscribe("b") as b, bus.subscribe("c", Other) as c:
        assert await bus.send(Data(1, source="a"))
        assert await bus.send(Other(2))
        assert (numbers(a), numbers(b), numbers(c)) == ([2], [1, 2], [2])


async def test_b1_a_target_gets_it_alone_and_an_unknown_one_is_told(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("a") as a, bus.subscribe("a/b") as below, bus.subscribe("b", Other) as b:
        assert await bus.send(Data(1, target="a"))
        assert await bus.send(Data(2, target="a/b"))
        assert not await bus.send(Data(3, target="nobody"))
        assert (numbers(a), numbers(below), numbers(b)) == ([1], [2], [])
    assert bus.statistics().undelivered == 1


async def test_b2_everybody_is_told_of_a_gap(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("a", Other) as a, bus.subscribe("b") as b:
        await bus.send(Data(1))
        await bus.send(BusGap(peer="x", missed=3))
        for subscription in (a, b):
            gap = await subscription.receive()
            assert (type(gap), gap.peer, gap.missed) == (BusGap, "x", 3)


async def test_b1_system_messages_overtake(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("a") as a:
        for n in range(3):
            await bus.send(Data(n))
        await bus.send(Urgent(10))
        await bus.send(Urgent(11))
        assert [(await a.receive()).n for _ in range(5)] == [10, 11, 0, 1, 2]


# A reader that keeps up is never too slow, however fast and many its senders are.
@pytest.mark.parametrize("buffer", [1, 2, 64])
@pytest.mark.parametrize("senders", [1, 3, 100])
async def test_b1_a_reader_that_keeps_up_gets_everything(autojump_clock, buffer: int, senders: int) -> None:
    bus = MemoryBus()
    each = 300 // senders
    got: dict[str, list[int]] = {}

    async def send(name: str) -> None:
        for n in range(each):
            await bus.send(Data(n, source=name))

    async with bus.subscribe("a", buffer=buffer) as a, trio.open_nursery() as nursery:
        for i in range(senders):
            nursery.start_soon(send, f"sender {i}")
        for _ in range(each * senders):
            message = await a.receive()
            got.setdefault(message.source, []).append(message.n)
    assert got == {f"sender {i}": list(range(each)) for i in range(senders)}


async def test_b1_who_does_not_read_ends_alone(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("slow", buffer=2) as slow, bus.subscribe("b") as b:
        for n in range(4):
            await bus.send(Data(n))
        assert numbers(b) == [0, 1, 2, 3]
        assert [(await slow.receive()).n, (await slow.receive()).n] == [0, 1]
        for _ in range(2):
            with pytest.raises(SubscriberTooSlow, match=r"'slow' left 2 messages unread.*buffer=2"):
                await slow.receive()
        assert bus.statistics().subscriptions == 1


async def test_b1_the_oldest_may_be_dropped(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("a", buffer=3, overflow="drop_oldest") as a:
        for n in range(5):
            await bus.send(Data(n))
        await bus.send(Urgent(9))
        assert numbers(a) == [9, 2, 3, 4]
        assert a.dropped == a.statistics().dropped == 2


async def test_b1_a_sender_may_be_made_to_wait_and_nobody_else(autojump_clock) -> None:
    bus = MemoryBus()

    async def send() -> None:
        for n in range(5):
            await bus.send(Data(n))

    async with bus.subscribe("slow", buffer=1, overflow="wait") as slow, bus.subscribe("b") as b:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            assert numbers(b) == [0, 1]  # the second waits for the slow one, after all others
            assert [(await slow.receive()).n for _ in range(5)] == [0, 1, 2, 3, 4]
        assert numbers(b) == [2, 3, 4]


# Whoever waits for room is let go when the subscription ends.
async def test_b1_a_sender_does_not_wait_for_who_has_left(autojump_clock) -> None:
    bus = MemoryBus()
    async with trio.open_nursery() as nursery:
        async with bus.subscribe("slow", buffer=1, overflow="wait"):
            await bus.send(Data(0))
            nursery.start_soon(bus.send, Data(1))
            await trio.testing.wait_all_tasks_blocked()
    assert bus.statistics().subscriptions == 0


async def test_a_cancelled_read_loses_nothing(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("a") as a:
        with trio.move_on_after(1):
            await a.receive()
        await bus.send(Data(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await a.receive()
        assert (await a.receive()).n == 1


# A cancelled send delivers to all that need not be waited for, or to nobody.
async def test_a_cancelled_send(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("a") as a, bus.subscribe("slow", buffer=1, overflow="wait") as slow:
        with trio.CancelScope() as scope:
            scope.cancel()
            await bus.send(Data(0))
        assert numbers(a) == []
        for n in (1, 2):
            with trio.move_on_after(1):
                await bus.send(Data(n))
        assert numbers(a) == [1, 2]
        assert numbers(slow) == [1]
        await bus.send(Data(3))
        assert numbers(slow) == [3]


async def test_a_reader_gives_way(autojump_clock) -> None:
    bus = MemoryBus()
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            passes += 1
            await trio.lowlevel.checkpoint()

    async with bus.subscribe("a", buffer=1000) as a, trio.open_nursery() as nursery:
        for n in range(640):
            await bus.send(Data(n))
        nursery.start_soon(count)
        for _ in range(640):
            await a.receive()
        assert passes >= 9
        nursery.cancel_scope.cancel()


async def test_one_task_reads(autojump_clock) -> None:
    async with MemoryBus().subscribe("a") as a, trio.open_nursery() as nursery:
        nursery.start_soon(a.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await a.receive()
        nursery.cancel_scope.cancel()


async def test_a_subscription_is_opened_once_and_closed_for_good(autojump_clock) -> None:
    bus = MemoryBus()
    subscription = bus.subscribe("a")
    async with subscription:
        await bus.send(Data(1))
        with pytest.raises(RuntimeError, match="call bus.subscribe"):
            await subscription.__aenter__()
    for read in (subscription.receive, subscription.__anext__):
        with pytest.raises(trio.ClosedResourceError):
            await read()
    with pytest.raises(trio.ClosedResourceError):
        subscription.receive_nowait()
    with pytest.raises(RuntimeError, match="call bus.subscribe"):
        async with subscription:
            pass


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda bus: bus.subscribe(""), "name=''"),
        (lambda bus: bus.subscribe(None), "name=None"),
        (lambda bus: bus.subscribe("a", int), "types"),
        (lambda bus: bus.subscribe("a", buffer=0), "buffer=0"),
        (lambda bus: bus.subscribe("a", buffer=1.5), "buffer=1.5"),
        (lambda bus: bus.subscribe("a", overflow="drop"), "overflow='drop'"),
    ],
)
def test_bad_subscriptions_are_refused(make, named) -> None:
    with pytest.raises(ConfigurationError, match=named):
        make(MemoryBus())


@pytest.mark.parametrize("value", [None, "text", BusMessage])
async def test_only_messages_are_sent(autojump_clock, value) -> None:
    with pytest.raises(ConfigurationError, match="below BusMessage"):
        await MemoryBus().send(value)


async def test_a_bus_of_another_thread_is_refused(autojump_clock) -> None:
    bus = MemoryBus()

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another thread"):
            await bus.send(Data(1))
        with pytest.raises(RuntimeError, match="another thread"):
            async with bus.subscribe("b"):
                pass

    async with bus.subscribe("a"):
        await trio.to_thread.run_sync(trio.run, elsewhere)


async def test_ten_thousand_unread_system_messages_are_no_backlog(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("a") as a:
        for n in range(10_001):
            await bus.send(Urgent(n))
        for _ in range(10_000):
            await a.receive()
        with pytest.raises(SubscriberTooSlow, match="10,000 system messages"):
            await a.receive()


async def test_names_have_one_owner(autojump_clock) -> None:
    bus = MemoryBus()
    assert await bus.claim(["x", "y"], "one") == {}
    assert await bus.claim(["x", "y"], "one") == {}
    assert await bus.claim(["y", "z"], "two") == {"y": "one"}
    assert await bus.claim(["z"], "two") == {}
    await bus.release(["y", "z"], "one")
    assert await bus.claim(["y"], "two") == {}
    await bus.release(None, "one")
    assert await bus.claim(["x", "y", "z"], "three") == {"y": "two", "z": "two"}
    assert await bus.renew("two") == set()


async def test_a_name_with_a_slash_at_its_end_stands_for_all_below(autojump_clock) -> None:
    bus = MemoryBus()
    async with bus.subscribe("r/") as r, bus.subscribe("r/own") as own:
        for n, target in enumerate(("r/own", "r/other", "r/x/y", "r", "q/x")):
            await bus.send(Data(n, target=target))
        assert (numbers(own), numbers(r)) == ([0], [1, 2])
        await bus.send(Data(9))
        assert (numbers(own), numbers(r)) == ([9], [9])
