"""A field's value as something that msgspec can send and the receiver makes the same of, or why there is no such thing."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final

import msgspec

from ._shown import shown
from ._wire_limits import MAX_DEPTH, OBJECT
from ._wire_plan import PLAIN

__all__ = ["Unfit", "culprit", "pack", "unpack"]

UUID: Final = 2
DECIMAL: Final = 3
BYTES: Final = frozenset([bytearray, memoryview])
SEVERAL: Final = frozenset([list, tuple])
SETS: Final = frozenset([set, frozenset])
EXPECTED: Final = "None, numbers, texts, bytes, datetimes, UUIDs, Decimals, lists, tuples, dicts, and objects of classes with @on_wire"

Types = frozenset[type[Any]]


class Unfit(Exception):
    """What is wrong, and, put together on the way out, where. The codec makes a `WireError` of it."""

    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.where = where
        self.tag: str | None = None


def pack(value: Any, types: Types, level: int, pack_object: Callable[[Any, int], bytes]) -> Any:
    """What is sent for a value whose field brings back `types` besides. Raises `Unfit`."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind in BYTES:
        return bytes(value)
    if level > MAX_DEPTH:
        raise Unfit(f"it is nested more than {MAX_DEPTH} deep")
    if kind is dict:
        return _pack_dict(value, types, level, pack_object)
    if kind in SEVERAL or (kind in SETS and kind in types):
        return _pack_items(value, types, level, pack_object)
    if kind is dt.datetime:
        if value.utcoffset() is None:
            raise Unfit(f"{value} has no time zone, so it is another moment elsewhere")
        return value
    if kind is uuid.UUID:
        return msgspec.msgpack.Ext(UUID, value.bytes)
    if kind is decimal.Decimal:
        return msgspec.msgpack.Ext(DECIMAL, str(value).encode())
    if kind in types:  # msgspec makes a text or a number of it, and the field's annotation makes it what it was
        return value.value if isinstance(value, Enum) else value
    if "__attrs_attrs__" in vars(kind):
        return msgspec.msgpack.Ext(OBJECT, pack_object(value, level))
    raise Unfit(f"{shown(value, 40)} is of {kind.__module__}.{kind.__qualname__}, expected {EXPECTED}")


def _pack_dict(value: dict[Any, Any], types: Types, level: int, pack_object: Callable[[Any, int], bytes]) -> Any:
    if not PLAIN.issuperset(map(type, value)):
        odd = next(key for key in value if type(key) not in PLAIN)
        if type(odd) not in types:
            raise Unfit(
                f"its key {shown(odd, 40)} is of {type(odd).__qualname__}, expected texts, numbers, bytes or None"
            )
        value = {pack(key, types, level, pack_object): item for key, item in value.items()}
    if PLAIN.issuperset(map(type, value.values())):
        return value
    packed = {}
    for key, item in value.items():
        try:
            packed[key] = pack(item, types, level + 1, pack_object)
        except Unfit as unfit:
            unfit.where = f"[{shown(repr(key), 40)}]{unfit.where}"
            raise
    return packed


def _pack_items(value: Iterable[Any], types: Types, level: int, pack_object: Callable[[Any, int], bytes]) -> Any:
    if PLAIN.issuperset(map(type, value)):
        return value
    packed = []
    for index, item in enumerate(value):
        try:
            packed.append(pack(item, types, level + 1, pack_object))
        except Unfit as unfit:
            unfit.where = f"[{index}]{unfit.where}"
            raise
    return packed


def unpack(code: int, data: memoryview) -> Any:
    """What came as one of the extensions, except an object. Raises `Unfit`."""
    try:
        if code == UUID:
            return uuid.UUID(bytes=bytes(data))
        if code == DECIMAL:
            return decimal.Decimal(str(data, "ascii"))
    except (ValueError, decimal.InvalidOperation):
        raise Unfit(f"{shown(bytes(data), 40)} is no {'UUID' if code == UUID else 'Decimal'}") from None
    raise Unfit(f"there is an extension {code} in it, which this version does not know")


def culprit(value: Any, encode: Callable[[Any], object]) -> Unfit:
    """Where the value is that msgspec could not send: a number of more than 64 bits, a text with half a character."""
    parts: Iterable[tuple[str, Any]] = ()
    if type(value) is dict:
        for key in value:
            try:
                encode(key)
            except (OverflowError, ValueError, TypeError):
                unfit = culprit(key, encode)
                unfit.why = f"its key {unfit.why}"
                return unfit
        parts = ((f"[{shown(repr(key), 40)}]", item) for key, item in value.items())
    elif type(value) in SEVERAL:
        parts = ((f"[{index}]", item) for index, item in enumerate(value))
    for where, part in parts:
        try:
            encode(part)
        except (OverflowError, ValueError, TypeError):
            unfit = culprit(part, encode)
            unfit.where = where + unfit.where
            return unfit
    if isinstance(value, int):
        return Unfit(f"{shown(value, 40)} has more than 64 bits: send it as a text, or as bytes")
    if isinstance(value, str):
        return Unfit(f"{shown(value, 40)} has half a character (a lone surrogate) in it")
    return Unfit(f"{shown(value, 40)} cannot be sent")
