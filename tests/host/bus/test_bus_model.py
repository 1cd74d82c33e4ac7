"""The bus of one process against a plain model of it, and a cancel at every step."""

from collections import defaultdict

import attrs
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from cancel_everywhere import cancelled_everywhere
from trio_pipes import DataMessage, MemoryBus, SubscriberTooSlow, SystemMessage


@attrs.define(eq=False)
class A(DataMessage):
    n: int


@attrs.define(eq=False)
class B(A):
    pass


@attrs.define(eq=False)
class S(SystemMessage):
    n: int


NAMES = ["x", "y", "x/1", "x/"]
CLASSES = {"a": A, "b": B, "s": S}


class Modelled:
    """A subscription, and what should be in it."""

    def __init__(self, bus, name, types, buffer, overflow) -> None:
        self.name, self.types, self.buffer, self.overflow = name, types, buffer, overflow
        self.real = bus.subscribe(name, *types, buffer=buffer, overflow=overflow)
        self.data: list[int] = []
        self.system: list[int] = []
        self.dropped = 0
        self.too_slow = False

    def give(self, message) -> None:
        if self.too_slow:
            return
        if isinstance(message, SystemMessage):
            self.system.append(message.n)
        elif len(self.data) < self.buffer:
            self.data.append(message.n)
        elif self.overflow == "drop_oldest":
            self.data = [*self.data[1:], message.n]
            self.dropped += 1
        else:
            self.too_slow = True

    def take(self) -> None:
        """Read one and compare."""
        expected = (self.system or self.data or [None])[0]
        try:
            got = self.real.receive_nowait().n
        except trio.WouldBlock:
            got = None
        except SubscriberTooSlow:
            assert self.too_slow
            got = None
        assert got == expected
        if got is not None:
            (self.system or self.data).pop(0)


def audience(there: list[Modelled], message) -> list[Modelled]:
    if message.target is None:
        return [one for one in there if one.name != message.source and wants(one, message)]
    named = [one for one in there if one.name == message.target and not one.too_slow]
    if not named and "/" in message.target:
        named = [one for one in there if one.name == message.target.partition("/")[0] + "/"]
    return [one for one in named if wants(one, message)]


def wants(one: Modelled, message) -> bool:
    return not one.types or isinstance(message, one.types)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("open"),
            st.sampled_from(NAMES),
            st.sampled_from([(), (A,), (B,), (S, B)]),
            st.integers(1, 3),
            st.sampled_from(["error", "drop_oldest"]),
        ),
        st.tuples(st.just("close"), st.integers(0, 5)),
        st.tuples(st.just("take"), st.integers(0, 5)),
        st.tuples(
            st.just("send"),
            st.sampled_from(sorted(CLASSES)),
            st.sampled_from(["", *NAMES]),
            st.sampled_from([None, *NAMES, "x/2", "z"]),
        ),
    ),
    max_size=30,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_random_lives(steps) -> None:
    async def main() -> None:
        bus = MemoryBus()
        there: list[Modelled] = []
        undelivered = 0
        for number, (what, *given_) in enumerate(steps):
            if what == "open":
                there.append(Modelled(bus, *given_))
                await there[-1].real.__aenter__()
            elif what == "send":
                kind, source, target = given_
                message = CLASSES[kind](number, source=source, target=target)
                to = audience(there, message)
                told = await bus.send(message)
                known = target is None or bool(to) or any(one.name == target and not one.too_slow for one in there)
                if told is False:
                    undelivered += 1
                    assert not to
                else:
                    assert known or "/" in target
                for one in to:
                    one.give(message)
            elif there:
                one = there[given_[0] % len(there)]
                if what == "take":
                    one.take()
                else:
                    await one.real.__aexit__(None, None, None)
                    there.remove(one)
        for one in there:
            for _ in range(len(one.data) + len(one.system) + 1):
                one.take()
            assert one.real.dropped == one.dropped
            await one.real.__aexit__(None, None, None)
        assert bus.statistics().subscriptions == 0
        assert bus.statistics().undelivered == undelivered

    trio.run(main)


# Whatever is cancelled when: nothing is subscribed afterwards, and each reader has got what each sender sent, in order,
# up to some point.
def test_a_cancel_at_every_step_leaves_nothing() -> None:
    def make():
        bus = MemoryBus()
        got: defaultdict[tuple[str, str], list[int]] = defaultdict(list)

        async def read(name, overflow, task_status) -> None:
            async with bus.subscribe(name, buffer=2, overflow=overflow) as messages:
                task_status.started()
                for _ in range(24):
                    message = await messages.receive()
                    got[name, message.source].append(message.n)

        async def send(name) -> None:
            for n in range(12):
                await bus.send(A(n, source=name))

        async def run() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(read, "p", "wait")
                await nursery.start(read, "q", "error")
                nursery.start_soon(send, "one")
                nursery.start_soon(send, "two")

        def check() -> None:
            assert bus.statistics().subscriptions == 0
            for numbers in got.values():
                assert numbers == list(range(len(numbers)))

        return run, check, None

    assert cancelled_everywhere(make) > 20
