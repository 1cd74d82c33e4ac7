"""The user's turn: what is known of it while it goes on. No timers and no frames pushed here, only what they have told.

# Speech, and turns.
#
# Speech is a fact that voice activity tells: sound, then silence. A turn is a decision: this is meant for the bot, and
# from here on it is the bot's turn to answer. So there are four phases. The one thing that is never legal is the end
# of a turn while the user speaks: whoever has decided it meanwhile has decided too late.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from typing import Final

import attrs
import trio

from trio_pipes._base import Table, next_id, step
from trio_pipes.flow import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)

from ._frames import InterimTranscriptionFrame, TranscriptionFrame

__all__ = ["PHASES", "TurnPhase", "UserTurn"]

# Sentences of one turn that strategies can look back at.
REMEMBERED: Final = 100


class TurnPhase(Enum):
    """Whether there is a turn, and whether the user speaks."""

    SILENCE = "silence"
    """No turn, and the user says nothing."""
    MURMUR = "murmur"
    """The user speaks, and no strategy has taken it for a turn."""
    SPEECH = "speech"
    """A turn, and the user speaks."""
    PAUSE = "pause"
    """A turn, and the user is silent: it will go on, or it is over."""


PHASES: Final[Table[TurnPhase]] = {
    TurnPhase.SILENCE: {"speak": TurnPhase.MURMUR, "begin": TurnPhase.PAUSE},
    TurnPhase.MURMUR: {"fall silent": TurnPhase.SILENCE, "begin": TurnPhase.SPEECH},
    TurnPhase.SPEECH: {"fall silent": TurnPhase.PAUSE},
    TurnPhase.PAUSE: {"speak": TurnPhase.SPEECH, "end": TurnPhase.SILENCE},
}


@attrs.define(eq=False)
class UserTurn:
    """What strategies may look at. `UserTurns` keeps it; a strategy only reads."""

    phase: TurnPhase = TurnPhase.SILENCE
    id: int = 0
    """Of this turn, or of the last one; unique in the process."""
    bot_speaks: bool = False
    silent_since: float | None = None
    """When the user's last sound of this turn was heard, in seconds on Trio's clock; None: not known."""
    transcribed: bool = False
    """The transcript of what was said last is there: no other one is expected."""
    sentences: deque[TranscriptionFrame] = attrs.field(factory=lambda: deque(maxlen=REMEMBERED))
    """The transcripts of this turn, the last hundred of them."""
    active_at: float = 0.0
    """When a frame last told of the user, in seconds on Trio's clock."""
    ended_at: float = -math.inf
    """When the turn before was over, in seconds on Trio's clock."""
    _spoke_at: float | None = None  # when the user began to speak for the last time, as voice activity told it

    @property
    def is_open(self) -> bool:
        """Whether there is a turn."""
        return self.phase in (TurnPhase.SPEECH, TurnPhase.PAUSE)

    @property
    def user_speaks(self) -> bool:
        """Whether voice activity hears the user."""
        return self.phase in (TurnPhase.MURMUR, TurnPhase.SPEECH)

    @property
    def text(self) -> str:
        """What was said in this turn so far."""
        return " ".join(text for sentence in self.sentences if (text := sentence.text.strip()))

    # -- for `UserTurns`

    def see(self, frame: Frame) -> None:
        """Take note of what a frame tells; of a transcript only that it came, for whose it is has to be decided first."""
        match frame:
            case BotStartedSpeakingFrame() | BotStoppedSpeakingFrame():
                self.bot_speaks = isinstance(frame, BotStartedSpeakingFrame)
                return
            case UserStartedSpeakingFrame():
                self._spoke_at = frame.at
                self.transcribed = False
                if not self.user_speaks:
                    self._step("speak")
            case UserStoppedSpeakingFrame():
                self.silent_since = frame.at
                self.fall_silent()
            case InterimTranscriptionFrame():
                self.transcribed = False
            case TranscriptionFrame():
                pass
            case _:
                return
        self.active_at = trio.current_time()

    def begin(self, frame: Frame) -> None:
        """A turn begins with this frame. Words bring the speech into it in which they were said; other frames do not."""
        if not (self.user_speaks or isinstance(frame, TranscriptionFrame | InterimTranscriptionFrame)):
            self.silent_since = self._spoke_at = None
        self._step("begin")
        self.id = next_id()
        self.transcribed = False
        self.active_at = trio.current_time()

    def hear(self, frame: TranscriptionFrame) -> None:
        """A transcript that belongs to this turn."""
        self.sentences.append(frame)
        spoke_at, stopped_at = self._spoke_at, frame.stopped_at
        if spoke_at is None:  # voice activity knows nothing of it
            self.silent_since = trio.current_time() if stopped_at is None else stopped_at
        if spoke_at is None or stopped_at is None or stopped_at >= spoke_at:
            self.transcribed = True  # and otherwise it is of an earlier sentence

    def fall_silent(self) -> None:
        """The run ends: the user is not heard any more."""
        if self.user_speaks:
            self._step("fall silent")

    def end(self) -> None:
        """The turn is over."""
        self._step("end")
        self.silent_since = self._spoke_at = None
        self.sentences.clear()
        self.ended_at = trio.current_time()

    def _step(self, event: str) -> None:
        self.phase = step(PHASES, self.phase, event, who="the user's turn")
