"""Frames as bytes, and back: what a frame keeps, and which stay in their process."""

import inspect
import math
import subprocess
import sys
from typing import Any

import attrs
import pytest
import trio

import trio_pipes
import trio_pipes.voice
from trio_pipes import (
    Codec,
    ConfigurationError,
    DataFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    FrameProcessor,
    HeartbeatFrame,
    InputAudioFrame,
    InterruptionFrame,
    LLMTokenUsage,
    LLMUsageMetrics,
    MetricsFrame,
    PauseFrame,
    ServiceSwitchedFrame,
    SystemFrame,
    TextFrame,
    TTFBMetrics,
    WireError,
    deadline_of,
    on_wire,
    with_deadline,
)
from trio_pipes.flow import FlushMarker, Heartbeat
from trio_pipes.flow._frames_on_wire import LISTED, OF_A_RUN
from trio_pipes.testing import run_pipeline


def there_and_back(frame: Frame, codec: Codec | None = None) -> Any:
    codec = codec or Codec()
    return codec.decode(codec.encode(frame), peer="bob")


def test_a_frame_keeps_its_fields_pts_and_metadata_and_gets_a_new_id() -> None:
    frame = TextFrame("hello", interruptible=False)
    frame.pts = 2_000_000
    frame.metadata.update(topic="sea", seen=[1, {"by": TextFrame("inner")}])
    back = there_and_back(frame)
    assert type(back) is TextFrame
    assert (back.text, back.interruptible, back.pts) == ("hello", False, 2_000_000)
    assert back.metadata["topic"] == "sea"
    assert back.metadata["seen"][1]["by"].text == "inner"
    assert back.id > frame.id
    assert back.name == f"TextFrame#{back.id}"


def test_a_plain_frame_costs_no_metadata_on_either_side() -> None:
    frame = TextFrame("hello")
    back = there_and_back(frame)
    assert not hasattr(frame, "_metadata")
    assert not hasattr(back, "_metadata")
    assert back.pts is None


@on_wire("test.order")
@attrs.define(eq=False)
class OrderFrame(DataFrame):
    """A frame as users write them."""

    item: str
    count: int = 1
    interruptible: bool = attrs.field(default=False, kw_only=True)


def test_a_users_frame_is_a_frame_too() -> None:
    frame = OrderFrame("tea", 2)
    frame.pts = 5
    frame.metadata["a"] = 1
    back = there_and_back(frame)
    assert (back.item, back.count, back.interruptible, back.pts, back.metadata) == ("tea", 2, False, 5, {"a": 1})

    @attrs.define(eq=False)
    class Large(OrderFrame):
        pass

    with pytest.raises(WireError, match="Large is not listed"):
        Codec().encode(Large("tea"))


async def test_what_came_can_be_pushed() -> None:
    back = there_and_back(TextFrame("hello"))
    received = await run_pipeline([FrameProcessor()], [back])
    assert [it for it in received.down if isinstance(it, TextFrame)] == [back]


def test_records_in_frames() -> None:
    usage = LLMUsageMetrics("a", LLMTokenUsage(3, 4, cache_read_input_tokens=1), model="m")
    assert there_and_back(MetricsFrame([usage, TTFBMetrics("a", 0.5)])).data == [usage, TTFBMetrics("a", 0.5)]


def test_an_error_travels_as_its_text() -> None:
    back = there_and_back(ErrorFrame("it broke", ValueError("secret"), FrameProcessor(), fatal=True))
    assert (back.error, back.exception, back.processor, back.fatal) == ("it broke", None, None, True)
    assert b"secret" not in Codec().encode(ErrorFrame("it broke", ValueError("secret")))


def test_a_processor_can_be_named_and_not_sent() -> None:
    assert there_and_back(PauseFrame("reader")).processor == "reader"
    with pytest.raises(WireError, match=r"trio_pipes\.pause\.processor cannot be sent: <FrameProcessor"):
        Codec().encode(PauseFrame(FrameProcessor()))


def test_metadata_that_cannot_travel_is_named() -> None:
    frame = TextFrame("a")
    frame.metadata["lock"] = trio.Event
    with pytest.raises(WireError, match=r"trio_pipes\.text\.metadata\['lock'\] cannot be sent"):
        Codec().encode(frame)


# ------------------------------------------------------------------------------------------------------------ deadlines


async def test_a_deadline_travels_as_the_seconds_that_are_left(autojump_clock) -> None:
    frame = with_deadline(TextFrame("a"), 5)
    frame.metadata["b"] = 2
    data = Codec().encode(frame)
    await trio.sleep(100)  # on a machine whose clock shows something else
    back = Codec().decode(data)
    assert deadline_of(back) == pytest.approx(trio.current_time() + 5)
    assert (frame.metadata["b"], back.metadata["b"]) == (2, 2)
    assert deadline_of(frame) < trio.current_time()
    assert deadline_of(there_and_back(frame)) < trio.current_time()
    assert back.interruptible == 1
    assert there_and_back(with_deadline(back, at=math.inf)).interruptible is True


def test_without_a_clock_there_is_no_deadline() -> None:
    back = there_and_back(with_deadline(TextFrame("a"), at=5.0))
    assert deadline_of(back) == math.inf
    assert back.interruptible is True


# -------------------------------------------------------------------------------------------------- what stays where it is


@pytest.mark.parametrize("cls", [*OF_A_RUN, ServiceSwitchedFrame, FlushMarker, Heartbeat], ids=lambda it: it.__name__)
def test_what_belongs_to_a_run_stays_in_it(cls: type[Frame]) -> None:
    with pytest.raises(WireError, match="stays in its process|is not listed"):
        Codec().encode(cls())


def test_a_users_lifecycle_frame_stays_as_well() -> None:
    @on_wire("test.last-words")
    @attrs.define(eq=False)
    class LastWords(EndFrame):
        words: str = ""

    with pytest.raises(WireError, match=r"test\.last-words cannot be sent: it stays in its process"):
        Codec().encode(LastWords("a"))
    with pytest.raises(WireError, match="stays in its process"):
        Codec().decode(Codec(allow=[EndFrame]).encode(LastWords("a")), peer="bob")


def test_a_codec_may_be_told_to_take_them() -> None:
    codec = Codec(allow=[EndFrame, InterruptionFrame])
    assert there_and_back(EndFrame("done"), codec).reason == "done"
    assert type(there_and_back(InterruptionFrame(), codec)) is InterruptionFrame
    with pytest.raises(WireError, match="stays in its process"):
        codec.encode(trio_pipes.StopFrame())
    with pytest.raises(WireError, match=r"from bob cannot be read: it stays in its process"):
        Codec().decode(codec.encode(EndFrame()), peer="bob")
    for base in OF_A_RUN:
        if base in LISTED.values():
            assert type(there_and_back(base(), Codec(allow=[base]))) is base


def test_an_interruption_cannot_claim_to_be_the_engines() -> None:
    frame = InterruptionFrame()
    frame._given = True
    assert there_and_back(frame, Codec(allow=[InterruptionFrame]))._given is False


def test_every_public_frame_is_listed_or_stays() -> None:
    def frames_of(module: Any) -> list[type[Frame]]:
        public = [getattr(module, name) for name in module.__all__]
        return [it for it in public if inspect.isclass(it) and issubclass(it, Frame)]

    codec = Codec()
    for cls in {*frames_of(trio_pipes), *frames_of(trio_pipes.voice)} - {Frame, ServiceSwitchedFrame}:
        assert trio_pipes._base.find_class(cls) is not None, cls
        if issubclass(cls, OF_A_RUN):
            with pytest.raises(WireError, match="stays"):
                codec.encode(cls())


def test_base_frame_is_no_message() -> None:
    with pytest.raises(WireError, match="not listed"):
        Codec().encode(Frame())
    assert type(there_and_back(SystemFrame())) is SystemFrame
    assert issubclass(HeartbeatFrame, OF_A_RUN)


# What came must not be able to make what the class refuses.
def test_a_frame_refuses_what_it_always_refuses() -> None:
    data = Codec().encode(InputAudioFrame(b"ab", 16000)).replace(b"\xcd\x3e\x80", b"\xcd\x00\x00")
    with pytest.raises(
        WireError, match=r"input-audio from bob cannot be read: ConfigurationError: .*sample_rate=0"
    ) as it:
        Codec().decode(data, peer="bob")
    assert isinstance(it.value.__cause__, ConfigurationError)


def test_the_tables_are_read_when_a_codec_meets_a_frame() -> None:
    program = """
import sys, trio_pipes
heavy = lambda: [it for it in ("msgspec", "trio_pipes.flow._frames_on_wire", "trio_pipes.voice") if it in sys.modules]
assert heavy() == []
@trio_pipes.on_wire("test.a")
@__import__("attrs").define
class A: ...
assert heavy() == []
codec = trio_pipes.Codec()
codec.decode(codec.encode(A()))
assert heavy() == ["msgspec"], heavy()
try:
    codec.decode(b"\\x93\\xb8trio_pipes.voice.nothing\\x01\\x80")
except trio_pipes.WireError:
    assert "trio_pipes.voice" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
