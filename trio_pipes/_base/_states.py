"""States are tables: `{state: {event: next state}}`, and `step` is the one way along them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from ._errors import TransitionError

__all__ = ["Table", "step"]

S = TypeVar("S", bound=Enum)

Table = Mapping[S, Mapping[str, S]]


def step(table: Table[S], state: S, event: str, *, who: str = "") -> S:
    """The state that `event` leads to.

    Raises `TransitionError`, which lists the legal events, when the table has no such move.
    """
    row = table[state]
    try:
        return row[event]
    except KeyError:
        legal = ", ".join(sorted(row)) or "none: this state is final"
        raise TransitionError(f"{who or 'it'} is {state.name} and cannot {event}; legal here: {legal}") from None
