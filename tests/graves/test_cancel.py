"""Cancel: at every moment, from every side, and nothing is left."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
import trio.testing

from graves_kit import (
    CANCELS,
    HUNG,
    Button,
    HoldsSetUp,
    after,
    at_once,
    cancelled,
    cancels,
    modes,
    places,
    task_at,
    texts,
)
from hosting import Probe, Slow, Stuck, at_every_checkpoint, nothing_left
from trio_pipes import (
    CancelTaskFrame,
    Direction,
    EndTaskFrame,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    StartFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)

# -- G1: cancel before StartFrame has reached the sink


@processor
async def holds_its_block(frames: Frames[TextFrame], out: Out) -> None:
    await trio.sleep_forever()
    async for frame in frames:
        await out.push(frame)


@processor
async def block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)


@each
async def function(frame: TextFrame) -> TextFrame:
    await trio.lowlevel.checkpoint()
    return frame


HOLDERS = {
    "on StartFrame": lambda: Stuck(StartFrame),
    "in its lifespan": HoldsSetUp,
    "above a block's loop": lambda: holds_its_block,
}


@cancels
@places
@pytest.mark.parametrize("holder", HOLDERS)
async def test_g01_cancel_before_the_start_frame_reached_the_sink_returns_at_once(
    autojump_clock, way, place, holder
) -> None:
    for mode in ("tasks", "inline", "debug"):
        button = Button()
        task = task_at(place, mode, button, block, HOLDERS[holder](), function, start_timeout=HUNG, setup_timeout=HUNG)
        await task.queue_frames(texts("never", "seen"))
        pressed = button if holder == "on StartFrame" else None  # its lifespan is up then
        assert await cancelled(way, task, after(1), button=pressed) == 0
        assert task.statistics().frames_out == 0


# Signals aside: before the runner listens they are not its own.
@pytest.mark.parametrize("way", [way for way in CANCELS if way != "two signals"])
async def test_g01_cancel_in_the_moment_of_the_start_returns_at_once(autojump_clock, way) -> None:
    task = task_at("deep", "tasks", Probe(), function)
    assert await cancelled(way, task, at_once) == 0


# The worker of that name is free again: the peer's stayed busy for ever.
async def test_g01_a_runner_may_host_the_name_again_after_a_cancel_during_the_start(autojump_clock) -> None:
    runner = PipelineRunner(handle_sigint=False)
    async with nothing_left():
        for _ in range(3):
            task = PipelineTask(Pipeline([Stuck(StartFrame)]), name="session")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run, task)
                await trio.sleep(1)
                task.cancel()
                with trio.fail_after(0.01):
                    result = await task.wait_finished()
            assert (result.state, result.started_at) == (TaskState.CANCELLED, None)
            assert runner.get_worker("session") is None


async def test_g01_whoever_waits_for_the_start_is_told(autojump_clock) -> None:
    task = PipelineTask(Pipeline([Stuck(StartFrame)]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_after, task, 1)
        with trio.fail_after(2):
            assert await nursery.start(task.run) is task  # as an end that was asked for: no error


async def _cancel_after(task: PipelineTask, seconds: float) -> None:
    await trio.sleep(seconds)
    task.cancel()


@pytest.mark.parametrize("how", ["task.cancel", "runner.cancel", "CancelTaskFrame"])
def test_g01_cancel_at_every_step_of_the_start(how) -> None:
    async def scenario(arm) -> None:
        task = task_at("deep", "tasks", Button(), block, function, Slow(1))
        runner = PipelineRunner(task, handle_sigint=False)
        ask = {
            "task.cancel": task.cancel,
            "runner.cancel": runner.cancel,
            "CancelTaskFrame": lambda: task._engine.request(CancelTaskFrame()),
        }[how]
        async with trio.open_nursery() as nursery:
            arm(ask)
            nursery.start_soon(runner.run)
            await task.wait_state(TaskState.RUNNING, TaskState.CANCELLED)
            task.cancel()
        assert task.state is TaskState.CANCELLED

    assert at_every_checkpoint(scenario) > 20


# -- G5: the handler that causes the cancel


class HangsUp(FrameProcessor):
    """A tool call that ends the call it belongs to, and would go on for an hour."""

    def __init__(self, ask, where: str, runner: PipelineRunner | None = None) -> None:
        self.ask, self.where = ask, where
        self.log: list[str] = []
        self.calls = trio.open_memory_channel[TextFrame](10)

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tools)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def tools(self) -> None:
        async for _ in self.calls[1]:
            await self.call()

    async def call(self) -> None:
        self.log.append("called")
        try:
            await self.ask(self)
            await trio.sleep(3600)
            self.log.append("lives on")
        finally:
            self.log.append("gone")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)
        elif self.where == "handler":
            await self.call()
        elif self.where == "nursery of the handler":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.call)
        else:
            await self.calls[0].send(frame)


async def _push_up(self: FrameProcessor) -> None:
    await self.push_frame(CancelTaskFrame(reason="hung up"), Direction.UPSTREAM)


async def _push_down(self: FrameProcessor) -> None:
    await self.push_frame(CancelTaskFrame(reason="hung up"))


async def _cancel(self: FrameProcessor) -> None:
    await self.task.cancel("hung up")


async def _queue(self: FrameProcessor) -> None:
    await self.task.queue_frame(CancelTaskFrame(reason="hung up"))


@places
@modes
@pytest.mark.parametrize("where", ["handler", "nursery of the handler", "background"])
@pytest.mark.parametrize("ask", [_push_up, _push_down, _cancel, _queue], ids=lambda ask: ask.__name__)
async def test_g05_a_handler_that_causes_the_cancel_is_not_left_behind(autojump_clock, place, mode, where, ask) -> None:
    caller = HangsUp(ask, where)
    task = task_at(place, mode, Probe(), caller, Probe())
    await task.queue_frame(TextFrame("bye"))
    async with nothing_left():
        with trio.fail_after(1):
            result = await PipelineRunner(task).run(auto_end=True)
    assert result is None  # a runner with its own workers only
    result = await task.wait_finished()
    assert (result.state, result.reason) == (TaskState.CANCELLED, "hung up")
    assert caller.log == ["called", "gone"]
    assert trio.current_time() < 1


@pytest.mark.parametrize("mode", ["tasks", "inline"])
async def test_g05_a_handler_that_cancels_its_runner_is_not_left_behind(autojump_clock, mode) -> None:
    async def ask(self: FrameProcessor) -> None:
        await runner.cancel("hung up")

    caller, other = HangsUp(ask, "handler"), Stuck(TextFrame)
    tasks = [task_at("deep", mode, caller), task_at("row", mode, other)]
    runner = PipelineRunner(*tasks)
    for task in tasks:
        await task.queue_frame(TextFrame("bye"))
    async with nothing_left():
        with trio.fail_after(1):
            await runner.run()
    assert [task.state for task in tasks] == [TaskState.CANCELLED] * 2
    assert caller.log == ["called", "gone"]


# An end that a tool call asks for lets the tool call finish: it is a handler, and its work was accepted.
@pytest.mark.parametrize("where", ["handler", "nursery of the handler"])
async def test_g05_a_handler_that_causes_the_end_finishes_first(autojump_clock, where) -> None:
    async def ask(self: FrameProcessor) -> None:
        await self.push_frame(EndTaskFrame(), Direction.UPSTREAM)

    caller = HangsUp(ask, where)
    task = task_at("row", "tasks", caller)
    await task.queue_frame(TextFrame("bye"))
    async with nothing_left():
        with trio.fail_after(3601):
            await task.run()
    assert caller.log == ["called", "lives on", "gone"]


# -- G7: cancel with sleeping processors that share a task


class Sleeps(FrameProcessor):
    """Sleeps for an hour over each text, before or after it pushes it on."""

    def __init__(self, first: str) -> None:
        self.first = first
        self.left = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        try:
            if isinstance(frame, TextFrame) and self.first == "sleep":
                await trio.sleep(3600)
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame) and self.first == "push":
                await trio.sleep(3600)
        finally:
            self.left += isinstance(frame, TextFrame)


@each
async def sleeps(frame: TextFrame) -> TextFrame:
    await trio.sleep(3600)
    return frame


@cancels
@places
@pytest.mark.parametrize("first", ["sleep", "push"])
async def test_g07_cancel_with_sleeping_processors_in_one_task_returns_at_once(
    autojump_clock, way, place, first
) -> None:
    for mode in ("inline", "tasks", "debug"):
        button = Button()
        sleepers = [Sleeps(first) for _ in range(6)]
        task = task_at(place, mode, button, *sleepers, sleeps)
        await task.queue_frames(texts(*range(3)))
        assert await cancelled(way, task, after(1), button=button) == 0
        assert sleepers[0].left == 1  # it was there, and has ended
        assert sum(sleeper.left for sleeper in sleepers) >= (6 if first == "push" else 1)


@pytest.mark.parametrize("direction", list(Direction), ids=lambda direction: direction.name)
async def test_g07_cancel_with_inline_processors_that_sleep_in_either_direction(autojump_clock, direction) -> None:
    class SleepsUp(FrameProcessor):
        async def process_frame(self, frame: Frame, way: Direction) -> None:
            if isinstance(frame, TextFrame):
                await self.push_frame(frame, way)
                await trio.sleep(3600)
            else:
                await self.push_frame(frame, way)

    task = task_at("row", "inline", *[SleepsUp() for _ in range(5)])
    for frame in texts(1, 2):
        await task.queue_frame(frame, direction)
    assert await cancelled("task.cancel", task, after(1)) == 0
