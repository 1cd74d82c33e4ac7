"""`OneTask`: the base of the observers that keep the state of a task."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from trio_pipes._base import ConfigurationError, check_function, refuse, refuse_awaitable
from trio_pipes.host import PipelineTask, TaskResult

__all__ = ["OneTask", "check_callback"]


class OneTask:
    """Watches one task at a time: what two of them tell would be mixed up. After its end it may watch another."""

    _task: PipelineTask | None = None

    def _watch(self, task: PipelineTask) -> None:
        """Called with each event."""
        if task is not self._task:
            if self._task is not None and not self._task.has_finished():
                raise ConfigurationError(
                    f"{type(self).__name__} was told of {task.name} while it watches {self._task.name}, and it keeps the state "
                    "of one task: make one for each task"
                )
            self._task = task
            self._begin()

    def _begin(self) -> None:
        """A task is watched from now on: forget what is left of the one before."""

    def on_finished(self, task: PipelineTask, result: TaskResult) -> None:
        """The task is over."""
        self._watch(task)
        self._over()
        self._task = None

    def _over(self) -> None:
        """The task is over."""


def check_callback(what: str, value: object) -> Callable[[Any], object] | None:
    """A sync function that is called with a record, or None. What it gives to await is an error where it is called."""
    if value is None:
        return None
    check_function(what, value, "a function to call with the record, or None", "record")
    if iscoroutinefunction(value):
        expected = (
            "a sync function, for it is called where the event happens: one that puts the record into a channel, say"
        )
        raise refuse(what, value, expected)
    name = what.rpartition("(")[2]

    def call(record: Any) -> None:
        refuse_awaitable(value(record), name)  # type: ignore[operator]  # checked just above

    return call
