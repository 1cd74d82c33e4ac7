"""Who queued a frame and wants to be told when the pipeline is done with it.

Behind such a frame travels a marker, as for `flush`: it comes to the sink when the frame, and what came of it on the
way, has been handled, dropped or made stale at every processor. Frames without such a wish cost nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import final

from trio_pipes._base import ConfigurationError
from trio_pipes.flow import Direction, FlushMarker, Frame, SystemFrame

from ._observers import refuse_awaitable

__all__ = ["OnHandled", "Receipts"]

OnHandled = Callable[[Frame, bool], object]


@final
class _Receipt:
    """Stands where a marker has its event."""

    def __init__(self, receipts: Receipts, frame: Frame, callback: OnHandled) -> None:
        self._receipts = receipts
        self._frame = frame
        self._callback = callback

    def set(self) -> None:
        self.tell(True)

    def tell(self, handled: bool) -> None:
        """Tell it, once."""
        if self in self._receipts.open:
            del self._receipts.open[self]
            try:
                refuse_awaitable(self._callback(self._frame, handled), "on_handled")
            except Exception as exc:  # noqa: BLE001  (kept for the result; whoever is told cannot hurt the pipeline)
                self._receipts.failed(f"on_handled of {self._frame.name}", exc)


@final
class Receipts:
    """The frames of a task whose sender waits to be told."""

    def __init__(self, name: str, failed: Callable[[str, Exception], None]) -> None:
        self.open: dict[_Receipt, None] = {}  # in the order in which they were queued
        self.failed = failed
        self._name = name

    def marker(self, frame: Frame, direction: Direction, callback: OnHandled) -> FlushMarker:
        """The marker to put behind `frame`. Raises `ConfigurationError` for what no marker can go behind."""
        if not callable(callback) or inspect.iscoroutinefunction(callback):
            raise ConfigurationError(
                f"{self._name}.queue_frame(on_handled={callback!r}): expected a sync function of the frame and a bool"
            )
        if isinstance(frame, SystemFrame) or frame._lane != 0 or direction is not Direction.DOWNSTREAM:
            raise ConfigurationError(
                f"{self._name}.queue_frame({frame.name}, {direction}, on_handled=...): expected a data or control "
                "frame that goes down. Others overtake what is queued, and nothing can follow them."
            )
        receipt = _Receipt(self, frame, callback)
        self.open[receipt] = None
        return FlushMarker(reached=receipt)

    def forget(self, marker: FlushMarker) -> None:
        """Its frame was not accepted."""
        self.open.pop(marker.reached, None)

    def break_off(self) -> None:
        """The run is over: what is still open has not been handled."""
        for receipt in tuple(self.open):
            receipt.tell(False)
