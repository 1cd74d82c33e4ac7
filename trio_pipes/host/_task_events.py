"""What happens in a task's engine, handed to the task and to those who observe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trio_pipes.flow import Direction, ErrorFrame, Frame, FrameObserver, FrameProcessor

from ._idle import IdleWatch
from ._observers import Observers

if TYPE_CHECKING:
    from trio_pipes.flow._engine import Engine

__all__ = ["Answers", "FrameEvents", "FrameWatchers"]


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

    def asked(self, frame: Frame) -> None:
        """A processor pushed a lifecycle frame of its own, or a request."""
        self._asked(frame)

    def broken_off(self) -> None:
        """The run is over before its end."""
        self._broken_off()

    def interrupted(self) -> None:
        """An interrupt has taken effect."""
        self.interrupts += 1
        self._tell("on_interrupt", self.task)

    def interrupt_refused(self) -> None:
        """A processor asked for an interrupt, and interrupts are not allowed."""
        self._tell("on_interrupt_refused", self.task)

    def usable_changed(self, processor: FrameProcessor, *, usable: bool) -> None:
        """A processor says that it cannot do its work any more, or that it can again."""
        self._tell("on_usable_changed", self.task, processor, usable)

    def error_reported(self, frame: ErrorFrame) -> None:
        """An error has come up to the source, or one has happened that fails the task."""
        if not frame.fatal:
            self.reported_errors += 1
        self._tell("on_error", self.task, frame)


class FrameEvents:
    """Hands what happens to frames to the observers."""

    def __init__(self, task: Any, observers: Observers) -> None:
        self._task = task
        self._tell = observers.tell

    def on_frame_pushed(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        """A processor pushes a frame."""
        self._tell("on_frame_pushed", self._task, processor, frame, direction)

    def on_frame_handled(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        """A processor has handled a frame."""
        self._tell("on_frame_handled", self._task, processor, frame, direction)

    def on_reached(self, frame: Frame, direction: Direction) -> None:
        """A frame has come out at an end."""
        event = "on_reached_sink" if direction is Direction.DOWNSTREAM else "on_reached_source"
        self._tell(event, self._task, frame)


class FrameWatchers:
    """Who has to be told of each frame: the observers, if one of them wants it, and the idle watch, if it looks."""

    def __init__(self, engine: Engine, observers: Observers, events: FrameEvents) -> None:
        self.idle: IdleWatch | None = None
        self._engine = engine
        self._observers = observers
        self._events = events
        self._told: list[FrameObserver] = []

    def refresh(self) -> None:
        """Look again who that is. While it is nobody, frames take the short way."""
        wanted = self._observers.wants("on_frame_pushed", "on_frame_handled", "on_reached_sink", "on_reached_source")
        told: list[FrameObserver] = [self._events] if wanted else []
        if self.idle is not None and self.idle.watching:
            told.append(self.idle)
        if told != self._told:
            self._told = told
            self._engine.observe(_All(told) if len(told) > 1 else told[0] if told else None)


class _All:
    """Tells several."""

    def __init__(self, observers: Sequence[FrameObserver]) -> None:
        self._observers = observers

    def on_frame_pushed(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        for observer in self._observers:
            observer.on_frame_pushed(processor, frame, direction)

    def on_frame_handled(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        for observer in self._observers:
            observer.on_frame_handled(processor, frame, direction)

    def on_reached(self, frame: Frame, direction: Direction) -> None:
        for observer in self._observers:
            observer.on_reached(frame, direction)
