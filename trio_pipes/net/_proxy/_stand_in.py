"""A worker that stands here for one at the other end of a link: it has its name, and sends on what comes for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from trio_pipes._base import REQUESTED, Requested
from trio_pipes.host import Bus, BusMessage, Subscription

__all__ = ["BUFFER", "Carry", "StandIn", "carry_all"]

# Messages that may wait for one name while the link is slow.
BUFFER: Final = 256

Carry = Callable[[BusMessage], Awaitable[None]]
Lost = Callable[[int], None]


class StandIn:
    """Known by the registry as any other worker; gone when the link breaks, or when the real one is."""

    def __init__(self, name: str, bus: Bus, carry: Carry, lost: Lost) -> None:
        self.name: str = name
        self._bus = bus
        self._carry = carry
        self._lost = lost
        self._scope = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry messages until cancelled."""
        with self._scope:
            async with (
                self._bus.subscribe(self.name, buffer=BUFFER, overflow="drop_oldest") as own,
                self._bus.subscribe(f"{self.name}/", buffer=BUFFER, overflow="drop_oldest") as below,
                trio.open_nursery() as nursery,
            ):
                task_status.started()
                nursery.start_soon(carry_all, own, self._carry, self._lost)
                nursery.start_soon(carry_all, below, self._carry, self._lost)

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """What came for it has been taken as it came: end now."""
        return self.cancel(reason)

    def cancel(self, reason: str | None = None) -> Requested:
        """End now."""
        self._scope.cancel(reason=reason)
        return REQUESTED


async def carry_all(messages: Subscription, carry: Carry, lost: Lost) -> None:
    """Send on what is for these names, and tell how many did not fit."""
    told = 0
    async for message in messages:
        if messages.dropped > told:
            lost(messages.dropped - told)
            told = messages.dropped
        if message.target is not None and not message.local:
            await carry(message)
