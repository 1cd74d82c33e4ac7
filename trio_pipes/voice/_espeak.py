"""`Espeak`: text to speech by espeak-ng, a process for each text.

The program is taken where it is installed. Where it is not, a child process of ours takes its place, which loads the
library that the package espeakng-loader brings (extra `[espeak]`). Either way espeak-ng, which is GPL-3, is a program
of its own: nothing of it, nor of that package, is loaded into the user's process.

A process for each text costs 10 to 20 ms and makes an interrupt simple: it is killed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import sys
from pathlib import Path
from typing import Any, Final, final

import attrs
import trio

from trio_pipes._base import ConfigurationError, MissingExtra, check_count, outside, refuse

__all__ = ["Espeak", "Speech"]

SCRIPT: Final = Path(__file__).with_name("_espeak_child.py")
_LIBRARIES: Final = {"win32": "espeak-ng.dll", "darwin": "libespeak-ng.dylib"}


@attrs.frozen
class Speech:
    """Spoken text: 16-bit mono samples."""

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    sample_rate: int
    """In Hz."""


@final
class Espeak:
    """Speaks with a voice of espeak-ng: `"en-us"`, `"en-gb"`, `"en-us+f3"` (`espeak-ng --voices` lists them)."""

    def __init__(self, voice: str = "en-us", *, words_per_minute: int = 150) -> None:
        if not isinstance(voice, str) or not voice.isprintable() or voice.startswith("-") or not voice:
            raise refuse("Espeak(voice", voice, "the name of a voice, such as 'en-us'")
        expected = "a whole number from 80 to 450, as espeak-ng takes it"
        check_count("Espeak(words_per_minute", words_per_minute, expected, least=80)
        if words_per_minute > 450:
            raise refuse("Espeak(words_per_minute", words_per_minute, expected)
        self.voice = voice
        self.words_per_minute = words_per_minute

    async def speak(self, text: str) -> Speech:
        """Speak a text. A cancel kills the process.

        Raises:
            MissingExtra: neither the program nor the extra is installed.
            ConfigurationError: there is no such voice.
            trio.BrokenResourceError: the process failed.
        """
        options: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}  # a Ctrl-C is for us alone
        with outside():
            done = await trio.run_process(
                find_espeak(self.voice, self.words_per_minute),
                stdin=text.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                deliver_cancel=_kill,
                **options,
            )
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode and "voice" in said:
            raise ConfigurationError(
                f"Espeak(voice={self.voice!r}): {said}. `espeak-ng --voices` lists those there are."
            )
        if done.returncode:
            raise trio.BrokenResourceError(
                f"espeak-ng ended with exit code {done.returncode}: {said or 'it said nothing'}"
            )
        return _parse_wav(done.stdout)


async def _kill(process: trio.Process) -> None:
    process.kill()


def find_espeak(voice: str, words_per_minute: int) -> list[str]:
    """The command that reads a text on its standard input and writes a WAV to its standard output."""
    if program := shutil.which("espeak-ng"):
        return [program, "-v", voice, "-s", str(words_per_minute), "--stdin", "--stdout"]
    package = importlib.util.find_spec("espeakng_loader")
    if package is None or not package.submodule_search_locations:
        raise MissingExtra(
            "Espeak needs the program espeak-ng (Debian: apt install espeak-ng) or the package 'espeakng-loader'; "
            "neither is there. Install the package with: pip install 'trio-pipes[espeak]'",
            name="espeakng_loader",
        )
    folder = Path(package.submodule_search_locations[0])
    library = folder / _LIBRARIES.get(sys.platform, "libespeak-ng.so")
    # -I -S: the script needs the standard library only, and starts in 20 ms.
    return [
        *(sys.executable, "-I", "-S", os.fspath(SCRIPT)),
        *(os.fspath(library), os.fspath(folder / "espeak-ng-data"), voice, str(words_per_minute)),
    ]


def _parse_wav(wav: bytes) -> Speech:
    """Both write 44 bytes of header, with a length that means "until the end"."""
    if wav[:4] != b"RIFF" or wav[36:40] != b"data":
        raise trio.BrokenResourceError(f"espeak-ng wrote no sound: it starts with {wav[:44]!r}")
    (sample_rate,) = struct.unpack_from("<I", wav, 24)
    return Speech(wav[44 : len(wav) - len(wav) % 2], sample_rate)
