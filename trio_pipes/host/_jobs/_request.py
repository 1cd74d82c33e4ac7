"""`JobRequest`: a job as its handler sees it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, final

import trio

from trio_pipes._base import REQUESTED, Requested, check_callable, check_count, check_flag, check_reason

from .._bus import BusMessage
from ._messages import JobUpdate, JobUpdateUrgent
from ._stream_out import JobOut

__all__ = ["JobRequest"]


class Work(Protocol):
    """What the server knows of the job."""

    id: str
    payload: Any
    source: str
    scope: trio.CancelScope
    updates: int
    urgent_updates: int
    out: JobOut | None
    tell_progress: Callable[[], Any] | None

    @property
    def name(self) -> str | None:
        """What is to be done."""
        ...

    @property
    def state(self) -> str:
        """Whether it is running."""
        ...

    @property
    def send(self) -> Callable[[BusMessage], Awaitable[None]]:
        """To the requester."""
        ...

    def check_running(self, call: str) -> None:
        """Raise `RuntimeError` when it is over."""

    def answer_progress(self) -> None:
        """Tell how far it is, where that was asked."""

    def cancel(self, reason: str | None) -> None:
        """Stop it."""


@final
class JobRequest:
    """What a handler is given: `payload`, and ways to tell its requester how far it is.

    What the handler returns is the result. What it raises is raised at the requester, as a `JobError`.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    def __repr__(self) -> str:
        return f"<job {self.name!r} for {self.source!r}, {self._work.state}>"

    @property
    def id(self) -> str:
        """Tells it from all other jobs on the bus."""
        return self._work.id

    @property
    def name(self) -> str | None:
        """What is to be done; None in the worker's default handler."""
        return self._work.name

    @property
    def payload(self) -> Any:
        """What it is to be done with."""
        return self._work.payload

    @property
    def source(self) -> str:
        """Who asks, by name: a worker, or a runner."""
        return self._work.source

    @property
    def runner(self) -> str:
        """The `runner_id` of the runner that it comes from."""
        return self._work.id.partition("/")[0]

    @property
    def deadline(self) -> float:
        """When it is cancelled because its time is over, on Trio's clock; infinite where it was given no timeout."""
        return self._work.scope.deadline

    @property
    def seconds_left(self) -> float:
        """Until then."""
        return self.deadline if math.isinf(self.deadline) else max(0.0, self.deadline - trio.current_time())

    async def update(self, data: Any, *, urgent: bool = False) -> None:
        """Tell the requester something, which it gets from `async for`. Never waits for it to read.

        Raises `RuntimeError` when the job is over.
        """
        check_flag("JobRequest.update(urgent", urgent)
        work = self._work
        work.check_running("update")
        if urgent:
            number, work.urgent_updates = work.urgent_updates, work.urgent_updates + 1
            await work.send(JobUpdateUrgent(job=work.id, number=number, data=data))
        else:
            number, work.updates = work.updates, work.updates + 1
            await work.send(JobUpdate(job=work.id, number=number, data=data))

    def open_stream(self, *, buffer: int = 16) -> JobOut:
        """A stream of chunks to the requester: `async with job.open_stream() as out: await out.send(chunk)`.

        `buffer` chunks may be on their way; then `send` waits for the requester to take some. A job has one stream.
        """
        check_count("JobRequest.open_stream(buffer", buffer, "how many chunks may be on their way, at least 1")
        work = self._work
        work.check_running("open_stream")
        if work.out is not None:
            raise RuntimeError(f"{self!r} has opened its stream before, and a job has one")
        work.out = JobOut(work.id, work.send, buffer)
        return work.out

    def on_progress_asked(self, tell: Callable[[], Any] | None) -> None:
        """Have `tell()` give the data of an urgent update whenever the requester asks how far this is. None: no more.

        A sync function; what it raises fails the job. Until there is one, the question waits for it.
        """
        if tell is not None:
            check_callable("JobRequest.on_progress_asked(tell", tell, "a function that gives the data of an update")
            if inspect.iscoroutinefunction(tell):
                raise TypeError(
                    f"on_progress_asked was given {tell!r}, which is async: give what is known in a plain function"
                )
        self._work.check_running("on_progress_asked")
        self._work.tell_progress = tell
        self._work.answer_progress()

    def cancel(self, reason: str | None = None) -> Requested:
        """Stop the work; the requester gets a `JobError` whose status is "cancelled"."""
        check_reason("JobRequest.cancel", reason)
        self._work.cancel(reason)
        return REQUESTED
