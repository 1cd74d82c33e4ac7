"""Reading a WAV file as mono sound of one sample rate. Everything here blocks: it is called in a thread."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from trio_pipes._base import ConfigurationError

from ._mono import MonoConverter
from ._wav_format import check_wav_format

__all__ = ["READ_AHEAD", "WavReader"]

# How much is read at a time, in seconds of sound: one hop to a thread for 25 frames of 20 ms.
READ_AHEAD: Final = 0.5


class WavReader:
    """An open WAV file, with `tail` seconds of silence after it."""

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, frame_bytes: int, tail: float) -> None:
        self._path = path
        self._frame_bytes = frame_bytes
        self._silence = bytes(2 * round(tail * sample_rate))
        self._buffer = b""
        self._file = Path(path).open("rb")  # noqa: SIM115  (closed by `close`)
        try:
            self.format = check_wav_format(self._file, path)
            self._converter = MonoConverter(self.format.sample_rate, self.format.channels, sample_rate)
        except BaseException:
            self._file.close()
            raise
        self._left = self.format.data_length

    def read(self) -> bytes:
        """The next block: a whole number of frames of `frame_bytes`, but for the last one. Empty at the end."""
        while self._left and len(self._buffer) < self._frame_bytes:
            self._buffer += self._convert_next()
        if not self._left:
            block = self._buffer + self._silence
            self._buffer = self._silence = b""
            return block
        whole = len(self._buffer) - len(self._buffer) % self._frame_bytes
        block, self._buffer = self._buffer[:whole], self._buffer[whole:]
        return block

    def _convert_next(self) -> bytes:
        wanted = min(2 * self.format.channels * round(READ_AHEAD * self.format.sample_rate), self._left)
        audio = self._file.read(wanted)
        if len(audio) < wanted:
            raise ConfigurationError(
                f"{os.fspath(self._path)}: the file was cut short while it was being read: {wanted - len(audio)} bytes of "
                "samples are gone. Leave it alone while it is played."
            )
        self._left -= wanted
        return self._converter.convert(audio, last=not self._left)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
