"""Where a task is in its life, how it ended, and how it stands at one moment."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_pipes._base import Table
from trio_pipes.flow import NodeStatistics

if TYPE_CHECKING:
    from trio_pipes.flow import MetricsStatistics

__all__ = [
    "FINAL",
    "REACHABLE",
    "TASK",
    "TaskResult",
    "TaskState",
    "TaskStatistics",
    "now_or_zero",
    "without_cancelled",
]


class TaskState(Enum):
    """Where a task is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    ENDED = "ended"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"


_OVER: Final = {
    "end": TaskState.ENDED,
    "stop": TaskState.STOPPED,
    "cancel": TaskState.CANCELLED,
    "fail": TaskState.FAILED,
}
TASK: Final[Table[TaskState]] = {
    TaskState.NEW: {"run": TaskState.STARTING, "cancel": TaskState.CANCELLED},
    TaskState.STARTING: {"started": TaskState.RUNNING, **_OVER},
    TaskState.RUNNING: {"ask_end": TaskState.ENDING, **_OVER},
    TaskState.ENDING: _OVER,
    TaskState.ENDED: {},
    TaskState.STOPPED: {},
    TaskState.CANCELLED: {},
    TaskState.FAILED: {},
}
FINAL: Final = frozenset(state for state, row in TASK.items() if not row)


def _reachable() -> dict[TaskState, frozenset[TaskState]]:
    """From each state those that it may still come to, itself among them."""
    found: dict[TaskState, frozenset[TaskState]] = {}
    for state in reversed(tuple(TASK)):  # the table has states in the order of a life
        found[state] = frozenset({state}).union(*(found[after] for after in TASK[state].values()))
    return found


REACHABLE: Final = _reachable()


@attrs.frozen
class TaskResult:
    """How a task ended."""

    state: TaskState
    """ENDED, STOPPED, CANCELLED or FAILED."""
    reason: str | None = None
    """What the one who asked for the end gave."""
    error: BaseException | None = None
    """What left `run()`, when the state is FAILED."""
    frames_in: int = 0
    """Frames accepted from outside."""
    frames_out: int = 0
    """Frames that reached the sink, lifecycle frames aside."""
    started_at: float | None = None
    """When `StartFrame` had reached the sink; seconds on Trio's clock, None if it never did."""
    finished_at: float = 0.0
    """When everything was torn down; seconds on Trio's clock."""
    reported_errors: int = 0
    """`ErrorFrame`s that reached the source (see `ErrorPolicy.REPORT`)."""
    observer_errors: tuple[Exception, ...] = ()
    """What observers and `on_handled` functions raised: the first thousand."""
    observer_events_lost: int = 0
    """Events that async observers were not told of: their queue was full, or their last second was over."""


@attrs.frozen
class TaskStatistics:
    """A task at one moment."""

    state: TaskState
    frames_in: int
    """Frames accepted from outside."""
    frames_out: int
    """Frames that reached the sink, lifecycle frames aside."""
    frames_up: int
    """Frames that reached the source."""
    push_waiting: int
    """Items in the push channel, and those who wait to queue one."""
    reported_errors: int
    observer_errors: tuple[Exception, ...]
    """What observers and `on_handled` functions raised: the first thousand."""
    observer_events_lost: int
    """Events that async observers were not told of: their queue was full."""
    processors: tuple[NodeStatistics, ...]
    """In pipeline order; empty before the run."""
    metrics: MetricsStatistics | None = None
    """What all processors together have measured, those included that were replaced since; None: nothing."""


def without_cancelled(error: BaseException) -> BaseException | None:
    """What is left of an error without Trio's `Cancelled`, alone or in groups."""
    if isinstance(error, trio.Cancelled):
        return None
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return error


def now_or_zero() -> float:
    """Trio's clock, also where there is none."""
    try:
        return trio.current_time()
    except RuntimeError:
        return 0.0
