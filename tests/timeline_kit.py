"""What the tests of the timeline share: what a page and a trace say, and what a trace may say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trio_pipes.observers import Timeline

Event = dict[str, Any]


async def traced(timeline: Timeline, place: Path) -> list[Event]:
    """The events of its trace, which are checked against the format first."""
    path = place / "trace.json"
    await timeline.write_trace(path)
    data = json.loads(path.read_text())
    check_trace(data)
    return data["traceEvents"]


async def paged(timeline: Timeline, place: Path) -> tuple[str, dict[str, Any]]:
    """Its page, and the data in it."""
    path = place / "page.html"
    await timeline.write_html(path)
    page = path.read_text()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return page, json.loads(data)


def spans(events: list[Event], kind: str = "handler") -> list[tuple[str, str, float, float]]:
    """Thread, name, beginning and length in seconds of the spans of one kind."""
    threads = {(it["pid"], it["tid"]): it["args"]["name"] for it in events if it["name"] == "thread_name"}
    return [
        (threads[it["pid"], it["tid"]], it["name"], it["ts"] / 1e6, it["dur"] / 1e6)
        for it in events
        if it["ph"] == "X" and it["cat"] == kind
    ]


def happened(events: list[Event]) -> list[tuple[str, float, str]]:
    return [(it["name"], it["ts"] / 1e6, it["args"]["text"]) for it in events if it["ph"] == "i"]


def check_trace(data: dict[str, Any]) -> None:
    """The rules of the Trace Event Format, as far as we use it."""
    assert set(data) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert data["displayTimeUnit"] in ("ms", "ns")
    events = data["traceEvents"]
    named = set()
    flows: dict[int, list[Event]] = {}
    for it in events:
        assert isinstance(it["name"], str)
        assert type(it["pid"]) is type(it["tid"]) is int
        if it["ph"] == "M":
            assert it["name"] in ("process_name", "thread_name", "thread_sort_index")
            named.add((it["pid"], it["tid"]))
            continue
        assert it["ts"] >= 0
        assert isinstance(it["cat"], str)
        match it["ph"]:
            case "X":
                assert it["dur"] >= 0
                assert (it["pid"], it["tid"]) in named
            case "i":
                assert it["s"] in ("p", "t")
            case "s" | "t" | "f":
                flows.setdefault(it["id"], []).append(it)
            case _:
                raise AssertionError(f"no such phase: {it}")
    assert [it["ts"] for it in events if it["ph"] != "M"] == sorted(it["ts"] for it in events if it["ph"] != "M")
    for way in flows.values():
        assert "".join(it["ph"] for it in way) == "s" + "t" * (len(way) - 2) + "f"
    for thread in {(it["pid"], it["tid"]) for it in events}:
        mine = [it for it in events if (it["pid"], it["tid"]) == thread and it["ph"] == "X"]
        assert not list(_crossing(mine)), f"spans of one thread lie across each other: {list(_crossing(mine))}"


def _crossing(mine: list[Event]) -> Iterator[tuple[Event, Event]]:
    inside: list[Event] = []
    for it in sorted(mine, key=lambda it: (it["ts"], -it["dur"])):
        while inside and inside[-1]["ts"] + inside[-1]["dur"] <= it["ts"] + 1e-6:
            inside.pop()
        if inside and it["ts"] + it["dur"] > inside[-1]["ts"] + inside[-1]["dur"] + 1e-6:
            yield inside[-1], it
        inside.append(it)
