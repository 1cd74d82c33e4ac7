"""What users of a frame framework expect of one run: how it is fed, what it tells, what it says about itself."""

from __future__ import annotations

from typing import Self

import pytest
import trio

from flow_kit import DOWN, UP, Drops, Sees, live, said, text, texts
from hosting import Probe, Stuck, Urgent, nothing_left, started, task_of
from trio_pipes import (
    CancelFrame,
    DataFrame,
    EndFrame,
    FrameProcessor,
    StartFrame,
    StopFrame,
    TaskResult,
    TaskState,
    TextFrame,
)


class Told:
    """What a task tells about its life and its ends."""

    def __init__(self) -> None:
        self.life: list[object] = []
        self.down: list[str] = []
        self.up: list[str] = []

    def on_started(self, task) -> None:
        self.life.append("started")

    def on_finished(self, task, result: TaskResult) -> None:
        self.life.append(result.state)

    def on_reached_sink(self, task, frame) -> None:
        self.down.append(type(frame).__name__)

    def on_reached_source(self, task, frame) -> None:
        self.up.append(type(frame).__name__)


async def test_frames_and_their_end_queued_before_the_run_are_all_there_is_to_it(autojump_clock) -> None:
    probe = Probe()
    task = task_of(probe)
    await task.queue_frames([text("a"), text("b"), EndFrame()])
    assert not task.has_finished()
    async with nothing_left():
        result = await task.run()
    assert task.has_finished()
    assert probe.kinds == ["StartFrame", "TextFrame", "TextFrame", "EndFrame"]
    assert (result.state, result.frames_in, result.frames_out) == (TaskState.ENDED, 2, 2)


WAYS = {
    "end": (EndFrame, TaskState.ENDED),
    "stop": (StopFrame, TaskState.STOPPED),
    "cancel": (CancelFrame, TaskState.CANCELLED),
}


@pytest.mark.parametrize("way", WAYS)
async def test_observers_are_told_once_of_the_start_and_of_how_it_ended(autojump_clock, way) -> None:
    frame_class, state = WAYS[way]
    told = Told()
    task = task_of(Probe(), observers=[told])
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        assert told.life == ["started"]
        assert told.down == ["StartFrame"]
        await task.queue_frame(frame_class())
    assert told.life == ["started", state]
    assert told.down == ["StartFrame", frame_class.__name__]


# There the cancel is a frame that has to reach the sink, within twenty seconds. Here no processor can hold it.
@pytest.mark.parametrize("holds", [StartFrame, TextFrame, EndFrame], ids=["start", "text", "end"])
@pytest.mark.parametrize("asks", ["cancel", "frame"])
async def test_a_cancel_takes_no_time_whatever_a_processor_holds(autojump_clock, holds, asks) -> None:
    told = Told()
    task = task_of(Probe(), Stuck(holds), Probe(), observers=[told])
    await task.queue_frames(said("x"))
    if holds is EndFrame:
        task.stop_when_done()
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await trio.sleep(5)
        if asks == "cancel":
            task.cancel("enough")
        elif holds is EndFrame:  # an end was asked for, so nothing can be queued; from inside it can be asked
            task.cancel()
        else:
            await task.queue_frame(CancelFrame())
    assert trio.current_time() == 5
    assert (await task.wait_finished()).state is TaskState.CANCELLED
    assert told.life[-1] is TaskState.CANCELLED
    assert told.down[-1] == "CancelFrame"


async def test_what_is_queued_upstream_comes_out_at_the_top_in_order(autojump_clock) -> None:
    top, bottom = Sees(), Sees()
    async with live([top, Sees(delay=1), bottom]) as run:
        await run.task.queue_frames(said(*"abcdef"), UP)
    assert texts(run.up) == list("abcdef")
    assert top.texts(UP) == bottom.texts(UP) == list("abcdef")
    assert run.down == []


# There a filter of types is set on the task, and an event fires. Here an output is opened for types.
async def test_each_output_gets_its_types_at_its_end(autojump_clock) -> None:
    task = task_of(Sees(), Sees())
    async with (
        task.open_output(TextFrame, buffer=10) as down_texts,
        task.open_output(Urgent, TextFrame, buffer=10, direction=UP) as up_both,
    ):
        async with started(task):
            await task.queue_frames([text("down"), DataFrame()])
            await task.queue_frame(Urgent("now"))
            await task.queue_frames([text("up"), DataFrame()], UP)
            await task.queue_frame(Urgent("up now"), UP)
        assert texts([frame async for frame in down_texts]) == ["down"]
        assert sorted([type(frame).__name__ async for frame in up_both]) == ["TextFrame", "Urgent"]


async def test_an_observer_counts_the_frames_of_its_time(autojump_clock) -> None:
    class Counts:
        def __init__(self) -> None:
            self.words: list[str] = []

        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            if isinstance(frame, TextFrame):
                self.words.append(frame.text)

    whole, part = Counts(), Counts()
    task = task_of(Probe(), observers=[whole])
    async with started(task):
        for word in ("before", "during", "after"):
            if word == "during":
                task.add_observer(part)
            elif word == "after":
                task.remove_observer(part)
            await task.queue_frame(text(word))
            await task.flush()
    assert whole.words == ["before", "during", "after"]
    assert part.words == ["during"]


# A frame that is swallowed has been pushed all the same, by the one above.
async def test_an_observer_sees_the_push_of_a_frame_that_is_swallowed_below(autojump_clock) -> None:
    class Pushes:
        seen: list[str]

        def __init__(self) -> None:
            self.seen = []

        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            if isinstance(frame, TextFrame):
                self.seen.append(processor.name)

    pushes = Pushes()
    task = task_of(FrameProcessor("above"), Drops("drops"), FrameProcessor("below"), observers=[pushes])
    await task.queue_frames([text("x"), EndFrame()])
    await task.run()
    assert pushes.seen == ["above"]


async def test_the_time_of_the_start_is_known_once_it_has_started(autojump_clock) -> None:
    class Late(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                await trio.sleep(4)
            await self.push_frame(frame, direction)

    task = task_of(Late())
    assert task.state is TaskState.NEW
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await trio.sleep(1)
        assert task.state is TaskState.STARTING
        await task.wait_state(TaskState.RUNNING)
        assert trio.current_time() == 4
        task.stop_when_done()
    assert (await task.wait_finished()).started_at == 4


async def test_a_run_cancelled_before_it_started_has_no_time_of_start(autojump_clock) -> None:
    task = task_of(Stuck(StartFrame))
    with trio.move_on_after(3):
        await task.run()
    result = await task.wait_finished()
    assert (result.state, result.started_at, result.finished_at) == (TaskState.CANCELLED, None, 3)


# -- what the processors of a run share


async def test_a_task_has_no_resources_of_its_own(autojump_clock) -> None:
    assert task_of(Probe()).resources is None


# One owner opens it, so nothing counts owners: there each of several processors acquires and releases it.
async def test_what_several_tasks_share_is_open_from_before_the_first_to_after_the_last(autojump_clock) -> None:
    log: list[str] = []

    class Line:
        async def __aenter__(self) -> Self:
            await trio.sleep(1)
            log.append("open")
            return self

        async def __aexit__(self, *exc: object) -> None:
            log.append("closed")

    class Uses(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                assert isinstance(self.task.resources, Line)
                log.append(frame.text)
            await self.push_frame(frame, direction)

    async with Line() as line, trio.open_nursery() as nursery:
        for word in ("one", "two"):
            task = task_of(Uses(), Uses())
            task.resources = line
            await task.queue_frames([text(word), EndFrame()])
            nursery.start_soon(task.run)
    assert log[0] == "open"
    assert sorted(log[1:-1]) == ["one", "one", "two", "two"]
    assert log[-1] == "closed"


# One that cannot be opened stops everything that needs it, before anything has begun.
async def test_what_cannot_be_opened_is_told_to_its_owner_and_nothing_starts(autojump_clock) -> None:
    probe = Probe()
    tried = []

    class Broken:
        async def __aenter__(self) -> None:
            tried.append(1)
            raise ConnectionRefusedError("no database")

        async def __aexit__(self, *exc: object) -> None:
            tried.append("closed")

    with pytest.raises(ConnectionRefusedError):
        async with Broken(), trio.open_nursery() as nursery:
            nursery.start_soon(task_of(probe).run)
    assert tried == [1]
    assert probe.seen == []


async def test_frames_come_out_at_the_end_they_travel_to(autojump_clock) -> None:
    async with live([Sees()]) as run:
        await run.task.queue_frame(text("down"), DOWN)
        await run.task.queue_frame(text("up"), UP)
    assert (texts(run.down), texts(run.up)) == (["down"], ["up"])
