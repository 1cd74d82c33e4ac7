"""Set-up and cleanup of one processor: its `lifespan`, held open by a task of its own.

# Which exception wins, and what is shielded.
#
# Above the `yield` the code is cancelled with the task, and has `setup_timeout`. While the pipeline runs
# the lifespan is shielded, because its cleanup has to wait until the handlers have ended. Then either the
# `yield` simply returns (the run ended), or it raises Cancelled (the run was cancelled or failed); either way
# what is below it runs shielded, with `cleanup_timeout` as a deadline. An error of its own is noted and
# leaves `run()` with the others.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Task, current_task

if TYPE_CHECKING:
    from ._contracts import Run
    from ._node import Node

__all__ = ["Lifespan"]

logger = logging.getLogger("trio_pipes")


class Lifespan:
    """One processor's set-up and cleanup in one run."""

    def __init__(self, node: Node, manager: AbstractAsyncContextManager[None], engine: Run) -> None:
        self.node = node
        self.ready = trio.Event()
        self.done = trio.Event()
        self.task: Task | None = None
        self._manager = manager
        self._engine = engine
        self._closing = trio.Event()
        self._cancelled = False
        self._inner = trio.CancelScope()

    async def run(self) -> None:
        """Hold the lifespan open until `close`."""
        self.task = current_task()
        try:
            with self._inner:
                try:
                    await self._hold()
                except trio.Cancelled:
                    if not self._cancelled or self._inner.cancel_called:
                        raise
        except Exception as exc:  # noqa: BLE001  (handed on)
            self.node.note(exc, None)
            exc.add_note("in its lifespan")
            self._engine.fail(exc)
        finally:
            self.done.set()
        if self._inner.cancelled_caught and self.ready.is_set():
            logger.warning(
                "%s: cleanup of %r took longer than cleanup_timeout (%g s) and was cancelled",
                self._engine.name,
                self.node.name,
                self._engine.params.cleanup_timeout,
            )

    async def _hold(self) -> None:
        async with self._manager:
            self._inner.shield = True
            self.ready.set()
            await self._closing.wait()
            self._inner.deadline = trio.current_time() + self._engine.params.cleanup_timeout
            if self._cancelled:
                raise await _a_cancelled()
        if not self._closing.is_set():
            raise RuntimeError("it ended while the pipeline was running: something below its yield was cancelled")

    def close(self, *, cancelled: bool) -> None:
        """Let the cleanup begin; `cancelled` raises Cancelled at the `yield`."""
        self._cancelled = cancelled
        self._closing.set()
        if cancelled and not self.ready.is_set():
            self._inner.cancel(reason=f"{self._engine.name} was cancelled or failed")


async def _a_cancelled() -> trio.Cancelled:
    """Trio's exception, to be raised at one `yield` only: what the lifespan has started goes on until it is left."""
    with trio.CancelScope() as scope:
        scope.cancel(reason="the run was cancelled or has failed")
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as exc:
            return exc
    raise AssertionError("unreachable")
