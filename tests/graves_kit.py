"""What the tests of the graveyard share: places for a processor in a pipeline, ways to cancel, ways to end."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import trio

from hosting import Probe, Urgent, nothing_left, texts
from trio_pipes import (
    CancelFrame,
    CancelTaskFrame,
    Direction,
    EndFrame,
    EndTaskFrame,
    Frame,
    FrameProcessor,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    StopFrame,
    StopTaskFrame,
    TaskState,
    TextFrame,
)

DOWN, UP = Direction.DOWNSTREAM, Direction.UPSTREAM

# Virtual seconds after which a test that should have ended has hung. Nothing here takes as long.
HUNG: Final = 10_000

# -- places: the pipeline that the processors of a test stand in, `rest` above and below them


def _row(parts: Sequence[Any]) -> Pipeline:
    return Pipeline([Probe(), *parts, Probe()])


def _nested(parts: Sequence[Any]) -> Pipeline:
    return Pipeline([Probe(), Pipeline([Pipeline([part]) for part in parts]), Probe()])


def _branch(parts: Sequence[Any]) -> Pipeline:
    return Pipeline([Probe(), ParallelPipeline([Drops()], parts, [Drops()]), Probe()])


def _deep(parts: Sequence[Any]) -> Pipeline:
    inner = ParallelPipeline([Pipeline(parts)], [Drops()])
    return Pipeline([ParallelPipeline([Drops(), Drops()], [Probe(), Pipeline([inner])]), Probe()])


PLACES: Final[dict[str, Callable[[Sequence[Any]], Pipeline]]] = {
    "alone": Pipeline,
    "row": _row,
    "nested": _nested,
    "branch": _branch,
    "deep": _deep,
}

# "tasks": each class has a task; "inline": those of the test share one; "debug": nothing shares, functions neither
MODES: Final = ("tasks", "inline", "debug")

places = pytest.mark.parametrize("place", PLACES)
modes = pytest.mark.parametrize("mode", MODES)


def task_at(
    place: str, mode: str, *parts: Any, observers: Sequence[object] = (), name: str | None = None, **params: Any
) -> PipelineTask:
    """A task whose pipeline has these processors in that place, run in that mode."""
    for part in parts:
        if mode == "inline" and isinstance(part, FrameProcessor):
            part.inline = True
    return PipelineTask(
        PLACES[place](parts), PipelineParams(debug=mode == "debug", **params), observers=observers, name=name
    )


class Drops(FrameProcessor):
    """The other branch: lets nothing through, in either direction, and pushes no lifecycle frame either."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        pass


# -- from inside


class Button(FrameProcessor):
    """Background work of its own that pushes a frame when it is pressed; never in the way otherwise."""

    def __init__(self, direction: Direction = UP) -> None:
        self.direction = direction
        self.pressed = trio.Event()
        self.frame: Frame = CancelTaskFrame()

    def press(self, frame: Frame) -> None:
        self.frame = frame
        self.pressed.set()

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.wait)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def wait(self) -> None:
        await self.pressed.wait()
        await self.push_frame(self.frame, self.direction)


# -- ways to cancel

CANCELS: Final = (
    "task.cancel",
    "await task.cancel",
    "CancelFrame queued",
    "CancelTaskFrame from inside",
    "runner.cancel",
    "two signals",
    "a scope round task.run",
    "a deadline round task.run",
    "a scope round runner.run",
    "the nursery of task.run",
    "the nursery of runner.run",
)
cancels = pytest.mark.parametrize("way", CANCELS)


async def cancelled(
    way: str,
    task: PipelineTask,
    when: Callable[[], Awaitable[object]],
    *,
    button: Button | None = None,
    states: tuple[TaskState, ...] = (TaskState.CANCELLED,),
) -> float:
    """Run `task`, cancel it in that way when `when()` has returned; gives the seconds until all was torn down.

    Nothing may be left, and nobody who waits may go on waiting.
    """
    runner = PipelineRunner(task, grace_period=HUNG / 2)
    run = runner.run if "runner" in way or "signals" in way else task.run
    outcomes: list[object] = []

    async def waits() -> None:
        outcomes.append(await task.wait_finished())

    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as outer:
                outer.start_soon(waits)
                async with trio.open_nursery() as nursery:
                    scope = trio.CancelScope()

                    async def hosted() -> None:
                        with scope:
                            await run()

                    nursery.start_soon(hosted)
                    await when()
                    began = trio.current_time()
                    await _cancel(way, task, runner, nursery, scope, button)
                took = trio.current_time() - began
    assert task.state in states
    assert len(outcomes) == 1  # who waited has been told
    assert task.has_finished()
    assert runner.statistics().calls == 0
    return took


async def _cancel(
    way: str,
    task: PipelineTask,
    runner: PipelineRunner,
    nursery: trio.Nursery,
    scope: trio.CancelScope,
    button: Button | None,
) -> None:
    match way:
        case "task.cancel":
            task.cancel("enough")
        case "await task.cancel":
            await task.cancel("enough")
        case "CancelFrame queued":
            await task.queue_frame(CancelFrame(reason="enough"))
        case "CancelTaskFrame from inside":
            if button is None:
                await task.queue_frame(CancelTaskFrame(reason="enough"))
            else:
                button.press(CancelTaskFrame(reason="enough"))
        case "runner.cancel":
            runner.cancel("enough")
        case "two signals":
            signal.raise_signal(signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked()
            signal.raise_signal(signal.SIGINT)
        case "a scope round task.run" | "a scope round runner.run":
            scope.cancel(reason="enough")
        case "a deadline round task.run":
            scope.deadline = trio.current_time()
        case _:
            nursery.cancel_scope.cancel(reason="enough")


# -- ways to end

ENDS: Final = (
    "stop_when_done",
    "EndFrame queued",
    "StopFrame queued",
    "EndTaskFrame queued",
    "EndTaskFrame up from inside",
    "EndTaskFrame down from inside",
    "StopTaskFrame up from inside",
    "runner.end",
    "runner.stop_when_done",
    "one signal",
)
ends = pytest.mark.parametrize("way", ENDS)
STOPS: Final = ("StopFrame queued", "StopTaskFrame up from inside")


def ended_state(way: str) -> TaskState:
    return TaskState.STOPPED if way in STOPS else TaskState.ENDED


async def asked_to_end(
    way: str,
    task: PipelineTask,
    when: Callable[[], Awaitable[object]],
    *,
    button: Button | None = None,
    within: float = HUNG,
) -> float:
    """Run `task`, ask for its end in that way when `when()` has returned; gives the seconds until it was over."""
    runner = PipelineRunner(task, grace_period=HUNG)
    run = runner.run if "runner" in way or "signal" in way else task.run
    async with nothing_left():
        with trio.fail_after(within):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await when()
                began = trio.current_time()
                await _ask(way, task, runner, button)
            return trio.current_time() - began
    raise AssertionError("unreachable")


async def _ask(way: str, task: PipelineTask, runner: PipelineRunner, button: Button | None) -> None:
    match way:
        case "stop_when_done":
            task.stop_when_done()
        case "EndFrame queued":
            await task.queue_frame(EndFrame())
        case "StopFrame queued":
            await task.queue_frame(StopFrame())
        case "EndTaskFrame queued":
            await task.queue_frame(EndTaskFrame())
        case "EndTaskFrame up from inside" | "EndTaskFrame down from inside":
            assert button is not None
            button.direction = UP if " up " in way else DOWN
            button.press(EndTaskFrame())
        case "StopTaskFrame up from inside":
            assert button is not None
            button.press(StopTaskFrame())
        case "runner.end":
            runner.end()
        case "runner.stop_when_done":
            runner.stop_when_done()
        case "one signal":
            signal.raise_signal(signal.SIGINT)
        case _:
            raise AssertionError(way)


# -- moments


async def at_once() -> None:
    """Before anything has run."""


def after(seconds: float) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        await trio.sleep(seconds)

    return wait


def running(task: PipelineTask) -> Callable[[], Awaitable[object]]:
    async def wait() -> object:
        return await task.wait_state(TaskState.RUNNING)

    return wait


__all__ = [
    "CANCELS",
    "DOWN",
    "ENDS",
    "HUNG",
    "MODES",
    "PLACES",
    "UP",
    "Button",
    "Drops",
    "TextFrame",
    "Urgent",
    "after",
    "asked_to_end",
    "at_once",
    "cancelled",
    "cancels",
    "ended_state",
    "ends",
    "modes",
    "places",
    "running",
    "task_at",
    "texts",
]


# -- processors of several graves


class Service:
    """Something that can be used until it is closed, and complains afterwards."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.open = log, True

    async def use(self, who: str) -> None:
        await trio.lowlevel.checkpoint()
        assert self.open, f"{who} used what was closed before it"
        self.log.append(who)


class Owns(FrameProcessor):
    """Opens a service in its lifespan."""

    def __init__(self, log: list[str]) -> None:
        self.service = Service(log)

    @asynccontextmanager
    async def lifespan(self):
        try:
            yield
        finally:
            self.service.open = False
            self.service.log.append("closed")


class HoldsSetUp(FrameProcessor):
    """Never ready."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @asynccontextmanager
    async def lifespan(self):
        self.log.append("set-up")
        try:
            await trio.sleep_forever()
        finally:
            self.log.append("left")
        yield
