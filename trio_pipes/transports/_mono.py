"""Sound of any sample rate, mono or stereo, to mono sound of one rate, a block at a time."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from trio_pipes._base import MissingExtra, import_extra

__all__ = ["MonoConverter", "prepare"]


def prepare() -> None:
    """Have the imports over with, where the packages are there: they take a tenth of a second, too long for the loop."""
    with suppress(MissingExtra):
        MonoConverter(8_000, 2, 16_000).convert(bytes(640))


class MonoConverter:
    """Converts one continuous stream of signed 16-bit samples.

    What is mono and of the wanted rate already passes through, and needs neither numpy nor soxr.
    """

    def __init__(self, sample_rate: int, channels: int, wanted_rate: int) -> None:
        self._channels = channels
        self._numpy: Any = None
        self._resampler: Any = None
        if channels != 1 or sample_rate != wanted_rate:
            why = f"sound of {sample_rate} Hz with {channels} channel(s) where {wanted_rate} Hz mono is wanted"
            self._numpy = import_extra("numpy", "voice", why)
            if sample_rate != wanted_rate:
                soxr = import_extra("soxr", "voice", why)
                self._resampler = soxr.ResampleStream(sample_rate, wanted_rate, 1, dtype="int16")

    def convert(self, audio: bytes, *, last: bool = False) -> bytes:
        """The next block. The resampler keeps a few milliseconds back, which `last=True` gives out."""
        if self._numpy is None:
            return audio
        samples = self._numpy.frombuffer(audio, dtype="<i2")
        if self._channels != 1:
            samples = samples.reshape(-1, self._channels).mean(axis=1).astype("<i2")
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        return bytes(samples.astype("<i2", copy=False).tobytes())
