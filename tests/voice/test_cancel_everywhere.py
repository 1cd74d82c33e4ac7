"""A whole conversation, cancelled at each of its steps: no task, no process, no open file is left."""

from pathlib import Path

import trio

from cancel_everywhere import cancelled_everywhere
from trio_pipes import Pipeline, PipelineParams, PipelineTask, TextFrame, processor
from trio_pipes.flow import Frames, Out
from trio_pipes.transports import WavSink, WavSource, read_wav_format
from trio_pipes.voice import (
    DuringFirstSpeech,
    SpeechToText,
    TextToSpeech,
    TranscriptionFrame,
    UserIdle,
    UserMute,
    UserTurnAggregator,
    UserTurns,
    VoiceActivity,
)
from voice_kit import EchoRecogniser, HummingVoice, ScriptedVad, children
from wav_files import tone, write_wav


@processor
async def answer(frames: Frames[TranscriptionFrame], out: Out) -> None:
    async for _ in frames:
        await out.push(TextFrame("yes"))


async def ask(retries: int) -> TextFrame:
    await trio.sleep(0.01)
    return TextFrame("?")


def pipeline(source: Path, sink: Path) -> Pipeline:
    return Pipeline(
        [
            WavSource(source, frame_seconds=0.1, tail=2.0),
            VoiceActivity(lambda: ScriptedVad(lambda at: float(0.1 < at < 0.5)), interrupts=False),
            SpeechToText(EchoRecogniser()),
            UserMute(DuringFirstSpeech()),
            UserTurns(),
            UserTurnAggregator(),
            UserIdle(0.1, ask),
            answer,
            TextToSpeech(HummingVoice()),
            WavSink(sink),
        ]
    )


def open_files() -> set[str]:
    """What this process has open, by name, where the system tells."""
    fds = Path("/proc/self/fd")
    return {str(fd.readlink()) for fd in fds.iterdir() if fd.is_symlink()} if fds.exists() else set()


def test_a_conversation_cancelled_everywhere(tmp_path: Path) -> None:
    source, sink = write_wav(tmp_path / "in.wav", tone(0.6, 16_000)), tmp_path / "out.wav"
    before = children()

    def make(by_request: bool):
        task = PipelineTask(pipeline(source, sink), PipelineParams(allow_interruptions=True))

        async def scenario() -> None:
            await task.run()

        def check() -> None:
            assert not {name for name in open_files() if name.startswith(str(tmp_path))}
            assert children() == before
            if sink.exists():
                sink_format = read_wav_format(sink) if sink.stat().st_size > 44 else None
                assert sink_format is None or sink_format.seconds < 4
                sink.unlink()

        return scenario, check, task.cancel if by_request else None

    runs = cancelled_everywhere(lambda: make(by_request=False), stride=3)
    runs += cancelled_everywhere(lambda: make(by_request=True), stride=5)
    assert runs > 50
