"""`@processor`: a processor as a block, with set-up above its loop, cleanup below, state in local variables."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast, final, overload

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

from trio_pipes._base import REQUESTED, ConfigurationError, Requested, default_name

from ._annotations import caller_names, first_annotation, frame_types
from ._fits import Types, check_takes
from ._frames import LIFECYCLE, DataFrame, Direction, ErrorFrame, Frame
from ._lane import Inbox
from ._node import Node
from ._params import ErrorPolicy
from ._processor import FrameProcessor, Recipe
from ._turn import FRAMES_A_TURN

if TYPE_CHECKING:
    from ._contracts import Run

__all__ = ["Block", "Frames", "Out", "processor"]

F = TypeVar("F", bound=Frame)
BlockFunction = Callable[["Frames[Any]", "Out"], Awaitable[None]]


@final
class Frames(Generic[F]):
    """The frames that a block takes: iterate over it, once. It ends at the end of the run.

    Only downstream ordered frames of the types named in the annotation come here; everything else passes by in
    order, while the block waits for its next frame.
    """

    def __init__(self, node: Any) -> None:
        self._node = node

    def __aiter__(self) -> Frames[F]:
        return self

    async def __anext__(self) -> F:
        return cast("F", await self._node.next_frame())

    @contextmanager
    def interruptible(self) -> Iterator[trio.CancelScope]:
        """An interrupt that makes the frame in hand stale stops the code in here; the loop goes on."""
        node = self._node
        with trio.CancelScope() as scope:
            node.scopes.append(scope)
            if node.stale:
                scope.cancel(reason="the frame in hand is stale")
            try:
                yield scope
            finally:
                node.scopes.remove(scope)

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

    @property
    def task(self) -> Any:
        """The `PipelineTask` that runs this block."""
        return self._node.engine.owner.task


@final
class Block(Recipe):
    """What `@processor` makes of a function. Each pipeline makes a processor of its own from it."""

    def __init__(
        self, fn: BlockFunction, types: tuple[type[Frame], ...], name: str | None, on_error: ErrorPolicy | None
    ) -> None:
        self._fn = fn
        self._types = types
        self._name = name
        self._on_error = on_error
        self.__wrapped__ = fn
        self.__doc__ = fn.__doc__

    def __repr__(self) -> str:
        return f"<processor {getattr(self._fn, '__name__', self._fn)!s}>"

    def _make(self) -> FrameProcessor:
        name = self._name or default_name(self, getattr(self._fn, "__name__", "processor"))
        block = BlockProcessor(self._fn, self._types, name)
        block.on_error = self._on_error
        return block


@overload
def processor(fn: BlockFunction, /) -> Block: ...
@overload
def processor(*, name: str | None = None) -> Callable[[BlockFunction], Block]: ...
def processor(
    fn: BlockFunction | None = None, /, *, name: str | None = None
) -> Block | Callable[[BlockFunction], Block]:
    """Make a processor of an async function of `frames` and `out`, which runs once for each run.

    `frames: Frames[SomeFrame]` (bare: any data frame) names what it takes. Set-up is the code before it asks for
    its first frame. Raises `ConfigurationError` when the function or an annotation has another form.
    """
    names = caller_names(1)
    form = "async def f(frames: Frames[SomeFrame], out: Out) -> None"

    def decorate(fn: BlockFunction) -> Block:
        if not inspect.iscoroutinefunction(fn):
            raise ConfigurationError(f"{getattr(fn, '__qualname__', fn)} does not have the form {form}")
        annotation = first_annotation(fn, names, 2, form)
        arguments = typing.get_args(annotation)
        if annotation is not None and (typing.get_origin(annotation) or annotation) is not Frames:
            raise ConfigurationError(f"{fn.__qualname__} is annotated to take {annotation!r}, expected Frames[...]")
        types = frame_types(arguments[0], fn, names) if arguments else (DataFrame,)
        special = [t.__name__ for t in types if t is not Frame and t._lane != 0]
        if special:
            raise ConfigurationError(
                f"{fn.__qualname__} is annotated to take {', '.join(special)}, expected data or control frames. "
                "A block that must answer system or lifecycle frames is a FrameProcessor class."
            )
        return Block(fn, types, name, None)

    return decorate if fn is None else decorate(fn)


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

    __slots__ = ("left", "passing", "ready", "scopes", "stale", "types")

    inbox: BlockInbox

    def __init__(self, processor: BlockProcessor) -> None:
        super().__init__(processor)
        self.types = processor.types

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.ready = trio.Event()  # set-up is over: the body has asked for its first frame
        self.passing = False
        self.stale = False  # an interrupt came while the frame in hand was handled
        self.scopes: list[trio.CancelScope] = []
        self.left = FRAMES_A_TURN

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
        frames: Frames[Any] = Frames(self)
        try:
            await cast("BlockProcessor", self.processor).fn(frames, Out(self))
            if not (inbox.terminal or self.passing):
                raise RuntimeError(
                    f"{self.name!r} returned before the end of the run. Iterate over all frames, or call "
                    "frames.pass_rest() to let the rest pass by."
                )
            self.ready.set()
            self.done_with_frame()
            self.types = ()
            while not inbox.terminal:
                await self._advance()
            self.shown = self.engine.last
            await self.carry(cast("Frame", self.shown))
        except Exception as exc:  # noqa: BLE001  (handed on: a body that has failed cannot go on, so the task fails)
            self.note(exc, inbox.frame)
            text = str(exc) or repr(exc)
            self.engine.owner.error_reported(ErrorFrame(text, exception=exc, processor=self.processor, fatal=True))
            self.engine.fail(exc)
        finally:
            self.ready.set()
            inbox.end()
            self.engine.check_quiet()

    async def next_frame(self) -> Frame:
        """The next frame for the body; passes on what is not."""
        if self.inbox.terminal:
            raise StopAsyncIteration
        self.done_with_frame()
        self.ready.set()
        while True:
            frame = await self._advance()
            if frame is not None:
                return frame
            if self.inbox.terminal:
                raise StopAsyncIteration

    def done_with_frame(self) -> None:
        frame, self.inbox.frame = self.inbox.frame, None
        if frame is not None and self.engine.observed:
            self.engine.observed.on_frame_handled(self.processor, frame, Direction.DOWNSTREAM)
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
        elif engine.over:
            await checkpoint_if_cancelled()
        while not q:
            engine.check_quiet()
            await inbox.park()
        frame = q.popleft()
        inbox.admit()
        inbox.since = engine.turn.now
        self.exit.quick = self.exit.open
        if frame._lane == LIFECYCLE:
            if frame is engine.last:
                inbox.terminal = True  # it is handed on when the body has returned
            else:
                self.shown = frame
                await self.carry(frame)
            return None
        if isinstance(frame, self.types):
            inbox.frame = frame
            return frame
        if engine.observed:
            engine.observed.on_frame_pushed(self.processor, frame, Direction.DOWNSTREAM)
        inbox.frame = frame  # so that an interrupt finds it while it waits for room
        await self.below.accept(frame, nowait=False)
        self.done_with_frame()
        return None

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
        if self.stale:
            self.open = self.quick = False

    async def push_slow(self, frame: Frame, direction: Direction = Direction.DOWNSTREAM) -> None:
        if self.stale and getattr(frame, "interruptible", False) is True and not self.engine.over:
            self.stale_dropped += 1
            await checkpoint()
            return
        await super().push_slow(frame, direction)


class BlockProcessor(FrameProcessor):
    """A block as a processor."""

    _node_class: ClassVar[type[Node]] = BlockNode

    def __init__(self, fn: BlockFunction, types: tuple[type[Frame], ...], name: str) -> None:
        self.fn = fn
        self.types = types
        self.name = name

    def _comes_of(self, coming: Types | None) -> Types | None:
        check_takes(self.name, self.types, coming)
        return None
