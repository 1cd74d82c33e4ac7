"""`PocketSphinx`: speech to text for a small set of sentences, in a child process."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, final

import attrs
import trio

from trio_pipes._base import MissingExtra, check_count, check_iterable, check_number, refuse

from ._child import Child, open_child

__all__ = ["Heard", "PocketSphinx"]

SCRIPT: Final = Path(__file__).with_name("_pocketsphinx_child.py")


@attrs.frozen
class Heard:
    """What a recogniser made of a sentence."""

    text: str
    """The words in lower case; empty when there were none."""
    confidence: float
    """From 0 to 1: how much of the speech the words account for."""


class Recognition:
    """A recogniser that is up. You get one from `PocketSphinx.open`."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.pid = child.pid
        """Of the child process."""

    async def start(self) -> None:
        """A sentence begins."""
        await self._child.ask(b"S")

    async def hear(self, audio: bytes) -> None:
        """More of it: 16-bit mono samples. Returns when the recogniser has worked through it."""
        await self._child.ask(b"A", audio)

    async def finish(self) -> Heard:
        """It is over: what was it?"""
        answer = await self._child.ask(b"E")
        return Heard(answer["text"], answer["confidence"])


@final
class PocketSphinx:
    """Recognises sentences like those it is given, by a language model that is made of them when it starts.

    A word that stands in more of the sentences, or a sentence that stands there more than once, is more probable. The
    words are those of American English in lower case; `pronunciations` adds others, in the phones of the CMU dictionary:
    `{"trio": "T R IY OW"}`. `dither` is the noise that is added before recognition (1.0 is full scale); it is the same
    for the same `seed`.
    """

    sample_rate: int = 16_000
    """What it hears, in Hz."""

    def __init__(
        self,
        sentences: Iterable[str],
        *,
        pronunciations: Mapping[str, str] | None = None,
        dither: float = 0.003,
        seed: int = 1,
    ) -> None:
        expected = "the sentences to recognise, at least one"
        check_iterable("PocketSphinx(sentences", sentences, expected)
        given = list(sentences)
        if not all(isinstance(sentence, str) for sentence in given) or not any(map(str.split, given)):
            raise refuse("PocketSphinx(sentences", sentences, expected)
        self._sentences = [" ".join(sentence.split()) for sentence in given]
        if not (pronunciations is None or _are_words(pronunciations)):
            raise refuse("PocketSphinx(pronunciations", pronunciations, "words and their phones: {'trio': 'T R IY OW'}")
        check_number("PocketSphinx(dither", dither, "0 or more, and less than 1 (full scale)", most=0.999_999)
        check_count("PocketSphinx(seed", seed, "a whole number of 0 or more", least=0)
        self._settings = {"pronunciations": dict(pronunciations or {}), "dither": dither, "seed": seed}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Recognition]:
        """Start the child process and load the models; leaving the block ends it.

        Raises:
            MissingExtra: pocketsphinx is not installed.
            ConfigurationError: a word is not in the dictionary.
            trio.BrokenResourceError: the process died.
        """
        if importlib.util.find_spec("pocketsphinx") is None:  # it is imported in the child only
            raise MissingExtra(
                "PocketSphinx needs the package 'pocketsphinx', which is not installed. "
                "Install it with: pip install 'trio-pipes[voice]'",
                name="pocketsphinx",
            )
        async with open_child(SCRIPT, "the speech recogniser") as child:
            await child.ask(b"M", json.dumps({"sentences": self._sentences, **self._settings}).encode())
            await trio.lowlevel.checkpoint()
            yield Recognition(child)


def _are_words(pronunciations: object) -> bool:
    if not isinstance(pronunciations, Mapping):
        return False
    return all(isinstance(part, str) and part for pair in pronunciations.items() for part in pair)
