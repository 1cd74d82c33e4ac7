"""`@each`: a processor as a function per frame (DESIGN 4)."""

from __future__ import annotations

import gc

import pytest
import trio

from flow_kit import HUNG, UP, Does, Sees, live, said, settle, text, texts
from trio_pipes import (
    ControlFrame,
    DataFrame,
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    Frame,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
)
from trio_pipes.testing import run_pipeline, run_processor


class Mark(ControlFrame):
    pass


class Ping(SystemFrame):
    pass


# The example of the design.
async def test_a_function_as_the_design_writes_it(autojump_clock, debug):
    @each
    def shout(frame: TextFrame) -> TextFrame:
        return TextFrame()

    @each
    def louder(frame: TextFrame) -> TextFrame:
        return text(frame.text.upper())

    assert texts((await run_processor(louder, said("a"), params=PipelineParams(debug=debug))).down) == ["A"]
    assert isinstance(shout(text("a")), TextFrame)


# What a function may return, sync and async: a frame, None, any iterable of frames.
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("place", ["alone", "before", "after", "between", "class-above", "inline-below"])
async def test_what_a_function_may_return(autojump_clock, debug, observers, asynchronous, place):
    forms = {
        "frame": (lambda f: text(f.text + "1"), ["a1"]),
        "same": (lambda f: f, ["a"]),
        "none": (lambda f: None, []),
        "list": (lambda f: [text("x"), text("y")], ["x", "y"]),
        "tuple": (lambda f: (text("x"), text("y")), ["x", "y"]),
        "set": (lambda f: {f}, ["a"]),
        "empty": (lambda f: [], []),
        "generator": (lambda f: (text(c) for c in "xyz"), ["x", "y", "z"]),
        "map": (lambda f: map(text, "xyz"), ["x", "y", "z"]),
        "other class": (lambda f: [Mark(), f], ["a"]),
    }
    passes = each(lambda f: f)
    for name, (fn, expected) in forms.items():
        if asynchronous:

            async def form(frame: TextFrame, fn=fn):
                await trio.lowlevel.checkpoint()
                return fn(frame)
        else:

            def form(frame: TextFrame, fn=fn):
                return fn(frame)

        part = each(form)
        parts = {
            "alone": [part],
            "before": [part, passes],
            "after": [passes, part],
            "between": [passes, part, passes],
            "class-above": [Sees(), part, passes],
            "inline-below": [part, Sees(inline=True), passes],
        }[place]
        params = PipelineParams(debug=debug)
        received = await run_pipeline(parts, said("a"), params=params, observers=observers)
        assert texts(received.down) == expected, name
        assert sum(isinstance(f, Mark) for f in received.down) == (name == "other class")


# Generators, sync and async, are read lazily: a frame comes out before the next is made.
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_generators_are_read_lazily(autojump_clock, debug, asynchronous):
    log = []

    if asynchronous:

        @each
        async def three(frame: TextFrame):
            for i in range(3):
                log.append(f"make {i}")
                await trio.sleep(1)
                yield text(str(i))
    else:

        @each
        def three(frame: TextFrame):
            for i in range(3):
                log.append(f"make {i}")
                yield text(str(i))

    @each
    def note(frame: TextFrame):
        log.append(f"got {frame.text}")

    await run_pipeline([three, note], said("a"), params=PipelineParams(debug=debug))
    if debug:
        assert [entry for entry in log if entry[0] == "m"] == ["make 0", "make 1", "make 2"]
    else:
        assert log == ["make 0", "got 0", "make 1", "got 1", "make 2", "got 2"]


# An endless generator: backpressure holds it, a cancel and the owner's interrupt end it.
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("how", ["interrupt", "cancel", "deadline"])
@pytest.mark.parametrize("place", ["first", "behind-class", "behind-function", "behind-join", "into-drop"])
async def test_an_endless_generator_can_be_ended(autojump_clock, debug, asynchronous, how, place):
    made = 0
    closed = 0

    def numbers(frame):
        nonlocal made, closed
        try:
            while frame.text == "go" and made < 100_000:
                made += 1
                yield text("n")
            if frame.text != "go":
                yield frame
        finally:
            closed += 1

    if asynchronous:

        @each
        async def endless(frame: TextFrame):
            for result in numbers(frame):
                yield result
    else:
        endless = each(numbers)

    @each
    def no_numbers(frame: TextFrame):
        return None if frame.text == "n" else frame

    above = {
        "behind-class": [Sees()],
        "behind-function": [each(lambda f: f)],
        "behind-join": [ParallelPipeline([Sees()])],
    }.get(place, [])
    below = [no_numbers] if place == "into-drop" else [Does(lambda self, f: self.push_frame(f))]
    task = PipelineTask(Pipeline([*above, endless, *below, Sees()]), PipelineParams(debug=debug, queue_size=8))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(text("go"))
            for _ in range(50):
                await trio.lowlevel.checkpoint()
            assert made > 0
            if how == "interrupt":
                task.interrupt()
                await task.queue_frame(text("new"))
                await task.flush()
                task.stop_when_done()
            elif how == "cancel":
                task.cancel()
                await task.wait_finished()
            else:
                nursery.cancel_scope.cancel()
    gc.collect()
    assert made < 60_000
    assert closed >= 1


# Backpressure holds a generator with queue_size=1: it is at most a few frames ahead.
async def test_backpressure_holds_a_generator(autojump_clock, debug):
    made = []

    @each
    def many(frame: TextFrame):
        for i in range(50):
            made.append(i)
            yield text(str(i))

    async with live([Sees(), many, Sees(delay=1)], debug=debug, queue_size=1) as run:
        await run.say("go")
        await trio.sleep(0.5)
        assert len(made) <= 4
        await trio.sleep(100)
    assert run.texts == [str(i) for i in range(50)]


# Other types pass by, in order; unannotated functions take data frames only.
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_other_frames_pass_by_in_order(autojump_clock, debug, observers, asynchronous):
    class Number(DataFrame):
        pass

    seen = []

    def sync(frame: Number):
        seen.append(frame)
        return frame

    async def asyn(frame: Number):
        await trio.sleep(1)
        return sync(frame)

    sent = [text("a"), Number(), Mark(), Number(), text("b"), Mark()]
    part = each(asyn if asynchronous else sync)
    parts = [part, each(lambda f: f), Sees(), part]
    received = await run_pipeline(parts, sent, params=PipelineParams(debug=debug), observers=observers)
    assert received.down == sent
    assert len(seen) == 4
    plain = []
    await run_processor(each(lambda f: plain.append(type(f))), sent, params=PipelineParams(debug=debug))
    assert plain == [TextFrame, Number, Number, TextFrame]


# System frames: on request, in the urgent lane, past a handler that waits; upstream frames never.
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_system_frames_on_request(autojump_clock, debug, observers, asynchronous):
    seen = []

    def sync(frame: Ping | TextFrame):
        seen.append(type(frame).__name__)
        return frame

    async def asyn(frame: Ping | TextFrame):
        if isinstance(frame, TextFrame):
            await trio.sleep(5)
        return sync(frame)

    part = each(asyn if asynchronous else sync)
    async with live([Sees(), part, Sees()], debug=debug, observers=observers) as run:
        await run.say("a")
        await trio.sleep(1)
        await run.task.queue_frame(Ping())
        await run.task.queue_frame(Ping(), UP)
        await run.task.queue_frame(text("up"), UP)
    assert seen == (["Ping", "TextFrame"] if asynchronous else ["TextFrame", "Ping"])
    assert sum(isinstance(f, Ping) for f in run.down) == 1
    assert sum(isinstance(f, Ping) for f in run.up) == 1
    assert texts(run.up) == ["up"]


# A function may return requests and system frames; they act or go down, and nothing else is lost.
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("place", ["alone", "behind-class", "in-row"])
@pytest.mark.parametrize("as_list", [False, True])
async def test_a_function_may_return_requests_and_system_frames(
    autojump_clock, debug, observers, asynchronous, place, as_list
):
    def sync(frame: TextFrame):
        result = {"ping": Ping(), "end": EndFrame(reason="enough"), "error": ErrorFrame("odd")}.get(frame.text, frame)
        return [result] if as_list else result

    async def asyn(frame: TextFrame):
        return sync(frame)

    part = each(asyn if asynchronous else sync)
    parts = {"alone": [part], "behind-class": [Sees(), part], "in-row": [each(lambda f: f), part, each(lambda f: f)]}
    task = PipelineTask(Pipeline([*parts[place], Sees()]), PipelineParams(debug=debug), observers=observers)
    got = []

    async def read():
        async for frame in out:
            got.append(frame)

    await task.queue_frames(said("a", "ping", "end", "b"))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery, task.open_output(Frame) as out:
            nursery.start_soon(read)
            result = await task.run()
            await settle()
            nursery.cancel_scope.cancel()
    assert (result.state, result.reason) == (TaskState.ENDED, "enough")
    assert texts(got) == ["a", "b"]
    assert sum(isinstance(f, Ping) for f in got) == 1


# What is no frame is an error of the function, with its name and what it returned.
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    "wrong", [42, "text", b"bytes", TextFrame, {"a": 1}, [42], ["text"], [TextFrame], [None], 0, False]
)
async def test_wrong_results_are_told(autojump_clock, debug, observers, asynchronous, wrong):
    def sync(frame: TextFrame):
        return wrong

    async def asyn(frame: TextFrame):
        return wrong

    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    part = each(name="culprit")(asyn if asynchronous else sync)
    for parts in ([part], [Sees(), part], [each(lambda f: f), part, Sees(inline=True)]):
        received = await run_pipeline(parts, said("a"), params=params, observers=observers)
        assert received.down == []
        (error,) = received.up
        assert isinstance(error.exception, TypeError)
        assert "culprit" in str(error.exception)
        assert error.processor.name == "culprit"


# A sync function that returns an awaitable or an async iterable is told to be async itself, watched or not.
@pytest.mark.parametrize("what", ["coroutine", "async-generator"])
async def test_a_sync_function_that_returns_something_async_is_told(autojump_clock, debug, observers, what):
    async def later(frame):
        raise AssertionError

    async def several(frame):
        yield frame

    @each(name="culprit")
    def fn(frame: TextFrame):
        return later(frame) if what == "coroutine" else several(frame)

    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    for parts in ([fn], [Sees(), fn, each(lambda f: f)]):
        received = await run_pipeline(parts, said("a"), params=params, observers=observers)
        (error,) = received.up
        assert isinstance(error.exception, TypeError)
        assert "'culprit'" in str(error.exception)
        assert "async def" in str(error.exception)
        gc.collect()  # nothing that was never awaited is left to warn


# An async iterable that is no generator has no aclose(), and needs none.
async def test_an_async_iterable_that_is_no_generator(autojump_clock, debug):
    class Countdown:
        def __init__(self):
            self.left = 3

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return text(str(self.left))

    @each
    async def count(frame: TextFrame):
        return Countdown()

    received = await run_processor(count, said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["2", "1", "0"]


# What came out of a generator before it failed stays out.
async def test_a_generator_that_fails_in_the_middle(autojump_clock, debug, observers):
    @each
    def fails(frame: TextFrame):
        yield text("x")
        yield text("y")
        raise ValueError("mine")

    params = PipelineParams(debug=debug, on_error=ErrorPolicy.REPORT)
    for parts in ([fails], [Sees(), fails, each(lambda f: f)], [fails, fails]):
        received = await run_pipeline(parts, said("a"), params=params, observers=observers)
        assert texts(received.down)[:2] == ["x", "y"]
        assert all(isinstance(frame.exception, ValueError) for frame in received.up)
        assert len(received.up) >= 1


# StopIteration out of a function is an error of it, and does not end anything quietly.
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_stop_iteration_is_an_error(autojump_clock, debug, observers, asynchronous):
    def sync(frame: TextFrame):
        return next(iter(()))

    async def asyn(frame: TextFrame):
        return next(iter(()))

    params = PipelineParams(debug=debug)
    for parts in ([each(asyn if asynchronous else sync)], [Sees(), each(asyn if asynchronous else sync)]):
        with trio.fail_after(HUNG), pytest.raises(ExceptionGroup):
            await run_pipeline(parts, said("a"), params=params, observers=observers)


# A recipe may be used twice, and in several pipelines; each use is a processor of its own with its own name.
async def test_a_recipe_may_be_used_twice(autojump_clock, debug):
    @each
    def more(frame: TextFrame):
        return text(frame.text + "+")

    for _ in range(2):
        pipeline = Pipeline([more, Sees(), more, more])
        names = {processor.name for processor in pipeline.processors}
        assert len(names) == 4
        assert texts((await run_pipeline(pipeline, said("a"), params=PipelineParams(debug=debug))).down) == ["a+++"]


# A long row of functions with drops, several results and changes of class anywhere is what its parts say.
async def test_a_row_of_functions(autojump_clock, debug, observers):
    class Number(DataFrame):
        value = 0

    @each
    def to_number(frame: TextFrame):
        number = Number()
        number.metadata["text"] = frame.text
        return number

    @each
    def from_number(frame: Number):
        return [text(frame.metadata["text"]), Mark()] if frame.metadata["text"] != "drop" else None

    @each
    def marks(frame: Mark):
        return (frame for _ in range(2))

    row = [
        each(lambda f: f),
        to_number,
        each(lambda f: f),
        from_number,
        marks,
        each(lambda f: [f]),
        to_number,
        from_number,
    ]
    for above in ([], [Sees()], [ParallelPipeline([Sees()])]):
        received = await run_pipeline(
            [*above, *row], said("a", "drop", "b"), params=PipelineParams(debug=debug), observers=observers
        )
        kinds = [f.text if isinstance(f, TextFrame) else "m" for f in received.down]
        assert kinds == ["a", "m", "m", "m", "b", "m", "m", "m"]


# The decorator with keywords; `name` is the processor's; the function stays callable.
def test_the_decorator_with_keywords():
    @each(name="mine")
    def fn(frame: TextFrame):
        """Doc."""
        return frame

    frame = text("a")
    assert fn(frame) is frame
    assert fn.__doc__ == "Doc."
    assert Pipeline([fn]).processors[0].name == "mine"


# Hundreds of functions in a row.
async def test_hundreds_of_functions(autojump_clock):
    more = each(lambda f: text(f.text + "+"))
    received = await run_pipeline([more] * 400, said("", ""))
    assert texts(received.down) == ["+" * 400] * 2
