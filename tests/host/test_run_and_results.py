"""`run()`: when it has started, what it gives, what it raises, and what is known afterwards."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hosting import Does, Lives, Probe, Slow, Stuck, errors_in, notes_of, nothing_left, started, task_of, texts
from trio_pipes import (
    ConfigurationError,
    Direction,
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    PipesError,
    StartFrame,
    StopFrame,
    TaskState,
    TextFrame,
    each,
)


class SlowStart(FrameProcessor):
    async def process_frame(self, frame, direction):
        if isinstance(frame, StartFrame):
            await trio.sleep(2)
        await self.push_frame(frame, direction)


async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
    raise ValueError(frame.text)


# -- started


async def test_started_gives_the_task_once_the_start_frame_has_reached_the_sink(autojump_clock) -> None:
    last = Probe()
    task = task_of(SlowStart(), SlowStart(), last)
    async with trio.open_nursery() as nursery:
        assert await nursery.start(task.run) is task
        assert trio.current_time() == pytest.approx(4)
        assert last.kinds == ["StartFrame"]
        assert task.state is TaskState.RUNNING
        task.stop_when_done()


async def test_started_waits_for_every_branch(autojump_clock) -> None:
    task = task_of(ParallelPipeline([SlowStart()], [Probe()], [SlowStart(), SlowStart()]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        assert trio.current_time() == pytest.approx(4)
        task.stop_when_done()


async def test_g01_cancel_before_start_returns(autojump_clock) -> None:
    log: list[str] = []
    task = task_of(Lives(log, "a"))
    task.cancel("no")
    async with nothing_left():
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                assert await nursery.start(task.run) is task
    result = await task.wait_finished()
    assert (result.state, result.reason, result.started_at) == (TaskState.CANCELLED, "no", None)
    assert log == []  # no set-up


@pytest.mark.parametrize("params", [{}, {"debug": True}], ids=["", "debug"])
@pytest.mark.parametrize("where", ["set-up", "start"])
async def test_g01_cancel_before_the_start_frame_reached_the_sink_returns(autojump_clock, where, params) -> None:
    class StuckSetup(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep_forever()
            yield

    task = task_of(Probe(), StuckSetup() if where == "set-up" else Stuck(StartFrame), Probe(), **params)
    async with nothing_left():
        with trio.fail_after(2):
            async with trio.open_nursery() as nursery:

                async def later() -> None:
                    await trio.sleep(1)
                    await task.cancel()

                nursery.start_soon(later)
                # `nursery.start` never fails for a cancel.
                assert await nursery.start(task.run) is task
    result = await task.wait_finished()
    assert (result.state, result.started_at) == (TaskState.CANCELLED, None)


async def test_a_stop_before_the_start_lets_it_start_and_end(autojump_clock) -> None:
    last = Probe()
    task = task_of(SlowStart(), last)
    await task.queue_frames(texts(1, 2))
    async with trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.sleep(1)
            await task.stop_when_done()

        nursery.start_soon(later)
        assert await nursery.start(task.run) is task
        assert task.state in (TaskState.RUNNING, TaskState.ENDING)
    assert last.kinds == ["StartFrame", "TextFrame", "TextFrame", "EndFrame"]


async def test_an_error_before_the_start_leaves_nursery_start(autojump_clock) -> None:
    class BadSetup(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(1)
            raise ValueError("set-up")
            yield

    class BadStart(FrameProcessor):
        async def process_frame(self, frame, direction):
            raise ValueError("start")

    for bad, text in ((BadSetup(), "set-up"), (BadStart(), "start")):
        task = task_of(Probe(), bad)
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
        assert [str(error) for error in errors_in(caught.value)] == [text]
        assert (await task.wait_finished()).state is TaskState.FAILED


async def test_a_cancel_from_outside_during_nursery_start_is_passed_on(autojump_clock) -> None:
    task = task_of(Stuck(StartFrame))
    async with nothing_left():
        with trio.move_on_after(1) as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
        assert scope.cancelled_caught
    assert (await task.wait_finished()).state is TaskState.CANCELLED


# -- a task is one run


@pytest.mark.parametrize("when", ["while running", "after the end", "after a cancel before"])
async def test_a_second_run_is_an_error(autojump_clock, when) -> None:
    task = task_of(Probe())
    if when == "while running":
        async with started(task):
            with pytest.raises(RuntimeError, match=task.name):
                await task.run()
    else:
        task.cancel() if "cancel" in when else task.stop_when_done()
        await task.run()
        before = await task.wait_finished()
        with pytest.raises(RuntimeError, match="new PipelineTask"):
            await task.run()
        assert await task.wait_finished() is before


async def test_one_processor_in_two_running_tasks_is_refused_and_neither_is_hurt(autojump_clock) -> None:
    shared = Probe("shared")
    first, second = task_of(shared), task_of(Probe(), shared)
    async with started(first):
        with pytest.raises(ConfigurationError, match=rf"'shared'.*{first.name}.*{second.name}"):
            await second.run()
        await first.queue_frame(TextFrame("fine"))
    assert shared.texts == ["fine"]
    # After the end it is free; the refused task has not used up its run.
    second.stop_when_done()
    assert (await second.run()).state is TaskState.ENDED


async def test_a_pipeline_can_be_run_again_by_a_second_task(autojump_clock) -> None:
    log: list[str] = []
    probe = Probe()
    pipeline = Pipeline([Lives(log, "a"), probe])
    for word in ("one", "two"):
        task = PipelineTask(pipeline)
        await task.queue_frame(TextFrame(word))
        task.stop_when_done()
        await task.run()
    assert probe.kinds == ["StartFrame", "TextFrame", "EndFrame"] * 2
    assert log == ["a up", "a down"] * 2


@pytest.mark.parametrize("how", ["stop_when_done", "cancel"])
async def test_a_processor_belongs_to_its_task_until_its_cleanup_is_over(autojump_clock, how) -> None:
    log: list[str] = []
    shared = Lives(log, "shared", down=5)
    pipeline = Pipeline([shared])
    first, second = PipelineTask(pipeline), PipelineTask(pipeline)
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        getattr(first, how)()
        await trio.sleep(1)
        assert log == ["shared up"]  # it cleans up
        with pytest.raises(ConfigurationError, match=first.name):
            await second.run()
        await first.wait_finished()
        second.stop_when_done()
        assert (await second.run()).state is TaskState.ENDED
    assert log == ["shared up", "shared down"] * 2


async def test_a_clock_that_fails_to_start_fails_the_task(autojump_clock) -> None:
    class Bad:
        def start(self) -> None:
            raise ValueError("no time")

        def get_time(self) -> int:
            return 0

    log: list[str] = []
    task = PipelineTask(Pipeline([Lives(log, "a")]), clock=Bad())
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert [str(error) for error in errors_in(caught.value)] == ["no time"]
    assert (await task.wait_finished()).state is TaskState.FAILED
    assert log == ["a up", "a down"]


async def test_the_reason_of_a_cancel_is_in_what_the_handler_gets(autojump_clock) -> None:
    got = []

    class Looks(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame):
                try:
                    await trio.sleep_forever()
                except trio.Cancelled as exc:
                    got.append(str(exc))
                    raise

    task = task_of(Looks())
    await task.queue_frame(TextFrame())
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(1)
        task.cancel("closing time")
    assert "closing time" in got[0]


# -- results


async def test_t2_the_result_says_everything(autojump_clock) -> None:
    task = task_of(SlowStart(), Slow(1))
    assert not task.has_finished()
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames(texts(1, 2, 3))
        assert not task.has_finished()
        await task.stop_when_done("enough")
    assert task.has_finished()
    result = await task.wait_finished()
    assert (result.state, result.reason, result.error) == (TaskState.ENDED, "enough", None)
    assert (result.frames_in, result.frames_out, result.reported_errors, result.observer_errors) == (3, 3, 0, ())
    assert (result.started_at, result.finished_at) == (pytest.approx(12), pytest.approx(15))


async def test_run_returns_what_wait_finished_gives(autojump_clock) -> None:
    task = task_of(Probe())
    task.stop_when_done()
    assert await task.run() == await task.wait_finished()


async def test_finished_means_that_everything_is_torn_down(autojump_clock) -> None:
    log: list[str] = []
    task = task_of(Lives(log, "a", down=3))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        task.stop_when_done()
        await trio.sleep(1)
        assert not task.has_finished()
        result = await task.wait_finished()
        assert log == ["a up", "a down"]
        assert task.has_finished()
    assert result.finished_at == pytest.approx(3)


async def test_a_failure_is_raised_and_kept(autojump_clock) -> None:
    task = task_of(Probe(), Does(crash, name="crasher"), Probe())
    frame = TextFrame("boom")
    await task.queue_frame(frame)
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    error = caught.value.exceptions[0]
    assert repr(error) == "ValueError('boom')"
    assert "'crasher'" in notes_of(error)
    assert frame.name in notes_of(error)
    result = await task.wait_finished()
    assert result.state is TaskState.FAILED
    assert isinstance(result.error, ExceptionGroup)
    assert result.error.exceptions == (error,)


async def test_g08_an_error_in_a_processor_ends_the_run(autojump_clock) -> None:
    # Whatever the kind of processor, its error never becomes a line in a log only.
    from trio_pipes import Frames, Out, processor

    @each
    def function(frame: TextFrame) -> TextFrame:
        raise ValueError("bad")

    @each
    async def async_function(frame: TextFrame) -> TextFrame:
        raise ValueError("bad")

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for _ in frames:
            raise ValueError("bad")

    class Class(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame):
                raise ValueError("bad")

    for bad in (function, async_function, block, Class(), Class(inline=True)):
        task = task_of(Probe(), bad, Probe())
        await task.queue_frames(texts(1, 2))
        with pytest.raises(ExceptionGroup) as caught, trio.fail_after(5):
            await task.run()
        assert "bad" in [str(error) for error in errors_in(caught.value)], bad


async def test_a_base_exception_of_a_processor_is_not_swallowed(autojump_clock) -> None:
    class Halt(BaseException):
        pass

    async def halt(processor: FrameProcessor, frame: TextFrame) -> None:
        raise Halt

    log: list[str] = []
    task = task_of(Lives(log, "a"), Does(halt))
    await task.queue_frame(TextFrame())
    with pytest.raises(BaseExceptionGroup) as caught:
        await task.run()
    assert any(isinstance(error, Halt) for error in errors_in(caught.value))
    assert log == ["a up", "a down"]
    assert (await task.wait_finished()).state is TaskState.FAILED


async def test_reported_errors_do_not_end_the_run_and_are_counted(autojump_clock) -> None:
    task = task_of(Does(crash), on_error=ErrorPolicy.REPORT)
    async with task.open_output(ErrorFrame, direction=Direction.UPSTREAM) as errors:
        await task.queue_frames(texts(1, 2, 3))
        task.stop_when_done()
        result = await task.run()
        assert [frame.error async for frame in errors] == ["1", "2", "3"]
    assert (result.state, result.reported_errors) == (TaskState.ENDED, 3)


async def test_a_fatal_error_frame_ends_the_run_either_way(autojump_clock) -> None:
    async def fatal(processor: FrameProcessor, frame: TextFrame) -> None:
        await processor.push_error("out of paper", fatal=True)

    for policy in ErrorPolicy:
        task = task_of(Does(fatal, name="printer"), on_error=policy)
        await task.queue_frame(TextFrame())
        with pytest.raises((ExceptionGroup, PipesError)) as caught:
            await task.run()
        error = errors_in(caught.value)[0]
        assert "out of paper" in str(error)
        assert "'printer'" in notes_of(error)


async def test_all_errors_leave_together(autojump_clock) -> None:
    class Bad(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                raise ValueError(f"cleanup of {self.name}")

    task = task_of(Bad("a"), Bad("b"), Does(crash))
    await task.queue_frame(TextFrame("frame"))
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert sorted(str(error) for error in errors_in(caught.value)) == ["cleanup of a", "cleanup of b", "frame"]


async def test_an_error_in_cleanup_after_an_orderly_end_fails_the_task(autojump_clock) -> None:
    class Bad(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            yield
            raise ValueError("cleanup")

    task = task_of(Bad("bad"))
    task.stop_when_done()
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert "'bad'" in notes_of(caught.value.exceptions[0])
    result = await task.wait_finished()
    assert result.state is TaskState.FAILED
    assert errors_in(result.error) == errors_in(caught.value)


async def test_a_stop_frame_closes_processors_like_an_end_frame_without_a_block(autojump_clock) -> None:
    log: list[str] = []
    probe = Probe()
    task = task_of(Lives(log, "a"), probe)
    await task.queue_frame(StopFrame(reason="pause"))
    result = await task.run()
    assert (result.state, result.reason) == (TaskState.STOPPED, "pause")
    assert log == ["a up", "a down"]
    assert probe.kinds == ["StartFrame", "StopFrame"]


# -- the end cannot be lost


@pytest.mark.parametrize("kind", [EndFrame, StopFrame])
async def test_g02_g26_a_pipeline_that_swallows_the_end_cannot_hang_its_task(autojump_clock, kind) -> None:
    class Swallows(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await self.push_frame(frame, direction)

    last = Probe()
    task = task_of(Swallows(), ParallelPipeline([Swallows()], [Probe()]), Swallows(), last)
    await task.queue_frames([*texts(1), kind()])
    with trio.fail_after(5):
        await task.run()
    assert isinstance(last.seen[-1], kind)


async def test_g04_a_processor_that_blocks_on_the_end_frame_is_bounded_and_can_be_cancelled(autojump_clock) -> None:
    task = task_of(Stuck(EndFrame))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        task.stop_when_done()
        await trio.sleep(1000)
        assert task.state is TaskState.ENDING
        task.cancel()
        with trio.fail_after(1):
            assert (await task.wait_finished()).state is TaskState.CANCELLED


async def test_g02_what_is_queued_upstream_before_the_end_is_handled(autojump_clock) -> None:
    slow = Slow(3)
    task = task_of(slow)
    await task.queue_frames(texts(1, 2), Direction.UPSTREAM)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.testing.wait_all_tasks_blocked()
        task.stop_when_done()
    assert slow.texts == ["1", "2"]


async def test_g23_the_end_does_not_overtake_what_was_queued(autojump_clock) -> None:
    from trio_pipes import PipelineRunner

    for ask in ("end", "stop_when_done"):
        slow = Slow(1)
        task = task_of(slow)
        runner = PipelineRunner(task, handle_sigint=False)
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await task.queue_frames(texts(*range(10)))
            await getattr(runner, ask)()
        assert slow.texts == list("0123456789")
        assert task.state is TaskState.ENDED


@pytest.mark.parametrize("kind", [EndFrame, StopFrame])
async def test_g38_an_end_through_a_parallel_pipeline_keeps_the_frames_of_all_branches(autojump_clock, kind) -> None:
    fast, slow, last = Probe(), Slow(1), Probe()

    @each
    def copy(frame: TextFrame) -> TextFrame:
        return TextFrame(f"copy of {frame.text}")

    task = task_of(ParallelPipeline([fast], [slow, copy]), last)
    await task.queue_frames([*texts(*range(10)), kind()])
    with trio.fail_after(100):
        await task.run()
    assert fast.texts == slow.texts == list("0123456789")
    assert sorted(last.texts) == sorted([*"0123456789", *(f"copy of {n}" for n in range(10))])
    assert isinstance(last.seen[-1], kind)


# -- states


async def test_states_in_order(autojump_clock) -> None:
    log: list[str] = []
    task = task_of(Lives(log, "a", up=1, down=1), SlowStart(), Slow(1))
    seen = []

    async def watch() -> None:
        while not task.has_finished():
            seen.append(task.state) if task.state not in seen else None
            await trio.sleep(0.3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(1)
        await nursery.start(task.run)
        await trio.sleep(1)
        await task.queue_frame(TextFrame())
        task.stop_when_done()
        await task.wait_finished()
    assert [*seen, task.state] == [
        TaskState.NEW, TaskState.STARTING, TaskState.RUNNING, TaskState.ENDING, TaskState.ENDED
    ]  # fmt: skip


async def test_wait_state_gives_the_state_at_once_or_later(autojump_clock) -> None:
    task = task_of(SlowStart())
    assert await task.wait_state(TaskState.NEW, TaskState.RUNNING) is TaskState.NEW
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        assert await task.wait_state(TaskState.RUNNING, TaskState.FAILED) is TaskState.RUNNING
        assert trio.current_time() == pytest.approx(2)
        task.cancel()
        assert await task.wait_state(TaskState.ENDED, TaskState.CANCELLED) is TaskState.CANCELLED


@pytest.mark.parametrize("bad", [(), ("running",), (None,), (TaskState,)], ids=repr)
async def test_wait_state_refuses_what_is_no_state(autojump_clock, bad) -> None:
    with pytest.raises(ConfigurationError, match="TaskState"):
        await task_of(Probe()).wait_state(*bad)


# -- waiting for the end


async def test_wait_finished_from_several_tasks_however_it_ends(autojump_clock) -> None:
    async def run(task) -> None:
        try:
            await task.run()
        except* ValueError:
            pass

    for how in ("stop_when_done", "cancel", "crash"):
        task, got = task_of(Does(crash)), []

        async def wait(task=task, got=got) -> None:
            got.append(await task.wait_finished())

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(wait)
                await trio.sleep(1)
                assert got == []  # not run yet
                nursery.start_soon(run, task)
                await task.wait_state(TaskState.RUNNING)
                if how == "crash":
                    await task.queue_frame(TextFrame("x"))
                else:
                    getattr(task, how)()
        assert len(got) == 3
        assert got[0] is got[1] is got[2] is await task.wait_finished()


async def test_a_cancelled_wait_leaves_the_task_alone(autojump_clock) -> None:
    task = task_of(Probe())
    async with started(task):
        with trio.move_on_after(1) as scope:
            await task.wait_finished()
        assert scope.cancelled_caught
        assert task.state is TaskState.RUNNING


@pytest.mark.parametrize("call", ["wait_finished", "flush"])
async def test_waiting_for_oneself_inside_a_processor_is_an_error_that_names_the_call(autojump_clock, call) -> None:
    raised = []

    async def wait(processor: FrameProcessor, frame: TextFrame) -> None:
        async def nested() -> None:
            with pytest.raises(RuntimeError, match=call) as caught:
                await getattr(processor.task, call)()
            raised.append(caught.value)

        await nested()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nested)

    @each
    async def function(frame: TextFrame) -> TextFrame:
        with pytest.raises(RuntimeError, match=call) as caught:
            await getattr(task, call)()
        raised.append(caught.value)
        return frame

    class InLifespan(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            with pytest.raises(RuntimeError, match=call) as caught:
                await getattr(self.task, call)()
            raised.append(caught.value)
            yield

    task = task_of(Does(wait), function, InLifespan())
    await task.queue_frame(TextFrame())
    task.stop_when_done()
    with trio.fail_after(5):
        await task.run()
    assert len(raised) == 4
    assert all(task.name in str(error) for error in raised)


async def test_a_processor_may_wait_for_another_task(autojump_clock) -> None:
    other = task_of(Slow(1))
    await other.queue_frame(TextFrame())
    other.stop_when_done()
    got = []

    async def wait(processor: FrameProcessor, frame: TextFrame) -> None:
        got.append(await other.wait_finished())

    task = task_of(Does(wait))
    await task.queue_frame(TextFrame())
    task.stop_when_done()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.run)
            await task.run()
    assert [result.state for result in got] == [TaskState.ENDED]


async def test_a_task_that_runs_inside_a_processor_may_be_waited_for_there(autojump_clock) -> None:
    # A pipeline in a handler of another one: it is inside the outer task, not inside itself.
    states = []

    async def run_inner(processor: FrameProcessor, frame: TextFrame) -> None:
        inner = task_of(Probe())
        async with trio.open_nursery() as nursery:
            await nursery.start(inner.run)
            await inner.queue_frame(TextFrame())
            assert await inner.flush(5)
            inner.stop_when_done()
            states.append((await inner.wait_finished()).state)

    outer = task_of(Does(run_inner))
    await outer.queue_frame(TextFrame())
    outer.stop_when_done()
    with trio.fail_after(5):
        await outer.run()
    assert states == [TaskState.ENDED]


# -- bad input


def test_an_empty_pipeline_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        PipelineTask(Pipeline([]))


@pytest.mark.parametrize("bad", [None, [Probe], [], "pipeline", Pipeline, Probe], ids=repr)
def test_what_is_no_pipeline_is_refused(bad) -> None:
    with pytest.raises(ConfigurationError, match=r"Pipeline\(\[\.\.\.\]\)"):
        PipelineTask(bad)


@pytest.mark.parametrize(
    "settings",
    [{"params": {}}, {"params": PipelineParams}, {"name": ""}, {"name": 3}, {"observers": 3}, {"observers": [3]}],
    ids=repr,
)
def test_bad_settings_are_refused_when_given(settings) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        PipelineTask(Pipeline([Probe()]), **settings)


@pytest.mark.parametrize("clock", [3, object(), "clock"], ids=["3", "object", "str"])
def test_a_clock_that_is_none_is_refused_when_given(clock) -> None:
    with pytest.raises(ConfigurationError, match="clock"):
        PipelineTask(Pipeline([Probe()]), clock=clock)


def test_one_processor_alone_is_a_pipeline_too() -> None:
    probe = Probe()
    task = PipelineTask(probe)
    task.stop_when_done()
    assert trio.run(task.run).state is TaskState.ENDED
    assert probe.kinds == ["StartFrame", "EndFrame"]


def test_run_is_an_ordinary_entry_point_of_trio() -> None:
    task = task_of(Probe())
    task.stop_when_done()
    assert trio.run(task.run).state is TaskState.ENDED
