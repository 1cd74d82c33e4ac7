"""Observers of a session: some that misbehave, all that are ready-made, and what these promise."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import trio

from trio_pipes import Frame, PipelineTask, TaskResult, TextFrame
from trio_pipes.observers import (
    DebugLogObserver,
    MetricsLogObserver,
    MetricsObserver,
    StartupTimingObserver,
    Timeline,
    TracingObserver,
    Turn,
    TurnTrackingObserver,
    UserBotLatency,
    UserBotLatencyObserver,
)
from trio_pipes.observers._ring import spans_in

from .planned import Planned

if TYPE_CHECKING:
    from .session import Session

SPANS = 500
KEEP = 10
BEHIND = 0.041  # seconds that frames of who speaks tell late, at most
WITH_OTEL = 150  # the first so many sessions: OpenTelemetry's SDK keeps something of each provider for ever
HAS_OTEL = (
    importlib.util.find_spec("opentelemetry.sdk") is not None if importlib.util.find_spec("opentelemetry") else False
)


class Watch:
    """An observer of one of the kinds that misbehave."""

    def __init__(self, kind: str, session: Session) -> None:
        self.kind, self.session = kind, session
        self.seen = 0
        if kind == "slow":
            self.on_reached_sink = self.slowly
        elif kind != "leaves":
            self.on_frame_handled = self.count
        else:
            self.on_frame_pushed = self.count

    def count(self, task: PipelineTask, *_: object) -> None:
        self.seen += 1
        if self.seen == 20 and self.kind == "raises":
            raise Planned("an observer")
        if self.seen == 20 and self.kind == "leaves":
            task.remove_observer(self)

    async def slowly(self, task: PipelineTask, frame: Frame) -> None:
        await trio.sleep(0.05)


class Ready:
    """A ready-made observer, and what it has told."""

    observer: Any

    def __init__(self, kind: str, early: bool) -> None:
        self.kind, self.early = kind, early  # early: there from the beginning
        self.left = False
        self.turns: list[Turn] = []
        self.latencies: list[UserBotLatency] = []
        self.otel: Any = None
        match kind:
            case "turns":
                self.observer = TurnTrackingObserver(on_turn_ended=self.turns.append, keep=KEEP)
            case "latency":
                self.observer = UserBotLatencyObserver(on_latency=self.latencies.append, keep=KEEP)
            case "start-up":
                self.observer = StartupTimingObserver(firsts=(TextFrame,))
            case "frame log":
                self.observer = DebugLogObserver(types=(TextFrame,))
            case "metrics log":
                self.observer = MetricsLogObserver()
            case "timeline":
                self.observer = Timeline(spans=SPANS)
            case "metrics":
                from otel_kit import Metrics

                self.otel = Metrics()
                self.observer = MetricsObserver(self.otel.provider)
            case "traces":
                from otel_kit import Traces

                self.otel = Traces()
                self.observer = TracingObserver(self.otel.provider)

    def problems(self, began: float, result: TaskResult) -> Iterator[str]:
        """What does not hold, now that the run is over; `began` is when it began, on Trio's clock."""
        now = trio.current_time()
        match self.kind:
            case "turns":
                yield from self._turns(began, now)
            case "latency":
                yield from self._latencies()
            case "start-up":
                report = self.observer.report
                if self.early and not self.left and result.started_at is not None and report is None:
                    yield "there is no report of the start"
                if report is not None and report.seconds is not None and not 0 <= report.seconds <= now - began:
                    yield f"the start took {report.seconds}"
            case "timeline":
                yield from self._timeline()
            case "traces":
                if not self.left and self.otel.open:
                    yield f"{self.otel.open} spans are open"
                for span in self.otel.spans:
                    if span.end_time < span.start_time:
                        yield f"the span {span.name} ended before it began"
            case "metrics":
                if not self.left:
                    for point in self.otel.points("trio_pipes.runs.active"):
                        if point.value:
                            yield f"{point.value} runs are said to be active"
                    for point in self.otel.points("trio_pipes.queue.depth"):
                        if point.value:
                            yield f"{point.value} frames are said to wait"

    def _turns(self, began: float, now: float) -> Iterator[str]:
        numbers = [turn.number for turn in self.turns]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"turns are numbered {numbers}"
        if len(self.observer.turns) > KEEP:
            yield f"{len(self.observer.turns)} turns are kept"
        if self.observer.turn is not None and not self.left:
            yield f"a turn goes on after the end: {self.observer.turn}"
        for turn in self.turns:
            if turn.ended_at is None or turn.ended_by is None or not turn.started_at <= turn.ended_at <= now:
                yield f"{turn} lasted from {turn.started_at} to {turn.ended_at}, and was ended by {turn.ended_by}"
        for one, next_one in zip(self.turns, self.turns[1:], strict=False):
            if next_one.started_at < one.started_at - BEHIND:  # the frame that tells it comes later than the sound
                yield f"{next_one} began before {one}"

    def _latencies(self) -> Iterator[str]:
        if len(self.observer.latencies) > KEEP:
            yield f"{len(self.observer.latencies)} latencies are kept"
        if self.observer.latencies and not self.observer.render():
            yield "there is no table of latencies"
        for one in self.latencies:
            if not math.isclose(sum(step.seconds for step in one.steps), one.seconds, abs_tol=1e-6):
                yield f"the steps do not add up: {one}"
            if any(step.seconds < 0 for step in one.steps):
                yield f"a step is negative: {one}"
            if not str(one):
                yield "a latency has no text"

    def _timeline(self) -> Iterator[str]:
        taken = self.observer._take()
        spans = sum(1 for _ in spans_in(taken.spans))
        if spans > SPANS:
            yield f"the timeline has {spans} spans"
        if self.observer.lost < 0:
            yield f"the timeline has lost {self.observer.lost}"
        if not self.left and (taken.still or self.observer._watched or self.observer._rows):
            yield f"the timeline has {len(taken.still)} open spans, watches {len(self.observer._watched)} tasks"


def make_observer(kind: str, session: Session, *, early: bool) -> Watch | Ready | None:
    """None: this kind needs what is not installed."""
    if kind in ("counts", "slow", "raises", "leaves"):
        return Watch(kind, session)
    if kind in ("metrics", "traces") and not (HAS_OTEL and int(session.script.name.rpartition("/")[2]) < WITH_OTEL):
        return None
    return Ready(kind, early)
