"""`Recorder`: remembers the frames that pass."""

from __future__ import annotations

import trio

from trio_pipes import ConfigurationError, Direction, EndFrame, Frame, FrameProcessor, StartFrame, StopFrame
from trio_pipes._base import are_classes, check_count, check_instance

__all__ = ["Recorder"]


class Recorder(FrameProcessor):
    """Passes on everything, and remembers it in order, lifecycle frames aside. `FrameRecorder` writes a file instead."""

    def __init__(self, name: str | None = None, inline: bool = False) -> None:
        super().__init__(name, inline)
        self.down: list[Frame] = []
        """What passed on its way down."""
        self.up: list[Frame] = []
        """What passed on its way up."""
        self._came = trio.Event()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Remember it, and pass it on."""
        if not isinstance(frame, StartFrame | EndFrame | StopFrame):
            (self.down if direction is Direction.DOWNSTREAM else self.up).append(frame)
            self._came.set()
            self._came = trio.Event()
        await self.push_frame(frame, direction)

    async def wait_for(
        self, *types: type[Frame], count: int = 1, direction: Direction = Direction.DOWNSTREAM
    ) -> list[Frame]:
        """Wait until `count` frames of these types (none: of any) have passed in all; gives those that have."""
        if not are_classes(types, Frame):
            raise ConfigurationError(f"{self.name}.wait_for was given {types!r}, expected frame classes")
        check_count(f"{self.name}.wait_for(count", count)
        check_instance(f"{self.name}.wait_for(direction", direction, Direction, "a member of Direction")
        seen = self.down if direction is Direction.DOWNSTREAM else self.up
        while len(found := [frame for frame in seen if isinstance(frame, types or Frame)]) < count:
            await self._came.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        return found
