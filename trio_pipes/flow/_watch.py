"""Who is told of what happens to frames, and how a node's handler tells.

# While nobody watches, nothing of this is in a frame's way. When a watch begins or ends, each node's handler and push are
# made anew: those that tell (here, and `_watched_ways`), or those that do not. The first ask for the watch each time, so
# what is under way when a watch ends tells nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs

from ._frames import Direction, Frame

__all__ = ["FrameWatch", "told_of_handling"]

OfFrame = Callable[[Any, Frame, Direction], None]
"""Called with the processor, the frame and its direction."""


@attrs.define(eq=False, kw_only=True)
class FrameWatch:
    """What to call when something happens to a frame; None where nobody wants to know."""

    pushed: OfFrame | None = None
    """A processor pushes a frame."""
    taken: OfFrame | None = None
    """A processor begins to handle a frame."""
    handled: OfFrame | None = None
    """It has handled the frame, or its handler has raised."""
    stopped: OfFrame | None = None
    """An interrupt, a deadline or a cancel has stopped its handler."""
    waited: Callable[[Any, Frame, float], None] | None = None
    """A push has waited for room: the processor, or None for the task's own queue; the frame; seconds."""
    reached: Callable[[Frame, Direction], None] | None = None
    """A frame has come out at an end: the sink, or, upstream, the source."""

    @property
    def of_handling(self) -> bool:
        """Whether somebody wants to know when handlers begin and end."""
        return bool(self.taken or self.handled or self.stopped)


class Watched(Protocol):
    """The node that tells."""

    engine: Any
    processor: Any

    def failed(self, exc: Exception, frame: Frame | None) -> None: ...


Handler = Callable[[Frame, Direction], Awaitable[None]]


def told_of_handling(node: Watched, process: Handler) -> Handler:
    """A node's handler that tells when it begins and ends. It raises no errors: it hands them on itself."""
    engine, processor = node.engine, node.processor

    async def handle(frame: Frame, direction: Direction) -> None:
        watch = engine.observed
        if watch is not None and watch.taken is not None:
            watch.taken(processor, frame, direction)
        try:
            await process(frame, direction)
        except Exception as exc:  # noqa: BLE001  (handed on: it fails the task or becomes an ErrorFrame)
            node.failed(exc, frame)
        except BaseException:
            watch = engine.observed
            if watch is not None and watch.stopped is not None:
                watch.stopped(processor, frame, direction)
            raise
        watch = engine.observed
        if watch is not None and watch.handled is not None:
            watch.handled(processor, frame, direction)

    return handle
