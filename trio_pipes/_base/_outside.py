"""Time while something outside Trio works for us.

An autojump test clock jumps when every task waits. A thread or a child process that works for a task looks like
waiting too; without a word about it, leases and deadlines would run out during it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import trio

__all__ = ["outside"]

_held: WeakKeyDictionary[Any, tuple[int, float]] = WeakKeyDictionary()  # clock -> how often, and its own threshold


@contextmanager
def outside() -> Iterator[None]:
    """While inside, an autojump clock of this Trio run does not jump. Other clocks are left alone."""
    clock: Any = trio.lowlevel.current_clock()
    if not hasattr(clock, "autojump_threshold"):
        yield
        return
    count, threshold = _held.get(clock, (0, clock.autojump_threshold))
    _held[clock] = (count + 1, threshold)
    clock.autojump_threshold = math.inf
    try:
        yield
    finally:
        count, threshold = _held[clock]
        if count == 1:
            del _held[clock]
            clock.autojump_threshold = threshold
        else:
            _held[clock] = (count - 1, threshold)
