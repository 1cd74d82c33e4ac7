"""A node: one processor's place in a run, with its neighbours, its lanes and where it is in its life.

A node is asked to *accept* what comes to it (from above or below) and to *push* what its processor emits.
What it does not take it hands to its neighbour at once, so a frame costs nothing at a processor that has no
use for it. The common case, an ordinary frame going down, is not handled here but by the closures of
`_hop`; `push_slow` is the whole truth, and a hop takes the short way only while `node.quick` is True.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio.lowlevel import checkpoint, checkpoint_if_cancelled

from ._check import check_frame
from ._deadline import by_deadline, has_deadline
from ._frames import (
    ADDRESSED,
    LIFECYCLE,
    ORDERED,
    URGENT,
    CancelFrame,
    CancelTaskFrame,
    Direction,
    EndTaskFrame,
    ErrorFrame,
    FlushMarker,
    Frame,
    InterruptionFrame,
    InterruptionTaskFrame,
    PauseUrgentFrame,
    ResumeFrame,
    StopTaskFrame,
)
from ._lane import Inbox, Lane
from ._params import ErrorPolicy
from ._pause import BY_CALL, NO_PAUSES, Pause, add_pause
from ._statistics import NodeStatistics, lane_statistics
from ._turn import FRAMES_A_TURN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

    from ._contracts import Receiver, Row, Run, Works

__all__ = ["Node"]

DOWN = Direction.DOWNSTREAM
UP = Direction.UPSTREAM

# Asked of the task, whichever way they are pushed; they act where they are pushed.
REQUESTS = (EndTaskFrame, StopTaskFrame, CancelTaskFrame, InterruptionTaskFrame, CancelFrame)


class Node:
    """One processor in one pipeline."""

    __slots__ = (
        "above",
        "attention",
        "below",
        "chaining",
        "early",
        "ended",
        "engine",
        "foreign",
        "frame",
        "functions",
        "head",
        "hold",
        "inbox",
        "late_dropped",
        "members",
        "name",
        "open",
        "passed_start",
        "pauses",
        "process",
        "processor",
        "push",
        "pushes",
        "quick",
        "resumed",
        "returning",
        "row",
        "shares_task",
        "shown",
        "stale_dropped",
        "started",
        "turn_number",
        "unusable",
        "unwinding",
        "up",
        "urgent_down",
        "urgent_up",
    )

    engine: Run
    above: Receiver
    below: Receiver
    head: Node
    process: Callable[[Frame, Direction], Awaitable[None]]
    push: Callable[..., Awaitable[None]]

    def __init__(self, processor: Works) -> None:
        self.processor = processor
        self.name = processor.name
        self.functions: tuple[Node, ...] = ()  # synchronous functions that run within this node's pushes
        self.members: list[Node] = []  # of a head: the nodes below that share its task, in order
        self.shares_task = False
        self.pauses: frozenset[Pause] = NO_PAUSES  # who pauses it
        self.row: Row | None = None  # of a synchronous function: the compiled row of functions that begins here

    def attach(self, engine: Run) -> None:
        """Begin a run."""
        self.engine = engine
        self.process = self.processor._handler()
        self.inbox = self._make_inbox(engine.params.queue_size)
        self.inbox.limit = engine.params.lane_limit
        self.up: Lane | None = None
        self.urgent_down: Lane | None = None
        self.urgent_up: Lane | None = None
        self.frame: Frame | None = None  # in hand, when it was handed over within the head's task
        self.quick = False  # the next push may take the short way
        self.open = False  # pushes may take the short way at all
        self.pushes = 0  # since the last time a push of this node gave way to others
        self.turn_number = 0  # the turn in which that was
        self.foreign = 0  # lanes that are in line or served, the head's own aside
        self.attention = False  # look up when the handler returns
        self.started = False  # StartFrame has been handled
        self.shown: Frame | None = None  # the lifecycle frame that is here and has not been handed on
        self.passed_start = False
        self.ended = False  # the last frame has been handed on
        self.early: list[Frame] = []  # pushed before StartFrame was handed on
        self.hold = 0  # InterruptionFrames that must be handled before anything newer
        self.unwinding = 0  # handlers of this node that an interrupt has stopped and that have not ended
        self.chaining = False  # a push of this node is inside the functions fused below it
        self.returning: Lane | None = None  # when this node's handler returns, those that wait in this lane are stopped
        self.pauses = NO_PAUSES
        self.resumed: trio.Event | None = None  # for those who wait for the end of the pauses
        self.unusable: str | None = None  # why frames pass by
        self.stale_dropped = 0
        self.late_dropped = 0

    def _make_inbox(self, bound: int) -> Inbox:
        return Inbox(self, bound)

    # -- what this node takes; the kinds of processor answer differently

    @property
    def may_pause(self) -> bool:
        """Whether it can be paused by itself."""
        return True

    @property
    def may_be_unusable(self) -> bool:
        """Whether frames can pass by it alone."""
        return self.may_pause

    def takes_up(self, frame: Frame) -> bool:
        return True

    def takes_urgent(self, frame: Frame, direction: Direction) -> bool:
        return True

    def takes_lifecycle(self, frame: Frame) -> bool:
        return True

    @property
    def has_own_lane(self) -> bool:
        """Whether ordered frames that come down are served by the pool, and not within the pushes of the node above."""
        return not self.shares_task

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

    def is_free(self) -> bool:
        """Nothing waits or is on hold in the ordered downstream direction."""
        inbox = self.inbox
        waits = self.hold or self.pauses or self.unusable or inbox.active or inbox.q or self.urgent_first(DOWN)
        return self.started and not waits

    async def deliver(self, frame: Frame) -> None:
        """Handle a frame within the task of the one who pushed it."""
        self.frame = frame
        self.quick = self.open
        try:
            await self.handle(frame, DOWN)
        finally:
            self.frame = None
            self.look_up()

    def look_up(self) -> None:
        """Something happened while the handler had a frame that was handed to it, or read what a row gave."""
        self.attention = False
        if self.returning:
            self._returned()
        self.inbox.start()
        self.tell_pusher()

    def _returned(self) -> None:
        """The handler that asked for an interrupt has returned: stop those that waited for it."""
        lane, self.returning = self.returning, None
        assert lane is not None
        lane.stop = True
        self.head.refresh()
        self.refresh()
        if lane.scope is not None:
            lane.scope.cancel(reason=f"interrupt of {self.engine.name}")

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

    def urgent_lane(self, direction: Direction) -> Lane:
        if direction is DOWN:
            if self.urgent_down is None:
                self.urgent_down = Lane(self, DOWN, urgent=True)
            return self.urgent_down
        if self.urgent_up is None:
            self.urgent_up = Lane(self, UP, urgent=True)
        return self.urgent_up

    # -- lanes ask

    def may_take(self, lane: Lane) -> bool:
        """Whether the first frame of `lane` may be handled now."""
        if lane is self.inbox:
            return not (self.hold or (self.pauses and self.started) or self.frame is not None)
        if not self.started:
            return False
        if lane is self.urgent_down:
            first = lane.q[0]
            return not (self.unwinding and type(first) is InterruptionFrame and first._given)
        return not self.hold

    def urgent_first(self, direction: Direction) -> bool:
        """Whether a system frame came before, and its handler has not begun yet."""
        lane = self.urgent_down if direction is DOWN else self.urgent_up
        return lane is not None and lane.active and lane.frame is None and bool(lane.q)

    def lane_busy(self, lane: Lane) -> None:
        if lane is not self.inbox or self.shares_task:
            self.foreign += 1
            self.refresh()
            self.tell_pusher()

    def lane_idle(self, lane: Lane) -> None:
        if lane is not self.inbox or self.shares_task:
            self.foreign -= 1
            self.refresh()
            self.tell_pusher()
        self.engine.check_quiet()

    def tell_pusher(self) -> None:
        """Have the node above see whether this one may be handed frames."""
        if self.shares_task and isinstance(self.above, Node):
            self.above.refresh()

    def refresh(self) -> None:
        """Work out again whether pushes may take the short way, and whether the inbox has to look up."""
        engine, below = self.engine, self.below
        free = self.passed_start and not (
            self.ended or self.unwinding or self.foreign or engine.over or engine.observed
        )
        if isinstance(below, Node) and below.shares_task and not (free and below.is_free()):
            free = False
            if below.frame is not None:
                below.attention = True
        self.open = free
        if not free:
            self.quick = False
        self.inbox.attention = bool(
            self.hold
            or engine.over
            or engine.observed
            or self.inbox.stop
            or self.pauses
            or self.unusable
            or self.urgent_first(DOWN)
        )

    # -- handling

    async def take(self, frame: Frame, direction: Direction) -> None:
        """Handle a frame of any kind."""
        if self.members and frame.interruptible is not True:
            # What is handed over within the task is stopped with the frame in hand, and this one is not; or it would
            # be stopped by its deadline.
            self.foreign += 1
            self.refresh()
            try:
                await self._take(frame, direction)
            finally:
                self.foreign -= 1
                self.refresh()
        else:
            await self._take(frame, direction)

    async def _take(self, frame: Frame, direction: Direction) -> None:
        lane = frame._lane
        if lane == ORDERED:
            if self.unusable is None:
                await self.handle(frame, direction)
            else:
                await self.pass_by(frame, direction)
        elif lane == LIFECYCLE:
            await self.lifecycle(frame)
        elif lane == ADDRESSED and self.is_meant(frame):
            add_pause(self, BY_CALL)
        elif type(frame) is InterruptionFrame and frame._given:
            await self.interrupted(frame)
        else:
            await self.handle(frame, direction)

    async def pass_by(self, frame: Frame, direction: Direction) -> None:
        """Hand a frame on that the processor is not shown, because it is unusable."""
        await self.push(frame, direction)

    def is_meant(self, frame: Frame) -> bool:
        """Whether a frame that names a processor names this one."""
        named = getattr(frame, "processor", None)
        return self.may_pause and (named is self.processor or named == self.name)

    async def handle(self, frame: Frame, direction: Direction) -> None:
        try:
            if has_deadline(frame):
                await by_deadline(self.process, frame, direction, self.name)
            else:
                await self.process(frame, direction)
        except Exception as exc:  # noqa: BLE001  (handed on: it fails the task or becomes an ErrorFrame)
            self.failed(exc, frame)
        if self.engine.observed:
            self.engine.observed.on_frame_handled(self.processor, frame, direction)

    async def lifecycle(self, frame: Frame) -> None:
        """Show a lifecycle frame to the processor and see that it goes on, once."""
        self.shown = frame
        if not isinstance(frame, FlushMarker) and self.takes_lifecycle(frame):
            await self.handle(frame, DOWN)
        if not self.engine.over:
            await self.carry(frame)

    def _has_started(self) -> None:
        self.started = True
        inbox = self.inbox
        inbox.limit = 0 if inbox.waiting else inbox.bound
        if self.urgent_down is not None:  # interrupts that came before the start are handled before all else
            self.hold += sum(type(frame) is InterruptionFrame and frame._given for frame in self.urgent_down.q)
        self.refresh()
        self.tell_pusher()
        self.start_lanes()

    def start_lanes(self) -> None:
        for lane in (self.urgent_down, self.urgent_up, self.up, self.inbox):
            if lane is not None:
                lane.start()

    async def carry(self, frame: Frame) -> None:
        """Hand on the lifecycle frame that is shown; a second time does nothing."""
        if self.shown is not frame:
            return
        self.shown = None
        if frame is self.engine.last:
            self.ended = self.inbox.terminal = True
            self.refresh()
        elif frame is self.engine.start:
            self._has_started()  # who hands it on has handled it, and may wait for an answer from below
        await self._carry_on(frame)
        if frame is self.engine.start:
            while self.early:
                await self.below.accept(self.early.pop(0), nowait=True)
            self.passed_start = True
            self.refresh()

    async def _carry_on(self, frame: Frame) -> None:
        """Past the functions that run within this node's pushes: they are not shown lifecycle frames."""
        passed: list[Node] = [self]
        while isinstance(passed[-1].below, Node) and passed[-1].below in self.functions:
            passed.append(passed[-1].below)
        for node in passed[1:]:
            if frame is self.engine.last:
                node.ended = True
            elif frame is self.engine.start:
                node.started = node.passed_start = True
            node.refresh()
        await passed[-1].below.accept_lifecycle(frame)

    def failed(self, exc: Exception, frame: Frame | None) -> None:
        """An exception in this processor: the task's failure, or a report, as the policy says."""
        self.note(exc, frame)
        policy = self.processor.on_error or self.engine.params.on_error
        if policy is ErrorPolicy.REPORT and not self.engine.over:
            self.report(ErrorFrame(error=str(exc) or repr(exc), exception=exc, processor=self.processor))
        else:
            text = str(exc) or repr(exc)
            self.engine.owner.error_reported(ErrorFrame(text, exception=exc, processor=self.processor, fatal=True))
            self.engine.fail(exc)

    def note(self, exc: Exception, frame: Frame | None) -> None:
        """Write into an error where it happened."""
        at = f", frame {frame.name}" if frame is not None and hasattr(frame, "id") else ""
        exc.add_note(f"in processor {self.name!r}{at}, of {self.engine.name!r}")

    def report(self, frame: ErrorFrame) -> None:
        """Send an error upstream; a fatal one ends the task here and now."""
        if frame.fatal:
            self.engine.fail_with(frame)
        elif not self.engine.over:
            self.above.accept_urgent(frame, UP)

    # -- interrupts

    async def interrupted(self, frame: InterruptionFrame) -> None:
        """Tell the processor, then let newer frames in."""
        try:
            await self.processor.on_interrupt()
            await self.process(frame, DOWN)
        except Exception as exc:  # noqa: BLE001  (handed on)
            self.failed(exc, frame)
        finally:
            self.hold -= 1
            self.refresh()
            self.tell_pusher()
            if not self.hold:
                self.start_lanes()
        self.engine.check_quiet()

    def forget_returning(self, lane: Lane) -> None:
        """The handlers that a lane's server ran have ended: none of them is waited for any more."""
        for node in (self, *self.members):
            if node.returning is lane:
                node.returning = None

    def has_unwound(self) -> None:
        self.unwinding -= 1
        self.refresh()
        self.tell_pusher()
        if not self.unwinding and self.urgent_down is not None:
            self.urgent_down.start()

    # -- frames that go

    async def push_slow(self, frame: Frame, direction: Direction = DOWN) -> None:
        """Push, with everything that has to be looked at. The closures of `_hop` are the short way."""
        engine = self.engine
        check_frame(frame, direction, self.name)
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
        if engine.observed:
            engine.observed.on_frame_pushed(self.processor, frame, direction)
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

    async def _accept_by_functions(self, frame: Frame, nowait: bool) -> None:
        """As `_to_chain` of `_hop`: a function may ask for an interrupt, and this handler waits for it."""
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
        if self.engine.observed and frame._lane != LIFECYCLE:
            self.engine.observed.on_frame_pushed(self.processor, frame, direction)
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

    # -- looked at from outside

    def busy(self) -> bool:
        """Whether a frame is here or a handler runs."""
        lanes = (self.up, self.urgent_down, self.urgent_up)
        return bool(
            self.frame is not None
            or self.hold
            or self.inbox.q
            or self.inbox.frame is not None
            or self.inbox.waiting
            or (self.shares_task and self.inbox.active)
            or any(lane is not None and (lane.q or lane.active) for lane in lanes)
        )

    def in_hand(self) -> tuple[Frame, float] | None:
        """The frame that is handled here, and since when (Trio's clock); for the texts of timeouts."""
        if self.frame is not None:
            return self.frame, self.head.inbox.since
        for lane in (self.inbox, self.up, self.urgent_down, self.urgent_up):
            if lane is not None and lane.frame is not None:
                return lane.frame, lane.since
        return None

    def statistics(self) -> NodeStatistics:
        frame = self.frame or self.inbox.frame
        return NodeStatistics(
            name=self.name,
            downstream=lane_statistics(self.inbox),
            upstream=lane_statistics(self.up),
            urgent_downstream=lane_statistics(self.urgent_down),
            urgent_upstream=lane_statistics(self.urgent_up),
            waiting=len(self.inbox.waiting),
            handling=None if frame is None else frame.name,
            stale_dropped=self.stale_dropped,
            late_dropped=self.late_dropped,
            paused=bool(self.pauses),
            unusable=self.unusable,
        )
