"""What comes out of a pipeline is the same whoever watches; and who watches hears of everything once.

Pipelines at random, in which everything sleeps at moments of its own: so an interrupt meets the same frames in each run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial

import attrs
import trio
import trio.testing
from hypothesis import given, strategies as st

from examples import examples
from hosting import nothing_left
from trio_pipes import (
    Direction,
    ErrorPolicy,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    Switchable,
    TaskState,
    TextFrame,
    each,
    processor,
    with_deadline,
)
from trio_pipes.host import _idle

DOWN = Direction.DOWNSTREAM


@attrs.define
class Part:
    """One processor, or some that belong together."""

    kind: str
    delay: int = 0  # 0: does not sleep
    acts: str = ""  # what it does besides, at every third frame
    keeps: bool = False  # keeps its push from the start on
    inside: tuple[tuple[Part, ...], ...] = ()


ACTS = ["", "", "interrupt", "meddle", "meddle and look up", "raise"]
FUNCTIONS = ["one", "two", "generator", "drop"]


def simple() -> st.SearchStrategy[Part]:
    delay = st.sampled_from([0, 0, 1, 2])
    function = st.builds(Part, st.sampled_from(FUNCTIONS), acts=st.sampled_from(ACTS))
    return st.one_of(
        st.builds(Part, st.sampled_from(["class", "inline", "block"]), delay, st.sampled_from(ACTS), st.booleans()),
        st.builds(
            lambda head, row: Part(head, inside=(tuple(row),)),
            st.sampled_from(["row of a class", "row of an inline one", "row of a function"]),
            st.lists(function, min_size=1, max_size=4),
        ),
        st.builds(Part, st.sampled_from(["async", "async generator", "concurrent", "unordered", *FUNCTIONS]), delay),
    )


def parts() -> st.SearchStrategy[tuple[Part, ...]]:
    row = st.lists(simple(), min_size=1, max_size=3).map(tuple)
    nested = st.one_of(
        st.builds(lambda a, b: Part("branches", inside=(a, b)), row, row),
        st.builds(lambda a: Part("slot", inside=(a,)), row),
        st.builds(lambda a: Part("pipeline", inside=(a,)), row),
    )
    return st.lists(st.one_of(simple(), simple(), simple(), nested), min_size=1, max_size=5).map(tuple)


class Log:
    """What the processors say that they push."""

    def __init__(self, act) -> None:
        self.pushed: Counter[tuple[str, int]] = Counter()
        self.count = 0
        self.act = act

    def number(self) -> int:
        self.count += 1
        return self.count

    def push(self, name: str, frame: Frame) -> Frame:
        self.pushed[name, frame.id] += 1
        return frame


def due(frame: TextFrame, index: int) -> bool:
    return (len(frame.text) + int(frame.text[:2]) + index) % 3 == 0


def build(part: Part, log: Log) -> list[object]:
    index = log.number()
    name = f"p{index}"
    # Nothing else happens at the moments at which this one wakes up.
    delay = part.delay or (part.acts == "interrupt" and part.kind not in FUNCTIONS)
    seconds = delay * (0.1 + 0.00137 * math.sqrt(index))

    def acts(frame: TextFrame) -> None:
        if part.acts and due(frame, index):
            log.act(part.acts)

    async def sleep() -> None:
        if seconds:
            await trio.sleep(seconds)

    match part.kind:
        case "class" | "inline":
            return [Passes(name, part, log, acts, sleep)]
        case "block":

            @processor(name=name)
            async def block(frames: Frames[TextFrame], out: Out) -> None:
                push = out.push
                async for frame in frames:
                    await sleep()
                    if part.acts != "raise":
                        acts(frame)
                    log.push(name, frame)
                    await (push if part.keeps else out.push)(frame)

            return [block]
        case "one" | "two" | "generator" | "drop":
            return [function(part, name, log, acts, index)]
        case "async":

            @each(name=name)
            async def passes(frame: TextFrame) -> TextFrame:
                await sleep()
                return log.push(name, frame)

            return [passes]
        case "async generator":

            @each(name=name)
            async def gives(frame: TextFrame):
                yield log.push(name, TextFrame(frame.text + "a"))
                await sleep()
                yield log.push(name, frame)

            return [gives]
        case "concurrent" | "unordered":

            @each(name=name, concurrency=3, ordered=part.kind == "concurrent")
            async def several(frame: TextFrame) -> TextFrame:
                await trio.sleep(seconds * (1 + len(frame.text) % 3))
                return log.push(name, frame)

            return [several]
        case "row of a class" | "row of an inline one" | "row of a function":
            # What a function asks for meets nothing that is on its way to the sink at the same moment.
            head, row = (
                Part({"a class": "class", "an inline one": "inline"}.get(part.kind[7:], "async"), 1),
                part.inside[0],
            )
            return [made for one in (head, *row, Part("class", 1)) for made in build(one, log)]
        case _:
            inside = [[made for one in row for made in build(one, log)] for row in part.inside]
            if part.kind == "branches":
                return [ParallelPipeline(*inside)]
            return [Switchable(Pipeline(inside[0])) if part.kind == "slot" else Pipeline(inside[0])]


class Passes(FrameProcessor):
    def __init__(self, name, part, log, acts, sleep) -> None:
        super().__init__(name, inline=part.kind == "inline")
        self.part, self.log, self.acts, self.sleep = part, log, acts, sleep
        self.kept = None

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if self.kept is None:
            self.kept = self.push_frame
        if isinstance(frame, TextFrame):
            await self.sleep()
            self.acts(frame)
            self.log.push(self.name, frame)
        await (self.kept if self.part.keeps else self.push_frame)(frame, direction)


def function(part: Part, name: str, log: Log, acts, index: int) -> object:
    if part.kind == "one":

        @each(name=name)
        def one(frame: TextFrame) -> TextFrame:
            acts(frame)
            return log.push(name, frame)

        return one
    if part.kind == "two":

        @each(name=name)
        def two(frame: TextFrame) -> list[TextFrame]:
            acts(frame)
            return [log.push(name, frame), log.push(name, TextFrame(frame.text + "b"))]

        return two
    if part.kind == "drop":

        @each(name=name)
        def drop(frame: TextFrame) -> TextFrame | None:
            acts(frame)
            return None if due(frame, index + 1) else log.push(name, frame)

        return drop

    @each(name=name)
    def generator(frame: TextFrame) -> Iterator[TextFrame]:
        yield log.push(name, TextFrame(frame.text + "c"))
        acts(frame)
        yield log.push(name, TextFrame(frame.text + "d"))
        yield log.push(name, frame)

    return generator


class Hears:
    """Hears everything, and can be there or not."""

    def __init__(self) -> None:
        self.there = True
        self.elsewhere = 0  # what it heard when it was not there
        self.pushed: Counter[tuple[str, int]] = Counter()
        self.taken: Counter[tuple[str, int, Direction]] = Counter()
        self.ended: Counter[tuple[str, int, Direction]] = Counter()
        self.reached: Counter[int] = Counter()
        self.act = lambda: None

    def heard(self) -> None:
        self.elsewhere += not self.there
        self.act()

    def on_frame_pushed(self, task, processor, frame, direction) -> None:
        if direction is DOWN:
            self.pushed[processor.name, frame.id] += 1
        self.heard()

    def on_frame_taken(self, task, processor, frame, direction) -> None:
        self.taken[processor.name, frame.id, direction] += 1
        self.heard()

    def on_frame_handled(self, task, processor, frame, direction) -> None:
        self.ended[processor.name, frame.id, direction] += 1
        self.heard()

    on_frame_stopped = on_frame_handled

    def on_waited_for_room(self, task, processor, frame, seconds) -> None:
        self.heard()

    def on_reached_sink(self, task, frame) -> None:
        self.reached[frame.id] += 1
        self.heard()


@attrs.define(kw_only=True)
class Course:
    """What happens in a run."""

    frames: list[int]  # of each: 0 plain, 1 one that is not interruptible, 2 one with a deadline
    size: int
    interrupts: list[int]
    pauses: list[int]
    moments: list[int]  # events of the observer that is always there, at which another comes or goes
    times: list[int]  # the same for moments of the clock
    idle: bool


def courses() -> st.SearchStrategy[Course]:
    times = st.lists(st.integers(1, 30), max_size=3, unique=True)
    return st.builds(
        Course,
        frames=st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=1, max_size=12),
        size=st.sampled_from([1, 2, 64]),
        interrupts=times,
        pauses=times,
        moments=st.lists(st.integers(1, 150), max_size=5),
        times=times,
        idle=st.booleans(),
    )


async def run(spec: tuple[Part, ...], course: Course, watch: str):
    """Run it, watched by nobody, by one who comes and goes, or by one who is always there besides."""
    others = [Hears(), Hears()]
    meddled = 0
    for other in others:
        other.there = False

    def meddle() -> None:
        nonlocal meddled
        if watch == "nobody":
            return
        meddled += 1
        other = others[meddled % 2]
        other.there = not other.there
        (task.add_observer if other.there else task.remove_observer)(other)

    def act(what: str) -> None:
        match what:
            case "interrupt":
                task.interrupt()
            case "meddle":
                meddle()
            case "meddle and look up":
                meddle()
                for node in task._engine.nodes:
                    node.refresh()
            case _:
                raise LookupError("on purpose")

    log = Log(act)
    made = [made for part in spec for made in build(part, log)]
    first, last = Passes("first", Part("class", 1), log, lambda _: None, partial(trio.sleep, 0.0123)), []

    class Last(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                last.append((frame.text, round(trio.current_time(), 6)))
            await self.push_frame(frame, direction)

    params = PipelineParams(
        queue_size=course.size,
        on_error=ErrorPolicy.REPORT,
        allow_interruptions=True,
        idle_timeout=0.5 if course.idle else None,
        cancel_on_idle_timeout=False,
    )
    always = Hears()
    task = PipelineTask(
        Pipeline([first, *made, Last("last")]), params=params, observers=[always] if watch == "always" else []
    )

    def event() -> None:
        nonlocal told
        told += 1
        if told in course.moments:
            meddle()

    told = 0
    always.act = event

    async def owner() -> None:
        doings = sorted(
            [(0.0777 * at, task.interrupt) for at in course.interrupts]
            + [(0.0777 * at + 0.003, first.pause) for at in course.pauses]
            + [(0.0777 * at + 0.05, first.resume) for at in course.pauses]
            + [(0.0777 * at + 0.007, meddle) for at in course.times],
            key=lambda doing: doing[0],
        )
        for at, do in doings:
            await trio.sleep_until(at)
            if not task.has_finished():
                do()

    frames = []
    for i, kind in enumerate(course.frames):
        frames.append(TextFrame(f"{i + 10}", interruptible=kind != 1))
    with trio.fail_after(1000):
        async with nothing_left(), trio.open_nursery() as nursery:
            await nursery.start(task.run)
            nursery.start_soon(owner)
            for frame, kind in zip(frames, course.frames, strict=True):
                await task.queue_frame(with_deadline(frame, 0.25) if kind == 2 else frame)
                await trio.sleep(0.000317)
            await task.flush()
            await trio.sleep(3)
            task.stop_when_done()
    result = await task.wait_finished()
    assert result.state is TaskState.ENDED
    assert result.observer_errors == ()
    assert [other.elsewhere for other in others] <= [meddled, meddled]  # but for the event that is under way
    stale = any(course.interrupts) or any(act == "interrupt" for act in all_acts(spec))
    if watch == "always":
        assert always.taken == always.ended
        numbered = Counter({key: count for key, count in always.pushed.items() if key in log.pushed})
        if stale or 2 in course.frames or "raise" in all_acts(spec):
            assert all(count <= log.pushed[key] for key, count in numbered.items())
        else:
            assert numbered == log.pushed
    return last


def all_acts(spec: tuple[Part, ...]) -> Iterator[str]:
    for part in spec:
        yield part.acts
        for row in part.inside:
            yield from all_acts(row)


@examples(60)
@given(parts(), courses())
def test_what_comes_out_is_the_same_whoever_watches(spec, course) -> None:
    enough, _idle.ENOUGH = _idle.ENOUGH, 5  # it closes its eyes often
    try:
        outcomes = [
            trio.run(run, spec, course, watch, clock=trio.testing.MockClock(autojump_threshold=0))
            for watch in ("nobody", "others", "always")
        ]
    finally:
        _idle.ENOUGH = enough
    if any(part.kind == "branches" for part in spec):  # who of two that are ready at once is first is nobody's promise
        if course.interrupts or 2 in course.frames or "interrupt" in all_acts(spec):
            return
        outcomes = [sorted(text for text, _ in outcome) for outcome in outcomes]
    assert outcomes[1] == outcomes[0]
    assert outcomes[2] == outcomes[0]
