"""`WavSource`: a file as what a microphone hears."""

import struct
import threading
from array import array
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_pipes import (
    ConfigurationError,
    Direction,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from trio_pipes.flow import InputAudioFrame
from trio_pipes.testing import run_processor
from trio_pipes.transports import WavSource
from trio_pipes.transports._wav_reader import WavReader
from wav_files import loudest_tone, tone, wav_bytes, write_wav


class Listener(FrameProcessor):
    """Keeps the sound, and when it came."""

    def __init__(self) -> None:
        self.sound: list[InputAudioFrame] = []
        self.times: list[float] = []

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, InputAudioFrame):
            self.sound.append(frame)
            self.times.append(trio.current_time())
        else:
            await self.push_frame(frame, direction)

    @property
    def audio(self) -> bytes:
        return b"".join(frame.audio for frame in self.sound)


async def play(source: WavSource, **params: int) -> Listener:
    listener = Listener()
    await PipelineTask(Pipeline([source, listener]), PipelineParams(**params)).run()
    return listener


# Each frame comes when a microphone would have recorded it: at the end of its own sound.
async def test_paced_as_a_microphone(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    sound = tone(1.0, 16_000)
    start = trio.current_time()
    listener = await play(WavSource(write_wav(tmp_path / "a.wav", sound), tail=0.5))
    assert [frame.seconds for frame in listener.sound] == pytest.approx([0.02] * 75)
    assert listener.times == pytest.approx([start + 0.02 * (n + 1) for n in range(75)])
    assert listener.audio == sound + bytes(16_000)
    assert all(
        (frame.sample_rate, frame.channels, frame.interruptible) == (16_000, 1, False) for frame in listener.sound
    )


async def test_as_fast_as_possible(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    start = trio.current_time()
    listener = await play(WavSource(write_wav(tmp_path / "a.wav", tone(60.0, 16_000)), paced=False, tail=0))
    assert sum(frame.seconds for frame in listener.sound) == pytest.approx(60.0)
    assert trio.current_time() == start


# A file of another rate, or in stereo, keeps its pitch and its length.
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (48_000, 1), (16_000, 2)])
async def test_conversion(tmp_path: Path, rate: int, channels: int) -> None:
    file = write_wav(tmp_path / "a.wav", tone(2.0, rate, 500.0, channels), rate=rate, channels=channels)
    listener = await play(WavSource(file, paced=False, tail=0))
    samples = array("h", listener.audio)
    assert len(samples) == pytest.approx(32_000, abs=1)
    assert loudest_tone(samples[1000:-1000], 16_000) == pytest.approx(500.0, rel=0.001)
    assert max(samples[1000:-1000]) == pytest.approx(16_000, rel=0.02)


async def test_the_rate_is_the_tasks_unless_given(tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", tone(0.1, 16_000))
    assert {f.sample_rate for f in (await play(WavSource(file, paced=False), audio_in_sample_rate=8_000)).sound} == {
        8_000
    }
    assert {f.sample_rate for f in (await play(WavSource(file, paced=False, sample_rate=24_000))).sound} == {24_000}


class SpeaksFrom(FrameProcessor):
    """Tells upstream that the user speaks from one second to two."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, InputAudioFrame):
            now = round(trio.current_time() - self.start, 6)
            if now == 1.0:
                await self.push_frame(UserStartedSpeakingFrame(now), Direction.UPSTREAM)
            if now == 2.0:
                await self.push_frame(UserStoppedSpeakingFrame(now), Direction.UPSTREAM)
        await self.push_frame(frame, direction)


# The first Ctrl-C: the sentence that is being spoken is heard to its end, then no more of the file.
@pytest.mark.parametrize(("asked", "ended"), [(0.5, 0.5), (1.5, 2.0), (2.5, 2.5)])
async def test_the_end_waits_for_the_sentence(
    tmp_path: Path, pipes_clock: trio.abc.Clock, asked: float, ended: float
) -> None:
    source, speaker, listener = WavSource(write_wav(tmp_path / "a.wav", tone(10, 16_000))), SpeaksFrom(), Listener()
    task = PipelineTask(Pipeline([source, speaker, listener]))
    speaker.start = trio.current_time()
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(asked + 0.001)
        task.stop_when_done()
    assert listener.times[-1] - speaker.start == pytest.approx(ended, abs=0.0201)
    assert (await task.wait_finished()).state.value == "ended"


async def test_the_file_ends_the_task(tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", tone(0.1, 16_000))
    task = PipelineTask(Pipeline([WavSource(file, paced=False)]))
    result = await task.run()
    assert result.reason == f"{file} has been played"


# A bad file fails the set-up, before the first frame.
@pytest.mark.parametrize("content", [b"", b"no wav", wav_bytes(bytes(4800), bits=24), wav_bytes(tone(1, 16_000))[:-5]])
async def test_a_bad_file_fails_the_start(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.wav"
    file.write_bytes(content)
    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(WavSource(file), [])
    (error,) = caught.value.exceptions
    assert isinstance(error, ConfigurationError)
    assert str(file) in str(error)


async def test_a_file_that_shrinks_while_it_is_played(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    file = write_wav(tmp_path / "a.wav", tone(60, 16_000))
    task = PipelineTask(Pipeline([WavSource(file)]))
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await trio.sleep(1)
            file.write_bytes(file.read_bytes()[:100_000])
    assert caught.group_contains(ConfigurationError, match="cut short while it was being read", depth=2)


@pytest.mark.parametrize("bad", [{"sample_rate": 0}, {"frame_seconds": 0}, {"frame_seconds": 2.0}, {"tail": -1}])
def test_bad_settings(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        WavSource("a.wav", **bad)  # type: ignore[arg-type]


def test_a_header_that_lies_about_its_chunks_does_not_hang(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav_bytes(b"")[:12] + b"LIST" + struct.pack("<I", 0xFFFFFFF0))
    with pytest.raises(ConfigurationError, match="truncated"):
        from trio_pipes.transports import read_wav_format

        read_wav_format(file)


# Held open round several runs it plays the file in each, from its beginning, at the rate that the task wants.
@pytest.mark.parametrize("asked", [None, 16_000])
async def test_each_run_plays_the_file(tmp_path: Path, pipes_clock: trio.abc.Clock, asked: int | None) -> None:
    sound = tone(0.2, 16_000)
    listener = Listener()
    pipeline = Pipeline([WavSource(write_wav(tmp_path / "a.wav", sound), sample_rate=asked, tail=0), listener])
    async with pipeline:
        for rate in (16_000, 16_000, 8_000):
            listener.sound.clear()
            await PipelineTask(pipeline, PipelineParams(audio_in_sample_rate=rate)).run()
            expected = asked or rate
            assert {frame.sample_rate for frame in listener.sound} == {expected}
            assert len(listener.audio) == pytest.approx(0.4 * expected, abs=4)
            if expected == 16_000:
                assert listener.audio == sound


# What was played when a run was cancelled is not where the next one begins.
async def test_a_run_after_a_cancelled_one_begins_at_the_beginning(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    sound = tone(1.0, 16_000)
    listener = Listener()
    pipeline = Pipeline([WavSource(write_wav(tmp_path / "a.wav", sound), tail=0), listener])
    async with pipeline:
        task = PipelineTask(pipeline)
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await trio.sleep(0.5)
            task.cancel()
        listener.sound.clear()
        await PipelineTask(pipeline).run()
    assert listener.audio == sound


# A piece that a thread still read when its run was cut off is no part of the next one.
async def test_what_is_read_too_late_is_not_played(tmp_path: Path, pipes_clock: trio.abc.Clock, monkeypatch) -> None:
    reading, may_end = threading.Event(), threading.Event()
    read = WavReader.read

    def slow_read(self: WavReader) -> bytes:
        reading.set()
        may_end.wait(10)
        return read(self)

    monkeypatch.setattr(WavReader, "read", slow_read)
    sound = tone(0.2, 16_000)
    listener = Listener()
    pipeline = Pipeline([WavSource(write_wav(tmp_path / "a.wav", sound), tail=0, paced=False), listener])
    async with pipeline:
        task = PipelineTask(pipeline)
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await trio.to_thread.run_sync(reading.wait, 10)
            task.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(PipelineTask(pipeline).run)
            await trio.testing.wait_all_tasks_blocked()
            may_end.set()
    assert listener.audio == sound
