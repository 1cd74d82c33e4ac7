"""A processor that works beside the frames: not from set-up to cleanup, but from the start of a run to its end.

Within `async with pipeline:` a lifespan lasts for several runs, and its nursery too. What belongs to one run begins at
`StartFrame`; it ends when the processor says so, at the end as a rule, and at the latest when the run is over, also
when it was cut off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from trio_pipes.flow._frames import Frame
from trio_pipes.flow._processor import FrameProcessor

__all__ = ["WorksBeside"]


class WorksBeside(FrameProcessor):
    """Has work of its own in each run."""

    _nursery: trio.Nursery
    _work: trio.CancelScope | None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Room for the work."""
        self._work = None
        async with trio.open_nursery() as self._nursery:
            try:
                yield
            finally:
                self._nursery.cancel_scope.cancel(reason=f"{self.name} is closed")

    def _begin_work(self, *work: Callable[[], Awaitable[object]]) -> None:
        """Start these in the run that begins now."""
        self._end_work()
        self._work = trio.CancelScope()
        self._nursery.start_soon(self._do, self._work, work)

    def _end_work(self) -> None:
        if self._work is not None:
            self._work.cancel(reason=f"the run of {self.name} is over")

    async def _do(self, scope: trio.CancelScope, work: tuple[Callable[[], Awaitable[object]], ...]) -> None:
        held = self._held_by_block
        with scope:
            async with trio.open_nursery() as nursery:
                for each in work:
                    nursery.start_soon(each)
                if held is not None and held.given_back is not None:
                    await held.given_back.wait()
                    scope.cancel(reason=f"the run of {self.name} is over")

    def _report(self, exc: Exception, frame: Frame | None = None) -> None:
        """An error of the work: the task's failure, or an `ErrorFrame`, as for one of a handler."""
        self._running_node("work").failed(exc, frame)
