"""What has arrived, by sender and topic: sees what comes twice, and what is missing. No I/O."""

from __future__ import annotations

from typing import Final

import attrs

from ._wire import Envelope

__all__ = ["TWICE", "Numbers"]

TWICE: Final = -1


@attrs.define(eq=False, slots=True)
class _Last:
    stream: int
    number: int
    at: float


class Numbers:
    """The last number of each sender on each topic that is attended."""

    def __init__(self) -> None:
        self._topics: dict[str | None, dict[str, _Last]] = {}

    def judge(self, envelope: Envelope, now: float) -> int:
        """How many messages are missing between this one and the last; `TWICE`: it has been here before.

        Nothing is known of a sender that is heard for the first time, or that has begun a new stream.
        """
        senders = self._topics.get(envelope.topic)
        if senders is None:
            senders = self._topics[envelope.topic] = {}
        last = senders.get(envelope.origin)
        if last is None:
            senders[envelope.origin] = _Last(envelope.stream, envelope.number, now)
            return 0
        last.at = now
        if envelope.stream == last.stream:
            missing = envelope.number - last.number - 1
            if missing < 0:
                return TWICE
            last.number = envelope.number
            return missing
        if envelope.stream < last.stream:
            return TWICE
        last.stream, last.number = envelope.stream, envelope.number
        return 0

    def leave(self, topic: str) -> None:
        """What comes on this topic from now on is not listened to: what is missing then is no gap."""
        self._topics.pop(topic, None)

    def forget(self, before: float) -> None:
        """Forget senders that were last heard before this moment."""
        for topic, senders in list(self._topics.items()):
            for origin in [origin for origin, last in senders.items() if last.at < before]:
                del senders[origin]
            if not senders:
                del self._topics[topic]
