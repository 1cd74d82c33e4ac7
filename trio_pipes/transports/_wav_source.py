"""`WavSource`: a WAV file as what the microphone hears."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from trio_pipes._base import check_count, check_flag, check_number, check_path, outside
from trio_pipes.flow import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    InputAudioFrame,
    StartFrame,
    StopFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)

from ._wav_reader import READ_AHEAD, WavReader

__all__ = ["WavSource"]

# Seconds of silence that may follow a file. They are made as they are played, and an hour is more than anybody waits.
LONGEST_TAIL: Final = 3600.0


class WavSource(FrameProcessor):
    """Plays a WAV file into the pipeline as `InputAudioFrame`s: mono, 16-bit, of one sample rate.

    `sample_rate` is in Hz; None: the `audio_in_sample_rate` of the task's parameters. A file of another rate or in stereo is converted on the way. With `paced=True` each frame comes when a microphone would
    have recorded it, on Trio's clock; otherwise as fast as the pipeline takes them.

    After the file comes `tail` seconds of silence, so that the end of the last sentence is heard, and then the task is
    asked to end. When the end is asked for earlier, a sentence that is being spoken (`UserStartedSpeakingFrame` came up, and no
    `UserStoppedSpeakingFrame` yet) is played to its end first.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sample_rate: int | None = None,
        frame_seconds: float = 0.02,
        paced: bool = True,
        tail: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        check_path("WavSource(path", path)
        if sample_rate is not None:
            check_count("WavSource(sample_rate", sample_rate, "a rate in Hz, or None")
        most = f"seconds above 0 and of at most {READ_AHEAD}"
        check_number("WavSource(frame_seconds", frame_seconds, most, above=True, most=READ_AHEAD)
        check_number("WavSource(tail", tail, f"seconds from 0 to {LONGEST_TAIL:g}", most=LONGEST_TAIL)
        check_flag("WavSource(paced", paced)
        self._path = path
        self._asked_rate = sample_rate
        self._frame_seconds = frame_seconds
        self._paced = paced
        self._tail = tail
        self._end_asked = False
        self._user_speaks = False

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open and check the file."""
        self._reader: WavReader | None = None
        if (rate := self._rate()) is not None:
            await self._open(rate)
        self._playing = trio.CancelScope()
        self._played: trio.Event | None = None  # it has not begun to play
        try:
            async with trio.open_nursery() as self._nursery:
                yield
                self._nursery.cancel_scope.cancel(reason=f"{self.name} is closed")
        finally:
            if self._reader is not None:
                self._reader.close()

    def _rate(self) -> int | None:
        run = self._run()
        return self._asked_rate or (run.params.audio_in_sample_rate if run is not None else None)

    def _run(self) -> Any:
        try:
            return self.task
        except RuntimeError:
            return None  # `async with pipeline:` is open before, between and after the runs

    async def _open(self, rate: int) -> None:
        self._sample_rate = rate
        self._frame_bytes = 2 * max(1, round(self._frame_seconds * rate))
        with outside():
            self._reader = await trio.to_thread.run_sync(WavReader, self._path, rate, self._frame_bytes, self._tail)
        self._is_new = True

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Begin with the start; end between two sentences."""
        match frame:
            case StartFrame():
                await self._stop_playing()
                await self._rewind()
                self._end_asked = self._user_speaks = False
                await self.push_frame(frame, direction)
                self._played = trio.Event()
                self._nursery.start_soon(self._play)
                return
            case EndFrame() | StopFrame():
                self._end_asked = True
                if self._played is not None:
                    await self._played.wait()
            case UserStartedSpeakingFrame():
                self._user_speaks = True
            case UserStoppedSpeakingFrame():
                self._user_speaks = False
        await self.push_frame(frame, direction)

    async def _stop_playing(self) -> None:
        """A run before this one was cut off: within `async with pipeline:` it plays on."""
        if self._played is not None:
            self._playing.cancel(reason=f"{self.name} begins again")
            await self._played.wait()
        self._played = None
        self._playing = trio.CancelScope()

    async def _rewind(self) -> None:
        """Each run plays the file from its beginning."""
        rate = self._rate()
        assert rate is not None
        if self._reader is not None and (not self._is_new or self._sample_rate != rate):
            self._reader.close()
            self._reader = None
        if self._reader is None:
            await self._open(rate)
        self._is_new = False

    async def _play(self) -> None:
        task, played = self.task, self._played
        assert played is not None
        try:
            with self._playing as scope:
                await self._play_all(task)
        finally:
            played.set()
        if not scope.cancelled_caught:
            task.stop_when_done(f"{os.fspath(self._path)} has been played")

    async def _play_all(self, task: Any) -> None:
        due = trio.current_time()
        size = self._frame_bytes
        while not self._is_over() and (block := await self._read()):
            for start in range(0, len(block), size):
                if self._is_over():
                    break
                frame = InputAudioFrame(block[start : start + size], self._sample_rate)
                if self._paced:
                    due += frame.seconds
                    await trio.sleep_until(due)
                if self._run() is not task:
                    return  # it was cut off; the next run plays its own
                await self.push_frame(frame)

    def _is_over(self) -> bool:
        return self._end_asked and not self._user_speaks

    async def _read(self) -> bytes:
        """A piece of the file of a whole number of frames, but for the last; empty at the end."""
        assert self._reader is not None
        with outside():
            return await trio.to_thread.run_sync(self._reader.read)
