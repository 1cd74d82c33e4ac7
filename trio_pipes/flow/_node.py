"""A node: one processor in a run, as its neighbours know it.

What it is at the moment is in `_place`, what it does with a frame that is its turn in `_handling`; here is the traffic. A node is asked to *accept* what comes to it (from above or below) and to *push* what its processor emits.
What it does not take it hands to its neighbour at once, so a frame costs nothing at a processor that has no
use for it. The common case, an ordinary frame going down, is not handled here but by the closures of
`_short_ways`; `push_slow` is the whole truth, and a hop takes the short way only while `node.quick` is True.
"""

from __future__ import annotations

from trio.lowlevel import checkpoint, checkpoint_if_cancelled

from ._check import check_frame
from ._contracts import Receiver
from ._frames import (
    LIFECYCLE,
    URGENT,
    CancelFrame,
    CancelTaskFrame,
    Direction,
    EndTaskFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    InterruptionTaskFrame,
    PauseUrgentFrame,
    ResumeFrame,
    StopTaskFrame,
)
from ._handling import Handling
from ._lane import Lane
from ._place import DOWN, UP
from ._turn import FRAMES_A_TURN

__all__ = ["Node"]

# Asked of the task, whichever way they are pushed; they act where they are pushed.
REQUESTS = (EndTaskFrame, StopTaskFrame, CancelTaskFrame, InterruptionTaskFrame, CancelFrame)


class Node(Handling):
    """One processor in one pipeline, as its neighbours know it."""

    __slots__ = ()

    # -- frames that come

    async def accept(self, frame: Frame, nowait: bool) -> None:
        if self.shares_task:
            if self._may_be_handed(frame):
                await self.deliver(frame)
                return
            self.attention = True  # whoever has a frame in hand here leaves this one to the pool
        if nowait:
            self.inbox.put(frame)
        else:
            await self.inbox.put_or_wait(frame)

    def _may_be_handed(self, frame: Frame) -> bool:
        """Whether the head's task, and nobody else, pushes to an idle node, and an interrupt may stop it all."""
        head = self.head.inbox
        return (
            frame.interruptible is True
            and self.frame is None
            and self.is_free()
            and head.coro is not None
            and head.coro.cr_running
            and head.frame is not None
            and head.frame.interruptible is True
        )

    async def deliver(self, frame: Frame) -> None:
        """Handle a frame within the task of the one who pushed it."""
        self.frame = frame
        self.quick = self.open
        try:
            await self.handle(frame, DOWN)
        finally:
            self.frame = None
            self.look_up()

    async def stop_reading(self) -> bool:
        """Look up while the several frames of a row of functions are read; True: leave them, they are stale."""
        self.look_up()
        await checkpoint_if_cancelled()
        return False

    async def accept_lifecycle(self, frame: Frame) -> None:
        # Never handed over within the task: a deadline of the pusher's round its push must not reach into it.
        self.inbox.put_behind_all(frame)

    def accept_up(self, frame: Frame) -> None:
        node: Receiver = self
        while isinstance(node, Node) and not node.takes_up(frame):
            node = node.above
        if isinstance(node, Node):
            if node.up is None:
                node.up = Lane(node, UP)
            node.up.put(frame)
        else:
            node.accept_up(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        node: Receiver = self
        while isinstance(node, Node) and not node.takes_urgent(frame, direction):
            node = node.below if direction is DOWN else node.above
        if isinstance(node, Node):
            node.urgent_lane(direction).put(frame)
        else:
            node.accept_urgent(frame, direction)

    # -- frames that go

    async def push_slow(self, frame: Frame, direction: Direction = DOWN, *, told: bool = False) -> None:
        """Push, with everything that has to be looked at; `told`: whoever watches knows of it.

        The closures of `_short_ways` are the short way.
        """
        engine = self.engine
        check_frame(frame, direction, self.name)
        if self.dormant and self.shown is None and not self.started:
            self.late_dropped += 1
            await checkpoint()
            return
        if frame._lane == LIFECYCLE:
            await self._push_lifecycle(frame)
            return
        nowait = False
        if engine.over:  # a handler that ought to have ended, or one who cleans up: may it push in a loop
            self.late_dropped += 1
            await checkpoint()
            return
        if self.unwinding and (lane := engine.lane_here()) is not None and lane.stop and self in lane.stack:
            if frame.interruptible:
                self.stale_dropped += 1
                await checkpoint()
                return
            nowait = True  # a wait would be cancelled, and with it the frame lost
        if not told:
            self.tell_push(frame, direction)
        if frame._lane != URGENT:
            if direction is UP:
                self.above.accept_up(frame)
            elif not self.passed_start:
                self._push_early(frame)
            elif self.ended:
                self.late_dropped += 1
            elif self.functions and engine.lane_here() in (self.head.inbox, self.inbox):
                await self._accept_by_functions(frame, nowait)
            else:
                await self.below.accept(frame, nowait)
        else:
            self._push_urgent(frame, direction)
        if nowait:
            return
        self.pushes += 1
        if self.pushes >= FRAMES_A_TURN - 1 or engine.turn.spent():  # one has taken the short way
            self.pushes = 0
            await self.give_way()

    def tell_push(self, frame: Frame, direction: Direction) -> None:
        """Tell of a push, if somebody wants to know."""
        watch = self.engine.observed
        if watch is not None and watch.pushed is not None:
            watch.pushed(self.processor, frame, direction)

    async def _accept_by_functions(self, frame: Frame, nowait: bool) -> None:
        """As `_to_chain` of `_short_ways`: a function may ask for an interrupt, and this handler waits for it."""
        self.chaining = True
        try:
            await self.below.accept(frame, nowait)
        finally:
            self.chaining = False
            if self.attention or self.returning is not None:  # behind a join the reader is not this node
                self.look_up()

    async def give_way(self) -> None:
        """Let others have a turn, unless they have had one since this was called last."""
        turn = self.engine.turn
        if self.turn_number == turn.number or turn.spent():
            self.engine.check_stall(self.head, turn.began)
            await checkpoint()
        self.turn_number = turn.number

    def _push_early(self, frame: Frame) -> None:
        self.early.append(frame)
        if len(self.early) > self.engine.params.lane_limit:
            self.engine.flood(self.name, "pushed before StartFrame", len(self.early))

    def push_kept(self, frame: Frame, direction: Direction) -> None:
        """Push what was pushed before there was a run: a block held the processor open."""
        if frame._lane != LIFECYCLE:
            self.tell_push(frame, direction)
        if frame._lane == LIFECYCLE:
            self.engine.request(frame)
        elif frame._lane == URGENT:
            self._push_urgent(frame, direction)
        elif direction is UP:
            self.above.accept_up(frame)
        else:
            self._push_early(frame)

    async def _push_lifecycle(self, frame: Frame) -> None:
        if frame is self.shown:
            await self.carry(frame)
        elif not self.engine.is_own(frame):
            self.engine.request(frame)
            await checkpoint_if_cancelled()

    def _push_urgent(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, InterruptionFrame):
            if not frame._given:
                self.engine.request(frame)
        elif isinstance(frame, REQUESTS):
            self.engine.request(frame)
        elif isinstance(frame, PauseUrgentFrame | ResumeFrame):
            self.engine.pause_or_resume(frame)
        elif isinstance(frame, ErrorFrame) and frame.fatal:
            self.engine.fail_with(frame)
        else:
            (self.below if direction is DOWN else self.above).accept_urgent(frame, direction)
