"""Idling: nothing of what matters has moved in a pipeline for some time.

# What watching costs, and how it is kept small.
#
# To see every frame the watch has to be told of each, as observers are, and that costs as much as the hop does.
# At the rate of speech nobody notices. Where frames pour, one look now and then is enough to know that they do: when
# so many of the frames that count have been seen in a short time, the watch closes its eyes for a moment. If the
# frames stop within that moment, idling is told that much late: a hundredth of the timeout at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, final

import trio

from trio_pipes.flow import Direction, FlushMarker, Frame, FrameProcessor, PipelineParams

from ._entrance import Entrance

__all__ = ["IdleWatch", "WatchedEntrance"]

BLINK: Final = 0.01  # of the timeout
LONGEST_BLINK: Final = 1.0  # seconds
ENOUGH: Final = 2000  # frames seen within the length of a blink


@final
class IdleWatch:
    """Tells when none of some types of frames has been queued, pushed, handled or let out for `idle_timeout`."""

    def __init__(self, params: PipelineParams, rewatch: Callable[[], None], idle: Callable[[], None]) -> None:
        assert params.idle_timeout is not None
        self.scope = trio.CancelScope()
        self.watching = True  # whether it wants to be told of each frame; from the first one on
        self._types = params.idle_frames
        self._timeout = params.idle_timeout
        self._blink = min(BLINK * params.idle_timeout, LONGEST_BLINK)
        self._rewatch = rewatch
        self._tell = idle
        self._last = 0.0  # seconds on Trio's clock when something was seen
        self._seen = 0
        self._seen_since = 0.0
        self._opens_at = math.inf
        self._closed = trio.Event()

    async def run(self) -> None:
        """Watch until it is cancelled; the time runs from now on."""
        with self.scope:
            self._open()
            try:
                while True:
                    with trio.move_on_at(min(self._last + self._timeout, self._opens_at)):
                        await self._closed.wait()
                    now = trio.current_time()
                    if now >= self._opens_at:
                        self._open()
                    elif self._closed.is_set():
                        self._closed = trio.Event()
                    elif now >= self._last + self._timeout:
                        self._last = now  # once more after another such time
                        self._tell()
            finally:
                self.watching = False

    def _open(self) -> None:
        self._last = self._seen_since = trio.current_time()
        self._seen = 0
        self._opens_at = math.inf
        self.watching = True
        self._rewatch()

    def saw(self, frame: Frame) -> None:
        """A frame is somewhere."""
        if isinstance(frame, self._types):
            self._last = trio.current_time()
            self._seen += 1
            if self._seen >= ENOUGH and self.watching:
                if self._last - self._seen_since < self._blink:
                    self.watching = False
                    self._opens_at = self._last + self._blink
                    self._closed.set()
                    self._rewatch()
                self._seen, self._seen_since = 0, self._last

    def saw_at(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        """A processor pushes a frame, or has handled it."""
        self.saw(frame)


class WatchedEntrance(Entrance):
    """An entrance that shows an idle watch what is queued."""

    def __init__(self, *args: Any, watch: IdleWatch) -> None:
        super().__init__(*args)
        self._watch = watch

    async def put(self, frame: Frame, direction: Direction) -> None:
        await super().put(frame, direction)
        self._watch.saw(frame)

    async def put_ordinary(self, frame: Frame) -> None:
        await super().put_ordinary(frame)
        self._watch.saw(frame)

    async def put_batch(self, batch: list[Frame]) -> None:
        await super().put_batch(batch)
        for frame in batch:
            self._watch.saw(frame)

    async def put_marked(self, frame: Frame, marker: FlushMarker) -> None:
        await super().put_marked(frame, marker)
        self._watch.saw(frame)
