"""What anybody may ask of a worker or a runner over the bus."""

from __future__ import annotations

from typing import ClassVar

import attrs

from trio_pipes._base import on_wire
from trio_pipes.flow import Direction, Frame

from .._bus import DataMessage, SystemMessage

__all__ = ["CancelMessage", "EndMessage", "QueueFrameMessage"]


@on_wire("trio_pipes.worker.end")
@attrs.define(eq=False)
class EndMessage(DataMessage):
    """Finish what was accepted, then end. It comes behind the data that its sender sent before, and is never dropped.

    Without a target it is for every runner of the bus. With the id of a runner as target it is for that runner, or,
    where `worker` is given, for its worker of that name. With the name of a worker it is for that worker.
    """

    internal: ClassVar[bool] = True

    reason: str | None = None
    worker: str | None = None
    """The name of a worker of the runner that it is sent to; None: the runner itself."""


@on_wire("trio_pipes.worker.cancel")
@attrs.define(eq=False)
class CancelMessage(SystemMessage):
    """End now: it overtakes data. For whom it is: as with `EndMessage`."""

    internal: ClassVar[bool] = True

    reason: str | None = None
    worker: str | None = None
    """The name of a worker of the runner that it is sent to; None: the runner itself."""


@on_wire("trio_pipes.worker.queue-frame")
@attrs.define(eq=False)
class QueueFrameMessage(DataMessage):
    """Put a frame into the pipeline task that is the target: what `task.queue_frame(frame, direction)` does there."""

    frame: Frame
    direction: Direction = Direction.DOWNSTREAM
