"""Registries on a bus that stays in its process: each tells the others at once, without messages, tasks or leases."""

from __future__ import annotations

from threading import get_ident
from typing import Final
from weakref import WeakKeyDictionary

import attrs
import trio

from trio_pipes._base import is_default_name
from trio_pipes.host._bus import Bus, MemoryBus

from ._directory import Directory
from ._info import WorkerInfo
from ._refusals import RUNNER, refused_runner, refused_worker

__all__ = ["InProcess"]


@attrs.define(eq=False)
class _Circle:
    """The registries of one bus, by the `runner_id` of their runners."""

    members: dict[str, InProcess] = attrs.field(factory=dict)
    thread: int = 0


CIRCLES: Final[WeakKeyDictionary[Bus, _Circle]] = WeakKeyDictionary()


class InProcess:
    """How the registry of one runner reaches those of others on the same bus."""

    def __init__(self, bus: MemoryBus, runner: str, runner_id: str, directory: Directory) -> None:
        self._bus = bus
        self._runner = runner
        self._runner_id = runner_id
        self._directory = directory
        self._shared: dict[str, WorkerInfo] = {}
        self._circle = CIRCLES.get(bus)
        if self._circle is None:
            self._circle = CIRCLES[bus] = _Circle()

    def join(self) -> None:
        """It and the others learn of each other. Raises `DuplicateName`, and `RuntimeError` in another thread."""
        circle = self._circle
        assert circle is not None
        if not circle.members:
            circle.thread = get_ident()
        elif circle.thread != get_ident():
            raise RuntimeError(
                f"{self._bus!r} is used by a Trio run in another thread: use a bus of this run, or a broker"
            )
        if not is_default_name(self._runner):
            for owner in self._bus.claims.claim([RUNNER + self._runner], self._runner_id).values():
                raise refused_runner(self._runner, owner)
        for there, member in circle.members.items():
            self._directory.join(there)
            member._directory.join(self._runner_id)
            for info in member._shared.values():
                self._directory.put(info)
        circle.members[self._runner_id] = self

    async def open(self) -> None:
        """As `join`."""
        await trio.lowlevel.checkpoint()
        self.join()

    def serve_in(self, nursery: trio.Nursery) -> None:
        """There is nothing to do in the background."""

    def leave(self, nursery: trio.Nursery) -> None:
        """Nothing runs there."""

    async def close(self) -> None:
        """It goes: the others forget it, and it forgets them."""
        circle = self._circle
        assert circle is not None
        circle.members.pop(self._runner_id, None)
        for member in circle.members.values():
            member._directory.forget(self._runner_id, "its runner has ended")
        self._bus.claims.release(None, self._runner_id)
        self._shared.clear()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def hold(self, name: str) -> None:
        """Make the runner the owner of a name. Raises `DuplicateName`."""
        self.hold_nowait(name)

    def hold_nowait(self, name: str) -> None:
        """As `hold`."""
        for owner in self._bus.claims.claim([name], self._runner_id).values():
            raise refused_worker(self._runner, name, owner)

    def put(self, info: WorkerInfo) -> None:
        """Tell of a worker that has come or changed."""
        info = self._shared[info.name] = attrs.evolve(info, is_local=False)
        for member in self._others():
            member._directory.put(info)

    def remove(self, name: str) -> None:
        """Tell of a worker that has gone, and give its name back."""
        if self._shared.pop(name, None) is not None:
            self._bus.claims.release([name], self._runner_id)
            for member in self._others():
                member._directory.remove(self._runner_id, name, "it has ended")

    def _others(self) -> list[InProcess]:
        assert self._circle is not None
        return [member for member in self._circle.members.values() if member is not self]
