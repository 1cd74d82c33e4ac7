"""`DebugLogObserver`: log lines about frames."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from trio_pipes._base import check_classes, check_instance, refuse
from trio_pipes.flow import Direction, Frame, FrameProcessor
from trio_pipes.host import PipelineTask

from ._log_place import log_place

__all__ = ["DebugLogObserver"]

LONGEST: Final = 1000  # characters of a frame in a line
ARROWS: Final = {Direction.DOWNSTREAM: "down", Direction.UPSTREAM: "up"}


class DebugLogObserver:
    """Writes a line into the log for each frame that passes its filters, at each processor that it passes.

    `events` are the events of frames to log: `"on_frame_pushed"`, `"on_frame_taken"`, `"on_frame_handled"`, `"on_frame_stopped"`,
    `"on_waited_for_room"`, `"on_reached_sink"`, `"on_reached_source"`. `types` are classes of frames; `processors` are
    processors, their names or their classes (None: all; the ends have none, and are not asked for it); `direction` is one of the
    two (None: both). `fields` are the fields of a frame that are shown; None: what its `repr` shows. A line is cut
    after 1,000 characters of a frame.

    The logger is `trio_pipes.frames`, the level `logging.DEBUG`, unless you say otherwise. The level is looked at
    when it is made or added, and when a run begins: where it is off then, nobody is told of frames and nothing is paid.
    """

    def __init__(
        self,
        *,
        types: type[Frame] | tuple[type[Frame], ...] = (Frame,),
        processors: tuple[FrameProcessor | type[FrameProcessor] | str, ...] | None = None,
        direction: Direction | None = None,
        events: tuple[str, ...] = ("on_frame_pushed",),
        fields: tuple[str, ...] | None = None,
        logger: str = "trio_pipes.frames",
        level: int = logging.DEBUG,
    ) -> None:
        self._types = check_classes("DebugLogObserver(types", types, Frame, "a frame class, or a tuple of them")
        check_instance(
            "DebugLogObserver(direction", direction, Direction, "a Direction, or None for both", optional=True
        )
        if fields is not None and not _are_names(fields):
            raise refuse(
                "DebugLogObserver(fields", fields, "a tuple of names of fields, or None for all that are shown"
            )
        calls: dict[str, Callable[..., None]] = {
            "on_frame_pushed": self._at_processor("pushed", "by"),
            "on_frame_taken": self._at_processor("taken", "by"),
            "on_frame_handled": self._at_processor("handled", "by"),
            "on_frame_stopped": self._at_processor("stopped", "in"),
            "on_waited_for_room": self._waited,
            "on_reached_sink": self._at_end("reached the sink"),
            "on_reached_source": self._at_end("reached the source"),
        }
        if not _are_names(events) or not events or not set(events) <= set(calls):
            raise refuse("DebugLogObserver(events", events, f"a tuple of some of {', '.join(calls)}")
        self._wanted = None if processors is None else _Wanted(processors)
        self._direction = direction
        self._fields = fields
        self._logger, self._level = log_place("DebugLogObserver", logger, level)
        self._calls = {event: calls[event] for event in events}
        self._look()

    def on_starting(self, task: PipelineTask) -> None:
        """Look at the level again: logging may have been set up meanwhile."""
        self._look()
        task.remove_observer(self)
        task.add_observer(self)

    def on_added(self, task: PipelineTask) -> None:
        """The same, where it was added late."""
        if self._is_on != self._logger.isEnabledFor(self._level):
            self.on_starting(task)

    def _look(self) -> None:
        """Have the methods that are needed, and no others."""
        self._is_on = is_on = self._logger.isEnabledFor(self._level)
        for event, call in self._calls.items():
            if is_on:
                setattr(self, event, call)
            else:
                self.__dict__.pop(event, None)

    # -- what is told

    def _at_processor(self, what: str, preposition: str) -> Callable[..., None]:
        def call(task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
            if self._direction in (None, direction) and self._passes(processor, frame):
                line = "%s: %s %s %s %s: %s"
                self._logger.log(
                    self._level,
                    line,
                    task.name,
                    what,
                    ARROWS[direction],
                    preposition,
                    processor.name,
                    self._show(frame),
                )

        return call

    def _waited(self, task: PipelineTask, processor: FrameProcessor | None, frame: Frame, seconds: float) -> None:
        if self._passes(processor, frame):
            who = "who queues" if processor is None else processor.name
            self._logger.log(
                self._level, "%s: %s waited %.3f s for room: %s", task.name, who, seconds, self._show(frame)
            )

    def _at_end(self, what: str) -> Callable[..., None]:
        def call(task: PipelineTask, frame: Frame) -> None:
            if isinstance(frame, self._types) and self._logger.isEnabledFor(self._level):
                self._logger.log(self._level, "%s: %s: %s", task.name, what, self._show(frame))

        return call

    def _passes(self, processor: FrameProcessor | None, frame: Frame) -> bool:
        wanted = self._wanted is None or (processor is not None and self._wanted.has(processor))
        return wanted and isinstance(frame, self._types) and self._logger.isEnabledFor(self._level)

    def _show(self, frame: Frame) -> str:
        if self._fields is None:
            text = repr(frame)
        else:
            shown = [f"{field}={getattr(frame, field)!r}" for field in self._fields if hasattr(frame, field)]
            text = " ".join([frame.name, *shown])
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


class _Wanted:
    """Some processors: themselves, or by name, or by class."""

    def __init__(self, processors: object) -> None:
        self._ids: set[int] = set()
        self._names: set[str] = set()
        self._classes: tuple[type[FrameProcessor], ...] = ()
        for each in processors if isinstance(processors, tuple) else (None,):
            if isinstance(each, FrameProcessor):
                self._ids.add(each.id)
            elif isinstance(each, str) and each:
                self._names.add(each)
            elif isinstance(each, type) and issubclass(each, FrameProcessor):
                self._classes += (each,)
            else:
                expected = "a tuple of processors, names or classes of processors, or None for all"
                raise refuse("DebugLogObserver(processors", processors, expected)

    def has(self, processor: FrameProcessor) -> bool:
        return processor.id in self._ids or processor.name in self._names or isinstance(processor, self._classes)


def _are_names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, str) for each in value)
