"""T12: frames get a presentation time from the task's clock, and are held until the clock has reached it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given, settings, strategies as st

from cancel_everywhere import cancelled_everywhere
from flow_kit import UP, Sees, live, text
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    EndTimeout,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ReleaseAtPts,
    StampPts,
    SystemClock,
    SystemFrame,
    TaskState,
    TextFrame,
)

SECOND = 10**9


def at(seconds: float, content: str, *, kept: bool = False) -> TextFrame:
    frame = text(content, kept=kept)
    frame.pts = round(seconds * SECOND)
    return frame


class Logs(FrameProcessor):
    """Keeps what came down, and when."""

    def __init__(self) -> None:
        self.log: list[tuple[str, float]] = []

    async def process_frame(self, frame, direction) -> None:
        if isinstance(frame, TextFrame):
            self.log.append((frame.text, round(trio.current_time(), 6)))
        await self.push_frame(frame, direction)


@asynccontextmanager
async def holding(clock: object = None, limit: int = 1000) -> AsyncIterator[tuple[PipelineTask, ReleaseAtPts, Logs]]:
    hold, logs = ReleaseAtPts(limit), Logs()
    task = PipelineTask(Pipeline([hold, logs]), clock=clock)
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            yield task, hold, logs
            task.stop_when_done()


async def test_t12_frames_leave_when_the_clock_has_reached_their_pts_in_the_order_of_pts(autojump_clock):
    async with holding() as (task, hold, logs):
        await trio.sleep(1)
        for frame in (at(7, "c"), at(3, "a"), at(5.25, "b"), at(0.5, "late")):
            await task.queue_frame(frame)
        await trio.sleep(1)
        assert hold.held == 3
        await trio.sleep(10)
    assert logs.log == [("late", 1), ("a", 3), ("b", 5.25), ("c", 7)]


async def test_frames_of_one_pts_keep_their_order(autojump_clock):
    async with holding() as (task, _, logs):
        for n in range(20):
            await task.queue_frame(at(2, str(n)))
    assert logs.log == [(str(n), 2) for n in range(20)]


async def test_an_earlier_one_that_comes_later_leaves_first(autojump_clock):
    async with holding() as (task, _, logs):
        await task.queue_frame(at(100, "far"))
        await trio.sleep(50)
        await task.queue_frame(at(60, "near"))
    assert logs.log == [("near", 60), ("far", 100)]


async def test_frames_without_a_pts_urgent_ones_and_those_that_go_up_pass_at_once(autojump_clock):
    async with live([Sees(), ReleaseAtPts(), Sees()]) as now:
        urgent = SystemFrame()
        urgent.pts = 100 * SECOND
        up = at(100, "up")
        await now.task.queue_frame(at(50, "held"))
        await now.say("by", "the way")
        await now.task.queue_frame(urgent)
        await now.task.queue_frame(up, UP)
        await trio.sleep(1)
        assert now.texts == ["by", "the way"]
        assert urgent in now.down
        assert now.up == [up]


async def test_t12_the_end_goes_behind_what_is_held(autojump_clock):
    async with holding() as (task, _, logs):
        await task.queue_frame(at(30, "x"))
        task.stop_when_done()
    assert logs.log == [("x", 30)]
    assert (await task.wait_finished()).finished_at == pytest.approx(30)


async def test_an_end_that_would_wait_too_long_is_bounded_and_names_it(autojump_clock):
    task = PipelineTask(Pipeline([ReleaseAtPts(name="hold")]), PipelineParams(end_timeout=5))
    await task.queue_frame(at(3600, "x"))
    task.stop_when_done()
    with pytest.raises(EndTimeout, match=r"'hold' has EndFrame"):
        await task.run()


async def test_t12_an_interrupt_drops_what_is_held_and_keeps_what_is_uninterruptible(autojump_clock):
    async with holding() as (task, hold, logs):
        await task.queue_frame(at(5, "stale"))
        await task.queue_frame(at(6, "kept", kept=True))
        await trio.sleep(1)
        task.interrupt()
        await task.queue_frame(at(4, "new"))
        await trio.sleep(1)
        assert hold.held == 2
    assert logs.log == [("new", 4), ("kept", 6)]


# The releasing task may wake up in the very pass in which the interrupt takes effect, before this processor is told.
async def test_nothing_stale_leaves_after_the_interrupt_even_at_its_very_time(autojump_clock):
    for when in (4.9999, 5, 5.0001):
        async with holding() as (task, _, logs):
            began = trio.current_time()
            await task.queue_frame(at(5, "stale"))
            await trio.sleep_until(began + when)
            left = list(logs.log)
            task.interrupt()
            await trio.sleep(10)
            assert logs.log == left


async def test_an_interrupt_frees_an_end_that_waits(autojump_clock):
    async with holding() as (task, _, logs):
        await task.queue_frame(at(3600, "stale"))
        await trio.sleep(1)
        task.stop_when_done()
        await trio.sleep(1)
        task.interrupt()
    assert logs.log == []
    assert (await task.wait_finished()).finished_at == pytest.approx(2)


async def test_more_than_the_limit_makes_the_pusher_wait(autojump_clock):
    async with holding(limit=2) as (task, hold, logs):
        for n in range(6):
            await task.queue_frame(at(n + 1, str(n)))
        await trio.sleep(0.5)
        assert hold.held == 2
        assert hold.statistics().downstream.buffered == 3  # and one is in hand
    assert logs.log == [(str(n), n + 1) for n in range(6)]


async def test_an_interrupt_lets_the_one_go_on_that_waits_for_room(autojump_clock):
    async with holding(limit=1) as (task, hold, logs):
        for n in range(3):
            await task.queue_frame(at(100 + n, str(n)))
        await trio.sleep(1)
        task.interrupt()
        await task.queue_frame(at(5, "new"))
        await trio.sleep(1)
        assert hold.held == 1
    assert logs.log == [("new", 5)]


async def test_one_that_is_due_already_is_not_handed_over_and_a_flush_waits_for_it(autojump_clock):
    async with holding() as (task, _, logs):
        await trio.sleep(2)
        await task.queue_frame(at(1, "due"))
        assert await task.flush()
        assert logs.log == [("due", 2)]


# A flush waits for what was held when it came, and not for what came later; what came later does not wait for it.
async def test_a_flush_waits_for_what_is_held(autojump_clock):
    flushed: list[float] = []

    async def flush(task: PipelineTask) -> None:
        assert await task.flush()
        flushed.append(trio.current_time())

    async with holding() as (task, _, logs), trio.open_nursery() as nursery:
        for seconds in (9, 5):
            await task.queue_frame(at(seconds, f"at {seconds}"))
        assert not await task.flush(1)
        nursery.start_soon(flush, task)
        await trio.sleep(1)
        await task.queue_frame(at(20, "at 20"))
        await task.queue_frame(at(3, "at 3"))
        nursery.start_soon(flush, task)
    assert flushed == pytest.approx([9, 20])
    assert logs.log == [("at 3", 3), ("at 5", 5), ("at 9", 9), ("at 20", 20)]


# Who asks to be told when a frame has been handled is told then.
async def test_a_frame_is_handled_when_it_has_left(autojump_clock):
    told: list[float] = []
    async with holding() as (task, _, _):
        await task.queue_frame(at(5, "at 5"), on_handled=lambda frame, handled: told.append(trio.current_time()))
        await task.queue_frame(at(7, "at 7"))
    assert told == [pytest.approx(5)]


# What an interrupt drops is not waited for.
async def test_an_interrupt_frees_a_flush(autojump_clock):
    async with holding() as (task, _, logs):
        await task.queue_frame(at(9, "stale"))
        await task.queue_frame(at(6, "kept", kept=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.flush)
            await trio.sleep(1)
            task.interrupt()
        assert trio.current_time() == pytest.approx(6)
    assert logs.log == [("kept", 6)]


# Nor is a flush that a cancelled run has left the next one's.
async def test_a_flush_of_a_run_that_was_cancelled(autojump_clock):
    pipeline = Pipeline([ReleaseAtPts(), Logs()])
    async with pipeline:
        for _ in range(2):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await task.queue_frame(at(100, "never"))
                nursery.start_soon(task.flush)
                await trio.sleep(1)
                task.cancel()
    assert trio.current_time() == 2


async def test_backpressure_below_delays_and_loses_nothing(autojump_clock):
    slow = Sees(delay=1)
    task = PipelineTask(Pipeline([ReleaseAtPts(), slow]), PipelineParams(queue_size=1))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for n in range(10):
            await task.queue_frame(at(1, str(n)))
        task.stop_when_done()
    assert slow.texts() == [str(n) for n in range(10)]


# -- other clocks


class Scaled:
    """Runs at a speed that can be changed, stands still at 0, and jumps where it is told to."""

    def __init__(self, speed: float = 1) -> None:
        self.speed = speed

    def start(self) -> None:
        self.since, self.base = trio.current_time(), 0.0

    def get_time(self) -> int:
        return round((self.base + (trio.current_time() - self.since) * self.speed) * SECOND)

    def change(self, speed: float, jump: float = 0) -> None:
        self.base = self.get_time() / SECOND + jump
        self.since, self.speed = trio.current_time(), speed


@pytest.mark.parametrize("speed", [0.1, 0.5, 1, 2, 10, 100])
async def test_t12_a_clock_of_another_speed(autojump_clock, speed):
    async with holding(Scaled(speed)) as (task, _, logs):
        for n in (20, 40, 41):
            await task.queue_frame(at(n, str(n)))
    # Late by no more than a look at a clock whose speed is not known yet.
    for content, when in logs.log:
        assert 0 <= when - int(content) / speed <= 0.021


async def test_t12_a_clock_that_changes_its_speed_stands_still_and_jumps(autojump_clock):
    clock = Scaled(1)
    async with holding(clock) as (task, _, logs):
        for n in (10, 20, 30, 1000):
            await task.queue_frame(at(n, str(n)))
        await trio.sleep(5)
        clock.change(0)
        await trio.sleep(100)
        assert logs.log == []
        clock.change(5)  # 10 at 106, 20 at 108
        await trio.sleep(3.5)  # 22.5
        clock.change(0.5)  # 30 at 108.5 + 15
        await trio.sleep(20)
        clock.change(1, jump=2000)
        await trio.sleep(1)
        assert [content for content, _ in logs.log] == ["10", "20", "30", "1000"]
        for (_, when), due in zip(logs.log, (106, 108, 123.5, 128.5), strict=True):
            assert 0 <= when - due <= 0.26
    assert task.state is TaskState.ENDED


async def test_a_held_frame_costs_a_look_now_and_then_only(autojump_clock):
    looks = 0

    class Counted(SystemClock):
        def get_time(self) -> int:
            nonlocal looks
            looks += 1
            return super().get_time()

    async with holding(Counted()) as (task, _, _):
        await task.queue_frame(at(100, "x"))
    assert looks < 1000


async def test_a_clock_that_raises_fails_the_task_and_names_who_asked_it(autojump_clock):
    class Broken(SystemClock):
        def get_time(self) -> int:
            raise ZeroDivisionError

    task = PipelineTask(Pipeline([ReleaseAtPts(name="hold")]), clock=Broken())
    await task.queue_frame(at(1, "x"))
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    (error,) = caught.value.exceptions
    assert "'hold'" in error.__notes__[0]


# -- stamping


async def test_t12_stamping_gives_what_has_no_pts_the_time_of_the_clock(autojump_clock):
    async with live([StampPts(), Sees()]) as now:
        await trio.sleep(1.5)
        await now.say("a")
        await now.task.queue_frame(at(7, "b"))
        await now.task.queue_frame(SystemFrame())
        await trio.sleep(1)
    assert [frame.pts for frame in now.down if isinstance(frame, DataFrame)] == [1_500_000_000, 7 * SECOND]
    assert [frame.pts for frame in now.down if isinstance(frame, SystemFrame)] == [None]


async def test_stamping_and_holding_is_a_delay_of_everything(autojump_clock):
    logs = Logs()
    async with live([StampPts(delay=2), ReleaseAtPts(), logs]) as now:
        for n in range(3):
            await now.say(str(n))
            await trio.sleep(1)
    assert logs.log == [("0", 2), ("1", 3), ("2", 4)]


async def test_a_task_without_a_start_stamps_zero(autojump_clock):
    assert SystemClock().get_time() == 0


@pytest.mark.parametrize("bad", [0, -1, 1.5, "1", None, True], ids=repr)
def test_a_bad_limit_is_refused(bad):
    with pytest.raises(ConfigurationError, match="limit"):
        ReleaseAtPts(bad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "1", None, True], ids=repr)
def test_a_bad_delay_is_refused(bad):
    with pytest.raises(ConfigurationError, match="delay"):
        StampPts(bad)


async def test_a_pts_that_is_no_whole_number_is_an_error_that_names_the_frame(autojump_clock):
    task = PipelineTask(Pipeline([ReleaseAtPts()]))
    frame = TextFrame("x")
    frame.pts = 1.5
    await task.queue_frame(frame)
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert frame.name in str(caught.value.exceptions[0])


# -- histories

steps = st.lists(
    st.one_of(
        st.tuples(st.just("queue"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("wait"), st.integers(0, 5), st.just(False)),
        st.tuples(st.just("interrupt"), st.just(0), st.just(False)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_any_history_gives_each_frame_once_at_its_time_and_drops_exactly_what_was_stale(history):
    async def main() -> None:
        expected: dict[str, tuple[float, bool]] = {}  # content -> when it leaves, and whether it survives
        async with holding() as (task, _, logs):
            for number, (what, value, kept) in enumerate(history):
                now = trio.current_time()
                if what == "queue":
                    await task.queue_frame(at(value, str(number), kept=kept))
                    await trio.testing.wait_all_tasks_blocked()
                    expected[str(number)] = (max(value, now), kept)
                elif what == "wait":
                    await trio.sleep(value)
                    await trio.testing.wait_all_tasks_blocked()
                else:
                    task.interrupt()
                    expected = {content: (due, kept) for content, (due, kept) in expected.items() if kept or due <= now}
        assert dict(logs.log) == {content: due for content, (due, _) in expected.items()}
        assert len(logs.log) == len(expected)
        assert [when for _, when in logs.log] == sorted(when for _, when in logs.log)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_t11_cancelled_anywhere_it_leaves_nothing():
    def make():
        task = PipelineTask(Pipeline([ReleaseAtPts(limit=2), Sees(delay=1)]))

        async def scenario() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                for n in (1, 5, 3):
                    await task.queue_frame(at(n, str(n)))
                await trio.sleep(2)
                task.interrupt()
                await task.queue_frame(at(4, "x"))
                task.stop_when_done()

        def check() -> None:
            assert task.has_finished() or task.state is TaskState.NEW

        return scenario, check, None

    assert cancelled_everywhere(make) > 20
