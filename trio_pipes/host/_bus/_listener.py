"""`Listener`: a place where messages are not kept, but handled in the step in which they arrive.

For the library's own protocols over the bus (jobs, for one), whose handling of a message is a look-up and a wake-up: a
reader with a task and a buffer would cost more than that, and could be too slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._subscription import CROWDED, TAKEN, Subscription

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ._messages import BusMessage

__all__ = ["Listener"]


class Listener(Subscription):
    """What `bus.listen(...)` gives: `async with` opens it. It cannot be read."""

    def __init__(
        self,
        name: str,
        types: tuple[type[BusMessage], ...],
        handle: Callable[[BusMessage], bool | None],
        failed: Callable[[Exception], None],
        enter: Callable[[Subscription], Awaitable[None]],
        leave: Callable[[Subscription], None],
    ) -> None:
        super().__init__(name, types, 1, "error", enter, leave)
        self._handle = handle
        self._failed = failed

    def put_system(self, message: BusMessage) -> int:
        if self._state == "open":
            self._taken += 1
            self._handle(message)
        return TAKEN

    def put(self, message: BusMessage) -> int:
        if self._state == "open":
            self._taken += 1
            if self._handle(message):
                return CROWDED
        return TAKEN

    def fail(self, error: Exception) -> None:
        was_open = self._state == "open"
        super().fail(error)
        if was_open:
            self._failed(error)
