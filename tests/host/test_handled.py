"""F8: who queued a frame is told when the pipeline is done with it."""

import functools

import pytest
import trio
import trio.lowlevel
from hypothesis import given, settings, strategies as st

from hosting import Does, Probe, Slow, Stuck, errors_in, records, started, task_of, texts
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    Direction,
    EndFrame,
    ErrorPolicy,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    StartFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)


class Told:
    """Keeps which texts were told of, how and when."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bool, float]] = []

    def __call__(self, frame: Frame, handled: bool) -> None:
        self.log.append((frame.text, handled, trio.current_time()))


async def test_f8_a_frame_is_told_of_once_when_it_has_been_handled(autojump_clock) -> None:
    told = Told()
    task = task_of(Slow(1), Slow(2))
    async with started(task):
        await task.queue_frame(TextFrame("a"), on_handled=told)
        assert told.log == []
        await trio.sleep(10)
        assert told.log == [("a", True, 3)]
    assert len(told.log) == 1


async def test_f8_an_event_makes_it_something_to_wait_for(autojump_clock) -> None:
    task = task_of(Slow(4))
    async with started(task):
        done = trio.Event()
        await task.queue_frame(TextFrame("a"), on_handled=lambda *_: done.set())
        await done.wait()
        assert trio.current_time() == 4


async def test_f8_each_is_told_in_its_turn_and_those_without_a_wish_are_not(autojump_clock) -> None:
    told = Told()
    task = task_of(Slow(1))
    for frame in texts("a", "b", "c", "d"):
        await task.queue_frame(frame, on_handled=told if frame.text in "bd" else None)
    async with started(task):
        pass
    assert told.log == [("b", True, 2), ("d", True, 4)]


async def test_f8_it_waits_for_what_came_of_the_frame(autojump_clock) -> None:
    @each
    def twice(frame: TextFrame) -> list[TextFrame]:
        return [TextFrame(frame.text), TextFrame(frame.text)]

    told = Told()
    task = task_of(twice, Slow(1))
    async with started(task):
        await task.queue_frame(TextFrame("a"), on_handled=told)
    assert told.log == [("a", True, 2)]


@processor
async def swallowing_block(frames: Frames[TextFrame], out: Out) -> None:
    async for _ in frames:
        await trio.sleep(1)


class Swallows(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await trio.sleep(1)


@each
async def swallowing_function(frame: TextFrame) -> None:
    await trio.sleep(1)


SWALLOWING = {
    "block": lambda: swallowing_block,
    "class": Swallows,
    "function": lambda: swallowing_function,
    "branches": lambda: ParallelPipeline([Swallows()], [swallowing_block], [swallowing_function]),
}


@pytest.mark.parametrize("kind", SWALLOWING)
async def test_f8_one_that_is_dropped_by_a_processor_has_been_handled(autojump_clock, kind) -> None:
    told = Told()
    task = task_of(SWALLOWING[kind](), Probe())
    async with started(task):
        await task.queue_frame(TextFrame("a"), on_handled=told)
        await trio.sleep(10)
        assert told.log == [("a", True, 1)]


async def test_f8_one_whose_error_is_reported_has_been_handled(autojump_clock) -> None:
    async def fail(processor: FrameProcessor, frame: TextFrame) -> None:
        raise ZeroDivisionError

    told = Told()
    task = task_of(Does(fail), on_error=ErrorPolicy.REPORT)
    async with started(task):
        await task.queue_frame(TextFrame("a"), on_handled=told)
    assert told.log == [("a", True, 0)]


@pytest.mark.parametrize("kept", [False, True], ids=["interruptible", "kept"])
async def test_f8_one_that_an_interrupt_makes_stale_is_told_of_at_once(autojump_clock, kept) -> None:
    told = Told()
    task = task_of(Slow(10))
    async with started(task, 1000):
        for text in "abc":
            frame = TextFrame(text, interruptible=not kept)
            await task.queue_frame(frame, on_handled=told)
        await trio.sleep(1)
        task.interrupt()
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert told.log == ([] if kept else [(text, True, 1) for text in "abc"])
    assert [(text, handled) for text, handled, _ in told.log] == [(text, True) for text in "abc"]


@pytest.mark.parametrize("how", ["cancel", "fail", "outside"])
async def test_f8_a_run_that_ends_before_tells_false(autojump_clock, how) -> None:
    async def act(processor: FrameProcessor, frame: TextFrame) -> None:
        await trio.sleep(1)
        if frame.text == "b":
            if how == "cancel":
                processor.task.cancel()
            elif how == "fail":
                raise ZeroDivisionError
            else:
                scope.cancel()
                await trio.sleep(1)

    told = Told()
    task = task_of(Does(act), queue_size=1)
    for frame in texts("a", "b", "c", "d"):
        await task.queue_frame(frame, on_handled=told)
    try:
        with trio.CancelScope() as scope:
            await task.run()
    except* ZeroDivisionError:
        pass
    assert told.log == [("a", True, 1), ("b", False, 2), ("c", False, 2), ("d", False, 2)]


async def test_f8_a_task_that_is_cancelled_before_its_run_tells_false(autojump_clock) -> None:
    told = Told()
    task = task_of(Probe())
    await task.queue_frame(TextFrame("a"), on_handled=told)
    task.cancel()
    assert told.log == [("a", False, 0)]


async def test_f8_an_orderly_end_tells_all(autojump_clock) -> None:
    told = Told()
    task = task_of(Slow(1), queue_size=2)
    async with started(task):
        for frame in texts(*range(10)):
            await task.queue_frame(frame, on_handled=told)
        task.stop_when_done()
    assert [(text, handled) for text, handled, _ in told.log] == [(str(n), True) for n in range(10)]
    assert task.statistics().frames_in == 10


async def test_f8_it_waits_for_room_like_any_other_frame_and_keeps_the_order(autojump_clock) -> None:
    told, probe = Told(), Probe()
    task = task_of(Slow(1), probe, queue_size=1)

    async def queue(start: int) -> None:
        for n in range(start, 20, 2):
            await task.queue_frame(TextFrame(str(n)), on_handled=told if start else None)

    async with started(task):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue, 0)
            nursery.start_soon(queue, 1)
            await trio.sleep(2)
            assert task.statistics().frames_in < 10
    assert sorted(map(int, probe.texts)) == list(range(20))
    assert [int(text) for text, _, _ in told.log] == list(range(1, 20, 2))


@pytest.mark.parametrize("how", ["wait", "closed", "broken"])
async def test_f8_a_frame_that_is_not_accepted_is_not_told_of(autojump_clock, how) -> None:
    told = Told()
    task = task_of(Stuck(TextFrame), queue_size=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames(texts(*range(4)))
        if how == "wait":
            with trio.move_on_after(1) as scope:
                await task.queue_frame(TextFrame("a"), on_handled=told)
            assert scope.cancelled_caught
        else:
            task.stop_when_done() if how == "closed" else task.cancel()
            error = trio.ClosedResourceError if how == "closed" else trio.BrokenResourceError
            with pytest.raises(error):
                await task.queue_frame(TextFrame("a"), on_handled=told)
        task.cancel()
    assert told.log == []


async def test_f8_from_inside_a_processor_and_from_what_is_told(autojump_clock) -> None:
    told = Told()

    async def act(processor: FrameProcessor, frame: TextFrame) -> None:
        await trio.sleep(1)
        if frame.text == "a":
            await processor.task.queue_frame(TextFrame("b"), on_handled=told)

    def ends(frame: Frame, handled: bool) -> None:
        told(frame, handled)
        task.stop_when_done("handled")

    task = task_of(Does(act), queue_size=1)
    await task.queue_frame(TextFrame("a"), on_handled=told)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(5)
        await task.queue_frame(TextFrame("c"), on_handled=ends)
    assert told.log == [("a", True, 1), ("b", True, 2), ("c", True, 6)]
    assert (await task.wait_finished()).reason == "handled"


async def test_f8_what_is_told_cannot_hurt_the_pipeline(autojump_clock, caplog) -> None:
    class Awaits:
        async def __call__(self, frame: Frame, handled: bool) -> None: ...

    def fails(frame: Frame, handled: bool) -> None:
        raise ZeroDivisionError

    probe = Probe()
    task = task_of(probe)
    async with started(task):
        await task.queue_frame(TextFrame("a"), on_handled=fails)
        await task.queue_frame(TextFrame("b"), on_handled=Awaits())
        await task.queue_frame(TextFrame("c"))
    result = await task.wait_finished()
    assert result.state is TaskState.ENDED
    assert probe.texts == ["a", "b", "c"]
    assert [type(error) for error in result.observer_errors] == [ZeroDivisionError, TypeError]
    assert len(records(caplog)) == 2


async def wrong(frame: Frame, handled: bool) -> None: ...


@pytest.mark.parametrize("bad", [1, "call", wrong, trio.sleep], ids=["int", "str", "async", "sleep"])
async def test_f8_what_cannot_be_called_back_is_refused(autojump_clock, bad) -> None:
    task = task_of(Probe())
    with pytest.raises(ConfigurationError, match=r"on_handled.*sync function"):
        await task.queue_frame(TextFrame("a"), on_handled=bad)


@pytest.mark.parametrize(
    ("frame", "direction"),
    [
        (SystemFrame(), Direction.DOWNSTREAM),
        (TextFrame("up"), Direction.UPSTREAM),
        (EndFrame(), Direction.DOWNSTREAM),
        (StartFrame(), Direction.DOWNSTREAM),
    ],
    ids=["system", "up", "end", "start"],
)
async def test_f8_frames_that_nothing_can_follow_are_refused(autojump_clock, frame, direction) -> None:
    told = Told()
    task = task_of(Probe())
    async with started(task):
        with pytest.raises(ConfigurationError, match="data or control frame that goes down"):
            await task.queue_frame(frame, direction, on_handled=told)
        assert task.state is TaskState.RUNNING
    assert task.statistics().frames_in == 0
    assert told.log == []


@pytest.mark.parametrize("bad", ["text", TextFrame, None], ids=["str", "class", "None"])
async def test_f8_what_is_no_frame_is_refused_as_ever(autojump_clock, bad) -> None:
    with pytest.raises(TypeError, match="expected a Frame"):
        await task_of(Probe()).queue_frame(bad, on_handled=Told())


# -- histories

ACTS = st.lists(st.sampled_from(["queue", "marked", "interrupt", "wait", "stop", "cancel"]), max_size=20)


@settings(max_examples=80, deadline=None)
@given(ACTS, st.integers(1, 3))
def test_f8_in_any_history_each_accepted_frame_is_told_of_exactly_once(acts, queue_size) -> None:
    accepted: list[DataFrame] = []
    told: list[tuple[Frame, bool]] = []

    async def main() -> None:
        task = task_of(Slow(1), Slow(0.5), queue_size=queue_size)
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            for act in acts:
                frame = TextFrame(act)
                if act in ("queue", "marked"):
                    on_handled = (lambda *got: told.append(got)) if act == "marked" else None
                    try:
                        await task.queue_frame(frame, on_handled=on_handled)
                    except (trio.ClosedResourceError, trio.BrokenResourceError):
                        continue
                    if act == "marked":
                        accepted.append(frame)
                elif act == "wait":
                    await trio.sleep(0.75)
                else:
                    getattr(task, {"stop": "stop_when_done"}.get(act, act))()
            task.stop_when_done()
        result = await task.wait_finished()
        assert [frame for frame, _ in told] == accepted or result.state is TaskState.CANCELLED
        assert sorted(frame.id for frame, _ in told) == [frame.id for frame in accepted]
        if result.state is TaskState.ENDED:
            assert all(handled for _, handled in told)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_f8_errors_of_the_pipeline_are_not_mixed_up_with_it(autojump_clock) -> None:
    async def fail(processor: FrameProcessor, frame: TextFrame) -> None:
        raise ZeroDivisionError

    told = Told()
    task = task_of(Does(fail))
    await task.queue_frame(TextFrame("a"), on_handled=functools.partial(told))
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert [type(error) for error in errors_in(caught.value)] == [ZeroDivisionError]
    assert told.log == [("a", False, 0)]
