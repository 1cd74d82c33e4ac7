"""P1: an idle processor calls back each time nothing has come for some time; from the start of a run to its end."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, strategies as st

from cancel_everywhere import cancelled_everywhere
from examples import examples
from flow_kit import UP, live, text, texts
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    EndTaskFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    IdleFrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    StopFrame,
    SystemFrame,
    TaskState,
    TextFrame,
)
from trio_pipes.testing import check_processor, nothing_left


class Calls:
    """When it was called, on Trio's clock; `takes` seconds each time."""

    def __init__(self, takes: float = 0) -> None:
        self.takes = takes
        self.times: list[float] = []
        self.ended = 0

    async def __call__(self, processor: FrameProcessor) -> None:
        self.times.append(round(trio.current_time(), 6))
        await trio.sleep(self.takes)
        self.ended += 1


async def test_it_calls_each_time_that_so_many_seconds_have_passed(autojump_clock):
    calls = Calls()
    async with live([IdleFrameProcessor(2, calls)]):
        await trio.sleep(7)
    assert calls.times == [2, 4, 6]


async def test_a_frame_from_either_side_puts_it_off(autojump_clock):
    calls = Calls()
    async with live([IdleFrameProcessor(2, calls)]) as run:
        await trio.sleep(1.5)
        await run.say("a")
        await trio.sleep(1.5)
        await run.task.queue_frame(text("b"), UP)
        await trio.sleep(3)
    assert calls.times == [5]


async def test_only_frames_of_its_types_count(autojump_clock):
    calls, texts_only, system = Calls(), Calls(), Calls()
    parts = [
        IdleFrameProcessor(2, calls),
        IdleFrameProcessor(2, texts_only, types=TextFrame),
        IdleFrameProcessor(2, system, types=(SystemFrame, TextFrame)),
    ]
    async with live(parts) as run:
        await trio.sleep(1)
        await run.task.queue_frame(SystemFrame())
        await trio.sleep(0.5)
        await run.task.queue_frame(DataFrame())
        await trio.sleep(2.25)
    assert (calls.times, texts_only.times, system.times) == ([3.5], [2], [3])


async def test_heartbeats_are_no_frames_here(autojump_clock):
    calls = Calls()
    async with live([IdleFrameProcessor(2, calls)], enable_heartbeats=True):
        await trio.sleep(5)
    assert calls.times == [2, 4]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_it_is_given_the_processor_and_may_push(autojump_clock, asynchronous):
    sent = []

    def remember(processor: IdleFrameProcessor) -> None:
        sent.append(processor)

    async def push(processor: IdleFrameProcessor) -> None:
        sent.append(processor)
        await processor.push_frame(text("are you there?"))

    idle = IdleFrameProcessor(2, push if asynchronous else remember)
    async with live([idle]) as run:
        await trio.sleep(3)
    assert sent == [idle]
    assert texts(run.down) == ["are you there?"] * asynchronous


async def test_the_time_in_the_callback_does_not_count(autojump_clock):
    calls = Calls(takes=5)
    async with live([IdleFrameProcessor(2, calls)]):
        await trio.sleep(15)
    assert calls.times == [2, 9]


async def test_a_frame_that_comes_while_it_calls_counts(autojump_clock):
    calls = Calls(takes=5)
    async with live([IdleFrameProcessor(2, calls)]) as run:
        await trio.sleep(6)  # it has been called at 2, and is at it until 7
        await run.say("a")
        await trio.sleep(1.5)
        assert calls.times == [2]
        await trio.sleep(1)
    assert calls.times == [2, 8]


# -- it ends with the run


@pytest.mark.parametrize("last", ["end", "stop", "end task", "cancel"])
async def test_it_does_not_outlive_the_end(autojump_clock, last):
    calls = Calls(takes=3)

    class Lingers(FrameProcessor):
        """Is still at work long after the end has gone by."""

        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if type(frame).__name__ in ("EndFrame", "StopFrame"):
                await trio.sleep(100)

    task = PipelineTask(Pipeline([IdleFrameProcessor(2, calls), Lingers()]))
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(3)
        match last:
            case "end":
                task.stop_when_done()
            case "stop":
                await task.queue_frame(StopFrame())
            case "end task":
                await task.queue_frame(EndTaskFrame())
            case "cancel":
                task.cancel()
    assert trio.current_time() == (3 if last == "cancel" else 103)
    assert (calls.times, calls.ended) == ([2], 0)


async def test_within_a_block_it_works_in_each_run_and_not_between_them(autojump_clock):
    calls = Calls()
    pipeline = Pipeline([IdleFrameProcessor(2, calls)])
    async with pipeline:
        for how in ("stop", "cancel", "stop"):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await trio.sleep(3)
                if how == "stop":
                    await task.queue_frame(StopFrame())
                else:
                    task.cancel()
            await trio.sleep(97)
    assert calls.times == [2, 102, 202]


async def test_a_callback_may_ask_for_the_end(autojump_clock):
    async def hang_up(processor: IdleFrameProcessor) -> None:
        await processor.push_frame(text("bye"))
        await processor.push_frame(EndTaskFrame("nobody there"))

    task = PipelineTask(Pipeline([IdleFrameProcessor(60, hang_up)]))
    async with task.open_output(TextFrame) as said:
        result = await task.run()
        assert (result.state, result.reason) == (TaskState.ENDED, "nobody there")
        assert [frame.text async for frame in said] == ["bye"]
    assert trio.current_time() == 60


# -- errors


def breaks(processor: FrameProcessor) -> None:
    raise ZeroDivisionError


async def breaks_later(processor: FrameProcessor) -> None:
    await trio.sleep(1)
    raise ZeroDivisionError


@pytest.mark.parametrize("callback", [breaks, breaks_later])
async def test_an_error_of_the_callback_ends_the_run_and_is_the_processors(autojump_clock, callback):
    task = PipelineTask(Pipeline([IdleFrameProcessor(2, callback, name="idle")]))
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    (error,) = caught.value.exceptions
    assert isinstance(error, ZeroDivisionError)
    assert "'idle'" in error.__notes__[0]


async def test_where_errors_are_reported_it_goes_on(autojump_clock):
    async with live([IdleFrameProcessor(2, breaks)], on_error=ErrorPolicy.REPORT) as run:
        await trio.sleep(5)
    assert [type(frame.exception) for frame in run.up if isinstance(frame, ErrorFrame)] == [ZeroDivisionError] * 2


async def test_a_frame_that_it_gives_instead_of_pushing_it_is_an_error_and_not_lost(autojump_clock):
    async def gives(processor):
        return text("are you there?")

    async with live([IdleFrameProcessor(2, gives, name="idle")], on_error=ErrorPolicy.REPORT) as run:
        await trio.sleep(3)
    (error,) = [frame.exception for frame in run.up if isinstance(frame, ErrorFrame)]
    assert "on_idle of 'idle' gave TextFrame#" in str(error)


def makes(processor):
    yield


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: IdleFrameProcessor(1, None), "on_idle=None"),
        (lambda: IdleFrameProcessor(1, lambda: None), "on_idle=<function"),
        (lambda: IdleFrameProcessor(0, breaks), "timeout=0"),
        (lambda: IdleFrameProcessor(None, breaks), "timeout=None"),
        (lambda: IdleFrameProcessor(float("inf"), breaks), "timeout=inf"),
        (lambda: IdleFrameProcessor(float("nan"), breaks), "timeout=nan"),
        (lambda: IdleFrameProcessor(1, makes), "on_idle=<function makes.*this is a generator"),
        (lambda: IdleFrameProcessor(breaks, 1), "timeout=<function breaks"),
        (lambda: IdleFrameProcessor(1, breaks, types=StartFrame), "types=.*data, control or system frames"),
        (lambda: IdleFrameProcessor(1, breaks, types=()), r"types=\(\)"),
        (lambda: IdleFrameProcessor(1, breaks, types="TextFrame"), "types='TextFrame'"),
        (lambda: IdleFrameProcessor(1, breaks, name=3), "name=3"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        make()
    assert "expected" in str(caught.value)


# -- any history


@examples(100)
@given(st.lists(st.sampled_from([0.25, 0.5, 1, 1.75, 2, 2.25, 5]), max_size=15), st.sampled_from([0, 0.5, 3]))
def test_it_calls_when_a_list_of_times_says_so(gaps, takes) -> None:
    """Frames come after these gaps; between two of them it is called as often as there is time for."""
    timeout = 2.0

    async def main() -> None:
        calls = Calls(takes)
        # A thousandth off each time, so that no two things happen at the same time.
        frames = [round(sum(gaps[: n + 1]) + 0.001 * (n + 1), 6) for n in range(len(gaps))]
        async with live([IdleFrameProcessor(timeout, calls)]) as run:
            for time in frames:
                await trio.sleep_until(time)
                await run.say("x")
            await trio.sleep(20.123)
            end = trio.current_time()
        assert calls.times == pytest.approx(list(expected(frames, end)))

    def expected(frames: list[float], end: float):
        quiet_since = 0.0
        while True:
            due = quiet_since + timeout
            later = [time for time in frames if quiet_since < time <= due]
            if later:
                quiet_since = later[-1]
                continue
            if due >= end:
                return
            yield due
            meanwhile = [time for time in frames if due < time <= due + takes]
            quiet_since = meanwhile[-1] if meanwhile else due + takes
            if meanwhile and quiet_since + timeout < due + takes:
                quiet_since = due + takes - timeout

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# -- the rules of every processor


async def test_k2_idle_processor(pipes_clock):
    await check_processor(lambda: IdleFrameProcessor(0.5, lambda processor: None), points=40)


def test_t11_cancelled_anywhere_it_leaves_nothing():
    def make():
        calls = Calls(takes=1)
        task = PipelineTask(Pipeline([IdleFrameProcessor(1, calls)]), PipelineParams(queue_size=1))

        async def scenario() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await task.queue_frame(text("a"))
                await trio.sleep(3.5)
                task.stop_when_done()

        def check() -> None:
            assert task.has_finished() or task.state is TaskState.NEW

        return scenario, check, None

    assert cancelled_everywhere(make) > 10
