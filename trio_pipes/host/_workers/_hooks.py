"""What a user of `BaseWorker` overrides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from .._bus import BusMessage
    from .._registry import WorkerInfo
    from .._worker import Host

__all__ = ["Hooks"]


class Hooks:
    """The hooks, as they stand, and what its life needs to know of a worker."""

    name: str
    """Default: the class and a count, `"Researcher#0"`; such a name is known on its own runner only."""
    cleanup_timeout: ClassVar[float] = 10.0
    """Seconds that the code after the `yield` of `lifespan` may take."""

    @property
    def address(self) -> str:
        """What messages to it have as their target."""
        raise NotImplementedError

    @property
    def runner(self) -> Host:
        """Its runner."""
        raise NotImplementedError

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Set-up above the `yield`, cleanup below it.

        Nothing is handled before the `yield`; what arrives meanwhile waits. The `yield` returns when the worker has ended,
        and raises `trio.Cancelled` when it was cancelled or has failed. Cleanup may await, whatever ended the worker;
        `cleanup_timeout` is its deadline.
        """
        yield

    async def on_bus_message(self, message: BusMessage) -> None:
        """A message to this worker, or a broadcast. Data messages come one at a time, in order, while it is active.

        System messages come too, in their own order, also while a data message is being handled, active or not.
        """

    async def on_activated(self, args: Any) -> None:
        """It is active: at its start, or because somebody activated it or handed over, with these arguments."""

    async def on_deactivated(self) -> None:
        """It is not active any more. Data messages that it has not been given are dropped."""

    async def on_worker_ready(self, info: WorkerInfo) -> None:
        """A worker that it watches (`watch_workers`) is ready, or ready again."""

    async def on_worker_gone(self, info: WorkerInfo) -> None:
        """A worker that it watches has ended, or its runner is not heard of any more."""

    async def on_child_failed(self, name: str, error: Exception) -> None:
        """A child has failed. Where this is overridden, the error goes no further unless it is raised here.

        As it stands the runner does what it does with every failure.
        """
