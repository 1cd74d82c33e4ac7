"""What a function takes is read from its first parameter: classes, unions, strings (DESIGN 4)."""

from __future__ import annotations

import functools
from typing import Annotated, TypeVar, Union

import attrs
import pytest

from flow_kit import said, text, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    DataFrame,
    EndFrame,
    Frame,
    Frames,
    InterruptionFrame,
    Out,
    Pipeline,
    PipelineTask,
    StartFrame,
    SystemFrame,
    TextFrame,
    each,
    processor,
)
from trio_pipes.testing import run_processor


@attrs.define(eq=False)
class Number(DataFrame):
    value: int = 0


@attrs.define(eq=False)
class Mark(ControlFrame):
    pass


class Sub(TextFrame):
    pass


T = TypeVar("T", bound=TextFrame)
C = TypeVar("C", TextFrame, Number)


async def taken(recipe, seen) -> set[str]:
    seen.clear()
    sent = [text("a"), Number(1), Mark(), Sub(), DataFrame()]
    received = await run_processor(recipe, sent)
    assert received.down == sent
    return {type(frame).__name__ for frame in seen}


# Every form of annotation, as this module's strings and evaluated.
@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (TextFrame, {"TextFrame", "Sub"}),
        ("TextFrame", {"TextFrame", "Sub"}),
        ("TextFrame | Number", {"TextFrame", "Sub", "Number"}),
        (Union[TextFrame, Number], {"TextFrame", "Sub", "Number"}),  # noqa: UP007  (the spelling is tested)
        (TextFrame | Mark, {"TextFrame", "Sub", "Mark"}),
        ("Union[TextFrame, Mark]", {"TextFrame", "Sub", "Mark"}),
        (Annotated[Number, "counted"], {"Number"}),
        ("Annotated[Number, 'counted']", {"Number"}),
        (T, {"TextFrame", "Sub"}),
        (C, {"TextFrame", "Sub", "Number"}),
        ("Sub", {"Sub"}),
        (DataFrame, {"TextFrame", "Sub", "Number", "DataFrame"}),
        (ControlFrame, {"Mark"}),
        (Frame, {"TextFrame", "Sub", "Number", "DataFrame", "Mark"}),
        (None, {"TextFrame", "Sub", "Number", "DataFrame"}),
    ],
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else str(value),
)
@pytest.mark.parametrize("kind", ["each", "async-each", "block"])
async def test_annotations(autojump_clock, annotation, expected, kind):
    seen = []

    def sync(frame):
        seen.append(frame)
        return frame

    async def asynchronous(frame):
        return sync(frame)

    async def block(frames, out):
        async for frame in frames:
            await out.push(sync(frame))

    fn = {"each": sync, "async-each": asynchronous, "block": block}[kind]
    if annotation is not None:
        if kind == "block":
            annotation = f"Frames[{annotation}]" if isinstance(annotation, str) else Frames[annotation]
        fn.__annotations__ = {"frames" if kind == "block" else "frame": annotation}
    recipe = processor(fn) if kind == "block" else each(fn)
    assert await taken(recipe, seen) == expected


# `Frames["TextFrame"]`, a string inside, as code without the future import writes it.
async def test_a_string_inside_of_frames(autojump_clock):
    seen = []

    async def block(frames, out):
        async for frame in frames:
            seen.append(frame)
            await out.push(frame)

    for inner in (Frames["TextFrame"], Frames["TextFrame | Number"], Frames[Union["TextFrame", "Number"]]):
        block.__annotations__ = {"frames": inner}
        assert "TextFrame" in await taken(processor(block), seen)

    def fn(frame):
        seen.append(frame)
        return frame

    fn.__annotations__ = {"frame": Union["TextFrame", "Number"]}
    assert await taken(each(fn), seen) == {"TextFrame", "Sub", "Number"}


# Classes that exist only where the function is defined: local, and in an enclosing function.
async def test_local_classes(autojump_clock):
    class Local(TextFrame):
        pass

    class Other(TextFrame):
        pass

    seen = []

    @each
    def one(frame: Local):
        seen.append(frame)
        return frame

    @each(name="named")
    def two(frame: Local | Other):
        seen.append(frame)
        return frame

    @processor
    async def three(frames: Frames[Local | Other], out: Out) -> None:
        async for frame in frames:
            seen.append(frame)
            await out.push(frame)

    def inner():
        @each
        def four(frame: Local):
            seen.append(Local)
            return frame

        return four

    sent = [Local(), Other(), text("x")]
    for recipe, count in ((one, 1), (two, 2), (three, 2), (inner(), 1)):
        seen.clear()
        assert (await run_processor(recipe, sent)).down == sent
        assert len(seen) == count, recipe


# A function may use a variable of the enclosing one that gets its value later, as a task does.
async def test_a_closure_that_is_not_bound_yet(autojump_clock):
    @each
    def stops(frame: TextFrame):
        task.stop_when_done("asked")
        return frame

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            assert task is out.task
            await out.push(frame)

    task = PipelineTask(Pipeline([stops, block]))
    await task.queue_frame(text("a"))
    assert (await task.run()).reason == "asked"


# Callables of other kinds: methods, partials, lambdas, objects with `__call__`, decorated functions.
async def test_callables_of_other_kinds(autojump_clock):
    class Upper:
        def method(self, frame: TextFrame):
            return text(frame.text.upper())

        async def async_method(self, frame: TextFrame):
            return text(frame.text.upper())

        def __call__(self, frame: TextFrame):
            return text(frame.text.upper())

    class AsyncUpper:
        async def __call__(self, frame: TextFrame):
            return text(frame.text.upper())

    def with_suffix(suffix: str, frame: TextFrame):
        return text(frame.text.upper() + suffix)

    async def async_with_suffix(suffix: str, frame: TextFrame):
        return text(frame.text.upper() + suffix)

    def wraps(fn):
        @functools.wraps(fn)
        def wrapper(*args):
            return fn(*args)

        return wrapper

    @wraps
    def wrapped(frame: TextFrame):
        return text(frame.text.upper())

    forms = [
        Upper().method,
        Upper().async_method,
        Upper(),
        AsyncUpper(),
        functools.partial(with_suffix, suffix=""),
        functools.partial(async_with_suffix, suffix=""),
        lambda frame: text(frame.text.upper()),
        wrapped,
        lambda frame, extra=None: text(frame.text.upper()),
        lambda *args: text(args[0].text.upper()),
    ]
    for form in forms:
        if isinstance(form, functools.partial):
            form = functools.partial(form.func, "")  # noqa: PLW2901
        received = await run_processor(each(form), said("a"))
        assert texts(received.down) == ["A"], form


# What cannot be a frame is refused where the decorator stands, by the function's name.
@pytest.mark.parametrize(
    "annotation",
    [int, "int", "str | TextFrame", TextFrame | None, list[TextFrame], "list", 42],
)
@pytest.mark.parametrize("kind", ["each", "block"])
def test_annotations_that_are_no_frames_are_refused(annotation, kind):
    async def my_function(frame, out=None):
        raise AssertionError

    if kind == "block":
        annotation = f"Frames[{annotation}]" if isinstance(annotation, str) else Frames[annotation]
    my_function.__annotations__ = {"frame": annotation}
    with pytest.raises(ConfigurationError, match="my_function"):
        (processor if kind == "block" else each)(my_function)


# A name that nothing defines is told with the name.
@pytest.mark.parametrize("annotation", ["Missing", "TextFrame |", "Frames[Missing]"])
@pytest.mark.parametrize("decorator", [each, processor])
def test_a_name_that_cannot_be_resolved_is_told(annotation, decorator):
    async def my_function(frame, out=None):
        raise AssertionError

    my_function.__annotations__ = {"frame": annotation}
    with pytest.raises(ConfigurationError, match="my_function"):
        decorator(my_function)


# A block cannot take what passes it by: system and lifecycle frames.
@pytest.mark.parametrize("frame_class", [SystemFrame, StartFrame, EndFrame, InterruptionFrame])
def test_a_block_for_urgent_frames_is_refused(frame_class):
    async def my_function(frames, out):
        raise AssertionError

    my_function.__annotations__ = {"frames": Frames[frame_class]}
    with pytest.raises(ConfigurationError, match="FrameProcessor class"):
        processor(my_function)


# Frames[...] on a function for @each, a frame on one for @processor: swapped decorators are told apart.
def test_swapped_decorators_are_refused():
    with pytest.raises(ConfigurationError, match="expected a frame class"):

        @each
        async def swapped(frames: Frames[TextFrame]):
            raise AssertionError

    with pytest.raises(ConfigurationError, match=r"expected Frames\[...\]"):

        @processor
        async def swapped_too(frame: TextFrame, out: Out):
            raise AssertionError
