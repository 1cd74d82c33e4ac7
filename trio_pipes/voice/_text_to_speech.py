"""`TextToSpeech`: what the assistant says, as sound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from trio_pipes._base import check_methods
from trio_pipes.flow import Direction, Frame, FrameProcessor, OutputAudioFrame, TextFrame

from ._espeak import Speech

__all__ = ["Synthesiser", "TextToSpeech"]

# How long a piece of speech is, in seconds. 64 of them (`PipelineParams.queue_size`) are 6 s ahead of what is played.
PIECE: Final = 0.1


class Synthesiser(Protocol):
    """Speaks texts; `Espeak` is one."""

    async def speak(self, text: str, /) -> Speech:
        """Speak a text."""
        ...


class TextToSpeech(FrameProcessor):
    """Turns each `TextFrame` into `OutputAudioFrame`s; everything else passes.

    An interrupt stops the synthesis, and drops what has been synthesised and not been played. It measures the synthesis and
    the characters.
    """

    measures = True

    def __init__(self, synthesiser: Synthesiser, *, name: str | None = None) -> None:
        super().__init__(name)
        expected = "a synthesiser, with speak(), such as Espeak()"
        check_methods("TextToSpeech(synthesiser", synthesiser, ["speak"], expected)
        self._synthesiser = synthesiser

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Say a word to nobody: a voice that is missing shows before the first frame, not in the first reply."""
        await self._synthesiser.speak("ready")
        yield

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Speak texts."""
        if not isinstance(frame, TextFrame) or direction is Direction.UPSTREAM:
            await self.push_frame(frame, direction)
        elif frame.text.strip():
            self.metrics.start_ttfb()
            self.metrics.start_processing()
            speech = await self._synthesiser.speak(frame.text)
            await self.metrics.stop_ttfb()
            await self.metrics.stop_processing()
            await self.metrics.tts_usage(frame.text)
            size = 2 * round(PIECE * speech.sample_rate)
            for start in range(0, len(speech.audio), size):
                piece = speech.audio[start : start + size]
                await self.push_frame(OutputAudioFrame(piece, speech.sample_rate, interruptible=frame.interruptible))
