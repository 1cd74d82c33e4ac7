"""The queue of an async observer: it is told in a task of its own, so one that sleeps delays nobody.

# An async method can still hold everybody up: it runs in Trio's loop, and between two awaits nothing else does. So each
# step is timed on the real clock, and a long one is named as a slow sync method is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from typing import Any, Final

import trio

__all__ = ["BACKLOG", "SLOW", "EventQueue"]

BACKLOG: Final = 1000  # events that wait for an async observer; the oldest goes when one more comes
SLOW: Final = 0.1  # seconds without giving way, after which a method is named in a warning


class EventQueue:
    """The events that wait for one async observer."""

    def __init__(self, failed: Callable[[EventQueue, Exception], None], slow: Callable[[str, float], None]) -> None:
        self.events: deque[tuple[str, Callable[..., Any], tuple[Any, ...]]] = deque(maxlen=BACKLOG)
        self.lost = 0  # dropped because the queue was full
        self.settled = trio.Event()  # everything that was put has been told
        self.settled.set()
        self._changed = trio.Event()
        self._failed = failed
        self._slow = slow
        self._scope = trio.CancelScope()  # of the task that serves

    def put(self, event: str, method: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Have the observer told."""
        if len(self.events) == BACKLOG:
            self.lost += 1
        self.events.append((event, method, args))
        if self.settled.is_set():
            self.settled = trio.Event()
        self._changed.set()

    def serve_in(self, nursery: trio.Nursery) -> None:
        """Tell from a task in this nursery, and not from the one before any more."""
        self._scope.cancel(reason="another task serves")
        # Shielded, because a cancel of the run is something to tell of.
        self._scope = trio.CancelScope(shield=True)
        nursery.start_soon(self._serve, self._scope)

    def stop(self, reason: str) -> None:
        """Tell nothing more; the method that is called now is cancelled."""
        self._scope.cancel(reason=reason)

    def forget(self, reason: str) -> None:
        """The observer is gone: nobody need wait for it."""
        self.stop(reason)
        self._settle()

    def _settle(self) -> None:
        self.events.clear()
        self.settled.set()

    async def _serve(self, scope: trio.CancelScope) -> None:
        try:
            with scope:
                while self._scope is scope:  # otherwise another task has taken over
                    if self.events:
                        event, method, args = self.events.popleft()
                        await _Timed(method(*args), event, self._slow)
                    else:
                        self.settled.set()
                        self._changed = trio.Event()
                        await self._changed.wait()
        except Exception as exc:  # noqa: BLE001  (kept for the result; an observer cannot hurt what it observes)
            self._failed(self, exc)
            self._settle()


class _Timed:
    """Awaits a coroutine, and tells when a step of it has taken long."""

    def __init__(self, coro: Coroutine[Any, Any, Any], event: str, slow: Callable[[str, float], None]) -> None:
        self._coro = coro
        self._event = event
        self._slow = slow

    def __await__(self) -> Generator[Any, Any, None]:
        step: Callable[[Any], Any] = self._coro.send
        value: Any = None
        while True:
            began = perf_counter()
            try:
                wish = step(value)
            except StopIteration:
                return
            finally:
                value = None  # an error must not be kept by its own traceback
                took = perf_counter() - began
                if took > SLOW:
                    self._slow(self._event, took)
            try:
                step, value = self._coro.send, (yield wish)
            except BaseException as exc:  # noqa: BLE001, ASYNC103  (it is the coroutine's)
                step, value = self._coro.throw, exc
