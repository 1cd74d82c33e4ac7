"""Where a task runs: one Trio run, and so one thread. What is called from another one would tear both apart."""

from __future__ import annotations

from threading import get_ident
from typing import final

__all__ = ["Home"]


@final
class Home:
    """The thread of the run, while there is one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.thread: int | None = None

    def settle(self) -> None:
        """The run begins, in this thread."""
        self.thread = get_ident()

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
