"""Cancellation that somebody swallows: a library inside, or `run()` itself."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
import trio.testing

from graves_kit import (
    HUNG,
    Button,
    HoldsSetUp,
    after,
    cancelled,
    cancels,
    modes,
    places,
    task_at,
    texts,
)
from hosting import Probe, Stuck, nothing_left
from trio_pipes import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    StartFrame,
    TaskState,
    TextFrame,
    processor,
)

# -- G11: a library that swallows cancellation


class Swallows(FrameProcessor):
    """Uses a library that catches everything, several times, and goes on."""

    def __init__(self, times: int = 5, *, then: str = "return") -> None:
        self.times, self.then = times, then
        self.swallowed = 0

    async def library(self) -> None:
        for _ in range(self.times):
            try:
                await trio.sleep(3600)
            except BaseException:
                self.swallowed += 1

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await self.library()
            if self.then == "push":
                try:
                    await self.push_frame(TextFrame("after all"))
                except BaseException:
                    self.swallowed += 1
            elif self.then == "wait":
                await trio.sleep(3600)
        else:
            await self.push_frame(frame, direction)


@cancels
@modes
@pytest.mark.parametrize("then", ["return", "push", "wait"])
async def test_g11_a_library_that_swallows_cancellation_delays_nothing(autojump_clock, way, mode, then) -> None:
    button, swallows, below = Button(), Swallows(then=then), Probe()
    task = task_at("branch", mode, button, swallows, below)
    await task.queue_frames(texts(1, 2, 3))
    assert await cancelled(way, task, after(1), button=button) == 0
    # Each wait was cancelled anew: no timeout had to give up on it. Its other frames were not begun.
    assert 5 <= swallows.swallowed <= 6
    assert below.texts == []


class SwallowsInSetUp(FrameProcessor):
    def __init__(self) -> None:
        self.log: list[str] = []

    @asynccontextmanager
    async def lifespan(self):
        try:
            await trio.sleep(3600)
        except BaseException:
            self.log.append("swallowed in set-up")
        try:
            yield
        except BaseException:
            self.log.append("swallowed at the yield")
        self.log.append("over")


@cancels
async def test_g11_swallowing_in_set_up_and_at_the_yield_delays_nothing(autojump_clock, way) -> None:
    swallows = SwallowsInSetUp()
    task = task_at("row", "tasks", Probe(), swallows, setup_timeout=HUNG)
    assert await cancelled(way, task, after(1)) == 0
    assert swallows.log[0] == "swallowed in set-up"
    assert swallows.log[-1] == "over"


@processor
async def swallowing_block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        for _ in range(3):
            try:
                await trio.sleep(3600)
            except BaseException:
                continue
        await out.push(frame)


@cancels
async def test_g11_a_block_that_swallows_cancellation_delays_nothing(autojump_clock, way) -> None:
    task = task_at("nested", "tasks", swallowing_block, Probe())
    await task.queue_frames(texts(1, 2))
    assert await cancelled(way, task, after(1)) == 0


# An interrupt is a cancel too. The frame is stale whatever its handler catches, and newer ones come.
@places
@modes
@pytest.mark.parametrize("then", ["return", "push", "wait"])
async def test_g11_a_library_that_swallows_an_interrupt_delays_nothing(autojump_clock, place, mode, then) -> None:
    swallows, below = Swallows(then=then), Probe()
    task = task_at(place, mode, Probe(), swallows, below)
    await task.queue_frames(texts("old", "older"))
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(1)
                task.interrupt()
                await trio.testing.wait_all_tasks_blocked()
                assert swallows.swallowed in (5, 6)
                assert trio.current_time() < 2
                swallows.times = 0
                swallows.then = "push"
                await task.queue_frame(TextFrame("new"))
                task.stop_when_done()
    assert below.texts == ["after all"]  # for the new one, and not for the old ones


# -- G27: run() does not swallow cancellation

STUCK_AT = {
    "set-up": lambda: (HoldsSetUp(), False),
    "start": lambda: (Stuck(StartFrame), False),
    "a frame": lambda: (Stuck(TextFrame), False),
    "the end": lambda: (Stuck(EndFrame), True),
    "swallowing": lambda: (Swallows(), False),
    "nothing": lambda: (Probe(), False),
}


@pytest.mark.parametrize("host", ["task", "runner", "runner.run(task)"])
@pytest.mark.parametrize("stuck", STUCK_AT)
@modes
async def test_g27_a_deadline_round_run_is_noticed(autojump_clock, host, stuck, mode) -> None:
    part, ends = STUCK_AT[stuck]()
    task = task_at("row", mode, part, start_timeout=HUNG, setup_timeout=HUNG)
    await task.queue_frames(texts(1, 2))
    if ends:
        task.stop_when_done()
    runner = PipelineRunner(*([task] if host == "runner" else []))
    run = {"task": task.run, "runner": runner.run, "runner.run(task)": lambda: runner.run(task)}[host]
    began = trio.current_time()
    async with nothing_left():
        with trio.move_on_after(0.5) as scope:
            await run()
            pytest.fail("run() returned as if all were well")
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(began + 0.5)
    assert task.state is TaskState.CANCELLED


async def test_g27_a_deadline_round_run_raises(autojump_clock) -> None:
    for run in (task_at("row", "tasks", Probe()).run, PipelineRunner(task_at("row", "tasks", Probe())).run):
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.5):
            await run()


# The deadline passes in the very moment in which the task is cancelled from inside: whichever wins, nothing hangs
# and the state is one.
@pytest.mark.parametrize("first", ["task", "scope"])
async def test_g27_a_deadline_and_a_cancel_at_once(autojump_clock, first) -> None:
    task = task_at("deep", "tasks", Stuck(TextFrame))
    await task.queue_frame(TextFrame("x"))
    async with nothing_left():
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(1)
                asks = [task.cancel, scope.cancel]
                for ask in asks if first == "task" else reversed(asks):
                    ask()
    assert task.state is TaskState.CANCELLED
    assert (await task.wait_finished()).state is TaskState.CANCELLED


# A user's nursery is left in the middle of the work: its cancel goes through the runner, and up to its own error.
async def test_g27_an_error_beside_the_runner_comes_out(autojump_clock) -> None:
    task = task_at("row", "tasks", Stuck(TextFrame))
    await task.queue_frame(TextFrame("x"))

    async def fails() -> None:
        await trio.sleep(1)
        raise LookupError("beside")

    async with nothing_left():
        with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="beside")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(PipelineRunner(task).run)
                nursery.start_soon(fails)
    assert task.state is TaskState.CANCELLED


def test_g27_ctrl_c_without_signal_handling_comes_out_of_run() -> None:
    async def main() -> None:
        task = PipelineTask(Pipeline([Presses()]), PipelineParams())
        await task.queue_frame(TextFrame("x"))
        await PipelineRunner(task, handle_sigint=False).run()

    class Presses(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                raise KeyboardInterrupt
            await self.push_frame(frame, direction)

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        trio.run(main)
    assert (
        caught.group_contains(KeyboardInterrupt)
        if isinstance(caught.value, BaseExceptionGroup)
        else isinstance(caught.value, KeyboardInterrupt)
    )
