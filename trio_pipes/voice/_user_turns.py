"""`UserTurns`: says when it is the user's turn, and when it is the bot's.

# In which order things happen.
#
# Strategies are asked in one place for each direction, and timers decide besides. What follows from a decision is
# several frames, and between two of them a full lane below may make us wait; meanwhile nobody else may decide, or the
# frames of two decisions would come mixed. So whoever decides goes through one turnstile, decides and pushes, and only
# then is the next one let in. What a strategy is shown of frames that go up is only noted before the turnstile, for
# the bot's frames must not wait behind a full lane.
#
# The frame that begins a turn follows its `UserTurnStartedFrame`, and the interrupt comes before both: they are new, and
# so is everything that is said in the turn. What already waits above is the user's and not interruptible, so no
# transcript is lost by the interrupt of the turn that it belongs to.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from trio_pipes._base import check_flag, check_iterable, check_methods, check_timeout, refuse
from trio_pipes.flow import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    InterruptionFrame,
    StartFrame,
    StopFrame,
    SystemFrame,
    UserStartedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)

from ._alarm import Alarm
from ._frames import InterimTranscriptionFrame, TranscriptionFrame
from ._start_strategies import StartStrategy, TranscriptionStart, VoiceActivityStart
from ._stop_strategies import SpeechTimeoutStop, StopStrategy
from ._user_turn import UserTurn

__all__ = ["UserTurns"]

FROM_OUTSIDE = UserTurnStartedFrame | UserTurnStoppedFrame


class UserTurns(FrameProcessor):
    """Pushes `UserTurnStartedFrame` and `UserTurnStoppedFrame`, both ways, as its strategies say; stands below `SpeechToText`.

    A beginning also asks for an interrupt: leave that to it, with `VoiceActivity(interrupts=False)`. The transcripts of a turn come
    out between its two frames. One that comes between turns begins a turn or goes no further. A turn in which the user is silent and
    nothing is told of the user for `stop_timeout` seconds (None: for ever) is ended, with `timed_out`; the end of the run ends a turn too.

    Turn frames that come from above are taken for proposals and end here: `ExternalStart` and `ExternalStop` follow them.
    """

    turn: UserTurn
    """How it stands."""
    ignored: int
    """Transcripts of this run that no strategy took for a turn."""

    def __init__(
        self,
        start: Iterable[StartStrategy] | None = None,
        stop: Iterable[StopStrategy] | None = None,
        *,
        stop_timeout: float | None = 5.0,
        interrupts: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        check_timeout("UserTurns(stop_timeout", stop_timeout)
        check_flag("UserTurns(interrupts", interrupts)
        self._start: Sequence[StartStrategy] = (VoiceActivityStart(), TranscriptionStart())
        self._stop: Sequence[StopStrategy] = (SpeechTimeoutStop(),)
        self.update_strategies(start, stop)
        self._stop_timeout = math.inf if stop_timeout is None else stop_timeout
        self._interrupts = interrupts
        self._alarm = Alarm(self._time_is_up)
        self._begin_run()

    def _begin_run(self) -> None:
        self.turn = UserTurn()
        self.ignored = 0
        self._over = False
        self._turnstile = trio.Lock()
        self._dues: dict[int, float] = {}  # when which stop strategy wants the end of the turn

    def update_strategies(
        self, start: Iterable[StartStrategy] | None = None, stop: Iterable[StopStrategy] | None = None
    ) -> None:
        """Replace the strategies, also while it runs; None: they stay. They decide from the next frame on."""
        new_start = self._start if start is None else _strategies("start", start, "starts")
        new_stop = self._stop if stop is None else _strategies("stop", stop, "stops")
        if not new_start:
            raise refuse(f"{type(self).__name__}(start", start, "at least one strategy: no turn could begin")
        self._start, self._stop = new_start, new_stop
        if stop is not None:
            self._dues = {}

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Turns end by a timer of their own."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._alarm.run)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel(reason=f"{self.name} is closed")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Ask the strategies; everything passes but foreign turn frames, and transcripts that are not for the bot."""
        if isinstance(frame, StartFrame):
            self._begin_run()
            self._ask_start(frame)
            await self.push_frame(frame, direction)
        elif isinstance(frame, EndFrame | StopFrame):
            async with self._turnstile:
                await self._end_run()
            await self.push_frame(frame, direction)
        elif direction is Direction.UPSTREAM or isinstance(frame, SystemFrame):
            await self._notice(frame, direction)
        else:
            async with self._turnstile:
                await self._take(frame)

    async def _take(self, frame: Frame) -> None:
        """A frame that comes down in order: who decides is within the turnstile."""
        turn = self.turn
        turn.see(frame)
        begins = self._ask_start(frame)
        if begins and not turn.is_open:
            await self._begin_turn(frame)
        if not turn.is_open:
            if isinstance(frame, TranscriptionFrame):
                self.ignored += 1
                return
            if begins is False and isinstance(frame, InterimTranscriptionFrame):
                return
        elif isinstance(frame, TranscriptionFrame):
            turn.hear(frame)
        if not isinstance(frame, FROM_OUTSIDE):
            await self.push_frame(frame)
        self._ask_stop(frame)
        await self._end_turn_if_due()

    async def _notice(self, frame: Frame, direction: Direction) -> None:
        """A frame that goes up, or is urgent: it does not wait for those who decide, unless it decides something itself."""
        if self._over or isinstance(frame, InterruptionFrame):  # one that begins a turn would be followed by itself
            await self.push_frame(frame, direction)
            return
        self.turn.see(frame)
        begins = self._ask_start(frame)
        self._ask_stop(frame)
        await self.push_frame(frame, direction)
        if begins:
            async with self._turnstile:
                if not self.turn.is_open and not self._over:
                    await self._begin_turn(frame)
                    self._ask_stop(frame)

    # -- asking

    def _ask_start(self, frame: Frame) -> bool | None:
        for strategy in self._start:
            answer: Any = strategy.starts(frame, self.turn)
            if answer is not None:
                if not isinstance(answer, bool):
                    raise TypeError(f"{strategy!r}.starts() gave {answer!r}, expected True, False or None")
                return answer
        return None

    def _ask_stop(self, frame: Frame) -> None:
        """What the strategies say of the end of an open turn, noted down."""
        if not self.turn.is_open:
            return
        if isinstance(frame, UserStartedSpeakingFrame):
            self._dues.clear()
        for number, strategy in enumerate(self._stop):
            due: Any = strategy.stops(frame, self.turn)
            if due is not None:
                if isinstance(due, bool) or not isinstance(due, int | float) or math.isnan(due):
                    raise TypeError(f"{strategy!r}.stops() gave {due!r}, expected a time in seconds, or None")
                if not self.turn.user_speaks:
                    self._dues[number] = due
        self._alarm.set(self._next())

    def _next(self) -> float:
        """When the turn is over, as things stand."""
        if not self.turn.is_open or self.turn.user_speaks:
            return math.inf
        return min(self._due(), self.turn.active_at + self._stop_timeout)

    def _due(self) -> float:
        return min(self._dues.values(), default=math.inf)

    # -- within the turnstile

    async def _begin_turn(self, frame: Frame) -> None:
        self.turn.begin(frame)
        self._dues.clear()
        if self._interrupts:
            self.interrupt()
        at = frame.at if isinstance(frame, UserStartedSpeakingFrame) else trio.current_time()
        await self.broadcast_frame(UserTurnStartedFrame, at=at)

    async def _end_turn_if_due(self) -> None:
        now = trio.current_time()
        if self._next() <= now:
            await self._end_turn(timed_out=self._due() > now)
        self._alarm.set(self._next())

    async def _end_turn(self, *, timed_out: bool = False) -> None:
        silent_since = self.turn.silent_since
        self.turn.end()
        at = trio.current_time() if silent_since is None else silent_since
        await self.broadcast_frame(UserTurnStoppedFrame, at=at, timed_out=timed_out)

    async def _time_is_up(self) -> None:
        async with self._turnstile:
            if not self._over:
                await self._end_turn_if_due()

    async def _end_run(self) -> None:
        """Nobody is waited for any more."""
        self._over = True
        if self.turn.is_open:
            self.turn.fall_silent()
            await self._end_turn()


def _strategies(which: str, given: Any, method: str) -> tuple[Any, ...]:
    what = f"UserTurns({which}"
    expected = f"strategies, each with a method {method}()"
    check_iterable(what, given, expected)
    strategies = tuple(given)
    for strategy in strategies:
        check_methods(what, strategy, [method], expected)
    return strategies
