"""Copies of frames, from one place to another: the end waits for them."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from graves_kit import (
    HUNG,
    STOPS,
    Button,
    asked_to_end,
    ends,
    modes,
    running,
    task_at,
    texts,
)
from hosting import Probe, Slow, at_every_checkpoint, nothing_left
from trio_pipes import (
    Consumer,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Producer,
    StopFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)

# -- G36: a consumer drops the copies it has queued when the end comes


def copied(frame: TextFrame) -> TextFrame:
    return TextFrame(f"copy of {frame.text}")


def is_original(frame: Frame) -> bool:
    return isinstance(frame, TextFrame) and not frame.text.startswith("copy")


async def slowly_copied(frame: TextFrame) -> TextFrame:
    await trio.sleep(1)
    return copied(frame)


WHERE = {
    "below": lambda producer, consumer: [producer, consumer],
    "above": lambda producer, consumer: [consumer, producer],
    "beside": lambda producer, consumer: [ParallelPipeline([producer], [silent, consumer, slow_block])],
    "beside, first": lambda producer, consumer: [ParallelPipeline([silent, consumer, slow_block], [producer])],
    "outside": lambda producer, consumer: [ParallelPipeline([Slow(0.1), producer], [silent]), consumer],
}


@pytest.mark.parametrize("where", WHERE)
@ends
@modes
async def test_g36_a_ready_made_consumer_delivers_all_copies(autojump_clock, way, mode, where) -> None:
    button, producer, last = Button(), Producer(is_original), Probe()
    task = task_at("row", mode, button, *WHERE[where](producer, Consumer(producer, transform=slowly_copied)), last)

    async def fill() -> None:
        await task.wait_state(TaskState.RUNNING)
        await task.queue_frames(texts(*range(10)))

    await asked_to_end(way, task, fill, button=button)
    assert last.kinds[-1] == ("StopFrame" if way in STOPS else "EndFrame")
    assert [text for text in last.texts if text.startswith("copy")] == [f"copy of {n}" for n in range(10)]
    assert [text for text in last.texts if not text.startswith("copy")] == [str(n) for n in range(10)]


@pytest.mark.parametrize("where", WHERE)
def test_g36_an_end_at_any_step_loses_no_copy(where) -> None:
    async def scenario(arm) -> None:
        producer, last = Producer(is_original, transform=copied), Probe()
        task = task_at("row", "tasks", *WHERE[where](producer, Consumer(producer)), last)
        accepted = 0
        arm(task.stop_when_done)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            try:
                for n in range(4):
                    await task.queue_frame(TextFrame(str(n)))
                    accepted += 1
                task.stop_when_done()
            except trio.ClosedResourceError:
                pass
        assert sorted(last.texts) == sorted(f"{copy}{n}" for n in range(accepted) for copy in ("", "copy of "))

    assert at_every_checkpoint(scenario) > 8


# -- the same of processors that are written here


@processor
async def slow_block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await trio.sleep(1)
        await out.push(frame)


class HandsOver(FrameProcessor):
    """Hands a copy of each text to whoever consumes it in another place."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[TextFrame](1000)

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await self.send.send(TextFrame(f"copy of {frame.text}"))
        if isinstance(frame, EndFrame | StopFrame):
            self.send.close()
        await self.push_frame(frame, direction)


class PushesCopies(FrameProcessor):
    """Pushes copies from its background work, slowly; at the end what is queued comes first."""

    def __init__(self, producer: HandsOver) -> None:
        self.producer = producer
        self.drained = trio.Event()

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.pump)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def pump(self) -> None:
        async for frame in self.producer.receive:
            await trio.sleep(1)
            await self.push_frame(frame)
        self.drained.set()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, EndFrame | StopFrame):
            await self.drained.wait()
        await self.push_frame(frame, direction)


@ends
@modes
async def test_g36_a_consumer_that_waits_for_its_queue_delivers_all_copies(autojump_clock, way, mode) -> None:
    button, producer, last = Button(), HandsOver(), Probe()
    task = task_at("row", mode, button, producer, PushesCopies(producer), last)

    async def fill() -> None:
        await task.wait_state(TaskState.RUNNING)
        await task.queue_frames(texts(*range(10)))

    await asked_to_end(way, task, fill, button=button)
    assert last.kinds[-1] == ("StopFrame" if way in STOPS else "EndFrame")
    assert sorted(last.texts) == sorted([*map(str, range(10)), *(f"copy of {n}" for n in range(10))])


# Producer and consumer in two branches, which both have to see the end.
@modes
async def test_g36_across_branches(autojump_clock, mode) -> None:
    producer, last = HandsOver(), Probe()
    branches = ParallelPipeline([producer], [silent, PushesCopies(producer), slow_block])
    task = task_at("row", mode, branches, last)
    await task.queue_frames(texts(*range(10)))
    task.stop_when_done()
    async with nothing_left():
        with trio.fail_after(HUNG):
            await task.run()
    assert [text for text in last.texts if text.startswith("copy")] == [f"copy of {n}" for n in range(10)]
    assert [text for text in last.texts if not text.startswith("copy")] == [str(n) for n in range(10)]


@each
def silent(frame: TextFrame) -> None:
    return None


# From one task to another: what has come out of the first is readable after its end, and nothing of it is lost.
@pytest.mark.parametrize("buffer", [0, 1, 1000])
async def test_g36_from_task_to_task(autojump_clock, buffer) -> None:
    last = Probe()
    one, two = task_at("branch", "tasks", slow_block), task_at("row", "tasks", Slow(3), last, queue_size=1)

    async def copies() -> None:
        async with one.open_output(TextFrame, buffer=buffer) as frames:
            ready.set()
            async for frame in frames:
                await two.queue_frame(frame)
        two.stop_when_done()

    ready = trio.Event()
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(copies)
                await ready.wait()
                nursery.start_soon(two.run)
                nursery.start_soon(one.run)
                await running(one)()
                await one.queue_frames(texts(*range(20)))
                one.stop_when_done()
    assert last.texts == [str(n) for n in range(20)]
    assert two.state is TaskState.ENDED


def test_g36_an_end_at_any_step_of_a_copying_pipeline_loses_none() -> None:
    async def scenario(arm) -> None:
        producer, last = HandsOver(), Probe()
        task = task_at("row", "tasks", producer, PushesCopies(producer), last)
        accepted = 0
        arm(task.stop_when_done)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            try:
                for n in range(4):
                    await task.queue_frame(TextFrame(str(n)))
                    accepted += 1
                task.stop_when_done()
            except trio.ClosedResourceError:
                pass
        assert last.texts.count("x") == 0
        assert sorted(last.texts) == sorted(f"{copy}{n}" for n in range(accepted) for copy in ("", "copy of "))

    assert at_every_checkpoint(scenario) > 20
