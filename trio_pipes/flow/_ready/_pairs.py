"""Pairs of delimiters in a text of which more may follow: `<voice>` and `</voice>`, `*` and `*`.

As with the end of a sentence, only what cannot change counts: what may be the beginning of a delimiter is neither inside nor
outside yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from trio_pipes._base import refuse

__all__ = ["Found", "Pairs"]

MASK: Final = "\N{OBJECT REPLACEMENT CHARACTER}"  # no letter, no blank, no full stop


class Found(NamedTuple):
    """Where a text has its first pair, if it has one."""

    outside: int
    """So many characters at the beginning are certainly in none."""
    length: int = 0
    """Of the pair behind them, with its delimiters; 0: there is none, or not all of it."""
    which: int = 0
    """The number of the pair."""
    is_open: bool = False
    """It has begun, and not ended."""


class Pairs:
    """Some pairs of delimiters. `what` is the argument that they were given as."""

    def __init__(self, what: str, pairs: Iterable[Any]) -> None:
        expected = "pairs of strings that are not empty: [('<a>', '</a>')]"
        if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
            raise refuse(what, pairs, expected)
        self._pairs: list[tuple[str, str]] = []
        for pair in (given := tuple(pairs)):
            if not (
                isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(tag, str) and tag for tag in pair)
            ):
                raise refuse(what, given, expected)
            self._pairs.append((pair[0], pair[1]))
        starts = [start for start, _ in self._pairs]
        if not starts or len(set(starts)) < len(starts):
            raise refuse(what, given, f"{expected}, each with a beginning of its own")
        self._index = {start: i for i, start in enumerate(starts)}
        longest_first = sorted(starts, key=len, reverse=True)
        self._start = re.compile("|".join(map(re.escape, longest_first)))
        self._longest = len(longest_first[0])

    def find(self, text: str, limit: int) -> Found:
        """The first pair that is no longer than `limit`."""
        doubt = self._in_doubt(text)
        begin = 0
        while (start := self._start.search(text, begin)) is not None and start.start() < doubt:
            at = start.start()
            which = self._index[start[0]]
            close = self._pairs[which][1]
            end = text.find(close, start.end(), at + limit)
            if end >= 0:
                return Found(at, end + len(close) - at, which)
            if len(text) - at < limit:
                return Found(at, which=which, is_open=True)
            begin = at + 1  # too long for one: what looked like its beginning is text
        return Found(doubt)

    def masked(self, text: str) -> str:
        """The text with its pairs made unreadable, as far as that is certain."""
        parts: list[str] = []
        rest = text
        while rest:
            found = self.find(rest, len(rest) + 1)
            parts.append(rest[: found.outside])
            if found.is_open:
                parts.append(MASK)
            if not found.length:
                break
            parts.append(MASK * found.length)
            rest = rest[found.outside + found.length :]
        return "".join(parts)

    def _in_doubt(self, text: str) -> int:
        """Where something begins at the end of the text that may become a beginning."""
        for at in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[at:]
            if any(start.startswith(tail) and start != tail for start in self._index):
                return at
        return len(text)
