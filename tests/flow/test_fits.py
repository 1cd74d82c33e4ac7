"""What functions say they return, and pipelines that say what they take and give: what cannot fit is refused (F14)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeVar

import attrs
import pytest

from trio_pipes import (
    AudioFrame,
    ConfigurationError,
    ControlFrame,
    DataFrame,
    ErrorFrame,
    Frame,
    FrameProcessor,
    Frames,
    HeartbeatFrame,
    InputAudioFrame,
    Out,
    ParallelPipeline,
    Pipeline,
    StartFrame,
    Switchable,
    SyncParallelPipeline,
    TextFrame,
    each,
    merge,
    processor,
    route,
    tee,
)

if TYPE_CHECKING:
    pass

F = TypeVar("F", bound=TextFrame)
Anything = TypeVar("Anything")


@attrs.define(eq=False)
class Number(DataFrame):
    value: int = 0


@attrs.define(eq=False)
class Token(TextFrame):
    pass


@each
def read(frame: AudioFrame) -> TextFrame:
    return TextFrame()


@each
def shout(frame: TextFrame) -> TextFrame:
    return frame


@each
def save(frame: TextFrame) -> None:
    pass


@each
def count(frame: Number) -> Number | None:
    return frame


@each
def silent(frame: TextFrame):
    return frame


@processor
async def speaks(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)


class Passes(FrameProcessor):
    pass


# -- return annotations

FINE = [
    None,
    Frame,
    TextFrame | None,
    Optional[TextFrame],  # noqa: UP045
    Iterable[TextFrame],
    list[TextFrame | Number],
    tuple[TextFrame, Number],
    tuple[TextFrame, ...],
    Iterator[Frame],
    Generator[TextFrame, None, None],
    Sequence,
    Any,
    object,
    F,
    Anything,
    Annotated[TextFrame, "loud"],
    "TextFrame",
    "Decimal",
    "list['TextFrame']",
    ErrorFrame,
    Number | Any,
]


# What a frame may fit is accepted; a name that is imported for type checkers only says nothing.
@pytest.mark.parametrize("annotation", FINE, ids=str)
def test_return_annotations_that_are_accepted(annotation):
    def fn(frame: TextFrame):
        return frame

    fn.__annotations__["return"] = annotation
    assert "fn" in repr(each(fn))


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        int,
        bool,
        bytes,
        dict,
        "str",
        TextFrame | str,
        list[str],
        dict[str, int],
        Iterable[int],
        Annotated[int, "n"],
    ],
    ids=str,
)
def test_return_annotations_that_no_frame_fits(annotation):
    def fn(frame: TextFrame):
        return frame

    fn.__annotations__["return"] = annotation
    with pytest.raises(ConfigurationError, match=r"fn is annotated to return .*, expected a frame class, None, or"):
        each(fn)


def test_async_functions_too():
    with pytest.raises(ConfigurationError, match="annotated to return 'str'"):

        @each(name="says")
        async def says(frame: TextFrame) -> str:
            return frame.text

    with pytest.raises(ConfigurationError, match="annotated to return"):

        @each
        async def letters(frame: TextFrame) -> AsyncIterator[str]:
            yield frame.text


# -- pipelines that cannot fit


@each
def loud(frame: TextFrame) -> Iterable[Token]:
    return []


@each
def tokens(frame: Token) -> Token:
    return frame


@each
def begins(frame: StartFrame) -> Number:
    return Number()


@each
def any_data(frame) -> Number:
    return Number()


@each
def beats(frame: HeartbeatFrame | Number) -> None:
    pass


FITTING = {
    "nothing is said": lambda: Pipeline([count, read, shout]),
    "given above": lambda: Pipeline([read, shout], takes=AudioFrame),
    "a subclass comes": lambda: Pipeline([read], takes=(InputAudioFrame,)),
    "a base comes": lambda: Pipeline([read, tokens, count], takes=DataFrame),
    "of several": lambda: Pipeline([shout, count, loud, tokens], takes=[Number, TextFrame]),
    "passes by": lambda: Pipeline([shout, read], takes=(TextFrame, AudioFrame)),
    "a class gives anything": lambda: Pipeline([Passes(), count], takes=TextFrame),
    "a block gives anything": lambda: Pipeline([speaks, count], takes=TextFrame),
    "no return annotation": lambda: Pipeline([silent, count], takes=TextFrame),
    "made at the start": lambda: Pipeline([begins, count], takes=TextFrame),
    "other kinds always come": lambda: Pipeline([beats], takes=TextFrame),
    "control frames are not named": lambda: Pipeline([each(lambda frame: frame)], takes=(ControlFrame, TextFrame)),
    "branches": lambda: Pipeline([ParallelPipeline([read], [Passes()]), count], takes=AudioFrame),
    "in step": lambda: Pipeline([SyncParallelPipeline([read], [any_data]), count, shout], takes=AudioFrame),
    "tee": lambda: Pipeline([tee([read, shout]), read], takes=AudioFrame),
    "route": lambda: Pipeline([route(type, {TextFrame: [shout], Number: [count]})], takes=(Token, Number)),
    "route by another key": lambda: Pipeline([route(len, {1: [shout]}, default=[shout])], takes=TextFrame),
    "merge": lambda: Pipeline([merge([Passes()]), count], takes=TextFrame),
    "slot": lambda: Pipeline([Switchable(shout), count], takes=TextFrame),
    "gives": lambda: Pipeline([read, loud], takes=AudioFrame, gives=Token),
    "gives what passes": lambda: Pipeline([read], takes=(AudioFrame, Number), gives=(TextFrame, Number)),
    "nested": lambda: Pipeline([Pipeline([Passes()], takes=AudioFrame, gives=TextFrame), shout], takes=AudioFrame),
}


@pytest.mark.parametrize("case", FITTING)
def test_pipelines_that_fit(case):
    assert FITTING[case]().processors


MISFITS = {
    "nothing gives one": (lambda: Pipeline([count], takes=TextFrame), "'count#.*takes Number.*gives TextFrame"),
    "replaced above": (lambda: Pipeline([read, read], takes=AudioFrame), "takes AudioFrame.*gives TextFrame"),
    "dropped above": (lambda: Pipeline([save, shout], takes=TextFrame), "takes TextFrame.*gives no data frames"),
    "a block": (lambda: Pipeline([speaks], takes=Number), "'speaks#.*takes TextFrame.*gives Number"),
    "nested": (lambda: Pipeline([Pipeline([Pipeline([count])])], takes=TextFrame), "takes Number"),
    "a nested one that says": (
        lambda: Pipeline([Pipeline([Passes()], takes=Number, name="inner")], takes=TextFrame),
        "'inner' takes Number",
    ),
    "after one that says": (
        lambda: Pipeline([Pipeline([Passes()], takes=TextFrame, gives=AudioFrame), count], takes=TextFrame),
        "takes Number.*gives AudioFrame",
    ),
    "in a branch": (lambda: Pipeline([ParallelPipeline([shout], [count])], takes=TextFrame), "takes Number"),
    "behind branches": (
        lambda: Pipeline([SyncParallelPipeline([read], [any_data]), read], takes=AudioFrame),
        "takes AudioFrame.*gives TextFrame or Number",
    ),
    "in a tee": (lambda: Pipeline([tee([count])], takes=TextFrame), "takes Number"),
    "behind a tee": (lambda: Pipeline([tee([any_data]), count], takes=TextFrame), "takes Number"),
    "in a route": (lambda: Pipeline([route(type, {TextFrame: [count]})], takes=(TextFrame, Number)), "takes Number"),
    "a route": (
        lambda: Pipeline([route(type, {TextFrame: []}, default=[], name="ways")], takes=Number),
        "'ways' has a route for TextFrame",
    ),
    "a source": (lambda: Pipeline([merge([shout])], takes=TextFrame), "takes TextFrame.*no data frames"),
    "in a slot": (lambda: Pipeline([Switchable(count)], takes=TextFrame), "takes Number"),
    "gives": (lambda: Pipeline([read], takes=AudioFrame, gives=Number, name="out"), "'out' is said to give Number"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_pipelines_that_cannot_fit(case):
    make, message = MISFITS[case]
    with pytest.raises(ConfigurationError, match=message):
        make()


# A class that derives from both makes no false alarm.
def test_a_class_of_both_kinds():
    class Left(DataFrame):
        pass

    class Right(DataFrame):
        pass

    @each
    def takes_right(frame: Right) -> None:
        pass

    with pytest.raises(ConfigurationError):
        Pipeline([takes_right], takes=Left)

    class Both(Left, Right):
        pass

    assert Pipeline([takes_right], takes=Left).takes == (Left,)
    assert Both.__mro__


@pytest.mark.parametrize("what", ["takes", "gives"])
@pytest.mark.parametrize("value", [5, "TextFrame", [str], [None], (5,)], ids=str)
def test_bad_input(what, value):
    with pytest.raises(ConfigurationError, match=f"{what}=.*expected frame classes"):
        Pipeline([shout], **{what: value})


# Calling what `@each` made calls the function.
def test_calling_it_calls_the_function():
    frame = TextFrame("a")
    assert shout(frame) is frame
    assert save(frame) is None
