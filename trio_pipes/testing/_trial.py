"""One run of a processor between two neighbours, with frames that it knows and frames that it cannot know."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import attrs
import trio

from trio_pipes import (
    ControlFrame,
    DataFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    StopFrame,
    SystemFrame,
    TaskResult,
)

__all__ = ["Case", "Put", "StrangeControl", "StrangeData", "StrangeSystem", "Trial", "leaves_of"]

DOWN, UP = Direction.DOWNSTREAM, Direction.UPSTREAM
WAYS = {DOWN: "down", UP: "up"}
ENDS = {DOWN: "the sink", UP: "the source"}


@attrs.define(eq=False)
class StrangeData(DataFrame):
    """A data frame that nobody knows."""

    number: int = 0


@attrs.define(eq=False)
class StrangeControl(ControlFrame):
    """A control frame that nobody knows."""

    number: int = 0


@attrs.define(eq=False)
class StrangeSystem(SystemFrame):
    """A system frame that nobody knows."""

    number: int = 0


@attrs.frozen(eq=False)
class Put:
    """A frame that was put in."""

    frame: Frame
    direction: Direction
    label: str
    """The same in every trial."""

    def __str__(self) -> str:
        return f"{self.label} that went {WAYS[self.direction]}"

    @property
    def ordered(self) -> bool:
        """Whether it has a place among the others."""
        return not isinstance(self.frame, SystemFrame)


@attrs.frozen(kw_only=True)
class Case:
    """The processor in question, and what it was said to do."""

    make: Callable[[], FrameProcessor]
    frames: Callable[[], Iterable[Frame]]
    upstream: Callable[[], Iterable[Frame]]
    drops: tuple[type[Frame], ...]
    drops_upstream: tuple[type[Frame], ...]
    makes: tuple[type[Frame], ...]
    params: PipelineParams
    key: Callable[[Frame], object]
    after: Callable[[], object]
    stall: float
    points: int
    timeout: float
    ends: bool
    """It asks for the end by itself."""
    ordered: bool
    """Whether the rule about order is asked for."""
    known: dict[str, Any] = attrs.field(factory=dict)
    """What one rule has found out and another can use."""

    def must_come_out(self, put: Put) -> bool:
        """Whether it was not said to drop frames of this kind."""
        return not isinstance(put.frame, self.drops if put.direction is DOWN else self.drops_upstream)

    def feed(self, part: str = "", kept: bool = False) -> Iterator[Put]:
        """Fresh frames: those that were given, and strangers between them. `kept` makes every other stranger uninterruptible."""
        given: list[tuple[Frame | None, Direction]] = [(frame, DOWN) for frame in self.frames()]
        given += [(frame, UP) for frame in self.upstream()]
        for number, (frame, direction) in enumerate([*given, (None, DOWN), (None, UP)]):
            for way in (DOWN, UP):
                survives = kept and bool(number % 2)
                strangers = (
                    StrangeData(number, interruptible=not survives),
                    StrangeControl(number, interruptible=survives or not kept),
                    StrangeSystem(number),
                )
                for stranger in strangers:
                    yield Put(stranger, way, f"{part}{type(stranger).__name__}({number})")
            if frame is not None:
                yield Put(frame, direction, f"{part}{type(frame).__name__}, number {number + 1} of those given,")


class Neighbour(FrameProcessor):
    """Passes on everything."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Pass it on."""
        await self.push_frame(frame, direction)


def leaves_of(processor: FrameProcessor) -> Iterable[FrameProcessor]:
    """The processors that it is made of."""
    leaves = getattr(processor, "leaves", None)
    return leaves() if leaves is not None else (processor,)


class Trial:
    """One run."""

    def __init__(
        self,
        case: Case,
        subject: FrameProcessor | None = None,
        *,
        below: FrameProcessor | None = None,
        seconds_a_frame: float | None = None,
        **params: Any,
    ) -> None:
        self.case = case
        self.subject = case.make() if subject is None else subject
        pipeline = Pipeline([Neighbour("above"), self.subject, below or Neighbour("below")])
        settings = {"allow_interruptions": False, "end_timeout": case.timeout / 2, **params}
        self.task = PipelineTask(pipeline, attrs.evolve(case.params, **settings))
        self.put: list[Put] = []
        self.down: list[Frame] = []
        self.up: list[Frame] = []
        self.result: TaskResult | None = None
        self.error: Exception | None = None
        self._seconds_a_frame = seconds_a_frame  # that the readers need

    async def run(self, feed: Callable[[Trial], Awaitable[object]] | None = None) -> Trial:
        """Run it over what `feed` puts in (None: a plain feed, and the end)."""
        buffer = math.inf if self._seconds_a_frame is None else 0
        async with (
            self.task.open_output(Frame, buffer=buffer) as down,
            self.task.open_output(Frame, buffer=buffer, direction=UP) as up,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._read, down, self.down)
            nursery.start_soon(self._read, up, self.up)
            nursery.start_soon(self._feed, feed or _plainly)
            try:
                self.result = await self.task.run()
            except Exception as exc:  # noqa: BLE001  (kept: the rules judge)
                self.error = exc
                self.result = await self.task.wait_finished()
        return self

    async def _read(self, channel: trio.MemoryReceiveChannel[Frame], into: list[Frame]) -> None:
        async for frame in channel:
            into.append(frame)
            if self._seconds_a_frame is not None:
                await trio.sleep(self._seconds_a_frame)

    async def _feed(self, feed: Callable[[Trial], Awaitable[object]]) -> None:
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):  # the run is over: how, the rules judge
            await feed(self)

    def stop(self) -> None:
        """Ask for the end, unless the processor in question does."""
        if not self.case.ends:
            self.task.stop_when_done()

    async def queue(self, puts: Iterable[Put]) -> None:
        """Put these in; those that were accepted are remembered."""
        for put in puts:
            await self.task.queue_frame(put.frame, put.direction)
            self.put.append(put)

    # -- what came out

    def out(self, direction: Direction) -> list[Frame]:
        """What came out at one end, lifecycle frames aside."""
        frames = self.down if direction is DOWN else self.up
        return [frame for frame in frames if not isinstance(frame, StartFrame | EndFrame | StopFrame)]

    def lost(self, puts: Iterable[Put], *, may_be_lost: bool = False) -> Iterator[str]:
        """What is wrong with where these came out, and how often."""
        for put in puts:
            times = sum(frame is put.frame for frame in self.out(put.direction))
            other = UP if put.direction is DOWN else DOWN
            if any(frame is put.frame for frame in self.out(other)):
                yield f"{put} came out at {ENDS[other]}"
            elif times > 1:
                yield f"{put} came out at {ENDS[put.direction]} {times} times"
            elif not times and self.case.must_come_out(put) and not may_be_lost:
                yield f"{put} did not come out at {ENDS[put.direction]}"

    def made(self) -> Iterator[Frame]:
        """What came out and was not put in."""
        known = {id(put.frame) for put in self.put}
        yield from (frame for way in (DOWN, UP) for frame in self.out(way) if id(frame) not in known)

    def disordered(self) -> Iterator[str]:
        """Ordered frames of one direction that came out in another order than they went in."""
        for way in (DOWN, UP):
            for ordered in (True, False):
                puts = [put for put in self.put if put.direction is way and put.ordered is ordered]
                place = {id(put.frame): number for number, put in enumerate(puts)}
                came = [place[id(frame)] for frame in self.out(way) if id(frame) in place]
                for before, after in pairwise(came):
                    if after < before:
                        yield f"{puts[after]} went in before {puts[before]} and came out behind it"

    def signature(self) -> dict[str, list[object]]:
        """What came out where, in order, so that two trials can be compared.

        What it made and what passed are compared apart: between a frame that passes and one that a task of the processor's
        pushes, or one that a frame from the other direction brings about, there is no order.
        """
        labels: dict[int, object] = {id(put.frame): str(put) for put in self.put}
        found: dict[str, list[object]] = {}
        for way in (DOWN, UP):
            for urgent in (False, True):
                frames = [frame for frame in self.out(way) if isinstance(frame, SystemFrame) is urgent]
                name = f"{'system frames' if urgent else 'frames'} at {ENDS[way]}"
                passed = [labels[id(frame)] for frame in frames if id(frame) in labels]
                made = [self.case.key(frame) for frame in frames if id(frame) not in labels]
                for part, keys in ((f"{name} that passed", passed), (f"{name} that were made", made)):
                    found[part] = keys if self.case.ordered else sorted(keys, key=repr)
        return found


async def _plainly(trial: Trial) -> None:
    await trial.queue(trial.case.feed())
    trial.stop()
