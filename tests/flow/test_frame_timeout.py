"""A step that takes too long over one frame (F12)."""

from __future__ import annotations

import contextlib

import pytest
import trio

from cancel_everywhere import cancelled_everywhere
from flow_kit import UP, Does, Sees, live, said, text, texts
from trio_pipes import (
    ConfigurationError,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    FrameTimeout,
    Out,
    Pipeline,
    PipelineParams,
    PipelineTask,
    SystemFrame,
    TextFrame,
    each,
    processor,
    with_deadline,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    pass


async def work(frame):
    """As many virtual seconds as the text says."""
    await trio.sleep(float(frame.text))


def make_class(**settings):
    class Works(FrameProcessor):
        frame_timeout = settings.get("timeout")
        on_error = settings.get("on_error")

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await work(frame)
            await self.push_frame(frame, direction)

    return Works(name="slow", inline=settings.get("inline", False))


def make_inline(**settings):
    return make_class(**settings, inline=True)


def make_function(**settings):
    @each(name="slow", **settings)
    async def function(frame: TextFrame):
        await work(frame)
        return frame

    return function


def make_generator(**settings):
    @each(name="slow", **settings)
    async def generator(frame: TextFrame):
        for _ in range(4):
            await trio.sleep(float(frame.text) / 4)
        yield frame

    return generator


def make_concurrent(**settings):
    @each(name="slow", concurrency=3, **settings)
    async def function(frame: TextFrame):
        await work(frame)
        return frame

    return function


def make_block(**settings):
    @processor(name="slow", **settings)
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await work(frame)
            await out.push(frame)

    return block


KINDS = {
    "class": make_class,
    "inline": make_inline,
    "function": make_function,
    "generator": make_generator,
    "concurrent": make_concurrent,
    "block": make_block,
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@kinds
async def test_it_names_the_processor_the_frame_and_the_limit(autojump_clock, debug, make):
    frames = said("1", "9", "1")
    began = trio.current_time()
    with pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([Sees(), make(timeout=3), Sees()], frames, params=PipelineParams(debug=debug))
    (error,) = caught.value.exceptions
    assert isinstance(error, FrameTimeout)
    assert isinstance(error, trio.TooSlowError)
    assert str(error) == f"'slow' has not done with {frames[1].name} within its timeout (3 s)"
    assert f"in processor 'slow', frame {frames[1].name}" in error.__notes__[0]
    assert trio.current_time() - began == pytest.approx(3 if make is make_concurrent else 4)


@kinds
async def test_time_begins_anew_with_each_frame(autojump_clock, debug, make):
    received = await run_pipeline([make(timeout=3)], said(*["2"] * 10), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["2"] * 10


@kinds
async def test_idle_time_does_not_count(autojump_clock, debug, make):
    async with live([Sees(), make(timeout=3)], debug=debug) as run:
        await trio.sleep(10)
        await run.say("2")
        await trio.sleep(10)
        await run.say("1")
    assert run.texts == ["2", "1"]


@pytest.mark.parametrize(
    "make", [KINDS[kind] for kind in KINDS if kind != "block"], ids=[k for k in KINDS if k != "block"]
)
async def test_reported_it_drops_its_frame_only(autojump_clock, debug, make):
    parts = [Sees(), make(timeout=3, on_error=ErrorPolicy.REPORT)]
    received = await run_pipeline(parts, said("1", "9", "2"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["1", "2"]
    (error,) = [frame for frame in received.up if isinstance(frame, ErrorFrame)]
    assert isinstance(error.exception, FrameTimeout)
    assert "within its timeout (3 s)" in error.error


# A block is stopped by it, its cleanup runs, and with a policy of its own the rest passes by.
async def test_a_block_is_stopped(autojump_clock, debug):
    closed = []

    @processor(name="slow", timeout=3, on_error=ErrorPolicy.REPORT)
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        try:
            async for frame in frames:
                await work(frame)
                await out.push(TextFrame(frame.text + "!"))
        finally:
            closed.append(True)

    received = await run_pipeline([block], said("1", "9", "2"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["1!", "2"]
    assert closed == [True]


# One that was late without a checkpoint is late all the same.
async def test_a_block_that_did_not_notice(autojump_clock):
    @processor(name="slow", timeout=3)
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            with trio.CancelScope(shield=True):
                await work(frame)

    with pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([block], said("9", "1"))
    assert isinstance(caught.value.exceptions[0], FrameTimeout)


# For a function the time in the function counts, and neither what its frames wait for below nor their turn.
@pytest.mark.parametrize(
    "make", [make_function, make_generator, make_concurrent], ids=["function", "generator", "concurrent"]
)
async def test_waiting_for_room_is_not_a_function_s_fault(autojump_clock, debug, make):
    parts = [make(timeout=3), Sees(delay=20)]
    received = await run_pipeline(parts, said(*["1"] * 8), params=PipelineParams(debug=debug, queue_size=1))
    assert texts(received.down) == ["1"] * 8


async def test_waiting_for_its_turn_is_not_a_function_s_fault(autojump_clock):
    @each(concurrency=4, timeout=30)
    async def function(frame: TextFrame):
        await work(frame)
        return frame

    received = await run_pipeline([function], said("29", "28", "1", "28", "28"))
    assert len(received.down) == 5


# A class pushes within its handler, so there it counts.
async def test_waiting_for_room_counts_for_a_class(autojump_clock, debug):
    parts = [make_class(timeout=3), Sees(delay=20)]
    with pytest.raises(ExceptionGroup) as caught:
        await run_pipeline(parts, said(*["1"] * 8), params=PipelineParams(debug=debug, queue_size=1))
    assert isinstance(caught.value.exceptions[0], FrameTimeout)


# Nor does it reach into an inline neighbour: that one has a task of its own then.
async def test_a_timeout_does_not_reach_into_an_inline_neighbour(autojump_clock, debug):
    async def slow(self, frame):
        await trio.sleep(10)
        await self.push_frame(frame)

    parts = [make_class(timeout=3), Does(slow, inline=True)]
    received = await run_pipeline(parts, said("1", "1"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["1", "1"]


async def test_system_and_upstream_frames_have_it_too_and_lifecycle_frames_have_not(autojump_clock):
    class Slow(FrameProcessor):
        frame_timeout = 3
        on_error = ErrorPolicy.REPORT

        async def process_frame(self, frame, direction):
            await trio.sleep(10)
            await self.push_frame(frame, direction)

    async with live([Slow()]) as run:
        await run.task.queue_frame(Ping())
        await run.task.queue_frame(text("up"), UP)
        await trio.sleep(30)
        assert len([frame for frame in run.up if isinstance(frame, ErrorFrame)]) == 2
        assert texts(run.up) == []


async def test_an_interrupt_comes_first(autojump_clock, debug):
    async with live([Sees(), make_class(timeout=3)], debug=debug) as run:
        await run.say("9")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("1")
    assert run.texts == ["1"]


async def test_an_error_of_its_own_while_it_is_stopped_is_raised(autojump_clock):
    @each(timeout=3)
    async def function(frame: TextFrame):
        try:
            await trio.sleep(10)
        except trio.Cancelled:
            raise ValueError("while stopped") from None

    with pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([function], said("a"))
    assert isinstance(caught.value.exceptions[0], ValueError)


@kinds
def test_cancelled_anywhere_nothing_is_left(make):
    def scenario():
        parts = [Sees(), make(timeout=0.3, on_error=ErrorPolicy.REPORT), Sees(delay=0.1)]
        task = PipelineTask(Pipeline(parts), PipelineParams(queue_size=1, on_error=ErrorPolicy.REPORT))

        async def run():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                with contextlib.suppress(trio.BrokenResourceError):
                    for i, frame in enumerate(said("0.1", "0.9", "0.2", "0.25", "0.1")):
                        await task.queue_frame(with_deadline(frame, 0.4) if i % 2 else frame)
                task.stop_when_done()
                await task.wait_finished()

        return run, lambda: None, None

    assert cancelled_everywhere(scenario) > 20


@pytest.mark.parametrize("wrong", [0, -1, True, "1", float("nan"), float("inf")], ids=str)
def test_wrong_timeouts(wrong):
    for make in (each, processor):
        with pytest.raises(ConfigurationError, match="timeout=.*seconds above 0"):
            make(timeout=wrong)
    slow = Sees()
    slow.frame_timeout = wrong
    with pytest.raises(ConfigurationError, match="frame_timeout=.*seconds above 0"):
        PipelineTask(Pipeline([slow]))


def test_a_sync_function_cannot_be_stopped():
    with pytest.raises(ConfigurationError, match=r"timeout=3.*async"):

        @each(timeout=3)
        def sync(frame: TextFrame): ...
