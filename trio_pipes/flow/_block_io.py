"""What a block is given: the frames that it takes, and where it emits."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final

import trio

from trio_pipes._base import (
    REQUESTED,
    Requested,
)

from ._deadline import deadline_of, has_deadline, missed
from ._frames import Direction, ErrorFrame, Frame
from ._processor import FrameProcessor
from ._usable import set_unusable, set_usable

if TYPE_CHECKING:
    from ._metrics import ProcessorMetrics

__all__ = ["BlockFunction", "Frames", "Out"]

F = TypeVar("F", bound=Frame)


@final
class Frames(Generic[F]):
    """The frames that a block takes: iterate over it, once. It ends at the end of the run.

    Only downstream ordered frames of the types named in the annotation come here; everything else passes by in
    order, while the block waits for its next frame.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._inbox = node.inbox
        self._q = node.inbox.queue()
        self._turn = node.engine.turn

    def __aiter__(self) -> Frames[F]:
        return self

    async def __anext__(self) -> F:
        # The hot path: nothing is up, an ordinary frame of the types lies there, and this pass has time left.
        node, q = self._node, self._q
        if node.steady and q and node.left > 1:
            frame = q[0]
            if frame.interruptible is True and isinstance(frame, node.types) and perf_counter() <= self._turn.until:
                q.popleft()
                node.left -= 1
                inbox = self._inbox
                if inbox.waiting:
                    inbox.admit()
                inbox.since = self._turn.now
                inbox.frame = frame
                node.quick = node.open
                return cast("F", frame)
        return cast("F", await node.next_frame())

    @contextmanager
    def interruptible(self) -> Iterator[trio.CancelScope]:
        """An interrupt that makes the frame in hand stale stops the code in here; the loop goes on.

        So does the deadline of the frame in hand.
        """
        node = self._node
        frame = node.inbox.frame
        deadline = deadline_of(frame) if frame is not None and has_deadline(frame) else math.inf
        with trio.CancelScope() as scope:
            scope.deadline = deadline
            node.scopes.append(scope)
            if node.stale:
                scope.cancel(reason="the frame in hand is stale")
            try:
                yield scope
            finally:
                node.scopes.remove(scope)
        if frame is not None and scope.cancelled_caught and not node.stale and deadline <= trio.current_time():
            node.failed(missed(frame, node.name), frame)

    def pass_rest(self) -> None:
        """Allow the block to return before the end: what still comes then passes by."""
        self._node.passing = True


@final
class Out:
    """Where a block emits."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.push: Callable[..., Awaitable[None]] = node.push
        """`await out.push(frame, direction=DOWNSTREAM)`: waits while the next processor's lane is full."""

    async def push_error(self, message: str, exception: Exception | None = None, fatal: bool = False) -> None:
        """Send an `ErrorFrame` upstream; `fatal=True` ends the task with it."""
        frame = ErrorFrame(error=message, exception=exception, processor=self._node.processor, fatal=fatal)
        await self.push(frame, Direction.UPSTREAM)

    def interrupt(self) -> Requested:
        """Ask for an interrupt; see `FrameProcessor.interrupt`."""
        self._node.engine.ask_interrupt()
        return REQUESTED

    def set_unusable(self, reason: str, exception: Exception | None = None) -> Requested:
        """Say that the block cannot do its work any more; see `FrameProcessor.set_unusable`."""
        set_unusable(self._node, reason, exception)
        return REQUESTED

    def set_usable(self) -> Requested:
        """Say that it can do its work again."""
        set_usable(self._node)
        return REQUESTED

    @property
    def metrics(self) -> ProcessorMetrics:
        """Measures this block's times and usage; see `FrameProcessor.metrics`."""
        return cast("FrameProcessor", self._node.processor).metrics

    @property
    def task(self) -> Any:
        """The `PipelineTask` that runs this block."""
        return self._node.engine.owner.task


BlockFunction = Callable[[Frames[Any], Out], Awaitable[None]]
