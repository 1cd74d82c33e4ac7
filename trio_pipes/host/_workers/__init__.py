"""Workers without a pipeline, who of them is active, and ends and cancels that travel over the bus."""

from ._base_worker import BaseWorker, BaseWorkerStatistics
from ._messages import CancelMessage, EndMessage, QueueFrameMessage
from ._watching import worker_ready

__all__ = [
    "BaseWorker",
    "BaseWorkerStatistics",
    "CancelMessage",
    "EndMessage",
    "QueueFrameMessage",
    "worker_ready",
]
