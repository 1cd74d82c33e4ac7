"""Word errors: how far a transcript is from what was said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ._conversation import Turn
from ._script import Line

__all__ = ["by_line", "word_errors"]


def word_errors(said: str, heard: str) -> int:
    """Words to insert, delete or replace to get from one to the other (Levenshtein)."""
    heard_words = heard.split()
    row = list(range(len(heard_words) + 1))
    for number, word in enumerate(said.split(), 1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(heard_words, 1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
    return row[-1]


def by_line(lines: Sequence[Line], ends: Sequence[float], turns: Iterable[Turn]) -> list[tuple[Line, list[Turn]]]:
    """The turns that came of each line: those that ended nearest to its end."""
    found: list[tuple[Line, list[Turn]]] = [(line, []) for line in lines]
    for turn in turns:
        nearest = min(range(len(lines)), key=lambda place: abs(ends[place] - turn.stopped_at))
        found[nearest][1].append(turn)
    return found
