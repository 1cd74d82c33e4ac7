"""Fusing changes when things happen, not what is emitted or raised (DESIGN 4.2)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from flow_kit import DOWN, HUNG, UP, Does, Sees, live, said, text, texts
from trio_pipes import (
    EndFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    SystemFrame,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline


class OneAtATime(FrameProcessor):
    """Counts how many of its downstream handlers run at once."""

    def __init__(self, delay: float = 1.0, **settings) -> None:
        super().__init__(**settings)
        self.delay = delay
        self.now = self.most = 0
        self.order: list[str] = []

    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame) and direction is DOWN:
            self.now += 1
            self.most = max(self.most, self.now)
            self.order.append(frame.text)
            await trio.sleep(self.delay)
            self.now -= 1
        await self.push_frame(frame, direction)


# Two children of a handler push at once: the neighbour still handles one frame at a time.
async def test_child_tasks_of_a_handler_do_not_make_a_neighbour_handle_two_frames_at_once(autojump_clock, debug):
    async def both(self, frame):
        async with trio.open_nursery() as nursery:
            for i in range(5):
                nursery.start_soon(self.push_frame, text(f"{frame.text}{i}"))

    counts = OneAtATime(inline=True)
    with trio.fail_after(HUNG):
        received = await run_pipeline([Does(both), counts], said("a", "b"), params=PipelineParams(debug=debug))
    assert counts.most == 1
    assert sorted(counts.order) == [f"{c}{i}" for c in "ab" for i in range(5)]
    assert texts(received.down) == counts.order


# A helper task in `lifespan` pushes while the handler's frame is in its neighbour's hand.
async def test_a_helper_in_lifespan_does_not_make_a_neighbour_handle_two_frames_at_once(autojump_clock, debug):
    class Helped(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.help)
                yield
                nursery.cancel_scope.cancel()

        async def help(self):
            await trio.sleep(0.5)
            for i in range(4):
                await self.push_frame(text(f"h{i}"))
                await trio.sleep(0.75)

    counts = OneAtATime(inline=True)
    with trio.fail_after(HUNG):
        async with live([Helped(), counts], debug=debug) as run:
            await run.say("a", "b", "c")
            await trio.sleep(20)
    assert counts.most == 1
    assert sorted(counts.order) == ["a", "b", "c", "h0", "h1", "h2", "h3"]
    assert [t for t in counts.order if t[0] == "h"] == ["h0", "h1", "h2", "h3"]
    assert run.texts == counts.order


# An upstream handler and a system frame's handler push down while an ordered frame is in the neighbour's hand.
@pytest.mark.parametrize("way", ["upstream", "system"])
async def test_handlers_of_other_lanes_do_not_make_a_neighbour_handle_two_frames_at_once(autojump_clock, debug, way):
    class Ping(SystemFrame):
        pass

    class Answers(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is UP or isinstance(frame, Ping):
                for i in range(3):
                    await self.push_frame(text(f"x{i}"))
            else:
                await self.push_frame(frame, direction)

    counts = OneAtATime(inline=True)
    async with live([Answers(), counts], debug=debug) as run:
        await run.say("a", "b")
        await trio.sleep(0.5)
        await run.task.queue_frame(Ping() if way == "system" else text("up"), DOWN if way == "system" else UP)
        await trio.sleep(30)
    assert counts.most == 1
    assert run.texts == counts.order
    assert sorted(counts.order) == ["a", "b", "x0", "x1", "x2"]
    assert [t for t in counts.order if t[0] == "x"] == ["x0", "x1", "x2"]


# The asker may ask twice in one handler: those above it are stopped once, and nothing waits for ever.
async def test_an_interrupt_asked_twice_in_one_handler_of_a_fused_run(autojump_clock, debug):
    async def ask(self, frame):
        if frame.text == "ask":
            self.interrupt()
            self.interrupt()
        await self.push_frame(frame)

    head = Sees()
    async with live([head, Does(ask, inline=True)], debug=debug, allow_interruptions=True) as run:
        await run.say("a", "ask")
        await trio.sleep(1)
        await run.say("b")
    assert run.texts == ["a", "ask", "b"]
    assert head.interrupts == 2


# After the asker's interrupt, and before it has returned, the owner interrupts too.
async def test_an_interrupt_from_outside_while_the_asker_has_not_returned(autojump_clock, debug):
    async def ask(self, frame):
        if frame.text == "ask":
            self.interrupt()
            await trio.sleep(2)
        await self.push_frame(frame)

    head = Sees()
    async with live([head, Does(ask, inline=True)], debug=debug, allow_interruptions=True) as run:
        await run.say("ask")
        await trio.sleep(1)
        run.task.interrupt()
        await trio.sleep(5)
        await run.say("b")
    assert run.texts == ["b"]
    assert head.interrupts == 2


# The one above the asker gives up waiting by a deadline of its own; the run goes on.
async def test_a_deadline_around_the_push_to_the_asker_does_not_stop_the_run(autojump_clock, debug):
    async def patient(self, frame):
        with trio.move_on_after(1):
            await self.push_frame(frame)

    async def ask(self, frame):
        if frame.text == "ask":
            self.interrupt()
            await trio.sleep(2)
        await self.push_frame(frame)

    async with live([Does(patient), Does(ask, inline=True)], debug=debug, allow_interruptions=True) as run:
        await run.say("ask")
        await trio.sleep(5)
        await run.say("b")
        await trio.sleep(5)
    assert run.texts[-1] == "b"


# Those above the asker in the same task are stopped when it returns; the asker's own pushes are new.
async def test_handlers_above_the_asker_are_stopped_once_it_returns(autojump_clock):
    log = []

    async def waits(self, frame):
        try:
            await self.push_frame(frame)
            await self.push_frame(text(f"after {frame.text}"))
            log.append("went on")
        except trio.Cancelled:
            log.append("stopped")
            raise

    async def ask(self, frame):
        if frame.text == "ask":
            self.interrupt()
            await self.push_frame(text("new"))
        await self.push_frame(frame)

    parts = [Does(waits), Does(waits, inline=True), Does(ask, inline=True)]
    async with live(parts, allow_interruptions=True) as run:
        await run.say("ask")
        await trio.sleep(1)
        assert log == ["stopped", "stopped"]
        await run.say("b")
    assert run.texts[:2] == ["new", "ask"]
    assert run.texts[2] == "b"
    assert "after ask" not in run.texts
    assert run.texts.count("after b") == 2


# A synchronous function may ask too, through the task; its frame is new, the generator that feeds it is stale.
@pytest.mark.parametrize("head", ["class", "function", "after-function"])
async def test_a_generator_is_stale_when_a_function_below_it_asks_for_an_interrupt(autojump_clock, debug, head):
    @each
    def three(frame: TextFrame):
        yield text(frame.text + "1")
        yield text(frame.text + "2")
        yield text(frame.text + "3")

    running = []

    @each
    def ask(frame: TextFrame):
        if frame.text == "x1":
            running[0].interrupt()
        return frame

    first = {"class": [Sees()], "function": [], "after-function": [each(lambda f: f)]}[head]
    async with live([*first, three, ask], debug=debug) as run:
        running.append(run.task)
        await run.say("x")
        await trio.sleep(1)
        await run.say("y")
    assert run.texts == ["x1", "y1", "y2", "y3"]


# An endless generator feeds a function that asks for an interrupt: it ends there, and the next frame is handled.
@pytest.mark.parametrize("with_class", [False, True])
async def test_an_endless_generator_ends_when_a_function_below_it_asks_for_an_interrupt(
    autojump_clock, debug, with_class
):
    state = {"asked": False, "made": 0}
    running = []

    @each
    def endless(frame: TextFrame):
        if frame.text == "go":
            while state["made"] < 5000:
                state["made"] += 1
                yield text("x")
        else:
            yield frame

    @each
    def ask(frame: TextFrame):
        if not state["asked"] and frame.text == "x":
            state["asked"] = True
            running[0].interrupt()
        return frame

    async with live([*([Sees()] if with_class else []), endless, ask], debug=debug) as run:
        running.append(run.task)
        await run.say("go", "next")
        await trio.sleep(1)
    assert state["made"] < 500


# The consumer asks for an interrupt just after it has let a waiting generator on: what that makes then is stale.
@pytest.mark.parametrize("with_class", [False, True])
@pytest.mark.parametrize("functions", [1, 2])
async def test_a_generator_that_was_just_let_in_is_stale_after_an_interrupt(
    autojump_clock, debug, with_class, functions
):
    @each
    def many(frame: TextFrame):
        if frame.text == "go":
            for i in range(1000):
                yield text(f"s{i}")
        else:
            yield frame

    passes = each(lambda f: f)

    async def ask(self, frame):
        if frame.text == "s40":
            self.interrupt()
        await self.push_frame(frame)

    parts = [*([Sees()] if with_class else []), many, *[passes] * (functions - 1), Does(ask)]
    for size in (1, 20, 40, 41):
        async with live(parts, debug=debug, queue_size=size, allow_interruptions=True) as run:
            await run.say("go")
            await trio.sleep(1)
            await run.say("b")
        assert run.texts == [*(f"s{i}" for i in range(41)), "b"], size


# A block's push for a stale frame is dropped also where the neighbour is a function fused into it.
async def test_a_stale_block_pushes_nothing_through_a_fused_function(autojump_clock, debug):
    @processor
    async def slow(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await trio.sleep(1)
            await out.push(frame)
            await out.push(text(frame.text + "2"))

    async with live([slow, each(lambda f: f)], debug=debug) as run:
        await run.say("stale")
        await trio.sleep(0.5)
        run.task.interrupt()
        await run.say("new")
    assert run.texts == ["new", "new2"]


# A handler of an uninterruptible frame pushes an interruptible one: an interrupt stops the neighbour's work on it.
async def test_a_neighbour_is_stopped_though_the_pusher_has_an_uninterruptible_frame(autojump_clock, debug):
    log = []

    async def derive(self, frame):
        await self.push_frame(text("derived"))
        await trio.sleep(5)
        await self.push_frame(frame)

    async def slow(self, frame):
        if frame.text == "derived":
            try:
                await trio.sleep(3)
                log.append("went on")
            except trio.Cancelled:
                log.append("stopped")
                raise
        await self.push_frame(frame)

    async with live([Does(derive), Does(slow, inline=True)], debug=debug) as run:
        await run.task.queue_frame(text("kept", kept=True))
        await trio.sleep(1)
        run.task.interrupt()
    assert log == ["stopped"]
    assert run.texts == ["kept"]


# The same from the handler of EndFrame and from that of StartFrame.
@pytest.mark.parametrize("kind", [StartFrame, EndFrame])
async def test_a_neighbour_is_stopped_though_the_pusher_has_a_lifecycle_frame(autojump_clock, debug, kind):
    log = []

    class Pushes(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, kind):
                if kind is StartFrame:
                    await self.push_frame(frame)
                await self.push_frame(text("derived"))
            await self.push_frame(frame, direction)

    async def slow(self, frame):
        try:
            await trio.sleep(3)
            log.append("went on")
        except trio.Cancelled:
            log.append("stopped")
            raise

    task = PipelineTask(Pipeline([Pushes(), Does(slow, inline=True)]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            task.stop_when_done()
            await trio.sleep(1)
            task.interrupt()
    assert log == ["stopped"]


# What fails is the neighbour: its error does not come out of push_frame.
@pytest.mark.parametrize("neighbour", ["inline", "function", "async-function", "generator", "wrong-result"])
async def test_an_error_of_a_neighbour_never_comes_out_of_push_frame(autojump_clock, debug, neighbour):
    log = []

    async def push(self, frame):
        try:
            await self.push_frame(frame)
            log.append("returned")
        except Exception as exc:
            log.append(exc)

    async def fails(self, frame):
        raise ValueError("mine")

    @each(name="neighbour")
    def sync(frame: TextFrame):
        raise ValueError("mine")

    @each(name="neighbour")
    async def asynchronous(frame: TextFrame):
        raise ValueError("mine")

    @each(name="neighbour")
    def generator(frame: TextFrame):
        yield frame
        raise ValueError("mine")

    @each(name="neighbour")
    def wrong(frame: TextFrame):
        return 42

    part = {
        "inline": Does(fails, inline=True, name="neighbour"),
        "function": sync,
        "async-function": asynchronous,
        "generator": generator,
        "wrong-result": wrong,
    }[neighbour]
    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    with trio.fail_after(HUNG):
        received = await run_pipeline([Does(push), part], said("a", "b"), params=params)
    assert log == ["returned", "returned"]
    assert len(received.up) == 2
    assert {frame.processor.name for frame in received.up} == {"neighbour"}


# With the default policy the error fails the task, with a note that names the neighbour and the frame.
@pytest.mark.parametrize("neighbour", ["inline", "function", "async-function", "generator", "wrong-result", "class"])
async def test_the_error_of_a_neighbour_fails_the_task_and_names_it_and_the_frame(autojump_clock, debug, neighbour):
    async def fails(self, frame):
        raise ValueError("mine")

    @each(name="neighbour")
    def sync(frame: TextFrame):
        raise ValueError("mine")

    @each(name="neighbour")
    async def asynchronous(frame: TextFrame):
        raise ValueError("mine")

    @each(name="neighbour")
    def generator(frame: TextFrame):
        yield frame
        raise ValueError("mine")

    @each(name="neighbour")
    def wrong(frame: TextFrame):
        return 42

    part = {
        "inline": Does(fails, inline=True, name="neighbour"),
        "class": Does(fails, name="neighbour"),
        "function": sync,
        "async-function": asynchronous,
        "generator": generator,
        "wrong-result": wrong,
    }[neighbour]
    frame = text("a")
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([Sees(), part, Sees()], [frame], params=PipelineParams(debug=debug))
    (error,) = caught.value.exceptions
    notes = "\n".join(error.__notes__)
    assert "'neighbour'" in notes
    assert frame.name in notes


# Documented of `inline=True`: a deadline around a push covers the neighbour's handler, which works in the same task.
# What it must not do is break what comes after.
async def test_a_deadline_around_a_push_covers_the_neighbour_that_shares_the_task(autojump_clock, debug):
    async def hasty(self, frame):
        with trio.move_on_after(1) as scope:
            await self.push_frame(frame)
        late.append(scope.cancelled_caught)

    late = []
    counts = OneAtATime(delay=2, inline=True)
    with trio.fail_after(HUNG):
        received = await run_pipeline([Does(hasty), counts], said("a", "b"), params=PipelineParams(debug=debug))
    assert counts.order == ["a", "b"]
    assert texts(received.down) == [content for content, cut in zip("ab", late, strict=True) if not cut]
    assert not (debug and any(late))


# The same with StartFrame and EndFrame, which cannot be lost whatever the pusher does.
@pytest.mark.parametrize("kind", [StartFrame, EndFrame])
async def test_a_deadline_around_the_push_of_a_lifecycle_frame_does_not_lose_it(autojump_clock, debug, kind):
    class Hasty(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, kind):
                with trio.move_on_after(1):
                    await self.push_frame(frame)
            else:
                await self.push_frame(frame, direction)

    class Slow(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, kind):
                await trio.sleep(2)
            await self.push_frame(frame, direction)

    last = Sees()
    with trio.fail_after(HUNG):
        parts = [Hasty(), Slow(inline=True), last]
        received = await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a"]
    assert last.kinds() == ["StartFrame", "a", "EndFrame"]


# A processor that pushes on and on into functions that drop everything still lets others have their turn.
@pytest.mark.parametrize("where", ["upstream-handler", "after-join", "ordered"])
async def test_a_long_generator_in_a_fused_function_lets_others_have_a_turn(autojump_clock, debug, where):
    turns = {"now": 0, "at_end": None}

    @each
    def many(frame: TextFrame):
        for i in range(3000):
            yield text(str(i))
        turns["at_end"] = turns["now"]

    class Turns(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is UP:
                await self.push_frame(text("go"))
            else:
                await self.push_frame(frame, direction)

    parts = {
        "upstream-handler": [Turns(), many],
        "after-join": [ParallelPipeline([Sees()], [Sees()]), many],
        "ordered": [Turns(), many],
    }[where]

    async def other():
        while True:
            turns["now"] += 1
            await trio.lowlevel.checkpoint()

    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            nursery.start_soon(other)
            await task.queue_frame(text("go"), UP if where == "upstream-handler" else DOWN)
            await task.flush()
            while turns["at_end"] is None:
                await trio.lowlevel.checkpoint()
            task.stop_when_done()
            await task.wait_finished()
            nursery.cancel_scope.cancel()
    assert turns["at_end"] >= 3000 / 64 / 3


# Two pushers at once into a function that gives several frames: all of one frame come before those of the next.
@pytest.mark.parametrize("pushers", ["children", "helper", "branches"])
@pytest.mark.parametrize("gives", ["list", "generator"])
async def test_results_of_a_fused_function_do_not_interleave(autojump_clock, debug, pushers, gives):
    @each
    def many(frame: TextFrame):
        results = (text(f"{frame.text}{i}") for i in range(5))
        return list(results) if gives == "list" else results

    async def children(self, frame):
        async with trio.open_nursery() as nursery:
            for i in range(3):
                nursery.start_soon(self.push_frame, text(f"{frame.text}{i}"))

    class Helped(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.help)
                yield
                nursery.cancel_scope.cancel()

        async def help(self):
            for i in range(6):
                await trio.sleep(0.5)
                await self.push_frame(text(f"h{i}"))

    def suffixed(suffix):
        def fn(frame: TextFrame):
            return text(frame.text + suffix)

        return each(fn)

    above = {
        "children": Does(children),
        "helper": Helped(),
        "branches": ParallelPipeline([suffixed("x")], [suffixed("y")]),
    }[pushers]
    async with live([above, many, Sees(delay=0.2)], debug=debug, queue_size=1) as run:
        await run.say("a", "b", "c")
        await trio.sleep(60)
    stems = [t[:-1] for t in run.texts]
    groups = [stem for i, stem in enumerate(stems) if i == 0 or stems[i - 1] != stem]
    assert len(groups) == len(set(groups)) == len(run.texts) / 5
    for stem in groups:
        assert [t[-1] for t in run.texts if t[:-1] == stem] == list("01234")


# A block waits on the function fused below it: when that asks for an interrupt, the block's frame is stale.
async def test_a_block_is_stale_when_a_function_below_it_asks_for_an_interrupt(autojump_clock, debug):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            for i in range(3):
                await out.push(text(f"{frame.text}{i}"))
                await trio.sleep(1)

    @each
    def ask(frame: TextFrame):
        if frame.text == "a0":
            run.task.interrupt()
        return frame

    async with live([block, ask], debug=debug) as run:
        await run.say("a")
        await trio.sleep(10)
        await run.say("b")
        await trio.sleep(10)
    assert run.texts == ["a0", "b0", "b1", "b2"]


# A generator that is read for a block's frame is stale with it.
@pytest.mark.parametrize("careful", [False, True])
async def test_a_generator_below_a_block_is_stale_when_a_function_below_it_asks(autojump_clock, debug, careful):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            if careful:
                with frames.interruptible():
                    await out.push(frame)
            else:
                await out.push(frame)

    @each
    def three(frame: TextFrame):
        for i in range(3):
            yield text(f"{frame.text}{i}")

    @each
    def ask(frame: TextFrame):
        if frame.text == "a0":
            run.task.interrupt()
        return frame

    async with live([block, three, ask], debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        await run.say("b")
    assert run.texts == ["a0", "b0", "b1", "b2"]


# An inline neighbour that works in a task of its own waits on the function that asks: it is stopped, and nobody else.
async def test_the_lane_that_is_stopped_is_the_one_that_waits(autojump_clock, debug):
    log = []

    async def head(self, frame):
        await self.push_frame(frame)
        if frame.text == "new":
            try:
                await trio.sleep(3)
                log.append("head went on")
            except trio.Cancelled:
                log.append("head was stopped")
                raise

    async def two(self, frame):
        if frame.text == "ask":
            await trio.sleep(1)
        await self.push_frame(frame)
        await self.push_frame(text(f"{frame.text}2"))

    @each
    def ask(frame: TextFrame):
        if frame.text == "ask":
            run.task.interrupt()
        return frame

    async with live([Does(head), Does(two, inline=True), ask, Sees()], debug=debug) as run:
        await run.task.queue_frame(text("k", kept=True))
        await run.say("ask")
        await trio.sleep(5)
        await run.say("new")
        await trio.sleep(5)
    assert run.texts == ["k", "k2", "ask", "new", "new2"]
    assert log == ["head went on"]


# The same while the head has a frame in hand that does not let itself be interrupted.
async def test_a_head_with_a_frame_that_is_kept_is_not_stopped_by_a_member_that_returns(autojump_clock, debug):
    log = []

    async def head(self, frame):
        await self.push_frame(frame)
        if frame.text == "k2":
            try:
                await trio.sleep(5)
                log.append("head went on")
            except trio.Cancelled:
                log.append("head was stopped")
                raise

    async def waits(self, frame):
        if frame.text == "ask":
            await trio.sleep(1)
        await self.push_frame(frame)
        await self.push_frame(text(f"{frame.text}'"))

    @each
    def ask(frame: TextFrame):
        if frame.text == "ask":
            run.task.interrupt()
        return frame

    async with live([Does(head), Does(waits, inline=True), ask, Sees()], debug=debug) as run:
        await run.task.queue_frame(text("k1", kept=True))
        await run.say("ask")
        await run.task.queue_frame(text("k2", kept=True))
        await trio.sleep(20)
    assert log == ["head went on"]
    assert [t for t in run.texts if "ask" in t] == ["ask"]
    assert [t for t in run.texts if t in ("k1", "k2")] == ["k1", "k2"]


# Many child tasks push at once: what a pusher lets go before it does not get out of its order.
@pytest.mark.parametrize("neighbour", ["inline", "function", "generator", "class"])
async def test_giving_way_does_not_change_the_order_of_pushes(autojump_clock, debug, neighbour):
    pushed, seen = [], []

    async def children(self, frame):
        async def push(content):
            pushed.append(content)
            await self.push_frame(text(content))

        async with trio.open_nursery() as nursery:
            for i in range(400):
                nursery.start_soon(push, str(i))

    async def notes(self, frame):
        seen.append(frame.text)

    @each
    def function(frame: TextFrame):
        seen.append(frame.text)

    @each
    def generator(frame: TextFrame):
        seen.append(frame.text)
        yield from ()

    part = {
        "inline": Does(notes, inline=True),
        "class": Does(notes),
        "function": function,
        "generator": generator,
    }[neighbour]
    async with live([Does(children), part], debug=debug, queue_size=500) as run:
        await run.say("go")
        await trio.sleep(1)
    assert len(seen) == 400
    assert seen == pushed


# The same where the pusher's short way is closed, because another of its lanes has a task at that moment.
@pytest.mark.parametrize("functions", ["generator, asks", "asks"])
async def test_what_waits_on_the_asker_is_stale_though_another_lane_is_busy(autojump_clock, debug, functions):
    class Busy(Sees):
        async def process_frame(self, frame, direction):
            if direction is UP:
                with trio.CancelScope(shield=True):
                    await trio.sleep(100)
            elif isinstance(frame, TextFrame):
                await self.push_frame(frame)
                await self.push_frame(text(f"{frame.text}'"))
            else:
                await self.push_frame(frame)

    def asks(content):
        if content == "a0":
            run.task.interrupt()

    @each
    def generator(frame: TextFrame):
        for i in range(3):
            yield text(f"{frame.text}{i}")

    @each
    def ask(frame: TextFrame):
        asks(frame.text)
        return frame

    @each
    def first(frame: TextFrame):
        asks(f"{frame.text}0")
        return text(f"{frame.text}0")

    parts = {"generator, asks": [generator, ask], "asks": [first]}[functions]
    async with live([Busy(), *parts], debug=debug) as run:
        await run.task.queue_frame(text("up"), UP)
        await trio.sleep(1)
        await run.say("a")
        await trio.sleep(200)
    assert run.texts == ["a0"]


# A generator that asks is the asker: it is not stopped, and what it gives afterwards is new.
@pytest.mark.parametrize("above", ["nothing", "class", "function", "block"])
async def test_a_generator_that_asks_for_an_interrupt_goes_on(autojump_clock, debug, above):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    @each
    def generator(frame: TextFrame):
        for i in range(4):
            if frame.text == "a" and i == 1:
                run.task.interrupt()
            yield text(f"{frame.text}{i}")

    parts = {"nothing": [], "class": [Sees()], "function": [each(lambda f: f)], "block": [block]}[above]
    async with live([*parts, generator, Sees()], debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        await run.say("b")
    assert run.texts[-7:] == ["a1", "a2", "a3", "b0", "b1", "b2", "b3"]
