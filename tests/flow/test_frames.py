"""What a frame is: its lane, id, name, pts, metadata (DESIGN 4, F1)."""

from __future__ import annotations

import gc
import weakref

import attrs
import pytest

import trio_pipes
from flow_kit import Sees, text
from trio_pipes import (
    CancelFrame,
    CancelTaskFrame,
    ControlFrame,
    DataFrame,
    Direction,
    EndFrame,
    EndTaskFrame,
    ErrorFrame,
    Frame,
    HeartbeatFrame,
    InterruptionFrame,
    InterruptionTaskFrame,
    MetricsFrame,
    StartFrame,
    StopFrame,
    StopTaskFrame,
    SystemFrame,
    TextFrame,
)
from trio_pipes.testing import run_processor

ALL = [
    CancelFrame,
    CancelTaskFrame,
    ControlFrame,
    DataFrame,
    EndFrame,
    EndTaskFrame,
    ErrorFrame,
    Frame,
    HeartbeatFrame,
    InterruptionFrame,
    InterruptionTaskFrame,
    MetricsFrame,
    StartFrame,
    StopFrame,
    StopTaskFrame,
    SystemFrame,
    TextFrame,
]


# Every frame has an id of its own in the process and a name made of class and id.
@pytest.mark.parametrize("cls", ALL)
def test_ids_and_names(cls):
    one, two = cls(), cls()
    assert isinstance(one.id, int)
    assert one.id != two.id
    assert one.name == f"{cls.__name__}#{one.id}"
    assert one.pts is None


# Frames are compared by identity and can be keys: two with the same content are two.
@pytest.mark.parametrize("cls", ALL)
def test_frames_are_compared_by_identity(cls):
    one, two = cls(), cls()
    assert one == one
    assert one != two
    assert len({one, two}) == 2


# Metadata is made on first use and is the frame's own.
def test_metadata_is_made_on_first_use():
    one, two = TextFrame(), TextFrame()
    one.metadata["speaker"] = "a"
    assert two.metadata == {}
    assert one.metadata == {"speaker": "a"}
    assert one.metadata is one.metadata


# Slots: a misspelt attribute of a frame is an error and not a silent new one.
@pytest.mark.parametrize("cls", ALL)
def test_frames_have_slots(cls):
    with pytest.raises(AttributeError):
        cls().txet = "misspelt"


# pts can be set, in nanoseconds; neither id nor pts is an argument.
def test_pts_can_be_set():
    frame = TextFrame("a")
    frame.pts = 20_000_000
    assert frame.pts == 20_000_000
    with pytest.raises(TypeError):
        TextFrame("a", pts=1)
    with pytest.raises(TypeError):
        TextFrame("a", id=1)


# Data and control frames are interruptible by default and may be told otherwise, by keyword.
@pytest.mark.parametrize("cls", [DataFrame, ControlFrame, TextFrame, HeartbeatFrame])
def test_ordered_frames_take_interruptible_by_keyword(cls):
    assert cls().interruptible is True
    assert cls(interruptible=False).interruptible is False


def test_text_frame_as_the_design_writes_it():
    frame = TextFrame("said", interruptible=False)
    assert (frame.text, frame.interruptible) == ("said", False)


# System frames survive an interrupt, and do not take the keyword.
@pytest.mark.parametrize("cls", [cls for cls in ALL if issubclass(cls, SystemFrame)])
def test_system_frames_are_not_interruptible(cls):
    assert cls().interruptible is False
    with pytest.raises(TypeError):
        cls(interruptible=True)


# Lifecycle frames are ordered (control) frames that survive, whatever one tries.
@pytest.mark.parametrize("cls", [StartFrame, EndFrame, StopFrame])
def test_lifecycle_frames_are_control_frames_that_survive(cls):
    assert issubclass(cls, ControlFrame)
    assert cls().interruptible is False
    with pytest.raises(ValueError, match="survives interrupts"):
        cls(interruptible=True)
    with pytest.raises(ValueError, match="survives interrupts"):
        cls().interruptible = True


# The lanes of the named frames.
def test_lanes_of_the_named_frames():
    for cls in (CancelFrame, InterruptionFrame, EndTaskFrame, StopTaskFrame, CancelTaskFrame, InterruptionTaskFrame):
        assert issubclass(cls, SystemFrame)
    assert issubclass(ErrorFrame, SystemFrame)
    assert issubclass(MetricsFrame, SystemFrame)
    assert issubclass(HeartbeatFrame, ControlFrame)
    assert issubclass(TextFrame, DataFrame)


# Reasons, in the order that the design writes them.
@pytest.mark.parametrize("cls", [EndFrame, CancelFrame, StopFrame, EndTaskFrame, StopTaskFrame, CancelTaskFrame])
def test_frames_that_end_something_have_a_reason(cls):
    assert cls().reason is None
    assert cls("enough").reason == "enough"
    assert cls(reason="enough").reason == "enough"


def test_error_frame_fields():
    exc = ValueError("x")
    frame = ErrorFrame("text", exc, None, True)
    assert (frame.error, frame.exception, frame.processor, frame.fatal) == ("text", exc, None, True)
    assert ErrorFrame().fatal is False


# A class may change the default, and an instance may change it back.
def test_a_class_may_change_the_default():
    @attrs.define(eq=False)
    class Said(DataFrame):
        interruptible: bool = attrs.field(default=False, kw_only=True)

    @attrs.define(eq=False)
    class Plain(DataFrame):
        interruptible: bool = False

    for cls in (Said, Plain):
        assert cls().interruptible is False
        assert cls(interruptible=True).interruptible is True

    class Derived(Said):
        pass

    assert Derived().interruptible is False


# A plain class attribute would silently do nothing: it is refused, and the text has the right form.
def test_a_plain_attribute_is_refused_with_the_right_form():
    with pytest.raises(TypeError, match=r"attrs.field\(default=False, kw_only=True\)"):

        class Said(DataFrame):
            interruptible = False


# A system frame cannot be made interruptible.
def test_a_system_frame_cannot_be_made_interruptible():
    with pytest.raises((TypeError, ValueError)):

        @attrs.define(eq=False)
        class Odd(SystemFrame):
            interruptible: bool = True

        Odd()


# Own frames: plain subclasses, attrs classes with and without eq, ones with their own __init__.
async def test_frames_of_ones_own(autojump_clock):
    class Bare(DataFrame):
        pass

    @attrs.define
    class WithEq(DataFrame):
        value: int = 0

    @attrs.define(eq=False)
    class Fields(ControlFrame):
        value: int
        other: str = "x"

    class OwnInit(DataFrame):
        def __init__(self, value):
            super().__init__()
            self.value = value

    sent = [Bare(), WithEq(1), WithEq(1), Fields(3), OwnInit(4)]
    sees = Sees()
    received = await run_processor(sees, sent)
    assert [id(frame) for frame in received.down] == [id(frame) for frame in sent]
    assert sent[3].other == "x"
    assert sent[4].value == 4


# A frame made without Frame.__init__ is refused where it is pushed, by name and with the fix.
async def test_a_frame_without_init_is_refused_where_it_is_pushed(autojump_clock):
    class Lazy(DataFrame):
        def __init__(self, value):
            self.value = value

    from flow_kit import Does

    async def push(self, frame):
        with pytest.raises(TypeError, match="Lazy that was made without"):
            await self.push_frame(Lazy(1))
        await self.push_frame(frame)

    assert len((await run_processor(Does(push), [text("a")])).down) == 1


def test_directions():
    assert {direction.name for direction in Direction} == {"DOWNSTREAM", "UPSTREAM"}


# G10: sets of every frame id ever seen. What has gone through is forgotten, in a parallel pipeline too.
async def test_g10_nothing_remembers_frames_that_have_gone_through(autojump_clock):
    import trio

    from trio_pipes import ParallelPipeline, Pipeline, PipelineTask, each

    parts = [ParallelPipeline([each(lambda f: f)], [Passes()]), Passes(), Passes(inline=True)]
    task = PipelineTask(Pipeline(parts))
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            refs = []
            for i in range(50):
                frame = text(str(i))
                refs.append(weakref.ref(frame))
                await task.queue_frame(frame)
                del frame
            await task.flush()
            await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            alive = sum(ref() is not None for ref in refs)
            task.stop_when_done()
    assert alive <= 4  # the last one may still stand in a local variable of a loop


class Passes(trio_pipes.FrameProcessor):
    pass
