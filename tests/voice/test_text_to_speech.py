"""`TextToSpeech`: texts become sound, until somebody interrupts."""

from pathlib import Path

import pytest
import trio

from trio_pipes import (
    ConfigurationError,
    Direction,
    MetricsFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ProcessingMetrics,
    TextFrame,
    TTFBMetrics,
    TTSUsageMetrics,
)
from trio_pipes.flow import OutputAudioFrame
from trio_pipes.testing import run_processor
from trio_pipes.transports import WavSink, read_wav_format
from trio_pipes.voice import Espeak, TextToSpeech, TranscriptionFrame
from voice_kit import RATE, HummingVoice


async def test_a_text_becomes_sound(pipes_clock: trio.abc.Clock) -> None:
    voice = HummingVoice()
    received = await run_processor(
        TextToSpeech(voice), [TextFrame("hello"), TextFrame("  "), TranscriptionFrame("what?")]
    )
    assert voice.asked == ["ready", "hello"]  # a first word to nobody, before the start; nothing for nothing
    *sound, said = received.down
    assert isinstance(said, TranscriptionFrame)  # not a text to speak
    assert all(isinstance(frame, OutputAudioFrame) and frame.interruptible for frame in sound)
    assert [frame.seconds for frame in sound] == pytest.approx([0.1] * 5)
    assert {(frame.sample_rate, frame.channels) for frame in sound} == {(RATE, 1)}


async def test_what_must_be_heard(pipes_clock: trio.abc.Clock) -> None:
    received = await run_processor(TextToSpeech(HummingVoice()), [TextFrame("fire", interruptible=False)])
    assert [frame.interruptible for frame in received.down] == [False] * 4


async def test_texts_that_go_up_pass(pipes_clock: trio.abc.Clock) -> None:
    received = await run_processor(TextToSpeech(HummingVoice()), [TextFrame("up")], direction=Direction.UPSTREAM)
    assert [frame.text for frame in received.up] == ["up"]


async def test_what_it_measures(pipes_clock: trio.abc.Clock) -> None:
    params = PipelineParams(enable_metrics=True, enable_usage_metrics=True)
    part = TextToSpeech(HummingVoice(), name="voice")
    received = await run_processor(part, [TextFrame("hello"), TextFrame(" ")], params=params)
    zeros, *told = [frame.data[0] for frame in received.down if isinstance(frame, MetricsFrame)]
    assert zeros == TTFBMetrics("voice", 0.0)
    assert [(type(it), round(it.value, 6)) for it in told] == [
        (TTFBMetrics, 0.05),
        (ProcessingMetrics, 0.05),
        (TTSUsageMetrics, 5),
    ]


# While it is played: silence at once, and the texts that waited are gone; what is said next is said.
async def test_an_interrupt(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    voice = HummingVoice()
    params = PipelineParams(allow_interruptions=True, queue_size=8, audio_out_sample_rate=RATE)
    task = PipelineTask(Pipeline([TextToSpeech(voice), WavSink(tmp_path / "out.wav")]), params)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for _ in range(3):
            await task.queue_frame(TextFrame("a text of some length"))  # 2.1 s each
        await trio.sleep(3.0)
        task.interrupt()
        await task.queue_frame(TextFrame("yes"))
        task.stop_when_done()
    assert voice.asked[-1] == "yes"
    assert read_wav_format(tmp_path / "out.wav").seconds == pytest.approx(3.0 + 0.05 + 0.3, abs=0.03)


async def test_a_voice_that_is_not_there_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(TextToSpeech(Espeak("nosuch")), [])
    assert caught.group_contains(ConfigurationError, match="nosuch")
