"""`Backoff`: how long to wait before the next try to connect."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Pauses in seconds, from `first`, twice as long each time, up to `longest`.

    Each is up to half shorter, at random, so that the clients of a server that comes back do not come all at once.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    @property
    def pause(self) -> float:
        """The pause before the next try."""
        return self._next * random.uniform(0.5, 1.0)

    def grow(self) -> None:
        """It failed: the one after it is longer."""
        self._next = min(2 * self._next, self._longest)

    def reset(self) -> None:
        """It worked: begin with the first again."""
        self._next = self._first
