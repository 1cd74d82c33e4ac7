"""What happens in a task's engine, handed to the task and to those who observe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from trio_pipes.flow import Direction, ErrorFrame, Frame, FrameProcessor, FrameWatch

from ._idle import IdleWatch
from ._observers import Observers

if TYPE_CHECKING:
    from trio_pipes.flow import MetricsData, MetricsStatistics
    from trio_pipes.flow._engine import Engine
    from trio_pipes.flow._measured import Measured

__all__ = ["Answers", "FrameWatchers"]


class Answers:
    """The owner of an engine: answers what processors ask for, and tells the observers."""

    def __init__(
        self, task: Any, observers: Observers, asked: Callable[[Frame], None], broken_off: Callable[[], None]
    ) -> None:
        self.task = task
        self._asked = asked
        self._broken_off = broken_off
        self.name: str = task.name
        self.reported_errors = 0
        self.interrupts = 0
        self._tell = observers.tell
        self._measured: Measured | None = None  # by all processors together

    def asked(self, frame: Frame) -> None:
        """A processor pushed a lifecycle frame of its own, or a request."""
        self._asked(frame)

    def broken_off(self) -> None:
        """The run is over before its end."""
        self._broken_off()

    def interrupted(self) -> None:
        """An interrupt has taken effect."""
        self.interrupts += 1
        self._tell("on_interrupt")

    def interrupt_refused(self) -> None:
        """A processor asked for an interrupt, and interrupts are not allowed."""
        self._tell("on_interrupt_refused")

    def usable_changed(self, processor: FrameProcessor, *, usable: bool) -> None:
        """A processor says that it cannot do its work any more, or that it can again."""
        self._tell("on_usable_changed", processor, usable)

    def set_up(self, processor: FrameProcessor, seconds: float) -> None:
        """A processor's set-up has taken so long."""
        self._tell("on_set_up", processor, seconds)

    def measuring(self, processor: FrameProcessor, kind: type[MetricsData], at: float) -> None:
        """A processor began to measure a time."""
        self._tell("on_measuring", processor, kind, at)

    def measured(self, processor: FrameProcessor, records: Sequence[MetricsData]) -> None:
        """A processor has measured."""
        if self._measured is None:
            from trio_pipes.flow._measured import Measured  # most programs measure nothing

            self._measured = Measured()
        for record in records:
            self._measured.add(record)
        self._tell("on_measured", processor, records)

    def metrics_statistics(self) -> MetricsStatistics | None:
        """What all processors together have measured."""
        return None if self._measured is None else self._measured.statistics()

    def error_reported(self, frame: ErrorFrame) -> None:
        """An error has come up to the source, or one has happened that fails the task."""
        if not frame.fatal:
            self.reported_errors += 1
        self._tell("on_error", frame)


FRAME_EVENTS: Final = (
    "on_frame_pushed",
    "on_frame_taken",
    "on_frame_handled",
    "on_frame_stopped",
    "on_waited_for_room",
    "on_reached_sink",
    "on_reached_source",
)


class FrameWatchers:
    """Who has to be told of each frame: the observers, if one of them wants it, and the idle watch, if it looks."""

    def __init__(self, engine: Engine, observers: Observers) -> None:
        self.idle: IdleWatch | None = None
        self._engine = engine
        self._observers = observers
        self._told: tuple[Mapping[str, Sequence[Callable[..., None]]], IdleWatch | None] = {}, None

    def refresh(self) -> None:
        """Look again who that is. While it is nobody, frames take the short way."""
        told = {event: calls for event in FRAME_EVENTS if (calls := self._observers.calls(event))}
        idle = self.idle if self.idle is not None and self.idle.watching else None
        if (told, idle) != self._told:
            self._told = told, idle
            self._engine.observe(self._watch(told, idle) if told or idle else None)

    def _watch(self, told: Mapping[str, Sequence[Callable[..., None]]], idle: IdleWatch | None) -> FrameWatch:
        def together(event: str, by_idle: Callable[..., None] | None) -> Callable[..., None] | None:
            calls = [*told.get(event, ())]
            if by_idle is not None:
                calls.append(by_idle)
            return _each_of(calls) if len(calls) > 1 else calls[0] if calls else None

        at_processor, at_end = (idle.saw_at, idle.saw) if idle else (None, None)
        return FrameWatch(
            pushed=together("on_frame_pushed", at_processor),
            taken=together("on_frame_taken", None),
            handled=together("on_frame_handled", at_processor),
            stopped=together("on_frame_stopped", None),
            waited=together("on_waited_for_room", None),
            reached=_at_ends(together("on_reached_sink", at_end), together("on_reached_source", at_end)),
        )


def _each_of(calls: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def call_each(*args: Any) -> None:
        for call in calls:
            call(*args)

    return call_each


def _at_ends(
    sink: Callable[[Frame], None] | None, source: Callable[[Frame], None] | None
) -> Callable[[Frame, Direction], None] | None:
    if sink is None and source is None:
        return None

    def reached(frame: Frame, direction: Direction) -> None:
        call = sink if direction is Direction.DOWNSTREAM else source
        if call is not None:
            call(frame)

    return reached
