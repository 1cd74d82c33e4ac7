"""Clocks that stamp frames. They never end a wait: timeouts are on Trio's clock."""

from __future__ import annotations

from typing import Protocol

import trio

__all__ = ["BaseClock", "SystemClock", "is_clock"]


class BaseClock(Protocol):
    """Gives the time of a task's frames."""

    def start(self) -> None:
        """Called when the task has started: this is time 0."""

    def get_time(self) -> int:
        """Nanoseconds since `start`; 0 before it."""
        ...


class SystemClock:
    """Trio's clock, from the start of the task."""

    def __init__(self) -> None:
        self._started_at: float | None = None

    def start(self) -> None:
        """Make this moment time 0."""
        self._started_at = trio.current_time()

    def get_time(self) -> int:
        """Nanoseconds since `start`; 0 before it."""
        if self._started_at is None:
            return 0
        return round((trio.current_time() - self._started_at) * 1e9)


def is_clock(value: object) -> bool:
    """Whether it has the methods of one, and is not a class."""
    methods = (getattr(value, name, None) for name in ("start", "get_time"))
    return not isinstance(value, type) and all(map(callable, methods))
