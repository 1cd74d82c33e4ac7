"""What the tests of voice share: spoken sentences, stand-ins with their own clock, and who is left behind."""

import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import trio

from trio_pipes.voice import Espeak, Heard, Speech

RATE = 16_000


@cache
def spoken(text: str, voice: str = "en-us") -> bytes:
    """A sentence at 16 kHz, with half a second of silence round it."""
    import numpy as np
    import soxr

    speech = trio.run(Espeak(voice, words_per_minute=140).speak, text)
    samples = np.frombuffer(speech.audio, dtype="<i2")
    return bytes(RATE) + soxr.resample(samples, speech.sample_rate, RATE).astype("<i2").tobytes() + bytes(RATE)


def children() -> set[int]:
    """The processes that this one has started and that still exist, alive or as zombies."""
    proc = Path("/proc")
    if proc.exists():
        return {int(each.name) for each in proc.iterdir() if each.name.isdigit() and _parent(each) == os.getpid()}
    command = ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {int(line.split()[0]) for line in listed if "ps -o" not in line}


def _parent(process: Path) -> int | None:
    try:
        stat = (process / "stat").read_text()
    except OSError:  # it has ended meanwhile
        return None
    return int(stat.rpartition(")")[2].split()[1])


class ScriptedVad:
    """Says what it is told to: the probability for the window that begins at a time, in seconds."""

    sample_rate = RATE
    window_bytes = 1024

    def __init__(self, probability: Callable[[float], float]) -> None:
        self._probability = probability
        self._windows = 0

    def probability(self, audio: bytes) -> float:
        assert len(audio) == self.window_bytes
        self._windows += 1
        return self._probability((self._windows - 1) * 0.032)


class EchoRecogniser:
    """Takes `takes` seconds for a sentence, and then hears how many bytes it was given."""

    sample_rate = RATE

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.heard = b""
        self.is_open = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator["EchoRecogniser"]:
        self.is_open = True
        await trio.sleep(0.5)
        yield self
        self.is_open = False

    async def start(self) -> None:
        self.heard = b""

    async def hear(self, audio: bytes) -> None:
        await trio.sleep(0.001)
        self.heard += audio

    async def finish(self) -> Heard:
        await trio.sleep(self.takes)
        return Heard(f"{len(self.heard)} bytes", 0.75)


class HummingVoice:
    """Takes 50 ms, and hums for a tenth of a second for each letter."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def speak(self, text: str) -> Speech:
        self.asked.append(text)
        await trio.sleep(0.05)
        return Speech(b"\x00\x10" * (len(text) * RATE // 10), RATE)
