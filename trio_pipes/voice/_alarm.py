"""An alarm: something to be done at a time that may be changed until then."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

__all__ = ["Alarm"]


class Alarm:
    """Calls an async function when its time, on Trio's clock, has come; once for each time that is set."""

    def __init__(self, ring: Callable[[], Awaitable[None]]) -> None:
        self._ring = ring
        self._at = math.inf
        self._wait: trio.CancelScope | None = None

    def set(self, at: float) -> None:
        """Ring at that time and at no other; infinity: not at all."""
        self._at = at
        if self._wait is not None:
            self._wait.deadline = at

    async def run(self) -> None:
        """Wait, and ring, for ever."""
        while True:
            with trio.CancelScope(deadline=self._at) as self._wait:
                await trio.sleep_forever()
            self._wait = None
            if self._at <= trio.current_time():  # it may have been put off in the moment in which it went off
                self._at = math.inf
                await self._ring()
