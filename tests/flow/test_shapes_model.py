"""Random frames through random nested shapes, against a sequential reference; and interrupts at random moments.

Without interrupts the whole is a function of the frames, and replacing what is in a slot by its like changes nothing.
Where branches run side by side the order of what comes out is left open, elsewhere it is compared too.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

import attrs
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st

from flow_kit import DOWN
from trio_pipes import (
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    Switchable,
    SyncParallelPipeline,
    TextFrame,
    each,
    processor,
    route,
    tee,
)

SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def run_now(fn, *args):
    """Run on an autojump clock; what takes a virtual hour has hung."""

    async def main():
        with trio.fail_after(3600):
            return await fn(*args)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@attrs.frozen
class Leaf:
    kind: str
    does: str
    delay: float


@attrs.frozen
class Shape:
    kind: str  # row, parallel, sync, tee, route, slot
    parts: tuple[Leaf | Shape, ...]


def emitted(does: str, content: str) -> list[str] | None:
    """What a processor makes of a content; None: an error."""
    number = sum(map(ord, content))
    return {
        "pass": [content],
        "change": [content + "+"],
        "drop": [content] if number % 3 else [],
        "double": [content, content + "2"],
        "fail": [content] if number % 4 else None,
    }[does]


def way_of(content: str, ways: int) -> int:
    return len(content) % ways


class Reference:
    """What each leaf sees (in order, or in any), what comes out, and how many errors there are."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], bool]] = []
        self.errors = 0

    def run(self, spec: Leaf | Shape, groups: list[list[str]], ordered: bool) -> tuple[list[list[str]], bool]:
        """`groups` is a list of frames each; gives for each group what comes of it, and whether order is kept."""
        if isinstance(spec, Leaf):
            self.seen.append(([content for group in groups for content in group], ordered))
            return [[out for content in group for out in self._emitted(spec, content)] for group in groups], ordered
        if spec.kind in ("row", "slot"):
            for part in spec.parts:
                groups, ordered = self.run(part, groups, ordered)
            return groups, ordered
        if spec.kind == "tee":
            for part in spec.parts:
                self.run(part, groups, ordered)
            return groups, ordered
        if spec.kind == "route":
            outs = []
            for i, part in enumerate(spec.parts):
                mine = [[c for c in group if way_of(c, len(spec.parts)) == i] for group in groups]
                outs.append(self.run(part, mine, ordered)[0])
            return [list(chain.from_iterable(group)) for group in zip(*outs, strict=True)], False
        # Branches get each frame; one that comes out of several unchanged comes out once.
        frames = [[content] for group in groups for content in group]
        results = [self.run(part, frames, ordered) for part in spec.parts]
        merged = iter([_once(frame[0], outs) for frame, *outs in zip(frames, *[r[0] for r in results], strict=True)])
        kept = spec.kind == "sync" and ordered and all(order for _, order in results)
        return [[out for _ in group for out in next(merged)] for group in groups], kept

    def _emitted(self, leaf: Leaf, content: str) -> list[str]:
        result = emitted(leaf.does, content)
        self.errors += result is None
        return result or []


def _once(content: str, outs) -> list[str]:
    came = [out for branch in outs for out in branch]
    first = came.index(content) if content in came else None
    return [out for i, out in enumerate(came) if out != content or i == first]


class Built:
    """The processors of a spec; what each leaf saw; the slots, with a way to make the like of what is in each."""

    def __init__(self, spec: Leaf | Shape) -> None:
        self.seen: list[list[str]] = []
        self.slots: list[tuple[Switchable, object]] = []
        self.part = self._build(spec)

    def _build(self, spec: Leaf | Shape):
        if isinstance(spec, Leaf):
            seen: list[str] = []
            self.seen.append(seen)
            return make_leaf(spec, seen)
        before = len(self.seen)
        parts = [self._build(part) for part in spec.parts]
        mine = self.seen[before:]
        if spec.kind == "slot":
            slot = Switchable(Pipeline(parts))

            def like():
                again = Built(Shape("row", spec.parts))
                for shown, more in zip(mine, again.seen, strict=True):
                    again_into(again.part, more, shown)
                return again.part

            self.slots.append((slot, like))
            return slot
        if spec.kind == "row":
            return Pipeline(parts)
        rows = [[part] for part in parts]
        if spec.kind == "route":
            return route(lambda frame: way_of(frame.text, len(rows)), dict(enumerate(rows)))
        return {"parallel": ParallelPipeline, "sync": SyncParallelPipeline, "tee": tee}[spec.kind](*rows)


def again_into(part, more: list[str], shown: list[str]) -> None:
    """What the like of a leaf sees counts as seen by the leaf."""
    LISTS[id(more)] = shown
    KEPT.append(more)


LISTS: dict[int, list[str]] = {}
KEPT: list[list[str]] = []  # so that no id is used twice


def note(seen: list[str], content: str) -> None:
    while id(seen) in LISTS:
        seen = LISTS[id(seen)]
    seen.append(content)


def make_leaf(leaf: Leaf, seen: list[str]):
    def results(frame: TextFrame) -> list[TextFrame]:
        note(seen, frame.text)
        contents = emitted(leaf.does, frame.text)
        if contents is None:
            raise ValueError(frame.text)
        return [frame if c == frame.text else TextFrame(c, interruptible=frame.interruptible) for c in contents]

    if leaf.kind in ("class", "inline"):

        class Part(FrameProcessor):
            async def process_frame(self, frame, direction):
                if not isinstance(frame, TextFrame) or direction is not DOWN:
                    await self.push_frame(frame, direction)
                    return
                made = results(frame)
                await trio.sleep(leaf.delay)
                for one in made:
                    await self.push_frame(one)

        return Part(inline=leaf.kind == "inline")
    if leaf.kind == "sync":

        @each
        def sync(frame: TextFrame):
            made = results(frame)
            return made[0] if len(made) == 1 else made

        return sync
    if leaf.kind == "async":

        @each
        async def asynchronous(frame: TextFrame):
            made = results(frame)
            await trio.sleep(leaf.delay)
            return made

        return asynchronous

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            with frames.interruptible():
                made = results(frame)
                await trio.sleep(leaf.delay)
                for one in made:
                    await out.push(one)

    return block


@st.composite
def leaves(draw):
    kind = draw(st.sampled_from(["class", "inline", "sync", "sync", "async", "block"]))
    does = ["pass", "pass", "change", "drop", "double", *(["fail"] if kind != "block" else [])]
    return Leaf(kind, draw(st.sampled_from(does)), draw(st.sampled_from([0, 0, 0.1, 1])))


def shapes_of(parts):
    kinds = st.sampled_from(["row", "row", "parallel", "sync", "sync", "tee", "route", "slot"])
    return st.builds(Shape, kinds, st.lists(parts, min_size=1, max_size=3).map(tuple))


SPECS = st.recursive(leaves(), shapes_of, max_leaves=8)
ROWS = st.builds(Shape, st.just("row"), st.lists(SPECS, min_size=1, max_size=3).map(tuple))


async def run_spec(spec, contents, debug, size, swaps):
    LISTS.clear()
    built = Built(spec)
    params = PipelineParams(debug=debug, queue_size=size, on_error=ErrorPolicy.REPORT)
    task = PipelineTask(Pipeline([built.part]), params)
    down: list[str] = []
    up: list[str] = []

    async def collect(direction, into, channel):
        async for frame in channel:
            if isinstance(frame, TextFrame | ErrorFrame):
                into.append(frame.text if isinstance(frame, TextFrame) else frame.error)

    async with (
        task.open_output(TextFrame, buffer=float("inf")) as outputs,
        task.open_output(ErrorFrame, buffer=float("inf"), direction=DOWN.__class__.UPSTREAM) as errors,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(collect, DOWN, down, outputs)
        nursery.start_soon(collect, DOWN, up, errors)
        await nursery.start(task.run)
        for i, content in enumerate(contents):
            if built.slots and i in swaps:
                slot, like = built.slots[swaps[i] % len(built.slots)]
                if not slot._node.engine.done:  # one in a slot that has been replaced is in use no more
                    slot.replace(like())
            await task.queue_frame(TextFrame(content))
            if i % 3 == 2:
                await trio.sleep(0.15)
        task.stop_when_done()
    return built.seen, down, len(up)


# Each leaf sees what a sequential reference says, and so does what comes out: fused, unfused, and while the contents
# of slots are replaced.
@SETTINGS
@given(
    spec=ROWS,
    contents=st.lists(st.text("abcde", min_size=1, max_size=3), max_size=10),
    size=st.sampled_from([1, 2, 64]),
    swaps=st.dictionaries(st.integers(0, 9), st.integers(0, 9), max_size=3),
)
def test_shapes_do_what_the_reference_says(spec, contents, size, swaps):
    reference = Reference()
    expected, ordered = reference.run(spec, [contents], ordered=True)
    for debug in (False, True):
        for replacing in ({}, swaps):
            seen, down, errors = run_now(run_spec, spec, contents, debug, size, replacing)
            for mine, (theirs, in_order) in zip(seen, reference.seen, strict=True):
                assert mine == theirs if in_order else Counter(mine) == Counter(theirs)
            assert down == expected[0] if ordered else Counter(down) == Counter(expected[0])
            assert errors == reference.errors


# -- interrupts


class First(FrameProcessor):
    """Notes what has entered the pipeline."""

    def __init__(self, entered: dict[str, bool]) -> None:
        super().__init__()
        self.entered = entered

    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame) and direction is DOWN:
            self.entered[frame.text[:3]] = frame.interruptible
        await self.push_frame(frame, direction)


class Last(FrameProcessor):
    """Notes what comes out, and what of it is stale."""

    def __init__(self, stale: set[str]) -> None:
        super().__init__()
        self.out: list[str] = []
        self.wrong: list[str] = []
        self.stale = stale

    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame) and direction is DOWN:
            self.out.append(frame.text)
            if frame.text[:3] in self.stale:
                self.wrong.append(frame.text)
        await self.push_frame(frame, direction)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.05, 0.1, 0.35, 1.05]),
        st.sampled_from(["frame"] * 5 + ["kept"] * 2 + ["interrupt"] * 2 + ["replace"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=20,
)


def without_errors(spec):
    if isinstance(spec, Leaf):
        return attrs.evolve(spec, does="pass") if spec.does in ("fail", "drop") else spec
    return attrs.evolve(spec, parts=tuple(without_errors(part) for part in spec.parts))


async def run_interrupted(spec, events, debug, size):
    LISTS.clear()
    built = Built(spec)
    entered: dict[str, bool] = {}
    stale: set[str] = set()
    last = Last(stale)
    task = PipelineTask(
        Pipeline([First(entered), built.part, last]), PipelineParams(debug=debug, queue_size=size, end_timeout=2000)
    )
    kept: list[str] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for i, (delay, what, index) in enumerate(events):
            await trio.sleep(delay)
            if what == "interrupt":
                stale.update(name for name, interruptible in entered.items() if interruptible)
                task.interrupt()
            elif what == "replace":
                if built.slots:
                    slot, like = built.slots[index % len(built.slots)]
                    slot.replace(like())
            else:
                name = f"{i:02}{'k' if what == 'kept' else 'f'}"
                if what == "kept":
                    kept.append(name)
                await task.queue_frame(TextFrame(name, interruptible=what != "kept"))
        await trio.sleep(500)
        await task.queue_frame(TextFrame("99l"))
        task.stop_when_done()
    assert not last.wrong, f"stale and out: {last.wrong}"
    for name in [*kept, "99l"]:
        expected = Reference().run(spec, [[name]], ordered=True)[0][0]
        got = [out for out in last.out if out.startswith(name)]
        assert Counter(got) == Counter(expected), name


# Nothing stale comes out, what is uninterruptible does, whole; and nothing hangs.
@settings(SETTINGS, max_examples=120)
@given(spec=ROWS.map(without_errors), events=EVENTS, size=st.sampled_from([1, 2, 64]))
def test_interrupts_at_random_moments(spec, events, size):
    for debug in (False, True):
        run_now(run_interrupted, spec, events, debug, size)
