"""`JobStream`: the stream of a job as its requester reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, final

from trio.lowlevel import checkpoint

from trio_pipes._base import JobError

from ._failure import Failure
from ._messages import JobChunk, JobStreamEnd

__all__ = ["Chunks", "JobStream"]

# So many chunks are taken before the worker is told, unless it has no more on the way.
TELL_AFTER = 8


@final
class Chunks:
    """What has come of a stream."""

    def __init__(self) -> None:
        self.waiting: deque[Any] = deque()
        self.taken = 0
        self.told = 0
        """That were taken when the worker was told last."""
        self.total: int | None = None
        """How many there are in all; None: not known yet."""
        self.failure: Failure | None = None
        """What the handler left it with."""

    @property
    def arrived(self) -> int:
        """In their order, without a gap."""
        return self.taken + len(self.waiting)

    @property
    def is_whole(self) -> bool:
        """Nothing more will come."""
        return self.total is not None and self.arrived >= self.total

    def put(self, chunk: JobChunk) -> bool:
        """False: others have been lost before it."""
        if chunk.number == self.arrived:
            self.waiting.append(chunk.data)
        return chunk.number < self.arrived

    def end(self, message: JobStreamEnd) -> bool:
        """The worker has sent the last one. False: not all of them have come."""
        self.total = message.chunks
        if message.status != "done":
            self.failure = Failure(message.status, message.text, message.value, message.traceback)
        return self.is_whole

    def break_off(self, failure: Failure) -> None:
        """No more will come, though there was more."""
        self.total, self.failure = self.arrived, failure

    def credit(self, more: int) -> int | None:
        """When so many more are taken: how many the worker should be told of, if it should."""
        taken = self.taken + more
        if taken > self.told and (taken - self.told >= TELL_AFTER or more >= len(self.waiting)):
            return taken
        return None


class Job(Protocol):
    """The job that it belongs to."""

    @property
    def is_over(self) -> bool:
        """There is a result, or an error."""
        ...

    @property
    def awaits_chunks(self) -> bool:
        """Some are still on their way."""
        ...

    @property
    def failure(self) -> Failure | None:
        """What went wrong with it."""
        ...

    async def result(self) -> Any:
        """The result, or the error."""

    def error_of(self, failure: Failure) -> JobError:
        """What is raised for it."""
        ...


@final
class JobStream:
    """What `job.stream()` gives: `async for chunk in it`. A cancelled read loses no chunk."""

    def __init__(
        self, job: Job, chunks: Chunks, wait: Callable[[], Awaitable[None]], tell: Callable[[int], Awaitable[None]]
    ) -> None:
        self._job = job
        self._chunks = chunks
        self._wait = wait
        self._tell = tell

    def __repr__(self) -> str:
        return f"<stream of {self._job!r}: {self._chunks.arrived} arrived, {self._chunks.taken} taken>"

    def __aiter__(self) -> JobStream:
        return self

    async def __anext__(self) -> Any:
        """The next chunk. Raises `JobError` where the handler left the stream with an error, or the job failed."""
        chunks = self._chunks
        if chunks.waiting or chunks.is_whole or self._job.is_over:
            await checkpoint()
        while not chunks.waiting:
            if chunks.is_whole:
                if chunks.failure is None:
                    raise StopAsyncIteration
                if chunks.failure.status == "failed" or self._job.is_over:
                    raise self._job.error_of(self._job.failure or chunks.failure)
                await self._wait()  # the handler was cancelled: why, is in its answer
                continue
            if self._job.is_over and not self._job.awaits_chunks:
                await self._job.result()  # raises, where it failed
                raise StopAsyncIteration
            await self._wait()
        credit = chunks.credit(1)
        if credit is not None:
            await self._tell(credit)
        chunks.taken += 1
        return chunks.waiting.popleft()
