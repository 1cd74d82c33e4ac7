"""The children of one worker, on its runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .._worker import Host, Worker

__all__ = ["Children"]


class Children:
    """Workers that belong to the worker `name`."""

    def __init__(self) -> None:
        self.name = ""
        self.runner: Host | None = None
        self._fewer = trio.lowlevel.ParkingLot()

    @property
    def workers(self) -> tuple[Worker, ...]:
        """In the order they were added."""
        return () if self.runner is None else self.runner._children_of(self.name)

    def one_is_over(self) -> None:
        """What the runner says."""
        self._fewer.unpark_all()

    def cancel(self, reason: str | None) -> None:
        """End them now."""
        if self.runner is not None:
            self.runner._ask_children(self.name, "cancel", reason)

    async def see_off(self) -> None:
        """Ask them to end, the last one first, and wait until all have."""
        while self.workers:
            assert self.runner is not None
            self.runner._ask_children(self.name, "stop_when_done", None)
            await self._fewer.park()
