"""`SyncParallelPipeline`: outputs of one input frame come out together, before those of the next (DESIGN 4.8, G25, G38)."""

from __future__ import annotations

import pytest
import trio

from cancel_everywhere import cancelled_everywhere
from flow_kit import DOWN, HUNG, UP, Does, Drops, Sees, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    EndFrame,
    EndTimeout,
    ErrorPolicy,
    FloodError,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StopFrame,
    Switchable,
    SyncParallelPipeline,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
    tee,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    pass


def adds(suffix, delay=0.0, kept=None):
    """Waits, then gives the text with a suffix; `kept` says whether what it gives survives an interrupt."""

    async def add(frame: TextFrame):
        await trio.sleep(delay)
        return text(frame.text + suffix, kept=not frame.interruptible if kept is None else kept)

    return each(add)


def adds_sync(suffix):
    return each(lambda frame: text(frame.text + suffix) if isinstance(frame, TextFrame) else frame)


@each
def twice(frame: TextFrame):
    return [text(frame.text + "1"), text(frame.text + "2")]


async def ran(parts, frames, **params):
    with trio.fail_after(HUNG):
        return await run_pipeline(parts, frames, params=PipelineParams(**params))


# What the branches make of one frame comes out together, however different their speed; in the order of the branches.
async def test_what_comes_of_one_frame_comes_out_together(autojump_clock, debug):
    parallel = SyncParallelPipeline([adds("s", 3)], [adds_sync("f")], [adds("m", 1), twice])
    received = await ran([parallel], said("a", "b", "c"), debug=debug)
    assert texts(received.down) == [t + s for t in "abc" for s in ("s", "f", "m1", "m2")]


# By arrival, if asked for.
async def test_order_of_arrival(autojump_clock, debug):
    parallel = SyncParallelPipeline([adds("s", 3)], [adds("f")], [adds("m", 1)], order="arrival")
    received = await ran([parallel], said("a", "b"), debug=debug)
    assert texts(received.down) == ["af", "am", "as", "bf", "bm", "bs"]


# In a plain parallel pipeline they do not: the fast branch runs ahead. (Shows that the tests above can fail.)
async def test_a_plain_parallel_pipeline_runs_ahead(autojump_clock):
    received = await ran([ParallelPipeline([adds("s", 3)], [adds("f")])], said("a", "b"))
    assert texts(received.down) == ["af", "bf", "as", "bs"]


# Between two frames of the input no branch works on the second one before all are done with the first.
async def test_no_branch_runs_ahead(autojump_clock):
    log = []

    def logs(name, delay):
        async def fn(self, frame):
            log.append(f"{name} begins {frame.text}")
            await trio.sleep(delay)
            await self.push_frame(frame)
            log.append(f"{name} ends {frame.text}")

        return Does(fn)

    await ran([SyncParallelPipeline([logs("slow", 2)], [logs("fast", 0)])], said("a", "b"))
    assert log.index("fast begins b") > log.index("slow ends a")


# A frame that passes several branches unchanged comes out once; the same object queued twice comes out twice.
async def test_a_frame_that_passes_unchanged_comes_out_once(autojump_clock, debug):
    frame = text("again")
    parallel = SyncParallelPipeline([Sees(delay=1)], [Sees()], [adds("x")])
    received = await ran([parallel], [frame, frame, text("b"), Ping()], debug=debug)
    assert texts(received.down) == ["again", "againx", "again", "againx", "b", "bx"]
    assert sum(isinstance(f, Ping) for f in received.down) == 1


# Nested in each other, in plain branches and in pipelines.
@pytest.mark.parametrize("inner", [SyncParallelPipeline, ParallelPipeline])
async def test_nested(autojump_clock, debug, inner):
    parts = [
        SyncParallelPipeline([inner([adds("1", 1)], [adds("2", 1.5)]), adds_sync("i")], [Pipeline([adds("o")])]),
        adds_sync("!"),
    ]
    received = await ran(parts, said("a", "b", "c"), debug=debug)
    assert texts(received.down) == [t + s for t in "abc" for s in ("1i!", "2i!", "o!")]


# In a branch of a plain parallel pipeline, with functions behind both joins.
async def test_in_a_branch_of_a_plain_one(autojump_clock, debug):
    received = await ran(
        [ParallelPipeline([SyncParallelPipeline([adds("s", 1)], [adds("f")])], [Drops()]), adds_sync("!")],
        said("a", "b"),
        debug=debug,
    )
    assert texts(received.down) == ["as!", "af!", "bs!", "bf!"]


# System frames are not kept back, and come out once; nor is what goes up.
async def test_system_frames_and_upstream_frames_are_not_kept_back(autojump_clock, debug):
    first, last = Sees(), Sees()
    parallel = SyncParallelPipeline([adds("s", 5)], [Sees()])
    async with live([first, parallel, last], debug=debug) as now:
        await now.say("a")
        await trio.sleep(1)
        await now.task.queue_frame(Ping())
        await now.task.queue_frame(text("up"), UP)
        await trio.sleep(1)
        assert [f for f in now.down if isinstance(f, Ping)]
        assert now.texts == []
        assert texts(now.up) == first.texts(UP) == ["up"]
    assert texts(now.down) == ["as", "a"]


# Control frames are frames like others: they wait for their turn.
async def test_control_frames_keep_their_place(autojump_clock, debug):
    class Mark(ControlFrame):
        pass

    received = await ran([SyncParallelPipeline([adds("s", 1)], [Sees()])], [text("a"), Mark(), text("b")], debug=debug)
    kinds = [f.text if isinstance(f, TextFrame) else "Mark" for f in received.down]
    assert kinds == ["as", "a", "Mark", "bs", "b"]


# What a branch emits of its own accord comes out at once while no frame is in the branches.
async def test_what_a_branch_emits_of_its_own_comes_out_at_once(autojump_clock):
    class Later(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Ping):
                await self.push_frame(text("own"))
            else:
                await self.push_frame(frame, direction)

    async with live([SyncParallelPipeline([Later()], [adds("s", 5)])]) as now:
        await now.task.queue_frame(Ping())
        await settle()
        assert now.texts == ["own"]
        await now.say("a")
        await trio.sleep(1)
        await now.task.queue_frame(Ping())
        await trio.sleep(1)
        assert now.texts == ["own"]
    assert now.texts == ["own", "a", "own", "as"]


# Blocks take part: what they push at the end comes out before the end.
@pytest.mark.parametrize("kind", [EndFrame, StopFrame])
async def test_blocks_and_the_end(autojump_clock, debug, kind):
    @processor
    async def counts(frames: Frames[TextFrame], out: Out) -> None:
        n = 0
        async for _ in frames:
            await trio.sleep(1)
            n += 1
        await out.push(text(str(n)))

    last = Sees()
    received = await ran([SyncParallelPipeline([counts], [adds("f")]), last], [*said("a", "b"), kind()], debug=debug)
    assert texts(received.down) == ["af", "bf", "2"]
    assert last.kinds()[-2:] == ["2", kind.__name__]


# Backpressure: what is behind a slow neighbour waits, and nobody runs ahead by more than the lanes hold.
async def test_backpressure(autojump_clock, debug):
    first = Sees()
    parts = [first, SyncParallelPipeline([twice], [adds("f")]), Sees(delay=1)]
    async with live(parts, queue_size=1, debug=debug) as now:
        with trio.move_on_after(3.5):
            for i in range(100):
                await now.say(str(i))
        assert len(first.texts()) < 15
    assert len(now.texts) == 3 * len(first.texts())


# An endless batch is a flood, and named.
async def test_an_endless_batch_is_a_flood(autojump_clock):
    @each
    def endless(frame: TextFrame):
        while True:
            yield frame

    with pytest.raises(FloodError, match="to come out together of 'together'"):
        await ran([SyncParallelPipeline([endless], name="together")], said("a"), lane_limit=50)


# An error in a branch is raised, or reported: then the other branches' frames come out all the same.
async def test_an_error_in_a_branch(autojump_clock, debug):
    @each
    async def fails(frame: TextFrame):
        await trio.sleep(1)
        if frame.text == "b":
            raise ValueError("no b")
        return frame

    parts = [SyncParallelPipeline([fails], [adds("f")])]
    received = await ran(parts, said("a", "b", "c"), debug=debug, on_error=ErrorPolicy.REPORT)
    assert texts(received.down) == ["a", "af", "bf", "c", "cf"]
    assert len(received.up) == 1
    with pytest.raises(ExceptionGroup, check=lambda group: isinstance(group.exceptions[0], ValueError)):
        await ran([SyncParallelPipeline([fails], [adds("f")])], said("b"), debug=debug)


# -- G25


# The peer deadlocks here: an uninterruptible frame is in a branch, and an interrupt comes.
async def test_g25_an_uninterruptible_frame_and_an_interrupt(autojump_clock, debug):
    async with live([SyncParallelPipeline([adds("s", 5)], [adds("f")])], debug=debug) as now:
        await now.task.queue_frame(text("kept", kept=True))
        await now.say("stale")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("new")
    assert now.texts == ["kepts", "keptf", "news", "newf"]


# The peer lets the output of an interrupted frame out with the next one.
@pytest.mark.parametrize("order", ["branches", "arrival"])
async def test_g25_nothing_of_an_interrupted_frame_comes_out_with_the_next(autojump_clock, debug, order):
    parallel = SyncParallelPipeline([adds("f")], [adds("s", 5)], order=order)
    async with live([parallel], debug=debug) as now:
        await now.say("old")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("new")
        await trio.sleep(10)
        assert now.texts == ["newf", "news"]
    assert now.texts == ["newf", "news"]


# What of the old frame is uninterruptible survives, and comes out before the next frame's.
async def test_what_survives_an_interrupt_comes_out_before_the_next_frames(autojump_clock, debug):
    @each
    async def slow_unwinding(frame: TextFrame):
        try:
            await trio.sleep(5)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
        return frame

    parallel = SyncParallelPipeline([slow_unwinding], [adds("f", kept=True)])
    async with live([parallel], debug=debug) as now:
        await now.say("old")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("new")
        await trio.sleep(2)
        assert now.texts == []
        await trio.sleep(1.5)
        assert now.texts == ["oldf"]
    assert now.texts == ["oldf", "new", "newf"]


# The one that asks, in a branch, is not stopped: what it makes afterwards is new and comes out.
async def test_an_interrupt_asked_for_in_a_branch(autojump_clock, debug):
    async def asks(self, frame):
        if frame.text == "ask":
            self.interrupt()
        await self.push_frame(text(frame.text + "!"))

    parts = [SyncParallelPipeline([adds("s", 5)], [Does(asks)])]
    async with live(parts, debug=debug, allow_interruptions=True) as now:
        await now.say("ask")
        await settle()
        assert now.texts == ["ask!"]
        await now.say("b")
    assert now.texts == ["ask!", "bs", "b!"]


# While a batch is let out, an interrupt drops what of it is stale.
async def test_an_interrupt_while_a_batch_is_let_out(autojump_clock, debug):
    gate = Sees(delay=2)
    parts = [SyncParallelPipeline([twice], [adds("k", kept=True)], [twice]), gate]
    async with live(parts, queue_size=1, debug=debug) as now:
        await now.say("a", "b")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("c")
    assert now.texts[0] == "ak"
    assert [t for t in now.texts if t.startswith("c")] == ["c1", "c2", "ck", "c1", "c2"]
    assert now.texts.index("ak") < now.texts.index("c1")


# A generator that stands behind the joins, and is read when an interrupt comes, is left.
@pytest.mark.parametrize("shape", [tee, SyncParallelPipeline, Switchable])
async def test_an_interrupt_leaves_a_generator_behind_the_joins(autojump_clock, debug, shape):
    @each
    def many(frame: TextFrame):
        for i in range(8):
            yield text(f"{frame.text}{i}")

    inner = Switchable(Sees()) if shape is Switchable else shape([Sees()])
    parts = [ParallelPipeline([inner], [Drops()]), many, Sees(delay=1)]
    async with live(parts, queue_size=1, debug=debug) as now:
        await now.say("a")
        await trio.sleep(2.5)
        before = list(now.texts)
        now.task.interrupt()
        await now.say("b")
    assert before == ["a0", "a1"]
    assert now.texts == [*before, *(f"b{i}" for i in range(8))]


# -- G38


# The peer loses the other branches' frames at a stop; and a flush through it times out.
@pytest.mark.parametrize("shape", [ParallelPipeline, SyncParallelPipeline])
async def test_g38_a_stop_loses_nothing(autojump_clock, debug, shape):
    parts = [shape([adds("f")], [adds("s", 1)])]
    received = await ran(parts, [*said(*"abcde"), StopFrame()], debug=debug)
    assert sorted(texts(received.down)) == sorted(t + s for t in "abcde" for s in "fs")


@pytest.mark.parametrize("shape", [ParallelPipeline, SyncParallelPipeline])
async def test_g38_flush_through_branches(autojump_clock, debug, shape):
    parts = [Sees(), shape([adds("f")], [adds("s", 1)]), Sees()]
    async with live(parts, debug=debug) as now:
        await now.say("a", "b")
        assert not await now.task.flush(timeout=0.5)
        assert await now.task.flush(timeout=5)
        await settle()  # whoever collects
        assert sorted(now.texts) == ["af", "as", "bf", "bs"]


# Timeouts and statistics name the frame that is in the branches, and who has it.
async def test_who_is_stuck_is_named(autojump_clock):
    parallel = SyncParallelPipeline([adds("s", 50)], [adds("f")], name="steps")
    with pytest.raises(ExceptionGroup) as raised:
        async with live([parallel], end_timeout=5) as now:
            await now.say("a")
            await settle()
            assert parallel.statistics().handling.startswith("TextFrame#")
    named = r"'steps' has TextFrame#\d+ in hand.*'add#\d+' has TextFrame#\d+ in hand"
    assert raised.group_contains(EndTimeout, match=named)


# Somebody who watches each frame changes nothing, and hears of each once.
async def test_observers(autojump_clock, debug):
    pushed, handled = [], []

    class Watches:
        def on_frame_pushed(self, task, processor, frame, direction):
            if processor is parallel and isinstance(frame, TextFrame):
                pushed.append(frame.text)

        def on_frame_handled(self, task, processor, frame, direction):
            if processor is parallel and isinstance(frame, TextFrame):
                handled.append(frame.text)

    parallel = SyncParallelPipeline([adds("s", 1)], [twice])
    async with live([parallel], debug=debug, observers=[Watches()]) as now:
        await now.say("a", "b")
    assert now.texts == ["as", "a1", "a2", "bs", "b1", "b2"]
    assert pushed == handled == ["a", "b"]


# A broadcast in a branch goes both ways: down with what comes out together, up at once, each once.
@pytest.mark.parametrize("shape", [ParallelPipeline, SyncParallelPipeline, Switchable])
async def test_a_broadcast_in_a_branch(autojump_clock, debug, shape):
    class Broadcasts(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and direction is DOWN:
                await self.broadcast_frame(TextFrame, text=frame.text + "!")
                await self.broadcast_frame(Ping)
            else:
                await self.push_frame(frame, direction)

    first, last = Sees(), Sees()
    content = [Pipeline([Broadcasts()])] if shape is Switchable else [[Broadcasts()], [shape([Drops()])]]
    async with live([first, shape(*content), last], debug=debug) as now:
        await now.say("a", "b")
    assert now.texts == last.texts() == ["a!", "b!"]
    assert texts(now.up) == first.texts(UP) == ["a!", "b!"]
    assert first.kinds(UP).count("Ping") == last.kinds().count("Ping") == 2
    down = {frame.id: frame for frame in now.down if not isinstance(frame, EndFrame)}
    siblings = [frame.metadata["broadcast_sibling_id"] for frame in down.values()]
    assert sorted(siblings) == sorted(frame.id for frame in now.up)


# -- cancels and bad input


async def test_cancelled_while_a_frame_is_in_the_branches(autojump_clock, debug):
    task = PipelineTask(Pipeline([SyncParallelPipeline([adds("s", 50)], [adds("f")])]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(text("a"))
            await trio.sleep(1)
            task.cancel("enough")
    assert task.state is TaskState.CANCELLED


@pytest.mark.parametrize("how", ["scope", "task"])
def test_cancelled_everywhere(how):
    def make():
        parts = [SyncParallelPipeline([adds("s", 0.1)], [twice, adds("f")]), Sees(delay=0.1)]
        task = PipelineTask(Pipeline(parts), PipelineParams(queue_size=1))

        async def run():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                for i in range(4):
                    try:
                        await task.queue_frame(text(str(i)))
                    except trio.BrokenResourceError:
                        break
                    if i == 1:
                        await trio.sleep(0.05)
                        task.interrupt()
                task.stop_when_done()
                await task.wait_finished()

        def check():
            if task.state is not TaskState.NEW:
                assert task.has_finished()

        return run, check, task.cancel if how == "task" else None

    assert cancelled_everywhere(make) > 15


@pytest.mark.parametrize(
    ("branches", "settings", "message"),
    [
        ((), {}, "no branches"),
        ((Sees(),), {}, "expected a list of processors"),
        (([],), {}, "is empty"),
        ((5,), {}, "expected a list of processors"),
        (("ab",), {}, "expected a list of processors"),
        (([5],), {}, "expected a processor"),
        (([Sees()],), {"order": "random"}, "'branches' or 'arrival'"),
        (([Sees()],), {"name": ""}, "non-empty string"),
    ],
    ids=["none", "processor", "empty", "number", "string", "part", "order", "name"],
)
def test_bad_input(branches, settings, message):
    with pytest.raises(ConfigurationError, match=message):
        SyncParallelPipeline(*branches, **settings)


def test_one_processor_in_two_branches():
    part = Sees()
    with pytest.raises(ConfigurationError, match="twice"):
        SyncParallelPipeline([part], [part])


# Directions: a frame from below goes through every branch once.
async def test_frames_from_below_go_through_every_branch(autojump_clock, debug):
    left, right, last = Sees(), Sees(), Sees()
    with trio.fail_after(HUNG):
        received = await run_pipeline(
            [SyncParallelPipeline([left], [right]), last],
            said("a", "b"),
            direction=UP,
            params=PipelineParams(debug=debug),
        )
    assert texts(received.up) == left.texts(UP) == right.texts(UP) == last.texts(UP) == ["a", "b"]
    assert last.texts(DOWN) == []
