"""Who is up: G20, G28 and G37, with runners of one process and over a broker."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from bus_kit import open_medium
from hosting import Breaks, Plain
from trio_pipes import DataMessage, MemoryBus, PipelineRunner, WorkerChange


@attrs.define(eq=False)
class Note(DataMessage):
    n: int = 0


def runner_on(bus, *workers) -> PipelineRunner:
    return PipelineRunner(*workers, bus=bus, handle_sigint=False)


@asynccontextmanager
async def up(*runners: PipelineRunner):
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(lambda task_status, it=runner: it.run(auto_end=False, task_status=task_status))
        yield nursery
        for runner in runners:
            runner.end()


@asynccontextmanager
async def two_runners(kind: str):
    """Two that share a bus of the process, or have one each."""
    if kind == "memory":
        bus = MemoryBus()
        yield runner_on(bus), runner_on(bus)
    else:
        async with open_medium() as medium:
            yield runner_on(medium.bus()), runner_on(medium.bus())


both = pytest.mark.parametrize("kind", ["memory", "broker"])


async def test_g20_a_message_for_one_is_in_nobody_elses_queue(autojump_clock) -> None:
    bus = MemoryBus()
    async with trio.open_nursery() as nursery:

        async def wait(i: int, task_status=trio.TASK_STATUS_IGNORED) -> None:
            async with bus.subscribe(f"w{i}") as subscription:
                task_status.started(subscription)
                await trio.sleep_forever()

        subscriptions = [await nursery.start(wait, i) for i in range(100)]
        for n in range(10):
            await bus.send(Note(n, target="w7"))
        assert [it.statistics().waiting for it in subscriptions] == [10 if i == 7 else 0 for i in range(100)]
        nursery.cancel_scope.cancel()


# Nothing that grows: two hundred workers, each under a name of its own.
@both
async def test_g20_a_registry_forgets_who_has_ended(kind: str, autojump_clock) -> None:
    async with two_runners(kind) as (one, two), up(one, two):
        for i in range(200):
            one.add_workers(Plain(f"session {i}"))
            await two.registry.wait_ready(f"session {i}")
            async with two.registry.watch(f"session {i}") as events:
                one.get_worker(f"session {i}").stop_when_done()
                assert [(await anext(events)).kind for _ in range(2)] == [WorkerChange.READY, WorkerChange.GONE]
        registry = two.registry
        assert registry.workers == one.registry.workers == ()
        assert not registry._remote._names
        assert not registry._by_name
        assert not registry._waits
        if kind == "broker":
            reach = one._on_bus._membership._reach
            assert not reach._announced._rows
            assert not reach._names._held


async def test_g20_the_workers_of_a_dead_runner_do_not_stay_ready(autojump_clock) -> None:
    async with open_medium() as medium:
        dead = medium.bus(lease=10)
        one, two = runner_on(dead, Plain("a")), runner_on(medium.bus(lease=10))
        async with up(one, two):
            await two.registry.wait_ready("a")
            medium.cut(dead)  # as for a process that was killed: no goodbye
            died = trio.current_time()
            async with two.registry.watch("a") as events:
                assert (await anext(events)).kind is WorkerChange.READY
                assert (await anext(events)).kind is WorkerChange.GONE
            assert trio.current_time() - died <= 11
            assert "a" not in two.registry
            two.add_workers(Plain("a"))  # and the name is free
            await two.wait_ready("a")


@both
async def test_g28_fifty_sessions_on_a_bus_leave_nothing_and_their_name_can_be_used_again(
    kind: str, autojump_clock
) -> None:
    async with two_runners(kind) as (one, two), up(one, two):
        await trio.sleep(1)
        before = [(runner.bus.statistics().subscriptions, len(runner._roster)) for runner in (one, two)]
        tasks = [len(call.nursery.child_tasks) for call in (*one._calls, *two._calls)]
        for i in range(50):
            session = Breaks("session", ValueError("it failed"), after=1) if i % 5 == 0 else Plain("session")
            one.add_workers(session, isolated=True)
            await one.wait_ready("session")
            if i % 5:
                session.stop_when_done()
            await trio.sleep(2)
            assert one.get_worker("session") is None
        await trio.sleep(1)
        assert [(runner.bus.statistics().subscriptions, len(runner._roster)) for runner in (one, two)] == before
        assert [len(call.nursery.child_tasks) for call in (*one._calls, *two._calls)] == tasks
        assert one.registry.workers == two.registry.workers == ()


# What reads a watch is the reader's own code, in the reader's own task.
@both
async def test_g37_a_watch_that_fails_harms_neither_who_comes_nor_other_watches(kind: str, autojump_clock) -> None:
    class Fails(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            async with self.runner.registry.watch("newcomer") as events:
                task_status.started()
                async for _ in events:
                    raise RuntimeError("the reader's own")

        def attach(self, runner) -> None:
            self.runner = runner

    told = []

    async def listen(runner: PipelineRunner) -> None:
        async with runner.registry.watch("newcomer") as events:
            async for event in events:
                told.append((event.kind, runner))

    async with two_runners(kind) as (one, two), up(one, two) as nursery:
        nursery.start_soon(listen, one)
        nursery.start_soon(listen, two)
        for runner in (one, two):
            runner.add_workers(Fails(f"fails on {runner.name}"), isolated=True)
        await trio.sleep(1)
        newcomer = Plain("newcomer")
        two.add_workers(newcomer)
        await trio.sleep(1)
        assert {runner.statistics().failed for runner in (one, two)} == {1}
        assert newcomer.log == ["newcomer up"]
        assert told.count((WorkerChange.READY, one)) == told.count((WorkerChange.READY, two)) == 1
        assert one.registry.is_ready("newcomer")
        assert two.registry.is_ready("newcomer")
        newcomer.stop_when_done()
        await trio.sleep(1)
        assert len(told) == 4
