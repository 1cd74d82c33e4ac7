"""How much a message may hold: what a few bytes could blow up to, and how deep it is nested.

msgspec passes over a message once without making anything, so a length that is not there is found then, and no message
holds more values than bytes. But an empty list takes one byte on the wire and 56 in memory. So what is long enough for
that to matter is counted, before anything is made of it. A sound or a picture is one value, however long; counting takes a
tenth of a microsecond a value.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["COUNTED_FROM", "MAX_DEPTH", "OBJECT", "deeper_than", "values_in"]

COUNTED_FROM: Final = 16_384
"""Bytes of a message that is counted."""
MAX_DEPTH: Final = 64
"""Lists, dicts and objects in one another."""

OBJECT: Final = 1
"""The number of msgpack's extension for an object in a field of another: its message."""


def _sizes() -> tuple[int, ...]:
    """For each first byte of a value, the bytes that follow and are not values; negative: that many bytes of a length."""
    sizes = [0] * 256
    for first in range(0xA0, 0xC0):
        sizes[first] = first - 0xA0  # short texts
    fixed = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
    lists = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
    extensions = {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
    lengths = {0xC4: -1, 0xC5: -2, 0xC6: -4, 0xD9: -1, 0xDA: -2, 0xDB: -4, 0xC7: -1, 0xC8: -2, 0xC9: -4}
    for first, size in (fixed | lists | extensions | lengths).items():
        sizes[first] = size
    return tuple(sizes)


SIZES: Final = _sizes()
LONG_EXTENSIONS: Final = frozenset(range(0xC7, 0xCA))
EXTENSIONS: Final = LONG_EXTENSIONS | frozenset(range(0xD4, 0xD9))
OBJECT_BYTE: Final = bytes([OBJECT])


def values_in(data: bytes | memoryview, most: int) -> int:
    """How many values a msgpack message has, objects in it included; counting ends when there are more than `most`."""
    sizes = SIZES
    count, at, end = 0, 0, len(data)
    ends: list[int] = []  # of what the object is in that is being counted
    while count <= most:
        if at >= end:
            if not ends:
                break
            at, end = end, ends.pop()  # what says that it goes on behind its own end is refused when it is decoded
            continue
        first = data[at]
        size = sizes[first]
        count += 1
        at += 1
        if size < 0:
            length = int.from_bytes(data[at : at - size], "big")
            at -= size
            size = length + (first in LONG_EXTENSIONS)  # the extension's number is not in its length
        if first in EXTENSIONS and data[at : at + 1] == OBJECT_BYTE:
            ends.append(end)
            end = min(end, at + size)
            at += 1
        else:
            at += size
    return count


def deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and dicts are nested deeper than so many levels."""
    row = [value]
    for _ in range(levels + 1):
        inner: list[Any] = []
        for it in row:
            if it.__class__ is dict:
                inner += it.values()
            elif it.__class__ in SEVERAL:
                inner += it
        if not inner:
            return False
        row = inner
    return any(it.__class__ is dict or it.__class__ in SEVERAL for it in row)


SEVERAL: Final = frozenset([list, tuple, set, frozenset])
