"""`each(concurrency=n)`: several frames inside one function at once.

# How it works.
#
# The inbox hands frames out; each is then handled by a lane of its own, which lasts as long as the frame is here. Being
# lanes, they are served by the pool, in the order in which their frames came, and are found by whatever looks for
# handlers: an interrupt stops each whose frame is stale, and what it pushes then is dropped.
#
# Order is kept where frames leave: a push of an ordered frame first waits until every frame that came before has gone.
# A frame that the function does not take, or that it drops, has its place in that order too. So that results which wait
# do not keep the function idle, twice as many frames are let in as may be inside it; that is the bound.
#
# Lifecycle frames wait for everything that is here. Functions and processors below never share the task of one of these
# lanes: there is not one task that an interrupt could stop with all that runs in it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import trio
from trio.lowlevel import ParkingLot, current_task

from ._deadline import by_deadline, has_deadline
from ._frames import ADDRESSED, ORDERED, Direction, Frame
from ._lane import Inbox, Lane
from ._node import Node
from ._watch import told_of_handling

if TYPE_CHECKING:
    from ._contracts import Run, Serves
    from ._statistics import NodeStatistics

__all__ = ["ConcurrentNode", "Flight"]

DOWN = Direction.DOWNSTREAM


class Flight(Lane):
    """One frame on its way through the function."""

    __slots__ = ("inside", "takes", "turn")

    node: ConcurrentNode

    def __init__(self, node: ConcurrentNode, *, takes: bool) -> None:
        super().__init__(node, DOWN)
        self.takes = takes  # the function does; otherwise the frame only keeps its place
        self.inside = takes  # counts as one that is in the function
        self.turn: trio.Event | None = None  # what it waits for, when it waits for those before it

    async def drain(self, until: float) -> None:
        if self.q:  # an interrupt may have taken it out
            self.frame = self.q.popleft()
            self.since = self.node.engine.turn.now
            await self.node.work_on(self.frame, takes=self.takes)
            self.frame = None

    def leave(self, server: Serves) -> None:
        super().leave(server)
        self.node.landed(self)

    async def wait_turn(self) -> None:
        """Wait until every frame that came before has gone."""
        while self.node.flights[0] is not self:
            self.turn = trio.Event()
            await self.turn.wait()


class _Inbox(Inbox):
    """The inbox, with those frames that have been handed out and not begun."""

    def drop_stale(self) -> int:
        node: Any = self.node
        begun: int = sum(flight.drop_stale() for flight in node.flights)
        return super().drop_stale() + begun


class ConcurrentNode(Node):
    """The node of a function that may be inside several frames at once."""

    __slots__ = ("changed", "concurrency", "flights", "inside", "ordered", "types")

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.types: tuple[type[Frame], ...] = processor.types
        self.concurrency: int = processor.concurrency
        self.ordered: bool = processor.ordered

    def _make_inbox(self, bound: int) -> Inbox:
        return _Inbox(self, bound)

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.handler = self._hand_out
        self.flights: deque[Flight] = deque()  # in the order in which their frames came
        self.inside = 0  # of them, those that are in the function
        self.changed = ParkingLot()  # where the inbox's task waits until one has left

    def choose_handler(self) -> None:
        self.process = self.handler  # each flight tells of itself

    def takes_up(self, frame: Frame) -> bool:
        return False

    def takes_urgent(self, frame: Frame, direction: Direction) -> bool:
        return False

    def takes_lifecycle(self, frame: Frame) -> bool:
        return False

    def refresh(self) -> None:
        super().refresh()
        self.open = self.quick = 0  # every push asks whose turn it is
        self.changed.unpark_all()

    # -- in the task of the inbox

    async def pass_by(self, frame: Frame, direction: Direction) -> None:
        await self._hand_out(frame, direction)

    async def handle(self, frame: Frame, direction: Direction) -> None:
        await self._hand_out(frame, direction)

    async def _hand_out(self, frame: Frame, direction: Direction) -> None:
        takes = self.unusable is None and isinstance(frame, self.types)
        if not takes and not (self.ordered and self.flights):
            await self.work_on(frame, takes=False)
            return
        while self.pauses or self._is_full(takes=takes):
            await self.changed.park()
        if self.inbox.stop:
            return  # an interrupt came when the wait had just ended
        flight = Flight(self, takes=takes)
        self.inside += takes
        self.flights.append(flight)
        flight.put(frame)

    def _is_full(self, *, takes: bool) -> bool:
        return len(self.flights) >= 2 * self.concurrency or (takes and self.inside >= self.concurrency)

    async def lifecycle(self, frame: Frame) -> None:
        while self.flights:
            await self.changed.park()
        await super().lifecycle(frame)

    # -- the lanes of flights

    def may_take(self, lane: Lane) -> bool:
        return isinstance(lane, Flight) or super().may_take(lane)

    def lane_busy(self, lane: Lane) -> None: ...

    def lane_idle(self, lane: Lane) -> None:
        self.engine.check_quiet()

    async def work_on(self, frame: Frame, *, takes: bool) -> None:
        """Handle a frame, in the task of its flight; or hand on one that nothing is before."""
        work = self.processor.process_frame if takes else self.push
        watch = self.engine.observed
        if watch is not None and watch.of_handling:
            work = told_of_handling(self, work)
        try:
            if has_deadline(frame):
                await by_deadline(work, frame, DOWN, self.name)
            else:
                await work(frame, DOWN)
        except Exception as exc:  # noqa: BLE001  (handed on: it fails the task or becomes an ErrorFrame)
            self.failed(exc, frame)

    def left_function(self) -> None:
        """The function has returned to the flight that calls this: another frame may go in."""
        flight = self._flight_here()
        if flight is not None and flight.inside:
            flight.inside = False
            self.inside -= 1
            self.changed.unpark_all()

    def landed(self, flight: Flight) -> None:
        """All that comes of a frame has been pushed, or the frame was dropped."""
        self.flights.remove(flight)
        self.inside -= flight.inside
        if self.flights and self.flights[0].turn is not None:
            self.flights[0].turn.set()
        self.changed.unpark_all()
        self.engine.check_quiet()

    async def push_slow(self, frame: Frame, direction: Direction = DOWN, *, told: bool = False) -> None:
        if self.ordered and getattr(frame, "_lane", None) in (ORDERED, ADDRESSED):
            flight = self._flight_here()
            if flight is not None:
                await flight.wait_turn()
        await super().push_slow(frame, direction, told=told)

    def _flight_here(self) -> Flight | None:
        lane = self.engine.lanes.get(current_task())
        return lane if isinstance(lane, Flight) else None

    # -- looked at from outside

    def busy(self) -> bool:
        return bool(self.flights) or super().busy()

    def in_hand(self) -> tuple[Frame, float] | None:
        for flight in self.flights:
            if flight.frame is not None:
                return flight.frame, flight.since
        return super().in_hand()

    def statistics(self) -> NodeStatistics:
        oldest = self.in_hand()
        handling = None if oldest is None else oldest[0].name
        return attrs.evolve(super().statistics(), in_flight=len(self.flights), handling=handling)
