"""`BrokerStatistics`: what a bus over a broker counts."""

from __future__ import annotations

import attrs

from trio_pipes.host import BusStatistics

__all__ = ["BrokerStatistics"]


@attrs.frozen
class BrokerStatistics(BusStatistics):
    """A bus over a broker, at one moment. Counts are of this process, since the bus object was made."""

    connected: bool
    connections: int
    """How many there have been; one more than it was lost."""
    unacknowledged: int
    """Messages that senders were told will go out, and that the broker has not confirmed."""
    gaps: int
    """How often subscriptions were told that messages are missing."""
    duplicates: int
    """Messages that came a second time, after a sender's connection was lost, and were dropped."""
    unknown: int
    """Broadcasts of classes that are not listed here, so that nobody here can have asked for them."""
    unreadable: int
    """Damaged or foreign messages, and those for names here of classes that are not listed here."""
    last_error: str | None
    """Why the connection was lost or refused, or a message could not be read, the last time."""
