"""`WavSink`: a loudspeaker that writes what it plays into a WAV file.

# How playing works without a loudspeaker.
#
# A loudspeaker takes sound at the speed of sound, and that is what makes the rest of a pipeline behave: the
# synthesis waits, because the lane before the sink is full, and an interrupt finds most of a reply unplayed. So
# the sink keeps one time, `_until`: when the sound it has taken so far will have been heard. It takes a piece of
# 20 ms, waits for its end on Trio's clock, then takes the next. An interrupt stops the handler in that wait: what was
# taken is kept, the rest of the frame and of the lane is gone. The time is also the place in the file, so that
# pauses are silence there and the file lasts as long as the conversation did.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio_pipes._base import check_count, check_flag, check_path, outside
from trio_pipes.flow import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    OutputAudioFrame,
    StartFrame,
    StopFrame,
)

from ._mono import MonoConverter, prepare
from ._wav_writer import WavWriter

__all__ = ["WavSink"]

# The usual period of a sound card, in seconds: what an interrupt cannot take back.
PIECE: Final = 0.02

# The longest pause inside one reply, in seconds: when nothing has been played for so long, the reply is over. A
# sentence that is synthesised while the one before is played comes in well below it.
LINGER: Final = 0.2

# What is played goes to the disk in blocks of this length, in seconds: one hop to a thread for 50 pieces.
WRITE_EVERY: Final = 1.0


class WavSink(FrameProcessor):
    """Plays `OutputAudioFrame`s at the speed of sound, on Trio's clock, into a WAV file of 16-bit mono samples.

    `sample_rate` is in Hz; None: the `audio_out_sample_rate` of the task's parameters. A frame of another rate, or in
    stereo, is converted. One that has been played passes on. `BotStartedSpeakingFrame` and `BotStoppedSpeakingFrame`
    go both ways when a reply begins and when it has been played or cut off. With `paced=False` nothing waits, pauses are
    left out and nobody is told: for turning a pipeline's output into a file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sample_rate: int | None = None,
        paced: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        check_path("WavSink(path", path)
        if sample_rate is not None:
            check_count("WavSink(sample_rate", sample_rate, "a rate in Hz, or None")
        check_flag("WavSink(paced", paced)
        self._path = path
        self._asked_rate = sample_rate
        self._paced = paced
        self._converter: MonoConverter | None = None
        self._converts = (0, 0)  # sample rate and channels
        self._blocks: list[tuple[int, bytearray]] = []  # played, not on the disk yet: place in the file, sound
        self._started_at = 0.0
        self._until = 0.0
        self._speaks = False
        self._spoke = trio.Event()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open the file; at the end write what is left and close it."""
        self._writer: WavWriter | None = None
        with outside():
            await trio.to_thread.run_sync(prepare)  # what will have to be converted shows with the first frame
        if (rate := self._rate()) is not None:
            await self._open(rate)
        self._has_begun = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._notice_silence)
                yield
                nursery.cancel_scope.cancel(reason=f"{self.name} is closed")
        finally:
            with trio.CancelScope(shield=True), outside():
                await trio.to_thread.run_sync(self._finish)

    def _rate(self) -> int | None:
        try:
            return self._asked_rate or self.task.params.audio_out_sample_rate
        except RuntimeError:
            return None  # `async with pipeline:` sets up before there is a task

    async def _open(self, rate: int) -> None:
        self._sample_rate = rate
        with outside():
            self._writer = await trio.to_thread.run_sync(WavWriter, self._path, rate)

    def _finish(self) -> None:
        if self._writer is not None:
            try:
                self._write_blocks(self._blocks)
            finally:
                self._writer.close()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Play sound, pass on everything."""
        match frame:
            case StartFrame():
                await self._begin()
            case OutputAudioFrame():
                await self._play(frame)
            case EndFrame() | StopFrame():
                await self._stop_speaking()
        await self.push_frame(frame, direction)

    async def on_interrupt(self) -> None:
        """Be silent at once."""
        await self._stop_speaking(interrupted=True)

    async def _begin(self) -> None:
        """The first run, or, within `async with pipeline:`, one that goes on in the file where the one before was."""
        if self._writer is None:
            rate = self._rate()
            assert rate is not None
            await self._open(rate)
        if not self._has_begun:
            self._has_begun = True
            self._started_at = self._until = trio.current_time()
        self._converter = None
        if self._speaks:  # the run before was cut off
            self._speaks = False
            self._spoke = trio.Event()

    # -- playing

    async def _play(self, frame: OutputAudioFrame) -> None:
        audio = self._convert(frame)
        block = self._next_block()
        if self._paced and not self._speaks:
            self._speaks = True
            self._spoke.set()
            await self.broadcast_frame(BotStartedSpeakingFrame, at=self._until)
        size = 2 * max(1, round(PIECE * self._sample_rate))
        for start in range(0, len(audio), size):
            piece = audio[start : start + size]
            block += piece
            self._until += len(piece) / (2 * self._sample_rate)
            if self._paced:
                await trio.sleep_until(self._until)
        if sum(len(audio) for _, audio in self._blocks) > WRITE_EVERY * 2 * self._sample_rate:
            await self._write()

    def _next_block(self) -> bytearray:
        """Where the next sound goes: right behind the last, or, after a pause, where the file has come to by now."""
        now = trio.current_time()
        late = self._paced and now > self._until + PIECE
        if late:
            self._until = now
        if late or not self._blocks:
            place = 2 * round((self._until - self._started_at) * self._sample_rate)
            self._blocks.append((place, bytearray()))
        return self._blocks[-1][1]

    async def _stop_speaking(self, *, interrupted: bool = False) -> None:
        if self._converter is not None:
            tail = self._converter.convert(b"", last=True)  # a resampler keeps a few milliseconds back
            if not interrupted and self._blocks:
                self._blocks[-1][1].extend(tail)
                self._until += len(tail) / (2 * self._sample_rate)
            self._converter = None
        if self._speaks:
            self._speaks = False
            self._spoke = trio.Event()
            await self.broadcast_frame(BotStoppedSpeakingFrame, at=self._until, interrupted=interrupted)

    async def _notice_silence(self) -> None:
        """Tell that a reply is over when nothing more of it has come."""
        while True:
            await self._spoke.wait()
            over = self._until + LINGER
            if trio.current_time() < over:
                await trio.sleep_until(over)
            else:
                await self._stop_speaking()

    def _convert(self, frame: OutputAudioFrame) -> bytes:
        """The frame's sound at our rate. One converter serves as long as the format stays: it is one stream."""
        if self._converter is None or self._converts != (frame.sample_rate, frame.channels):
            self._converter = MonoConverter(frame.sample_rate, frame.channels, self._sample_rate)
            self._converts = (frame.sample_rate, frame.channels)
        return self._converter.convert(frame.audio)

    # -- writing

    async def _write(self) -> None:
        blocks = list(self._blocks)
        with outside():
            await trio.to_thread.run_sync(self._write_blocks, blocks)
        del self._blocks[: len(blocks)]

    def _write_blocks(self, blocks: list[tuple[int, bytearray]]) -> None:
        assert self._writer is not None
        for place, audio in blocks:
            self._writer.write(place, bytes(audio))
