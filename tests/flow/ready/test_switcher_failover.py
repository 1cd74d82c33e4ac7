"""A service of a `ServiceSwitcher` that cannot work any more: who takes over, with which frames, and what is told (P3)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from cancel_everywhere import cancelled_everywhere
from flow_kit import DOWN, HUNG, UP, Sees, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    Failover,
    FrameProcessor,
    Frames,
    FrameTimeout,
    Out,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ServiceSwitchedFrame,
    ServiceSwitcher,
    StartFrame,
    StartTimeout,
    StopFrame,
    Switchable,
    SwitchServiceFrame,
    SwitchStrategy,
    SystemFrame,
    TaskState,
    TextFrame,
    UnusablePolicy,
    each,
    processor,
    with_deadline,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    pass


@attrs.define(eq=False)
class Tune(ControlFrame):
    pass


class Part(FrameProcessor):
    """Appends its label to texts. `on` says what it does instead when a text comes."""

    def __init__(self, label, delay=0.0, up=0.0, down=0.0, **on):
        super().__init__(label)
        self.label, self.delay, self.up, self.down, self.on = label, delay, up, down, on
        self.seen = []
        self.log = []
        self.breaks = trio.Event()

    @asynccontextmanager
    async def lifespan(self):
        await trio.sleep(self.up)
        if "setup" in self.on:
            raise self.on["setup"]
        self.breaks = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.background)
            self.log.append("up")
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.sleep(self.down)
                self.log.append("down")

    async def background(self):
        await self.breaks.wait()
        raise ConnectionError("the line is dead")

    async def process_frame(self, frame, direction):
        self.seen.append(frame.text if isinstance(frame, TextFrame) else type(frame).__name__)
        if isinstance(frame, TextFrame) and direction is DOWN:
            does = self.on.get(frame.text)
            if does == "says":
                self.set_unusable("quota used up")
            await trio.sleep(self.delay)
            if does == "raises":
                raise ConnectionError("refused")
            if does == "half":
                await self.push_frame(text(f"{frame.text} half"))
                raise ConnectionError("refused")
            if does == "hangs":
                await trio.sleep_forever()
            if does == "reports":
                await self.push_error("a hiccup")
            frame = text(frame.text + self.label, kept=not frame.interruptible)
        await self.push_frame(frame, direction)


def errors_of(received):
    return [frame.error for frame in received.up if isinstance(frame, ErrorFrame)]


def switches(frames):
    return [(f.before.name, f.service.name, f.reason) for f in frames if isinstance(f, ServiceSwitchedFrame)]


warmth = pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])


async def run(parts, frames, strategy=None, *, debug=False, warm=True, **settings):
    switcher = ServiceSwitcher(parts, strategy or Failover(), warm=warm, name="switcher")
    with trio.fail_after(HUNG):
        received = await run_pipeline(
            Pipeline([Sees(), switcher]), frames, params=PipelineParams(debug=debug, **settings)
        )
    return switcher, received


# -- what becomes of the frames


# A handler that says that its service cannot work any more finishes its frame; what it has not begun is the next one's.
@warmth
@pytest.mark.parametrize("size", [1, 64])
async def test_a_service_that_says_so(autojump_clock, debug, warm, size):
    one, two = Part("1", 1, b="says"), Part("2")
    _, received = await run([one, two], said(*"abcd"), debug=debug, warm=warm, queue_size=size)
    assert texts(received.down) == ["a1", "b1", "c2", "d2"]
    assert switches(received.down) == switches(received.up) == [("1", "2", "quota used up")]
    assert errors_of(received) == ["1 is unusable: quota used up"]
    assert one.seen == ["StartFrame", "a", "b", "EndFrame"]
    assert two.seen == ["StartFrame", "c", "d", "EndFrame"]


# The frame on which a handler has failed is the next one's, if nothing has come of it.
@warmth
@pytest.mark.parametrize("kind", ["class", "async", "sync", "generator", "block", "nested"])
async def test_a_service_that_fails_on_a_frame(autojump_clock, debug, warm, kind):
    def fails(frame):
        if frame.text == "b":
            raise ConnectionError("refused")
        return text(frame.text + "1")

    @each(name="1")
    async def asynchronous(frame: TextFrame):
        await trio.sleep(1)
        return fails(frame)

    @each(name="1")
    def sync(frame: TextFrame):
        return fails(frame)

    @each(name="1")
    async def generator(frame: TextFrame):
        await trio.sleep(1)
        yield fails(frame)

    @processor(name="1")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await trio.sleep(1)
            await out.push(fails(frame))

    one = {
        "class": Part("1", 1, b="raises"),
        "async": asynchronous,
        "sync": sync,
        "generator": generator,
        "block": block,
        "nested": ServiceSwitcher([Part("1", b="raises")], name="1"),
    }[kind]
    two = Part("2", 1)
    _, received = await run([one, two], said(*"abcd"), debug=debug, warm=warm)
    assert texts(received.down) == ["a1", "b2", "c2", "d2"]
    assert errors_of(received)[0] == "1 is unusable: ConnectionError: refused"
    (error,) = [f.exception for f in received.up if isinstance(f, ErrorFrame) and f.exception]
    assert "in processor '1', frame TextFrame#" in error.__notes__[0]


# When something has come of it already it is not given again; nor with repeat=False. The error names the frame.
@pytest.mark.parametrize("how", ["half", "raises"])
async def test_a_frame_that_is_not_repeated(autojump_clock, debug, how):
    strategy = Failover(repeat=how == "half")
    _, received = await run([Part("1", b=how), Part("2")], said(*"abc"), strategy, debug=debug)
    assert texts(received.down) == ["a1", *(["b half"] if how == "half" else []), "c2"]
    (error,) = [frame for frame in received.up if isinstance(frame, ErrorFrame)]
    assert "frame TextFrame#" in error.exception.__notes__[0]


# A handler that waits for what never comes is stopped when something else in its service says that it cannot work.
@warmth
@pytest.mark.parametrize("kind", ["class", "block"])
async def test_a_handler_that_hangs_is_stopped(autojump_clock, debug, warm, kind):
    outs = []

    @processor(name="1")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        outs.append(out)
        async for frame in frames:
            with frames.interruptible():
                await trio.sleep_forever() if frame.text == "b" else None
                await out.push(text(frame.text + "1"))

    one = Part("1", b="hangs") if kind == "class" else block
    switcher = ServiceSwitcher([one, Part("2")], warm=warm)
    async with live([switcher], debug=debug) as now:
        await now.say(*"abc")
        await trio.sleep(5)
        assert now.texts == ["a1"]
        (outs[0] if outs else one).set_unusable("the line is dead")
        await trio.sleep(1)
        assert now.texts == ["a1", "b2", "c2"]


# Unless its frame is uninterruptible: then it is waited for.
async def test_a_handler_of_an_uninterruptible_frame_is_not_stopped(autojump_clock, debug):
    one = Part("1", 5)
    async with live([ServiceSwitcher([one, Part("2")])], debug=debug) as now:
        await now.task.queue_frames([text("a", kept=True), text("b")])
        await trio.sleep(1)
        one.set_unusable("the line is dead")
        await trio.sleep(1)
        assert now.texts == []
    assert now.texts == ["a1", "b2"]


# What was said half when its handler was stopped is lost, and told; or repeated by nobody.
async def test_a_stopped_frame_that_is_lost_is_told(autojump_clock, debug):
    class Half(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame):
                await trio.sleep_forever()

    one = Half("one")
    async with live([ServiceSwitcher([one, Part("2")])], debug=debug) as now:
        frame = text("a")
        await now.task.queue_frames([frame, text("b")])
        await trio.sleep(1)
        one.set_unusable("the line is dead")
        await trio.sleep(1)
    assert now.texts == ["a", "b2"]
    assert f"'one' had begun what is lost now: {frame.name}" in errors_of(now)


# A service of several processors: what waits between its first and the one that cannot work is lost, and told.
async def test_what_waits_within_a_service_is_lost_and_told(autojump_clock, debug):
    inner = Part("1", b="raises", delay=1)
    row = Pipeline([Sees(name="before"), inner], name="row")
    frames = said(*"abcd")
    switcher = ServiceSwitcher([row, Part("2")])
    async with live([switcher], debug=debug) as now:
        await now.task.queue_frames(frames)
        await trio.sleep(5)
        await now.say("e")
    assert now.texts == ["a1", "e2"]
    lost = f"'row' had begun what is lost now: {frames[2].name}, {frames[3].name}"
    assert lost in errors_of(now)


# Background work that dies takes its service with it: what that had in hand is stopped, it is cleaned up, and shown nothing
# any more.
@warmth
async def test_background_work_that_dies(autojump_clock, debug, warm):
    one, two = Part("1", 1, down=3, b="hangs"), Part("2")
    switcher = ServiceSwitcher([one, two], warm=warm)
    async with live([switcher], debug=debug) as now:
        await now.say(*"abc")
        await trio.sleep(5)
        one.breaks.set()
        await trio.sleep(4)  # it is known when the lifespan has been left
        assert now.texts == ["a1", "b2", "c2"]
        assert not one.is_usable
        assert one.log == ["up", "down"]
        await now.task.queue_frame(Ping())
    assert one.seen == ["StartFrame", "a", "b"]
    (error, *_) = [frame for frame in now.up if isinstance(frame, ErrorFrame)]
    assert error.error.startswith("1 is unusable: ExceptionGroup")
    assert now.task.state is TaskState.ENDED


# Its handlers are stopped whatever they work on. What has not come of an uninterruptible frame is the next one's.
@warmth
@pytest.mark.parametrize("when", ["at work", "after it was lost"])
async def test_an_uninterruptible_frame_in_a_service_that_breaks(autojump_clock, debug, warm, when):
    one, two = Part("1", 50), Part("2")
    switcher = ServiceSwitcher([one, two], warm=warm)
    async with live([switcher], debug=debug) as now:
        await now.task.queue_frames([text("a", kept=True), text("b", kept=True)])
        await trio.sleep(1)
        if when == "after it was lost":
            one.set_unusable("it says so")
            await trio.sleep(1)
            assert switcher.active is one  # it is waited for
        one.breaks.set()
        await trio.sleep(1)
        assert now.texts == ["a2", "b2"]


# Whatever is in a service of several processors that breaks, and cannot go to the next one, is told.
@pytest.mark.parametrize("kind", ["class", "inline", "concurrent", "paused"])
async def test_what_is_in_a_service_that_breaks_is_told(autojump_clock, debug, kind):
    @each(name="slow", concurrency=2)
    async def concurrent(frame: TextFrame):
        await trio.sleep(50)
        return frame

    one = Part("1")
    inner = concurrent if kind == "concurrent" else Sees(0 if kind == "paused" else 50, inline=kind == "inline")
    row = Pipeline([one, inner, Sees()], name="row")
    frames = [text(content, kept=content == "b") for content in "abcdefgh"]
    seen = []

    class Watches:
        def on_frame_pushed(self, task, processor, frame, direction):
            if processor is one and isinstance(frame, TextFrame):
                seen.append(frame)

    switcher = ServiceSwitcher([row, Part("2")])
    async with live([switcher], debug=debug, queue_size=2, observers=[Watches()]) as now:
        if kind == "paused":
            inner.pause()
        for frame in frames[:6]:
            await now.task.queue_frame(frame)
        await trio.sleep(1)
        one.breaks.set()
        await trio.sleep(1)
        await now.task.queue_frames(frames[6:])
    came = [content[0] for content in now.texts]
    told = [error for error in errors_of(now) if error.startswith("'row' had begun what is lost now")]
    lost = {frame.text[0] for frame in seen if any(frame.name in error for error in told)}
    lost |= {frame.text[0] for frame in frames if any(frame.name in error for error in told)}
    assert came == sorted(set(came))
    assert set(came) | lost == set("abcdefgh")
    assert came[-2:] == ["g", "h"]
    assert not set(came) & lost


# What comes from below, and what is urgent, is not lost with it.
async def test_what_waits_in_a_service_that_breaks_passes_by(autojump_clock, debug):
    class Busy(Part):
        async def process_frame(self, frame, direction):
            if direction is UP or isinstance(frame, Ping):
                await trio.sleep(100)
            await super().process_frame(frame, direction)

    one, first, last = Busy("1"), Sees(), Sees()
    async with live([first, ServiceSwitcher([one, Part("2")]), last], debug=debug) as now:
        for _ in range(3):
            await now.task.queue_frame(text("up"), UP)
            await now.task.queue_frame(Ping())
            await now.task.queue_frame(Ping(), UP)
        await trio.sleep(1)
        one.breaks.set()
        await trio.sleep(1)
        assert last.kinds().count("Ping") == 2
        assert first.kinds(UP).count("Ping") == 2
        assert first.kinds(UP).count("up") == 2


# Everything that was accepted before the end is served, also by the service that takes over at the last moment.
@warmth
@pytest.mark.parametrize("last", [EndFrame, StopFrame])
async def test_the_end_waits_for_the_one_that_takes_over(autojump_clock, debug, warm, last):
    one, two = Part("1", 1, b="says"), Part("2", 1)
    task = PipelineTask(Pipeline([ServiceSwitcher([one, two], warm=warm)]), PipelineParams(debug=debug))
    await task.queue_frames([*said(*"abcd"), last()])
    async with task.open_output(TextFrame) as out:
        with trio.fail_after(HUNG):
            result = await task.run()
        assert [frame.text async for frame in out] == ["a1", "b1", "c2", "d2"]
    assert result.state is (TaskState.ENDED if last is EndFrame else TaskState.STOPPED)
    assert two.seen[-1] == last.__name__
    assert one.seen[-1] == (last.__name__ if warm else "EndFrame")  # a cold one ends when it is left


# A flush waits for it too.
async def test_a_flush_waits_for_the_one_that_takes_over(autojump_clock, debug):
    async with live([ServiceSwitcher([Part("1", 1, b="raises"), Part("2", 1)])], debug=debug) as now:
        await now.say(*"abc")
        assert await now.task.flush()
        await settle()
        assert now.texts == ["a1", "b2", "c2"]


# Interrupts: what came back to the switcher is as stale as what waits anywhere.
async def test_an_interrupt_while_another_one_takes_over(autojump_clock, debug):
    one, two = Part("1", b="says", delay=5), Part("2")
    async with live([Sees(), ServiceSwitcher([one, two])], debug=debug) as now:
        await now.task.queue_frames([text("b"), text("c"), text("d", kept=True)])
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("e")
    assert now.texts == ["d2", "e2"]


# -- in which order


# The next one in the list, and after the last the first; those that cannot work are passed over.
async def test_one_after_the_other_in_a_ring(autojump_clock, debug):
    parts = [Part("1", b="says"), Part("2", c="says"), Part("3", d="says")]
    switcher = ServiceSwitcher(parts)
    async with live([switcher], debug=debug) as now:
        await now.say("a", "b", "c", "d")
        await now.task.flush()
        assert [part.is_usable for part in parts] == [False, False, False]
        parts[0].set_usable()
        await now.say("e")
        await now.task.flush()
        parts[2].set_usable()
        parts[0].set_unusable("again")
        await now.say("f")
    assert now.texts == ["a1", "b1", "c2", "d3", "e1", "f3"]


async def test_chosen_by_hand_all_the_same(autojump_clock, debug):
    parts = [Part("1"), Part("2", b="raises"), Part("3")]
    frames = [SwitchServiceFrame("2"), *said("a", "b"), SwitchServiceFrame("1"), text("c")]
    _, received = await run(parts, frames, debug=debug)
    assert texts(received.down) == ["a2", "b3", "c1"]


# One in reserve that fails is told, and passed over when its turn comes.
async def test_one_in_reserve_that_fails(autojump_clock, debug):
    class OutOfTune(Part):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Tune):
                raise ValueError("out of tune")
            await super().process_frame(frame, direction)

    one, two, three = Part("1", b="says"), OutOfTune("2"), Part("3")
    switcher = ServiceSwitcher([one, two, three], to_all=Tune)
    async with live([switcher], debug=debug) as now:
        await now.task.queue_frames([Tune(), *said(*"ab")])
        await now.task.flush()
        assert dict(switcher.lost) == {"1": "quota used up", "2": "ValueError: out of tune"}
        assert switcher.usable_services == (three,)
        await now.say("c")
    assert now.texts == ["a1", "b1", "c3"]
    assert switches(now.down) == [("1", "3", "quota used up")]
    assert "2 is unusable: ValueError: out of tune" in errors_of(now)


# -- set-up


# A service that cannot be set up is one that is lost; the run starts with the next one.
@warmth
async def test_the_first_cannot_be_set_up(autojump_clock, debug, warm):
    one, two = Part("1", setup=OSError("no model"), up=1), Part("2", up=2)
    _, received = await run([one, two], said("a"), debug=debug, warm=warm)
    assert texts(received.down) == ["a2"]
    assert errors_of(received) == ["1 is unusable: OSError: no model"]
    assert one.seen == []
    assert two.seen == ["StartFrame", "a", "EndFrame"]


async def test_a_block_that_cannot_be_set_up(autojump_clock, debug):
    @processor(name="1")
    async def fails(frames: Frames[TextFrame], out: Out) -> None:
        await trio.sleep(1)
        raise OSError("no model")

    _, received = await run([fails, Part("2")], said("a"), debug=debug)
    assert texts(received.down) == ["a2"]
    assert errors_of(received) == ["1 is unusable: OSError: no model"]


# One in reserve that is not ready within setup_timeout is lost; it does not keep the run from starting.
@pytest.mark.parametrize("kind", ["class", "block"])
@pytest.mark.parametrize("place", [0, 1], ids=["active", "reserve"])
async def test_a_set_up_that_takes_too_long(autojump_clock, debug, kind, place):
    closed = []

    @processor(name="slow")
    async def never(frames: Frames[TextFrame], out: Out) -> None:
        try:
            await trio.sleep_forever()
        finally:
            closed.append("block")

    slow = never if kind == "block" else Part("slow", up=50)
    parts = [Part("1")]
    parts.insert(place, slow)
    switcher = ServiceSwitcher(parts)
    async with live([switcher], debug=debug, setup_timeout=5) as now:
        assert trio.current_time() == 5
        await now.say("a")
        await settle()
        assert "setup_timeout (5 s" in switcher.lost["slow"]
        assert closed == (["block"] if kind == "block" else [])
    assert now.texts == ["a1"]


# When none can be set up the run fails, with the last one's error, which names the others and why they are lost.
async def test_none_can_be_set_up(autojump_clock, debug):
    parts = [Part("1", setup=OSError("no model"), up=1), Part("2", setup=OSError("no key"), up=2)]
    with pytest.raises(ExceptionGroup) as raised:
        await run(parts, said("a"), debug=debug)
    (error,) = raised.value.exceptions
    assert str(error) == "no key"
    assert "no other service is left: '1' (OSError: no model)" in "".join(error.__notes__)


async def test_none_is_set_up_in_time(autojump_clock, debug):
    with pytest.raises(trio.TooSlowError, match="set-up of '1', '2' has not finished"):
        await run([Part("1", up=50), Part("2", up=50)], said("a"), debug=debug, setup_timeout=5)


# A cold service that cannot be set up when it has to take over: the one behind it does.
async def test_a_cold_one_that_cannot_take_over(autojump_clock, debug):
    parts = [Part("1", b="says"), Part("2", setup=OSError("no model"), up=1), Part("3", up=1)]
    _, received = await run(parts, said(*"abc"), debug=debug, warm=False)
    assert texts(received.down) == ["a1", "b1", "c3"]
    assert "'switcher' could not switch to '2': no model" in errors_of(received)


# In its start as well: the others have been shown it, and frames wait.
async def test_a_service_that_fails_on_the_start(autojump_clock, debug):
    class Fails(Part):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                raise OSError("cannot start")
            await super().process_frame(frame, direction)

    one, two = Fails("1"), Part("2")
    _, received = await run([one, two], said("a"), debug=debug)
    assert texts(received.down) == ["a2"]
    assert two.seen == ["StartFrame", "a", "EndFrame"]


# Background work that dies while StartFrame is being handled does not keep it from the others.
async def test_a_service_that_breaks_in_its_start(autojump_clock, debug):
    class Stuck(Part):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                self.breaks.set()
                await trio.sleep_forever()

    last = Sees()
    async with live([ServiceSwitcher([Stuck("1"), Part("2")]), last], debug=debug) as now:
        await now.say("a")
    assert last.kinds() == ["StartFrame", "ServiceSwitchedFrame", "a2", "EndFrame"]


async def test_a_start_that_hangs_is_a_start_timeout(autojump_clock, debug):
    class Stuck(FrameProcessor):
        async def process_frame(self, frame, direction):
            await trio.sleep_forever()

    with pytest.raises(StartTimeout, match="'stuck' has StartFrame"):
        await run([Stuck("stuck"), Part("2")], said("a"), debug=debug)


# -- errors that are not a loss


# With REPORT a service goes on after an error; a strategy may turn to another one.
@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("where", ["service", "task", "reports"])
async def test_errors_that_a_service_survives(autojump_clock, debug, turns, where):
    seen = []

    class Wary(SwitchStrategy):
        def next_service(self, switcher):
            raise AssertionError("nobody was lost")

        def after_error(self, switcher, error):
            seen.append(error.error)
            return switcher.usable_services[1] if turns else None

    one = Part("1", b="reports" if where == "reports" else "raises")
    if where == "service":
        one.on_error = ErrorPolicy.REPORT
    policy = ErrorPolicy.REPORT if where == "task" else ErrorPolicy.RAISE
    switcher = ServiceSwitcher([one, Part("2")], Wary())
    async with live([switcher], debug=debug, on_error=policy) as now:
        await now.say("a", "b")
        await now.task.flush()
        await now.say("c")
    assert now.texts == ["a1", *(["b1"] if where == "reports" else []), "c2" if turns else "c1"]
    assert seen == errors_of(now) == ["a hiccup" if where == "reports" else "refused"]
    assert one.is_usable


# An error from below that passes through a service is not its own.
async def test_an_error_from_below_is_no_concern_of_the_strategy(autojump_clock, debug):
    class Asked(SwitchStrategy):
        def next_service(self, switcher):
            raise AssertionError("nobody was lost")

        def after_error(self, switcher, error):
            raise AssertionError("this was somebody else's error")

    below = Part("below", b1="raises")
    below.on_error = ErrorPolicy.REPORT
    switcher = ServiceSwitcher([Part("1"), Part("2")], Asked())
    async with live([switcher, below], debug=debug) as now:
        await now.say("a", "b", "c")
    assert now.texts == ["a1below", "c1below"]
    assert errors_of(now) == ["refused"]


# A frame whose own deadline has passed is late wherever it goes: that costs no service.
async def test_a_frame_that_is_late_costs_no_service(autojump_clock, debug):
    with pytest.raises(ExceptionGroup) as raised:
        await run([Part("1", 1), Part("2", 1)], [text("a"), with_deadline(text("b"), 0.5)], debug=debug)
    assert raised.group_contains(FrameTimeout, match="deadline")


# The time that a service may take over a frame is its own.
async def test_a_service_that_takes_too_long(autojump_clock, debug):
    one = Part("1", b="hangs")
    one.frame_timeout = 5
    _, received = await run([one, Part("2")], said(*"abc"), debug=debug)
    assert texts(received.down) == ["a1", "b2", "c2"]
    assert "FrameTimeout" in errors_of(received)[0]


# A fatal error ends the task, wherever it is.
async def test_a_fatal_error_ends_the_task(autojump_clock, debug):
    class Fatal(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await self.push_error("beyond repair", fatal=True)
            await self.push_frame(frame, direction)

    with pytest.raises(ExceptionGroup, match="failed"):
        await run([Fatal(), Part("2")], said("a"), debug=debug)


# Without a strategy nobody takes over: an error fails the task, and frames pass by what cannot work.
async def test_without_a_strategy(autojump_clock, debug):
    for does in ("raises", "says"):
        switcher = ServiceSwitcher([Part("1", b=does), Part("2")], None)
        frames = [*said("a", "b", "c"), SwitchServiceFrame("2"), text("d")]
        if does == "raises":
            with pytest.raises(ExceptionGroup) as raised:
                await run_pipeline([switcher], frames, params=PipelineParams(debug=debug))
            assert raised.group_contains(ConnectionError, match="refused")
        else:
            received = await run_pipeline([switcher], frames, params=PipelineParams(debug=debug))
            assert texts(received.down) == ["a1", "b1", "c", "d2"]


# -- nobody is left


# As long as one service is usable the switcher is.
async def test_a_lost_service_does_not_make_the_switcher_unusable(autojump_clock, debug):
    told = []

    class Watches:
        def on_usable_changed(self, task, processor, usable):
            told.append((processor.name, usable))

    switcher = ServiceSwitcher([Part("1", a="says"), Part("2", b="raises"), Part("3")])
    params = {"debug": debug, "on_unusable": UnusablePolicy.CANCEL}
    async with live([switcher], observers=[Watches()], **params) as now:
        await now.say("a", "b", "c")
        await now.task.flush()
        assert switcher.is_usable
        assert switcher.usable_services == switcher.services[2:]
    assert now.texts == ["a1", "b3", "c3"]
    assert told == [("1", False), ("2", False)]
    assert now.task.state is TaskState.ENDED


# A service that was lost and goes on failing, on frames from below here, is told each time, and decides nothing.
async def test_a_lost_service_that_goes_on_failing(autojump_clock, debug):
    class Fails(Part):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Tune | Ping):
                await trio.sleep(1)
                raise ValueError(f"fails on {type(frame).__name__}")
            await super().process_frame(frame, direction)

    one, two = Fails("1"), Part("2")
    switcher = ServiceSwitcher([one, two])
    async with live([switcher], debug=debug) as now:
        await now.task.queue_frames([Ping(), Tune()])
        await now.task.queue_frame(Ping(), UP)
        await trio.sleep(0.5)
        one.set_unusable("out of order")
        await now.say("a")
        await trio.sleep(1)
        assert switcher.active is two
    assert now.texts == ["a2"]
    assert sorted(errors_of(now))[-2:] == ["fails on Ping", "fails on Ping"]
    assert switches(now.down) == [("1", "2", "out of order")]


# When the last one says that it cannot work, the switcher is unusable: frames pass by it, and the policy says what the
# task does. The error names every service, and why.
@pytest.mark.parametrize("policy", list(UnusablePolicy), ids=lambda policy: policy.name)
@pytest.mark.parametrize("where", ["task", "switcher"])
async def test_nobody_is_left(autojump_clock, debug, policy, where):
    told = []

    class Watches:
        def on_usable_changed(self, task, processor, usable):
            told.append((processor.name, usable))

    switcher = ServiceSwitcher([Part("1", b="raises"), Part("2", c="says")], name="switcher")
    params = PipelineParams(debug=debug, on_unusable=policy if where == "task" else UnusablePolicy.CONTINUE)
    if where == "switcher":
        switcher.on_unusable = policy
    task = PipelineTask(Pipeline([switcher]), params, observers=[Watches()])
    async with task.open_output(TextFrame) as out, task.open_output(ErrorFrame, direction=UP) as errors:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frames(said("a", "b", "c", "d"))
            await trio.sleep(1)
            assert not switcher.is_usable
            if policy is UnusablePolicy.CONTINUE:
                assert switcher.usable_services == ()
            task.stop_when_done()
        came = [frame.text async for frame in out]
        text_of_it = "no service is left: '1' (ConnectionError: refused), '2' (quota used up)"
        assert f"switcher is unusable: {text_of_it}" in [frame.error async for frame in errors]
    assert came[:3] == ["a1", "b2", "c2"]
    assert told == [("1", False), ("2", False), ("switcher", False)]
    if policy is UnusablePolicy.CONTINUE:
        assert came[3:] == ["d"]
    else:
        assert text_of_it in task.result.reason
    assert task.state is (TaskState.CANCELLED if policy is UnusablePolicy.CANCEL else TaskState.ENDED)


# When the last one fails, its error is the task's.
async def test_the_last_one_fails(autojump_clock, debug):
    with pytest.raises(ExceptionGroup) as raised:
        await run([Part("1", b="says"), Part("2", c="raises")], said(*"abc"), debug=debug)
    (error,) = raised.value.exceptions
    assert isinstance(error, ConnectionError)
    assert "in 'switcher', where no other service is left: '1' (quota used up)" in error.__notes__


async def test_a_single_service_fails(autojump_clock, debug):
    with pytest.raises(ExceptionGroup) as raised:
        await run([Part("1", b="raises")], said(*"abc"), debug=debug)
    (error,) = raised.value.exceptions
    assert not any("no other service" in note for note in error.__notes__)


# A switcher is usable again when one of its services is.
async def test_a_service_comes_back(autojump_clock, debug):
    told = []

    class Watches:
        def on_usable_changed(self, task, processor, usable):
            told.append((processor.name, usable))

    one, two = Part("1", b="says"), Part("2", c="says")
    switcher = ServiceSwitcher([one, two], name="switcher")
    async with live([switcher], debug=debug, observers=[Watches()]) as now:
        await now.say("a", "b", "c", "d")
        await trio.sleep(1)
        assert not switcher.is_usable
        one.set_usable()
        await trio.sleep(1)
        assert switcher.is_usable
        assert switcher.active is one
        await now.say("e")
    assert now.texts == ["a1", "b1", "c2", "d", "e1"]
    assert told[-3:] == [("switcher", False), ("1", True), ("switcher", True)]


# While nobody is left, a choice by a frame is heard all the same.
async def test_a_choice_while_nobody_is_left(autojump_clock, debug):
    two = Part("2", c="says")
    switcher = ServiceSwitcher([Part("1", b="says"), two])
    async with live([switcher], debug=debug) as now:
        await now.say("a", "b", "c", "d")
        await trio.sleep(1)
        await now.task.queue_frame(SwitchServiceFrame("1"))
        await trio.sleep(1)
        assert "'1' cannot be chosen, because it is unusable: quota used up" in errors_of(now)[-1]
        two.set_usable()
        await now.say("e")
    assert now.texts == ["a1", "b1", "c2", "d", "e2"]


# -- coming back


# With failback a service takes over again as soon as it is usable, from one that stands behind it.
@pytest.mark.parametrize("failback", [False, True])
async def test_failing_back(autojump_clock, debug, failback):
    one, two, three = Part("1", b="says"), Part("2"), Part("3")
    switcher = ServiceSwitcher([one, two, three], Failover(failback))
    async with live([switcher], debug=debug) as now:
        await now.say("a", "b", "c")
        await now.task.flush()
        one.set_usable()
        await now.say("d")
        await now.task.flush()
        three.set_unusable("for a moment")
        three.set_usable()
        await now.say("e")
    assert now.texts == ["a1", "b1", "c2", *(["d1", "e1"] if failback else ["d2", "e2"])]


# With retry_after a service that was lost counts as usable again after so many seconds, however it was lost.
@warmth
@pytest.mark.parametrize("how", ["says", "raises", "breaks", "sync", "block"])
async def test_trying_again_after_a_while(autojump_clock, debug, warm, how):
    @each(name="1")
    def sync(frame: TextFrame):
        if frame.text == "b":
            raise ConnectionError("refused")
        return text(frame.text + "1")

    @processor(name="1")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(sync(frame))

    one = {"sync": sync, "block": block}.get(how) or Part("1", b=how)
    switcher = ServiceSwitcher([one, Part("2")], Failover(failback=True, retry_after=30), warm=warm)
    async with live([switcher], debug=debug) as now:
        await now.say("a", "b")
        if how == "breaks":
            await settle()
            one.breaks.set()
        await trio.sleep(29)
        await now.say("c")
        assert not switcher.services[0].is_usable
        await trio.sleep(2)
        await now.say("d")
    assert now.texts == ["a1", "b2" if how in ("raises", "sync", "block") else "b1", "c2", "d1"]


# A loss after a return has its own time.
async def test_trying_again_counts_from_the_last_loss(autojump_clock, debug):
    one = Part("1")
    switcher = ServiceSwitcher([one, Part("2")], Failover(failback=True, retry_after=30))
    async with live([switcher], debug=debug):
        one.set_unusable("first")
        await trio.sleep(10)
        one.set_usable()
        one.set_unusable("second")
        await trio.sleep(25)
        assert switcher.active.name == "2"
        await trio.sleep(10)
        assert switcher.active.name == "1"


# A service that broke can be chosen by hand: choosing it sets it up again.
async def test_a_service_that_broke_is_set_up_when_it_is_chosen(autojump_clock, debug):
    one = Part("1", down=2)
    switcher = ServiceSwitcher([one, Part("2")])
    async with live([switcher], debug=debug) as now:
        await now.say("a")
        await settle()
        one.breaks.set()
        await trio.sleep(3)
        await now.say("b")
        await settle()
        await switcher.switch_to(one)
        await now.say("c")
    assert now.texts == ["a1", "b2", "c1"]
    assert one.log == ["up", "down", "up", "down"]
    assert one.seen == ["StartFrame", "a", "StartFrame", "c", "EndFrame"]


# One that is set up and says that it cannot work is not chosen, by a call or by a frame.
async def test_an_unusable_service_is_not_chosen(autojump_clock, debug):
    one, two = Part("1"), Part("2")
    for strategy in (Failover(), None):
        switcher = ServiceSwitcher([one, two], strategy)
        async with live([switcher], debug=debug) as now:
            two.set_unusable("no credit")
            with pytest.raises(RuntimeError, match=r"'2' cannot be chosen, .*: no credit\. When it works"):
                await switcher.switch_to(two)
            await now.task.queue_frame(SwitchServiceFrame("2"))
            await now.say("a")
            await now.task.flush()
            assert switcher.active is one
        assert now.texts == ["a1"]
        assert sum("could not switch to '2'" in error for error in errors_of(now)) == 2


# -- strategies


@pytest.mark.parametrize(
    "gives",
    [lambda s: FrameProcessor("other"), lambda s: "2", lambda s: s.active, lambda s: 1 / 0],
    ids=["a stranger", "a name", "the lost one", "an error"],
)
async def test_a_strategy_that_gives_what_it_must_not_fails_the_task(autojump_clock, debug, gives):
    class Wrong(SwitchStrategy):
        def next_service(self, switcher):
            return gives(switcher)

    with pytest.raises(ExceptionGroup) as raised:
        await run([Part("1", b="says"), Part("2")], said(*"abc"), Wrong(), debug=debug)
    (error,) = raised.value.exceptions
    assert isinstance(error, ConfigurationError | ZeroDivisionError)
    assert "in Wrong.next_service() of 'switcher'" in error.__notes__


# None is an answer: nobody is to take over.
async def test_a_strategy_that_wants_nobody(autojump_clock, debug):
    class Nobody(SwitchStrategy):
        def next_service(self, switcher):
            return None

    _, received = await run([Part("1", b="says"), Part("2")], said(*"abc"), Nobody(), debug=debug)
    assert texts(received.down) == ["a1", "b1", "c"]
    assert "switcher is unusable: no service is left: '1' (quota used up)" in errors_of(received)


def test_what_failover_is_by_default():
    assert Failover() == Failover(failback=False, retry_after=None, repeat=True)
    assert ServiceSwitcher([Part("1")]).strategy == Failover()


@pytest.mark.parametrize(
    ("setting", "value"), [("failback", 1), ("retry_after", 0), ("retry_after", "5"), ("repeat", None)], ids=repr
)
def test_wrong_settings_of_failover(setting, value):
    with pytest.raises(ConfigurationError, match=rf"Failover\({setting}={value!r}"):
        Failover(**{setting: value})


# -- services within services


# A switcher that is a service of another is lost when its last one is; nothing is lost with it.
async def test_a_switcher_in_a_switcher(autojump_clock, debug):
    inner = ServiceSwitcher([Part("1", b="raises"), Part("2", c="raises")], name="inner")
    _, received = await run([inner, Part("3")], said(*"abcd"), debug=debug)
    assert texts(received.down) == ["a1", "b2", "c3", "d3"]
    assert [switch[:2] for switch in switches(received.down)] == [("1", "2"), ("inner", "3")]


# What is in a slot can be lost as any other service.
async def test_a_slot_in_a_switcher(autojump_clock, debug):
    slot = Switchable(Part("1", b="says"), name="slot")
    switcher = ServiceSwitcher([slot, Part("2")])
    async with live([switcher], debug=debug) as now:
        for content in "abc":
            await now.say(content)
            await now.task.flush()
    assert now.texts == ["a1", "b1", "c2"]
    assert switcher.lost == {} or now.task.state.is_final


# A second run begins afresh.
async def test_a_second_run_begins_afresh(autojump_clock, debug):
    pipeline = Pipeline([ServiceSwitcher([Part("1", b="says"), Part("2")])])
    for _ in range(2):
        received = await run_pipeline(pipeline, said(*"abc"), params=PipelineParams(debug=debug))
        assert texts(received.down) == ["a1", "b1", "c2"]


# Cleanup that fails after a service was lost is told, and does not fail the task; at the end of the run it does.
async def test_a_cleanup_that_fails(autojump_clock, debug):
    class Unclean(Part):
        @asynccontextmanager
        async def lifespan(self):
            async with super().lifespan():
                yield
            raise OSError("cannot close")

    one = Unclean("1")
    async with live([ServiceSwitcher([one, Part("2")], warm=False)], debug=debug) as now:
        await now.task.queue_frame(SwitchServiceFrame("2"))
        await now.say("a")
        await trio.sleep(1)
    assert now.texts == ["a2"]
    assert "cannot close" in errors_of(now)
    with pytest.raises(ExceptionGroup) as raised:
        await run([Unclean("1"), Part("2")], said("a"), debug=debug)
    assert raised.group_contains(OSError, match="cannot close")


def scenario(warm, how):
    logs = []

    def make():
        parts = [Part("1", 0.1, down=0.1, b=how), Part("2", 0.1, up=0.1, down=0.1)]
        logs[:] = [part.log for part in parts]
        task = PipelineTask(Pipeline([ServiceSwitcher(parts, warm=warm)]))

        async def run():
            await task.queue_frames(said("a", "b", "c"))
            task.stop_when_done()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(task.run)
                    await trio.sleep(0.15)
                    if how == "breaks":
                        parts[0].breaks.set()
            except* ConnectionError:
                assert how == "breaks"  # in a run that is cancelled already it is the run's error

        def check():
            for log in logs:
                assert log.count("up") == log.count("down")

        return run, check, task.cancel

    return make


# Cancelled at any moment of a failover, nothing is left open.
@warmth
@pytest.mark.parametrize("how", ["raises", "breaks"])
def test_cancelled_at_every_moment(warm, how):
    assert cancelled_everywhere(scenario(warm, how)) > 20
