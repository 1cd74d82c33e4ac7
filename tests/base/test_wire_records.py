"""What every release has written can still be read, and says the same."""

import json
from pathlib import Path
from typing import Any

import pytest

import wire_records
from trio_pipes import WireError

OURS = wire_records.ours()
FILES = [
    path
    for path in sorted(wire_records.RECORDS.glob("*/*.json"))
    if not wire_records.ABSENT or json.loads(path.read_text())["tag"] in OURS
]


def names(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", FILES, ids=names)
def test_a_record_says_what_it_said(path: Path) -> None:
    record = json.loads(path.read_text())
    listed = OURS[record["tag"]]
    made = wire_records.codec_for(listed).decode(bytes.fromhex(record["bytes"]), peer="a release")
    assert type(made) is listed.cls
    assert lost(record["says"], wire_records.said(made)) == []


def lost(before: Any, now: Any, where: str = "") -> list[str]:
    """The places where what is said now differs; new fields are no difference."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [text for key in before for text in lost(before[key], now.get(key, "missing"), f"{where}.{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [text for i, pair in enumerate(zip(before, now, strict=True)) for text in lost(*pair, f"{where}[{i}]")]
    return [] if before == now else [f"{where}: {before!r}, now {now!r}"]


def test_the_comparison_can_fail() -> None:
    assert lost({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3, "new": 4}]}) == [".a[1].b: 2, now 3"]
    assert lost({"a": 1}, {}) == [".a: 1, now 'missing'"]


def test_every_class_that_the_library_lists_has_a_record_of_this_version() -> None:
    folder = wire_records.RECORDS / wire_records.version()
    recorded = {json.loads(path.read_text())["tag"]: path for path in folder.glob("*.json")}
    missing = sorted(set(OURS) - set(recorded))
    assert not missing, f"no record of {missing}: `python tests/wire_records.py` writes them"
    gone = sorted(set(recorded) - set(OURS)) if not wire_records.ABSENT else []
    assert not gone, f"records of classes that are not listed: {gone}; what was in a release stays listed"


def test_every_sample_can_be_made_and_is_of_the_recorded_version() -> None:
    newest = wire_records.version()
    for path in FILES:
        record = json.loads(path.read_text())
        listed = OURS[record["tag"]]
        assert record["version"] <= listed.version
        if path.parent.name == newest:
            assert record["version"] == listed.version, "`python tests/wire_records.py --again` before the release"
            assert lost(record["says"], wire_records.said(wire_records.sample_of(listed))) == []


def test_tags_of_ours_begin_with_our_name() -> None:
    assert [tag for tag in OURS if not tag.startswith("trio_pipes.")] == []


def test_a_record_that_was_damaged_is_seen() -> None:
    record = json.loads((wire_records.RECORDS / "0.1" / "trio_pipes.text.json").read_text())
    data = bytes.fromhex(record["bytes"])
    codec = wire_records.codec_for(OURS["trio_pipes.text"])
    with pytest.raises(WireError):
        codec.decode(data[:-1])
