"""The envelope that a message of the bus travels in: bytes to fields and back, no I/O.

# What is in it, and how that may change.
#
# Two bytes that say whose it is, one for the format's version, then: the channel (two buses may share a broker), the
# topic, the id of the bus object that sent it, its stream and number, and what the codec made of the message. A
# change of this layout is a new version; a bus that meets one it does not know counts the message as unreadable and goes on.
#
# Numbers count per sender and topic, so that whoever attends a topic sees a gap, and sees what comes twice. A sender
# forgets topics that it has not used for long (there may be one for each runner that ever lived) and counts
# anew in another stream when it needs one again. Streams only grow: an older one is a copy that comes late.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import attrs
import trio

from trio_pipes._base import refuse

__all__ = ["Envelope", "NotOurs", "Sealer", "check_channel", "unseal"]

MAGIC: Final = b"TP"
VERSION: Final = 1
HEAD: Final = Struct(">2sBBH8sIQ")  # magic, version, length of channel, of topic, origin, stream, number
BROADCAST: Final = 0xFFFF  # in place of the topic's length
LONGEST_CHANNEL: Final = 48  # bytes: PostgreSQL's names end at 63, and a broker puts something of its own behind it
LONGEST_TOPIC: Final = 1000  # bytes; longer than any name that somebody wants to read


class NotOurs(ValueError):
    """Bytes that no bus of this version has sent to this place; the text says what is wrong."""


@attrs.frozen
class Envelope:
    """One message on its way."""

    channel: str
    topic: str | None
    """None: it is for all."""
    origin: str
    """The id of the bus object that sent it."""
    stream: int
    number: int
    """Counts from 1 in its stream."""
    body: bytes
    """What the codec made of it."""


def unseal(data: bytes) -> Envelope:
    """What is in these bytes. Raises `NotOurs`."""
    if len(data) < HEAD.size or data[:2] != MAGIC:
        raise NotOurs(f"{len(data)} bytes that no bus sent, beginning with {data[:8]!r}")
    _, version, channel_length, topic_length, origin, stream, number = HEAD.unpack_from(data)
    if version != VERSION:
        raise NotOurs(f"an envelope of version {version}; this release reads version {VERSION}")
    at = HEAD.size + channel_length
    until = at if topic_length == BROADCAST else at + topic_length
    if until > len(data):
        raise NotOurs(f"an envelope that is cut off: {len(data)} bytes, and its head alone takes {until}")
    try:
        channel = str(data[HEAD.size : at], "utf-8")
        topic = None if topic_length == BROADCAST else str(data[at:until], "utf-8")
        return Envelope(channel, topic, str(origin, "ascii"), stream, number, data[until:])
    except UnicodeDecodeError as exc:
        raise NotOurs(f"an envelope whose names are no text: {exc}") from None


@attrs.define(eq=False)
class _Count:
    """Where one topic stands."""

    stream: int
    names: bytes
    number: int = 0
    used: float = 0.0


class Sealer:
    """Puts messages of one bus object into envelopes, and numbers them."""

    def __init__(self, channel: str, origin: str) -> None:
        self._channel = channel.encode()
        self._origin = origin.encode()
        self._counts: dict[str | None, _Count] = {}
        self._streams = 0

    def seal(self, topic: str | None, body: bytes) -> bytes:
        """The envelope. It takes the next number of its topic: send them in this order, and each one until it has arrived."""
        count = self._counts.get(topic)
        if count is None:
            self._streams += 1
            name = b"" if topic is None else topic.encode()
            count = self._counts[topic] = _Count(self._streams, self._channel + name)
        count.number += 1
        count.used = trio.current_time()
        names = count.names
        length = BROADCAST if topic is None else len(names) - len(self._channel)
        head = (MAGIC, VERSION, len(self._channel), length, self._origin, count.stream, count.number)
        return HEAD.pack(*head) + names + body

    def forget(self, before: float) -> None:
        """Forget topics that were last used before this moment on Trio's clock."""
        for topic in [topic for topic, count in self._counts.items() if count.used < before]:
            del self._counts[topic]


def check_channel(what: str, value: object) -> None:
    """The name under which buses on one broker find each other."""
    expected = f"a name of at most {LONGEST_CHANNEL} letters, digits, '_', '-', '.' or ':'"
    if not (isinstance(value, str) and 0 < len(value) <= LONGEST_CHANNEL and value.isascii()):
        raise refuse(what, value, expected)
    if not all(sign.isalnum() or sign in "_-.:" for sign in value):
        raise refuse(what, value, expected)


def check_topic(what: str, topic: str) -> None:
    """What a broker carries a name under."""
    try:
        fits = len(topic.encode()) <= LONGEST_TOPIC
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise refuse(
            what, topic, f"a name whose part before the first slash has at most {LONGEST_TOPIC} bytes of UTF-8"
        )
