"""One open `run()` of a runner: a nursery, and the workers in it.

# One nursery, and in which order it empties.
#
# Workers, helpers, and what serves the runner itself (readers of signals, async observers) are tasks of one
# nursery: a nursery costs more than a scope, and most calls host one worker. Each worker has a scope of its own. The
# body waits for the roots. When it goes on or is cancelled, from wherever that comes (the runner, an error, the
# grace period, a scope round it all), workers are ended first and helpers when those are gone: a worker's cleanup can
# still use them. So the scope of a helper is shielded, and its cancel always comes from here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import attrs
import trio

from trio_pipes._base import Value

from ._observers import Observers
from ._readiness import Readiness
from ._restart import pipeline_task_of
from ._roster import Entry, Roster
from ._worker import Worker, ask_worker, inner

if TYPE_CHECKING:
    from ._registry import Membership, Registry

__all__ = ["Call", "Shared"]

logger = logging.getLogger("trio_pipes")


@attrs.define(eq=False)
class Shared:
    """What the calls of one runner have in common."""

    name: str
    tell: Callable[..., None]
    """Tells the observers: an event, a worker, and what else belongs to it."""
    take_back: Callable[[Worker], None]
    """Makes the runner that of a worker which another one was given since, and has not run."""
    observers: Observers
    roster: Roster
    readiness: Readiness
    told: Value[bool]
    """To end: no new workers."""
    membership: Membership | None = None
    """Of a runner that has a bus."""
    finished: int = 0
    failed: int = 0


@attrs.define(eq=False)
class Call:
    """One open `run()`."""

    shared: Shared
    auto_end: bool
    own: Entry | None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Round the body: who cancels it cancels the call."""
    opening: trio.CancelScope | None = None
    """Round the opening of a bus, which may take its time."""
    nursery: trio.Nursery | None = None
    errors: list[Exception] = attrs.field(factory=list)
    hosted: dict[Entry, None] = attrs.field(factory=dict)
    closing: bool = False  # it hosts nobody any more
    told_started: bool = False
    alone: bool = True  # it has hosted nobody but its own worker
    _why: str | None = None
    _roots: int = 0
    _others: int = 0  # all but helpers
    _fewer: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _last: trio.Event | None = None  # set when the worker that was hosted last is ready: then the next starts

    # -- hosting

    def host(self, entry: Entry) -> None:
        """Start a worker, when the one before it is ready."""
        assert self.nursery is not None
        entry.scope = trio.CancelScope(shield=entry.helper)
        self.hosted[entry] = None
        self.alone = self.alone and entry is self.own
        self._roots += entry.is_root
        self._others += not entry.helper
        before, self._last = self._last, entry.may_follow
        self.nursery.start_soon(self._run, entry, entry.scope, before)

    async def _run(self, entry: Entry, scope: trio.CancelScope, before: trio.Event | None) -> None:
        worker, shared = entry.worker, self.shared
        started = False
        error: BaseException | None = None
        try:
            with scope:
                shared.take_back(worker)
                if shared.membership is not None:  # before its turn: those who start together get their names together
                    await shared.membership.enlist(entry)
                if before is not None and not before.is_set():
                    await before.wait()
                started = True
                self._follow_parent(entry)
                shared.tell("on_worker_started", worker)
                entry.result = await worker.run(task_status=_Status(entry, shared))
        except Exception as exc:  # noqa: BLE001  (it leaves the call when all in it has ended, unless it is isolated)
            error = exc
            self.failed(entry, exc)
        finally:
            try:
                if not started:  # whoever waits for it is told
                    self.ask(entry, "cancel", f"{shared.name} ended before it could start")
                if scope.cancelled_caught and (task := pipeline_task_of(worker)) is not None:
                    entry.result = task.result
            finally:
                self._over(entry, error)

    def _over(self, entry: Entry, error: BaseException | None) -> None:
        shared = self.shared
        shared.finished += 1
        shared.roster.remove(entry)
        shared.readiness.remove(entry.name, error)
        if shared.membership is not None:
            shared.membership.delist(entry.name)
        del self.hosted[entry]
        if entry.following is not None:
            entry.following.cancel(reason="its child has ended")
        self._roots -= entry.is_root
        self._others -= not entry.helper
        entry.may_follow.set()
        self._fewer.unpark_all()  # before anything that runs the code of others
        parent = None if entry.parent is None else shared.roster.get(entry.parent)
        if parent is not None and (tell := getattr(inner(parent.worker), "_child_over", None)) is not None:
            tell()
        for child in reversed(shared.roster.children_of(entry.name)):
            if not child.is_told:
                self.ask(child, "stop_when_done", None)
        shared.tell("on_worker_finished", entry.worker)

    def failed(self, entry: Entry, error: Exception) -> None:
        """A worker has failed: alone, if it is isolated; else with it the call."""
        shared = self.shared
        shared.failed += not entry.has_failed
        entry.has_failed = True
        shared.tell("on_error", entry.worker, error)
        if self._told_to_parent(entry, error):
            return
        if entry.isolated:
            logger.error("%s: isolated worker %r failed", shared.name, entry.name, exc_info=error)
        else:
            self.errors.append(error)
            self.cancel(f"worker {entry.name!r} of {shared.name} failed: {error!r}")

    def fail(self, entry: Entry, error: Exception) -> None:
        """A worker may not go on."""
        self.failed(entry, error)
        if entry.scope is not None:
            entry.scope.cancel(reason=str(error))

    def _follow_parent(self, entry: Entry) -> None:
        """A parent on another runner: when the registry says that it is gone, its child is asked to end."""
        shared = self.shared
        if entry.parent is not None and shared.membership is not None and shared.roster.get(entry.parent) is None:
            assert self.nursery is not None
            entry.following = trio.CancelScope()
            self.nursery.start_soon(self._until_gone, entry, entry.parent, entry.following, shared.membership.registry)

    async def _until_gone(self, entry: Entry, parent: str, scope: trio.CancelScope, registry: Registry) -> None:
        with scope:
            async with registry.watch(parent) as events:
                async for event in events:
                    if event.is_gone:
                        self.ask(entry, "stop_when_done", f"its parent {parent!r} is gone: {event.reason}")
                        return

    def _told_to_parent(self, entry: Entry, error: Exception) -> bool:
        """Whether the error has been given to the worker's parent, which says what becomes of it."""
        parent = None if entry.parent is None else self.shared.roster.get(entry.parent)
        take = getattr(inner(parent.worker), "_child_failed", None) if parent is not None else None
        return take is not None and take(entry.name, error)

    def ask(self, entry: Entry, request: str, reason: str | None) -> None:
        """Ask a worker to end. One whose answer is an error has failed, and hinders nobody else from being asked."""
        entry.is_told = True
        try:
            ask_worker(entry.worker, request, reason)
        except Exception as exc:  # noqa: BLE001  (the worker's own failure)
            self.failed(entry, exc)
            if entry.scope is not None:
                entry.scope.cancel(reason=f"its {request}() raised {exc!r}")

    def cancel(self, why: str) -> None:
        """Cancel the body, and so everything in this call."""
        if self._why is None:
            self._why = why
        self.scope.cancel(reason=why)
        if self.opening is not None:
            self.opening.cancel(reason=why)

    def hurry(self, deadline: float) -> None:
        """Cancel the body at this time of Trio's clock, in seconds, where it has not ended before."""
        for scope in filter(None, (self.scope, self.opening)):
            scope.deadline = min(scope.deadline, deadline)

    # -- its life

    async def serve(
        self,
        begin: Callable[[trio.Nursery], Iterable[Entry]],
        ready: Callable[[], None],
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        """Host until it is over; `begin` gives the workers that are there, `leave` is awaited with the nursery open."""
        async with trio.open_nursery() as self.nursery:
            try:
                with self.scope:
                    await self._body(begin(self.nursery), ready)
            finally:
                self.closing = True
                try:
                    if self.hosted:
                        with trio.CancelScope(shield=True):  # each wait in it is for what has been cancelled
                            await self._clear()
                    await leave()  # noqa: ASYNC102
                finally:
                    self._cancel_all()
                    if self.shared.membership is not None:
                        self.shared.membership.leave(self.nursery)
            self.nursery.cancel_scope.cancel(reason=f"{self.shared.name} is over")

    async def _body(self, before: Iterable[Entry], ready: Callable[[], None]) -> None:
        before = list(before)
        for entry in before:
            self.host(entry)
        for entry in before:
            await entry.may_follow.wait()
        ready()
        self.told_started = True
        if not self.auto_end:
            await self.shared.told.wait_value(True)
        while self._roots:
            await self._fewer.park()
        self.closing = True
        self._ask_all("stop_when_done", helpers=False)  # children whose parents are not here
        while self._others:
            await self._fewer.park()
        self._ask_all("stop_when_done", helpers=True)
        while self.hosted:
            await self._fewer.park()

    async def _clear(self) -> None:
        """End what is left after a cancel: workers, and when they are gone, helpers."""
        why = self._why or f"{self.shared.name} is over"
        for entry in reversed(self.hosted):
            if not entry.helper and entry.scope is not None:
                entry.scope.cancel(reason=why)
        while self._others:
            await self._fewer.park()
        self._ask_all("cancel", helpers=True)
        self._cancel_all()
        while self.hosted:
            await self._fewer.park()

    def _ask_all(self, request: str, *, helpers: bool) -> None:
        for entry in reversed(tuple(self.hosted)):
            if entry.helper is helpers and not (entry.is_told and request == "stop_when_done"):
                self.ask(entry, request, self._why if request == "cancel" else None)

    def _cancel_all(self) -> None:
        for entry in reversed(self.hosted):
            if entry.scope is not None:
                entry.scope.cancel(reason=self._why or f"{self.shared.name} is over")


class _Status:
    """The `task_status` that a worker is given: says when it is ready."""

    def __init__(self, entry: Entry, shared: Shared) -> None:
        self._entry = entry
        self._shared = shared

    def started(self, value: object = None) -> None:
        if not self._entry.is_ready:
            self._entry.is_ready = True
            self._entry.may_follow.set()
            self._shared.readiness.add(self._entry.name)
            if self._shared.membership is not None:
                self._shared.membership.ready(self._entry.name)
