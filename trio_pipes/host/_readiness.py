"""Who is ready, and who waits for it.

A wait for a name counts it once it has been ready, also if it has ended since. It ends with an error when what it
waits for cannot come any more: the worker has ended before it was ready, or the runner has.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import trio

from trio_pipes._base import TransitionError

__all__ = ["Readiness"]


@attrs.define(eq=False)
class _Wait:
    pending: set[str]
    over: trio.Event = attrs.field(factory=trio.Event)
    error: TransitionError | None = None

    def fail(self, text: str, cause: BaseException | None = None) -> None:
        if not self.over.is_set():
            self.error = TransitionError(text)
            self.error.__cause__ = cause
            self.over.set()


class Readiness:
    """The names of a runner's workers that are ready."""

    def __init__(self, owner: str) -> None:
        self.names: set[str] = set()
        self._owner = owner
        self._waits: list[_Wait] = []

    def add(self, name: str) -> None:
        """This worker is ready."""
        self.names.add(name)
        self.found_elsewhere(name)

    def found_elsewhere(self, name: str) -> None:
        """A worker of this name is ready, perhaps on another runner of the bus: nobody needs to wait for it."""
        for wait in self._waits:
            wait.pending.discard(name)
            if not wait.pending:
                wait.over.set()

    def remove(self, name: str, error: BaseException | None) -> None:
        """This worker has ended."""
        if name in self.names:
            self.names.discard(name)
            return
        for wait in self._waits:
            if name in wait.pending:
                how = "ended" if error is None else f"failed, with {error!r},"
                wait.fail(f"{self._owner}: the worker {name!r} {how} before it was ready", error)

    def close(self) -> None:
        """The runner is over: nobody gets ready any more."""
        for wait in self._waits:
            wait.fail(self._never(wait.pending))

    async def wait(self, names: Iterable[str], *, is_over: bool) -> None:
        """Wait until these have been ready; raises `TransitionError` when that cannot come true."""
        pending = set(names) - self.names
        if not pending:
            await trio.lowlevel.checkpoint()
            return
        if is_over:
            raise TransitionError(self._never(pending))
        wait = _Wait(pending)
        self._waits.append(wait)
        try:
            await wait.over.wait()
        finally:
            self._waits.remove(wait)
        if wait.error is not None:
            raise wait.error

    def _never(self, pending: Iterable[str]) -> str:
        missing = ", ".join(map(repr, sorted(pending)))
        return f"{self._owner} is over, and no worker named {missing} has been ready while this waited"
