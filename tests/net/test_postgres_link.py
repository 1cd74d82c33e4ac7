"""One connection of a bus to PostgreSQL: channels, large messages, tables, leases, and what is told when it cannot be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex

import psycopg
import pytest
import trio

from postgres_kit import DSN, need_postgres, running_cluster
from trio_pipes._base._postgres import connect_postgres, parse_dsn
from trio_pipes.net import _postgres_link
from trio_pipes.net._broker_link import LinkLost, Refused
from trio_pipes.net._postgres_link import PostgresLink, link_postgres
from trio_pipes.net._postgres_payload import ROOM
from trio_pipes.net._postgres_tables import Tables, channel_of

pytestmark = pytest.mark.server

HERE = parse_dsn("test(dsn", DSN)


@pytest.fixture
async def channel() -> AsyncIterator[str]:
    need_postgres()
    name = f"test_{token_hex(6)}"
    yield name
    async with connect_postgres(HERE) as connection:
        for table in Tables(name).names:
            await connection.execute(f"DROP TABLE IF EXISTS {table}")


@asynccontextmanager
async def linked(channel: str) -> AsyncIterator[PostgresLink]:
    link = await link_postgres(HERE, channel)
    try:
        yield link
    finally:
        await link.aclose()
        await link.aclose()


async def read(link: PostgresLink, count: int) -> list[bytes]:
    """The next so many messages, or more where they came together."""
    got: list[bytes] = []
    enough = trio.CancelScope()

    async def deliver(data: bytes) -> None:
        got.append(data)
        if len(got) >= count:
            enough.cancel()

    with trio.fail_after(10), enough:
        await link.read(deliver)
    return got


async def sql(text: str) -> list[tuple[object, ...]]:
    async with connect_postgres(HERE) as connection:
        return await connection.execute(text)


# -- messages


async def test_order_is_kept_across_topics_and_sizes(channel: str) -> None:
    sizes = [1, 7000, 10, 0, ROOM - 2, ROOM - 1, 100_000, 20]
    batch = [(("a", None, "b")[number % 3], b"%d " % number + b"x" * size) for number, size in enumerate(sizes * 5)]
    async with linked(channel) as one, linked(channel) as two:
        await two.attend([None, "a", "b"])
        await one.publish(batch)
        assert await read(two, len(batch)) == [data for _, data in batch]


async def test_equal_messages_in_two_batches_both_come(channel: str) -> None:
    async with linked(channel) as one, linked(channel) as two:
        await two.attend([None])
        await one.publish([(None, b"x")])
        await one.publish([(None, b"x")])
        assert await read(two, 2) == [b"x", b"x"]


# PostgreSQL drops a notification that equals one of the same transaction: the numbers in the envelopes make ours differ.
async def test_equal_bodies_in_one_transaction_differ_by_their_numbers(channel: str) -> None:
    from trio_pipes.net._wire import Sealer, unseal

    sealer = Sealer(channel, "0123abcd")
    body = b"x" * 4000  # two of these do not fit into one notification
    batch = [(None, sealer.seal(None, body)) for _ in range(10)]
    async with linked(channel) as one, linked(channel) as two:
        await two.attend([None])
        await one.publish(batch)
        assert [unseal(data).number for data in await read(two, 10)] == list(range(1, 11))


async def test_topics_come_and_go(channel: str) -> None:
    names = [
        "plain",
        "with-a-dash.and:more_",
        "Ümläut",
        'quote"quote',
        "a" * 200,
        "a" * 199 + "b",
        "; DROP TABLE x",
        "",
    ]
    async with linked(channel) as one, linked(channel) as two:
        await two.attend(names[:-1])
        await one.publish([(name, name.encode()) for name in reversed(names)])
        assert await read(two, len(names) - 1) == [name.encode() for name in reversed(names[:-1])]
        await two.unattend(names[:-2])
        await one.publish([(name, name.encode()) for name in names])
        assert await read(two, 1) == [names[-2].encode()]


async def test_a_cancelled_reader_comes_again_for_the_rest(channel: str) -> None:
    async with linked(channel) as one, linked(channel) as two:
        await two.attend([None])
        batch = [(None, b"%d" % number * (3000 if number % 10 else 1)) for number in range(100)]
        await one.publish(batch)
        got: list[bytes] = []
        with trio.fail_after(10):
            while len(got) < 100:
                got += await read(two, 1 + len(got) % 7)
        assert got == [data for _, data in batch]


async def test_what_somebody_else_notifies_is_handed_over_as_it_is(channel: str) -> None:
    async with linked(channel) as link:
        await link.attend([None])
        await sql(
            f"SELECT pg_notify('{channel_of(channel, None)}', x) FROM unnest(ARRAY['junk', 'm%%', '', 'mAAX=', 'r0123']) AS x"
        )
        assert await read(link, 5) == [b"junk", b"m%%", b"", b"mAAX=", b"r0123"]


# -- large messages


async def test_large_messages_are_removed_when_they_are_old_or_too_many(
    channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Tables(channel).names[2]
    async with linked(channel) as link:
        for number in range(4):
            await link.publish([(None, bytes([number]) * 100_000)])
        assert await sql(f"SELECT count(*) FROM {large}") == [(4,)]
        await sql(f"UPDATE {large} SET at = at - interval '61 seconds' WHERE get_byte(body, 0) < 2")
        monkeypatch.setattr(_postgres_link, "CLEAN_BYTES", 10_000)
        await link.publish([(None, b"x" * 100_000)])
        assert await sql(f"SELECT count(*) FROM {large}") == [(3,)]
        await sql(f"UPDATE {large} SET size = 100000000")
        await link.publish([(None, b"x" * 100_000)])
        assert await sql(f"SELECT sum(size) FROM {large}") == [(200_100_000,)]
        link._clean_at = trio.current_time()
        await sql(f"UPDATE {large} SET at = at - interval '61 seconds'")
        await link.ping()
        assert await sql(f"SELECT count(*) FROM {large}") == [(0,)]


async def test_one_that_was_removed_before_it_was_read_is_a_lost_link(channel: str) -> None:
    async with linked(channel) as one, linked(channel) as two:
        await two.attend([None])
        await one.publish([(None, b"x" * 100_000)])
        await sql(f"DELETE FROM {Tables(channel).names[2]}")
        with pytest.raises(LinkLost, match="removed before it was read"):
            await read(two, 1)


# -- tables


async def test_many_that_make_the_tables_at_once(channel: str) -> None:
    async def come() -> None:
        async with linked(channel) as link:
            assert await link.claim([], token_hex(4), 10) == {}

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(come)


async def test_a_channel_of_the_longest_name_and_odd_signs() -> None:
    name = ("test-" + token_hex(4) + ".:" + "X" * 48)[:48]
    try:
        async with linked(name) as one, linked(name) as two:
            await two.attend([None, "a" * 1000])
            await one.publish([(None, b"1"), ("a" * 1000, b"2" * 10_000)])
            assert await read(two, 2) == [b"1", b"2" * 10_000]
            assert await one.claim(["x"], "me", 10) == {}
            assert await two.claim(["x"], "you", 10) == {"x": "me"}
    finally:
        for table in Tables(name).names:
            await sql(f"DROP TABLE {table}")


async def test_missing_rights_and_servers_that_can_only_be_read() -> None:
    with running_cluster() as own:
        with psycopg.connect(own.dsn, autocommit=True) as admin:
            admin.execute("CREATE ROLE guest LOGIN")  # of version 15 on it may not create in schema public
            admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            guest = parse_dsn("test(dsn", own.dsn_of("guest", "x"))
            with pytest.raises(
                Refused, match="'guest' needs three small tables in schema 'public'.*may not create"
            ) as told:
                await link_postgres(guest, "here")
            # What the text says is enough, but for the right to use them.
            wanted = str(told.value).partition("\n")[2]
            admin.execute(wanted.replace(wanted[wanted.index("GRANT") :], ""))
            with pytest.raises(Refused, match="which it may not use"):
                await link_postgres(guest, "here")
            admin.execute(wanted)
            link = await link_postgres(guest, "here")
            assert await link.claim(["a"], "me", 10) == {}
            await link.publish([(None, b"x" * 10_000)])
            await link.aclose()
            admin.execute("ALTER ROLE guest SET default_transaction_read_only = on")
            with pytest.raises(Refused, match="target_session_attrs=read-write"):
                await link_postgres(guest, "here")


# -- leases and names


async def test_names_are_given_all_or_none(channel: str) -> None:
    async with linked(channel) as one, linked(channel) as two:
        assert await one.claim(["a", "b", "a"], "me", 10) == {}
        assert await two.claim(["b", "c"], "you", 10) == {"b": "me"}
        assert await two.claim(["c"], "you", 10) == {}
        assert await one.claim(["a", "b"], "me", 10) == {}
        await one.release(["b", "c"], "me", lease_too=False)
        assert await two.claim(["a", "b", "c"], "you", 10) == {"a": "me"}
        await one.release(["a"], "me", lease_too=True)
        assert await two.claim(["a"], "you", 10) == {}
        assert not await one.renew("me", 10)


async def test_a_lease_that_ran_out_by_the_servers_clock(channel: str) -> None:
    leases = Tables(channel).names[0]
    async with linked(channel) as one, linked(channel) as two:
        await one.claim(["a", "b"], "me", 10)
        assert await one.renew("me", 10)
        await sql(f"UPDATE {leases} SET until = clock_timestamp() WHERE owner = 'me'")
        assert not await one.renew("me", 10)
        assert await two.claim(["a"], "you", 10) == {}
        assert await one.claim(["a", "b"], "me", 10) == {"a": "you"}
        assert await one.claim(["b"], "me", 10) == {}
        assert await one.renew("me", 10)
        # Who asks is alive, also where it is refused.
        await sql(f"UPDATE {leases} SET until = clock_timestamp() WHERE owner = 'me'")
        assert await one.claim(["a"], "me", 10) == {"a": "you"}
        assert await one.renew("me", 10)


async def test_of_many_who_claim_a_name_at_once_one_has_it(channel: str) -> None:
    owners: list[str] = []

    async def claim(owner: str) -> None:
        async with linked(channel) as link:
            taken = await link.claim(["x", "y"] if owner[-1] in "02468" else ["y", "x"], owner, 10)
            if not taken:
                owners.append(owner)

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(claim, f"owner-{number}")
    assert len(owners) == 1


async def test_a_client_that_stops_in_the_middle_holds_nobody_up(channel: str) -> None:
    # Its lock lives as long as one message to the server: none is held between two.
    async with linked(channel) as one, linked(channel) as two:
        with trio.move_on_after(0):
            await one.claim(["x"], "me", 10)
        with trio.fail_after(5):
            await two.claim(["y"], "you", 10)


async def test_who_is_gone_is_forgotten_by_the_next_who_comes(channel: str) -> None:
    leases, names, _ = Tables(channel).names
    async with linked(channel) as one:
        await one.claim(["a"], "me", 10)
        await one.claim(["b"], "you", 10)
        await sql(f"UPDATE {leases} SET until = clock_timestamp() WHERE owner = 'me'")
        async with linked(channel):
            assert await sql(f"SELECT name, owner FROM {names}") == [("b", "you")]
            assert await sql(f"SELECT owner FROM {leases}") == [("you",)]


async def test_odd_names(channel: str) -> None:
    names = ["", "Ü", "a'b\"c\\d", "%s %(x)s", "{x}", "x" * 5000]
    async with linked(channel) as one, linked(channel) as two:
        assert await one.claim(names, "o'w\\n%er", 10) == {}
        assert await two.claim(names, "you", 10) == dict.fromkeys(names, "o'w\\n%er")
        with pytest.raises(Refused, match="NUL"):
            await one.claim(["\0"], "me", 10)
        assert await one.renew("o'w\\n%er", 10)


# -- losses


async def test_a_terminated_connection_is_a_lost_link_for_everybody(channel: str) -> None:
    async with linked(channel) as one:
        await one.attend([None])
        lost: list[str] = []

        async def wait() -> None:
            with pytest.raises(LinkLost, match="is lost"):
                await read(one, 1)
            lost.append("read")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await sql(f"SELECT pg_terminate_backend({one.backend_pid})")
        assert lost == ["read"]
        for ask in (one.ping, lambda: one.publish([(None, b"x")]), lambda: one.claim([], "me", 1)):
            with pytest.raises(LinkLost):
                await ask()
