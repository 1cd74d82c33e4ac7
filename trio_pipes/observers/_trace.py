"""A recorded timeline in Chrome's Trace Event Format, which Perfetto and `chrome://tracing` show.

A task is a process there, a processor a thread. In this format spans of one thread must lie beside or inside each other; so a
processor whose handlers overlap (one for each direction, or several at once) has as many threads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from ._timeline_story import Story, Work, story_of
from ._timeline_taken import Taken

__all__ = ["trace"]

Event = dict[str, Any]

# Threads of a task that are not processors'. Those follow.
SPEECH: Final = {"user": (1, "user speaks"), "turn": (2, "user's turn"), "bot": (4, "bot speaks")}
WAITS: Final = (3, "user waits")
FIRST: Final = 10


def trace(taken: Taken) -> str:
    """The file."""
    story = story_of(taken)
    threads = _threads(story)
    timed = [
        *_works(story, threads),
        *_speech(story),
        *_answers(story),
        *_happened(story, threads),
        *_flows(story, threads),
    ]
    timed.sort(key=lambda it: it["ts"])
    data = {
        "traceEvents": [*_names(story, threads), *timed],
        "displayTimeUnit": "ms",
        "otherData": {"made by": "trio_pipes", "lost": story.lost},
    }
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _threads(story: Story) -> dict[tuple[int, int], int]:
    """A number for each lane of each row."""
    lanes = [(number, lane) for number, row in enumerate(story.rows) for lane in range(row.lanes)]
    return {place: FIRST + number for number, place in enumerate(lanes)}


def _names(story: Story, threads: dict[tuple[int, int], int]) -> Iterator[Event]:
    for task, name in enumerate(story.tasks):
        yield _named("process_name", task, 0, name)
        for number, what in sorted([*SPEECH.values(), WAITS]):
            yield from _thread(task, number, what)
    for (number, lane), thread in threads.items():
        row = story.rows[number]
        yield from _thread(row.task, thread, f"{row.name} ({lane + 1})" if lane else row.name)


def _thread(task: int, thread: int, name: str) -> Iterator[Event]:
    yield _named("thread_name", task, thread, name)
    yield {"ph": "M", "name": "thread_sort_index", "pid": task + 1, "tid": thread, "args": {"sort_index": thread}}


def _named(what: str, task: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": task + 1, "tid": thread, "args": {"name": name}}


def _span(name: str, kind: str, task: int, thread: int, began: float, ended: float, **about: Any) -> Event:
    start, end = _ns(began), _ns(ended)  # both rounded alike, so that what was inside something stays there
    return {
        "ph": "X", "name": name, "cat": kind, "pid": task + 1, "tid": thread,
        "ts": start / 1000, "dur": (end - start) / 1000, "args": about,
    }  # fmt: skip


def _ns(seconds: float) -> int:
    return round(1e9 * seconds)


def _works(story: Story, threads: dict[tuple[int, int], int]) -> Iterator[Event]:
    for it in story.works:
        where = (story.rows[it.row].task, threads[it.row, it.lane], it.began, it.began + it.seconds)
        if not it.kind:
            yield _span("set-up", "set-up", *where)
        elif it.is_wait:
            yield _span("waits for room below", "wait", *where, frame=f"{it.kind}#{it.frame}")
        else:
            yield _span(it.kind, "handler", *where, **_about(it))


def _about(work: Work) -> dict[str, Any]:
    about: dict[str, Any] = {"frame": work.frame, "direction": "upstream" if work.goes_up else "downstream"}
    if work.queued > 0:
        about["in the queue, ms"] = round(1000 * work.queued, 3)
    if work.was_stopped:
        about["stopped"] = True
    if work.goes_on:
        about["still at it"] = True
    return about


def _speech(story: Story) -> Iterator[Event]:
    for it in story.said:
        number, what = SPEECH[it.who]
        yield _span(it.text or what, "speech", it.task, number, it.began, it.ended, cut_off=it.was_cut_off)


def _answers(story: Story) -> Iterator[Event]:
    for it in story.answers:
        name = "interrupted" if it.was_interrupted else f"{1000 * (it.ended - it.began):.0f} ms"
        yield _span(name, "latency", it.task, WAITS[0], it.began, it.ended)
        for step in it.steps:
            yield _span(step.what, "latency", it.task, WAITS[0], step.began, step.ended, by=step.who, text=step.text)


def _happened(story: Story, threads: dict[tuple[int, int], int]) -> Iterator[Event]:
    for it in story.happened:
        row = None if it.row is None else threads[it.row, 0]
        yield {
            "ph": "i", "name": it.what, "cat": "event", "pid": it.task + 1, "tid": row or 0,
            "ts": _ns(it.at) / 1000, "s": "p" if row is None else "t", "args": {"text": it.text},
        }  # fmt: skip


def _flows(story: Story, threads: dict[tuple[int, int], int]) -> Iterator[Event]:
    """Arrows that follow a frame from processor to processor."""
    ways: dict[int, list[Work]] = {}
    for it in story.works:
        if it.frame and not it.is_wait:
            ways.setdefault(it.frame, []).append(it)
    for frame, way in ways.items():
        last = len(way) - 1
        for place, it in enumerate(way if last else ()):
            phase = "s" if place == 0 else "f" if place == last else "t"
            yield {
                "ph": phase, "name": "frame", "cat": "frame", "id": frame, "bp": "e",
                "pid": story.rows[it.row].task + 1, "tid": threads[it.row, it.lane], "ts": _ns(it.began) / 1000,
            }  # fmt: skip
