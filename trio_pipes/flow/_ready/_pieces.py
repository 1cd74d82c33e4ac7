"""Text that has come in pieces, until it goes on in others."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from trio_pipes.flow._frames import Frame

from ._copies import copy_of

__all__ = ["Pieces"]


@attrs.define(eq=False)
class _Piece:
    frame: Any
    length: int
    """How much of its text is still here."""


class Pieces:
    """What has come and has not gone on, and the frames that it came in."""

    def __init__(self) -> None:
        self.text = ""
        self._pieces: deque[_Piece] = deque()

    def add(self, frame: Frame, text: str) -> None:
        """A frame has come, with this text."""
        if text:
            self.text += text
            self._pieces.append(_Piece(frame, len(text)))

    def take(self, count: int) -> Any:
        """The first `count` characters as a frame: the one in which they begin, with that text."""
        piece = self._pieces[0]
        if count == piece.length == len(piece.frame.text):
            self.cut(count)
            return piece.frame
        text = self.text[:count]
        first, interruptible = self.cut(count)
        return copy_of(first, text=text, interruptible=interruptible)

    def cut(self, count: int) -> tuple[Any, bool]:
        """Cut the first characters off: the frame in which they begin, and whether an interrupt makes them stale.

        They survive when one of the frames does in which they came.
        """
        self.text = self.text[count:]
        first = self._pieces[0].frame
        interruptible = first.interruptible
        while count:
            piece = self._pieces[0]
            if not piece.frame.interruptible:
                interruptible = type(interruptible)(False)  # that of a frame with a deadline is another one
            part = min(count, piece.length)
            piece.length -= part
            count -= part
            if not piece.length:
                self._pieces.popleft()
        return first, interruptible

    def drop_stale(self) -> None:
        """Forget what an interrupt makes stale."""
        begin = 0
        kept: list[str] = []
        pieces: deque[_Piece] = deque()
        for piece in self._pieces:
            end = begin + piece.length
            if not piece.frame.interruptible:
                kept.append(self.text[begin:end])
                pieces.append(piece)
            begin = end
        self.text, self._pieces = "".join(kept), pieces

    def clear(self) -> None:
        """Forget everything."""
        self.text = ""
        self._pieces.clear()
