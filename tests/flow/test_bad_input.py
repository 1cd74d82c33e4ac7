"""What cannot work is refused early, by an error that names the value, what was expected and the fix (DESIGN 10)."""

from __future__ import annotations

import math

import pytest
import trio

from flow_kit import HUNG, Does, Sees, said, text, texts
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    Direction,
    ErrorPolicy,
    FloodError,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    PipesError,
    SetupTimeout,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_pipeline, run_processor


# A non-frame, or a frame class, pushed: TypeError where it is pushed, on the short way and the long one.
@pytest.mark.parametrize("wrong", [None, 42, "text", TextFrame, object(), [TextFrame()], Direction.UPSTREAM])
@pytest.mark.parametrize("way", Direction)
@pytest.mark.parametrize("below", ["sink", "class", "inline", "function", "block", "parallel"])
async def test_what_is_no_frame_is_refused_where_it_is_pushed(autojump_clock, debug, wrong, way, below):
    refused = []

    async def push(self, frame):
        for _ in range(3):
            with pytest.raises(TypeError, match="expected a Frame") as caught:
                await self.push_frame(wrong, way)
            refused.append(str(caught.value))
        await self.push_frame(frame)
        with pytest.raises(TypeError):
            await self.push_frame(wrong, way)

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    part = {
        "sink": [],
        "class": [Sees()],
        "inline": [Sees(inline=True)],
        "function": [each(lambda f: f)],
        "block": [block],
        "parallel": [ParallelPipeline([Sees()])],
    }[below]
    received = await run_pipeline(
        [Sees(), Does(push, name="pusher"), *part], said("a"), params=PipelineParams(debug=debug)
    )
    assert texts(received.down) == ["a"]
    assert all("'pusher'" in message and repr(wrong) in message for message in refused)
    if wrong is TextFrame:
        assert all("Make one: TextFrame(...)" in message for message in refused)


# A wrong direction: TypeError that names the two.
@pytest.mark.parametrize("wrong", [None, "downstream", 1, True, Direction])
@pytest.mark.parametrize("inline", [False, True])
async def test_a_wrong_direction_is_refused(autojump_clock, debug, wrong, inline):
    async def push(self, frame):
        with pytest.raises(TypeError, match="Direction.DOWNSTREAM or Direction.UPSTREAM"):
            await self.push_frame(frame, wrong)
        await self.push_frame(frame)
        with pytest.raises(TypeError, match="Direction.DOWNSTREAM or Direction.UPSTREAM"):
            await self.push_frame(frame, wrong)

    received = await run_pipeline([Does(push), Sees(inline=inline)], said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a"]


# Unguarded, that is an error of the processor: it fails the task and names it.
async def test_pushing_no_frame_fails_the_task(autojump_clock, debug):
    async def push(self, frame):
        await self.push_frame("no frame")

    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([Does(push, name="pusher")], said("a"), params=PipelineParams(debug=debug))
    assert isinstance(caught.value.exceptions[0], TypeError)
    assert "'pusher'" in caught.value.exceptions[0].__notes__[0]


@pytest.mark.parametrize("wrong", [[], (), iter([])])
def test_an_empty_pipeline_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="at least one processor"):
        Pipeline(wrong)


@pytest.mark.parametrize("wrong", [None, 42, FrameProcessor(), each(lambda f: f), FrameProcessor])
def test_what_is_no_list_of_processors_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="list of processors"):
        Pipeline(wrong)


# Each kind of wrong part has its hint.
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (42, "a processor"),
        (None, "a processor"),
        ("text", "a processor"),
        (Sees, "an instance: Sees"),
        (lambda f: f, "@each or @processor"),
        ([FrameProcessor()], "Pipeline"),
        (TextFrame(), "a processor"),
        (PipelineParams(), "a processor"),
    ],
)
def test_what_is_no_processor_is_refused_with_a_hint(wrong, hint):
    with pytest.raises(ConfigurationError, match=hint):
        Pipeline([FrameProcessor(), wrong])


def test_one_instance_in_two_places_is_refused():
    part = Sees(name="twice")
    with pytest.raises(ConfigurationError, match="'twice'"):
        Pipeline([part, Sees(), part])
    with pytest.raises(ConfigurationError, match="'twice'"):
        Pipeline([part, Pipeline([part])])


# Functions of another form are refused where they are decorated.
@pytest.mark.parametrize(
    "fn",
    [
        lambda: None,
        lambda a, b: None,
        lambda *, frame: None,
        42,
        None.__class__,
        "text",
    ],
)
def test_each_refuses_functions_of_another_form(fn):
    with pytest.raises(ConfigurationError):
        Pipeline([each(fn)])


def test_each_of_none_is_the_decorator_with_keywords():
    assert callable(each(None))


async def one(frames):
    raise AssertionError


async def three(frames, out, more):
    raise AssertionError


def sync(frames, out):
    raise AssertionError


async def generator(frames, out):
    yield 1


@pytest.mark.parametrize("fn", [one, three, sync, generator, 42, lambda frames, out: None, FrameProcessor])
def test_processor_refuses_functions_of_another_form(fn):
    with pytest.raises(ConfigurationError, match="async def f"):
        processor(fn)


# Not decorated at all: refused when the pipeline is built, with the fix.
def test_a_function_that_is_not_decorated_is_refused():
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="decorate it with @each or @processor"):
        Pipeline([block])


# `each` on what is a processor already.
def test_each_on_a_processor_is_refused():
    with pytest.raises(ConfigurationError):
        Pipeline([each(FrameProcessor())])


# A task needs a pipeline, parameters and names of the right kinds.
@pytest.mark.parametrize(
    ("args", "settings"),
    [
        ((42,), {}),
        (([FrameProcessor()],), {}),
        ((Sees,), {}),
        ((each(lambda f: f),), {}),
        ((FrameProcessor(), {"queue_size": 3}), {}),
        ((FrameProcessor(),), {"name": ""}),
        ((FrameProcessor(),), {"name": 42}),
        ((FrameProcessor(),), {"observers": [42]}),
        ((FrameProcessor(),), {"observers": [object]}),
    ],
)
def test_a_task_of_wrong_parts_is_refused(args, settings):
    with pytest.raises(ConfigurationError):
        PipelineTask(*args, **settings)


# G13: a misspelt event name is refused, with the nearest.
def test_g13_a_misspelt_event_is_refused_with_the_nearest():
    class Watches:
        def on_reached_snik(self, task, frame):
            raise AssertionError

    with pytest.raises(ConfigurationError, match="on_reached_sink"):
        PipelineTask(FrameProcessor(), observers=[Watches()])


# Parameters out of range.
@pytest.mark.parametrize(
    "settings",
    [
        {"queue_size": 0},
        {"queue_size": -1},
        {"queue_size": 1.5},
        {"queue_size": True},
        {"queue_size": math.inf},
        {"lane_limit": 0},
        {"on_error": "raise"},
        {"setup_timeout": 0},
        {"setup_timeout": -1},
        {"setup_timeout": math.nan},
        {"setup_timeout": None},
        {"start_timeout": "1"},
        {"end_timeout": math.inf},
        {"end_timeout": 0},
        {"cleanup_timeout": -1},
        {"idle_timeout": math.inf},
        {"idle_frames": [DataFrame]},
        {"idle_frames": (int,)},
        {"allow_interruptions": 1},
        {"debug": None},
        {"audio_in_sample_rate": 0},
        {"start_metadata": [1]},
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        PipelineParams(**settings)


def test_parameters_are_frozen_and_have_the_designs_defaults():
    params = PipelineParams()
    with pytest.raises(AttributeError):
        params.queue_size = 3
    assert params.queue_size == 64
    assert params.lane_limit == 10_000
    assert params.on_error is ErrorPolicy.RAISE
    assert params.allow_interruptions is False
    assert (params.setup_timeout, params.start_timeout, params.end_timeout, params.cleanup_timeout) == (
        20,
        20,
        None,
        10,
    )


# `broadcast_frame` with what is no frame class.
@pytest.mark.parametrize("wrong", [TextFrame(), 42, int, "TextFrame", None], ids=["frame", "42", "int", "str", "None"])
async def test_broadcast_of_what_is_no_frame_class(autojump_clock, wrong):
    async def push(self, frame):
        with pytest.raises(TypeError, match="expected a class of frames"):
            await self.broadcast_frame(wrong)
        with pytest.raises(TypeError, match="colour"):
            await self.broadcast_frame(TextFrame, colour="red")
        await self.push_frame(frame)

    assert texts((await run_processor(Does(push), said("a"))).down) == ["a"]


# `process_frame` that is no coroutine function is told, and not half run.
async def test_a_process_frame_that_is_not_async(autojump_clock, debug):
    class Sync(FrameProcessor):
        def process_frame(self, frame, direction):
            return None

    with trio.fail_after(HUNG), pytest.raises((ExceptionGroup, PipesError)) as caught:
        await run_pipeline([Sees(), Sync(name="not async", inline=True)], said("a"), params=PipelineParams(debug=debug))
    whole = str(caught.value) + "".join(str(e) + str(getattr(e, "__notes__", "")) for e in caught.value.exceptions)
    assert "not async" in whole


# A task is one run.
async def test_a_second_run_is_refused(autojump_clock):
    task = PipelineTask(FrameProcessor())
    task.stop_when_done()
    await task.run()
    with pytest.raises(RuntimeError, match="has been run already"):
        await task.run()


# After the end frames are refused by Trio's own errors.
async def test_frames_after_the_end_are_refused(autojump_clock):
    task = PipelineTask(FrameProcessor())
    task.stop_when_done()
    await task.run()
    for direction in Direction:
        with pytest.raises(trio.ClosedResourceError):
            await task.queue_frame(text("a"), direction)
    task = PipelineTask(FrameProcessor())
    task.cancel()
    with pytest.raises(trio.BrokenResourceError):
        await task.queue_frame(text("a"))


# queue_frame and queue_frames refuse what is none.
@pytest.mark.parametrize("wrong", [None, 42, TextFrame, "text"])
async def test_queueing_what_is_no_frame_is_refused(autojump_clock, wrong):
    task = PipelineTask(FrameProcessor())
    with pytest.raises(TypeError):
        await task.queue_frame(wrong)
    with pytest.raises(TypeError):
        await task.queue_frames([wrong])
    with pytest.raises(TypeError):
        await task.queue_frames(TextFrame())
    with pytest.raises(TypeError):
        await task.queue_frame(text("a"), "downstream")
    with pytest.raises(TypeError):
        await task.queue_frames([text("a")], "downstream")


# One error tree.
def test_the_errors_are_one_tree():
    assert issubclass(ConfigurationError, PipesError)
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(FloodError, PipesError)
    assert issubclass(SetupTimeout, PipesError)
    assert issubclass(SetupTimeout, trio.TooSlowError)
