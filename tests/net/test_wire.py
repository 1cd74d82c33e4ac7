"""The envelope and the numbers in it, without any broker."""

import pytest
from hypothesis import given, strategies as st

from trio_pipes import ConfigurationError
from trio_pipes.net._numbers import TWICE, Numbers
from trio_pipes.net._wire import Envelope, NotOurs, Sealer, check_channel, check_topic, unseal

TOPICS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(topic=TOPICS, body=st.binary(max_size=200))
async def test_what_is_sealed_can_be_unsealed(topic: str | None, body: bytes) -> None:
    sealer = Sealer("a-channel", "0011aaff")
    first, second = unseal(sealer.seal(topic, body)), unseal(sealer.seal(topic, b""))
    assert first == Envelope("a-channel", topic, "0011aaff", 1, 1, body)
    assert second == Envelope("a-channel", topic, "0011aaff", 1, 2, b"")


async def test_topics_count_by_themselves() -> None:
    sealer = Sealer("c", "0011aaff")
    places = [unseal(sealer.seal(topic, b"")) for topic in ("a", None, "a", "b", "", None)]
    assert [(each.topic, each.stream, each.number) for each in places] == [
        *(("a", 1, 1), (None, 2, 1), ("a", 1, 2)),
        *(("b", 3, 1), ("", 4, 1), (None, 2, 2)),
    ]


# A runner that is asked by a million others in its life does not keep a million counts; what it sends to one that it had
# forgotten is neither a gap nor a copy there.
async def test_a_topic_that_was_forgotten_begins_a_new_stream(autojump_clock: object) -> None:
    import trio

    sealer, numbers = Sealer("c", "0011aaff"), Numbers()
    assert [numbers.judge(unseal(sealer.seal("a", b"")), 0.0) for _ in range(3)] == [0, 0, 0]
    late = sealer.seal("a", b"")
    await trio.sleep(100)
    sealer.seal("b", b"")
    sealer.forget(trio.current_time() - 50)
    assert numbers.judge(unseal(sealer.seal("a", b"")), 0.0) == 0
    assert numbers.judge(unseal(late), 0.0) == TWICE
    assert unseal(sealer.seal("b", b"")).number == 2


@given(data=st.binary(max_size=100))
async def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(NotOurs):
        unseal(data)


@given(at=st.integers(0, 33), bit=st.integers(0, 7))
async def test_a_damaged_head_is_refused_or_read_as_another_one(at: int, bit: int) -> None:
    good = Sealer("chan", "0011aaff").seal("top", b"body")
    damaged = bytearray(good)
    damaged[at] ^= 1 << bit
    try:
        assert isinstance(unseal(bytes(damaged)), Envelope)
    except NotOurs as exc:
        assert str(exc)


async def test_every_cut_is_refused_or_leaves_a_shorter_body() -> None:
    good = Sealer("chan", "0011aaff").seal("top", b"body")
    for length in range(len(good)):
        if length < len(good) - 4:
            with pytest.raises(NotOurs):
                unseal(good[:length])
        else:
            assert unseal(good[:length]).body == b"body"[: length - len(good) or None]


async def test_an_envelope_of_another_version_says_so() -> None:
    data = bytearray(Sealer("c", "0011aaff").seal("a", b""))
    data[2] = 9
    with pytest.raises(NotOurs, match="version 9; this release reads version 1"):
        unseal(bytes(data))


async def test_numbers_see_gaps_and_copies() -> None:
    numbers = Numbers()

    def judge(number: int, origin: str = "aaaaaaaa", topic: str | None = "t") -> int:
        return numbers.judge(Envelope("c", topic, origin, 1, number, b""), 0.0)

    assert judge(7) == 0, "nothing is known before the first"
    assert [judge(8), judge(8), judge(7), judge(11), judge(12)] == [0, TWICE, TWICE, 2, 0]
    assert [judge(1, "bbbbbbbb"), judge(1, topic=None), judge(13)] == [0, 0, 0], "each sender and topic by itself"
    numbers.leave("t")
    assert judge(40) == 0, "nobody listened meanwhile"


async def test_senders_that_were_quiet_for_long_are_forgotten() -> None:
    numbers = Numbers()
    for i in range(1000):
        numbers.judge(Envelope("c", "t", f"{i:08x}", 1, 1, b""), float(i))
    numbers.forget(990.0)
    assert {origin for senders in numbers._topics.values() for origin in senders} == {
        f"{i:08x}" for i in range(990, 1000)
    }
    numbers.forget(5000.0)
    assert not numbers._topics


@pytest.mark.parametrize("channel", ["", "a b", "a/b", "ä", "x" * 49, "a@3", "{a}", None, 3])
async def test_channel_names_that_some_broker_cannot_have(channel: object) -> None:
    with pytest.raises(ConfigurationError, match="channel"):
        check_channel("RedisBus(channel", channel)


async def test_topics_that_are_too_long_or_no_text() -> None:
    check_topic("send(target", "ä" * 500)
    for topic in ("ä" * 501, "\ud800"):
        with pytest.raises(ConfigurationError, match="target"):
            check_topic("send(target", topic)
