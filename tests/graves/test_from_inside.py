"""Requests from inside: set-up, `on_interrupt`, cleanup, a block's own tasks. They act, and none of them hangs or is left."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from graves_kit import (
    DOWN,
    HUNG,
    UP,
    Button,
    after,
    asked_to_end,
    cancelled,
    cancels,
    ends,
    modes,
    places,
    task_at,
    texts,
)
from hosting import Probe, Slow, nothing_left
from trio_pipes import (
    CancelFrame,
    CancelTaskFrame,
    Direction,
    EndFrame,
    EndTaskFrame,
    Frame,
    FrameProcessor,
    Frames,
    InterruptionFrame,
    InterruptionTaskFrame,
    Out,
    PipelineRunner,
    StopTaskFrame,
    TaskState,
    TextFrame,
    processor,
)

CANCELLING = {
    "task.cancel": lambda self: self.task.cancel("inside"),
    "CancelTaskFrame down": lambda self: self.push_frame(CancelTaskFrame(reason="inside"), DOWN),
    "CancelTaskFrame up": lambda self: self.push_frame(CancelTaskFrame(reason="inside"), UP),
    "CancelFrame queued": lambda self: self.task.queue_frame(CancelFrame(reason="inside")),
}
ENDING = {
    "stop_when_done": lambda self: self.task.stop_when_done("inside"),
    "EndTaskFrame down": lambda self: self.push_frame(EndTaskFrame(reason="inside"), DOWN),
    "EndTaskFrame up": lambda self: self.push_frame(EndTaskFrame(reason="inside"), UP),
    "StopTaskFrame up": lambda self: self.push_frame(StopTaskFrame(reason="inside"), UP),
    "EndFrame queued": lambda self: self.task.queue_frame(EndFrame(reason="inside")),
    "EndFrame pushed": lambda self: self.push_frame(EndFrame(reason="inside")),
}
INTERRUPTING = {
    "interrupt": lambda self: self.interrupt(),
    "task.interrupt": lambda self: self.task.interrupt(),
    "InterruptionTaskFrame up": lambda self: self.push_frame(InterruptionTaskFrame(), UP),
    "InterruptionFrame pushed": lambda self: self.push_frame(InterruptionFrame(), DOWN),
}
ASKS = CANCELLING | ENDING | INTERRUPTING


class Asks(FrameProcessor):
    """Asks in its set-up, when it is told of an interrupt, or in its cleanup; the first three times."""

    def __init__(self, where: str, ask: str) -> None:
        self.where, self.says, self.ask = where, ask, ASKS[ask]
        self.log: list[str] = []

    async def asking(self, where: str) -> None:
        if where == self.where and self.log.count(where) < 3:
            self.log.append(where)
            try:
                await self.ask(self)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                assert self.says == "EndFrame queued" or where == "cleanup"  # the end had been asked for already

    @asynccontextmanager
    async def lifespan(self):
        await self.asking("set-up")
        try:
            yield
        finally:
            await self.asking("cleanup")
            self.log.append("down")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame) and direction is DOWN:
            await trio.sleep(10)
        await self.push_frame(frame, direction)

    async def on_interrupt(self) -> None:
        await self.asking("on_interrupt")


@places
@modes
@pytest.mark.parametrize("ask", CANCELLING)
async def test_g01_a_cancel_from_set_up_acts_and_leaves_nothing(autojump_clock, place, mode, ask) -> None:
    asks, last = Asks("set-up", ask), Probe()
    task = task_at(place, mode, Probe(), asks, last)
    await task.queue_frames(texts(1, 2))
    async with nothing_left():
        with trio.fail_after(1):
            await PipelineRunner(task).run()
    result = await task.wait_finished()
    assert (result.state, result.reason, result.started_at) == (TaskState.CANCELLED, "inside", None)
    assert last.seen == []


@places
@modes
@pytest.mark.parametrize("ask", ENDING)
async def test_g23_an_end_from_set_up_delivers_what_was_queued(autojump_clock, place, mode, ask) -> None:
    last = Probe()
    task = task_at(place, mode, Asks("set-up", ask), last)
    await task.queue_frames(texts(1, 2))
    async with nothing_left():
        with trio.fail_after(30):
            result = await task.run()
    assert result.reason == "inside"
    assert result.state is (TaskState.STOPPED if "Stop" in ask else TaskState.ENDED)
    assert last.texts == ["1", "2"]
    assert last.kinds[0] == "StartFrame"


# In the middle of an interrupt, three at once ask for something else, or for the next interrupt.
@places
@modes
@pytest.mark.parametrize("ask", ASKS)
async def test_g05_what_is_asked_for_during_an_interrupt_happens(autojump_clock, place, mode, ask) -> None:
    asks, last = [Asks("on_interrupt", ask) for _ in range(3)], Probe()
    task = task_at(place, mode, *asks, last, allow_interruptions=True)
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                await task.queue_frames(texts("old", "older"))
                await trio.sleep(1)
                task.interrupt()
                await trio.sleep(1)
                assert "on_interrupt" in [entry for part in asks for entry in part.log]
                if ask in INTERRUPTING:
                    await task.queue_frame(TextFrame("new"))
                    task.stop_when_done()
    if ask in CANCELLING:
        assert task.state is TaskState.CANCELLED
        assert trio.current_time() == 2
    elif ask in ENDING:
        assert task.state in (TaskState.ENDED, TaskState.STOPPED)
        assert last.texts == []
    else:
        assert last.texts == ["new"]


# While it is torn down a request is too late, and harmless.
@places
@modes
@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("how", ["cancel", "stop_when_done"])
async def test_g05_what_is_asked_for_during_cleanup_is_harmless(autojump_clock, place, mode, ask, how) -> None:
    asks = Asks("cleanup", ask)
    task = task_at(place, mode, asks, Probe(), allow_interruptions=True)
    async with nothing_left():
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                getattr(task, how)("first")
                try:
                    await task.wait_finished()
                finally:
                    pass
    result = await task.wait_finished()
    assert asks.log == ["cleanup", "down"]
    assert result.state in ((TaskState.CANCELLED,) if how == "cancel" else (TaskState.ENDED, TaskState.CANCELLED))


# -- G7, of a block's own tasks


@processor
async def pumps(frames: Frames[TextFrame], out: Out) -> None:
    async def pump() -> None:
        while True:
            await out.push(TextFrame("sound"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        nursery.start_soon(pump)
        async for frame in frames:
            await out.push(frame)
        nursery.cancel_scope.cancel()


@cancels
@places
async def test_g07_cancel_of_a_block_whose_own_tasks_push_without_end(autojump_clock, way, place) -> None:
    for mode in ("tasks", "inline", "debug"):
        button = Button()
        task = task_at(place, mode, button, pumps, Slow(1))
        await task.queue_frames(texts(1, 2, 3))
        assert await cancelled(way, task, after(5), button=button) == 0


@ends
@places
async def test_g23_a_block_whose_own_tasks_push_without_end_ends(autojump_clock, way, place) -> None:
    button, last = Button(), Probe()
    task = task_at(place, "tasks", button, pumps, last)

    async def fill() -> None:
        await task.wait_state(TaskState.RUNNING)
        await task.queue_frames(texts(1, 2, 3))

    await asked_to_end(way, task, fill, button=button)
    assert [text for text in last.texts if text != "sound"] == ["1", "2", "3"]
