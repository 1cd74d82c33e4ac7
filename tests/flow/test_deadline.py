"""A frame with a deadline of its own, which every step honours (F12)."""

from __future__ import annotations

import math

import attrs
import pytest
import trio

from flow_kit import UP, Does, Sees, live, said, text, texts
from trio_pipes import (
    DataFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    FrameTimeout,
    Out,
    ParallelPipeline,
    PauseFrame,
    PipelineParams,
    StartFrame,
    SystemFrame,
    TextFrame,
    deadline_of,
    each,
    processor,
    with_deadline,
)
from trio_pipes.testing import run_pipeline


def make_class(**settings):
    async def slow(self, frame):
        await trio.sleep(float(frame.text))
        await self.push_frame(frame)

    return Does(slow, name="slow", **settings)


def make_inline():
    return make_class(inline=True)


def make_function():
    @each(name="slow")
    async def function(frame: TextFrame):
        await trio.sleep(float(frame.text))
        return frame

    return function


def make_concurrent():
    @each(name="slow", concurrency=3)
    async def function(frame: TextFrame):
        await trio.sleep(float(frame.text))
        return frame

    return function


def make_block():
    @processor(name="slow")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            with frames.interruptible() as scope:
                await trio.sleep(float(frame.text))
            if not scope.cancelled_caught:
                await out.push(frame)

    return block


KINDS = {
    "class": make_class,
    "inline": make_inline,
    "function": make_function,
    "concurrent": make_concurrent,
    "block": make_block,
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@kinds
@pytest.mark.parametrize("kept", [False, True], ids=["interruptible", "kept"])
async def test_a_step_that_is_still_at_it_is_stopped(autojump_clock, debug, observers, make, kept):
    frame = with_deadline(text("9", kept=kept), 3)
    began = trio.current_time()
    params = PipelineParams(debug=debug)
    with pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([Sees(), make(), Sees()], [frame], params=params, observers=observers)
    (error,) = caught.value.exceptions
    assert isinstance(error, FrameTimeout)
    assert str(error) == f"'slow' has not done with {frame.name} by its deadline"
    assert f"in processor 'slow', frame {frame.name}" in error.__notes__[0]
    assert trio.current_time() - began == pytest.approx(3)


@kinds
async def test_one_that_comes_late_is_not_handled(autojump_clock, debug, observers, make):
    frames = [text("5"), with_deadline(text("1"), 3), with_deadline(text("2"), 30)]
    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    parts = [Sees(), make_class() if make is make_concurrent else Sees(), make(), Sees()]
    received = await run_pipeline(parts, frames, params=params, observers=observers)
    assert texts(received.down) == ["5", "2"]
    (error,) = [frame for frame in received.up if isinstance(frame, ErrorFrame)]
    assert error.error == f"{frames[1].name} came to {error.processor.name!r} 2.000 s after its deadline"
    assert error.processor.name == "slow" or (make is make_inline and not debug)  # there it waited above


# Without hurry it is a frame like any other: it keeps its order, and an interrupt finds it as it would find others.
@kinds
async def test_in_time_nothing_is_different(autojump_clock, debug, observers, make):
    async with live([Sees(), make(), Sees(inline=True), Sees()], debug=debug, observers=observers) as run:
        for i, frame in enumerate(said("1", "0", "2", "1", "0")):
            await run.task.queue_frame(with_deadline(frame, 50) if i % 2 == 0 else frame)
        await trio.sleep(10)
        assert run.texts == ["1", "0", "2", "1", "0"]
        await run.task.queue_frame(with_deadline(text("9"), 50))
        await run.task.queue_frame(with_deadline(text("8", kept=True), 50))
        await run.task.queue_frame(with_deadline(text("7"), 50))
        await trio.sleep(1)
        run.task.interrupt()
    assert run.texts[5:] == ["8"]


# The time before it is a frame's own, wherever it spends it: waiting for room below is waiting too.
async def test_waiting_for_room_counts(autojump_clock, debug):
    params = PipelineParams(debug=debug, queue_size=1, on_error=ErrorPolicy.REPORT)
    frames = [*said("0", "0", "0", "0"), with_deadline(text("1"), 5), *said("0", "0")]
    received = await run_pipeline([Sees(), Sees(), Sees(delay=10)], frames, params=params)
    assert texts(received.down) == ["0"] * 6
    (error,) = [frame for frame in received.up if isinstance(frame, ErrorFrame)]
    assert isinstance(error.exception, FrameTimeout)


# A new frame has its own time, or takes over the old one's.
@pytest.mark.parametrize("takes_over", [False, True])
async def test_a_frame_made_from_it(autojump_clock, debug, takes_over):
    @each
    def new(frame: TextFrame):
        made = TextFrame(frame.text)
        return with_deadline(made, at=deadline_of(frame)) if takes_over else made

    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    received = await run_pipeline([new, make_class(), Sees()], [with_deadline(text("5"), 3)], params=params)
    assert texts(received.down) == ([] if takes_over else ["5"])


# What a step makes of it, and hands to an inline neighbour, is not stopped by this frame's deadline.
async def test_it_does_not_reach_into_an_inline_neighbour(autojump_clock, debug):
    async def makes(self, frame):
        await self.push_frame(TextFrame("5"))

    sees = Sees()
    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    received = await run_pipeline([Does(makes), make_inline(), sees], [with_deadline(text("a"), 3)], params=params)
    assert texts(received.down) == ["5"]
    assert not received.up


async def test_a_row_of_functions_does_not_take_one_that_is_late(autojump_clock, debug):
    called = []

    async def slow(self, frame):
        frame = with_deadline(text("made"), 3)
        await trio.sleep(5)
        await self.push_frame(frame)

    @each(name="function")
    def function(frame: TextFrame):
        called.append(frame.text)
        return frame

    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    received = await run_pipeline([Does(slow), function], said("a"), params=params)
    assert not received.down
    assert not called
    assert "came to 'function' 2.000 s after its deadline" in received.up[0].error


async def test_through_branches_and_upwards(autojump_clock, debug):
    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    frames = [with_deadline(text("5"), 3), with_deadline(text("1"), 30)]
    received = await run_pipeline([ParallelPipeline([make_function()], [Sees()])], frames, params=params)
    assert sorted(texts(received.down)) == ["1", "5"]  # the branch that was in time let it through

    class Slow(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is UP and isinstance(frame, TextFrame):
                await trio.sleep(float(frame.text))
            await self.push_frame(frame, direction)

    frames = [with_deadline(text("5"), 3), with_deadline(text("1"), 30)]
    received = await run_pipeline([Slow()], frames, params=params, direction=UP)
    assert texts(received.up) == ["1"]


async def test_in_a_block_only_what_may_be_stopped_is(autojump_clock):
    @processor(name="slow")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await trio.sleep(5)
            with frames.interruptible():
                await out.push(TextFrame("in time?"))
                await trio.lowlevel.checkpoint()
            await out.push(frame)

    params = PipelineParams(on_error=ErrorPolicy.REPORT)
    received = await run_pipeline([block], [with_deadline(text("a"), 3), text("b")], params=params)
    assert texts(received.down)[-3:] == ["a", "in time?", "b"]
    assert len([frame for frame in received.up if isinstance(frame, ErrorFrame)]) == 1


# -- the functions


async def test_what_with_deadline_gives(autojump_clock):
    frame = text("a")
    assert deadline_of(frame) == math.inf
    assert with_deadline(frame, 5) is frame
    assert deadline_of(frame) == trio.current_time() + 5
    assert frame.interruptible == True  # noqa: E712  (equal, and not the same)
    with_deadline(frame, at=7.5)
    assert frame.metadata["deadline"] == 7.5
    with_deadline(frame, at=math.inf)
    assert deadline_of(frame) == math.inf
    assert frame.interruptible is True
    kept = with_deadline(text("a", kept=True), 0)
    assert not kept.interruptible
    assert with_deadline(kept, at=math.inf).interruptible is False


# A copy without the metadata has no deadline, and flows as any frame does.
async def test_a_copy_without_one(autojump_clock, debug):
    copy = attrs.evolve(with_deadline(text("0"), 5))
    parts = [Sees(delay=10), make_inline(), make_block(), make_concurrent()]
    received = await run_pipeline(parts, [copy], params=PipelineParams(debug=debug))
    assert texts(received.down) == ["0"]


@attrs.define(eq=False)
class Urgent(SystemFrame):
    pass


@pytest.mark.parametrize(
    "wrong",
    [None, "text", TextFrame, StartFrame(), Urgent(), PauseFrame("a")],
    ids=["None", "str", "class", "StartFrame", "system", "PauseFrame"],
)
async def test_only_for_data_and_control_frames(autojump_clock, wrong):
    with pytest.raises(TypeError, match="expected a data or control frame"):
        with_deadline(wrong, 5)


@pytest.mark.parametrize("wrong", [-1, "5", True, math.nan], ids=str)
async def test_wrong_times(autojump_clock, wrong):
    with pytest.raises(ValueError, match="expected a number of seconds"):
        with_deadline(DataFrame(), wrong)
    if wrong != -1:
        with pytest.raises(ValueError, match="expected a number of seconds"):
            with_deadline(DataFrame(), at=wrong)


async def test_one_of_the_two(autojump_clock):
    with pytest.raises(TypeError, match="expected one of the two"):
        with_deadline(DataFrame())
    with pytest.raises(TypeError, match="expected one of the two"):
        with_deadline(DataFrame(), 3, at=5)
