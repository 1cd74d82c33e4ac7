"""What a user forgets or misspells: it works all the same, or it is an error with a name."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from graves_kit import (
    HUNG,
    modes,
    places,
    task_at,
    texts,
)
from hosting import Probe, Urgent, errors_in, notes_of, nothing_left, started
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    Direction,
    ErrorFrame,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    TaskState,
    TextFrame,
    each,
    processor,
)

TASK_EVENTS = (
    "on_started",
    "on_finished",
    "on_error",
    "on_interrupt",
    "on_interrupt_refused",
    "on_frame_pushed",
    "on_frame_handled",
    "on_reached_source",
    "on_reached_sink",
)

# -- G12: what a subclass forgets


class Forgetful(FrameProcessor):
    """Calls `super()` nowhere, and pushes only what it knows."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting
        self.log: list[str] = []

    @asynccontextmanager
    async def lifespan(self):
        self.log.append("up")
        try:
            yield
        finally:
            self.log.append("down")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await trio.sleep(10)
            await self.push_frame(TextFrame(f"{self.greeting} {frame.text}"))

    async def on_interrupt(self) -> None:
        self.log.append("interrupted")


class MoreForgetful(Forgetful):
    """A subclass of it, whose `__init__` forgets its parent's too."""

    def __init__(self) -> None:
        self.greeting, self.log = "hullo", []


@places
@modes
@pytest.mark.parametrize("make", [lambda: Forgetful("hello"), MoreForgetful], ids=["class", "subclass"])
async def test_g12_what_a_subclass_forgets_does_not_stop_interrupts_or_the_end(
    autojump_clock, place, mode, make
) -> None:
    forgetful, last = make(), Probe()
    task = task_at(place, mode, forgetful, last)
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                await task.queue_frame(TextFrame("old"))
                await trio.sleep(1)
                task.interrupt()
                await task.queue_frame(TextFrame("new"))
                task.stop_when_done()
    assert forgetful.log == ["up", "interrupted", "down"]
    assert last.texts == [f"{forgetful.greeting} new"]
    assert last.kinds == ["StartFrame", "InterruptionFrame", "TextFrame", "EndFrame"]
    assert trio.current_time() == 11  # the old one was stopped


class Tag(ControlFrame):
    """A frame that nobody sends."""


# A function and a block cannot forget: what is not theirs passes by, in order, in both directions.
@places
@modes
async def test_g12_what_is_not_asked_for_passes_by(autojump_clock, place, mode) -> None:
    @each
    def numbers(frame: ErrorFrame) -> ErrorFrame:
        return frame

    @each
    async def slow_texts(frame: TextFrame) -> TextFrame:
        await trio.sleep(1)
        return frame

    @processor
    async def nothing(frames: Frames[Tag], out: Out) -> None:
        async for _ in frames:
            raise AssertionError("not asked for")

    above, below = Probe(), Probe()
    task = task_at(place, mode, above, numbers, nothing, slow_texts, below)
    await task.queue_frames(texts("a", "b"))
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(5)
                await task.queue_frame(TextFrame("up"), Direction.UPSTREAM)
                await task.queue_frame(Urgent("urgent"))
                await trio.sleep(1)
                task.stop_when_done()
    assert below.texts[:2] == ["a", "b"]
    assert above.texts == ["a", "b", "up"]
    assert "Urgent" in below.kinds
    assert below.kinds[0] == "StartFrame"
    assert below.kinds[-1] == "EndFrame"


# Forgotten `async`, forgotten decorator: no frame is lost without a word.
@pytest.mark.parametrize("hook", ["process_frame", "on_interrupt", "lifespan"])
async def test_g12_a_hook_of_the_wrong_shape_is_an_error_that_names_the_class(autojump_clock, hook) -> None:
    def forgot(self, *args):
        yield from ()

    wrong = type("Wrong", (FrameProcessor,), {hook: forgot})
    task = task_at("row", "tasks", wrong())
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(1)
            task.interrupt()
            await trio.sleep(1)
            task.stop_when_done()
    (error,) = errors_in(caught.value)
    assert isinstance(error, TypeError | ValueError)
    assert "Wrong" in f"{error} {notes_of(error)}"


# -- G13: a misspelt event name


def observer(name: str, *, is_async: bool = False) -> object:
    """An observer with one method of that name."""

    async def later(self, *args) -> None: ...

    def now(self, *args) -> None: ...

    return type("Watch", (), {name: later if is_async else now})()


MISSPELT = {
    "on_finnished": "on_finished",
    "on_pipeline_started": "on_started",
    "on_start": "on_started",
    "on_errors": "on_error",
    "on_Interrupt": "on_interrupt",
    "on_frame_push": "on_frame_pushed",
    "on_reached_sync": "on_reached_sink",
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("when", ["constructor", "before", "while running", "after"])
@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
async def test_g13_a_misspelt_event_is_refused_and_the_nearest_is_named(
    autojump_clock, is_async, when, name, meant
) -> None:
    watch = observer(name, is_async=is_async)
    refused = pytest.raises(ConfigurationError, match=rf"Watch\.{name} .*Did you mean {meant}\?")
    if when == "constructor":
        with refused:
            PipelineTask(Pipeline([Probe()]), observers=[watch])
        return
    task = task_at("row", "tasks", Probe())
    if when == "before":
        with refused:
            task.add_observer(watch)
    async with started(task):
        if when == "while running":
            with refused:
                task.add_observer(watch)
        await task.queue_frame(TextFrame("x"))
    if when == "after":
        with refused:
            task.add_observer(watch)
    assert task.state is TaskState.ENDED  # the mistake of one did not hurt the run


def test_g13_an_inherited_misspelling_is_refused_too() -> None:
    class Base:
        def on_finish(self, task, result) -> None: ...

    class Watch(Base):
        def on_started(self, task) -> None: ...

    with pytest.raises(ConfigurationError, match="Did you mean on_finished"):
        PipelineTask(Pipeline([Probe()]), observers=[Watch()])
    with pytest.raises(ConfigurationError, match="on_finish"):
        PipelineRunner(observers=[Watch()])


@pytest.mark.parametrize(
    ("name", "meant"), [("on_redy", "on_ready"), ("on_worker_start", "on_worker_started"), ("on_failed", "on_")]
)
def test_g13_events_of_a_runner_too(name, meant) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name} .*Did you mean {meant}"):
        PipelineRunner(observers=[observer(name)])
    with pytest.raises(ConfigurationError, match=rf"{name} .*Did you mean {meant}"):
        PipelineRunner().add_observer(observer(name))


# The other side of it: each name that is an event is called.
async def test_g13_every_event_that_can_be_named_is_told(autojump_clock) -> None:
    told: set[str] = set()

    class Everything:
        def __getattribute__(self, name: str):
            return (lambda *args: told.add(name)) if name.startswith("on_") else super().__getattribute__(name)

        def __dir__(self):
            return TASK_EVENTS

    class Asks(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                self.interrupt()
                await self.push_error("told")
                await self.push_frame(TextFrame("up"), Direction.UPSTREAM)
            await self.push_frame(frame, direction)

    task = task_at("row", "tasks", Asks(), observers=[Everything()])
    async with started(task):
        await task.queue_frame(TextFrame("x"))
        await trio.sleep(1)
        task.interrupt()
    assert told == set(TASK_EVENTS)
