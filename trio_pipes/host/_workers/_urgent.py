"""What is done one after the other, beside the task that handles data: there is a task for it while there is something."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Urgent", "noting"]


@contextmanager
def noting(who: str, what: str, args: tuple[object, ...]) -> Iterator[None]:
    """Write into an error where it happened."""
    try:
        yield
    except Exception as exc:
        exc.add_note(f"in {what}({', '.join(f'{arg!r:.100}' for arg in args)}) of {who!r}")
        raise


class Urgent:
    """System messages and hooks of one worker, in order."""

    def __init__(self) -> None:
        self.who = ""
        self.nursery: trio.Nursery | None = None
        self._queue: deque[tuple[bool, Callable[..., Awaitable[object]], tuple[Any, ...]]] = deque()
        self._hooks = 0  # that are in the queue, or being run
        self._runs = False
        self._no_hooks = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, fn: Callable[..., Awaitable[object]], *args: Any, is_hook: bool = True) -> None:
        """Have it done. Data waits for hooks."""
        self._hooks += is_hook
        self._queue.append((is_hook, fn, args))
        self.go_on()

    def go_on(self) -> None:
        """Begin, if there is a nursery to do it in."""
        if self._queue and not self._runs and self.nursery is not None:
            self._runs = True
            self.nursery.start_soon(self._run)

    async def _run(self) -> None:
        while self._queue:
            is_hook, fn, args = self._queue.popleft()
            with noting(self.who, getattr(fn, "__name__", repr(fn)), args):
                await fn(*args)
            if is_hook:
                self._hooks -= 1
                if not self._hooks:
                    self._no_hooks.unpark_all()
        self._runs = False

    @property
    def has_hooks(self) -> bool:
        """Whether a hook is left."""
        return self._hooks > 0

    async def wait_hooks_done(self) -> None:
        """Wait until no hook is left."""
        while self._hooks:
            await self._no_hooks.park()
