"""Others get their turn, and a cancel or interrupt is never behind a backlog (DESIGN 4.6).

These measure turns of Trio's loop and burn real time, a few milliseconds each.
"""

from __future__ import annotations

from time import perf_counter, thread_time

import pytest
import trio

from flow_kit import UP, Does, Drops, Sees, said, text
from trio_pipes import (
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    TextFrame,
    each,
    processor,
)

SECONDS_A_TURN = 0.001
FRAMES_A_TURN = 64


def burn(seconds: float) -> None:
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass


class Turns:
    """Another task: what was counted between two of its turns, at most."""

    def __init__(self) -> None:
        self.count = 0
        self.most = 0
        self.turns = 0

    async def take(self) -> None:
        while True:
            self.count = 0
            await trio.lowlevel.checkpoint()
            self.most = max(self.most, self.count)
            self.turns += 1


@processor
async def passing_block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)


NEIGHBOURS = {
    "sink": list,
    "class": lambda: [Sees()],
    "class that drops": lambda: [Drops()],
    "inline": lambda: [Sees(inline=True)],
    "inline that drops": lambda: [Drops(inline=True)],
    "function": lambda: [each(lambda f: f)],
    "function that drops": lambda: [each(lambda f: None)],
    "function, inline that drops": lambda: [each(lambda f: f), Drops(inline=True)],
    "block": lambda: [passing_block],
    "parallel": lambda: [ParallelPipeline([Drops()], [each(lambda f: None)])],
}


async def push_while_counting(pusher, neighbours, debug, turns, settings=None):
    task = PipelineTask(Pipeline([pusher, *neighbours]), PipelineParams(debug=debug, **(settings or {})))
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            nursery.start_soon(turns.take)
            await trio.lowlevel.checkpoint()
            await task.queue_frame(text("go"))
            task.stop_when_done()
            await task.wait_finished()
            nursery.cancel_scope.cancel()


# A handler that pushes in a long loop gives others a turn at least every 64 frames or so.
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
async def test_a_pusher_gives_others_a_turn(autojump_clock, debug, neighbour):
    turns = Turns()

    async def many(self, frame):
        if frame.text == "go":
            for _ in range(3000):
                turns.count += 1
                await self.push_frame(text("n"))

    await push_while_counting(Does(many), NEIGHBOURS[neighbour](), debug, turns)
    assert turns.turns >= 3000 / FRAMES_A_TURN / 3
    assert turns.most <= 3 * FRAMES_A_TURN


# The same for a block, an async function and a synchronous generator.
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize("kind", ["block", "async-generator", "generator"])
async def test_other_kinds_of_pushers_give_others_a_turn(autojump_clock, debug, neighbour, kind):
    turns = Turns()

    def numbers():
        for _ in range(3000):
            turns.count += 1
            yield text("n")

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for _ in frames:
            for frame in numbers():
                await out.push(frame)

    @each
    async def async_generator(frame: TextFrame):
        for result in numbers():
            yield result

    @each
    def generator(frame: TextFrame):
        return numbers()

    pusher = {"block": block, "async-generator": async_generator, "generator": generator}[kind]
    await push_while_counting(pusher, NEIGHBOURS[neighbour](), debug, turns)
    assert turns.turns >= 3000 / FRAMES_A_TURN / 3
    assert turns.most <= 3 * FRAMES_A_TURN


# ... or after a millisecond of work, if its frames are that dear.
@pytest.mark.parametrize("where", ["pusher", "inline that drops", "function that drops", "class", "inline"])
async def test_a_pusher_gives_others_a_turn_after_a_millisecond(autojump_clock, debug, where):
    turns = Turns()

    async def many(self, frame):
        for _ in range(40):
            turns.count += 1
            if where == "pusher":
                burn(SECONDS_A_TURN)
            await self.push_frame(text("n"))

    async def burns(self, frame):
        burn(SECONDS_A_TURN)
        if where != "inline that drops":
            await self.push_frame(frame)

    @each
    def function(frame: TextFrame):
        burn(SECONDS_A_TURN)

    part = {
        "pusher": [],
        "class": [Does(burns)],
        "inline": [Does(burns, inline=True)],
        "inline that drops": [Does(burns, inline=True)],
        "function that drops": [function],
    }[where]
    await push_while_counting(Does(many), part, debug, turns)
    if where != "class" and not (debug and where != "pusher"):
        assert turns.most <= 8


# A backlog of frames, each cheap, each handled without a wait: others have their turn, and a deadline strikes.
@pytest.mark.parametrize("kind", ["class", "function", "row", "async function", "block"])
async def test_a_deadline_round_run_is_kept_under_a_backlog(autojump_clock, debug, kind):
    handled = 0

    def counts(frame: TextFrame):
        nonlocal handled
        handled += 1
        return frame

    async def async_counts(frame: TextFrame):
        return counts(frame)

    async def class_counts(self, frame):
        await self.push_frame(counts(frame))

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(counts(frame))

    parts = {
        "class": [Does(class_counts), Sees(inline=True)],
        "function": [each(counts)],
        "row": [Sees(), each(counts), each(lambda f: f)],
        "async function": [each(async_counts)],
        "block": [block],
    }[kind]
    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug, queue_size=5000))
    for _ in range(5000):
        await task.queue_frame(text("n"))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            while not handled:
                await trio.lowlevel.checkpoint()
            scope.cancel()
            before = handled
    assert scope.cancelled_caught
    assert handled <= before + 3 * FRAMES_A_TURN


# task.cancel() in a handler is seen at its next push, and the backlog is not handled.
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
async def test_a_cancel_is_seen_at_the_next_push(autojump_clock, debug, neighbour):
    calls = 0
    went_on = False

    async def cancels(self, frame):
        nonlocal calls, went_on
        calls += 1
        await self.push_frame(frame)
        if calls == 3:
            self.task.cancel()
            await self.push_frame(frame)
            went_on = True

    task = PipelineTask(Pipeline([Does(cancels), *NEIGHBOURS[neighbour]()]), PipelineParams(debug=debug))
    await task.queue_frames(said(*"abcdefgh"))
    with trio.fail_after(1000):
        await task.run()
    assert calls == 3
    assert not went_on


# An error elsewhere in the task is seen at the next push too.
@pytest.mark.parametrize("neighbour", ["sink", "class", "inline", "function", "function that drops"])
async def test_a_failure_is_seen_at_the_next_push(autojump_clock, debug, neighbour):
    pushed = 0

    async def many(self, frame):
        nonlocal pushed
        if frame.text == "go":
            while pushed < 100_000:
                pushed += 1
                await self.push_frame(text("n"))
        else:
            await self.push_frame(frame)

    class Fails(Sees):
        async def process_frame(self, frame, direction):
            if direction is UP:
                raise ValueError("elsewhere")
            await super().process_frame(frame, direction)

    task = PipelineTask(Pipeline([Fails(), Does(many), *NEIGHBOURS[neighbour]()]), PipelineParams(debug=debug))
    with trio.fail_after(1000), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(text("go"))
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            before = pushed
            await task.queue_frame(text("up"), UP)
    assert caught.value.subgroup(ValueError)
    # The frame that fails goes up through three lanes, each a turn or two; in a turn the pusher may use all of its own.
    assert 0 < pushed <= before + 8 * FRAMES_A_TURN


# Several pipelines with a backlog share the slice: a turn is not as long as there are pipelines. CPU time, so that a loaded
# machine does not matter; nor does a turn in which something rare fell, such as garbage to be collected.
async def test_pipelines_share_the_slice(autojump_clock):
    def dear(frame: TextFrame):
        until = thread_time() + 0.00005
        while thread_time() < until:
            pass

    turns: list[float] = []
    tasks = [PipelineTask(Pipeline([each(dear)]), PipelineParams(queue_size=250)) for _ in range(10)]

    async def watch():
        last = thread_time()
        while True:
            await trio.lowlevel.checkpoint()
            now = thread_time()
            turns.append(now - last)
            last = now

    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            for task in tasks:
                await nursery.start(task.run)
            nursery.start_soon(watch)
            async with trio.open_nursery() as feeding:
                for task in tasks:
                    feeding.start_soon(task.queue_frames, said(*["n"] * 240))
            for task in tasks:
                task.stop_when_done()
                await task.wait_finished()
            nursery.cancel_scope.cancel()
    # 2400 frames of 0.05 ms: shared they take turns of 1.5 ms, and unshared ones of 10 ms.
    busy = sorted(turn for turn in turns if turn > 0.0002)
    assert busy[len(busy) // 2] < 0.004


# A server that had used up its slice was replaced by a new one, and came back itself: with each pass there was one more.
async def test_a_backlog_is_worked_off_by_as_many_tasks_as_there_are_lanes(autojump_clock):
    def dear(frame: TextFrame):
        burn(SECONDS_A_TURN)
        living.append(trio.lowlevel.current_statistics().tasks_living)

    living: list[int] = []
    task = PipelineTask(Pipeline([each(dear)]), PipelineParams(queue_size=100))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames(said(*["n"] * 60))
        await task.flush()
        task.cancel()
    assert len(living) == 60
    assert max(living) - min(living) <= 2


# queue_frame is always a cancellation point.
@pytest.mark.parametrize("running", [False, True])
async def test_queue_frame_is_a_cancellation_point(autojump_clock, running):
    task = PipelineTask(Pipeline([Drops()]))
    async with trio.open_nursery() as nursery:
        if running:
            await nursery.start(task.run)
        with trio.CancelScope() as scope:
            scope.cancel()
            await task.queue_frame(text("a"))
            pytest.fail("not reached")
        assert scope.cancelled_caught
        assert task.statistics().frames_in == 0
        task.cancel()


# A handler that keeps the loop from turning for over half a second is named; in debug mode the very one.
async def test_a_handler_that_blocks_the_loop_is_named(autojump_clock, debug, caplog):
    async def blocks(self, frame):
        burn(0.52)
        await self.push_frame(frame)

    parts = [Sees(name="before"), Does(blocks, name="blocker", inline=True), Sees(name="apart")]
    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug), name="my task")
    await task.queue_frames(said("a"))
    task.stop_when_done()
    await task.run()
    (record,) = [record for record in caplog.records if "kept Trio's loop" in record.message]
    assert "my task" in record.message
    assert "'blocker'" in record.message
    assert "'apart'" not in record.message
    assert ("'before'" in record.message) != debug
