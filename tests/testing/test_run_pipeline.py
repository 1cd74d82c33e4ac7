"""`run_pipeline` and `run_processor`: frames in, what came out, and what went wrong."""

import pytest
import trio

from hosting import Does, Probe, Slow, Stuck, Urgent, errors_in, nothing_left, texts
from trio_pipes import (
    ConfigurationError,
    Direction,
    EndFrame,
    EndTaskFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    Out,
    Pipeline,
    PipelineParams,
    StartFrame,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import Received, run_pipeline, run_processor

UP = Direction.UPSTREAM


@each
def shout(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text.upper())


@processor
async def count(frames: Frames[TextFrame], out: Out) -> None:
    n = 0
    async for frame in frames:
        n += 1
        await out.push(frame)
    await out.push(TextFrame(str(n)))


class Answers(FrameProcessor):
    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame) and direction is not UP:
            await self.push_frame(TextFrame(f"answer to {frame.text}"), UP)
        await self.push_frame(frame, direction)


def words(frames) -> list[str]:
    return [frame.text for frame in frames]


async def test_k1_run_pipeline_gives_what_came_out_at_both_ends(autojump_clock) -> None:
    async with nothing_left():
        received = await run_pipeline(Pipeline([shout, Answers(), count]), texts("a", "b"))
    assert isinstance(received, Received)
    assert words(received.down) == ["A", "B", "2"]
    assert words(received.up) == ["answer to A", "answer to B"]


async def test_a_list_of_processors_is_a_pipeline(autojump_clock) -> None:
    assert words((await run_pipeline([shout, shout], texts("a"))).down) == ["A"]


@pytest.mark.parametrize("part", [shout, Probe, count], ids=["each", "class", "block"])
async def test_run_processor_is_the_same_for_one(autojump_clock, part) -> None:
    received = await run_processor(part() if part is Probe else part, texts("a"))
    assert words(received.down)[0].lower() == "a"
    assert received.up == []


async def test_lifecycle_frames_are_left_out_and_system_frames_are_not(autojump_clock) -> None:
    received = await run_processor(Probe(), [Urgent("x"), TextFrame("y")])
    assert {type(frame) for frame in received.down} == {Urgent, TextFrame}


async def test_no_frames_and_iterators_of_frames(autojump_clock) -> None:
    assert await run_pipeline([shout], []) == Received([], [])
    assert words((await run_pipeline([shout], (TextFrame(w) for w in "ab"))).down) == ["A", "B"]


async def test_more_frames_than_any_buffer(autojump_clock) -> None:
    with trio.fail_after(60):
        received = await run_pipeline(
            [Answers(), shout], texts(*range(20_000)), params=PipelineParams(lane_limit=100_000)
        )
    assert len(received.down) == len(received.up) == 20_000


async def test_frames_can_be_sent_upstream(autojump_clock) -> None:
    probe = Probe()
    received = await run_processor(probe, texts("a", "b"), direction=UP)
    assert words(received.up) == ["a", "b"]
    assert received.down == []


async def test_slow_upstream_work_is_waited_for(autojump_clock) -> None:
    received = await run_processor(Slow(5), texts("a", "b"), direction=UP)
    assert words(received.up) == ["a", "b"]


async def test_params_and_observers_are_passed_on(autojump_clock) -> None:
    seen = []

    class Watch:
        def on_finished(self, task, result) -> None:
            seen.append(result.reason)

    async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
        raise ValueError("crash")

    params = PipelineParams(on_error=ErrorPolicy.REPORT)
    received = await run_pipeline([Does(crash)], texts("a"), params=params, observers=[Watch()])
    assert [type(frame) for frame in received.up] == [ErrorFrame]
    assert seen == [None]


@pytest.mark.parametrize("run", [run_pipeline, run_processor])
async def test_errors_come_out_as_run_raises_them(autojump_clock, run) -> None:
    # Not wrapped in the group of a nursery of the helper's.
    async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
        raise ValueError("crash")

    async with nothing_left():
        with pytest.raises(ExceptionGroup) as caught:
            await run([Does(crash)] if run is run_pipeline else Does(crash), texts("a"))
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_a_timeout_comes_out_as_itself(autojump_clock) -> None:
    with pytest.raises(trio.TooSlowError, match="StartFrame"):
        await run_processor(Stuck(StartFrame), [], params=PipelineParams(start_timeout=1))


async def test_a_pipeline_that_ends_itself_is_no_error(autojump_clock) -> None:
    async def leave(processor: FrameProcessor, frame: TextFrame) -> None:
        if frame.text == "leave":
            await processor.push_frame(EndTaskFrame())

    with trio.fail_after(1000):
        received = await run_pipeline([Does(leave), Slow(1)], texts("a", "leave", *range(500)))
    assert words(received.down)[:2] == ["a", "leave"]
    received = await run_pipeline([shout], [TextFrame("a"), EndFrame(), TextFrame("too late")])
    assert words(received.down) == ["A"]


async def test_a_deadline_round_it_works(autojump_clock) -> None:
    async with nothing_left():
        with trio.move_on_after(5) as scope:
            await run_processor(Stuck(TextFrame), texts("a"))
    assert scope.cancelled_caught


async def test_what_the_frames_iterable_holds_is_checked(autojump_clock) -> None:
    async with nothing_left():
        with pytest.raises((TypeError, ExceptionGroup)) as caught:
            await run_processor(Probe(), ["text"])
    assert any(isinstance(error, TypeError) for error in errors_in(caught.value))


@pytest.mark.parametrize("bad", [[], None, 3, shout], ids=["empty", "None", "3", "a function"])
async def test_what_is_no_pipeline_is_refused(autojump_clock, bad) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        await run_pipeline(bad, [])


async def test_several_at_once(autojump_clock) -> None:
    results = []

    async def one(word: str) -> None:
        results.append(words((await run_pipeline([Slow(1), shout], texts(word))).down))

    async with trio.open_nursery() as nursery:
        for word in "abc":
            nursery.start_soon(one, word)
    assert sorted(results) == [["A"], ["B"], ["C"]]
    assert trio.current_time() == pytest.approx(1)


async def test_k3_an_hour_takes_no_time(autojump_clock) -> None:
    received = await run_pipeline([Slow(600)], texts(*range(6)))
    assert len(received.down) == 6
    assert trio.current_time() == pytest.approx(3600)
