"""`JobGroup`: the same work, asked of several workers at once."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self, final

import outcome
import trio
from trio.lowlevel import ParkingLot, checkpoint

from trio_pipes._base import PipesError

from ._beside import Beside
from ._job import Job

__all__ = ["JobGroup"]


@final
class JobGroup:
    """What `worker.job_group(...)` gives: `async with` it. Each worker is asked as soon as it is there and ready.

    `results()` waits for all of them. `async for worker, update in group` gives what the handlers tell while they work, and
    ends when all jobs are over. With `cancel_on_error` the first failure cancels the others.
    """

    def __init__(self, jobs: Mapping[str, Job], changed: ParkingLot, cancel_on_error: bool) -> None:
        self.jobs: Mapping[str, Job] = MappingProxyType(dict(jobs))
        """The job of each worker."""
        self._changed = changed
        self._cancel_on_error = cancel_on_error
        self._beside: Beside | None = None

    def __repr__(self) -> str:
        over = sum(job.is_over for job in self.jobs.values())
        return f"<group of {len(self.jobs)} jobs, {over} over>"

    async def __aenter__(self) -> Self:
        if self._beside is not None:
            raise RuntimeError(f"{self!r} has been asked before: a group is one block, ask again for another")
        self._beside = Beside()
        await self._beside.open()
        try:
            for job in self.jobs.values():
                await job.open()
                self._beside.start(self._follow, job)
        except BaseException as exc:
            await self.__aexit__(type(exc), exc, None)  # noqa: ASYNC102  (each wait in it has a deadline)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._beside is not None
        try:
            await self._beside.close(value)  # noqa: ASYNC102  (what it waits for has been cancelled)
        finally:
            reason = None if value is None else f"its requester's block was left with {value!r}"
            await self._leave_all(reason)  # noqa: ASYNC102  (shielded, with a deadline)

    async def _leave_all(self, reason: str | None) -> None:
        """At once: a broker that is slow is waited for once, not for each."""
        with trio.CancelScope(shield=True):  # each has a deadline
            async with trio.open_nursery() as nursery:
                for job in self.jobs.values():
                    nursery.start_soon(job.leave, reason)

    async def _follow(self, job: Job) -> None:
        try:
            await job.ask()
        except PipesError as exc:
            job.fail(exc)
        await job.wait_over()
        if job.has_failed and self._cancel_on_error:
            await self._cancel_others(job)

    async def _cancel_others(self, failed: Job) -> None:
        reason = f"the job of {failed.worker!r} in the same group failed"
        for job in self.jobs.values():
            if not job.is_over:
                job.cancel_locally(reason)
                await job.leave(reason)

    @property
    def responses(self) -> dict[str, Any]:
        """The results that are there, by worker."""
        return {name: job.value for name, job in self.jobs.items() if job.is_over and not job.has_failed}

    async def results(self) -> dict[str, Any]:
        """What all of them gave, by worker.

        With `cancel_on_error`, the results; raises the first `JobError`, and the others are cancelled. Without, an outcome for each:
        `outcome.Value` or `outcome.Error`, whose `unwrap()` gives the result or raises.
        """
        await checkpoint()
        while True:
            failed = [job for job in self.jobs.values() if job.has_failed]
            if failed and self._cancel_on_error:
                raise min(failed, key=lambda job: job.over_as).error
            if all(job.is_over for job in self.jobs.values()):
                break
            await self._wait()
        if self._cancel_on_error:
            return {name: job.value for name, job in self.jobs.items()}
        return {
            name: outcome.Error(job.error) if job.has_failed else outcome.Value(job.value)
            for name, job in self.jobs.items()
        }

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, Any]:
        """Which worker tells what."""
        await checkpoint()
        while True:
            for name, job in self.jobs.items():
                if (update := job.take_update()) is not None:
                    return name, update[0]
            if all(job.is_over for job in self.jobs.values()):
                raise StopAsyncIteration
            await self._wait()

    async def _wait(self) -> None:
        await self._changed.park()
