"""Somebody begins or stops to watch while frames are under way: from then on everything is told, and nothing of before."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from hosting import Probe, nothing_left, started, task_of, texts
from trio_pipes import Frame, FrameProcessor, Frames, Out, ParallelPipeline, TextFrame, each, processor


class Hears:
    """Notes who pushes which text."""

    def __init__(self) -> None:
        self.pushed: list[tuple[str, str]] = []

    def on_frame_pushed(self, task, processor, frame, direction) -> None:
        if isinstance(frame, TextFrame):
            self.pushed.append((processor.name, frame.text))


class HearsOfHandling:
    """Notes who begins to handle which text, and how that ends."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_frame_taken(self, task, processor, frame, direction) -> None:
        if isinstance(frame, TextFrame):
            self.told.append(f"{processor.name} takes {frame.text}")

    def on_frame_handled(self, task, processor, frame, direction) -> None:
        if isinstance(frame, TextFrame):
            self.told.append(f"{processor.name} has handled {frame.text}")


@each(name="f")
def f(frame: TextFrame) -> TextFrame:
    return frame


@each(name="g")
def g(frame: TextFrame) -> TextFrame:
    return frame


# -- one that is added


async def test_one_that_is_added_during_the_set_up_hears_of_every_frame(autojump_clock) -> None:
    class SetsUp(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(1)
            yield

    watch, handling = Hears(), HearsOfHandling()
    task = task_of(SetsUp("a"), f, g)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await trio.sleep(0.5)
        task.add_observer(watch)
        task.add_observer(handling)
        await task.queue_frame(TextFrame("x"))
        task.stop_when_done()
    assert watch.pushed == [("a", "x"), ("f", "x"), ("g", "x")]
    assert handling.told[:3] == ["a takes x", "f takes x", "g takes x"]


async def test_one_that_came_and_went_during_the_set_up_leaves_the_short_ways(autojump_clock) -> None:
    class SetsUp(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(1)
            yield

    watch = Hears()
    task = task_of(SetsUp("a"), f)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await trio.sleep(0.5)
        task.add_observer(watch)
        task.remove_observer(watch)
        await task.queue_frame(TextFrame("x"))
        task.stop_when_done()
    assert watch.pushed == []


class Keeps(FrameProcessor):
    """Keeps its push for all its life, as who wants to save a look-up does."""

    kept = None

    async def process_frame(self, frame: Frame, direction) -> None:
        self.kept = self.kept or self.push_frame
        await self.kept(frame, direction)


class KeepsInline(Keeps):
    def __init__(self, name: str) -> None:
        super().__init__(name, inline=True)


class KeepsWithHelpers(Keeps):
    @asynccontextmanager
    async def lifespan(self):
        yield


@processor(name="a")
async def keeps(frames: Frames[TextFrame], out: Out) -> None:
    push = out.push
    async for frame in frames:
        await push(frame)


@pytest.mark.parametrize("below", [(), (f, g), (Probe,), (each(lambda frame: [frame]),)], ids=len)
@pytest.mark.parametrize("kind", [Keeps, KeepsInline, KeepsWithHelpers, keeps])
async def test_who_has_kept_its_push_is_watched_all_the_same(autojump_clock, kind, below) -> None:
    watch, first = Hears(), Probe("first")
    made = keeps if kind is keeps else kind("a")
    last = [part() if part is Probe else part for part in below]
    task = task_of(first, made, *last)
    async with nothing_left(), started(task), task.open_output(TextFrame, buffer=100) as out:
        await task.queue_frames(texts(1, 2))
        await task.flush()
        task.add_observer(watch)
        await task.queue_frames(texts(3, 4))
        await task.flush()
        task.remove_observer(watch)
        await task.queue_frames(texts(5, 6))
        await task.flush()
        assert [(await out.receive()).text for _ in range(6)] == list("123456")
    names = ["first", "a", *[node.name for node in task._graph.nodes[2:]]]
    assert sorted(watch.pushed) == sorted((name, text) for text in "34" for name in names)


async def test_a_handler_that_is_at_work_with_a_kept_push_tells_of_it(autojump_clock) -> None:
    class Waits(FrameProcessor):
        async def process_frame(self, frame: Frame, direction) -> None:
            push = self.push_frame
            if isinstance(frame, TextFrame):
                await trio.sleep(1)
            await push(frame, direction)

    watch = Hears()
    task = task_of(Waits("a"))
    async with started(task):
        await task.queue_frame(TextFrame("x"))
        await trio.sleep(0.5)
        task.add_observer(watch)
        await task.flush()
    assert watch.pushed == [("a", "x")]


@pytest.mark.parametrize("below", [[], [f, g]])
async def test_one_that_a_handler_adds_hears_of_what_comes_behind_its_frame(autojump_clock, below) -> None:
    class Adds(FrameProcessor):
        async def process_frame(self, frame: Frame, direction) -> None:
            if isinstance(frame, TextFrame) and frame.text == "2":
                task.add_observer(watch)
                self.pause()  # the node looks up: it must not forget that it is watched now
                self.resume()
            await self.push_frame(frame, direction)

    watch = HearsOfHandling()
    task = task_of(Adds("a"), *below)
    async with started(task):
        await task.queue_frames(texts(1, 2, 3, 4))
        await task.flush()
    takes = [told for told in watch.told if "a takes" in told]
    assert takes == ["a takes 3", "a takes 4"]


async def test_one_that_a_function_adds_hears_of_what_comes_behind_its_frame(autojump_clock) -> None:
    @each(name="adds")
    def adds(frame: TextFrame) -> TextFrame:
        if frame.text == "2":
            task.add_observer(watch)
            for node in task._engine.nodes:
                node.refresh()
        return frame

    watch = HearsOfHandling()
    task = task_of(adds, f)
    async with started(task):
        await task.queue_frames(texts(1, 2, 3, 4))
        await task.flush()
    assert [told for told in watch.told if "takes" in told] == [
        "adds takes 3", "f takes 3", "adds takes 4", "f takes 4",
    ]  # fmt: skip


# -- what is told of, whatever those who are told do


@pytest.mark.parametrize("what", ["interrupt", "come and go"])
@pytest.mark.parametrize("inline", [False, True])
async def test_no_push_is_lost_to_those_who_watch_when_one_of_them_acts(autojump_clock, what, inline) -> None:
    class Acts(Hears):
        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            super().on_frame_pushed(task, processor, frame, direction)
            if isinstance(frame, TextFrame) and processor.name == "a":
                if what == "interrupt":
                    task.interrupt()
                else:
                    task.add_observer(other)
                    task.remove_observer(other)

    class Passes(FrameProcessor):
        async def process_frame(self, frame: Frame, direction) -> None:
            await self.push_frame(frame, direction)

    watch, other = Acts(), Hears()
    parts = [Passes("b", inline=True)] if inline else []
    task = task_of(Passes("a"), *parts, f, g, observers=[watch])
    async with started(task):
        await task.queue_frame(TextFrame("x", interruptible=True))
        await task.flush()
    assert watch.pushed == [(name, "x") for name in ["a", *"b" * inline, "f", "g"]]


async def test_no_push_of_a_branch_is_lost_while_another_waits_with_the_same_frame(autojump_clock) -> None:
    class Acts(Hears):
        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            super().on_frame_pushed(task, processor, frame, direction)
            if isinstance(frame, TextFrame) and processor.name == "a":
                task.add_observer(other)
                task.remove_observer(other)

    class Waits(FrameProcessor):
        async def process_frame(self, frame: Frame, direction) -> None:
            if isinstance(frame, TextFrame):
                await trio.sleep(1)
            await self.push_frame(frame, direction)

    class Twice(FrameProcessor):
        async def process_frame(self, frame: Frame, direction) -> None:
            await trio.sleep(0.5)
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame):
                await self.push_frame(frame, direction)

    watch, other = Acts(), Hears()
    task = task_of(ParallelPipeline([Probe("a"), Waits("b", inline=True)], [Twice("c")]), observers=[watch])
    async with started(task):
        await task.queue_frame(TextFrame("x"))
        await task.flush()
    assert watch.pushed.count(("c", "x")) == 2


# -- one that is removed


async def test_one_that_is_removed_while_a_push_waits_for_room_is_not_told_of_it(autojump_clock) -> None:
    class HearsOfRoom:
        def __init__(self) -> None:
            self.told: list[float] = []

        def on_waited_for_room(self, task, processor, frame, seconds) -> None:
            self.told.append(round(trio.current_time(), 3))

    class Slow(FrameProcessor):
        async def process_frame(self, frame: Frame, direction) -> None:
            if isinstance(frame, TextFrame):
                await trio.sleep(1)
            await self.push_frame(frame, direction)

    removed, stays = HearsOfRoom(), HearsOfRoom()
    task = task_of(Probe("a"), Slow("slow"), queue_size=1, observers=[removed, stays])
    async with started(task):
        await task.queue_frames(texts(1, 2, 3))
        await trio.sleep(0.5)
        task.remove_observer(removed)
        await task.flush()
    assert max(stays.told) > 0.5
    assert max(removed.told, default=0) <= 0.5


# -- what waits before the pipeline


async def test_frames_that_wait_to_come_in_are_counted_wherever_they_wait(autojump_clock) -> None:
    class Slow(FrameProcessor):
        async def process_frame(self, frame: Frame, direction) -> None:
            if isinstance(frame, TextFrame):
                await trio.sleep(0.5)
            await self.push_frame(frame, direction)

    task = task_of(Slow("slow"), queue_size=64)
    async with started(task):
        await task.queue_frames(texts(*range(80)))
        await trio.sleep(0.2)
        now = task.statistics()
        # One in hand, 64 in its lane, one that waits for room there; the others wait singly or in batches of eight.
        assert now.processors[0].downstream.buffered <= 64
        assert now.processors[0].waiting == 1
        assert 2 <= now.push_waiting <= 80 - 1 - now.processors[0].downstream.buffered
        await task.flush()
    assert task.statistics().push_waiting == 0
