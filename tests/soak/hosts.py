"""A session's task in a `Restart`, between one instance that fails at once and one that does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import trio

from trio_pipes import PipelineRunner, PipelineTask, Requested, Restart, Worker
from trio_pipes._base import REQUESTED

from .planned import Planned


class StandIn:
    """A worker of the task's name, before it or after it."""

    def __init__(self, name: str, *, fails: bool) -> None:
        self.name = name
        self.fails = fails

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep(0.01)
        if self.fails:
            raise Planned(f"{self.name}: the first instance")

    def stop_when_done(self, reason: str | None = None) -> Requested:
        return REQUESTED

    def cancel(self, reason: str | None = None) -> Requested:
        return REQUESTED


async def in_a_restart(runner: PipelineRunner, task: PipelineTask) -> None:
    """Host the task as the second instance; should it fail there is a third."""
    instances: Iterator[Worker] = iter(
        [StandIn(task.name, fails=True), task, StandIn(task.name, fails=False)]  # the last one returns
    )
    worker = Restart(lambda: next(instances))
    runner.add_workers(worker, isolated=True)
    await task.wait_finished()
    while runner.get_worker(task.name) is not None:  # noqa: ASYNC110  (nobody tells)
        await trio.sleep(0.01)
    if worker.restarts != 1 + (task.result is not None and task.result.error is not None):
        raise AssertionError(f"{task.name} was made again {worker.restarts} times, and it is {task.result}")
