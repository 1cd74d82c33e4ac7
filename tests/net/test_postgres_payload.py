"""Messages in notifications and back."""

from itertools import count

import pytest
from hypothesis import given, strategies as st

from trio_pipes.net._postgres_payload import LARGE, ROOM, pack, unpack
from trio_pipes.net._postgres_tables import LONGEST, channel_of

SIZES = st.one_of(st.integers(0, 300), st.integers(ROOM - 5, ROOM + 5), st.integers(0, 20_000))
BATCHES = st.lists(st.tuples(st.sampled_from("abc"), SIZES), max_size=40)


@given(BATCHES)
def test_what_is_packed_comes_out_in_order(sizes: list[tuple[str, int]]) -> None:
    batch = [(channel, bytes([number % 256]) * size) for number, (channel, size) in enumerate(sizes)]
    rows: dict[str, bytes] = {}
    ids = count()
    parcels = pack(batch, lambda: f"{next(ids):016x}-1")
    out: list[tuple[str, bytes]] = []
    for parcel in parcels:
        assert len(parcel.payload.encode()) < 8000
        if parcel.row is not None:
            rows[parcel.row] = parcel.body
        content = unpack(parcel.payload)
        out += [(parcel.channel, it) for it in ([rows[content]] if isinstance(content, str) else content)]
    assert out == batch


def test_small_messages_share_a_notification_and_large_ones_do_not() -> None:
    batch = [("a", b"x" * 100)] * 50 + [("b", b"y")] + [("a", b"z" * (ROOM - 2))] + [("a", b"w" * (ROOM - 1))]
    parcels = pack(batch, lambda: "0123456789abcdef-1")
    assert [(it.channel, it.row) for it in parcels] == [
        ("a", None),
        ("b", None),
        ("a", None),
        ("a", "0123456789abcdef-1"),
    ]
    assert parcels[-1].payload == f"{LARGE}0123456789abcdef-1"


@given(st.text() | st.binary().map(lambda data: "m" + data.hex()))
def test_anything_else_is_a_value_error(text: str) -> None:
    try:
        unpack(text)
    except ValueError:
        return
    assert text.startswith("m")


@given(st.text(), st.text(), st.sampled_from(["b", "trio_pipes", "x" * 48]))
def test_channels_are_identifiers_and_differ(one: str, other: str, bus: str) -> None:
    if not one.isascii():
        one = one.encode(errors="replace").decode()
    if not other.isascii():
        other = other.encode(errors="replace").decode()
    first, second = channel_of(bus, one), channel_of(bus, other)
    assert len(first) <= LONGEST
    assert first.isascii()
    assert first.isprintable()
    assert first not in (bus, channel_of(bus, None))
    assert (first == second) == (one == other)


@pytest.mark.parametrize(
    ("topic", "channel"),
    [
        (None, "b"),
        ("runner-1f2e3d4c", "b/runner-1f2e3d4c"),
        ("Übung", "b#"),
        ('a"b', "b#"),
        ("x" * 100, "b#"),
        ("", "b#"),
    ],
)
def test_channels_are_readable_where_that_is_safe(topic: str | None, channel: str) -> None:
    assert channel_of("b", topic).startswith(channel)
