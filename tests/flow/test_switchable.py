"""A `Switchable` slot: what is in it is replaced between two frames while the pipeline runs (F13, DESIGN 4.8)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from cancel_everywhere import cancelled_everywhere
from flow_kit import HUNG, UP, Does, Drops, Sees, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    EndFrame,
    ErrorFrame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    SetupTimeout,
    StartFrame,
    StopFrame,
    Switchable,
    SyncParallelPipeline,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    pass


class Part(FrameProcessor):
    """Appends its label to texts; writes what happens to it into a log."""

    def __init__(self, label, log=None, *, delay=0.0, up=0.0, down=0.0, error=None, end_delay=0.0):
        super().__init__(label)
        self.label, self.log = label, [] if log is None else log
        self.delay, self.up, self.down, self.error, self.end_delay = delay, up, down, error, end_delay
        self.seen = []

    @asynccontextmanager
    async def lifespan(self):
        await trio.sleep(self.up)
        if self.error is not None:
            raise self.error
        self.log.append(f"{self.label} up")
        try:
            yield
        finally:
            await trio.sleep(self.down)
            self.log.append(f"{self.label} down")

    async def process_frame(self, frame, direction):
        self.seen.append(type(frame).__name__)
        if isinstance(frame, StartFrame | EndFrame | StopFrame):
            self.log.append(f"{self.label} {type(frame).__name__}")
            if not isinstance(frame, StartFrame):
                await trio.sleep(self.end_delay)
        if isinstance(frame, TextFrame):
            await trio.sleep(self.delay)
            frame = text(frame.text + self.label, kept=not frame.interruptible)
        await self.push_frame(frame, direction)


def block(label, delay=0.0, rest=False):
    @processor(name=label)
    async def labels(frames: Frames[TextFrame], out: Out) -> None:
        n = 0
        async for frame in frames:
            await trio.sleep(delay)
            n += 1
            await out.push(text(frame.text + label))
        if rest:
            await out.push(text(f"{label} had {n}"))

    return labels


def function(label):
    return each(lambda frame: text(frame.text + label) if isinstance(frame, TextFrame) else frame)


# Unused, a slot is what is in it.
@pytest.mark.parametrize("kind", ["class", "block", "function", "pipeline", "branches"])
async def test_a_slot_is_what_is_in_it(autojump_clock, debug, kind):
    content = {
        "class": lambda: Part("x"),
        "block": lambda: block("x"),
        "function": lambda: function("x"),
        "pipeline": lambda: Pipeline([Sees(), function("x")]),
        "branches": lambda: SyncParallelPipeline([function("x")], [Drops()]),
    }[kind]()
    first, last = Sees(), Sees()
    with trio.fail_after(HUNG):
        received = await run_pipeline(
            [first, Switchable(content), function("!"), last], said("a", "b"), params=PipelineParams(debug=debug)
        )
    assert texts(received.down) == ["ax!", "bx!"]
    assert last.kinds() == ["StartFrame", "ax!", "bx!", "EndFrame"]


# Replaced between two frames: the old one finishes what it has, the new one gets what comes then; each sees a start
# and an end of its own; the old one is cleaned up; the neighbours notice nothing.
async def test_replaced_between_two_frames(autojump_clock, debug):
    log = []
    first, last = Sees(), Sees()
    old, new = Part("1", log, delay=1), Part("2", log, up=3)
    slot = Switchable(old)
    async with live([first, slot, last], debug=debug) as now:
        await now.say("a", "b", "c")
        await trio.sleep(0.5)
        await slot.replace(new)
        assert slot.content is new
        assert log == ["1 up", "1 StartFrame", "2 up", "1 EndFrame", "2 StartFrame", "1 down"]
        assert now.texts == ["a1", "b1", "c1"]
        await now.say("d")
    assert now.texts == ["a1", "b1", "c1", "d2"]
    assert log[6:] == ["2 EndFrame", "2 down"]
    assert first.kinds() == ["StartFrame", "a", "b", "c", "d", "EndFrame"]
    assert last.kinds() == ["StartFrame", "a1", "b1", "c1", "d2", "EndFrame"]
    assert old.seen == ["StartFrame", "TextFrame", "TextFrame", "TextFrame", "EndFrame"]
    assert new.seen == ["StartFrame", "TextFrame", "EndFrame"]


# Under a stream of frames nothing is lost, doubled or out of order, whatever is in the slot; the old one works on
# while the new one is set up.
@pytest.mark.parametrize("kinds", ["class class", "block class", "class block", "function block", "pipeline function"])
@pytest.mark.parametrize("size", [1, 64])
async def test_nothing_is_lost_or_reordered(autojump_clock, debug, kinds, size):
    make = {
        "class": lambda label: Part(label, delay=0.1, up=1),
        "block": lambda label: block(label, 0.1),
        "function": function,
        "pipeline": lambda label: Pipeline([Sees(delay=0.1), Part(label, up=1)]),
    }
    first, second = kinds.split()
    slot = Switchable(make[first]("1"))
    async with live([slot], debug=debug, queue_size=size) as now:
        for i in range(30):
            if i == 10:
                slot.replace(make[second]("2"))
            if i == 20:
                slot.replace(make[first]("3"))
            await now.say(f"{i:02}")
            await trio.sleep(0.2)
    assert [t[:2] for t in now.texts] == [f"{i:02}" for i in range(30)]
    labels = [t[2:] for t in now.texts]
    assert labels == sorted(labels)
    assert set(labels) == {"1", "2", "3"}


# A block that is replaced ends as at the end of the run: what it pushes after its loop still comes out, in its place.
async def test_a_block_that_is_replaced_pushes_its_rest(autojump_clock, debug):
    slot = Switchable(block("1", rest=True))
    async with live([slot], debug=debug) as now:
        await now.say("a", "b")
        await now.task.flush()
        await slot.replace(block("2", rest=True))
        await now.say("c")
    assert now.texts == ["a1", "b1", "1 had 2", "c2", "2 had 1"]


class SlowUp(FrameProcessor):
    async def process_frame(self, frame, direction):
        if direction is UP:
            await trio.sleep(1)
        await self.push_frame(frame, direction)


# A stream of frames from below, faster than the old one handles them, does not keep it in the slot for ever.
async def test_a_stream_from_below_does_not_hold_up_the_swap(autojump_clock, debug):
    slot = Switchable(SlowUp())
    async with live([slot], debug=debug) as now:
        for i in range(40):
            await now.task.queue_frame(text(f"{i:02}"), UP)
            await trio.sleep(0.4)
            if i == 5:
                new = Sees()
                slot.replace(new)
            if i == 25:
                assert slot.content is new
    assert texts(now.up) == [f"{i:02}" for i in range(40)]


# What comes up while the slot is between two contents waits for the old one's handlers, and loses nothing.
async def test_frames_from_below_keep_their_order(autojump_clock, debug):
    first, last = Sees(), Sees()
    slot = Switchable(SlowUp())
    async with live([first, slot, last], debug=debug) as now:
        for i in range(6):
            await now.task.queue_frame(text(str(i)), UP)
            if i == 1:
                slot.replace(function("x"))
            await trio.sleep(0.4)
    assert texts(now.up) == first.texts(UP) == [str(i) for i in range(6)]


# System frames are never lost either, and each comes out once.
async def test_system_frames_while_replacing(autojump_clock, debug):
    first, last = Sees(), Sees()
    slot = Switchable(Part("1", delay=1, end_delay=2))
    async with live([first, slot, last], debug=debug) as now:
        await now.say("a")
        slot.replace(Part("2"))
        for _ in range(10):
            await now.task.queue_frame(Ping())
            await now.task.queue_frame(Ping(), UP)
            await trio.sleep(0.5)
    assert last.kinds().count("Ping") == 10
    assert first.kinds(UP).count("Ping") == 10


# Without await it takes effect all the same; from inside the pipeline too, from the very processor that is replaced.
async def test_replaced_from_inside(autojump_clock, debug):
    async def asks(self, frame):
        if frame.text == "b":
            slot.replace(Part("2"))
            with pytest.raises(RuntimeError, match="without await"):
                await slot.replace(Part("3"))
        await trio.sleep(0.1)
        await self.push_frame(frame)

    slot = Switchable(Does(asks))
    async with live([slot], debug=debug) as now:
        await now.say("a", "b")
        await trio.sleep(1)
        await now.say("c")
    assert now.texts == ["a", "b", "c3"]


# Several are done in the order in which they were asked for.
async def test_replacing_while_replacing(autojump_clock, debug):
    log = []
    slot = Switchable(Part("1", log))
    async with live([slot], debug=debug) as now:
        asked = [slot.replace(Part(str(i), log, up=5 - i)) for i in range(2, 5)]
        await now.say("a")
        for each_ in asked:
            await each_
        await now.say("b")
    assert now.texts == ["a1", "b4"]
    assert [entry for entry in log if entry.endswith("up")] == ["1 up", "2 up", "3 up", "4 up"]
    assert [entry for entry in log if entry.endswith("down")] == ["1 down", "2 down", "3 down", "4 down"]


# When the new one cannot be set up the old one stays; the one who waits gets the error, and it goes up.
async def test_an_error_in_the_set_up_of_the_new_one(autojump_clock, debug):
    log = []
    observed = []

    class Watches:
        def on_error(self, task, frame):
            observed.append(frame.error)

    slot = Switchable(Part("1", log), name="slot")
    bad = Pipeline([Part("2", log), Part("3", log, up=1, error=OSError("no model"))])
    async with live([slot], debug=debug, observers=[Watches()]) as now:
        with pytest.raises(OSError, match="no model") as raised:
            await slot.replace(bad)
        assert "in processor '3'" in "".join(raised.value.__notes__)
        assert slot.content.name == "1"
        await now.say("a")
        await slot.replace(Part("4"))
        await now.say("b")
    assert now.texts == ["a1", "b4"]
    assert log[:4] == ["1 up", "1 StartFrame", "2 up", "2 down"]
    assert observed == ["'slot' keeps what is in it: no model"]
    assert [frame.error for frame in now.up if isinstance(frame, ErrorFrame)] == observed


# The same for a block that fails before it asks for its first frame, and for a set-up that takes too long.
async def test_a_block_that_fails_and_a_set_up_that_takes_too_long(autojump_clock, debug):
    @processor
    async def fails(frames: Frames[TextFrame], out: Out) -> None:
        await trio.sleep(1)
        raise OSError("no model")

    stuck = []

    @processor(name="stuck")
    async def never(frames: Frames[TextFrame], out: Out) -> None:
        try:
            await trio.sleep_forever()
        finally:
            stuck.append("closed")

    log = []
    slot = Switchable(Part("1"))
    async with live([slot], debug=debug, setup_timeout=5) as now:
        with pytest.raises(OSError, match="no model"):
            await slot.replace(fails)
        with pytest.raises(SetupTimeout, match="'stuck'"):
            await slot.replace(never)
        with pytest.raises(SetupTimeout, match="'slow'"):
            await slot.replace(Part("slow", log, up=50))
        await now.say("a")
    assert now.texts == ["a1"]
    assert stuck == ["closed"]
    assert log == []
    assert now.task.statistics().reported_errors == 3


# What nobody awaits is not lost: the error goes up.
async def test_an_error_that_nobody_waits_for_goes_up(autojump_clock):
    first = Sees()
    slot = Switchable(Part("1"))
    async with live([first, slot]) as now:
        slot.replace(Part("2", error=OSError("no model")))
        await settle()
        await now.say("a")
    assert now.texts == ["a1"]
    assert first.kinds(UP) == ["ErrorFrame"]


# A failure of what is in the slot is one like others.
async def test_errors_of_the_content_fail_the_task(autojump_clock, debug):
    @each
    async def fails(frame: TextFrame):
        raise ValueError(frame.text)

    slot = Switchable(Part("1"))
    with pytest.raises(ExceptionGroup) as raised:
        async with live([slot], debug=debug) as now:
            await slot.replace(fails)
            await now.say("a")
    assert raised.group_contains(ValueError, match="a")


async def test_an_error_in_the_cleanup_of_the_old_one_fails_the_task(autojump_clock, debug):
    class Fails(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            yield
            raise OSError("cannot close")

    slot = Switchable(Fails())
    with pytest.raises(ExceptionGroup) as raised:
        async with live([slot], debug=debug):
            await slot.replace(Part("1"))
            await trio.sleep(1)
    assert raised.group_contains(OSError, match="cannot close")


# Before the run, and after its end, the slot simply has another content; a later run has what is in it then.
async def test_before_the_run_and_after_the_end(autojump_clock, debug):
    log = []
    slot = Switchable(Part("1", log))
    slot.replace(Part("2", log))
    pipeline = Pipeline([slot])
    task = PipelineTask(pipeline, PipelineParams(debug=debug))
    await slot.replace(Part("3", log))
    with trio.fail_after(HUNG):
        await task.queue_frame(text("a"))
        task.stop_when_done()
        await task.run()
        received = await run_pipeline(pipeline, said("b"), params=PipelineParams(debug=debug))
        assert texts(received.down) == ["b3"]
        await slot.replace(Part("4", log))
        received = await run_pipeline(pipeline, said("c"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["c4"]
    assert [entry for entry in log if entry.endswith("up")] == ["3 up", "3 up", "4 up"]


def test_replaced_outside_of_any_run():
    slot = Switchable(Part("1"))
    new = Part("2")
    slot.replace(new)
    assert slot.content is new


# While the run is set up it is kept, and done when the run has started.
async def test_while_the_run_is_set_up(autojump_clock, debug):
    slot = Switchable(Part("1", up=2))
    task = PipelineTask(Pipeline([slot]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery, task.open_output(TextFrame) as down:
            nursery.start_soon(task.run)
            await trio.sleep(1)
            await slot.replace(Part("2"))
            await task.queue_frame(text("a"))
            task.stop_when_done()
            assert [frame.text async for frame in down] == ["a2"]


# When the run ends first the replacement is given up, the new one closed, and the one who waits told.
@pytest.mark.parametrize("how", ["end", "cancel"])
@pytest.mark.parametrize("new", ["class", "block"])
async def test_when_the_run_ends_first(autojump_clock, debug, how, new):
    log = []

    @processor
    async def slow(frames: Frames[TextFrame], out: Out) -> None:
        try:
            await trio.sleep(10)
        finally:
            log.append("closed")

    slot = Switchable(Part("1"))
    old = slot.content
    task = PipelineTask(Pipeline([slot]), PipelineParams(debug=debug))
    errors = []

    async def waits():
        try:
            await slot.replace(Part("2", log, up=10) if new == "class" else slow)
        except trio.ClosedResourceError as exc:
            errors.append(exc)

    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            nursery.start_soon(waits)
            await trio.sleep(1)
            task.stop_when_done() if how == "end" else task.cancel()
            result = await task.wait_finished()
            assert trio.current_time() < 5
    assert result.state is (TaskState.ENDED if how == "end" else TaskState.CANCELLED)
    assert len(errors) == 1
    assert slot.content is old
    assert log == ([] if new == "class" else ["closed"])


# An end that comes while the slot is between two contents waits for the swap: what was accepted is handled.
async def test_an_end_during_the_swap(autojump_clock, debug):
    log = []
    slot = Switchable(Part("1", log, delay=1, end_delay=1))
    async with live([slot], debug=debug) as now:
        await now.say("a")
        slot.replace(Part("2", log))
        await trio.sleep(1.5)
        await now.say("b")
    assert now.texts == ["a1", "b2"]
    assert log[:5] == ["1 up", "1 StartFrame", "2 up", "1 EndFrame", "2 StartFrame"]
    assert sorted(log[5:]) == ["1 down", "2 EndFrame", "2 down"]


# The new one was paused while it was set up or waited for its turn: the end ends that pause like any other.
@pytest.mark.parametrize("asked", [0.5, 1.5], ids=["while it waits for its turn", "during the swap"])
async def test_an_end_ends_the_pause_of_what_comes_into_the_slot(autojump_clock, debug, asked):
    new = Part("2")
    slot = Switchable(Part("1", delay=1, end_delay=1))
    async with live([slot], debug=debug, end_timeout=20) as now:
        await now.say("a")
        slot.replace(new)
        await trio.sleep(0.2)
        new.pause()
        await now.say("b")
        await trio.sleep(asked - 0.2)
    assert now.texts == ["a1", "b2"]


# Interrupts: the content is told of them, its handlers are stopped, and the one that follows is not shown old ones.
async def test_interrupts(autojump_clock, debug):
    new = Sees(delay=1)
    slot = Switchable(Part("1", delay=5))
    async with live([slot], debug=debug) as now:
        await now.say("stale")
        await trio.sleep(0.5)
        now.task.interrupt()
        await now.task.queue_frame(text("kept", kept=True))
        await trio.sleep(0.5)
        waits = slot.replace(new)
        await settle()
        await now.say("stale too")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("new")
        await waits
        await trio.sleep(0.5)
        now.task.interrupt()
        await now.say("newer")
    assert now.texts == ["kept1", "newer"]
    assert new.interrupts == 1


# In each other, in branches, at the ends, and more than one.
async def test_nested_slots(autojump_clock, debug):
    inner = Switchable(Part("i"))
    outer = Switchable(Pipeline([inner, function("o")]))
    beside = Switchable(function("b"))
    parts = [ParallelPipeline([outer], [beside]), function("!")]
    async with live(parts, debug=debug) as now:
        await now.say("1")
        await now.task.flush()
        await inner.replace(Part("j"))
        await beside.replace(Drops())
        await now.say("2")
        await now.task.flush()
        again = Switchable(Part("k"))
        await outer.replace(Pipeline([again, function("p")]))
        await now.say("3")
        await now.task.flush()
        await again.replace(SyncParallelPipeline([function("l")], [function("m")]))
        await now.say("4")
    assert sorted(now.texts) == sorted(["1io!", "1b!", "2jo!", "3kp!", "4lp!", "4mp!"])


# What was in a slot may be used again, also in the same slot.
async def test_back_and_forth(autojump_clock, debug):
    one, two = Part("1"), Part("2")
    slot = Switchable(one)
    async with live([slot], debug=debug) as now:
        for i in range(6):
            await now.say(str(i))
            await now.task.flush()
            await slot.replace(two if slot.content is one else one)
    assert now.texts == ["01", "12", "21", "32", "41", "52"]


# Nothing costs on other hops: the neighbours are the same nodes, and fused as they were.
async def test_the_nodes_of_others_stay(autojump_clock):
    slot = Switchable(Part("1"))
    parts = [function("a"), function("b"), slot, function("c")]
    async with live(parts) as now:
        before = [p.name for p in now.task.statistics().processors]
        await slot.replace(Pipeline([Part("2"), Part("3")]))
        after = [p.name for p in now.task.statistics().processors]
        tasks = trio.lowlevel.current_statistics().tasks_living
        await slot.replace(Pipeline([Part("4"), Part("5")]))
        assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert [name for name in before if name != "1"] == [name for name in after if name not in ("2", "3")]


# The resources of the task and its params are there in the set-up of the new one.
async def test_the_new_one_knows_its_task(autojump_clock):
    class Looks(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            self.known = self.task.name
            yield

    slot = Switchable(Part("1"))
    async with live([slot]) as now:
        looks = Looks()
        await slot.replace(looks)
        assert looks.known == now.task.name


@pytest.mark.parametrize("how", ["scope", "task"])
@pytest.mark.parametrize("kind", ["class", "block"])
def test_cancelled_everywhere(how, kind):
    def make():
        log = []
        slot = Switchable(Part("1", log, delay=0.1, up=0.1, down=0.1))
        task = PipelineTask(Pipeline([slot, Sees(delay=0.1)]), PipelineParams(queue_size=1))

        async def run():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                for i in range(4):
                    try:
                        await task.queue_frame(text(str(i)))
                    except trio.BrokenResourceError:
                        break
                    if i == 1:
                        slot.replace(Part("2", log, up=0.1, down=0.1) if kind == "class" else block("2", 0.1))
                    if i == 2:
                        task.interrupt()
                task.stop_when_done()
                await task.wait_finished()

        def check():
            ups = sorted(entry[:1] for entry in log if entry.endswith("up"))
            downs = sorted(entry[:1] for entry in log if entry.endswith("down"))
            assert ups == downs
            if task.state is not TaskState.NEW:
                assert task.has_finished()

        return run, check, task.cancel if how == "task" else None

    assert cancelled_everywhere(make) > 15


# -- bad input


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected a processor"),
        ([], "wrap a list in Pipeline"),
        (Part, "expected an instance"),
        (len, "decorate it with @each"),
    ],
    ids=["None", "list", "class", "callable"],
)
def test_bad_input(value, message):
    with pytest.raises(ConfigurationError, match=message):
        Switchable(value)
    slot = Switchable(Part("1"))
    with pytest.raises(ConfigurationError, match=message):
        slot.replace(value)
    with pytest.raises(ConfigurationError, match="non-empty string"):
        Switchable(Part("1"), name=5)


async def test_what_runs_already_is_refused(autojump_clock):
    beside = Sees()
    slot = Switchable(Part("1"))
    async with live([slot, beside]) as now:
        with pytest.raises(ConfigurationError, match="is running"):
            slot.replace(beside)
        with pytest.raises(ConfigurationError, match="is running"):
            slot.replace(slot.content)
        with pytest.raises(ConfigurationError, match="itself"):
            slot.replace(Pipeline([slot]))
        two = Part("2")
        first, second = slot.replace(two), slot.replace(two)
        await first
        with pytest.raises(ConfigurationError, match="already at work"):
            await second
        await now.say("a")
    assert now.texts == ["a2"]


# Put into the slot before the run, and beside it already: the run says so.
async def test_what_is_beside_the_slot_is_refused_by_the_run(autojump_clock):
    beside = Sees()
    slot = Switchable(Part("1"))
    task = PipelineTask(Pipeline([slot, beside]))
    slot.replace(beside)
    with pytest.raises(ConfigurationError, match="twice"):
        await task.run()
    await slot.replace(Part("2"))
    received = await run_pipeline([slot, beside], said("a"))
    assert texts(received.down) == ["a2"]


# From another thread, or another Trio run, it is refused at once.
async def test_from_a_thread_it_is_refused():
    slot = Switchable(Part("1"))
    async with live([slot]):

        async def elsewhere():
            with pytest.raises(RuntimeError, match="another Trio run"):
                slot.replace(Part("2"))

        await trio.to_thread.run_sync(trio.run, elsewhere)
        with pytest.raises(RuntimeError):
            await trio.to_thread.run_sync(slot.replace, Part("3"))
        assert slot.content.name == "1"


def test_one_processor_in_the_slot_and_beside_it():
    part = Sees()
    with pytest.raises(ConfigurationError, match="twice"):
        Pipeline([Switchable(part), part])
