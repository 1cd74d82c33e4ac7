"""Random frames, choices and losses through a service switcher: nothing is lost, nothing comes twice, and order is kept.

Each service writes its label behind a text. Whatever is chosen and lost, each text comes out once, in the order in which
the texts were queued, with one label; a text behind a `SwitchServiceFrame` has the label that it asked for while nobody
fails. With interrupts at random moments nothing stale comes out, and what is uninterruptible does.
"""

from __future__ import annotations

import attrs
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st

from flow_kit import DOWN, UP, Drops
from trio_pipes import (
    Failover,
    FrameProcessor,
    Frames,
    Out,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ServiceSwitchedFrame,
    ServiceSwitcher,
    Switchable,
    SwitchServiceFrame,
    SyncParallelPipeline,
    TextFrame,
    each,
    processor,
)

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def run_now(fn, *args):
    """Run on an autojump clock; what takes a virtual hour has hung."""

    async def main():
        with trio.fail_after(3600):
            return await fn(*args)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@attrs.frozen
class Spec:
    """A service: what it is, how long it takes, and which of the frames (by number) it fails on, and how."""

    kind: str
    delay: float
    fails: dict[int, str]


def make_service(spec: Spec, label: str):
    def number(frame):
        return int(frame.text[:3])

    def labelled(frame):
        if spec.fails.get(number(frame)) == "raises":
            raise ConnectionError(frame.text)
        return TextFrame(frame.text + label, interruptible=frame.interruptible)

    class Class(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and direction is DOWN:
                await trio.sleep(spec.delay)
                frame = labelled(frame)
                if spec.fails.get(int(frame.text[:3])) == "says":
                    self.set_unusable("it says so")
            await self.push_frame(frame, direction)

    @each(name=label)
    async def asynchronous(frame: TextFrame):
        await trio.sleep(spec.delay)
        return labelled(frame)

    @each(name=label)
    def sync(frame: TextFrame):
        return labelled(frame)

    @each(name=label, concurrency=3)
    async def concurrent(frame: TextFrame):
        await trio.sleep(spec.delay)
        return TextFrame(frame.text + label, interruptible=frame.interruptible)

    @processor(name=label)
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            with frames.interruptible():
                await trio.sleep(spec.delay)
                await out.push(labelled(frame))

    return {
        "class": lambda: Class(label),
        "async": lambda: asynchronous,
        "sync": lambda: sync,
        "concurrent": lambda: concurrent,
        "block": lambda: block,
        "row": lambda: Pipeline([Class(label + "0"), each(lambda frame: frame)], name=label),
        "slot": lambda: Switchable(Class(label + "0"), name=label),
        "switcher": lambda: ServiceSwitcher([Class(label + "0"), Class(label + "1")], name=label),
    }[spec.kind]()


KINDS = ["class", "class", "async", "sync", "concurrent", "block", "row", "slot", "switcher"]
FAILING = st.dictionaries(st.integers(0, 15), st.sampled_from(["raises", "says"]), max_size=2)
STEADY = st.builds(Spec, st.sampled_from(KINDS), st.sampled_from([0, 0.1, 1]), st.just({}))
SPECS = STEADY | st.builds(
    Spec, st.sampled_from(["class", "async", "sync", "block", "switcher"]), st.sampled_from([0, 0, 0.1, 1]), FAILING
)

EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.05, 0.1, 0.35, 1.05]),
        st.sampled_from(["frame"] * 6 + ["kept", "call", "down", "up", "lose", "return", "pause", "resume"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=20,
)
SWITCHERS = st.fixed_dictionaries(
    {
        "warm": st.booleans(),
        "failback": st.booleans(),
        "retry_after": st.sampled_from([None, None, 0.5, 5]),
        "debug": st.booleans(),
        "size": st.sampled_from([1, 2, 64]),
        "watched": st.booleans(),
        "in_step": st.booleans(),
    }
)


class Watches:
    def on_frame_handled(self, task, processor, frame, direction):
        pass


def lose(service, why):
    """As a background task of a service would."""
    node = service._node
    if node is not None and node.may_be_unusable and not node.engine.done:
        service.set_unusable(why)


def regain(service):
    node = service._node
    if node is not None and node.may_be_unusable and not node.engine.done:
        service.set_usable()


class Model:
    """A run of a switcher, and what came out."""

    def __init__(self, specs, config, steady):
        labels = "ABCDEF"
        self.services = [make_service(spec, labels[i]) for i, spec in enumerate([*specs, steady])]
        self.labels = labels[: len(self.services)]
        strategy = Failover(config["failback"], retry_after=config["retry_after"])
        self.switcher = ServiceSwitcher(self.services, strategy, warm=config["warm"])
        self.services = self.switcher.services
        params = PipelineParams(debug=config["debug"], queue_size=config["size"], end_timeout=2000)
        observers = [Watches()] if config["watched"] else []
        part = SyncParallelPipeline([self.switcher], [Drops()]) if config["in_step"] else self.switcher
        self.task = PipelineTask(Pipeline([part]), params, observers=observers)
        self.out = []
        self.names = []
        self.kept = []
        self.stale = set()

    async def collect(self, channel):
        async for frame in channel:
            if isinstance(frame, TextFrame):
                self.out.append(frame.text)

    async def run(self, events):
        async with (
            self.task.open_output(TextFrame, buffer=float("inf")) as outputs,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self.collect, outputs)
            await nursery.start(self.task.run)
            for delay, what, index in events:
                await trio.sleep(delay)
                await self.happens(what, index)
            for service in self.services:
                if service.is_paused:
                    service.resume()
            self.task.stop_when_done()
        return self

    async def happens(self, what, index):
        service = self.services[index % len(self.services)]
        last = self.services[-1]  # the one that never fails
        if what in ("frame", "kept"):
            name = f"{len(self.names):03}"
            self.names.append(name)
            if what == "kept":
                self.kept.append(name)
            await self.task.queue_frame(TextFrame(name, interruptible=what == "frame"))
        elif what == "call":
            self.switcher.switch_to(service)
        elif what in ("down", "up"):
            await self.task.queue_frame(SwitchServiceFrame(service), DOWN if what == "down" else UP)
        elif what == "lose" and service is not last:
            lose(service, "the model says so")
        elif what == "return":
            regain(service)
        elif what == "pause" and service._node is not None and not service._node.engine.done:
            if service._node.may_pause:
                with trio.move_on_after(3):
                    with service.paused():
                        await trio.sleep(0.3)
        elif what == "interrupt":
            self.stale.update(name for name in self.names if name not in self.kept)
            self.task.interrupt()


# Each text comes out once, in order, made by one service.
@SETTINGS
@given(specs=st.lists(SPECS, min_size=1, max_size=3), steady=STEADY, events=EVENTS, config=SWITCHERS)
def test_each_frame_is_served_once_and_in_order(specs, steady, events, config):
    model = Model(specs, config, steady)
    run_now(model.run, events)
    assert [text[:3] for text in model.out] == model.names
    assert all(len(text) == 4 and text[3] in model.labels for text in model.out), model.out


# By frame, the place of the choice is exact.
@SETTINGS
@given(
    specs=st.lists(STEADY, min_size=2, max_size=3),
    events=st.lists(
        st.tuples(st.sampled_from([0, 0, 0.1]), st.sampled_from(["frame"] * 3 + ["down"]), st.integers(0, 2)),
        max_size=20,
    ),
    config=SWITCHERS,
)
def test_a_choice_by_frame_has_its_place_among_the_frames(specs, events, config):
    model = Model(specs[:-1], config, specs[-1])
    run_now(model.run, events)
    expected, active = [], 0
    for _, what, index in events:
        if what == "down":
            active = index % len(specs)
        else:
            expected.append(f"{len(expected):03}{model.labels[active]}")
    assert model.out == expected


INTERRUPTED = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.05, 0.1, 0.35, 1.05]),
        st.sampled_from(["frame"] * 4 + ["kept", "kept", "interrupt", "interrupt", "call", "down", "lose", "return"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=20,
)


# With interrupts at random moments, uninterruptible frames are served once and in order, others at most once.
@SETTINGS
@given(specs=st.lists(SPECS, min_size=1, max_size=3), steady=STEADY, events=INTERRUPTED, config=SWITCHERS)
def test_interrupts_at_random_moments(specs, steady, events, config):
    model = Model(specs, config, steady)
    run_now(model.run, [*events, (50, "frame", 0), (0, "kept", 0)])
    came = [text[:3] for text in model.out]
    assert came == sorted(set(came))
    assert set(model.kept) <= set(came)
    assert model.names[-1] in came
    assert all(len(text) == 4 for text in model.out)


# Who is active is told between what the two made.
@SETTINGS
@given(specs=st.lists(SPECS, min_size=1, max_size=3), steady=STEADY, events=EVENTS, config=SWITCHERS)
def test_a_switch_is_told_in_its_place(specs, steady, events, config):
    model = Model(specs, config, steady)
    told = []

    async def run():
        async with model.task.open_output(ServiceSwitchedFrame, TextFrame, buffer=float("inf")) as outputs:
            await model.run(events)
            told.extend([frame async for frame in outputs])

    run_now(run)
    active = model.labels[0]
    for frame in told:
        if isinstance(frame, TextFrame):
            assert frame.text[3:] == active
        elif frame.switcher is model.switcher:
            assert frame.before.name == active
            active = frame.service.name
