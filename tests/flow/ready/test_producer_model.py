"""Producers and consumers at random places of random pipelines, against a count of who must see which frame.

Copies go round: each has one turn less than the frame that it was made of. Without interrupts each processor sees exactly
what the reference says, all of it before the end. With interrupts at random moments nothing is there twice, and nothing
is lost of what survives them or comes after the last one.
"""

from __future__ import annotations

import logging
from collections import Counter

import attrs
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st

from trio_pipes import (
    Consumer,
    DataFrame,
    FrameProcessor,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    Producer,
    Switchable,
    SyncParallelPipeline,
)

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@attrs.define(eq=False)
class Ball(DataFrame):
    number: int = 0
    turns: int = 0


# -- the pipeline as a tree of tuples, and what frames do in it


@attrs.frozen
class Leaf:
    kind: str  # "sees", "producer 0", "consumer 0", ...
    delay: float = 0.0
    inline: bool = False


@attrs.frozen
class Shape:
    kind: str  # row, parallel, sync, slot
    parts: tuple


def leaves(spec, path=()):
    if isinstance(spec, Leaf):
        yield spec, path
    else:
        for i, part in enumerate(spec.parts):
            yield from leaves(part, (*path, (spec.kind, i)))


def is_above(one, other):
    for (kind, i), (_, k) in zip(one, other, strict=False):
        if i != k:
            return kind in ("row", "slot") and i < k
    return False


def expected(spec, balls: list[tuple[int, int]]) -> list[Counter]:
    """What each leaf sees, and (last) what comes out below: numbers and turns, counted."""
    places = list(leaves(spec))
    seen = [Counter() for _ in range(len(places) + 1)]

    def falls(ball: tuple[int, int], below) -> None:
        """A frame goes through all leaves that are below a place (None: through all), and out."""
        seen[-1][ball] += 1
        for i, (leaf, path) in enumerate(places):
            if below is not None and not is_above(below, path):
                continue
            seen[i][ball] += 1
            number, turns = ball
            if leaf.kind.startswith("producer") and turns:
                for j, (other, where) in enumerate(places):
                    if other.kind == leaf.kind.replace("producer", "consumer"):
                        seen[j][number, turns - 1] += 1
                        falls((number, turns - 1), where)

    for ball in balls:
        falls(ball, None)
    return seen


class Sees(FrameProcessor):
    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.inline = leaf.inline
        self.seen: list[object] = []

    async def process_frame(self, frame, direction):
        self.seen.append((frame.number, frame.turns) if isinstance(frame, Ball) else type(frame).__name__)
        if self.leaf.delay and isinstance(frame, Ball):
            await trio.sleep(self.leaf.delay)
        await self.push_frame(frame, direction)


class Built:
    def __init__(self, spec) -> None:
        self.sees: list[Sees] = []
        self.producers = {}
        self.delays = {}
        for leaf, _ in leaves(spec):
            if leaf.kind.startswith("producer"):
                producer = Producer(lambda frame: isinstance(frame, Ball) and frame.turns > 0, transform=less)
                producer.inline = leaf.inline
                self.producers[leaf.kind] = producer
        self.pipeline = Pipeline([self.build(spec)])
        self.last = Sees(Leaf("sees"))
        self.pipeline = Pipeline([self.pipeline, self.last])

    def build(self, spec):
        if isinstance(spec, Shape):
            parts = [self.build(part) for part in spec.parts]
            if spec.kind == "row":
                return Pipeline(parts)
            if spec.kind == "slot":
                return Switchable(Pipeline(parts))
            shape = ParallelPipeline if spec.kind == "parallel" else SyncParallelPipeline
            return shape(*([part] for part in parts))
        if spec.kind == "sees":
            self.sees.append(Sees(spec))
            return self.sees[-1]
        if spec.kind.startswith("producer"):
            return self.producers[spec.kind]
        producer = self.producers[spec.kind.replace("consumer", "producer")]
        consumer = Consumer(producer, transform=slowly(spec.delay) if spec.delay else None)
        consumer.inline = spec.inline
        return consumer


def less(frame: Ball) -> Ball:
    return Ball(frame.number, frame.turns - 1, interruptible=frame.interruptible)


def slowly(seconds: float):
    async def same(frame: Ball) -> Ball:
        await trio.sleep(seconds)
        return frame

    return same


# -- drawn


@st.composite
def specs(draw):
    delays = st.sampled_from([0.0, 0.0, 0.5, 2.0])

    def leaf(kind: str) -> Leaf:
        return Leaf(kind, draw(delays), draw(st.booleans()))

    kinds = ["producer 0"] + ["consumer 0"] * draw(st.integers(1, 2))
    if draw(st.booleans()):
        kinds += ["producer 1"] + ["consumer 1"] * draw(st.integers(1, 2))
    kinds += ["sees"] * draw(st.integers(1, 3))
    parts = [leaf(kind) for kind in draw(st.permutations(kinds))]
    while len(parts) > 1:
        count = draw(st.integers(2, min(3, len(parts))))
        kind = draw(st.sampled_from(["row", "row", "parallel", "sync", "slot"]))
        at = draw(st.integers(0, len(parts) - count))
        parts[at : at + count] = [Shape(kind, tuple(parts[at : at + count]))]
    return parts[0]


async def run(spec, balls, queue_size, *, end_at=None, interrupts=(), debug=False):
    """Gives what was built and how many of the frames were accepted, and the time of the last interrupt in frames."""
    built = Built(spec)
    task = PipelineTask(built.pipeline, PipelineParams(queue_size=queue_size, debug=debug))
    queued_at: list[float] = []

    async def fill() -> None:
        try:
            for ball in balls:
                await trio.sleep(ball.number % 3)
                await task.queue_frame(ball)
                queued_at.append(trio.current_time())
        except trio.ClosedResourceError:
            return
        task.stop_when_done()

    async def interrupt() -> None:
        for wait in interrupts:
            await trio.sleep(wait)
            task.interrupt()

    async def end() -> None:
        await trio.sleep(end_at)
        task.stop_when_done()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill)
        nursery.start_soon(interrupt)
        if end_at is not None:
            nursery.start_soon(end)
        await task.run()
        nursery.cancel_scope.cancel()
    return built, queued_at


def run_now(fn, *args, **kwargs):
    async def main():
        with trio.fail_after(100_000):
            return await fn(*args, **kwargs)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def balls_seen(sees: Sees) -> Counter:
    return Counter(seen for seen in sees.seen if isinstance(seen, tuple))


BALLS = st.lists(st.integers(0, 2), min_size=1, max_size=5)


@SETTINGS
@given(specs(), BALLS, st.sampled_from([1, 2, 64]), st.one_of(st.none(), st.floats(0, 10)), st.booleans())
def test_each_processor_sees_what_it_must_before_the_end(spec, turns, queue_size, end_at, debug):
    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("trio_pipes").addHandler(handler)
    try:
        balls = [Ball(n, t) for n, t in enumerate(turns)]
        built, queued_at = run_now(run, spec, balls, queue_size, end_at=end_at, debug=debug)
    finally:
        logging.getLogger("trio_pipes").removeHandler(handler)
    *inner, last = expected(spec, [(ball.number, ball.turns) for ball in balls[: len(queued_at)]])
    seen_by = [count for count, (leaf, _) in zip(inner, leaves(spec), strict=True) if leaf.kind == "sees"]
    for sees, count in zip(built.sees, seen_by, strict=True):
        assert balls_seen(sees) == count
        assert sees.seen[-1] == "EndFrame"
    assert balls_seen(built.last) == last
    assert [line for line in told if "a copy that" in line] == []


@SETTINGS
@given(specs(), BALLS, st.sampled_from([1, 64]), st.lists(st.floats(0, 4), min_size=1, max_size=3), st.data())
def test_interrupts_at_random_moments_lose_nothing_that_survives_or_is_newer(spec, turns, queue_size, waits, data):
    kept = data.draw(st.lists(st.booleans(), min_size=len(turns), max_size=len(turns)))
    balls = [Ball(n, t, interruptible=not k) for n, (t, k) in enumerate(zip(turns, kept, strict=True))]
    built, queued_at = run_now(run, spec, balls, queue_size, interrupts=waits)
    assert len(queued_at) == len(balls)
    *_, most = expected(spec, [(ball.number, ball.turns) for ball in balls])
    newer = [k or at > sum(waits) for k, at in zip(kept, queued_at, strict=True)]
    *_, least = expected(spec, [(b.number, b.turns) for b, is_newer in zip(balls, newer, strict=True) if is_newer])
    came = balls_seen(built.last)
    assert least <= came <= most
    seen = [frame for frame in built.last.seen if frame != "InterruptionFrame"]
    assert seen[-1] == "EndFrame"
