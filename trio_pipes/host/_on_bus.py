"""A runner's side of its bus: the bus, the registry, and what others on the bus ask of the runner.

# What costs nothing.
#
# Most runners host pipelines that send nothing. So bus and registry are made when somebody first asks for them, which
# may be while the runner runs: in one process there is nothing to wait for then. A bus that the runner was given is
# opened for each of its calls.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from trio_pipes._base import refuse

if TYPE_CHECKING:
    from ._bus import Bus
    from ._call import Call, Shared
    from ._registry import Beside, Membership, Registry
    from ._signals import Signals
    from ._worker import Host
    from ._workers._remote_ends import RemoteEnds

__all__ = ["OnBus"]

Ask = Callable[[str, str, str | None], object]
"""A worker's name, a request, and its reason."""


class OnBus:
    """What a runner has of its bus."""

    def __init__(self, runner: Host, given: Bus | None, calls: list[Call], shared: Shared, ask: Ask) -> None:
        self.runner_id: str = f"{runner.name}-{os.urandom(4).hex()}"
        self._runner = runner
        self._calls = calls
        self._shared = shared
        self._ask = ask
        self._is_given = given is not None
        self._bus: Bus | None = None
        self._membership: Membership | None = None  # there is one where there is a bus
        self._ends: RemoteEnds | None = None
        if given is not None:
            self._bus = _checked(given)
            self._join(self._bus)

    @property
    def bus(self) -> Bus:
        """The bus that the runner was given, or a `MemoryBus` of its own."""
        if self._bus is None:
            from ._bus import MemoryBus  # most pipelines send no messages

            self._bus = MemoryBus()
            membership = self._join(self._bus)
            if self._calls:
                membership.join_running(len(self._calls), [entry for call in self._calls for entry in call.hosted])
                self._hear_ends(self._bus).open_nowait()
        return self._bus

    @property
    def registry(self) -> Registry:
        """Who is up."""
        if self._membership is None:
            _ = self.bus
        assert self._membership is not None
        return self._membership.registry

    def serve_also(self, beside: Beside) -> None:
        """One more task of the runner's, where its bus crosses to other processes."""
        if self._membership is not None:
            self._membership.serve_also(beside)

    def is_ready(self, name: str) -> bool:
        """Whether a registry that is there already says so."""
        return self._membership is not None and self._membership.registry.is_ready(name)

    async def hold(self, call: Call, signals: Signals, serve: Callable[[], Awaitable[None]]) -> None:
        """Serve a call with the bus open. That may take its time to open: signals and cancels reach it meanwhile."""
        if not self._is_given:
            async with self._open():
                await serve()
            return
        error: BaseException | None = None
        call.opening = trio.CancelScope()
        async with trio.open_nursery() as early:
            signals.read_in(early)
            try:
                with call.opening:
                    if call.scope.cancel_called:
                        call.opening.cancel(reason="it was cancelled before")
                    async with self._open():
                        call.opening.deadline = math.inf
                        call.opening = None
                        await serve()
            except BaseException as exc:  # noqa: ASYNC103, BLE001  (raised below: alone, and not in the nursery's group)
                error = exc
            early.cancel_scope.cancel(reason="the call is over")
        if error is not None:
            raise error

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        """While a call of the runner is open: the bus is too, and the runner's workers are known on it."""
        bus = self._bus
        try:
            if bus is None:
                async with self._known():
                    yield
            else:
                async with bus:
                    if self._ends is None:
                        await self._hear_ends(bus).open()
                    async with self._known():
                        yield
        finally:
            if len(self._calls) == 1 and self._ends is not None:
                self._ends.close()
                self._ends = None

    @asynccontextmanager
    async def _known(self) -> AsyncIterator[None]:
        if self._membership is not None:
            await self._membership.open()
        try:
            yield
        finally:
            if self._membership is not None:  # perhaps since this call has been open
                await self._membership.close()  # noqa: ASYNC102  (shielded, with a deadline)

    def serve_in(self, nursery: trio.Nursery) -> None:
        """A call's nursery is open: the registry's tasks may live in it."""
        if self._membership is not None:
            self._membership.serve_in(nursery)

    def _join(self, bus: Bus) -> Membership:
        from ._registry import Membership  # as the bus

        made = Membership(bus, self._runner.name, self.runner_id, self._lost, self._found_elsewhere)
        self._membership = self._shared.membership = made
        return made

    def _found_elsewhere(self, name: str) -> None:
        if self._shared.roster.get(name) is None:  # where it is, that one is waited for
            self._shared.readiness.found_elsewhere(name)

    def _hear_ends(self, bus: Bus) -> RemoteEnds:
        from ._workers._remote_ends import RemoteEnds  # as the bus

        self._ends = RemoteEnds(self._runner, bus, self._ask)
        return self._ends

    def _lost(self, name: str, error: Exception) -> None:
        """A worker's name is somebody else's now."""
        for call in self._calls:
            for entry in call.hosted:
                if entry.name == name:
                    call.fail(entry, error)
                    return


def _checked(bus: Bus) -> Bus:
    from ._bus import Bus  # whoever gives one has it loaded

    if not isinstance(bus, Bus):
        raise refuse("PipelineRunner(bus", bus, "a MemoryBus(), or a bus of trio_pipes.net")
    return bus
