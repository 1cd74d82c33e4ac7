"""Bridged pipelines for tests: a front and a dialogue, on one runner or on two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from hosting import Probe
from trio_pipes import (
    BridgedPipeline,
    BusBridge,
    Direction,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    SystemFrame,
    TextFrame,
    on_wire,
)


@on_wire("tests.bridge.urgent")
@attrs.define(eq=False)
class Urgent(SystemFrame):
    text: str = ""


class Shout(FrameProcessor):
    """Capitals, after some time."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.interrupted = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            if self.takes:
                await trio.sleep(self.takes)
            frame = TextFrame(frame.text.upper(), interruptible=frame.interruptible)
        await self.push_frame(frame, direction)

    async def on_interrupt(self) -> None:
        self.interrupted += 1


class Front:
    """A pipeline with a bridge in the middle."""

    def __init__(
        self, to: Any = "dialogue", name: str = "front", params: PipelineParams | None = None, **bridge
    ) -> None:
        self.before, self.after = Probe(), Probe()
        self.bridge = BusBridge(to, **bridge)
        self.task = PipelineTask(Pipeline([self.before, self.bridge, self.after]), params, name=name)


class Dialogue:
    """A pipeline that does its part."""

    def __init__(self, *processors, name: str = "dialogue", params: PipelineParams | None = None, **bridged) -> None:
        self.top, self.bottom = Probe(), Probe()
        self.pipeline = BridgedPipeline([self.top, *(processors or [Shout()]), self.bottom], **bridged)
        self.task = PipelineTask(self.pipeline, params, name=name)


@asynccontextmanager
async def bridged(front: Front, *dialogues: Dialogue, medium=None, bus=None) -> AsyncIterator[list[PipelineRunner]]:
    """They run, on a runner each where there is a medium; the block's end has the front drain, and then the others."""
    sides = [front, *dialogues]
    if medium is None:
        runners = [PipelineRunner(*(side.task for side in sides), bus=bus, handle_sigint=False)]
    else:
        runners = [PipelineRunner(side.task, bus=medium.bus(), handle_sigint=False) for side in sides]
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        yield runners
        front.task.stop_when_done()
        await front.task.wait_finished()
        for runner in runners:
            runner.end()
