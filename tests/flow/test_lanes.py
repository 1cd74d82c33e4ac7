"""Order, concurrency and backpressure (DESIGN 4.1 to 4.3)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from flow_kit import DOWN, HUNG, UP, Does, Sees, live, said, settle, text
from trio_pipes import (
    ControlFrame,
    DataFrame,
    EndFrame,
    FloodError,
    FrameProcessor,
    Frames,
    Out,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    def __init__(self, n=0):
        super().__init__()
        self.n = n


# One at a time, in the order pushed, whatever the queue size; data and control frames in one order.
@pytest.mark.parametrize("size", [1, 2, 3, 64])
async def test_ordered_frames_are_handled_in_order(autojump_clock, debug, size):
    parts = [Sees(), Sees(delay=0.1), Sees(inline=True), Sees(delay=0.1, inline=True), each(lambda f: f), Sees()]
    sent = [frame for i in range(20) for frame in (text(str(i)), ControlFrame())]
    received = await run_pipeline(parts, sent, params=PipelineParams(debug=debug, queue_size=size))
    assert received.down == sent


# Upstream frames too.
@pytest.mark.parametrize("inline", [False, True])
async def test_upstream_frames_are_handled_in_order(autojump_clock, debug, inline):
    class SlowUp(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is UP:
                await trio.sleep(0.1)
            await self.push_frame(frame, direction)

    parts = [Sees(), SlowUp(inline=inline), each(lambda f: f), SlowUp(inline=inline)]
    sent = said(*map(str, range(20)))
    received = await run_pipeline(parts, sent, direction=UP, params=PipelineParams(debug=debug))
    assert received.up == sent


# System frames overtake what is queued, are handled while a handler waits, and keep their own order.
@pytest.mark.parametrize("inline", [False, True])
async def test_system_frames_overtake_and_keep_their_order(autojump_clock, debug, inline):
    slow = Sees(delay=10, inline=inline)
    async with live([Sees(), slow, Sees(inline=inline)], debug=debug) as run:
        await run.say("a", "b")
        await trio.sleep(1)
        for n in range(5):
            await run.task.queue_frame(Ping(n))
        await trio.sleep(1)
        assert [frame.n for frame in run.down] == list(range(5))
        assert slow.kinds() == ["StartFrame", "a", *["Ping"] * 5]
    assert run.texts == ["a", "b"]


# They are handled one at a time.
async def test_system_frames_are_handled_one_at_a_time(autojump_clock, debug):
    log = []

    class Slow(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Ping):
                log.append(f"in {frame.n}")
                await trio.sleep(1)
                log.append(f"out {frame.n}")
            await self.push_frame(frame, direction)

    await run_pipeline([Slow(inline=True)], [Ping(n) for n in range(3)], params=PipelineParams(debug=debug))
    assert log == ["in 0", "out 0", "in 1", "out 1", "in 2", "out 2"]


# Upstream system frames overtake upstream ordered ones.
async def test_upstream_system_frames_overtake(autojump_clock, debug):
    class SlowUp(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, DataFrame):
                await trio.sleep(5)
            await self.push_frame(frame, direction)

    async with live([SlowUp(), SlowUp(inline=True)], debug=debug) as run:
        await run.task.queue_frame(text("a"), UP)
        await run.task.queue_frame(text("b"), UP)
        await run.task.queue_frame(Ping(), UP)
    assert [type(frame) for frame in run.up] == [Ping, TextFrame, TextFrame]


# The two directions are independent: a handler may wait for an answer from below.
@pytest.mark.parametrize("inline", [False, True])
async def test_g03_the_two_directions_are_independent(autojump_clock, debug, inline):
    class Asks(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is UP:
                self.answer = frame.text
                self.answered.set()
            elif isinstance(frame, TextFrame):
                self.answered = trio.Event()
                await self.push_frame(frame)
                await self.answered.wait()
                await self.push_frame(text(self.answer))
            else:
                await self.push_frame(frame)

    async def answers(self, frame):
        await trio.sleep(1)
        await self.push_frame(text(f"answer {frame.text}"), UP)

    async def first_of_all(self, frame):
        if not frame.text.startswith("answer"):
            await answers(self, frame)
        else:
            await self.push_frame(frame)

    async with live([Asks(), each(lambda f: f), Does(first_of_all, inline=inline)], debug=debug) as run:
        await run.say("a", "b")
        await trio.sleep(10)
    assert run.texts == ["answer a", "answer b"]


# Each other's full lanes do not make two directions wait for each other.
async def test_no_deadlock_between_the_directions(autojump_clock, debug):
    class Echo(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is DOWN and isinstance(frame, TextFrame):
                for i in range(10):
                    await self.push_frame(text(f"{frame.text}{i}"), UP)
                await self.push_frame(frame)
            elif direction is UP and isinstance(frame, TextFrame) and len(frame.text) < 3:
                await self.push_frame(text(f"{frame.text}d"))
            else:
                await self.push_frame(frame, direction)

    parts = [Echo(), Echo(inline=True), Echo()]
    with trio.fail_after(HUNG):
        await run_pipeline(parts, said(*"abc"), params=PipelineParams(debug=debug, queue_size=1))


# An async processor works while its neighbours wait.
async def test_async_processors_work_while_their_neighbours_wait(autojump_clock, debug):
    async with live([Sees(delay=1), Sees(delay=1), Sees(delay=1)], debug=debug) as run:
        await run.say(*"abcdefgh")
    assert trio.current_time() == 10  # 8 frames through 3 stages, not 24


# Tasks are lent to lanes that have something to do: processors that only pass frames on share two of them.
@pytest.mark.parametrize(
    "parts",
    [
        lambda: [each(lambda f: f)] * 10,
        lambda: [Sees(), *[each(lambda f: f)] * 10],
        lambda: [Sees(), Sees(inline=True), each(lambda f: f), Sees(inline=True)],
        lambda: [Sees() for _ in range(10)],
    ],
    ids=["functions", "functions below a class", "inline", "classes"],
)
async def test_an_idle_processor_has_no_task(autojump_clock, debug, parts):
    async def count(pipeline):
        before = trio.lowlevel.current_statistics().tasks_living
        async with live(pipeline, debug=debug) as run:
            await run.say("a")
            await settle()
            return trio.lowlevel.current_statistics().tasks_living - before

    assert await count(parts()) <= await count([Sees()]) + 1


# Every handler that waits has a task of its own while it does, and gives it back.
async def test_tasks_are_given_back_when_handlers_have_waited(autojump_clock, debug):
    async with live([Sees(delay=1) for _ in range(10)], debug=debug) as run:
        await settle()
        idle = trio.lowlevel.current_statistics().tasks_living
        await run.say(*"abcdefghij")
        await trio.sleep(9.5)
        assert trio.lowlevel.current_statistics().tasks_living >= idle + 8
        await trio.sleep(20)
        assert trio.lowlevel.current_statistics().tasks_living <= idle + 1


# G9: a full lane makes push_frame wait, and in the end queue_frame.
@pytest.mark.parametrize("size", [1, 2, 5])
async def test_g09_a_full_lane_makes_its_pusher_wait(autojump_clock, debug, size):
    pushed = 0

    async def counts(self, frame):
        nonlocal pushed
        for i in range(20):
            await self.push_frame(text(str(i)))
            pushed += 1

    async with live([Does(counts), Sees(delay=1)], debug=debug, queue_size=size) as run:
        await run.say("go")
        await trio.sleep(0.5)
        assert pushed in (size, size + 1)
        with trio.move_on_after(0.1) as scope:
            for _ in range(20 * size):
                await run.say("more")
        assert scope.cancelled_caught
        for stats in run.task.statistics().processors:
            assert stats.downstream.peak_buffered <= size
        run.task.cancel()


# Those who wait for room get it in the order in which they came.
@pytest.mark.parametrize("size", [1, 2, 3])
async def test_pushers_that_wait_get_in_in_order(autojump_clock, debug, size):
    async def children(self, frame):
        async with trio.open_nursery() as nursery:
            for i in range(12):
                nursery.start_soon(self.push_frame, text(f"{i:02}"))
                await settle()

    async with live([Does(children), Sees(delay=1)], debug=debug, queue_size=size) as run:
        await run.say("go")
    assert run.texts == [f"{i:02}" for i in range(12)]


# A pusher that gives up waiting takes its frame with it, and the others go on.
@pytest.mark.parametrize("size", [1, 2])
async def test_a_cancelled_wait_for_room_takes_nothing(autojump_clock, debug, size):
    pushed = []

    async def impatient(self, frame):
        for i in range(10):
            with trio.move_on_after(0.3):
                await self.push_frame(text(str(i)))
                pushed.append(str(i))

    async with live([Does(impatient), Sees(delay=1)], debug=debug, queue_size=size) as run:
        await run.say("go")
        await trio.sleep(20)
    assert run.texts == pushed
    assert 0 < len(pushed) < 10


# Upstream and urgent lanes never make a pusher wait; their depth shows.
@pytest.mark.parametrize("kind", ["upstream", "urgent", "urgent up"])
async def test_other_lanes_never_make_a_pusher_wait(autojump_clock, debug, kind):
    class SlowAll(FrameProcessor):
        async def process_frame(self, frame, direction):
            if not isinstance(frame, StartFrame | EndFrame):
                await trio.sleep(1)
            await self.push_frame(frame, direction)

    async def many(self, frame):
        for _ in range(200):
            if kind == "upstream":
                await self.push_frame(text("u"), UP)
            else:
                await self.push_frame(Ping(), UP if kind == "urgent up" else DOWN)
        times.append(trio.current_time())

    times = []
    slow = SlowAll()
    parts = [Does(many), slow] if kind == "urgent" else [slow, Does(many)]
    async with live(parts, debug=debug, queue_size=1) as run:
        await run.task.queue_frame(text("go"))
        await trio.sleep(5.5)
        assert len(times) == 1
        assert times[0] <= 1
        stats = slow.statistics()
        lane = {"upstream": stats.upstream, "urgent": stats.urgent_downstream, "urgent up": stats.urgent_upstream}[kind]
        assert 190 <= lane.buffered < 200
        assert lane.peak_buffered >= lane.buffered
        run.task.cancel()


# A flood ends the task with an error that names the processor.
@pytest.mark.parametrize("kind", ["upstream", "urgent", "urgent up", "from set-up"])
async def test_a_flood_names_the_processor(autojump_clock, debug, kind):
    async def flood(self):
        for _ in range(10_000):
            match kind:
                case "upstream":
                    await self.push_frame(text("u"), UP)
                case "urgent up":
                    await self.push_frame(Ping(), UP)
                case "urgent":
                    await self.push_frame(Ping())
                case _:
                    await self.push_frame(text("d"))

    class Stuck(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Ping) or direction is UP:
                await trio.sleep_forever()
            await self.push_frame(frame, direction)

    class Floods(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            if kind == "from set-up":
                await flood(self)
            yield

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await flood(self)
            await self.push_frame(frame, direction)

    stuck, floods = Stuck(name="stuck"), Floods(name="floods")
    parts = [floods, stuck] if kind == "urgent" else [stuck, floods]
    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug, lane_limit=100))
    await task.queue_frame(text("go"))
    with (
        trio.fail_after(HUNG),
        pytest.raises(FloodError, match="floods" if kind == "from set-up" else "stuck") as caught,
    ):
        await task.run()
    assert "lane_limit=100" in str(caught.value)
    assert (await task.wait_finished()).state is TaskState.FAILED


# G23: the end is behind everything accepted, however slow the way.
async def test_g23_what_was_accepted_is_handled_before_the_end(autojump_clock, debug):
    async with live([Sees(delay=1), Sees(delay=2, inline=True)], debug=debug, queue_size=3) as run:
        await run.say(*"abcdefghij")
        run.task.stop_when_done()
    assert run.texts == list("abcdefghij")


# G7: inline processors that sleep, and a cancel: it returns at once.
async def test_g07_cancel_of_inline_processors_that_sleep_returns_at_once(autojump_clock, debug):
    parts = [Sees(delay=30), Sees(delay=30, inline=True), Sees(delay=30, inline=True)]
    async with live(parts, debug=debug) as run:
        await run.say(*"abcd")
        await trio.sleep(45)
        run.task.cancel()
        await run.task.wait_finished()
        assert trio.current_time() == 45


# From inside, queue_frame never waits, so a consumer may be placed before its producer.
@pytest.mark.parametrize("size", [1, 2])
async def test_a_processor_may_queue_frames_of_its_own_task(autojump_clock, debug, size):
    class Feeds(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and frame.text == "go":
                for i in range(50):
                    await self.task.queue_frame(text(str(i)))
            else:
                await self.push_frame(frame, direction)

    async with live([Sees(), Feeds(inline=True)], debug=debug, queue_size=size) as run:
        await run.say("go")
        await trio.sleep(1)
    assert run.texts == [str(i) for i in range(50)]


# ... and counts against the limit.
async def test_a_processor_that_floods_its_own_task_is_told(autojump_clock, debug):
    class Feeds(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                for i in range(1000):
                    await self.task.queue_frame(text(str(i)))
            await self.push_frame(frame, direction)

    task = PipelineTask(Pipeline([Feeds()]), PipelineParams(debug=debug, lane_limit=100, queue_size=1))
    await task.queue_frame(text("go"))
    with trio.fail_after(HUNG), pytest.raises(FloodError, match="lane_limit=100"):
        await task.run()


# `flush` and `wait_finished` inside a processor would wait for themselves: an error that names the call.
@pytest.mark.parametrize("call", ["flush", "wait_finished"])
@pytest.mark.parametrize("where", ["handler", "child", "helper", "upstream", "block"])
async def test_waiting_for_oneself_is_refused(autojump_clock, debug, call, where):
    refused = []

    async def wait(task):
        with pytest.raises(RuntimeError, match=call):
            await getattr(task, call)()
        refused.append(call)

    class Waits(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                if where == "helper":
                    nursery.start_soon(wait, self.task)
                yield

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and where == ("handler" if direction is DOWN else "upstream"):
                await wait(self.task)
            elif isinstance(frame, TextFrame) and direction is DOWN and where == "child":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait, self.task)
            await self.push_frame(frame, direction)

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await wait(out.task)
            await out.push(frame)

    async with live([Sees(), block if where == "block" else Waits(inline=True)], debug=debug) as run:
        await run.task.queue_frame(text("up"), UP)
        await run.say("a")
    assert refused == [call]
    assert run.texts == ["a"]


# Nothing is handled before StartFrame has been, also system and upstream frames queued before the run.
async def test_nothing_is_handled_before_the_start_frame(autojump_clock, debug):
    class SlowStart(Sees):
        async def process_frame(self, frame, direction):
            self.seen.append((frame, direction))
            if isinstance(frame, StartFrame):
                await trio.sleep(1)
            await self.push_frame(frame, direction)

    parts = [SlowStart(), SlowStart(inline=True), SlowStart()]
    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug))
    await task.queue_frame(Ping())
    await task.queue_frame(Ping(), UP)
    await task.queue_frame(text("up"), UP)
    await task.queue_frame(text("down"))
    task.stop_when_done()
    with trio.fail_after(HUNG):
        await task.run()
    for part in parts:
        assert isinstance(part.seen[0][0], StartFrame)
        assert sorted(part.kinds()) == ["EndFrame", "Ping", "StartFrame", "down"]
        assert sorted(part.kinds(UP)) == ["Ping", "up"]
