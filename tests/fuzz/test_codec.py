"""Bytes at random, and messages that were damaged: a codec makes an object of them or says what is wrong, and nothing else.

`nox -s fuzz` tries many more, and `python tests/fuzz/codec_for_long.py` tries for as long as it is told; what that has found
is in `corpus/codec`.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

import codec_kit
from examples import examples
from trio_pipes import Codec, TextFrame, WireError, on_wire
from trio_pipes._base._wire_limits import values_in


@on_wire("test.fuzz.any")
@attrs.define
class Anything:
    value: Any = None
    more: Any = None


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.uuids()
    | st.decimals()
    | st.datetimes(timezones=st.just(dt.UTC))
)
KEYS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.builds(Anything, inner, inner),
    max_leaves=20,
)
# Also what cannot travel.
ODD = st.recursive(
    SCALARS
    | st.integers()
    | st.text(st.characters())  # lone surrogates too
    | st.datetimes()
    | st.complex_numbers()
    | st.just(object())
    | st.just(TextFrame),
    lambda inner: (
        st.lists(inner) | st.dictionaries(KEYS | st.integers(), inner) | st.sets(KEYS) | st.builds(Anything, inner)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal, a number that is none and minus zero included, and of the same class."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float | Decimal):
        return repr(one) == repr(other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return (
            len(one) == len(other)
            and all(map(same, sorted(one, key=repr), sorted(other, key=repr)))
            and all(map(same, one.values(), other.values()))
        )
    if isinstance(one, Anything):
        return same([one.value, one.more], [other.value, other.more])
    return one == other


@given(VALUES)
@examples(60)
def test_what_may_travel_comes_back_the_same(value: Any) -> None:
    codec = Codec()
    assert same(codec.decode(codec.encode(Anything(value))), Anything(value))


def count(value: Any) -> int:
    """How many msgpack values it takes."""
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    if isinstance(value, dict):
        return 1 + sum(count(key) + count(item) for key, item in value.items())
    if isinstance(value, Anything):
        message = [1, 1, 1, 1]  # the array, the tag, the version, the map
        return 1 + len(message) + 1 + count(value.value) + 1 + count(value.more)  # in an extension; two names of fields
    return 1


@given(VALUES)
@examples(60)
def test_values_are_counted_before_they_are_made(value: Any) -> None:
    data = Codec().encode(Anything(value))
    assert values_in(data, 10**9) == count(Anything(value)) - 1
    assert values_in(data, 3) == 4  # it need not be known by how much it is too many


@given(ODD)
@examples(60)
def test_what_may_not_travel_is_a_wire_error_at_the_sender(value: Any) -> None:
    codec = Codec()
    try:
        data = codec.encode(Anything(value))
    except WireError as error:
        assert len(str(error)) < 1000
        return
    codec.decode(data)


@given(st.binary(max_size=200))
@examples(100)
def test_bytes_at_random(data: bytes) -> None:
    codec_kit.judge(data)


@given(st.data())
@examples(150)
def test_damaged_messages(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(codec_kit.messages()))
    for _ in range(data.draw(st.integers(1, 4))):
        damage = data.draw(st.sampled_from([codec_kit.damage, codec_kit.damage_values]))
        message = damage(message, data.draw(st.randoms(use_true_random=False)))
    codec_kit.judge(message)


@pytest.mark.parametrize("path", codec_kit.CORPUS_FILES, ids=lambda path: path.stem)
def test_what_was_found_before(path: Any) -> None:
    for data in codec_kit.read_corpus(path):
        codec_kit.judge(data)


def test_the_judge_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise KeyError("not a WireError")

    monkeypatch.setattr(Codec, "decode", refuse)
    with pytest.raises(KeyError):
        codec_kit.judge(b"")


def test_values_of_special_kinds() -> None:
    codec = Codec()
    for value in (
        math.nan,
        Decimal("NaN"),
        Decimal("sNaN"),
        -0.0,
        uuid.UUID(int=0),
        dt.datetime.max.replace(tzinfo=dt.UTC),
    ):
        assert same(codec.decode(codec.encode(Anything([value]))), Anything([value]))
