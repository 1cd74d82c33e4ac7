"""`@each`: a processor as a function that is called for each frame."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable
from contextlib import aclosing, closing, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast, final, overload

import attrs
import trio

from trio_pipes._base import (
    ConfigurationError,
    check_count,
    check_flag,
    check_name,
    check_timeout,
    default_name,
)

from ._annotations import caller_names, first_annotation, frame_types, given_types
from ._chain import Chain
from ._concurrent import ConcurrentNode
from ._deadline import deadline_of, has_deadline
from ._fits import Types, check_takes, in_place_of, names_of
from ._frames import DataFrame, Direction, Frame, LifecycleFrame
from ._node import Node
from ._params import ErrorPolicy, check_error_policy
from ._processor import FrameProcessor, Recipe
from ._timeout import timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._contracts import Run
    from ._picture import Drawing, Way

__all__ = ["Each", "each"]

F = TypeVar("F", bound=Frame)
Emitted = Frame | Iterable[Frame] | None
R = TypeVar("R", bound=Emitted | Awaitable[Emitted] | AsyncIterable[Frame])
FrameFunction = Callable[[F], Emitted] | Callable[[F], Awaitable[Emitted]] | Callable[[F], AsyncIterable[Frame]]

DOWN = Direction.DOWNSTREAM


@attrs.frozen(kw_only=True)
class Settings:
    """What `@each(...)` was given."""

    name: str | None
    on_error: ErrorPolicy | None
    concurrency: int
    ordered: bool
    timeout: float | None

    def __attrs_post_init__(self) -> None:
        check_name("each(name", self.name, optional=True)
        check_error_policy("each(on_error", self.on_error, optional=True)
        check_count("each(concurrency", self.concurrency, "a whole number of frames, at least 1")
        check_flag("each(ordered", self.ordered)
        check_timeout("each(timeout", self.timeout)

    def check(self, fn: FrameFunction[Any], types: tuple[type[Frame], ...]) -> None:
        """Whether a function can have them."""
        name = getattr(fn, "__qualname__", fn)
        if not _is_async(fn):
            for setting, given in (("concurrency", self.concurrency > 1), ("timeout", self.timeout is not None)):
                if given:
                    raise ConfigurationError(
                        f"each({setting}={getattr(self, setting)!r}) is for async functions, and {name} is not one: "
                        "while it runs, nothing else does"
                    )
        special = [t.__name__ for t in types if t is not Frame and t._lane != 0]
        if special and self.concurrency > 1:
            raise ConfigurationError(
                f"{name} is annotated to take {', '.join(special)}, expected data or control frames: system and "
                "lifecycle frames are handled one at a time, without concurrency"
            )


@final
class Each(Recipe, Generic[F, R]):
    """What `@each` makes of a function. Each pipeline makes a processor of its own from it."""

    def __init__(self, fn: FrameFunction[Any], types: tuple[type[Frame], ...], settings: Settings) -> None:
        self._fn = fn
        self._types = types
        self._settings = settings
        self._gives: tuple[type[Frame], ...] | None = None
        self.__wrapped__ = fn
        self.__doc__ = fn.__doc__

    def __call__(self, frame: F) -> R:
        """Call the function itself."""
        return cast("R", self._fn(frame))

    def __repr__(self) -> str:
        return f"<each {getattr(self._fn, '__name__', self._fn)!s}>"

    def _make(self) -> FrameProcessor:
        settings = self._settings
        name = settings.name or default_name(self, getattr(self._fn, "__name__", "each"))
        processor_class = EachProcessor if settings.concurrency == 1 else ConcurrentEachProcessor
        processor = processor_class(self._fn, self._types, name, settings)
        processor.gives = self._gives
        return processor


class _Decorator(Protocol):
    """`@each(...)`, which waits for its function."""

    def __call__(self, fn: Callable[[F], R], /) -> Each[F, R]: ...


@overload
def each(fn: Callable[[F], R], /) -> Each[F, R]: ...
@overload
def each(
    *,
    name: str | None = None,
    on_error: ErrorPolicy | None = None,
    concurrency: int = 1,
    ordered: bool = True,
    timeout: float | None = None,
) -> _Decorator: ...
def each(
    fn: Callable[[Any], Any] | None = None,
    /,
    *,
    name: str | None = None,
    on_error: ErrorPolicy | None = None,
    concurrency: int = 1,
    ordered: bool = True,
    timeout: float | None = None,
) -> Each[Any, Any] | Callable[[Callable[[Any], Any]], Each[Any, Any]]:
    """Make a processor of a function of one frame.

    It is called for downstream frames of the type its parameter is annotated with (none: any data frame); the
    others pass by. It may be sync or async, and returns a frame, None to drop, or an iterable of frames (an
    async one may also be an async generator). A sync function costs no task.

    For async functions: `concurrency` frames at most are inside it at once. What comes out keeps the order of what
    came in, or, with `ordered=False`, comes as it is ready. `timeout` is the seconds that it may take over one frame;
    more is a `FrameTimeout`.

    Raises `ConfigurationError` when the function, its annotation or a setting has another form.
    """
    names = caller_names(1)
    settings = Settings(name=name, on_error=on_error, concurrency=concurrency, ordered=ordered, timeout=timeout)

    def decorate(fn: Callable[[Any], Any]) -> Each[Any, Any]:
        annotation = first_annotation(fn, names, 1, "def f(frame: SomeFrame) -> Frame | None | Iterable[Frame]")
        types = (DataFrame,) if annotation is None else frame_types(annotation, fn, names)
        settings.check(fn, types)
        made: Each[Any, Any] = Each(fn, types, settings)
        made._gives = given_types(fn, names)
        return made

    return decorate if fn is None else decorate(fn)


def _is_async(fn: object) -> bool:
    called = getattr(fn, "__call__", None)  # noqa: B004  (not a test for being callable: its kind)
    return any(inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f) for f in (fn, called))


class FunctionNode(Node):
    """The node of a function; synchronous ones in a row are compiled into a chain."""

    __slots__ = ("chain", "fused", "generating", "iterating", "leaving", "lifecycle_types", "tail", "types")

    def __init__(self, processor: EachProcessor) -> None:
        super().__init__(processor)
        self.types = processor.types
        self.lifecycle_types = tuple(t for t in processor.types if issubclass(t, LifecycleFrame))
        self.fused = False  # runs within the task of whoever pushes
        self.chain: Chain  # the row of functions that begins here, for those that are chainable
        self.tail: FunctionNode = self  # the last of the chain that begins here

    @property
    def function(self) -> Callable[[Frame], Any]:
        return cast("EachProcessor", self.processor).fn

    @property
    def chainable(self) -> bool:
        """Synchronous, and only for ordinary frames."""
        processor = cast("EachProcessor", self.processor)
        return not processor.is_async and not any(_may_be_special(t) for t in self.types)

    @property
    def may_pause(self) -> bool:
        return cast("EachProcessor", self.processor).is_async

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.generating = False  # an iterator that the function returned is giving its next frame
        self.iterating = False  # there is such an iterator, and it is not at its end
        self.leaving = False  # an interrupt has made what it still has stale

    def choose_handler(self) -> None:
        if self.chainable:  # what is watched does not run as a row: each function is told of by itself
            watched = self.engine.observed is not None
            self.row = None if watched else self.chain
            self.handler = self.processor.process_frame if watched else self._process_by_chain
        super().choose_handler()

    def takes_up(self, frame: Frame) -> bool:
        return False

    def takes_urgent(self, frame: Frame, direction: Direction) -> bool:
        return direction is DOWN and isinstance(frame, self.types)

    def takes_lifecycle(self, frame: Frame) -> bool:
        return isinstance(frame, self.lifecycle_types)

    @property
    def has_own_lane(self) -> bool:
        return not (self.fused or self.shares_task)

    async def accept(self, frame: Frame, nowait: bool) -> None:
        if not self.fused:
            await super().accept(frame, nowait)
        elif self.engine.observed or (frame.interruptible is not True and self._comes_late(frame)):
            await self.handle(frame, DOWN)
        elif self.chain.busy:
            await self.chain.push_in_turn(frame)
        else:
            result = self.chain.run_for[frame.__class__](frame)
            if isinstance(result, Frame):
                await self.tail.below.accept(result, nowait)
            elif result is not None:
                # Who pushed here waits for it; behind a join nobody in particular does.
                await self.chain.push_each(result, self.above if isinstance(self.above, Node) else self)  # type: ignore[arg-type]

    def _comes_late(self, frame: Frame) -> bool:
        return has_deadline(frame) and deadline_of(frame) <= trio.current_time()

    async def accept_lifecycle(self, frame: Frame) -> None:
        if self.fused:
            await self.lifecycle(frame)  # only behind a join: elsewhere the one above carries it past
        else:
            await super().accept_lifecycle(frame)

    async def _process_by_chain(self, frame: Frame, direction: Direction) -> None:
        await self.chain.push_result(self.chain.run_for[frame.__class__](frame))

    def emit_special(self, frame: Frame) -> None:
        """A system or lifecycle frame that the function returned."""
        if isinstance(frame, LifecycleFrame):
            if not self.engine.is_own(frame):
                self.engine.request(frame)
        else:
            self._push_urgent(frame, DOWN)

    def frames_of(self, results: object, frame: Frame) -> Generator[Frame]:
        """The frames of an iterable that the function returned for `frame`; its errors are this node's."""
        try:
            yield from frames_in(results, self.name)
        except Exception as exc:  # noqa: BLE001  (handed on)
            self.failed(exc, frame)


def _may_be_special(frame_type: type[Frame]) -> bool:
    """Whether a frame of this type can be a system or lifecycle frame."""
    return frame_type is Frame or frame_type._lane != 0


def frames_in(results: object, who: str) -> Generator[Frame]:
    """The frames of what a function returned, or `TypeError`."""
    if isinstance(results, str | bytes) or not isinstance(results, Iterable):
        hint = ""
        if isinstance(results, Awaitable | AsyncIterable):
            hint = ". A function that gives something to await has to be async def itself"
            if inspect.iscoroutine(results):
                results.close()
        raise TypeError(f"{who!r} returned {results!r}, expected a Frame, None or an iterable of frames{hint}")
    try:
        for item in results:
            if not isinstance(item, Frame):
                raise TypeError(f"{who!r} returned an iterable with {item!r} in it, expected frames only")
            yield item
    finally:
        if isinstance(results, Generator):
            results.close()  # rather than leave it to the garbage collector


class EachProcessor(FrameProcessor):
    """A function as a processor."""

    _node_class: ClassVar[type[Node]] = FunctionNode
    gives: tuple[type[Frame], ...] | None = None
    """What it says it returns; None: anything."""

    def __init__(self, fn: FrameFunction[Any], types: tuple[type[Frame], ...], name: str, settings: Settings) -> None:
        self.fn = fn if settings.timeout is None else timed(fn, settings.timeout, name)
        self.types = types
        self.name = name
        self.on_error = settings.on_error
        self.is_async = _is_async(fn)
        self.inline = not self.is_async  # a sync function adds no task

    def _comes_of(self, coming: Types | None) -> Types | None:
        check_takes(self.name, self.types, coming)
        return in_place_of(self.types, self.gives, coming)

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        kind = "async function" if self.is_async else "function"
        return drawing.box(self, above, kind="function", about=f"{kind} of {names_of(self.types)}{self._times()}")

    def _times(self) -> str:
        return ""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is not DOWN or not isinstance(frame, self.types):
            await self.push_frame(frame, direction)
            return
        result: Any = self.fn(frame)
        if self.is_async and isinstance(result, Awaitable):
            result = await result
        if isinstance(result, Frame):
            await self.push_frame(result)
        elif self.is_async and isinstance(result, AsyncIterable):
            await self._push_all(result)
        elif result is not None:
            with closing(frames_in(result, self.name)) as frames:
                for item in frames:
                    await self.push_frame(item)

    async def _push_all(self, items: Any) -> None:
        async with aclosing(items) if hasattr(items, "aclose") else nullcontext():
            async for item in items:
                await self.push_frame(item)


class ConcurrentEachProcessor(EachProcessor):
    """A function that may be inside several frames at once."""

    _node_class: ClassVar[type[Node]] = ConcurrentNode

    def __init__(self, fn: FrameFunction[Any], types: tuple[type[Frame], ...], name: str, settings: Settings) -> None:
        super().__init__(fn, types, name, settings)
        self.concurrency = settings.concurrency
        self.ordered = settings.ordered

    def _times(self) -> str:
        return f", {self.concurrency} at once"

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Handle a frame that the function takes; others keep their place without it."""
        result: Any = self.fn(frame)
        if isinstance(result, Awaitable):
            result = await result
        if isinstance(result, AsyncIterable):
            await self._push_all(result)  # a generator is inside while its frames wait
            return
        cast("ConcurrentNode", self._node).left_function()
        if isinstance(result, Frame):
            await self.push_frame(result)
        elif result is not None:
            with closing(frames_in(result, self.name)) as frames:
                for item in frames:
                    await self.push_frame(item)
