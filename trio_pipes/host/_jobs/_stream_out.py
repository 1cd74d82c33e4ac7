"""`JobOut`: the stream that a handler sends to its requester."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, Self, final

import trio
from trio.lowlevel import ParkingLot, checkpoint_if_cancelled

from ._failure import Failure
from ._messages import JobChunk, JobStreamEnd

__all__ = ["JobOut"]

# Seconds in which the end of a stream has to be told by a handler that is cancelled.
TO_END = 5.0


@final
class JobOut:
    """What `job.open_stream()` gives: `async with` it, and `send`. Leaving the block ends the stream at the requester.

    `send` waits while the requester has not taken what was sent, but for `buffer` chunks. An error that leaves the block is raised
    at the requester too, in place of the end of the stream.
    """

    def __init__(self, job: str, send: Callable[[Any], Awaitable[object]], buffer: int) -> None:
        self._job = job
        self._send = send
        self._buffer = buffer
        self._state: Literal["new", "open", "over"] = "new"
        self._sent = 0
        self._taken = 0
        self._kept: deque[JobChunk] = deque()  # sent and not taken
        self._room = ParkingLot()
        self._end: JobStreamEnd | None = None

    def __repr__(self) -> str:
        return f"<stream of {self._job}: {self._sent} sent, {self._taken} taken>"

    @property
    def sent(self) -> int:
        """Chunks that were sent."""
        return self._sent

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError(f"{self!r} has been opened before, and a job has one stream")
        self._state = "open"
        await checkpoint_if_cancelled()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._state = "over"
        self._room.unpark_all()
        end = self._end = JobStreamEnd(job=self._job, chunks=self._sent)
        if value is not None:
            what = (
                Failure.of(value) if isinstance(value, Exception) else Failure("cancelled", "the stream was left early")
            )
            end.status, end.text, end.value, end.traceback = what.status, what.text, what.payload, what.traceback
        with trio.CancelScope(
            shield=value is not None, deadline=trio.current_time() + TO_END if value else float("inf")
        ):
            await self._send(end)  # noqa: ASYNC102  (shielded, with a deadline, where it has to be)

    async def send(self, chunk: Any) -> None:
        """Send one. Raises `RuntimeError` when the stream is not open."""
        await checkpoint_if_cancelled()
        while self._state == "open" and self._sent - self._taken >= self._buffer:
            await self._room.park()
        if self._state != "open":
            raise RuntimeError(f"{self!r} is not open: send inside `async with job.open_stream() as out:`")
        message = JobChunk(job=self._job, number=self._sent, data=chunk)
        self._sent += 1
        self._kept.append(message)
        await self._send(message)

    # -- what the requester says

    def take(self, taken: int) -> None:
        """The requester has taken so many in all."""
        taken = min(taken, self._sent)
        while self._taken < taken:
            self._kept.popleft()
            self._taken += 1
        self._room.unpark_all()

    def missing(self, arrived: int) -> list[JobChunk | JobStreamEnd]:
        """What has to be sent again to a requester to whom so many have come."""
        again: list[JobChunk | JobStreamEnd] = [chunk for chunk in self._kept if chunk.number >= arrived]
        if self._end is not None:
            again.append(self._end)
        return again
