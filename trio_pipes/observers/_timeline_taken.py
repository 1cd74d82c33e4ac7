"""What a `Timeline` has recorded, copied at one moment, so that another thread can make a page of it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ._latency_records import UserBotLatency
from ._ring import Span

__all__ = ["Moment", "Row", "Taken"]


@attrs.frozen
class Moment:
    """Something that happened at one time."""

    at: float
    """Seconds on Trio's clock."""
    task: int
    row: int | None
    what: str
    """A short name of ours: `"interrupt"`, `"user"`, `"text"`, ..."""
    text: str = ""
    over: bool = False
    """Of somebody's speech or turn: the end of it, not the beginning."""


@attrs.frozen
class Row:
    """A processor of a task."""

    task: int
    place: int
    """In its pipeline, from the top; -1: in front of it."""
    name: str


@attrs.frozen
class Taken:
    """All of it. Tasks, rows and classes are told by their numbers: their places in these lists."""

    spans: bytes
    """See `spans_in`."""
    still: Sequence[Span]
    """Handlers that have not returned."""
    moments: Sequence[Moment]
    latencies: Sequence[tuple[int, UserBotLatency]]
    """Each with its task."""
    tasks: Sequence[str]
    rows: Sequence[Row]
    classes: Sequence[str]
    lost: int
