"""Observers: who watches a task or a runner, and cannot hurt it.

A sync method runs where the event happens. An async one runs in a task of its own behind a bounded queue, so
one that sleeps delays nobody. One that raises is removed, logged once, and kept for the result.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from time import perf_counter
from typing import Any, Final

import attrs
import trio

from trio_pipes._base import ConfigurationError, Requested

__all__ = ["RUNNER_EVENTS", "TASK_EVENTS", "Observers", "observers", "refuse_awaitable"]

logger = logging.getLogger("trio_pipes")

TASK_EVENTS: Final = (
    "on_started",
    "on_finished",
    "on_error",
    "on_idle",
    "on_heartbeat_lost",
    "on_interrupt",
    "on_interrupt_refused",
    "on_usable_changed",
    "on_frame_pushed",
    "on_frame_handled",
    "on_reached_source",
    "on_reached_sink",
)
RUNNER_EVENTS: Final = ("on_ready", "on_error", "on_worker_started", "on_worker_finished")

SLOW: Final = 0.1  # seconds in a sync method after which it is named in a warning
BACKLOG: Final = 1000  # events that wait for an async observer; the oldest goes when one more comes
LAST_SECOND: Final = 1.0  # seconds that async observers have at the end


class _Queue:
    """The events that wait for one async observer."""

    def __init__(self) -> None:
        self.events: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque(maxlen=BACKLOG)
        self.dropped = 0
        self.changed = trio.Event()
        self.settled = trio.Event()  # everything that was put has been told
        self.settled.set()
        self.scope = trio.CancelScope()  # of the task that serves the observer
        self.renew()

    def renew(self) -> None:
        """Have another task serve: the scope is shielded, because a cancel of the run is something to tell of."""
        self.scope.cancel(reason="another task serves")
        self.scope = trio.CancelScope(shield=True)

    def put(self, method: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if len(self.events) == BACKLOG:
            self.dropped += 1
        self.events.append((method, args))
        if self.settled.is_set():
            self.settled = trio.Event()
        self.changed.set()


@attrs.define(eq=False)
class Observers:
    """The observers of one task or runner."""

    _owner: str
    _events: tuple[str, ...]
    errors: list[Exception] = attrs.field(factory=list, init=False)
    _methods: dict[str, list[tuple[object, Callable[..., Any]]]] = attrs.field(factory=dict, init=False)
    _observers: list[object] = attrs.field(factory=list, init=False)
    _queues: dict[int, _Queue] = attrs.field(factory=dict, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)

    def add(self, observer: object) -> None:
        """Raises `ConfigurationError` for a class, for one that is there already and for unknown `on_*` names."""
        if isinstance(observer, type):
            raise ConfigurationError(f"{self._owner}: {observer!r} is a class, expected an observer: an instance")
        if any(known is observer for known in self._observers):
            raise ConfigurationError(f"{self._owner}: {observer!r} observes it already")
        methods = {
            name: getattr(observer, name)
            for name in dir(observer)
            if name.startswith("on_") and callable(getattr(observer, name))
        }
        for name in methods:
            if name not in self._events:
                near = get_close_matches(name, self._events, 1, 0)
                raise ConfigurationError(
                    f"{self._owner}: {type(observer).__name__}.{name} is not an event here. Did you mean {near[0]}? "
                    f"There are: {', '.join(self._events)}"
                )
        if not methods:
            raise ConfigurationError(
                f"{self._owner}: {observer!r} has no method to call, expected some of {', '.join(self._events)}"
            )
        self._observers.append(observer)
        for name, method in methods.items():
            self._methods.setdefault(name, []).append((observer, method))
        if any(inspect.iscoroutinefunction(method) for method in methods.values()):
            self._queues[id(observer)] = _Queue()
            if self._nursery is not None:
                self._nursery.start_soon(self._serve, observer, self._queues[id(observer)].scope)

    def remove(self, observer: object) -> None:
        """Raises `ValueError` for one that is not there."""
        if not any(known is observer for known in self._observers):
            raise ValueError(f"{self._owner}: {observer!r} does not observe it, expected an observer that was added")
        self._forget(observer)

    def _forget(self, observer: object) -> None:
        self._observers[:] = [known for known in self._observers if known is not observer]
        for name, methods in list(self._methods.items()):
            self._methods[name] = [entry for entry in methods if entry[0] is not observer]
            if not self._methods[name]:
                del self._methods[name]
        queue = self._queues.pop(id(observer), None)
        if queue is not None:
            queue.scope.cancel(reason=f"the observer was removed from {self._owner}")

    def wants(self, *events: str) -> bool:
        """Whether somebody has a method for one of these."""
        return any(event in self._methods for event in events)

    def tell(self, event: str, *args: Any) -> None:
        """Call the sync methods for `event`, queue for the async ones."""
        for observer, method in tuple(self._methods.get(event, ())):
            if inspect.iscoroutinefunction(method):
                if id(observer) in self._queues:  # not removed by one that was told just before
                    self._queues[id(observer)].put(method, args)
                continue
            began = perf_counter()
            try:
                refuse_awaitable(method(*args), "an observer's method")
            except Exception as exc:  # noqa: BLE001  (kept for the result; an observer cannot hurt what it observes)
                self._failed(observer, exc)
            took = perf_counter() - began
            if took > SLOW:
                logger.warning("%s: observer %r took %.2f s in %s", self._owner, observer, took, event)

    def keep(self, what: str, exc: Exception) -> None:
        """Keep for the result what somebody raised who was told of something in another way."""
        logger.error("%s: %s raised", self._owner, what, exc_info=exc)
        self.errors.append(exc)

    def _failed(self, observer: object, exc: Exception) -> None:
        logger.error("%s: observer %r raised and is removed", self._owner, observer, exc_info=exc)
        self.errors.append(exc)
        self._forget(observer)

    # -- async ones

    def open(self, nursery: trio.Nursery) -> None:
        """Let async observers run in `nursery`; in place of the nursery they ran in before, if there was one."""
        self._nursery = nursery
        for observer in self._observers:
            queue = self._queues.get(id(observer))
            if queue is not None:
                queue.renew()
                nursery.start_soon(self._serve, observer, queue.scope)

    async def close(self) -> None:
        """Give async observers their last second."""
        self._nursery = None
        if not self._queues:
            return
        with trio.move_on_after(LAST_SECOND, shield=True) as scope:
            for queue in tuple(self._queues.values()):
                await queue.settled.wait()
        for queue in self._queues.values():
            queue.scope.cancel(reason=f"{self._owner} is over")
        left = sum(len(queue.events) for queue in self._queues.values())
        dropped = sum(queue.dropped for queue in self._queues.values())
        if scope.cancelled_caught or dropped:
            logger.warning(
                "%s: async observers were not told of %d events: %d overflowed, %d were left at the end",
                self._owner,
                dropped + left,
                dropped,
                left,
            )

    async def _serve(self, observer: object, scope: trio.CancelScope) -> None:
        queue = self._queues[id(observer)]
        try:
            with scope:
                while queue.scope is scope:  # otherwise another task has taken over
                    if queue.events:
                        method, args = queue.events.popleft()
                        await method(*args)
                    else:
                        queue.settled.set()
                        queue.changed = trio.Event()
                        await queue.changed.wait()
        except Exception as exc:  # noqa: BLE001  (kept for the result)
            self._failed(observer, exc)
            queue.events.clear()
            queue.settled.set()


def refuse_awaitable(result: object, what: str) -> None:
    """Raise `TypeError` where `what` should have been async; a request that was made and not awaited is fine."""
    if inspect.isawaitable(result) and not isinstance(result, Requested):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(f"{what} gave {result!r} to await: it is called as a sync function")


def observers(owner: str, events: tuple[str, ...], given: Iterable[object]) -> Observers:
    """Observers from what a constructor was given."""
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"{owner} was given observers={given!r}, expected a list of observers: [observer]")
    made = Observers(owner, events)
    for observer in given:
        made.add(observer)
    return made
