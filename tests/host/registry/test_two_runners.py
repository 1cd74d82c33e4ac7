"""Runners that find each other: on a bus in the process, and over a broker."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from bus_kit import Medium, open_medium
from hosting import Plain
from net_kit import Broker
from trio_pipes import Bus, Codec, DuplicateName, LeaseLost, MemoryBus, PipelineRunner, TransitionError, WorkerChange

READY, GONE, BACK = WorkerChange.READY, WorkerChange.GONE, WorkerChange.BACK


@asynccontextmanager
async def two_buses(kind: str) -> AsyncIterator[Callable[[], Bus]]:
    """What gives each process its bus."""
    if kind == "memory":
        bus = MemoryBus()
        yield lambda: bus
    elif kind == "broker buses":
        yield Broker().bus
    else:
        async with open_medium() as medium:
            medium.codec = Codec()
            if kind == "one bus":
                bus = medium.bus()
                yield lambda: bus
            else:
                yield medium.bus


kinds = pytest.mark.parametrize("kind", ["memory", "one bus", "two buses", "broker buses"])


def runner_on(bus: Bus, *workers: Plain, name: str | None = None) -> PipelineRunner:
    return PipelineRunner(*workers, name=name, bus=bus, handle_sigint=False)


async def settle() -> None:
    await trio.sleep(0.5)


@asynccontextmanager
async def running(*runners: PipelineRunner) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(lambda task_status, it=runner: it.run(auto_end=False, task_status=task_status))
        yield nursery
        for runner in runners:
            runner.end()


@kinds
async def test_b4_each_knows_the_workers_of_the_other(kind: str, autojump_clock) -> None:
    async with two_buses(kind) as bus:
        one, two = runner_on(bus(), Plain("a")), runner_on(bus(), Plain("b"))
        async with running(one, two):
            await settle()
            assert {info.name: info.is_local for info in one.registry.workers} == {"a": True, "b": False}
            assert {info.name: info.is_local for info in two.registry.workers} == {"b": True, "a": False}
            there = one.registry.get("b")
            assert there is not None
            assert (there.runner, there.ready, there.kind) == (two.runner_id, True, "Plain")
            assert one.registry.runners == (one.runner_id, two.runner_id)
            two.get_worker("b").stop_when_done()
            await settle()
            assert "b" not in one.registry
            assert "a" in two.registry
            one.end()
            await one.wait_finished()
            await trio.sleep(0.1)  # not a lease: it said goodbye
            assert two.registry.runners == (two.runner_id,)
            assert two.registry.workers == ()


@kinds
async def test_b4_a_name_can_be_used_once_and_then_again(kind: str, autojump_clock) -> None:
    async with two_buses(kind) as bus:
        one, two = runner_on(bus(), Plain("a")), runner_on(bus())
        async with running(one, two):
            two.add_workers(Plain("a"), isolated=True)
            with pytest.raises(TransitionError) as caught:
                await two.wait_ready()
            assert isinstance(caught.value.__cause__, DuplicateName)
            assert one.runner_id in str(caught.value.__cause__)
            one.get_worker("a").stop_when_done()
            await settle()
            assert "a" not in two.registry
            two.add_workers(Plain("a"))
            await two.wait_ready("a")
            await settle()
            there = one.registry.get("a")
            assert there is not None
            assert there.runner == two.runner_id


@kinds
async def test_b4_two_runners_of_one_name_are_refused_and_default_names_never_clash(kind: str, autojump_clock) -> None:
    async with two_buses(kind) as bus:
        front, second = runner_on(bus(), name="front"), runner_on(bus(), Plain("x"), name="front")
        async with running(front):
            with pytest.raises(DuplicateName, match=front.runner_id):
                await second.run()
            assert second.registry.workers == second.registry.runners == ()
            async with running(runner_on(bus()), runner_on(bus())):
                pass
        await settle()
        async with running(runner_on(bus(), Plain("y"), name="front")):  # the first is over
            pass


@kinds
async def test_b4_a_default_name_is_known_on_its_own_runner_only(kind: str, autojump_clock) -> None:
    async with two_buses(kind) as bus:
        one, two = runner_on(bus(), Plain("Plain#0")), runner_on(bus(), Plain("Plain#0"))
        async with running(one, two):
            await settle()
            assert [info.runner for info in one.registry.workers] == [one.runner_id]
            assert [info.runner for info in two.registry.workers] == [two.runner_id]


@kinds
async def test_b4_a_watch_tells_what_is_and_what_happens(kind: str, autojump_clock) -> None:
    async with two_buses(kind) as bus:
        one, two = runner_on(bus(), Plain("a")), runner_on(bus(), Plain("b"))
        got = []

        async def watch(task_status=trio.TASK_STATUS_IGNORED) -> None:
            async with one.registry.watch("a", "b", "c") as events:
                task_status.started()
                async for event in events:
                    got.append((event.kind, event.worker.name, event.worker.runner))

        async with running(one, two) as nursery:
            await settle()
            await nursery.start(watch)
            await settle()
            two.get_worker("b").stop_when_done()
            await settle()
            two.add_workers(Plain("b"), Plain("c"), Plain("d"))
            await settle()
            assert got == [
                (READY, "a", one.runner_id),
                (READY, "b", two.runner_id),
                (GONE, "b", two.runner_id),
                (BACK, "b", two.runner_id),
                (READY, "c", two.runner_id),
            ]
            got.clear()
            two.cancel()
            await settle()
            assert sorted((kind, name) for kind, name, _ in got) == [(GONE, "b"), (GONE, "c")]
        assert got[2:] == [(GONE, "a", one.runner_id)]


@kinds
async def test_b4_wait_ready_waits_for_who_is_not_there_yet(kind: str, autojump_clock) -> None:
    async with two_buses(kind) as bus:
        one, two = runner_on(bus(), Plain("a")), runner_on(bus())
        async with running(one, two), trio.open_nursery() as nursery:
            done = []

            async def wait(waiting: Callable[..., object], *names: str) -> None:
                await waiting(*names)
                done.append(names)

            nursery.start_soon(wait, one.registry.wait_ready, "a")
            nursery.start_soon(wait, one.registry.wait_ready, "a", "b")
            nursery.start_soon(wait, one.wait_ready, "b", "c")
            await settle()
            assert done == [("a",)]
            two.add_workers(Plain("b"))
            await settle()
            assert done == [("a",), ("a", "b")]
            one.add_workers(Plain("c"))
            await settle()
            assert len(done) == 3
            with pytest.raises(trio.TooSlowError), trio.fail_after(5):
                await one.registry.wait_ready("nobody")


@kinds
async def test_b4_what_waits_for_the_registry_ends_with_the_run(kind: str, autojump_clock) -> None:
    async with two_buses(kind) as bus:
        one = runner_on(bus(), Plain("a"))
        told = []

        async def wait() -> None:
            with pytest.raises(TransitionError, match="'b'"):
                await one.registry.wait_ready("a", "b")
            told.append("wait")

        async def watch() -> None:
            async with one.registry.watch() as events:
                told.extend([event.kind async for event in events])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(watch)
            async with running(one):
                await settle()
        assert sorted(told, key=str) == [GONE, READY, "wait"]
        with pytest.raises(TransitionError):
            await one.registry.wait_ready("a")


# -- leases


async def test_b4_a_runner_that_is_cut_off_is_gone_after_its_lease_and_back_when_it_is_heard(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = runner_on(near := medium.bus(lease=9), Plain("a")), runner_on(far := medium.bus(lease=9), Plain("b"))
        times = []
        began = 0.0

        async def watch() -> None:
            async with one.registry.watch("b") as events:
                async for event in events:
                    times.append((event.kind, trio.current_time() - began, event.reason))

        async with running(one, two) as nursery:
            nursery.start_soon(watch)
            await trio.sleep(100)
            began = trio.current_time()
            medium.cut(far)
            await trio.sleep(20)
            assert two.registry.get("a") is None
            medium.mend(far)
            await settle()
            assert [kind for kind, _, _ in times] == [READY, GONE, BACK]
            assert 6 <= times[1][1] <= 10
            assert "9 s" in times[1][2]
            assert times[2][1] < 20.2
            assert one.registry.is_ready("b")
            assert two.registry.is_ready("a")
            assert near.statistics().undelivered == 0


async def test_b4_a_runner_whose_loop_is_held_up_is_gone_and_back(autojump_clock) -> None:
    """Each judges by its own clock; who was held up itself gives the others time."""
    async with open_medium() as medium:
        one, two = runner_on(medium.bus(lease=9), Plain("a")), runner_on(medium.bus(lease=9), Plain("b"))
        kinds = []

        async def watch() -> None:
            async with one.registry.watch("b") as events:
                async for event in events:
                    kinds.append(event.kind)

        async with running(one, two) as nursery:
            nursery.start_soon(watch)
            await trio.sleep(100)
            autojump_clock.jump(60)  # both processes were stopped
            await settle()
            assert kinds == [READY]


# A process that was killed and starts again: its names are those of the dead one for as long as that one's lease lasts.
async def test_b4_a_name_whose_owner_is_dead_is_waited_for(autojump_clock) -> None:
    async with open_medium() as medium:
        async with trio.open_nursery() as nursery:
            dead = runner_on(medium.bus(lease=9), Plain("a"), name="front")
            await nursery.start(lambda task_status: dead.run(auto_end=False, task_status=task_status))
            medium.cut(*medium.buses)
            nursery.cancel_scope.cancel()
        died = trio.current_time()
        assert medium.names.owner_of == {"a": dead.runner_id, "runner:front": dead.runner_id}
        async with running(again := runner_on(medium.bus(lease=9), Plain("a"), name="front")):
            assert again.registry.is_ready("a")
            assert trio.current_time() - died <= 10


async def test_b4_a_name_that_was_taken_meanwhile_is_lost(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = runner_on(lost := medium.bus(), Plain("kept")), runner_on(medium.bus())
        one.add_workers(Plain("a"), isolated=True)
        async with running(one, two):
            await one.wait_ready("a")
            medium.cut(lost)
            await trio.sleep(30)
            two.add_workers(Plain("a"))
            await two.wait_ready("a")
            medium.mend(lost)
            await trio.sleep(10)
            assert one.get_worker("a") is None
            assert one.get_worker("kept") is not None
            assert one.statistics().failed == 1
            assert one.registry.get("a").runner == two.runner_id
            assert [info.runner for info in two.registry.workers if info.name == "a"] == [two.runner_id]


async def test_b4_one_that_is_not_isolated_fails_its_runner(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = runner_on(lost := medium.bus(), Plain("a")), runner_on(medium.bus())
        async with running(two):
            with pytest.RaisesGroup(pytest.RaisesExc(LeaseLost, match="'a'"), flatten_subgroups=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.run)
                    await one.wait_ready("a")
                    medium.cut(lost)
                    await trio.sleep(30)
                    two.add_workers(Plain("a"))
                    await two.wait_ready("a")
                    medium.mend(lost)


# -- what costs nothing


async def test_b4_a_runner_without_a_bus_has_no_registry(autojump_clock) -> None:
    runner = PipelineRunner(Plain("a"), handle_sigint=False)
    async with running(runner) as nursery:
        await settle()
        assert runner._on_bus._membership is None
        assert len(nursery.child_tasks) == 1
        assert {info.name for info in runner.registry.local} == {"a"}  # it is made when it is asked for
        assert runner.registry.is_ready("a")
        other = runner_on(runner.bus, Plain("b"))
        async with running(other):
            assert runner.registry.is_ready("b")
            assert other.registry.is_ready("a")
    assert runner.registry.workers == ()


async def test_b4_one_runner_on_a_memory_bus_has_no_tasks_and_sends_nothing(autojump_clock) -> None:
    bus = MemoryBus()
    runner = runner_on(bus, Plain("a"))
    async with running(runner):
        await trio.sleep(1000)
        assert bus.statistics().sent == 0
        assert bus.statistics().subscriptions == 1  # what hears of ends from elsewhere, in no task
        (call,) = runner._calls
        assert len(call.nursery.child_tasks) == 1  # the worker's


async def count_messages(medium: Medium, seconds: float) -> int:
    before = len(medium.carried)
    await trio.sleep(seconds)
    return len(medium.carried) - before


async def test_b4_a_quiet_bus_carries_three_beats_a_lease(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = runner_on(medium.bus(lease=9), Plain("a")), runner_on(medium.bus(lease=9), Plain("b"))
        async with running(one, two):
            await trio.sleep(10)
            assert 58 <= await count_messages(medium, 90) <= 62
