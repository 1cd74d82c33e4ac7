"""The spans of one run: the run itself, its turns, and in these what processors did.

# What is a span.
#
# A span for each call of a handler would be thousands in a second of conversation. So it is:
#
#   the run      from `run()` to the last cleanup
#   a set-up     of each processor that has one
#   a turn       as `TurnTrackingObserver` tells them apart
#   a work       what a processor measures; see `_works`
#   a handling   of frames of chosen classes, and of any frame that took its handler longer than a threshold
#
# Whose child is what.
#
# OpenTelemetry's current span is a context variable. Handlers are told of in their own Trio task, so what is set there is
# what the handler sees: the turn's span, and from the moment on when it measures, that of its work. A span of a user's own
# in a handler is a child of these, and so is the trace that it sends to somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import current_task

from trio_pipes._base import wall_time_ns
from trio_pipes.flow import Direction, ErrorFrame, Frame, FrameProcessor, MetricsData
from trio_pipes.host import PipelineTask, TaskResult, TaskState

from ._conversation import Listener
from ._handlings import Handlings
from ._otel import PROCESSOR, STATE, clean
from ._scene import Scene, TraceSettings
from ._spans import CANCELLED, INTERRUPTED, mark, mark_failed
from ._works import Works

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from ._latency_records import UserBotLatency
    from ._turns import Turn

__all__ = ["RunTrace"]


@final
class RunTrace(Listener):
    """The spans of one run."""

    def __init__(self, task: PipelineTask, settings: TraceSettings, parent: Context) -> None:
        self._scene = scene = Scene(settings, parent)
        self._works = Works(scene)
        self._handlings = Handlings(scene, self._works.handling_is_over)
        self._run = scene.start(f"run {settings.name_of(task.name)}", {"trio_pipes.task": clean(task.name)})
        self._of_run = scene.play_in(self._run, parent)
        self._turn: Span | None = None
        self._last_turn: Turn | None = None  # which the end of the task has ended
        self._cut_off: Span | None = None  # the turn before, if it was interrupted
        self._trio_task: trio.lowlevel.Task | None = None
        self._token: Token[Context] | None = None

    # -- the run

    def enter(self) -> None:
        """Make the run's span the current one, in the task that called `run()` and in all that it starts."""
        self._trio_task = current_task()
        self._token = self._scene.attach(self._of_run)

    def note(self, what: str, **attributes: Any) -> None:
        """Something happened, in the turn or in the run."""
        self._scene.note(what, attributes)

    def set_up(self, processor: FrameProcessor, seconds: float) -> None:
        """The set-up of a processor is over."""
        name = f"set up {self._scene.name_of(processor)}"
        began = trio.current_time() - seconds
        self._scene.start(name, {PROCESSOR: clean(processor.name)}, at=began, context=self._of_run).end(wall_time_ns())

    def failed(self, frame: ErrorFrame) -> None:
        """An error was reported, or fails the task."""
        handling = self._handlings.here(frame.processor)
        if handling is not None and handling.span is not None:
            mark_failed(handling.span, frame.exception, frame.error, wall_time_ns())
        self._works.failed(frame)
        if not frame.fatal:  # otherwise the end of the run tells it
            mark_failed(self._scene.span, frame.exception, frame.error, wall_time_ns())

    def finish(self, result: TaskResult) -> None:
        """The run is over."""
        self._handlings.finish()
        self._works.finish()
        if self._turn is not None:
            ended_at = None
            if self._last_turn is not None:
                self._tell_turn(self._turn, self._last_turn)
                ended_at = self._last_turn.ended_at
            _mark_end(self._turn, result, wall_time_ns(ended_at))
            self._turn.end(wall_time_ns(ended_at))
        told = {
            STATE: result.state.value,
            "trio_pipes.frames.in": result.frames_in,
            "trio_pipes.frames.out": result.frames_out,
        }
        self._run.set_attributes(told)
        _mark_end(self._run, result, wall_time_ns())
        self._run.end(wall_time_ns())
        if self._token is not None and self._trio_task is current_task():
            self._scene.detach(self._token)

    # -- turns

    def turn_started(self, turn: Turn) -> None:
        """A turn has begun."""
        before, self._cut_off = self._cut_off, None
        self._turn = self._scene.start(
            "turn",
            {"trio_pipes.turn.number": turn.number, "trio_pipes.turn.started_by": turn.started_by},
            at=turn.started_at,
            context=self._of_run,
            links=[] if before is None else [self._scene.link(before, "interrupts")],
        )
        self._scene.play_in(self._turn, self._of_run)

    def turn_ended(self, turn: Turn) -> None:
        """A turn is over."""
        span = self._turn
        if span is None:
            return
        self._works.settle()
        if turn.ended_by == "end":  # how that came is told with the end of the run
            self._last_turn = turn
            return
        self._turn = None
        self._scene.play_in(self._run, self._of_run)
        self._tell_turn(span, turn)
        if turn.interrupted:
            self._cut_off = span
        span.end(wall_time_ns(turn.ended_at))

    def _tell_turn(self, span: Span, turn: Turn) -> None:
        if turn.ended_by is not None:
            span.set_attribute("trio_pipes.turn.ended_by", turn.ended_by)
        span.set_attribute("trio_pipes.turn.interrupted", turn.interrupted)
        if turn.interrupted:
            mark(span, INTERRUPTED, None, wall_time_ns(turn.ended_at))

    def latency(self, latency: UserBotLatency) -> None:
        """The bot has answered."""
        if self._turn is None or latency.interrupted or latency.after_start:
            return
        self._turn.set_attribute("trio_pipes.user_bot.latency", latency.seconds)
        for step in latency.steps:
            attributes: dict[str, Any] = {"trio_pipes.seconds": step.seconds}
            if step.processor is not None:
                attributes[PROCESSOR] = clean(step.processor)
            self._turn.add_event(step.what, attributes, wall_time_ns(step.ended_at))

    # -- processors

    def measuring(self, processor: FrameProcessor, kind: type[MetricsData], at: float) -> None:
        """A processor begins to measure a time."""
        self._works.measuring(processor, kind, at, self._handlings.here(processor))

    def measured(self, processor: FrameProcessor, records: Sequence[MetricsData]) -> None:
        """A processor has measured."""
        self._works.measured(processor, records)

    def interrupted(self) -> None:
        """An interrupt has taken effect."""
        self.note("interrupt")
        self._handlings.interrupted()
        self._works.interrupted()

    def taken(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        """A handler begins."""
        self._handlings.taken(processor, frame, direction)

    def handled(self, processor: FrameProcessor, frame: Frame) -> None:
        """A handler has come to its end."""
        self._handlings.handled(processor, frame)

    def stopped(self, processor: FrameProcessor, frame: Frame) -> None:
        """A handler was stopped."""
        self._handlings.stopped(processor, frame)

    def waited_for_room(self, seconds: float) -> None:
        """A push of the handler here has waited."""
        self._handlings.waited_for_room(seconds)


def _mark_end(span: Span, result: TaskResult, at: int) -> None:
    if result.state is TaskState.CANCELLED:
        mark(span, CANCELLED, result.reason, at)
    elif result.error is not None:
        for error in _errors_in(result.error):
            mark_failed(span, error, str(error) or repr(error), at)


def _errors_in(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _errors_in(inner)
    else:
        yield error
