"""A processor's place in a run: its lanes, its neighbours, where it is in its life, and what that allows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from ._frames import (
    Direction,
    Frame,
    InterruptionFrame,
)
from ._lane import Inbox, Lane
from ._pause import NO_PAUSES, Pause
from ._statistics import NodeStatistics, lane_statistics, metrics_statistics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

    from ._contracts import Receiver, Row, Run, Works

__all__ = ["Place"]

DOWN = Direction.DOWNSTREAM
UP = Direction.UPSTREAM

# What `open` and `quick` are where somebody watches: the short ways that do not tell ask for True itself. A push may be
# kept by its user for longer than it is the right one.
WATCHED: Final = 2


class Place(ABC):
    """What is known of one processor in one run, and what may be done there now."""

    __slots__ = (
        "above",
        "attention",
        "below",
        "chaining",
        "dormant",
        "early",
        "ended",
        "engine",
        "foreign",
        "frame",
        "functions",
        "handler",
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
    head: Any
    handler: Callable[[Frame, Direction], Awaitable[None]]
    process: Callable[[Frame, Direction], Awaitable[None]]
    """The handler, and what tells of it while somebody watches."""
    push: Callable[..., Awaitable[None]]

    def __init__(self, processor: Works) -> None:
        self.processor = processor
        self.name = processor.name
        self.functions: tuple[Any, ...] = ()  # synchronous functions that run within this node's pushes
        self.members: list[Any] = []  # of a head: the nodes below that share its task, in order
        self.shares_task = False
        self.pauses: frozenset[Pause] = NO_PAUSES  # who pauses it
        self.row: Row | None = None  # of a synchronous function: the compiled row of functions that begins here

    def attach(self, engine: Run) -> None:
        """Begin a run."""
        self.engine = engine
        self.handler = self.processor._handler()
        self.inbox = self._make_inbox(engine.params.queue_size)
        self.inbox.limit = engine.params.lane_limit
        self.up: Lane | None = None
        self.urgent_down: Lane | None = None
        self.urgent_up: Lane | None = None
        self.frame: Frame | None = None  # in hand, when it was handed over within the head's task
        self.quick: int = False  # the next push may take the short way
        self.open: int = False  # pushes may take the short way at all: True, or WATCHED, which is another for who tells
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
        self.dormant = False  # held by a block that has had a run: until StartFrame what is pushed belongs to none

    def _make_inbox(self, bound: int) -> Inbox:
        return Inbox(self, bound)

    def bind(self) -> None:
        """Give the processor the push that was made."""
        self.processor._bind(self)

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

    # -- its lanes

    def urgent_lane(self, direction: Direction) -> Lane:
        if direction is DOWN:
            if self.urgent_down is None:
                self.urgent_down = Lane(self, DOWN, urgent=True)
            return self.urgent_down
        if self.urgent_up is None:
            self.urgent_up = Lane(self, UP, urgent=True)
        return self.urgent_up

    def is_free(self) -> bool:
        """Nothing waits or is on hold in the ordered downstream direction."""
        inbox = self.inbox
        waits = self.hold or self.pauses or self.unusable or inbox.active or inbox.q or self.urgent_first(DOWN)
        return self.started and not waits

    @property
    def pusher(self) -> Place | None:
        """The node whose processor pushes here now; None when frames come from outside."""
        if isinstance(self.above, Place):
            return self.above
        lane = self.engine.lane_here()  # the end of branches is above: whoever works here and now
        return lane.node if lane is not None and isinstance(lane.node, Place) else None

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

    @abstractmethod
    async def take(self, frame: Frame, direction: Direction) -> None:
        """Handle a frame of any kind."""

    @abstractmethod
    def failed(self, exc: Exception, frame: Frame | None) -> None:
        """An exception in this processor: the task's failure, or a report, as the policy says."""

    def tell_pusher(self) -> None:
        """Have the node above see whether this one may be handed frames."""
        if self.shares_task and isinstance(self.above, Place):
            self.above.refresh()

    def refresh(self) -> None:
        """Work out again whether pushes may take the short way, and whether the inbox has to look up."""
        engine, below = self.engine, self.below
        free = self.passed_start and not (self.ended or self.unwinding or self.foreign or engine.over)
        if isinstance(below, Place) and below.shares_task and not (free and below.is_free()):
            free = False
            if below.frame is not None:
                below.attention = True
        self.open = free and (True if engine.observed is None else WATCHED)
        if not free:
            self.quick = False
        self.inbox.attention = bool(
            self.hold
            or engine.over
            or self.inbox.stop
            or self.inbox.outdated
            or self.pauses
            or self.unusable
            or self.urgent_first(DOWN)
        )

    def watch_changed(self) -> None:
        """There is another push and another handler, because somebody begins or stops to watch."""
        self.quick = False  # who has kept the push of before goes the slow way with it, where all is looked at
        self.inbox.outdated = True
        self.refresh()

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

    def start_lanes(self) -> None:
        for lane in (self.urgent_down, self.urgent_up, self.up, self.inbox):
            if lane is not None:
                lane.start()

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
            metrics=metrics_statistics(self.processor, self),
        )
