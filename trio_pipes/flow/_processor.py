"""`FrameProcessor`: a processor as a class, which sees both directions and every frame."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import trio

from trio_pipes._base import (
    FINITE,
    REQUESTED,
    ConfigurationError,
    Requested,
    check_awaitable,
    check_flag,
    check_name,
    check_number,
    check_timeout,
    default_name,
    next_id,
)

from ._fits import Types
from ._frames import Direction, ErrorFrame, Frame
from ._node import Node
from ._opened import Held, opened
from ._params import ErrorPolicy, PipelineParams, UnusablePolicy, check_error_policy, check_unusable_policy
from ._pause import BY_CALL, Pause, add_pause, remove_pause, wait_resumed
from ._statistics import NodeStatistics
from ._timeout import in_time
from ._usable import set_unusable, set_usable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from types import TracebackType

    from ._metrics import ProcessorMetrics
    from ._picture import Drawing, Way

__all__ = ["FrameProcessor", "Recipe"]

F = TypeVar("F", bound=Frame)


class FrameProcessor:
    """Takes frames from either direction and emits frames.

    Override `process_frame`, and where needed `lifespan` and `on_interrupt`; no `super()` call is needed in
    any of them, nor in `__init__`. `inline=True` lets the processor share the task of the one before it:
    faster, and it no longer works while its neighbour does. (A deadline that the neighbour puts round its own
    `push_frame` reaches into it then.)
    """

    id: int
    """Unique in the process."""
    name: str
    """Default: the class and a count, `"Shout#0"`."""
    inline: bool
    on_error: ErrorPolicy | None = None
    """What an exception here does; None: what `PipelineParams.on_error` says."""
    on_unusable: UnusablePolicy | None = None
    """What `set_unusable` does; None: what `PipelineParams.on_unusable` says."""
    frame_timeout: float | None = None
    """Seconds that `process_frame` may take over a frame, waits for room below included; more is a `FrameTimeout`."""
    measures: bool = False
    """Whether it uses `metrics` for durations: it is then in the first `MetricsFrame` of a run, with zeros."""

    _node: Node | None
    _held_by_block: Held | None = None
    _block: AbstractAsyncContextManager[None] | None = None
    _node_class: ClassVar[type[Node]] = Node

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG004
        self = super().__new__(cls)
        self.id = next_id()
        self.name = default_name(cls)
        self.inline = False
        self._node = None
        return self

    def __init__(self, name: str | None = None, inline: bool = False) -> None:
        if name is not None:
            check_name(f"{type(self).__name__}(name", name)
            self.name = name
        check_flag(f"{type(self).__name__}(inline", inline)
        self.inline = inline

    def __repr__(self) -> str:
        return f"<{self.name}>"

    # -- to override

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Handle one frame; as it stands, pass it on."""
        await self.push_frame(frame, direction)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Set-up above the `yield`, cleanup below it. All processors of a pipeline set up concurrently.

        The `yield` returns when the run has ended, and raises `trio.Cancelled` when it was cancelled or has failed:
        put cleanup into `finally` or `async with`. It runs when the handlers have ended and may await, whatever ended
        them; `PipelineParams.cleanup_timeout` is its deadline.
        """
        yield

    async def on_interrupt(self) -> None:
        """Called after an interrupt, when this processor's stopped handlers have ended."""

    # -- held open round several runs

    async def __aenter__(self) -> Self:
        """Set up what is in here, for all runs within the block: `opened()` with the usual timeouts."""
        block = opened(self.name, self._parts(), None)
        await block.__aenter__()
        self._block = block
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        block, self._block = self._block, None
        assert block is not None
        return await block.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102

    @asynccontextmanager
    async def opened(self, params: PipelineParams | None = None) -> AsyncIterator[Self]:
        """A block that sets up what is in here on entering, and cleans it up on leaving; in between tasks may run it.

        Whatever ends a task in the block, the lifespans stay as they are; the next task shows `StartFrame` again. Set-up
        comes before there is a task. Of `params` the timeouts of set-up and cleanup and `lane_limit` count. `async with
        pipeline:` is the same with the defaults.

        Raises `RuntimeError` on entering when something in here is open already or running, and in the task that still
        runs when the block is left; `SetupTimeout`; and, as an `ExceptionGroup`, what lifespans raise while no task runs.
        """
        async with opened(self.name, self._parts(), params):
            yield self

    # -- to call

    async def push_frame(self, frame: Frame, direction: Direction = Direction.DOWNSTREAM) -> None:
        """Emit a frame. Downstream waits while the next processor's lane is full; upstream never waits.

        Raises `TypeError` for what is not a frame.
        """
        node = self._node
        if node is not None:
            await node.push(frame, direction)
        elif self._held_by_block is not None:
            await self._held_by_block.keep(frame, direction)
        else:
            self._running_node("push_frame")

    async def push_error(self, message: str, exception: Exception | None = None, fatal: bool = False) -> None:
        """Send an `ErrorFrame` upstream; `fatal=True` ends the task with it."""
        frame = ErrorFrame(error=message, exception=exception, processor=self, fatal=fatal)
        await self.push_frame(frame, Direction.UPSTREAM)

    async def broadcast_frame(self, frame_class: type[F], **fields: Any) -> None:
        """Make a frame for each direction and push both, downstream first.

        Each has the other's id in its metadata as `"broadcast_sibling_id"`.
        """
        if not (isinstance(frame_class, type) and issubclass(frame_class, Frame)):
            raise TypeError(f"{self.name!r}.broadcast_frame was given {frame_class!r}, expected a class of frames")
        down, up = frame_class(**fields), frame_class(**fields)
        down.metadata["broadcast_sibling_id"] = up.id
        up.metadata["broadcast_sibling_id"] = down.id
        await self.push_frame(down, Direction.DOWNSTREAM)
        await self.push_frame(up, Direction.UPSTREAM)

    def interrupt(self) -> Requested:
        """Make everything interruptible that is now in the pipeline stale, and stop its handlers.

        Not the caller's own handler: its frame and what it pushes afterwards are new. Without
        `PipelineParams.allow_interruptions` nothing happens, and observers are told.
        """
        self._running_node("interrupt").engine.ask_interrupt()
        return REQUESTED

    # -- pausing

    def pause(self) -> Requested:
        """Take no data or control frame that comes down until `resume()`; what is in hand is finished.

        Frames wait above, as they do for a slow handler. The end of the task ends a pause.
        """
        add_pause(self._running_node("pause"), BY_CALL)
        return REQUESTED

    def resume(self) -> Requested:
        """End the pause of `pause()`, or of a `PauseFrame`."""
        remove_pause(self._running_node("resume"), BY_CALL)
        return REQUESTED

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block during which this processor is paused."""
        node = self._running_node("paused")
        pause = Pause()
        add_pause(node, pause)
        try:
            yield
        finally:
            remove_pause(node, pause)

    async def pause_until(self, ready: Callable[[], Awaitable[object]], *, timeout: float = 5.0) -> bool:
        """Stay paused until `await ready()` returns, at most `timeout` seconds; False when they have passed.

        Unlike the others this pause also holds when the task has been asked to end.
        """
        if not callable(ready):
            raise TypeError(f"{self.name}.pause_until({ready!r}): expected an async function to wait for")
        expected = "a finite number of seconds above 0"
        check_number(f"{self.name}.pause_until(timeout", timeout, expected, above=True, most=FINITE)
        node = self._running_node("pause_until")
        pause = Pause(lasting=True)
        add_pause(node, pause)
        try:
            with trio.move_on_after(timeout) as scope:
                await check_awaitable(f"{self.name}.pause_until: ready()", ready())
        finally:
            remove_pause(node, pause)
        return not scope.cancelled_caught

    @property
    def is_paused(self) -> bool:
        """Whether somebody pauses it."""
        return self._node is not None and bool(self._node.pauses)

    async def wait_resumed(self, timeout: float | None = None) -> bool:
        """Wait until nobody pauses it: True; False when `timeout` seconds pass first."""
        check_timeout(f"{self.name}.wait_resumed(timeout", timeout)
        node = self._running_node("wait_resumed")
        with trio.move_on_after(math.inf if timeout is None else timeout) as scope:
            await wait_resumed(node)
        return not scope.cancelled_caught

    # -- whether it can do its work

    def set_unusable(self, reason: str, exception: Exception | None = None) -> Requested:
        """Say that this processor cannot do its work any more: from now on data and control frames pass by it.

        An `ErrorFrame` goes upstream, observers get `on_usable_changed`, and `on_unusable` says what the task does.
        A second time does nothing.
        """
        set_unusable(self._running_node("set_unusable"), reason, exception)
        return REQUESTED

    def set_usable(self) -> Requested:
        """Say that it can do its work again."""
        set_usable(self._running_node("set_usable"))
        return REQUESTED

    @property
    def is_usable(self) -> bool:
        """Whether it can do its work, in the run it is in or was in last."""
        return self._node is None or self._node.unusable is None

    # -- looked at

    @property
    def task(self) -> Any:
        """The `PipelineTask` that runs this processor. Raises `RuntimeError` where there is none."""
        return self._running_node("task").engine.owner.task

    @property
    def metrics(self) -> ProcessorMetrics:
        """Measures this processor's times and usage in the run it is in."""
        node = self._running_node("metrics")
        known: tuple[Node, ProcessorMetrics] | None = vars(self).get("_metrics")
        if known is None or known[0] is not node:  # made on first use, and afresh for each run
            from ._metrics import ProcessorMetrics  # most programs measure nothing

            known = (node, ProcessorMetrics(self, node.engine, self.push_frame))
            vars(self)["_metrics"] = known
        return known[1]

    def statistics(self) -> NodeStatistics:
        """Depths and counts of this processor's lanes, in the run it is in or was in last."""
        if self._node is None:
            raise RuntimeError(f"{self.name!r} has no statistics before its pipeline runs")
        return self._node.statistics()

    def _running_node(self, what: str) -> Node:
        node = self._node
        if node is None:
            hint = "In __init__ there is none yet: use lifespan() or handle StartFrame."
            if self._held_by_block is not None:
                name = self._held_by_block.block.name
                hint = f"`async with {name}` sets up before there is one: handle StartFrame, which each run shows."
            raise RuntimeError(
                f"{self.name!r}.{what} works only while a PipelineTask runs the pipeline that it is in. {hint}"
            )
        return node

    # -- for the pipeline and the engine

    def _parts(self) -> Sequence[FrameProcessor]:
        """What it is made of, as far as that has a lifespan of its own."""
        return (self,)

    def _comes_of(self, coming: Types | None) -> Types | None:
        """The data frame classes that can be below it, when `coming` are above it; None: any. See `_fits`."""
        return None

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        """Add it to a picture, below what is above it; gives the ways out of it."""
        kind = type(self).__name__
        return drawing.box(self, above, about="" if self.name.startswith(f"{kind}#") else kind)

    def _check_settings(self) -> None:
        who = type(self).__name__
        check_error_policy(f"{who}(on_error", self.on_error, optional=True)
        check_unusable_policy(f"{who}(on_unusable", self.on_unusable, optional=True)
        check_timeout(f"{who}(frame_timeout", self.frame_timeout)

    def _handler(self) -> Callable[[Frame, Direction], Awaitable[None]]:
        if self.frame_timeout is None:
            return self.process_frame
        return in_time(self.process_frame, self.frame_timeout, self.name)

    def _bind(self, node: Node) -> None:
        self._node = node
        if type(self).push_frame is FrameProcessor.push_frame:
            self.push_frame = node.push  # type: ignore[assignment,method-assign]  # saves a call for each frame

    def _unbind(self) -> None:
        vars(self).pop("push_frame", None)

    def _lifespan_or_none(self) -> AbstractAsyncContextManager[None] | None:
        if type(self).lifespan is FrameProcessor.lifespan:
            return None
        manager = self.lifespan()
        if not hasattr(manager, "__aenter__"):
            if inspect.iscoroutine(manager):
                manager.close()
            raise ConfigurationError(
                f"{type(self).__name__}.lifespan() gave {manager!r}, expected an async context manager. "
                "Decorate it with @contextlib.asynccontextmanager."
            )
        return manager


class Recipe(ABC):
    """A function that was made a processor by `@each` or `@processor`; may stand in many pipelines."""

    @abstractmethod
    def _make(self) -> FrameProcessor: ...
