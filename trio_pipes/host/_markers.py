"""Markers: what travels behind a frame, to learn when the pipeline is done with everything before it.

The engine carries a marker down as it does lifecycle frames, past processors that are not shown it. When it comes to
the sink, what was queued before it, and what came of that on the way, has been handled, dropped or made stale at every
processor. `flush` waits for one; who queues a frame may have one sent behind it. Other frames pay nothing for this.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from typing import final

import trio

from trio_pipes._base import ConfigurationError, refuse, refuse_awaitable
from trio_pipes.flow import Direction, FlushMarker, Frame, SystemFrame

from ._entrance import Entrance

__all__ = ["Markers", "OnHandled"]

OnHandled = Callable[[Frame, bool], object]


@final
class _Receipt:
    """Stands where the marker of a flush has its event: calls somebody back, once."""

    def __init__(self, markers: Markers, frame: Frame, callback: OnHandled) -> None:
        self._markers = markers
        self._frame = frame
        self._callback = callback

    def set(self) -> None:
        self.tell(True)

    def tell(self, handled: bool) -> None:
        if self in self._markers.receipts:
            del self._markers.receipts[self]
            try:
                refuse_awaitable(self._callback(self._frame, handled), "on_handled")
            except Exception as exc:  # noqa: BLE001  (kept for the result; whoever is told cannot hurt the pipeline)
                self._markers.failed(f"on_handled of {self._frame.name}", exc)


@final
class Markers:
    """The markers of a task that are under way, and who waits for them."""

    def __init__(self, name: str, entrance: Entrance, failed: Callable[[str, Exception], None]) -> None:
        self.receipts: dict[_Receipt, None] = {}  # in the order in which their frames were queued
        self.failed = failed
        self._name = name
        self._entrance = entrance
        self._flushes: set[FlushMarker] = set()

    async def flush(self, timeout: float | None, wait_finished: Callable[[], Awaitable[object]]) -> bool:
        """Wait until a marker is through, or the run is over; False when `timeout` passes first."""
        marker = FlushMarker(reached=trio.Event())
        self._flushes.add(marker)
        try:
            with trio.move_on_after(math.inf if timeout is None else timeout) as scope:
                try:
                    await self._entrance.mark(marker)
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    await wait_finished()
                else:
                    await marker.reached.wait()
        finally:
            self._flushes.discard(marker)
        return not scope.cancelled_caught

    async def queue(self, frame: Frame, direction: Direction, callback: OnHandled) -> None:
        """Queue a frame, and call back when the pipeline is done with it."""
        if not callable(callback) or inspect.iscoroutinefunction(callback):
            what = f"{self._name}.queue_frame(on_handled"
            raise refuse(what, callback, "a sync function of the frame and a bool")
        if isinstance(frame, SystemFrame) or frame._lane != 0 or direction is not Direction.DOWNSTREAM:
            raise ConfigurationError(
                f"{self._name}.queue_frame({frame.name}, {direction}, on_handled=...): expected a data or control "
                "frame that goes down. Others overtake what is queued, and nothing can follow them."
            )
        receipt = _Receipt(self, frame, callback)
        self.receipts[receipt] = None
        try:
            await self._entrance.put_marked(frame, FlushMarker(reached=receipt))
        except BaseException:
            self.receipts.pop(receipt, None)  # the frame was not accepted
            raise

    def break_off(self) -> None:
        """The run is over: nobody needs to wait any more, and what is still open has not been handled."""
        for marker in self._flushes:
            marker.reached.set()
        for receipt in tuple(self.receipts):
            receipt.tell(False)
