"""Where a task runs: one Trio run, and so one thread. What is called from another one would tear both apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import final

__all__ = ["Home"]


@final
class Home:
    """The thread of the run, while there is one, and the threads that wait for it before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.thread: int | None = None
        self._waiting: Counter[int] = Counter()

    def settle(self) -> None:
        """The run begins, in this thread. Raises `RuntimeError` when somebody waits for it in another one."""
        here = get_ident()
        if any(count for thread, count in self._waiting.items() if thread != here):
            raise RuntimeError(
                f"{self.name} is waited for in another thread than the one that runs it, and could not tell it there. "
                "Wait in the Trio run that has the task."
            )
        self.thread = here

    def leave(self) -> None:
        """The run is over; anybody may look at what is left of it."""
        self.thread = None

    def check(self, call: str) -> None:
        """Raise `RuntimeError` for a call from another thread, which has a Trio run of its own or none."""
        if self.thread is not None and self.thread != get_ident():
            raise RuntimeError(
                f"{self.name}.{call} was called in another thread than the one whose Trio run has the task. "
                "From there use trio.from_thread.run_sync(...), or trio.from_thread.run(...) for what is async, with "
                "the trio_token of that run."
            )

    @contextmanager
    def waiting(self, call: str) -> Iterator[None]:
        """Round a wait for something that the run does."""
        self.check(call)
        here = get_ident()
        self._waiting[here] += 1
        try:
            yield
        finally:
            self._waiting[here] -= 1
