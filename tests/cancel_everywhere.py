"""Run a scenario again and again, cancelled at its first, second, third ... step, and see that nothing is left."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Awaitable, Callable

import trio
import trio.testing

Scenario = Callable[[], Awaitable[None]]


class CancelAtStep(trio.abc.Instrument):
    """Calls `cancel` before the n-th step of any task."""

    def __init__(self, cancel: Callable[[], object], step: int) -> None:
        self.cancel = cancel
        self.left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.cancel()


def tasks_alive() -> set[trio.lowlevel.Task]:
    """Every task of this run."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found: set[trio.lowlevel.Task] = set()
    todo = [root]
    while todo:
        task = todo.pop()
        found.add(task)
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def _once(scenario: Scenario, check: Callable[[], None], cancel: Callable[[], object] | None, step: int) -> bool:
    """Whether the scenario was still running at that step."""
    before = tasks_alive()
    with trio.fail_after(1000):
        with trio.CancelScope() as scope:
            instrument = CancelAtStep(cancel or scope.cancel, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                await scenario()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        await trio.testing.wait_all_tasks_blocked()
    left = tasks_alive() - before
    assert not left, f"cancelled at step {step}: {[task.name for task in left]} are left"
    check()
    return instrument.left <= 0


def cancelled_everywhere(
    make: Callable[[], tuple[Scenario, Callable[[], None], Callable[[], object] | None]], *, stride: int = 1
) -> int:
    """Cancel at each step (or each `stride`-th); gives how many runs that took.

    `make` gives a fresh scenario, what has to hold after it, however it ended, and how to cancel it (None: the scope
    round it is cancelled).
    """
    step = 1
    runs = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while True:
            scenario, check, cancel = make()
            runs += 1
            reached = trio.run(_once, scenario, check, cancel, step, clock=trio.testing.MockClock(autojump_threshold=0))
            if not reached:
                gc.collect()
                return runs
            step += stride
