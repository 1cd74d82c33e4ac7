"""The ready-made observers on a voice pipeline, with stand-ins for the models: what they say is what happened."""

from pathlib import Path

import pytest
import trio

from trio_pipes import Pipeline, PipelineParams, PipelineTask, TextFrame, each
from trio_pipes.observers import StartupTimingObserver, TurnTrackingObserver, UserBotLatencyObserver
from trio_pipes.transports import WavSink, WavSource
from trio_pipes.voice import SpeechToText, TextToSpeech, TranscriptionFrame, UserTurns, VoiceActivity
from voice_kit import RATE, EchoRecogniser, HummingVoice, ScriptedVad
from wav_files import write_wav


@each
async def answer(frame: TranscriptionFrame) -> TextFrame:
    await trio.sleep(0.25)
    return TextFrame("x" * 20)  # two seconds of humming


async def talk(folder: Path, *more, turns: bool = False) -> tuple[TurnTrackingObserver, UserBotLatencyObserver, float]:
    """The user speaks from 1 s to 2 s, from 6 s to 7 s, and into the second answer at 9 s; gives when the pipeline was up."""
    wav = write_wav(folder / "in.wav", bytes(2 * RATE * 14))
    spans = ((1, 2), (6, 7), (9, 10))
    tracking, latency = TurnTrackingObserver(), UserBotLatencyObserver()
    pipeline = Pipeline(
        [
            WavSource(wav, name="microphone"),
            VoiceActivity(
                lambda: ScriptedVad(lambda at: float(any(begin <= at < end for begin, end in spans))),
                interrupts=not turns,
                name="ears",
            ),
            SpeechToText(EchoRecogniser(takes=0.5), name="stt"),
            *([UserTurns(name="turns")] if turns else []),
            answer,
            TextToSpeech(HummingVoice(), name="tts"),
            WavSink(folder / "out.wav", name="mouth"),
        ]
    )
    task = PipelineTask(pipeline, PipelineParams(allow_interruptions=True), observers=[tracking, latency, *more])
    result = await task.run()
    assert result.observer_errors == ()
    return tracking, latency, result.started_at


@pytest.mark.parametrize("turns", [False, True], ids=["speech", "turns"])
async def test_a_conversation_is_told_as_it_went(pipes_clock, tmp_path, turns) -> None:
    tracking, latency, up = await talk(tmp_path, turns=turns)
    told = [(turn.started_by, round(turn.started_at - up), turn.interrupted) for turn in tracking.turns]
    assert told == [("user", 1, False), ("user", 6, True), ("user", 9, False)]
    assert [turn.ended_by for turn in tracking.turns] == ["user", "user", "end"]
    assert len(latency.latencies) == 3
    for record in latency.latencies:
        assert not record.interrupted
        assert sum(step.seconds for step in record.steps) == pytest.approx(record.seconds)
        who = [(step.processor, step.what) for step in record.steps]
        assert who[0] == ("ears", "silence, until the end was noticed")
        assert ("stt", "first TranscriptionFrame") in who
        assert [what for _, what in who[-3:]] == ["first TextFrame", "first OutputAudioFrame", "first sound"]
        assert [processor for processor, _ in who[-2:]] == ["tts", "mouth"]
        assert (("turns", "the turn was taken as over") in who) == turns
        by_what = {step.what: step.seconds for step in record.steps}
        assert by_what["first TranscriptionFrame"] == pytest.approx(0.5, abs=0.05)
        assert by_what["first TextFrame"] == pytest.approx(0.25, abs=0.05)
        assert by_what["first OutputAudioFrame"] == pytest.approx(0.05, abs=0.05)


async def test_a_start_is_told_as_it_went(pipes_clock, tmp_path) -> None:
    startup = StartupTimingObserver()
    await talk(tmp_path, startup)
    set_ups = {part.processor: part.set_up for part in startup.report.processors}
    assert set_ups["stt"] == pytest.approx(0.5, abs=0.05)
    assert set_ups["tts"] == pytest.approx(0.05, abs=0.05)
    firsts = [first.frame for first in startup.report.firsts]
    assert firsts == ["InputAudioFrame", "OutputAudioFrame", "BotStartedSpeakingFrame"]
