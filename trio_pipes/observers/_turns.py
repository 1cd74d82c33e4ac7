"""`TurnTrackingObserver`: which turns a conversation has had.

# What a turn is.
#
# The user speaks, once or several times, and the bot answers, in one or several goes: that is one turn. It begins
# with the first sound of whoever begins (a bot that greets begins one too), and lasts until the last sound of the
# bot. That it is over shows only afterwards: the user begins the next one, or nothing comes for a while, or the task
# ends. That silence is no part of the turn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Literal

import attrs
import trio

from trio_pipes._base import FINITE, check_count, check_number
from trio_pipes.flow import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    StopFrame,
    UserStartedSpeakingFrame,
    UserTurnStartedFrame,
)
from trio_pipes.host import PipelineTask

from ._once import SpeechEvents
from ._one_task import OneTask, check_callback

__all__ = ["Turn", "TurnTrackingObserver"]


@attrs.frozen
class Turn:
    """One turn of a conversation: what the user said and what the bot answered. Times are seconds on Trio's clock."""

    number: int
    """From 1."""
    started_at: float
    """The first sound of it."""
    started_by: Literal["user", "bot"]
    ended_at: float | None = None
    """The last sound of the bot; where it did not finish, when it was cut off. None while the turn goes on."""
    ended_by: Literal["user", "timeout", "end"] | None = None
    """What showed that it was over: the user began the next turn, the bot was silent for long enough, the task ended."""
    interrupted: bool = False
    """The bot was cut off: by the user, by an interrupt, or by the end of the task."""

    @property
    def duration(self) -> float | None:
        """Seconds from the first sound to the last; None while the turn goes on."""
        return None if self.ended_at is None else self.ended_at - self.started_at

    def __str__(self) -> str:
        """In one line."""
        duration = self.duration
        if duration is None:
            return f"turn {self.number}, begun by the {self.started_by}, goes on"
        return (
            f"turn {self.number}, begun by the {self.started_by}, {duration:.2f} s{', interrupted' * self.interrupted}"
        )


class TurnTrackingObserver(OneTask):
    """Tells the turns of a conversation apart, by the frames that say who speaks.

    A turn is over when the user begins another one, at the end of the task, or when the bot has been silent for
    `turn_end_timeout` seconds after it spoke. In a pipeline that has `UserTurnStartedFrame`s, these are what the user
    begins with; else it is `UserStartedSpeakingFrame`s. The functions are called with a `Turn`. The last `keep` turns
    are kept. An observer watches one task at a time; turns are counted on from task to task.
    """

    def __init__(
        self,
        *,
        turn_end_timeout: float = 2.5,
        on_turn_started: Callable[[Turn], object] | None = None,
        on_turn_ended: Callable[[Turn], object] | None = None,
        keep: int = 1000,
    ) -> None:
        expected = "a finite number of seconds, 0 or more"
        check_number("TurnTrackingObserver(turn_end_timeout", turn_end_timeout, expected, most=FINITE)
        self._started = check_callback("TurnTrackingObserver(on_turn_started", on_turn_started)
        self._ended = check_callback("TurnTrackingObserver(on_turn_ended", on_turn_ended)
        check_count("TurnTrackingObserver(keep", keep, "a number of turns, of at least 1")
        self._timeout = turn_end_timeout
        self._count = 0
        self._turns: deque[Turn] = deque(maxlen=keep)
        self._begin()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The last turns that are over, oldest first."""
        return tuple(self._turns)

    @property
    def turn(self) -> Turn | None:
        """The turn that goes on."""
        return self._turn

    @property
    def turn_count(self) -> int:
        """Turns that have begun so far."""
        return self._count

    # -- what is told

    def on_frame_pushed(
        self, task: PipelineTask, processor: FrameProcessor, frame: Frame, direction: Direction
    ) -> None:
        """Look who speaks."""
        if task is not self._task:
            self._watch(task)
        if self._deadline is not None:
            self._look_at_the_clock()
        event = self._speech.take(processor, frame, direction)
        if event is None or self._is_over:
            return
        match event:
            case UserTurnStartedFrame(at=at):
                self._user_begins(at)
            case UserStartedSpeakingFrame(at=at) if not self._speech.has_turns:
                self._user_begins(at)
            case BotStartedSpeakingFrame(at=at):
                self._bot_begins(at)
            case BotStoppedSpeakingFrame(at=at, interrupted=interrupted):
                self._bot_stops(at, interrupted)

    def on_reached_sink(self, task: PipelineTask, frame: Frame) -> None:
        """The end of the task ends the turn."""
        self._watch(task)
        if isinstance(frame, EndFrame | StopFrame | CancelFrame):
            self._over()

    async def on_started(self, task: PipelineTask) -> None:
        """Look at the clock where no frame comes that would be an occasion. Goes on until the task is over."""
        await self._watch_the_clock(task)

    async def on_added(self, task: PipelineTask) -> None:
        """The same, where it was added late."""
        self._watch(task)
        await self._watch_the_clock(task)

    # -- what comes of it

    async def _watch_the_clock(self, task: PipelineTask) -> None:
        while self._task is task:
            changed = self._changed = trio.Event()
            with trio.move_on_at(math.inf if self._deadline is None else self._deadline):
                await changed.wait()
            if self._task is task:
                self._look_at_the_clock()

    def _begin(self) -> None:
        self._speech = SpeechEvents()
        self._turn: Turn | None = None
        self._bot_speaks = False  # in this turn
        self._bot_silent_since: float | None = None  # has spoken in this turn
        self._deadline: float | None = None
        self._is_over = False
        self._changed = trio.Event()

    def _over(self) -> None:
        self._is_over = True
        if self._turn is not None:
            self._end_turn("end", trio.current_time())
        self._changed.set()

    def _user_begins(self, at: float) -> None:
        if self._bot_speaks or self._bot_silent_since is not None:
            self._end_turn("user", at)
        if self._turn is None:
            self._start_turn("user", at)

    def _bot_begins(self, at: float) -> None:
        if self._turn is None:
            self._start_turn("bot", at)
        self._bot_speaks = True
        self._bot_silent_since = self._deadline = None

    def _bot_stops(self, at: float, interrupted: bool) -> None:
        if self._turn is None or not self._bot_speaks:
            return  # it spoke in the turn before, which the user has ended
        self._bot_speaks = False
        self._bot_silent_since = at
        self._turn = attrs.evolve(self._turn, interrupted=self._turn.interrupted or interrupted)
        self._deadline = at + self._timeout
        self._changed.set()

    def _look_at_the_clock(self) -> None:
        now = trio.current_time()
        if self._deadline is not None and now >= self._deadline:
            self._end_turn("timeout", now)

    def _start_turn(self, by: Literal["user", "bot"], at: float) -> None:
        self._count += 1
        self._turn = Turn(self._count, at, by)
        if self._started is not None:
            self._started(self._turn)

    def _end_turn(self, by: Literal["user", "timeout", "end"], at: float) -> None:
        turn, self._turn = self._turn, None
        if turn is None:
            return
        cut_off, silent_since = self._bot_speaks, self._bot_silent_since
        self._bot_speaks, self._bot_silent_since, self._deadline = False, None, None
        ended_at = max(turn.started_at, at if silent_since is None else silent_since)
        turn = attrs.evolve(turn, ended_at=ended_at, ended_by=by, interrupted=turn.interrupted or cut_off)
        self._turns.append(turn)
        if self._ended is not None:
            self._ended(turn)
