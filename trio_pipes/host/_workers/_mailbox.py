"""A worker's subscription: messages for its data task in one queue, and what concerns the worker itself taken at once.

An order such as "be inactive", or an answer that somebody waits for, must not stand behind a handler of the user's. So
what `take` takes has had its effect when `bus.send` returns, in whatever task that was; `take` is quick, sync, and
never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from .._bus import Subscription
from .._bus._subscription import TAKEN

if TYPE_CHECKING:
    from .._bus import Bus, BusMessage
    from .._bus._subscription import Overflow

__all__ = ["Mailbox"]


class Mailbox(Subscription):
    """A subscription that shows each message to `take` first, and keeps what that does not take."""

    def __init__(
        self,
        bus: Bus,
        name: str,
        types: tuple[type[BusMessage], ...],
        take: Callable[[BusMessage], bool],
        buffer: int,
        overflow: Overflow = "error",
    ) -> None:
        super().__init__(name, types, buffer, overflow, bus._enter, bus._leave)
        self._take_at_once = take
        self._bus = bus

        self.refused = 0
        """Data messages that came after `close_data`."""
        self._takes_data = True

    def open_nowait(self) -> None:
        """Open it, on a bus that stays in its process."""
        self._state = "open"
        self._bus._add(self)

    def close_data(self) -> None:
        """Take no more data. Whoever reads gets what is there, and then `trio.EndOfChannel`; the rest goes on."""
        if self._takes_data:
            self._takes_data = False
            self._end(trio.EndOfChannel())

    def put_system(self, message: BusMessage) -> int:
        return TAKEN if self._take_at_once(message) else super().put_system(message)

    def put(self, message: BusMessage) -> int:
        if self._take_at_once(message):
            return TAKEN
        if not self._takes_data:
            self.refused += 1
            return TAKEN
        return super().put(message)
