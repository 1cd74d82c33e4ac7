"""V5: what was said in a turn, as one transcript."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from trio_pipes import (
    ConfigurationError,
    Direction,
    EndFrame,
    Frame,
    Pipeline,
    PipelineTask,
    StopFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)
from trio_pipes.testing import run_processor
from trio_pipes.voice import InterimTranscriptionFrame, TranscriptionFrame, UserTurnAggregator, UserTurns
from turns_kit import Log, name_of, talk

ON, OFF = UserTurnStartedFrame, UserTurnStoppedFrame


async def aggregated(*frames: Frame, limit: int = 1000) -> list[Frame]:
    return (await run_processor(UserTurnAggregator(limit), list(frames))).down


async def test_v5_the_sentences_of_a_turn_come_as_one() -> None:
    first, second = TranscriptionFrame("turn on ", 0.9, 1.5), TranscriptionFrame("the light", 0.8, 3.0)
    turn = await aggregated(ON(at=0.0), first, InterimTranscriptionFrame("the"), second, OFF(at=3.0))
    assert [name_of(frame) for frame in turn] == ["turn", "I:the", "T:turn on the light", "over"]
    joined = turn[2]
    assert isinstance(joined, TranscriptionFrame)
    assert (joined.confidence, joined.stopped_at, joined.interruptible) == (0.8, 3.0, False)


# The one sentence of a turn is that very frame.
async def test_a_single_sentence_stays_as_it_is() -> None:
    only = TranscriptionFrame("hello", 0.5, 2.0)
    only.metadata["language"] = "en"
    assert (await aggregated(ON(at=0.0), only, OFF(at=1.0)))[1] is only


async def test_empty_sentences_add_nothing() -> None:
    words = [TranscriptionFrame("", 0.0), TranscriptionFrame("yes", 0.9), TranscriptionFrame(" ", 0.0, 7.0)]
    _, joined, _ = await aggregated(ON(at=0.0), *words, OFF(at=1.0))
    assert isinstance(joined, TranscriptionFrame)
    assert (joined.text, joined.confidence, joined.stopped_at) == ("yes", 0.9, 7.0)
    _, joined, _ = await aggregated(ON(at=0.0), TranscriptionFrame("", 0.1), TranscriptionFrame("", 0.2), OFF(at=1.0))
    assert isinstance(joined, TranscriptionFrame)
    assert (joined.text, joined.confidence) == ("", 0.1)


async def test_a_turn_in_which_nothing_was_said_gives_nothing() -> None:
    assert [name_of(frame) for frame in await aggregated(ON(at=0.0), OFF(at=1.0))] == ["turn", "over"]


async def test_transcripts_between_turns_pass() -> None:
    frames = [TranscriptionFrame("a"), ON(at=0.0), OFF(at=0.0), TranscriptionFrame("b")]
    assert await aggregated(*frames) == frames


async def test_the_end_lets_go_what_is_held() -> None:
    frames = [ON(at=0.0), TranscriptionFrame("a"), TranscriptionFrame("b")]
    for last in (EndFrame(), StopFrame()):
        names = [name_of(frame) for frame in await aggregated(*frames, last)]
        assert names == ["turn", "T:a b"]


async def test_a_turn_without_end_comes_in_pieces() -> None:
    frames = [ON(at=0.0), *(TranscriptionFrame(word) for word in "abcde"), OFF(at=0.0)]
    names = [name_of(frame) for frame in await aggregated(*frames, limit=2)]
    assert names == ["turn", "T:a b", "T:c d", "T:e", "over"]


@asynccontextmanager
async def running_pipeline(*processors) -> AsyncIterator[PipelineTask]:
    task = PipelineTask(Pipeline(list(processors)))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        yield task
        task.stop_when_done()


# What was said counts; what its maker has called interruptible does not.
async def test_an_interrupt_drops_what_is_interruptible(pipes_clock) -> None:
    below = Log(Direction.DOWNSTREAM)
    async with running_pipeline(UserTurnAggregator(), below) as task:
        await task.queue_frames(
            [ON(at=0.0), TranscriptionFrame("kept"), TranscriptionFrame("dropped", interruptible=True)]
        )
        await task.flush()
        task.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        await task.queue_frames([TranscriptionFrame("new", interruptible=True), OFF(at=0.0)])
    assert [name_of(frame) for _, frame in below.frames] == ["turn", "!", "T:kept new", "over", "end"]


async def test_upstream_frames_pass(pipes_clock) -> None:
    said = await talk("ts ^T:a ^te T:b te", UserTurnAggregator())
    assert (said.up, said.down) == ("T:a over", "turn T:b over end")


async def test_with_user_turns(pipes_clock) -> None:
    said = await talk("S 1 E .1 T:turn_on .3 S 1 E .1 T:the_light 5 T:late 5", UserTurns(), UserTurnAggregator())
    assert said.down == "! turn S E S E T:turn on the light over ! turn T:late over end"


# What a run that was cut off has left does not come into the next one.
async def test_a_second_run_begins_anew(pipes_clock) -> None:
    pipeline = Pipeline([UserTurnAggregator()])
    async with pipeline:
        for first in (True, False):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery, task.open_output(TranscriptionFrame) as output:
                await nursery.start(task.run)
                await task.queue_frames([ON(at=0.0)] * first + [TranscriptionFrame("a" if first else "b")])
                await task.flush()
                if first:
                    task.cancel()
                else:
                    task.stop_when_done()
                texts = [frame.text async for frame in output]
            assert texts == ([] if first else ["b"])


@pytest.mark.parametrize("limit", [0, None, 2.5])
def test_a_bad_limit_is_refused(limit: object) -> None:
    with pytest.raises(ConfigurationError, match="UserTurnAggregator.limit=.*at least 1"):
        UserTurnAggregator(limit)  # type: ignore[arg-type]
