"""Errors: none vanishes, wherever it happens."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from graves_kit import HUNG, modes, places, task_at, texts
from hosting import Probe, Stuck, Urgent, errors_in, notes_of, nothing_left, records
from trio_pipes import (
    Direction,
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    Frame,
    FrameProcessor,
    Frames,
    InterruptionFrame,
    Out,
    PipelineRunner,
    PipelineTask,
    StartFrame,
    TaskState,
    TextFrame,
    TransitionError,
    each,
    processor,
)

# -- G8: an exception in a processor


class FailsOn(FrameProcessor):
    """Raises when it is shown a frame of that class in that direction."""

    def __init__(self, on: type[Frame], direction: Direction = Direction.DOWNSTREAM, name: str = "culprit") -> None:
        super().__init__(name)
        self.on, self.direction = on, direction

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, self.on) and direction is self.direction:
            raise LookupError("lost")
        await self.push_frame(frame, direction)


class FailsAfterPush(FailsOn):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, self.on) and direction is self.direction:
            raise LookupError("lost")


class FailsInInterrupt(FrameProcessor):
    async def on_interrupt(self) -> None:
        raise LookupError("lost")


class FailsInSetUp(FrameProcessor):
    @asynccontextmanager
    async def lifespan(self):
        raise LookupError("lost")
        yield


class FailsInCleanup(FrameProcessor):
    @asynccontextmanager
    async def lifespan(self):
        try:
            yield
        finally:
            raise LookupError("lost")


@each
def sync_function(frame: TextFrame) -> TextFrame:
    raise LookupError("lost")


@each
async def async_function(frame: TextFrame) -> TextFrame:
    await trio.sleep(1)
    raise LookupError("lost")


@each
def generator(frame: TextFrame):
    yield frame
    raise LookupError("lost")


@each
async def async_generator(frame: TextFrame):
    yield frame
    await trio.sleep(1)
    raise LookupError("lost")


@processor
async def block(frames: Frames[TextFrame], out: Out) -> None:
    async for _ in frames:
        raise LookupError("lost")


@processor
async def block_after(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)
    raise LookupError("lost")


@processor
async def block_before(frames: Frames[TextFrame], out: Out) -> None:
    raise LookupError("lost")
    async for frame in frames:
        await out.push(frame)


@processor
async def block_leaves(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)
        raise LookupError("lost")


CULPRITS = {
    "a text": (lambda: FailsOn(TextFrame), "culprit"),
    "a text, pushed on": (lambda: FailsAfterPush(TextFrame), "culprit"),
    "a text going up": (lambda: FailsOn(TextFrame, Direction.UPSTREAM), "culprit"),
    "a system frame": (lambda: FailsOn(Urgent), "culprit"),
    "a system frame going up": (lambda: FailsOn(Urgent, Direction.UPSTREAM), "culprit"),
    "StartFrame": (lambda: FailsOn(StartFrame), "culprit"),
    "StartFrame, pushed on": (lambda: FailsAfterPush(StartFrame), "culprit"),
    "EndFrame": (lambda: FailsOn(EndFrame), "culprit"),
    "EndFrame, pushed on": (lambda: FailsAfterPush(EndFrame), "culprit"),
    "an interrupt": (lambda: FailsOn(InterruptionFrame), "culprit"),
    "on_interrupt": (FailsInInterrupt, "FailsInInterrupt"),
    "set-up": (FailsInSetUp, "FailsInSetUp"),
    "cleanup": (FailsInCleanup, "FailsInCleanup"),
    "sync function": (lambda: sync_function, "sync_function"),
    "async function": (lambda: async_function, "async_function"),
    "generator": (lambda: generator, "generator"),
    "async generator": (lambda: async_generator, "async_generator"),
    "block": (lambda: block, "block"),
    "block, above its loop": (lambda: block_before, "block_before"),
    "block, below its loop": (lambda: block_after, "block_after"),
    "block, having pushed": (lambda: block_leaves, "block_leaves"),
}


class Watch:
    def __init__(self) -> None:
        self.errors: list[ErrorFrame] = []

    def on_error(self, task: PipelineTask, frame: ErrorFrame) -> None:
        self.errors.append(frame)


async def use(task: PipelineTask) -> None:
    """Send it one of everything."""
    try:
        await task.wait_state(TaskState.RUNNING)
        await task.queue_frames(texts(1, 2))
        await task.queue_frame(TextFrame("up"), Direction.UPSTREAM)
        await task.queue_frame(Urgent("now"))
        await task.queue_frame(Urgent("now, up"), Direction.UPSTREAM)
        await trio.sleep(5)
        task.interrupt()
        await trio.sleep(5)
        task.stop_when_done()
    except (trio.BrokenResourceError, trio.ClosedResourceError, TransitionError):
        pass  # it has failed meanwhile


@places
@modes
@pytest.mark.parametrize("culprit", CULPRITS)
async def test_g08_an_error_in_a_processor_ends_the_run_and_leaves_it(autojump_clock, place, mode, culprit) -> None:
    make, name = CULPRITS[culprit]
    task = task_at(place, mode, Probe(), make(), Probe(), observers=[Watch()])
    async with nothing_left():
        with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_user, task)
                await PipelineRunner().run(task)
    errors = errors_in(caught.value)
    assert [repr(error) for error in errors] == ["LookupError('lost')"]
    assert f"in processor '{name}" in notes_of(errors[0])
    result = await task.wait_finished()
    assert result.state is TaskState.FAILED
    assert errors_in(result.error) == errors
    with pytest.raises(trio.BrokenResourceError):  # nobody goes on feeding a pipeline that is not whole
        await task.queue_frame(TextFrame("more"))


async def _user(task: PipelineTask) -> None:
    with trio.move_on_after(100):
        await use(task)


# Where errors are asked for as frames they come up, counted, and the pipeline is told which frame was not handled.
@places
@modes
@pytest.mark.parametrize("culprit", ["a text", "sync function", "async function", "generator", "async generator"])
async def test_g08_a_reported_error_comes_up_once_for_each_frame(autojump_clock, place, mode, culprit) -> None:
    make, name = CULPRITS[culprit]
    watch, below = Watch(), Probe()
    task = task_at(place, mode, Probe(), make(), below, observers=[watch], on_error=ErrorPolicy.REPORT)
    await task.queue_frames(texts(1, 2, 3))
    task.stop_when_done()
    async with nothing_left():
        with trio.fail_after(HUNG):
            result = await task.run()
    assert result.state is TaskState.ENDED
    assert result.reported_errors == len(watch.errors) == 3
    assert {repr(frame.exception) for frame in watch.errors} == {"LookupError('lost')"}
    assert all(frame.processor.name.startswith(name) for frame in watch.errors)
    assert below.texts == (["1", "2", "3"] if "generator" in culprit else [])


# Two at once, and one more in the cleanup: all of them, with their names.
@modes
async def test_g08_no_error_hides_another(autojump_clock, mode) -> None:
    class Two(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                try:
                    await trio.sleep(3600)
                finally:
                    raise KeyError("while it was stopped")
            await self.push_frame(frame, direction)

        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                raise ValueError("in cleanup")

    class Later(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, Urgent):
                raise LookupError("first")
            await self.push_frame(frame, direction)

    task = task_at("branch", mode, Later("later"), Two("two"))
    async with nothing_left():
        with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                await task.queue_frame(TextFrame("x"))
                await trio.sleep(1)
                await task.queue_frame(Urgent("x"))
    told = {str(error): notes_of(error) for error in errors_in(caught.value)}
    assert set(told) == {"first", "'while it was stopped'", "in cleanup"}
    assert "'later'" in told["first"]
    assert "'two'" in told["'while it was stopped'"]
    assert "'two'" in told["in cleanup"]


# -- G31: an exception in a processor's background work


class Background(FrameProcessor):
    """Work of its own beside the frames, which fails after a while."""

    def __init__(self, where: str, after: float) -> None:
        self.where, self.after = where, after

    async def work(self) -> None:
        await trio.sleep(self.after)
        raise ConnectionError("the socket is gone")

    @asynccontextmanager
    async def lifespan(self):
        if self.where != "lifespan":
            yield
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.work)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame) and self.where == "handler":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.work)
                nursery.start_soon(trio.sleep_forever)
        await self.push_frame(frame, direction)


@processor
async def block_with_a_reader(frames: Frames[TextFrame], out: Out) -> None:
    async def read() -> None:
        await trio.sleep(3)
        raise ConnectionError("the socket is gone")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        async for frame in frames:
            await out.push(frame)


@places
@modes
@pytest.mark.parametrize("where", ["lifespan", "handler", "block"])
@pytest.mark.parametrize("policy", [ErrorPolicy.RAISE, ErrorPolicy.REPORT], ids=lambda policy: policy.name)
async def test_g31_an_error_in_background_work_is_the_processors(
    autojump_clock, place, mode, where, policy, caplog
) -> None:
    if where == "handler" and policy is ErrorPolicy.REPORT:
        policy = ErrorPolicy.RAISE  # there it is the frame's error, and would be reported
    culprit = block_with_a_reader if where == "block" else Background(where, 3)
    task = task_at(place, mode, Stuck(Urgent), culprit, Probe(), on_error=policy)
    await task.queue_frame(TextFrame("x"))
    async with nothing_left():
        with trio.fail_after(4), pytest.raises(ExceptionGroup) as caught:
            await task.run()
    (error,) = errors_in(caught.value)
    assert isinstance(error, ConnectionError)
    name = "block_with_a_reader" if where == "block" else "Background"
    assert f"in processor '{name}" in notes_of(error)
    assert task.state is TaskState.FAILED
    assert records(caplog, logging.ERROR) == []  # it is raised, and so nobody has to read a log


# While others sleep, drain, or are being set up: it is noticed at once.
@pytest.mark.parametrize("moment", ["set-up", "start", "a frame", "the end"])
async def test_g31_background_work_may_fail_at_any_moment(autojump_clock, moment) -> None:
    class SlowSetUp(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(15)
            yield

    other = {
        "set-up": SlowSetUp(),
        "start": Stuck(StartFrame),
        "a frame": Stuck(TextFrame),
        "the end": Stuck(EndFrame),
    }[moment]
    task = task_at("deep", "tasks", Background("lifespan", 3), other)
    await task.queue_frame(TextFrame("x"))
    if moment == "the end":
        task.stop_when_done()
    async with nothing_left():
        with trio.fail_after(4), pytest.raises(ExceptionGroup) as caught:
            await task.run()
    assert [repr(error) for error in errors_in(caught.value)] == ["ConnectionError('the socket is gone')"]
    assert trio.current_time() == 3
