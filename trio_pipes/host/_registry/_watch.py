"""`WorkerWatch`: who comes and goes, for one reader that may be slow.

# Why nothing overflows.
#
# A watch keeps the names of which something has happened since it was read, each once, and compares when it is
# read: the life it told last with the one that is there. So a thousand comings and goings of one name are one event,
# and what it holds is bounded by the names. What is never lost: a worker that was told as ready and has since been another
# one, or somewhere else, is told as BACK, also where its absence was too short to be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

import trio

from ._info import WorkerChange, WorkerEvent, WorkerInfo

__all__ = ["WorkerWatch"]


class WorkerWatch:
    """What `registry.watch(...)` gives: `async with` opens it, `async for` reads it. One task reads it at a time."""

    def __init__(
        self,
        names: tuple[str, ...],
        get: Callable[[str], WorkerInfo | None],
        open_: Callable[[WorkerWatch], Iterable[str]],
        close: Callable[[WorkerWatch], None],
    ) -> None:
        self.names: tuple[str, ...] = names
        """What it looks at; empty: everybody."""
        self._get = get
        self._open = open_
        self._close = close
        self._pending: dict[str, str | None] = {}
        self._told: dict[str, WorkerInfo] = {}
        self._gone: set[str] = set()  # of `names`, those that were told as gone
        self._reader = trio.lowlevel.ParkingLot()
        self._state = "new"
        self._is_over = False

    def __repr__(self) -> str:
        return f"<watch of {', '.join(self.names) or 'all workers'}: {self._state}>"

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError(f"{self!r} has been opened before: call registry.watch() again")
        await trio.lowlevel.checkpoint()
        self._state = "open"
        self._pending = dict.fromkeys(self._open(self))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._state = "closed"
        self._close(self)
        self._pending.clear()
        self._told.clear()
        self._reader.unpark_all()

    def __aiter__(self) -> WorkerWatch:
        return self

    async def __anext__(self) -> WorkerEvent:
        await trio.lowlevel.checkpoint()
        while True:
            if self._state != "open":
                raise trio.ClosedResourceError(f"{self!r}: it can be read inside its block")
            while self._pending:
                name = next(iter(self._pending))
                event = self._compare(name, self._pending.pop(name))
                if event is not None:
                    return event
            if self._is_over:
                raise StopAsyncIteration
            if self._reader:
                raise trio.BusyResourceError(f"another task is reading {self!r}")
            await self._reader.park()

    def _compare(self, name: str, reason: str | None) -> WorkerEvent | None:
        before, now = self._told.get(name), self._get(name)
        if now is None or not now.ready:
            if before is None:
                return None
            del self._told[name]
            if self.names:
                self._gone.add(name)
            return WorkerEvent(WorkerChange.GONE, before, reason)
        self._told[name] = now
        if before is None:
            return WorkerEvent(WorkerChange.BACK if name in self._gone else WorkerChange.READY, now)
        if (before.runner, before.life) != (now.runner, now.life):
            return WorkerEvent(WorkerChange.BACK, now)
        return None

    # -- what the registry does

    def note(self, name: str, reason: str | None) -> None:
        """Something has happened to this worker."""
        self._pending[name] = reason or self._pending.get(name)
        self._reader.unpark_all()

    def end(self) -> None:
        """Nothing more will happen."""
        self._is_over = True
        self._reader.unpark_all()
