"""A processor that logs the frames that pass it."""

from __future__ import annotations

import logging
from typing import Final

from trio_pipes._base import are_classes, check_instance, check_name, refuse
from trio_pipes.flow._audio_frames import AudioFrame
from trio_pipes.flow._frames import Direction, Frame
from trio_pipes.flow._processor import FrameProcessor

from ._which import check_direction, concerns

__all__ = ["FrameLogger"]

LONGEST: Final = 500
"""Characters of a frame that are written."""


class FrameLogger(FrameProcessor):
    """Logs each frame that passes, through Python's `logging`: `"Frame downstream: TextFrame(id=7, text='hello')"`.

    `prefix` begins the line. Frames of the classes in `ignored` are left out; sound is, since it comes in many pieces.
    `level` is a level of `logging`, and `logger` the name of the logger; where that has the level off nothing is
    written together. `direction` is the way that it looks at, None for both. A frame is cut at 500 characters.
    """

    prefix: str
    ignored: tuple[type[Frame], ...]
    level: int
    direction: Direction | None

    def __init__(
        self,
        prefix: str = "Frame",
        *,
        ignored: tuple[type[Frame], ...] = (AudioFrame,),
        level: int = logging.DEBUG,
        logger: str = "trio_pipes.frames",
        direction: Direction | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name, inline=True)
        check_instance("FrameLogger(prefix", prefix, str, "a string")
        if not (isinstance(ignored, tuple) and are_classes(ignored, Frame)):
            raise refuse("FrameLogger(ignored", ignored, "a tuple of frame classes")
        if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level < 2**31:
            raise refuse("FrameLogger(level", level, "a level of logging, such as logging.INFO")
        check_name("FrameLogger(logger", logger, "the name of a logger")
        check_direction("FrameLogger(direction", direction)
        self.prefix = prefix
        self.ignored = ignored
        self.level = level
        self.direction = direction
        self._logger = logging.getLogger(logger)

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Log a frame and pass it on."""
        if self._logger.isEnabledFor(self.level) and self._is_wanted(frame, direction):
            text = repr(frame)  # here and now: it may be another one when a handler gets to it
            if len(text) > LONGEST:
                text = f"{text[:LONGEST]}..."
            self._logger.log(self.level, "%s %s: %s", self.prefix, direction.value, text)
        await self.push_frame(frame, direction)

    def _is_wanted(self, frame: Frame, direction: Direction) -> bool:
        return concerns(self.direction, direction) and not isinstance(frame, self.ignored)
