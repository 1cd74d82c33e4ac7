"""The children of one worker, on its runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .._roster import Entry
    from .._runner import PipelineRunner
    from .._worker import Worker

__all__ = ["Children"]


class Children:
    """Workers that belong to the worker `name`."""

    def __init__(self) -> None:
        self.name = ""
        self.runner: PipelineRunner | None = None
        self._fewer = trio.lowlevel.ParkingLot()

    def _entries(self) -> tuple[Entry, ...]:
        return () if self.runner is None else self.runner._roster.children_of(self.name)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """In the order they were added."""
        return tuple(entry.worker for entry in self._entries())

    def one_is_over(self) -> None:
        """What the runner says."""
        self._fewer.unpark_all()

    def cancel(self, reason: str | None) -> None:
        """End them now."""
        for entry in reversed(self._entries()):
            assert self.runner is not None
            self.runner._ask(entry, "cancel", reason)

    async def see_off(self) -> None:
        """Ask them to end, the last one first, and wait until all have."""
        while entries := self._entries():
            for entry in reversed(entries):
                if not entry.is_told:
                    assert self.runner is not None
                    self.runner._ask(entry, "stop_when_done", None)
            await self._fewer.park()
