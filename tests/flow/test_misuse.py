"""What processors do that they should not, or at moments at which nobody thought of it: it works or says why not, and ends."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from flow_kit import DOWN, HUNG, UP, Does, Sees, live, said, text, texts
from trio_pipes import (
    ConfigurationError,
    EndFrame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline

ASKED = {
    "stop": lambda task: task.stop_when_done(),
    "cancel": lambda task: task.cancel(),
    "interrupt": lambda task: task.interrupt(),
    "end frame": lambda task: task.queue_frame(EndFrame()),
}
MOMENTS = ["set-up", "start", "frame", "on_interrupt", "end", "cleanup"]


class Asks(FrameProcessor):
    """Calls something with its task at one moment of its life."""

    def __init__(self, moment: str, call, **settings) -> None:
        super().__init__(**settings)
        self.moment, self.call = moment, call
        self.reached = False

    async def at(self, moment: str) -> None:
        if moment == self.moment and not self.reached:
            self.reached = True
            answer = self.call(self.task)
            if answer is not None:
                await answer

    @asynccontextmanager
    async def lifespan(self):
        await self.at("set-up")
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await self.at("cleanup")

    async def process_frame(self, frame, direction):
        if isinstance(frame, StartFrame):
            await self.at("start")
        elif isinstance(frame, EndFrame):
            await self.at("end")
        elif isinstance(frame, TextFrame):
            await self.at("frame")
        await self.push_frame(frame, direction)

    async def on_interrupt(self):
        await self.at("on_interrupt")


# A processor asks its task for anything at any moment of its own life: the run ends, in the state that was asked for.
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("asked", sorted(ASKED))
async def test_a_processor_may_ask_at_any_moment(autojump_clock, asked, moment, inline):
    async def ask(task):
        try:
            answer = ASKED[asked](task)
            if answer is not None:
                await answer
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            assert moment in ("end", "cleanup")  # when the end has been asked for, another one is refused

    asks = Asks(moment, ask, inline=inline)
    task = PipelineTask(Pipeline([Sees(), asks, Sees()]))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            try:
                await task.queue_frame(text("a"))
                await trio.sleep(1)
                task.interrupt()
                await trio.sleep(1)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                pass
            task.stop_when_done()
        result = await task.wait_finished()
    assert asks.reached
    ends_by_cancel = asked == "cancel" and moment != "cleanup"  # by then it is over
    assert result.state is (TaskState.CANCELLED if ends_by_cancel else TaskState.ENDED)


# The same for a block and for functions, in the middle of a frame.
@pytest.mark.parametrize(
    ("kind", "asked"),
    [(kind, asked) for kind in ("block", "careful block", "async") for asked in sorted(ASKED)]
    + [(kind, asked) for kind in ("sync", "generator") for asked in ("cancel", "interrupt", "stop")],  # no awaits there
)
async def test_a_function_may_ask_in_the_middle_of_a_frame(autojump_clock, asked, kind):
    call = ASKED[asked]

    async def ask():
        answer = call(task)
        if answer is not None:
            await answer

    if kind in ("block", "careful block"):

        @processor
        async def part(frames: Frames[TextFrame], out: Out) -> None:
            async for frame in frames:
                if kind == "block":
                    await ask()
                else:
                    with frames.interruptible():
                        await ask()
                await out.push(frame)

    elif kind == "async":

        @each
        async def part(frame: TextFrame) -> TextFrame:
            await ask()
            return frame

    elif kind == "sync":

        @each
        def part(frame: TextFrame) -> TextFrame:
            call(task)
            return frame

    else:

        @each
        def part(frame: TextFrame):
            call(task)
            yield frame

    task = PipelineTask(Pipeline([Sees(), part, Sees()]))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(text("a"))
            await trio.sleep(1)
            task.stop_when_done()
        result = await task.wait_finished()
    assert result.state is (TaskState.CANCELLED if asked == "cancel" else TaskState.ENDED)


# An interrupt handler that asks for an interrupt each time: each is followed by the next, the rest of the world goes on.
async def test_an_interrupt_handler_that_interrupts_keeps_nobody_from_cancelling(autojump_clock):
    class Again(FrameProcessor):
        told = 0

        async def on_interrupt(self):
            self.told += 1
            self.interrupt()

    again = Again()
    task = PipelineTask(Pipeline([again]), PipelineParams(allow_interruptions=True))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        task.interrupt()
        for _ in range(200):
            await trio.lowlevel.checkpoint()
        assert again.told > 1
        task.cancel()
    assert task.state is TaskState.CANCELLED


# One frame pushed twice is two frames on the way, through branches too.
@pytest.mark.parametrize("below", ["class", "inline", "function", "block", "branches"])
async def test_one_frame_pushed_twice_goes_twice(autojump_clock, below):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    async def twice(self, frame):
        await self.push_frame(frame)
        await self.push_frame(frame)

    part = {
        "class": Sees(),
        "inline": Sees(inline=True),
        "function": each(lambda frame: frame),
        "block": block,
        "branches": ParallelPipeline([Sees()], [Sees(), Sees()]),
    }[below]
    received = await run_pipeline([Does(twice), part], said("a", "b"))
    assert texts(received.down) == ["a", "a", "b", "b"]
    assert received.down[0] is received.down[1]


# One frame queued twice, in both directions at once.
async def test_one_frame_both_ways_arrives_at_both_ends(autojump_clock):
    frame = text("a")
    async with live([Sees(), Sees()]) as now:
        await now.task.queue_frame(frame)
        await now.task.queue_frame(frame, UP)
        await now.task.queue_frame(frame)
        await trio.sleep(1)
        assert now.down == [frame, frame]
        assert now.up == [frame]


# Two tasks of one processor push at once, and into a lane that is full: nothing is lost, each one's order holds.
@pytest.mark.parametrize("queue_size", [1, 64])
@pytest.mark.parametrize("inline", [False, True])
async def test_two_tasks_push_from_one_processor(autojump_clock, queue_size, inline):
    class Two(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                async with trio.open_nursery() as nursery:
                    for name in "ab":
                        nursery.start_soon(self.say, name)
            else:
                await self.push_frame(frame, direction)

        async def say(self, name):
            for i in range(20):
                await self.push_frame(text(f"{name}{i:02}"))

    received = await run_pipeline(
        [Two(), Sees(delay=0.1, inline=inline)], said("go"), params=PipelineParams(queue_size=queue_size)
    )
    got = texts(received.down)
    for name in "ab":
        assert [content for content in got if content[0] == name] == [f"{name}{i:02}" for i in range(20)]


# A task that outlives the run pushes into nothing: the push returns, and the processor counts it.
@pytest.mark.parametrize("direction", [DOWN, UP])
@pytest.mark.parametrize("ends", ["stop", "cancel"])
async def test_a_push_after_the_end_is_dropped_and_counted(autojump_clock, direction, ends):
    sees = Sees()
    task = PipelineTask(Pipeline([Sees(), sees, Sees()]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        ASKED[ends](task)
    before = sees.statistics().late_dropped
    with trio.fail_after(1):
        await sees.push_frame(text("late"), direction)
    assert sees.statistics().late_dropped == before + 1


# A task that outlives the run waits in a push when it ends: it is let go.
@pytest.mark.parametrize("ends", ["stop", "cancel"])
async def test_a_push_that_waits_at_the_end_returns(autojump_clock, ends):
    class Holds(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await trio.sleep(10)
            await self.push_frame(frame, direction)

    sees = Sees()
    task = PipelineTask(Pipeline([sees, Holds()]), PipelineParams(queue_size=1))

    async def outlives():
        for _ in range(5):
            await sees.push_frame(text("more"))

    with trio.fail_after(HUNG):
        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                outer.start_soon(outlives)
                await trio.sleep(1)
                ASKED[ends](task)


# Two tasks over one pipeline: the second is refused as long as the first runs, by name, and hurts nobody.
async def test_a_second_task_over_a_running_pipeline_is_refused(autojump_clock):
    sees = Sees(name="shared")
    pipeline = Pipeline([sees])
    async with live(pipeline) as now:
        second = PipelineTask(pipeline)
        with pytest.raises(ConfigurationError, match="'shared'.*one running pipeline"):
            await second.run()
        await now.say("a")
    assert sees.texts() == ["a"]
    second.stop_when_done()
    await second.run()  # the first has ended


# A pipeline within its own processor: the task cannot be run again, nor another one over the same processors.
async def test_a_processor_cannot_run_the_pipeline_that_it_is_in(autojump_clock):
    refused = []

    async def nest(self, frame):
        with pytest.raises(RuntimeError, match="has been run already"):
            await self.task.run()
        with pytest.raises(ConfigurationError, match="one running pipeline"):
            await PipelineTask(self.task.pipeline).run()
        for call in (self.task.wait_finished, self.task.flush):
            with pytest.raises(RuntimeError, match="would wait for itself"):
                await call()
        refused.append(frame)
        await self.push_frame(frame)

    received = await run_pipeline([Does(nest)], said("a"))
    assert texts(received.down) == ["a"]
    assert len(refused) == 1


# A whole other pipeline within a processor is fine.
async def test_a_processor_may_run_another_pipeline(autojump_clock):
    async def nest(self, frame):
        for inner in (await run_pipeline([each(lambda f: TextFrame(f.text * 2))], [frame])).down:
            await self.push_frame(inner)

    assert texts((await run_pipeline([Sees(), Does(nest), Sees()], said("a", "b"))).down) == ["aa", "bb"]


# A processor pushes from a thread of its own, by Trio's way back.
async def test_a_thread_pushes_by_way_of_trio():
    async def in_a_thread(self, frame):
        await trio.to_thread.run_sync(lambda: trio.from_thread.run(self.push_frame, frame))

    with trio.fail_after(30):
        received = await run_pipeline([Does(in_a_thread), Sees()], said("a", "b"))
    assert texts(received.down) == ["a", "b"]


# What belongs to a run is refused where there is none.
@pytest.mark.parametrize("what", ["task", "statistics", "interrupt", "push_frame"])
async def test_what_needs_a_run_is_refused_before_it(autojump_clock, what):
    part = FrameProcessor(name="idle")
    with pytest.raises(RuntimeError, match="'idle'"):
        if what == "push_frame":
            await part.push_frame(text("a"))
        elif what == "task":
            _ = part.task
        else:
            getattr(part, what)()


# The frames of a block have one reader, its own task; another one is told so, and Trio is not upset.
@pytest.mark.parametrize("readers", [1, 2])
@pytest.mark.parametrize("block_reads_first", [False, True])
async def test_frames_are_read_by_the_task_of_the_block(autojump_clock, readers, block_reads_first):
    @processor
    async def shares(frames: Frames[TextFrame], out: Out) -> None:
        async def read() -> None:
            async for frame in frames:
                await out.push(frame)

        if block_reads_first:
            async for frame in frames:
                await out.push(frame)
                break
        async with trio.open_nursery() as nursery:
            for _ in range(readers):
                nursery.start_soon(read)

    async def slow_stream():
        for frame in said("a", "b"):
            yield frame
            await trio.sleep(1)

    task = PipelineTask(Pipeline([shares]))
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            try:
                await task.queue_frames(slow_stream())
                await trio.sleep_forever()
            except trio.BrokenResourceError:
                pass
    (error, *_) = leaves_of(caught.value)
    assert isinstance(error, RuntimeError)
    assert "memory channel" in str(error)


# Two loops, one in the other, in the block's own task: the inner one takes the rest.
async def test_frames_may_be_read_by_two_loops_of_a_block(autojump_clock):
    @processor
    async def nested(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)
            async for later in frames:
                await out.push(TextFrame(later.text + "!"))

    assert texts((await run_pipeline([nested], said("a", "b", "c"))).down) == ["a", "b!", "c!"]


# What a block has kept answers after the end, and does nothing.
async def test_what_a_block_has_kept_does_nothing_after_the_end(autojump_clock):
    kept = []

    @processor
    async def keeps(frames: Frames[TextFrame], out: Out) -> None:
        kept[:] = [frames, out]
        async for frame in frames:
            await out.push(frame)

    await run_pipeline([keeps], said("a"))
    frames, out = kept
    with trio.fail_after(1):
        await out.push(text("late"))
        assert [frame async for frame in frames] == []
    with frames.interruptible():
        frames.pass_rest()
    out.interrupt()
    assert out.task.state is TaskState.ENDED


# A frame goes by another block's way out: from there it goes on.
async def test_a_block_may_push_by_another_ones_way_out(autojump_clock):
    kept = []

    @processor
    async def above(frames: Frames[TextFrame], out: Out) -> None:
        kept[:] = [out]
        async for frame in frames:
            await out.push(frame)

    @processor
    async def below(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            if frame.text == "a":
                await kept[0].push(text("again"))
            await out.push(frame)

    async with live([above, below], queue_size=1) as now:
        await now.say("a")
        await trio.sleep(1)
        assert now.texts == ["a", "again"]


# What is no async context manager is refused at set-up, and no coroutine is left behind.
@pytest.mark.parametrize("kind", ["coroutine", "generator", "nothing"])
async def test_a_lifespan_of_another_form_is_refused(autojump_clock, kind):
    class Wrong(FrameProcessor):
        if kind == "coroutine":

            async def lifespan(self):
                raise AssertionError

        elif kind == "generator":

            async def lifespan(self):
                yield

        else:

            def lifespan(self):
                return None

    with pytest.raises((ExceptionGroup, ConfigurationError)) as caught:
        await run_pipeline([Wrong()], said("a"))
    (error,) = leaves_of(caught.value)
    assert isinstance(error, ConfigurationError)
    assert "Wrong.lifespan()" in str(error)


# A function that never stops giving, and one that starts a Trio run of its own.
async def test_an_endless_function_lets_the_others_live(autojump_clock):
    task = PipelineTask(Pipeline([each(lambda frame: iter(lambda: TextFrame("more"), None)), Sees()]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(text("a"))
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        task.cancel()
    assert task.state is TaskState.CANCELLED


async def test_a_trio_run_inside_a_processor_is_an_error_of_that_processor(autojump_clock):
    with pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([each(lambda frame: trio.run(trio.sleep, 0))], said("a"))
    (error,) = leaves_of(caught.value)
    assert "from inside" in str(error)
    assert any("<lambda>" in note for note in error.__notes__)


def leaves_of(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [inner for part in error.exceptions for inner in leaves_of(part)]
    return [error]


# -- found by the soak and the models


# Fused, a2 has been made when the generator sees a1; it is not the generator's, so the interrupt makes it stale.
async def test_what_functions_above_an_asking_generator_still_have_is_stale(autojump_clock):
    @each
    def two(frame: TextFrame):
        return [text(frame.text + "1"), text(frame.text + "2")]

    @each
    def asks(frame: TextFrame):
        if frame.text == "a1":
            now.task.interrupt()
        yield frame

    async with live([Sees(), two, asks, Sees()], queue_size=1) as now:
        await now.say("a")
        await trio.sleep(1)
        assert now.texts == ["a1"]


# Found by the soak: the pushers above the fork were not let in again after the interrupt.
@pytest.mark.parametrize("inline", [False, True])
async def test_an_asking_generator_below_branches_lets_the_pushers_in(autojump_clock, inline):
    count = 0
    task = None

    class Knows(Sees):
        async def process_frame(self, frame, direction):
            nonlocal task
            task = self.task
            await super().process_frame(frame, direction)

    @each
    def asks(frame: TextFrame):
        nonlocal count
        count += 1
        if count == 4:
            task.interrupt()
        yield frame

    with trio.fail_after(HUNG):
        received = await run_pipeline(
            [ParallelPipeline([Knows(inline=inline)]), asks], said(*"abcdefghijkl"), params=PipelineParams(queue_size=1)
        )
    assert texts(received.down)[-1] == "l"


# Found by the model, fused only: as above, with an async function in the place of the sync one.
async def test_what_an_async_function_above_an_asking_generator_still_has_is_stale(autojump_clock):
    @each
    async def two(frame: TextFrame):
        return [text(frame.text + "1"), text(frame.text + "2")]

    @each
    def asks(frame: TextFrame):
        if frame.text == "a1":
            now.task.interrupt()
        yield frame

    async with live([Sees(), two, asks, Sees()], queue_size=1) as now:
        await now.say("a")
        await trio.sleep(1)
        assert now.texts == ["a1"]
