"""What was recorded, put in order: rows, spans side by side where they overlap, who spoke, what the user waited for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final

import attrs

from ._ring import SET_UP, STOPPED, UP, WAITED, Span, spans_in
from ._timeline_taken import Moment, Row, Taken

__all__ = ["Answer", "Happened", "RowStory", "Said", "Step", "Story", "Work", "story_of"]

LONG: Final = 10.0  # seconds from what was said to its text, or to who tells of it, at most
SPOKEN: Final = ("user", "turn", "bot")
SAME: Final = 0.01  # seconds between two looks at the clock when one frame is told of
_AT = attrgetter("at")


@attrs.frozen
class Work:
    """A span in its place. Times are seconds from the beginning of the story."""

    row: int
    lane: int
    """Spans of one row that overlap without one being inside the other are in different lanes."""
    began: float
    seconds: float
    queued: float
    frame: int
    kind: str
    """The frame's class; empty for a set-up."""
    goes_up: bool = False
    is_wait: bool = False
    was_stopped: bool = False
    goes_on: bool = False
    """It has not ended."""


@attrs.define
class RowStory:
    """A processor, and its sums."""

    name: str
    task: int
    lanes: int = 1
    frames: int = 0
    busy: float = 0.0
    """Seconds in its handlers, waits for room included."""
    longest: float = 0.0
    queued: float = 0.0
    """Seconds that frames waited in front of it, all together."""
    longest_queued: float = 0.0
    waited: float = 0.0
    """Seconds for room below it."""
    stopped: int = 0
    set_up: float | None = None


@attrs.frozen
class Said:
    """Somebody's speech, or the user's turn."""

    task: int
    who: str
    began: float
    ended: float
    text: str
    was_cut_off: bool = False
    goes_on: bool = False


@attrs.frozen
class Step:
    """A part of an answer's time."""

    what: str
    who: str
    row: int | None
    began: float
    ended: float
    ttfb: float | None
    text: str


@attrs.frozen
class Answer:
    """From the user's last sound to the bot's first."""

    task: int
    began: float
    ended: float
    was_interrupted: bool
    after_start: bool
    steps: Sequence[Step]


@attrs.frozen
class Happened:
    """A moment to mark."""

    task: int
    row: int | None
    at: float
    what: str
    text: str


@attrs.frozen
class Story:
    """All of it. Rows are in the order in which they are shown; works are sorted by their beginning."""

    title: str
    seconds: float
    lost: int
    left_out: int
    """Older tasks that are not in it."""
    tasks: Sequence[str]
    rows: Sequence[RowStory]
    works: Sequence[Work]
    said: Sequence[Said]
    answers: Sequence[Answer]
    happened: Sequence[Happened]


def story_of(taken: Taken, most_rows: int | None = None) -> Story:
    """Put it in order: all tasks, or the newest, as many as have `most_rows` rows together."""
    every = len(taken.tasks)
    spans = sorted((*spans_in(taken.spans), *taken.still), key=lambda it: (it.began, -it.ended))
    if most_rows is not None and len(taken.rows) > most_rows and every > 1:
        taken, spans = _newest(taken, spans, most_rows)
    begin, end = _times(spans, taken.moments)
    order = sorted(range(len(taken.rows)), key=lambda it: (taken.rows[it].task, taken.rows[it].place, it))
    shown_at = {number: place for place, number in enumerate(order)}
    rows = [RowStory(taken.rows[number].name, taken.rows[number].task) for number in order]
    taken = attrs.evolve(
        taken,
        moments=[it for it in taken.moments if begin <= it.at <= end],
        latencies=[(task, it) for task, it in taken.latencies if begin <= it.began_at <= it.ended_at <= end],
    )
    works = [*_in_lanes(spans, set(taken.still), shown_at, rows, taken.classes, begin)]
    return Story(
        title=taken.tasks[0] if every == 1 else f"{every} tasks",
        seconds=end - begin,
        lost=taken.lost,
        left_out=every - len(taken.tasks),
        tasks=taken.tasks,
        rows=rows,
        works=works,
        said=[*_said(taken, begin, end)],
        answers=[*_answers(taken, shown_at, begin)],
        happened=[
            Happened(it.task, None if it.row is None else shown_at[it.row], it.at - begin, it.what, it.text)
            for it in taken.moments
            if it.what not in SPOKEN
        ],
    )


def _newest(taken: Taken, spans: Sequence[Span], most: int) -> tuple[Taken, list[Span]]:
    """What is of the newest tasks, with rows and tasks counted anew."""
    rows_of = Counter(row.task for row in taken.rows)
    first = len(taken.tasks) - 1
    room = most - rows_of[first]
    while first > 0 and rows_of[first - 1] <= room:
        first -= 1
        room -= rows_of[first]
    rows = [number for number, row in enumerate(taken.rows) if row.task >= first]
    renumbered = {number: place for place, number in enumerate(rows)}

    def of_these(some: Iterable[Span]) -> list[Span]:
        return [it._replace(row=renumbered[it.row]) for it in some if it.row in renumbered]

    shown = attrs.evolve(
        taken,
        still=of_these(taken.still),
        tasks=taken.tasks[first:],
        rows=[attrs.evolve(taken.rows[number], task=taken.rows[number].task - first) for number in rows],
        moments=[
            attrs.evolve(it, task=it.task - first, row=None if it.row is None else renumbered[it.row])
            for it in taken.moments
            if it.task >= first
        ],
        latencies=[(task - first, it) for task, it in taken.latencies if task >= first],
    )
    return shown, of_these(spans)


def _times(spans: Sequence[Span], moments: Sequence[Moment]) -> tuple[float, float]:
    """From when to when it goes. A time that somebody tells (who speaks) may be wrong by any amount: it counts within limits."""
    begins = [it.began for it in spans] + [it.at for it in moments if it.what not in SPOKEN]
    ends = begins + [it.ended for it in spans]
    begin, end = min(begins, default=0.0), max(ends, default=0.0)
    told = [it.at for it in moments if it.what in SPOKEN and begin - LONG <= it.at <= end + LONG]
    return min([begin, *told]), max([end, *told])


# -- spans


def _in_lanes(
    spans: Iterable[Span],
    still: set[Span],
    shown_at: dict[int, int],
    rows: Sequence[RowStory],
    classes: Sequence[str],
    begin: float,
) -> Iterator[Work]:
    open_in: list[list[list[Span]]] = [[] for _ in rows]  # by row and lane: what has not ended, the innermost last
    for span in spans:
        number = shown_at[span.row]
        row, lanes = rows[number], open_in[number]
        lane = _lane(lanes, span)
        row.lanes = max(row.lanes, lane + 1)
        _add_up(row, span)
        yield Work(
            row=number,
            lane=lane,
            began=span.began - begin,
            seconds=span.ended - span.began,
            queued=span.queued,
            frame=span.frame,
            kind="" if span.flags & SET_UP else classes[span.kind],
            goes_up=bool(span.flags & UP),
            is_wait=bool(span.flags & WAITED),
            was_stopped=bool(span.flags & STOPPED),
            goes_on=span in still,
        )


def _lane(lanes: list[list[Span]], span: Span) -> int:
    """The first lane where the span follows what is there, or, of a wait, is inside it."""
    for number, inside in enumerate(lanes):
        while inside and inside[-1].ended <= span.began:
            inside.pop()
        fits = not inside or (span.flags & WAITED and span.ended <= inside[-1].ended)
        if fits:
            inside.append(span)
            return number
    lanes.append([span])
    return len(lanes) - 1


def _add_up(row: RowStory, span: Span) -> None:
    seconds = span.ended - span.began
    if span.flags & SET_UP:
        row.set_up = seconds
    elif span.flags & WAITED:
        row.waited += seconds
    else:
        row.frames += 1
        row.busy += seconds
        row.longest = max(row.longest, seconds)
        row.queued += span.queued
        row.longest_queued = max(row.longest_queued, span.queued)
        row.stopped += bool(span.flags & STOPPED)


# -- speech


def _said(taken: Taken, begin: float, end: float) -> Iterator[Said]:
    of_task: dict[int, list[Moment]] = {}
    for moment in sorted(taken.moments, key=_AT):
        of_task.setdefault(moment.task, []).append(moment)
    for task, moments in sorted(of_task.items()):
        words = _Words(moments, taken.rows)
        for who in SPOKEN:
            since: float | None = None
            for moment in moments:
                if moment.what != who:
                    continue
                if not moment.over:
                    since = moment.at if since is None else since
                elif since is not None:
                    text = words.of(who, since, moment.at)
                    yield Said(task, who, since - begin, moment.at - begin, text, bool(moment.text))
                    since = None
            if since is not None:
                yield Said(task, who, since - begin, end - begin, words.of(who, since, end), goes_on=True)


class _Words:
    """The texts of a task: which of them is what somebody said."""

    def __init__(self, moments: Sequence[Moment], rows: Sequence[Row]) -> None:
        self._texts = [it for it in moments if it.what == "text"]
        self._begins = [it for it in moments if it.what in ("user", "bot") and not it.over]
        self._rows = rows

    def of(self, who: str, since: float, until: float) -> str:
        """Of the user, the text from nearest to the top until somebody speaks again; of the bot, from nearest to the end."""
        if who == "user":
            later = bisect_right(self._begins, until, key=_AT)
            until = self._begins[later].at if later < len(self._begins) else until + LONG
            found = self._between(since, until)
            nearest = min(map(self._place, found), default=0)
        elif who == "bot":
            before = bisect_left(self._begins, since, key=_AT) - 1
            found = self._between(self._begins[before].at if before >= 0 else since - LONG, since)
            nearest = max(map(self._place, found), default=0)
        else:
            return ""
        return next((_words(it) for it in reversed(found) if self._place(it) == nearest), "")

    def _between(self, since: float, until: float) -> Sequence[Moment]:
        return self._texts[bisect_left(self._texts, since, key=_AT) : bisect_right(self._texts, until, key=_AT)]

    def _place(self, moment: Moment) -> int:
        return -1 if moment.row is None else self._rows[moment.row].place


def _words(moment: Moment) -> str:
    return moment.text.partition(": ")[2]


# -- answers


def _answers(taken: Taken, shown_at: dict[int, int], begin: float) -> Iterator[Answer]:
    numbers = {(row.task, row.name): number for number, row in enumerate(taken.rows)}
    texts: dict[tuple[int | None, str], list[Moment]] = {}
    for moment in taken.moments:
        if moment.what == "text":
            texts.setdefault((moment.row, moment.text.partition(": ")[0]), []).append(moment)
    for task, latency in taken.latencies:
        steps = []
        for step in latency.steps:
            row = numbers.get((task, step.processor or ""))
            steps.append(
                Step(
                    what=step.what,
                    who=step.processor or "",
                    row=None if row is None else shown_at[row],
                    began=step.began_at - begin,
                    ended=step.ended_at - begin,
                    ttfb=step.ttfb,
                    text=_text_at(step.ended_at, texts.get((row, step.what.rpartition(" ")[2]), ())),
                )
            )
        ended = latency.ended_at - begin
        yield Answer(task, latency.began_at - begin, ended, latency.interrupted, latency.after_start, steps)


def _text_at(at: float, texts: Sequence[Moment]) -> str:
    """The words that were noted with a step: at its end, or right after."""
    place = bisect_left(texts, at - SAME, key=_AT)
    return _words(texts[place]) if place < len(texts) and texts[place].at < at + SAME else ""
