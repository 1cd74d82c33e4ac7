"""A runner and its bus."""

from contextlib import asynccontextmanager

import pytest
import trio

from trio_pipes import (
    ConfigurationError,
    DataMessage,
    EndFrame,
    IdentityFilter,
    MemoryBus,
    Pipeline,
    PipelineRunner,
    PipelineTask,
)


class Watched(MemoryBus):
    """Tells when it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = 0
        self.most = 0

    @asynccontextmanager
    async def _opened(self):
        self.blocks += 1
        self.most = max(self.most, self.blocks)
        try:
            yield
        finally:
            self.blocks -= 1


class Worker:
    """Does what it is given."""

    def __init__(self, name, work) -> None:
        self.name = name
        self.work = work
        self.runner = None

    def attach(self, runner) -> None:
        self.runner = runner

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        await self.work(self, task_status)

    def stop_when_done(self, reason=None) -> None:
        pass

    def cancel(self, reason=None) -> None:
        pass


async def test_a_runner_has_a_bus_of_its_own(autojump_clock) -> None:
    got = []

    async def listen(worker, task_status) -> None:
        async with worker.runner.bus.subscribe("listener") as messages:
            task_status.started()
            got.append(await messages.receive())

    async def talk(worker, task_status) -> None:
        assert await worker.runner.bus.send(DataMessage(source="talker", target="listener"))

    runner = PipelineRunner(Worker("listener", listen), Worker("talker", talk))
    assert isinstance(runner.bus, MemoryBus)
    assert runner.bus is runner.bus
    assert PipelineRunner().bus is not runner.bus
    await runner.run()
    assert [message.source for message in got] == ["talker"]


async def test_the_bus_is_open_as_long_as_the_runner_runs(autojump_clock) -> None:
    bus = Watched()
    seen = []

    async def look(worker, task_status) -> None:
        seen.append(bus.blocks)
        await trio.sleep(1)

    runner = PipelineRunner(bus=bus)
    assert runner.bus is bus
    async with bus, trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, Worker("a", look))
        await trio.sleep(0.5)
        nursery.start_soon(runner.run, Worker("b", look))
    assert seen == [2, 3]
    assert bus.blocks == 0


async def test_a_cancelled_run_closes_the_bus(autojump_clock) -> None:
    bus = Watched()
    with trio.move_on_after(1):
        await PipelineRunner(bus=bus).run(auto_end=False)
    assert (bus.blocks, bus.most) == (0, 1)


def test_runners_of_one_name_have_ids_of_their_own() -> None:
    one, other = PipelineRunner(name="a"), PipelineRunner(name="a")
    assert one.runner_id.startswith("a-")
    assert one.runner_id == one.runner_id != other.runner_id


async def test_a_task_knows_its_runner(autojump_clock) -> None:
    task = PipelineTask(Pipeline([IdentityFilter()]))
    with pytest.raises(RuntimeError, match="has no runner"):
        _ = task.runner
    runner = PipelineRunner(task)
    assert task.runner is runner
    await task.queue_frame(EndFrame())
    await runner.run()
    assert task.runner is runner


@pytest.mark.parametrize("bus", ["redis://localhost", MemoryBus, 1])
def test_what_is_no_bus_is_refused(bus) -> None:
    with pytest.raises(ConfigurationError, match=r"PipelineRunner\(bus="):
        PipelineRunner(bus=bus)
