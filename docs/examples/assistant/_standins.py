"""Waits in the place of the models: what is left is this library's own share of the loop's time."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from trio_pipes.voice import Heard, Speech

__all__ = ["LoudnessVad", "WaitingRecogniser", "WaitingVoice"]


class LoudnessVad:
    """Takes what is loud for speech; on a recording without noise that is about right."""

    sample_rate: int = 16_000
    window_bytes: int = 1024

    def probability(self, audio: bytes) -> float:
        """1 or 0."""
        return float(max(array("h", audio)) > 1000)


class WaitingRecogniser:
    """Waits as long as a recogniser works, and gives the transcripts of an earlier run, in order."""

    sample_rate: int = 16_000

    def __init__(self, transcripts: Iterable[Heard]) -> None:
        self._transcripts = iter(transcripts)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[WaitingRecogniser]:
        """There is nothing to load."""
        await trio.lowlevel.checkpoint()
        yield self

    async def start(self) -> None:
        """A sentence begins."""
        await trio.lowlevel.checkpoint()

    async def hear(self, audio: bytes) -> None:
        """2 ms for a piece of 20 ms."""
        await trio.sleep(0.002)

    async def finish(self) -> Heard:
        """Another 80 ms."""
        await trio.sleep(0.08)
        return next(self._transcripts, Heard("", 0.0))


class WaitingVoice:
    """Waits as long as espeak-ng works, and says nothing for as long as the text would take."""

    async def speak(self, text: str) -> Speech:
        """20 ms, and 65 ms of silence for each letter."""
        await trio.sleep(0.02)
        return Speech(bytes(2 * round(0.065 * 22050) * len(text)), 22_050)
