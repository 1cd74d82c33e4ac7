"""Our side of the benchmarks: one measurement of one thing, as one JSON line, in a process of its own.

`frames.py` runs this beside the peer's scripts, which work the same way; it can be run by hand:
`python benchmarks/ours.py throughput --n 10 --kind class`. The work is the peer's work: processors that push on what they
get, small text frames that are made before the clock starts, a runner where the peer has one.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import trio
from bus import bus
from registry import CARRIERS, registry
from wire import decode, encode, plain_decode, plain_encode

from trio_pipes import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Frames,
    InterruptionFrame,
    Out,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    TextFrame,
    each,
    processor,
)

perf_ns = time.perf_counter_ns
cpu = time.thread_time  # CPU seconds of this thread, which is the loop's: steady when others use the cores

# -- the three kinds of processor, and blocks


class Pass(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)


class Measures(FrameProcessor):
    """Measures how long each frame takes, where the task wants to know."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)
            return
        metrics = self.metrics
        metrics.start_processing()
        await self.push_frame(frame, direction)
        await metrics.stop_processing()


@each
def pass_sync(frame: TextFrame) -> TextFrame:
    return frame


@processor
async def pass_block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)


KINDS: dict[str, Callable[[], Any]] = {
    "class": Pass,
    "inline": lambda: Pass(inline=True),
    "sync": lambda: pass_sync,
    "block": lambda: pass_block,
    "measures": Measures,
}


class Probe(FrameProcessor):
    """The last one, in its neighbour's task: calls a hook for each text frame."""

    def __init__(self, hook: Callable[[], None]) -> None:
        super().__init__(inline=True)
        self.hook = hook

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            self.hook()
        await self.push_frame(frame, direction)


class CountsPushes:
    """The observer of PERFORMANCE's figure: one that counts every push."""

    def __init__(self) -> None:
        self.pushes = 0

    def on_frame_pushed(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        self.pushes += 1


class CountsBoth(CountsPushes):
    """One that is told of handled frames too."""

    def __init__(self) -> None:
        super().__init__()
        self.handled = 0

    def on_frame_handled(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        self.handled += 1


OBSERVERS: dict[str, Callable[[], list[Any]]] = {
    "none": list,
    "pushes": lambda: [CountsPushes()],
    "both": lambda: [CountsBoth()],
}


def row_of(n: int, kind: str) -> list[Any]:
    return [KINDS[kind]() for _ in range(n)]


def settle() -> None:
    gc.collect()
    gc.collect()


@asynccontextmanager
async def hosted(task: PipelineTask) -> AsyncIterator[PipelineRunner]:
    """The task under a runner of its own; the block is left when the run has returned."""
    runner = PipelineRunner(task, handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        yield runner


def summary(values: list[float]) -> dict[str, float]:
    values = sorted(values)
    return {
        "p50": statistics.median(values),
        "p99": values[min(len(values) - 1, round(0.99 * (len(values) - 1)))],
        "min": values[0],
        "max": values[-1],
    }


# -- what is measured


async def throughput(a: argparse.Namespace) -> dict[str, Any]:
    """Frames per CPU second, from the first one queued to the end frame out of the sink (and, with us, torn down)."""
    rates = [await _throughput(a) for _ in range(a.inner)]
    return {"value": statistics.median(rates), "unit": "frames/cpu-s", "all": rates}


async def _throughput(a: argparse.Namespace) -> float:
    task = PipelineTask(
        Pipeline(row_of(a.n, a.kind)), PipelineParams(enable_metrics=a.metrics), observers=OBSERVERS[a.observe]()
    )
    async with hosted(task):
        frames = [TextFrame("hello") for _ in range(a.frames)]
        settle()
        began = cpu()
        await _queue(task, frames, a.single)
        task.stop_when_done()
        result = await task.wait_finished()
        took = cpu() - began
    assert result.frames_out >= a.frames, result  # MetricsFrames come out too
    return float(a.frames / took)


async def _queue(task: PipelineTask, frames: list[TextFrame], single: bool) -> None:
    if single:
        for frame in frames:
            await task.queue_frame(frame)
    else:
        await task.queue_frames(frames)


async def per_hop(a: argparse.Namespace) -> dict[str, Any]:
    """What a hop costs in a pipeline of up to a hundred, to what it costs in one of up to ten."""
    took = {}
    for n in (1, 10, 100):
        a.n = n
        took[n] = 1e6 / (await throughput(a))["value"]  # us a frame
    short, long = (took[10] - took[1]) / 9, (took[100] - took[10]) / 90
    return {"value": long / short, "unit": "x", "us_a_hop": {"1 to 10": short, "10 to 100": long}}


async def construction(a: argparse.Namespace) -> dict[str, Any]:
    """One frame made, ns, ids included; the loop's own cost is taken off."""
    await trio.lowlevel.checkpoint()
    loop_and_frames = (lambda: [None for _ in range(a.frames)], lambda: [TextFrame("hello") for _ in range(a.frames)])
    medians = []
    for make in loop_and_frames:
        took = []
        for _ in range(max(a.inner, 3)):
            settle()
            gc.disable()
            began = cpu()
            made = make()
            took.append(cpu() - began)
            gc.enable()
            del made
        medians.append(statistics.median(took))
    return {"value": (medians[1] - medians[0]) / a.frames * 1e9, "unit": "ns"}


async def latency(a: argparse.Namespace) -> dict[str, Any]:
    """One frame through an idle pipeline, us: `queue_frame` called to the last processor has it."""
    seen, stamp = trio.Event(), 0

    def hook() -> None:
        nonlocal stamp
        stamp = perf_ns()
        seen.set()

    task = PipelineTask(Pipeline([*row_of(a.n, a.kind), Probe(hook)]))
    took = []
    async with hosted(task):
        settle()
        for number in range(a.count + 50):
            await trio.sleep(0.001)
            frame = TextFrame("hello")
            seen = trio.Event()
            began = perf_ns()
            await task.queue_frame(frame)
            await seen.wait()
            if number >= 50:
                took.append((stamp - began) / 1e3)
        task.stop_when_done()
    return {"value": summary(took)["p50"], "unit": "us p50", "us": summary(took)}


class Passes(trio.abc.Instrument):
    """CPU time of each pass of Trio's loop: what anybody else in it has to wait at most."""

    def __init__(self) -> None:
        self.worst = 0.0
        self.began = math.inf

    def after_io_wait(self, timeout: float) -> None:
        self.began = cpu()

    def before_io_wait(self, timeout: float) -> None:
        self.worst = max(self.worst, cpu() - self.began)


async def stall(a: argparse.Namespace) -> dict[str, Any]:
    """The worst stall of the loop while a backlog drains, ms of CPU."""
    worst = []
    for _ in range(a.inner):
        task = PipelineTask(Pipeline(row_of(a.n, a.kind)))
        async with hosted(task):
            frames = [TextFrame("hello") for _ in range(a.frames)]
            settle()
            gc.freeze()
            passes = Passes()
            trio.lowlevel.add_instrument(passes)
            await task.queue_frames(frames)
            task.stop_when_done()
            await task.wait_finished()
            trio.lowlevel.remove_instrument(passes)
            gc.unfreeze()
        worst.append(passes.worst * 1e3)
    return {"value": statistics.median(worst), "unit": "ms", "all": worst}


class Sleeper(FrameProcessor):
    def __init__(self) -> None:
        self.asleep = trio.Event()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame):
            self.asleep.set()
            await trio.sleep_forever()


async def cancel(a: argparse.Namespace) -> dict[str, Any]:
    """`cancel()` to `run()` of the runner returned, while every processor sleeps in its handler; ms."""
    took = []
    for number in range(a.count + 2):
        sleepers = [Sleeper() for _ in range(a.n)]
        task = PipelineTask(Pipeline(sleepers))
        runner = PipelineRunner(task, handle_sigint=False)
        returned = 0

        async def run(runner: PipelineRunner = runner) -> None:
            nonlocal returned
            await runner.run()
            returned = perf_ns()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await runner.wait_ready(task.name)
            await task.queue_frame(TextFrame("x"))
            for sleeper in sleepers:
                await sleeper.asleep.wait()
            await trio.sleep(0.02)
            began = perf_ns()
            task.cancel()
        if number >= 2:
            took.append((returned - began) / 1e6)
    return {"value": summary(took)["p50"], "unit": "ms p50", "ms": summary(took)}


class Blocker(FrameProcessor):
    blocked = trio.Event()
    stopped = trio.Event()
    stamp = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            self.blocked.set()
            try:
                await trio.sleep_forever()
            finally:
                self.stamp = perf_ns()
                self.stopped.set()
        await self.push_frame(frame, direction)


async def interrupt(a: argparse.Namespace) -> dict[str, Any]:
    """An interrupt queued, to the last processor's handler stopped (its `finally` runs); us.

    With a backlog, lanes are as long as it takes to have all of it in the pipeline: what waits before it is not stale.
    """
    blocker = Blocker(inline=a.kind == "inline")
    size = 64 + a.backlog // (1 if a.kind == "inline" else a.n - 2)
    task = PipelineTask(Pipeline([*row_of(a.n - 1, a.kind), blocker]), PipelineParams(queue_size=size))
    took = []
    async with hosted(task):
        for number in range(a.count + 20):
            blocker.blocked, blocker.stopped = trio.Event(), trio.Event()
            for _ in range(1 + a.backlog):
                await task.queue_frame(TextFrame("x"))
            await blocker.blocked.wait()
            await trio.sleep(0.05 if a.backlog else 0.002)
            began = perf_ns()
            await task.queue_frame(InterruptionFrame())
            await blocker.stopped.wait()
            if number >= 20:
                took.append((blocker.stamp - began) / 1e3)
            await trio.sleep(0.002)
        task.cancel()
    return {"value": summary(took)["p50"], "unit": "us p50", "us": summary(took)}


async def lifecycle(a: argparse.Namespace) -> dict[str, Any]:
    """An empty pipeline built, started and ended, ms: built, `StartFrame` at the sink, end asked, run returned."""
    parts: dict[str, list[float]] = {"build": [], "start": [], "end": [], "total": []}
    for number in range(a.count + 3):
        t0 = perf_ns()
        task = PipelineTask(Pipeline(row_of(a.n, a.kind)))
        runner = PipelineRunner(task, handle_sigint=False)
        t1 = perf_ns()
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            t2 = perf_ns()
            await task.queue_frame(EndFrame())
        t3 = perf_ns()
        if number >= 3:
            for part, took in (("build", t1 - t0), ("start", t2 - t1), ("end", t3 - t2), ("total", t3 - t0)):
                parts[part].append(took / 1e6)
    return {
        "value": statistics.median(parts["total"]),
        "unit": "ms",
        "ms": {part: statistics.median(took) for part, took in parts.items()},
    }


def resident() -> float:
    """Memory of this process now, KiB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        raise SystemExit("memory is measured on Linux only: there is no /proc/self/statm") from None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


async def memory(a: argparse.Namespace) -> dict[str, Any]:
    """Memory and Trio tasks of an idle running pipeline, KiB; `--share`: one runner for all of them."""
    async with hosted(PipelineTask(Pipeline(row_of(a.n, a.kind)))) as runner:
        runner.end()
    settle()
    before, tasks_before = resident(), trio.lowlevel.current_statistics().tasks_living
    tasks = []
    async with trio.open_nursery() as nursery:
        if a.share:
            tasks = [PipelineTask(Pipeline(row_of(a.n, a.kind))) for _ in range(a.count)]
            await nursery.start(PipelineRunner(*tasks, handle_sigint=False).run)
        else:
            for _ in range(a.count):
                tasks.append(PipelineTask(Pipeline(row_of(a.n, a.kind))))
                await nursery.start(PipelineRunner(tasks[-1], handle_sigint=False).run)
        await trio.sleep(a.rest)
        settle()
        after, tasks_after = resident(), trio.lowlevel.current_statistics().tasks_living
        for task in tasks:
            task.stop_when_done()
    return {
        "value": (after - before) / a.count,
        "unit": "KiB a pipeline",
        "tasks": (tasks_after - tasks_before) / a.count,
        "process_mib": after / 1024,
    }


async def many(a: argparse.Namespace) -> dict[str, Any]:
    """Many pipelines at once, frames per CPU second in all."""
    rates = [await _many(a) for _ in range(a.inner)]
    return {"value": statistics.median(rates), "unit": "frames/cpu-s", "all": rates}


async def _many(a: argparse.Namespace) -> float:
    async def feed(task: PipelineTask, frames: list[TextFrame]) -> None:
        await _queue(task, frames, single=True)
        task.stop_when_done()

    tasks = [PipelineTask(Pipeline(row_of(a.n, a.kind))) for _ in range(a.count)]
    async with trio.open_nursery() as nursery:
        for task in tasks:
            await nursery.start(PipelineRunner(task, handle_sigint=False).run)
        batches = [[TextFrame("hello") for _ in range(a.frames)] for _ in tasks]
        settle()
        began = cpu()
        for task, batch in zip(tasks, batches, strict=True):
            nursery.start_soon(feed, task, batch)
        for task in tasks:
            await task.wait_finished()
        took = cpu() - began
    assert all(task.statistics().frames_out == a.frames for task in tasks)
    return float(a.count * a.frames / took)


# -- the limits of the same machine


class Bare:
    """What `process_frame` and `push_frame` cost when there is nothing between them."""

    below: Bare | End

    async def process(self, frame: Frame, direction: Direction) -> None:
        await self.push(frame, direction)

    async def push(self, frame: Frame, direction: Direction) -> None:
        await self.below.process(frame, direction)


class End:
    async def process(self, frame: Frame, direction: Direction) -> None: ...


async def bare_pairs(a: argparse.Namespace) -> dict[str, Any]:
    """Frames per CPU second through N pairs of bare `process` and `push` coroutines."""
    row = [Bare() for _ in range(a.n)]
    below: list[Bare | End] = [*row[1:], End()]
    for above, under in zip(row, below, strict=True):
        above.below = under
    frames = [TextFrame("hello") for _ in range(a.frames)]
    rates = []
    for _ in range(a.inner):
        settle()
        began = cpu()
        for frame in frames:
            await row[0].process(frame, Direction.DOWNSTREAM)
        rates.append(a.frames / (cpu() - began))
    return {"value": statistics.median(rates), "unit": "frames/cpu-s", "all": rates}


async def bare_calls(a: argparse.Namespace) -> dict[str, Any]:
    """Frames per CPU second through N plain function calls, one after the other."""
    await trio.lowlevel.checkpoint()
    row: list[Callable[[Any], Any]] = [lambda frame: frame for _ in range(a.n)]
    frames = [TextFrame("hello") for _ in range(a.frames)]
    rates = []
    for _ in range(a.inner):
        settle()
        began = cpu()
        for frame in frames:
            passed: Any = frame
            for call in row:
                passed = call(passed)
        rates.append(a.frames / (cpu() - began))
    return {"value": statistics.median(rates), "unit": "frames/cpu-s", "all": rates}


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], Awaitable[dict[str, Any]]]] = {
    measure.__name__: measure
    for measure in (
        throughput,
        per_hop,
        construction,
        latency,
        stall,
        cancel,
        interrupt,
        lifecycle,
        memory,
        many,
        bare_pairs,
        bare_calls,
        bus,
        registry,
        encode,
        decode,
        plain_encode,
        plain_decode,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("--n", type=int, default=10, help="processors in a pipeline")
    parser.add_argument("--kind", choices=KINDS, default="class")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--single", action="store_true", help="queue frames one at a time")
    parser.add_argument("--count", type=int, default=100, help="how often, or how many pipelines")
    parser.add_argument("--backlog", type=int, default=0)
    parser.add_argument("--inner", type=int, default=5, help="repetitions in this process; their median counts")
    parser.add_argument("--share", action="store_true", help="one runner for all pipelines")
    parser.add_argument("--rest", type=float, default=0.5, help="seconds of idling before memory is read")
    parser.add_argument("--observe", choices=OBSERVERS, default="none", help="an observer that counts")
    parser.add_argument("--metrics", action="store_true", help="enable_metrics=True")
    parser.add_argument("--targeted", action="store_true", help="messages for one of `n` subscribers")
    parser.add_argument("--carrier", choices=CARRIERS, default="memory", help="the bus of two runners")
    a = parser.parse_args()
    record = trio.run(MEASUREMENTS[a.measurement], a)
    versions = {"python": platform.python_version(), "trio": version("trio")}
    sys.stdout.write(json.dumps({"measurement": a.measurement, **record, "versions": versions}) + "\n")


if __name__ == "__main__":
    main()
