"""An interrupt makes what is in flight stale, at once and everywhere (DESIGN 4.4)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from flow_kit import DOWN, HUNG, UP, Does, Sees, interruption_count, live, said, settle, text, texts
from trio_pipes import (
    ControlFrame,
    DataFrame,
    EndFrame,
    FrameProcessor,
    Frames,
    InterruptionFrame,
    InterruptionTaskFrame,
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


# Queued and being handled: both are stale; what comes after is handled.
async def test_frames_in_flight_become_stale(autojump_clock, debug):
    async with live([Sees(delay=1), Sees(delay=1, inline=True), Sees(delay=5)], debug=debug) as run:
        await run.say(*"abcdef")
        await trio.sleep(2.5)
        run.task.interrupt()
        await run.say("x", "y")
    assert run.texts == ["x", "y"]


# G30: interrupts travelled hop by hop, four processors of 0.2 s took 0.8 s.
async def test_g30_interrupt_is_not_serial(autojump_clock, debug):
    unwound = []

    class SlowToStop(FrameProcessor):
        async def process_frame(self, frame, direction):
            if not isinstance(frame, TextFrame):
                await self.push_frame(frame, direction)
                return
            try:
                await self.push_frame(frame)
                await trio.sleep(100)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.2)
                unwound.append(trio.current_time())

    last = Sees()
    async with live([SlowToStop() for _ in range(4)] + [last], debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        asked = trio.current_time()
        run.task.interrupt()
        await run.say("b")
        await trio.sleep(0.25)
        assert len(unwound) == 4
        assert max(unwound) - asked == pytest.approx(0.2)
        assert last.texts() == ["a", "b"]
        run.task.cancel()


# Every processor that takes system frames gets one InterruptionFrame, after on_interrupt, before anything newer.
async def test_each_processor_is_told_once_and_before_newer_frames(autojump_clock, debug):
    parts = [Sees(delay=1), Sees(inline=True), Sees(delay=1), Sees()]
    async with live([*parts[:2], ParallelPipeline([parts[2]], [parts[3]])], debug=debug) as run:
        await run.say("old", "old")
        await trio.sleep(1.5)
        run.task.interrupt()
        await run.say("new")
    for part in parts:
        assert part.interrupts == 1
        kinds = part.kinds()
        assert kinds.count("InterruptionFrame") == 1
        assert kinds.index("InterruptionFrame") < kinds.index("new")
        assert "old" not in kinds[kinds.index("InterruptionFrame") :]


# `on_interrupt` comes after this processor's own work has been stopped, however long that takes.
async def test_on_interrupt_comes_after_the_work_was_stopped(autojump_clock, debug):
    log = []

    class Slow(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                log.append(frame.text)
                try:
                    await trio.sleep(10)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(1)
                    log.append("stopped")
            elif isinstance(frame, InterruptionFrame):
                log.append("frame")
            else:
                await self.push_frame(frame, direction)

        async def on_interrupt(self):
            await trio.sleep(1)
            log.append("on_interrupt")

    async with live([Slow(inline=True), Slow(inline=True)], debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("b")
        await trio.sleep(10)
        run.task.cancel()
    assert [entry for entry in log if entry != "frame"][:4] in (
        ["a", "stopped", "on_interrupt", "on_interrupt"],
        ["a", "on_interrupt", "stopped", "on_interrupt"],
    )
    assert log.index("b") > log.index("stopped")


# The engine tells everybody: a processor that pushes the InterruptionFrame on tells nobody twice.
@pytest.mark.parametrize("direction", [DOWN, UP])
async def test_pushing_the_given_frame_on_does_nothing(autojump_clock, debug, direction):
    class Pushes(FrameProcessor):
        async def process_frame(self, frame, way):
            if isinstance(frame, InterruptionFrame):
                await self.push_frame(frame, direction)
                await self.push_frame(frame, direction)
            else:
                await self.push_frame(frame, way)

    above, below = Sees(), Sees()
    async with live([above, Pushes(), below], debug=debug) as run:
        run.task.interrupt()
        await trio.sleep(1)
    assert above.interrupts == below.interrupts == 1
    assert interruption_count(above) == interruption_count(below) == 1


# A frame made by hand, pushed in either direction, asks for an interrupt.
@pytest.mark.parametrize("direction", [DOWN, UP])
@pytest.mark.parametrize("kind", [InterruptionFrame, InterruptionTaskFrame])
async def test_a_frame_made_by_hand_asks_for_an_interrupt(autojump_clock, debug, direction, kind):
    async def ask(self, frame):
        if frame.text == "ask":
            await self.push_frame(kind(), direction)
        await self.push_frame(frame)

    last = Sees(delay=2)
    async with live([Does(ask), last], debug=debug, allow_interruptions=True) as run:
        await run.say("old", "ask")
        await trio.sleep(1)
        await run.say("after")
    assert run.texts == ["ask", "after"]
    assert last.interrupts == 1


# One that is queued is a request by the owner, and works whatever allow_interruptions says.
@pytest.mark.parametrize("kind", [InterruptionFrame, InterruptionTaskFrame])
async def test_a_queued_interruption_is_the_owners(autojump_clock, kind):
    async with live([Sees(delay=2)]) as run:
        await run.say("old")
        await trio.sleep(1)
        await run.task.queue_frame(kind())
        await run.say("new")
    assert run.texts == ["new"]


# Refused: nothing becomes stale, the call returns, observers are told; the owner's own interrupt works.
@pytest.mark.parametrize("how", ["call", "frame", "task-frame", "block"])
async def test_a_refused_interrupt_changes_nothing(autojump_clock, debug, how):
    log = []

    class Watches:
        def on_interrupt(self, task):
            log.append("interrupt")

        def on_interrupt_refused(self, task):
            log.append("refused")

    async def ask(self, frame):
        if frame.text == "ask":
            if how == "call":
                assert await self.interrupt() is None
            else:
                await self.push_frame(InterruptionFrame() if how == "frame" else InterruptionTaskFrame())
        await self.push_frame(frame)

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            if frame.text == "ask":
                await out.interrupt()
            await out.push(frame)

    last = Sees(delay=1)
    async with live([block if how == "block" else Does(ask), last], debug=debug, observers=[Watches()]) as run:
        await run.say("a", "ask", "b")
        await trio.sleep(0.5)
        assert log == ["refused"]
        await trio.sleep(10)
        assert run.texts == ["a", "ask", "b"]
        run.task.interrupt()
        await settle()
        assert log == ["refused", "interrupt"]
        assert last.interrupts == 1


# Uninterruptible frames survive queued, in hand, and derived from neither.
async def test_g16_uninterruptible_frames_survive_and_come_out_once(autojump_clock, debug):
    slow = Sees(delay=1)
    async with live([Sees(), slow, Sees(inline=True), each(lambda f: f), Sees(delay=1)], debug=debug) as run:
        for i in range(6):
            await run.task.queue_frame(text(f"k{i}", kept=True))
            await run.say(f"s{i}")
        for _ in range(6):
            await trio.sleep(0.7)
            run.task.interrupt()
        await run.say("new")
    assert [t for t in run.texts if t[0] == "k"] == [f"k{i}" for i in range(6)]
    assert run.texts[-1] == "new"
    assert "s5" not in run.texts


# An interruptible handler waits for room with an uninterruptible frame: the interrupt may not lose it.
@pytest.mark.parametrize("through", ["class", "function", "inline", "block", "parallel"])
async def test_an_uninterruptible_frame_whose_push_waits_for_room_is_not_lost(autojump_clock, debug, through):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    between = {
        "class": [],
        "function": [each(lambda f: f)],
        "inline": [Sees(inline=True)],
        "block": [block],
        "parallel": [ParallelPipeline([Sees()], [Sees()])],
    }[through]
    made = []

    async def counts(self, frame):
        if frame.text == "go":
            for i in range(10):
                made.append(f"k{i}")
                await self.push_frame(text(f"k{i}", kept=True))
        else:
            await self.push_frame(frame)

    async with live([Does(counts), *between, Sees(delay=1)], debug=debug, queue_size=1) as run:
        await run.say("go")
        await trio.sleep(1.5)
        run.task.interrupt()
        await run.say("new")
        await trio.sleep(50)
    assert run.texts == [*made, "new"]


# The same where the reader of the output makes the sink wait.
async def test_an_uninterruptible_frame_that_waits_for_the_reader_is_not_lost(autojump_clock, debug):
    async def derive(self, frame):
        await self.push_frame(text("k", kept=True))

    task = PipelineTask(Pipeline([Does(derive)]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery, task.open_output(TextFrame, buffer=0) as out:
            await nursery.start(task.run)
            await task.queue_frame(text("go"))
            await settle()
            task.interrupt()
            await settle()
            assert (await out.receive()).text == "k"
            task.stop_when_done()


# A stale frame that waits for the reader is dropped, not delivered after newer ones.
@pytest.mark.parametrize("kind", ["class", "block", "block-passing", "function"])
async def test_a_stale_frame_that_waits_for_the_reader_is_not_delivered(autojump_clock, debug, kind):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    @processor
    async def other(frames: Frames[ControlFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    part = {"class": Sees(), "block": block, "block-passing": other, "function": each(lambda f: f)}[kind]
    task = PipelineTask(Pipeline([part]), PipelineParams(debug=debug))
    got = []

    async def read():
        await trio.sleep(2)
        async for frame in out:
            got.append(frame.text)

    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery, task.open_output(TextFrame, buffer=0) as out:
            await nursery.start(task.run)
            nursery.start_soon(read)
            await task.queue_frames(said("old1", "old2"))
            await trio.sleep(1)
            task.interrupt()
            await task.queue_frames(said("new"))
            await trio.sleep(10)
            task.stop_when_done()
            await task.wait_finished()
            await settle()
    assert got == ["new"]


# A frame that is not the block's passes it by; waiting for room there it becomes stale as anywhere.
@pytest.mark.parametrize("size", [1, 2])
async def test_a_stale_frame_that_passes_a_block_is_dropped(autojump_clock, debug, size):
    @processor
    async def block(frames: Frames[ControlFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    async with live([block, Sees(delay=1)], debug=debug, queue_size=size) as run:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.task.queue_frames, said(*"abcdefghijkl"))
            await trio.sleep(0.5)
            run.task.interrupt()
        await run.say("new")
    # Stale: one in hand, up to `size` in its lane, one that the block passes on, up to `size` in the block's lane. The
    # others had not entered.
    stale = 13 - len(run.texts)
    assert 2 + size <= stale <= 2 + 2 * size
    assert run.texts == [*"abcdefghijkl"[stale:], "new"]


# The handler that asks is not stopped; its frame and what it pushes afterwards are new.
@pytest.mark.parametrize("inline", [False, True])
async def test_the_asker_is_not_stopped(autojump_clock, debug, inline):
    async def ask(self, frame):
        if frame.text == "ask":
            await self.push_frame(text("before"))
            self.interrupt()
            await trio.sleep(1)
            await self.push_frame(text("after"))
        await self.push_frame(frame)

    async with live([Sees(), Does(ask, inline=inline), Sees(delay=1)], debug=debug, allow_interruptions=True) as run:
        await run.say("old", "ask")
        await trio.sleep(0.1)
        await run.say("next")
        await trio.sleep(20)
    assert run.texts == ["after", "ask", "next"]


# An asker in a child task of the handler, in `on_interrupt`, in a system frame's or an upstream handler.
@pytest.mark.parametrize("where", ["child", "system", "upstream", "helper"])
async def test_whoever_asks_goes_on(autojump_clock, debug, where):
    log = []

    class Ping(SystemFrame):
        pass

    class Asks(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                if where == "helper":
                    nursery.start_soon(self.ask, 1)
                yield
                nursery.cancel_scope.cancel()

        async def ask(self, delay=0.0):
            await trio.sleep(delay)
            self.interrupt()
            await trio.sleep(1)
            await self.push_frame(text("asker's"))
            log.append("went on")

        async def process_frame(self, frame, direction):
            if (where == "system" and isinstance(frame, Ping)) or (
                where == "upstream" and direction is UP and isinstance(frame, TextFrame)
            ):
                await self.ask()
            elif where == "child" and isinstance(frame, TextFrame) and frame.text == "ask":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.ask)
                await self.push_frame(frame)
            else:
                await self.push_frame(frame, direction)

    async with live([Sees(), Asks(), Sees(delay=3)], debug=debug, allow_interruptions=True) as run:
        await run.say("old")
        await trio.sleep(1)
        if where == "system":
            await run.task.queue_frame(Ping())
        elif where == "upstream":
            await run.task.queue_frame(text("up"), UP)
        elif where == "child":
            await run.say("ask")
        await trio.sleep(0.1)
        await run.say("new")
        await trio.sleep(20)
    assert log == ["went on"]
    assert "old" not in run.texts
    assert {"asker's", "new"} <= set(run.texts)


# `on_interrupt` that asks once more does not hang.
async def test_an_interrupt_asked_in_on_interrupt(autojump_clock, debug):
    class Again(Sees):
        async def on_interrupt(self):
            await super().on_interrupt()
            if self.interrupts < 3:
                self.interrupt()

    parts = [Again(), Sees(inline=True)]
    async with live(parts, debug=debug, allow_interruptions=True) as run:
        run.task.interrupt()
        await trio.sleep(1)
        await run.say("new")
    assert [part.interrupts for part in parts] == [3, 3]
    assert run.texts == ["new"]


# While it unwinds, a stopped handler's pushes are dropped, unless uninterruptible.
async def test_pushes_of_a_handler_that_unwinds_are_dropped_unless_uninterruptible(autojump_clock, debug):
    pushed = []

    async def unwinds(self, frame):
        if frame.text != "old":
            await self.push_frame(frame)
            return
        try:
            await trio.sleep(10)
        finally:
            await self.push_frame(text("kept", kept=True))
            pushed.append("kept")
            with trio.CancelScope(shield=True):
                await self.push_frame(text("stale"))
                await trio.sleep(1)
                await self.push_frame(text("stale"))
                pushed.append("stale")
            await self.push_frame(text("stale"))
            pushed.append("not reached")

    async with live([Does(unwinds), each(lambda f: f), Sees(inline=True)], debug=debug, queue_size=1) as run:
        await run.say("old")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("new")
    assert run.texts == ["kept", "new"]
    assert pushed == ["kept", "stale"]


# A handler that shields itself from the interrupt works on, and its pushes are dropped all the same.
async def test_a_shielded_handler_is_waited_for_and_its_pushes_are_dropped(autojump_clock, debug):
    async def shields(self, frame):
        with trio.CancelScope(shield=frame.text == "old"):
            await trio.sleep(3)
            await self.push_frame(frame)

    first = Does(shields)
    async with live([first, Sees(inline=True)], debug=debug) as run:
        await run.say("old")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("new")
        await trio.sleep(10)
        assert first.statistics().stale_dropped == 1
    assert run.texts == ["new"]


# Frames that have not entered the pipeline are new: in the push channel, or whose queue_frame waits.
async def test_frames_that_have_not_entered_are_new(autojump_clock):
    task = PipelineTask(Pipeline([Sees(delay=1)]), PipelineParams(queue_size=2))
    got = []

    async def read():
        async for frame in out:
            got.append(frame.text)

    async def queue_one(content):
        await task.queue_frame(text(content))

    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery, task.open_output(TextFrame) as out:
            nursery.start_soon(read)
            await nursery.start(task.run)
            for i in range(9):
                nursery.start_soon(queue_one, str(i))
                await settle()
            depth = task.statistics().push_waiting
            task.interrupt()
            await trio.sleep(30)
            task.stop_when_done()
            await task.wait_finished()
            await settle()
            nursery.cancel_scope.cancel()
    # One is in hand and two are queued: stale. The feeder may hold one that waits for room: it has not entered.
    assert depth >= 5
    assert got == [str(i) for i in range(3, 9)]


# A processor that has not had StartFrame gets its InterruptionFrame after it, and before any other frame.
async def test_an_interrupt_during_the_start_is_told_after_the_start_frame(autojump_clock, debug):
    class SlowStart(Sees):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                await trio.sleep(2)
            await super().process_frame(frame, direction)

    parts = [SlowStart(), SlowStart(inline=True), SlowStart(), Sees()]
    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(3)
            task.interrupt()
            await task.queue_frame(text("new"))
            task.stop_when_done()
    for part in parts:
        kinds = part.kinds()
        assert kinds.count("InterruptionFrame") == 1
        assert kinds.index("StartFrame") < kinds.index("InterruptionFrame")
        assert kinds.index("InterruptionFrame") < kinds.index("new") < kinds.index("EndFrame")


# Before set-up is over there is nothing in flight; the call is harmless. So it is before the run and after it.
async def test_interrupts_before_during_set_up_and_after_are_harmless(autojump_clock, debug):
    class SlowSetUp(Sees):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(2)
            yield

    task = PipelineTask(Pipeline([SlowSetUp()]), PipelineParams(debug=debug))
    task.interrupt()
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(1)
            await task.interrupt()
            await task.queue_frame(text("a"))
            task.stop_when_done()
    task.interrupt()
    assert (await task.wait_finished()).frames_out == 1


# Upstream frames in flight become stale too.
async def test_upstream_frames_become_stale(autojump_clock, debug):
    class SlowUp(Sees):
        async def process_frame(self, frame, direction):
            if direction is UP and isinstance(frame, DataFrame):
                await trio.sleep(1)
            await super().process_frame(frame, direction)

    async with live([SlowUp(), SlowUp(inline=True)], debug=debug) as run:
        for content in "abc":
            await run.task.queue_frame(text(content), UP)
        await run.task.queue_frame(text("k", kept=True), UP)
        await trio.sleep(0.5)
        run.task.interrupt()
        await trio.sleep(0.5)
        await run.task.queue_frame(text("d"), UP)
        await trio.sleep(10)
    assert texts(run.up) == ["k", "d"]


# System frames survive an interrupt, and their handlers are not stopped.
async def test_system_frames_and_their_handlers_survive(autojump_clock, debug):
    class Ping(SystemFrame):
        pass

    class Slow(Sees):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Ping):
                await trio.sleep(2)
            await super().process_frame(frame, direction)

    async with live([Slow(), Slow(inline=True)], debug=debug) as run:
        for _ in range(3):
            await run.task.queue_frame(Ping())
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("new")
        await trio.sleep(30)
    assert [type(frame).__name__ for frame in run.down if isinstance(frame, Ping)] == ["Ping"] * 3
    assert run.texts == ["new"]


# An endless handler that only pushes sees the interrupt at its next push, and does not fill the lane after it.
@pytest.mark.parametrize("below", ["class", "inline", "function", "drops", "inline-drops", "sink", "block"])
async def test_an_endless_pusher_is_stopped(autojump_clock, debug, below):
    pushed = 0

    async def endless(self, frame):
        nonlocal pushed
        if frame.text == "go":
            while pushed < 100_000:
                pushed += 1
                await self.push_frame(text("s"))
        else:
            await self.push_frame(frame)

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    @each
    def new_only(frame: TextFrame):
        return None if frame.text == "s" else frame

    async def inline_new_only(self, frame):
        if frame.text != "s":
            await self.push_frame(frame)

    part = {
        "class": [Sees()],
        "inline": [Sees(inline=True)],
        "function": [each(lambda f: f)],
        "drops": [new_only],
        "inline-drops": [Does(inline_new_only, inline=True)],
        "sink": [],
        "block": [block],
    }[below]
    task = PipelineTask(Pipeline([Does(endless), *part]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(text("go"))
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            before = pushed
            task.interrupt()
            await task.queue_frame(text("new"))
            await task.flush()
            assert 0 < before <= pushed <= before + 2
            task.stop_when_done()


# Pushers that wait for room when the interrupt comes: those with a stale frame are stopped, in any order of lanes.
@pytest.mark.parametrize("size", [1, 2, 5])
async def test_an_interrupt_while_pushers_wait_for_room(autojump_clock, debug, size):
    async def many(self, frame):
        for i in range(10):
            await self.push_frame(text(f"{frame.text}{i}"))

    last = Sees(delay=1)
    parts = [Does(many), each(lambda f: f), Does(lambda self, f: self.push_frame(f), inline=True), last]
    async with live(parts, debug=debug, queue_size=size) as run:
        for round_ in range(5):
            await run.say(f"{round_}/")
            await trio.sleep(2.5)
            run.task.interrupt()
    rounds = [t.split("/")[0] for t in run.texts]
    assert rounds == sorted(rounds)
    for round_ in "0123":
        assert [t for t in run.texts if t[0] == round_] == [f"{round_}/0", f"{round_}/1"]
    assert [t for t in run.texts if t[0] == "4"] in ([], ["4/0", "4/1"])


# G15: words of the old answer after the new one began.
async def test_g15_no_word_of_the_old_answer_after_the_new_one_began(autojump_clock, debug):
    async def answer(self, frame):
        for i in range(20):
            await trio.sleep(0.1)
            await self.push_frame(text(f"{frame.text}{i}"))

    parts = [Does(answer), Sees(delay=0.05), each(lambda f: f), Sees(delay=0.3)]
    async with live(parts, debug=debug, queue_size=4) as run:
        for word in "abcd":
            await run.say(word)
            await trio.sleep(1.05)
            run.task.interrupt()
        await run.say("e")
    letters = [t[0] for t in run.texts]
    assert letters == sorted(letters)
    assert len([t for t in run.texts if t[0] == "e"]) == 20


# Interrupts in quick succession: each is told, none is lost, nothing hangs.
async def test_many_interrupts_at_once(autojump_clock, debug):
    class SlowToTell(Sees):
        async def on_interrupt(self):
            await super().on_interrupt()
            await trio.sleep(0.5)

    parts = [SlowToTell(delay=1), SlowToTell(inline=True, delay=1), Sees()]
    async with live(parts, debug=debug) as run:
        await run.say("old")
        await trio.sleep(0.5)
        for _ in range(5):
            run.task.interrupt()
        await run.say("new")
        await trio.sleep(20)
    assert run.texts == ["new"]
    assert [part.interrupts for part in parts] == [5, 5, 5]


# A failing `on_interrupt` is an error as any other.
async def test_an_error_in_on_interrupt_fails_the_task(autojump_clock, debug):
    class Fails(Sees):
        async def on_interrupt(self):
            raise ValueError("on_interrupt")

    task = PipelineTask(Pipeline([Sees(), Fails(name="failing", inline=True)]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            task.interrupt()
    assert "failing" in str(caught.value.exceptions[0].exceptions[0].__notes__)


# EndFrame and StartFrame survive; an interrupt while the end travels does not lose it.
async def test_an_interrupt_while_the_end_travels(autojump_clock, debug):
    class SlowEnd(Sees):
        async def process_frame(self, frame, direction):
            if isinstance(frame, EndFrame):
                await trio.sleep(1)
            await super().process_frame(frame, direction)

    parts = [SlowEnd(), SlowEnd(inline=True), SlowEnd()]
    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            task.stop_when_done()
            for _ in range(10):
                await trio.sleep(0.4)
                task.interrupt()
    assert [part.kinds().count("EndFrame") for part in parts] == [1, 1, 1]


# A helper task of `lifespan` is no handler: an interrupt does not stop it.
async def test_helpers_in_lifespan_are_not_stopped(autojump_clock, debug):
    class Helped(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.help)
                yield
                nursery.cancel_scope.cancel()

        async def help(self):
            for i in range(10):
                await trio.sleep(1)
                await self.push_frame(text(str(i)))

    async with live([Helped(), Sees(inline=True)], debug=debug) as run:
        for _ in range(5):
            await trio.sleep(2.3)
            run.task.interrupt()
    assert run.texts == [str(i) for i in range(10)]


# A push that waits for room is in flight, whoever pushes: its frame is stale, and the pusher goes on.
@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("pusher", ["kept", "system", "helper"])
async def test_a_waiting_push_of_one_who_is_not_stopped_is_stale(autojump_clock, debug, size, pusher):
    class Ping(SystemFrame):
        pass

    class Pushes(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                if pusher == "helper":
                    nursery.start_soon(self.push_all)
                yield
                nursery.cancel_scope.cancel()

        async def push_all(self):
            for i in range(3):
                await self.push_frame(text(f"old{i}"))
            await trio.sleep(2)
            await self.push_frame(text("new"))

        async def process_frame(self, frame, direction):
            if isinstance(frame, Ping | TextFrame):
                await self.push_all()
            else:
                await self.push_frame(frame, direction)

    async with live([Pushes(), Sees(delay=5)], debug=debug, queue_size=size) as run:
        if pusher == "kept":
            await run.task.queue_frame(text("go", kept=True))
        elif pusher == "system":
            await run.task.queue_frame(Ping())
        await trio.sleep(1)
        run.task.interrupt()
        await trio.sleep(60)
    assert run.texts == ["new"]


class SlowUp(Sees):
    """Its upstream handler waits."""

    async def process_frame(self, frame, direction):
        if direction is UP:
            self.seen.append((frame, direction))
            await trio.sleep(100)
        else:
            await super().process_frame(frame, direction)


# The asker's own upstream handler is stopped by that interrupt, and has unwound before the asker returns.
async def test_an_upstream_handler_of_the_asker_unwinds_before_the_asker_returns(autojump_clock, debug):
    class Asks(SlowUp):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and frame.text == "ask":
                await trio.sleep(1)
                self.interrupt()
                await trio.sleep(1)
            await super().process_frame(frame, direction)

    head, asks = Sees(), Asks(inline=True)
    async with live([head, asks, Sees()], debug=debug, allow_interruptions=True) as run:
        await run.say("warm up")
        await trio.sleep(1)
        await run.say("ask")
        await trio.sleep(0.5)
        await run.task.queue_frame(text("up"), UP)
        await trio.sleep(5)
        await run.say("new")
        await trio.sleep(5)
    assert run.texts == ["warm up", "ask", "new"]
    assert head.interrupts == asks.interrupts == 1


# A neighbour that has not been told yet gets nothing newer, and in order, though its task is idle.
@pytest.mark.parametrize("kept_first", [False, True])
@pytest.mark.parametrize("kind", ["class", "function"])
async def test_a_neighbour_on_hold_is_not_handed_newer_frames(autojump_clock, debug, kept_first, kind):
    def results(frame):
        if frame.text == "ask" and kept_first:
            yield text("k", kept=True)
        yield text("i" if frame.text == "ask" else frame.text)

    async def ask(self, frame):
        if frame.text == "ask":
            self.interrupt()
        for result in results(frame):
            await self.push_frame(result)

    running = []

    @each
    async def function(frame: TextFrame):
        if frame.text == "ask":
            running[0].interrupt()
        for result in results(frame):
            yield result

    below = SlowUp(inline=True)
    parts = [Sees(), Does(ask) if kind == "class" else function, below]
    async with live(parts, debug=debug, allow_interruptions=True) as run:
        running.append(run.task)
        await run.say("warm up")
        await trio.sleep(1)
        await run.task.queue_frame(text("up"), UP)
        await trio.sleep(1)
        await run.say("ask")
        await trio.sleep(1)
    expected = ["warm up", "InterruptionFrame", *(["k"] if kept_first else []), "i", "EndFrame"]
    assert below.kinds() == ["StartFrame", *expected]


# In a row of functions: what comes of the asker's frame is new, all of it; what the ones above still have is stale. The
# same whether the row is fused, watched or neither.
@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("asks", "two"), ["x", "x"]),
        (("two", "asks"), ["x"]),
        (("two", "asks", "two"), ["x", "x"]),
        (("two", "two", "asks"), ["x"]),
        (("two", "two", "asks", "two"), ["x", "x"]),
    ],
)
async def test_what_comes_of_the_frame_of_a_function_that_asks_is_new(autojump_clock, row, expected, debug, watched):
    asked = False

    @each
    def asks(frame: TextFrame) -> TextFrame:
        nonlocal asked
        if not asked:
            asked = True
            task.interrupt()
        return frame

    @each
    def two(frame: TextFrame) -> list[TextFrame]:
        return [frame, TextFrame(frame.text)]

    class Passes(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)

    class Watch:
        def on_frame_pushed(self, task, processor, frame, direction):
            pass

    known = {"asks": asks, "two": two}
    params = PipelineParams(debug=debug)
    pipeline = Pipeline([Passes(), *(known[name] for name in row)])
    task = PipelineTask(pipeline, params, observers=[Watch()] if watched else [])
    async with trio.open_nursery() as nursery, task.open_output(TextFrame) as out:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame("x"))
        await task.flush()
        task.stop_when_done()
        assert [frame.text async for frame in out] == expected
