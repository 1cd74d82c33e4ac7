"""T6: a pipeline in which nothing that matters moves is told of, and cancelled."""

from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from hosting import Does, Plain, Probe, Slow, Stuck, nothing_left, started, task_of, texts
from trio_pipes import (
    ControlFrame,
    DataFrame,
    Direction,
    Frame,
    FrameProcessor,
    PipelineRunner,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
)


class Idle:
    """Keeps when it was told of idling."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_idle(self, task) -> None:
        self.at.append(trio.current_time())


@attrs.define(eq=False)
class Noise(DataFrame):
    pass


@attrs.define(eq=False)
class Speaking(SystemFrame):
    pass


async def test_t6_an_idle_task_is_told_of_and_cancelled_with_a_reason(autojump_clock) -> None:
    idle = Idle()
    task = task_of(Probe(), observers=[idle], idle_timeout=10)
    async with nothing_left():
        result = await task.run()
    assert (result.state, result.reason) == (TaskState.CANCELLED, "idle for 10 s")
    assert idle.at == [10] == [result.finished_at]


async def test_t6_only_told_and_told_again_after_another_such_time(autojump_clock) -> None:
    idle = Idle()
    task = task_of(Probe(), observers=[idle], idle_timeout=10, cancel_on_idle_timeout=False)
    async with started(task, 1000):
        await trio.sleep(35)
        await task.queue_frame(TextFrame("x"))
        await trio.sleep(11)
    assert idle.at == [10, 20, 30, 45]
    assert task.state is TaskState.ENDED


async def test_without_a_timeout_a_task_may_idle_for_ever(autojump_clock) -> None:
    idle = Idle()
    task = task_of(Probe(), observers=[idle])
    async with started(task, 1e6):
        await trio.sleep(80_000)
    assert idle.at == []


async def test_frames_that_are_queued_keep_it_awake_from_the_very_last_one(autojump_clock) -> None:
    task = task_of(Probe(), idle_timeout=10)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for _ in range(5):
            await trio.sleep(9)
            await task.queue_frame(TextFrame("x"))
        result = await task.wait_finished()
    assert result.finished_at == 55


@pytest.mark.parametrize("batch", [False, True], ids=["frame", "frames"])
async def test_a_frame_that_the_first_processor_swallows_counts(autojump_clock, batch) -> None:
    @each
    def nothing(frame: TextFrame) -> None:
        pass

    task = task_of(nothing, idle_timeout=10)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(3)
        if batch:
            await task.queue_frames(texts("a", "b"))
        else:
            await task.queue_frame(TextFrame("x"))
        result = await task.wait_finished()
    assert result.finished_at == 13


async def test_what_is_pushed_inside_counts_in_either_direction_even_if_it_is_swallowed(autojump_clock) -> None:
    class Ticks(FrameProcessor):
        def __init__(self, way: Direction) -> None:
            self.way = way

        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.tick)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()

        async def tick(self) -> None:
            for _ in range(4):
                await trio.sleep(8)
                await self.push_frame(TextFrame("x"), self.way)

    class Swallows(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None: ...

    for way in Direction:
        task = task_of(Swallows(), Ticks(way), Swallows(), idle_timeout=10)
        began = trio.current_time()
        result = await task.run()
        assert result.finished_at - began == 42


async def test_a_processor_at_work_on_one_frame_after_the_other_is_not_idle(autojump_clock) -> None:
    class Plays(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                await trio.sleep(8)

    idle = Idle()
    task = task_of(Plays(), observers=[idle], idle_timeout=10)
    await task.queue_frames(texts(*range(5)))
    result = await task.run()
    assert result.finished_at == 50
    assert idle.at == [50]


async def test_only_the_chosen_frames_count(autojump_clock) -> None:
    idle = Idle()
    task = task_of(Probe(), observers=[idle], idle_timeout=10, idle_frames=(Speaking,))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(4)
        await task.queue_frame(Speaking())
        while not task.has_finished():
            try:
                await task.queue_frame(Noise())
            except trio.BrokenResourceError:
                break
            await trio.sleep(0.02)
    assert idle.at == [14]


async def test_heartbeats_control_frames_and_lifecycle_frames_do_not_count(autojump_clock) -> None:
    task = task_of(Probe(), idle_timeout=10, enable_heartbeats=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(5)
        await task.queue_frame(ControlFrame())
        assert (await task.wait_finished()).finished_at == 10


async def test_time_before_the_start_does_not_count(autojump_clock) -> None:
    class Opens(Probe):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(15)
            yield

    task = task_of(Opens(), idle_timeout=10)
    assert (await task.run()).finished_at == 25


async def test_frames_that_observers_want_as_well(autojump_clock) -> None:
    seen = []

    class Both(Idle):
        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            seen.append(frame)

    both = Both()
    task = task_of(Probe(), observers=[both], idle_timeout=10)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(2)
        frame = TextFrame("x")
        await task.queue_frame(frame)
        await trio.sleep(3)
        task.remove_observer(both)
        await task.queue_frame(TextFrame("y"))
        task.add_observer(other := Idle())
        assert (await task.wait_finished()).finished_at == 15
    assert seen[-1] is frame
    assert other.at == [15]


# Watching costs at each push; where frames pour, one look now and then is enough.
async def test_where_frames_pour_it_looks_only_now_and_then_and_is_late_by_a_hundredth_at_most(autojump_clock) -> None:
    pours = True

    @each
    async def work(frame: TextFrame) -> TextFrame:
        await trio.sleep(0.00001)
        return frame

    task = task_of(work, idle_timeout=10)
    looked = []
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        while pours:
            await task.queue_frames(texts(*range(500)))
            looked.append(task._engine.observed is not None)
            pours = trio.current_time() < 0.5
        await task.flush()
        stopped = trio.current_time()
        result = await task.wait_finished()
    assert 0 < looked.count(True) < looked.count(False)
    assert stopped + 10 <= result.finished_at <= stopped + 10.1


async def test_where_frames_pour_it_does_not_become_idle(autojump_clock) -> None:
    idle = Idle()

    @each
    async def work(frame: TextFrame) -> TextFrame:
        await trio.sleep(0.0001)
        return frame

    task = task_of(work, observers=[idle], idle_timeout=0.5)
    async with started(task, 1000):
        for _ in range(20):
            await task.queue_frames(texts(*range(1000)))
    assert idle.at == []


# -- the end


async def test_g06_an_idle_task_that_is_cancelled_leaves_nothing_and_its_runner_ends(autojump_clock) -> None:
    log = []

    class Works(Probe):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()
                    with trio.CancelScope(shield=True):
                        await trio.sleep(1)
                        log.append("closed")

    async def hang(processor: FrameProcessor, frame: TextFrame) -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append("handler stopped")

    task = task_of(Works(), Does(hang), Works(), idle_timeout=10)
    await task.queue_frame(TextFrame("x"))
    runner = PipelineRunner(task, handle_sigint=False)
    async with nothing_left():
        await runner.run()
        assert trio.current_time() == 11
    assert log == ["handler stopped", "closed", "closed"]
    assert task.has_finished()


async def test_idling_cancels_a_task_whose_end_is_stuck(autojump_clock) -> None:
    task = task_of(Stuck(TextFrame), idle_timeout=10)
    await task.queue_frame(TextFrame("x"))
    task.stop_when_done()
    async with nothing_left():
        result = await task.run()
    assert (result.state, result.finished_at) == (TaskState.CANCELLED, 10)


async def test_a_slow_cleanup_is_not_idling(autojump_clock) -> None:
    class Closes(Probe):
        @asynccontextmanager
        async def lifespan(self):
            yield
            await trio.sleep(8)

    idle = Idle()
    task = task_of(Closes(), observers=[idle], idle_timeout=3, cleanup_timeout=20)
    task.stop_when_done()
    result = await task.run()
    assert (result.state, result.finished_at) == (TaskState.ENDED, 8)
    assert idle.at == []


async def test_an_observer_may_end_it_in_another_way(autojump_clock) -> None:
    class Ends:
        def on_idle(self, task) -> None:
            task.stop_when_done("nobody there")

    task = task_of(Slow(0), observers=[Ends()], idle_timeout=10, cancel_on_idle_timeout=False)
    result = await task.run()
    assert (result.state, result.reason) == (TaskState.ENDED, "nobody there")


async def test_t6_an_observer_may_end_the_whole_runner(autojump_clock) -> None:
    class EndsAll:
        def on_idle(self, task) -> None:
            runner.cancel("idle")

    task = task_of(Probe(), observers=[EndsAll()], idle_timeout=10)
    peer = Plain("peer")
    runner = PipelineRunner(task, peer, handle_sigint=False)
    async with nothing_left():
        await runner.run()
    assert trio.current_time() == 10
    assert peer.log[-1] == "peer down"


async def test_one_that_raises_does_not_save_it(autojump_clock, caplog) -> None:
    class Raises:
        def on_idle(self, task) -> None:
            raise ZeroDivisionError

    task = task_of(Probe(), observers=[Raises()], idle_timeout=10)
    result = await task.run()
    assert result.state is TaskState.CANCELLED
    assert [type(error) for error in result.observer_errors] == [ZeroDivisionError]
