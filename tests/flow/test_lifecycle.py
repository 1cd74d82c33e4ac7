"""Lifecycle frames cannot be lost (DESIGN 4.7)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from flow_kit import DOWN, HUNG, UP, Does, Drops, Sees, live, said, settle, text, texts
from trio_pipes import (
    CancelFrame,
    CancelTaskFrame,
    EndFrame,
    EndTaskFrame,
    Frame,
    FrameProcessor,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    StartTimeout,
    StopFrame,
    StopTaskFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
)
from trio_pipes.testing import run_pipeline


class Carries(FrameProcessor):
    """Does one thing or another with lifecycle frames."""

    def __init__(self, how: str, **settings) -> None:
        super().__init__(**settings)
        self.how = how

    async def process_frame(self, frame, direction):
        if not isinstance(frame, StartFrame | EndFrame | StopFrame):
            await self.push_frame(frame, direction)
            return
        match self.how:
            case "once":
                await self.push_frame(frame, direction)
            case "twice":
                await self.push_frame(frame, direction)
                await self.push_frame(frame, direction)
            case "not at all":
                pass
            case "after awaiting":
                await trio.sleep(1)
                await self.push_frame(frame, direction)
            case "before awaiting":
                await self.push_frame(frame, direction)
                await trio.sleep(1)
            case "in a child task":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.push_frame, frame)
            case "in two child tasks":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.push_frame, frame)
                    nursery.start_soon(self.push_frame, frame)
            case "upstream":
                await self.push_frame(frame, UP)
            case "data around":
                name = type(frame).__name__
                await self.push_frame(text(f"before {name}"))
                await self.push_frame(frame)
                await self.push_frame(text(f"after {name}"))
            case "shielded":
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)
                    await self.push_frame(frame)


HOWS = [
    "once",
    "twice",
    "not at all",
    "after awaiting",
    "before awaiting",
    "in a child task",
    "in two child tasks",
    "upstream",
    "shielded",
]


# However a processor treats them, they go on once, in their place, and the run ends.
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("inline", [False, True])
async def test_g12_lifecycle_frames_go_on_once_whatever_a_processor_does(autojump_clock, debug, how, inline):
    first, last = Sees(), Sees()
    parts = [first, Carries(how, inline=inline), each(lambda f: f), Carries(how, inline=inline), last]
    with trio.fail_after(HUNG):
        received = await run_pipeline(parts, said("a", "b"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a", "b"]
    assert first.kinds() == last.kinds() == ["StartFrame", "a", "b", "EndFrame"]
    assert first.kinds(UP) == last.kinds(UP) == []


# Data that a handler of StartFrame or EndFrame pushes keeps its place; after the end it is dropped and counted.
@pytest.mark.parametrize("inline", [False, True])
async def test_data_pushed_around_lifecycle_frames_keeps_its_place(autojump_clock, debug, inline):
    around, last = Carries("data around", inline=inline), Sees(inline=inline)
    with trio.fail_after(HUNG):
        received = await run_pipeline([Sees(), around, last], said("a"), params=PipelineParams(debug=debug))
    expected = ["before StartFrame", "after StartFrame", "a", "before EndFrame"]
    assert texts(received.down) == expected
    assert last.kinds() == ["StartFrame", *expected[:3], "before EndFrame", "EndFrame"]
    assert around.statistics().late_dropped == 1


# StopFrame is carried as EndFrame is.
@pytest.mark.parametrize("how", HOWS)
async def test_a_stop_frame_goes_on_once(autojump_clock, debug, how):
    last = Sees(inline=True)
    task = PipelineTask(Pipeline([Carries(how), Carries(how, inline=True), last]), PipelineParams(debug=debug))
    await task.queue_frames([*said("a"), StopFrame(reason="enough")])
    with trio.fail_after(HUNG):
        result = await task.run()
    assert result.state is TaskState.STOPPED
    assert result.reason == "enough"
    assert last.kinds() == ["StartFrame", "a", "StopFrame"]


# Nothing is handled before StartFrame, and what set-up pushes waits behind it.
@pytest.mark.parametrize("inline", [False, True])
async def test_frames_pushed_from_set_up_wait_behind_the_start_frame(autojump_clock, debug, inline):
    class Ping(SystemFrame):
        pass

    class Eager(Sees):
        @asynccontextmanager
        async def lifespan(self):
            await self.push_frame(text(f"{self.name} down"))
            await self.push_frame(text(f"{self.name} up"), UP)
            await self.push_frame(Ping())
            await self.push_frame(Ping(), UP)
            yield

    parts = [Sees(), Eager(name="x", inline=inline), Eager(name="y", inline=inline), each(lambda f: f), Sees()]
    with trio.fail_after(HUNG):
        received = await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug))
    assert sorted(texts(received.down)[:2]) == ["x down", "y down"]
    assert texts(received.down)[2:] == ["a"]
    assert sorted(texts(received.up)) == ["x up", "y up"]
    for part in parts:
        if isinstance(part, Sees):
            assert isinstance(part.seen[0][0], StartFrame), part
    assert parts[-1].kinds().count("Ping") == 2
    assert parts[0].kinds(UP).count("Ping") == 2


# A helper task that pushes during set-up and start, fast: order is kept, and nothing is lost.
@pytest.mark.parametrize("inline", [False, True])
async def test_a_helper_that_pushes_all_the_time_loses_nothing(autojump_clock, debug, inline):
    class Helped(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.help)
                yield
                nursery.cancel_scope.cancel()

        async def help(self):
            for i in range(300):
                await self.push_frame(text(str(i)))
                await trio.lowlevel.checkpoint()

    class SlowStart(Sees):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                for _ in range(50):
                    await trio.lowlevel.checkpoint()
            await super().process_frame(frame, direction)

    parts = [SlowStart(), Helped(inline=inline), SlowStart(inline=inline), each(lambda f: f), SlowStart()]
    async with live(parts, debug=debug, queue_size=3) as run:
        await trio.sleep(1)
    assert run.texts == [str(i) for i in range(300)]


# The handler of StartFrame pushes it on and asks below; the answer comes up while the handler waits.
@pytest.mark.parametrize("inline", [False, True])
async def test_a_handler_of_the_start_frame_may_wait_for_an_answer_from_below(autojump_clock, debug, inline):
    class Asks(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                self.answered = trio.Event()
                await self.push_frame(frame, direction)
                await self.push_frame(text("question"))
                await self.answered.wait()
            elif direction is UP and isinstance(frame, TextFrame):
                self.answered.set()
            else:
                await self.push_frame(frame, direction)

    async def answer(self, frame):
        await self.push_frame(text("answer"), UP)

    params = PipelineParams(debug=debug, start_timeout=5)
    with trio.fail_after(HUNG):
        try:
            await run_pipeline([Asks(), Does(answer, inline=inline)], said("a"), params=params)
        except StartTimeout as exc:
            # Refusing it is right as well ("nothing is handled before StartFrame has been"), if it says who waits.
            assert "Asks" in str(exc)


# The handler of EndFrame, and of an ordinary frame, may wait for an answer from below.
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("kind", [TextFrame, EndFrame])
async def test_a_handler_may_wait_for_an_answer_from_below(autojump_clock, debug, inline, kind):
    class Asks(FrameProcessor):
        def __init__(self):
            self.answers = 0

        async def process_frame(self, frame, direction):
            if direction is UP:
                self.answers += 1
                self.answered.set()
            elif type(frame) is kind:
                self.answered = trio.Event()
                await self.push_frame(text("question"))
                await self.answered.wait()
                await self.push_frame(frame)
            else:
                await self.push_frame(frame)

    async def answer(self, frame):
        if frame.text == "question":
            await self.push_frame(text("answer"), UP)
        await self.push_frame(frame)

    asks = Asks()
    with trio.fail_after(HUNG):
        parts = [Sees(), asks, each(lambda f: f), Does(answer, inline=inline)]
        received = await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug))
    assert asks.answers == 1
    assert texts(received.down) == (["question", "a"] if kind is TextFrame else ["a", "question"])


# One that a processor makes itself is a request to the task: what was queued before is handled.
@pytest.mark.parametrize("kind", [EndFrame, StopFrame])
@pytest.mark.parametrize("direction", [DOWN, UP])
@pytest.mark.parametrize("inline", [False, True])
async def test_a_lifecycle_frame_that_a_processor_makes_is_a_request(autojump_clock, debug, kind, direction, inline):
    async def ask(self, frame):
        if frame.text == "b":
            await self.push_frame(kind(reason="mine"), direction)
        await self.push_frame(frame)

    last = Sees()
    task = PipelineTask(Pipeline([Sees(), Does(ask, inline=inline), last]), PipelineParams(debug=debug))
    await task.queue_frames(said(*"abcde"))
    with trio.fail_after(HUNG):
        result = await task.run()
    assert result.reason == "mine"
    assert result.state is (TaskState.ENDED if kind is EndFrame else TaskState.STOPPED)
    assert last.kinds() == ["StartFrame", *"abcde", kind.__name__]


# It stays a request when the very object is pushed again: the frames queued before it are not lost.
@pytest.mark.parametrize("inline", [False, True])
async def test_a_lifecycle_frame_of_its_own_pushed_again_overtakes_nothing(autojump_clock, debug, inline):
    mine = EndFrame()

    async def ask(self, frame):
        await self.push_frame(mine)
        await trio.sleep(1)
        await self.push_frame(frame)

    last = Sees()
    task = PipelineTask(Pipeline([Does(ask, inline=inline), last]), PipelineParams(debug=debug))
    await task.queue_frames(said(*"abcde"))
    with trio.fail_after(HUNG):
        await task.run()
    assert last.kinds() == ["StartFrame", *"abcde", "EndFrame"]


# An EndFrame held back, or a StartFrame kept and pushed again, is carried once.
@pytest.mark.parametrize("again", ["later", "with flush", "at the end", "after the end"])
async def test_a_start_frame_pushed_again_is_not_carried_again(autojump_clock, debug, again):
    class Keeps(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                self.start = frame
            if isinstance(frame, EndFrame) and again == "at the end":
                await self.push_frame(self.start)
            await self.push_frame(frame, direction)
            if isinstance(frame, EndFrame) and again == "after the end":
                await self.push_frame(self.start)
            if isinstance(frame, TextFrame) and again in ("later", "with flush"):
                await self.push_frame(self.start)

    last = Sees()
    async with live([Keeps(), last], debug=debug) as run:
        await run.say("a")
        if again == "with flush":
            assert await run.task.flush(10)
        await run.say("b")
    assert last.kinds() == ["StartFrame", "a", "b", "EndFrame"]


# EndTaskFrame and its kin act where they are pushed, in either direction, not behind a backlog.
@pytest.mark.parametrize("direction", [DOWN, UP])
@pytest.mark.parametrize("position", [0, 1, 2])
async def test_requests_act_where_they_are_pushed(autojump_clock, debug, direction, position):
    async def ask(self, frame):
        if frame.text == "a":
            await self.push_frame(CancelTaskFrame(reason="hang up"), direction)
            await trio.sleep(1)
            pytest.fail("not reached")
        await self.push_frame(frame)

    parts = [Drops(), Drops(), Drops()]
    parts[position] = Does(ask)
    task = PipelineTask(Pipeline(parts[position:] if position else parts), PipelineParams(debug=debug))
    await task.queue_frames(said(*"abcde"))
    with trio.fail_after(HUNG):
        result = await task.run()
    assert (result.state, result.reason) == (TaskState.CANCELLED, "hang up")
    assert result.finished_at == 0


# EndTaskFrame ends when everything is done; StopTaskFrame stops.
@pytest.mark.parametrize(("kind", "state"), [(EndTaskFrame, TaskState.ENDED), (StopTaskFrame, TaskState.STOPPED)])
@pytest.mark.parametrize("direction", [DOWN, UP])
async def test_end_and_stop_are_asked_from_inside(autojump_clock, debug, kind, state, direction):
    async def ask(self, frame):
        if frame.text == "a":
            await self.push_frame(kind(reason="inside"), direction)
        await self.push_frame(frame)

    last = Sees(delay=1)
    task = PipelineTask(Pipeline([Sees(), Does(ask), last]), PipelineParams(debug=debug))
    await task.queue_frames(said(*"abcde"))
    with trio.fail_after(HUNG):
        result = await task.run()
    assert (result.state, result.reason) == (state, "inside")
    assert last.texts() == list("abcde")


# Pushed from set-up it is a request too.
@pytest.mark.parametrize("kind", [EndTaskFrame, CancelTaskFrame, EndFrame])
async def test_the_end_may_be_asked_for_in_set_up(autojump_clock, debug, kind):
    class Asks(Sees):
        @asynccontextmanager
        async def lifespan(self):
            await self.push_frame(kind(reason="no microphone"))
            yield

    task = PipelineTask(Pipeline([Sees(), Asks()]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        result = await task.run()
    assert result.reason == "no microphone"


# CancelFrame is not given to process_frame, and nothing after a cancel is handled.
async def test_a_cancel_frame_is_not_given_to_processors(autojump_clock, debug):
    seen = Sees()
    told = []

    class Watches:
        def on_reached_sink(self, task, frame):
            told.append(type(frame).__name__)

    async def ask(self, frame):
        await self.push_frame(CancelFrame(reason="now"))
        await trio.sleep(1)

    task = PipelineTask(Pipeline([seen, Does(ask)]), PipelineParams(debug=debug), observers=[Watches()])
    await task.queue_frame(text("a"))
    with trio.fail_after(HUNG):
        result = await task.run()
    assert result.state is TaskState.CANCELLED
    assert "CancelFrame" in told
    assert "CancelFrame" not in seen.kinds()


# After EndFrame a processor still gets upstream and system frames.
async def test_upstream_and_system_frames_come_after_the_end_frame(autojump_clock, debug):
    class Ping(SystemFrame):
        pass

    class AtTheEnd(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if isinstance(frame, EndFrame):
                await trio.sleep(1)
                await self.push_frame(text("up"), UP)
                await self.push_frame(Ping(), UP)
                await self.push_frame(text("late"))

    first, last = Sees(), AtTheEnd()
    async with live([first, Sees(inline=True), last], debug=debug) as run:
        await run.say("a")
    assert first.kinds() == ["StartFrame", "a", "EndFrame"]
    assert sorted(first.kinds(UP)) == ["Ping", "up"]
    assert texts(run.up) == ["up"]
    assert run.texts == ["a"]
    assert last.statistics().late_dropped == 1


# An upstream handler that pushes down after the end has passed: dropped and counted, no hang.
async def test_ordered_frames_pushed_after_the_end_are_dropped_and_counted(autojump_clock, debug):
    class Turns(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is UP:
                for _ in range(3):
                    await self.push_frame(text("late"))
            else:
                await self.push_frame(frame, direction)

    class AtTheEnd(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if isinstance(frame, EndFrame):
                await trio.sleep(1)
                await self.push_frame(text("up"), UP)

    turns = Turns()
    async with live([turns, Sees(inline=True), AtTheEnd()], debug=debug) as run:
        await run.say("a")
    assert run.texts == ["a"]
    assert turns.statistics().late_dropped == 3


# The task tears down only when no handler runs: a system frame's and an upstream handler are waited for.
@pytest.mark.parametrize("kind", ["system", "upstream"])
async def test_the_end_waits_for_handlers_that_run(autojump_clock, debug, kind):
    done = []

    class Ping(SystemFrame):
        pass

    class Slow(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Ping) or direction is UP:
                await trio.sleep(5)
                done.append(trio.current_time())
            else:
                await self.push_frame(frame, direction)

    async with live([Slow(), Slow(inline=True)], debug=debug) as run:
        for _ in range(2):
            if kind == "system":
                await run.task.queue_frame(Ping())
            else:
                await run.task.queue_frame(text("u"), UP)
        await settle()
    assert len(done) == 2


# G2, G26: a processor that swallows everything cannot hang the task.
async def test_g02_g26_a_processor_that_swallows_everything_cannot_hang_the_task(autojump_clock, debug):
    class Swallows(FrameProcessor):
        async def process_frame(self, frame, direction):
            pass

    parts = [Swallows(), Swallows(inline=True), ParallelPipeline([Swallows()], [Swallows(), Swallows(inline=True)])]
    with trio.fail_after(HUNG):
        received = await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug))
    assert received.down == []


# G4: a processor that blocks on the end frame: cancel gets through at once.
async def test_g04_cancel_gets_through_to_a_processor_that_blocks_on_the_end(autojump_clock, debug):
    class Blocks(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, EndFrame):
                await trio.sleep_forever()
            await self.push_frame(frame, direction)

    async with live([Sees(), Blocks(inline=True)], debug=debug) as run:
        run.task.stop_when_done()
        await trio.sleep(10)
        assert not run.task.has_finished()
        run.task.cancel()
        await settle()
        assert run.task.has_finished()


# G3: a slow processor and an end asked for upstream meanwhile.
async def test_g03_an_end_asked_for_behind_a_slow_processor_does_not_freeze(autojump_clock, debug):
    async def ask(self, frame):
        await self.push_frame(EndTaskFrame(), UP)
        await self.push_frame(frame)

    slow = Sees(delay=3)
    task = PipelineTask(Pipeline([slow, Does(ask), Sees(delay=2)]), PipelineParams(debug=debug, queue_size=1))
    await task.queue_frames(said(*"abcdef"))
    with trio.fail_after(HUNG):
        result = await task.run()
    assert result.state is TaskState.ENDED
    assert result.frames_out == 6


# G5: a handler that itself causes the cancel is not left behind.
@pytest.mark.parametrize("where", ["ordered", "upstream", "on_interrupt", "lifespan", "child"])
async def test_g05_a_handler_that_causes_the_cancel_is_not_left_behind(autojump_clock, debug, where):
    log = []

    class HangsUp(FrameProcessor):
        async def hang_up(self):
            try:
                await self.task.cancel("hang up")
                await trio.sleep(100)
            finally:
                log.append("left")

        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                if where == "lifespan":
                    nursery.start_soon(self.hang_up)
                try:
                    yield
                finally:
                    log.append("cleaned up")
                    nursery.cancel_scope.cancel()

        async def on_interrupt(self):
            if where == "on_interrupt":
                await self.hang_up()

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and where == ("ordered" if direction is DOWN else "upstream"):
                await self.hang_up()
            elif isinstance(frame, TextFrame) and direction is DOWN and where == "child":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.hang_up)
            else:
                await self.push_frame(frame, direction)

    task = PipelineTask(Pipeline([HangsUp(inline=True), Sees()]), PipelineParams(debug=debug))
    await task.queue_frames(said("a"))
    await task.queue_frame(text("up"), UP)
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(1)
            task.interrupt()
    assert (await task.wait_finished()).state is TaskState.CANCELLED
    assert sorted(log) == ["cleaned up", "left"]


# G19: cleanup runs when every handler has ended, and before that nothing of the processor is closed.
@pytest.mark.parametrize("how", ["end", "cancel", "error"])
async def test_g19_cleanup_runs_after_the_handlers_have_ended(autojump_clock, debug, how):
    log = []

    class Opens(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                await trio.sleep(1)
                log.append("closed")

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and direction is DOWN:
                try:
                    await trio.sleep(5 if how == "end" else 100)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(2)
                    log.append("handler left")
            await self.push_frame(frame, direction)

    class Fails(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                if how == "error":
                    nursery.start_soon(self.fail)
                yield
                nursery.cancel_scope.cancel()

        async def fail(self):
            await trio.sleep(3)
            raise ValueError("helper")

    task = PipelineTask(Pipeline([Opens(), Opens(inline=True), Fails()]), PipelineParams(debug=debug))
    await task.queue_frames(said("a"))
    if how == "end":
        task.stop_when_done()
    with trio.fail_after(HUNG):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(4)
                if how == "cancel":
                    task.cancel()
        except* ValueError:
            assert how == "error"
    handlers = log.count("handler left")
    assert handlers == (2 if how == "end" else 1)
    assert log == ["handler left"] * handlers + ["closed", "closed"]


# `@each` sees a lifecycle frame only when annotated with one; it still goes on by itself.
async def test_each_on_a_lifecycle_frame(autojump_clock, debug):
    @each
    def bye(frame: EndFrame):
        return text("bye")

    @each
    async def hello(frame: StartFrame):
        return text("hello")

    @each
    def passes(frame: EndFrame | TextFrame):
        return frame

    last = Sees()
    with trio.fail_after(HUNG):
        parts = [hello, bye, passes, last]
        received = await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["hello", "a", "bye"]
    assert last.kinds() == ["StartFrame", "hello", "a", "bye", "EndFrame"]


# Unannotated and annotated with `Frame`, a function never sees lifecycle frames.
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_each_never_sees_lifecycle_frames_unasked(autojump_clock, debug, asynchronous):
    seen = []

    def sync(frame: Frame):
        seen.append(type(frame).__name__)
        return frame

    async def asyn(frame: Frame):
        return sync(frame)

    with trio.fail_after(HUNG):
        await run_pipeline([each(asyn if asynchronous else sync)], said("a"), params=PipelineParams(debug=debug))
    assert seen == ["TextFrame"]
