"""How long Trio's loop was kept from turning."""

from __future__ import annotations

from array import array
from time import perf_counter, thread_time
from typing import Final

import attrs
import trio

from trio_pipes import PipelineTask, TaskResult

__all__ = ["StallMeter", "Stalls"]

# What the loop may be kept, in seconds. 20 ms is the period of a sound card, 50 ms what an ear takes for "at once".
P99_LIMIT: Final = 0.005
WORST_LIMIT: Final = 0.05
OWN_LIMIT: Final = 0.005


@attrs.frozen
class Stalls:
    """What was measured, in seconds."""

    passes: int
    p99: float
    worst: float
    worst_cpu: float
    """The longest pass by CPU time of the loop's thread: without what the machine gave to others meanwhile."""

    def row(self, name: str) -> str:
        """A line of the table."""
        return f"  {name:<30} {self.passes:>9} {1000 * self.p99:>8.2f} {1000 * self.worst:>8.2f} {1000 * self.worst_cpu:>11.2f}"


HEADING: Final = "stalls of the loop, in ms             passes      p99    worst   worst, CPU"


class StallMeter(trio.abc.Instrument):
    """Measures each pass of the loop: from the moment it stops waiting to the moment it can wait again.

    That is how long anything else that became ready, a packet or a deadline, had to wait for its turn.
    """

    def __init__(self) -> None:
        self._wall = array("d")
        self._cpu = array("d")
        self._began = self._began_cpu = 0.0

    def on_started(self, task: PipelineTask) -> None:
        """As an observer of a task: start-up is over."""
        trio.lowlevel.add_instrument(self)

    def on_finished(self, task: PipelineTask, result: TaskResult) -> None:
        """As an observer of a task: it is over."""
        trio.lowlevel.remove_instrument(self)

    def after_io_wait(self, timeout: float) -> None:
        """A pass begins."""
        self._began_cpu = thread_time()
        self._began = perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        """A pass ends."""
        if self._began:
            self._wall.append(perf_counter() - self._began)
            self._cpu.append(thread_time() - self._began_cpu)

    def result(self) -> Stalls:
        """What has been measured so far."""
        wall = sorted(self._wall) or [0.0]
        return Stalls(len(self._wall), wall[int(0.99 * (len(wall) - 1))], wall[-1], max(self._cpu, default=0.0))
