"""What the command line learns of a runner from the outside, as an observer like any other."""

from __future__ import annotations

from collections.abc import Callable

from trio_pipes import PipelineRunner, PipelineTask, TaskResult

__all__ = ["Watch"]


class Watch:
    """An observer of a runner: its pipeline tasks, and when one of them changes state. They get `observers` besides."""

    def __init__(self, *observers: object) -> None:
        self._observers = observers
        self.tasks: list[PipelineTask] = []
        self.changed: Callable[[], None] = lambda: None

    def on_worker_started(self, _runner: PipelineRunner, worker: object) -> None:
        """Watch the task as well, if the worker is one."""
        if isinstance(worker, PipelineTask):
            self.tasks.append(worker)
            for observer in (_TaskWatch(self), *self._observers):
                worker.add_observer(observer)
            self.changed()


class _TaskWatch:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_started(self, _task: PipelineTask) -> None:
        self._watch.changed()

    def on_finished(self, _task: PipelineTask, _result: TaskResult) -> None:
        self._watch.changed()
