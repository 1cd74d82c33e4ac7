"""Every public call of a task, made from every place inside its own run: what may be done is done, nothing hangs."""

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from hosting import Probe, nothing_left, task_of, texts
from trio_pipes import (
    Direction,
    Frame,
    FrameProcessor,
    PipelineTask,
    TaskState,
    TextFrame,
)


class Quiet:
    def on_error(self, task, frame) -> None: ...


QUIET = Quiet()


async def open_output(task: PipelineTask) -> None:
    async with task.open_output(TextFrame):
        pass


SYNC: dict[str, Callable[[PipelineTask], object]] = {
    "stop_when_done": lambda task: task.stop_when_done("asked"),
    "cancel": lambda task: task.cancel("asked"),
    "interrupt": lambda task: task.interrupt(),
    "add_observer": lambda task: task.add_observer(Quiet()),
    "remove_observer": lambda task: task.remove_observer(QUIET),
    "statistics": lambda task: task.statistics(),
    "has_finished": lambda task: task.has_finished(),
}
ASYNC: dict[str, Callable[[PipelineTask], Awaitable[object]]] = {
    "queue_frame": lambda task: task.queue_frame(TextFrame("more")),
    "queue_frame up": lambda task: task.queue_frame(TextFrame("more"), Direction.UPSTREAM),
    "queue_frames": lambda task: task.queue_frames(texts(*["more"] * 200)),
    "wait_state": lambda task: task.wait_state(*TaskState),
    "open_output": open_output,
}
# These would wait for their own caller.
REFUSED: dict[str, Callable[[PipelineTask], Awaitable[object]]] = {
    "flush": lambda task: task.flush(),
    "wait_finished": lambda task: task.wait_finished(),
    "wait_state": lambda task: task.wait_state(TaskState.ENDED, TaskState.CANCELLED),
    "run": lambda task: task.run(),
}


class Caller(FrameProcessor):
    """Makes one call, once, from one place in its life."""

    def __init__(self, place: str, call: Callable[[PipelineTask], Awaitable[object]]) -> None:
        super().__init__("caller")
        self.place, self.call = place, call
        self.called = 0

    async def make(self, place: str) -> None:
        if place == self.place and not self.called:
            self.called += 1
            await self.call(self.task)

    @asynccontextmanager
    async def lifespan(self):
        await self.make("set-up")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.make, "background")
            yield
        await self.make("cleanup")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await self.make("handler")
        await self.push_frame(frame, direction)

    async def on_interrupt(self) -> None:
        await self.make("on_interrupt")


PLACES = ("set-up", "background", "handler", "on_interrupt", "cleanup")


async def life(task: PipelineTask) -> None:
    """A run with a frame, an interrupt and an end; nothing in it takes a minute."""
    with trio.fail_after(60):
        async with nothing_left(), trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await task.wait_state(*(state for state in TaskState if state not in (TaskState.NEW, TaskState.STARTING)))
            try:
                await task.queue_frame(TextFrame("x"))
                await trio.sleep(1)
                task.interrupt()
                await trio.sleep(1)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                pass
            task.stop_when_done()


async def as_async(call: Callable[[PipelineTask], object], task: PipelineTask) -> None:
    call(task)


def expected(name: str) -> TaskState:
    return TaskState.CANCELLED if name == "cancel" else TaskState.ENDED


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
async def test_a_processor_may_call_it(autojump_clock, place, name) -> None:
    closed = []

    async def call(task: PipelineTask) -> None:
        try:
            await as_async(SYNC[name], task) if name in SYNC else await ASYNC[name](task)
        except (trio.ClosedResourceError, trio.BrokenResourceError) as exc:
            closed.append(exc)

    caller = Caller(place, call)
    task = task_of(Probe(), caller, Probe(), observers=[QUIET])
    await life(task)
    assert caller.called == 1
    # Cleanup comes when the end is decided; what is queued then is refused.
    assert task.state is (TaskState.ENDED if place == "cleanup" else expected(name))
    assert bool(closed) == (place == "cleanup" and name.startswith("queue_frame"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", REFUSED)
async def test_a_processor_that_would_wait_for_itself_is_told(autojump_clock, place, name) -> None:
    told = []

    async def call(task: PipelineTask) -> None:
        with pytest.raises(RuntimeError, match="inside one of its own processors" if name != "run" else "run already"):
            await REFUSED[name](task)
        told.append(name)

    caller = Caller(place, call)
    task = task_of(Probe(), caller, Probe())
    await life(task)
    assert told == [name]
    assert task.state is TaskState.ENDED


EVENTS = ("on_started", "on_frame_pushed", "on_frame_handled", "on_reached_sink", "on_interrupt", "on_finished")


def observer_of(event: str, method: object) -> object:
    return type("Observer", (), {event: method})()


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", SYNC)
async def test_an_observer_may_call_it(autojump_clock, event, name) -> None:
    called = []

    def told(self, task, *args) -> None:
        if not called:
            called.append(event)
            SYNC[name](task)

    task = task_of(Probe(), Probe(), observers=[QUIET, observer_of(event, told)])
    await life(task)
    result = await task.wait_finished()
    assert called == [event]
    assert result.observer_errors == ()
    assert result.state is (TaskState.ENDED if event == "on_finished" else expected(name))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", [*SYNC, *ASYNC, "flush", "wait_state end"])
async def test_an_async_observer_may_call_it_and_even_wait(autojump_clock, event, name) -> None:
    called = []

    async def told(self, task, *args) -> None:
        if not called:
            called.append(event)
            try:
                if name in SYNC:
                    SYNC[name](task)
                elif name == "wait_state end":
                    await REFUSED["wait_state"](task)
                else:
                    await {**REFUSED, **ASYNC}[name](task)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                assert event == "on_finished"

    task = task_of(Probe(), Probe(), observers=[QUIET, observer_of(event, told)])
    await life(task)
    result = await task.wait_finished()
    assert called == [event]
    assert result.observer_errors == ()
    assert result.state is (TaskState.ENDED if event == "on_finished" else expected(name))


@pytest.mark.parametrize("name", SYNC)
async def test_one_who_is_told_of_a_handled_frame_may_call_it(autojump_clock, name) -> None:
    task = task_of(Probe(), observers=[QUIET])
    await task.queue_frame(TextFrame("x"), on_handled=lambda *_: SYNC[name](task))
    await life(task)
    result = await task.wait_finished()
    assert result.observer_errors == ()
    assert result.state is expected(name)


# -- wrong values

BAD = {
    "reason of stop_when_done": lambda task: task.stop_when_done(3),
    "reason of cancel": lambda task: task.cancel(ValueError("x")),
    "observer": lambda task: task.add_observer(None),
    "observer class": lambda task: task.add_observer(Quiet),
    "observer that is not there": lambda task: task.remove_observer(Quiet()),
    "flush of text": lambda task: task.flush("1"),
    "flush of less than nothing": lambda task: task.flush(-1),
    "flush of nan": lambda task: task.flush(float("nan")),
    "flush of True": lambda task: task.flush(True),
    "no state": lambda task: task.wait_state(),
    "state by name": lambda task: task.wait_state("ended"),
    "frame": lambda task: task.queue_frame("x"),
    "direction": lambda task: task.queue_frame(TextFrame("x"), "down"),
    "frames": lambda task: task.queue_frames(None),
    "frames with others among them": lambda task: task.queue_frames([None]),
}


@pytest.mark.parametrize("running", [False, True], ids=["new", "running"])
@pytest.mark.parametrize("name", BAD)
async def test_a_wrong_value_is_refused_where_it_is_given_and_changes_nothing(autojump_clock, name, running) -> None:
    task = task_of(Probe())
    async with trio.open_nursery() as nursery:
        if running:
            await nursery.start(task.run)
        with trio.fail_after(5), pytest.raises((ValueError, TypeError)) as caught:
            await BAD[name](task)
        assert str(caught.value)
        assert task.state is (TaskState.RUNNING if running else TaskState.NEW)
        task.stop_when_done()
        if not running:
            await task.run()
    assert (await task.wait_finished()).state is TaskState.ENDED


@pytest.mark.parametrize("name", [name for name in BAD if not name.startswith("frame")])
async def test_a_wrong_value_is_refused_after_the_end_too(autojump_clock, name) -> None:
    task = task_of(Probe())
    task.stop_when_done()
    await task.run()
    with trio.fail_after(5), pytest.raises((ValueError, TypeError)):
        await BAD[name](task)


@pytest.mark.parametrize("observers", [None, 3, Quiet, Quiet()], ids=["None", "3", "class", "one"])
def test_observers_that_are_no_collection_are_refused(observers) -> None:
    with pytest.raises((TypeError, ValueError), match="observers"):
        PipelineTask(Probe(), observers=observers)


async def test_flush_of_no_time_and_of_all_time(autojump_clock) -> None:
    task = task_of(Probe())
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame("x"))
        assert await task.flush(float("inf"))
        assert await task.flush(0) is False
        assert trio.current_time() == 0
        task.stop_when_done()
