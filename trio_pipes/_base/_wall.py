"""Wall time: what time it is for other programs, of a moment on Trio's clock."""

from __future__ import annotations

import time
from typing import Final

import trio

__all__ = ["wall_time_ns"]

SECOND: Final = 1_000_000_000

# Of a run with a test clock: the wall time, and that clock's, when the former was first asked.
_began: trio.lowlevel.RunVar[tuple[int, float]] = trio.lowlevel.RunVar("trio_pipes.wall")


def wall_time_ns(at: float | None = None) -> int:
    """Nanoseconds of UTC since 1970, now or at a moment in seconds on Trio's clock.

    The real time is read anew each time. Where a test clock is installed, it is when that was first asked, and what
    has passed on that clock since. Outside of Trio: now.
    """
    try:
        clock = trio.lowlevel.current_clock()
    except RuntimeError:
        return time.time_ns()
    now = trio.current_time()
    wall = time.time_ns() if _is_real(clock) else _of_test_clock(now)
    return wall if at is None else wall - round((now - at) * SECOND)


def _is_real(clock: object) -> bool:
    return type(clock).__name__ == "SystemClock" and type(clock).__module__.startswith("trio.")


def _of_test_clock(now: float) -> int:
    try:
        wall, then = _began.get()
    except LookupError:
        wall, then = time.time_ns(), now
        _began.set((wall, then))
    return wall + round((now - then) * SECOND)
