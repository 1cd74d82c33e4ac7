"""The runner: names, crashes, and what a long life leaves behind."""

from __future__ import annotations

import gc
import logging
import signal
import weakref

import pytest
import trio
import trio.lowlevel
import trio.testing

from graves_kit import HUNG, task_at, texts
from hosting import Breaks, Plain, Probe, Slow, errors_in, nothing_left
from trio_pipes import (
    Direction,
    DuplicateName,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    TaskState,
    TextFrame,
)

BOTH = (signal.SIGINT, signal.SIGTERM)

# -- G14: a second worker of the same name


@pytest.mark.parametrize("kind", ["task", "worker"])
@pytest.mark.parametrize(
    "when", ["constructor", "before the run", "while it runs", "run(worker)", "a child", "two calls"]
)
async def test_g14_a_second_worker_of_a_name_is_an_error_and_the_first_goes_on(autojump_clock, kind, when) -> None:
    def made() -> Plain | PipelineTask:
        return Plain("same") if kind == "worker" else PipelineTask(Pipeline([Probe()]), name="same")

    one, two = made(), made()
    refused = pytest.raises(DuplicateName, match="'same'")
    if when == "constructor":
        with refused:
            PipelineRunner(one, two)
        one.cancel()
        return
    runner = PipelineRunner(*([] if when == "two calls" else [one]))
    if when == "before the run":
        with refused:
            runner.add_workers(two)
    async with nothing_left():
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                if when == "two calls":
                    nursery.start_soon(runner.run, one)
                else:
                    nursery.start_soon(runner.run)
                await runner.wait_ready("same")
                if when == "while it runs":
                    with refused:
                        runner.add_workers(two)
                elif when == "a child":
                    with refused:
                        runner.add_workers(two, parent="same")
                elif when in ("run(worker)", "two calls"):
                    with refused:
                        await runner.run(two)
                await trio.sleep(1)
                assert runner.get_worker("same") is one
                assert runner.statistics().ready == ("same",)
                if isinstance(one, PipelineTask):
                    await one.queue_frame(TextFrame("still here"))
                runner.end()
    if isinstance(one, PipelineTask) and isinstance(two, PipelineTask):
        result = await one.wait_finished()
        assert (result.state, result.frames_out) == (TaskState.ENDED, 1)
        assert two.state is TaskState.NEW  # never touched
    elif isinstance(two, Plain):
        assert two.log == []


# All or none: the ones beside the refused one are not added either, and may be added without it.
@pytest.mark.parametrize("running", [False, True])
async def test_g14_a_refused_lot_adds_nobody(autojump_clock, running) -> None:
    runner, others = PipelineRunner(Plain("same")), [Plain("a"), Plain("same"), Plain("b")]
    async with nothing_left():
        async with trio.open_nursery() as nursery:
            if running:
                await nursery.start(runner.run)
            with pytest.raises(DuplicateName):
                runner.add_workers(*others)
            with pytest.raises(DuplicateName):
                runner.add_workers(Plain("twice"), Plain("twice"))
            assert runner.statistics().running == ("same",)
            runner.add_workers(others[0], others[2])
            if not running:
                await nursery.start(runner.run)
            await runner.wait_ready("same", "a", "b")
            runner.end()
    assert [worker.log[:1] for worker in others] == [["a up"], [], ["b up"]]


# -- G28: a long-lived runner


def garbage_left(refs: list[weakref.ref]) -> int:
    gc.collect()
    return sum(ref() is not None for ref in refs)


class Fails(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            raise LookupError("a bad session")
        await self.push_frame(frame, direction)


# Sessions end, are cancelled, fail, and are cancelled from outside; all called alike, fifty of each.
@pytest.mark.parametrize("hosted", ["run(worker)", "add_workers", "add_workers, isolated"])
async def test_g28_two_hundred_sessions_leave_nothing_in_a_long_lived_runner(autojump_clock, hosted, caplog) -> None:
    caplog.set_level(logging.CRITICAL, "trio_pipes")  # a log that is kept keeps errors, and they keep their tasks
    runner = PipelineRunner()
    refs: list[weakref.ref] = []
    states: list[TaskState] = []

    async def session(number: int) -> None:
        how = ("ends", "is cancelled", "fails", "is left")[number % 4]
        if how == "fails" and hosted == "add_workers":
            how = "ends"  # it would take its siblings along
        task = task_at("deep", "tasks", Fails() if how == "fails" else Slow(1), name="session")
        refs.extend([weakref.ref(task), weakref.ref(task.pipeline)])
        await task.queue_frames(texts(1, 2))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                if hosted == "run(worker)":
                    nursery.start_soon(run, task)
                else:
                    runner.add_workers(task, isolated="isolated" in hosted)
                if how == "ends":
                    task.stop_when_done()
                elif how != "fails":
                    await task.wait_state(TaskState.RUNNING)
                    await trio.sleep(0.5)
                    task.cancel() if how == "is cancelled" or hosted != "run(worker)" else scope.cancel()
        await task.wait_finished()
        while runner.get_worker("session") is not None:
            await trio.lowlevel.checkpoint()
        states.append(task.state)

    async def run(task: PipelineTask) -> None:
        try:
            await runner.run(task)
        except ExceptionGroup as group:
            assert [str(error) for error in errors_in(group)] == ["a bad session"]

    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(_stays_up, runner)
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(200):
            with trio.fail_after(HUNG):
                await session(number)
        await trio.testing.wait_all_tasks_blocked()
        now = runner.statistics()
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert (now.running, now.ready, now.calls) == ((), (), 1)
        assert now.finished == 200
        # The one that was started last is known by name, so that the next can wait for it.
        assert garbage_left(refs) <= (0 if hosted == "run(worker)" else 2)
        runner.end()
    assert states.count(TaskState.CANCELLED) == 100
    assert TaskState.ENDED in states
    assert (TaskState.FAILED in states) == (hosted != "add_workers")


async def _stays_up(runner: PipelineRunner, *, task_status) -> None:
    await runner.run(auto_end=False, task_status=task_status)


async def test_g28_a_runner_may_be_run_fifty_times(autojump_clock) -> None:
    runner = PipelineRunner()
    async with nothing_left():
        for number in range(50):
            last = Probe()
            task = PipelineTask(Pipeline([last]), name="again")
            runner.add_workers(task)
            await task.queue_frames(texts(number))
            task.stop_when_done()
            await runner.run()
            assert last.texts == [str(number)]
    assert runner.statistics().running == ()


async def test_g28_fifty_runners_leave_nothing(autojump_clock) -> None:
    refs = []
    async with nothing_left():
        for _ in range(50):
            runner = PipelineRunner(Plain("w"))
            refs.append(weakref.ref(runner))
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                runner.cancel()
    del runner, nursery
    assert garbage_left(refs) == 0


# -- G32: a worker that crashes


class RunnerWatch:
    def __init__(self) -> None:
        self.log: list[str] = []

    def on_error(self, runner, worker, error) -> None:
        self.log.append(f"{worker.name}: {error!r}")

    def on_worker_finished(self, runner, worker) -> None:
        self.log.append(f"{worker.name} finished")


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("kind", ["task", "worker"])
@pytest.mark.parametrize("added", ["constructor", "add_workers", "run(worker)", "while running", "child"])
async def test_g32_a_crash_is_told_and_raised(autojump_clock, after, kind, added) -> None:
    watch = RunnerWatch()
    if kind == "worker":
        crashes = Breaks("crashes", LookupError("crash"), after=after)
    else:
        crashes = PipelineTask(Pipeline([CrashesAfter(after)]), name="crashes")
        await crashes.queue_frame(TextFrame("x"))
    others = [Plain("other", needs=0), PipelineTask(Pipeline([Probe()]), name="task")]
    first = [crashes] if added == "constructor" else []
    runner = PipelineRunner(*others, *first, observers=[watch])
    if added == "add_workers":
        runner.add_workers(crashes)
    async with nothing_left():
        with trio.fail_after(10), pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                if added == "run(worker)":
                    nursery.start_soon(runner.run, crashes)
                else:
                    nursery.start_soon(runner.run)
                if added in ("while running", "child"):
                    await runner.wait_ready("other", "task")
                    runner.add_workers(crashes, parent="other" if added == "child" else None)
    assert [repr(error) for error in errors_in(caught.value)] == ["LookupError('crash')"]
    assert [line for line in watch.log if line.startswith("crashes: ")] != []
    assert "crashes finished" in watch.log
    assert others[0].log[-1] in ("other down", "other cancelled")  # that is, it has ended or was never begun
    assert others[1].state is TaskState.CANCELLED
    assert runner.statistics().failed == 1


class CrashesAfter(FrameProcessor):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await trio.sleep(self.seconds)
            raise LookupError("crash")
        await self.push_frame(frame, direction)


# The parent's end waits for its child, and the child is gone.
@pytest.mark.parametrize("isolated", [False, True])
async def test_g32_a_parent_that_waits_for_a_child_that_crashed_is_let_go(autojump_clock, isolated, caplog) -> None:
    watch = RunnerWatch()
    child = PipelineTask(Pipeline([CrashesAfter(5)]), name="child")
    await child.queue_frame(TextFrame("x"))

    class Parent(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started()
            result = await child.wait_finished()
            self.log.append(result.state.name)

    parent = Parent("parent")
    runner = PipelineRunner(parent, observers=[watch])
    runner.add_workers(child, parent="parent", isolated=isolated)
    async with nothing_left():
        with trio.fail_after(10):
            if isolated:
                await runner.run()
                assert "isolated worker 'child' failed" in caplog.text
            else:
                with pytest.raises(ExceptionGroup) as caught:
                    await runner.run()
                assert [repr(error) for error in errors_in(caught.value)] == ["LookupError('crash')"]
    assert child.state is TaskState.FAILED
    assert any(line.startswith("child: ExceptionGroup") for line in watch.log)
    if isolated:
        assert parent.log == ["FAILED"]


async def test_g32_what_crashed_does_not_come_back_as_success(autojump_clock) -> None:
    task = PipelineTask(Pipeline([CrashesAfter(1)]))
    await task.queue_frame(TextFrame("x"))
    with pytest.raises(ExceptionGroup):
        await PipelineRunner(task).run()
    result = await task.wait_finished()
    assert result.state is TaskState.FAILED
    assert [repr(error) for error in errors_in(result.error)] == ["LookupError('crash')"]
