"""`SpeechToText`: what the user says, as text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from trio_pipes._base import ConfigurationError, check_count, check_methods, check_number
from trio_pipes.flow import (
    Direction,
    Frame,
    FrameProcessor,
    InputAudioFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)

from ._frames import TranscriptionFrame
from ._pocketsphinx import Heard

__all__ = ["Recogniser", "SpeechToText"]

# Seconds before a sentence that can be kept for it: memory that is held all the time.
LONGEST_LEAD_IN: Final = 60.0


class OpenRecogniser(Protocol):
    """A recogniser that is up."""

    async def start(self) -> None:
        """A sentence begins."""
        ...

    async def hear(self, audio: bytes, /) -> None:
        """More of it, as 16-bit mono samples."""
        ...

    async def finish(self) -> Heard:
        """It is over: what was it?"""
        ...


class Recogniser(Protocol):
    """Recognises speech while it comes in; `PocketSphinx` is one."""

    @property
    def sample_rate(self) -> int:
        """What it hears, in Hz."""
        ...

    def open(self) -> AbstractAsyncContextManager[OpenRecogniser]:
        """Load the models."""
        ...


class SpeechToText(FrameProcessor):
    """Pushes a `TranscriptionFrame` for each sentence of the user's, behind the `UserStoppedSpeakingFrame` that ends it.

    The recogniser hears the sentence while it is spoken, from `lead_in` seconds before the moment in which it was noticed.
    `InputAudioFrame`s end here; everything else passes. No interrupt stops it, for its sound comes from the one who interrupts.
    It measures from the end of a sentence, as it comes here, to the transcript, and the seconds of audio.
    """

    measures = True

    def __init__(self, recogniser: Recogniser, *, lead_in: float = 0.5, name: str | None = None) -> None:
        super().__init__(name)
        expected = "a recogniser, with open() and sample_rate, such as PocketSphinx([...])"
        check_methods("SpeechToText(recogniser", recogniser, ["open"], expected)
        rate = getattr(recogniser, "sample_rate", None)
        check_count(f"SpeechToText(recogniser={recogniser!r} with sample_rate", rate, "a rate in Hz")
        check_number("SpeechToText(lead_in", lead_in, f"seconds from 0 to {LONGEST_LEAD_IN:g}", most=LONGEST_LEAD_IN)
        self._recogniser = recogniser
        self._lead_in_bytes = 2 * round(lead_in * recogniser.sample_rate)
        self._recent = bytearray()
        self._listens = False
        self._heard_bytes = 0  # of this sentence

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Load the models."""
        async with self._recogniser.open() as self._open:
            yield

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Listen between the beginning and the end of a sentence."""
        match frame:
            case InputAudioFrame():
                await self._hear(frame)
            case UserStartedSpeakingFrame() if direction is Direction.DOWNSTREAM:
                await self.push_frame(frame, direction)
                self._listens = True
                await self._open.start()
                self._heard_bytes = len(self._recent)
                await self._open.hear(bytes(self._recent))
                self._recent.clear()
            case UserStoppedSpeakingFrame() if direction is Direction.DOWNSTREAM and self._listens:
                await self.push_frame(frame, direction)
                self._listens = False
                self.metrics.start_ttfb()
                self.metrics.start_processing()
                heard = await self._open.finish()
                await self.metrics.stop_ttfb()
                await self.metrics.stop_processing()
                await self.metrics.stt_usage(self._heard_bytes / (2 * self._recogniser.sample_rate))
                await self.push_frame(TranscriptionFrame(heard.text, heard.confidence, frame.at))
            case _:
                await self.push_frame(frame, direction)

    async def _hear(self, frame: InputAudioFrame) -> None:
        if frame.sample_rate != self._recogniser.sample_rate or frame.channels != 1:
            raise ConfigurationError(
                f"{self.name} was given sound of {frame.sample_rate} Hz with {frame.channels} channel(s), expected "
                f"{self._recogniser.sample_rate} Hz mono. Set the sample rate of the transport that it comes from."
            )
        if self._listens:
            self._heard_bytes += len(frame.audio)
            await self._open.hear(frame.audio)
        else:
            self._recent += frame.audio
            del self._recent[: -self._lead_in_bytes or None]
