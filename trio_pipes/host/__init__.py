"""Workers: pipelines as tasks, and the runner that hosts them."""

from typing import TYPE_CHECKING

from trio_pipes._base import on_first_access

from ._clock import BaseClock, SystemClock
from ._restart import Restart
from ._runner import PipelineRunner
from ._runner_statistics import RunnerStatistics
from ._task import PipelineTask
from ._task_state import TaskResult, TaskState, TaskStatistics
from ._worker import Host, Worker

if TYPE_CHECKING:
    from ._bridge import BridgedPipeline, BridgeStatistics, BusBridge
    from ._bus import (
        Bus,
        BusGap,
        BusMessage,
        BusStatistics,
        DataMessage,
        MemoryBus,
        Subscription,
        SubscriptionStatistics,
        SystemMessage,
    )
    from ._from_thread import RunnerFromThread, TaskFromThread
    from ._jobs import Job, JobGroup, JobOut, JobRequest, JobServerStatistics, JobStream, job
    from ._registry import Registry, RegistryStatistics, WorkerChange, WorkerEvent, WorkerInfo, WorkerWatch
    from ._workers import BaseWorker, BaseWorkerStatistics, CancelMessage, EndMessage, QueueFrameMessage, worker_ready
else:
    __getattr__ = on_first_access(
        globals(),
        {
            "._bus": (
                "Bus",
                "BusGap",
                "BusMessage",
                "BusStatistics",
                "DataMessage",
                "MemoryBus",
                "Subscription",
                "SubscriptionStatistics",
                "SystemMessage",
            ),
            "._bridge": (
                "BridgeStatistics",
                "BridgedPipeline",
                "BusBridge",
            ),
            "._from_thread": (
                "RunnerFromThread",
                "TaskFromThread",
            ),
            "._registry": (
                "Registry",
                "RegistryStatistics",
                "WorkerChange",
                "WorkerEvent",
                "WorkerInfo",
                "WorkerWatch",
            ),
            "._jobs": (
                "Job",
                "JobGroup",
                "JobOut",
                "JobRequest",
                "JobServerStatistics",
                "JobStream",
                "job",
            ),
            "._workers": (
                "BaseWorker",
                "BaseWorkerStatistics",
                "CancelMessage",
                "EndMessage",
                "QueueFrameMessage",
                "worker_ready",
            ),
        },
    )

__all__ = [
    "BaseClock",
    "BaseWorker",
    "BaseWorkerStatistics",
    "BridgeStatistics",
    "BridgedPipeline",
    "Bus",
    "BusBridge",
    "BusGap",
    "BusMessage",
    "BusStatistics",
    "CancelMessage",
    "DataMessage",
    "EndMessage",
    "Host",
    "Job",
    "JobGroup",
    "JobOut",
    "JobRequest",
    "JobServerStatistics",
    "JobStream",
    "MemoryBus",
    "PipelineRunner",
    "PipelineTask",
    "QueueFrameMessage",
    "Registry",
    "RegistryStatistics",
    "Restart",
    "RunnerFromThread",
    "RunnerStatistics",
    "Subscription",
    "SubscriptionStatistics",
    "SystemClock",
    "SystemMessage",
    "TaskFromThread",
    "TaskResult",
    "TaskState",
    "TaskStatistics",
    "Worker",
    "WorkerChange",
    "WorkerEvent",
    "WorkerInfo",
    "WorkerWatch",
    "job",
    "worker_ready",
]
