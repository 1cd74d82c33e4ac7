"""Orders to other workers: sent until they are answered; and the handover of the one token that says who is active.

# A handover, and what can go wrong with it.
#
# The giver is inactive before anything is sent, so two are never active. Then it asks the taker, again and again, until
# one of these happens:
#
#   the taker accepts              it is over; the giver confirms that, and only then can the taker hand on
#   the taker refuses              the giver is active again: a refusal is final, whatever copies still come
#   the order cannot be written    the giver is active again: nothing was sent
#   nobody has the taker's name,   the giver is active again: what was not answered was not confirmed, and so has
#   or it is gone                  not gone on to a third
#   no answer in time              the giver recalls what it gave. The answer says that it was given back (the giver is
#                                  active again) or has gone on (the handover was a success). Until there is one nobody
#                                  can tell who has it, and the giver stays inactive
#
# A worker that is cut off for longer than its lease counts as gone while it may be active still. Nobody can tell the
# difference; so frames of a bridge carry the number of their sender's activation, and older ones are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trio_pipes._base import ActivationError, WireError

from ._activation import Activation
from ._orders import ActivateMessage, ActivationAnswer, ConfirmMessage, DeactivateMessage, Order, RecallMessage

if TYPE_CHECKING:
    from .._bus import BusMessage

__all__ = ["Asking"]

# Seconds after which an order that nobody answered is sent again.
AGAIN = 1.0


class _Gone(Exception):
    """Nobody has the name that an order was sent to."""


@attrs.define(eq=False)
class _Waiting:
    """For the answer to one order."""

    order: Order
    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: ActivationAnswer | None = None


@attrs.define(eq=False)
class _Handover:
    """The one that this worker makes, or made last."""

    to: str
    args: Any
    timeout: float
    back: Any
    """What the giver was activated with itself: again, if it comes back."""
    orders: int
    """How many orders the giver had followed: after one more it does not take back."""
    order: ActivateMessage | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    settled: trio.Event = attrs.field(factory=trio.Event)
    known: trio.Event = attrs.field(factory=trio.Event)
    """The caller need not wait any more: it is settled, or has taken too long."""
    recalled: bool = False
    """From then on only the answer to the recall counts: who had accepted may have given back since."""
    error: ActivationError | None = None

    def settle(self, error: str | None = None) -> None:
        if not self.settled.is_set():
            self.error = None if error is None else ActivationError(error)
            self.settled.set()
            self.known.set()


class Asking:
    """The orders of one worker."""

    def __init__(
        self,
        activation: Activation,
        send: Callable[[BusMessage], Any],
        knows: Callable[[str], bool],
        is_gone: Callable[[str, bool, bool], bool],
        start_soon: Callable[..., None],
    ) -> None:
        self._activation = activation
        self._send = send
        self._knows = knows
        self._is_gone = is_gone  # of a name, whether `send` found somebody, and whether it was known before
        self._start_soon = start_soon
        self._waiting: dict[int, _Waiting] = {}
        self._handover: _Handover | None = None
        self._confirmed = trio.lowlevel.ParkingLot()

    # -- what comes in

    def take(self, message: ActivationAnswer | ConfirmMessage) -> None:
        """An answer, or the confirmation of one."""
        if isinstance(message, ConfirmMessage):
            self._take_confirmation(message)
            return
        waiting = self._waiting.get(message.serial)
        if waiting is not None:
            waiting.answer = message
            waiting.answered.set()
        handover = self._handover
        if handover is None or handover.order is None or not message.accepted or message.source != handover.to:
            return
        if message.serial == handover.order.serial and not handover.recalled:
            handover.settle()
            self._start_soon(self._send, ConfirmMessage(number=message.number, target=message.source))

    def _take_confirmation(self, message: ConfirmMessage) -> None:
        unconfirmed = self._activation.unconfirmed
        if unconfirmed is not None and (message.source, message.number) == (unconfirmed[0], unconfirmed[1].number):
            self._activation.unconfirmed = None
            self._confirmed.unpark_all()

    # -- orders

    async def activate(self, target: str, args: Any, timeout: float) -> bool:
        """Have it be active; False: it is already."""
        answer = await self._order(
            target, lambda number: ActivateMessage(number=number, args=args, target=target), timeout
        )
        if not answer.accepted and answer.why is not None and not answer.why.endswith("active already"):
            raise ActivationError(answer.why)
        return answer.accepted

    async def deactivate(self, target: str, timeout: float) -> bool:
        """Have it be inactive; False: it is already."""
        answer = await self._order(target, lambda number: DeactivateMessage(number=number, target=target), timeout)
        return answer.changed

    async def _order(self, target: str, make: Callable[[int], Order], timeout: float) -> ActivationAnswer:
        with trio.move_on_after(timeout):
            try:
                return await self._until_final(target, make)
            except _Gone:
                raise self._nobody(target) from None
        nobody = "" if self._knows(target) else "; no worker of that name is known"
        raise ActivationError(f"{target!r} did not answer {self._activation.name!r} within {timeout:g} s{nobody}")

    def _nobody(self, target: str) -> ActivationError:
        return ActivationError(f"there is no worker named {target!r} that {self._activation.name!r} could reach")

    async def _until_final(self, target: str, make: Callable[[int], Order]) -> ActivationAnswer:
        """Ask with higher numbers until one is not too low."""
        while True:
            answer = await self._ask(target, make(self._activation.next_number()))
            if answer.accepted or answer.why is not None:
                return answer
            self._activation.number = max(self._activation.number, answer.highest)

    async def _ask(self, target: str, order: Order) -> ActivationAnswer:
        """Send it until it is answered. Raises `_Gone`."""
        waiting = self._waiting[order.serial] = _Waiting(order)
        knew = self._knows(target)
        try:
            while True:
                found = await self._send(order)
                if waiting.answer is None and self._is_gone(target, found, knew):
                    raise _Gone
                with trio.move_on_after(AGAIN):
                    await waiting.answered.wait()
                if waiting.answer is not None:
                    return waiting.answer
        finally:
            del self._waiting[order.serial]

    # -- handing over

    async def hand_over(self, target: str, args: Any, timeout: float) -> None:
        """Be inactive, and have `target` be active. Raises `ActivationError`, which says who has the token then."""
        activation = self._activation
        if self._handover is not None and not self._handover.settled.is_set():
            raise ActivationError(
                f"{activation.name!r} does not know yet what came of handing over to {self._handover.to!r}"
            )
        if not activation.active:
            raise ActivationError(f"{activation.name!r} is not active, and so has nothing to hand over")
        if target == activation.name:
            activation.set(False)
            activation.number += 1
            activation.set(True, args)
            await trio.lowlevel.checkpoint()
            return
        if activation.unconfirmed is not None:
            await self._until_confirmed(activation.unconfirmed, timeout)
        handover = self._handover = _Handover(target, args, timeout, activation.args, activation.orders)
        activation.set(False)
        self._start_soon(self._hand_over, handover)
        try:
            await handover.known.wait()
        except trio.Cancelled:
            handover.scope.cancel(reason="its caller was cancelled")
            raise
        if handover.error is not None:
            raise handover.error
        if not handover.settled.is_set():
            raise ActivationError(
                f"{target!r} did not answer {activation.name!r} within {2 * timeout:g} s: it may or may not be active. "
                f"{activation.name!r} stays inactive until that is known"
            )

    async def _until_confirmed(self, unconfirmed: tuple[str, Order], timeout: float) -> None:
        """Whoever handed over to us does not know yet that it worked: it could take it back while we hand it on."""
        giver, order = unconfirmed
        activation = self._activation
        knew = self._knows(giver)
        with trio.move_on_after(timeout):
            while activation.unconfirmed == unconfirmed:
                answer = activation.take(order)  # as a copy of it
                if self._is_gone(giver, await self._send(answer), knew):
                    break
                with trio.move_on_after(AGAIN):
                    if activation.unconfirmed == unconfirmed:
                        await self._confirmed.park()
            if not activation.active:
                raise ActivationError(f"{giver!r} took back what it had handed to {activation.name!r}")
            return
        raise ActivationError(
            f"{giver!r}, who handed over to {activation.name!r}, did not confirm it within {timeout:g} s: "
            f"{activation.name!r} stays active"
        )

    async def _hand_over(self, handover: _Handover) -> None:
        """In a task of the worker's: it goes on when the caller does not wait any more."""
        name, to = self._activation.name, handover.to

        def make(number: int) -> Order:
            handover.order = ActivateMessage(number=number, args=handover.args, hands_over=True, target=to)
            return handover.order

        answer: ActivationAnswer | None = None
        try:
            with handover.scope:
                handover.scope.deadline = trio.current_time() + handover.timeout
                answer = await self._until_final(to, make)
            if handover.settled.is_set():
                return
            if answer is not None:
                self._take_back(handover, str(answer.why))
                return
            with trio.move_on_after(handover.timeout):
                await self._recall(handover)
                return
            handover.known.set()
            await self._recall(handover)
        except _Gone:
            self._take_back(handover, f"there is no worker named {to!r} that {name!r} could reach")
        except WireError as exc:  # the arguments cannot be sent, and so nothing was
            self._take_back(handover, str(exc))

    async def _recall(self, handover: _Handover) -> None:
        if handover.settled.is_set():
            return
        assert handover.order is not None
        handover.recalled = True
        number = handover.order.number
        answer = await self._ask(handover.to, RecallMessage(number=number, target=handover.to))
        if answer.accepted:
            handover.settle()
        else:
            self._take_back(
                handover, f"{handover.to!r} did not answer within {handover.timeout:g} s, or nobody waited for it"
            )

    def _take_back(self, handover: _Handover, why: str) -> None:
        if handover.settled.is_set():
            return
        activation = self._activation
        if not activation.closed and activation.orders == handover.orders:
            activation.next_number()
            activation.set(True, handover.back)
            handover.settle(f"{why}: {activation.name!r} is active again")
        elif activation.active:
            handover.settle(f"{why}: {activation.name!r} was activated by somebody meanwhile")
        else:
            handover.settle(f"{why}: {activation.name!r} was told to be inactive meanwhile")
