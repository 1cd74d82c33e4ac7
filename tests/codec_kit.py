"""Damages messages, and judges what a codec makes of them: for the tests of tests/fuzz and for the run for long."""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

import wire_records
from trio_pipes import Codec, WireError
from trio_pipes._base._listing import TAGS

CORPUS = Path(__file__).parent / "fuzz" / "corpus" / "codec"
CORPUS_FILES = sorted(CORPUS.glob("*.hex"))

# Bytes that mean something where a value may begin: the shortest and longest of each kind, and those that lie about lengths.
HEADS = [
    *(bytes([first]) for first in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xC3, 0xE0, 0xFF)),
    *(bytes([first, 0xFF, 0xFF, 0xFF, 0xFF]) for first in (0xC6, 0xC9, 0xCA, 0xCE, 0xD2, 0xDB, 0xDD, 0xDF)),
    *(bytes([first, *[0xFF] * 8]) for first in (0xCB, 0xCF, 0xD3)),
    *(
        bytes([first, number, *[0] * size])
        for first, size in ((0xD4, 1), (0xD7, 8), (0xD8, 16))
        for number in (0, 1, 2, 3, 255)
    ),
    *(bytes([0xC7, size, number]) for size in (0, 1, 12, 255) for number in (1, 2, 3, 255)),
    *(b"\x93", b"\xa1a", b"\x81\xa1a", b"\xc7\x0c\xff" + b"\xff" * 12, b"\x93\xaftrio_pipes.text\x01\x80"),
]


@cache
def messages() -> list[bytes]:
    """One of each class that the library lists."""
    codecs = Codec(allow=[object])
    return [codecs.encode(wire_records.sample_of(listed)) for listed in wire_records.ours().values()]


@cache
def codec() -> Codec:
    """Takes everything that is listed: more can go wrong."""
    wire_records.ours()
    return Codec(64_000, max_values=10_000, allow=[object])


def judge(data: bytes) -> str:
    """What came of it, in a few words. An object can be sent again, or it is told why not; no other error may come out."""
    try:
        made = codec().decode(data, peer="bob")
    except WireError as error:
        text = str(error)
        assert error.peer == "bob"
        assert "from bob cannot be read: " in text
        assert len(text) < 1000
        assert text.isprintable()
        return in_short(text.partition("cannot be read: ")[2])
    try:
        again = codec().encode(made)
    except WireError as error:
        return f"again: {in_short(str(error).partition('cannot be sent: ')[2])}"
    assert type(codec().decode(again)) is type(made)
    return type(made).__name__


def in_short(text: str) -> str:
    """Its beginning, without what differs from message to message."""
    return re.split(r"['\"=(\\<{\[…]|b#", re.sub(r"[0-9]+", "#", text))[0][:60]


def damage(data: bytes, chance: random.Random) -> bytes:
    """One change: bits, bytes, a piece that is cut, doubled, moved or taken from another message."""
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice([1, 1, 2, 4, 8, 32]))
    match chance.randrange(9):
        case 0:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :] if at < len(data) else data
        case 2:
            return data[:at]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:end] + data[at:]
        case 5:
            return data[:at] + chance.choice(HEADS) + data[at:]
        case 6:
            return data[:at] + chance.choice(HEADS) + data[end:]
        case 7:
            other = chance.choice(messages())
            begin = chance.randrange(len(other))
            return data[:at] + other[begin : begin + chance.choice([4, 16, 64])] + data[end:]
        case _:
            other = chance.choice(messages())[:250]
            return data[:at] + bytes([0xC7, len(other), 1]) + other + data[end:]


def damage_values(data: bytes, chance: random.Random) -> bytes:
    """Another value in one place of a message that is msgpack: whole, and not what its class expects."""
    try:
        tree = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return damage(data, chance)
    places = list(_places([tree], 6))
    owner, key = chance.choice(places)
    value = owner[key]
    if isinstance(value, msgspec.msgpack.Ext) and chance.random() < 0.7:
        owner[key] = msgspec.msgpack.Ext(value.code, damage_values(bytes(value.data), chance))
    elif isinstance(owner, dict) and chance.random() < 0.2:
        owner[chance.choice(["pts", "metadata", "new", "seconds_left", 5, b"a"])] = owner.pop(key)
    else:
        owner[key] = chance.choice(ODD_VALUES)(value, chance)
    top = places[0][0][0]
    try:
        return msgspec.msgpack.encode(top)
    except (OverflowError, RecursionError, TypeError):
        return data


def _places(owner: list[Any] | dict[Any, Any], levels: int) -> Iterator[tuple[Any, Any]]:
    for key, value in enumerate(owner) if isinstance(owner, list) else list(owner.items()):
        yield owner, key
        if isinstance(value, list | dict) and levels:
            yield from _places(value, levels - 1)


def _ext(number: int, size: int | None = None) -> Callable[[Any, random.Random], Any]:
    return lambda _, chance: msgspec.msgpack.Ext(
        number, chance.randbytes(chance.randrange(20) if size is None else size)
    )


ODD_VALUES: list[Callable[[Any, random.Random], Any]] = [
    *(lambda v, _: [v], lambda v, _: {"a": v}, lambda v, _: [v] * 300, lambda v, _: str(v), lambda *_: None),
    *(lambda *_: True, lambda *_: 0, lambda *_: -1, lambda *_: 2**64 - 1, lambda *_: 1.5, lambda *_: math.nan),
    *(lambda *_: "", lambda *_: b"", lambda *_: [], lambda *_: {}, lambda *_: {1: {None: 2.5}}, lambda *_: "x" * 3000),
    lambda v, _: functools.reduce(lambda inner, _: [inner], range(80), v),
    lambda _, chance: msgspec.msgpack.Ext(1, chance.choice(messages())),
    lambda _, chance: msgspec.msgpack.Ext(3, str(chance.random() * 10 ** chance.randrange(-300, 300)).encode()),
    *(_ext(1), _ext(2, 16), _ext(2), _ext(3), _ext(-1, 4), _ext(-1, 8), _ext(-1, 12), _ext(-1), _ext(77)),
    lambda _, chance: chance.choice(list(TAGS)),
]


def read_corpus(path: Path) -> Iterator[bytes]:
    """The messages of a file of the corpus: a line of hex each; what stands behind a # says what it is."""
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            yield bytes.fromhex(text)
