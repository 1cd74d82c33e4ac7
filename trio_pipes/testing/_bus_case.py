"""What the rules for buses are checked with: messages, and pairs of buses on one medium."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import trio

from trio_pipes import Bus, BusGap, BusMessage, DataMessage, Subscription, SystemMessage, on_wire
from trio_pipes._base import next_id

__all__ = ["BusCase", "Letter", "Postcard", "Secret", "Signal", "drain", "name", "numbers"]

T = TypeVar("T")


@on_wire("trio_pipes.testing.letter")
@attrs.define(eq=False, kw_only=True)
class Letter(DataMessage):
    """A data message."""

    n: int = 0
    text: str = ""
    content: Any = None


@on_wire("trio_pipes.testing.postcard")
@attrs.define(eq=False, kw_only=True)
class Postcard(DataMessage):
    """One of another class."""

    n: int = 0


@on_wire("trio_pipes.testing.signal")
@attrs.define(eq=False, kw_only=True)
class Signal(SystemMessage):
    """A system message."""

    n: int = 0


@attrs.define(eq=False, kw_only=True)
class Secret(DataMessage):
    """One that is not listed for the wire, and stays in its process."""

    local = True
    n: int = 0


@attrs.frozen(kw_only=True)
class BusCase:
    """The bus in question, and how it can be broken."""

    make: Callable[[], Bus]
    cut: Callable[[Bus], Awaitable[object]] | None
    inject: Callable[[bytes], Awaitable[object]] | None
    patience: float

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Bus, Bus]]:
        """Two buses on one medium, open; where a bus does not leave its process, the same one twice."""
        one = self.make()
        two = self.make() if one.crosses else one
        async with one, two:
            yield one, two

    async def soon(self, what: str, wait: Awaitable[T]) -> T:
        """What somebody waits for, within the patience."""
        with trio.move_on_after(self.patience):
            return await wait
        raise AssertionError(f"nothing came of it in {self.patience:g} s: {what}")

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Until something holds that nobody tells of."""

        async def look() -> None:
            while not holds():  # noqa: ASYNC110
                await trio.sleep(self.patience / 1000)

        await self.soon(what, look())

    async def settle(self) -> None:
        """Long enough for what should not come to have come."""
        await trio.sleep(min(self.patience / 50, 0.2))


def name(what: str) -> str:
    """A name that nobody else has, not even what another rule left behind."""
    return f"{what}-{next_id()}"


def drain(messages: Subscription) -> list[BusMessage]:
    """What is there."""
    found: list[BusMessage] = []
    while True:
        try:
            found.append(messages.receive_nowait())
        except trio.WouldBlock:
            return found


def numbers(found: list[BusMessage]) -> list[Any]:
    """Their numbers; for a gap, how many it says are missing."""
    return [f"gap of {each.missed}" if isinstance(each, BusGap) else getattr(each, "n", each) for each in found]
