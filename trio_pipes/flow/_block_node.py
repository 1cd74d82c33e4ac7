"""The node of a block: its task is the body's, which serves the ordered lane itself."""

from __future__ import annotations

import math
from typing import Any, Protocol, cast

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

from trio_pipes._base import (
    FrameTimeout,
)

from ._block_io import BlockFunction, Frames, Out
from ._contracts import Run, Works
from ._deadline import check_deadline, has_deadline, is_interruptible
from ._frames import ADDRESSED, LIFECYCLE, Direction, ErrorFrame, Frame
from ._lane import Inbox
from ._node import Node
from ._params import ErrorPolicy
from ._pause import BY_CALL, add_pause
from ._timeout import frame_timeout
from ._turn import FRAMES_A_TURN
from ._usable import set_unusable

__all__ = ["BlockNode", "TimedBlockNode"]


class IsBlock(Works, Protocol):
    """What the node asks of its processor besides."""

    fn: BlockFunction
    types: tuple[type[Frame], ...]


class BlockInbox(Inbox):
    """The ordered lane of a block, which its own task serves."""

    __slots__ = ("_parked", "_task")

    def __init__(self, node: Any, bound: int) -> None:
        super().__init__(node, bound)
        self.active = True  # nobody else is asked to serve
        self._parked = False
        self._task: Task | None = None

    def begin(self) -> None:
        """The task that calls serves this lane."""
        self._task = current_task()
        self.coro = self._task.coro
        self.node.engine.lanes[self._task] = self

    def end(self) -> None:
        """It does no more."""
        assert self._task is not None
        del self.node.engine.lanes[self._task]
        self.coro = self.frame = None

    async def park(self) -> None:
        """Wait for a frame."""

        def abort(_: object) -> Abort:
            self._parked = False
            return Abort.SUCCEEDED

        if current_task() is not self._task:
            raise RuntimeError(
                f"{self.node.name!r}: its frames are read by another task than the block's own. Read them in the block "
                "itself, and hand them to its other tasks by a memory channel."
            )
        self.active = False
        self._parked = True
        await wait_task_rescheduled(abort)

    def start(self) -> None:
        """Wake the task, if it is parked."""
        self.active = True
        if self._parked:
            self._parked = False
            assert self._task is not None
            reschedule(self._task)


class BlockNode(Node):
    """The node of a block: its body takes the place of the drain loop."""

    __slots__ = ("began", "left", "out", "passing", "ready", "returned", "scopes", "stale", "steady", "types")

    inbox: BlockInbox

    def __init__(self, processor: IsBlock) -> None:
        super().__init__(processor)

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.types = cast("IsBlock", self.processor).types
        self.ready = trio.Event()  # set-up is over: the body has asked for its first frame
        self.passing = False
        self.stale = False  # an interrupt came while the frame in hand was handled
        self.steady = False  # the next frame may be given to the body without looking at anything else
        self.scopes: list[trio.CancelScope] = []
        self.left = FRAMES_A_TURN
        self.returned = False  # the body has
        self.out: Out | None = None  # what the body pushes with

    def bind(self) -> None:
        super().bind()
        if self.out is not None:
            self.out.push = self.push

    @property
    def has_own_lane(self) -> bool:
        return False  # its own task serves it

    def _make_inbox(self, bound: int) -> BlockInbox:
        return BlockInbox(self, bound)

    def takes_up(self, frame: Frame) -> bool:
        return False

    def takes_urgent(self, frame: Frame, direction: Direction) -> bool:
        return False

    def takes_lifecycle(self, frame: Frame) -> bool:
        return False

    async def run_body(self) -> None:
        """Run the function, and what is left of the run after it."""
        inbox = self.inbox
        inbox.begin()
        self.began = trio.current_time()
        frames: Frames[Any] = Frames(self)
        try:
            await self._run_function(frames)
            self.ready.set()
            self.done_with_frame()
            self.returned = True
            self.refresh()
            while not inbox.terminal:
                await self._advance()
            self.shown = self.engine.last
            await self.carry(cast("Frame", self.shown))
        except Exception as exc:  # noqa: BLE001  (handed on: a body that has failed cannot go on, so the task fails)
            self.note(exc, inbox.frame)
            self.done_with_frame()
            text = str(exc) or repr(exc)
            self.engine.owner.error_reported(ErrorFrame(text, exception=exc, processor=self.processor, fatal=True))
            self.engine.fail(exc)
        except BaseException:
            self.stale = True
            self.done_with_frame()
            raise
        finally:
            self.ready.set()
            inbox.end()
            self.engine.check_quiet()

    async def _run_function(self, frames: Frames[Any]) -> None:
        """Raises what the body does, unless its own policy is to report that, or the run can do without it."""
        processor = cast("IsBlock", self.processor)
        try:
            await self.call(processor.fn, frames)
            if not (self.inbox.terminal or self.passing):
                raise RuntimeError(
                    f"{self.name!r} returned before the end of the run. Iterate over all frames, or call "
                    "frames.pass_rest() to let the rest pass by."
                )
        except Exception as exc:
            if self.engine.over:
                raise
            frame = self.inbox.frame
            if processor.on_error is ErrorPolicy.REPORT:
                set_unusable(self, str(exc) or repr(exc), exc)
            elif not self.engine.loses(self, exc, frame):
                raise
            self.note(exc, frame)
            self.passing = True

    async def call(self, fn: BlockFunction, frames: Frames[Any]) -> None:
        """Run the body."""
        self.out = Out(self)
        await fn(frames, self.out)

    async def next_frame(self) -> Frame:
        """The next frame for the body; passes on what is not."""
        if self.inbox.terminal:
            raise StopAsyncIteration
        self.done_with_frame()
        if not self.ready.is_set():
            self.ready.set()
            self.engine.is_set_up(self, trio.current_time() - self.began)
            self.refresh()
        while True:
            frame = await self._advance()
            if frame is not None:
                return frame
            if self.inbox.terminal:
                raise StopAsyncIteration

    def done_with_frame(self) -> None:
        frame, self.inbox.frame = self.inbox.frame, None
        watch = self.engine.observed
        if frame is not None and watch is not None:
            told = watch.stopped if self.stale else watch.handled
            if told is not None:
                told(self.processor, frame, Direction.DOWNSTREAM)
        if self.stale:
            self.stale = False
            self.refresh()

    async def _advance(self) -> Frame | None:
        """One frame along: None when it was not for the body."""
        inbox, q, engine = self.inbox, self.inbox.queue(), self.engine
        self.left -= 1
        if self.left <= 0 or engine.turn.spent():
            self.left = FRAMES_A_TURN
            await checkpoint()
            if self.pauses:
                await self._sit_out()
        elif engine.over:
            await checkpoint_if_cancelled()
        while not q:
            engine.check_quiet()
            await inbox.park()
            if self.pauses:
                await self._sit_out()
        frame = q.popleft()
        inbox.admit()
        inbox.since = engine.turn.now
        self.quick = self.open
        if frame.interruptible is not True and await self._advance_special(frame):
            return None
        watch = engine.observed
        if watch is not None and watch.taken is not None:
            watch.taken(self.processor, frame, Direction.DOWNSTREAM)
        if isinstance(frame, self.types):
            inbox.frame = frame
            return frame
        if watch is not None:
            self.tell_push(frame, Direction.DOWNSTREAM)
        inbox.frame = frame  # so that an interrupt finds it while it waits for room
        await self.below.accept(frame, nowait=False)
        self.done_with_frame()
        return None

    async def _advance_special(self, frame: Frame) -> bool:
        """Whether it was a frame for the engine, or one that comes too late."""
        if frame._lane == LIFECYCLE:
            if frame is self.engine.last:
                self.inbox.terminal = True  # it is handed on when the body has returned
            else:
                self.shown = frame
                await self.carry(frame)
            return True
        if frame._lane == ADDRESSED and self.is_meant(frame):
            add_pause(self, BY_CALL)
            return True
        if has_deadline(frame):
            try:
                check_deadline(frame, self.name)
            except FrameTimeout as exc:
                self.failed(exc, frame)
                return True
        return False

    async def _sit_out(self) -> None:
        """Wait while the block is paused."""
        while self.pauses and self.started:
            self.engine.check_quiet()
            await self.inbox.park()

    def watch_changed(self) -> None:
        self.quick = False
        self.refresh()  # there is no drain loop

    def became_stale(self) -> None:
        """An interrupt: the frame in hand is stale, and so is what the body pushes for it."""
        self.stale = True
        self.attention = self.chaining  # a row of functions that is read for the frame is left
        self.refresh()
        for scope in self.scopes:
            scope.cancel(reason=f"interrupt of {self.engine.name}")

    async def stop_reading(self) -> bool:
        self.attention = False
        return self.stale  # the body itself goes on

    def refresh(self) -> None:
        super().refresh()
        passing = self.returned or self.unusable is not None
        self.types = () if passing else cast("IsBlock", self.processor).types
        if self.pauses:
            self.left = 0  # look up before the next frame
        if self.stale:
            self.open = self.quick = False
        upset = self.stale or self.inbox.attention or self.engine.observed
        self.steady = self.ready.is_set() and self.returned is False and not upset

    async def push_slow(self, frame: Frame, direction: Direction = Direction.DOWNSTREAM, *, told: bool = False) -> None:
        if self.stale and is_interruptible(frame) and not self.engine.over:
            self.stale_dropped += 1
            await checkpoint()
            return
        await super().push_slow(frame, direction, told=told)


class TimedBlockNode(BlockNode):
    """The node of a block with a timeout."""

    __slots__ = ("watch",)

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.watch = trio.CancelScope()  # round the body; its deadline is that of the frame in hand

    def refresh(self) -> None:
        super().refresh()
        self.steady = False  # each frame has its deadline set

    async def call(self, fn: BlockFunction, frames: Frames[Any]) -> None:
        with self.watch:
            await super().call(fn, frames)
        if self.watch.cancelled_caught:
            frame, seconds = self.inbox.frame, self.processor.frame_timeout
            assert frame is not None
            assert seconds is not None
            raise frame_timeout(self.name, frame, seconds)

    async def next_frame(self) -> Frame:
        if self.watch.cancel_called:
            await checkpoint()  # it was late, and has not noticed
        self.watch.deadline = math.inf
        frame = await super().next_frame()
        assert self.processor.frame_timeout is not None
        self.watch.deadline = trio.current_time() + self.processor.frame_timeout
        return frame
