"""A lane: the frames that wait at one processor, and the task that handles them.

# How lanes work.
#
# A processor has up to four lanes: ordered and urgent, downstream and upstream. Each handles its frames one
# at a time in the order they came; between lanes there is no order, which is what lets a system frame be
# handled while an ordered frame's handler waits.
#
# A task per lane would be simple and cost four parked tasks a processor. So only the lane that is busy most,
# the ordered downstream one of a processor that does not share its neighbour's task, keeps a task (`Inbox`
# with `serve`). The others get one when a frame arrives and give it back when they are empty.
#
# An interrupt stops a handler with the cancel scope that is round the whole drain loop. A scope per frame
# would be simpler to read and cost more than the hop; so the loop ends with its scope and begins again.
#
# Ordered lanes pass over a frame in one function call and go back to Trio's scheduler when the slice of
# `_turn` is used up, because a pass through the scheduler costs ten times what a frame does.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from ._frames import Direction, Frame
from ._turn import FRAMES_A_TURN

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ._contracts import InboxOwner, LaneOwner, Row

__all__ = ["Inbox", "Lane"]


class Lane:
    """Frames of one direction and urgency at one processor, and a task while there are any."""

    __slots__ = (
        "active",
        "direction",
        "frame",
        "node",
        "parked",
        "peak",
        "q",
        "scope",
        "since",
        "stack",
        "stop",
        "task",
        "urgent",
    )

    def __init__(self, node: LaneOwner, direction: Direction, *, urgent: bool = False) -> None:
        self.node = node
        self.direction = direction
        self.urgent = urgent
        self.q: deque[Frame] = deque()
        self.peak = 0
        self.frame: Frame | None = None  # in hand
        self.since = 0.0  # Trio's clock when the frame was taken in hand
        self.active = False  # a task is here, or has been asked for
        self.parked = False
        self.task: Task | None = None
        self.scope: trio.CancelScope | None = None
        self.stop = False  # an interrupt has cancelled `scope`
        self.stack: tuple[LaneOwner, ...] = ()  # whose handlers that stops

    # -- frames in

    def put(self, frame: Frame) -> None:
        """Take a frame without making its pusher wait; a lane that overflows fails the task."""
        q = self.q
        q.append(frame)
        if len(q) > self.peak:
            self.peak = len(q)
            self._check_flood()
        self.start()

    def start(self) -> None:
        """See to it that somebody is here, if there is something that may be handled now."""
        if self.parked:
            self.wake()
        elif not self.active and self.q and not self.node.engine.over and self.node.may_take(self):
            self.active = True
            self.node.lane_busy(self)
            self.node.engine.spawn(self.drain)

    def _check_flood(self) -> None:
        engine = self.node.engine
        if len(self.q) > engine.params.lane_limit:
            kind = "urgent" if self.urgent else "ordered"
            engine.flood(self.node.name, f"in the {kind} {self.direction.value} lane", len(self.q))

    def drop_stale(self) -> int:
        """Forget the frames that an interrupt makes stale; how many these were."""
        q = self.q
        kept = [frame for frame in q if not frame.interruptible]
        dropped = len(q) - len(kept)
        if dropped:
            q.clear()
            q.extend(kept)
        return dropped

    # -- frames out

    async def drain(self) -> None:
        """Handle what is here, then leave."""
        node = self.node
        self.enter()
        cancelled = True
        try:
            await checkpoint_if_cancelled()  # no handler begins when the run has been cancelled meanwhile
            while self.q and node.may_take(self) and not node.engine.over:
                await self.under_scope(self._drain)
            cancelled = False
        finally:
            self.leave()
            self.active = False
            node.lane_idle(self)
            if not cancelled and not node.engine.over:
                self.start()  # what came while it was leaving

    async def _drain(self) -> None:
        node, q, turn = self.node, self.q, self.node.engine.turn
        count = FRAMES_A_TURN
        while q and not self.stop and node.may_take(self) and not node.engine.over:
            if not self.urgent and node.urgent_first(self.direction):
                await checkpoint()
                continue
            frame = q.popleft()
            self.admit()
            self.frame = frame
            self.since = turn.now
            await node.take(frame, self.direction)
            self.frame = None
            count -= 1
            if count == 0 or perf_counter() > turn.until:
                count = FRAMES_A_TURN
                if not self.stop:
                    node.engine.check_stall(node, turn.began)
                    await checkpoint()

    def admit(self) -> None:
        """Let those in who wait for room; lanes without a bound have none."""

    # -- the task that is here

    def enter(self) -> None:
        self.task = current_task()
        self.node.engine.lanes[self.task] = self

    def leave(self) -> None:
        assert self.task is not None
        del self.node.engine.lanes[self.task]
        self.task = self.scope = self.frame = None
        if self.stop:
            self._unwound()

    async def under_scope(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `body` so that an interrupt can stop it, and settle what it leaves behind."""
        try:
            with trio.CancelScope() as self.scope:
                await body()
        except Exception as exc:  # noqa: BLE001  (handed on: it fails the task or becomes an ErrorFrame)
            self.node.failed(exc, self.frame)
        self.frame = None
        if self.stop:
            self._unwound()

    def _unwound(self) -> None:
        stack, self.stack = self.stack, ()
        self.stop = False
        if self.direction is Direction.DOWNSTREAM and not self.urgent:
            self.node.forget_returning()
        for node in stack:
            node.has_unwound()

    async def park(self) -> None:
        """Wait for `wake`."""

        def abort(_: object) -> Abort:
            self.parked = False
            return Abort.SUCCEEDED

        self.parked = True
        await wait_task_rescheduled(abort)

    def wake(self) -> None:
        if self.parked:
            self.parked = False
            assert self.task is not None
            reschedule(self.task)


class Inbox(Lane):
    """The ordered downstream lane: bounded, so the one who pushes waits when it is full."""

    __slots__ = ("attention", "bound", "coro", "left", "limit", "low", "terminal", "waiting")

    node: InboxOwner

    def __init__(self, node: InboxOwner, bound: int) -> None:
        super().__init__(node, Direction.DOWNSTREAM)
        self.bound = bound
        # Those who wait are let in when the lane is empty: they and the drain loop then take turns with a whole
        # lane of frames, and a pass through the scheduler is shared by as many as can be.
        self.low = 0
        # What the hot path compares with. While somebody waits it is 0, so that nobody pushes in before
        # them; until StartFrame has been handled nobody waits at all.
        self.limit = bound
        self.waiting: list[tuple[Task, Frame]] = []
        self.attention = False  # there is more to look at than the next frame
        self.left = FRAMES_A_TURN  # frames until others get a turn
        self.terminal = False  # EndFrame or StopFrame has gone through
        self.coro: Any = None  # of the task that serves: `cr_running` tells whether it is the one running

    async def put_or_wait(self, frame: Frame) -> None:
        """Take a frame; when there is no room, wait for it (a cancelled wait takes nothing)."""
        q = self.q
        if len(q) < self.limit:
            q.append(frame)
            if len(q) > self.peak:
                self.peak = len(q)
            self.start()
            return
        self.peak = max(self.peak, self.bound)
        entry = (current_task(), frame)
        self.waiting.append(entry)
        self.limit = 0

        def abort(_: object) -> Abort:
            self.waiting.remove(entry)
            if not self.waiting:
                self.limit = self.bound
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def admit(self) -> None:
        q = self.q
        if self.waiting and len(q) <= self.low:
            free = self.bound - len(q)
            for task, frame in self.waiting[:free]:
                q.append(frame)
                reschedule(task)
            del self.waiting[:free]
            if not self.waiting:
                self.limit = self.bound

    def put_behind_all(self, frame: Frame) -> None:
        """Take a lifecycle frame: at once, and behind those who wait with a frame that was pushed before it."""
        for task, waiting in self.waiting:
            self.q.append(waiting)
            reschedule(task)
        self.waiting.clear()
        if self.limit == 0:
            self.limit = self.bound
        self.put(frame)

    def admit_uninterruptible(self) -> None:
        """Let in, beyond the bound, what survives an interrupt: its pusher is stopped, and it would be lost."""
        for entry in [entry for entry in self.waiting if not entry[1].interruptible]:
            self.waiting.remove(entry)
            self.q.append(entry[1])
            reschedule(entry[0])
        if not self.waiting and self.limit == 0:
            self.limit = self.bound

    def discard_waiting(self) -> int:
        """Let those go on who wait with a frame that is stale now; how many these were."""
        stale = [entry for entry in self.waiting if entry[1].interruptible]
        for entry in stale:
            self.waiting.remove(entry)
            reschedule(entry[0])
        if not self.waiting and self.limit == 0:
            self.limit = self.bound
        return len(stale)

    async def serve(self) -> None:
        """Handle frames until the last one has gone through."""
        self.enter()
        assert self.task is not None
        self.coro = self.task.coro
        try:
            while not self.terminal:
                await self.under_scope(self._serve)
        finally:
            self.leave()
            self.coro = None
            self.active = False
            self.node.engine.check_quiet()

    async def _serve(self) -> None:
        node, q, turn = self.node, self.q, self.node.engine.turn
        self.left = FRAMES_A_TURN
        while not self.terminal and not self.stop:
            if self.attention and node.engine.over:
                await trio.sleep_forever()  # until the cancel that is under way
            if not q or (self.attention and not node.may_take(self)):
                node.engine.check_quiet()
                node.engine.check_stall(node, turn.began)
                await self.park()
                self.left = FRAMES_A_TURN
            elif self.attention and node.urgent_first(self.direction):
                await checkpoint()
            elif q[0].interruptible is not True or self.attention:
                await self._serve_one(q.popleft())
                self.left -= 1
                if self.left <= 0 or perf_counter() > turn.until:
                    await self._rest(turn.began)
            elif node.row is not None:
                await self._drain_functions(node.row)
            else:
                await self._drain_frames()

    async def _drain_frames(self) -> None:
        """The hot loop: ordinary frames, as long as nothing else is up."""
        node, q, turn, waiting = self.node, self.q, self.node.engine.turn, self.waiting
        exit_, process, popleft = node.exit, node.process, q.popleft
        clock, down = perf_counter, Direction.DOWNSTREAM
        left, began = self.left, clock()
        while q:
            frame = popleft()
            if frame.interruptible is not True:
                q.appendleft(frame)
                break
            if waiting:
                self.admit()
            self.frame = frame
            self.since = turn.now
            exit_.quick = exit_.open
            try:
                await process(frame, down)
            except Exception as exc:  # noqa: BLE001  (handed on)
                node.failed(exc, frame)
            if self.attention:
                break
            now = clock()
            left -= 1
            if now > turn.until or not left:
                if not q:
                    break
                self.frame = None
                await self._rest(began)
                left = self.left
                now = clock()
            began = now
        self.frame = None
        self.left = left

    async def _drain_functions(self, row: Row) -> None:
        """The same for a row of synchronous functions: no coroutine for a frame that goes straight through."""
        q, turn, waiting = self.q, self.node.engine.turn, self.waiting
        put, popleft, clock = row.put, q.popleft, perf_counter
        frame_class, run = Frame, row.run_for[Frame]
        left, began = self.left, clock()
        while q:
            frame = popleft()
            if frame.interruptible is not True:
                q.appendleft(frame)
                break
            if waiting:
                self.admit()
            if frame.__class__ is not frame_class:
                frame_class = frame.__class__
                run = row.run_for[frame_class]
            result = run(frame)
            if result.__class__ is not frame_class or not put(result):
                self.frame = frame
                await row.push_result(result)
                self.frame = None
            if self.attention:
                break
            now = clock()
            left -= 1
            if now > turn.until or not left:
                if not q:
                    break
                await self._rest(began)
                left = self.left
                now = clock()
            began = now
        self.left = left

    async def _serve_one(self, frame: Frame) -> None:
        """What is not an ordinary frame at an ordinary moment."""
        node = self.node
        self.admit()
        self.frame = frame
        self.since = node.engine.turn.now
        node.exit.quick = False
        await node.take(frame, Direction.DOWNSTREAM)
        self.frame = None

    async def _rest(self, began: float) -> None:
        """Back to the scheduler: the slice is used up. `began` is when the handler just ended was begun."""
        if not self.stop:
            self.node.engine.check_stall(self.node, began)
            await checkpoint()
        self.left = FRAMES_A_TURN
