"""What is left in the process: looked at when no session runs, and compared over the hours."""

from __future__ import annotations

import gc
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import attrs
import trio
import trio.testing

# Of these none may be left over: they belong to a session. The names are those of the classes' modules, or of built-in classes.
OURS = ("trio_pipes.", "trio.", "soak.", "outcome.", "trio_util.")
RUNNING = (
    "builtins.coroutine",
    "builtins.async_generator",
    "builtins.generator",
    "builtins.traceback",
    "builtins.frame",
)


@attrs.frozen
class Sample:
    sessions: int
    blocks: int  # of Python's allocator
    resident: int  # KiB


@attrs.define(eq=False)
class Left:
    """Looks at what is left, between sessions."""

    samples: list[Sample] = attrs.field(factory=list)
    tasks: int = 0  # Trio tasks when nothing runs
    first: Counter[str] = attrs.field(factory=Counter)

    async def look(self, sessions: int) -> Iterator[str]:
        """Take a sample, and tell what is there that was not there the first time."""
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            gc.collect()
        found: list[str] = []
        now = census()
        tasks = trio.lowlevel.current_statistics().tasks_living
        del now[f"{Sample.__module__}.Sample"]
        if not self.samples:
            self.first, self.tasks = now, tasks
        else:
            if tasks != self.tasks:
                found.append(f"{tasks} Trio tasks live after {sessions} sessions, {self.tasks} at first")
            for name, count in sorted(now.items()):
                if name.startswith((*OURS, *RUNNING)) and count > self.first[name]:
                    found.append(f"{count} of {name} after {sessions} sessions, {self.first[name]} at first")
        if gc.garbage:
            found.append(f"uncollectable: {gc.garbage[:3]!r}")
            gc.garbage.clear()
        del now
        self.samples.append(Sample(sessions, sys.getallocatedblocks(), resident()))
        return iter(found)

    def growth(self) -> tuple[float, float]:
        """Blocks a session, and KiB of resident memory a session: the last quarter against the second."""
        quarter = len(self.samples) // 4
        if not quarter:
            return 0.0, 0.0
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        sessions = median(s.sessions for s in late) - median(s.sessions for s in early)
        blocks = median(s.blocks for s in late) - median(s.blocks for s in early)
        kib = median(s.resident for s in late) - median(s.resident for s in early)
        return blocks / sessions, kib / sessions


def census() -> Counter[str]:
    """How many objects of each class there are that the garbage collector knows."""
    return Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())


def resident() -> int:
    """The resident memory of this process in KiB; 0 where that cannot be told."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmRSS:")))


@contextmanager
def noticing(problems: list[str]) -> Iterator[None]:
    """Keep every warning, and every error that nobody could be told of."""

    def warned(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        problems.append(f"{category.__name__}: {message} ({filename}:{lineno})")

    def unraisable(error: sys.UnraisableHookArgs) -> None:
        problems.append(f"unraisable: {error.exc_value!r} in {error.object!r}")

    before = sys.unraisablehook
    sys.unraisablehook = unraisable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = warned  # type: ignore[assignment]
            yield
            gc.collect()
    finally:
        sys.unraisablehook = before
