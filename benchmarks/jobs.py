"""Jobs: how long a round trip takes, in one process, beside the peer's, and over Redis beside two bare messages.

    python benchmarks/jobs.py [--count 2000] [--runs 5] [--peer-python PATH] [--redis URL]

Ours and the peer's are measured in turns, each in a process of its own; medians of CPU and of wall microseconds. The
peer is pipecat-ai, in an environment of its own. A round trip is: enter the block, be answered by a handler that returns
its payload, leave. JSON to stdout.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

import trio

from trio_pipes import BaseWorker, Bus, JobRequest, PipelineRunner, RedisBus, job

PEER = """
import asyncio, gc, json, os, statistics, sys, time
os.environ.setdefault("LOGURU_AUTOINIT", "False")
from loguru import logger
logger.remove()
from importlib.metadata import version
from pipecat.pipeline.job_decorator import job
from pipecat.workers.base_worker import BaseWorker
from pipecat.workers.runner import WorkerRunner

count, inner = int(sys.argv[1]), 3

class Doer(BaseWorker):
    @job(name="echo")
    async def on_echo(self, message):
        await self.send_job_response(message.job_id, message.payload)

async def main():
    runner = WorkerRunner(handle_sigint=False)
    asker, doer = BaseWorker("asker"), Doer("doer")
    await runner.add_workers(asker, doer)
    running = asyncio.create_task(runner.run(auto_end=False))
    await asyncio.sleep(0.5)

    async def ask(n):
        async with asker.job("doer", name="echo", payload={"n": n}, timeout=30) as it:
            pass
        assert it.response == {"n": n}

    wall, cpu, many = [], [], []
    for n in range(50):
        await ask(n)
    for _ in range(inner):
        gc.collect()
        w, c = time.perf_counter(), time.thread_time()
        for n in range(count):
            await ask(n)
        wall.append((time.perf_counter() - w) / count * 1e6)
        cpu.append((time.thread_time() - c) / count * 1e6)
    c = time.thread_time()
    await asyncio.gather(*(ask(n) for n in range(1000)))
    many = (time.thread_time() - c) / 1000 * 1e6
    record = {"cpu_us": statistics.median(cpu), "wall_us": statistics.median(wall), "at_once_cpu_us": many}
    print(json.dumps({**record, "version": version("pipecat-ai")}))
    os._exit(0)

asyncio.run(main())
"""


class Doer(BaseWorker):
    @job("echo")
    async def echo(self, job: JobRequest) -> Any:
        return job.payload


async def round_trips(asker: PipelineRunner, count: int, inner: int = 3) -> dict[str, float]:
    """One after the other, and a thousand at once."""

    async def ask(n: int) -> None:
        async with asker.job("doer", "echo", {"n": n}, timeout=30) as it:
            assert await it.result() == {"n": n}

    wall, cpu, each = [], [], []
    for n in range(50):
        await ask(n)
    for _ in range(inner):
        gc.collect()
        began, cpu_began = time.perf_counter(), time.thread_time()
        for n in range(count):
            one = time.perf_counter()
            await ask(n)
            each.append(time.perf_counter() - one)
        wall.append((time.perf_counter() - began) / count * 1e6)
        cpu.append((time.thread_time() - cpu_began) / count * 1e6)
    cpu_began = time.thread_time()
    async with trio.open_nursery() as nursery:
        for n in range(1000):
            nursery.start_soon(ask, n)
    at_once = (time.thread_time() - cpu_began) / 1000 * 1e6
    median = statistics.median
    record = {"cpu_us": median(cpu), "wall_us": median(wall), "median_wall_us": median(each) * 1e6}
    return {**record, "at_once_cpu_us": at_once}


async def measure(count: int, there: Bus | None = None, here: Bus | None = None) -> dict[str, float]:
    """With two buses, between two runners; else within one."""
    doing = PipelineRunner(Doer("doer"), bus=there, handle_sigint=False)
    asking = doing if here is None else PipelineRunner(bus=here, handle_sigint=False)

    async def run(runner: PipelineRunner, *, task_status: trio.TaskStatus[Any]) -> None:  # noqa: ASYNC128
        await runner.run(auto_end=False, task_status=task_status)

    async with trio.open_nursery() as nursery:
        for runner in {id(doing): doing, id(asking): asking}.values():
            await nursery.start(run, runner)
        await asking.registry.wait_ready("doer")
        record = await round_trips(asking, count)
        doing.cancel()
        asking.cancel()
    return record


def command(*words: str) -> bytes:
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)])


async def bare_redis(host: str, port: int, count: int) -> float:
    """Wall microseconds of a message that is published and answered with one, by sockets and nothing else."""
    there, back = f"benchmark-{os.getpid()}-there", f"benchmark-{os.getpid()}-back"
    took = []

    async def answer(hears: trio.SocketStream, says: trio.SocketStream) -> None:
        while await hears.receive_some():
            await says.send_all(command("PUBLISH", back, "x" * 200))
            await says.receive_some()

    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        streams = [await stack.enter_async_context(await trio.open_tcp_stream(host, port)) for _ in range(4)]
        for stream, channel in zip(streams, (there, back), strict=False):
            await stream.send_all(command("SUBSCRIBE", channel))
            await stream.receive_some()
        nursery.start_soon(answer, streams[0], streams[2])
        for _ in range(count):
            began = time.perf_counter()
            await streams[3].send_all(command("PUBLISH", there, "x" * 200))
            await streams[1].receive_some()
            took.append(time.perf_counter() - began)
            await streams[3].receive_some()
        nursery.cancel_scope.cancel()
    return statistics.median(took) * 1e6


async def over_redis(url: str, count: int) -> dict[str, float]:
    """Both runners in this process, so that one CPU does the work of two."""
    host, _, port = url.removeprefix("redis://").partition(":")
    channel = f"benchmark-{os.getpid()}"
    bare = await bare_redis(host, int(port or 6379), count)
    record = await measure(count, RedisBus(url, channel=channel), RedisBus(url, channel=channel))
    return {**record, "bare_wall_us": bare, "times_bare": record["median_wall_us"] / bare}


def in_a_process(*command: str) -> dict[str, Any]:
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    record: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return record


def medians(records: list[dict[str, Any]]) -> dict[str, float]:
    names = [name for name, value in records[0].items() if isinstance(value, float)]
    return {name: round(statistics.median(record[name] for record in records), 1) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer-python", default=os.environ.get("TRIO_PIPES_PEER_PYTHON", ""))
    parser.add_argument("--redis", default="", help="such as redis://127.0.0.1:6379")
    parser.add_argument("--once", action="store_true", help="one measurement, in this process")
    a = parser.parse_args()
    if a.once:
        record = trio.run(over_redis, a.redis, a.count) if a.redis else trio.run(measure, a.count)
        sys.stdout.write(json.dumps(record) + "\n")
        return
    ours, peers, redis = [], [], []
    once = (sys.executable, __file__, "--once", f"--count={a.count}")
    for _ in range(a.runs):
        ours.append(in_a_process(*once))
        if a.peer_python:
            peers.append(in_a_process(a.peer_python, "-c", PEER, str(a.count)))
        if a.redis:
            redis.append(in_a_process(*once, f"--redis={a.redis}"))
    result: dict[str, Any] = {"ours": medians(ours), "trio": version("trio"), "python": sys.version.split()[0]}
    if peers:
        result["peer"] = {**medians(peers), "version": peers[0]["version"]}
        result["cpu_of_the_peers"] = round(result["ours"]["cpu_us"] / result["peer"]["cpu_us"], 3)
    if redis:
        result["over_redis"] = medians(redis)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
