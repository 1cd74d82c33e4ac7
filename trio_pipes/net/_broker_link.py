"""`BrokerLink`: what a kind of broker has to do for `BrokerBus`, on one connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Sequence

__all__ = ["BrokerLink", "LinkLost", "Refused"]


class LinkLost(Exception):
    """This connection is of no more use; the text says why, without secrets. `BrokerBus` makes another one."""


class Refused(Exception):
    """The broker understood a command and said no; the text is what it said. The connection goes on."""


class BrokerLink(ABC):
    """One connection to a broker.

    `read` runs in one task from the beginning. All other methods are called by one other task, one after the other, and
    return when the broker has acknowledged them. When one of them is cancelled, or takes too long, or raises `LinkLost`, the
    link is closed and not used again; only `read` may be cancelled and called anew. What raises `Refused` is tried again on
    another connection, later; in `claim`, `renew` and `release` it is told to whoever asked.
    """

    publishes_nowait: bool = False
    """Whether `publish_nowait` can be called."""

    @abstractmethod
    async def read(self, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand over each message that arrives, until the connection is lost: then raise `LinkLost`."""

    @abstractmethod
    async def publish(self, batch: Sequence[tuple[str | None, bytes]]) -> None:
        """Carry these, in this order, to whoever attends their topics; None is the topic that everybody attends."""

    def publish_nowait(self, batch: Sequence[tuple[str | None, bytes]], acknowledged: Callable[[], None]) -> bool:
        """As `publish`, but send it in this very step, from whatever task; `read` calls `acknowledged` later.

        False: not possible just now. Perhaps some of it goes out all the same: numbers make that harmless.
        """
        raise NotImplementedError

    @abstractmethod
    async def attend(self, topics: Collection[str | None]) -> None:
        """From now on messages on these topics arrive."""

    @abstractmethod
    async def unattend(self, topics: Collection[str]) -> None:
        """They need not arrive any more."""

    @abstractmethod
    async def ping(self) -> None:
        """Ask for a sign of life, of each direction that messages take."""

    @abstractmethod
    async def claim(self, names: Sequence[str], owner: str, lease: float) -> dict[str, str]:
        """In one step: begin the lease of `owner` anew, and give it all these names; or none, where others with a lease have some.

        Gives those, with their owners.
        """

    @abstractmethod
    async def renew(self, owner: str, lease: float) -> bool:
        """Begin the lease of `owner` anew if it has not run out; else False, and nothing is changed."""

    @abstractmethod
    async def release(self, names: Sequence[str], owner: str, *, lease_too: bool) -> None:
        """Take these names from `owner` where it still has them; its lease as well, when it needs none."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connection, without waiting for the other side. May be called more than once."""
