"""Messages as NOTIFY carries them: text of less than 8,000 bytes. No I/O.

# How messages become notifications.
#
# Messages that follow each other on one channel share a notification, as many as fit: what a notification costs the
# server depends little on its length. They stand one behind the other, each behind its length (two bytes), as base64. One
# that is too large for that becomes a row of a table, and its notification says which. Bytes in a text of their own
# (such as base85) would save 6 % and cost ten times the CPU time.
#
# PostgreSQL drops a notification that equals another one of the same transaction. No two of ours are equal: a bus numbers
# its messages, and the number is in the bytes.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from typing import Final

import attrs

__all__ = ["Parcel", "pack", "unpack"]

SMALL: Final = "m"  # messages
LARGE: Final = "r"  # the id of a row
ROOM: Final = 5997  # bytes that make 7,996 letters; with the sign in front, the most that is less than 8,000 bytes
ROW: Final = r"r[0-9a-f]{16}-[0-9]{1,18}"
LENGTH: Final = 2  # bytes


@attrs.define
class Parcel:
    """One notification."""

    channel: str
    payload: str
    row: str | None = None
    """The id of a row to be put in first."""
    body: bytes = b""
    """What goes into that row."""


def pack(messages: Iterable[tuple[str, bytes]], new_row: Callable[[], str]) -> list[Parcel]:
    """Channels and messages, in their order, as notifications in that order."""
    parcels: list[Parcel] = []
    channel, together = "", bytearray()

    def close() -> None:
        if together:
            parcels.append(Parcel(channel, SMALL + b64encode(together).decode()))
            together.clear()

    for where, message in messages:
        size = LENGTH + len(message)
        if where != channel or len(together) + size > ROOM:
            close()
            channel = where
        if size > ROOM:
            row = new_row()
            parcels.append(Parcel(where, LARGE + row, row, message))
        else:
            together += len(message).to_bytes(LENGTH) + message
    close()
    return parcels


def unpack(payload: str) -> list[bytes] | str:
    """The messages in a notification, or the id of the row that has one. Raises `ValueError` where nobody packed it so."""
    if re.fullmatch(ROW, payload):
        return payload[1:]
    if not payload.startswith(SMALL):
        raise ValueError("it begins with another letter")
    data = b64decode(payload[1:], validate=True)
    messages = []
    at = 0
    while at < len(data):
        until = at + LENGTH + int.from_bytes(data[at : at + LENGTH])
        if until > len(data):
            raise ValueError("it is cut off")
        messages.append(data[at + LENGTH : until])
        at = until
    return messages
