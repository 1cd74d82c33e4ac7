"""What happens in a task's engine, handed to the task and to those who observe it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trio_pipes.flow import Direction, ErrorFrame, Frame, FrameProcessor

from ._observers import Observers

__all__ = ["Answers", "FrameEvents"]


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
        self._tell = observers.tell

    def asked(self, frame: Frame) -> None:
        """A processor pushed a lifecycle frame of its own, or a request."""
        self._asked(frame)

    def broken_off(self) -> None:
        """The run is over before its end."""
        self._broken_off()

    def interrupted(self) -> None:
        """An interrupt has taken effect."""
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
