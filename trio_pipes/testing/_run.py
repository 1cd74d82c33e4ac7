"""Run something, and see what comes of it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from trio_pipes import (
    ConfigurationError,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    StartFrame,
    StopFrame,
    Worker,
)

__all__ = ["Received", "run_pipeline", "run_processor", "running"]


@attrs.frozen
class Received:
    """What came out of a pipeline, in order, lifecycle frames aside."""

    down: list[Frame]
    """Frames that reached the sink."""
    up: list[Frame]
    """Frames that reached the source."""


async def run_pipeline(
    pipeline: FrameProcessor | Iterable[Any],
    frames: Iterable[Frame],
    *,
    params: PipelineParams | None = None,
    direction: Direction = Direction.DOWNSTREAM,
    observers: Iterable[object] = (),
) -> Received:
    """Run a pipeline over `frames` to its end, and give everything that came out of it.

    `pipeline` may also be a list of processors. Raises what the task's `run()` raises.
    """
    if isinstance(frames, Frame | str | bytes) or not isinstance(frames, Iterable):
        raise TypeError(f"run_pipeline was given {frames!r} as frames, expected an iterable of frames")
    if not isinstance(direction, Direction):
        raise TypeError(f"run_pipeline was given the direction {direction!r}, expected a member of Direction")
    given = tuple(frames)
    for frame in given:
        if not isinstance(frame, Frame):
            raise TypeError(f"run_pipeline was given {frame!r} among the frames, expected a Frame")
    if not isinstance(pipeline, FrameProcessor):
        pipeline = Pipeline(pipeline)
    task = PipelineTask(pipeline, params, observers=observers)
    received = Received([], [])
    async with (
        task.open_output(Frame, buffer=math.inf) as down,
        task.open_output(Frame, buffer=math.inf, direction=Direction.UPSTREAM) as up,
    ):
        # `run` in this very task: what it raises is not wrapped in a nursery's group.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_queue, task, given, direction)
            error = await _run(task)
            nursery.cancel_scope.cancel()
        for channel, kept in ((down, received.down), (up, received.up)):
            async for frame in channel:
                if not isinstance(frame, StartFrame | EndFrame | StopFrame):
                    kept.append(frame)
    if error is not None:
        raise error
    return received


async def _run(task: PipelineTask) -> Exception | None:
    try:
        await task.run()
    except Exception as exc:  # noqa: BLE001  (raised by the caller, outside its nursery)
        return exc
    return None


async def _queue(task: PipelineTask, frames: tuple[Frame, ...], direction: Direction) -> None:
    try:
        await task.queue_frames(frames, direction)
        task.stop_when_done()
    except (trio.ClosedResourceError, trio.BrokenResourceError):
        pass  # the pipeline ended itself; how it did is what the caller is after


async def run_processor(
    processor: Any,
    frames: Iterable[Frame],
    *,
    params: PipelineParams | None = None,
    direction: Direction = Direction.DOWNSTREAM,
    observers: Iterable[object] = (),
) -> Received:
    """`run_pipeline` with a pipeline of one processor."""
    return await run_pipeline(Pipeline([processor]), frames, params=params, direction=direction, observers=observers)


@asynccontextmanager
async def running(*workers: Worker, **settings: Any) -> AsyncIterator[PipelineRunner]:
    """Workers that run under a runner of their own while the block lasts, and are ended when it is left.

    The block begins when all are ready. `settings` are those of `PipelineRunner`; signals are off by default. An
    error in the block cancels the workers; an error of a worker cancels the block and is raised in its place.
    """
    if not workers:
        raise ConfigurationError("running() was given no workers, expected at least one")
    runner = PipelineRunner(*workers, **{"handle_sigint": False, **settings})
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        yield runner
        runner.end()
