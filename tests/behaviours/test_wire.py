"""What users of a frame framework expect of frames that cross to another process."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from trio_pipes import Codec, DataFrame, Frame, InputAudioFrame, InterruptionFrame, OutputAudioFrame, TextFrame, on_wire
from trio_pipes.voice import TranscriptionFrame


@on_wire("test.context")
@attrs.define(eq=False)
class ContextFrame(DataFrame):
    """What a language model is to be asked: messages, and tools in whatever form its vendor wants them."""

    messages: list[Any] = attrs.Factory(list)
    tools: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Where is it warm?"}]},
]
TOOLS = {
    "standard": [{"name": "weather", "properties": {"city": {"type": "string"}}, "required": ["city"]}],
    "custom": {"a-vendor": [{"type": "web_search", "max_uses": 2}]},
}


def across(frame: Frame, codec: Codec | None = None) -> Any:
    codec = codec or Codec()
    back = codec.decode(codec.encode(frame), peer="another process")
    assert type(back) is type(frame)
    return back


def test_a_text_crosses() -> None:
    assert across(TextFrame("hello")).text == "hello"


@pytest.mark.parametrize("kind", [InputAudioFrame, OutputAudioFrame])
def test_sound_crosses(kind: type[InputAudioFrame | OutputAudioFrame]) -> None:
    back = across(kind(b"\x00\xff\x7f\x80" * 160, 16_000, 2))
    assert (back.audio, back.sample_rate, back.channels) == (b"\x00\xff\x7f\x80" * 160, 16_000, 2)


@pytest.mark.parametrize("stopped_at", [None, 2.5])
def test_a_transcription_crosses_with_all_that_is_known_of_it(stopped_at: float | None) -> None:
    frame = TranscriptionFrame("yes", 0.75, stopped_at)
    frame.metadata.update(language="de", user="u-17", at="2026-11-21T12:00:00+00:00")
    back = across(frame)
    assert (back.text, back.confidence, back.stopped_at, back.metadata) == ("yes", 0.75, stopped_at, frame.metadata)


def test_an_interruption_crosses_where_it_is_asked_to() -> None:
    assert isinstance(across(InterruptionFrame(), Codec(allow=[InterruptionFrame])), InterruptionFrame)


def test_a_context_of_messages_alone_says_nothing_of_tools() -> None:
    back = across(ContextFrame(MESSAGES))
    assert (back.messages, back.tools, back.tool_choice) == (MESSAGES, None, None)


def test_a_context_keeps_messages_that_only_one_vendor_understands() -> None:
    special = {"llm": "a-vendor", "message": {"thinking": b"\x01\x02", "parts": [{"n": 1}]}}
    assert across(ContextFrame([*MESSAGES, special])).messages == [*MESSAGES, special]


def test_a_context_keeps_tools_and_those_of_a_vendors_own() -> None:
    assert across(ContextFrame(MESSAGES, TOOLS)).tools == TOOLS
    only_standard = {"standard": TOOLS["standard"], "custom": None}
    assert across(ContextFrame(MESSAGES, only_standard)).tools == only_standard


@pytest.mark.parametrize("choice", ["auto", {"type": "function", "name": "weather"}])
def test_a_context_keeps_which_tool_is_to_be_used(choice: Any) -> None:
    assert across(ContextFrame(MESSAGES, TOOLS, choice)).tool_choice == choice
