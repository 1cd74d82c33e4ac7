"""What goes on inside a processor's handlers, seen and steered from outside.

A class's `process_frame` and a block's function are replaced, on the one instance, by coroutines that run the original
step by step: that shows a `Cancelled` that goes in and does not come out. And a push can be made to raise.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

import attrs
import outcome
import trio

from trio_pipes import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    Pipeline,
    StartFrame,
    StopFrame,
    each,
    processor,
)

from ._trial import leaves_of

__all__ = ["FUNCTIONS", "RECIPES", "Injected", "Lifespans", "fail_push", "watch_cancels"]


@processor
async def _block(frames: Frames[Frame], out: Out) -> None: ...


# What `@each` and `@processor` make: each pipeline makes a processor of its own from it.
RECIPES: tuple[type[Any], ...] = (type(each(lambda frame: frame)), type(_block))
BLOCK = type(Pipeline([_block]).processors[0])
# Processors that are functions: what shares a task is not theirs to say.
FUNCTIONS = (BLOCK, type(Pipeline([each(lambda frame: frame)]).processors[0]))


class Injected(Exception):
    """Raised by a push, to see where it ends."""


def _wrap(subject: FrameProcessor, wrap: Callable[[FrameProcessor, Any], Any]) -> None:
    """Replace the function that handles frames in each leaf."""
    for leaf in leaves_of(subject):
        handler = "fn" if type(leaf) is BLOCK else "process_frame"
        setattr(leaf, handler, wrap(leaf, getattr(leaf, handler)))


# -- Cancelled


def watch_cancels(subject: FrameProcessor, is_cancelled: Callable[[], bool], swallowed: list[str]) -> None:
    """Note where a `Cancelled` that was raised in a handler after the run was cancelled does not leave it."""

    def wrap(leaf: FrameProcessor, original: Any) -> Any:
        async def watched(*args: Any) -> Any:
            what = "" if type(leaf) is BLOCK else f" of {args[0].name}"
            return await _Watched(original(*args), f"the handler{what}", is_cancelled, swallowed)

        return watched

    _wrap(subject, wrap)


@attrs.define
class _Watched:
    coro: Coroutine[Any, Any, Any]
    what: str
    is_cancelled: Callable[[], bool]
    swallowed: list[str]

    def __await__(self) -> Generator[Any, Any, Any]:
        cancelled = False
        value: Any = None
        try:
            while True:
                trap = self.coro.send(value)
                value = yield trap
                if isinstance(value, outcome.Error) and isinstance(value.error, trio.Cancelled) and self.is_cancelled():
                    cancelled = True
        except StopIteration as end:
            if cancelled:
                self.swallowed.append(f"{self.what} was cancelled, and returned as if it had not been")
            return end.value
        except Exception as exc:
            if cancelled:
                self.swallowed.append(f"{self.what} was cancelled, and raised {exc!r} in place of Cancelled")
            raise


# -- errors


class fail_push:  # noqa: N801  (used like a function)
    """Make the nth push of a processor raise; lifecycle frames do not count."""

    def __init__(self, subject: FrameProcessor, nth: int) -> None:
        self.left = nth
        self.error: Injected | None = None
        self.where = ""
        _wrap(subject, self._wrap_leaf)

    def _wrap_leaf(self, leaf: FrameProcessor, original: Any) -> Any:
        async def block(frames: Any, out: Any) -> None:
            out.push = self._failing(out.push, leaf)
            await original(frames, out)

        async def handler(frame: Frame, direction: Direction) -> None:
            push: Any = leaf.push_frame
            if getattr(push, "fails", None) is not self:
                setattr(leaf, "push_frame", self._failing(push, leaf))  # noqa: B010  (a method, for one instance)
            await original(frame, direction)

        return block if type(leaf) is BLOCK else handler

    def _failing(self, push: Any, leaf: FrameProcessor) -> Any:
        async def failing(frame: Frame, direction: Direction = Direction.DOWNSTREAM) -> None:
            if not isinstance(frame, StartFrame | EndFrame | StopFrame):
                self.left -= 1
                if self.left == 0:
                    self.where = f"push of {frame.name} by {leaf.name!r}"
                    self.error = Injected(f"raised by the {self.where}")
                    raise self.error
            await push(frame, direction)

        failing.fails = self  # type: ignore[attr-defined]
        return failing


# -- lifespans


class Lifespans:
    """Counts the lifespans of a processor that are entered and left, and how long leaving them took."""

    def __init__(self, subject: FrameProcessor) -> None:
        self.entered = self.left = 0
        self.slowest = 0.0  # seconds on Trio's clock
        for leaf in leaves_of(subject):
            if type(leaf).lifespan is not FrameProcessor.lifespan:
                setattr(leaf, "lifespan", self._counted(leaf.lifespan))  # noqa: B010

    def _counted(self, lifespan: Callable[[], Any]) -> Callable[[], Any]:
        def counted() -> Any:
            manager = lifespan()
            return _Counted(manager, self) if hasattr(manager, "__aenter__") else manager

        return counted


@attrs.define
class _Counted:
    manager: Any
    counts: Lifespans

    async def __aenter__(self) -> None:
        await self.manager.__aenter__()
        self.counts.entered += 1

    async def __aexit__(self, *error: object) -> bool | None:
        began = trio.current_time()
        try:
            return await self.manager.__aexit__(*error)  # type: ignore[no-any-return]  # a context manager's  # noqa: ASYNC102
        finally:
            self.counts.left += 1
            self.counts.slowest = max(self.counts.slowest, trio.current_time() - began)
