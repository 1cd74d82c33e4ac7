"""`MemoryBus`: messages between the workers of one process."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from ._bus import Bus
from ._claims import Claims

__all__ = ["MemoryBus"]


class MemoryBus(Bus):
    """A bus within one process and one Trio run; several runners may share it. It is always open.

    Messages are handed over as they are, not copied: do not change one after it was sent.
    """

    def __init__(self) -> None:
        super().__init__(lease=math.inf)
        self.claims: Claims = Claims()
        """Who owns which names."""

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        yield

    async def claim(self, names: Iterable[str], owner: str) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return self.claims.claim(names, owner)

    async def renew(self, owner: str) -> set[str]:
        await trio.lowlevel.checkpoint()
        return set()

    async def release(self, names: Iterable[str] | None, owner: str) -> None:
        self.claims.release(names, owner)
        await trio.lowlevel.checkpoint()
