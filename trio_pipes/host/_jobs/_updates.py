"""`Updates`: what a handler has told and its requester has not read."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, final

__all__ = ["UPDATES_KEPT", "Updates"]

# Then the oldest is dropped, and counted.
UPDATES_KEPT: Final = 64


@final
class Updates:
    """Urgent ones before the others, each kind in its order. What was lost before one that has come is counted."""

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()
        self._urgent: deque[Any] = deque()
        self._number = self._urgent_number = 0
        self.dropped = 0
        """Those that made room, or were lost on their way."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._urgent)

    def put(self, number: int, data: Any) -> None:
        """One that is not urgent; those that came before it and are not here will not come."""
        if number >= self._number:
            self.expect(number)
            self._number += 1
            self._waiting.append(data)
            self._make_room()

    def put_urgent(self, number: int, data: Any) -> None:
        """One that is."""
        if number >= self._urgent_number:
            self.dropped += number - self._urgent_number
            self._urgent_number = number + 1
            self._urgent.append(data)
            self._make_room()

    def expect(self, number: int) -> None:
        """So many were sent that are not urgent: those that are not here are lost."""
        self.dropped += max(0, number - self._number)
        self._number = max(self._number, number)

    def take(self) -> Any:
        """The next one. There has to be one."""
        return (self._urgent or self._waiting).popleft()

    def _make_room(self) -> None:
        if len(self) > UPDATES_KEPT:
            (self._waiting or self._urgent).popleft()
            self.dropped += 1
