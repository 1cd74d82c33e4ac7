"""Pausing a processor, by call and by frame (F7, G39)."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st

from cancel_everywhere import cancelled_everywhere
from flow_kit import DOWN, HUNG, UP, Sees, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    EndTaskFrame,
    FrameProcessor,
    Frames,
    HeartbeatFrame,
    Out,
    ParallelPipeline,
    PauseFrame,
    PauseUrgentFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ResumeFrame,
    StartFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    pass


def make_class(log, delay):
    class Logs(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is DOWN and isinstance(frame, TextFrame):
                log.append(frame.text)
                await trio.sleep(delay)
            await self.push_frame(frame, direction)

    return Logs(name="it")


def make_inline(log, delay):
    logs = make_class(log, delay)
    logs.inline = True
    return logs


def make_function(log, delay):
    @each(name="it")
    async def logs(frame: TextFrame):
        log.append(frame.text)
        await trio.sleep(delay)
        return frame

    return logs


def make_concurrent(log, delay):
    @each(name="it", concurrency=3)
    async def logs(frame: TextFrame):
        log.append(frame.text)
        await trio.sleep(delay)
        return frame

    return logs


def make_block(log, delay):
    @processor(name="it")
    async def logs(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            log.append(frame.text)
            await trio.sleep(delay)
            await out.push(frame)

    return logs


def make_passing_block(log, delay):
    """A block that takes none of the frames: they pass by it, in its task."""

    @processor(name="it")
    async def logs(frames: Frames[HeartbeatFrame], out: Out) -> None:
        async for _ in frames:
            pass

    return logs


KINDS = {
    "class": make_class,
    "inline": make_inline,
    "function": make_function,
    "concurrent": make_concurrent,
    "block": make_block,
}


@pytest.fixture(params=list(KINDS))
def kind(request):
    return KINDS[request.param]


@asynccontextmanager
async def running(make, *, delay=0.0, after=(), **settings):
    """A live pipeline of a class, the processor in question, and what is below; and that processor."""
    log: list[str] = []
    pipeline = Pipeline([Sees(), make(log, delay), *after])
    async with live(pipeline, **settings) as run:
        yield run, pipeline.processors[1], log


async def test_a_paused_processor_takes_nothing_until_it_is_resumed(autojump_clock, debug, observers, kind):
    async with running(kind, debug=debug, observers=observers) as (run, it, log):
        await run.say("a")
        await settle()
        it.pause()
        assert it.is_paused
        assert it.statistics().paused
        await run.say("b", "c")
        await trio.sleep(10)
        assert log == ["a"]
        it.resume()
        assert not it.is_paused
        await settle()
        assert run.texts == ["a", "b", "c"]


async def test_pausing_at_once_holds_what_is_queued(autojump_clock, debug, kind):
    async with running(kind, debug=debug, delay=1) as (run, it, log):
        await run.say("a", "b", "c", "d", "e")
        await trio.sleep(0.5)
        began = len(log)
        it.pause()
        await trio.sleep(50)
        assert len(log) == began  # what was in hand was finished, and nothing more was taken
        assert len(run.texts) == began
        it.resume()
        await trio.sleep(50)
        assert run.texts == ["a", "b", "c", "d", "e"]


async def test_frames_that_only_pass_by_are_held_too(autojump_clock, debug):
    async with running(make_passing_block, debug=debug) as (run, it, _):
        it.pause()
        await run.say("a")
        await trio.sleep(1)
        assert run.texts == []
        it.resume()
        await trio.sleep(1)
        assert run.texts == ["a"]


FIFTY = [f"{i:02}" for i in range(50)]


# G39: a paused processor stopped everything behind it, the end included.
@pytest.mark.parametrize("how", ["stop_when_done", "EndTaskFrame"])
async def test_g39_the_end_ends_a_pause_and_nothing_is_lost(autojump_clock, debug, observers, kind, how):
    async with running(kind, debug=debug, observers=observers, queue_size=2, delay=0.1) as (run, it, log):
        it.pause()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.say, *FIFTY)
            await trio.sleep(10)
            assert log == []
            nursery.cancel_scope.cancel()
        accepted = run.task.statistics().frames_in
        assert accepted < 50
        if how == "stop_when_done":
            run.task.stop_when_done()
        else:
            await run.task.queue_frame(EndTaskFrame())
        assert not it.is_paused
        it.pause()  # too late: what is accepted is to be finished
        assert not it.is_paused
        result = await run.task.wait_finished()
        assert result.state is TaskState.ENDED
        assert log == FIFTY[:accepted]


async def test_cancel_reaches_a_paused_pipeline(autojump_clock, debug, kind):
    async with running(kind, debug=debug, queue_size=1) as (run, it, log):
        it.pause()
        with trio.move_on_after(1):
            await run.say(*"abcdefgh")
        run.task.cancel()
        assert (await run.task.wait_finished()).state is TaskState.CANCELLED
        assert log == []
        assert not it.is_paused


async def test_a_pause_is_bounded(autojump_clock, debug, kind):
    async with running(kind, debug=debug, queue_size=2) as (run, it, _):
        it.pause()
        with trio.move_on_after(1) as scope:
            await run.say(*(str(i) for i in range(100)))
        assert scope.cancelled_caught
        assert it.statistics().downstream.buffered <= 3
        it.resume()


async def test_an_interrupt_drops_what_is_held_and_the_pause_lasts(autojump_clock, debug, kind):
    async with running(kind, debug=debug) as (run, it, log):
        it.pause()
        await run.say("a")
        await run.task.queue_frame(text("kept", kept=True))
        await settle()
        run.task.interrupt()
        await run.say("b")
        await trio.sleep(5)
        assert log == []
        assert it.is_paused
        it.resume()
        await trio.sleep(5)
        assert sorted(log) == ["b", "kept"]
        assert run.texts == ["kept", "b"]


async def test_urgent_and_upstream_frames_are_not_held(autojump_clock, debug):
    sees = Sees()
    async with live([Sees(), sees, Sees()], debug=debug) as run:
        sees.pause()
        await run.say("held")
        await run.task.queue_frame(Ping())
        await run.task.queue_frame(text("up"), UP)
        await settle()
        assert sees.kinds()[1:] == ["Ping"]
        assert sees.texts(UP) == ["up"]


# Paused before the start: StartFrame goes through, the rest waits.
async def test_the_start_is_not_held(autojump_clock, debug):
    class Holds(Sees):
        @asynccontextmanager
        async def lifespan(self):
            self.pause()
            yield

    holds = Holds()
    async with live([holds, Sees()], debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        assert [type(frame) for frame, _ in holds.seen] == [StartFrame]
        holds.resume()
        await trio.sleep(1)
        assert run.texts == ["a"]


async def test_a_block_paused_before_the_start(autojump_clock, debug):
    log: list[str] = []

    class PausesTheBlock(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            pipeline.processors[1].pause()
            yield

    pipeline = Pipeline([PausesTheBlock(), make_block(log, 0)])
    async with live(pipeline, debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        assert log == []
        pipeline.processors[1].resume()
        await trio.sleep(1)
        assert log == ["a"]


# A flush tells the truth: what is held has not been handled.
async def test_flush_waits_for_a_paused_processor(autojump_clock, debug, kind):
    async with running(kind, debug=debug) as (run, it, _):
        it.pause()
        await run.say("a")
        assert not await run.task.flush(5)
        it.resume()
        assert await run.task.flush(5)


# -- owners


async def test_each_owner_ends_its_own_pause(autojump_clock, debug, kind):
    async with running(kind, debug=debug) as (run, it, log):
        with it.paused():
            it.pause()
            it.pause()
            it.resume()
            assert it.is_paused
            with it.paused():
                await run.say("a")
            await trio.sleep(1)
            assert log == []
        assert not it.is_paused
        await trio.sleep(1)
        assert log == ["a"]


async def test_a_pause_ends_with_its_block_also_when_that_is_cancelled(autojump_clock):
    sees = Sees()
    async with live([sees]):
        with trio.move_on_after(1):
            with sees.paused():
                await trio.sleep_forever()
        assert not sees.is_paused


async def test_waiting_for_the_end_of_a_pause(autojump_clock, debug, kind):
    async with running(kind, debug=debug) as (_, it, _):
        assert await it.wait_resumed()
        it.pause()
        began = trio.current_time()
        assert not await it.wait_resumed(timeout=3)
        assert trio.current_time() - began == pytest.approx(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.wait_resumed)
            await settle()
            it.resume()
        assert await it.wait_resumed(timeout=1)


# Who waits from outside does not wait for ever for one whose task was cancelled.
async def test_waiters_go_on_when_the_run_is_over(autojump_clock):
    sees = Sees()
    waited = []
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as outside:
            task = PipelineTask(Pipeline([sees]))
            await outside.start(task.run)
            sees.pause()

            async def wait():
                waited.append(await sees.wait_resumed())

            outside.start_soon(wait)
            await settle()
            task.cancel()
    assert waited == [True]


# Set-up that takes its time in the background: frames wait for it, and the end waits for them.
@pytest.mark.parametrize("ready_after", [3, 30])
async def test_pause_until_it_is_ready_or_the_timeout(autojump_clock, debug, ready_after):
    results = []

    class Connects(Sees):
        @asynccontextmanager
        async def lifespan(self):
            ready = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.connect, ready)
                nursery.start_soon(self.hold, ready)
                yield

        async def connect(self, ready):
            await trio.sleep(ready_after)
            ready.set()

        async def hold(self, ready):
            results.append(await self.pause_until(ready.wait, timeout=10))

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                handled_at.append(trio.current_time() - began)
            await super().process_frame(frame, direction)

    handled_at: list[float] = []
    began = trio.current_time()
    received = await run_pipeline([Connects()], said("a", "b"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a", "b"]
    assert results == [ready_after == 3]
    assert handled_at == [pytest.approx(min(ready_after, 10))] * 2


# -- by frame


@pytest.mark.parametrize("by", ["name", "instance"])
async def test_an_ordered_pause_keeps_its_place(autojump_clock, debug, observers, kind, by):
    async with running(kind, debug=debug, observers=observers, delay=1) as (run, it, log):
        whom = it if by == "instance" else "it"
        await run.say("a", "b")
        await run.task.queue_frame(PauseFrame(whom))
        await run.say("c")
        await trio.sleep(50)
        assert log == ["a", "b"]
        assert it.is_paused
        await run.task.queue_frame(ResumeFrame(whom))
        await trio.sleep(50)
        assert log == ["a", "b", "c"]
        assert [type(frame) for frame in run.down if not isinstance(frame, TextFrame)] == []


async def test_an_urgent_pause_acts_at_once(autojump_clock, debug, kind):
    async with running(kind, debug=debug, delay=1) as (run, it, log):
        await run.say(*"abcdefgh")
        await trio.sleep(0.5)
        began = len(log)
        await run.task.queue_frame(PauseUrgentFrame("it"))
        assert it.is_paused
        await trio.sleep(50)
        assert len(log) == began
        await run.task.queue_frame(ResumeFrame("it"))
        await trio.sleep(50)
        assert log == list("abcdefgh")


# Others hand an ordered pause on as they do any control frame, through branches and rows of functions too.
async def test_it_finds_its_processor_behind_others(autojump_clock, debug):
    @each
    def loud(frame: TextFrame):
        return TextFrame(frame.text + "!")

    @each
    async def asynchronous(frame: TextFrame):
        return frame

    @each(concurrency=3)
    async def concurrent(frame: TextFrame):
        await trio.sleep(1)
        return frame

    log: list[str] = []
    it = make_class(log, 0)
    parts = [Sees(), Sees(inline=True), loud, asynchronous, concurrent, make_block([], 0), PassesOn(), it]
    pipeline = Pipeline([ParallelPipeline([loud], [asynchronous]), *parts])
    async with live(pipeline, debug=debug) as run:
        await run.say("a")
        await trio.sleep(5)  # between branches there is no order
        await run.task.queue_frame(PauseFrame(it))
        await trio.sleep(10)
        await run.say("b")
        await trio.sleep(10)
        assert it.is_paused
        assert sorted(log) == ["a!", "a!!"]


class PassesOn(FrameProcessor):
    async def process_frame(self, frame, direction):
        await self.push_frame(frame, direction)


@pytest.mark.parametrize("form", ["class", "sync", "async", "block"])
async def test_a_processor_may_push_them(autojump_clock, debug, form):
    """The text "p" makes a pause, "r" ends it; both in the middle of a pipeline."""

    def made(frame):
        return PauseFrame("it") if frame.text == "p" else ResumeFrame("it") if frame.text == "r" else frame

    class Makes(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                frame = made(frame)
            await self.push_frame(frame, direction)

    @each
    def sync(frame: TextFrame):
        return made(frame)

    @each
    async def asynchronous(frame: TextFrame):
        return made(frame)

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(made(frame))

    @each
    def below(frame: TextFrame):
        return frame

    makes = {"class": Makes(), "sync": sync, "async": asynchronous, "block": block}[form]
    log: list[str] = []
    async with live([makes, below, make_class(log, 0)], debug=debug) as run:
        await run.say("a", "p", "b")
        await trio.sleep(5)
        assert log == ["a"]
        await run.say("r", "c")
        await trio.sleep(5)
        assert log == ["a", "b", "c"]


# One that meets nobody it means comes out at the end, as any frame that nobody wants.
async def test_a_pause_that_meets_nobody(autojump_clock, debug):
    received = await run_pipeline([Sees()], [PauseFrame("nobody")], params=PipelineParams(debug=debug))
    assert [type(frame) for frame in received.down] == [PauseFrame]


# Branches are paused together, where frames come in; what is in them goes on.
async def test_branches_can_be_paused(autojump_clock, debug):
    branches = ParallelPipeline([Sees(delay=1)], [Sees(delay=2)])
    async with live([branches], debug=debug) as run:
        await run.say("a")
        await trio.sleep(0.5)
        branches.pause()
        await run.say("b")
        await trio.sleep(10)
        assert run.texts == ["a"]
        branches.resume()
    assert run.texts == ["a", "b"]


# -- what cannot be


async def test_a_sync_function_cannot_be_paused(autojump_clock, debug):
    @each(name="loud")
    def loud(frame: TextFrame):
        return frame

    pipeline = Pipeline([Sees(), loud, Sees()])
    async with live(pipeline, debug=debug) as run:
        with pytest.raises(RuntimeError, match="'loud' is a synchronous function"):
            pipeline.processors[1].pause()
        with pytest.raises(RuntimeError, match="'loud' is a synchronous function"):
            await run.task.queue_frame(PauseUrgentFrame("loud"))
        await run.say("a")
    assert run.texts == ["a"]


async def test_a_name_that_is_not_there_or_there_twice(autojump_clock):
    async with live([Sees(name="a"), Sees(name="b"), Sees(name="b")]) as run:
        with pytest.raises(ConfigurationError, match="is 'c', expected one of 'a', 'b'"):
            await run.task.queue_frame(PauseUrgentFrame("c"))
        with pytest.raises(ConfigurationError, match="2 processors of this pipeline have the name 'b'"):
            await run.task.queue_frame(ResumeFrame("b"))
        with pytest.raises(ConfigurationError, match="no processor of this pipeline"):
            await run.task.queue_frame(PauseUrgentFrame(Sees()))


@each
def recipe(frame: TextFrame):
    return frame


@pytest.mark.parametrize("frame_class", [PauseFrame, PauseUrgentFrame, ResumeFrame])
@pytest.mark.parametrize("wrong", [None, 3, "", recipe, Sees], ids=["None", "number", "empty", "recipe", "class"])
def test_a_frame_for_what_is_no_processor(frame_class, wrong):
    with pytest.raises(TypeError, match="expected a processor of the pipeline, or its name"):
        frame_class(wrong)


def test_outside_of_a_run():
    sees = Sees()
    for call in (sees.pause, sees.resume, lambda: sees.paused().__enter__()):
        with pytest.raises(RuntimeError, match="only while a PipelineTask runs"):
            call()
    assert not sees.is_paused


async def test_after_the_run_it_does_nothing(autojump_clock):
    sees = Sees()
    await run_pipeline([sees], said("a"))
    sees.pause()
    sees.resume()
    assert not sees.is_paused
    assert await sees.wait_resumed()


async def test_urgent_ones_before_and_after_the_run(autojump_clock):
    task = PipelineTask(Pipeline([Sees(name="it")]))
    with pytest.raises(RuntimeError, match="acts at once, and the task is NEW"):
        await task.queue_frame(PauseUrgentFrame("it"))
    task.stop_when_done()
    await task.run()
    with pytest.raises(RuntimeError, match="acts at once, and the task is ENDED"):
        await task.queue_frame(ResumeFrame("it"))


@pytest.mark.parametrize("wrong", [0, -1, "1", True, float("inf"), float("nan")], ids=str)
async def test_wrong_timeouts(autojump_clock, wrong):
    sees = Sees()
    async with live([sees]):
        with pytest.raises(ConfigurationError, match="seconds above 0"):
            await sees.wait_resumed(timeout=wrong)
        with pytest.raises(ConfigurationError, match="seconds above 0"):
            await sees.pause_until(trio.Event().wait, timeout=wrong)
        with pytest.raises(ConfigurationError, match="seconds"):
            await sees.pause_until(trio.Event().wait, timeout=None)
        with pytest.raises(TypeError, match="pause_until"):
            await sees.pause_until(trio.Event())
        assert not sees.is_paused


# -- anywhere, and at random


def test_cancelled_anywhere_nothing_is_left():
    def make():
        log: list[str] = []
        pipeline = Pipeline([Sees(), make_block(log, 0.1), make_inline(log, 0.1), make_class(log, 0.05)])
        task = PipelineTask(pipeline, PipelineParams(queue_size=1))

        async def toggle():
            for it in pipeline.processors[1:]:
                with it.paused():
                    await trio.sleep(0.2)

        async def run():
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                nursery.start_soon(toggle)
                with contextlib.suppress(trio.BrokenResourceError):
                    await task.queue_frames(said(*"abcdef"))
                task.stop_when_done()
                await task.wait_finished()

        def check():
            assert not any(it.is_paused for it in pipeline.processors)

        return run, check, None

    assert cancelled_everywhere(make) > 20


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.1, 1]),
        st.sampled_from(["say"] * 6 + ["pause"] * 3 + ["resume"] * 2 + ["ordered", "block", "interrupt", "flush"]),
        st.integers(0, 4),
    ),
    max_size=30,
)


# Whatever is paused and resumed when: without interrupts each processor sees all frames in order, and nothing hangs;
# with them, what comes out is what was not stale.
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    steps=STEPS,
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4),
    delay=st.sampled_from([0, 0, 0.1]),
    size=st.sampled_from([1, 2, 64]),
)
def test_pauses_at_random(steps, kinds, delay, size):
    async def main(debug):
        logs: list[list[str]] = [[] for _ in kinds]
        pipeline = Pipeline([KINDS[kind](log, delay) for kind, log in zip(kinds, logs, strict=True)])
        for i, it in enumerate(pipeline.processors):
            it.name = f"it{i}"
        task = PipelineTask(pipeline, PipelineParams(queue_size=size, debug=debug))
        accepted: list[str] = []
        paused: set[int] = set()
        interrupted = False
        with trio.fail_after(HUNG):
            async with task.open_output(TextFrame, buffer=1000) as out, trio.open_nursery() as nursery:
                await nursery.start(task.run)

                async def block(it):
                    with it.paused():
                        await trio.sleep(1)

                for i, (pause, what, index) in enumerate(steps):
                    await trio.sleep(pause)
                    it = pipeline.processors[index % len(kinds)]
                    if what == "say":
                        with trio.move_on_after(5) as scope:
                            await task.queue_frame(text(str(i)))
                        if not scope.cancelled_caught:
                            accepted.append(str(i))
                    elif what == "pause":
                        it.pause()
                        paused.add(index % len(kinds))
                    elif what == "resume":
                        it.resume()
                    elif what == "ordered":
                        with trio.move_on_after(5):
                            await task.queue_frame(PauseFrame(it))
                    elif what == "block":
                        nursery.start_soon(block, it)
                    elif what == "interrupt":
                        interrupted = True
                        task.interrupt()
                    else:
                        await task.flush(3)
                task.stop_when_done()
                came = [frame.text async for frame in out]
        if interrupted:
            assert came == [content for content in accepted if content in came]
        else:
            assert came == accepted
            for kind, log in zip(kinds, logs, strict=True):
                assert (sorted(log) if kind == "concurrent" else log) == (
                    sorted(accepted) if kind == "concurrent" else accepted
                )

    for debug in (False, True):
        trio.run(main, debug, clock=trio.testing.MockClock(autojump_threshold=0))
