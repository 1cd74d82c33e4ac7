"""`Beside`: tasks that run beside the body of a block, and are in nobody's way.

A nursery would wrap the body's error in a group, because its tasks might have failed as well. These tasks do not fail (what
goes wrong in them is told to whoever reads the job), so the body's error leaves the block as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, final

import trio

__all__ = ["Beside"]


@final
class Beside:
    """Open it when the block is entered, close it when it is left."""

    def __init__(self) -> None:
        self._manager: AbstractAsyncContextManager[trio.Nursery] = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def open(self) -> Self:
        """In the task of the block."""
        self._nursery = await self._manager.__aenter__()
        return self

    def start(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        """One more task."""
        assert self._nursery is not None
        self._nursery.start_soon(function, *args)

    async def close(self, error: BaseException | None) -> None:
        """Cancel the tasks, and wait for them. `error` is what the block is left with."""
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel(reason="the block is left")
        try:
            await self._manager.__aexit__(None, None, None)
        except trio.Cancelled:  # noqa: ASYNC103
            if error is None:  # the block is cancelled just now; else what it is left with is on its way already
                raise
        except BaseExceptionGroup as group:
            _, other = group.split(trio.Cancelled)
            if error is None or other is not None:
                raise
