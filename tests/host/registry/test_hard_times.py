"""The registry over a broker that loses, delays and reorders, and a runner that is cancelled or has several calls."""

import random
from contextlib import asynccontextmanager, suppress

import attrs
import pytest
import trio
import trio.testing

from bus_kit import MediumBus, open_medium
from hosting import Plain
from net_kit import Broker
from trio_pipes import BusError, Codec, MemoryBus, PipelineRunner, Restart, TransitionError, WorkerChange
from trio_pipes.host._registry._messages import RegistryBeat, RegistryQuestion, RegistrySnapshot
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint


def runner_on(bus, *workers, name: str | None = None) -> PipelineRunner:
    return PipelineRunner(*workers, name=name, bus=bus, handle_sigint=False)


@asynccontextmanager
async def up(runner: PipelineRunner):
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        yield runner
        runner.end()


def seen(runner: PipelineRunner) -> dict[str, str]:
    return {info.name: info.runner for info in runner.registry.workers if info.ready}


class Watcher:
    """Follows a watch, and what it says must make sense."""

    def __init__(self, runner: PipelineRunner, *names: str) -> None:
        self.runner, self.names = runner, names
        self.there: dict[str, str] = {}
        self.known: set[str] = set()
        self.slow = random.Random(7)

    async def follow(self) -> None:
        async with self.runner.registry.watch(*self.names) as events:
            async for event in events:
                name = event.worker.name
                if event.kind is WorkerChange.GONE:
                    assert self.there.pop(name) == event.worker.runner
                    assert event.reason
                else:
                    assert event.worker.ready
                    assert (event.kind is WorkerChange.BACK) == (name in self.known)
                    self.there[name] = event.worker.runner
                    self.known.add(name)
                await trio.sleep(self.slow.choice([0, 0, 0.3, 2.0]))


# Whatever happened, when the network is well again everybody knows the same, and watches have told it.
@pytest.mark.parametrize("seed", range(4))
async def test_b4_runners_agree_in_the_end_whatever_the_network_did(seed: int, autojump_clock) -> None:
    dice = random.Random(seed)
    names = ["a", "b", "c", "d"]
    async with open_medium(seed) as medium, trio.open_nursery() as nursery:
        medium.codec = Codec()
        runners = []
        for i in range(3):
            runner = runner_on(medium.bus(lease=9), Plain(f"own {i}"))
            await nursery.start(lambda task_status, it=runner: it.run(auto_end=False, task_status=task_status))
            runners.append(runner)
        watcher = Watcher(runners[0], *names)
        nursery.start_soon(watcher.follow)
        medium.tells_gaps = bool(seed % 2)
        for _ in range(40):
            medium.jitter = dice.choice([0.0, 0.0, 1.0, 5.0])
            lossy = dice.random() < 0.5
            medium.lose = lambda message, bus, lossy=lossy: lossy and dice.random() < 0.4
            medium.copies = lambda message: dice.choice([1, 1, 2])
            if dice.random() < 0.1:
                medium.cut(dice.choice(medium.buses))
            elif dice.random() < 0.3:
                medium.mend(*medium.buses)
            runner, name = dice.choice(runners), dice.choice(names)
            there = runner.get_worker(name)
            if there is None:
                runner.add_workers(Plain(name), isolated=True)
            else:
                there.stop_when_done()
            await trio.sleep(dice.choice([0, 0.01, 1.0, 4.0, 15.0]))
        medium.jitter = 0.0
        medium.lose = lambda message, bus: False
        medium.copies = lambda message: 1
        medium.mend(*medium.buses)
        await trio.sleep(40)
        truth = {info.name: runner.runner_id for runner in runners for info in runner.registry.local}
        assert sum(len(runner.registry.local) for runner in runners) == len(truth)  # each name once
        for runner in runners:
            assert seen(runner) == truth
            assert {*runner.registry.runners} == {it.runner_id for it in runners}
        assert watcher.there == {name: owner for name, owner in truth.items() if name in names}
        for runner in runners:
            runner.end()
            await runner.wait_finished()
        assert medium.names.owner_of == {}
        assert all(bus.statistics().subscriptions == 0 for bus in medium.buses)


@pytest.mark.parametrize("crosses", [True, False])
def test_b4_a_runner_that_is_cancelled_anywhere_leaves_nothing_behind(crosses: bool) -> None:
    async def scenario(attempt: Attempt) -> None:
        async with open_medium() as medium:
            here = medium.bus() if crosses else MemoryBus()
            there = medium.bus() if crosses else here
            async with up(runner_on(there, Plain("b"))) as other:
                runner = runner_on(here, Plain("a"), name="front")
                attempt.arm(runner.cancel)
                with trio.move_on_after(100):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(runner.run)
                        with trio.move_on_after(3), suppress(TransitionError):
                            await runner.registry.wait_ready("b")
                            async with runner.registry.watch("b") as events:
                                async for _ in events:
                                    pass
                        runner.end()
                await trio.sleep(0.2)
                assert seen(other) == {"b": other.runner_id}
                assert other.registry.runners == (other.runner_id,)
                if isinstance(here, MediumBus):
                    assert set(medium.names.owner_of) == {"b"}
                    assert here.blocks == 0
                    assert here.statistics().subscriptions == 0
                assert not runner.registry._by_name

    async def main() -> int:
        return await cancel_at_every_checkpoint(scenario)

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) > 5


@pytest.mark.parametrize("crosses", [True, False])
def test_b4_and_from_outside(crosses: bool) -> None:
    async def scenario(attempt: Attempt) -> None:
        async with open_medium() as medium:
            here = medium.bus() if crosses else MemoryBus()
            there = medium.bus() if crosses else here
            async with up(runner_on(there)) as other:
                runner = runner_on(here, Plain("a", drain=1), Plain("c"), name="front")
                scope = trio.CancelScope()
                attempt.arm(scope.cancel)
                with scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(runner.run)
                        await trio.sleep(3)
                        runner.end()
                await trio.sleep(0.2)
                assert other.registry.workers == ()
                assert medium.names.owner_of == {}
                assert other.registry.runners == (other.runner_id,)

    async def main() -> int:
        return await cancel_at_every_checkpoint(scenario)

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) > 5


# The tasks of the registry are in one call; when that ends before others, they go on in another.
@pytest.mark.parametrize("lasts", [[1, 50], [50, 1], [30, 1, 20, 60, 2]])
async def test_b4_several_calls_of_one_runner(lasts: list[int], autojump_clock) -> None:
    async with open_medium() as medium:
        near = medium.bus(lease=3)
        async with up(runner_on(medium.bus(lease=3))) as other:
            runner = runner_on(near)

            async def call(i: int, seconds: int) -> None:
                await trio.sleep(0.1 * i)
                with trio.move_on_after(seconds):
                    await runner.run(Plain(f"w{i}"))

            async with trio.open_nursery() as nursery:
                for i, seconds in enumerate(lasts):
                    nursery.start_soon(call, i, seconds)
                for second in range(max(lasts)):
                    await trio.sleep(0.9)
                    expected = {f"w{i}" for i, lasting in enumerate(lasts) if lasting + 0.1 * i > trio.current_time()}
                    assert set(seen(other)) == expected, second
                    await trio.sleep(0.1)
            await trio.sleep(0.1)
            assert other.registry.runners == (other.runner_id,)
            await trio.sleep(5)
            async with up(runner):  # and once more, under the same id
                runner.add_workers(Plain("again"))
                await other.registry.wait_ready("again")
                await trio.sleep(10)
                assert seen(other) == {"again": runner.runner_id}


# Those who start together get their names in a few requests, and are told of in a few messages.
async def test_b4_many_workers_are_few_messages(autojump_clock) -> None:
    async with open_medium() as medium:
        medium.codec = Codec()
        near = medium.bus()
        async with up(runner_on(medium.bus())) as other, up(runner_on(near)) as runner:
            await trio.sleep(0.5)
            messages, requests = len(medium.carried), medium.requests
            runner.add_workers(*[Plain(f"worker number {i}") for i in range(1500)])
            await trio.sleep(1.5)
            assert len(seen(other)) == 1500
            assert len(medium.carried) - messages < 8
            assert medium.requests - requests == 2
            late = runner_on(medium.bus())
            async with up(late):
                await trio.sleep(0.5)
                assert len(seen(late)) == 1500


async def test_b4_a_snapshot_of_long_names_fits_into_messages(autojump_clock) -> None:
    async with open_medium() as medium:
        medium.codec = Codec()  # which refuses what is larger than 1 MiB
        names = [f"{i} " + "\N{SNOWMAN}" * 5000 for i in range(100)]
        async with up(runner_on(medium.bus(), *[Plain(name) for name in names])), up(runner_on(medium.bus())) as late:
            await trio.sleep(1)
            assert set(seen(late)) == set(names)


async def test_b4_a_bus_that_fails_for_good_ends_the_runner(autojump_clock) -> None:
    async with open_medium() as medium:
        bus = medium.bus()
        with pytest.RaisesGroup(pytest.RaisesExc(BusError, match="refused"), flatten_subgroups=True):
            async with up(runner_on(bus, Plain("a"))):
                for subscription in tuple(bus._subscriptions):
                    subscription.fail(BusError("refused"))
                await trio.sleep(1)


async def test_b4_a_worker_whose_name_cannot_be_had_because_the_broker_is_away(autojump_clock) -> None:
    async with open_medium() as medium:
        bus = medium.bus()
        async with up(runner_on(bus)) as runner:
            medium.cut(bus)
            runner.add_workers(Plain("a"), isolated=True)
            await trio.sleep(20)
            assert runner.get_worker("a") is None
            assert runner.statistics().failed == 1
            medium.mend(bus)
            runner.add_workers(Plain("a"))
            await runner.wait_ready("a")


async def test_b4_what_is_told_of_a_worker(autojump_clock) -> None:
    class Sleeper(Plain):
        is_active = False

    async with open_medium() as medium:
        async with up(runner_on(medium.bus())) as other, up(runner_on(medium.bus())) as runner:
            runner.add_workers(Plain("parent"))
            runner.add_workers(Restart(lambda: Sleeper("a", needs=1)), parent="parent")
            await trio.sleep(0.5)
            info = other.registry.get("a")
            assert (info.ready, info.active, info.parent, info.kind, info.is_local) == (
                False,
                False,
                "parent",
                "Sleeper",
                False,
            )
            assert not other.registry.is_ready("a")
            await trio.sleep(1)
            runner.registry.set_active("a", True)
            await trio.sleep(0.5)
            info = other.registry.get("a")
            assert (info.ready, info.active) == (True, True)
            assert runner.registry.get("a").is_local
            with pytest.raises(ValueError, match="a worker of this runner"):
                other.registry.set_active("a", True)


# A reader that is slow is told what is, not all that was: nothing piles up.
async def test_b4_a_slow_watch_is_told_the_newest_state(autojump_clock) -> None:
    async with up(runner_on(MemoryBus())) as runner, runner.registry.watch("a", "b") as events:
        for round_ in range(50):
            for name in ("a", "b"):
                runner.add_workers(Plain(name))
                await runner.wait_ready(name)
            if round_ == 0:
                first = [await anext(events), await anext(events)]
            if round_ < 49:
                for name in ("a", "b"):
                    runner.get_worker(name).stop_when_done()
                await trio.sleep(1)
        assert [(event.kind.value, event.worker.name) for event in first] == [("ready", "a"), ("ready", "b")]
        assert len(events._pending) == 2
        assert attrs.asdict(runner.registry.statistics()) == {
            "local": 2,
            "remote": 0,
            "ready": 2,
            "runners": 1,
            "watches": 1,
            "waiting": 0,
        }
        later = [await anext(events), await anext(events)]
        assert {(event.kind.value, event.worker.name) for event in later} == {("back", "a"), ("back", "b")}
        with trio.move_on_after(1) as scope:
            await anext(events)
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    "fields",
    [{"lease": float("nan")}, {"lease": float("inf")}, {"lease": 0.0}, {"version": -1}, {"parts": 0}, {"part": -1}],
)
def test_b3_what_another_registry_could_not_mean_is_refused(fields: dict[str, float]) -> None:
    good = {"source": "r", "version": 1, "lease": 10.0, "part": 0, "parts": 1}
    RegistrySnapshot(**good)
    with pytest.raises(ValueError, match="must be|expected"):
        RegistrySnapshot(**{**good, **fields})


async def test_b3_a_question_that_cannot_be_answered_ends_nobody(autojump_clock, caplog) -> None:
    broker = Broker()
    async with broker.bus() as strange, up(runner_on(broker.bus(), Plain("a"))) as runner:
        await strange.send(RegistryQuestion(source="x" * 2000, target=runner.runner_id))
        await strange.send(RegistryBeat(source="y" * 2000, version=7, lease=3.0))
        await trio.sleep(1)
        assert runner.registry.is_ready("a")
        assert runner.registry.runners == (runner.runner_id,)
        runner.add_workers(Plain("\ud800"), isolated=True)
        await trio.sleep(1)
        assert runner.statistics().failed == 1
