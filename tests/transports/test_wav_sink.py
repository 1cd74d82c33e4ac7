"""`WavSink`: a loudspeaker that writes what it plays."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trio_pipes import ConfigurationError, Direction, Frame, FrameProcessor, Pipeline, PipelineParams, PipelineTask
from trio_pipes.flow import BotStartedSpeakingFrame, BotStoppedSpeakingFrame, OutputAudioFrame
from trio_pipes.testing import run_processor
from trio_pipes.transports import WavSink, read_wav_format
from wav_files import loudest_tone, samples_of, tone

RATE = 24_000
Event = tuple[str, float, bool]


def sound(seconds: float, rate: int = RATE, channels: int = 1) -> OutputAudioFrame:
    return OutputAudioFrame(tone(seconds, rate, 500.0, channels), rate, channels)


class Watcher(FrameProcessor):
    """Notes what comes by, and when, from the start of the run."""

    def __init__(self, towards: Direction) -> None:
        self.towards = towards
        self.seen: list[tuple[str, float, float]] = []
        self.start = trio.current_time()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is self.towards:
            now = trio.current_time() - self.start
            match frame:
                case BotStartedSpeakingFrame():
                    self.seen.append(("started", now, frame.at - self.start))
                case BotStoppedSpeakingFrame():
                    self.seen.append(("interrupted" if frame.interrupted else "stopped", now, frame.at - self.start))
                case OutputAudioFrame() if direction is Direction.DOWNSTREAM:
                    self.seen.append(("played", now, now))
        await self.push_frame(frame, direction)


# The frames that follow are handled at the speed of sound, and a reply has a beginning and an end.
async def test_played_at_the_speed_of_sound(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    file = tmp_path / "out.wav"
    above, below = Watcher(Direction.UPSTREAM), Watcher(Direction.DOWNSTREAM)
    task = PipelineTask(Pipeline([above, WavSink(file), below]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames([sound(0.5), sound(0.25)])
        await trio.sleep(2)
        task.stop_when_done()
    assert [name for name, _, _ in below.seen] == ["started", "played", "played", "stopped"]
    assert [now for _, now, _ in below.seen] == pytest.approx([0.0, 0.5, 0.75, 0.95])  # 0.2 s of silence: it is over
    assert below.seen[-1][2] == pytest.approx(0.75)
    assert [name for name, _, _ in above.seen] == ["started", "stopped"]
    assert file.read_bytes()[44:] == tone(0.5, RATE, 500.0) + tone(0.25, RATE, 500.0)


# A reply that is cut off: silence at once, what was heard is kept, nothing else is.
async def test_an_interrupt_clears_what_was_not_played(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    file = tmp_path / "out.wav"
    below = Watcher(Direction.DOWNSTREAM)
    task = PipelineTask(Pipeline([WavSink(file), below]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames([sound(0.1) for _ in range(50)])
        await trio.sleep(1.234)
        task.interrupt()
        await trio.sleep(1.0)
        await task.queue_frame(sound(0.3))
        task.stop_when_done()
    names = [name for name, _, _ in below.seen if name != "played"]
    assert names == ["started", "interrupted", "started", "stopped"]
    assert [now for name, now, _ in below.seen if name == "interrupted"] == pytest.approx([1.234])
    assert sum(name == "played" for name, _, _ in below.seen) == 12 + 1
    samples = samples_of(file)
    heard = 1.24  # whole pieces of 20 ms
    assert len(samples) == pytest.approx(RATE * (1.234 + 1.0 + 0.3), abs=RATE * 0.021)
    assert max(samples[round(RATE * (heard - 0.1)) : round(RATE * heard)]) > 15_000
    assert max(samples[round(RATE * heard) : round(RATE * 2.23)]) == 0
    assert max(samples[round(RATE * 2.24) :]) > 15_000


# Backpressure: the lane before the sink holds `queue_size` frames, and who queues more waits for the sound.
async def test_a_full_lane_makes_the_pusher_wait(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    task = PipelineTask(Pipeline([WavSink(tmp_path / "out.wav")]), PipelineParams(queue_size=2))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        start = trio.current_time()
        for _ in range(10):
            await task.queue_frame(sound(1.0))
        waited = trio.current_time() - start
        task.cancel()
    assert 4.0 <= waited <= 8.0


# The file lasts as long as the conversation: where nothing was said there is silence.
async def test_pauses_are_kept(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    file = tmp_path / "out.wav"
    task = PipelineTask(Pipeline([WavSink(file)]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(1.0)
        await task.queue_frame(sound(0.5))
        await trio.sleep(3600)
        await task.queue_frame(sound(0.5))
        task.stop_when_done()
    form = read_wav_format(file)
    assert form.seconds == pytest.approx(3601.5, abs=0.001)
    with file.open("rb") as opened:
        opened.seek(44 + 2 * RATE)
        assert opened.read(RATE) == tone(0.5, RATE, 500.0)
        assert not any(opened.read(2 * RATE))


@pytest.mark.parametrize(("rate", "channels"), [(22_050, 1), (48_000, 2), (24_000, 2), (8_000, 1)])
async def test_conversion(tmp_path: Path, pipes_clock: trio.abc.Clock, rate: int, channels: int) -> None:
    file = tmp_path / "out.wav"
    whole = sound(1.0, rate, channels).audio
    step = rate // 10 * 2 * channels
    pieces = [OutputAudioFrame(whole[at : at + step], rate, channels) for at in range(0, len(whole), step)]
    received = await run_processor(WavSink(file), pieces)
    samples = samples_of(file)
    assert len(samples) == pytest.approx(RATE, abs=2)
    assert loudest_tone(samples[500:-500], RATE) == pytest.approx(500.0, rel=0.002)
    assert [f for f in received.down if isinstance(f, OutputAudioFrame)] == pieces


async def test_without_pace(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    file = tmp_path / "out.wav"
    start = trio.current_time()
    received = await run_processor(WavSink(file, paced=False), [sound(60.0), sound(60.0)])
    assert trio.current_time() == start
    assert read_wav_format(file).seconds == pytest.approx(120.0)
    assert not any(isinstance(f, BotStartedSpeakingFrame) for f in received.down)


# A cancel, too, leaves a file that can be played, with what was played in it; so does a program that is killed.
async def test_a_cancel_leaves_a_whole_file(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    file = tmp_path / "out.wav"
    task = PipelineTask(Pipeline([WavSink(file)]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames([sound(1.0) for _ in range(20)])
        await trio.sleep(4.5)
        assert read_wav_format(file).seconds == pytest.approx(4.0, abs=1.01)  # as a killed program would leave it
        task.cancel()
    assert read_wav_format(file).seconds == pytest.approx(4.5, abs=0.021)


async def test_the_rate_is_the_tasks_unless_given(tmp_path: Path) -> None:
    params = PipelineParams(audio_out_sample_rate=8_000)
    await run_processor(WavSink(tmp_path / "a.wav", paced=False), [sound(0.1)], params=params)
    await run_processor(WavSink(tmp_path / "b.wav", paced=False, sample_rate=48_000), [sound(0.1)], params=params)
    assert read_wav_format(tmp_path / "a.wav").sample_rate == 8_000
    assert read_wav_format(tmp_path / "b.wav").sample_rate == 48_000


async def test_a_folder_that_is_not_there_fails_the_start(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(WavSink(tmp_path / "nowhere" / "out.wav"), [])
    assert caught.group_contains(FileNotFoundError)


PREPARED = """
import sys, trio
from trio_pipes import Pipeline, PipelineTask
from trio_pipes.transports import WavSink

async def main():
    async with trio.open_nursery() as nursery:
        task = await nursery.start(PipelineTask(Pipeline([WavSink("out.wav")])).run)
        assert {"numpy", "soxr"} <= sys.modules.keys()
        task.stop_when_done()

assert "numpy" not in sys.modules
trio.run(main)
"""


# Importing the resampler takes the loop's time, so it is over before the first frame, in a thread.
def test_the_resampler_is_loaded_before_the_start(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PREPARED], cwd=tmp_path, check=True)


def test_bad_settings() -> None:
    with pytest.raises(ConfigurationError, match="sample_rate=0"):
        WavSink("a.wav", sample_rate=0)


# Held open round several runs it is one file, of the rate that the first task wants: what is played later stands later.
async def test_several_runs_write_one_file(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    file = tmp_path / "out.wav"
    pipeline = Pipeline([WavSink(file)])
    async with pipeline:
        assert not file.exists()
        for seconds in (0.5, 0.25):
            task = PipelineTask(pipeline, PipelineParams(audio_out_sample_rate=RATE))
            await task.queue_frame(sound(seconds))
            task.stop_when_done()
            await task.run()
    assert file.read_bytes()[44:] == tone(0.5, RATE, 500.0) + tone(0.25, RATE, 500.0)


async def test_a_block_without_a_run_writes_no_file(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    file = tmp_path / "out.wav"
    async with Pipeline([WavSink(file)]):
        pass
    assert not file.exists()


# A reply that a cancelled run has left unfinished is none of the next run's.
async def test_a_run_after_a_cancelled_one_begins_in_silence(tmp_path: Path, pipes_clock: trio.abc.Clock) -> None:
    below = Watcher(Direction.DOWNSTREAM)
    pipeline = Pipeline([WavSink(tmp_path / "out.wav", sample_rate=RATE), below])
    async with pipeline:
        for _ in range(2):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await task.queue_frame(sound(0.5))
                await trio.sleep(0.1)
                task.cancel()
        await trio.sleep(5)
    assert [name for name, _, _ in below.seen] == ["started", "started"]
