"""P1: filters let some frames through and drop the others; never what the engine carries, and never an error."""

from __future__ import annotations

import functools

import attrs
import pytest
import trio
from hypothesis import given, strategies as st

from cancel_everywhere import cancelled_everywhere
from examples import examples
from flow_kit import DOWN, UP, Sees, live, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    DataFrame,
    Direction,
    ErrorFrame,
    ErrorPolicy,
    Frame,
    FrameFilter,
    FrameProcessor,
    FunctionFilter,
    HeartbeatFrame,
    IdentityFilter,
    MetricsFrame,
    NullFilter,
    PauseFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ResumeFrame,
    StopFrame,
    SystemFrame,
    TaskState,
    TextFrame,
)
from trio_pipes.testing import check_processor, run_processor


@attrs.define(eq=False)
class Shouted(TextFrame):
    pass


def one_of_each() -> list[Frame]:
    return [text("a"), Shouted("b"), DataFrame(), ControlFrame(), SystemFrame(), MetricsFrame(), HeartbeatFrame()]


def names(frames) -> list[str]:
    return [type(frame).__name__ for frame in frames]


async def passed(processor: FrameProcessor, direction: Direction = DOWN) -> list[str]:
    """What passes of one frame of each kind; system frames first, since they overtake."""
    received = await run_processor(processor, one_of_each(), direction=direction)
    frames = received.down if direction is DOWN else received.up
    return sorted(name for name in names(frames) if name not in ("StartFrame", "EndFrame"))


EVERYTHING = sorted(names(one_of_each()))
SYSTEM = ["MetricsFrame", "SystemFrame"]


def yes(frame: Frame) -> bool:
    return True


def no(frame: Frame) -> bool:
    return False


@pytest.mark.parametrize(
    ("make", "down", "up"),
    [
        (IdentityFilter, EVERYTHING, EVERYTHING),
        (lambda: FrameFilter(TextFrame), [*SYSTEM, "Shouted", "TextFrame"], EVERYTHING),
        (lambda: FrameFilter(Shouted, ControlFrame, direction=None), *[["ControlFrame", "HeartbeatFrame", *SYSTEM, "Shouted"]] * 2),
        (lambda: FrameFilter(direction=UP), EVERYTHING, SYSTEM),
        (lambda: FrameFilter(DataFrame, MetricsFrame, filter_system_frames=True), ["DataFrame", "MetricsFrame", "Shouted", "TextFrame"], EVERYTHING),
        (NullFilter, SYSTEM, EVERYTHING),
        (lambda: NullFilter(direction=None), SYSTEM, SYSTEM),
        (lambda: FunctionFilter(yes), EVERYTHING, EVERYTHING),
        (lambda: FunctionFilter(no), SYSTEM, EVERYTHING),
        (lambda: FunctionFilter(no, direction=UP), EVERYTHING, SYSTEM),
        (lambda: FunctionFilter(no, direction=None), SYSTEM, SYSTEM),
        (lambda: FunctionFilter(no, filter_system_frames=True), [], EVERYTHING),
    ],
)  # fmt: skip
async def test_what_passes_which_filter_which_way(autojump_clock, make, down, up):
    assert await passed(make()) == sorted(down)
    assert await passed(make(), UP) == sorted(up)


# -- functions


def is_short(frame: TextFrame) -> bool:
    return len(frame.text) < 3


async def is_short_after_a_while(frame: TextFrame) -> bool:
    await trio.sleep(1)
    return len(frame.text) < 3


class Short:
    async def __call__(self, frame: TextFrame) -> bool:
        return await is_short_after_a_while(frame)


FUNCTIONS = {
    "sync": is_short,
    "async": is_short_after_a_while,
    "object": Short(),
    "partial": functools.partial(is_short_after_a_while),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
async def test_a_function_is_asked_about_the_frames_that_it_is_annotated_with(
    autojump_clock, function, debug, observers
):
    async with live([Sees(), FunctionFilter(function), Sees()], debug=debug, observers=observers) as run:
        for frame in (text("aa"), DataFrame(), text("bbb"), ControlFrame(), text("c")):
            await run.task.queue_frame(frame)
    assert texts(run.down) == ["aa", "c"]
    assert names(run.down) == ["TextFrame", "DataFrame", "ControlFrame", "TextFrame"]


async def test_a_function_that_is_annotated_with_a_system_frame_is_asked_about_it(autojump_clock):
    def empty(frame: MetricsFrame) -> bool:
        return frame.data == []

    async with live([FunctionFilter(empty, filter_system_frames=True)]) as run:
        for frame in (MetricsFrame([]), MetricsFrame([1]), SystemFrame(), DataFrame()):
            await run.task.queue_frame(frame)
            await settle()
    assert names(run.down) == ["MetricsFrame", "SystemFrame", "DataFrame"]


async def test_a_function_that_waits_is_stopped_by_an_interrupt(autojump_clock):
    async with live([FunctionFilter(is_short_after_a_while)]) as run:
        await run.say("a", "b")
        await trio.sleep(1.5)
        run.task.interrupt()
        await run.say("c")
        await trio.sleep(5)
    assert texts(run.down) == ["a", "c"]


def breaks(frame: TextFrame) -> bool:
    raise ZeroDivisionError(frame.text)


async def breaks_later(frame: TextFrame) -> bool:
    await trio.sleep(1)
    raise ZeroDivisionError(frame.text)


@pytest.mark.parametrize("function", [breaks, breaks_later])
async def test_a_filter_that_raises_ends_the_run_and_is_named(autojump_clock, function):
    frame = text("a")
    task = PipelineTask(Pipeline([FunctionFilter(function, name="filter")]))
    await task.queue_frame(frame)
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    (error,) = caught.value.exceptions
    assert isinstance(error, ZeroDivisionError)
    assert f"in processor 'filter', frame {frame.name}" in error.__notes__[0]


@pytest.mark.parametrize("function", [breaks, breaks_later])
async def test_a_filter_that_raises_drops_the_frame_where_errors_are_reported(autojump_clock, function):
    made = FunctionFilter(function)
    made.on_error = ErrorPolicy.REPORT
    async with live([made]) as run:
        for frame in (text("a"), DataFrame()):
            await run.task.queue_frame(frame)
    assert names(run.down) == ["DataFrame"]
    assert [type(frame.exception) for frame in run.up] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "function",
    [
        lambda frame: None,
        lambda frame: 1,
        lambda frame: "x",
        lambda frame: is_short_after_a_while(frame),  # noqa: PLW0108  (one that does not look async)
    ],
)
async def test_an_answer_that_is_neither_true_nor_false_is_an_error(autojump_clock, function):
    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(FunctionFilter(function), [text("a")])
    (error,) = caught.value.exceptions
    assert isinstance(error, TypeError)
    assert "expected True or False" in str(error)
    assert ("has to be async def itself" in str(error)) is ("coroutine" in str(error))


async def test_so_is_one_of_an_async_function(autojump_clock):
    async def forgets(frame: Frame) -> bool:
        await trio.sleep(1)  # and no return

    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(FunctionFilter(forgets), [text("a")])
    assert caught.group_contains(TypeError, match="forgets returned None for TextFrame#.*expected True or False")


# -- what no filter drops

FILTERS = {
    "frame": lambda: FrameFilter(Shouted, direction=None, filter_system_frames=True),
    "null": lambda: NullFilter(direction=None),
    "function": lambda: FunctionFilter(no, direction=None, filter_system_frames=True),
}
filters = pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS)


@filters
async def test_an_error_from_below_passes_every_filter(autojump_clock, make):
    class Fails(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Shouted):
                await self.push_error("no voice")
            await self.push_frame(frame, direction)

    async with live([make(), Fails()]) as run:
        await run.task.queue_frame(Shouted("b"), UP)
    assert [frame.error for frame in run.up if isinstance(frame, ErrorFrame)] == ["no voice"]


@filters
async def test_a_pause_frame_passes_every_filter(autojump_clock, make):
    below = Sees(name="below")
    async with live([make(), below]) as run:
        await run.task.queue_frame(PauseFrame("below"))
        await settle()
        assert below.is_paused
        await run.task.queue_frame(ResumeFrame("below"))
        assert not below.is_paused


class Watches:
    lost = 0

    def on_heartbeat_lost(self, task, stuck):
        self.lost += 1


@filters
async def test_heartbeats_and_ends_pass_every_filter(autojump_clock, make):
    for last in (None, StopFrame()):
        watches, below = Watches(), Sees()
        async with live([make(), below], observers=[watches], enable_heartbeats=True, heartbeat_timeout=2) as run:
            await run.say("a")
            await trio.sleep(10)
            if last is not None:
                await run.task.queue_frame(last)
        assert watches.lost == 0
        assert below.kinds()[0] == "StartFrame"
        assert below.kinds()[-1] == ("EndFrame" if last is None else "StopFrame")


# -- wrong values


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: FrameFilter((TextFrame, DataFrame)), "types="),
        (lambda: FrameFilter(TextFrame, int), "types="),
        (lambda: FrameFilter(TextFrame("x")), "types="),
        (lambda: FrameFilter(TextFrame, direction="up"), "direction='up'"),
        (lambda: FrameFilter(TextFrame, filter_system_frames=1), "filter_system_frames=1"),
        (lambda: NullFilter(direction=0), "direction=0"),
        (lambda: IdentityFilter(name=""), "name=''"),
        (lambda: FunctionFilter(None), "function=None"),
        (lambda: FunctionFilter(TextFrame), "function="),
        (lambda: FunctionFilter(lambda: True), "<lambda>"),
        (lambda: FunctionFilter(lambda frame, direction: True), "<lambda>"),
        (lambda: FunctionFilter(yes, direction="down"), "direction='down'"),
        (lambda: FunctionFilter(yes, filter_system_frames="no"), "filter_system_frames='no'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        make()
    assert "expected" in str(caught.value)


def test_a_function_that_is_never_asked_is_refused():
    def empty(frame: MetricsFrame) -> bool:
        return frame.data == []

    with pytest.raises(ConfigurationError, match="expected filter_system_frames=True"):
        FunctionFilter(empty)


def test_an_annotation_that_is_no_frame_is_refused():
    def long(frame: str) -> bool:
        return len(frame) > 3

    with pytest.raises(ConfigurationError, match="expected a frame class"):
        FunctionFilter(long)


# -- any frames

kinds = st.sampled_from([TextFrame, Shouted, DataFrame, ControlFrame])


@examples(100)
@given(st.sets(kinds), st.lists(kinds, max_size=20), st.booleans())
def test_a_filter_by_class_keeps_what_a_comprehension_keeps(types, frames, by_function) -> None:
    async def main() -> None:
        if by_function:
            made: FrameProcessor = FunctionFilter(lambda frame: isinstance(frame, tuple(types)))
        else:
            made = FrameFilter(*types)
        sent = [frame_class() for frame_class in frames]
        received = await run_processor(made, sent)
        assert received.down == [frame for frame in sent if isinstance(frame, tuple(types))]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# -- the rules of every processor

CONTENT = (DataFrame, ControlFrame)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (IdentityFilter, {}),
        (lambda: FrameFilter(TextFrame), {"drops": CONTENT}),
        (NullFilter, {"drops": CONTENT}),
        (lambda: NullFilter(direction=None), {"drops": CONTENT, "drops_upstream": CONTENT}),
        (lambda: FunctionFilter(is_short), {"drops": TextFrame}),
        (lambda: FunctionFilter(is_short_after_a_while), {"drops": TextFrame}),
    ],
    ids=["identity", "frame", "null", "null both ways", "function", "async function"],
)
async def test_k2_filters(pipes_clock, make, settings):
    await check_processor(make, points=40, **settings)


def test_t11_cancelled_anywhere_it_leaves_nothing():
    def make():
        parts = [FrameFilter(TextFrame), FunctionFilter(is_short_after_a_while), NullFilter(direction=UP), Sees()]
        task = PipelineTask(Pipeline(parts), PipelineParams(queue_size=1))

        async def scenario() -> None:
            await task.queue_frames([text("a"), DataFrame(), text("bbb")])
            task.stop_when_done()
            await task.run()

        def check() -> None:
            assert task.has_finished() or task.state is TaskState.NEW

        return scenario, check, None

    assert cancelled_everywhere(make) > 5
