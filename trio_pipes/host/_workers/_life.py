"""The life of one `BaseWorker`: its nursery, and what is done in it.

# Which task runs what.
#
# The task of `run()` holds the lifespan and hands data messages to `on_bus_message`, one at a time. What is urgent (system
# messages of the user's, and hooks such as `on_activated`) is done by a second task, in order, which is there while there
# is something to do; so it does not wait for a handler of data. A data message waits for hooks that came before it.
# Orders (activate, end, cancel) take effect in the sender's task, before its `send` returns. `start_soon` adds tasks. All
# are in one nursery, so an error in any of them is the worker's failure and nobody else's. Jobs that others ask for have
# a task each, once the hooks are done that the worker's being active calls for; their errors are those who asked's.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

import trio

from trio_pipes._base import REQUESTED, ConfigurationError, Requested, Value

from .._bus import BusMessage, SystemMessage
from .._jobs import JobServer, job_handlers_of
from ._children import Children
from ._hooks import Hooks
from ._presence import CONTROL, Presence
from ._urgent import Urgent, noting
from ._watching import Handler, ready_handlers, watch

if TYPE_CHECKING:
    from .._worker import Host

__all__ = ["Life"]

logger = logging.getLogger("trio_pipes")


class Life:
    """What a worker is made of."""

    def __init__(self, worker: Hooks) -> None:
        self.worker = worker
        self.buffer = 1024
        self.runner_or_none: Host | None = None
        self.presence = Presence(self, active=True)
        self.children = Children()
        self.urgent = Urgent()
        self.jobs: JobServer | None = None
        self.state: Value[str] = Value("new")
        self.nursery: trio.Nursery | None = None
        self.ready: dict[str, Handler] = {}
        self.handled = 0
        self.dropped = 0
        self._scope = trio.CancelScope()
        self._told = False
        self._said_started = False
        self._early: list[tuple[Callable[..., Awaitable[object]], tuple[Any, ...]]] = []

    @property
    def runner(self) -> Host:
        """Its runner."""
        return self.worker.runner

    @property
    def address(self) -> str:
        """Its address."""
        return self.worker.address

    def attach(self, runner: Host) -> None:
        """It has a runner. Raises `RuntimeError` when another one runs it, or has run it."""
        if runner is not self.runner_or_none:
            self._check_new()
        self.urgent.who = self.worker.name
        self.ready = ready_handlers(self.worker)
        job_handlers_of(type(self.worker))  # what is wrong with them shows early
        self.runner_or_none = self.children.runner = runner
        self.children.name = self.worker.name

    def overrides(self, hook: str) -> bool:
        """Whether the user has written this method."""
        return getattr(type(self.worker), hook) is not getattr(Hooks, hook)

    # -- the run

    async def run(self, task_status: trio.TaskStatus[Any]) -> None:
        """See `BaseWorker.run`."""
        self._check_new()
        self.state.value = "starting"
        try:
            with self._scope:
                if self.runner_or_none is None:
                    await self._live(task_status)
                else:
                    async with self.presence.opened(self._types(), self.buffer):
                        await self._live(task_status)
            if not self._said_started:  # it was cancelled before
                task_status.started(self.worker)
        finally:
            self.state.value = "over"

    def _check_new(self) -> None:
        if self.state.value != "new":
            raise RuntimeError(
                f"{self.worker.name!r} has been run already. A worker is one run: make a new one for the next"
            )

    def _types(self) -> tuple[type[BusMessage], ...]:
        """What it wants to get; empty: everything."""
        return () if self.overrides("on_bus_message") else CONTROL

    async def _live(self, task_status: trio.TaskStatus[Any]) -> None:
        with trio.CancelScope() as hold:
            async with self._checked_lifespan():
                try:
                    async with trio.open_nursery() as nursery:
                        self.nursery = nursery
                        try:
                            async with self._jobs_taken(nursery):
                                self._begin(nursery)
                                self._said_started = True
                                task_status.started(self.worker)
                                await self._work()
                            nursery.cancel_scope.cancel(reason=f"{self.worker.name} is over")
                        finally:
                            self.state.value = "ending"
                            self.nursery = self.urgent.nursery = None
                            self.presence.close()
                finally:
                    hold.shield = True
                    hold.deadline = trio.current_time() + self.worker.cleanup_timeout
        if hold.cancelled_caught:
            logger.warning(
                "%s: its cleanup took longer than %g s and was cancelled", self.worker.name, self.worker.cleanup_timeout
            )

    @asynccontextmanager
    async def _jobs_taken(self, nursery: trio.Nursery) -> AsyncIterator[None]:
        """A block in which others may ask for jobs."""
        if self.runner_or_none is None:
            yield
            return
        async with JobServer(self.worker, self.runner_or_none, nursery, address=self.address) as self.jobs:
            self.jobs.hold()
            if self._told:
                self.jobs.stop()
            yield

    def _activated(self, args: Any) -> None:
        """Jobs begin once `on_activated` is done. Most workers have none, and cost no task for it."""
        if self.overrides("on_activated"):
            self.urgent.add(self.worker.on_activated, args)
        if self.urgent.has_hooks:
            self.urgent.add(self._begin_jobs)
        else:
            self._resume_jobs()

    async def _begin_jobs(self) -> None:
        self._resume_jobs()

    def _resume_jobs(self) -> None:
        if self.jobs is not None and self.presence.activation.active:
            self.jobs.resume()

    def _begin(self, nursery: trio.Nursery) -> None:
        self.state.value = "ending" if self._told else "running"
        self.urgent.nursery = nursery
        if self.presence.activation.active:
            self._activated(self.presence.activation.args)
        early, self._early = self._early, []
        for fn, args in early:
            nursery.start_soon(self._noted, fn, *args)
        for name, handler in self.ready.items():
            nursery.start_soon(self._noted, watch, self.worker, (name,), handler, None)
        self.presence.begin()

    async def _work(self) -> None:
        """Handle messages until told to end and all that was accepted is done; then see the children off."""
        while (message := await self.presence.next_message()) is not None:
            await self.urgent.wait_hooks_done()
            if self.presence.activation.active:
                self.handled += 1
                with noting(self.worker.name, "on_bus_message", (message,)):
                    await self.worker.on_bus_message(message)
            else:
                self.dropped += 1
        await self.urgent.wait_hooks_done()
        if self.jobs is not None:
            await self.jobs.wait_idle()
        await self.children.see_off()

    def _checked_lifespan(self) -> AbstractAsyncContextManager[None]:
        manager = self.worker.lifespan()
        if not hasattr(manager, "__aenter__"):
            if iscoroutine(manager):
                manager.close()
            raise ConfigurationError(
                f"{type(self.worker).__name__}.lifespan() gave {manager!r}, expected an async context manager. "
                "Decorate it with @contextlib.asynccontextmanager."
            )
        return manager

    # -- tasks and requests

    def start_soon(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """See `BaseWorker.start_soon`."""
        if self.nursery is not None:
            self.nursery.start_soon(self._noted, fn, *args)
        elif self.state.value in ("new", "starting"):
            self._early.append((fn, args))
        else:
            raise RuntimeError(f"{self.worker.name!r} is {self.state.value}, and starts no task any more")

    def spawn(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """The same for the library's own tasks; nothing where it is over."""
        if self.nursery is not None:
            self.nursery.start_soon(fn, *args)

    async def _noted(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        with noting(self.worker.name, getattr(fn, "__name__", repr(fn)), args):
            await fn(*args)

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """See `BaseWorker.stop_when_done`."""
        if not self._told:
            self._told = True
            if self.state.value == "running":
                self.state.value = "ending"
            self.presence.close()
            if self.jobs is not None:
                self.jobs.stop()
        return REQUESTED

    def cancel(self, reason: str | None = None) -> Requested:
        """See `BaseWorker.cancel`."""
        self._told = True
        self.presence.close()
        self.children.cancel(reason)
        self._scope.cancel(reason=reason or f"{self.worker.name} was cancelled")
        return REQUESTED

    # -- what comes from the bus and from the runner

    def activity_changed(self, active: bool, args: Any) -> None:
        """It is active from now on, or not."""
        if active:
            self._activated(args)
        else:
            if self.jobs is not None:
                self.jobs.hold()
            if self.overrides("on_deactivated"):
                self.urgent.add(self.worker.on_deactivated)
        if self.runner.registry.get(self.worker.name) is not None:
            self.runner.registry.set_active(self.worker.name, active)

    def take(self, message: BusMessage) -> bool:
        """A message that has come: whether it need not wait for those before it."""
        if not isinstance(message, SystemMessage):
            return False
        if self.overrides("on_bus_message"):
            self.urgent.add(self.worker.on_bus_message, message, is_hook=False)
        return True

    def child_failed(self, name: str, error: Exception) -> bool:
        """A child has failed. False: do with it what is usual."""
        if self.nursery is None or not self.overrides("on_child_failed"):
            return False
        self.urgent.add(self.worker.on_child_failed, name, error)
        return True
