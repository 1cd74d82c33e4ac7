"""Messages from another process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from trio_pipes import Codec, Frame, MetricsFrame, TextFrame, WireError

made: list[object] = []


@attrs.define
class NotListed:
    """In a module that is imported, and made with attrs."""

    x: int = 0

    def __attrs_post_init__(self) -> None:
        made.append(self)


def bus_message(tag: str, **fields: Any) -> bytes:
    return msgspec.msgpack.encode((tag, 1, fields))


NAMES = [
    *(
        "evilmod",
        "evilmod.Evil",
        "evilmod:Evil",
        "trio_pipes.evilmod",
        "trio_pipes.voice.evilmod",
        "trio_pipes.text:evilmod",
    ),
    *(f"{__name__}.NotListed", "NotListed", "subprocess.Popen", "builtins.eval", "os.system"),
]


# There, the class of a message was imported by the name that the message gave, and made of what it held.
@pytest.mark.parametrize("name", NAMES)
def test_g35_a_message_that_names_a_module_imports_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evilmod.py").write_text("raise SystemExit('imported by a message')\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    codec = Codec(allow=[object])
    codec.encode(TextFrame())  # what is imported for frames is
    loaded = set(sys.modules) - before

    like_theirs = {"__type__": name, "__module__": "evilmod", "__data__": {"x": 1}, "$class": name}
    inner = msgspec.msgpack.Ext(1, bus_message(name, x=1))
    for data in (
        bus_message(name, x=1),
        bus_message("trio_pipes.text", text=inner),
        bus_message("trio_pipes.metrics", data=[inner]),
        bus_message("trio_pipes.text", text=like_theirs),
        msgspec.msgpack.encode(like_theirs),
        msgspec.msgpack.encode([name, 1, like_theirs]),
    ):
        with pytest.raises(WireError):
            codec.decode(data, peer="mallory")
    # Where anything may stand, it stands as what it is: a dict.
    there = codec.decode(bus_message("trio_pipes.metrics", data=[like_theirs], **like_theirs), peer="mallory")
    assert isinstance(there, MetricsFrame)
    assert there.data == [like_theirs]

    new = set(sys.modules) - before - loaded
    assert not [it for it in new if not it.startswith("trio_pipes.voice")]  # which are ours: a tag began as theirs do
    assert "evilmod" not in sys.modules
    assert made == []


def test_g35_only_the_class_that_a_field_asks_for_is_made() -> None:
    end = msgspec.msgpack.Ext(1, bus_message("trio_pipes.end", reason="by mallory"))
    with pytest.raises(WireError, match="stays in its process"):
        Codec().decode(bus_message("trio_pipes.metrics", data=[end]), peer="mallory")
    text = msgspec.msgpack.Ext(1, bus_message("trio_pipes.text", text="a"))
    with pytest.raises(WireError, match=r"llm-usage-metrics\.value .* Expected LLMTokenUsage, got TextFrame"):
        Codec().decode(bus_message("trio_pipes.llm-usage-metrics", processor="a", value=text), peer="mallory")
    assert isinstance(Codec().decode(bus_message("trio_pipes.text", text="a")), Frame)
