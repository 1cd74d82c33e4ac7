"""`UserIdle`: the bot has spoken, it is the user's turn, and nothing happens."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio

from trio_pipes._base import check_callable, check_count, check_iterable, check_timeout
from trio_pipes.flow import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    StartFrame,
    StopFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)

from ._alarm import Alarm
from ._conditions import AnyOf, FrameCondition
from ._frames import TranscriptionFrame, UserIdleTimeoutUpdateFrame

__all__ = ["UserIdle"]

Answer = Frame | Iterable[Frame] | bool | None
OnIdle = Callable[[int], Answer | Awaitable[Answer]]


class UserIdle(FrameProcessor):
    """Calls `on_idle` when the bot has spoken and the user says nothing for `timeout` seconds.

    `on_idle(retries)`, a sync or async function, is told how often it was called since the user last spoke, 1 for the first time. What it
    gives, a frame or several, is pushed down: a question, an `EndTaskFrame`. When nobody has spoken for another `timeout` seconds after
    that it is called again, until it gives False, `max_retries` times (None: for ever), or until the user speaks.

    Time counts from when the bot stopped, while neither speaks and no turn is open. It does not before the bot has spoken, nor after a turn
    of the user's, until the bot has answered, nor while a condition of `unless` holds. Who is called when the user or the bot begins to speak is
    cancelled. `timeout=None` is for ever; a `UserIdleTimeoutUpdateFrame` changes it. Stands below `UserTurns`, above what speaks.
    """

    def __init__(
        self,
        timeout: float | None,
        on_idle: OnIdle,
        *,
        max_retries: int | None = None,
        unless: Iterable[FrameCondition] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        check_timeout("UserIdle(timeout", timeout)
        check_callable("UserIdle(on_idle", on_idle, "a function of the number of retries, sync or async")
        if max_retries is not None:
            check_count("UserIdle(max_retries", max_retries, "a whole number of at least 1, or None")
        check_iterable("UserIdle(unless", unless, "conditions, such as [Between(Begins, Ends)]")
        self._asked_timeout = timeout
        self._on_idle = on_idle
        self._max_retries = math.inf if max_retries is None else max_retries
        self._unless = AnyOf("UserIdle(unless", unless)
        self._alarm = Alarm(self._nothing_said)
        self._calling: trio.CancelScope | None = None
        self._pushing = False  # it has answered, and what it gave is on its way
        self._begin_run()

    def _begin_run(self) -> None:
        self._break_off()  # of a run that was cut off, within `async with pipeline:`
        self._timeout = self._asked_timeout
        self._over = False
        self._bot_speaks = self._user_speaks = self._in_turn = self._excused = False
        self._users_move = False  # the bot has spoken, and the user has not answered
        self._has_turns = False  # turn frames come here: speech alone is no answer then
        self._waits = False  # the time counts
        self._gave_up = False
        self._retries = 0

    @property
    def retries(self) -> int:
        """How often it was called since the user last spoke."""
        return self._retries

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Wait beside the handlers."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._alarm.run)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel(reason=f"{self.name} is closed")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Take note of who speaks; everything passes."""
        if isinstance(frame, StartFrame):
            self._begin_run()
        self._see(frame)
        self._excused = self._unless.holds(frame)
        self._look()
        await self.push_frame(frame, direction)

    def _see(self, frame: Frame) -> None:
        match frame:
            case EndFrame() | StopFrame():
                self._over = True
            case BotStartedSpeakingFrame():
                self._bot_speaks = True
            case BotStoppedSpeakingFrame():
                self._bot_speaks = False
                self._users_move = True
            case UserStartedSpeakingFrame():
                self._user_speaks = True
                self._user_is_there()
            case UserStoppedSpeakingFrame():
                self._user_speaks = False
                self._users_move = self._users_move and self._has_turns
            case UserTurnStartedFrame():
                self._in_turn = self._has_turns = True
                self._user_is_there()
            case UserTurnStoppedFrame():
                self._in_turn = self._users_move = False
            case TranscriptionFrame() if frame.text.strip():
                self._users_move = False
                self._user_is_there()
            case UserIdleTimeoutUpdateFrame():
                self._timeout = frame.timeout
                self._waits = False  # the time begins to count anew

    def _user_is_there(self) -> None:
        self._retries = 0
        self._gave_up = False
        self._break_off()

    def _break_off(self) -> None:
        if self._calling is not None:
            self._calling.cancel(reason=f"{self.name}: somebody speaks, or the run ends")

    def _look(self) -> None:
        """Whether the time counts, as things stand now."""
        spoken = self._bot_speaks or self._user_speaks or self._in_turn
        waits = self._users_move and not (spoken or self._excused or self._gave_up or self._over)
        if not waits or self._timeout is None:
            self._waits = False
            if not self._pushing:  # and otherwise it is the bot that says it
                self._break_off()
        elif not self._waits:
            self._waits = True
            self._alarm.set(trio.current_time() + self._timeout)

    async def _nothing_said(self) -> None:
        if not self._waits or self.task.has_finished():
            return
        self._retries = retries = self._retries + 1
        with trio.CancelScope() as self._calling:
            answer: Any = self._on_idle(retries)
            if isinstance(answer, Awaitable):
                answer = await answer
            self._gave_up = answer is False or retries >= self._max_retries
            self._pushing = True
            for frame in self._frames(answer):
                await self.push_frame(frame)
        self._calling = None
        self._waits = self._pushing = False  # the time begins to count anew
        self._look()

    def _frames(self, answer: Any) -> Iterable[Frame]:
        if answer is None or isinstance(answer, bool):
            return ()
        frames = (answer,) if isinstance(answer, Frame) else answer
        if isinstance(frames, str | bytes) or not isinstance(frames, Iterable):
            raise TypeError(f"{self.name}: on_idle() gave {answer!r}, expected frames, True, False or None")
        frames = tuple(frames)
        for frame in frames:
            if not isinstance(frame, Frame):
                raise TypeError(f"{self.name}: on_idle() gave {frame!r} among its frames")
        return frames
