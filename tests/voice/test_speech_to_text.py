"""`SpeechToText`: which sound the recogniser is given, and what becomes of what it hears."""

import os
import signal

import pytest
import trio

from trio_pipes import (
    ConfigurationError,
    DataFrame,
    Frame,
    MetricsFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ProcessingMetrics,
    STTUsageMetrics,
    TaskState,
    TextFrame,
    TTFBMetrics,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from trio_pipes.flow import InputAudioFrame
from trio_pipes.testing import run_pipeline, run_processor
from trio_pipes.voice import PocketSphinx, SpeechToText, TranscriptionFrame, VoiceActivity
from voice_kit import RATE, EchoRecogniser, children, spoken


def sound(seconds: float) -> list[InputAudioFrame]:
    return [InputAudioFrame(bytes(640), RATE) for _ in range(round(seconds / 0.02))]


def sentence(seconds: float, at: float = 1.0) -> list[Frame]:
    return [UserStartedSpeakingFrame(at), *sound(seconds), UserStoppedSpeakingFrame(at + seconds)]


def texts(frames: list[Frame]) -> list[str]:
    return [frame.text for frame in frames if isinstance(frame, TranscriptionFrame)]


# From `lead_in` before the beginning to the end: the first syllable was over when it was noticed.
async def test_the_sound_of_the_sentence(pipes_clock: trio.abc.Clock) -> None:
    frames = [*sound(3.0), *sentence(2.0), *sound(1.0), *sentence(1.0), *sound(0.1), *sentence(1.0)]
    received = await run_processor(SpeechToText(EchoRecogniser(), lead_in=0.5), frames)
    assert texts(received.down) == [f"{2 * RATE * s:.0f} bytes" for s in (2.5, 1.5, 1.1)]
    first = next(frame for frame in received.down if isinstance(frame, TranscriptionFrame))
    assert (first.confidence, first.stopped_at, first.interruptible) == (0.75, 3.0, False)


async def test_no_lead_in(pipes_clock: trio.abc.Clock) -> None:
    received = await run_processor(SpeechToText(EchoRecogniser(), lead_in=0), [*sound(1.0), *sentence(1.0)])
    assert texts(received.down) == ["32000 bytes"]


# The sound ends here; the rest passes, in its place.
async def test_what_passes(pipes_clock: trio.abc.Clock) -> None:
    frames = [TextFrame("before"), *sentence(0.1), TextFrame("after"), UserStoppedSpeakingFrame(9.0)]
    received = await run_processor(SpeechToText(EchoRecogniser()), frames)
    names = [type(frame).__name__ for frame in received.down]
    speaking = ["UserStartedSpeakingFrame", "UserStoppedSpeakingFrame", "TranscriptionFrame"]
    assert names == ["TextFrame", *speaking, "TextFrame", "UserStoppedSpeakingFrame"]


# Somebody goes on speaking before the first sentence is recognised: the interrupt does not cost a sentence.
async def test_an_interrupt_loses_no_sentence(pipes_clock: trio.abc.Clock) -> None:
    task = PipelineTask(Pipeline([SpeechToText(EchoRecogniser(takes=2.0))]), PipelineParams(allow_interruptions=True))
    async with trio.open_nursery() as nursery, task.open_output(DataFrame) as output:
        await nursery.start(task.run)
        await task.queue_frames(sentence(1.0))
        for _ in range(20):
            await trio.sleep(0.15)
            task.interrupt()
        await task.queue_frames(sentence(2.0))
        task.interrupt()
        task.stop_when_done()
        assert texts([frame async for frame in output]) == ["32000 bytes", "64000 bytes"]


async def test_the_models_are_loaded_before_the_start(pipes_clock: trio.abc.Clock) -> None:
    recogniser = EchoRecogniser()
    task = PipelineTask(Pipeline([SpeechToText(recogniser)]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        assert recogniser.is_open
        task.stop_when_done()
    assert not recogniser.is_open


async def test_other_sound_is_refused() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(SpeechToText(EchoRecogniser()), [InputAudioFrame(bytes(640), 44_100)])
    assert caught.group_contains(ConfigurationError, match="44100 Hz with 1 channel.*expected 16000 Hz mono")


# From the end of the sentence to the transcript; the audio with its lead-in.
async def test_what_it_measures(pipes_clock: trio.abc.Clock) -> None:
    part = SpeechToText(EchoRecogniser(takes=0.25), lead_in=0.5, name="ears")
    params = PipelineParams(enable_metrics=True, enable_usage_metrics=True)
    received = await run_processor(part, [*sound(3.0), *sentence(2.0), *sentence(1.0)], params=params)
    zeros, *told = [frame.data[0] for frame in received.down if isinstance(frame, MetricsFrame)]
    assert zeros == TTFBMetrics("ears", 0.0)
    assert told[:3] == [TTFBMetrics("ears", 0.25), ProcessingMetrics("ears", 0.25), STTUsageMetrics("ears", 2.5)]
    assert told[5] == STTUsageMetrics("ears", 1.0)


def test_bad_settings() -> None:
    with pytest.raises(ConfigurationError, match="lead_in=-1"):
        SpeechToText(EchoRecogniser(), lead_in=-1)


# All of it for real: sound in, text out, in two processors and a child process.
def test_with_the_models() -> None:
    said = ["turn on the kitchen light", "what time is it"]
    audio = b"".join(spoken(text) for text in said)
    frames = [InputAudioFrame(audio[at : at + 640], RATE) for at in range(0, len(audio) - 639, 640)]
    before = children()
    pipeline = Pipeline([VoiceActivity(), SpeechToText(PocketSphinx([*said, "turn off the kitchen light"]))])
    received = trio.run(run_pipeline, pipeline, frames)
    assert texts(received.down) == said
    assert children() == before


# The recogniser's process dies in mid-sentence: the task fails, and says what has happened.
async def test_the_recogniser_dies() -> None:
    before = children()
    task = PipelineTask(Pipeline([SpeechToText(PocketSphinx(["turn on the light"]))]))
    with trio.fail_after(20), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            for pid in children() - before:
                os.kill(pid, signal.SIGKILL)
            await task.queue_frames(sentence(1.0))
    assert caught.group_contains(
        trio.BrokenResourceError, match="the speech recogniser .* was killed by SIGKILL", depth=2
    )
    assert (await task.wait_finished()).state is TaskState.FAILED
    assert children() == before


# A task that is cancelled, whenever: its process goes with it.
@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.4])
async def test_a_cancel_leaves_no_process(after: float) -> None:
    before = children()
    task = PipelineTask(Pipeline([SpeechToText(PocketSphinx(["turn on the light"]))]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await task.queue_frames(sentence(1.0))
        await trio.sleep(after)
        task.cancel()
    assert children() == before
