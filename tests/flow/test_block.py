"""`@processor`: a processor as a block (DESIGN 4)."""

from __future__ import annotations

import pytest
import trio

from flow_kit import HUNG, UP, Sees, live, said, settle, text, texts
from trio_pipes import (
    ControlFrame,
    DataFrame,
    ErrorFrame,
    ErrorPolicy,
    Frames,
    Out,
    Pipeline,
    PipelineParams,
    PipelineTask,
    SetupTimeout,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline, run_processor


class Mark(ControlFrame):
    pass


class Ping(SystemFrame):
    pass


# Set-up above the loop, cleanup below it, state in local variables; the loop ends at EndFrame.
async def test_a_block_runs_from_set_up_to_cleanup(autojump_clock, debug):
    log = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        log.append("set up")
        count = 0
        try:
            async for frame in frames:
                count += 1
                await out.push(text(f"{count}{frame.text}"))
            log.append("loop ended")
            await out.push(text("flushed"))
        finally:
            await trio.sleep(1)
            log.append("cleaned up")

    last = Sees()
    with trio.fail_after(HUNG):
        received = await run_pipeline([block, last], said("a", "b"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["1a", "2b", "flushed"]
    assert log == ["set up", "loop ended", "cleaned up"]
    assert last.kinds()[-1] == "EndFrame"


# It gets downstream ordered frames of the types named; everything else passes by in order.
async def test_what_is_not_the_blocks_passes_by_in_order(autojump_clock, debug):
    got = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            got.append(frame)
            await out.push(frame)

    sent = [text("a"), Mark(), text("b"), DataFrame(), Mark(), text("c")]
    received = await run_processor(block, sent, params=PipelineParams(debug=debug))
    assert received.down == sent
    assert texts(got) == ["a", "b", "c"]
    assert len(got) == 3
    received = await run_processor(block, [Ping(), text("u")], direction=UP, params=PipelineParams(debug=debug))
    assert {type(frame) for frame in received.up} == {Ping, TextFrame}
    assert len(got) == 3
    received = await run_processor(block, [Ping()], params=PipelineParams(debug=debug))
    assert [type(frame) for frame in received.down] == [Ping]


# Bare `Frames`, and no annotation at all: any data frame.
@pytest.mark.parametrize("annotation", [Frames, None])
async def test_an_unannotated_block_takes_data_frames(autojump_clock, annotation):
    got = []

    async def block(frames, out):
        async for frame in frames:
            got.append(type(frame))
            await out.push(frame)

    if annotation is not None:
        block.__annotations__ = {"frames": annotation, "out": Out}
    await run_processor(processor(block), [text("a"), Mark(), DataFrame()])
    assert got == [TextFrame, DataFrame]


# A system frame and an upstream frame pass while the body waits.
async def test_urgent_and_upstream_frames_pass_while_the_body_waits(autojump_clock, debug):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await trio.sleep(100)
            await out.push(frame)

    async with live([Sees(), block, Sees()], debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        await run.task.queue_frame(Ping())
        await run.task.queue_frame(text("up"), UP)
        await trio.sleep(1)
        assert [type(frame) for frame in run.down] == [Ping]
        assert texts(run.up) == ["up"]


# Set-up of blocks runs at once with every other; a frame pushed from it waits behind StartFrame.
async def test_a_push_from_set_up_waits_behind_the_start_frame(autojump_clock, debug):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        await out.push(text("hello"))
        await out.push(text("above"), UP)
        await trio.sleep(5)
        async for frame in frames:
            await out.push(frame)

    first, last = Sees(), Sees()
    with trio.fail_after(6):
        parts = [first, block, block, each(lambda f: f), last]
        received = await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["hello", "hello", "a"]
    assert last.kinds()[0] == "StartFrame"
    assert first.kinds()[0] == "StartFrame"
    assert texts(received.up) == ["above", "above"]


# A block that never asks for a frame is named when set-up takes too long.
async def test_set_up_that_takes_too_long_names_the_block(autojump_clock, debug):
    @processor(name="stuck one")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        await trio.sleep_forever()

    with trio.fail_after(HUNG), pytest.raises(SetupTimeout, match="stuck one"):
        await run_processor(block, [], params=PipelineParams(debug=debug, setup_timeout=3))
    assert trio.current_time() == 3


# `interruptible()`: an interrupt stops the code in there, and the loop goes on.
async def test_interruptible_code_is_stopped_and_the_loop_goes_on(autojump_clock, debug):
    log = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            with frames.interruptible() as scope:
                await trio.sleep(5)
                await out.push(frame)
            log.append((frame.text, scope.cancelled_caught))
            await out.push(text(f"after {frame.text}"))

    async with live([block, Sees()], debug=debug) as run:
        await run.say("old", "queued")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("new")
        await trio.sleep(20)
    assert log == [("old", True), ("new", False)]
    assert run.texts == ["new", "after new"]


# Outside it the body runs on, and what it pushes for the stale frame is discarded, also from a child task.
async def test_outside_interruptible_the_body_runs_on_and_its_pushes_are_dropped(autojump_clock, debug):
    log = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await trio.sleep(5)
            await out.push(frame)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(out.push, text(f"child {frame.text}"))
            await out.push(text(f"kept {frame.text}", kept=True))
            await out.push(text("up"), UP)
            log.append(frame.text)

    async with live([block, Sees(inline=True), each(lambda f: f)], debug=debug) as run:
        await run.say("old")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("new")
        await trio.sleep(20)
    assert log == ["old", "new"]
    assert run.texts == ["kept old", "new", "child new", "kept new"]
    assert texts(run.up) == ["up"]


# An uninterruptible frame in hand: neither the code inside `interruptible()` nor its pushes are touched.
async def test_interruptible_does_nothing_for_an_uninterruptible_frame(autojump_clock, debug):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            with frames.interruptible():
                await trio.sleep(5)
                await out.push(text(f"{frame.text} derived"))
            await out.push(frame)

    async with live([block], debug=debug) as run:
        await run.task.queue_frame(text("k", kept=True))
        await trio.sleep(1)
        run.task.interrupt()
    assert run.texts == ["k derived", "k"]


# Entered after the interrupt, for a frame that is stale already, it stops at the first checkpoint.
async def test_interruptible_entered_with_a_stale_frame_stops_at_once(autojump_clock, debug):
    log = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await trio.sleep(2)
            with frames.interruptible():
                log.append(f"in {frame.text}")
                await trio.sleep(2)
                log.append(f"through {frame.text}")
            with frames.interruptible(), frames.interruptible():
                await out.push(frame)
                log.append(f"pushed {frame.text}")

    async with live([block], debug=debug) as run:
        await run.say("old")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("new")
        await trio.sleep(20)
    assert log == ["in old", "in new", "through new", "pushed new"]
    assert run.texts == ["new"]


# What a block gathered over several frames is not stale because the last of them is.
async def test_frames_after_the_loop_are_not_stale(autojump_clock, debug):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        gathered = []
        async for frame in frames:
            gathered.append(frame.text)
            with frames.interruptible():
                await trio.sleep(1)
        await out.push(text("".join(gathered)))

    async with live([block], debug=debug) as run:
        await run.say("a")
        await trio.sleep(0.5)
        run.task.interrupt()
        await run.say("b")
        await trio.sleep(0.5)
        run.task.interrupt()
    assert run.texts == ["ab"]


# A block that asks for an interrupt goes on with its frame; what is in flight elsewhere is stale.
async def test_a_block_may_ask_for_an_interrupt(autojump_clock, debug):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            if frame.text == "ask":
                with frames.interruptible():
                    await out.interrupt()
                    await trio.sleep(1)
                    await out.push(text("answer"))
            else:
                await out.push(frame)

    async with live([Sees(), block, Sees(delay=3)], debug=debug, allow_interruptions=True) as run:
        await run.say("old")
        await trio.sleep(1)
        await run.say("ask", "old too")
        await trio.sleep(20)
    assert run.texts == ["answer", "old too"] or run.texts == ["answer"]


# Waiting for room with a stale frame the body goes on at once.
@pytest.mark.parametrize("child", [False, True])
async def test_a_stale_push_that_waits_for_room_returns(autojump_clock, debug, child):
    log = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            for i in range(4):
                if child:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(out.push, text(f"{frame.text}{i}"))
                else:
                    await out.push(text(f"{frame.text}{i}"))
            log.append((frame.text, trio.current_time()))

    async with live([block, Sees(delay=10)], debug=debug, queue_size=1) as run:
        await run.say("s")
        await trio.sleep(1)
        run.task.interrupt()
        await settle()
        assert log == [("s", 1)]
        await run.say("n")
        await trio.sleep(100)
    assert run.texts == ["n0", "n1", "n2", "n3"]


# A block that leaves its loop early ends the task with an error that names it.
@pytest.mark.parametrize("when", ["before the loop", "in the loop"])
async def test_a_block_that_leaves_early_fails_the_task_and_is_named(autojump_clock, debug, when):
    @processor(name="early bird")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        if when == "in the loop":
            async for _ in frames:
                return

    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([Sees(), block, Sees()], said("a", "b"), params=PipelineParams(debug=debug))
    (error,) = caught.value.exceptions
    assert "early bird" in str(error)
    assert "pass_rest" in str(error)


# ... unless it called `pass_rest()`: what comes then passes by, and the run ends as usual.
@pytest.mark.parametrize("when", ["before the loop", "in the loop"])
async def test_pass_rest_lets_the_rest_pass_by(autojump_clock, debug, when):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        if when == "before the loop":
            frames.pass_rest()
            return
        async for frame in frames:
            await out.push(text(f"my {frame.text}"))
            frames.pass_rest()
            break
        await out.push(text("done"))

    with trio.fail_after(HUNG):
        parts = [Sees(), block, each(lambda f: f), Sees()]
        received = await run_pipeline(parts, [*said("a", "b"), Mark(), *said("c")], params=PipelineParams(debug=debug))
    expected = ["my a", "done", "b", "c"] if when == "in the loop" else ["a", "b", "c"]
    assert texts(received.down) == expected
    assert isinstance(received.down[-2], Mark)


# After `pass_rest()` interrupts, a backlog and the end work as before.
async def test_after_pass_rest_interrupts_and_the_end_work(autojump_clock, debug):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for _ in frames:
            frames.pass_rest()
            break

    async with live([block, Sees(delay=1)], debug=debug, queue_size=2) as run:
        await run.say("x", "old")
        await trio.sleep(0.5)
        run.task.interrupt()
        await run.task.queue_frames(said(*"abcdefghij"))
        await trio.sleep(30)
        assert run.texts == list("abcdefghij")
        assert run.task.statistics().processors[0].handling is None


# `pass_rest()` without leaving changes nothing.
async def test_pass_rest_without_leaving_changes_nothing(autojump_clock):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        frames.pass_rest()
        async for frame in frames:
            await out.push(text(frame.text.upper()))

    received = await run_processor(block, said("a", "b"))
    assert texts(received.down) == ["A", "B"]


# An error in a block fails the task with a note, under REPORT too: its body cannot go on.
@pytest.mark.parametrize("policy", ErrorPolicy)
@pytest.mark.parametrize("where", ["set-up", "loop", "cleanup"])
async def test_an_error_in_a_block_fails_the_task(autojump_clock, debug, policy, where):
    @processor(name="fragile")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        if where == "set-up":
            raise ValueError("mine")
        async for _ in frames:
            if where == "loop":
                raise ValueError("mine")
        raise ValueError("mine")

    frame = text("a")
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        await run_processor(block, [frame], params=PipelineParams(debug=debug, on_error=policy))
    (error,) = caught.value.exceptions
    assert isinstance(error, ValueError)
    assert "'fragile'" in error.__notes__[0]
    if where == "loop":
        assert frame.name in error.__notes__[0]


# Cancelled, the body's own cleanup runs; awaits in it that are shielded work.
async def test_a_cancelled_block_cleans_up(autojump_clock, debug):
    log = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        try:
            async for _frame in frames:
                await trio.sleep(100)
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.sleep(0.5)
                await out.push(text("late"))
                log.append("cleaned up")

    async with live([block, Sees()], debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        run.task.cancel()
        await run.task.wait_finished()
    assert log == ["cleaned up"]
    assert run.texts == []


# `push_error` goes upstream and names the block; fatal ends the task.
@pytest.mark.parametrize("fatal", [False, True])
async def test_a_block_may_push_an_error(autojump_clock, debug, fatal):
    @processor(name="fragile")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push_error("no service", fatal=fatal)
            await out.push(frame)

    first = Sees()
    params = PipelineParams(debug=debug)
    with trio.fail_after(HUNG):
        if fatal:
            with pytest.raises(ExceptionGroup, match="fail"):
                await run_pipeline([first, block], said("a"), params=params)
        else:
            received = await run_pipeline([first, block], said("a"), params=params)
            (error,) = received.up
            assert isinstance(error, ErrorFrame)
            assert error.error == "no service"
            assert error.processor.name == "fragile"
            assert texts(received.down) == ["a"]


# A recipe: each pipeline makes its own processor, twice in one as well, with its own state.
async def test_a_recipe_may_be_used_twice_and_in_several_pipelines(autojump_clock, debug):
    @processor
    async def count(frames: Frames[TextFrame], out: Out) -> None:
        n = 0
        async for frame in frames:
            n += 1
            await out.push(text(f"{frame.text}{n}"))

    for _ in range(2):
        received = await run_pipeline([count, count], said("a", "b"), params=PipelineParams(debug=debug))
        assert texts(received.down) == ["a11", "b22"]


# `out.task` is the task; stopping it from inside is a request.
async def test_a_block_may_stop_its_task(autojump_clock, debug):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)
            if frame.text == "b":
                await out.task.stop_when_done("enough")

    task = PipelineTask(Pipeline([block]), PipelineParams(debug=debug))
    await task.queue_frames(said(*"abcd"))
    with trio.fail_after(HUNG):
        result = await task.run()
    assert (result.state, result.reason, result.frames_out) == (TaskState.ENDED, "enough", 4)


# Pushes that nobody can place are refused where they are made.
@pytest.mark.parametrize("wrong", [42, None, TextFrame, "text"])
async def test_a_block_that_pushes_no_frame_fails(autojump_clock, debug, wrong):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for _ in frames:
            with pytest.raises(TypeError, match="expected a Frame"):
                await out.push(wrong)
            await out.push(text("fine"))

    for part in (Sees(), each(lambda f: f)):
        received = await run_pipeline([block, part], said("a"), params=PipelineParams(debug=debug))
        assert texts(received.down) == ["fine"]


# Backpressure: the body waits in `out.push` while the next lane is full.
@pytest.mark.parametrize("size", [1, 2])
async def test_a_block_waits_for_room(autojump_clock, debug, size):
    pushed = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for _frame in frames:
            for i in range(10):
                await out.push(text(str(i)))
                pushed.append(i)

    async with live([block, Sees(delay=1)], debug=debug, queue_size=size) as run:
        await run.say("go")
        await trio.sleep(0.5)
        assert len(pushed) in (size + 1, size)
        await trio.sleep(30)
    assert run.texts == [str(i) for i in range(10)]


# A block that pushes without end sees a cancel, and lets others have a turn.
@pytest.mark.parametrize("below", ["sink", "drop", "inline"])
async def test_an_endless_block_can_be_cancelled_by_a_deadline(autojump_clock, debug, below):
    pushed = 0

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        nonlocal pushed
        async for frame in frames:
            while pushed < 200_000:
                pushed += 1
                await out.push(frame)

    part = {"sink": [], "drop": [each(lambda f: None)], "inline": [Sees(inline=True)]}[below]
    task = PipelineTask(Pipeline([block, *part]), PipelineParams(debug=debug))
    await task.queue_frame(text("a"))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            for _ in range(30):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert 0 < pushed < 20_000
