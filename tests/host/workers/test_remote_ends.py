"""Ends and cancels that travel over the bus."""

import pytest
import trio

from bus_kit import open_medium
from hosting import Plain, Probe, texts
from trio_pipes import (
    BusError,
    CancelMessage,
    ConfigurationError,
    EndMessage,
    MemoryBus,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    TaskState,
)
from trio_pipes._base import Codec
from workers_kit import Data, Notes, hosted


def runner_on(bus, *workers, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, bus=bus, handle_sigint=False, **settings)


class Away(MemoryBus):
    """Carries nothing."""

    async def send(self, message) -> bool:
        await trio.lowlevel.checkpoint()
        raise BusError("the broker is away")


@pytest.mark.parametrize("call", ["end_everywhere", "cancel_everywhere"])
async def test_b7_this_runner_ends_also_where_the_others_cannot_be_asked(autojump_clock, call: str) -> None:
    runner = runner_on(Away(), Plain("a"))
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        with pytest.raises(BusError, match="away"):
            await getattr(runner, call)("closing time")
        with trio.fail_after(10):
            await runner.wait_finished()
    assert runner.statistics().reason == "closing time"


async def test_b7_an_end_reaches_every_runner_of_the_bus(autojump_clock) -> None:
    async with open_medium() as medium, trio.open_nursery() as nursery:
        medium.codec = Codec()
        workers = [Notes(name, takes=1.0) for name in "abc"]
        one, two, three = (runner_on(medium.bus(), worker) for worker in workers)
        for runner in (one, two, three):
            await nursery.start(lambda task_status, runner=runner: runner.run(auto_end=False, task_status=task_status))
        await trio.sleep(1)
        await one.bus.send(Data(1, target="b"))  # what was sent before the end is not overtaken by it
        await one.bus.send(Data(2, target="b"))
        await one.end_everywhere("closing time")
        for runner in (one, two, three):
            await runner.wait_finished()
            assert runner.statistics().reason == "closing time"
        assert workers[1].log == ["up", "active None", 1, "1 done", 2, "2 done", "down"]


async def test_b7_a_cancel_reaches_every_runner_of_the_bus(autojump_clock) -> None:
    bus = MemoryBus()
    slow = Notes("slow", takes=100.0)
    async with trio.open_nursery() as nursery:
        one, two = runner_on(bus, Notes("a")), runner_on(bus, slow)
        await nursery.start(one.run)
        await nursery.start(two.run)
        await bus.send(Data(1, target="slow"))
        await trio.sleep(1)
        await one.cancel_everywhere("fire")
    assert trio.current_time() == 1.0
    assert two.statistics().reason == "fire"
    assert slow.log == ["up", "active None", 1, "down"]


async def test_b7_one_runner_is_named_by_its_id(autojump_clock) -> None:
    bus = MemoryBus()
    async with trio.open_nursery() as nursery:
        one, two = runner_on(bus, Notes("a")), runner_on(bus, Notes("b"))
        await nursery.start(one.run)
        await nursery.start(two.run)
        assert await bus.send(EndMessage("enough", target=two.runner_id))
        await two.wait_finished()
        await trio.sleep(1)
        assert one.get_worker("a") is not None
        await bus.send(CancelMessage())
    assert not await bus.send(EndMessage(target=two.runner_id))


@pytest.mark.parametrize("local", [True, False])
async def test_b7_any_worker_is_ended_by_its_name(autojump_clock, local) -> None:
    async with open_medium() as medium, trio.open_nursery() as nursery:
        probe = Probe()
        task = PipelineTask(Pipeline([probe]), name="front")
        plain, notes = Plain("plain"), Notes("notes", takes=1.0)
        first = medium.bus()
        one, two = runner_on(first, Notes("boss")), runner_on(first if local else medium.bus(), task, plain, notes)
        await nursery.start(one.run)
        await nursery.start(two.run)
        boss = one.get_worker("boss")
        await one.registry.wait_ready("front", "plain", "notes")
        await task.queue_frames(texts(*range(10)))
        assert await boss.end_worker("front", "bye")
        result = await task.wait_finished()
        assert (result.state, result.reason) == (TaskState.ENDED, "bye")
        assert len(probe.texts) == 10
        assert await boss.end_worker("plain")
        await one.bus.send(Data(1, target="notes"))
        await trio.sleep(0.5)
        assert await boss.cancel_worker("notes")
        await trio.sleep(0.1)
        assert notes.log == ["up", "active None", 1, "down"]
        assert plain.log == ["plain up", "plain told", "plain down"]
        assert not await boss.end_worker("nobody")
        assert await boss.end_worker("boss")


async def test_a_message_with_a_workers_name_as_target_reaches_it(autojump_clock) -> None:
    a, b = Notes("a"), Notes("b")
    async with hosted(a, b):
        assert await a.send(EndMessage("bye", target="b"))
        await b.wait_finished()
        assert await a.send(CancelMessage(target="a"))
        await a.wait_finished()


async def test_an_end_from_a_worker_of_a_runner_that_has_no_bus_yet(autojump_clock) -> None:
    runner = PipelineRunner(Plain("plain"), handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert runner._on_bus._bus is None
        await runner.bus.send(EndMessage())
        await runner.wait_finished()
    assert runner.bus.statistics().subscriptions == 0


async def test_a_plain_pipeline_has_no_subscription(autojump_clock) -> None:
    bus = MemoryBus()
    task = PipelineTask(Pipeline([Probe()]), name="front")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner_on(bus, task).run)
        assert bus.statistics().subscriptions == 1  # the runner's
        task.stop_when_done()


async def test_what_cannot_be_asked(autojump_clock) -> None:
    async with hosted(Notes("a")) as runner:
        with pytest.raises(ConfigurationError):
            await runner.end_worker("")
        with pytest.raises(ConfigurationError):
            await runner.end_everywhere(5)


async def test_calls_that_overlap_hear_of_ends_until_the_last_is_over(autojump_clock) -> None:
    bus = MemoryBus()
    runner, first, second = runner_on(bus), Notes("first"), Notes("second")
    async with trio.open_nursery() as nursery:
        for worker in (first, second):
            nursery.start_soon(runner.run, worker)
            await trio.sleep(1)
        first.stop_when_done()
        await first.wait_finished()
        await trio.sleep(1)
        assert await bus.send(EndMessage(target=runner.runner_id))
        await second.wait_finished()
    assert bus.statistics().subscriptions == 0
