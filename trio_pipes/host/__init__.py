"""Workers: pipelines as tasks, and the runner that hosts them."""

from ._clock import BaseClock, SystemClock
from ._from_thread import RunnerFromThread, TaskFromThread
from ._restart import Restart
from ._runner import PipelineRunner, RunnerStatistics
from ._task import PipelineTask
from ._task_state import TaskResult, TaskState, TaskStatistics
from ._worker import Worker

__all__ = [
    "BaseClock",
    "PipelineRunner",
    "PipelineTask",
    "Restart",
    "RunnerFromThread",
    "RunnerStatistics",
    "SystemClock",
    "TaskFromThread",
    "TaskResult",
    "TaskState",
    "TaskStatistics",
    "Worker",
]
