"""Writing a WAV file whose length is not known yet. What touches the disk blocks: it is called in a thread."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ._wav_format import UNKNOWN_LENGTHS

__all__ = ["WavWriter"]

_HEADER_BYTES = 44


class WavWriter:
    """A WAV file of 16-bit mono samples that grows; what is skipped is silence.

    Until `close` its header says "to the end of the file", so that what a killed program leaves can be played.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._file = Path(path).open("wb")  # noqa: SIM115  (closed by `close`)
        self._length = 0
        self._file.write(self._header(UNKNOWN_LENGTHS[0]))
        self._file.flush()

    def write(self, position: int, audio: bytes) -> None:
        """Put samples at this place, in bytes from the first sample."""
        self._file.seek(_HEADER_BYTES + position)
        self._file.write(audio)
        self._file.flush()
        self._length = max(self._length, position + len(audio))

    def close(self) -> None:
        """Write the length into the header and close the file."""
        with self._file:
            self._file.seek(0)
            self._file.write(self._header(self._length))

    def _header(self, length: int) -> bytes:
        rate = self._sample_rate
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            *(b"RIFF", min(length + _HEADER_BYTES - 8, 0xFFFFFFFF), b"WAVE"),
            *(b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16),
            *(b"data", length),
        )
