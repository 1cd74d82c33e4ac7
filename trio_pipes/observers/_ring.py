"""The last so many spans of time, in a fixed amount of memory."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

__all__ = ["HANDLED", "MOST", "SET_UP", "STOPPED", "UP", "WAITED", "Ring", "Span", "spans_in"]

FORM: Final = Struct("=ddfQHHB")
MOST: Final = (
    0x10000  # rows, and classes, that a number in a span can tell apart; the last one is for all that come later
)

# The flags of a span: one of the first three, and what else is so.
HANDLED: Final = 0
WAITED: Final = 1
SET_UP: Final = 2
UP: Final = 4
STOPPED: Final = 8


class Span(NamedTuple):
    """What a processor did, from when to when."""

    began: float
    """Seconds on Trio's clock."""
    ended: float
    queued: float
    """Seconds that the frame had waited in front of the processor."""
    frame: int
    """The frame's id."""
    row: int
    """The number of the processor."""
    kind: int
    """The number of the frame's class."""
    flags: int


class Ring:
    """Holds `size` spans, of 33 bytes each; when one more comes, the oldest goes."""

    def __init__(self, size: int) -> None:
        self._data = bytearray(FORM.size * size)
        self._at = 0
        self._put = FORM.pack_into
        self.size = size
        self.count = 0
        """How many were put in, in all."""

    def put(self, began: float, ended: float, queued: float, frame: int, row: int, kind: int, flags: int) -> None:
        self._put(self._data, self._at, began, ended, queued, frame, row, kind, flags)
        self.count += 1
        self._at += FORM.size
        if self._at == len(self._data):
            self._at = 0

    @property
    def lost(self) -> int:
        """How many have gone."""
        return max(0, self.count - self.size)

    def copy(self) -> bytes:
        """What is in it, oldest first, for `spans_in`: a copy that another thread can read."""
        if self.count < self.size:
            return bytes(memoryview(self._data)[: self._at])
        return bytes(self._data[self._at :] + self._data[: self._at])


def spans_in(data: bytes) -> Iterator[Span]:
    """The spans of a copy."""
    return map(Span._make, FORM.iter_unpack(data))
