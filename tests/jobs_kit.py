"""Workers and runners for the tests of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from trio_pipes import BaseWorker, JobError, JobRequest, PipelineRunner, Worker, job
from trio_pipes.host._bus import Bus


class Asker(BaseWorker):
    """Asks others."""


class Doer(BaseWorker):
    """Does some of everything, and writes down what."""

    def __init__(self, name: str | None = "doer", **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.log: list[Any] = []
        self.now = self.most = 0
        self.stopped = trio.Event()  # a job of "sleep" was cancelled

    @job()
    async def default(self, job: JobRequest) -> Any:
        return ("default", job.payload)

    @job("echo")
    async def echo(self, job: JobRequest) -> Any:
        self.log.append(job.payload)
        return job.payload

    @job("sleep")
    async def sleep(self, job: JobRequest) -> Any:
        """Sleeps so many seconds; writes down how that ended."""
        self.log.append(("begin", job.payload))
        try:
            await trio.sleep(job.payload)
        except trio.Cancelled:
            self.log.append(("cancelled", job.payload))
            self.stopped.set()
            raise
        self.log.append(("end", job.payload))
        return job.payload

    async def _counted(self, job: JobRequest) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await Doer.sleep(self, job)
        finally:
            self.now -= 1

    @job("one", sequential=True)
    async def one(self, job: JobRequest) -> Any:
        return await self._counted(job)

    @job("other", sequential=True)
    async def other(self, job: JobRequest) -> Any:
        return await self._counted(job)

    @job("three", limit=3)
    async def three(self, job: JobRequest) -> Any:
        return await self._counted(job)

    @job("count")
    async def count(self, job: JobRequest) -> Any:
        for n in range(job.payload):
            await job.update(n)
        return "counted"

    @job("stream")
    async def stream(self, job: JobRequest) -> Any:
        async with job.open_stream(buffer=4) as out:
            for n in range(job.payload):
                await out.send(n)
                self.log.append(n)
        return "streamed"

    @job("tear")
    async def tear(self, job: JobRequest) -> Any:
        async with job.open_stream() as out:
            await out.send("first")
            raise ValueError("torn")

    @job("fail")
    async def fail(self, job: JobRequest) -> Any:
        raise LookupError(f"no {job.payload}")

    @job("refuse")
    async def refuse(self, job: JobRequest) -> Any:
        raise JobError("not this one", payload={"nearest": job.payload})

    @job("quick", urgent=True)
    async def quick(self, job: JobRequest) -> Any:
        await job.update("slow news")
        await job.update("urgent news", urgent=True)
        return "quick"

    @job("progress")
    async def progress(self, job: JobRequest) -> Any:
        done = 0

        def tell() -> int:
            return done

        job.on_progress_asked(tell)
        for done in range(1, 11):  # noqa: B007  (told by `tell`)
            await trio.sleep(1)
        return done


@asynccontextmanager
async def running(*workers: Worker, bus: Bus | None = None, name: str | None = None) -> AsyncIterator[PipelineRunner]:
    """A runner with these workers, all ready; cancelled at the end, where it has not ended."""
    runner = PipelineRunner(*workers, bus=bus, name=name, handle_sigint=False)

    async def run(*, task_status: trio.TaskStatus[PipelineRunner]) -> None:
        await runner.run(auto_end=False, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        try:
            yield runner
        finally:
            runner.cancel("the test is over")
