"""A recorded timeline as a page: one file that needs nothing but a browser, and asks nothing of a network.

The page may run one script, ours, whose hash it names; so whatever the names of processors and the words of texts are, they
cannot become one.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any, Final

from ._timeline_story import Answer, RowStory, Story, Work, story_of
from ._timeline_taken import Taken

__all__ = ["page"]

HERE: Final = Path(__file__).parent
COLOURS: Final = 8  # of steps
MOST_ROWS: Final = 500  # a browser's canvas can be some ten thousand pixels high

# The flags of a work, as the script knows them.
UP, WAIT, STOPPED, GOES_ON, SET_UP = 1, 2, 4, 8, 16


def page(taken: Taken) -> str:
    """The page."""
    story = story_of(taken, MOST_ROWS)
    script = (HERE / "_timeline.js").read_text(encoding="utf-8")
    parts = {
        "TITLE": escape(story.title),
        "ABOUT": _about(story),
        "ANSWERS": "".join(_answers(story)),
        "TABLE": "".join(_table(story)),
        "DATA": _json(_data(story)),
        "SCRIPT": script,
        "SCRIPT_HASH": f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}",
    }
    template = (HERE / "_timeline.html").read_text(encoding="utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda hit: parts[hit[1]], template)


def _json(data: object) -> str:
    """JSON that can stand in a script element: no end tag, no comment, no line end that JavaScript does not know."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _about(story: Story) -> str:
    spans = f"{len(story.works):,} spans of {len(story.rows)} processors in {story.seconds:.1f} s"
    ends = [it for it in story.happened if it.what == "finished"]
    ended = f", {escape(ends[-1].text)}" if len(story.tasks) == 1 and ends else ""
    lost = (
        f' <span class="lost">{story.lost:,} older ones were dropped: see <code>spans=</code>.</span>'
        if story.lost
        else ""
    )
    older = f" The {story.left_out:,} older tasks are not shown." if story.left_out else ""
    return f"{spans}{ended}.{older}{lost}"


# -- what the user waited for


def _answers(story: Story) -> Iterator[str]:
    if not story.answers:
        return
    longest = max(it.ended - it.began for it in story.answers) or 1.0
    yield "<h2>How long the user waited</h2>\n"
    yield (
        "<p>From the last sound of the user to the first one of the bot, and what the time went into. The times add up. "
        "Choose one to see it below.</p>\n"
    )
    for answer in story.answers:
        yield from _answer(answer, story, longest)


def _answer(answer: Answer, story: Story, longest: float) -> Iterator[str]:
    asked = _words_at(story, "user", answer.began, answer.task)
    said = "" if answer.was_interrupted else _words_at(story, "bot", answer.ended, answer.task)
    words = " → ".join(f"<span>“{escape(it)}”</span>" for it in (asked, said) if it)
    note = "<small>interrupted</small> " if answer.was_interrupted else ""
    share = 100 * (answer.ended - answer.began) / longest
    yield f'<div class="answer"><button>{answer.began:.2f} s</button><div class="words">{words}</div>'
    yield f'<div class="total">{note}{_ms(answer.ended - answer.began)}</div>'
    yield f'<div class="bar" style="width:{share:.2f}%">'
    for place, step in enumerate(answer.steps, 1):
        seconds = step.ended - step.began
        label = place if seconds > 0.05 * longest else ""
        yield f'<span class="s{_colour(step.row)}" style="flex-grow:{1000 * max(seconds, 1e-6):.3f}">{label}</span>'
    yield '</div><ol class="steps">'
    for place, step in enumerate(answer.steps, 1):
        who = f", by {escape(step.who)}" if step.who else ""
        text = f" “{escape(step.text)}”" if step.text else ""
        own = "" if step.ttfb is None else f", its time to first byte {_ms(step.ttfb)}"
        sign = "" if place == 1 else "+"
        yield (
            f'<li><span class="dot s{_colour(step.row)}">{place}</span><b>{sign}{_ms(step.ended - step.began)}</b> '
            f"{escape(step.what)}{text}{who}{own}</li>"
        )
    yield "</ol></div>\n"


def _words_at(story: Story, who: str, at: float, task: int) -> str:
    """What somebody said who was silent from then on, or began then."""
    for it in story.said:
        if it.who == who and it.task == task and abs((it.ended if who == "user" else it.began) - at) < 1e-6:
            return it.text
    return ""


def _colour(row: int | None) -> int:
    return 0 if row is None else 1 + row % (COLOURS - 1)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


# -- what each processor did


def _table(story: Story) -> Iterator[str]:
    yield "<h2>What each processor did</h2>\n<table><tr>"
    heads = [
        "processor",
        "frames",
        "busy",
        "longest",
        "in its queue, mean",
        "longest",
        "for room below",
        "stopped",
        "set-up",
    ]
    yield "".join(f"<th>{it}</th>" for it in heads)
    yield "</tr>\n"
    for row in story.rows:
        yield f"<tr>{''.join(f'<td>{it}</td>' for it in _cells(row, story))}</tr>\n"
    yield "</table>\n"


def _cells(row: RowStory, story: Story) -> Iterable[str]:
    task = f"{story.tasks[row.task]}: " if len(story.tasks) > 1 else ""
    yield escape(task + row.name)
    yield f"{row.frames:,}"
    for seconds in (row.busy, row.longest, row.queued / max(1, row.frames), row.longest_queued, row.waited):
        yield f"{seconds:.3f} s" if seconds else ""
    yield f"{row.stopped:,}" if row.stopped else ""
    yield "" if row.set_up is None else f"{row.set_up:.3f} s"


# -- for the script


def _us(seconds: float) -> int:
    return round(1e6 * seconds)


def _data(story: Story) -> dict[str, Any]:
    kinds = sorted({it.kind for it in story.works})
    numbers = {kind: number for number, kind in enumerate(kinds)}
    return {
        "end": _us(story.seconds),
        "tasks": list(story.tasks),
        "rows": [{"name": it.name, "task": it.task, "lanes": it.lanes} for it in story.rows],
        "kinds": kinds,
        "works": _columns(story.works, numbers),
        "said": [
            {
                "task": it.task,
                "who": it.who,
                "from": _us(it.began),
                "to": _us(it.ended),
                "text": it.text,
                "cut": it.was_cut_off,
            }
            for it in story.said
        ],
        "answers": [
            {
                "task": it.task,
                "from": _us(it.began),
                "to": _us(it.ended),
                "interrupted": it.was_interrupted,
                "steps": [
                    {
                        "what": step.what,
                        "who": step.who,
                        "row": step.row,
                        "from": _us(step.began),
                        "to": _us(step.ended),
                        "text": step.text,
                        "colour": _colour(step.row),
                    }
                    for step in it.steps
                ],
            }
            for it in story.answers
        ],
        "happened": [
            {"task": it.task, "row": it.row, "at": _us(it.at), "what": it.what, "text": it.text}
            for it in story.happened
        ],
    }


def _columns(works: Sequence[Work], numbers: dict[str, int]) -> dict[str, list[int]]:
    return {
        "row": [it.row for it in works],
        "lane": [it.lane for it in works],
        "kind": [numbers[it.kind] for it in works],
        "began": [_us(it.began) for it in works],
        "length": [_us(it.seconds) for it in works],
        "queued": [_us(it.queued) for it in works],
        "frame": [it.frame for it in works],
        "flags": [
            UP * it.goes_up
            + WAIT * it.is_wait
            + STOPPED * it.was_stopped
            + GOES_ON * it.goes_on
            + SET_UP * (not it.kind)
            for it in works
        ],
    }
