"""What both ends of a proxy are: a worker with rules, that ends when it is told."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any, Final

import attrs
import trio
from websockets.exceptions import ConnectionClosed

from trio_pipes._base import REQUESTED, Codec, ConfigurationError, Requested, check_name, check_reason, default_name
from trio_pipes.host import BusMessage, Host

from ._link import Counts, Link, Wire
from ._rules import make_rules

__all__ = ["ProxyStatistics", "ProxyWorker", "WebSocket", "same_token"]

LONGEST_PING: Final = 20.0
LAST_WORDS: Final = 5.0


@attrs.frozen
class ProxyStatistics:
    """One end of a proxy at one moment."""

    links: int
    """Open connections."""
    sent: int
    received: int
    refused_here: int
    """Messages that came and were not let in."""
    refused_there: int
    """Messages that the other end did not let in."""
    lost: int
    """Messages that did not fit while the link was slow, that cannot be written for the wire, or that the bus here did not take."""


class ProxyWorker:
    """The part that the server and the client have in common."""

    def __init__(
        self,
        name: str | None,
        token: str,
        expose: Iterable[str],
        reach: Iterable[str],
        accept: Iterable[type[BusMessage]],
        forward: Iterable[type[BusMessage]],
        codec: Codec | None,
    ) -> None:
        who = type(self).__name__
        check_name(f"{who}(name", name, optional=True)
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigurationError(f"{who}(token=...): expected printable ASCII without spaces; it is not shown here")
        self.name: str = name or default_name(type(self))
        self._token = token
        self._rules = make_rules(who, expose, reach, accept, forward)
        self._codec = codec or Codec()
        self._counts = Counts()
        self._links: dict[str, _Open] = {}
        self._met: set[str] = set()
        self._scope = trio.CancelScope()
        self._runner_or_none: Host | None = None

    def __repr__(self) -> str:
        return f"<{self.name} with {len(self._links)} links>"

    def attach(self, runner: Host) -> None:
        """Called by the runner that hosts it."""
        self._runner_or_none = runner

    @property
    def runner(self) -> Host:
        """The runner that hosts it. Raises `RuntimeError` where there is none."""
        if self._runner_or_none is None:
            raise RuntimeError(f"{self.name} has no runner: add it to one, PipelineRunner(proxy)")
        return self._runner_or_none

    @property
    def _ping(self) -> float:
        """Seconds between two signs of life of a connection, and how late an answer may be."""
        return min(LONGEST_PING, self.runner.bus.lease / 3)

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """End: what was sent to a name at the other end is on its way there."""
        return self.cancel(reason)

    def cancel(self, reason: str | None = None) -> Requested:
        """End now."""
        check_reason(f"{self.name}.cancel", reason)
        self._scope.cancel(reason=reason)
        return REQUESTED

    def statistics(self) -> ProxyStatistics:
        """Counts at this moment."""
        return ProxyStatistics(len(self._links), **attrs.asdict(self._counts))

    async def _serve(self, wire: Wire, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128
        """Work on a connection until it closes. Raises `ProxyRefused`, `WireError` where the other end is none."""
        link = Link(self.name, self.runner, self._rules, self._codec, self._counts)
        there = await link.meet(wire)
        mine = _Open()
        before = self._links.get(there)
        self._links[there] = mine
        try:
            if before is not None:  # the other end has noticed sooner that the old connection is dead
                before.scope.cancel(reason=f"{there} has connected again")
                await before.over.wait()
            with mine.scope:
                if there in self._met:
                    await link.tell_gap(None)
                self._met.add(there)
                await link.serve(wire, task_status)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_WORDS):
                await link.end_jobs()
            mine.over.set()
            if self._links[there] is mine:
                del self._links[there]


@attrs.define(eq=False)
class _Open:
    """An open connection."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    over: trio.Event = attrs.field(factory=trio.Event)


class WebSocket:
    """A connection of `websockets` as a `Wire`: its end is no error."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        try:
            await self._connection.send(data)
        except ConnectionClosed:
            await trio.sleep_forever()  # whoever reads sees it too

    async def receive(self) -> bytes | None:
        try:
            data = await self._connection.recv()
        except ConnectionClosed:
            return None
        return data.encode() if isinstance(data, str) else data


def same_token(given: str | None, expected: str) -> bool:
    """Compared in a time that tells nothing of how much of it was right."""
    return hmac.compare_digest((given or "").encode(errors="surrogateescape"), f"Bearer {expected}".encode())
