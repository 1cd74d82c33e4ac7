"""A run that is cancelled at any of its steps leaves nothing, and says how it ended."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hosting import Lives, Plain, Probe, Slow, Stuck, at_every_checkpoint, errors_in, nothing_left, task_of, texts
from trio_pipes import (
    EndFrame,
    EndTaskFrame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    StartFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)


@each
def shout(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text.upper())


@each
async def rest(frame: TextFrame) -> TextFrame:
    await trio.sleep(1)
    return frame


@processor
async def block(frames: Frames[TextFrame], out: Out) -> None:
    await trio.sleep(1)
    async for frame in frames:
        await out.push(frame)
    await trio.sleep(1)


class Watch:
    """An observer with a method of each kind."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def on_started(self, task) -> None:
        await trio.sleep(1)
        self.events.append("started")

    def on_finished(self, task, result) -> None:
        self.events.append("finished")


class Case:
    """A task with everything in it, and what must be true after it, however it ended."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.inside = 0  # handlers that are at work
        self.watch = Watch()
        parts = [shout, Lives(self.log, "a", up=1, down=1), Busy(self), rest, block]
        parts.append(ParallelPipeline([Lives(self.log, "b", up=2), Slow(1)], [shout]))
        self.task = task_of(*parts, observers=[self.watch], queue_size=2)

    async def fill(self) -> None:
        await self.task.queue_frames(texts(*range(3)))

    def check(self) -> None:
        ups, downs = ([line[0] for line in self.log if line.endswith(end)] for end in (" up", " down"))
        assert sorted(ups) == sorted(downs)
        assert self.inside == 0
        assert self.watch.events.count("finished") == 1


class Busy(FrameProcessor):
    def __init__(self, case: Case) -> None:
        self.case = case

    @asynccontextmanager
    async def lifespan(self):
        yield
        assert self.case.inside == 0, "cleanup ran while a handler did"

    async def process_frame(self, frame, direction):
        self.case.inside += 1
        try:
            await trio.sleep(1)
            await self.push_frame(frame, direction)
        finally:
            self.case.inside -= 1


def test_t11_cancel_of_the_task_at_every_step_leaves_nothing() -> None:
    states = set()

    async def scenario(arm) -> None:
        case = Case()
        await case.fill()
        arm(case.task.cancel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(case.task.run)
            await trio.sleep(20)
            case.task.stop_when_done()
        result = await case.task.wait_finished()
        states.add(result.state)
        case.check() if case.log or result.started_at is not None else None

    assert at_every_checkpoint(scenario) > 50
    assert states == {TaskState.CANCELLED, TaskState.ENDED}


def test_t11_a_cancel_from_outside_at_every_step_leaves_nothing() -> None:
    states = set()

    async def scenario(arm) -> None:
        case, scope = Case(), trio.CancelScope()
        await case.fill()
        case.task.stop_when_done()
        arm(scope.cancel)
        with scope:
            await case.task.run()
            states.add("not cancelled")
        if case.task.state is not TaskState.NEW:
            result = await case.task.wait_finished()
            assert result.error is None
            states.add(result.state)
            case.check()

    assert at_every_checkpoint(scenario) > 50
    assert states == {TaskState.CANCELLED, TaskState.ENDED, "not cancelled"}


def test_t11_a_failure_and_a_cancel_at_every_step_leave_nothing() -> None:
    # What failed is told whenever the cancel comes, unless the cancel came first.
    async def scenario(arm) -> None:
        @each
        async def spoil(frame: TextFrame) -> None:
            await trio.sleep(1)
            raise ValueError(frame.text)

        log: list[str] = []
        task = task_of(Lives(log, "a", 1, 1), spoil, Lives(log, "b", 1, 3))
        await task.queue_frames(texts(1, 2))
        arm(task.cancel)
        error = None
        try:
            await task.run()
        except* ValueError as group:
            error = group
        result = await task.wait_finished()
        assert (result.state is TaskState.FAILED) == (error is not None)
        assert len([line for line in log if "up" in line]) == len([line for line in log if "down" in line])

    assert at_every_checkpoint(scenario) > 20


def test_t11_a_runner_cancelled_at_every_step_leaves_nothing() -> None:
    async def scenario(arm) -> None:
        case = Case()
        await case.fill()
        plain = Plain("plain", needs=1, drain=1)
        runner = PipelineRunner(plain, case.task, handle_sigint=False)
        arm(runner.cancel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            await trio.sleep(20)
            runner.end()
        assert runner.statistics().running == ()
        assert plain.log[-1] in ("plain down", "plain cancelled")
        assert case.task.has_finished()

    assert at_every_checkpoint(scenario) > 50


def test_t11_a_cancel_round_a_runner_at_every_step_leaves_nothing() -> None:
    async def scenario(arm) -> None:
        case, scope = Case(), trio.CancelScope()
        await case.fill()
        helper = Plain("helper", needs=1, drain=1)
        runner = PipelineRunner(case.task, handle_sigint=False)
        runner.add_workers(helper, helper=True)
        case.task.stop_when_done()
        arm(scope.cancel)
        with scope:
            await runner.run()
        assert runner.statistics().running == ()
        # Down, or told of a cancel because it was never started.
        assert helper.log[-1:] in ([], ["helper down"], ["helper cancelled"])

    assert at_every_checkpoint(scenario) > 50


def test_t11_stop_when_done_at_every_step_loses_nothing() -> None:
    # Whenever the end is asked for, what was accepted comes out and the run is an orderly one.
    async def scenario(arm) -> None:
        case = Case()
        await case.fill()
        arm(case.task.stop_when_done)
        accepted = 3
        async with trio.open_nursery() as nursery:
            nursery.start_soon(case.task.run)
            for word in range(4):
                try:
                    await case.task.queue_frame(TextFrame(str(word)))
                    accepted += 1
                except trio.ClosedResourceError:
                    break
            await trio.sleep(30)
            case.task.stop_when_done()
        result = await case.task.wait_finished()
        assert (result.state, result.frames_in) == (TaskState.ENDED, accepted)
        assert result.frames_out == 2 * accepted  # the second branch shouts: a frame of its own
        case.check()

    assert at_every_checkpoint(scenario) > 50


async def test_g27_a_deadline_round_run_is_noticed(autojump_clock) -> None:
    async with nothing_left():
        with trio.move_on_after(5) as scope:
            await task_of(Probe()).run()
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(5)
        with pytest.raises(trio.TooSlowError), trio.fail_after(5):
            await task_of(Stuck(StartFrame)).run()


async def test_g27_a_deadline_round_the_runner_is_noticed(autojump_clock) -> None:
    async with nothing_left():
        with trio.move_on_after(5) as scope:
            await PipelineRunner(task_of(Probe()), handle_sigint=False).run()
        assert scope.cancelled_caught


async def test_an_error_in_cleanup_is_not_lost_in_a_cancel_from_outside(autojump_clock) -> None:
    # "An error never vanishes": as with any nursery, the deadline does not swallow what cleanup raised.
    class Bad(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                raise ValueError("in cleanup")

    task = task_of(Bad())
    with pytest.raises(ExceptionGroup) as caught, trio.move_on_after(5):
        await task.run()
    assert [str(error) for error in errors_in(caught.value)] == ["in cleanup"]
    result = await task.wait_finished()
    assert result.state is TaskState.FAILED
    assert "in cleanup" in str(errors_in(result.error))


async def test_an_error_in_cleanup_is_not_lost_in_a_cancel_of_the_task(autojump_clock) -> None:
    class Bad(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                raise ValueError("in cleanup")

    task = task_of(Bad())
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            task.cancel()
    assert [str(error) for error in errors_in(caught.value)] == ["in cleanup"]
    assert (await task.wait_finished()).state is TaskState.FAILED


async def test_a_handler_that_fails_while_it_is_cancelled_is_not_swallowed(autojump_clock) -> None:
    class Bad(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame):
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("unwinding")

    for how in ("cancel", "outside"):
        task = task_of(Bad())
        await task.queue_frame(TextFrame())
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await trio.sleep(1)
                task.cancel() if how == "cancel" else nursery.cancel_scope.cancel()
        assert [str(error) for error in errors_in(caught.value)] == ["unwinding"], how
        assert (await task.wait_finished()).state is TaskState.FAILED


async def test_g05_a_handler_that_causes_the_cancel_is_not_left_behind(autojump_clock) -> None:
    ended = []

    class HangsUp(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                try:
                    await self.task.cancel("hung up")
                    await trio.sleep(1)
                finally:
                    ended.append(True)
            await self.push_frame(frame, direction)

    task = task_of(HangsUp())
    await task.queue_frame(TextFrame())
    async with nothing_left():
        with trio.fail_after(5):
            result = await task.run()
    assert (result.state, result.reason, ended) == (TaskState.CANCELLED, "hung up", [True])


async def test_g07_cancel_with_sleeping_inline_processors_returns_at_once(autojump_clock) -> None:
    class Sleeps(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await trio.sleep(30)
            await self.push_frame(frame, direction)

    task = PipelineTask(Pipeline([Sleeps(inline=True) for _ in range(5)]))
    await task.queue_frames(texts(1, 2, 3))
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(1)
        task.cancel()
        with trio.fail_after(1):
            await task.wait_finished()
    assert trio.current_time() == pytest.approx(1)


@pytest.mark.parametrize("inline", [False, True])
async def test_g03_an_end_asked_for_upstream_of_a_slow_processor_ends(autojump_clock, inline) -> None:
    class Slowly(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await trio.sleep(2)
            await self.push_frame(frame, direction)

    class AsksUpstream(Probe):
        async def process_frame(self, frame, direction):
            await super().process_frame(frame, direction)
            if isinstance(frame, TextFrame) and frame.text == "0":
                await self.push_frame(EndTaskFrame(), direction=direction.UPSTREAM)

    last = AsksUpstream()
    task = PipelineTask(Pipeline([Slowly(inline=inline), Slowly(inline=inline), last]))
    await task.queue_frames(texts(*range(10)))
    with trio.fail_after(100):
        assert (await task.run()).state is TaskState.ENDED
    assert last.texts == list("0123456789")
    assert isinstance(last.seen[-1], EndFrame)


def test_t11_a_busy_task_cancelled_at_every_step_leaves_nothing() -> None:
    # Frames from inside and outside, outputs, a flush, interrupts and an observer, all under way.
    async def scenario(arm) -> None:
        class Echoes(FrameProcessor):
            async def process_frame(self, frame, direction):
                if isinstance(frame, TextFrame) and len(frame.text) < 3:
                    await self.task.queue_frames(texts(frame.text + "a", frame.text + "b"))
                await self.push_frame(frame, direction)

        log: list[str] = []
        task = task_of(Echoes(), Lives(log, "a"), Slow(0.1), Probe(), queue_size=1, allow_interruptions=True)
        task.add_observer(Watch())

        async def read() -> None:
            async with task.open_output(TextFrame, buffer=0) as frames:
                async for _ in frames:
                    await trio.sleep(0.05)

        async def queue() -> None:
            try:
                for n in range(4):
                    await task.queue_frame(TextFrame(str(n)))
                    await trio.sleep(0.1)
                await task.flush(1)
                task.interrupt()
                await task.queue_frame(TextFrame("xxx"))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                pass
            task.stop_when_done()

        arm(task.cancel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(task.run)
            nursery.start_soon(queue)
        result = await task.wait_finished()
        assert result.state in (TaskState.CANCELLED, TaskState.ENDED)
        assert log.count("a up") == log.count("a down")

    assert at_every_checkpoint(scenario) > 50


@pytest.mark.parametrize("inner_later", [0, 1, 2, 5])
def test_t11_a_cancel_of_the_task_and_one_from_outside_together_leave_nothing(inner_later) -> None:
    async def scenario(arm) -> None:
        case, scope = Case(), trio.CancelScope()
        await case.fill()

        def ask() -> None:
            case.task.cancel()
            scope.deadline = trio.current_time() + inner_later

        arm(ask)
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(case.task.run)
                await trio.sleep(20)
                case.task.stop_when_done()
        if case.task.state is not TaskState.NEW:
            with trio.fail_after(1):
                assert (await case.task.wait_finished()).error is None

    assert at_every_checkpoint(scenario) > 50


def test_t11_nursery_start_cancelled_at_every_step_leaves_nothing() -> None:
    async def scenario(arm) -> None:
        case = Case()
        arm(case.task.cancel)
        async with trio.open_nursery() as nursery:
            assert await nursery.start(case.task.run) is case.task
            case.task.stop_when_done()

    assert at_every_checkpoint(scenario) > 20


def test_t11_several_calls_of_a_runner_cancelled_one_by_one_at_every_step_leave_nothing() -> None:
    # One call is cancelled from outside; the other goes on to its end.
    async def scenario(arm) -> None:
        runner, scope = PipelineRunner(handle_sigint=False), trio.CancelScope()
        one, two, sibling = task_of(Slow(1)), task_of(Slow(1)), task_of(Slow(1), name="sibling")
        for task in (one, two, sibling):
            await task.queue_frame(TextFrame())
            task.stop_when_done()

        async def call(task: PipelineTask, scope: trio.CancelScope) -> None:
            with scope:
                await runner.run(task)

        arm(scope.cancel)
        runner.add_workers(sibling)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, one, scope)
            nursery.start_soon(call, two, trio.CancelScope())
        assert two.state is TaskState.ENDED
        assert runner.statistics().running == ()
        for task in (one, two):
            assert task.has_finished() or task.state is TaskState.NEW

    assert at_every_checkpoint(scenario) > 20


def test_t11_run_pipeline_cancelled_at_every_step_leaves_nothing() -> None:
    from trio_pipes.testing import run_pipeline

    async def scenario(arm) -> None:
        log: list[str] = []
        scope = trio.CancelScope()
        arm(scope.cancel)
        with scope:
            await run_pipeline([Lives(log, "a", 1, 1), Slow(1), shout], texts(1, 2, 3))
        assert log.count("a up") == log.count("a down")

    assert at_every_checkpoint(scenario) > 20


def test_t11_running_cancelled_at_every_step_leaves_nothing() -> None:
    from trio_pipes.testing import running

    async def scenario(arm) -> None:
        scope, plain, task = trio.CancelScope(), Plain("p", needs=1, drain=1), task_of(Slow(1))
        arm(scope.cancel)
        with scope:
            async with running(plain, task):
                await task.queue_frames(texts(1, 2))
        assert plain.log[-1:] in ([], ["p down"], ["p cancelled"])

    assert at_every_checkpoint(scenario) > 20
