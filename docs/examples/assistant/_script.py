"""What the scripted user says, and how it becomes a WAV file."""

from __future__ import annotations

import os
import wave
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from trio_pipes.voice import Espeak

__all__ = ["OUTSIDE", "SCRIPT", "Line", "record"]


@attrs.frozen
class Line:
    """A sentence of the user's."""

    text: str
    pause: float = 4.5
    """Silence after it, in seconds: time for the answer."""
    understood: bool = True
    """Whether it is one of the assistant's sentences."""


SCRIPT: Final = (
    Line("hello"),
    Line("turn on the kitchen light"),
    Line("set a timer for twenty seconds"),
    Line("what time is it"),
    Line("what can you do", pause=5.0),  # the answer takes 14 s: the next line interrupts it
    Line("switch on the living room light please", pause=6.0),  # the timer goes off after the answer
    Line("the weather is lovely in the garden today", understood=False),
    Line("which lights are on"),
    Line("turn off all the lights", pause=14.0),  # and nothing: the assistant asks
    Line("set a timer for five minutes"),
    Line("how much time is left"),
    Line("thank you", pause=3.0),
)
"""A conversation with everything in it: a barge-in, a timer that goes off, a sentence that is not understood, a long silence."""

OUTSIDE: Final = tuple(
    Line(text, pause=3.0, understood=False)
    for text in (
        "how far away is the moon",
        "order a pizza with mushrooms",
        "turn up the heating",
        "the children are playing in the garden",
        "what is seventeen times four",
        "my neighbour bought a new car",
        "the coffee machine is broken",
        "which bus goes to the station",
        "it takes twenty minutes to walk there",
        "switch on the dishwasher",
    )
)
"""Ten sentences that are none of the assistant's; no number in the recogniser was chosen by them."""

LEAD_IN: Final = 1.0  # seconds of silence before the first sentence


async def record(path: str | os.PathLike[str], lines: Sequence[Line], voice: Espeak) -> list[float]:
    """Have a voice read the lines into a WAV file. Gives when each line ends, in seconds from the beginning."""
    ends: list[float] = []
    audio, rate = b"", 0
    for line in lines:
        speech = await voice.speak(line.text)
        rate = speech.sample_rate
        audio = (audio or bytes(2 * round(LEAD_IN * rate))) + speech.audio
        ends.append(len(audio) / (2 * rate))
        audio += bytes(2 * round(line.pause * rate))
    await trio.to_thread.run_sync(write, os.fspath(path), audio, rate)
    return ends


def write(path: str, audio: bytes, rate: int) -> None:
    """Write a mono WAV file; blocks."""
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(audio)
