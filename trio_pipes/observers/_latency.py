"""`UserBotLatencyObserver`: how long the user waits for the bot, and for what.

# How a latency is taken apart.
#
# From the user's last sound on, each frame that somebody makes is a step on the way to the answer: the one that tells
# of the silence, the transcript, the first word of the model, the first sentence, the first piece of sound, and at last
# the sound itself. Of each class of frames the first one of each processor counts, where it is made and not where
# it passes. A step lasts from the one before, so the steps add up to the whole whatever the pipeline is made of, and
# nobody has to know what its processors are for. What a processor reports as its own time to first byte stands beside
# its step: the difference is what it waited for in front of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import attrs
import trio

from trio_pipes._base import check_classes, check_count
from trio_pipes.flow import (
    BotStartedSpeakingFrame,
    DataFrame,
    Direction,
    Frame,
    FrameProcessor,
    InputAudioFrame,
    MetricsData,
    TTFBMetrics,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)
from trio_pipes.host import PipelineTask

from ._latency_records import LatencyStep, UserBotLatency, render_latencies
from ._once import Once, Speech, SpeechEvents
from ._one_task import OneTask, check_callback

__all__ = ["UserBotLatencyObserver"]


@attrs.define(eq=False)
class _Wait:
    """Somebody has fallen silent, and the bot has not spoken yet."""

    began_at: float
    after_start: bool = False
    turn_over: bool = False
    newest: int = 0  # the frames that were made before have lower ids
    marks: list[tuple[float, str | None, str]] = attrs.field(factory=list)  # when, who, what
    ttfb: dict[str, TTFBMetrics] = attrs.field(factory=dict)  # by processor
    _made: set[tuple[str, type[Frame]]] = attrs.field(factory=set)
    _once: Once = attrs.field(factory=Once)

    def mark(self, processor: str | None, what: str, at: float | None = None) -> None:
        self.marks.append((trio.current_time() if at is None else at, processor, what))

    def saw(self, processor: str, frame: Frame) -> None:
        """A processor pushes a frame: if it has made it, and it is the first of its class, that is a step."""
        if frame.id > self.newest and self._once.is_new(frame.id) and (processor, type(frame)) not in self._made:
            self._made.add((processor, type(frame)))
            self.mark(processor, f"first {type(frame).__name__}")

    def record(self, *, interrupted: bool) -> UserBotLatency:
        """What the last mark has ended."""
        last = max(self.began_at, self.marks[-1][0])
        steps: list[LatencyStep] = []
        before = self.began_at
        told: set[str | None] = set()
        for at, processor, what in self.marks:
            began, before = before, min(max(before, at), last)
            ttfb = self.ttfb.get(processor) if processor is not None and processor not in told else None
            told.add(processor)
            steps.append(LatencyStep(what, processor, began, before, None if ttfb is None else ttfb.value))
        return UserBotLatency(
            self.began_at, before, tuple(steps), tuple(self.ttfb.values()), interrupted, self.after_start
        )


class UserBotLatencyObserver(OneTask):
    """Measures from the user's last sound to the bot's first, and tells what the time went into.

    It begins with the `at` of a `UserStoppedSpeakingFrame`, or, in a pipeline that has them, of a
    `UserTurnStoppedFrame`, and ends with that of a `BotStartedSpeakingFrame`. The first frame that a processor makes
    meanwhile of a class below `milestones` is a step; None stands for all data frames but input audio. The function is
    called with each `UserBotLatency`, also with one that was interrupted and with the first speech of a bot that speaks first. The
    last `keep` are kept. An observer watches one task at a time.
    """

    _wait: _Wait | None

    def __init__(
        self,
        *,
        on_latency: Callable[[UserBotLatency], object] | None = None,
        milestones: type[Frame] | tuple[type[Frame], ...] | None = None,
        keep: int = 1000,
    ) -> None:
        self._tell = check_callback("UserBotLatencyObserver(on_latency", on_latency)
        expected = "a frame class, a tuple of them, or None for all data frames"
        asked = DataFrame if milestones is None else milestones
        self._milestones = check_classes("UserBotLatencyObserver(milestones", asked, Frame, expected)
        check_count("UserBotLatencyObserver(keep", keep, "a number of latencies, of at least 1")
        self._without: tuple[type[Frame], ...] = (InputAudioFrame,) if milestones is None else ()
        self._latencies: deque[UserBotLatency] = deque(maxlen=keep)
        self._first: UserBotLatency | None = None
        self._since: float | None = None
        self._begin()

    @property
    def latencies(self) -> tuple[UserBotLatency, ...]:
        """From user to bot, the last ones, oldest first; those that were interrupted among them."""
        return tuple(self._latencies)

    @property
    def first_bot_speech(self) -> UserBotLatency | None:
        """From the start of the pipeline to the first sound of the bot, where it spoke before the user did."""
        return self._first

    def render(self) -> str:
        """A table of the latencies, each with its longest step.

        The times count from the beginning of the first run, or, where it was not seen, from the first latency.
        """
        since = self._since
        if since is None:
            since = self._latencies[0].began_at if self._latencies else 0.0
        return render_latencies(self._latencies, since)

    # -- what is told

    def on_starting(self, task: PipelineTask) -> None:
        """The run begins."""
        self._watch(task)
        if self._since is None:
            self._since = trio.current_time()

    def on_started(self, task: PipelineTask) -> None:
        """The pipeline is up: the bot may speak first."""
        self._watch(task)
        if not self._somebody_spoke:
            self._wait = _Wait(trio.current_time(), after_start=True)

    def on_interrupt(self, task: PipelineTask) -> None:
        """The reply is dropped; where the user's turn goes on, none was due."""
        self._watch(task)
        if self._wait is not None and self._is_due(self._wait):
            self._give_up()

    def on_measured(self, task: PipelineTask, processor: FrameProcessor, records: Sequence[MetricsData]) -> None:
        """Keep the times to first byte."""
        self._watch(task)
        if self._wait is not None:
            for record in records:
                if isinstance(record, TTFBMetrics):
                    self._wait.ttfb.setdefault(record.processor, record)

    def on_frame_pushed(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """Look who speaks, and what is made on the way."""
        if task is not self._task:
            self._watch(task)
        event = self._speech.take(processor, frame, direction)
        if event is not None:
            self._hear(processor.name, event)
        elif self._wait is not None and isinstance(frame, self._milestones) and not isinstance(frame, self._without):
            self._wait.saw(processor.name, frame)

    # -- what comes of it

    def _begin(self) -> None:
        self._speech = SpeechEvents()
        self._wait = None
        self._somebody_spoke = False

    def _over(self) -> None:
        self._wait = None

    def _hear(self, processor: str, event: Speech) -> None:
        self._somebody_spoke = True
        wait = self._wait
        turn_over = self._speech.has_turns and wait is not None and wait.turn_over
        match event:
            case UserStartedSpeakingFrame():
                if not turn_over:  # else it is no more than a cough
                    self._give_up()
            case UserTurnStartedFrame():
                if wait is None or wait.turn_over or wait.after_start:
                    self._give_up()
            case UserStoppedSpeakingFrame():
                if not turn_over:
                    self._wait = _Wait(event.at, newest=event.id)
                    self._wait.mark(processor, "silence, until the end was noticed")
            case UserTurnStoppedFrame():
                if wait is None or wait.turn_over or wait.after_start:
                    wait = self._wait = _Wait(event.at, newest=event.id)
                wait.began_at, wait.turn_over = event.at, True
                wait.mark(processor, "the turn was taken as over")
            case BotStartedSpeakingFrame():
                if wait is not None and self._is_due(wait):
                    wait.mark(processor, "first sound", event.at)
                    self._ended(wait, interrupted=False)

    def _is_due(self, wait: _Wait) -> bool:
        """Whether an answer is what comes next: in a pipeline that has turns, a pause is not the end of one."""
        return wait.turn_over or wait.after_start or not self._speech.has_turns

    def _give_up(self) -> None:
        """There will be no answer to what the user has said so far."""
        wait, self._wait = self._wait, None
        if wait is not None and self._is_due(wait) and not wait.after_start:
            wait.mark(None, "interrupted")
            self._ended(wait, interrupted=True)

    def _ended(self, wait: _Wait, *, interrupted: bool) -> None:
        self._wait = None
        latency = wait.record(interrupted=interrupted)
        if wait.after_start:
            self._first = latency
        else:
            self._latencies.append(latency)
        if self._tell is not None:
            self._tell(latency)
