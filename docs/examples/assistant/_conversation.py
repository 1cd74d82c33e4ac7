"""The conversation as it goes: printed live, and kept for the tables at the end."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import attrs
import trio

from trio_pipes import Direction, Frame, FrameProcessor, PipelineTask, TextFrame
from trio_pipes.flow import BotStartedSpeakingFrame, BotStoppedSpeakingFrame, UserStartedSpeakingFrame
from trio_pipes.transports import WavSink
from trio_pipes.voice import TranscriptionFrame, UserTurnAggregator, VoiceActivity

from ._dialogue import Dialogue

__all__ = ["Conversation", "Turn"]


@attrs.define(eq=False)
class Turn:
    """A turn of the user's and what came of it. Times are in seconds from the start of the conversation."""

    text: str
    confidence: float
    stopped_at: float
    """When the last sound of it was heard."""
    over_at: float
    """When it was the assistant's turn to answer."""
    reply: str = ""
    audio_at: float | None = None
    """When the first sound of the reply was played; None: it was interrupted before."""


@attrs.define(eq=False)
class Conversation:
    """An observer of the task: prints what is said, and keeps it."""

    tell: Callable[[str], None]
    turns: list[Turn] = attrs.field(factory=list)
    interruptions: int = 0
    """Replies that the user cut off."""
    _start: float = 0.0
    _waiting: Turn | None = None  # its reply has not begun
    _begun: float = 0.0

    def on_started(self, task: PipelineTask) -> None:
        """The times count from here."""
        self._start = trio.current_time()

    def on_frame_pushed(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """Each frame is taken note of where it is made; elsewhere it only passes."""
        if direction is Direction.UPSTREAM:
            return
        match processor, frame:
            case VoiceActivity(), UserStartedSpeakingFrame():
                self._say("user", "...", at=frame.at - self._start)
            case UserTurnAggregator(), TranscriptionFrame():
                self._take(frame)
            case Dialogue(), TextFrame():
                self._say("assistant", frame.text)
                if self._waiting is not None and not self._waiting.reply:
                    self._waiting.reply = frame.text
            case WavSink(), BotStartedSpeakingFrame():
                self._begun = frame.at
                if self._waiting is not None:
                    self._waiting.audio_at = frame.at - self._start
                    self._waiting = None
            case WavSink(), BotStoppedSpeakingFrame(interrupted=True):
                self.interruptions += 1
                self._say("assistant", f"(interrupted after {frame.at - self._begun:.1f} s)")

    def _take(self, frame: TranscriptionFrame) -> None:
        now = trio.current_time() - self._start
        stopped_at = now if frame.stopped_at is None else frame.stopped_at - self._start
        turn = Turn(frame.text, frame.confidence, stopped_at, now)
        self.turns.append(turn)
        self._waiting = turn
        self._say("user", f'"{frame.text}"' + ("" if frame.confidence == 1 else f" (sure to {frame.confidence:.0%})"))

    def _say(self, who: str, what: str, *, at: float | None = None) -> None:
        now = trio.current_time() - self._start if at is None else at
        self.tell(f"{now:7.2f} s  {who:<9}  {what}")

    def latency_table(self) -> str:
        """Per turn, from the last sound of it: to when it was taken to be over, and to the first sound of the reply."""
        rows = ["latency from the end of speech, in ms     turn over   first audio"]
        rows += [
            f"  {turn.text[:36]:<38} {_ms(turn.over_at - turn.stopped_at)}    {_ms(_after(turn))}"
            for turn in self.turns
        ]
        if self.turns:
            ended = [turn.over_at - turn.stopped_at for turn in self.turns]
            answered = [after for turn in self.turns if (after := _after(turn)) is not None]
            answered_median = statistics.median(answered) if answered else None
            rows.append(f"  {'median':<38} {_ms(statistics.median(ended))}    {_ms(answered_median)}")
        return "\n".join(rows)


def _after(turn: Turn) -> float | None:
    return None if turn.audio_at is None else turn.audio_at - turn.stopped_at


def _ms(seconds: float | None) -> str:
    return f"{'-':>10}" if seconds is None else f"{1000 * seconds:>10.0f}"
