"""`PipelineRunner`: one nursery that starts workers, turns signals into end or cancel, and ends with them.

# Calls, and who hosts whom.
#
# Each `run()` is a *call* with a nursery of its own. `run(worker)` hosts that worker. Workers of the constructor
# and of `add_workers` are siblings; the oldest open call hosts them beside its own. So a failure in one call
# never touches another, while `end`, `cancel` and signals concern them all.
#
# Which exception wins: errors of workers are kept and leave their call when everything in it has ended. A call
# with nothing but its own worker raises that worker's error as it is; any other raises an ExceptionGroup.
"""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Iterable
from typing import Any

import attrs
import trio
from trio_util import AsyncValue

from trio_pipes._base import (
    REQUESTED,
    Requested,
    check_flag,
    check_iterable,
    check_name,
    check_number,
    default_name,
    next_id,
)

from ._observers import RUNNER_EVENTS, observers as make_observers
from ._roster import Entry, Roster
from ._signals import Signals
from ._task import PipelineTask
from ._worker import Worker, check_is_worker

__all__ = ["PipelineRunner", "RunnerStatistics"]

logger = logging.getLogger("trio_pipes")


@attrs.frozen
class RunnerStatistics:
    """A runner at one moment."""

    running: tuple[str, ...]
    """Names of the workers that are up or waiting to start."""
    ready: tuple[str, ...]
    """Names of those that have said they are ready."""
    calls: int
    """Open calls of `run()`."""
    finished: int
    """Workers that have ended, in all."""
    failed: int
    """Of these, how many raised."""


@attrs.define(eq=False)
class _Call:
    """One open `run()`."""

    auto_end: bool
    own: Entry | None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    nursery: trio.Nursery | None = None
    helpers: trio.Nursery | None = None
    errors: list[Exception] = attrs.field(factory=list)
    roots: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0))
    hosted: list[Entry] = attrs.field(factory=list)
    outer: trio.Nursery | None = None
    closing: bool = False  # it hosts nobody any more
    told_started: bool = False
    last: Entry | None = None  # the one that was started last: the next waits until it is ready


class PipelineRunner:
    """Hosts workers. `trio.run(runner.run)` runs those it was given, until they have ended."""

    def __init__(
        self,
        *workers: Worker,
        name: str | None = None,
        observers: Iterable[object] = (),
        handle_sigint: bool = True,
        handle_sigterm: bool | None = None,
        grace_period: float = 30.0,
        force_gc: bool = False,
    ) -> None:
        if name is not None:
            check_name("PipelineRunner(name", name)
        check_iterable("PipelineRunner(observers", observers, "a list of observers")
        check_flag("PipelineRunner(handle_sigint", handle_sigint)
        if handle_sigterm is not None:
            check_flag("PipelineRunner(handle_sigterm", handle_sigterm)
        check_number("PipelineRunner(grace_period", grace_period, "seconds, 0 or more")
        check_flag("PipelineRunner(force_gc", force_gc)
        self.id: int = next_id()
        self.name: str = name or default_name(type(self))
        self._observers = make_observers(self.name, RUNNER_EVENTS, observers)
        sigterm = handle_sigint if handle_sigterm is None else handle_sigterm
        self._signums = [
            signum for signum, wanted in ((signal.SIGINT, handle_sigint), (signal.SIGTERM, sigterm)) if wanted
        ]
        self._grace = grace_period
        self._force_gc = force_gc
        self._roster = Roster(self.name)
        self._waiting: list[Entry] = []  # added, and no call to host them yet
        self._calls: list[_Call] = []
        self._open: AsyncValue[int] = AsyncValue(0)
        self._has_run: AsyncValue[bool] = AsyncValue(False)
        self._ready: AsyncValue[frozenset[str]] = AsyncValue(frozenset())
        self._told: AsyncValue[bool] = AsyncValue(False)  # to end: no new workers
        self._cancelled = False
        self._signals_seen = 0
        self._finished = 0
        self._failed = 0
        self.add_workers(*workers)

    def __repr__(self) -> str:
        return f"<{self.name} with {len(tuple(self._roster))} workers>"

    # -- workers

    def add_workers(
        self, *workers: Worker, isolated: bool = False, helper: bool = False, parent: str | None = None
    ) -> Requested:
        """Add workers, before or while the runner runs; they start in order.

        `isolated` confines a worker's error to it; a `helper` outlives the others and does not keep the runner up;
        `parent` names the worker that these belong to. Raises `DuplicateName` for a name that is already up,
        `RuntimeError` when the runner has been told to end, `TypeError` for what is no worker.
        """
        if self._told.value:
            raise RuntimeError(f"{self.name} has been told to end and takes no more workers")
        for worker in workers:
            check_is_worker(worker, self.name)
        entries = [Entry(worker, worker.name, isolated, helper, parent) for worker in workers]
        host = next((call for call in self._calls if not call.closing), None)
        if self._calls and host is None:
            raise RuntimeError(f"{self.name} is ending and takes no more workers: all that it had have ended")
        self._enrol(entries)
        for entry in entries:
            if host is not None and host.nursery is not None:
                self._host(host, entry)
            else:
                self._waiting.append(entry)
        return REQUESTED

    def _enrol(self, entries: list[Entry]) -> None:
        self._roster.add(entries)
        for entry in entries:
            attach = getattr(entry.worker, "attach", None)
            if attach is not None:
                attach(self)

    def get_worker(self, name: str) -> Worker | None:
        """The worker of that name that is up or waiting to start, or None."""
        check_name(f"{self.name}.get_worker(name", name)
        entry = self._roster.get(name)
        return None if entry is None else entry.worker

    # -- the run

    async def run(
        self,
        worker: Worker | None = None,
        *,
        auto_end: bool = True,
        task_status: trio.TaskStatus[PipelineRunner] = trio.TASK_STATUS_IGNORED,
    ) -> Any:
        """Host workers until they have ended; with `worker`, that one, and give what its `run()` returned.

        `auto_end=False`: stay up until told. `task_status` is started when all workers added before are ready.
        Several calls may be open at once. Raises the error of `worker`, or an `ExceptionGroup`; a cancel from outside
        is passed on.
        """
        own = None
        if worker is not None:
            check_is_worker(worker, self.name)
            if self._told.value:
                raise RuntimeError(f"{self.name} has been told to end and takes no more workers")
            own = Entry(worker, worker.name)
            self._enrol([own])
        call = _Call(auto_end, own)
        signals = Signals(self._signums, self._on_signal)
        try:
            with signals.listening():
                self._calls.append(call)
                self._has_run.value = True
                self._open.value += 1
                try:
                    async with trio.open_nursery() as call.outer:
                        call.outer.start_soon(signals.read)
                        if self._calls[0] is call:
                            self._observers.open(call.outer)
                        try:
                            with call.scope:
                                if self._cancelled:
                                    call.scope.cancel(reason=f"{self.name} was cancelled before its run")
                                await self._serve(call, task_status)
                        finally:
                            call.closing = True
                            await self._hand_over_observers(call)  # noqa: ASYNC102
                        call.outer.cancel_scope.cancel(reason=f"{self.name} is over")
                finally:
                    self._leave(call)
        except BaseException as exc:
            # A cancel from outside, or an interrupt from the keyboard: it goes on, beside what workers raised.
            if call.errors and not isinstance(exc, Exception):
                both = [exc, *call.errors]
                raise BaseExceptionGroup(f"{self.name}: workers failed", both) from None  # noqa: ASYNC104
            raise
        finally:
            if own is not None:
                self._roster.remove(own)
        self._raise_errors(call)
        if not call.told_started:
            task_status.started(self)
        return None if own is None else own.result

    async def _hand_over_observers(self, call: _Call) -> None:
        heirs = [other.outer for other in self._calls if other is not call and other.outer is not None]
        if not heirs:
            await self._observers.close()
        elif self._calls[0] is call:
            self._observers.open(heirs[0])

    async def _serve(self, call: _Call, task_status: trio.TaskStatus[PipelineRunner]) -> None:
        async with trio.open_nursery() as call.helpers:
            async with trio.open_nursery() as call.nursery:
                before = [call.own] if call.own is not None else []
                if self._calls[0] is call:
                    before += self._waiting
                    self._waiting = []
                for entry in before:
                    self._host(call, entry)
                if self._told.value:
                    self._ask_to_end()
                for entry in before:
                    await entry.ready.wait()
                if self._calls[0] is call:
                    self._observers.tell("on_ready", self)
                task_status.started(self)
                call.told_started = True
                if not call.auto_end:
                    await self._told.wait_value(True)
                while call.roots.value:  # again: one more may have been added as the last one ended
                    await call.roots.wait_value(0)
                call.closing = True
                for entry in reversed([e for e in call.hosted if not e.helper]):
                    entry.worker.stop_when_done()  # children of roots that have ended
            for entry in reversed(call.hosted):
                entry.worker.stop_when_done()  # helpers

    def _host(self, call: _Call, entry: Entry) -> None:
        """Start a worker in a call, when the one before it is ready."""
        nursery = call.helpers if entry.helper else call.nursery
        assert nursery is not None
        before, call.last = call.last, entry
        call.hosted.append(entry)
        if entry.is_root:
            call.roots.value += 1
        nursery.start_soon(self._run_worker, call, entry, before)

    async def _run_worker(self, call: _Call, entry: Entry, before: Entry | None) -> None:
        worker = entry.worker
        status = _Status(lambda: self._is_ready(entry))
        started = False
        try:
            if before is not None:
                await before.ready.wait()
            started = True
            self._observers.tell("on_worker_started", self, worker)
            entry.result = await worker.run(task_status=status)
        except Exception as exc:
            self._failed += 1
            self._observers.tell("on_error", self, worker, exc)
            if entry.isolated:
                logger.error("%s: isolated worker %r failed", self.name, entry.name, exc_info=exc)
            else:
                call.errors.append(exc)
                call.scope.cancel(reason=f"worker {entry.name!r} of {self.name} failed: {exc!r}")
        finally:
            if not started:
                worker.cancel(f"{self.name} ended before it could start")  # whoever waits for it is told
            entry.ready.set()
            self._finished += 1
            self._ready.value = self._ready.value - {entry.name}
            self._roster.remove(entry)
            call.hosted.remove(entry)
            if entry.is_root:
                call.roots.value -= 1
            self._observers.tell("on_worker_finished", self, worker)

    def _is_ready(self, entry: Entry) -> None:
        entry.ready.set()
        self._ready.value = self._ready.value | {entry.name}

    def _leave(self, call: _Call) -> None:
        self._calls.remove(call)
        self._open.value -= 1
        if not self._calls:
            for entry in self._waiting:
                self._roster.remove(entry)
                entry.worker.cancel(f"{self.name} ended before it could start")
            self._waiting = []
            self._told.value = self._cancelled = False
            self._signals_seen = 0
            if self._force_gc:
                gc.collect()

    def _raise_errors(self, call: _Call) -> None:
        if not call.errors:
            return
        if len(call.errors) == 1 and call.own is not None and self._failed_alone(call):
            raise call.errors[0]
        raise ExceptionGroup(f"{self.name}: {len(call.errors)} of its workers failed", call.errors)

    def _failed_alone(self, call: _Call) -> bool:
        return call.last is call.own

    # -- requests

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """Have every root pipeline task drain and end; other workers go on."""
        for entry in reversed(list(self._roster)):
            if entry.is_root and isinstance(entry.worker, PipelineTask):
                entry.worker.stop_when_done(reason)
        return REQUESTED

    def end(self, reason: str | None = None) -> Requested:
        """Take no new workers, have every worker finish what it accepted, helpers last, then end."""
        if not self._has_run.value or self._calls:
            self._told.value = True
            self._ask_to_end(reason)
        return REQUESTED

    def _ask_to_end(self, reason: str | None = None) -> None:
        for entry in reversed(list(self._roster)):
            if not entry.helper:
                entry.worker.stop_when_done(reason)

    def cancel(self, reason: str | None = None) -> Requested:
        """Cancel every worker now; cleanup runs."""
        if not self._has_run.value or self._calls:
            self._told.value = self._cancelled = True
            for entry in reversed(list(self._roster)):
                entry.worker.cancel(reason)
            for call in self._calls:
                call.scope.cancel(reason=reason or f"{self.name} was cancelled")
        return REQUESTED

    def _on_signal(self, signum: signal.Signals) -> None:
        self._signals_seen += 1
        if self._signals_seen > 1:
            self.cancel(f"second {signum.name}")
            return
        self.end(signum.name)
        for call in self._calls:
            call.scope.deadline = min(call.scope.deadline, trio.current_time() + self._grace)

    # -- waiting and looking

    async def wait_finished(self) -> None:
        """Wait until the runner has run and no call of `run()` is open."""
        await self._has_run.wait_value(True)
        await self._open.wait_value(0)

    async def wait_ready(self, *names: str) -> None:
        """Wait until the workers of these names (none: all that are there now) are ready."""
        for name in names:
            check_name(f"{self.name}.wait_ready(name", name)
        wanted = frozenset(names) if names else frozenset(entry.name for entry in self._roster)
        await self._ready.wait_value(lambda ready: wanted <= ready)

    def add_observer(self, observer: object) -> None:
        """Raises `ConfigurationError` when it has a method `on_*` that is no event."""
        self._observers.add(observer)

    def remove_observer(self, observer: object) -> None:
        """Raises `ValueError` for one that is not there."""
        self._observers.remove(observer)

    def statistics(self) -> RunnerStatistics:
        """Counts and names at this moment."""
        return RunnerStatistics(
            running=tuple(entry.name for entry in self._roster),
            ready=tuple(sorted(self._ready.value)),
            calls=len(self._calls),
            finished=self._finished,
            failed=self._failed,
        )


class _Status:
    """The `task_status` that a worker is given: says when it is ready, once."""

    def __init__(self, ready: Any) -> None:
        self._ready = ready

    def started(self, value: object = None) -> None:
        self._ready()
