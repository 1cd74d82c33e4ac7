"""Cleanup: nothing is closed before those that use it have ended."""

from __future__ import annotations

import gc
import signal
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from graves_kit import (
    CANCELS,
    MODES,
    Button,
    Owns,
    Service,
    after,
    asked_to_end,
    cancelled,
    cancels,
    ends,
    modes,
    places,
    running,
    task_at,
    texts,
)
from hosting import Probe, Slow, Stuck, at_every_checkpoint, errors_in, nothing_left
from trio_pipes import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    StopFrame,
    TaskState,
    TextFrame,
    each,
)

# -- G19: the order of the teardown


class Uses(FrameProcessor):
    """Uses a service of another processor in a handler, and once more as the handler is stopped."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            try:
                await trio.sleep(10)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.5)
                    await self.service.use("a stopped handler")
        if isinstance(frame, EndFrame | StopFrame):
            await trio.sleep(0.5)
            await self.service.use("the end")
        await self.push_frame(frame, direction)


@cancels
@modes
async def test_g19_a_stopped_handler_still_has_what_others_own(autojump_clock, way, mode) -> None:
    log: list[str] = []
    button, above, below = Button(), Owns(log), Owns(log)
    task = task_at("deep", mode, button, above, Uses(above.service), Uses(below.service), below)
    await task.queue_frames(texts(1, 2))
    assert await cancelled(way, task, after(11), button=button) == pytest.approx(
        0.5 if mode != "inline" else 1, abs=0.6
    )
    assert log[-2:] == ["closed", "closed"]
    assert "a stopped handler" in log
    assert log.index("closed") == len(log) - 2


@ends
@modes
async def test_g19_the_last_frame_still_finds_what_others_own(autojump_clock, way, mode) -> None:
    log: list[str] = []
    button, above, below = Button(), Owns(log), Owns(log)
    task = task_at("branch", mode, button, above, Uses(above.service), Uses(below.service), below)
    await asked_to_end(way, task, running(task), button=button)
    assert log == ["the end", "the end", "closed", "closed"]


class Says(FrameProcessor):
    """Says goodbye over a connection whose reader is background work of the same lifespan."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @asynccontextmanager
    async def lifespan(self):
        self.ask, inbox = trio.open_memory_channel[str](0)
        self.answered = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.read, inbox)
            try:
                yield
            finally:
                await self.ask.send("goodbye")
                await self.answered.wait()
                self.log.append("closed in order")
                nursery.cancel_scope.cancel()

    async def read(self, inbox: trio.MemoryReceiveChannel[str]) -> None:
        async for word in inbox:
            self.log.append(word)
            await trio.sleep(0.5)
            self.answered.set()


@ends
async def test_g19_cleanup_that_needs_a_reader_of_its_own_has_it_after_an_end(autojump_clock, way) -> None:
    says, button = Says(), Button()
    task = task_at("branch", "tasks", button, says)
    await asked_to_end(way, task, running(task), button=button)
    assert says.log == ["goodbye", "closed in order"]


@cancels
@places
async def test_g19_cleanup_that_needs_a_reader_of_its_own_has_it_after_a_cancel(autojump_clock, way, place) -> None:
    for mode in ("tasks", "inline", "debug"):
        says, button = Says(), Button()
        task = task_at(place, mode, button, says, Stuck(EndFrame))
        assert await cancelled(way, task, running(task), button=button) == 0.5
        assert says.log == ["goodbye", "closed in order"]


# Impatience: cancelled once more, and in another way, while it says goodbye.
@cancels
@pytest.mark.parametrize("first", ["task.cancel", "stop_when_done"])
async def test_g19_a_cancel_during_cleanup_cuts_no_goodbye_short(autojump_clock, way, first) -> None:
    says, button = Says(), Button()
    task = task_at("deep", "tasks", says, button, *([Stuck(EndFrame)] if first == "task.cancel" else []))

    async def saying_goodbye() -> None:
        await task.wait_state(TaskState.RUNNING)
        task.cancel() if first == "task.cancel" else task.stop_when_done()
        await trio.sleep(0.2)
        assert says.log == ["goodbye"]

    took = await cancelled(way, task, saying_goodbye, button=button, states=(TaskState.CANCELLED, TaskState.ENDED))
    assert took == pytest.approx(0.3)
    assert says.log == ["goodbye", "closed in order"]


def test_g19_a_cancel_at_any_step_lets_cleanup_finish() -> None:
    async def scenario(arm) -> None:
        says = Says()
        task = task_at("branch", "tasks", says, Probe())
        arm(task.cancel)
        await task.queue_frames(texts(1, 2))
        task.stop_when_done()
        with trio.fail_after(5):
            await task.run()
        assert says.log in ([], ["goodbye", "closed in order"])

    assert at_every_checkpoint(scenario) > 20


class SaysTo(FrameProcessor):
    """Its cleanup takes a second, and then uses a service that it does not own."""

    def __init__(self, service: Service) -> None:
        self.service = service

    @asynccontextmanager
    async def lifespan(self):
        try:
            yield
        finally:
            await trio.sleep(1)
            await self.service.use("cleanup")


async def with_a_helper(end) -> list[str]:
    """Two tasks whose cleanup uses a helper of their runner; `end(runner, tasks)` ends them."""
    helper = Helper(log := [])
    tasks = [PipelineTask(Pipeline([SaysTo(helper.service), SaysTo(helper.service)])) for _ in range(2)]
    runner = PipelineRunner(*tasks)
    runner.add_workers(helper, helper=True)
    async with nothing_left():
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                end(runner, tasks)
    return log


# A worker's last act uses a helper: helpers go after all that they serve.
@pytest.mark.parametrize(
    "end",
    [
        lambda runner, tasks: runner.end(),
        lambda runner, tasks: [task.stop_when_done() for task in tasks],
        lambda runner, tasks: [task.cancel() for task in tasks],
    ],
    ids=["runner.end", "tasks end", "tasks are cancelled"],
)
async def test_g19_cleanup_still_has_the_helpers_of_the_runner(autojump_clock, end) -> None:
    assert await with_a_helper(end) == ["cleanup"] * 4 + ["closed"]


@pytest.mark.parametrize("how", ["runner.cancel", "two signals"])
async def test_g19_cleanup_after_a_cancel_of_the_runner_still_has_its_helpers(autojump_clock, how) -> None:
    def end(runner: PipelineRunner, tasks: list[PipelineTask]) -> None:
        if how == "runner.cancel":
            runner.cancel()
        else:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)

    assert await with_a_helper(end) == ["cleanup"] * 4 + ["closed"]


class Helper:
    name = "helper"

    def __init__(self, log: list[str]) -> None:
        self.service = Service(log)
        self.told = trio.Event()

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self.told.wait()
        self.service.open = False
        self.service.log.append("closed")

    def stop_when_done(self, reason: str | None = None):
        self.told.set()
        return PipelineTask(Pipeline([Probe()])).stop_when_done()

    def cancel(self, reason: str | None = None):
        return self.stop_when_done()


# A generator is a block too: what is open in it is closed when its handler ends, and not when its garbage is collected.
@pytest.mark.parametrize("kind", ["async", "sync"])
@places
async def test_g19_a_generator_that_is_stopped_is_closed_before_the_run_is_over(autojump_clock, kind, place) -> None:
    closed: list[str] = []

    @each
    def sync(frame: TextFrame):
        try:
            while True:
                yield TextFrame("more")
        finally:
            closed.append("sync")

    @each
    async def later(frame: TextFrame):
        try:
            while True:
                await trio.sleep(0.01)
                yield TextFrame("more")
        finally:
            closed.append("async")

    gc.disable()
    try:
        for mode in MODES:
            for way in CANCELS:
                closed.clear()
                button = Button()
                task = task_at(place, mode, button, sync if kind == "sync" else later, Probe(), Slow(1))
                await task.queue_frame(TextFrame("x"))
                await cancelled(way, task, after(5), button=button)
                assert closed == [kind], f"{mode}, {way}"
    finally:
        gc.enable()


# One whose cleanup fails or hangs does not keep the others from theirs.
@pytest.mark.parametrize("how", ["cancel", "stop_when_done"])
async def test_g19_one_cleanup_cannot_hurt_another(autojump_clock, how, caplog) -> None:
    log: list[str] = []

    class Fails(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                raise LookupError("no goodbye")

    class Hangs(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                await trio.sleep_forever()

    task = task_at("row", "tasks", Owns(log), Fails(), Hangs(), Owns(log), cleanup_timeout=3)
    async with nothing_left():
        with trio.fail_after(4), pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                getattr(task, how)()
    assert [str(error) for error in errors_in(caught.value)] == ["no goodbye"]
    assert log == ["closed", "closed"]
    assert trio.current_time() == 3
    assert "cleanup of 'Hangs" in caplog.text
