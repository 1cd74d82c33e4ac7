"""A worker on the bus: its mailbox, whether it is active, and its orders to others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from trio_pipes._base import BusError

from ._activation import Activation
from ._asking import Asking
from ._mailbox import Mailbox
from ._messages import CancelMessage, EndMessage
from ._orders import ActivationAnswer, ConfirmMessage, Order

if TYPE_CHECKING:
    from trio_pipes._base import Requested

    from .._bus import BusMessage
    from .._worker import Host

__all__ = ["CONTROL", "Owner", "Presence"]

CONTROL = (Order, ActivationAnswer, ConfirmMessage, EndMessage, CancelMessage)
"""What every worker takes, whatever else it wants."""


class Owner(Protocol):
    """Whose presence it is."""

    @property
    def address(self) -> str: ...
    @property
    def runner(self) -> Host: ...
    def stop_when_done(self, reason: str | None = None) -> Requested: ...
    def cancel(self, reason: str | None = None) -> Requested: ...
    def spawn(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """In its nursery; nothing where it is over."""
        ...

    def activity_changed(self, active: bool, args: Any) -> None: ...
    def take(self, message: BusMessage) -> bool:
        """A message that is no order: whether it is dealt with."""
        ...


class Presence:
    """One worker's place on the bus."""

    def __init__(self, owner: Owner, *, active: bool) -> None:
        self._owner = owner
        self.activation = Activation(active, owner.activity_changed)
        self._asking = Asking(self.activation, self._send, self._knows, self._is_gone, owner.spawn)
        self._mailbox: Mailbox | None = None
        self._early: list[Order] | None = []
        self._closed = trio.Event()
        self.dropped = 0
        """Data messages that came while the owner was not active."""

    @asynccontextmanager
    async def opened(self, types: tuple[type[BusMessage], ...], buffer: int) -> AsyncIterator[None]:
        """What is sent to the owner from now on is kept for it."""
        name = self.activation.name = self._owner.address
        async with Mailbox(self._owner.runner.bus, name, types, self._take, buffer) as self._mailbox:
            if self._closed.is_set():
                self._mailbox.close_data()
            yield

    def begin(self) -> None:
        """The owner is set up: do what it was told meanwhile."""
        early, self._early = self._early or (), None
        for order in early:
            self._follow(order)

    def close(self) -> None:
        """Take no more data."""
        self._closed.set()
        self.activation.closed = True
        if self._mailbox is not None:
            self._mailbox.close_data()

    async def next_message(self) -> BusMessage | None:
        """The next that is data; None: it is closed, and there is no more."""
        if self._mailbox is None:
            await self._closed.wait()
            return None
        try:
            return await self._mailbox.__anext__()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return None

    @property
    def waiting(self) -> int:
        """Data messages in the mailbox."""
        return 0 if self._mailbox is None else self._mailbox.statistics().waiting

    def _take(self, message: BusMessage) -> bool:
        if isinstance(message, Order):
            self._follow(message)
            return True
        if isinstance(message, ActivationAnswer | ConfirmMessage):
            self._asking.take(message)
            return True
        if isinstance(message, EndMessage | CancelMessage):
            if message.target is not None and message.worker is None:
                request = self._owner.cancel if isinstance(message, CancelMessage) else self._owner.stop_when_done
                request(message.reason)
            return True
        if self._owner.take(message):
            return True
        self.dropped += not self.activation.active
        return not self.activation.active

    def _follow(self, order: Order) -> None:
        if self._early is not None:
            self._early.append(order)
        else:
            self._owner.spawn(self._send, self.activation.take(order))

    # -- to others

    async def activate(self, name: str, args: Any, timeout: float) -> bool:
        """See `BaseWorker.activate_worker`."""
        target = self._address_of(name)
        if target == self.activation.name:
            await trio.lowlevel.checkpoint()
            return self.activation.set(True, args)
        return await self._asking.activate(target, args, timeout)

    async def deactivate(self, name: str, timeout: float) -> bool:
        """See `BaseWorker.deactivate_worker`."""
        target = self._address_of(name)
        if target == self.activation.name:
            await trio.lowlevel.checkpoint()
            return self.activation.set(False)
        return await self._asking.deactivate(target, timeout)

    async def hand_over(self, name: str, args: Any, timeout: float) -> None:
        """See `BaseWorker.hand_over`."""
        await self._asking.hand_over(self._address_of(name), args, timeout)

    def _address_of(self, name: str) -> str:
        worker = self._owner.runner.get_worker(name)
        return getattr(worker, "address", name)

    async def _send(self, message: BusMessage) -> bool:
        message.source = self.activation.name
        try:
            return await self._owner.runner.bus.send(message)
        except BusError:
            return True  # the broker is away, and nobody knows who is there: it is sent again

    def _knows(self, name: str) -> bool:
        runner = self._owner.runner
        return runner.bus.crosses and name in runner.registry

    def _is_gone(self, name: str, found: bool, knew: bool) -> bool:
        runner = self._owner.runner
        if not runner.bus.crosses:
            return not found
        return name not in runner.registry and (knew or not found)
