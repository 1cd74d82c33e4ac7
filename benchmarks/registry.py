"""Ten thousand workers that start at once: until they are ready, and until another runner on the bus knows that they are."""

from __future__ import annotations

import argparse
import gc
import os
import secrets
import statistics
import time
from typing import Any

import trio

from trio_pipes import Bus, MemoryBus, PipelineRunner, Requested, WorkerChange

CARRIERS = ("none", "memory", "redis", "postgres")
"""`redis` and `postgres`: servers at their usual places on this machine, or at TRIO_PIPES_REDIS and TRIO_PIPES_POSTGRES."""


class Idle:
    """A worker that waits for its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.end = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self.end.wait()

    def stop_when_done(self, reason: str | None = None) -> Requested:
        self.end.set()
        return Requested()

    cancel = stop_when_done


def _buses(carrier: str) -> list[Bus | None]:
    """Two, as two processes would have."""
    if carrier == "none":
        return [None]
    if carrier == "memory":
        return [MemoryBus()] * 2
    channel = f"bench_{secrets.token_hex(4)}"
    if carrier == "redis":
        from trio_pipes.net import RedisBus

        url = os.environ.get("TRIO_PIPES_REDIS", "redis://127.0.0.1:6379")
        return [RedisBus(url, channel=channel) for _ in range(2)]
    from trio_pipes.net import PostgresBus

    dsn = os.environ.get("TRIO_PIPES_POSTGRES", "postgresql://postgres@127.0.0.1/test")
    return [PostgresBus(dsn, channel=channel) for _ in range(2)]


async def registry(a: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds of the loop's thread, which has both runners, until the other one knows `count` workers.

    Real seconds are beside it. Without a bus (`none`): until they are ready.
    """
    runs = [await _once(a.count, a.carrier) for _ in range(a.inner)]
    figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {"value": figures["cpu"], "unit": "cpu-s", "all": [run["cpu"] for run in runs], **figures}


async def _once(count: int, carrier: str) -> dict[str, float]:
    buses = _buses(carrier)
    workers = [Idle(f"worker {i}") for i in range(count)]
    one = PipelineRunner(*workers, bus=buses[0], handle_sigint=False)
    gc.collect()
    return await (_alone(one) if len(buses) == 1 else _beside_another(one, buses[1], count))


async def _alone(one: PipelineRunner) -> dict[str, float]:
    figures: dict[str, float] = {}
    async with trio.open_nursery() as nursery:
        began, cpu = time.perf_counter(), time.thread_time()
        await nursery.start(lambda task_status: one.run(auto_end=False, task_status=task_status))
        figures["ready"] = time.perf_counter() - began
        figures["cpu"] = time.thread_time() - cpu
        one.end()
    return figures


async def _beside_another(one: PipelineRunner, bus: Any, count: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    async with trio.open_nursery() as nursery:
        two = PipelineRunner(bus=bus, handle_sigint=False)
        await nursery.start(lambda task_status: two.run(auto_end=False, task_status=task_status))
        async with two.registry.watch() as events:
            began, cpu = time.perf_counter(), time.thread_time()

            async def host() -> None:
                await nursery.start(lambda task_status: one.run(auto_end=False, task_status=task_status))
                figures["ready"] = time.perf_counter() - began

            nursery.start_soon(host)
            await _count(events, WorkerChange.READY, count)
            figures["known"] = time.perf_counter() - began
            figures["cpu"] = time.thread_time() - cpu
            one.end()
            ended = time.perf_counter()
            await _count(events, WorkerChange.GONE, count)
            figures["forgotten"] = time.perf_counter() - ended
        two.end()
    return figures


async def _count(events: Any, kind: WorkerChange, count: int) -> None:
    while count:
        count -= (await anext(events)).kind is kind
