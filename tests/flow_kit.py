"""What the tests of the flow layer share: small processors, and ways to run a pipeline to a known end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from trio_pipes import (
    DataFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    InterruptionFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    StopFrame,
    TextFrame,
)

DOWN = Direction.DOWNSTREAM
UP = Direction.UPSTREAM

# Virtual seconds after which a test that should have ended has hung.
HUNG = 1000


def text(content: str, *, kept: bool = False) -> TextFrame:
    """A text frame; `kept` makes it survive interrupts."""
    frame = TextFrame(interruptible=not kept)
    frame.text = content
    return frame


def texts(frames: Iterable[Frame]) -> list[str]:
    """The contents of the text frames among these."""
    return [frame.text for frame in frames if isinstance(frame, TextFrame)]


def said(*contents: str) -> list[Frame]:
    return [text(content) for content in contents]


class Does(FrameProcessor):
    """A processor that calls `fn(self, frame, direction)` for text frames that come down and passes on the rest."""

    def __init__(self, fn: Callable[..., Any], **settings: Any) -> None:
        super().__init__(**settings)
        self.fn = fn

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is DOWN and isinstance(frame, TextFrame):
            await self.fn(self, frame)
        else:
            await self.push_frame(frame, direction)


class Sees(FrameProcessor):
    """Keeps what it is shown, and passes it on; `delay` virtual seconds for each data frame that comes down."""

    def __init__(self, delay: float = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.delay = delay
        self.seen: list[tuple[Frame, Direction]] = []
        self.interrupts = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        self.seen.append((frame, direction))
        if self.delay and direction is DOWN and isinstance(frame, DataFrame):
            await trio.sleep(self.delay)
        await self.push_frame(frame, direction)

    async def on_interrupt(self) -> None:
        self.interrupts += 1

    def texts(self, direction: Direction = DOWN) -> list[str]:
        return texts(frame for frame, way in self.seen if way is direction)

    def kinds(self, direction: Direction = DOWN) -> list[str]:
        """The classes of the frames, in order; texts by their content."""
        return [
            frame.text if isinstance(frame, TextFrame) else type(frame).__name__
            for frame, way in self.seen
            if way is direction
        ]


class Drops(FrameProcessor):
    """Drops data frames that come down."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is UP or not isinstance(frame, DataFrame):
            await self.push_frame(frame, direction)


def is_lifecycle(frame: Frame) -> bool:
    return isinstance(frame, StartFrame | EndFrame | StopFrame)


class Live:
    """A task that runs, and what has come out of it so far."""

    def __init__(self, task: PipelineTask) -> None:
        self.task = task
        self.down: list[Frame] = []
        self.up: list[Frame] = []

    @property
    def texts(self) -> list[str]:
        return texts(self.down)

    async def say(self, *contents: str) -> None:
        for content in contents:
            await self.task.queue_frame(text(content))


async def _collect(channel: trio.MemoryReceiveChannel[Frame], into: list[Frame]) -> None:
    async for frame in channel:
        if not is_lifecycle(frame):
            into.append(frame)


@asynccontextmanager
async def live(
    parts: Iterable[Any] | FrameProcessor, *, observers: Iterable[object] = (), **settings: Any
) -> AsyncIterator[Live]:
    """A started task of these parts; the block's end asks for its end and waits for it. Nothing may hang."""
    pipeline = parts if isinstance(parts, FrameProcessor) else Pipeline(parts)
    task = PipelineTask(pipeline, PipelineParams(**settings), observers=observers)
    now = Live(task)
    with trio.fail_after(HUNG):
        async with (
            task.open_output(Frame, buffer=float("inf")) as down,
            task.open_output(Frame, buffer=float("inf"), direction=UP) as up,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_collect, down, now.down)
            nursery.start_soon(_collect, up, now.up)
            await nursery.start(task.run)
            yield now
            task.stop_when_done()


def interruption_count(sees: Sees) -> int:
    return sum(isinstance(frame, InterruptionFrame) for frame, _ in sees.seen)


async def settle() -> None:
    """Let everything that can run now run."""
    await trio.testing.wait_all_tasks_blocked(0.0)
