"""A lane: the frames that wait at one processor, of one direction and urgency.

# How lanes work.
#
# A processor has up to four lanes: ordered and urgent, downstream and upstream. Each handles its frames one
# at a time in the order they came; between lanes there is no order, which is what lets a system frame be
# handled while an ordered frame's handler waits. Who handles them is `_pool`'s affair.
#
# Ordered lanes pass over a frame in one function call and leave when the slice of `_turn` is used up, because a
# pass through Trio's scheduler costs ten times what a frame does.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from ._frames import Direction, Frame
from ._turn import FRAMES_A_TURN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._contracts import InboxOwner, LaneOwner, Row, Serves

__all__ = ["Inbox", "Lane"]

# Stands for the queue of a lane that nothing has ever come to: a deque takes 700 bytes.
NOTHING: Any = ()


# Who waits for room, with which frame, and what comes in behind that one without its waiting for each.
Waiting = tuple[Task, Frame, deque[Frame]]
NOTHING_MORE: deque[Frame] = deque(maxlen=0)


class Lane:
    """Frames of one direction and urgency at one processor."""

    bound = 0  # frames for which there is room, in a lane that makes its pushers wait

    __slots__ = ("active", "direction", "frame", "node", "peak", "q", "scope", "since", "stack", "stop", "urgent")

    def __init__(self, node: LaneOwner, direction: Direction, *, urgent: bool = False) -> None:
        self.node = node
        self.direction = direction
        self.urgent = urgent
        self.q: deque[Frame] = NOTHING
        self.peak = 0
        self.frame: Frame | None = None  # in hand
        self.since = 0.0  # Trio's clock when the frame was taken in hand
        self.active = False  # in line, or being served
        self.scope: trio.CancelScope | None = None  # round the one who serves
        self.stop = False  # an interrupt has cancelled `scope`
        self.stack: tuple[LaneOwner, ...] = ()  # whose handlers that stops

    # -- frames in

    def put(self, frame: Frame) -> None:
        """Take a frame without making its pusher wait; a lane that overflows fails the task."""
        q = self.queue()
        q.append(frame)
        if len(q) > self.peak:
            self.peak = len(q)
            if len(q) > self.bound + self.node.engine.params.lane_limit:
                self._flood()
        self.start()

    def queue(self) -> deque[Frame]:
        """The queue to append to."""
        if self.q is NOTHING:
            self.q = deque()
        return self.q

    def start(self) -> None:
        """See to it that somebody serves, if there is something that may be handled now."""
        node = self.node
        if not self.active and self.q and not node.engine.over and node.may_take(self):
            node.engine.pool.add(self)
            self.active = True
            node.lane_busy(self)

    def _flood(self) -> None:
        kind = "urgent" if self.urgent else "ordered"
        self.node.engine.flood(self.node.name, f"in the {kind} {self.direction.value} lane", len(self.q))

    def drop_stale(self) -> int:
        """Forget the frames that an interrupt makes stale; how many these were."""
        q = self.q
        if not q:
            return 0
        kept = [frame for frame in q if not frame.interruptible]
        dropped = len(q) - len(kept)
        if dropped:
            q.clear()
            q.extend(kept)
        return dropped

    # -- frames out

    def enter(self, server: Serves) -> None:
        """Somebody has come to serve."""
        self.scope = server.scope
        self.node.engine.lanes[server.task] = self

    async def drain(self, until: float) -> None:
        """Handle what is here, as long as it may be, and not longer than `until`, as `perf_counter` gives it."""
        node, q, turn = self.node, self.q, self.node.engine.turn
        left = FRAMES_A_TURN
        while q and not self.stop and node.may_take(self) and not node.engine.over:
            if not self.urgent and node.urgent_first(self.direction):
                return
            self.frame = frame = q.popleft()
            self.since = turn.now
            await node.take(frame, self.direction)
            self.frame = None
            left -= 1
            if not left or perf_counter() > until:
                return

    def leave(self, server: Serves) -> None:
        """Whoever served goes; what is left gets in line again."""
        node = self.node
        engine = node.engine
        del engine.lanes[server.task]
        self.scope = self.frame = None
        if self.stop or self.stack:
            self._unwound()
        if self.q and not engine.over and node.may_take(self):
            engine.pool.add(self)
        else:
            self.active = False
            node.lane_idle(self)

    def _unwound(self) -> None:
        stack, self.stack = self.stack, ()
        self.stop = False
        if self.direction is Direction.DOWNSTREAM and not self.urgent:
            self.node.forget_returning(self)
        for node in stack:
            node.has_unwound()


class Inbox(Lane):
    """The ordered downstream lane: bounded, so the one who pushes waits when it is full."""

    __slots__ = ("attention", "bound", "coro", "fresh", "fresh_turn", "limit", "outdated", "terminal", "waiting")

    node: InboxOwner

    def __init__(self, node: InboxOwner, bound: int) -> None:
        super().__init__(node, Direction.DOWNSTREAM)
        self.bound = bound
        # What the hot path compares with. While somebody waits it is 0, so that nobody pushes in before
        # them; until StartFrame has been handled nobody waits at all.
        self.limit = bound
        self.waiting: list[Waiting] = []
        self.attention = False  # there is more to look at than the next frame
        self.outdated = False  # whoever drains it has the handler of before
        self.fresh = self.fresh_turn = 0  # frames that came from outside, in which turn
        self.terminal = False  # EndFrame or StopFrame has gone through
        self.coro: Any = None  # of the task that serves: `cr_running` tells whether it is the one running

    def enqueue(self, frames: Sequence[Frame]) -> None:
        """Take frames from outside, for which there is room.

        They count as queued before the pipeline until the pass of Trio's loop is over in which they came.
        """
        q = self.queue()
        q.extend(frames)
        if len(q) > self.peak:
            self.peak = len(q)
        turn = self.node.engine.turn
        if self.fresh_turn != turn.number:
            self.fresh_turn = turn.number
            self.fresh = 0
        self.fresh += len(frames)
        if not self.active:
            self.start()

    def drop_stale(self) -> int:
        if self.fresh_turn != self.node.engine.turn.number:
            return super().drop_stale()
        new = [self.q.pop() for _ in range(min(self.fresh, len(self.q)))]
        dropped = super().drop_stale()
        self.q.extend(reversed(new))
        return dropped

    async def put_or_wait(self, frame: Frame, more: deque[Frame] = NOTHING_MORE) -> None:
        """Take a frame; when there is no room, wait for it (a cancelled wait takes nothing).

        Of `more`, which are not in the pipeline yet, those come in with it for which there is room then.
        """
        q = self.queue()
        if len(q) < self.limit:
            q.append(frame)
            if len(q) > self.peak:
                self.peak = len(q)
            if not self.active:
                self.start()
            return
        self.node.engine.pool.check_here()
        self.peak = max(self.peak, self.bound)
        entry = (current_task(), frame, more)
        self.waiting.append(entry)
        self.limit = 0

        def abort(_: object) -> Abort:
            self.waiting.remove(entry)
            self._nobody_may_wait()
            return Abort.SUCCEEDED

        engine = self.node.engine
        watch = engine.observed
        if watch is None or watch.waited is None:
            await wait_task_rescheduled(abort)
            return
        began = trio.current_time()
        try:
            await wait_task_rescheduled(abort)
        finally:
            watch = engine.observed  # another one, it may be
            if watch is not None and watch.waited is not None:
                pusher = self.node.pusher
                watch.waited(pusher and pusher.processor, frame, trio.current_time() - began)

    def _nobody_may_wait(self) -> None:
        if not self.waiting and self.limit == 0:
            self.limit = self.bound

    def admit(self) -> None:
        """Let those in who wait for room, when the lane is empty.

        They and the drain loop then take turns with a whole lane of frames, and a pass through the scheduler is shared
        by as many as can be.
        """
        q = self.q
        if self.waiting and not q:
            entries = self.waiting[: self.bound]
            room = self.bound - len(entries)  # each comes in with one frame at least
            for task, frame, more in entries:
                q.append(frame)
                while more and room:
                    q.append(more.popleft())
                    room -= 1
                reschedule(task)
            del self.waiting[: self.bound]
            self._nobody_may_wait()

    def put_behind_all(self, frame: Frame) -> None:
        """Take a lifecycle frame: at once, and behind those who wait with a frame that was pushed before it."""
        for task, waiting, _ in self.waiting:
            self.q.append(waiting)
            reschedule(task)
        self.waiting.clear()
        self._nobody_may_wait()
        self.put(frame)

    def admit_uninterruptible(self) -> None:
        """Let in, beyond the bound, what survives an interrupt: its pusher is stopped, and it would be lost."""
        for entry in [entry for entry in self.waiting if not entry[1].interruptible]:
            self.waiting.remove(entry)
            self.q.append(entry[1])
            reschedule(entry[0])
        self._nobody_may_wait()

    def discard_waiting(self) -> int:
        """Let those go on who wait with a frame that is stale now; how many these were."""
        stale = [entry for entry in self.waiting if entry[1].interruptible]
        for entry in stale:
            self.waiting.remove(entry)
            reschedule(entry[0])
        self._nobody_may_wait()
        return len(stale)

    def withdraw(self, wanted: Callable[[Frame], bool]) -> list[Frame]:
        """Give back those frames that nobody has begun, of them that are `wanted`; those who wait for room go on."""
        taken = [frame for frame in self.q if wanted(frame)]
        if taken:
            kept = [frame for frame in self.q if not wanted(frame)]
            self.q.clear()
            self.q.extend(kept)
        for task, frame, _ in self.waiting:
            taken.append(frame)
            reschedule(task)
        self.waiting.clear()
        self._nobody_may_wait()
        return taken

    def let_go(self) -> None:
        """The run is over: whoever waits for room, from outside, waits no more."""
        for task, _, _ in self.waiting:
            self.node.late_dropped += 1
            reschedule(task)
        self.waiting.clear()

    # -- frames out

    def enter(self, server: Serves) -> None:
        super().enter(server)
        self.coro = server.task.coro

    def leave(self, server: Serves) -> None:
        self.coro = None
        super().leave(server)
        if not self.q and self.node.shares_task:  # little comes here: the neighbour hands frames over
            self.q = NOTHING

    async def drain(self, until: float) -> None:
        node, q = self.node, self.q
        while q and not self.stop:
            if self.attention:
                self.outdated = False
                node.refresh()  # it may be over
            look = self.attention or node.shares_task
            if look and (node.engine.over or not node.may_take(self) or node.urgent_first(self.direction)):
                return
            if look or q[0].interruptible is not True:
                used_up = await self._take_one(q.popleft(), until)
            elif node.row is not None:
                used_up = await self._drain_functions(node.row, until)
            else:
                used_up = await self._drain_frames(until)
            if used_up:
                return

    async def _drain_frames(self, until: float) -> bool:
        """The hot loop: ordinary frames, as long as nothing else is up. True: the slice is used up."""
        node, q, turn, waiting = self.node, self.q, self.node.engine.turn, self.waiting
        process, popleft = node.process, q.popleft
        clock, down = perf_counter, Direction.DOWNSTREAM
        left = FRAMES_A_TURN
        while q:
            frame = popleft()
            if frame.interruptible is not True:
                q.appendleft(frame)
                break
            if waiting and not q:
                self.admit()
            self.frame = frame
            self.since = turn.now
            node.quick = node.open
            try:
                await process(frame, down)
            except Exception as exc:  # noqa: BLE001  (handed on)
                node.failed(exc, frame)
            if self.attention:
                break
            left -= 1
            if not left or clock() > until:
                self.frame = None
                return True
        self.frame = None
        return False

    async def _drain_functions(self, row: Row, until: float) -> bool:
        """The same for a row of synchronous functions: no coroutine for a frame that goes straight through."""
        q, waiting = self.q, self.waiting
        put, popleft, clock = row.put, q.popleft, perf_counter
        frame_class, run = Frame, row.run_for[Frame]
        left = FRAMES_A_TURN
        while q:
            frame = popleft()
            if frame.interruptible is not True:
                q.appendleft(frame)
                break
            if waiting and not q:
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
            left -= 1
            if not left or clock() > until:
                return True
        return False

    async def _take_one(self, frame: Frame, until: float) -> bool:
        """What is not an ordinary frame at an ordinary moment."""
        node, turn = self.node, self.node.engine.turn
        self.admit()
        self.frame = frame
        self.since = turn.now
        node.quick = False
        await node.take(frame, Direction.DOWNSTREAM)
        self.frame = None
        return perf_counter() > until
