"""`ParallelPipeline`: every branch gets every frame, lifecycle frames wait for all branches (DESIGN 4.8)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from flow_kit import HUNG, UP, Does, Drops, Sees, interruption_count, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
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
    StopFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    pass


def adds(suffix):
    def fn(frame: TextFrame):
        return text(frame.text + suffix)

    return each(fn)


# Every branch gets every frame, in order; what comes out is merged.
async def test_every_branch_gets_every_frame(autojump_clock, debug):
    left, right = Sees(), Sees(delay=0.5)
    parts = [ParallelPipeline([left, adds("l")], [right, adds("r")], [Drops()])]
    with trio.fail_after(HUNG):
        received = await run_pipeline(parts, said("a", "b"), params=PipelineParams(debug=debug))
    assert left.texts() == right.texts() == ["a", "b"]
    got = texts(received.down)
    assert [t for t in got if t[1] == "l"] == ["al", "bl"]
    assert [t for t in got if t[1] == "r"] == ["ar", "br"]
    assert len(got) == 4


# A frame that passes through several branches unchanged comes out once, data and system frames alike.
@pytest.mark.parametrize("branches", [1, 2, 3])
async def test_a_frame_that_passes_through_unchanged_comes_out_once(autojump_clock, debug, branches):
    last = Sees()
    parallel = ParallelPipeline(*[[Sees(delay=i), each(lambda f: f)] for i in range(branches)])
    sent = [text("a"), Ping(), text("b"), text("c")]
    with trio.fail_after(HUNG):
        received = await run_pipeline([parallel, last], sent, params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a", "b", "c"]
    assert sum(isinstance(frame, Ping) for frame in received.down) == 1


# Nested: branches within branches still let each frame out once.
async def test_nested_branches_let_a_frame_out_once(autojump_clock, debug):
    sees = [Sees(delay=i / 4) for i in range(5)]
    inner = ParallelPipeline([sees[0]], [sees[1], ParallelPipeline([sees[2]], [sees[3]])])
    parts = [Pipeline([ParallelPipeline([inner], [Pipeline([sees[4]])])]), Sees()]
    with trio.fail_after(HUNG):
        sent = [text("a"), Ping(), text("b")]
        received = await run_pipeline(parts, sent, params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a", "b"]
    assert sum(isinstance(frame, Ping) for frame in received.down) == 1
    for each_ in sees:
        assert each_.texts() == ["a", "b"]
        assert each_.kinds()[0] == "StartFrame"
        assert each_.kinds().count("EndFrame") == 1


# The same frame object queued twice comes out twice.
@pytest.mark.parametrize("delays", [(0, 0), (0, 2), (2, 0)])
async def test_the_same_object_queued_twice_comes_out_twice(autojump_clock, debug, delays):
    frame = text("again")
    parallel = ParallelPipeline([Sees(delay=delays[0])], [Sees(delay=delays[1])])
    with trio.fail_after(HUNG):
        sent = [frame, frame, text("b"), frame]
        received = await run_pipeline([parallel], sent, params=PipelineParams(debug=debug))
    assert texts(received.down) == ["again", "again", "b", "again"]


# Upstream: every branch is shown it, and what comes up unchanged comes out once.
async def test_upstream_frames_go_through_every_branch_and_come_out_once(autojump_clock, debug):
    first, left, right, last = Sees(), Sees(), Sees(), Sees()
    parallel = ParallelPipeline([left], [ParallelPipeline([right], [Sees()])])
    sent = [text("a"), Ping(), text("b")]
    with trio.fail_after(HUNG):
        received = await run_pipeline([first, parallel, last], sent, direction=UP, params=PipelineParams(debug=debug))
    assert texts(received.up) == ["a", "b"]
    assert sum(isinstance(frame, Ping) for frame in received.up) == 1
    for part in (first, left, right, last):
        assert part.texts(UP) == ["a", "b"]
        assert part.kinds(UP).count("Ping") == 1


# What starts in one branch goes up from there, and does not enter the others.
async def test_an_upstream_frame_of_one_branch_stays_out_of_the_others(autojump_clock, debug):
    async def answer(self, frame):
        await self.push_frame(text("answer"), UP)
        await self.push_frame(frame)

    first, other, beside = Sees(), Sees(), Sees()
    with trio.fail_after(HUNG):
        received = await run_pipeline(
            [first, ParallelPipeline([beside, Does(answer)], [other])], said("a"), params=PipelineParams(debug=debug)
        )
    assert texts(received.up) == ["answer"]
    assert first.texts(UP) == beside.texts(UP) == ["answer"]
    assert other.texts(UP) == []
    assert texts(received.down) == ["a"]


# Lifecycle frames wait for all branches and come out once; every frame comes out before the end.
@pytest.mark.parametrize("kind", [EndFrame, StopFrame])
async def test_lifecycle_frames_wait_for_all_branches(autojump_clock, debug, kind):
    last = Sees()
    times = []

    class Times(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame | kind):
                times.append((type(frame).__name__, trio.current_time()))
            await self.push_frame(frame, direction)

    class SlowStart(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                await trio.sleep(2)
            await self.push_frame(frame, direction)

    pipeline = Pipeline([ParallelPipeline([adds("l")], [SlowStart(), Sees(delay=3), adds("r")]), Times(), last])
    task = PipelineTask(pipeline, PipelineParams(debug=debug))
    await task.queue_frames([*said("a", "b"), kind()])
    with trio.fail_after(HUNG):
        await task.run()
    assert times == [("StartFrame", 2), (kind.__name__, 8)]
    kinds = last.kinds()
    assert kinds[0] == "StartFrame"
    assert kinds[-1] == kind.__name__
    assert sorted(kinds[1:-1]) == ["al", "ar", "bl", "br"]


# G38: a stop through a parallel pipeline lost the other branches' frames; flush through it always timed out.
async def test_g38_stop_and_flush_lose_nothing_in_a_parallel_pipeline(autojump_clock, debug):
    async with live(
        [ParallelPipeline([adds("l")], [Sees(delay=1), adds("r")]), Sees()], debug=debug, queue_size=2
    ) as run:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.task.queue_frames, said(*"abcdef"))
            await trio.sleep(0.1)
            assert not await run.task.flush(0.5)
        assert await run.task.flush(100)
        await settle()
        assert sorted(run.texts) == sorted(f"{c}{s}" for c in "abcdef" for s in "lr")
        await run.say("g", "h")
        await run.task.queue_frame(StopFrame())
    assert sorted(run.texts)[-4:] == ["gl", "gr", "hl", "hr"]


# What a branch pushes from set-up, and a branch that has started before another, waits behind StartFrame.
async def test_frames_pushed_early_in_a_branch_wait_behind_the_start_frame(autojump_clock, debug):
    class Eager(Sees):
        @asynccontextmanager
        async def lifespan(self):
            await self.push_frame(text("early"))
            await self.push_frame(Ping())
            yield

    class SlowStart(Sees):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                await trio.sleep(2)
            await super().process_frame(frame, direction)

    last = Sees()
    with trio.fail_after(HUNG):
        await run_pipeline(
            [ParallelPipeline([Eager()], [SlowStart()], [Eager(inline=True)]), last],
            said("a"),
            params=PipelineParams(debug=debug),
        )
    kinds = last.kinds()
    assert kinds[0] == "StartFrame"
    assert kinds.count("early") == 2
    assert kinds.count("Ping") == 2
    assert kinds.count("a") == 1


# An interrupt in a parallel pipeline: every branch is told once, nothing stale comes out afterwards.
@pytest.mark.parametrize("asker", ["owner", "branch", "below", "above"])
async def test_an_interrupt_reaches_every_branch_at_once(autojump_clock, debug, asker):
    def asks(where):
        async def ask(self, frame):
            if frame.text == "ask" and where == asker:
                self.interrupt()
            await self.push_frame(frame)

        return Does(ask)

    slow = [Sees(delay=1), Sees(delay=2), Sees(delay=3)]
    parallel = ParallelPipeline([slow[0], asks("branch")], [slow[1]], [ParallelPipeline([slow[2]], [Drops()])])
    parts = [asks("above"), parallel, asks("below"), Sees(inline=True)]
    async with live(parts, debug=debug, queue_size=3, allow_interruptions=True) as run:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.say, "o1", "ask", "o2", "o3")
            await trio.sleep(4)
            if asker == "owner":
                run.task.interrupt()
        await trio.sleep(20)
        before = len(run.texts)
        await run.say("n1", "n2")
        await trio.sleep(20)
    assert run.texts[before:] == ["n1", "n2"]
    assert len(set(run.texts)) == len(run.texts)
    for part in slow:
        assert part.interrupts == interruption_count(part)
        assert part.interrupts == 1


# A pusher that waits for room in one branch when the interrupt comes: the others do not get half of it later.
@pytest.mark.parametrize("size", [1, 2])
async def test_an_interrupt_while_one_branch_is_full(autojump_clock, debug, size):
    quick, slow = Sees(), Sees(delay=5)
    async with live([Sees(), ParallelPipeline([quick], [slow])], debug=debug, queue_size=size) as run:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.task.queue_frames, said(*"abcdefgh"))
            await trio.sleep(1)
            run.task.interrupt()
        await trio.sleep(100)
        await run.say("x", "y")
        await trio.sleep(100)
    assert slow.texts()[1:] == [t for t in quick.texts() if t in slow.texts()[1:]]
    assert run.texts[-2:] == ["x", "y"]
    assert len(run.texts) == len(set(run.texts))


# Backpressure: a slow branch makes the pusher wait, and the quick ones with it; nothing grows without bound.
async def test_g09_a_slow_branch_makes_the_pusher_wait(autojump_clock, debug):
    quick, slow = Sees(), Sees(delay=1)
    async with live([ParallelPipeline([quick], [slow])], debug=debug, queue_size=2) as run:
        with trio.move_on_after(3.5):
            await run.task.queue_frames(said(*map(str, range(100))))
        assert len(quick.texts()) <= 12
        assert max(part.downstream.peak_buffered for part in run.task.statistics().processors) <= 2
        run.task.cancel()


# An error in a branch fails the task and names the processor; under REPORT it comes up once.
@pytest.mark.parametrize("policy", ErrorPolicy)
async def test_an_error_in_a_branch(autojump_clock, debug, policy):
    async def fails(self, frame):
        if frame.text == "bad":
            raise ValueError("mine")
        await self.push_frame(frame)

    parts = [Sees(), ParallelPipeline([Does(fails, name="culprit")], [Drops()])]
    params = PipelineParams(debug=debug, on_error=policy)
    with trio.fail_after(HUNG):
        if policy is ErrorPolicy.REPORT:
            received = await run_pipeline(parts, said("a", "bad", "b"), params=params)
            assert texts(received.down) == ["a", "b"]
            assert [frame.processor.name for frame in received.up] == ["culprit"]
        else:
            with pytest.raises(ExceptionGroup) as caught:
                await run_pipeline(parts, said("a", "bad", "b"), params=params)
            assert "culprit" in caught.value.exceptions[0].__notes__[0]


# Functions fused behind a join run in the task of whoever pushes: each frame once, errors theirs.
async def test_functions_behind_a_join(autojump_clock, debug):
    seen = []

    @each
    def note(frame: TextFrame):
        seen.append(frame.text)
        return [frame, text(frame.text + "!")]

    @each(name="culprit")
    def fails(frame: TextFrame):
        if frame.text == "b!":
            raise ValueError("mine")
        return frame

    parallel = ParallelPipeline([Sees(), adds("l")], [Sees(delay=1)])
    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    with trio.fail_after(HUNG):
        received = await run_pipeline([parallel, note, fails, Sees(inline=True)], said("a", "b"), params=params)
    assert sorted(seen) == ["a", "al", "b", "bl"]
    assert sorted(texts(received.down)) == ["a", "a!", "al", "al!", "b", "bl", "bl!"]
    assert [frame.processor.name for frame in received.up] == ["culprit"]


# Blocks in branches; each has its own end.
async def test_blocks_in_branches(autojump_clock, debug):
    def gathers(name):
        @processor
        async def block(frames: Frames[TextFrame], out: Out) -> None:
            gathered = [frame.text async for frame in frames]
            await trio.sleep(1)
            await out.push(text(f"{name}:{''.join(gathered)}"))

        return block

    last = Sees()
    with trio.fail_after(HUNG):
        await run_pipeline(
            [ParallelPipeline([gathers("x")], [gathers("y"), Sees()], [gathers("z")]), last],
            said("a", "b"),
            params=PipelineParams(debug=debug),
        )
    assert sorted(last.kinds()) == ["EndFrame", "StartFrame", "x:ab", "y:ab", "z:ab"]
    assert last.kinds()[-1] == "EndFrame"


# A request pushed in a branch acts once.
async def test_a_request_in_a_branch_acts_once(autojump_clock, debug):
    log = []

    class Watches:
        def on_interrupt(self, task):
            log.append("interrupt")

    async def ask(self, frame):
        await self.interrupt()
        self.task.stop_when_done("branch")
        await self.push_frame(frame)

    task = PipelineTask(
        Pipeline([ParallelPipeline([Does(ask)], [Sees()])]),
        PipelineParams(debug=debug, allow_interruptions=True),
        observers=[Watches()],
    )
    await task.queue_frame(text("a"))
    with trio.fail_after(HUNG):
        result = await task.run()
    assert log == ["interrupt"]
    assert (result.state, result.reason) == (TaskState.ENDED, "branch")


# What cannot be a branch is refused with the fix.
@pytest.mark.parametrize(
    "branches", [[], [[]], [Sees()], [[Sees()], Sees()], [[42]], [each(lambda f: f)], [42], ["ab"]]
)
def test_what_is_no_branch_is_refused(branches):
    with pytest.raises(ConfigurationError):
        ParallelPipeline(*branches)


def test_one_processor_in_two_branches_is_refused():
    sees = Sees(name="both")
    with pytest.raises(ConfigurationError, match="both"):
        ParallelPipeline([sees], [sees])
    with pytest.raises(ConfigurationError, match="both"):
        ParallelPipeline([sees], [Pipeline([sees])])
    with pytest.raises(ConfigurationError, match="both"):
        Pipeline([ParallelPipeline([sees]), sees])


# One branch, one pipeline, given twice.
def test_one_pipeline_in_two_places_is_refused():
    inner = Pipeline([each(lambda f: f)])
    with pytest.raises(ConfigurationError):
        Pipeline([inner, inner])
    parallel = ParallelPipeline([Sees()])
    with pytest.raises(ConfigurationError):
        Pipeline([parallel, parallel])
