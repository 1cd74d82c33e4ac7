"""A bus that takes its time to open, or cannot be opened: whoever waits can still cancel, interrupt and end."""

import os
import signal
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_pipes import BusError, IdentityFilter, MemoryBus, Pipeline, PipelineRunner, PipelineTask, TaskState


class Slow(MemoryBus):
    """Opens after some seconds, or never."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        super().__init__()
        self.seconds = seconds
        self.error = error
        self.blocks = 0

    @asynccontextmanager
    async def _opened(self):
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        self.blocks += 1
        try:
            yield
        finally:
            self.blocks -= 1


def task() -> PipelineTask:
    return PipelineTask(Pipeline([IdentityFilter()]))


async def test_a_cancel_does_not_wait_for_the_bus(autojump_clock) -> None:
    bus = Slow(1e6)
    runner, one, other = PipelineRunner(bus=bus), task(), task()
    runner.add_workers(other)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run, one)
            await trio.sleep(1)
            runner.cancel("enough")
        assert (await one.wait_finished()).state is TaskState.CANCELLED
        assert (await other.wait_finished()).state is TaskState.CANCELLED
    assert trio.current_time() < 5
    bus.seconds = 1.0  # and it can be run again
    last = task()
    last.stop_when_done()
    assert (await runner.run(last)).state is TaskState.ENDED
    assert bus.blocks == 0


async def test_a_cancel_before_the_run_opens_nothing(autojump_clock) -> None:
    runner, one = PipelineRunner(bus=Slow(1e6)), task()
    runner.cancel()
    with trio.fail_after(10):
        await runner.run(auto_end=False)
    assert not one.has_finished()


@pytest.mark.parametrize("signals", [1, 2])
async def test_signals_reach_a_runner_whose_bus_is_not_open_yet(autojump_clock, signals: int) -> None:
    runner, one = PipelineRunner(bus=Slow(1e6), grace_period=20.0), task()
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run, one)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGINT)
                await trio.testing.wait_all_tasks_blocked(0.01)
        took = trio.current_time() - began
    assert took == pytest.approx(20 if signals == 1 else 0, abs=1)
    assert one.has_finished()


async def test_an_end_that_came_while_it_opened_holds(autojump_clock) -> None:
    runner, one = PipelineRunner(bus=Slow(5)), task()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, one)
        await trio.sleep(1)
        runner.end()
    assert (await one.wait_finished()).state is TaskState.ENDED
    assert trio.current_time() < 10


async def test_who_waits_for_a_worker_of_a_runner_whose_bus_fails_is_told(autojump_clock) -> None:
    runner, one, other = PipelineRunner(bus=Slow(1, BusError("no broker"))), task(), task()
    runner.add_workers(other)
    with pytest.raises(BusError, match="no broker"):
        await runner.run(one)
    with trio.fail_after(10):
        assert (await one.wait_finished()).state is TaskState.CANCELLED
        assert (await other.wait_finished()).state is TaskState.CANCELLED


async def test_a_deadline_of_the_caller_s_reaches_the_opening(autojump_clock) -> None:
    one = task()
    with trio.move_on_after(3) as scope:
        await PipelineRunner(bus=Slow(1e6)).run(one)
    assert scope.cancelled_caught
    assert trio.current_time() < 4
    assert one.has_finished()
