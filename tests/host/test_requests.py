"""Requests take effect when called, from anywhere, and never wait for the end."""

import inspect

import pytest
import trio
import trio.testing

from hosting import Does, Probe, Slow, Stuck, nothing_left, started, task_of, texts
from trio_pipes import (
    CancelFrame,
    CancelTaskFrame,
    Direction,
    EndFrame,
    EndTaskFrame,
    FrameProcessor,
    InterruptionFrame,
    InterruptionTaskFrame,
    PipelineRunner,
    Requested,
    StartFrame,
    StopFrame,
    StopTaskFrame,
    TaskState,
    TextFrame,
)

REQUESTS = ["stop_when_done", "cancel", "interrupt"]


def test_requests_work_outside_any_trio_run() -> None:
    # Built, filled and asked to stop before there is a loop; the run then does it.
    probe = Probe()
    task = task_of(probe)
    assert isinstance(task.interrupt(), Requested)
    assert isinstance(task.stop_when_done("early"), Requested)
    assert task.state is TaskState.NEW
    result = trio.run(task.run)
    assert (result.state, result.reason) == (TaskState.ENDED, "early")
    assert probe.kinds == ["StartFrame", "EndFrame"]


def test_a_cancel_outside_any_trio_run_is_final_at_once() -> None:
    task = task_of(Probe())
    assert isinstance(task.cancel("no need"), Requested)
    assert task.state is TaskState.CANCELLED
    assert task.has_finished()
    result = trio.run(task.run)
    assert (result.state, result.reason, result.started_at) == (TaskState.CANCELLED, "no need", None)


def test_a_task_asked_between_two_trio_runs() -> None:
    # Queued in one run of Trio, asked outside, run in another: nothing in it is tied to a loop.
    probe = Probe()
    task = task_of(probe)
    trio.run(task.queue_frames, texts(1, 2))
    task.stop_when_done()
    assert trio.run(task.run).state is TaskState.ENDED
    assert probe.texts == ["1", "2"]


def test_a_finished_task_can_be_asked_and_looked_at_outside() -> None:
    task = task_of(Probe())
    task.stop_when_done()
    trio.run(task.run)
    for request in REQUESTS:
        assert isinstance(getattr(task, request)(), Requested)
    assert task.state is TaskState.ENDED
    assert trio.run(task.wait_finished).state is TaskState.ENDED
    assert task.statistics().state is TaskState.ENDED


@pytest.mark.parametrize("request_name", REQUESTS)
async def test_requests_may_be_awaited_or_ignored(autojump_clock, request_name) -> None:
    async with nothing_left():
        for awaits in (True, False):
            task = task_of(Probe())
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    await nursery.start(task.run)
                    requested = getattr(task, request_name)()
                    if awaits:
                        assert await requested is None
                    task.stop_when_done()


@pytest.mark.parametrize("request_name", REQUESTS)
async def test_awaiting_a_request_is_one_checkpoint(autojump_clock, request_name) -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += task is me

    me, steps, task = trio.lowlevel.current_task(), Steps(), task_of(Probe())
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        trio.lowlevel.add_instrument(steps)
        await getattr(task, request_name)()
        trio.lowlevel.remove_instrument(steps)
        assert steps.count == 1
        with trio.CancelScope() as scope:
            scope.cancel()
            await getattr(task, request_name)()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


def test_a_request_that_is_ignored_warns_nobody() -> None:
    # Not a coroutine: ignoring it is no "never awaited".
    assert not inspect.iscoroutine(task_of(Probe()).cancel())
    assert repr(task_of(Probe()).cancel())


async def test_requests_twice_and_after_the_end_are_harmless(autojump_clock) -> None:
    task = task_of(Probe())
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for _ in range(2):
            await task.interrupt()
        for reason in ("first", "second"):
            await task.stop_when_done(reason)
    result = await task.wait_finished()
    assert (result.state, result.reason) == (TaskState.ENDED, "first")
    for request in REQUESTS:
        for _ in range(2):
            await getattr(task, request)()
    assert await task.wait_finished() == result


async def test_reasons_are_none_by_default(autojump_clock) -> None:
    for request in ("stop_when_done", "cancel"):
        task = task_of(Probe())
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            getattr(task, request)()
        assert (await task.wait_finished()).reason is None


async def test_a_cancel_after_stop_when_done_wins(autojump_clock) -> None:
    task = task_of(Stuck(TextFrame))
    await task.queue_frame(TextFrame())
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.stop_when_done("end")
        await trio.sleep(1)
        assert task.state is TaskState.ENDING
        await task.cancel("now")
        assert (await task.wait_finished()).state is TaskState.CANCELLED
    assert (await task.wait_finished()).reason == "now"


async def test_a_stop_after_a_cancel_changes_nothing(autojump_clock) -> None:
    task = task_of(Probe())
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        task.cancel("first")
        task.stop_when_done("second")
    result = await task.wait_finished()
    assert (result.state, result.reason) == (TaskState.CANCELLED, "first")


@pytest.mark.parametrize("request_name", ["stop_when_done", "cancel", "interrupt"])
async def test_g05_requests_awaited_inside_a_handler_do_not_deadlock(autojump_clock, request_name) -> None:
    async def ask(processor: FrameProcessor, frame: TextFrame) -> None:
        await getattr(processor.task, request_name)()

    last = Probe()
    task = task_of(Does(ask), last)
    await task.queue_frames(texts(1, 2))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await trio.sleep(1)
            task.stop_when_done()
    state = (await task.wait_finished()).state
    assert state is (TaskState.CANCELLED if request_name == "cancel" else TaskState.ENDED)
    # The interrupt makes the second, which waits in the pipeline, stale; not the frame of the one who asks.
    assert last.texts == {"stop_when_done": ["1", "2"], "cancel": [], "interrupt": ["1"]}[request_name]


@pytest.mark.parametrize("inline", [False, True])
async def test_a_stop_from_a_lifespan_ends_the_task(autojump_clock, inline) -> None:
    from contextlib import asynccontextmanager

    class StopsAtOnce(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await self.task.stop_when_done("in set-up")
            yield

    task = task_of(StopsAtOnce(inline=inline))
    with trio.fail_after(5):
        result = await task.run()
    assert (result.state, result.reason) == (TaskState.ENDED, "in set-up")


async def test_a_cancel_from_a_lifespan_cancels_the_task(autojump_clock) -> None:
    from contextlib import asynccontextmanager

    log = []

    class CancelsAtOnce(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            self.task.cancel("in set-up")
            try:
                await trio.sleep(1)
                log.append("went on")
                yield
            finally:
                log.append("left")

    task = task_of(CancelsAtOnce())
    with trio.fail_after(5):
        result = await task.run()
    assert (result.state, result.reason, log) == (TaskState.CANCELLED, "in set-up", ["left"])


# -- asked for by frames


@pytest.mark.parametrize(
    ("frame", "state"),
    [
        (EndFrame(reason="r"), TaskState.ENDED),
        (StopFrame(reason="r"), TaskState.STOPPED),
        (CancelFrame(reason="r"), TaskState.CANCELLED),
        (EndTaskFrame(reason="r"), TaskState.ENDED),
        (StopTaskFrame(reason="r"), TaskState.STOPPED),
        (CancelTaskFrame(reason="r"), TaskState.CANCELLED),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, TaskState) else value.value,
)
@pytest.mark.parametrize("when", ["before", "while running"])
async def test_a_queued_lifecycle_frame_is_a_request(autojump_clock, frame, state, when) -> None:
    probe = Probe()
    task = task_of(probe)
    await task.queue_frames(texts(1, 2))
    with trio.fail_after(10):
        if when == "before":
            await task.queue_frame(type(frame)(reason="r"))
            result = await task.run()
        else:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await task.queue_frame(type(frame)(reason="r"))
                result = await task.wait_finished()
    assert (result.state, result.reason) == (state, "r")
    if state is not TaskState.CANCELLED:
        assert probe.texts == ["1", "2"]
        assert isinstance(probe.seen[-1], EndFrame if state is TaskState.ENDED else StopFrame)
        assert probe.seen[-1].reason == "r"


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (EndTaskFrame, TaskState.ENDED),
        (StopTaskFrame, TaskState.STOPPED),
        (CancelTaskFrame, TaskState.CANCELLED),
        (EndFrame, TaskState.ENDED),
        (StopFrame, TaskState.STOPPED),
        (CancelFrame, TaskState.CANCELLED),
    ],
)
async def test_t3_the_task_is_asked_from_either_end_of_the_pipeline(
    autojump_clock, place, direction, kind, state
) -> None:
    async def ask(processor: FrameProcessor, frame: TextFrame) -> None:
        if frame.text == "ask":
            await processor.push_frame(kind(reason="from inside"), direction)

    parts = [Probe(), Probe(), Probe()]
    parts.insert(place, Does(ask))
    task = task_of(*parts)
    await task.queue_frames(texts("ask", "after"))
    with trio.fail_after(10):
        result = await task.run()
    assert (result.state, result.reason) == (state, "from inside")
    if state is not TaskState.CANCELLED:
        assert parts[-1].texts == ["ask", "after"]  # accepted before it was asked: not lost


async def test_t3_an_interrupt_asked_for_from_inside_is_governed_by_the_parameter(autojump_clock) -> None:
    async def ask(processor: FrameProcessor, frame: TextFrame) -> None:
        if frame.text == "ask":
            await processor.push_frame(InterruptionTaskFrame())

    for allowed in (False, True):
        last = Probe()
        task = task_of(Does(ask), last, allow_interruptions=allowed)
        await task.queue_frames(texts("ask", "queued behind"))
        async with started(task):
            await trio.sleep(1)
        assert ("queued behind" in last.texts) == (not allowed)
        assert ("InterruptionFrame" in last.kinds) == allowed


@pytest.mark.parametrize("kind", [InterruptionFrame, InterruptionTaskFrame])
async def test_a_queued_interruption_is_a_request_of_the_owner(autojump_clock, kind) -> None:
    slow = Slow(5)
    task = task_of(slow)
    await task.queue_frame(TextFrame("stale"))
    async with started(task):
        await trio.sleep(1)
        await task.queue_frame(kind())
        await task.queue_frame(TextFrame("new"))
    assert slow.texts == ["new"]


async def test_the_owners_interrupt_always_works(autojump_clock) -> None:
    slow = Slow(5)
    task = task_of(slow, allow_interruptions=False)
    await task.queue_frame(TextFrame("stale"))
    async with started(task):
        await trio.sleep(1)
        await task.interrupt()
        await task.queue_frame(TextFrame("new"))
    assert slow.texts == ["new"]


async def test_an_interrupt_before_the_run_does_nothing(autojump_clock) -> None:
    probe = Probe()
    task = task_of(probe)
    await task.queue_frame(TextFrame("kept"))
    await task.interrupt()
    task.stop_when_done()
    await task.run()
    assert probe.texts == ["kept"]


async def test_a_start_frame_queued_before_the_run_replaces_the_tasks_own(autojump_clock) -> None:
    probe, mine = Probe(), StartFrame()
    mine.metadata["mine"] = 1
    task = task_of(probe, start_metadata={"room": "kitchen"})
    await task.queue_frame(mine)
    task.stop_when_done()
    await task.run()
    assert probe.seen[0] is mine
    assert probe.kinds == ["StartFrame", "EndFrame"]
    assert mine.metadata == {"mine": 1, "room": "kitchen"}


async def test_a_start_frame_queued_later_is_an_error(autojump_clock) -> None:
    task = task_of(Probe())
    async with started(task):
        with pytest.raises(RuntimeError, match="StartFrame"):
            await task.queue_frame(StartFrame())
    with pytest.raises((RuntimeError, trio.ClosedResourceError)):
        await task.queue_frame(StartFrame())


async def test_cancel_and_queued_cancel_do_not_wait_for_a_frame_to_travel(autojump_clock) -> None:
    for ask in (lambda task: task.queue_frame(CancelFrame()), lambda task: task.cancel()):
        task = task_of(*[Stuck(TextFrame) for _ in range(3)])
        await task.queue_frames(texts(*range(50)))
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await trio.sleep(1)
            with trio.fail_after(0.5):
                await ask(task)
                await task.wait_finished()


def test_runner_requests_work_outside_any_trio_run() -> None:
    task = task_of(Probe())
    runner = PipelineRunner(task, handle_sigint=False)
    for request in ("stop_when_done", "end"):
        assert isinstance(getattr(runner, request)(), Requested)
    trio.run(runner.run)
    assert task.state is TaskState.ENDED
    for request in ("stop_when_done", "end", "cancel"):
        assert isinstance(getattr(runner, request)(), Requested)


def test_a_runner_cancelled_outside_any_trio_run() -> None:
    task = task_of(Probe())
    runner = PipelineRunner(task, handle_sigint=False)
    assert isinstance(runner.cancel("no"), Requested)
    trio.run(runner.run)
    assert task.state is TaskState.CANCELLED


async def test_add_workers_is_a_request_too(autojump_clock) -> None:
    runner = PipelineRunner(handle_sigint=False)
    assert isinstance(runner.add_workers(task_of(Probe())), Requested)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert await runner.add_workers(task_of(Probe())) is None
        runner.end()


async def test_a_processors_interrupt_is_a_request_too(autojump_clock) -> None:
    got = []

    async def ask(processor: FrameProcessor, frame: TextFrame) -> None:
        got.append(processor.interrupt())
        got.append(await processor.interrupt())

    task = task_of(Does(ask), allow_interruptions=True)
    async with started(task):
        await task.queue_frame(TextFrame())
    assert isinstance(got[0], Requested)
    assert got[1] is None
