"""`Registry`: which workers are up, on this runner and on the others of its bus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Protocol

import attrs
import trio

from trio_pipes._base import TransitionError, check_flag, check_name, is_default_name, refuse
from trio_pipes.host._bus import Bus, MemoryBus

from ._directory import Directory
from ._in_process import InProcess
from ._info import WorkerInfo
from ._over_broker import OverBroker
from ._watch import WorkerWatch

__all__ = ["Registry"]


@attrs.define(eq=False)
class _Wait:
    pending: set[str]
    over: trio.Event = attrs.field(factory=trio.Event)


class Hosted(Protocol):
    """A worker of the runner, as its roster has it."""

    @property
    def worker(self) -> Any: ...

    name: str
    parent: str | None
    is_ready: bool


class Registry:
    """Which workers are up, on this runner and on the others of its bus. Get it as `runner.registry`.

    A worker is known from when its name is its own, before it runs, until it has ended. Workers with default names
    (`"ClassName#n"`) are known on their own runner only.
    """

    def __init__(
        self,
        bus: Bus,
        runner: str,
        runner_id: str,
        lost: Callable[[str, Exception], None],
        found: Callable[[str], None],
    ) -> None:
        self._runner = runner
        self._runner_id = runner_id
        self._found = found  # told of each worker elsewhere that is ready
        self._local: dict[str, WorkerInfo] = {}
        self._remote = Directory(self._note)
        self._lives = count(1)
        self._by_name: dict[str, dict[WorkerWatch, None]] = {}
        self._of_all: dict[WorkerWatch, None] = {}
        self._waits: dict[_Wait, None] = {}
        self._calls = 0
        self._opening = trio.Lock()
        self._has_ended = False
        self._reach: InProcess | OverBroker
        if isinstance(bus, MemoryBus):
            self._reach = InProcess(bus, runner, runner_id, self._remote)
        else:
            self._reach = OverBroker(bus, runner, runner_id, self._remote, lost)

    def __repr__(self) -> str:
        return f"<registry of {self._runner}: {len(self._local)} workers here, {len(self.remote)} elsewhere>"

    # -- looked at

    def get(self, name: str) -> WorkerInfo | None:
        """The worker of that name, here or on another runner; None where none is known.

        Where one has just taken over from another: the one that is ready, or the newer of two.
        """
        here = self._local.get(name)
        if here is not None and here.ready:
            return here
        elsewhere = self._remote.get(name)
        return elsewhere if elsewhere is not None and (here is None or elsewhere.ready) else here

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def is_ready(self, name: str) -> bool:
        """Whether a worker of that name is known, and ready."""
        info = self.get(name)
        return info is not None and info.ready

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """All workers that are known, those of this runner first."""
        return (*self._local.values(), *self._remote)

    @property
    def local(self) -> tuple[WorkerInfo, ...]:
        """The workers of this runner."""
        return tuple(self._local.values())

    @property
    def remote(self) -> tuple[WorkerInfo, ...]:
        """The workers of other runners."""
        return tuple(self._remote)

    @property
    def runners(self) -> tuple[str, ...]:
        """The `runner_id` of each runner that is up, this one first."""
        return (*((self._runner_id,) if self._calls else ()), *self._remote.runners)

    # -- waited for

    async def wait_ready(self, *names: str) -> None:
        """Wait until workers of these names are ready, here or elsewhere; each at some time while this waits.

        None named: all that are known now. One that nobody knows yet is waited for, so put a deadline round it. Raises
        `TransitionError` when the runner's run ends before.
        """
        self._check(f"{self._runner}.registry.wait_ready(name", names)
        wanted = names or tuple(info.name for info in self.workers)
        wait = _Wait({name for name in wanted if not self.is_ready(name)})
        if not wait.pending:
            await trio.lowlevel.checkpoint()
            return
        if not self._has_ended:
            self._waits[wait] = None
            try:
                await wait.over.wait()
            finally:
                del self._waits[wait]
        if wait.pending:
            missing = ", ".join(map(repr, sorted(wait.pending)))
            raise TransitionError(f"{self._runner} is over, and no worker named {missing} was ready while this waited")

    def watch(self, *names: str) -> WorkerWatch:
        """Who of these (none named: of all) is ready, goes, and comes back: `async with registry.watch("a") as events`.

        First it tells of each that is ready already. It may be read slowly: of each name it tells the newest state. Reading
        ends (as a loop does) when the runner's run has ended.
        """
        self._check(f"{self._runner}.registry.watch(name", names)
        return WorkerWatch(tuple(dict.fromkeys(names)), self.get, self._open_watch, self._close_watch)

    @staticmethod
    def _check(what: str, names: Iterable[str]) -> None:
        for name in names:
            check_name(what, name, "the name of a worker")

    def _open_watch(self, watch: WorkerWatch) -> Iterable[str]:
        if self._has_ended:
            watch.end()
        for name in watch.names:
            self._by_name.setdefault(name, {})[watch] = None
        if not watch.names:
            self._of_all[watch] = None
        return watch.names or [info.name for info in self.workers]

    def _close_watch(self, watch: WorkerWatch) -> None:
        self._of_all.pop(watch, None)
        for name in watch.names:
            there = self._by_name[name]
            del there[watch]
            if not there:
                del self._by_name[name]

    def _note(self, info: WorkerInfo, reason: str | None) -> None:
        """A worker has come or changed, or, with the reason, gone."""
        for watch in (*self._by_name.get(info.name, ()), *self._of_all):
            watch.note(info.name, reason)
        if reason is None and info.ready:
            for wait in self._waits:
                wait.pending.discard(info.name)
                if not wait.pending:
                    wait.over.set()
            if not info.is_local:
                self._found(info.name)

    # -- what workers say of themselves

    def set_active(self, name: str, active: bool) -> None:
        """Say whether a worker of this runner gets data messages. Raises `ConfigurationError` for one that is not here."""
        check_flag(f"{self._runner}.registry.set_active(active", active)
        info = self._local.get(name)
        if info is None:
            raise refuse(f"{self._runner}.registry.set_active(name", name, "the name of a worker of this runner")
        if info.active is not active:
            self._put(attrs.evolve(info, active=active))

    # -- what the runner does

    async def open(self) -> None:
        """A call of `run` begins; the first meets the other registries. Raises `DuplicateName` and `BusError`."""
        async with self._opening:
            if not self._calls:
                await self._reach.open()
                self._has_ended = False
            self._calls += 1

    async def close(self) -> None:
        """A call of `run` is over; with the last, the registry has left the bus."""
        with trio.CancelScope(shield=True):  # what is waited for has deadlines
            async with self._opening:
                self._calls -= 1
                if not self._calls:
                    self._end()
                    await self._reach.close()

    def join_running(self, calls: int, entries: Iterable[Hosted]) -> None:
        """The runner, which is running already, has been asked for its own bus in the process."""
        assert isinstance(self._reach, InProcess)
        self._reach.join()
        self._calls = calls
        for entry in entries:
            if not is_default_name(entry.name):
                self._reach.hold_nowait(entry.name)
            self._add(entry)

    def _end(self) -> None:
        self._has_ended = True
        for wait in self._waits:
            wait.over.set()
        for watch in {*self._of_all, *(it for there in self._by_name.values() for it in there)}:
            watch.end()

    def serve_in(self, nursery: trio.Nursery) -> None:
        """The nursery of a call is open: its tasks may be there, until `leave`."""
        self._reach.serve_in(nursery)

    def leave(self, nursery: trio.Nursery) -> None:
        """The nursery of a call is about to close."""
        self._reach.leave(nursery)

    async def enlist(self, entry: Hosted) -> None:
        """A worker is to run: own its name. Raises `DuplicateName`, and `BusError` when the broker is away for long."""
        if entry.name in self._local:
            return
        if not is_default_name(entry.name):
            await self._reach.hold(entry.name)
        self._add(entry)

    def _add(self, entry: Hosted) -> None:
        worker = entry.worker
        inner = getattr(worker, "worker", worker) if getattr(worker, "makes_again", False) else worker
        self._put(
            WorkerInfo(
                name=entry.name,
                runner=self._runner_id,
                ready=entry.is_ready,
                active=getattr(inner, "is_active", True) is not False,
                parent=entry.parent,
                kind=type(inner).__name__,
                life=next(self._lives),
                is_local=True,
            )
        )

    def ready(self, name: str) -> None:
        """A worker has said that it is ready."""
        info = self._local.get(name)
        if info is not None:
            self._put(attrs.evolve(info, ready=True))

    def _put(self, info: WorkerInfo) -> None:
        self._local[info.name] = info
        if not is_default_name(info.name):
            self._reach.put(info)
        self._note(info, None)

    def delist(self, name: str) -> None:
        """A worker has ended."""
        info = self._local.pop(name, None)
        if info is not None:
            if not is_default_name(name):
                self._reach.remove(name)
            self._note(info, "it has ended")
