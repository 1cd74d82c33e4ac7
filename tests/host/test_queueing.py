"""How frames get into a task: before it runs, while it runs, from inside, and when it takes no more."""

import gc
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hosting import Does, Probe, Slow, Stuck, Urgent, nothing_left, started, task_of, texts
from trio_pipes import (
    CancelFrame,
    DataFrame,
    Direction,
    EndFrame,
    FloodError,
    FrameProcessor,
    InterruptionTaskFrame,
    StopFrame,
    TaskState,
    TextFrame,
    each,
)

UP = Direction.UPSTREAM


async def until_waiting(task, seconds: float = 1) -> None:
    await trio.sleep(seconds)
    assert task.state is TaskState.RUNNING


# -- before the run


async def test_frames_queued_before_the_run_are_kept_in_order(autojump_clock) -> None:
    probe = Probe()
    task = task_of(probe)
    await task.queue_frame(TextFrame("0"))
    await task.queue_frames(texts(1, 2))
    await task.queue_frames(iter(texts(3)))
    assert task.statistics().frames_in == 4
    async with started(task):
        await task.queue_frame(TextFrame("4"))
    assert probe.texts == list("01234")


async def test_t1_ten_thousand_frames_are_kept_without_waiting_and_not_one_more(autojump_clock) -> None:
    probe = Probe()
    task = task_of(probe, queue_size=1)
    with trio.fail_after(1):
        await task.queue_frames(TextFrame(str(n)) for n in range(9_999))
        await task.queue_frame(TextFrame("9999"))
    for more in (task.queue_frame(TextFrame()), task.queue_frames(texts("more")), task.queue_frame(TextFrame(), UP)):
        with pytest.raises(FloodError, match="10,000"):
            await more
    task.stop_when_done()
    result = await task.run()
    assert probe.texts == [str(n) for n in range(10_000)]
    assert (result.frames_in, result.frames_out) == (10_000, 10_000)


async def test_frames_of_both_directions_are_kept(autojump_clock) -> None:
    top, bottom = Probe(), Probe()
    task = task_of(top, bottom)
    await task.queue_frame(TextFrame("up"), UP)
    await task.queue_frames(texts("up too"), UP)
    await task.queue_frame(TextFrame("down"))
    async with started(task):
        await trio.sleep(1)
    assert [t for t in bottom.texts if "up" in t] == ["up", "up too"]
    assert set(top.texts) == {"up", "up too", "down"}


async def test_a_kept_system_frame_overtakes_the_kept_ordered_ones(autojump_clock) -> None:
    # Kept or not: a system frame is not behind a backlog.
    slow = Slow(1)
    task = task_of(slow, queue_size=2)
    await task.queue_frames(texts(*range(20)))
    await task.queue_frame(Urgent("now"))
    task.stop_when_done()
    await task.run()
    assert slow.kinds.index("Urgent") < 5


async def test_an_async_iterable_before_the_run_waits_for_the_run(autojump_clock) -> None:
    asked = []

    async def frames():
        for n in range(3):
            asked.append(n)
            yield TextFrame(str(n))

    probe = Probe()
    task = task_of(probe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.queue_frames, frames())
        await trio.sleep(10)
        assert asked == []
        async with started(task):
            await trio.sleep(1)
    assert probe.texts == ["0", "1", "2"]


async def test_an_async_iterable_that_waits_is_told_of_a_cancel_before_the_run(autojump_clock) -> None:
    async def frames():
        yield TextFrame()

    task = task_of(Probe())
    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.queue_frames, frames())
            await trio.sleep(1)
            task.cancel()
    assert isinstance(caught.value.exceptions[0], trio.BrokenResourceError)


@pytest.mark.parametrize("how", ["stop_when_done", "cancel"])
async def test_t11_an_async_generator_is_closed_when_the_task_takes_no_more(autojump_clock, how) -> None:
    # Left to the garbage collector it is a ResourceWarning, and its cleanup may not await.
    closed = []

    async def frames():
        try:
            while True:
                yield TextFrame()
                await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            closed.append(True)

    task = task_of(Probe())
    error = trio.ClosedResourceError if how == "stop_when_done" else trio.BrokenResourceError
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)

        async def queue() -> None:
            with pytest.raises(error):
                await task.queue_frames(frames())

        nursery.start_soon(queue)
        await trio.sleep(2.5)
        getattr(task, how)()
    assert closed == [True]
    gc.collect()


async def test_an_async_iterable_need_not_be_a_generator(autojump_clock) -> None:
    class Countdown:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            await trio.sleep(1)
            return TextFrame(str(self.left))

    send, receive = trio.open_memory_channel(0)

    async def fill() -> None:
        async with send:
            await send.send(TextFrame("channel"))

    probe = Probe()
    task = task_of(probe)
    async with started(task), trio.open_nursery() as nursery:
        await task.queue_frames(Countdown())
        nursery.start_soon(fill)
        await task.queue_frames(receive)
    assert probe.texts == ["2", "1", "0", "channel"]


async def test_queueing_before_the_run_is_a_cancellation_point(autojump_clock) -> None:
    task = task_of(Probe())
    with trio.CancelScope() as scope:
        scope.cancel()
        await task.queue_frame(TextFrame())
    assert scope.cancelled_caught
    assert task.statistics().frames_in == 0


# -- while it runs


@pytest.mark.parametrize("queue_size", [1, 8, 64])
async def test_a_full_pipeline_makes_queue_frame_wait(autojump_clock, queue_size) -> None:
    task = task_of(Stuck(TextFrame), queue_size=queue_size)
    accepted = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        with trio.move_on_after(1):
            while True:
                await task.queue_frame(TextFrame())
                accepted += 1
        # One in hand, a lane, the push channel, and what the feeder holds.
        assert queue_size <= accepted <= 2 * queue_size + 2
        assert task.statistics().frames_in == accepted  # the one whose wait was cancelled is not among them
        task.cancel()


@pytest.mark.parametrize("queue_size", [1, 8, 64])
async def test_a_full_pipeline_makes_queue_frames_wait(autojump_clock, queue_size) -> None:
    task = task_of(Stuck(TextFrame), queue_size=queue_size)
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield TextFrame()

    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        with trio.move_on_after(1):
            await task.queue_frames(endless())
        # The channel holds batches of an eighth of its size.
        assert taken <= queue_size * max(1, queue_size // 8) + 4 * queue_size + 2
        task.cancel()


async def test_everybody_who_waits_for_room_gets_in_once_and_in_order(autojump_clock) -> None:
    slow = Slow(1)
    task = task_of(slow, queue_size=1)

    async def queue(who: str) -> None:
        for n in range(10):
            await task.queue_frame(TextFrame(f"{who}{n}"))

    async with started(task, 1000), trio.open_nursery() as nursery:
        for who in "abc":
            nursery.start_soon(queue, who)
    for who in "abc":
        assert [t for t in slow.texts if t[0] == who] == [f"{who}{n}" for n in range(10)]


async def test_a_wait_for_room_that_is_cancelled_takes_nothing(autojump_clock) -> None:
    slow = Slow(1)
    task = task_of(slow, queue_size=1)
    accepted = []
    async with started(task, 1000):
        for n in range(50):
            with trio.move_on_after(0.3):
                await task.queue_frame(TextFrame(str(n)))
                accepted.append(str(n))
    assert 5 < len(accepted) < 50
    assert slow.texts == accepted


async def test_upstream_and_system_frames_never_wait(autojump_clock) -> None:
    task = task_of(Stuck(TextFrame), queue_size=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        with trio.move_on_after(1):
            while True:
                await task.queue_frame(TextFrame())
        with trio.fail_after(1):
            for _ in range(100):
                await task.queue_frame(Urgent())
                await task.queue_frame(Urgent(), UP)
        task.cancel()


async def test_an_upstream_frame_enters_at_the_bottom(autojump_clock) -> None:
    seen = []

    class Notes(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                seen.append((self.name, direction))
            await self.push_frame(frame, direction)

    task = task_of(Notes("top"), Notes("bottom"))
    async with started(task):
        await task.queue_frame(TextFrame(), UP)
        await trio.sleep(1)
    assert seen == [("bottom", UP), ("top", UP)]
    assert task.statistics().frames_up == 1


async def test_queueing_while_running_is_a_cancellation_point(autojump_clock) -> None:
    task = task_of(Probe())
    async with started(task):
        for frames in (TextFrame(), texts(1, 2, 3)):
            with trio.CancelScope() as scope:
                scope.cancel()
                await (task.queue_frame(frames) if isinstance(frames, TextFrame) else task.queue_frames(frames))
            assert scope.cancelled_caught
    assert (await task.wait_finished()).frames_in == 0


async def test_what_an_iterable_or_async_iterable_raises_comes_out_and_the_task_goes_on(autojump_clock) -> None:
    def bad():
        yield TextFrame("1")
        raise ValueError("mine")

    async def bad_async():
        yield TextFrame("2")
        raise ValueError("mine")

    probe = Probe()
    task = task_of(probe)
    async with started(task):
        for frames in (bad(), bad_async()):
            with pytest.raises(ValueError, match="mine"):
                await task.queue_frames(frames)
        await task.queue_frame(TextFrame("3"))
    assert probe.texts[-1] == "3"
    assert "2" in probe.texts


async def test_an_end_frame_among_the_frames_ends_behind_what_came_before(autojump_clock) -> None:
    for last, state in ((EndFrame(), TaskState.ENDED), (StopFrame(), TaskState.STOPPED)):
        probe = Probe()
        task = task_of(probe)
        await task.queue_frames([*texts(1, 2), last])
        assert (await task.run()).state is state
        assert probe.texts == ["1", "2"]
    task = task_of(Probe())
    with pytest.raises(trio.ClosedResourceError):
        await task.queue_frames([TextFrame("1"), EndFrame(), TextFrame("too late")])


async def test_a_cancel_frame_among_the_frames_cancels(autojump_clock) -> None:
    task = task_of(Probe())
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        with pytest.raises(trio.BrokenResourceError):
            await task.queue_frames([TextFrame("1"), CancelFrame(reason="x"), TextFrame("too late")])
    assert (await task.wait_finished()).reason == "x"


# -- from inside


async def test_from_inside_a_processor_queue_frame_never_waits(autojump_clock) -> None:
    async def flood(processor: FrameProcessor, frame: TextFrame) -> None:
        if frame.text == "go":
            for n in range(500):
                await processor.task.queue_frame(TextFrame(str(n)))

    last = Probe()
    task = task_of(Does(flood), last, queue_size=1)
    await task.queue_frame(TextFrame("go"))
    with trio.fail_after(10):
        async with started(task):
            await task.flush()
            await trio.sleep(1)
    assert last.texts == ["go", *[str(n) for n in range(500)]]


async def test_from_inside_queue_frames_never_waits(autojump_clock) -> None:
    async def flood(processor: FrameProcessor, frame: TextFrame) -> None:
        if frame.text == "go":
            await processor.task.queue_frames(TextFrame(str(n)) for n in range(500))
            processor.task.stop_when_done()

    last = Probe()
    task = task_of(Probe(), Does(flood), last, queue_size=1)
    await task.queue_frame(TextFrame("go"))
    with trio.fail_after(10):
        await task.run()
    # Accepted before the stop was asked for: none is lost.
    assert last.texts == ["go", *[str(n) for n in range(500)]]


async def test_from_inside_a_task_that_a_processor_started_queue_frame_never_waits(autojump_clock) -> None:
    last = Probe()

    class Background(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.flood)
                yield
                nursery.cancel_scope.cancel()

        async def flood(self) -> None:
            for n in range(200):
                await self.task.queue_frame(TextFrame(str(n)))
            self.task.stop_when_done()

    with trio.fail_after(10):
        await task_of(Background(), last, queue_size=1).run()
    assert last.texts == [str(n) for n in range(200)]


async def test_from_inside_it_counts_against_the_lane_limit(autojump_clock) -> None:
    async def flood(processor: FrameProcessor, frame: TextFrame) -> None:
        while True:
            await processor.task.queue_frame(TextFrame("again"))

    task = task_of(Does(flood, name="flooder"), lane_limit=100, queue_size=4)
    await task.queue_frame(TextFrame())
    with trio.fail_after(10), pytest.raises(FloodError, match="lane_limit=100") as caught:
        await task.run()
    assert (await task.wait_finished()).error is caught.value


async def test_a_processor_of_another_task_is_outside(autojump_clock) -> None:
    # Only from inside the same task it must not wait; another pipeline's processor has backpressure.
    below = task_of(Stuck(TextFrame), queue_size=1)
    passed = []

    async def hand_over(processor: FrameProcessor, frame: TextFrame) -> None:
        await below.queue_frame(frame)
        passed.append(frame)

    above = task_of(Does(hand_over))
    async with trio.open_nursery() as nursery:
        await nursery.start(below.run)
        await nursery.start(above.run)
        await above.queue_frames(texts(*range(20)))
        await trio.sleep(1)
        assert 1 <= len(passed) <= 5
        above.cancel()
        below.cancel()


async def test_inside_and_outside_producers_together_lose_nothing(autojump_clock) -> None:
    async def echo(processor: FrameProcessor, frame: TextFrame) -> None:
        await trio.sleep(0.01)
        if frame.text.startswith("out"):
            await processor.task.queue_frame(TextFrame(f"in {frame.text}"))

    last = Probe()
    task = task_of(Does(echo), last, queue_size=1)
    async with started(task, 1000):
        await task.queue_frames(TextFrame(f"out{n}") for n in range(100))
        await trio.sleep(100)
    assert sorted(last.texts) == sorted([f"out{n}" for n in range(100)] + [f"in out{n}" for n in range(100)])


async def test_t11_cancel_with_frames_put_aside_from_inside(autojump_clock) -> None:
    async def flood(processor: FrameProcessor, frame: TextFrame) -> None:
        await processor.task.queue_frames(texts(*range(200)))
        await trio.sleep_forever()

    task = task_of(Does(flood), queue_size=1)
    await task.queue_frame(TextFrame())
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(1)
        task.cancel()
        with trio.fail_after(1):
            assert (await task.wait_finished()).state is TaskState.CANCELLED


# -- when it takes no more


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("how", ["stop", "end frame", "cancel", "failure", "outside"])
async def test_after_the_end_queueing_raises_what_happened(autojump_clock, how, batch) -> None:
    async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
        raise ValueError("crash")

    task = task_of(Does(crash))
    error = trio.ClosedResourceError if how in ("stop", "end frame") else trio.BrokenResourceError
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            match how:
                case "stop":
                    task.stop_when_done()
                case "end frame":
                    await task.queue_frame(EndFrame())
                case "cancel":
                    task.cancel()
                case "failure":
                    await task.queue_frame(TextFrame())
                case "outside":
                    nursery.cancel_scope.cancel()
    except* ValueError:
        pass
    await task.wait_finished()
    for direction in Direction:
        for frame in (TextFrame(), Urgent()):
            with pytest.raises(error, match=task.name):
                await (task.queue_frames([frame], direction) if batch else task.queue_frame(frame, direction))
    for request in (EndFrame(), StopFrame()):
        with pytest.raises(error, match=task.name):
            await task.queue_frame(request)
    await task.queue_frame(CancelFrame())  # harmless, as `cancel()` is
    await task.queue_frame(InterruptionTaskFrame())


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("stop_when_done", trio.ClosedResourceError),
        ("cancel", trio.BrokenResourceError),
        ("failure", trio.BrokenResourceError),
        ("outside", trio.BrokenResourceError),
    ],
)
async def test_who_waits_for_room_is_told(autojump_clock, how, error, batch) -> None:
    release = trio.Event()

    async def hold(processor: FrameProcessor, frame: TextFrame) -> None:
        await release.wait()
        if how == "failure":
            raise ValueError("crash")

    raised: list[BaseException] = []
    task = task_of(Does(hold), queue_size=1)

    async def fill() -> None:
        try:
            while True:
                await (task.queue_frames(texts(1)) if batch else task.queue_frame(TextFrame()))
        except (trio.ClosedResourceError, trio.BrokenResourceError) as exc:
            raised.append(exc)

    async with trio.open_nursery() as outer:
        with trio.fail_after(60):
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(task.run)
                    for _ in range(3):
                        outer.start_soon(fill)
                    await until_waiting(task)
                    match how:
                        case "failure":
                            release.set()
                        case "outside":
                            nursery.cancel_scope.cancel()
                        case _:
                            getattr(task, how)()
                    if how == "stop_when_done":
                        await trio.sleep(1)
                        assert len(raised) == 3  # at once, not when there is room
                        release.set()
            except* ValueError:
                pass
    assert [type(exc) for exc in raised] == [error] * 3
    assert all(task.name in str(exc) for exc in raised)


async def test_stop_while_others_wait_for_room_loses_nothing_that_was_accepted(autojump_clock) -> None:
    slow, accepted = Slow(1), []
    task = task_of(slow, queue_size=2)

    async def fill(who: str) -> None:
        with pytest.raises(trio.ClosedResourceError):
            for n in range(100):
                await task.queue_frame(TextFrame(f"{who}{n}"))
                accepted.append(f"{who}{n}")

    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for who in "abc":
            nursery.start_soon(fill, who)
        await trio.sleep(5.5)
        task.stop_when_done()
    result = await task.wait_finished()
    assert sorted(slow.texts) == sorted(accepted)
    assert [[t for t in slow.texts if t[0] == who] for who in "abc"] == [
        [t for t in accepted if t[0] == who] for who in "abc"
    ]
    assert result.frames_in == result.frames_out == len(accepted)


@pytest.mark.parametrize("how", ["failure", "cancel", "outside"])
async def test_during_cleanup_nothing_is_accepted(autojump_clock, how) -> None:
    # The run is over: what is queued now could only be lost without a word.
    class SlowCleanup(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                await trio.sleep(5)

        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame):
                raise ValueError("crash")

    task, raised = task_of(SlowCleanup()), []

    async def late() -> None:
        await trio.sleep(2)
        for frame in (TextFrame(), Urgent()):
            try:
                await task.queue_frame(frame)
            except trio.BrokenResourceError:
                raised.append(trio.current_time())

    async with trio.open_nursery() as outer:
        outer.start_soon(late)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await trio.sleep(1)
                match how:
                    case "failure":
                        await task.queue_frame(TextFrame())
                    case "cancel":
                        task.cancel()
                    case "outside":
                        nursery.cancel_scope.cancel()
        except* ValueError:
            pass
    assert raised == [pytest.approx(2)] * 2


# -- bad input


@pytest.mark.parametrize("bad", [None, 3, "text", TextFrame, object()], ids=["None", "3", "str", "a class", "object"])
@pytest.mark.parametrize("direction", list(Direction))
async def test_what_is_no_frame_is_refused_at_once(autojump_clock, bad, direction) -> None:
    task = task_of(Probe())
    for running in (False, True):
        if running:
            async with started(task):
                with pytest.raises(TypeError, match="expected a Frame"):
                    await task.queue_frame(bad, direction)
                with pytest.raises(TypeError, match="expected a Frame"):
                    await task.queue_frames([bad], direction)
        else:
            with pytest.raises(TypeError, match="expected a Frame"):
                await task.queue_frame(bad, direction)
    assert task.state is TaskState.ENDED


@pytest.mark.parametrize("bad", [None, 3, TextFrame(), TextFrame], ids=lambda bad: type(bad).__name__)
async def test_what_is_no_iterable_of_frames_is_refused(autojump_clock, bad) -> None:
    with pytest.raises(TypeError, match="iterable"):
        await task_of(Probe()).queue_frames(bad)


@pytest.mark.parametrize("bad", ["downstream", None, 1])
async def test_what_is_no_direction_is_refused(autojump_clock, bad) -> None:
    task = task_of(Probe())
    with pytest.raises(TypeError, match=r"Direction\.DOWNSTREAM"):
        await task.queue_frame(TextFrame(), bad)
    with pytest.raises(TypeError, match=r"Direction\.DOWNSTREAM"):
        await task.queue_frames(texts(1), bad)


@pytest.mark.parametrize("running", [False, True])
async def test_a_frame_that_was_made_without_its_init_is_refused(autojump_clock, running) -> None:
    class Hollow(DataFrame):
        def __init__(self) -> None:
            pass

    task = task_of(Probe())
    if running:
        async with started(task):
            with pytest.raises(TypeError, match="__init__"):
                await task.queue_frame(Hollow())
            with pytest.raises(TypeError, match="__init__"):
                await task.queue_frames([Hollow()])
    else:
        with pytest.raises(TypeError, match="__init__"):
            await task.queue_frame(Hollow())


async def test_frames_of_functions_only_count_in_and_out(autojump_clock) -> None:
    @each
    def even(frame: TextFrame) -> TextFrame | None:
        return frame if int(frame.text) % 2 == 0 else None

    task = task_of(even)
    await task.queue_frames(texts(*range(10)))
    await task.queue_frame(Urgent())
    task.stop_when_done()
    result = await task.run()
    assert (result.frames_in, result.frames_out) == (11, 6)
