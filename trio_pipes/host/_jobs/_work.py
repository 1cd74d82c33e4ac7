"""`Work`: a job at the worker that does it, from when it arrives until its requester needs nothing more of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol, final

import attrs
import trio

from trio_pipes._base import WireError

from .._bus import BusMessage
from ._failure import Failure
from ._handlers import Handler
from ._messages import JobAnswer, JobAnswerUrgent, JobUpdateUrgent
from ._request import JobRequest
from ._stream_out import JobOut

__all__ = ["Lane", "Work"]


class Desk(Protocol):
    """What a piece of work needs of its server."""

    def start(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run it in the worker's nursery."""

    async def tell(self, message: BusMessage) -> object:
        """Send it to the requester."""

    def dismiss(self, work: Work) -> None:
        """It was waiting, and is to be answered without being done."""


@final
@attrs.define(eq=False)
class Work:
    """One job: waiting, running, or over and kept for a requester who may not have heard of it."""

    id: str
    handler: Handler
    payload: Any
    source: str
    desk: Desk
    lane: Lane
    scope: trio.CancelScope
    state: Literal["waiting", "running", "over"] = "waiting"
    wanted: bool = True
    """Whether the requester still waits for it."""
    why: Failure | None = None
    """Why it is to be stopped."""
    answer: JobAnswer | JobAnswerUrgent | None = None
    told: bool = False
    """The answer has been sent."""
    rounds: int = 0
    """Since it was heard of last, where the bus crosses to other processes."""
    updates: int = 0
    urgent_updates: int = 0
    out: JobOut | None = None
    tell_progress: Callable[[], Any] | None = None
    progress_asked: bool = False
    request: JobRequest = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.request = JobRequest(self)

    @property
    def name(self) -> str | None:
        return self.handler.name

    async def send(self, message: BusMessage) -> None:
        """To the requester."""
        message.target = self.id
        await self.desk.tell(message)

    def check_running(self, call: str) -> None:
        """Raise `RuntimeError` when the job is over."""
        if self.state != "running":
            raise RuntimeError(f"{call}() was called on {self.request!r}: a handler may, until it returns")

    def end(self) -> None:
        """It is not waiting or running any more."""
        self.state = "over"
        self.tell_progress = None

    def stop(self, why: Failure) -> None:
        """Stop the work, and say why to whoever still waits for it."""
        if self.state != "over" and self.why is None:
            self.why = why
            if self.state == "waiting":
                self.desk.dismiss(self)
            else:
                self.scope.cancel(reason=why.text)

    def cancel(self, reason: str | None) -> None:
        """The worker does not want to do it."""
        self.stop(Failure("cancelled", reason or "the worker stopped it"))

    def answer_progress(self) -> None:
        """Answer the question how far it is, where it was asked and somebody knows."""
        tell = self.tell_progress
        if not self.progress_asked or tell is None:
            return
        self.progress_asked = False
        try:
            data = tell()
        except Exception as exc:  # noqa: BLE001  (the handler's own function: it fails the job, as if the handler had raised)
            self.stop(Failure.of(exc))
            return
        number, self.urgent_updates = self.urgent_updates, self.urgent_updates + 1
        self.desk.start(self._tell_progress, JobUpdateUrgent(job=self.id, number=number, data=data))

    async def _tell_progress(self, message: BusMessage) -> None:
        try:
            await self.send(message)
        except WireError as exc:  # in no task of the handler's
            self.stop(Failure.of(exc))

    def answer_with(self, failure: Failure | None, value: Any = None) -> JobAnswer | JobAnswerUrgent:
        """The message that ends it."""
        kind = JobAnswerUrgent if self.handler.urgent else JobAnswer
        chunks = None if self.out is None else self.out.sent
        if failure is None:
            self.answer = kind(job=self.id, status="done", value=value, chunks=chunks, updates=self.updates)
        else:
            self.answer = kind(
                job=self.id,
                status=failure.status,
                value=failure.payload,
                text=failure.text,
                traceback=failure.traceback,
                chunks=chunks,
                updates=self.updates,
            )
        return self.answer


@final
@attrs.define(eq=False)
class Lane:
    """The jobs of one name: those that run, and those that wait for their turn."""

    handler: Handler
    running: int = 0
    waiting: dict[str, Work] = attrs.field(factory=dict)

    def has_room(self) -> bool:
        """Whether one more may run."""
        return self.handler.limit is None or self.running < self.handler.limit
