"""Branches side by side: a fork that hands frames to them, and a join that lets each frame out once.

A frame object that passes through several branches unchanged comes to the join once from each. The join lets
the first through. What it remembers for that lives as long as the frame itself, by a weak reference, so a
long session remembers nothing but the frames that are still somewhere.

Here every branch gets every frame. Other shapes are subclasses: `sides_for` of a fork says which branches an
ordered frame goes to. System and lifecycle frames always go to all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar
from weakref import ref

from ._frames import Direction, Frame, StartFrame
from ._node import Node
from ._processor import FrameProcessor

if TYPE_CHECKING:
    from ._contracts import Receiver, Run, Works

__all__ = ["ForkNode", "ForkSide", "Join", "JoinSide"]

DOWN = Direction.DOWNSTREAM


class _Once:
    """Tells whether a frame is the first of its passage through the branches to come out.

    A frame's nth time out of any branch is its nth passage; the first branch to get that far lets it through.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[int, tuple[ref[Frame], dict[int, int]]] = {}

    def lets_through(self, frame: Frame, branch: int) -> bool:
        key = id(frame)
        entry = self._seen.get(key)
        if entry is None:
            entry = self._seen[key] = (ref(frame, lambda _: self._seen.pop(key, None)), {})
        counts = entry[1]
        passage = counts.get(branch, 0) + 1
        first = passage > max(counts.values(), default=0)
        counts[branch] = passage
        return first


class ForkNode(Node):
    """Hands what comes down to every branch, and lets out once what comes up from them."""

    __slots__ = ("sides", "up_once")

    def __init__(self, processor: Works, branches: int) -> None:
        super().__init__(processor)
        self.sides: Sequence[ForkSide] = [ForkSide(self, i) for i in range(branches)]
        self.below = _Fan(self)

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.up_once = _Once()
        if type(self.processor).process_frame is FrameProcessor.process_frame:
            self.handler = self._hand_on

    async def _hand_on(self, frame: Frame, direction: Direction) -> None:
        """As the processor would by its push, without the detour at an ordinary moment."""
        if self.open and frame.interruptible is True and not self.engine.observed:
            await self.below.accept(frame, nowait=False)
        else:
            await self.push_slow(frame, direction)

    def sides_for(self, frame: Frame) -> Sequence[ForkSide]:
        """The branches that an ordered frame from above goes to."""
        return self.sides

    @property
    def may_be_unusable(self) -> bool:
        return False

    def takes_up(self, frame: Frame) -> bool:
        return False

    def takes_urgent(self, frame: Frame, direction: Direction) -> bool:
        return False

    def takes_lifecycle(self, frame: Frame) -> bool:
        return False


class _Fan:
    """What a fork has below it: all its branches."""

    def __init__(self, fork: ForkNode) -> None:
        self.fork = fork

    async def accept(self, frame: Frame, nowait: bool) -> None:
        for side in self.fork.sides_for(frame):
            await side.below.accept(frame, nowait)

    async def accept_lifecycle(self, frame: Frame) -> None:
        for side in self.fork.sides:
            await side.below.accept_lifecycle(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        for side in self.fork.sides:
            side.below.accept_urgent(frame, direction)

    def accept_up(self, frame: Frame) -> None:
        raise AssertionError("the sides of the fork get what comes up")


class ForkSide:
    """What the first processor of a branch has above it."""

    below: Receiver

    def __init__(self, fork: ForkNode, index: int) -> None:
        self.fork = fork
        self.index = index

    async def accept(self, frame: Frame, nowait: bool) -> None:
        raise AssertionError("the fan hands frames down")

    async def accept_lifecycle(self, frame: Frame) -> None:
        raise AssertionError("the fan hands frames down")

    def accept_up(self, frame: Frame) -> None:
        if self.fork.up_once.lets_through(frame, self.index):
            self.fork.above.accept_up(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        if self.fork.up_once.lets_through(frame, self.index):
            self.fork.above.accept_urgent(frame, direction)


class Join:
    """Where branches come together. Upwards it hands every frame to each of them."""

    above: Receiver  # nothing uses it: the sides know their branches
    below: Receiver
    runs_functions: ClassVar[bool] = True
    """Whether functions below may run within the pushes of the branches' last processors."""

    def __init__(self, processor: Works, branches: int) -> None:
        self.name = processor.name
        self.sides = [JoinSide(self, i) for i in range(branches)]
        self.fuses = self.runs_functions

    def attach(self, engine: Run) -> None:
        """Begin a run."""
        self.engine = engine
        self._down_once = _Once()
        self._arrived: dict[Frame, int] = {}  # lifecycle frames, and how many branches have handed them on
        self._passed_start = False
        self._early: list[Frame] = []  # from branches that have started before the others

    def passes(self, frame: Frame, branch: int) -> bool:
        """Whether a frame that comes out of a branch is let out here."""
        return self._down_once.lets_through(frame, branch)

    def open_above(self) -> Sequence[JoinSide]:
        """The branches that frames from below enter."""
        return self.sides

    async def out(self, frame: Frame, branch: int, nowait: bool) -> None:
        if not self.passes(frame, branch):
            return
        if self._passed_start:
            await self.below.accept(frame, nowait)
        else:
            self._early.append(frame)

    async def lifecycle_out(self, frame: Frame) -> None:
        count = self._arrived.get(frame, 0) + 1
        self._arrived[frame] = count
        if count < len(self.sides):
            return
        del self._arrived[frame]
        await self.below.accept_lifecycle(frame)
        if isinstance(frame, StartFrame):
            while self._early:
                await self.below.accept(self._early.pop(0), nowait=True)
            self._passed_start = True

    def urgent_out(self, frame: Frame, branch: int) -> None:
        if self.passes(frame, branch):
            self.below.accept_urgent(frame, DOWN)

    def drop_stale(self) -> int:
        kept = [frame for frame in self._early if not frame.interruptible]
        dropped = len(self._early) - len(kept)
        self._early = kept
        return dropped

    # -- from below

    def accept_up(self, frame: Frame) -> None:
        for side in self.open_above():
            side.above.accept_up(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        for side in self.open_above():
            side.above.accept_urgent(frame, direction)

    async def accept(self, frame: Frame, nowait: bool) -> None:
        raise AssertionError("the sides of the join get what comes down")

    async def accept_lifecycle(self, frame: Frame) -> None:
        raise AssertionError("the sides of the join get what comes down")


class JoinSide:
    """What the last processor of a branch has below it."""

    above: Receiver

    def __init__(self, join: Join, index: int) -> None:
        self.join = join
        self.index = index

    async def accept(self, frame: Frame, nowait: bool) -> None:
        await self.join.out(frame, self.index, nowait)

    async def accept_lifecycle(self, frame: Frame) -> None:
        await self.join.lifecycle_out(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        self.join.urgent_out(frame, self.index)

    def accept_up(self, frame: Frame) -> None:
        raise AssertionError("the join hands frames up")
