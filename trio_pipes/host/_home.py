"""Where a task or a runner runs: one Trio run, and so one thread. What is called from another one would tear both apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, get_ident
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
                "Wait in the Trio run that has it."
            )
        self.thread = here

    def leave(self) -> None:
        """The run is over; anybody may look at what is left of it."""
        self.thread = None

    def check(self, call: str) -> None:
        """Raise `RuntimeError` for a call from another thread, which has a Trio run of its own or none."""
        if self.thread is not None and self.thread != get_ident():
            raise RuntimeError(
                f"{self.name}.{call}() was called in the thread {current_thread().name!r}, and its Trio run is in "
                f"another one. Make a handle where it runs, handle = {self.name}.from_thread(), and use that"
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
