"""`UserTurnAggregator`: what was said in a turn, as one transcript."""

from __future__ import annotations

import attrs

from trio_pipes._base import check_count
from trio_pipes.flow import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    StartFrame,
    StopFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)

from ._frames import TranscriptionFrame

__all__ = ["UserTurnAggregator"]


class UserTurnAggregator(FrameProcessor):
    """Holds the transcripts of a turn and gives them as one `TranscriptionFrame`, before the `UserTurnStoppedFrame`.

    Its confidence is that of the least certain sentence with words in it, `stopped_at` that of the last one. Stands anywhere below
    `UserTurns`, and makes whatever takes transcripts below it take whole turns. Between turns transcripts pass. A turn of more than `limit`
    sentences comes in several pieces; the end of the run lets go what is held; an interrupt drops what is interruptible of it.
    """

    def __init__(self, limit: int = 1000, *, name: str | None = None) -> None:
        super().__init__(name)
        check_count("UserTurnAggregator(limit", limit)
        self._limit = limit
        self._is_open = False
        self._held: list[TranscriptionFrame] = []

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Hold transcripts while the turn lasts."""
        if direction is Direction.DOWNSTREAM:
            match frame:
                case StartFrame():
                    self._is_open = False
                    self._held.clear()
                case UserTurnStartedFrame():
                    self._is_open = True
                case TranscriptionFrame() if self._is_open:
                    self._held.append(frame)
                    if len(self._held) >= self._limit:
                        await self._let_go()
                    return
                case UserTurnStoppedFrame() | EndFrame() | StopFrame():
                    self._is_open = False
                    await self._let_go()
        await self.push_frame(frame, direction)

    async def on_interrupt(self) -> None:
        """What is interruptible is stale."""
        self._held = [frame for frame in self._held if not frame.interruptible]

    async def _let_go(self) -> None:
        held, self._held = self._held, []
        if held:
            await self.push_frame(held[0] if len(held) == 1 else _joined(held))


def _joined(frames: list[TranscriptionFrame]) -> TranscriptionFrame:
    last = frames[-1]
    spoken = [frame for frame in frames if frame.text.strip()] or frames
    return attrs.evolve(
        last,
        text=" ".join(frame.text.strip() for frame in spoken).strip(),
        confidence=min(frame.confidence for frame in spoken),
        interruptible=all(frame.interruptible for frame in frames),
    )
