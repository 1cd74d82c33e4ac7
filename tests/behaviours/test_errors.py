"""What users of a frame framework expect of errors: that they are told, with everything that is in them."""

from __future__ import annotations

import pytest
import trio

from flow_kit import UP, Does, Sees, live, said
from hosting import errors_in, task_of
from trio_pipes import Direction, EndFrame, ErrorFrame, ErrorPolicy, FrameProcessor, TaskState, TextFrame


class Refused(Exception):
    """As a client library raises it for an answer with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status_code = status


async def refuses(self, frame: TextFrame) -> None:
    if frame.text.isdigit():
        raise Refused(int(frame.text))
    await self.push_frame(frame)


class Told:
    def __init__(self) -> None:
        self.frames: list[ErrorFrame] = []

    def on_error(self, task, frame: ErrorFrame) -> None:
        self.frames.append(frame)


# There a status makes a category, and a category may end the use of the processor. Here the exception is what is told.
@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 404, 418, 422, 429, 500, 503, 600])
async def test_a_reported_exception_is_told_as_itself_and_decides_nothing(autojump_clock, status) -> None:
    told, culprit = Told(), Does(refuses)
    async with live([Sees(), culprit, Sees()], observers=[told], on_error=ErrorPolicy.REPORT) as run:
        await run.say(str(status), "next")
    (frame,) = told.frames
    assert isinstance(frame.exception, Refused)
    assert frame.exception.status_code == status
    assert (frame.error, frame.processor, frame.fatal) == (f"status {status}", culprit, False)
    assert not hasattr(frame, "category")
    assert run.texts == ["next"]
    assert (await run.task.wait_finished()).state is TaskState.ENDED


async def test_each_of_several_errors_of_one_processor_is_told(autojump_clock) -> None:
    told = Told()
    async with live([Does(refuses)], observers=[told], on_error=ErrorPolicy.REPORT) as run:
        await run.say("500", "a", "401", "b", "500")
    assert [str(frame.exception) for frame in told.frames] == ["status 500", "status 401", "status 500"]
    assert run.texts == ["a", "b"]
    assert (await run.task.wait_finished()).reported_errors == 3


# The suite takes warnings for errors: nothing of this is deprecated here.
@pytest.mark.parametrize("by", ["push_error", "frame"])
async def test_a_fatal_error_ends_the_run_with_what_is_in_it(autojump_clock, by) -> None:
    cause = Refused(401)

    async def gives_up(self, frame):
        if by == "push_error":
            await self.push_error("no key", cause, fatal=True)
        else:
            await self.push_frame(ErrorFrame("no key", cause, self, fatal=True), Direction.UPSTREAM)
        await trio.sleep_forever()

    told = Told()
    task = task_of(Sees(), Does(gives_up), observers=[told], on_error=ErrorPolicy.REPORT)
    await task.queue_frames(said("x"))
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert errors_in(caught.value) == [cause]
    assert [(frame.error, frame.fatal) for frame in told.frames] == [("no key", True)]
    assert (await task.wait_finished()).state is TaskState.FAILED


# An error that somebody pushes by hand goes the way of the others.
async def test_an_error_frame_pushed_by_hand_is_told_and_counted(autojump_clock) -> None:
    class Warns(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await self.push_frame(ErrorFrame("odd", processor=self), UP)
            await self.push_frame(frame, direction)

    told, above = Told(), Sees()
    task = task_of(above, Warns("warns"), observers=[told])
    await task.queue_frames([*said("x"), EndFrame()])
    result = await task.run()
    assert (result.state, result.reported_errors) == (TaskState.ENDED, 1)
    assert [(frame.error, frame.processor.name, frame.exception) for frame in told.frames] == [("odd", "warns", None)]
    assert above.kinds(UP) == ["ErrorFrame"]
