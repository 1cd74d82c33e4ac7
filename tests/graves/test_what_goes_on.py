"""What is over is over: no work of a run goes on behind it."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import weakref
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
import trio.testing

from graves_kit import (
    HUNG,
    cancelled,
    modes,
    places,
    running,
    task_at,
    texts,
)
from hosting import Probe, Stuck, nothing_left
from trio_pipes import (
    FloodError,
    FrameProcessor,
    Frames,
    Out,
    PipelineRunner,
    PipelineTask,
    StartFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)


@processor
async def block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)


@each
async def function(frame: TextFrame) -> TextFrame:
    await trio.lowlevel.checkpoint()
    return frame


# -- G6: an idle pipeline is cancelled, and is really gone


class Watchdog:
    """What a user writes who cancels an idle session: watches frames, cancels from a task outside the pipeline."""

    def __init__(self, task: PipelineTask, patience: float) -> None:
        self.task, self.patience = task, patience
        self.scope = trio.CancelScope(deadline=trio.current_time() + patience)

    def on_frame_pushed(self, task, processor, frame, direction) -> None:
        if isinstance(frame, TextFrame):
            self.scope.deadline = trio.current_time() + self.patience

    async def run(self) -> None:
        with self.scope:
            await trio.sleep_forever()
        self.task.cancel("idle")


class Socket(FrameProcessor):
    """A service with a reader that waits for ever, as a client of a websocket has one."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.read)
            yield
            nursery.cancel_scope.cancel()

    async def read(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.log.append("reader gone")


@places
@modes
async def test_g06_an_idle_pipeline_that_is_cancelled_leaves_no_task(autojump_clock, place, mode) -> None:
    log: list[str] = []
    task = task_at(place, mode, Socket(log), block, function, Socket(log))
    task.add_observer(dog := Watchdog(task, 5))
    await task.queue_frame(TextFrame("hello"))
    async with nothing_left():
        with trio.fail_after(6):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dog.run)
                nursery.start_soon(task.run)
    assert task.state is TaskState.CANCELLED
    assert log == ["reader gone", "reader gone"]


async def test_g06_what_a_cancelled_pipeline_held_is_garbage(autojump_clock) -> None:
    task = task_at("deep", "tasks", Probe(), block, function)
    refs = [weakref.ref(task.pipeline), weakref.ref(task)]
    await task.queue_frames(texts(*range(100)))
    await cancelled("task.cancel", task, running(task))
    del task
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_g06_the_process_ends_when_its_idle_session_was_cancelled() -> None:
    program = """
        import trio
        from trio_pipes import FrameProcessor, Pipeline, PipelineRunner, PipelineTask
        from contextlib import asynccontextmanager

        class Socket(FrameProcessor):
            @asynccontextmanager
            async def lifespan(self):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    yield

        task = PipelineTask(Pipeline([Socket(), Socket()]))

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(PipelineRunner(task).run)
                await trio.sleep(0.05)
                task.cancel("idle")

        trio.run(main)
        print(task.state.name)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "CANCELLED\n", "")


class Produces(FrameProcessor):
    """Background work of its own that pushes without end, and never waits for anything else."""

    def __init__(self, since: str, limit: int) -> None:
        self.since, self.limit = since, limit
        self.pushed = 0

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.produce)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def produce(self) -> None:
        if self.since == "the start":
            await self.task.wait_state(TaskState.RUNNING)
        while True:
            await self.push_frame(TextFrame("more"))
            self.pushed += 1
            if self.pushed > self.limit:
                raise AssertionError("the loop does not turn any more")


# A push that does nothing any more has to give way all the same: else the process spins for ever, and hears no signal.
@pytest.mark.parametrize("mode", ["tasks", "inline"])
@pytest.mark.parametrize("how", ["cancel", "stop_when_done"])
async def test_g06_background_work_that_pushes_without_end_cannot_hold_the_end_up(autojump_clock, mode, how) -> None:
    produces = Produces("the start", 1_000_000)
    task = task_at("alone", mode, produces)  # nobody below, for whose room it would have to wait
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                while produces.pushed < 1000:
                    await trio.lowlevel.checkpoint()
                produces.limit = produces.pushed + 10_000
                getattr(task, how)()
    assert task.state is (TaskState.CANCELLED if how == "cancel" else TaskState.ENDED)


async def test_g06_background_work_that_pushes_without_end_before_the_start_is_a_flood(autojump_clock) -> None:
    task = task_at("row", "tasks", Stuck(StartFrame), Produces("set-up", 20_000))
    async with nothing_left():
        with trio.fail_after(HUNG), pytest.raises(FloodError, match="Produces"):
            await task.run()


# The same by the task's own watch.
@places
@modes
async def test_g06_an_idle_task_cancels_itself_and_leaves_nothing(autojump_clock, place, mode) -> None:
    log: list[str] = []
    told: list[str] = []

    class Watch:
        def on_idle(self, task) -> None:
            told.append(task.name)

    task = task_at(place, mode, Socket(log), block, function, Socket(log), observers=[Watch()], idle_timeout=5)
    await task.queue_frame(TextFrame("hello"))
    async with nothing_left():
        with trio.fail_after(7):
            await PipelineRunner(task).run()
    assert task.state is TaskState.CANCELLED
    assert told == [task.name]
    assert log == ["reader gone", "reader gone"]
