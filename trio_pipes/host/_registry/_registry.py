"""`Registry`: which workers are up, on this runner and on the others of its bus."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import trio

from trio_pipes._base import TransitionError, check_flag, check_name, refuse

from ._directory import Directory
from ._info import RegistryStatistics, WorkerInfo
from ._watch import WorkerWatch

__all__ = ["Registry"]


@attrs.define(eq=False)
class _Wait:
    pending: set[str]
    over: trio.Event = attrs.field(factory=trio.Event)


class Registry:
    """Which workers are up, on this runner and on the others of its bus. Get it as `runner.registry`.

    A worker is known from when its name is its own, before it runs, until it has ended. Workers with default names
    (`"ClassName#n"`) are known on their own runner only.
    """

    def __init__(
        self,
        runner: str,
        runner_id: str,
        change: Callable[[WorkerInfo], None],
        found: Callable[[str], None],
    ) -> None:
        self._runner = runner
        self._runner_id = runner_id
        self._change = change  # one of its own workers
        self._found = found  # told of each worker elsewhere that is ready
        self._local: dict[str, WorkerInfo] = {}
        self._remote = Directory(self._note)
        self._by_name: dict[str, dict[WorkerWatch, None]] = {}
        self._of_all: dict[WorkerWatch, None] = {}
        self._waits: dict[_Wait, None] = {}
        self._is_up = False
        self._has_ended = False

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
        return (*((self._runner_id,) if self._is_up else ()), *self._remote.runners)

    def statistics(self) -> RegistryStatistics:
        """Counts at this moment."""
        workers = self.workers
        return RegistryStatistics(
            local=len(self._local),
            remote=len(workers) - len(self._local),
            ready=sum(info.ready for info in workers),
            runners=len(self.runners),
            watches=len(self._watches()),
            waiting=len(self._waits),
        )

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
            self._change(attrs.evolve(info, active=active))

    # -- what its runner's membership does

    def _begin(self) -> None:
        self._is_up, self._has_ended = True, False

    def _end(self) -> None:
        self._is_up, self._has_ended = False, True
        for wait in self._waits:
            wait.over.set()
        for watch in self._watches():
            watch.end()

    def _watches(self) -> set[WorkerWatch]:
        return {*self._of_all, *(it for there in self._by_name.values() for it in there)}
