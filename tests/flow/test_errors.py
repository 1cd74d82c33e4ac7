"""An error never vanishes (DESIGN 4.5)."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager

import pytest
import trio

from flow_kit import DOWN, HUNG, UP, Does, Sees, live, said, settle, text, texts
from trio_pipes import (
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
)
from trio_pipes.testing import run_pipeline, run_processor


class Ping(SystemFrame):
    pass


def failing(where: str, **settings) -> FrameProcessor:
    """A processor that fails in one place."""

    class Fails(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            if where == "set-up":
                raise ValueError(where)
            async with trio.open_nursery() as nursery:
                if where == "helper":
                    nursery.start_soon(self.fail_later)
                yield
                nursery.cancel_scope.cancel()
            if where == "cleanup":
                raise ValueError(where)

        async def fail_later(self):
            await trio.sleep(1)
            raise ValueError(where)

        async def process_frame(self, frame, direction):
            match where, frame:
                case ("ordered", TextFrame()) | ("system", Ping()) | ("start", StartFrame()) | ("end", EndFrame()) if (
                    direction is DOWN
                ):
                    raise ValueError(where)
                case "upstream", TextFrame() if direction is UP:
                    raise ValueError(where)
                case "child", TextFrame():
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self.fail_later)
                case _:
                    await self.push_frame(frame, direction)

        async def on_interrupt(self):
            if where == "on_interrupt":
                raise ValueError(where)

    return Fails(**settings)


PLACES = ["set-up", "helper", "cleanup", "ordered", "system", "start", "end", "upstream", "child", "on_interrupt"]


# G8, G31: wherever in a processor it happens, the error cancels the task and leaves run() in a group, with a note.
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("inline", [False, True])
async def test_g08_g31_an_error_anywhere_leaves_run_and_names_the_processor(autojump_clock, debug, where, inline):
    cleaned = []

    class Cleans(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                await trio.sleep(0.5)
                cleaned.append(self.name)

    parts = [Cleans(), failing(where, name="culprit", inline=inline), Cleans(inline=True)]
    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug))
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(0.5)
            with contextlib.suppress(trio.BrokenResourceError):
                await task.queue_frame(text("up"), UP)
                await task.queue_frame(Ping())
                await settle()
                task.interrupt()
                await trio.sleep(0.1)
                await task.queue_frame(text("a"))
                await trio.sleep(2)
                task.stop_when_done()
    (run_error,) = caught.value.exceptions
    assert isinstance(run_error, ExceptionGroup)
    (error,) = run_error.exceptions
    assert isinstance(error, ValueError)
    assert str(error) == where
    assert any("'culprit'" in note and task.name in note for note in error.__notes__)
    result = await task.wait_finished()
    assert result.state is TaskState.FAILED
    assert result.error.exceptions == run_error.exceptions
    assert len(cleaned) == (2 if where != "set-up" else len(cleaned))


# The note names the frame that was in hand.
@pytest.mark.parametrize("where", ["ordered", "system", "start", "end", "child"])
async def test_the_note_names_the_frame(autojump_clock, debug, where):
    kind = {"system": "Ping#", "start": "StartFrame#", "end": "EndFrame#"}.get(where, "TextFrame#")
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        await run_processor(failing(where, name="culprit"), [Ping(), text("a")], params=PipelineParams(debug=debug))
    (error,) = caught.value.exceptions
    assert kind in "".join(error.__notes__)


# REPORT: it becomes an ErrorFrame upstream, the frame is dropped, and the run goes on.
@pytest.mark.parametrize("where", ["ordered", "system", "upstream", "on_interrupt", "start", "end"])
async def test_report_sends_an_error_frame_up_and_drops_the_frame(autojump_clock, debug, where):
    told = []

    class Watches:
        def on_error(self, task, frame):
            told.append(frame)

    above, culprit, below = Sees(), failing(where, name="culprit", inline=True), Sees()
    parts = [above, Sees(inline=True), culprit, below]
    async with live(parts, debug=debug, on_error=ErrorPolicy.REPORT, observers=[Watches()]) as run:
        await run.task.queue_frame(text("up"), UP)
        await run.task.queue_frame(Ping())
        await settle()
        run.task.interrupt()
        await run.say("a", "b")
        await trio.sleep(1)
    errors = [frame for frame in run.up if isinstance(frame, ErrorFrame)]
    assert len(errors) == (2 if where == "ordered" else 1)
    for error in errors:
        assert isinstance(error.exception, ValueError)
        assert error.error == where
        assert error.processor is culprit
        assert error.fatal is False
    assert told == errors
    assert above.kinds(UP).count("ErrorFrame") == len(errors)
    assert run.texts == ([] if where == "ordered" else ["a", "b"])
    assert texts(run.up) == ([] if where == "upstream" else ["up"])
    assert below.kinds()[-1] == "EndFrame"
    result = await run.task.wait_finished()
    assert result.state is TaskState.ENDED
    assert result.reported_errors == len(errors)


# Work that goes on outside a handler cannot be reported and gone on without: it fails the task under REPORT too.
@pytest.mark.parametrize("where", ["set-up", "helper", "cleanup"])
async def test_errors_of_background_work_fail_the_task_under_report_too(autojump_clock, debug, where):
    task = PipelineTask(
        Pipeline([Sees(), failing(where, name="culprit")]), PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    )
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(2)
            task.stop_when_done()
    assert caught.value.subgroup(ValueError)


# The policy may be a processor's own.
@pytest.mark.parametrize("policy", ErrorPolicy)
async def test_the_policy_may_be_a_processors_own(autojump_clock, debug, policy):
    other = ErrorPolicy.REPORT if policy is ErrorPolicy.RAISE else ErrorPolicy.RAISE
    culprit = failing("ordered", name="culprit")
    culprit.on_error = policy

    @each(name="culprit", on_error=policy)
    def function(frame: TextFrame):
        raise ValueError("ordered")

    for part in (culprit, function):
        params = PipelineParams(debug=debug, on_error=other)
        with trio.fail_after(HUNG):
            if policy is ErrorPolicy.RAISE:
                with pytest.raises(ExceptionGroup):
                    await run_processor(part, said("a"), params=params)
            else:
                received = await run_processor(part, said("a"), params=params)
                assert [type(frame) for frame in received.up] == [ErrorFrame]


# A fatal error frame ends the task whatever the policy says, with its exception or its text, from any place.
@pytest.mark.parametrize("policy", ErrorPolicy)
@pytest.mark.parametrize("with_exception", [False, True])
@pytest.mark.parametrize("direction", [DOWN, UP])
async def test_a_fatal_error_ends_the_task(autojump_clock, debug, policy, with_exception, direction):
    async def fatal(self, frame):
        exc = KeyError("the cause") if with_exception else None
        if direction is UP:
            await self.push_error("no service", exc, fatal=True)
        else:
            await self.push_frame(ErrorFrame("no service", exc, self, fatal=True))
        await trio.sleep(1)
        pytest.fail("not reached")

    parts = [Sees(), Does(fatal, name="culprit", inline=True), Sees()]
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug, on_error=policy))
    (error,) = caught.value.exceptions
    assert isinstance(error, KeyError) == with_exception
    whole = str(error) + "".join(getattr(error, "__notes__", ()))
    assert "no service" in whole
    assert "culprit" in whole


# `push_error` that is not fatal goes up and nothing else happens; a processor above may handle it.
async def test_push_error_goes_up(autojump_clock, debug):
    async def tells(self, frame):
        await self.push_error("odd", ValueError("cause"))
        await self.push_frame(frame)

    class Handles(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, ErrorFrame):
                handled.append(frame)
            else:
                await self.push_frame(frame, direction)

    handled = []
    teller = Does(tells, inline=True)
    with trio.fail_after(HUNG):
        parts = [Sees(), Handles(), Sees(), teller]
        received = await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a"]
    assert received.up == []
    assert [(frame.error, frame.processor) for frame in handled] == [("odd", teller)]


# A handler of ErrorFrame that fails itself does not make a loop.
async def test_an_error_in_the_handler_of_an_error_goes_on_up(autojump_clock, debug):
    class FailsToo(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, ErrorFrame):
                raise KeyError("too")
            await self.push_frame(frame, direction)

    with trio.fail_after(HUNG):
        received = await run_pipeline(
            [Sees(), FailsToo(inline=True), failing("ordered", inline=True)],
            said("a"),
            params=PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT),
        )
    assert [type(frame.exception) for frame in received.up] == [KeyError]


# After an error the frames behind it are not handled: one failure, one error.
@pytest.mark.parametrize("kind", ["class", "inline", "function", "async-function"])
async def test_after_an_error_nothing_more_is_handled(autojump_clock, debug, kind):
    calls = []

    async def fails(self, frame):
        calls.append(frame.text)
        raise ValueError(frame.text)

    @each
    def function(frame: TextFrame):
        calls.append(frame.text)
        raise ValueError(frame.text)

    @each
    async def async_function(frame: TextFrame):
        calls.append(frame.text)
        raise ValueError(frame.text)

    part = {
        "class": Does(fails),
        "inline": Does(fails, inline=True),
        "function": function,
        "async-function": async_function,
    }[kind]
    for above in ([], [Sees()]):
        calls.clear()
        with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
            await run_pipeline([*above, part], said("a", "b", "c"), params=PipelineParams(debug=debug))
        assert calls == ["a"]
        assert len(caught.value.exceptions) == 1


# Errors in several processors at once all leave run().
async def test_errors_of_several_processors_are_all_kept(autojump_clock, debug):
    parts = [failing("cleanup", name="one"), failing("cleanup", name="two"), failing("helper", name="three")]
    task = PipelineTask(Pipeline(parts), PipelineParams(debug=debug))
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        await task.run()
    notes = sorted(error.__notes__[0].split("'")[1] for error in caught.value.exceptions)
    assert "three" in notes
    assert all(isinstance(error, ValueError) for error in caught.value.exceptions)


# G11: a handler that swallows Cancelled's kin by a bare `except Exception` still ends at once on a cancel.
async def test_g11_except_exception_does_not_swallow_a_cancel(autojump_clock, debug):
    class Stubborn(FrameProcessor):
        async def process_frame(self, frame, direction):
            while isinstance(frame, TextFrame):
                try:
                    await trio.sleep(1)
                    await self.push_frame(text("again"))
                except Exception:
                    pytest.fail("a cancel is no Exception")
            await self.push_frame(frame, direction)

    async with live([Stubborn(), Sees(inline=True)], debug=debug) as run:
        await run.say("a")
        await trio.sleep(5)
        run.task.cancel()
        before = trio.current_time()
        await run.task.wait_finished()
        assert trio.current_time() == before


# KeyboardInterrupt and the like in a processor are not swallowed nor wrapped as frames.
async def test_a_base_exception_in_a_processor_leaves_run(autojump_clock, debug):
    class Odd(BaseException):
        pass

    async def fails(self, frame):
        raise Odd

    task = PipelineTask(Pipeline([Sees(), Does(fails, inline=True)]), PipelineParams(on_error=ErrorPolicy.REPORT))
    await task.queue_frame(text("a"))
    with trio.fail_after(HUNG), pytest.raises(BaseExceptionGroup) as caught:
        await task.run()
    assert caught.value.subgroup(Odd)
    assert task.has_finished()


# An error while an interrupt is unwinding is an error as any other.
async def test_an_error_while_unwinding_is_kept(autojump_clock, debug):
    async def unwinds_badly(self, frame):
        try:
            await trio.sleep(100)
        finally:
            raise ValueError("unwinding")

    task = PipelineTask(Pipeline([Does(unwinds_badly, name="culprit")]), PipelineParams(debug=debug))
    await task.queue_frame(text("a"))
    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(1)
            task.interrupt()
    assert caught.value.subgroup(ValueError)
    assert "culprit" in caught.value.exceptions[0].exceptions[0].__notes__[0]


# The same under REPORT: it is reported, and the pipeline goes on.
async def test_an_error_while_unwinding_is_reported(autojump_clock, debug):
    async def unwinds_badly(self, frame):
        if frame.text == "old":
            try:
                await trio.sleep(100)
            except trio.Cancelled:
                raise ValueError("unwinding") from None
        await self.push_frame(frame)

    parts = [Sees(), Does(unwinds_badly, inline=True)]
    async with live(parts, debug=debug, on_error=ErrorPolicy.REPORT) as run:
        await run.say("old")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("new")
    assert run.texts == ["new"]
    assert [frame.error for frame in run.up if isinstance(frame, ErrorFrame)] == ["unwinding"]
