"""What users of a frame framework expect of a processor that cannot do its work any more."""

from __future__ import annotations

import pytest
import trio

from flow_kit import UP, Sees, live, said
from hosting import task_of
from trio_pipes import (
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    PipelineParams,
    SystemFrame,
    TaskState,
    TextFrame,
    UnusablePolicy,
)


class Renewed(SystemFrame):
    """New settings."""


class Service(FrameProcessor):
    """Answers texts in capitals; "refused" is the end of its use, "odd" an error like any, "again" one more refusal."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.asked: list[str] = []

    async def process_frame(self, frame, direction) -> None:
        if isinstance(frame, TextFrame):
            self.asked.append(frame.text)
            if frame.text == "refused":
                for _ in range(3):
                    self.set_unusable("no credentials", PermissionError("401"))
            elif frame.text == "odd":
                await self.push_error("busy", TimeoutError("503"))
            elif frame.text == "raises":
                raise PermissionError("401")
            else:
                frame = TextFrame(frame.text.upper())
        elif isinstance(frame, Renewed):
            self.set_usable()
        await self.push_frame(frame, direction)


class Told:
    def __init__(self) -> None:
        self.changes: list[tuple[str, bool]] = []
        self.errors: list[tuple[str, bool]] = []

    def on_usable_changed(self, task, processor, usable: bool) -> None:
        self.changes.append((processor.name, usable))

    def on_error(self, task, frame: ErrorFrame) -> None:
        self.errors.append((type(frame.exception).__name__, frame.processor.is_usable))


def test_a_processor_is_usable_when_it_is_made() -> None:
    assert Service().is_usable
    assert PipelineParams().on_unusable is UnusablePolicy.CONTINUE


# There it drops frames, or goes on being asked. Here they pass by.
async def test_frames_pass_by_a_processor_that_is_unusable(autojump_clock) -> None:
    service, told = Service("service"), Told()
    async with live([Sees(), service, Sees()], observers=[told]) as run:
        await run.say("a", "refused", "b", "c")
        await run.task.flush()
        await run.task.queue_frame(TextFrame("up"), UP)
    assert service.asked == ["a", "refused"]
    assert run.texts == ["A", "refused", "b", "c"]
    assert told.changes == [("service", False)]
    assert not service.is_usable
    assert (await run.task.wait_finished()).state is TaskState.ENDED


# Three times said is once told, and whoever is told of the error finds the verdict.
async def test_the_verdict_is_in_before_the_error_is_told_and_once(autojump_clock) -> None:
    told = Told()
    async with live([Service()], observers=[told]) as run:
        await run.say("refused")
    assert told.errors == [("PermissionError", False)]
    (frame,) = [frame for frame in run.up if isinstance(frame, ErrorFrame)]
    assert "no credentials" in frame.error


# An error does not decide it, nor what kind of exception it has: the processor does.
@pytest.mark.parametrize("policy", UnusablePolicy)
@pytest.mark.parametrize("word", ["odd", "raises"])
async def test_other_errors_leave_a_processor_usable(autojump_clock, policy, word) -> None:
    service, told = Service(), Told()
    async with live([service], observers=[told], on_unusable=policy, on_error=ErrorPolicy.REPORT) as run:
        await run.say(word, "b")
    assert run.texts[-1] == "B"
    assert told.changes == []
    assert [usable for _, usable in told.errors] == [True]
    assert service.is_usable


async def test_a_processor_can_come_back(autojump_clock) -> None:
    service, told = Service("service"), Told()
    async with live([service], observers=[told]) as run:
        await run.say("refused", "b")
        await trio.sleep(1)
        await run.task.queue_frame(Renewed())  # urgent frames are still shown to it
        await trio.sleep(1)
        await run.say("c")
        await trio.sleep(1)
        await run.task.queue_frame(Renewed())
    assert run.texts == ["refused", "b", "C"]
    assert told.changes == [("service", False), ("service", True)]


@pytest.mark.parametrize("policy", UnusablePolicy)
async def test_the_policy_says_what_the_task_does(autojump_clock, policy) -> None:
    last = Sees()
    task = task_of(Service("service"), last, on_unusable=policy)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames(said("a"))
        await task.flush()
        await task.queue_frames(said("refused"))
        await trio.sleep(1)
        assert task.has_finished() is (policy is not UnusablePolicy.CONTINUE)
        if policy is UnusablePolicy.CONTINUE:
            await task.queue_frame(EndFrame())
    result = await task.wait_finished()
    assert result.state is (TaskState.CANCELLED if policy is UnusablePolicy.CANCEL else TaskState.ENDED)
    assert last.texts()[0] == "A"
    if policy is not UnusablePolicy.CONTINUE:
        assert "service" in str(result.reason)


async def test_each_processor_is_told_of_by_itself(autojump_clock) -> None:
    class Second(Service):
        async def process_frame(self, frame, direction) -> None:
            if isinstance(frame, TextFrame) and frame.text == "second too":
                self.set_unusable("gone")
            await self.push_frame(frame, direction)

    told = Told()
    async with live([Service("one"), Second("two")], observers=[told]) as run:
        await run.say("refused", "second too")
    assert told.changes == [("one", False), ("two", False)]
    assert len(told.errors) == 2
