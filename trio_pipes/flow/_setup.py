"""Set-up and cleanup of one processor: its `lifespan`, held open by a task of its own.

# Which exception wins, and what is shielded.
#
# Above the `yield` the code is cancelled with the task, and has `setup_timeout`. While the pipeline runs
# the lifespan is shielded, because its cleanup has to wait until the handlers have ended. Then either the
# `yield` simply returns (the run ended), or it raises Cancelled (the run was cancelled or failed); either way
# what is below it runs shielded, with `cleanup_timeout` as a deadline. An error of its own is noted and
# leaves `run()` with the others.
#
# All this holds for a run, and for a block round several runs (`_opened`): each is the holder of its lifespans.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

import trio
from trio.lowlevel import Task, current_task

if TYPE_CHECKING:
    from ._frames import Frame
    from ._params import PipelineParams

__all__ = ["Holder", "Lifespan", "flat", "wait_cleaned_up"]

logger = logging.getLogger("trio_pipes")


class Holder(Protocol):
    """Who holds lifespans: a run, or a block round several."""

    name: str
    params: PipelineParams

    def fail(self, exc: Exception) -> None: ...

    def is_set_up(self, node: Place, seconds: float) -> None: ...


class Place(Protocol):
    """Where the processor stands."""

    name: str

    def note(self, exc: Exception, frame: Frame | None) -> None:
        """Write into an error where it happened."""


class Lifespan:
    """One processor's set-up and cleanup."""

    def __init__(self, node: Place, manager: AbstractAsyncContextManager[None], holder: Holder) -> None:
        self.node = node
        self.holder = holder
        self.ready = trio.Event()
        self.done = trio.Event()
        self.task: Task | None = None
        self._manager = manager
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
                except trio.Cancelled:  # noqa: ASYNC103
                    if not self._cancelled or self._inner.cancel_called:
                        raise
        except Exception as exc:  # noqa: BLE001  (handed on)
            self.node.note(exc, None)
            exc.add_note("in its lifespan")
            self.holder.fail(exc)
        finally:
            self.done.set()
        if self._inner.cancelled_caught and self.ready.is_set():
            logger.warning(
                "%s: cleanup of %r took longer than cleanup_timeout (%g s) and was cancelled",
                self.holder.name,
                self.node.name,
                self.holder.params.cleanup_timeout,
            )
        self.ready.set()  # who still waits for it waits for others now

    async def _hold(self) -> None:
        began = trio.current_time()
        async with self._manager:
            self._inner.shield = True
            self.ready.set()
            self.holder.is_set_up(self.node, trio.current_time() - began)
            await self._closing.wait()
            self._inner.deadline = trio.current_time() + self.holder.params.cleanup_timeout
            if self._cancelled:
                raise await _a_cancelled()
        if not self._closing.is_set():
            raise RuntimeError("it ended while the pipeline was running: something below its yield was cancelled")

    def close(self, *, cancelled: bool) -> None:
        """Let the cleanup begin; `cancelled` raises Cancelled at the `yield`."""
        self._cancelled = cancelled
        self._closing.set()
        if cancelled and not self.ready.is_set():
            self._inner.cancel(reason=f"{self.holder.name} was cancelled or failed")


async def _a_cancelled() -> trio.Cancelled:
    """Trio's exception, to be raised at one `yield` only: what the lifespan has started goes on until it is left."""
    with trio.CancelScope() as scope:
        scope.cancel(reason="the run was cancelled or has failed")
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as exc:  # noqa: ASYNC103
            return exc  # noqa: ASYNC104
    raise AssertionError("unreachable")


async def wait_cleaned_up(lifespans: Sequence[Lifespan], holder: Holder) -> None:
    """Wait for lifespans, and say who is still cleaning up after the deadline: a shield cannot be cut."""
    with trio.CancelScope(shield=True):
        since = trio.current_time()
        while True:
            with trio.move_on_after(holder.params.cleanup_timeout + 1):
                for lifespan in lifespans:
                    await lifespan.done.wait()
                return
            late = trio.current_time() - since
            names = ", ".join(repr(one.node.name) for one in lifespans if not one.done.is_set())
            logger.warning("%s: cleanup of %s has lasted %.1f s and shields itself", holder.name, names, late)


def flat(exc: Exception) -> Iterator[Exception]:
    """The errors in a group of groups, with the notes of the groups."""
    if isinstance(exc, ExceptionGroup):
        for inner in exc.exceptions:
            for note in getattr(exc, "__notes__", ()):
                inner.add_note(note)
            yield from flat(inner)
    else:
        yield exc
