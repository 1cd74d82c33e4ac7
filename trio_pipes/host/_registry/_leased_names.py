"""`LeasedNames`: the names that a runner owns at a broker, under a lease that it renews.

Those who want a name wait here until the one task that asks the broker has got it: thousands of workers that start at
the same time are a few requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from typing import Final

import attrs
import trio

from trio_pipes._base import BusError
from trio_pipes.host._bus import Bus

__all__ = ["LeasedNames"]

logger = logging.getLogger("trio_pipes")

MOST_NAMES: Final = 1_000  # in one request


@attrs.define(eq=False)
class _Claim:
    done: trio.Event = attrs.field(factory=trio.Event)
    owner: str | None = None
    """Who has the name already."""
    error: BusError | None = None


class LeasedNames:
    """The names of one runner."""

    def __init__(self, bus: Bus, owner: str, lost: Callable[[str], None]) -> None:
        self._bus = bus
        self._owner = owner
        self._lost = lost
        self._held: set[str] = set()
        self._wanted: dict[str, _Claim] = {}
        self._back: dict[str, Callable[[], None]] = {}
        self._work = trio.Event()

    async def hold(self, name: str) -> str | None:
        """Become the owner of a name. Gives the other owner, if there is one. Raises `BusError`."""
        given = self._back.pop(name, None)
        if given is not None:
            given()  # it was not given back yet, and is ours still
            return None
        claim = self._wanted[name] = _Claim()
        self._work.set()
        try:
            await claim.done.wait()
        except BaseException:
            if self._wanted.pop(name, None) is None and claim.owner is None and claim.error is None:
                self.give_back(name, lambda: None)
            raise
        if claim.error is not None:
            raise BusError(str(claim.error)) from claim.error
        return claim.owner

    def give_back(self, name: str, then: Callable[[], None]) -> None:
        """Own it no more; `then` is called when others can have it."""
        if name in self._held:
            self._back[name] = then
            self._work.set()
        else:
            then()

    async def serve(self) -> None:
        """Ask the broker for what is wanted, and give back what is not."""
        while True:
            while not (self._back or self._wanted):
                self._work = trio.Event()
                await self._work.wait()
            await trio.lowlevel.checkpoint()  # for others who start in this step
            while self._back:
                await self._release()
            while self._wanted:
                await self._claim(tuple(islice(self._wanted, MOST_NAMES)))

    async def _release(self) -> None:
        back = {name: self._back.pop(name) for name in tuple(islice(self._back, MOST_NAMES))}
        try:
            await self._bus.release(tuple(back), self._owner)
        except BusError as exc:  # whoever wants one of them waits until the lease has run out
            logger.warning("names of %s could not be given back: %s", self._owner, exc)
        except BaseException:
            self._back = back | self._back
            raise
        for name, then in back.items():
            self._held.discard(name)
            then()

    async def _claim(self, names: tuple[str, ...]) -> None:
        taken: dict[str, str] = {}
        error: BusError | None = None
        try:
            taken = await self._bus.claim(names, self._owner)
        except BusError as exc:
            error = exc
        else:
            if not taken:
                self._held.update(names)
        for name in taken or names:
            claim = self._wanted.pop(name, None)
            if claim is not None:
                claim.owner, claim.error = taken.get(name), error
                claim.done.set()
            elif name in self._held:  # who wanted it was cancelled
                self.give_back(name, lambda: None)

    async def renew(self) -> None:
        """Keep the lease, and say which names were lost in spite of that."""
        while True:
            await trio.sleep(self._bus.lease / 3)
            if not self._held:
                continue
            try:
                lost = await self._bus.renew(self._owner)
            except BusError as exc:  # and when it is reached again, it says what was lost
                logger.warning("the lease of %s could not be renewed: %s", self._owner, exc)
                continue
            for name in lost:
                self._held.discard(name)
                given = self._back.pop(name, None)
                if given is not None:
                    given()
                else:
                    self._lost(name)

    async def close(self) -> None:
        """Give everything back."""
        self._back.clear()
        if self._held:
            self._held.clear()
            try:
                await self._bus.release(None, self._owner)
            except BusError as exc:
                logger.warning("names of %s could not be given back: %s", self._owner, exc)

    async def hold_first(self, name: str) -> str | None:
        """As `hold`, before there is anybody who serves."""
        taken = await self._bus.claim([name], self._owner)
        if not taken:
            self._held.add(name)
        return taken.get(name)
