"""Parts for the tests of tasks and runners: small processors, workers, and two ways to look for what is left."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from trio_pipes import (
    Direction,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    Requested,
    SystemFrame,
    TextFrame,
)
from trio_pipes.testing import cancel_at_every_checkpoint, nothing_left  # noqa: F401  (for the tests)


@attrs.define(eq=False)
class Urgent(SystemFrame):
    text: str = ""


class Probe(FrameProcessor):
    """Passes everything on and remembers what it was shown, lifecycle frames too."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.seen: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        self.seen.append(frame)
        await self.push_frame(frame, direction)

    @property
    def texts(self) -> list[str]:
        return [frame.text for frame in self.seen if isinstance(frame, TextFrame)]

    @property
    def kinds(self) -> list[str]:
        return [type(frame).__name__ for frame in self.seen]


class Slow(Probe):
    """Takes its time over each text."""

    def __init__(self, seconds: float = 1, name: str | None = None) -> None:
        super().__init__(name)
        self.seconds = seconds

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await trio.sleep(self.seconds)
        await super().process_frame(frame, direction)


class Stuck(FrameProcessor):
    """Never returns from a frame of the given class."""

    def __init__(self, on: type[Frame], name: str | None = None) -> None:
        super().__init__(name)
        self.on = on
        self.holding = trio.Event()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, self.on):
            self.holding.set()
            await trio.sleep_forever()
        await self.push_frame(frame, direction)


class Does(FrameProcessor):
    """Calls an async function with itself and each text."""

    def __init__(self, what: Callable[[FrameProcessor, TextFrame], Awaitable[object]], name: str | None = None) -> None:
        super().__init__(name)
        self.what = what

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await self.what(self, frame)
        await self.push_frame(frame, direction)


class Lives(FrameProcessor):
    """A lifespan that writes into a log when it is entered and left, and takes time over both."""

    def __init__(self, log: list[str], label: str, up: float = 0, down: float = 0) -> None:
        super().__init__(label)
        self.log, self.label, self.up, self.down = log, label, up, down

    @asynccontextmanager
    async def lifespan(self):
        await trio.sleep(self.up)
        self.log.append(f"{self.label} up")
        try:
            yield
        finally:
            await trio.sleep(self.down)
            self.log.append(f"{self.label} down")


class Plain:
    """The smallest worker: runs until it is told to end."""

    def __init__(self, name: str, log: list[str] | None = None, *, needs: float = 0, drain: float = 0) -> None:
        self.name = name
        self.log = [] if log is None else log
        self.needs = needs
        self.drain = drain
        self.end = trio.Event()
        self.scope = trio.CancelScope()

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        with self.scope:
            try:
                await trio.sleep(self.needs)
                self.log.append(f"{self.name} up")
                task_status.started(self)
                await self.end.wait()
                await trio.sleep(self.drain)
            finally:
                self.log.append(f"{self.name} down")
        return f"{self.name} is over"

    def stop_when_done(self, reason: str | None = None) -> Requested:
        self.log.append(f"{self.name} told")
        self.end.set()
        return PipelineTask(Pipeline([Probe()])).stop_when_done()  # any request will do

    def cancel(self, reason: str | None = None) -> Requested:
        self.log.append(f"{self.name} cancelled")
        self.scope.cancel()
        return PipelineTask(Pipeline([Probe()])).stop_when_done()


class Breaks(Plain):
    """A worker that raises some seconds after it is ready."""

    def __init__(self, name: str, error: BaseException, *, after: float = 0, **settings) -> None:
        super().__init__(name, **settings)
        self.error, self.after = error, after

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started(self)
        await trio.sleep(self.after)
        raise self.error


def task_of(*processors: object, observers: Iterable[object] = (), name: str | None = None, **params) -> PipelineTask:
    return PipelineTask(Pipeline(processors or [Probe()]), PipelineParams(**params), observers=observers, name=name)


def texts(*words: object) -> list[TextFrame]:
    return [TextFrame(str(word)) for word in words]


def errors_in(error: BaseException | None) -> list[BaseException]:
    """The errors in a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        return [inner for part in error.exceptions for inner in errors_in(part)]
    return [] if error is None else [error]


def notes_of(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


@asynccontextmanager
async def started(task: PipelineTask, within: float = 60):
    """The task runs in a nursery beside the block; the block's end asks it to end and waits."""
    with trio.fail_after(within):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            yield nursery
            task.stop_when_done()


def at_every_checkpoint(scenario: Callable[[Callable[[Callable[[], object]], None]], Awaitable[object]]) -> int:
    """`cancel_at_every_checkpoint` for tests that are no async functions; the scenario is given the attempt's `arm`."""

    async def main() -> int:
        return await cancel_at_every_checkpoint(lambda attempt: scenario(attempt.arm))

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def bound_tests(items: list[pytest.Item], folder: Path) -> None:
    """Bound the tests in `folder`: on an autojump clock a deadlock would spin for ever, and so it ends after eleven days."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.path.is_relative_to(folder)
            and inspect.iscoroutinefunction(item.obj)
            and "autojump_clock" in item.fixturenames
        ):
            item.obj = _bounded(item.obj)


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def run(**fixtures: object) -> None:
        with trio.fail_after(1e6):
            await test(**fixtures)

    return run


def records(caplog, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]
