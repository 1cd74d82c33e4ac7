"""`Membership`: a runner's part in the registry: it says who runs here, and reaches the other runners."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Protocol

import attrs
import trio

from trio_pipes._base import is_default_name
from trio_pipes.host._bus import Bus, MemoryBus

from ._in_process import InProcess
from ._info import WorkerInfo
from ._over_broker import Beside, OverBroker
from ._registry import Registry

__all__ = ["Membership"]


class Hosted(Protocol):
    """A worker of the runner, as its roster has it."""

    @property
    def worker(self) -> Any: ...

    name: str
    parent: str | None
    is_ready: bool


class Membership:
    """What a runner does for its registry, which others only look at."""

    def __init__(
        self,
        bus: Bus,
        runner: str,
        runner_id: str,
        lost: Callable[[str, Exception], None],
        found: Callable[[str], None],
    ) -> None:
        self._runner_id = runner_id
        self.registry = Registry(runner, runner_id, self._put, found)
        self._lives = count(1)
        self._calls = 0
        self._opening = trio.Lock()
        self._reach: InProcess | OverBroker
        directory = self.registry._remote
        if isinstance(bus, MemoryBus):
            self._reach = InProcess(bus, runner, runner_id, directory)
        else:
            self._reach = OverBroker(bus, runner, runner_id, directory, lost)

    async def open(self) -> None:
        """A call of `run` begins; the first meets the other registries. Raises `DuplicateName` and `BusError`."""
        async with self._opening:
            if not self._calls:
                await self._reach.open()
                self.registry._begin()
            self._calls += 1

    async def close(self) -> None:
        """A call of `run` is over; with the last, the registry has left the bus."""
        with trio.CancelScope(shield=True):  # what is waited for has deadlines
            async with self._opening:
                self._calls -= 1
                if not self._calls:
                    self.registry._end()
                    await self._reach.close()

    def join_running(self, calls: int, entries: Iterable[Hosted]) -> None:
        """The runner, which is running already, has been asked for its own bus in the process."""
        assert isinstance(self._reach, InProcess)
        self._reach.join()
        self._calls = calls
        self.registry._begin()
        for entry in entries:
            if not is_default_name(entry.name):
                self._reach.hold_nowait(entry.name)
            self._add(entry)

    def serve_in(self, nursery: trio.Nursery) -> None:
        """The nursery of a call is open: its tasks may be there, until `leave`."""
        self._reach.serve_in(nursery)

    def serve_also(self, beside: Beside) -> None:
        """One more task of the runner's, where its bus crosses to other processes."""
        if isinstance(self._reach, OverBroker):
            self._reach.serve_also(beside)

    def leave(self, nursery: trio.Nursery) -> None:
        """The nursery of a call is about to close."""
        self._reach.leave(nursery)

    async def enlist(self, entry: Hosted) -> None:
        """A worker is to run: own its name. Raises `DuplicateName`, and `BusError` when the broker is away for long."""
        if entry.name in self.registry._local:
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
        info = self.registry._local.get(name)
        if info is not None:
            self._put(attrs.evolve(info, ready=True))

    def _put(self, info: WorkerInfo) -> None:
        self.registry._local[info.name] = info
        if not is_default_name(info.name):
            self._reach.put(info)
        self.registry._note(info, None)

    def delist(self, name: str) -> None:
        """A worker has ended."""
        info = self.registry._local.pop(name, None)
        if info is not None:
            if not is_default_name(name):
                self._reach.remove(name)
            self.registry._note(info, "it has ended")
