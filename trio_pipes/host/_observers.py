"""Observers: who watches a task or a runner, and cannot hurt it.

A sync method runs where the event happens. An async one runs in a task of its own behind a bounded queue, so
one that sleeps delays nobody. One that raises is removed, logged once, and kept for the result.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Final, Protocol

import attrs
import trio

from trio_pipes._base import ConfigurationError, refuse_awaitable

from ._observer_queue import SLOW, EventQueue

__all__ = ["RUNNER_EVENTS", "TASK_EVENTS", "Observers", "observers"]

logger = logging.getLogger("trio_pipes")

# Each event, with what its method is given.
TASK_EVENTS: Final = {
    "on_starting": "task",
    "on_started": "task",
    "on_added": "task",
    "on_finished": "task, result",
    "on_error": "task, error_frame",
    "on_idle": "task",
    "on_heartbeat_lost": "task, stuck",
    "on_interrupt": "task",
    "on_interrupt_refused": "task",
    "on_usable_changed": "task, processor, usable",
    "on_measuring": "task, processor, kind, at",
    "on_measured": "task, processor, records",
    "on_set_up": "task, processor, seconds",
    "on_frame_pushed": "task, processor, frame, direction",
    "on_frame_taken": "task, processor, frame, direction",
    "on_frame_handled": "task, processor, frame, direction",
    "on_frame_stopped": "task, processor, frame, direction",
    "on_waited_for_room": "task, processor, frame, seconds",
    "on_reached_source": "task, frame",
    "on_reached_sink": "task, frame",
}
OF_FRAME: Final = frozenset(event for event in TASK_EVENTS if event.startswith("on_frame_"))
RUNNER_EVENTS: Final = {
    "on_ready": "runner",
    "on_error": "runner, worker, error",
    "on_worker_started": "runner, worker",
    "on_worker_finished": "runner, worker",
}

ERRORS_KEPT: Final = 1000  # the first ones; all are logged
LAST_SECOND: Final = 1.0  # seconds that async observers have at the end


class Subject(Protocol):
    """Who is observed."""

    name: str


@attrs.define(eq=False)
class Observers:
    """The observers of one task or runner."""

    _subject: Subject
    _events: Mapping[str, str]
    errors: list[Exception] = attrs.field(factory=list, init=False)
    changed: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    """Called when an observer has come or gone."""
    _lost: int = attrs.field(default=0, init=False)
    _calls: dict[str, list[tuple[object, Callable[..., None]]]] = attrs.field(factory=dict, init=False)
    _observers: list[object] = attrs.field(factory=list, init=False)
    _queues: dict[int, EventQueue] = attrs.field(factory=dict, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)

    def add(self, observer: object) -> None:
        """Raises `ConfigurationError` for a class, for one that is there already, for `on_*` names and parameters that are wrong."""
        if isinstance(observer, type):
            raise ConfigurationError(
                f"{self._subject.name}: {observer!r} is a class, expected an observer: an instance"
            )
        if any(known is observer for known in self._observers):
            raise ConfigurationError(f"{self._subject.name}: {observer!r} observes it already")
        methods = {
            name: getattr(observer, name)
            for name in dir(observer)
            if name.startswith("on_") and callable(getattr(observer, name))
        }
        for name, method in methods.items():
            self._check(f"{type(observer).__name__}.{name}", name, method)
        if not methods:
            raise ConfigurationError(
                f"{self._subject.name}: {observer!r} has no method to call, expected some of {', '.join(self._events)}"
            )
        self._observers.append(observer)
        if any(inspect.iscoroutinefunction(method) for method in methods.values()):
            self._queues[id(observer)] = queue = self._make_queue(observer)
            if self._nursery is not None:
                queue.serve_in(self._nursery)
        for name, method in methods.items():
            queued = inspect.iscoroutinefunction(method)
            call = self._queueing(observer, name, method) if queued else self._calling(observer, name, method)
            self._calls.setdefault(name, []).append((observer, call))
        self.changed()

    def _check(self, what: str, name: str, method: Callable[..., Any]) -> None:
        if name not in self._events:
            from difflib import get_close_matches  # only for those who misspell

            near = get_close_matches(name, self._events, 1, 0)
            raise ConfigurationError(
                f"{self._subject.name}: {what} is not an event here. Did you mean {near[0]}? "
                f"There are: {', '.join(self._events)}"
            )
        given = self._events[name]
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            raise ConfigurationError(
                f"{self._subject.name}: {what} is a generator, and nobody iterates over it: expected a function, sync or async"
            )
        try:
            signature = inspect.signature(method)
        except (TypeError, ValueError):  # of something that is not written in Python
            return
        try:
            signature.bind(*given.split(", "))
        except TypeError as exc:
            raise ConfigurationError(
                f"{self._subject.name}: {what}{signature} cannot be told: {exc}; expected {name}({given})"
            ) from None

    def remove(self, observer: object) -> None:
        """Raises `ValueError` for one that is not there."""
        if not any(known is observer for known in self._observers):
            raise ValueError(
                f"{self._subject.name}: {observer!r} does not observe it, expected an observer that was added"
            )
        self._forget(observer)

    def _forget(self, observer: object) -> None:
        self._observers[:] = [known for known in self._observers if known is not observer]
        for name, calls in list(self._calls.items()):
            self._calls[name] = [entry for entry in calls if entry[0] is not observer]
            if not self._calls[name]:
                del self._calls[name]
        queue = self._queues.pop(id(observer), None)
        if queue is not None:
            queue.forget(f"the observer was removed from {self._subject.name}")
            self._lost += queue.lost
        self.changed()

    @property
    def lost(self) -> int:
        """Events that async observers were not told of: their queue was full, or the end came first."""
        return self._lost + sum(queue.lost for queue in self._queues.values())

    def calls(self, event: str) -> tuple[Callable[..., None], ...]:
        """What to call when `event` happens; none of these raises or waits."""
        return tuple(call for _, call in self._calls.get(event, ()))

    def tell(self, event: str, *args: Any) -> None:
        """Call the sync methods for `event`, queue for the async ones; the subject itself is their first argument."""
        for call in self.calls(event):
            call(*args)

    def tell_one(self, observer: object, event: str, *args: Any) -> None:
        """Tell a single observer, if it has a method for `event`."""
        for known, call in self._calls.get(event, ()):
            if known is observer:
                call(*args)

    def _queueing(self, observer: object, event: str, method: Callable[..., Any]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            queue = self._queues.get(id(observer))
            if queue is not None:  # not removed by one that was told just before
                queue.put(event, method, (self._subject, *args))

        return call

    def _calling(self, observer: object, event: str, method: Callable[..., Any]) -> Callable[..., None]:
        subject = self._subject

        def call(*args: Any) -> None:
            result = None
            began = perf_counter()
            try:
                result = method(subject, *args)
            except Exception as exc:  # noqa: BLE001  (kept for the result; an observer cannot hurt what it observes)
                self._failed(observer, exc)
            took = perf_counter() - began
            if result is not None or took > SLOW:
                self._look_at(observer, event, result, took)

        def call_of_frame(processor: Any, frame: Any, what: Any) -> None:  # the same, for what happens most
            result = None
            began = perf_counter()
            try:
                result = method(subject, processor, frame, what)
            except Exception as exc:  # noqa: BLE001  (as above)
                self._failed(observer, exc)
            took = perf_counter() - began
            if result is not None or took > SLOW:
                self._look_at(observer, event, result, took)

        return call_of_frame if event in OF_FRAME else call

    def _look_at(self, observer: object, event: str, result: object, took: float) -> None:
        """What a sync method gave to await is refused; one that was slow is named."""
        try:
            refuse_awaitable(result, f"{type(observer).__name__}.{event}")
        except Exception as exc:  # noqa: BLE001  (kept, as what the method itself raises)
            self._failed(observer, exc)
        if took > SLOW:
            self._name_slow(observer, event, took)

    def _name_slow(self, observer: object, event: str, took: float) -> None:
        logger.warning("%s: observer %r took %.2f s in %s", self._subject.name, observer, took, event)

    def keep(self, what: str, exc: Exception) -> None:
        """Keep for the result what somebody raised who was told of something in another way."""
        logger.error("%s: %s raised", self._subject.name, what, exc_info=exc)
        self._keep(exc)

    def _keep(self, exc: Exception) -> None:
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(exc)

    def _failed(self, observer: object, exc: Exception) -> None:
        logger.error("%s: observer %r raised and is removed", self._subject.name, observer, exc_info=exc)
        self._keep(exc)
        self._forget(observer)

    # -- async ones

    def _make_queue(self, observer: object) -> EventQueue:
        def failed(queue: EventQueue, exc: Exception) -> None:
            if self._queues.get(id(observer)) is queue:
                self._failed(observer, exc)
            else:
                self.keep(f"observer {observer!r}, which was removed,", exc)

        return EventQueue(failed, partial(self._name_slow, observer))

    def open(self, nursery: trio.Nursery) -> None:
        """Let async observers run in `nursery`; in place of the nursery they ran in before, if there was one."""
        self._nursery = nursery
        for queue in self._queues.values():
            queue.serve_in(nursery)

    async def close(self) -> None:
        """Give async observers their last second."""
        self._nursery = None
        if not self._queues:
            return
        with trio.move_on_after(LAST_SECOND, shield=True):
            for queue in tuple(self._queues.values()):
                await queue.settled.wait()
        for observer in self._observers:
            queue_of = self._queues.get(id(observer))
            if queue_of is not None and not queue_of.settled.is_set():
                logger.warning(
                    "%s: observer %r was still at work after its last second, and is cancelled",
                    self._subject.name,
                    observer,
                )
        for queue in self._queues.values():
            queue.stop(f"{self._subject.name} is over")
        overflowed = self.lost
        left = sum(len(queue.events) for queue in self._queues.values())
        self._lost += left
        if self.lost:
            logger.warning(
                "%s: async observers were not told of %d events: %d overflowed, %d were left at the end",
                self._subject.name,
                self.lost,
                overflowed,
                left,
            )


def observers(subject: Subject, events: Mapping[str, str], given: Iterable[object]) -> Observers:
    """Observers from what a constructor was given."""
    if not isinstance(given, Iterable):
        raise ConfigurationError(
            f"{subject.name} was given observers={given!r}, expected a list of observers: [observer]"
        )
    made = Observers(subject, events)
    for observer in given:
        made.add(observer)
    return made
