"""Draw what was loaded."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

import trio

from trio_pipes import FrameProcessor, MissingExtra, Pipeline, PipelineRunner, PipelineTask
from trio_pipes._base import write_whole

from ._load import DRAW, UsageError, load

__all__ = ["graph_target"]

DRAWN = 0
FAILED = 1
USAGE_ERROR = 2


def graph_target(target: str, svg: Path | None, direction: Literal["TB", "LR"]) -> int:
    """Load `FILE[:NAME]`, draw it, and give the exit code."""
    try:
        pipeline = pipeline_of(load(target, (), DRAW), target)
        if svg is None:
            show(pipeline.mermaid(direction=direction))
        else:
            write(svg, trio.run(lambda: pipeline.svg(direction=direction)))
    except (UsageError, MissingExtra) as error:
        print(f"trio-pipes: {error}", file=sys.stderr)
        return USAGE_ERROR
    except RuntimeError as error:
        print(f"trio-pipes: {error}", file=sys.stderr)
        return FAILED
    return DRAWN


def show(text: str) -> None:
    """Write to stdout, all of it or an error: what stays in a buffer would fail when nobody can tell of it any more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as exc:
        with suppress(OSError):  # what is still in the buffer cannot be written either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(f"stdout cannot be written to: {exc.strerror}") from exc


def write(path: Path, text: str) -> None:
    """Write the file, or raise `UsageError`."""
    try:
        write_whole(path, text)
    except OSError as exc:
        raise UsageError(f"{str(path)!r} cannot be written: {exc.strerror}. Name another file") from exc


def pipeline_of(value: object, target: str) -> Pipeline:
    """What there is to draw of a pipeline, a task or a runner."""
    if isinstance(value, PipelineRunner):
        workers = [value.get_worker(name) for name in value.statistics().running]
        tasks = [worker for worker in workers if isinstance(worker, PipelineTask)]
        if len(tasks) != 1:
            names = f": {', '.join(task.name for task in tasks)}" if tasks else ""
            raise UsageError(
                f"{value.name} in {target} has {len(tasks)} pipeline tasks{names}; expected one. Name a task, or its pipeline"
            )
        value = tasks[0]
    if isinstance(value, PipelineTask):
        value = value.pipeline
    assert isinstance(value, FrameProcessor)
    return value if hasattr(value, "mermaid") else Pipeline([value])  # type: ignore[return-value]
