"""`Timeline`: records what each processor did and when, for a page or a trace viewer.

# What it costs, and what it keeps.
#
# Two rings. One has the spans: a handler's work, a wait for room, a set-up; of a busy pipeline there are thousands a second,
# so each is 33 bytes, and names are numbers. The other one has the moments that explain them: who spoke, interrupts,
# measurements, errors, the words of texts. They are few, and would be washed out by the spans of audio frames.
# Nothing of a frame or processor is kept but its name, so nothing stays alive because it was seen.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_pipes._base import ConfigurationError, check_count, check_flag, check_path, outside, shown, write_whole
from trio_pipes.flow import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Direction,
    ErrorFrame,
    Frame,
    FrameProcessor,
    MetricsData,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)
from trio_pipes.host import PipelineTask, TaskResult

from ._latency import UserBotLatencyObserver
from ._once import SpeechEvents
from ._ring import HANDLED, MOST, SET_UP, STOPPED, UP, WAITED, Ring, Span
from ._timeline_taken import Moment, Row, Taken

if TYPE_CHECKING:
    from ._latency_records import UserBotLatency

__all__ = ["Timeline"]

DOWN: Final = Direction.DOWNSTREAM
REMEMBERED: Final = 4096  # frames whose last push is known: how long one waited in a queue
PER_MOMENT: Final = 10  # spans for which there is room for one moment
FEWEST_MOMENTS: Final = 1000

# Whose speech or turn it is, and whether this is its end.
SPEECH: Final[Mapping[type[Frame], tuple[str, bool]]] = {
    UserStartedSpeakingFrame: ("user", False),
    UserStoppedSpeakingFrame: ("user", True),
    UserTurnStartedFrame: ("turn", False),
    UserTurnStoppedFrame: ("turn", True),
    BotStartedSpeakingFrame: ("bot", False),
    BotStoppedSpeakingFrame: ("bot", True),
}


@attrs.define(eq=False)
class _Row:
    """A processor, while its task runs."""

    number: int
    open: dict[int, tuple[float, float, int]] = attrs.field(factory=dict)
    """When a handler began, how long its frame had waited, and the frame's class: by its id, negative for one that goes up."""


@attrs.define(eq=False)
class _Watched:
    """A task, while it runs."""

    number: int
    latency: UserBotLatencyObserver
    speech: SpeechEvents = attrs.field(factory=SpeechEvents)
    speaks: bool = False
    """Somebody has spoken in it; until then nobody waits for an answer."""
    queueing: _Row | None = None
    """For those who wait to queue a frame."""
    processors: list[FrameProcessor] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Class:
    """What there is to know of a class of frames."""

    number: int
    speech: str
    """Whose speech or turn begins or ends with it: `"user"`, `"turn"`, `"bot"`, or nobody's."""
    is_end: bool
    has_text: bool
    is_noted: bool
    """It has one of these."""


class Timeline:
    """An observer that records what each processor did, waited for and when it was interrupted.

    `write_html` makes a page of it, `write_trace` a file for Perfetto and Chrome's trace viewer. It may observe several tasks. The last
    `spans` handlings, waits and set-ups are kept, in 33 bytes each, and a tenth of that number of other events; what was lost
    is counted. `texts=False` keeps no words of frames that have a `text`; otherwise it is their first 80 characters.
    """

    _now: Callable[[], float] = staticmethod(trio.current_time)  # later the clock's own, which is the same and quicker

    def __init__(self, *, spans: int = 100_000, texts: bool = True) -> None:
        check_count("Timeline(spans", spans, "a number of spans to keep, of at least 1")
        check_flag("Timeline(texts", texts)
        self._texts = texts
        self._ring = Ring(spans)
        self._moments: deque[Moment] = deque(maxlen=max(FEWEST_MOMENTS, spans // PER_MOMENT))
        self._moment_count = 0
        self._latencies: deque[tuple[int, UserBotLatency]] = deque(maxlen=FEWEST_MOMENTS)
        self._task_names: list[str] = []
        self._row_names: list[Row] = []
        self._rows: dict[FrameProcessor, _Row] = {}  # of tasks that run
        self._class_names: list[str] = []
        self._classes: dict[type[Frame], _Class] = {}
        self._watched: dict[PipelineTask, _Watched] = {}
        self._clock: trio.abc.Clock | None = None  # of the Trio run that all times are of
        self._anybody_speaks = False
        self._pushed: dict[int, float] = {}  # when each frame was pushed last
        self._pushed_before: dict[int, float] = {}

    def __repr__(self) -> str:
        kept = min(self._ring.count, self._ring.size)
        return f"<Timeline of {len(self._task_names)} tasks, {kept} spans, {self.lost} lost>"

    @property
    def lost(self) -> int:
        """Spans and other events that were dropped because newer ones came."""
        return self._ring.lost + max(0, self._moment_count - len(self._moments))

    # -- what is made of it

    async def write_html(self, path: str | os.PathLike[str]) -> None:
        """Write a page that needs nothing but a browser. The file is complete, or as it was before.

        Works while tasks run and afterwards; from outside Trio, `trio.run(timeline.write_html, "out.html")`. Raises `OSError`.
        """
        from ._timeline_page import page

        await self._write("write_html", path, page)

    async def write_trace(self, path: str | os.PathLike[str]) -> None:
        """Write JSON in Chrome's Trace Event Format, for https://ui.perfetto.dev and `chrome://tracing`. Otherwise as `write_html`."""
        from ._trace import trace

        await self._write("write_trace", path, trace)

    async def _write(self, call: str, path: str | os.PathLike[str], make: Callable[[Taken], str]) -> None:
        check_path(f"Timeline.{call}(path", path)
        taken = self._take()

        def write() -> None:
            write_whole(path, make(taken))

        with outside():
            await trio.to_thread.run_sync(write)

    def _take(self) -> Taken:
        """What was recorded until now."""
        same_run = trio.lowlevel.current_clock() is self._clock
        still = tuple(
            Span(began, trio.current_time() if same_run else began, queued, abs(key), row.number, kind, UP * (key < 0))
            for row in self._rows.values()
            for key, (began, queued, kind) in row.open.items()
        )
        return Taken(
            spans=self._ring.copy(),
            still=still,
            moments=tuple(self._moments),
            latencies=tuple(self._latencies),
            tasks=tuple(self._task_names),
            rows=tuple(self._row_names),
            classes=tuple(self._class_names),
            lost=self.lost,
        )

    # -- what is told of frames

    def on_frame_pushed(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """When it gets into a queue; who speaks; the words of a new text."""
        about = self._classes.get(frame.__class__) or self._learn(frame.__class__)
        if about.is_noted or self._anybody_speaks:
            self._look_at(task, processor, frame, direction, about)
        pushed = self._pushed
        pushed[frame.id] = self._now()
        if len(pushed) > REMEMBERED:
            self._pushed_before, self._pushed = pushed, {}

    def _look_at(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction, about: _Class
    ) -> None:
        watched = self._watched.get(task) or self._watch(task)
        if about.speech:
            if not _is_time(getattr(frame, "at", None)):
                return
            self._anybody_speaks = watched.speaks = True
            speaks = watched.speech.take(processor, frame, direction)
            if speaks is not None:
                cut_off = "interrupted" if getattr(speaks, "interrupted", False) else ""
                self._note(task, about.speech, processor, cut_off, at=speaks.at, over=about.is_end)
        elif about.has_text and not (frame.id in self._pushed or frame.id in self._pushed_before):
            self._note(task, "text", processor, f"{type(frame).__name__}: {_shown_field(frame, 'text')}")
        if watched.speaks:
            watched.latency.on_frame_pushed(task, processor, frame, direction)

    def on_frame_taken(self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        """A handler begins."""
        row = self._rows.get(processor) or self._row(task, processor)
        now = self._now()
        about = self._classes.get(frame.__class__) or self._learn(frame.__class__)
        number = frame.id
        pushed = self._pushed.get(number)
        if pushed is None:
            pushed = self._pushed_before.get(number, now)
        row.open[number if direction is DOWN else -number] = now, now - pushed, about.number

    def on_frame_handled(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """A handler has returned, or raised."""
        self._close(task, processor, frame, direction, HANDLED)

    def on_frame_stopped(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """A handler was stopped."""
        self._close(task, processor, frame, direction, HANDLED | STOPPED)

    def on_waited_for_room(
        self, task: PipelineTask, processor: FrameProcessor | None, frame: Frame, seconds: float
    ) -> None:
        """A push has waited until there was room below."""
        if seconds <= 0:  # on a clock that jumps
            return
        row = self._row(task, processor)
        now = self._now()
        about = self._classes.get(frame.__class__) or self._learn(frame.__class__)
        self._ring.put(now - seconds, now, 0.0, frame.id, row.number, about.number, WAITED)

    def _close(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction, flags: int
    ) -> None:
        row = self._rows.get(processor) or self._row(task, processor)
        number = frame.id
        if direction is DOWN:
            begun = row.open.pop(number, None)
        else:
            begun = row.open.pop(-number, None)
            flags |= UP
        if begun is not None:
            began, queued, kind = begun
            self._ring.put(began, self._now(), queued, number, row.number, kind, flags)

    # -- what is told besides

    def on_starting(self, task: PipelineTask) -> None:
        """A run begins."""
        self._note(task, "starting")

    def on_set_up(self, task: PipelineTask, processor: FrameProcessor, seconds: float) -> None:
        """A processor is set up."""
        row = self._row(task, processor)
        now = self._now()
        self._ring.put(now - seconds, now, 0.0, 0, row.number, 0, SET_UP)

    def on_started(self, task: PipelineTask) -> None:
        """The pipeline is up."""
        self._note(task, "started")

    def on_finished(self, task: PipelineTask, result: TaskResult) -> None:
        """All is torn down."""
        if task not in self._watched:
            return  # it was cancelled before it began; that may be told outside Trio, where there is no clock
        self._note(task, "finished", None, result.state.value)
        watched = self._watched.pop(task)
        watched.latency.on_finished(task, result)
        for processor in watched.processors:
            self._rows.pop(processor, None)

    def on_interrupt(self, task: PipelineTask) -> None:
        """Everything interruptible is stale."""
        self._note(task, "interrupt")
        self._watched[task].latency.on_interrupt(task)

    def on_interrupt_refused(self, task: PipelineTask) -> None:
        """An interrupt was asked for and is not allowed."""
        self._note(task, "interrupt refused")

    def on_measured(self, task: PipelineTask, processor: FrameProcessor, records: Sequence[MetricsData]) -> None:
        """A processor has measured something."""
        for record in records:
            kind = type(record).__name__.removesuffix("Metrics")
            self._note(task, "measured", processor, f"{kind}: {_shown_field(record, 'value')}")
        self._watched[task].latency.on_measured(task, processor, records)

    def on_error(self, task: PipelineTask, frame: ErrorFrame) -> None:
        """An error was reported."""
        processor = frame.processor if isinstance(frame.processor, FrameProcessor) else None
        self._note(task, "error", processor, shown(frame.error))

    def on_usable_changed(self, task: PipelineTask, processor: FrameProcessor, usable: bool) -> None:
        """A processor can do its work no more, or again."""
        self._note(task, "usable again" if usable else "unusable", processor)

    def on_idle(self, task: PipelineTask) -> None:
        """Nothing has moved for long."""
        self._note(task, "idle")

    def on_heartbeat_lost(self, task: PipelineTask, stuck: object) -> None:
        """Nothing comes through."""
        self._note(task, "heartbeat lost", None, shown(stuck))

    # -- numbers for names

    def _note(
        self,
        task: PipelineTask,
        what: str,
        processor: FrameProcessor | None = None,
        text: str = "",
        *,
        at: float | None = None,
        over: bool = False,
    ) -> None:
        watched = self._watched.get(task) or self._watch(task)
        row = None if processor is None else self._row(task, processor).number
        moment = Moment(self._now() if at is None else at, watched.number, row, what, text, over)
        self._moments.append(moment)
        self._moment_count += 1

    def _watch(self, task: PipelineTask) -> _Watched:
        """A task that is new here: a number for it, and one for each of its processors, in their order."""
        clock = trio.lowlevel.current_clock()
        if clock is not self._clock and self._clock is not None:
            raise ConfigurationError(
                f"{self!r} was told of {task.name}, which is in another Trio run than what it has recorded, with other times: "
                "make one for each"
            )
        self._clock, self._now = clock, clock.current_time
        number = min(len(self._task_names), MOST - 1)
        watched = self._watched[task] = _Watched(
            number, UserBotLatencyObserver(on_latency=lambda it: self._latencies.append((number, it)))
        )
        if number == len(self._task_names):
            self._task_names.append(shown(task.name))
        leaves = getattr(task.pipeline, "leaves", None)
        for processor in leaves() if leaves else (task.pipeline,):
            self._row(task, processor)
        return watched

    def _row(self, task: PipelineTask, processor: FrameProcessor | None) -> _Row:
        watched = self._watched.get(task) or self._watch(task)
        if processor is None:
            if watched.queueing is None:
                watched.queueing = self._add_row(watched, -1, "queueing frames")
            return watched.queueing
        row = self._rows.get(processor)
        if row is None:
            row = self._rows[processor] = self._add_row(watched, len(watched.processors), shown(processor.name))
            watched.processors.append(processor)
        return row

    def _add_row(self, watched: _Watched, place: int, name: str) -> _Row:
        row = _Row(min(len(self._row_names), MOST - 1))
        if row.number == len(self._row_names):
            self._row_names.append(Row(watched.number, place, name))
        return row

    def _learn(self, cls: type[Frame]) -> _Class:
        speech, is_end = next((SPEECH[kind] for kind in SPEECH if issubclass(cls, kind)), ("", False))
        number = min(len(self._class_names), MOST - 1)
        if number == len(self._class_names):
            self._class_names.append(shown(cls.__name__))
        has_text = self._texts and hasattr(cls, "text")
        about = _Class(number, speech, is_end, has_text, bool(speech) or has_text)
        self._classes[cls] = about
        return about


def _is_time(at: object) -> bool:
    return isinstance(at, int | float) and math.isfinite(at)


def _shown_field(thing: object, field: str) -> str:
    """A field, if it has one, else the thing; short."""
    try:
        value = getattr(thing, field, thing)
    except Exception:  # noqa: BLE001  (a property of somebody's: what is recorded does not fail by it)
        value = thing
    return f"{value:.3f}" if isinstance(value, float) else shown(value)
