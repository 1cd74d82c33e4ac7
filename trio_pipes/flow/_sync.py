"""Branches in step: what they make of one frame comes out together, before what they make of the next.

# How it is known that a branch is done with a frame.
#
# Behind each frame the fork sends a marker into every branch. It is a lifecycle frame: the engine carries it, no
# processor is shown it, none can lose it, and at each processor it waits until the frame's handler has returned. So
# when it comes out at the join, everything the branch pushed for the frame has come out before it. The join keeps
# that back until the marker has come out of every branch; then the fork hands it on and takes its next frame.
#
# An interrupt makes frames stale, in the branches and among those kept back, and never a marker. The fork goes on to
# wait for its marker, which comes when the stopped handlers have ended, and only then takes a newer frame: nothing
# of the old frame, be it uninterruptible, can come out with the next one. Meanwhile the fork has the marker in hand,
# not the frame, so that an interrupt leaves it to its waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import trio
from trio.lowlevel import checkpoint_if_cancelled

from ._branches import DOWN, ForkNode, Join
from ._frames import Direction, FlushMarker, Frame

if TYPE_CHECKING:
    from ._contracts import Run, Works
    from ._statistics import NodeStatistics

__all__ = ["BatchMarker", "SyncForkNode", "SyncJoin"]


@attrs.define(eq=False)
class BatchMarker(FlushMarker):
    """Goes through every branch behind one frame, and no further than the join."""

    branches: Any = None  # the processor that has them


class SyncForkNode(ForkNode):
    """Hands each frame to all branches when they are done with the one before it."""

    __slots__ = ("in_branches", "join")

    join: SyncJoin

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.handler = self._pass_in_step
        self.in_branches: Frame | None = None

    def in_hand(self) -> tuple[Frame, float] | None:
        held = super().in_hand()
        return held if held is None or self.in_branches is None else (self.in_branches, held[1])

    def statistics(self) -> NodeStatistics:
        statistics = super().statistics()
        return attrs.evolve(statistics, handling=self.in_branches.name) if self.in_branches else statistics

    async def _pass_in_step(self, frame: Frame, direction: Direction) -> None:
        if self.engine.over:
            await checkpoint_if_cancelled()
            self.late_dropped += 1
            return
        self.tell_push(frame, DOWN)
        marker = BatchMarker(branches=self.processor)
        self.in_branches, self.inbox.frame = frame, marker
        self.join.open(marker)
        for side in self.sides:
            await side.below.accept(frame, nowait=True)  # the branches are empty
        await self.below.accept_lifecycle(marker)
        await self.join.release()
        self.in_branches = None


class SyncJoin(Join):
    """Keeps back what comes out of the branches for one frame until all are done with it."""

    runs_functions: ClassVar[bool] = False  # what it lets out is pushed by the fork's task

    def __init__(self, processor: Works, branches: int, *, in_order: bool) -> None:
        super().__init__(processor, branches)
        self._in_order = in_order

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self._marker: BatchMarker | None = None  # of the frame that is in the branches, or is being let out
        self._missing = 0  # branches that are not done with it
        self._done = trio.Event()
        self._kept: list[tuple[int, Frame]] = []  # each with its branch

    def open(self, marker: BatchMarker) -> None:
        """A frame goes into the branches."""
        self._marker = marker
        self._missing = len(self.sides)
        self._done = trio.Event()

    async def release(self) -> None:
        """Wait until all branches are done, and let out what they made of the frame."""
        await self._done.wait()
        if self._in_order:
            self._kept.sort(key=lambda entry: entry[0])
        while self._kept:
            branch, frame = self._kept.pop(0)
            await super().out(frame, branch, nowait=False)
        self._marker = None

    async def out(self, frame: Frame, branch: int, nowait: bool) -> None:
        if self._marker is None:
            await super().out(frame, branch, nowait)
            return
        self._kept.append((branch, frame))
        if len(self._kept) > self.engine.params.lane_limit:
            self.engine.flood(self.name, "to come out together", len(self._kept))

    async def lifecycle_out(self, frame: Frame) -> None:
        if frame is not self._marker:
            await super().lifecycle_out(frame)
            return
        self._missing -= 1
        if not self._missing:
            self._done.set()

    def drop_stale(self) -> int:
        kept = [entry for entry in self._kept if not entry[1].interruptible]
        dropped = len(self._kept) - len(kept)
        self._kept = kept
        return dropped + super().drop_stale()
