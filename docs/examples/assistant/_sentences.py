"""Everything that the assistant understands: patterns, the sentences that they stand for, and what each asks for.

One table serves twice. The recogniser's language model is made of all the sentences, and a transcript is understood when it is one
of them, word for word. Speech about something else comes out as a jumble of the same words, which is none.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

ROOMS: Final = ("kitchen", "bedroom", "office", "living room", "hall")
NUMBERS: Final = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
}

# What stands for one of several values, and which.
SLOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "room": ROOMS,
    "switch": ("on", "off"),
    "number": tuple(NUMBERS),
    "unit": ("second", "minute", "hour"),
}

# (a|b): one of them; [a]: may be left out; {slot}: one of its values, which the command is told.
PATTERNS: Final[Mapping[str, tuple[str, ...]]] = {
    "light": (
        "[please] (turn|switch) {switch} the {room} (light|lights) [please]",
        "[please] (turn|switch) the {room} (light|lights) {switch} [please]",
        "[please] (turn|switch) {switch} (the light|the lights|all the lights) [please]",
        "[please] (turn|switch) (the light|the lights|all the lights) {switch} [please]",
    ),
    "set timer": (
        "[please] set a timer for {number} {unit}s [please]",
        "[please] set a timer for one {unit} [please]",
        "[please] set (a|an) {number} {unit} timer [please]",
    ),
    "cancel timer": ("[please] (cancel|stop) the timer [please]",),
    "time left": ("how much time is left", "how long is left"),
    "time": (
        "what time is it",
        "(what is|what's) the time",
        "[please] tell me the time [please]",
        "do you know what time it is",
    ),
    "lights on": ("which lights are on",),
    "help": ("what can you do",),
    "greeting": ("hello", "good (morning|evening)"),
    "thanks": ("thank you",),
    "stop": ("stop", "be quiet"),
    "goodbye": ("goodbye",),
}


@attrs.frozen
class Command:
    """What a sentence asks for."""

    intent: str
    slots: Mapping[str, str] = attrs.field(factory=dict)


def expand(pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
    """All sentences of a pattern, each with the values of its slots."""
    parts = [_choices(part) for part in re.findall(r"\([^)]*\)|\[[^]]*\]|\S+", pattern)]
    for choice in itertools.product(*parts):
        words = " ".join(text for text, _ in choice if text)
        yield words, {name: value for _, slots in choice for name, value in slots.items()}


def _choices(part: str) -> list[tuple[str, dict[str, str]]]:
    if part[0] == "(":
        return [(text, {}) for text in part[1:-1].split("|")]
    if part[0] == "[":
        return [("", {}), (part[1:-1], {})]
    if slot := re.fullmatch(r"\{(\w+)\}(\w*)", part):
        return [(value + slot[2], {slot[1]: value}) for value in SLOTS[slot[1]]]
    return [(part, {})]


COMMANDS: Final[Mapping[str, Command]] = {
    sentence: Command(intent, slots)
    for intent, patterns in PATTERNS.items()
    for pattern in patterns
    for sentence, slots in expand(pattern)
}
"""Each sentence, and what it asks for."""
