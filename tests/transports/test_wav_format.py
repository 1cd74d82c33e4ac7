"""A WAV's header: what is accepted, and what the others are told."""

import struct
from pathlib import Path

import pytest

from trio_pipes import ConfigurationError
from trio_pipes.transports import WavFormat, read_wav_format
from wav_files import tone, wav_bytes

SOUND = tone(0.1, 16_000)


def test_a_plain_file(tmp_path: Path) -> None:
    file = tmp_path / "plain.wav"
    file.write_bytes(wav_bytes(SOUND))
    assert read_wav_format(file) == WavFormat(sample_rate=16_000, channels=1, data_start=44, data_length=3200)
    assert read_wav_format(str(file)).seconds == 0.1


def test_stereo_at_another_rate(tmp_path: Path) -> None:
    file = tmp_path / "stereo.wav"
    file.write_bytes(wav_bytes(tone(0.5, 44_100, channels=2), rate=44_100, channels=2))
    form = read_wav_format(file)
    assert (form.channels, form.sample_rate, form.seconds) == (2, 44_100, 0.5)


# Recorders write the extensible header also where the plain one would do; `wave` knows it only from Python 3.12 on.
def test_the_extensible_header(tmp_path: Path) -> None:
    file = tmp_path / "extensible.wav"
    extension = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
    file.write_bytes(wav_bytes(SOUND, encoding=0xFFFE, extension=extension))
    assert read_wav_format(file).seconds == 0.1


def test_other_chunks_are_skipped_with_their_padding(tmp_path: Path) -> None:
    file = tmp_path / "tagged.wav"
    file.write_bytes(wav_bytes(SOUND, extra=b"LIST" + struct.pack("<I", 5) + b"hello\0"))
    assert read_wav_format(file).data_length == len(SOUND)


@pytest.mark.parametrize("unknown", [0xFFFFFFFF, 0x7FFFF000])
def test_a_length_that_was_not_known_when_it_was_written(tmp_path: Path, unknown: int) -> None:
    file = tmp_path / "piped.wav"
    file.write_bytes(wav_bytes(SOUND + b"\0", length=unknown))
    assert read_wav_format(file).data_length == len(SOUND)


BAD = {
    "empty": (b"", "an empty file"),
    "text": (b"This is not a WAV file at all", "no WAV: it starts with b'This is not '"),
    "flac": (b"fLaC" + bytes(100), "a FLAC file"),
    "mp3": (b"ID3" + bytes(100), "an MP3 file"),
    "header-only": (wav_bytes(SOUND)[:12], "a truncated file (12 bytes)"),
    "cut-in-header": (wav_bytes(SOUND)[:28], "a truncated file: it ends inside its header"),
    "truncated": (wav_bytes(SOUND)[:-1000], "its header promises 3200 bytes of samples and 2200 are there"),
    "no-samples": (wav_bytes(b""), "without a single sample"),
    "24-bit": (wav_bytes(bytes(4800), bits=24), "24-bit samples"),
    "8-bit": (wav_bytes(bytes(1600), bits=8), "8-bit samples"),
    "float": (wav_bytes(bytes(6400), bits=32, encoding=3), "floating point samples of 32 bits"),
    "mu-law": (wav_bytes(bytes(1600), bits=8, encoding=7), "mu-law samples of 8 bits"),
    "six-channels": (wav_bytes(bytes(9600), channels=6), "6 channels"),
    "no-rate": (wav_bytes(SOUND, rate=0), "a sample rate of 0 Hz"),
    "no-format": (wav_bytes(SOUND)[:12] + wav_bytes(SOUND)[36:], "samples without a description"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_used_is_named(tmp_path: Path, kind: str) -> None:
    content, found = BAD[kind]
    file = tmp_path / f"{kind}.wav"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_wav_format(file)
    text = str(caught.value)
    assert text.startswith(f"{file}: found ")
    assert found in text
    assert "expected" in text
    assert "ffmpeg" in text or "again" in text  # how to mend it


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_wav_format(tmp_path / "nowhere.wav")
