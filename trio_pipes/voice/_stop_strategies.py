"""When the user's turn is over: the strategies that ship, and the protocol for one's own."""

from __future__ import annotations

import math
from typing import Protocol

import trio

from trio_pipes._base import FINITE, check_flag, check_number
from trio_pipes.flow import Frame, UserTurnStoppedFrame

from ._frame_types import FrameTypes, check_frame_types
from ._user_turn import UserTurn

__all__ = ["ExternalStop", "SpeechTimeoutStop", "StopStrategy"]


class StopStrategy(Protocol):
    """Tells when the user's turn is over. It is asked for each frame of an open turn, first for the one that began it."""

    def stops(self, frame: Frame, turn: UserTurn, /) -> float | None:
        """When the turn is over, in seconds on Trio's clock, if nothing happens until then; None: no news.

        Now, or a time in the past: at once. `math.inf`: not by me, and what I said before does not hold any more. Of what the
        strategies say the earliest time counts. When the user speaks again all that was said before is forgotten.
        """
        ...


class SpeechTimeoutStop:
    """A turn is over when the user has been silent for `timeout` seconds, and what was said is transcribed.

    The silence counts from the last sound, so what voice activity has waited for (`SpeechRules.stop_after`) is a part of it.
    """

    def __init__(self, timeout: float = 0.6, *, wait_for_transcript: bool = True) -> None:
        expected = "a finite number of seconds, 0 or more"
        check_number("SpeechTimeoutStop(timeout", timeout, expected, most=FINITE)
        check_flag("SpeechTimeoutStop(wait_for_transcript", wait_for_transcript)
        self._timeout = timeout
        self._waits = wait_for_transcript

    def stops(self, frame: Frame, turn: UserTurn) -> float | None:
        """After the last sound."""
        if turn.silent_since is None or (self._waits and not turn.transcribed):
            return math.inf
        return turn.silent_since + self._timeout


class ExternalStop:
    """A turn is over when a frame says so, `UserTurnStoppedFrame` from above or frames of your own from either side.

    With `wait_for_transcript` it is over when the transcript is there, too. What is said while the user speaks does not count.
    """

    def __init__(self, types: FrameTypes = UserTurnStoppedFrame, *, wait_for_transcript: bool = True) -> None:
        self._types = check_frame_types("ExternalStop(types", types)
        check_flag("ExternalStop(wait_for_transcript", wait_for_transcript)
        self._waits = wait_for_transcript
        self._told: int | None = None  # the turn that is to end

    def stops(self, frame: Frame, turn: UserTurn) -> float | None:
        """At such a frame, or at the transcript after it."""
        if turn.user_speaks:
            self._told = None
        elif isinstance(frame, self._types):
            self._told = turn.id
        if self._told == turn.id and (turn.transcribed or not self._waits):
            return trio.current_time()
        return None
