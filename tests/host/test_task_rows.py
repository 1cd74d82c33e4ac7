"""Rows T1 to T12 side by side: the promises that no other file here has, and all of them switched on at once."""

import math

import pytest
import trio
from hypothesis import given, settings, strategies as st

from cancel_everywhere import cancelled_everywhere
from hosting import Probe, Slow, nothing_left, started, task_of, texts
from trio_pipes import (
    CancelTaskFrame,
    DataFrame,
    Direction,
    EndTaskFrame,
    Frame,
    FrameProcessor,
    Frames,
    InterruptionTaskFrame,
    MetricsFrame,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ReleaseAtPts,
    StartFrame,
    StopTaskFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)

# -- T1, T3: both directions, from either end


@pytest.mark.parametrize("way", list(Direction), ids=lambda way: way.value)
@pytest.mark.parametrize("place", ["first", "last", "branch"])
@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (EndTaskFrame, TaskState.ENDED),
        (StopTaskFrame, TaskState.STOPPED),
        (CancelTaskFrame, TaskState.CANCELLED),
        (InterruptionTaskFrame, TaskState.ENDED),
    ],
    ids=["end", "stop", "cancel", "interruption"],
)
async def test_t3_a_processor_asks_the_task_from_anywhere_in_either_direction(
    autojump_clock, way, place, kind, state
) -> None:
    class Asks(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                await self.push_frame(kind(), way)
            await self.push_frame(frame, direction)

    interrupts = []

    class Watch:
        def on_interrupt(self, task) -> None:
            interrupts.append(task)

    parts = {
        "first": [Asks(), Probe(), Probe()],
        "last": [Probe(), Probe(), Asks()],
        "branch": [Probe(), ParallelPipeline([Probe()], [Asks()]), Probe()],
    }[place]
    task = task_of(*parts, observers=[Watch()], allow_interruptions=True)
    await task.queue_frame(TextFrame("x"))
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await trio.sleep(1)
        task.stop_when_done()
    assert task.state is state
    assert interrupts == ([task] if kind is InterruptionTaskFrame else [])


async def test_t1_frames_from_a_list_an_iterator_and_an_async_iterator_in_both_directions(autojump_clock) -> None:
    async def later():
        for frame in texts("e", "f"):
            await trio.sleep(1)
            yield frame

    for way in Direction:
        probe = Probe()
        task = task_of(probe)
        await task.queue_frame(TextFrame("a"), way)
        await task.queue_frames(texts("b"), way)
        async with started(task):
            await task.queue_frames((frame for frame in texts("c", "d")), way)
            await task.queue_frames(later(), way)
        assert probe.texts == list("abcdef")


# -- T8: flush


@pytest.mark.parametrize("debug", [False, True], ids=["fused", "debug"])
async def test_t8_flush_with_branches_waits_for_the_slowest_also_after_an_interrupt(autojump_clock, debug) -> None:
    @processor
    async def slow_block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            with frames.interruptible():
                await trio.sleep(3)
                await out.push(frame)

    @each
    def twice(frame: TextFrame) -> list[TextFrame]:
        return [frame, TextFrame(frame.text)]

    parts = [ParallelPipeline([Slow(1)], [slow_block], [twice, ParallelPipeline([Slow(2)], [Probe()])]), Slow(0)]
    task = task_of(*parts, debug=debug)
    async with started(task, 1000):
        await task.queue_frame(TextFrame("a"))
        assert await task.flush(10)
        # 1 s, 3 s, and two frames of 2 s
        assert trio.current_time() == 4
        await task.queue_frames(texts("b", "c", "d"))
        await trio.sleep(0.5)
        task.interrupt()
        assert await task.flush(10)
        assert trio.current_time() == 4.5
        await task.queue_frame(TextFrame("e"))
        assert await task.flush(1) is False
        assert await task.flush(math.inf)
        assert trio.current_time() == 8.5


async def test_t8_flushes_from_many_tasks_with_interrupts_among_them_all_come_back(autojump_clock) -> None:
    task = task_of(ParallelPipeline([Slow(1)], [Slow(2)]), Slow(1), queue_size=2)
    flushed: list[bool] = []

    async def push(n: int) -> None:
        await trio.sleep(n / 3)
        await task.queue_frames(texts(*range(5)))
        flushed.append(await task.flush())

    async with started(task, 10_000):
        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(push, n)
            for _ in range(5):
                await trio.sleep(2)
                task.interrupt()
    assert flushed == [True] * 10


# -- T9: observers that come and go


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "frames"]), st.integers(0, 2)), max_size=25))
def test_t9_each_observer_sees_exactly_what_passes_while_it_is_there(acts) -> None:
    class Counts:
        def __init__(self) -> None:
            self.pushed: list[str] = []

        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            if isinstance(frame, TextFrame):
                self.pushed.append(frame.text)

    async def main() -> None:
        @each
        def function(frame: TextFrame) -> TextFrame:
            return frame

        observers = [Counts(), Counts(), Counts()]
        expected: list[list[str]] = [[], [], []]
        there: set[int] = set()
        task = task_of(Probe(), function, Probe())
        async with started(task):
            for number, (act, which) in enumerate(acts):
                if act == "add" and which not in there:
                    task.add_observer(observers[which])
                    there.add(which)
                elif act == "remove" and which in there:
                    task.remove_observer(observers[which])
                    there.remove(which)
                elif act == "frames":
                    await task.queue_frames(texts(*[number] * (which + 1)))
                    await task.flush()
                    for it in there:
                        expected[it] += [str(number)] * 3 * (which + 1)
            assert (task._engine.observed is not None) == bool(there)
        for observer, seen in zip(observers, expected, strict=True):
            assert sorted(observer.pushed) == sorted(seen)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# -- T10


async def test_t10_every_kind_of_processor_finds_the_resources_and_the_start_metadata(autojump_clock) -> None:
    found: list[object] = []

    class Uses(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, StartFrame):
                found.append((self.task.resources, frame.metadata["room"]))
            await self.push_frame(frame, direction)

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        found.append(out.task.resources)
        async for _ in frames:
            pass

    @each
    def starts(frame: StartFrame) -> StartFrame:
        found.append(frame.metadata["room"])
        return frame

    database = object()
    parts = [Uses(), block, starts, ParallelPipeline([Pipeline([Uses()])])]
    task = PipelineTask(Pipeline(parts), PipelineParams(start_metadata={"room": 7}), resources=database)
    task.stop_when_done()
    await task.run()
    assert sorted(found, key=str) == sorted([database, 7, (database, 7), (database, 7)], key=str)


async def test_t10_without_resources_there_are_none(autojump_clock) -> None:
    assert task_of(Probe()).resources is None


# -- F8: broadcast


async def test_f8_a_broadcast_goes_both_ways_with_sibling_ids_and_is_ordered_in_each(autojump_clock) -> None:
    class Tells(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame) and not frame.text.startswith("news"):
                await self.broadcast_frame(TextFrame, text=f"news {frame.text}", interruptible=False)
            await self.push_frame(frame, direction)

    above, below = Probe(), Probe()
    task = task_of(above, Tells(), below)
    async with (
        task.open_output(TextFrame) as down,
        task.open_output(TextFrame, direction=Direction.UPSTREAM) as up,
        started(task),
    ):
        await task.queue_frames(texts("a", "b"))
        await task.flush()
        task.stop_when_done()
        await task.wait_finished()
        told, answered = [frame async for frame in down], [frame async for frame in up]
    assert [frame.text for frame in told] == ["news a", "a", "news b", "b"]
    assert [frame.text for frame in answered] == ["news a", "news b"]
    assert above.texts == ["a", "b", "news a", "news b"] or set(above.texts) == {"a", "b", "news a", "news b"}
    for one, other in zip(told[::2], answered, strict=True):
        assert one.id != other.id
        assert one.metadata == {"broadcast_sibling_id": other.id}
        assert other.metadata == {"broadcast_sibling_id": one.id}
        assert not one.interruptible
        assert not other.interruptible


async def test_f8_a_broadcast_of_a_system_frame_overtakes_both_ways(autojump_clock) -> None:
    class Tells(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                await self.broadcast_frame(SystemFrame)
            await self.push_frame(frame, direction)

    below = Probe()
    task = task_of(Tells(), Slow(5), below)
    async with started(task):
        await task.queue_frames(texts("a", "b"))
        await trio.sleep(1)
        assert below.kinds == ["StartFrame", "SystemFrame", "SystemFrame"]


# -- all of them at once


class Measures(FrameProcessor):
    measures = True

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            self.metrics.start_ttfb()
            await trio.sleep(0.3)
            await self.metrics.stop_ttfb()
            await self.metrics.tts_usage(frame.text)
        await self.push_frame(frame, direction)


ALL = PipelineParams(
    enable_metrics=True,
    enable_usage_metrics=True,
    enable_heartbeats=True,
    heartbeat_period=0.5,
    heartbeat_timeout=1,
    idle_timeout=3,
    queue_size=2,
)


class Everything:
    def __init__(self) -> None:
        self.log: list[str] = []

    def on_idle(self, task) -> None:
        self.log.append("idle")

    def on_heartbeat_lost(self, task, stuck: str) -> None:
        self.log.append("lost")

    async def on_reached_sink(self, task, frame: Frame) -> None:
        self.log.append(type(frame).__name__)


def busy_task() -> tuple[PipelineTask, Everything]:
    watch = Everything()
    pipeline = Pipeline([Measures("m"), ReleaseAtPts(), ParallelPipeline([Slow(0.2)], [Probe()])])
    return PipelineTask(pipeline, ALL, observers=[watch]), watch


async def busy_life(task: PipelineTask, told: list[bool]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for n, frame in enumerate(texts(*range(4))):
            frame.pts = n * 200_000_000
            await task.queue_frame(frame, on_handled=lambda _, handled: told.append(handled))
        await task.flush(2)
        task.interrupt()
        await task.queue_frame(TextFrame("last"))


async def test_everything_together_ends_by_idling(autojump_clock) -> None:
    task, watch = busy_task()
    told: list[bool] = []
    async with nothing_left():
        await busy_life(task, told)
    result = await task.wait_finished()
    assert (result.state, result.reason) == (TaskState.CANCELLED, "idle for 3 s")
    assert told == [True] * 4
    assert watch.log.count("idle") == 1
    assert watch.log.count(MetricsFrame.__name__) == 11  # the first, and two for each of five frames
    assert watch.log.count("TextFrame") == 5
    assert watch.log.count("Heartbeat") >= 10


def test_t11_everything_together_cancelled_at_each_checkpoint_leaves_nothing() -> None:
    def make():
        task, _ = busy_task()
        told: list[bool] = []

        async def scenario() -> None:
            await busy_life(task, told)

        def check() -> None:
            assert task.state in (TaskState.NEW, TaskState.CANCELLED)
            assert len(told) <= 4
            assert not task._markers.receipts or task.state is TaskState.NEW

        return scenario, check, None

    assert cancelled_everywhere(make) > 50


@pytest.mark.parametrize("frame_class", [DataFrame, TextFrame])
async def test_t12_a_task_stamps_by_its_clock(autojump_clock, frame_class) -> None:
    class Stamps(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, DataFrame):
                frame.pts = self.task.clock.get_time()
            await self.push_frame(frame, direction)

    task = task_of(Stamps())
    async with task.open_output(frame_class) as out, started(task):
        await trio.sleep(2.5)
        await task.queue_frame(frame_class())
        assert (await out.receive()).pts == 2_500_000_000
