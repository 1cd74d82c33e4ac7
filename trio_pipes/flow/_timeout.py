"""How long one frame may take: the `timeout` of a function, a block or a class.

A function's timeout is the time in the function: of a call, or of all that an async generator does between its
frames. What its frames then wait for, room below or the results before them, is not its fault. A class pushes within
its handler and a block within its loop, so there such waiting counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import trio

from trio_pipes._base import FrameTimeout

from ._frames import LIFECYCLE, Direction, Frame

__all__ = ["frame_timeout", "in_time", "timed"]


def frame_timeout(who: str, frame: Frame, seconds: float) -> FrameTimeout:
    """The error that names all three."""
    return FrameTimeout(f"{who!r} has not done with {frame.name} within its timeout ({seconds:g} s)")


def in_time(
    process: Callable[[Frame, Direction], Awaitable[None]], seconds: float, who: str
) -> Callable[[Frame, Direction], Awaitable[None]]:
    """A handler that raises `FrameTimeout` when it takes longer; lifecycle frames have the task's timeouts."""

    async def process_in_time(frame: Frame, direction: Direction) -> None:
        if frame._lane == LIFECYCLE:
            await process(frame, direction)
            return
        with trio.move_on_after(seconds) as scope:
            await process(frame, direction)
        if scope.cancelled_caught:
            raise frame_timeout(who, frame, seconds)

    return process_in_time


def timed(fn: Callable[[Frame], Any], seconds: float, who: str) -> Callable[[Frame], Awaitable[Any]]:
    """The same async function, which raises `FrameTimeout` when it takes longer than `seconds` over a frame."""

    async def call(frame: Frame) -> Any:
        result = fn(frame)
        if isinstance(result, Awaitable):
            with trio.move_on_after(seconds) as scope:
                result = await result
            if scope.cancelled_caught:
                raise frame_timeout(who, frame, seconds)
        if isinstance(result, AsyncIterable):
            return _TimedItems(result, seconds, lambda: frame_timeout(who, frame, seconds))
        return result

    return call


class _TimedItems:
    """What an async generator gives, and how long it takes over it; the time of who reads it does not count."""

    def __init__(self, items: AsyncIterable[Any], seconds: float, error: Callable[[], FrameTimeout]) -> None:
        self._iterable = items
        self._items = aiter(items)
        self._left = seconds
        self._error = error

    def __aiter__(self) -> _TimedItems:
        return self

    async def __anext__(self) -> Any:
        began = trio.current_time()
        item = None
        with trio.move_on_after(self._left) as scope:
            item = await anext(self._items)
        if scope.cancelled_caught:
            raise self._error()
        self._left -= trio.current_time() - began
        return item

    async def aclose(self) -> None:
        aclose = getattr(self._iterable, "aclose", None)
        if aclose is not None:
            await aclose()
