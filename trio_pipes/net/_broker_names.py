"""`BrokerNames`: which names the owners in this process have, and what is asked of the broker about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from ._broker_link import BrokerLink

__all__ = ["BrokerNames"]

T = TypeVar("T")


class Ask(Protocol):
    """Has something asked, on this connection or the next, and gives the answer. Raises `BusError`."""

    async def __call__(self, do: Callable[[BrokerLink], Awaitable[T]]) -> T: ...


class BrokerNames:
    """The broker judges; here is kept what it has to be told again when it has forgotten.

    `later` has something asked whose answer nobody waits for.
    """

    def __init__(self, lease: float, ask: Ask, later: Callable[[Callable[[BrokerLink], Awaitable[Any]]], None]) -> None:
        self._lease = lease
        self._ask = ask
        self._later = later
        self._owned: dict[str, set[str]] = {}

    async def claim(self, names: Sequence[str], owner: str) -> dict[str, str]:
        """All of them or none; gives those that others have."""
        try:
            taken = await self._ask(lambda link: link.claim(names, owner, self._lease))
        except BaseException:
            # Perhaps they were given and the answer is on its way; whoever asked does not know that it has them.
            back = [name for name in names if name not in self._owned.get(owner, ())]
            self._later(lambda link: link.release(back, owner, lease_too=False))
            raise
        if not taken:
            self._owned.setdefault(owner, set()).update(names)
        return taken

    async def renew(self, owner: str) -> set[str]:
        """Where the lease had run out, all names are claimed again, but for those that others have now."""
        if await self._ask(lambda link: link.renew(owner, self._lease)):
            return set()
        mine = self._owned.get(owner, set())
        lost: set[str] = set()
        while taken := await self._ask(lambda link: link.claim([*(mine - lost)], owner, self._lease)):
            lost.update(taken)
        mine -= lost
        return lost

    async def release(self, names: Sequence[str] | None, owner: str) -> None:
        """None: all, and the lease."""
        mine = self._owned.get(owner, set())
        back = tuple(mine) if names is None else names
        mine.difference_update(back)
        if not mine:
            self._owned.pop(owner, None)
        try:
            await self._ask(lambda link: link.release(back, owner, lease_too=names is None))
        except BaseException:
            # They are nobody's here any more, and the owner goes on renewing the lease: the broker has to hear of it.
            self._later(lambda link: link.release(back, owner, lease_too=names is None))
            raise
