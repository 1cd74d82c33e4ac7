"""`Inbox`: what arrives from a broker is looked at, and delivered. No I/O."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container
from typing import Final

import trio

from trio_pipes._base import Codec, WireError
from trio_pipes.host import BusGap, BusMessage

from ._numbers import TWICE, Numbers
from ._wire import Envelope, NotOurs, unseal

__all__ = ["Inbox"]

logger = logging.getLogger("trio_pipes")

# Peers whose messages could not be read that are remembered, so that each is logged once.
MOST_PEERS: Final = 1000


class Inbox:
    """Of the bus object `me`. `topics` are those that somebody here attends."""

    def __init__(
        self,
        me: str,
        channel: str,
        codec: Codec,
        topics: Container[str],
        deliver: Callable[[BusMessage], Awaitable[None]],
        tell_gap: Callable[[BusGap, str | None], None],
        note: Callable[[str], None],
    ) -> None:
        self._me = me
        self._channel = channel
        self._codec = codec
        self._topics = topics
        self._deliver = deliver
        self._tell_gap = tell_gap
        self._note = note
        self._held: deque[bytes] | None = None
        self._told: set[str] = set()
        self.numbers: Final = Numbers()
        self.duplicates: int = 0
        self.unknown: int = 0
        self.unreadable: int = 0

    def hold(self) -> None:
        """Keep what comes until `go_on`: the subscriptions have to be told of a gap first."""
        self._held = deque()

    async def go_on(self) -> None:
        """Deliver what was held; what comes meanwhile stands behind it."""
        while self._held:
            await self._look_at(self._held.popleft())
        self._held = None

    async def take(self, data: bytes) -> None:
        """One message, as it came."""
        if self._held is None:
            await self._look_at(data)
        else:
            self._held.append(data)

    async def _look_at(self, data: bytes) -> None:
        try:
            envelope = unseal(data)
        except NotOurs as exc:
            self._refuse("somebody", str(exc))
            return
        origin, topic = envelope.origin, envelope.topic
        if origin == self._me or envelope.channel != self._channel or (topic is not None and topic not in self._topics):
            return
        missing = self.numbers.judge(envelope, trio.current_time())
        if missing == TWICE:
            self.duplicates += 1
            return
        if missing:
            self._tell_gap(BusGap(peer=origin, missed=missing), topic)
        message = self._read(envelope)
        if message is not None:
            await self._deliver(message)

    def _read(self, envelope: Envelope) -> BusMessage | None:
        origin, topic = envelope.origin, envelope.topic
        try:
            message = self._codec.decode(envelope.body, peer=origin)
        except WireError as exc:
            if topic is None and exc.tag is not None and not self._codec.knows(exc.tag):
                self.unknown += 1  # to all, of a class that nobody here can have asked for
            else:
                self._refuse(origin, str(exc))
                self._tell_gap(BusGap(peer=origin, missed=1), topic)
            return None
        if isinstance(message, BusMessage) and not message.local:
            return message
        self._refuse(origin, f"{origin} sent {message!r:.100}, which is no message for other processes")
        return None

    def _refuse(self, peer: str, text: str) -> None:
        self.unreadable += 1
        self._note(text)
        if peer not in self._told and len(self._told) < MOST_PEERS:
            self._told.add(peer)
            logger.warning("on the bus's channel %r: %s; more of this peer is only counted", self._channel, text)
