"""Whether one worker is active: the receiving side of orders, without I/O.

# Numbers.
#
# Each order has a number that is higher than any its sender has seen, and who accepts it has seen it from then on. So an
# order that comes late, or a copy of one, is refused: something newer is known. A copy of the order that was accepted
# last from this sender is accepted once more and changes nothing, since its answer may have been lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._orders import ActivateMessage, ActivationAnswer, DeactivateMessage, Order

__all__ = ["Activation"]

# So many senders are remembered with what was accepted from them. More than can have an order under way at one moment.
SENDERS = 256


class Activation:
    """The state of one worker."""

    def __init__(self, active: bool, changed: Callable[[bool, Any], None]) -> None:
        self.name = ""
        """Its address."""
        self.active = active
        self.args: Any = None
        """What it was activated with; None while it is not active."""
        self.number = 0
        """The highest number seen."""
        self.orders = 0
        """How many orders it has followed."""
        self.closed = False
        """It is ending: it will not be active again."""
        self.unconfirmed: tuple[str, Order] | None = None
        """Who handed over, until that one has said that it knows."""
        self._changed = changed
        self._accepted: dict[str, int] = {}

    def next_number(self) -> int:
        """For an order to somebody."""
        self.number += 1
        return self.number

    def set(self, active: bool, args: Any = None) -> bool:
        """Be active, or not. False: that makes no difference."""
        if active is self.active:
            return False
        self.active = active
        self.args = args if active else None
        self.unconfirmed = None
        self._changed(active, args)
        return True

    def take(self, order: Order) -> ActivationAnswer:
        """Follow an order, or not; gives the answer to it."""
        if isinstance(order, ActivateMessage):
            accepted, changed, why = self._activate(order)
        elif isinstance(order, DeactivateMessage):
            accepted, changed, why = self._deactivate(order)
        else:
            accepted, changed, why = self._give_back(order)
        return ActivationAnswer(
            serial=order.serial,
            number=order.number,
            accepted=accepted,
            changed=changed,
            highest=self.number,
            why=why,
            source=self.name,
            target=order.source,
        )

    def _activate(self, order: ActivateMessage) -> tuple[bool, bool, str | None]:
        if self._accepted.get(order.source) == order.number:
            return True, False, None
        if order.number <= self.number:
            return False, False, None
        if self.closed:
            return False, False, f"{self.name!r} is ending"
        if self.active:
            return False, False, f"{self.name!r} is active already"
        self._accept(order)
        self.set(True, order.args)
        if order.hands_over:
            self.unconfirmed = (order.source, order)
        return True, True, None

    def _deactivate(self, order: Order) -> tuple[bool, bool, str | None]:
        if self._accepted.get(order.source) == order.number:
            return True, False, None
        if order.number <= self.number:
            return False, False, None
        self._accept(order)
        return True, self.set(False), None

    def _give_back(self, order: Order) -> tuple[bool, bool, str | None]:
        """Accepted: it has gone on, and cannot be given back."""
        if self._accepted.get(order.source) == order.number:
            if not (self.active and self.number == order.number):
                return True, False, None
            del self._accepted[order.source]
            self.set(False)
            return False, True, None
        self.number = max(self.number, order.number)  # and what is recalled, if it comes yet, is refused
        return False, False, None

    def _accept(self, order: Order) -> None:
        self.number = order.number
        self.orders += 1
        self._accepted.pop(order.source, None)
        self._accepted[order.source] = order.number
        if len(self._accepted) > SENDERS:
            del self._accepted[next(iter(self._accepted))]
