"""Ends and cancels that come to a runner over its bus, and those that it sends.

Whoever can send on a bus may end what is on it; where that is too much, a proxy with an allow-list stands between.
A request takes effect in the step in which it arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._mailbox import Mailbox
from ._messages import CancelMessage, EndMessage

if TYPE_CHECKING:
    from .._bus import Bus, BusMessage
    from .._worker import Host

__all__ = ["RemoteEnds", "ask_elsewhere", "ask_everywhere"]

Ask = Callable[[str, str, str | None], object]
"""A worker's name, the request, and its reason."""


class RemoteEnds:
    """What others on the bus ask of one runner, while it runs."""

    def __init__(self, runner: Host, bus: Bus, ask: Ask) -> None:
        self._runner = runner
        self._ask = ask
        self._place = Mailbox(bus, runner.runner_id, (EndMessage, CancelMessage), self._take, buffer=1)

    async def open(self) -> None:
        """Listen from now on."""
        await self._place.__aenter__()

    def open_nowait(self) -> None:
        """The same, on a bus that stays in its process."""
        self._place.open_nowait()

    def close(self) -> None:
        """Listen no more."""
        self._place.close()

    def _take(self, message: BusMessage) -> bool:
        if isinstance(message, EndMessage | CancelMessage):
            cancels = isinstance(message, CancelMessage)
            if message.worker is not None:
                self._ask(message.worker, "cancel" if cancels else "stop_when_done", message.reason)
            elif cancels:
                self._runner.cancel(message.reason)
            else:
                self._runner.end(message.reason)
        return True


def _message(request: str, reason: str | None, source: str) -> EndMessage | CancelMessage:
    kind = CancelMessage if request == "cancel" else EndMessage
    return kind(reason, source=source)


async def ask_everywhere(runner: Host, request: str, reason: str | None) -> None:
    """Every other runner of the bus."""
    await runner.bus.send(_message(request, reason, runner.runner_id))


async def ask_elsewhere(runner: Host, name: str, request: str, reason: str | None) -> bool:
    """A worker of another runner. False: nobody has that name."""
    message = _message(request, reason, runner.runner_id)
    info = runner.registry.get(name)
    if info is None:
        message.target = name
    else:
        message.target, message.worker = info.runner, name
    return await runner.bus.send(message)
