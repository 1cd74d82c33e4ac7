"""`VoiceActivity`: tells when the user speaks, and interrupts."""

import pytest
import trio

from trio_pipes import (
    ConfigurationError,
    Direction,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    TextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from trio_pipes.flow import InputAudioFrame
from trio_pipes.testing import run_processor
from trio_pipes.voice import SileroVad, SpeechRules, VoiceActivity
from voice_kit import RATE, ScriptedVad, spoken


def sound(seconds: float, frame: float = 0.02) -> list[InputAudioFrame]:
    return [InputAudioFrame(bytes(2 * round(frame * RATE)), RATE) for _ in range(round(seconds / frame))]


def speaks(*spans: tuple[float, float]) -> ScriptedVad:
    return ScriptedVad(lambda at: float(any(begin <= at < end for begin, end in spans)))


def speech_of(frames: list[Frame]) -> list[str]:
    return [type(f).__name__ for f in frames if isinstance(f, UserStartedSpeakingFrame | UserStoppedSpeakingFrame)]


# Both ways: the recogniser below needs to know, and so does the transport above.
async def test_a_sentence_is_told_both_ways() -> None:
    received = await run_processor(VoiceActivity(lambda: speaks((1.0, 2.0))), sound(3.0))
    told = ["UserStartedSpeakingFrame", "UserStoppedSpeakingFrame"]
    assert speech_of(received.down) == told
    assert speech_of(received.up) == told
    assert sum(isinstance(f, InputAudioFrame) for f in received.down) == 150  # the sound passes


# Among the sound: the frame that shows it comes first, and nothing is told that has not been heard.
async def test_where_in_the_sound() -> None:
    received = await run_processor(VoiceActivity(lambda: speaks((1.0, 2.0))), sound(3.0))
    place = next(n for n, f in enumerate(received.down) if isinstance(f, UserStartedSpeakingFrame))
    assert place * 0.02 == pytest.approx(1.0 + 0.1, abs=0.06)


async def test_the_times_are_those_of_the_speech(pipes_clock: trio.abc.Clock) -> None:
    task = PipelineTask(Pipeline([VoiceActivity(lambda: speaks((1.0, 2.0)))]))
    async with trio.open_nursery() as nursery, task.open_output(buffer=1000) as output:
        await nursery.start(task.run)
        start = trio.current_time()
        for frame in sound(3.0):
            await trio.sleep(frame.seconds)
            await task.queue_frame(frame)
        task.stop_when_done()
        frames = [frame async for frame in output]
    times = [f.at - start for f in frames if isinstance(f, UserStartedSpeakingFrame | UserStoppedSpeakingFrame)]
    assert times == pytest.approx([1.0, 2.0], abs=0.04)


class Answerer(FrameProcessor):
    """Has a long answer in hand while the user begins to speak."""

    stopped_at: float | None = None

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            try:
                await trio.sleep(60)
            except trio.Cancelled:
                self.stopped_at = trio.current_time()
                raise
        await self.push_frame(frame, direction)


@pytest.mark.parametrize(
    ("allowed", "interrupts", "stopped"), [(True, True, 1.14), (False, True, None), (True, False, None)]
)
async def test_barge_in(pipes_clock: trio.abc.Clock, allowed: bool, interrupts: bool, stopped: float | None) -> None:
    answerer = Answerer()
    vad = VoiceActivity(lambda: speaks((1.0, 2.0)), interrupts=interrupts)
    task = PipelineTask(Pipeline([vad, answerer]), PipelineParams(allow_interruptions=allowed, queue_size=1000))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        start = trio.current_time()
        await task.queue_frame(TextFrame("a long answer"))
        for frame in sound(1.5):
            await trio.sleep(frame.seconds)
            await task.queue_frame(frame)
        task.stop_when_done()
    assert (answerer.stopped_at is None) == (stopped is None)
    if stopped is not None:
        assert answerer.stopped_at - start == pytest.approx(stopped, abs=0.021)


# A recording that ends in mid-word still has a last sentence.
async def test_the_end_ends_a_sentence() -> None:
    received = await run_processor(VoiceActivity(lambda: speaks((0.5, 99.0))), sound(1.0))
    assert speech_of(received.down) == ["UserStartedSpeakingFrame", "UserStoppedSpeakingFrame"]


# A microphone that is switched off in mid-sentence gives no silence: the sentence is over all the same.
@pytest.mark.parametrize(("timeout", "told"), [(1.0, [0.5, 0.8]), (3.0, [0.5, 0.8]), (None, [0.5])])
async def test_sound_that_does_not_come_any_more_ends_a_sentence(
    pipes_clock: trio.abc.Clock, timeout: float | None, told: list[float]
) -> None:
    vad = VoiceActivity(lambda: speaks((0.5, 99.0)), audio_idle_timeout=timeout)
    task = PipelineTask(Pipeline([vad]))
    times: list[tuple[float, float]] = []
    async with trio.open_nursery() as nursery, task.open_output(buffer=1000) as output:
        await nursery.start(task.run)
        start = trio.current_time()
        for frame in sound(0.8):
            await trio.sleep(frame.seconds)
            await task.queue_frame(frame)
        with trio.move_on_after(100):
            async for frame in output:
                if isinstance(frame, UserStartedSpeakingFrame | UserStoppedSpeakingFrame):
                    times.append((frame.at - start, trio.current_time() - start))
        task.stop_when_done()
    assert [at for at, _ in times] == pytest.approx(told, abs=0.04)
    if timeout is not None:
        assert times[1][1] == pytest.approx(0.8 + timeout)


# It begins again when the sound comes back.
async def test_a_line_that_broke_and_came_back(pipes_clock: trio.abc.Clock) -> None:
    task = PipelineTask(Pipeline([VoiceActivity(lambda: speaks((0.5, 99.0)))]))
    async with trio.open_nursery() as nursery, task.open_output(buffer=1000) as output:
        await nursery.start(task.run)
        for seconds in (0.8, 0.4):
            for frame in sound(seconds):
                await trio.sleep(frame.seconds)
                await task.queue_frame(frame)
            await trio.sleep(5)
        task.stop_when_done()
        frames = [frame async for frame in output]
    assert speech_of(frames) == ["UserStartedSpeakingFrame", "UserStoppedSpeakingFrame"] * 2


# Sound that waits for room below is no silence, however long that takes.
async def test_a_slow_pipeline_is_not_taken_for_silence(pipes_clock: trio.abc.Clock) -> None:
    class Slow(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, InputAudioFrame):
                await trio.sleep(10)
            await self.push_frame(frame, direction)

    vad, params = VoiceActivity(lambda: speaks((0.0, 99.0))), PipelineParams(queue_size=1)
    task = PipelineTask(Pipeline([vad, Slow()]), params)
    async with trio.open_nursery() as nursery, task.open_output(buffer=1000) as output:
        await nursery.start(task.run)
        for frame in sound(0.4):
            await task.queue_frame(frame)
        task.stop_when_done()
        frames = [frame async for frame in output]
    assert speech_of(frames) == ["UserStartedSpeakingFrame", "UserStoppedSpeakingFrame"]
    assert isinstance(frames[-2], UserStoppedSpeakingFrame)  # at the end of the run


async def test_windows_and_frames_need_not_match() -> None:
    for frame in (0.01, 0.02, 0.1, 0.5):
        received = await run_processor(VoiceActivity(lambda: speaks((1.0, 2.0))), sound(3.0, frame))
        assert len(speech_of(received.down)) == 2


@pytest.mark.parametrize("frame", [InputAudioFrame(bytes(640), 8_000), InputAudioFrame(bytes(640), RATE, 2)])
async def test_other_sound_is_refused(frame: InputAudioFrame) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(VoiceActivity(speaks), [frame])
    assert caught.group_contains(ConfigurationError, match="expected 16000 Hz mono")


async def test_a_model_that_does_not_load_fails_the_start() -> None:
    def broken() -> ScriptedVad:
        raise OSError("no such model")

    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(VoiceActivity(broken), [])
    assert caught.group_contains(OSError, match="no such model")


# The real model, on real speech: two sentences with a pause, in silence.
def test_silero() -> None:
    audio = spoken("turn on the kitchen light") + bytes(2 * RATE) + spoken("what time is it")
    frames = [InputAudioFrame(audio[at : at + 640], RATE) for at in range(0, len(audio) - 639, 640)]
    received = trio.run(run_processor, VoiceActivity(SileroVad, rules=SpeechRules(stop_after=0.3)), frames)
    assert speech_of(received.down) == ["UserStartedSpeakingFrame", "UserStoppedSpeakingFrame"] * 2


def test_silero_forgets() -> None:
    vad = SileroVad()
    audio = spoken("what time is it")
    windows = [audio[at : at + 1024] for at in range(0, len(audio) - 1023, 1024)]
    first = [vad.probability(window) for window in windows]
    vad.reset()
    assert [vad.probability(window) for window in windows] == first
    assert max(first) > 0.9
    assert first[0] < 0.2
