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
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import trio

from trio_pipes._base import (
    REQUESTED,
    BusError,
    ConfigurationError,
    Requested,
    Value,
    check_flag,
    check_name,
    check_number,
    check_reason,
    default_name,
    next_id,
)

from ._call import Call, Shared
from ._home import Home
from ._observers import RUNNER_EVENTS, observers as make_observers
from ._on_bus import OnBus
from ._readiness import Readiness
from ._restart import pipeline_task_of
from ._roster import Entry, Roster
from ._runner_statistics import RunnerStatistics
from ._signals import Signals
from ._worker import Worker, ask_worker, check_is_worker

if TYPE_CHECKING:
    from ._bus import Bus
    from ._from_thread import RunnerFromThread, TaskFromThread
    from ._jobs import Job, JobGroup
    from ._registry import Beside, Registry

__all__ = ["PipelineRunner"]


class PipelineRunner:
    """Hosts workers. `trio.run(runner.run)` runs those it was given, until they have ended."""

    def __init__(
        self,
        *workers: Worker,
        name: str | None = None,
        bus: Bus | None = None,
        observers: Iterable[object] = (),
        handle_sigint: bool = True,
        handle_sigterm: bool | None = None,
        grace_period: float = 30.0,
        force_gc: bool = False,
    ) -> None:
        check_name("PipelineRunner(name", name, optional=True)
        check_flag("PipelineRunner(handle_sigint", handle_sigint)
        if handle_sigterm is not None:
            check_flag("PipelineRunner(handle_sigterm", handle_sigterm)
        check_number("PipelineRunner(grace_period", grace_period, "seconds, 0 or more")
        check_flag("PipelineRunner(force_gc", force_gc)
        self.id: int = next_id()
        self.name: str = name or default_name(type(self))
        self._observers = make_observers(self, RUNNER_EVENTS, observers)
        sigterm = handle_sigint if handle_sigterm is None else handle_sigterm
        self._signums = [
            signum for signum, wanted in ((signal.SIGINT, handle_sigint), (signal.SIGTERM, sigterm)) if wanted
        ]
        self._grace = grace_period
        self._force_gc = force_gc
        self._roster = Roster(self.name)
        self._readiness = Readiness(self.name)
        self._waiting: list[Entry] = []  # added, and no call to host them yet
        self._calls: list[Call] = []
        self._open: Value[int] = Value(0)
        self._has_run: Value[bool] = Value(False)
        self._told: Value[bool] = Value(False)  # to end: no new workers
        self._cancelled = False
        self._reason: str | None = None
        self._home = Home(self.name)
        self._signals_seen = 0
        self._restarts = 0
        self._shared = Shared(
            self.name, self._tell, self._take_back, self._observers, self._roster, self._readiness, self._told
        )
        self._on_bus = OnBus(self, bus, self._calls, self._shared, self._ask_by_name)
        self.add_workers(*workers)

    def __repr__(self) -> str:
        return f"<{self.name} with {len(self._roster)} workers>"

    # -- the bus

    @property
    def runner_id(self) -> str:
        """Its address on a bus: the name and eight random hex digits, so that default names never clash."""
        return self._on_bus.runner_id

    @property
    def bus(self) -> Bus:
        """What carries messages between workers: the bus that the runner was given, or a `MemoryBus` of its own."""
        return self._on_bus.bus

    @property
    def registry(self) -> Registry:
        """Which workers are up, here and on the other runners of the bus."""
        return self._on_bus.registry

    # -- workers

    def add_workers(
        self, *workers: Worker, isolated: bool = False, helper: bool = False, parent: str | None = None
    ) -> Requested:
        """Add workers, before or while the runner runs; they start in order.

        `isolated` confines a worker's error to it; a `helper` outlives the others and does not keep the runner up;
        `parent` names the worker that these belong to: when it has ended they are asked to. Raises `DuplicateName` for a
        name that is already up, `RuntimeError` when the runner has been told to end, `TypeError` for what is no worker.
        """
        self._home.check("add_workers")
        check_flag(f"{self.name}.add_workers(isolated", isolated)
        check_flag(f"{self.name}.add_workers(helper", helper)
        check_name(f"{self.name}.add_workers(parent", parent, "the name of a worker", optional=True)
        if self._told.value:
            raise RuntimeError(f"{self.name} has been told to end and takes no more workers")
        for worker in workers:
            self._check_can_host(worker)
        entries = [Entry(worker, worker.name, isolated, helper, parent) for worker in workers]
        host = next((call for call in self._calls if not call.closing), None)
        if self._calls and host is None:
            raise RuntimeError(f"{self.name} is ending and takes no more workers: all that it had have ended")
        self._enrol(entries)
        for entry in entries:
            if host is not None and host.nursery is not None:
                host.host(entry)
            else:
                self._waiting.append(entry)
        return REQUESTED

    def _check_can_host(self, worker: object) -> None:
        check_is_worker(worker, self.name)
        if worker is self:
            raise ConfigurationError(f"{self.name} was given itself as a worker, and cannot host itself")

    def _enrol(self, entries: list[Entry]) -> None:
        self._roster.add(entries)
        try:
            for entry in entries:
                self._attach(entry.worker)
        except BaseException:
            for entry in entries:
                self._roster.remove(entry)
            raise

    def _attach(self, worker: Worker) -> None:
        attach = getattr(worker, "attach", None)
        if attach is not None:
            attach(self)

    def _take_back(self, worker: Worker) -> None:
        if getattr(worker, "_runner_or_none", self) is not self:
            self._attach(worker)

    def get_worker(self, name: str) -> Worker | None:
        """The worker of that name that is up or waiting to start, or None."""
        check_name(f"{self.name}.get_worker(name", name, "the name of a worker")
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
        Several calls may be open at once. When the runner cancels it, a pipeline task still gives its `TaskResult`, and
        any other worker that did not return gives None. Raises the error of `worker`, or an `ExceptionGroup`; a cancel
        from outside is passed on.
        """
        self._home.check("run")
        check_flag(f"{self.name}.run(auto_end", auto_end)
        own = None
        if worker is not None:
            self._check_can_host(worker)
            if self._told.value:
                raise RuntimeError(f"{self.name} has been told to end and takes no more workers")
            own = Entry(worker, worker.name)
            self._enrol([own])
        call = Call(self._shared, auto_end, own)
        signals = Signals(self._signums, self._on_signal)

        def ready() -> None:
            if self._calls[0] is call:
                self._observers.tell("on_ready")
            task_status.started(self)

        try:
            with signals.listening():
                self._enter(call)
                try:
                    await self._on_bus.hold(
                        call,
                        signals,
                        lambda: call.serve(
                            lambda nursery: self._begin(call, signals, nursery),
                            ready,
                            lambda: self._hand_over_observers(call),
                        ),
                    )
                finally:
                    self._leave(call)
        except BaseException as exc:
            # A cancel from outside, an interrupt from the keyboard, a bus that could not be closed in order: it goes on,
            # beside what workers raised.
            if call.errors:
                both = [exc, *call.errors]
                raise BaseExceptionGroup(f"{self.name}: workers failed", both) from None  # noqa: ASYNC104
            raise
        finally:
            if own is not None:
                self._roster.remove(own)
                if call.nursery is None:
                    self._never_began(own)
        self._raise_errors(call)
        if not call.told_started:
            task_status.started(self)
        return None if own is None else own.result

    def _never_began(self, entry: Entry) -> None:
        """The bus could not be opened, or not in time."""
        ask_worker(entry.worker, "cancel", f"{self.name} ended before it could start")
        if (task := pipeline_task_of(entry.worker)) is not None:
            entry.result = task.result

    def _enter(self, call: Call) -> None:
        if self._cancelled:
            call.cancel(f"{self.name} was cancelled before its run")
        if not self._calls:
            self._home.settle()
            self._reason = self._reason if self._told.value else None
        self._calls.append(call)
        self._has_run.value = True
        self._open.value += 1

    def _begin(self, call: Call, signals: Signals, nursery: trio.Nursery) -> list[Entry]:
        """A call's nursery is open: gives the workers that it starts with."""
        signals.read_in(nursery)
        self._on_bus.serve_in(nursery)
        before = [call.own] if call.own is not None else []
        if self._calls[0] is call:
            self._observers.open(nursery)
            before += self._waiting
            self._waiting = []
        if self._told.value and not self._cancelled:
            self._ask_to_end(self._reason)
        return before

    def _raise_errors(self, call: Call) -> None:
        if len(call.errors) == 1 and call.alone:
            raise call.errors[0]
        if call.errors:
            raise ExceptionGroup(f"{self.name}: {len(call.errors)} of its workers failed", call.errors)

    def _leave(self, call: Call) -> None:
        self._calls.remove(call)
        self._open.value -= 1
        if not self._calls:
            for entry in self._waiting:
                self._roster.remove(entry)
                entry.worker.cancel(f"{self.name} ended before it could start")
            self._waiting = []
            self._told.value = self._cancelled = False
            self._signals_seen = 0
            self._home.leave()
            self._readiness.close()
            if self._force_gc:
                gc.collect()

    async def _hand_over_observers(self, call: Call) -> None:
        heirs = [other.nursery for other in self._calls if other is not call and other.nursery is not None]
        if not heirs:
            await self._observers.close()
        elif self._calls[0] is call:
            self._observers.open(heirs[0])

    # -- requests

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """Have every root pipeline task drain and end; other workers go on."""
        self._home.check("stop_when_done")
        check_reason(f"{self.name}.stop_when_done", reason)
        for entry in reversed(list(self._roster)):
            if entry.is_root and pipeline_task_of(entry.worker) is not None:
                self._ask(entry, "stop_when_done", reason)
        return REQUESTED

    def end(self, reason: str | None = None) -> Requested:
        """Take no new workers, have every worker finish what it accepted, helpers last, then end."""
        self._home.check("end")
        check_reason(f"{self.name}.end", reason)
        if not self._has_run.value or self._calls:
            self._told.value = True
            if self._reason is None:
                self._reason = reason
            self._ask_to_end(reason)
        return REQUESTED

    _end_as_worker = end  # hosted by another runner

    def _ask_to_end(self, reason: str | None) -> None:
        for entry in reversed(list(self._roster)):
            if not entry.helper:
                self._ask(entry, "stop_when_done", reason)

    def cancel(self, reason: str | None = None) -> Requested:
        """Cancel every worker now, helpers when the others are gone; cleanup runs."""
        self._home.check("cancel")
        check_reason(f"{self.name}.cancel", reason)
        if not self._has_run.value or self._calls:
            self._told.value = self._cancelled = True
            if reason is not None:
                self._reason = reason
            for entry in reversed(list(self._roster)):
                if not entry.helper or not self._calls:
                    self._ask(entry, "cancel", reason)
            for call in self._calls:
                call.cancel(reason or f"{self.name} was cancelled")
        return REQUESTED

    def _ask(self, entry: Entry, request: str, reason: str | None) -> None:
        host = next((call for call in self._calls if entry in call.hosted), None)
        if host is not None:
            host.ask(entry, request, reason)
        else:
            ask_worker(entry.worker, request, reason)

    def _ask_by_name(self, name: str, request: str, reason: str | None) -> bool:
        entry = self._roster.get(name)
        if entry is not None:
            self._ask(entry, request, reason)
        return entry is not None

    async def end_everywhere(self, reason: str | None = None) -> None:
        """End every runner on the bus, this one last, and also where the bus raises `BusError`."""
        try:
            await self._ask_everywhere("stop_when_done", reason)
        except BusError:
            self.end(reason)
            raise
        self.end(reason)

    async def cancel_everywhere(self, reason: str | None = None) -> None:
        """Cancel every runner on the bus, this one last, and also where the bus raises `BusError`."""
        try:
            await self._ask_everywhere("cancel", reason)
        except BusError:
            self.cancel(reason)
            raise
        self.cancel(reason)

    async def end_worker(self, name: str, reason: str | None = None) -> bool:
        """Ask a worker, here or on another runner, to finish what it accepted and end. False: nobody has that name."""
        return await self._ask_anywhere("end_worker", name, "stop_when_done", reason)

    async def cancel_worker(self, name: str, reason: str | None = None) -> bool:
        """Have a worker, here or on another runner, end now. False: nobody has that name."""
        return await self._ask_anywhere("cancel_worker", name, "cancel", reason)

    async def _ask_everywhere(self, request: str, reason: str | None) -> None:
        from ._workers._remote_ends import ask_everywhere  # as the bus

        call = "cancel_everywhere" if request == "cancel" else "end_everywhere"
        self._home.check(call)
        check_reason(f"{self.name}.{call}", reason)
        await ask_everywhere(self, request, reason)

    async def _ask_anywhere(self, call: str, name: str, request: str, reason: str | None) -> bool:
        from ._workers._remote_ends import ask_elsewhere  # as the bus

        self._home.check(call)
        check_name(f"{self.name}.{call}(name", name, "the name of a worker")
        check_reason(f"{self.name}.{call}", reason)
        await trio.lowlevel.checkpoint()
        return self._ask_by_name(name, request, reason) or await ask_elsewhere(self, name, request, reason)

    def _on_signal(self, signum: signal.Signals) -> None:
        self._signals_seen += 1
        if self._signals_seen > 1:
            self.cancel(f"second {signum.name}")
            return
        self.end(signum.name)
        for call in self._calls:
            call.hurry(trio.current_time() + self._grace)

    # -- jobs

    def job(self, worker: str, name: str | None = None, payload: Any = None, *, timeout: float | None = None) -> Job:
        """Ask a worker, on this runner or another of its bus, for a job, as `BaseWorker.job` does."""
        from ._jobs import open_job  # most runners ask nobody

        self._home.check("job")
        return open_job(self, self.runner_id, worker, name, payload, timeout)

    def job_group(
        self,
        workers: Iterable[str],
        payload: Any = None,
        *,
        name: str | None = None,
        timeout: float | None = None,
        cancel_on_error: bool = True,
    ) -> JobGroup:
        """Ask several workers for the same job, as `BaseWorker.job_group` does."""
        from ._jobs import open_job_group

        self._home.check("job_group")
        return open_job_group(self, self.runner_id, workers, payload, name, timeout, cancel_on_error)

    # -- waiting and looking

    async def wait_finished(self) -> None:
        """Wait until the runner has run and no call of `run()` is open."""
        with self._home.waiting("wait_finished"):
            await self._has_run.wait_value(True)
            await self._open.wait_value(0)

    async def wait_ready(self, *names: str) -> None:
        """Wait until the workers of these names (none: all that are there now) are ready.

        A worker that nobody has added yet is waited for; one on another runner of the bus counts too. Raises
        `TransitionError` when one of this runner ends or fails before it was ready, or the runner ends.
        """
        for name in names:
            check_name(f"{self.name}.wait_ready(name", name, "the name of a worker")
        wanted = names or tuple(entry.name for entry in self._roster)
        wanted = tuple(name for name in wanted if self._roster.get(name) or not self._on_bus.is_ready(name))
        is_over = self._has_run.value and not self._calls
        missing = is_over and any(self._roster.get(name) is None for name in wanted)
        with self._home.waiting("wait_ready"):
            await self._readiness.wait(wanted, is_over=missing)

    def add_observer(self, observer: object) -> None:
        """Raises `ConfigurationError` when it has a method `on_*` that is no event."""
        self._home.check("add_observer")
        self._observers.add(observer)

    def remove_observer(self, observer: object) -> None:
        """Raises `ValueError` for one that is not there."""
        self._home.check("remove_observer")
        self._observers.remove(observer)

    def _children_of(self, name: str) -> tuple[Worker, ...]:
        return tuple(entry.worker for entry in self._roster.children_of(name))

    def _serve_also(self, beside: Beside) -> None:
        self._on_bus.serve_also(beside)

    def _parent_of(self, name: str) -> str | None:
        entry = self._roster.get(name)
        return None if entry is None else entry.parent

    def _ask_children(self, name: str, request: str, reason: str | None) -> None:
        for entry in reversed(self._roster.children_of(name)):
            if request == "cancel" or not entry.is_told:
                self._ask(entry, request, reason)

    def _tell(self, event: str, worker: Worker, *more: object) -> None:
        self._observers.tell(event, worker, *more)

    def _restarted(self) -> None:
        self._restarts += 1

    def statistics(self) -> RunnerStatistics:
        """Counts and names at this moment."""
        return RunnerStatistics(
            running=tuple(entry.name for entry in self._roster),
            ready=tuple(sorted(self._readiness.names)),
            calls=len(self._calls),
            finished=self._shared.finished,
            failed=self._shared.failed,
            restarts=self._restarts,
            reason=self._reason,
            observer_errors=tuple(self._observers.errors),
            observer_events_lost=self._observers.lost,
        )

    def from_thread(self) -> RunnerFromThread:
        """A handle of this runner for other threads. Raises `RuntimeError` outside of a Trio run."""
        from ._from_thread import RunnerFromThread  # most programs have no other threads

        self._home.check("from_thread")
        return RunnerFromThread(self)

    def _task_from_thread(self, name: str) -> TaskFromThread | None:
        worker = self.get_worker(name)
        if worker is None:
            return None
        task = pipeline_task_of(worker)
        if task is None:
            raise ConfigurationError(f"{self.name} has a worker named {name!r}, which is no pipeline task: {worker!r}")
        return task.from_thread()
