"""WAV files for tests, good ones and bad ones, written byte by byte."""

import math
import struct
from array import array
from functools import cache
from pathlib import Path


@cache
def tone(seconds: float, rate: int, hertz: float = 440.0, channels: int = 1) -> bytes:
    """A sine of half scale, the same in all channels."""
    one = (round(16000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(round(seconds * rate)))
    return array("h", [sample for sample in one for _ in range(channels)]).tobytes()


def wav_bytes(
    audio: bytes,
    *,
    rate: int = 16_000,
    channels: int = 1,
    bits: int = 16,
    encoding: int = 1,
    length: int | None = None,
    extra: bytes = b"",
    extension: bytes = b"",
) -> bytes:
    """A WAV file; `length` is what its header says, `extra` stands before the samples, `extension` ends the format."""
    block = channels * bits // 8
    layout = struct.pack("<HHIIHH", encoding, channels, rate, rate * block, block, bits) + extension
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + extra
    chunks += b"data" + struct.pack("<I", len(audio) if length is None else length) + audio
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def write_wav(path: Path, audio: bytes, **layout: int) -> Path:
    """Write one, and give its path."""
    path.write_bytes(wav_bytes(audio, **layout))
    return path


def samples_of(path: Path) -> array:
    """The samples of a 16-bit file with a header of 44 bytes."""
    return array("h", path.read_bytes()[44:])


def loudest_tone(samples: array, rate: int) -> float:
    """The frequency of a sine, in Hz, from how often it crosses zero."""
    crossings = [n for n in range(1, len(samples)) if samples[n - 1] < 0 <= samples[n]]
    return (len(crossings) - 1) * rate / (crossings[-1] - crossings[0])
