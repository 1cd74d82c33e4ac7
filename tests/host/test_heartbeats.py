"""T6: heartbeats, and who is told when they do not come through."""

import math

import pytest
import trio
import trio.lowlevel

from hosting import Probe, Slow, Stuck, nothing_left, records, started, task_of, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    Direction,
    Frame,
    FrameProcessor,
    Frames,
    HeartbeatFrame,
    Out,
    ParallelPipeline,
    PipelineParams,
    TaskState,
    TextFrame,
    each,
    processor,
)


class Lost:
    """Keeps when heartbeats were lost, and who was stuck."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.stuck: list[str] = []

    def on_heartbeat_lost(self, task, stuck: str) -> None:
        self.at.append(trio.current_time())
        self.stuck.append(stuck)


class Beats:
    """Keeps when heartbeats reached the sink."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.frames: list[HeartbeatFrame] = []

    def on_reached_sink(self, task, frame: Frame) -> None:
        if isinstance(frame, HeartbeatFrame):
            self.at.append(trio.current_time())
            self.frames.append(frame)


async def test_t6_a_heartbeat_is_sent_every_period_and_stamped_by_the_tasks_clock(autojump_clock) -> None:
    beats = Beats()
    task = task_of(Probe(), observers=[beats], enable_heartbeats=True, heartbeat_period=0.5)
    async with started(task):
        await trio.sleep(2.25)
    assert beats.at == [0, 0.5, 1, 1.5, 2]
    assert [frame.timestamp for frame in beats.frames] == [0, 500_000_000, 10**9, 1_500_000_000, 2 * 10**9]
    assert all(isinstance(frame, ControlFrame) for frame in beats.frames)


async def test_there_are_none_unless_they_are_asked_for(autojump_clock) -> None:
    beats = Beats()
    task = task_of(Probe(), observers=[beats])
    async with started(task, 1000):
        await trio.sleep(100)
    assert beats.at == []


async def test_they_count_neither_as_accepted_nor_as_given_out_and_leave_no_trace_in_the_end(autojump_clock) -> None:
    task = task_of(Probe(), enable_heartbeats=True)
    async with nothing_left(), started(task):
        await trio.sleep(5.5)
        await task.queue_frame(TextFrame("x"))
    result = await task.wait_finished()
    assert (result.state, result.frames_in, result.frames_out) == (TaskState.ENDED, 1, 1)
    assert result.finished_at == 5.5


async def test_classes_are_shown_them_and_no_processor_can_lose_one(autojump_clock) -> None:
    class Swallows(FrameProcessor):
        seen = 0

        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            self.seen += isinstance(frame, HeartbeatFrame)

    @each
    def nothing(frame: ControlFrame) -> None:
        raise AssertionError("functions are not shown them")

    @each
    async def waits(frame: TextFrame) -> TextFrame:
        await trio.lowlevel.checkpoint()
        return frame

    @processor
    async def block(frames: Frames[Frame], out: Out) -> None:
        async for frame in frames:
            assert not isinstance(frame, HeartbeatFrame)

    swallows, beats, lost = Swallows(), Beats(), Lost()
    parts = [swallows, nothing, waits, block, ParallelPipeline([Swallows()], [nothing, waits], [Probe()])]
    task = task_of(*parts, observers=[beats, lost], enable_heartbeats=True, heartbeat_timeout=2)
    async with started(task):
        await trio.sleep(20.5)
    assert swallows.seen == len(beats.at) == 21
    assert lost.at == []


async def test_a_processor_may_keep_one_and_push_it_late(autojump_clock) -> None:
    class Keeps(FrameProcessor):
        kept: HeartbeatFrame | None = None

        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if self.kept is not None:
                await self.push_frame(self.kept)
            if isinstance(frame, HeartbeatFrame):
                self.kept = frame
            else:
                await self.push_frame(frame, direction)

    beats = Beats()
    task = task_of(Keeps(), observers=[beats], enable_heartbeats=True)
    async with started(task):
        await trio.sleep(3.5)
    assert beats.at == [0, 1, 2, 3]


@pytest.mark.parametrize("running", [False, True])
async def test_one_that_a_user_makes_is_an_ordinary_control_frame(autojump_clock, running) -> None:
    task = task_of(Probe())
    frame = HeartbeatFrame(timestamp=7)
    async with task.open_output(HeartbeatFrame) as out:
        if not running:
            await task.queue_frame(frame)
        async with started(task):
            if running:
                await task.queue_frame(frame)
        assert [it async for it in out] == [frame]
    assert task.statistics().frames_in == 1


async def test_the_tasks_own_cannot_be_queued_again(autojump_clock) -> None:
    beats = Beats()
    task = task_of(Probe(), observers=[beats], enable_heartbeats=True)
    async with started(task):
        await trio.sleep(0.5)
        await task.queue_frame(beats.frames[0])  # harmless: it has been where it goes
        assert task.state is TaskState.RUNNING
    assert beats.at == [0]


# -- loss


async def test_t6_a_loss_is_told_once_with_who_is_stuck_since_when(autojump_clock, caplog) -> None:
    lost = Lost()
    stuck = Stuck(TextFrame, name="stuck")
    task = task_of(Probe(), stuck, observers=[lost], enable_heartbeats=True, heartbeat_timeout=5)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(2.5)  # the last heartbeat came through at 2
        frame = TextFrame("x")
        await task.queue_frame(frame)
        await trio.sleep(100)
        task.cancel()
    assert lost.at == [7]
    assert f"'stuck' has {frame.name} in hand since 2.500 s" in lost.stuck[0]
    (said,) = records(caplog)
    assert "no heartbeat has reached the sink for 5 s" in said
    assert "'stuck'" in said


async def test_t6_when_they_come_through_again_the_next_loss_is_told_again(autojump_clock) -> None:
    lost, beats = Lost(), Beats()
    task = task_of(Slow(20), observers=[lost, beats], enable_heartbeats=True, heartbeat_timeout=5)
    async with started(task, 1000):
        await trio.sleep(0.5)
        await task.queue_frame(TextFrame("a"))
        await trio.sleep(30)  # through at 20.5
        await task.queue_frame(TextFrame("b"))
        await trio.sleep(30)
    assert lost.at == [5, 35]
    assert beats.at[:2] == [0, 20.5]
    assert beats.at.count(20.5) == 20  # all that were on their way


async def test_the_time_runs_from_the_last_one_that_came_through(autojump_clock) -> None:
    lost = Lost()
    task = task_of(Slow(8), observers=[lost], enable_heartbeats=True, heartbeat_timeout=10)
    await task.queue_frames(texts(*range(10)))
    async with started(task, 1000):
        # One frame is 8 s, and heartbeats that are sent meanwhile wait behind all ten of them.
        await trio.sleep(79)
        assert lost.at == [10]
        await trio.sleep(20)
    assert lost.at == [10]


async def test_a_block_that_works_too_long_is_named(autojump_clock) -> None:
    @processor(name="thinker")
    async def thinker(frames: Frames[TextFrame], out: Out) -> None:
        async for _ in frames:
            await trio.sleep(8)

    lost = Lost()
    task = task_of(thinker, observers=[lost], enable_heartbeats=True, heartbeat_timeout=5)
    await task.queue_frame(TextFrame("x"))
    async with started(task):
        await trio.sleep(20)
    assert len(lost.at) == 1
    assert "'thinker' has TextFrame" in lost.stuck[0]


async def test_one_branch_that_is_stuck_is_a_loss(autojump_clock) -> None:
    lost = Lost()
    parts = [ParallelPipeline([Probe()], [Stuck(TextFrame, name="left behind")])]
    task = task_of(*parts, observers=[lost], enable_heartbeats=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame("x"))
        await trio.sleep(15)
        task.cancel()
    assert len(lost.at) == 1
    assert "'left behind'" in lost.stuck[0]


async def test_frames_that_wait_outside_are_no_loss(autojump_clock) -> None:
    # Backpressure on whoever queues is not standing still: each second one frame gets through.
    lost = Lost()
    task = task_of(Slow(1), observers=[lost], enable_heartbeats=True, heartbeat_timeout=5, queue_size=1)
    async with started(task, 1000):
        await task.queue_frames(texts(*range(100)))
    assert lost.at == []


async def test_they_wait_for_no_reader_and_do_not_pile_up_at_an_output(autojump_clock) -> None:
    lost = Lost()
    task = task_of(Probe(), observers=[lost], enable_heartbeats=True)
    async with task.open_output(HeartbeatFrame, buffer=3) as out:
        async with nothing_left(), started(task, 1000):
            await trio.sleep(0.5)
            before = trio.lowlevel.current_statistics().tasks_living
            await trio.sleep(100)
            assert trio.lowlevel.current_statistics().tasks_living == before
        assert [frame.timestamp async for frame in out] == [0, 10**9, 2 * 10**9]
    assert lost.at == []


async def test_a_pipeline_that_stands_still_for_hours_does_not_fill_up_with_them(autojump_clock) -> None:
    stuck = Stuck(TextFrame, name="stuck")
    task = task_of(stuck, enable_heartbeats=True, lane_limit=100)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame("x"))
        await trio.sleep(10_000)
        assert task.state is TaskState.RUNNING
        assert stuck.statistics().downstream.buffered <= 50
        task.cancel()


async def test_they_outlive_an_interrupt_and_stop_none_of_its_work(autojump_clock) -> None:
    beats = Beats()
    task = task_of(Slow(10), observers=[beats], enable_heartbeats=True)
    async with started(task):
        await trio.sleep(0.5)
        await task.queue_frame(TextFrame("stale"))
        await trio.sleep(3)
        task.interrupt()
        await trio.sleep(1)
    assert beats.at == [0, 3.5, 3.5, 3.5, 4]


# -- the end


async def test_the_end_waits_for_none_and_none_is_lost_while_it_ends(autojump_clock) -> None:
    lost = Lost()
    task = task_of(Slow(30), observers=[lost], enable_heartbeats=True, heartbeat_timeout=5)
    async with nothing_left(), started(task):
        await task.queue_frame(TextFrame("x"))
    # The last frame is on its way: what is stuck then is for `end_timeout`.
    assert (await task.wait_finished()).finished_at == 30
    assert lost.at == []


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_an_observer_may_end_the_task_when_one_is_lost(autojump_clock, how) -> None:
    class Ends:
        def on_heartbeat_lost(self, task, stuck: str) -> None:
            task.stop_when_done(stuck) if how == "stop" else task.cancel(stuck)

    task = task_of(
        Stuck(TextFrame, name="stuck"), observers=[Ends()], enable_heartbeats=True, heartbeat_timeout=5, end_timeout=1
    )
    await task.queue_frame(TextFrame("x"))
    async with nothing_left():
        if how == "cancel":
            result = await task.run()
            assert result.state is TaskState.CANCELLED
            assert "'stuck'" in result.reason
        else:
            with pytest.raises(trio.TooSlowError, match="end_timeout"):
                await task.run()


async def test_an_async_observer_is_told_too(autojump_clock) -> None:
    told = []

    class Watches:
        async def on_heartbeat_lost(self, task, stuck: str) -> None:
            await trio.sleep(1)
            told.append(trio.current_time())

    task = task_of(Stuck(TextFrame), observers=[Watches()], enable_heartbeats=True, heartbeat_timeout=5)
    await task.queue_frame(TextFrame("x"))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(10)
        task.cancel()
    assert told == [6]


@pytest.mark.parametrize(("period", "timeout"), [(1, 1), (2, 1), (math.inf, 10), (math.inf, math.inf)])
def test_a_timeout_within_which_none_could_come_is_refused(period, timeout) -> None:
    with pytest.raises(ConfigurationError, match="heartbeat_timeout=.*heartbeat_period"):
        PipelineParams(enable_heartbeats=True, heartbeat_period=period, heartbeat_timeout=timeout)
    PipelineParams(heartbeat_period=period, heartbeat_timeout=timeout)  # nobody sends any


async def test_a_timeout_of_infinity_is_never_reached(autojump_clock) -> None:
    lost = Lost()
    task = task_of(Stuck(TextFrame), observers=[lost], enable_heartbeats=True, heartbeat_timeout=math.inf)
    await task.queue_frame(TextFrame("x"))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(2000)
        task.cancel()
    assert lost.at == []
