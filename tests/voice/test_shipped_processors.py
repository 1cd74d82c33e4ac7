"""Every processor that ships keeps the rules; see also tests/testing for what the core has."""

import wave
from pathlib import Path

import pytest
import trio

from trio_pipes import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioFrame,
    OutputAudioFrame,
    TextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)
from trio_pipes.testing import check_processor
from trio_pipes.transports import WavSink, WavSource
from trio_pipes.voice import (
    Between,
    ExternalStart,
    ExternalStop,
    SpeechTimeoutStop,
    SpeechToText,
    TextToSpeech,
    TranscriptionFrame,
    UntilFirstSpeech,
    UserIdle,
    UserMute,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
    UserTurnAggregator,
    UserTurns,
    VoiceActivity,
    WhileBotSpeaks,
)
from voice_kit import EchoRecogniser, HummingVoice, ScriptedVad
from wav_files import tone, write_wav

SPEAKING = (UserStartedSpeakingFrame, UserStoppedSpeakingFrame)
TURNS = (UserTurnStartedFrame, UserTurnStoppedFrame)
PLAYING = (BotStartedSpeakingFrame, BotStoppedSpeakingFrame)


def open_files(folder: Path) -> set[str]:
    """What this process has open there, where the system tells."""
    fds = Path("/proc/self/fd")
    names = {str(fd.readlink()) for fd in fds.iterdir() if fd.is_symlink()} if fds.exists() else set()
    return {name for name in names if name.startswith(str(folder))}


def without_times(frame: Frame) -> object:
    """`at` is a moment, and no two runs are at the same."""
    return type(frame).__name__, getattr(frame, "text", None), getattr(frame, "audio", None)


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "as fast as it goes"])
async def test_k2_wav_source(pipes_clock, tmp_path, paced) -> None:
    path = write_wav(tmp_path / "in.wav", tone(0.2, 16_000))

    def closed() -> None:
        assert not open_files(tmp_path)

    await check_processor(
        lambda: WavSource(path, frame_seconds=0.05, tail=0.1, paced=paced),
        [TextFrame("one")],
        makes=InputAudioFrame,
        ends=True,
        after=closed,
        points=30,
    )


@pytest.mark.parametrize("paced", [True, False], ids=["paced", "as fast as it goes"])
async def test_k2_wav_sink(pipes_clock, tmp_path, paced) -> None:
    path = tmp_path / "out.wav"
    frames = [OutputAudioFrame(b"\x00\x10" * 800, 16_000) for _ in range(3)]

    def whole() -> None:
        assert not open_files(tmp_path)
        if path.exists():
            wave.open(str(path)).close()

    await check_processor(
        lambda: WavSink(path, sample_rate=16_000, paced=paced),
        frames,
        makes=PLAYING,
        key=without_times,
        after=whole,
        points=30,
        # Two together would write one file. A slow reader makes pauses, and after a pause a reply begins anew.
        skip=["together", "slow_reader"] if paced else ["together"],
    )


async def test_k2_voice_activity(pipes_clock) -> None:
    frames = [InputAudioFrame(bytes(3200), 16_000) for _ in range(20)]
    await check_processor(
        # A slow reader makes gaps of seconds in the sound that comes in; here they are no silence.
        lambda: VoiceActivity(lambda: ScriptedVad(lambda at: float(0.3 < at < 0.9)), audio_idle_timeout=None),
        frames,
        makes=SPEAKING,
        key=without_times,
        points=30,
    )


async def test_k2_voice_activity_with_its_model(pipes_clock) -> None:
    frames = [InputAudioFrame(tone(0.1, 16_000)[:3200], 16_000) for _ in range(5)]
    await check_processor(VoiceActivity, frames, makes=SPEAKING, key=without_times, points=5)


async def test_k2_speech_to_text(pipes_clock) -> None:
    def frames() -> list[Frame]:
        sound = [InputAudioFrame(bytes(3200), 16_000) for _ in range(3)]
        return [sound[0], UserStartedSpeakingFrame(at=0.0), *sound[1:], UserStoppedSpeakingFrame(at=0.3)]

    await check_processor(
        lambda: SpeechToText(EchoRecogniser(0.5)), frames, drops=InputAudioFrame, makes=TranscriptionFrame, points=30
    )


async def test_k2_text_to_speech(pipes_clock) -> None:
    await check_processor(lambda: TextToSpeech(HummingVoice()), drops=TextFrame, makes=OutputAudioFrame, points=30)


def sentences() -> list[Frame]:
    """Two of them, spoken now, and what comes of the first before the second."""
    now = trio.current_time()
    return [
        UserStartedSpeakingFrame(at=now),
        UserStoppedSpeakingFrame(at=now),
        TranscriptionFrame("turn on"),
        TextFrame("between"),
        UserStartedSpeakingFrame(at=now),
        UserStoppedSpeakingFrame(at=now),
        TranscriptionFrame("the light"),
    ]


async def test_k2_user_turns(pipes_clock) -> None:
    # A slow reader makes a pause between the sentences, in which the turn ends.
    await check_processor(UserTurns, sentences, makes=TURNS, key=without_times, points=25, skip=["slow_reader"])


# Each transcript is a turn of its own, and over at once.
async def test_k2_user_turns_without_patience(pipes_clock) -> None:
    def make() -> UserTurns:
        return UserTurns([ExternalStart(TranscriptionFrame)], [SpeechTimeoutStop(0.0)], stop_timeout=None)

    await check_processor(make, sentences, makes=TURNS, key=without_times, points=25)


async def test_k2_user_turns_that_follow_others(pipes_clock) -> None:
    def frames() -> list[Frame]:
        first, second = sentences()[:4], sentences()[4:]
        on, off = UserTurnStartedFrame(at=0.0), UserTurnStoppedFrame(at=0.0)
        return [on, *first, off, UserTurnStartedFrame(at=0.0), *second, UserTurnStoppedFrame(at=0.0)]

    await check_processor(
        lambda: UserTurns([ExternalStart()], [ExternalStop()], stop_timeout=None),
        frames,
        drops=TURNS,
        makes=TURNS,
        key=without_times,
        points=25,
    )


async def test_k2_user_turn_aggregator(pipes_clock) -> None:
    def frames() -> list[Frame]:
        return [UserTurnStartedFrame(at=0.0), *sentences(), UserTurnStoppedFrame(at=0.0), TranscriptionFrame("late")]

    await check_processor(
        UserTurnAggregator, frames, drops=TranscriptionFrame, makes=TranscriptionFrame, key=without_times, points=25
    )


async def test_k2_user_mute(pipes_clock) -> None:
    muting = (UserMuteStartedFrame, UserMuteStoppedFrame)
    await check_processor(lambda: UserMute(WhileBotSpeaks()), sentences, makes=muting, key=without_times, points=25)
    await check_processor(
        lambda: UserMute(UntilFirstSpeech()),
        lambda: [*sentences(), InputAudioFrame(b"\x01\x01" * 160, 16_000)],
        upstream=[TranscriptionFrame("up")],
        drops=(*SPEAKING, TranscriptionFrame, InputAudioFrame),
        makes=(*muting, InputAudioFrame),
        key=without_times,
        points=25,
    )


async def test_k2_user_idle(pipes_clock) -> None:
    await check_processor(
        lambda: UserIdle(
            2.0, lambda retries: TextFrame(f"there? {retries}"), max_retries=2, unless=[Between(TextFrame, TextFrame)]
        ),
        sentences,
        upstream=lambda: [BotStartedSpeakingFrame(at=0.0), BotStoppedSpeakingFrame(at=0.0)],
        makes=TextFrame,
        key=without_times,
        points=25,
    )
