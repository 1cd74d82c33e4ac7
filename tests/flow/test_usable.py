"""Processors that cannot do their work any more (F11)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from flow_kit import DOWN, UP, Sees, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    Switchable,
    SystemFrame,
    TaskState,
    TextFrame,
    UnusablePolicy,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    pass


class Service(Sees):
    """Marks texts as served, until it meets "refused"; a Ping brings it back."""

    async def process_frame(self, frame, direction):
        self.seen.append((frame, direction))
        if direction is DOWN and isinstance(frame, TextFrame):
            if frame.text == "refused":
                self.set_unusable("credentials refused", ValueError("401"))
                return
            frame = TextFrame(f"{frame.text} served")
        elif isinstance(frame, Ping):
            self.set_usable()
        await self.push_frame(frame, direction)


@pytest.mark.parametrize("inline", [False, True], ids=["own task", "inline"])
async def test_frames_pass_by_one_that_is_unusable(autojump_clock, debug, observers, inline):
    service = Service(inline=inline)
    parts = [Sees(), service, Sees()]
    async with live(parts, debug=debug, observers=observers) as run:
        assert service.is_usable
        await run.say("a", "refused", "b", "c")
        await run.task.queue_frame(text("up"), UP)
        await settle()
        assert run.texts == ["a served", "b", "c"]
        assert texts(run.up) == ["up"]
        assert service.texts() == ["a", "refused"]
        assert not service.is_usable
        assert service.statistics().unusable == "credentials refused"
        await run.task.queue_frame(Ping())  # system frames are shown to it, and it may find that it works again
        await settle()
        assert service.is_usable
        await run.say("d")
        await settle()
        assert run.texts[-1] == "d served"
    assert isinstance(service.seen[-1][0], EndFrame)


async def test_everybody_is_told_once(autojump_clock, debug):
    told = []

    class Watches:
        def on_usable_changed(self, task, processor, usable):
            told.append((processor, usable, processor.is_usable))

        def on_error(self, task, frame):
            told.append((frame.processor, frame.error, frame.processor.is_usable))

    class Twice(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                self.set_unusable("once")
                self.set_unusable("twice")
                self.set_usable()
                self.set_usable()
            await self.push_frame(frame, direction)

    twice = Twice(name="it")
    received = await run_pipeline([twice], said("a"), params=PipelineParams(debug=debug), observers=[Watches()])
    assert told == [
        (twice, False, False),
        (twice, "it is unusable: once", False),
        (twice, True, True),
    ]
    assert [frame.error for frame in received.up if isinstance(frame, ErrorFrame)] == ["it is unusable: once"]


@pytest.mark.parametrize("where", ["task", "processor"])
async def test_the_policy_may_end_the_task(autojump_clock, debug, where):
    service = Service()
    params = PipelineParams(debug=debug)
    if where == "task":
        params = PipelineParams(debug=debug, on_unusable=UnusablePolicy.END)
    else:
        service.on_unusable = UnusablePolicy.END
    task = PipelineTask(Pipeline([service]), params)
    await task.queue_frames(said("a", "refused", "b"))
    async with task.open_output(TextFrame) as out:
        result = await task.run()
        assert [frame.text async for frame in out] == ["a served", "b"]  # what was accepted is finished
    assert result.state is TaskState.ENDED
    assert result.reason == f"{service.name} is unusable: credentials refused"
    assert result.reported_errors == 1


async def test_the_policy_may_cancel_the_task(autojump_clock, debug):
    service = Service(delay=1)
    params = PipelineParams(debug=debug, on_unusable=UnusablePolicy.CANCEL)
    task = PipelineTask(Pipeline([service, Sees(delay=10)]), params)
    await task.queue_frames(said("a", "refused", "b"))
    result = await task.run()
    assert result.state is TaskState.CANCELLED
    assert "credentials refused" in result.reason


# A processor's own policy counts, not the task's.
async def test_a_processor_may_go_on_where_the_task_would_end(autojump_clock):
    class Optional(Service):
        on_unusable = UnusablePolicy.CONTINUE

    params = PipelineParams(on_unusable=UnusablePolicy.CANCEL)
    received = await run_pipeline([Optional()], said("refused", "b"), params=params)
    assert texts(received.down) == ["b"]


# Set-up that fails softly: the pipeline starts without that processor.
@pytest.mark.parametrize("policy", list(UnusablePolicy), ids=lambda policy: policy.name)
async def test_unusable_from_set_up_on(autojump_clock, debug, policy):
    class Fails(Sees):
        on_unusable = policy

        @asynccontextmanager
        async def lifespan(self):
            self.set_unusable("no model")
            yield

    fails = Fails()
    task = PipelineTask(Pipeline([fails, Sees()]), PipelineParams(debug=debug))
    await task.queue_frame(text("a"))
    if policy is UnusablePolicy.CONTINUE:
        task.stop_when_done()
    with trio.fail_after(100):
        result = await task.run()
    assert result.state is (TaskState.CANCELLED if policy is UnusablePolicy.CANCEL else TaskState.ENDED)
    assert fails.texts() == []
    assert result.frames_out == (0 if policy is UnusablePolicy.CANCEL else 1)


# -- functions and blocks


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_async_functions_are_passed_by_in_order(autojump_clock, debug, concurrency):
    @each(concurrency=concurrency)
    async def step(frame: TextFrame):
        await trio.sleep(5)
        return TextFrame(frame.text + "!")

    pipeline = Pipeline([step])
    async with live(pipeline, debug=debug) as run:
        await run.say("a")
        await trio.sleep(1)
        pipeline.processors[0].set_unusable("gone")
        await run.say("b", "c")
        await trio.sleep(10)
        pipeline.processors[0].set_usable()
        await run.say("d")
    assert run.texts == ["a!", "b", "c", "d!"]


async def test_a_block_says_it_by_out(autojump_clock, debug, observers):
    outs = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        outs.append(out)
        async for frame in frames:
            if frame.text == "refused":
                out.set_unusable("refused")
            await out.push(TextFrame(frame.text + "!"))

    async with live([block], debug=debug, observers=observers) as run:
        await run.say("a", "refused", "b")
        await settle()
        outs[0].set_usable()
        await run.say("c")
    assert run.texts == ["a!", "refused!", "b", "c!"]


# A block whose body has failed cannot go on. With a policy of its own that says so, the others can.
@pytest.mark.parametrize("where", ["set-up", "loop", "cleanup", "left early"])
async def test_a_block_that_reports_is_passed_by_when_it_has_failed(autojump_clock, debug, where):
    @processor(name="block", on_error=ErrorPolicy.REPORT)
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        if where == "set-up":
            raise ValueError("broken")
        async for frame in frames:
            if frame.text == "bad" and where == "left early":
                return
            if frame.text == "bad" and where == "loop":
                raise ValueError("broken")
            await out.push(TextFrame(frame.text + "!"))
        if where == "cleanup":
            raise ValueError("broken")

    pipeline = Pipeline([block])
    task = PipelineTask(pipeline, PipelineParams(debug=debug))
    await task.queue_frames([text("a"), text("bad"), Ping(), text("b")])
    task.stop_when_done()
    with trio.fail_after(100):
        async with task.open_output(TextFrame) as out, task.open_output(ErrorFrame, direction=UP) as errors:
            result = await task.run()
            came = [frame.text async for frame in out]
            (error,) = [frame async for frame in errors]
    assert result.state is TaskState.ENDED
    assert (
        came
        == {
            "set-up": ["a", "bad", "b"],
            "loop": ["a!", "b"],
            "cleanup": ["a!", "bad!", "b!"],
            "left early": ["a!", "b"],
        }[where]
    )
    assert "block is unusable" in error.error
    if where != "left early":
        assert "in processor 'block'" in error.exception.__notes__[0]
    assert not pipeline.processors[0].is_usable


# REPORT for the whole task is for errors of one frame, and does not let a block vanish.
async def test_a_block_without_a_policy_of_its_own_fails_the_task(autojump_clock):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup):
        await run_pipeline([block], said("a"), params=PipelineParams(on_error=ErrorPolicy.REPORT))


# -- what cannot be


@pytest.mark.parametrize("reason", ["", None, 3], ids=repr)
async def test_a_reason_is_needed(autojump_clock, reason):
    service = Sees()
    async with live([service]):
        with pytest.raises(TypeError, match="expected a text that says why"):
            service.set_unusable(reason)
        with pytest.raises(TypeError, match="expected an exception"):
            service.set_unusable("why", "an error")
        assert service.is_usable


async def test_a_sync_function_cannot_be_unusable(autojump_clock, debug):
    @each(name="loud")
    def loud(frame: TextFrame):
        return frame

    pipeline = Pipeline([loud])
    async with live(pipeline, debug=debug):
        with pytest.raises(RuntimeError, match="'loud' cannot be unusable by itself"):
            pipeline.processors[0].set_unusable("why")


# Frames cannot pass by branches: each of the processors in them can be unusable.
async def test_branches_cannot_be_unusable(autojump_clock, debug):
    branches = ParallelPipeline([Sees()], [Sees()])
    async with live([branches], debug=debug):
        with pytest.raises(RuntimeError, match="is made of others"):
            branches.set_unusable("why")


# Nor can they pass by a slot, which has nothing to do of its own.
async def test_a_slot_cannot_be_unusable(autojump_clock, debug):
    slot = Switchable(Sees())
    async with live([slot], debug=debug):
        with pytest.raises(RuntimeError, match="is made of others"):
            slot.set_unusable("why")


async def test_before_and_after_the_run(autojump_clock):
    service = Sees()
    assert service.is_usable
    with pytest.raises(RuntimeError, match="only while a PipelineTask runs"):
        service.set_unusable("why")
    await run_pipeline([service], said("a"))
    service.set_unusable("too late")
    assert service.is_usable


@pytest.mark.parametrize("wrong", ["end", None, True], ids=repr)
def test_wrong_policies(wrong):
    with pytest.raises(ConfigurationError, match="UnusablePolicy"):
        PipelineParams(on_unusable=wrong)
    if wrong is not None:
        for setting in ("on_unusable", "on_error", "frame_timeout"):
            service = Sees()
            setattr(service, setting, wrong)
            with pytest.raises(ConfigurationError, match=f"Sees\\({setting}={wrong!r}\\): expected"):
                PipelineTask(Pipeline([service]))


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [("name", ""), ("name", 3), ("on_error", "report"), ("on_error", True), ("timeout", 0), ("timeout", "1")],
    ids=repr,
)
@pytest.mark.parametrize("make", [each, processor], ids=["each", "processor"])
def test_wrong_settings_of_functions(make, setting, wrong):
    with pytest.raises(ConfigurationError, match=f"{make.__name__}\\({setting}="):
        make(**{setting: wrong})
