"""`UserMute`: there are times when the user is not listened to.

# Whole sentences.
#
# A mute that cuts wherever it comes makes trouble below: speech that began and never ends, a transcript without speech.
# So it counts by sentences. One that began before the mute is heard to its end. One that is spoken within the mute is
# dropped, its transcript too, whenever that comes. One that goes on when the mute is over is heard: what was dropped of
# it is only the news that it began, and that is told now. A user who answers the last word of a greeting has not
# spoken in vain.
"""

from __future__ import annotations

import attrs
import trio

from trio_pipes._base import refuse
from trio_pipes.flow import (
    Direction,
    Frame,
    FrameProcessor,
    InputAudioFrame,
    StartFrame,
    SystemFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)

from ._conditions import AnyOf, FrameCondition
from ._frames import InterimTranscriptionFrame, TranscriptionFrame, UserMuteStartedFrame, UserMuteStoppedFrame

__all__ = ["UserMute"]


@attrs.define
class _Span:
    """From a frame that begins something of the user's to the one that ends it: heard as a whole, or not at all."""

    is_open: bool = False
    heard: bool | None = None
    """Of the one that is open, or whose transcript has not come; None: there is no such."""
    begun: Frame | None = None
    """What began it, if that was dropped here."""

    def begins(self, frame: Frame | None, *, muted: bool) -> bool:
        """Whether that passes."""
        self.is_open, self.heard = True, not muted
        self.begun = frame if muted else None
        return not muted

    def ends(self, *, muted: bool) -> bool:
        """Whether that passes."""
        self.is_open, self.begun = False, None
        return not muted if self.heard is None else self.heard

    def unmuted(self) -> Frame | None:
        """What has to be told now."""
        begun, self.begun = self.begun, None
        if self.is_open:
            self.heard = True
        return begun


class UserMute(FrameProcessor):
    """Drops what the user says while one of the conditions holds, so that it begins no turn and interrupts nothing.

    Stands above `UserTurns`, best right above it. Dropped are transcripts, and the frames that tell that the user speaks or that an
    outside judge sees a turn; sound, where it passes here, becomes silence. Everything else passes. A sentence counts as a whole: it is
    heard to its end when it began before the mute, and heard altogether when it outlasts it.

    `UserMuteStartedFrame` and `UserMuteStoppedFrame` go both ways.
    """

    dropped: int
    """Transcripts that this run has not let through."""

    def __init__(self, *conditions: FrameCondition, name: str | None = None) -> None:
        super().__init__(name)
        self.update_conditions(*conditions)
        self._begin_run()

    def update_conditions(self, *conditions: FrameCondition) -> None:
        """Replace the conditions, also while it runs. They are asked from the next frame on."""
        if not conditions:
            raise refuse("UserMute(conditions", conditions, "at least one, such as WhileBotSpeaks()")
        self._conditions = AnyOf("UserMute(conditions", conditions)

    def _begin_run(self) -> None:
        self.dropped = 0
        self._muted = False
        self._voice, self._turn = _Span(), _Span()

    @property
    def is_muted(self) -> bool:
        """Whether the user is not listened to."""
        return self._muted

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Ask the conditions; drop what is the user's while one holds."""
        if isinstance(frame, StartFrame):
            self._begin_run()
        muted = self._conditions.holds(frame)
        changes, self._muted = muted != self._muted, muted
        if isinstance(frame, StartFrame):
            await self.push_frame(frame, direction)
        if changes:
            await self._tell()
        if isinstance(frame, StartFrame):
            return
        if isinstance(frame, SystemFrame) or self._passes(frame, direction):
            await self.push_frame(frame, direction)
        elif isinstance(frame, InputAudioFrame):
            await self.push_frame(attrs.evolve(frame, audio=bytes(len(frame.audio))))

    async def _tell(self) -> None:
        at = trio.current_time()
        if self._muted:
            await self.broadcast_frame(UserMuteStartedFrame, at=at)
            return
        late = [begun for span in (self._voice, self._turn) if (begun := span.unmuted()) is not None]
        for begun in late:
            await self.push_frame(begun)
        await self.broadcast_frame(UserMuteStoppedFrame, at=at)

    def _passes(self, frame: Frame, direction: Direction) -> bool:
        muted, voice, turn = self._muted, self._voice, self._turn
        match frame:
            case UserStartedSpeakingFrame():
                passes = voice.begins(frame if direction is Direction.DOWNSTREAM else None, muted=muted)
            case UserStoppedSpeakingFrame():
                passes = voice.ends(muted=muted)
            case UserTurnStartedFrame() if direction is Direction.DOWNSTREAM:
                passes = turn.begins(frame, muted=muted)
            case UserTurnStoppedFrame() if direction is Direction.DOWNSTREAM:
                passes = turn.ends(muted=muted)
            case TranscriptionFrame() if direction is Direction.DOWNSTREAM:
                passes = self._hears_words()
                self.dropped += not passes
                if not voice.is_open:
                    voice.heard = None
            case InterimTranscriptionFrame() if direction is Direction.DOWNSTREAM:
                passes = self._hears_words()
            case InputAudioFrame() if direction is Direction.DOWNSTREAM:
                passes = not muted or (voice.is_open and bool(voice.heard))
            case _:
                return True
        return passes or direction is Direction.UPSTREAM

    def _hears_words(self) -> bool:
        heard = self._voice.heard
        return not self._muted if heard is None else heard
