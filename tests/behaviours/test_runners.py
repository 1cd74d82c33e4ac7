"""What users of a frame framework expect of a runner: who is in it, how the end and the cancel travel."""

from __future__ import annotations

import pytest
import trio

import trio_pipes
from hosting import Plain, Probe, Slow, nothing_left, task_of, texts
from trio_pipes import (
    DuplicateName,
    FrameProcessor,
    PipelineRunner,
    PipelineTask,
    TaskState,
    TextFrame,
)


def runner_of(*workers, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, **{"handle_sigint": False, **settings})


# No alias: who looks for the other's name finds this one on the page for those who come from there.
@pytest.mark.parametrize(
    "name", ["WorkerRunner", "PipelineWorker", "FrameDirection", "PipelineTaskParams", "BasePipeline", "AsyncQueueBus"]
)
def test_there_are_no_aliases(name) -> None:
    assert not hasattr(trio_pipes, name)
    assert name not in trio_pipes.__all__


async def test_a_second_worker_of_one_name_is_refused_and_the_first_runs_on(autojump_clock) -> None:
    first, second = Plain("one"), Plain("one")
    runner = runner_of(first)
    assert runner.get_worker("one") is first
    assert runner.get_worker("other") is None
    with pytest.raises(DuplicateName, match="'one'"):
        runner.add_workers(second)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert runner.get_worker("one") is first
        runner.end()
    assert first.log[-1] == "one down"
    assert second.log == []


# The parent's end waits for what the child still does.
async def test_the_end_of_a_runner_waits_for_children(autojump_clock) -> None:
    log: list[str] = []
    runner = runner_of(Plain("root", log))
    runner.add_workers(Plain("child", log, drain=7), parent="root")
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.end("bye")
    assert {"child told", "root told", "child down", "root down"} <= set(log)
    assert trio.current_time() == 7


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancel_reaches_children_and_pipelines_and_takes_no_time(autojump_clock, times) -> None:
    log: list[str] = []
    task = task_of(Slow(100))
    await task.queue_frames(texts("long"))
    runner = runner_of(Plain("root", log), task)
    runner.add_workers(Plain("child", log, drain=50), parent="root")
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await trio.sleep(1)
        for _ in range(times):
            runner.cancel("now")
    assert trio.current_time() == 1
    assert log[-2:] in (["root down", "child down"], ["child down", "root down"])
    assert "child told" not in log
    result = await task.wait_finished()
    assert (result.state, result.reason) == (TaskState.CANCELLED, "now")


# There an end is overtaken by a cancel and one frame of ten is handled; here all ten are.
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", ["end", "stop_when_done"])
async def test_the_end_of_a_runner_loses_nothing(autojump_clock, how, times) -> None:
    slow = Slow(1)
    task = task_of(slow)
    await task.queue_frames(texts(*range(10)))
    runner = runner_of(task)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        for _ in range(times):
            getattr(runner, how)("done for today")
    assert slow.texts == list("0123456789")
    result = await task.wait_finished()
    assert (result.state, result.reason, result.frames_out) == (TaskState.ENDED, "done for today", 10)


# A processor finds a peer through what its task was given.
async def test_a_processor_reaches_another_task_of_its_runner(autojump_clock) -> None:
    class Forwards(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                peer = self.task.resources.get_worker("peer")
                assert self.task.resources.get_worker("nobody") is None
                await peer.queue_frame(TextFrame(f"for you: {frame.text}"))
            await self.push_frame(frame, direction)

    probe = Probe()
    runner = runner_of()
    peer = task_of(probe, name="peer")
    asks = PipelineTask(trio_pipes.Pipeline([Forwards()]), name="asks", resources=runner)
    runner.add_workers(peer, asks)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await asks.queue_frame(TextFrame("hello"))
        await asks.flush()
        runner.end()
    assert probe.texts == ["for you: hello"]


async def test_a_pipeline_that_ends_itself_ends_a_runner_that_has_no_other(autojump_clock) -> None:
    task = task_of(Probe())
    runner = runner_of(task)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await task.queue_frames([TextFrame("last")])
        task.stop_when_done()
        await runner.wait_finished()
    assert task.state is TaskState.ENDED
    assert runner.statistics().running == ()
