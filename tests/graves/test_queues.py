"""Queues: bounded, and no frame in them is remembered for ever."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
import weakref
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from graves_kit import (
    HUNG,
    modes,
    places,
    task_at,
    texts,
)
from hosting import Probe, Slow, Urgent, nothing_left, started
from trio_pipes import (
    DataFrame,
    Direction,
    FloodError,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    TaskState,
    TextFrame,
    each,
    processor,
)

# -- G9: queues without a bound


@processor
async def slow_block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await trio.sleep(1)
        await out.push(frame)


@each
async def slow_function(frame: TextFrame) -> TextFrame:
    await trio.sleep(1)
    return frame


@each
def quick(frame: TextFrame) -> TextFrame:
    return frame


SLOW = {"class": lambda: Slow(1), "block": lambda: slow_block, "function": lambda: slow_function}


@places
@modes
@pytest.mark.parametrize("slow", SLOW)
@pytest.mark.parametrize("size", [1, 64])
async def test_g09_a_slow_consumer_makes_the_producer_wait(autojump_clock, place, mode, slow, size) -> None:
    task = task_at(place, mode, quick, Probe(), quick, SLOW[slow](), Probe(), queue_size=size)
    queued = 0

    async def produce() -> None:
        nonlocal queued
        while True:
            await task.queue_frame(TextFrame("audio"))
            queued += 1

    async with nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await task.wait_state(TaskState.RUNNING)
            nursery.start_soon(produce)
            await trio.sleep(100)
            handled = task.statistics().frames_out
            assert handled in (99, 100)
            # What is in between: a queue and a frame in hand for each processor, and the push channel.
            hops = len(task.statistics().processors)
            assert queued - handled <= (hops + 1) * (size + 1) + 1
            nursery.cancel_scope.cancel()


# As a processor produces: no source outside that could be made to wait.
@modes
async def test_g09_a_producer_in_the_pipeline_waits_too(autojump_clock, mode) -> None:
    class Microphone(FrameProcessor):
        def __init__(self) -> None:
            self.made = 0

        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.record)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()

        async def record(self) -> None:
            await self.task.wait_state(TaskState.RUNNING)
            while True:
                await self.push_frame(TextFrame("sound"))
                self.made += 1

    microphone = Microphone()
    task = task_at("branch", mode, microphone, slow_block, Slow(1), queue_size=8)
    async with nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(100)
            assert microphone.made < 100 + 4 * 9
            task.cancel()


# Half a gigabyte of sound into a consumer of a frame a second: what is kept is what the queues hold.
async def test_g09_memory_is_bounded_by_the_queues(autojump_clock) -> None:
    task = task_at("row", "tasks", Slow(1), queue_size=16)
    tracemalloc.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await task.wait_state(TaskState.RUNNING)
            with trio.move_on_after(50):
                while True:
                    await task.queue_frame(TextFrame("x" * 100_000 + str(time.monotonic_ns())))
            held, peak = tracemalloc.get_traced_memory()
            nursery.cancel_scope.cancel()
    finally:
        tracemalloc.stop()
    assert 1_000_000 < held < 12_000_000  # about 66 frames of 0.1 MB
    assert peak < 15_000_000


# Lanes that make nobody wait have a limit, and passing it has a name.
@pytest.mark.parametrize("where", ["up", "urgent", "urgent up", "from inside"])
async def test_g09_lanes_that_never_wait_are_bounded_by_an_error(autojump_clock, where) -> None:
    class Floods(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame) and frame.text == "go":
                for _ in range(1000):
                    if where == "up":
                        await self.push_frame(TextFrame("x"), Direction.UPSTREAM)
                    elif where == "from inside":
                        await self.task.queue_frame(TextFrame("x"))
                    else:
                        way = Direction.UPSTREAM if "up" in where else Direction.DOWNSTREAM
                        await self.push_frame(Urgent("x"), way)
            else:
                await self.push_frame(frame, direction)

    class Sticks(Slow):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, Urgent) or (isinstance(frame, TextFrame) and frame.text == "x"):
                await trio.sleep(3600)
            await self.push_frame(frame, direction)

    task = task_at("row", "tasks", Sticks(name="above"), Floods(), Sticks(name="below"), lane_limit=100)
    await task.queue_frame(TextFrame("go"))
    async with nothing_left():
        with trio.fail_after(1), pytest.raises(FloodError, match="lane_limit=100"):
            await task.run()
    assert task.state is TaskState.FAILED


# A queue may be longer than the limit of lanes that have none of their own: what is in it is no flood.
@modes
async def test_g09_a_long_queue_is_not_a_flood_when_the_end_comes(autojump_clock, mode) -> None:
    last = Probe()
    task = task_at("row", mode, Slow(1), last, queue_size=300, lane_limit=100)
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await task.queue_frames(texts(*range(250)))
                await trio.sleep(0.5)
                task.stop_when_done()
    assert last.texts == [str(n) for n in range(250)]


class Beats:
    """The longest CPU time between two turns of a task that does nothing but take them."""

    def __init__(self) -> None:
        self.worst = 0.0
        self.turns = 0

    async def run(self) -> None:
        last = time.process_time()
        while True:
            await trio.lowlevel.checkpoint()
            now = time.process_time()
            self.worst = max(self.worst, now - last)
            last = now
            self.turns += 1


@each
def numbered(frame: TextFrame) -> TextFrame:
    return TextFrame(f"{frame.text}!")


@processor
async def passing(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)


# A backlog of 20,000 frames: the peer's loop stood still for 1.7 s. CPU time, so that a loaded machine does not matter.
@modes
@pytest.mark.parametrize("then", ["drain", "interrupt", "cancel"])
async def test_g09_a_backlog_does_not_stall_the_loop(mode, then) -> None:
    gate = trio.Event()

    class Gate(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame) and not gate.is_set():
                await gate.wait()
            await self.push_frame(frame, direction)

    row = [numbered, Gate(), passing, FrameProcessor(), numbered]
    task = task_at("branch", mode, *row, queue_size=20_000, lane_limit=100_000)
    beats = Beats()
    async with nothing_left():
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await task.queue_frames(texts(*range(20_000)))
                await trio.testing.wait_all_tasks_blocked()
                gc.collect()
                gc.disable()
                try:
                    async with trio.open_nursery() as beating:
                        beating.start_soon(beats.run)
                        await trio.lowlevel.checkpoint()
                        if then == "interrupt":
                            task.interrupt()
                        if then == "cancel":
                            task.cancel()
                        gate.set()
                        task.stop_when_done()
                        result = await task.wait_finished()
                        beating.cancel_scope.cancel()
                finally:
                    gc.enable()
    assert result.frames_out == (20_000 if then == "drain" else 0)
    assert beats.worst < 0.2
    assert beats.turns > (100 if then == "drain" else 1)


# -- G10: what remembers every frame for the life of the session


class Counts:
    """An observer of every event of a frame, that keeps only a number."""

    def __init__(self) -> None:
        self.count = 0

    def on_frame_pushed(self, task, processor, frame, direction) -> None:
        self.count += 1

    def on_frame_handled(self, task, processor, frame, direction) -> None:
        self.count += 1

    def on_reached_sink(self, task, frame) -> None:
        self.count += 1


SHAPES = {
    "row": lambda: Pipeline([numbered, FrameProcessor(), passing, numbered]),
    "fused": lambda: Pipeline([numbered, FrameProcessor(inline=True), FrameProcessor(inline=True), numbered]),
    "parallel": lambda: Pipeline(
        [ParallelPipeline([FrameProcessor()], [FrameProcessor()], [numbered]), Pipeline([numbered])]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "frames", "observers"),
    [("fused", 200_000, 0), ("row", 40_000, 0), ("parallel", 40_000, 0), ("row", 10_000, 1), ("parallel", 10_000, 1)],
)
async def test_g10_memory_is_flat_over_200_000_frames(autojump_clock, shape, frames, observers) -> None:
    task = PipelineTask(SHAPES[shape](), observers=[Counts()] * observers)

    async def send(count: int) -> int:
        for start in range(0, count, 1000):
            await task.queue_frames(TextFrame("x") for _ in range(start, start + 1000))
        assert await task.flush(HUNG)
        gc.collect()
        return sys.getallocatedblocks()

    async with started(task, HUNG):
        before = await send(frames // 10)
        after_it = await send(frames)
    # A set of ids alone would be a block for each frame.
    assert after_it - before < frames / 100


@modes
async def test_g10_no_frame_is_held_when_it_has_gone_through(autojump_clock, mode) -> None:
    class Marked(DataFrame):
        """One that can be referred to weakly."""

    refs: list[weakref.ref[Frame]] = []
    passers = [FrameProcessor(inline=mode == "inline") for _ in range(5)]
    branches = ParallelPipeline(passers[:2], [passers[2], passing, numbered])
    task = PipelineTask(Pipeline([passers[3], branches, passers[4]]), PipelineParams(debug=mode == "debug"))
    async with started(task, HUNG):
        for _ in range(100):
            frame = Marked()
            refs.append(weakref.ref(frame))
            await task.queue_frame(frame)
            await task.queue_frame(Marked(), Direction.UPSTREAM)
        del frame
        assert await task.flush(10)
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [ref for ref in refs if ref() is not None] == []


@pytest.mark.parametrize("shape", SHAPES)
async def test_g10_nothing_grows_with_interrupts_and_flushes(autojump_clock, shape) -> None:
    task = PipelineTask(SHAPES[shape]())

    async def rounds(count: int) -> int:
        for _ in range(count):
            await task.queue_frames(texts(1, 2, 3))
            task.interrupt()
            assert await task.flush(10)
        gc.collect()
        return sys.getallocatedblocks()

    async with started(task, HUNG):
        before = await rounds(200)
        assert await rounds(1000) - before < 500
