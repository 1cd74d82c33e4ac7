"""What a WAV file says about itself: its header, read and checked.

Own code instead of the standard library's `wave`, which takes a file that lost its second half for a short one, does not
know the extensible header that many recorders write (before Python 3.12), and says "unknown format: 3" where a person
needs to read what to do. Only 16-bit PCM is accepted: what is played and recognised is 16-bit, and a quiet conversion
would hide that a recording is not what its owner thinks.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

import attrs

from trio_pipes._base import ConfigurationError, check_path

# Lengths that programs write which send a WAV to a pipe and do not know its length: ffmpeg and sox the first,
# espeak-ng the second. They mean "until the end of the file".
UNKNOWN_LENGTHS: Final = (0xFFFFFFFF, 0x7FFFF000)

# Telephone to the highest rate that converters have, in Hz.
LOWEST_RATE: Final = 4_000
HIGHEST_RATE: Final = 384_000

_ENCODINGS: Final = {
    1: "PCM",
    2: "ADPCM",
    3: "floating point",
    6: "A-law",
    7: "mu-law",
    0x55: "MP3",
    0xFFFE: "extensible",
}
_OTHER_FILES: Final = {
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"ID3": "an MP3 file",
    b"RIFX": "a big-endian WAV file",
}
_EXTENSIBLE: Final = 0xFFFE
_PCM: Final = 1


@attrs.frozen
class WavFormat:
    """What a WAV file holds: 16-bit PCM, one or two channels."""

    sample_rate: int
    """Samples a second of one channel, in Hz."""
    channels: int
    """1 (mono) or 2 (stereo)."""
    data_start: int
    """Where the samples begin, in bytes from the start of the file."""
    data_length: int
    """How long the samples are, in bytes: whole sample frames only."""

    @property
    def seconds(self) -> float:
        """How long the sound lasts, in seconds."""
        return self.data_length / (2 * self.channels * self.sample_rate)


def read_wav_format(path: str | os.PathLike[str]) -> WavFormat:
    """Read and check the header of a WAV file.

    This reads from the disk and blocks while it does: at a program's start, or in a thread.

    Raises:
        ConfigurationError: not a WAV, empty, truncated, or not 16-bit PCM in mono or stereo. The text names the file, what
            was found, what was expected and how to convert it.
        OSError: the file cannot be read.
    """
    check_path("read_wav_format(path", path)
    with Path(path).open("rb") as file:
        return check_wav_format(file, path)


def check_wav_format(file: BinaryIO, path: str | os.PathLike[str]) -> WavFormat:
    """The same for an open file; leaves it at the first sample."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise _refuse(path, "an empty file (0 bytes)", fix="Record it again")
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        kind = next((name for magic, name in _OTHER_FILES.items() if head.startswith(magic)), None)
        raise _refuse(path, kind or f"no WAV: it starts with {head!r}")
    layout: tuple[int, int] | None = None
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", header)
        if name == b"fmt ":
            layout = _check_layout(file.read(length), path)
            file.seek(length % 2, os.SEEK_CUR)
        elif name == b"data":
            if layout is None:
                raise _refuse(path, "samples without a description of them (no 'fmt ' before 'data')")
            return _check_samples(file.tell(), length, size, layout, path)
        else:
            file.seek(length + length % 2, os.SEEK_CUR)  # chunks begin at even places
    raise _refuse(
        path, f"a truncated file ({size} bytes): it ends before its samples begin", fix="Record or copy it again"
    )


def _check_layout(chunk: bytes, path: str | os.PathLike[str]) -> tuple[int, int]:
    """Sample rate in Hz and number of channels."""
    if len(chunk) < 16:
        raise _refuse(path, "a truncated file: it ends inside its header", fix="Record or copy it again")
    encoding, channels, sample_rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if encoding == _EXTENSIBLE and len(chunk) >= 26:
        encoding = struct.unpack_from("<H", chunk, 24)[0]  # the first two bytes of the sub-format say what it is
    if encoding != _PCM:
        raise _refuse(path, f"{_ENCODINGS.get(encoding, f'unknown encoding {encoding}')} samples of {bits} bits")
    if bits != 16:
        raise _refuse(path, f"{bits}-bit samples")
    if channels not in (1, 2):
        raise _refuse(path, f"{channels} channels")
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise _refuse(path, f"a sample rate of {sample_rate} Hz", expected=f"{LOWEST_RATE} to {HIGHEST_RATE} Hz")
    return sample_rate, channels


def _check_samples(
    start: int, length: int, size: int, layout: tuple[int, int], path: str | os.PathLike[str]
) -> WavFormat:
    sample_rate, channels = layout
    present = size - start
    if length in UNKNOWN_LENGTHS:
        length = present
    if length == 0:
        raise _refuse(path, "a WAV without a single sample", fix="Record it again")
    if length > present:
        raise _refuse(
            path,
            f"a truncated file: its header promises {length} bytes of samples and {present} are there",
            fix="Record or copy it again",
        )
    return WavFormat(sample_rate, channels, start, length - length % (2 * channels))


def _refuse(
    path: str | os.PathLike[str],
    found: str,
    *,
    expected: str = "a WAV file of 16-bit PCM samples, mono or stereo",
    fix: str = "Convert it, for example with: ffmpeg -i {name} -ac 1 -c:a pcm_s16le converted.wav",
) -> ConfigurationError:
    name = os.fspath(path)
    return ConfigurationError(f"{name}: found {found}; expected {expected}. {fix.format(name=name)}.")
