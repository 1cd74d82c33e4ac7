"""`MetricsObserver`: what a task does and what its processors measure, as metrics of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, final

import trio

from trio_pipes._base import check_flag, check_methods
from trio_pipes.flow import (
    Direction,
    ErrorFrame,
    Frame,
    FrameProcessor,
    LLMUsageMetrics,
    MetricsData,
    ProcessingMetrics,
    STTUsageMetrics,
    TTFBMetrics,
    TTSUsageMetrics,
)
from trio_pipes.host import PipelineTask, TaskResult

from ._conversation import Listener, listen
from ._instruments import Frames, Instruments, Live, instruments_of
from ._latency_records import UserBotLatency
from ._otel import (
    DIRECTION,
    ERROR_TYPE,
    MODEL,
    OPERATION,
    PROCESSOR,
    STATE,
    check_attributes,
    error_type,
    naming,
    without_count,
)
from ._turns import Turn

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from ._otel import Attributes

__all__ = ["MetricsObserver"]

DOWN: Final = Direction.DOWNSTREAM
UP: Final = Direction.UPSTREAM
TOKEN_TYPE: Final = "gen_ai.token.type"
OF_FRAMES: Final = ("on_frame_pushed", "on_frame_taken", "on_frame_handled", "on_frame_stopped", "on_waited_for_room")


@final
class _Place:
    """A processor in a task that runs."""

    __slots__ = ("down", "taken", "up")

    def __init__(self, down: Frames, up: Frames) -> None:
        self.down = down
        self.up = up
        self.taken: dict[Frame, float] = {}  # in hand, since when


@final
class _Watched:
    """A task that runs."""

    def __init__(self, number: int, began: float | None) -> None:
        self.number = number  # among those that are live
        self.began = began
        self.places: dict[FrameProcessor, _Place] = {}


@final
class _OfTurns(Listener):
    """Tells of turns and latencies."""

    def __init__(self, to: Instruments, attributes: dict[str, Any]) -> None:
        self._to = to
        self._attributes = attributes

    def turn_ended(self, turn: Turn) -> None:
        if turn.duration is not None:
            self._to.turn.record(turn.duration, {**self._attributes, "trio_pipes.interrupted": turn.interrupted})

    def latency(self, latency: UserBotLatency) -> None:
        if not latency.interrupted and not latency.after_start:
            self._to.latency.record(latency.seconds, self._attributes)


@final
class _End:
    """Lets go of a task that is over, also where who watched it has been removed, by a user or for an error."""

    def __init__(self, tasks: dict[PipelineTask, _Watched], to: Instruments) -> None:
        self._tasks = tasks
        self._to = to

    def on_finished(self, task: PipelineTask, result: TaskResult) -> None:
        """The run has ended."""
        self._to.end(self._tasks.pop(task).number)


class MetricsObserver:
    """Tells OpenTelemetry what tasks do and what their processors measure; one may watch any number of tasks.

    `meter_provider` None is OpenTelemetry's global one. With `frames` frames are counted at each processor, which costs at
    each hop, and with `turns` turns and latencies of a conversation are told, which does too; without both, nothing is in a
    frame's way. `handler_durations` has a histogram of the time that each handler call took, besides the sum. `attributes`
    go with all that is told. `name_of` gives the name that a processor's figures are told under, from its own name; as
    it stands, `"Shout"` for `"Shout#17"`, so that there are not more series with each run.

    Raises `MissingExtra` where OpenTelemetry is not installed.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        *,
        frames: bool = True,
        turns: bool = True,
        handler_durations: bool = False,
        attributes: Attributes | None = None,
        name_of: Callable[[str], str] = without_count,
    ) -> None:
        if meter_provider is not None:
            check_methods("MetricsObserver(meter_provider", meter_provider, ["get_meter"], "a MeterProvider, or None")
        check_flag("MetricsObserver(frames", frames)
        check_flag("MetricsObserver(turns", turns)
        check_flag("MetricsObserver(handler_durations", handler_durations)
        self._attributes = check_attributes("MetricsObserver(attributes", attributes)
        self._to = instruments_of(meter_provider, "MetricsObserver")
        self._turns = turns
        self._handler_durations = handler_durations
        self._name_of = naming("MetricsObserver", name_of)
        self._tasks: dict[PipelineTask, _Watched] = {}
        if not frames:
            for event in OF_FRAMES:
                vars(self)[event] = None  # no method, so nobody calls it

    # -- runs

    def on_starting(self, task: PipelineTask) -> None:
        """A run begins."""
        self._watched(task, trio.current_time())
        if self._turns:
            listen(task, _OfTurns(self._to, self._attributes))

    def on_finished(self, task: PipelineTask, result: TaskResult) -> None:
        """A run has ended, or never began."""
        watched = self._tasks.get(task)
        attributes = {**self._attributes, STATE: result.state.value}
        began = result.started_at if watched is None or watched.began is None else watched.began
        self._to.run.record(0.0 if began is None else result.finished_at - began, attributes)

    def on_set_up(self, task: PipelineTask, processor: FrameProcessor, seconds: float) -> None:
        """A processor is set up."""
        self._to.set_up.record(seconds, self._of(processor.name))

    def on_error(self, task: PipelineTask, frame: ErrorFrame) -> None:
        """An error was reported, or fails the task."""
        name = getattr(frame.processor, "name", None)
        attributes = self._attributes if name is None else self._of(name)
        fatal = {"trio_pipes.fatal": frame.fatal}
        self._to.errors.add(1, {**attributes, ERROR_TYPE: error_type(frame.exception), **fatal})

    def on_interrupt(self, task: PipelineTask) -> None:
        """An interrupt has taken effect."""
        self._to.interrupts.add(1, {**self._attributes, "trio_pipes.refused": False})

    def on_interrupt_refused(self, task: PipelineTask) -> None:
        """One was not allowed."""
        self._to.interrupts.add(1, {**self._attributes, "trio_pipes.refused": True})

    def on_heartbeat_lost(self, task: PipelineTask, stuck: str) -> None:
        """Nothing comes through any more."""
        self._to.lost_heartbeats.add(1, self._attributes)

    # -- what processors measure

    def on_measured(self, task: PipelineTask, processor: FrameProcessor, records: Sequence[MetricsData]) -> None:
        """A processor has measured."""
        for record in records:
            attributes = self._of(record.processor)
            if record.model is not None:
                attributes[MODEL] = record.model
            match record:
                case TTFBMetrics():
                    self._to.ttfb.record(record.value, attributes)
                case ProcessingMetrics():
                    self._to.processing.record(record.value, attributes)
                case LLMUsageMetrics():
                    attributes.setdefault(OPERATION, "chat")
                    self._to.tokens.record(record.value.prompt_tokens, {**attributes, TOKEN_TYPE: "input"})
                    self._to.tokens.record(record.value.completion_tokens, {**attributes, TOKEN_TYPE: "output"})
                case TTSUsageMetrics():
                    self._to.characters.add(record.value, attributes)
                case STTUsageMetrics():
                    self._to.audio.add(record.value, attributes)

    # -- frames

    def on_frame_pushed(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """A processor pushes a frame."""
        place = self._place(task, processor)
        (place.down if direction is DOWN else place.up).pushed += 1

    def on_frame_taken(self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        """A processor begins to handle a frame."""
        self._place(task, processor).taken[frame] = trio.current_time()

    def on_frame_handled(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """It has handled it."""
        place = self._place(task, processor)
        frames = place.down if direction is DOWN else place.up
        frames.handled += 1
        self._took(place, frame, frames)

    def on_frame_stopped(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """Its handler was stopped."""
        place = self._place(task, processor)
        frames = place.down if direction is DOWN else place.up
        frames.stopped += 1
        self._took(place, frame, frames)

    def on_waited_for_room(
        self, task: PipelineTask, processor: FrameProcessor | None, frame: Frame, seconds: float
    ) -> None:
        """A push has waited; of the task's own queue, where there is no processor."""
        self._to.room.record(seconds, self._attributes if processor is None else self._of(processor.name))

    def _took(self, place: _Place, frame: Frame, frames: Frames) -> None:
        began = place.taken.pop(frame, None)
        if began is not None:
            seconds = trio.current_time() - began
            frames.seconds += seconds
            if self._handler_durations:
                self._to.handler.record(seconds, frames.attributes)

    def _place(self, task: PipelineTask, processor: FrameProcessor) -> _Place:
        try:
            return self._tasks[task].places[processor]
        except KeyError:
            of = self._of(processor.name)
            down, up = (self._to.frames({**of, DIRECTION: direction.value}) for direction in (DOWN, UP))
            place = self._watched(task).places[processor] = _Place(down, up)
            return place

    def _watched(self, task: PipelineTask, began: float | None = None) -> _Watched:
        watched = self._tasks.get(task)
        if watched is None:
            number = self._to.begin(Live(task, self._attributes, self._name_of))
            watched = self._tasks[task] = _Watched(number, began)
            task.add_observer(_End(self._tasks, self._to))
        return watched

    def _of(self, name: str) -> dict[str, Any]:
        return {**self._attributes, PROCESSOR: self._name_of(name)}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._tasks)} running tasks>"
