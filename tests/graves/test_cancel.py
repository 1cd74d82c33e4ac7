"""Cancel: at every moment, from every side, and nothing is left."""

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
    CANCELS,
    HUNG,
    Button,
    after,
    at_once,
    cancelled,
    cancels,
    modes,
    places,
    running,
    task_at,
    texts,
)
from hosting import Probe, Slow, Stuck, at_every_checkpoint, nothing_left
from trio_pipes import (
    CancelTaskFrame,
    Direction,
    EndFrame,
    EndTaskFrame,
    FloodError,
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
    each,
    processor,
)

# -- G1: cancel before StartFrame has reached the sink


class HoldsSetUp(FrameProcessor):
    """Never ready."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @asynccontextmanager
    async def lifespan(self):
        self.log.append("set-up")
        try:
            await trio.sleep_forever()
        finally:
            self.log.append("left")
        yield


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
            "CancelTaskFrame": lambda: task._asked(CancelTaskFrame()),
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
@pytest.mark.xfail(strict=True, reason="a push after the end gives no way to others")
@pytest.mark.parametrize("mode", ["tasks", "inline"])
@pytest.mark.parametrize("how", ["cancel", "stop_when_done"])
async def test_g07_background_work_that_pushes_without_end_cannot_hold_the_end_up(autojump_clock, mode, how) -> None:
    produces = Produces("the start", 1_000_000)
    task = task_at("row", mode, produces)
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                while produces.pushed < 1000:
                    await trio.lowlevel.checkpoint()
                produces.limit = produces.pushed + 10_000
                getattr(task, how)()
    assert task.state is (TaskState.CANCELLED if how == "cancel" else TaskState.ENDED)


@pytest.mark.xfail(strict=True, reason="a push after the end gives no way to others")
async def test_g07_background_work_that_pushes_without_end_before_the_start_is_a_flood(autojump_clock) -> None:
    task = task_at("row", "tasks", Stuck(StartFrame), Produces("set-up", 20_000))
    async with nothing_left():
        with trio.fail_after(HUNG), pytest.raises(FloodError, match="Produces"):
            await task.run()


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
