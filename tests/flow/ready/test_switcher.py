"""`ServiceSwitcher`: one of several services gets the frames, and another one when it is chosen (P3)."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress

import attrs
import pytest
import trio
import trio.lowlevel

from cancel_everywhere import cancelled_everywhere
from flow_kit import DOWN, HUNG, UP, Does, Drops, Sees, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    DataFrame,
    EndFrame,
    ErrorFrame,
    FrameProcessor,
    Frames,
    NotifierGate,
    Out,
    ParallelPipeline,
    PauseFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ServiceSwitchedFrame,
    ServiceSwitcher,
    StartFrame,
    StopFrame,
    Switchable,
    SwitchServiceFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import check_processor, run_pipeline


class Ping(SystemFrame):
    pass


@attrs.define(eq=False)
class Tune(ControlFrame):
    to: str = ""


class Note(DataFrame):
    pass


class Part(FrameProcessor):
    """Appends its label to texts; writes what happens to it into a log."""

    def __init__(self, label, log=None, *, delay=0.0, up=0.0, down=0.0, error=None, swallows=()):
        super().__init__(label)
        self.label, self.log = label, [] if log is None else log
        self.delay, self.up, self.down, self.error, self.swallows = delay, up, down, error, swallows
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
        self.seen.append(frame.text if isinstance(frame, TextFrame) else type(frame).__name__)
        if isinstance(frame, StartFrame | EndFrame | StopFrame):
            self.log.append(f"{self.label} {type(frame).__name__}")
        if isinstance(frame, TextFrame) and direction is DOWN:
            await trio.sleep(self.delay)
            frame = text(frame.text + self.label, kept=not frame.interruptible)
        if not isinstance(frame, self.swallows):
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
    return each(name=label)(lambda frame: text(frame.text + label) if isinstance(frame, TextFrame) else frame)


def switches(frames):
    return [(frame.before.name, frame.service.name) for frame in frames if isinstance(frame, ServiceSwitchedFrame)]


# -- one is active


# Where nothing is chosen and nothing is lost, a switcher is its first service.
@pytest.mark.parametrize("kind", ["class", "block", "function", "pipeline", "branches", "slot", "switcher"])
async def test_a_switcher_is_its_first_service(autojump_clock, debug, kind):
    service = {
        "class": lambda: Part("x"),
        "block": lambda: block("x"),
        "function": lambda: function("x"),
        "pipeline": lambda: Pipeline([Sees(), function("x")]),
        "branches": lambda: ParallelPipeline([function("x")], [Drops()]),
        "slot": lambda: Switchable(Part("x")),
        "switcher": lambda: ServiceSwitcher([Part("x"), Part("z")]),
    }[kind]()
    first, last = Sees(), Sees()
    with trio.fail_after(HUNG):
        received = await run_pipeline(
            [first, ServiceSwitcher([service, Part("y")]), function("!"), last],
            said("a", "b"),
            params=PipelineParams(debug=debug),
        )
    assert texts(received.down) == ["ax!", "bx!"]
    assert last.kinds() == ["StartFrame", "ax!", "bx!", "EndFrame"]


# The active one gets everything. The others are shown the start, interrupts and the end, when the active one has had it.
async def test_one_gets_the_frames_and_all_are_kept_warm(autojump_clock, debug, observers):
    log = []
    one, two = Part("1", log, delay=1), Part("2", log)
    switcher = ServiceSwitcher([one, two])
    assert switcher.active is one
    async with live([switcher], debug=debug, observers=observers) as now:
        assert switcher.active is one
        await now.say("a")
        await now.task.queue_frame(Tune())
        await now.task.queue_frame(Ping())
        await now.task.queue_frame(text("up"), UP)
        await now.task.queue_frame(Ping(), UP)
        await now.task.flush()
        now.task.interrupt()
        await now.say("b")
    assert now.texts == ["a1", "b1"]
    assert sorted(one.seen) == sorted(
        ["StartFrame", "a", "Ping", "up", "Ping", "Tune", "InterruptionFrame", "b", "EndFrame"]
    )
    assert two.seen == ["StartFrame", "InterruptionFrame", "EndFrame"]
    assert sorted(log[:2]) == ["1 up", "2 up"]
    assert log[4:6] == ["1 EndFrame", "2 EndFrame"]
    assert sorted(type(frame).__name__ for frame in now.up) == ["Ping", "TextFrame"]


# A service in reserve that hangs holds up nobody, neither at the start nor with the frames that are for all.
async def test_one_in_reserve_holds_up_nobody(autojump_clock, debug):
    class Stuck(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                await trio.sleep(50)
            await self.push_frame(frame, direction)

    switcher = ServiceSwitcher([Part("1"), Stuck()], to_all=TextFrame)
    async with live([switcher], debug=debug, queue_size=1) as now:
        assert trio.current_time() < 1
        await now.say(*"abcdef")
        assert await now.task.flush(5)
    assert now.texts == ["a1", "b1", "c1", "d1", "e1", "f1"]


# -- chosen by a call


# Between two frames: the one that was active finishes what it has in hand, the chosen one gets what waits.
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_chosen_between_two_frames(autojump_clock, debug, observers, warm):
    first, last = Sees(), Sees()
    one, two = Part("1", delay=1), Part("2", delay=1)
    switcher = ServiceSwitcher([one, two], warm=warm)
    async with live([first, switcher, last], debug=debug, observers=observers) as now:
        await now.say("a", "b", "c")
        await trio.sleep(0.5)
        assert switcher.active is one
        await switcher.switch_to(two)
        assert switcher.active is two
        assert trio.current_time() == 1
        assert now.texts == ["a1"]
        await now.say("d")
    assert now.texts == ["a1", "b2", "c2", "d2"]
    assert first.kinds() == ["StartFrame", "a", "b", "c", "d", "EndFrame"]
    assert last.kinds() == ["StartFrame", "a1", "ServiceSwitchedFrame", "b2", "c2", "d2", "EndFrame"]
    assert one.seen == ["StartFrame", "a", "EndFrame"]
    assert two.seen == ["StartFrame", "b", "c", "d", "EndFrame"]


# Who is active is told downstream in its place, and upstream.
async def test_a_switch_is_told(autojump_clock):
    one, two = Part("1"), Part("2")
    switcher = ServiceSwitcher([one, two])
    async with live([switcher]) as now:
        await switcher.switch_to("2")
        await settle()
        (down,) = [frame for frame in now.down if isinstance(frame, ServiceSwitchedFrame)]
        (up,) = [frame for frame in now.up if isinstance(frame, ServiceSwitchedFrame)]
    for frame in (down, up):
        assert (frame.switcher, frame.service, frame.before, frame.reason) == (switcher, two, one, None)
        assert not frame.interruptible


# Several are done in the order in which they were asked for; the one that is active need not be switched to.
async def test_choosing_again_and_again(autojump_clock, debug):
    parts = [Part(label, delay=0.3) for label in "1234"]
    switcher = ServiceSwitcher(parts)
    async with live([switcher], debug=debug) as now:
        await switcher.switch_to("1")
        await now.say("a")
        await trio.sleep(0.1)
        asked = [switcher.switch_to(part) for part in (*parts[1:], parts[0], parts[0])]
        await now.say("b")
        for one in asked:
            await one
        await now.task.flush()
    assert now.texts == ["a1", "b1"]
    assert switches(now.down) == [("1", "2"), ("2", "3"), ("3", "4"), ("4", "1")]


# Choosing takes effect when called; from inside the pipeline it may not be awaited, and need not be.
async def test_chosen_from_inside(autojump_clock, debug):
    async def asks(self, frame):
        if frame.text == "b":
            switcher.switch_to(two)
            with pytest.raises(RuntimeError, match=r"switch_to\(\) inside a processor .* without await"):
                await switcher.switch_to(two)
        await self.push_frame(text(frame.text + "1"))

    two = Part("2")
    switcher = ServiceSwitcher([Does(asks), two])
    async with live([switcher], debug=debug) as now:
        await now.say("a", "b")
        await settle()
        await now.say("c")
    assert now.texts == ["a1", "b1", "c2"]


# A stream of frames is neither lost nor doubled nor out of order by switching in it, whatever the services are.
@pytest.mark.parametrize("kinds", ["class class", "block class", "class block", "function block", "pipeline function"])
@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_nothing_is_lost_or_reordered(autojump_clock, debug, kinds, size, warm):
    make = {
        "class": lambda label: Part(label, delay=0.1, up=1),
        "block": lambda label: block(label, 0.1),
        "function": function,
        "pipeline": lambda label: Pipeline([Sees(delay=0.1), Part(label, up=1)], name=label),
    }
    first, second = kinds.split()
    switcher = ServiceSwitcher([make[first]("1"), make[second]("2"), make[first]("3")], warm=warm)
    async with live([switcher], debug=debug, queue_size=size) as now:
        for i in range(30):
            if i in (10, 20):
                switcher.switch_to(str(i // 10 + 1))
            await now.say(f"{i:02}")
            await trio.sleep(0.2 if i % 3 else 0)
    assert [t[:2] for t in now.texts] == [f"{i:02}" for i in range(30)]
    labels = [t[2:] for t in now.texts]
    assert labels == sorted(labels)
    assert set(labels) == {"1", "2", "3"}


# Frames from below keep their order too, and a stream of them does not hold up a switch.
async def test_frames_from_below_keep_their_order(autojump_clock, debug):
    class SlowUp(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is UP:
                await trio.sleep(1)
            await self.push_frame(frame, direction)

    switcher = ServiceSwitcher([SlowUp(), Sees()])
    async with live([switcher], debug=debug) as now:
        for i in range(40):
            await now.task.queue_frame(text(f"{i:02}"), UP)
            await trio.sleep(0.4)
            if i == 5:
                switcher.switch_to(switcher.services[1])
            if i == 25:
                assert switcher.active is switcher.services[1]
    assert texts(now.up) == [f"{i:02}" for i in range(40)]


# A handler that waits for an answer from below gets it while its service is being left.
async def test_an_answer_from_below_comes_to_the_one_that_asked(autojump_clock, debug):
    class Asks(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and direction is DOWN:
                self.answered = trio.Event()
                await self.push_frame(Tune("?"))
                await self.answered.wait()
            elif isinstance(frame, Tune) and direction is UP:
                self.answered.set()
                return
            await self.push_frame(frame, direction)

    class Answers(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Tune):
                await trio.sleep(1)
                await self.push_frame(Tune("!"), UP)
            else:
                await self.push_frame(frame, direction)

    switcher = ServiceSwitcher([Asks(), Part("2")])
    async with live([switcher, Answers()], debug=debug) as now:
        await now.say("a")
        await trio.sleep(0.5)
        await switcher.switch_to("2")
        await now.say("b")
    assert now.texts == ["a", "b2"]


# System frames are not held, and each comes out once.
async def test_system_frames_while_switching(autojump_clock, debug):
    first, last = Sees(), Sees()
    switcher = ServiceSwitcher([Part("1", delay=3), Part("2")])
    async with live([first, switcher, last], debug=debug) as now:
        await now.say("a")
        await trio.sleep(0.1)
        switcher.switch_to("2")
        for _ in range(10):
            await now.task.queue_frame(Ping())
            await now.task.queue_frame(Ping(), UP)
            await trio.sleep(0.5)
    assert last.kinds().count("Ping") == 10
    assert first.kinds(UP).count("Ping") == 10


# What a service emits late, of what it was given while it was active, is not lost.
async def test_what_comes_late_goes_on(autojump_clock, debug):
    class Late(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as self.nursery:
                yield
                self.nursery.cancel_scope.cancel()

        async def later(self, frame):
            await trio.sleep(1)
            await self.push_frame(frame)

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                self.nursery.start_soon(self.later, frame)
            else:
                await self.push_frame(frame, direction)

    switcher = ServiceSwitcher([Late(), Part("2")])
    async with live([switcher], debug=debug) as now:
        await now.say("a")
        await trio.sleep(0.1)
        await switcher.switch_to("2")
        await now.say("b")
        await trio.sleep(2)
    assert now.texts == ["b2", "a"]


# -- chosen by a frame


# On its way down it takes effect in its place: what was pushed before is for the one that was active.
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_a_frame_chooses_in_its_place(autojump_clock, debug, observers, warm):
    one, two, last = Part("1", delay=1), Part("2"), Sees()
    switcher = ServiceSwitcher([one, two], warm=warm)
    frames = [*said("a", "b"), SwitchServiceFrame(two), text("c"), SwitchServiceFrame("1"), text("d")]
    with trio.fail_after(HUNG):
        received = await run_pipeline([switcher, last], frames, params=PipelineParams(debug=debug), observers=observers)
    assert texts(received.down) == ["a1", "b1", "c2", "d1"]
    told = "ServiceSwitchedFrame"
    assert last.kinds() == ["StartFrame", "a1", "b1", told, "c2", told, "d1", "EndFrame"]


# On its way up it takes effect when it comes to the switcher, as a call does.
async def test_a_frame_from_below_chooses(autojump_clock, debug):
    async def chooses(self, frame):
        await self.push_frame(frame)
        if frame.text == "a1":
            await self.push_frame(SwitchServiceFrame("2"), UP)

    first = Sees()
    switcher = ServiceSwitcher([Part("1", delay=1), Part("2")])
    async with live([first, switcher, Does(chooses)], debug=debug) as now:
        await now.say("a", "b", "c")
        await trio.sleep(5)
    assert now.texts == ["a1", "b1", "c2"]
    assert "SwitchServiceFrame" not in first.kinds(UP)


# A frame that names a service of another switcher goes on to that one; one that nobody has goes on to the end.
async def test_a_frame_finds_the_switcher_that_has_its_service(autojump_clock, debug):
    one, two, three, four = (Part(label) for label in "1234")
    last = Sees()
    frames = [
        text("a"),
        SwitchServiceFrame(four),
        text("b"),
        SwitchServiceFrame("2"),
        SwitchServiceFrame("5"),
        text("c"),
    ]
    pipeline = [ServiceSwitcher([one, two]), ServiceSwitcher([three, four]), last]
    received = await run_pipeline(pipeline, frames, params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a13", "b14", "c24"]
    assert last.kinds().count("SwitchServiceFrame") == 1


# It survives interrupts, whatever becomes of the frames round it.
async def test_an_interrupt_does_not_lose_a_choice(autojump_clock, debug):
    switcher = ServiceSwitcher([Part("1", delay=5), Part("2")])
    async with live([Sees(), switcher], debug=debug) as now:
        await now.say("a")
        await now.task.queue_frame(SwitchServiceFrame("2"))
        await now.say("b")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("c")
    assert now.texts == ["c2"]


# -- interrupts, pauses, the end


# An interrupt while the one that was active is left ends that: its frame is stale.
async def test_interrupted_while_switching(autojump_clock, debug):
    one, two = Part("1", delay=50), Part("2")
    switcher = ServiceSwitcher([one, two])
    async with live([switcher], debug=debug) as now:
        await now.say("a", "b")
        await trio.sleep(1)
        asked = switcher.switch_to(two)
        await trio.sleep(1)
        assert switcher.active is one
        now.task.interrupt()
        await asked
        assert trio.current_time() == 2
        await now.say("c")
    assert now.texts == ["c2"]
    assert two.seen.count("InterruptionFrame") == one.seen.count("InterruptionFrame") == 1


# What is uninterruptible is finished first.
async def test_an_uninterruptible_frame_is_finished_before_the_switch(autojump_clock, debug):
    switcher = ServiceSwitcher([Part("1", delay=10), Part("2")])
    async with live([switcher], debug=debug) as now:
        await now.task.queue_frames([text("a", kept=True), text("b", kept=True), text("c")])
        await trio.sleep(1)
        asked = switcher.switch_to("2")
        now.task.interrupt()
        await asked
        assert trio.current_time() == 10
        await now.say("d")
    assert now.texts == ["a1", "b2", "d2"]


# A service that is paused is left all the same: what it has not begun is not its own.
async def test_a_paused_service_can_be_left(autojump_clock, debug):
    one, two = Part("1"), Part("2")
    switcher = ServiceSwitcher([one, two])
    async with live([switcher], debug=debug) as now:
        one.pause()
        await now.say("a", "b")
        await settle()
        await switcher.switch_to(two)
        await now.task.flush()
        await settle()
        assert now.texts == ["a2", "b2"]


# A pause of the switcher holds frames; the services are switched behind it. The end ends the pause.
async def test_a_paused_switcher(autojump_clock, debug):
    switcher = ServiceSwitcher([Part("1"), Part("2")], name="switcher")
    async with live([switcher], debug=debug) as now:
        await now.task.queue_frame(PauseFrame("switcher"))
        await now.say("a")
        await settle()
        assert switcher.is_paused
        await switcher.switch_to("2")
        assert switcher.active.name == "2"
        assert now.texts == []
    assert now.texts == ["a2"]


# A flush waits for a switch, and the end does.
async def test_a_flush_and_the_end_wait_for_a_switch(autojump_clock, debug):
    switcher = ServiceSwitcher([Part("1", delay=5), Part("2", delay=1)])
    async with live([switcher], debug=debug) as now:
        await now.say("a", "b")
        await settle()
        switcher.switch_to("2")
        assert await now.task.flush()
        await settle()
        assert now.texts == ["a1", "b2"]
        await now.say("c", "d")
        await settle()
        switcher.switch_to("1")
    assert now.texts == ["a1", "b2", "c2", "d1"]


# When the run ends first, the one who waits is told.
async def test_the_end_comes_before_the_switch(autojump_clock, debug):
    switcher = ServiceSwitcher([Part("1", delay=5), Part("2", up=3)], warm=False)
    told = []

    async def chooses():
        with pytest.raises(trio.ClosedResourceError, match="nothing was switched"):
            await switcher.switch_to("2")
        told.append(trio.current_time())

    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            async with live([switcher], debug=debug) as now:
                now.task.stop_when_done()
                nursery.start_soon(chooses)
                await trio.lowlevel.checkpoint()
    assert len(told) == 1
    with pytest.raises(trio.ClosedResourceError):
        task = PipelineTask(Pipeline([switcher]), PipelineParams(debug=debug))
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            asked = switcher.switch_to("2")
            task.cancel()
        await asked


# Before a run and after it, choosing says with which service the next one begins.
async def test_outside_of_a_run(autojump_clock, debug):
    switcher = ServiceSwitcher([Part("1"), Part("2")])
    await switcher.switch_to("2")
    assert switcher.active.name == "2"
    pipeline = Pipeline([switcher])
    for expected in ("2", "2"):
        received = await run_pipeline(
            pipeline, [text("a"), SwitchServiceFrame("1"), text("b")], params=PipelineParams(debug=debug)
        )
        assert texts(received.down) == [f"a{expected}", "b1"]
    switcher.switch_to("1")
    received = await run_pipeline(pipeline, said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a1"]


# In one block the services stay open from run to run.
async def test_several_runs_in_one_block(autojump_clock, debug):
    log = []
    switcher = ServiceSwitcher([Part("1", log), Part("2", log)])
    pipeline = Pipeline([switcher])
    async with pipeline:
        for _ in range(2):
            task = PipelineTask(pipeline, PipelineParams(debug=debug))
            await task.queue_frames([text("a"), SwitchServiceFrame("2"), text("b"), StopFrame()])
            async with task.open_output(TextFrame) as out:
                assert (await task.run()).state is TaskState.STOPPED
                assert [frame.text async for frame in out] == ["a1", "b2"]
    assert sorted(entry for entry in log if entry.endswith("up")) == ["1 up", "2 up"]
    assert sorted(log[-2:]) == ["1 down", "2 down"]


# -- cold


# Only the active one is set up; another one is when it is chosen, and the one before is cleaned up then.
async def test_cold_services_are_set_up_when_they_are_chosen(autojump_clock, debug):
    log = []
    parts = [Part("1", log, up=1, down=2), Part("2", log, up=3), Part("3", log)]
    switcher = ServiceSwitcher(parts, warm=False)
    async with live([switcher], debug=debug) as now:
        assert log == ["1 up", "1 StartFrame"]
        await now.say("a")
        began = trio.current_time()
        asked = switcher.switch_to("2")
        await now.say("b")  # the one before works on while the other is set up
        await asked
        assert trio.current_time() == began + 3
        await now.say("c")
        await trio.sleep(5)
        assert log[2:] == ["2 up", "2 StartFrame", "1 EndFrame", "1 down"] or log[2:] == [
            *["2 up", "1 EndFrame", "2 StartFrame", "1 down"]
        ]
    assert now.texts == ["a1", "b1", "c2"]
    assert log[6:] == ["2 EndFrame", "2 down"]


# One that is chosen again is set up again, when its cleanup is over.
async def test_a_cold_service_that_is_chosen_again(autojump_clock, debug):
    log = []
    switcher = ServiceSwitcher([Part("1", log, down=5), Part("2", log)], warm=False)
    async with live([switcher], debug=debug) as now:
        await now.say("a")
        await switcher.switch_to("2")
        await now.say("b")
        await switcher.switch_to("1")
        assert trio.current_time() == 5
        await now.say("c")
    assert now.texts == ["a1", "b2", "c1"]
    assert [entry for entry in log if entry.startswith("1")] == [
        *["1 up", "1 StartFrame", "1 EndFrame", "1 down"] * 2,
    ]


# A block that is left ends as at the end of the run: what it pushes after its loop comes out in its place.
async def test_a_cold_block_pushes_its_rest(autojump_clock, debug):
    switcher = ServiceSwitcher([block("1", rest=True), block("2", rest=True)], warm=False)
    received = await run_pipeline(
        [switcher], [*said("a", "b"), SwitchServiceFrame("2"), text("c")], params=PipelineParams(debug=debug)
    )
    assert texts(received.down) == ["a1", "b1", "1 had 2", "c2", "2 had 1"]


# A warm one is shown the end when the active one has had it: what it has kept comes out then.
@pytest.mark.parametrize("kind", ["gate", "block"])
async def test_what_a_warm_service_keeps_comes_out_at_the_end(autojump_clock, debug, kind):
    old = NotifierGate(trio.Event()) if kind == "gate" else block("1", rest=True)
    switcher = ServiceSwitcher([old, Part("2")])
    async with live([switcher, Part("3")], debug=debug) as now:
        await now.say("a")
        await now.task.flush()
        await switcher.switch_to("2")
        await now.say("b")
    assert now.texts == (["b23", "a3"] if kind == "gate" else ["a13", "b23", "1 had 13"])
    assert sum(processor.late_dropped for processor in now.task.statistics().processors) == 0


# One that is lost meanwhile is not waited for; nor is one that was never active.
@pytest.mark.parametrize("how", ["says so", "never active"])
async def test_the_end_does_not_wait_for_one_that_does_not_work(autojump_clock, debug, how):
    class Stuck(Part):
        async def process_frame(self, frame, direction):
            if isinstance(frame, EndFrame):
                await trio.sleep(50)
            await super().process_frame(frame, direction)

    one, two, last = Stuck("1"), Part("2"), Sees()
    switcher = ServiceSwitcher([one, two])
    if how == "never active":
        await switcher.switch_to(two)
    async with live([switcher, last], debug=debug) as now:
        await now.say("a")
        await now.task.flush()
        await switcher.switch_to(two)
        now.task.stop_when_done()
        await trio.sleep(1)
        if how == "says so":
            assert "EndFrame" not in last.kinds()
            one.set_unusable("it hangs")
            await trio.sleep(1)
        assert last.kinds()[-1] == "EndFrame"


# When the chosen one cannot be set up, the active one stays; who waits gets the error, and it goes up.
@pytest.mark.parametrize("how", ["raises", "too long"])
async def test_a_chosen_one_that_cannot_be_set_up(autojump_clock, debug, how):
    two = Part("2", error=OSError("no model")) if how == "raises" else Part("2", up=50)
    switcher = ServiceSwitcher([Part("1"), two], None, warm=False, name="switcher")
    async with live([switcher], debug=debug, setup_timeout=5) as now:
        with pytest.raises((OSError, trio.TooSlowError)) as raised:
            await switcher.switch_to("2")
        assert switcher.active.name == "1"
        await now.say("a")
        await now.task.flush()
        (error,) = [frame for frame in now.up if isinstance(frame, ErrorFrame)]
        assert error.exception is raised.value
        assert "'switcher' could not switch to '2'" in error.error
        two.error, two.up = None, 0
        await switcher.switch_to("2")  # choosing it is trying it
        await now.say("b")
    assert now.texts == ["a1", "b2"]


# -- frames that are for all


# All services are shown them, and each goes on once, in its place: by the active one, which may keep it.
@pytest.mark.parametrize("keeps", [False, True], ids=["goes on", "is kept"])
async def test_frames_that_are_for_all(autojump_clock, debug, observers, keeps):
    first, last = Sees(), Sees()
    one, two = Part("1", delay=1, swallows=(Tune,) if keeps else ()), Part("2", delay=0)
    switcher = ServiceSwitcher([one, two], to_all=[Tune, Ping])
    async with live([first, switcher, last], debug=debug, observers=observers) as now:
        await now.task.queue_frames([text("a"), Tune("de"), text("b"), Ping()])
        await now.task.queue_frame(Tune("fr"), UP)
        await trio.sleep(5)
        await switcher.switch_to(two)
        await now.say("c")
    assert [kind for kind in last.kinds() if kind != "Ping"] == [
        *["StartFrame", "a1", *([] if keeps else ["Tune"]), "b1"],
        *["ServiceSwitchedFrame", "c2", "EndFrame"],
    ]
    assert last.kinds().count("Ping") == 1
    assert first.kinds(UP).count("Tune") == (0 if keeps else 1)
    assert one.seen.count("Tune") == two.seen.count("Tune") == 2
    assert one.seen.count("Ping") == two.seen.count("Ping") == 1


# One that is behind with them when it becomes active does not let them out a second time.
async def test_a_copy_that_is_handled_late_does_not_come_out(autojump_clock, debug):
    class Slow(Part):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Tune):
                await trio.sleep(5)
            await super().process_frame(frame, direction)

    last = Sees()
    switcher = ServiceSwitcher([Part("1"), Slow("2")], to_all=Tune)
    frames = [Tune(), text("a"), SwitchServiceFrame("2"), text("b"), Tune()]
    with trio.fail_after(HUNG):
        await run_pipeline([switcher, last], frames, params=PipelineParams(debug=debug))
    assert last.kinds() == ["StartFrame", "Tune", "a1", "ServiceSwitchedFrame", "b2", "Tune", "EndFrame"]


# What comes back to the switcher, because the active one has not begun it, is not shown to the others a second time.
async def test_what_came_back_is_shown_once(autojump_clock, debug):
    last = Sees()
    one, two, three = Part("1", delay=5), Part("2"), Part("3")
    switcher = ServiceSwitcher([one, two, three], to_all=Tune)
    async with live([switcher, last], debug=debug) as now:
        await now.task.queue_frames([text("a"), text("b"), Tune(), text("c")])
        await trio.sleep(1)
        await switcher.switch_to(two)
    assert last.kinds() == ["StartFrame", "a1", "ServiceSwitchedFrame", "b2", "Tune", "c2", "EndFrame"]
    assert one.seen.count("Tune") == 0
    assert two.seen.count("Tune") == three.seen.count("Tune") == 1


# An interrupt makes one that came back stale as well.
async def test_what_came_back_can_be_stale(autojump_clock, debug):
    last = Sees()
    one, two = Part("1", delay=5), Part("2", delay=5)
    switcher = ServiceSwitcher([one, two], to_all=Tune)
    async with live([switcher, last], debug=debug) as now:
        await now.task.queue_frames([text("a"), text("b"), Tune("1"), Tune("2", interruptible=False)])
        await trio.sleep(1)
        switcher.switch_to(two)
        await trio.sleep(6)
        now.task.interrupt()
        await now.say("c")
    assert [kind for kind in last.kinds() if kind not in ("InterruptionFrame", "ServiceSwitchedFrame")] == [
        *["StartFrame", "a1", "Tune", "c2", "EndFrame"],
    ]


# -- where it stands


async def test_switchers_in_switchers_branches_and_slots(autojump_clock, debug):
    inner = ServiceSwitcher([Part("1"), Part("2")])
    outer = ServiceSwitcher([inner, Part("3")])
    side = ServiceSwitcher([Part("4"), Part("5")])
    slot = Switchable(outer)
    async with live([ParallelPipeline([slot], [side])], debug=debug) as now:
        await now.say("a")
        await now.task.flush()
        await inner.switch_to("2")
        await side.switch_to("5")
        await now.say("b")
        await now.task.flush()
        await outer.switch_to("3")
        await now.say("c")
        await now.task.flush()
        await slot.replace(ServiceSwitcher([Part("6")]))
        await now.say("d")
    assert sorted(now.texts) == ["a1", "a4", "b2", "b5", "c3", "c5", "d5", "d6"]


async def test_a_picture_of_it():
    picture = Pipeline([ServiceSwitcher([Part("1"), function("2")], name="voices")]).mermaid()
    assert "voices" in picture
    assert picture.count("one of") == 1


# Pipelines that say what they take and give look into the services.
def test_services_that_cannot_fit():
    @each
    def of_notes(frame: Note) -> TextFrame:
        return TextFrame()

    @each
    def of_texts(frame: TextFrame) -> TextFrame:
        return frame

    Pipeline([ServiceSwitcher([of_texts, of_texts])], takes=TextFrame, gives=TextFrame)
    with pytest.raises(ConfigurationError, match="takes Note, and none can come to it"):
        Pipeline([ServiceSwitcher([of_texts, of_notes])], takes=TextFrame)
    with pytest.raises(ConfigurationError, match="is said to give Note"):
        Pipeline([ServiceSwitcher([of_texts, of_texts])], takes=TextFrame, gives=Note)


# -- what cannot be


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ([], "has no services, expected at least one"),
        (Part("1"), "expected a list of services"),
        ("ab", "expected a list of services"),
        (3, "expected a list of services"),
        ([Part], r"expected an instance: Part\(...\)"),
        ([[Part("1")]], "wrap a list in Pipeline"),
        ([None], "expected a processor"),
    ],
    ids=repr,
)
def test_wrong_services(services, expected):
    with pytest.raises(ConfigurationError, match=expected):
        ServiceSwitcher(services)


def test_one_service_in_two_places():
    one = Part("one")
    with pytest.raises(ConfigurationError, match="'one' is in 'voices' twice"):
        ServiceSwitcher([one, Part("2"), one], name="voices")
    with pytest.raises(ConfigurationError, match="'one' is in .* twice"):
        Pipeline([one, ServiceSwitcher([Part("2"), one])])


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("strategy", "failover", "a SwitchStrategy such as"),
        ("strategy", object, "a SwitchStrategy such as"),
        ("warm", 1, "True or False"),
        ("to_all", TextFrame("a"), "frame classes"),
        ("to_all", "Tune", "frame classes"),
        ("to_all", [int], "frame classes"),
        ("to_all", EndFrame, "not of lifecycle frames"),
    ],
    ids=repr,
)
def test_wrong_settings(setting, value, expected):
    with pytest.raises(ConfigurationError, match=rf"ServiceSwitcher\({setting}=.*{expected}"):
        ServiceSwitcher([Part("1")], **{setting: value})


@pytest.mark.parametrize("service", ["three", Part("1"), None, 3], ids=repr)
def test_choosing_what_is_not_in_it(service):
    switcher = ServiceSwitcher([Part("one"), Part("two")])
    with pytest.raises(ConfigurationError, match="expected one of its services, or the name of one: 'one', 'two'"):
        switcher.switch_to(service)


def test_a_name_that_two_services_have():
    switcher = ServiceSwitcher([Part("one"), Part("one")])
    with pytest.raises(ConfigurationError, match="expected one of its services"):
        switcher.switch_to("one")
    switcher.switch_to(switcher.services[1])
    assert switcher.active is switcher.services[1]


@pytest.mark.parametrize("service", ["", None, 3, Part], ids=repr)
def test_a_frame_that_names_no_service(service):
    with pytest.raises(ConfigurationError, match=r"SwitchServiceFrame\(service="):
        SwitchServiceFrame(service)


# It is usable as its services are.
async def test_a_switcher_cannot_be_called_unusable(autojump_clock):
    switcher = ServiceSwitcher([Part("1")])
    async with live([switcher]):
        with pytest.raises(RuntimeError, match="as long as one of its services is"):
            switcher.set_unusable("why")
        with pytest.raises(RuntimeError, match="as long as one of its services is"):
            switcher.set_usable()
        assert switcher.is_usable


async def test_called_from_another_run():
    switcher = ServiceSwitcher([Part("1"), Part("2")])

    async def elsewhere():
        with pytest.raises(RuntimeError, match="another Trio run"):
            switcher.switch_to("2")

    async with live([switcher]):
        await trio.to_thread.run_sync(trio.run, elsewhere)
        assert switcher.active.name == "1"


# -- rules


async def think(frame: TextFrame) -> TextFrame:
    await trio.sleep(0.1)
    return frame


@processor
async def passing(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        with frames.interruptible():
            await trio.sleep(0.1)
            await out.push(frame)


# A switcher is not told apart from a processor, whatever is in it.
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("first", ["class", "function", "block"])
async def test_a_switcher_keeps_every_rule(pipes_clock, warm, first):
    def make():
        one = {"class": FrameProcessor, "function": lambda: each(think), "block": lambda: passing}[first]()
        return ServiceSwitcher([one, FrameProcessor()], warm=warm)

    await check_processor(make)


def scenario(warm):
    log = []

    def make():
        log.clear()
        parts = [Part("1", log, delay=0.1), Part("2", log, delay=0.1, up=0.1, down=0.1)]
        switcher = ServiceSwitcher(parts, warm=warm)
        task = PipelineTask(Pipeline([switcher]))

        async def run():
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                with suppress(trio.BrokenResourceError):
                    await task.queue_frames(said("a", "b"))
                    switcher.switch_to("2")
                    await task.queue_frame(text("c"))
                    await task.queue_frame(SwitchServiceFrame("1"))
                    await trio.sleep(0.5)
                    task.stop_when_done()

        def check():
            assert sum(entry.endswith("up") for entry in log) == sum(entry.endswith("down") for entry in log)

        return run, check, task.cancel

    return make


# Cancelled at any moment of a switch, nothing is left open.
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_cancelled_at_every_moment(warm):
    assert cancelled_everywhere(scenario(warm)) > 30
