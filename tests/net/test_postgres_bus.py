"""`PostgresBus` with real servers: messages in order, connections that break in every way, secrets that stay where they are."""

from __future__ import annotations

import logging
import random
import re
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from secrets import token_hex

import attrs
import psycopg
import pytest
import trio

import trio_pipes._base._extras as extras
from postgres_kit import DSN, PASSWORD, PASSWORD_IN_URL, Cluster, cluster, need_postgres, running_cluster
from trio_pipes import Bus, BusError, BusGap, ConfigurationError, DataMessage, MissingExtra, SystemMessage, on_wire
from trio_pipes._base._postgres import connect_postgres, parse_dsn
from trio_pipes.host import Subscription
from trio_pipes.net import PostgresBus
from trio_pipes.net._postgres_link import link_postgres
from trio_pipes.net._postgres_tables import Tables
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint, check_bus

pytestmark = pytest.mark.server

HERE = parse_dsn("test(dsn", DSN)


@on_wire("tests.postgres.note", version=1)
@attrs.define(eq=False, kw_only=True)
class Note(DataMessage):
    n: int = 0
    text: str = ""


@on_wire("tests.postgres.shout", version=1)
@attrs.define(eq=False, kw_only=True)
class Shout(SystemMessage):
    n: int = 0


@pytest.fixture
async def channel() -> AsyncIterator[str]:
    need_postgres()
    name = f"test_{token_hex(6)}"
    yield name
    async with connect_postgres(HERE) as connection:
        for table in Tables(name).names:
            await connection.execute(f"DROP TABLE IF EXISTS {table}")


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A cluster that tests freeze, kill and start again."""
    with running_cluster() as it:
        yield it


async def notes(messages: Subscription, until: int) -> tuple[list[int], list[BusGap]]:
    """What comes until the note of that number, which is not lost: the numbers, and what is said to be missing."""
    numbers: list[int] = []
    gaps: list[BusGap] = []
    with trio.fail_after(30):
        async for message in messages:
            if isinstance(message, BusGap):
                gaps.append(message)
            else:
                assert isinstance(message, Note)
                numbers.append(message.n)
                if message.n == until:
                    break
    return numbers, gaps


def bus_pid(bus: PostgresBus) -> int:
    """The server process of its connection."""
    return bus._link.backend_pid  # type: ignore[union-attr]


async def terminate(bus: PostgresBus) -> None:
    async with connect_postgres(HERE) as connection:
        await connection.execute("SELECT pg_terminate_backend($1)", bus_pid(bus))


async def test_b2_it_keeps_every_rule(channel: str) -> None:
    async def cut(bus: Bus) -> None:
        if bus._link is not None:  # type: ignore[attr-defined]
            await terminate(bus)  # type: ignore[arg-type]

    async def inject(data: bytes) -> None:
        link = await link_postgres(HERE, channel)
        await link.publish([(None, data)])
        await link.aclose()

    await check_bus(lambda: PostgresBus(DSN, channel=channel, lease=1.5), cut=cut, inject=inject)


# -- messages


async def test_broadcasts_targets_system_messages_and_sizes(channel: str) -> None:
    async with PostgresBus(DSN, channel=channel) as one, PostgresBus(DSN, channel=channel) as two:
        async with two.subscribe("bob", Note, Shout) as bob, one.subscribe("ann") as ann:
            sizes = [0, 10, 2950, 3050, 100_000, 500_000]
            for number, size in enumerate(sizes):
                await one.send(Note(source="ann", n=number, text="ü" * size))
            with trio.fail_after(20):
                got = [await bob.receive() for _ in sizes]
            assert [(it.n, it.text) for it in got] == [(n, "ü" * size) for n, size in enumerate(sizes)]  # type: ignore[attr-defined]
            await two.send(Note(source="bob", target="ann", n=9))
            await two.send(Shout(source="bob", n=10))
            with trio.fail_after(5):
                assert {(await ann.receive()).n, (await ann.receive()).n} == {9, 10}  # type: ignore[attr-defined]


async def test_other_channels_and_other_targets_are_not_heard(channel: str) -> None:
    async with (
        PostgresBus(DSN, channel=channel) as one,
        PostgresBus(DSN, channel=channel) as two,
        PostgresBus(DSN, channel=channel + "2") as other,
    ):
        async with two.subscribe("bob") as bob, other.subscribe("bob") as stranger:
            await one.send(Note(target="eve", n=1))
            await one.send(Note(target="bob", n=2))
            assert await notes(bob, 2) == ([2], [])
            assert two.statistics().received == 1
            with pytest.raises(trio.WouldBlock):
                stranger.receive_nowait()
    async with connect_postgres(HERE) as connection:
        for table in Tables(channel + "2").names:
            await connection.execute(f"DROP TABLE {table}")


async def test_names_in_capitals_with_quotes_and_of_any_length(channel: str) -> None:
    async with PostgresBus(DSN, channel=channel) as one, PostgresBus(DSN, channel=channel) as two:
        names = ["Ann", "ann", 'q"uote', "Ünïcode", "x" * 300, "x" * 299 + "y", "a/b", "; drop"]
        async with trio.open_nursery() as nursery:
            for number, name in enumerate(names):

                async def hear(name: str, number: int, *, task_status: trio.TaskStatus[None]) -> None:
                    async with two.subscribe(name) as messages:
                        task_status.started()
                        assert await notes(messages, number) == ([number], [])

                await nursery.start(hear, name, number)
            for number, name in enumerate(names):
                await one.send(Note(target=name, n=number))


CHILD = """
import sys, attrs, trio
from trio_pipes import DataMessage, on_wire
from trio_pipes.net import PostgresBus

@on_wire("tests.postgres.note", version=1)
@attrs.define(eq=False, kw_only=True)
class Note(DataMessage):
    n: int = 0
    text: str = ""

async def main():
    async with PostgresBus(sys.argv[1], channel=sys.argv[2]) as bus, bus.subscribe("child") as messages:
        print("ready", flush=True)
        async for message in messages:
            await bus.send(Note(source="child", target="parent", n=message.n, text=message.text))

trio.run(main)
"""


async def test_two_processes_and_one_that_is_killed(channel: str) -> None:
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, stdout=subprocess.PIPE, check=False)
        process = await nursery.start(run, [sys.executable, "-c", CHILD, DSN, channel])
        with trio.fail_after(20):
            assert await process.stdout.receive_some(100)
            async with PostgresBus(DSN, channel=channel) as bus, bus.subscribe("parent", buffer=300) as messages:
                for number in range(200):
                    await bus.send(Note(source="parent", target="child", n=number, text="x" * (number * 100)))
                assert await notes(messages, 199) == (list(range(200)), [])
                process.kill()
                await process.wait()
                await bus.send(Note(source="parent", target="child", n=0))  # nobody is there: not known here


# -- connections that break


# A grave of the peer: the reader of its bus over a broker ends on a lost connection, and nobody is told.
async def test_g21_a_lost_connection_is_told_and_made_again(channel: str) -> None:
    async with PostgresBus(DSN, channel=channel) as one, PostgresBus(DSN, channel=channel) as two:
        async with two.subscribe("bob", buffer=1000) as bob:
            await one.send(Note(n=1))
            assert await notes(bob, 1) == ([1], [])
            await terminate(two)
            with trio.fail_after(10):
                assert isinstance(await bob.receive(), BusGap)
            await one.send(Note(n=2))
            assert await notes(bob, 2) == ([2], [])
        assert two.statistics().connections == 2
        assert one.statistics().connections == 1


@pytest.mark.parametrize("size", [10, 20_000])
async def test_connections_terminated_under_way_lose_nothing_untold(channel: str, size: int) -> None:
    chance = random.Random(size)
    count = 2000 if size < 1000 else 200
    async with PostgresBus(DSN, channel=channel) as one, PostgresBus(DSN, channel=channel) as two:
        async with two.subscribe("bob", buffer=10_000) as bob:

            async def send() -> None:
                for number in range(count):
                    await one.send(Note(n=number, text="x" * size))
                    await trio.sleep(0.0005)

            async def disturb() -> None:
                for _ in range(6):
                    await trio.sleep(chance.random() * 0.2)
                    with suppress(AttributeError):  # it is connecting again just now
                        await terminate(chance.choice([one, two]))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(disturb)
                await send()
            # When both are connected, what is sent arrives.
            with trio.fail_after(20):
                while not (one.statistics().connected and two.statistics().connected):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            await one.send(Note(n=count))
            numbers, gaps = await notes(bob, count)
            assert numbers == sorted(set(numbers)), "in order, and none twice"
            if len(numbers) < count + 1:
                assert gaps
            lost = two.statistics().connections - 1
            assert len(gaps) >= lost


async def test_a_broker_that_is_killed_and_back(own: Cluster) -> None:
    async with PostgresBus(own.dsn, channel="killed") as one, PostgresBus(own.dsn, channel="killed") as two:
        async with two.subscribe("bob", buffer=1000) as bob:
            assert await one.claim(["bob"], "runner-1") == {}
            await one.send(Note(n=1))
            await notes(bob, 1)
            own.kill()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.send, Note(n=2))  # waits, and goes out when the broker is back
                nursery.start_soon(trio.to_thread.run_sync, own.start)
            with trio.fail_after(20):
                while not (one.statistics().connected and two.statistics().connected):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            await one.send(Note(n=3))
            numbers, gaps = await notes(bob, 3)
            assert gaps
            assert numbers in ([2, 3], [3])
            assert await one.renew("runner-1") == set()
            assert await two.claim(["bob"], "runner-2") == {"bob": "runner-1"}


async def test_a_broker_that_stands_still(own: Cluster) -> None:
    async with PostgresBus(own.dsn, channel="still", lease=2.0, send_timeout=1.0) as one:
        async with one.subscribe("bob", Shout) as bob:
            own.freeze()
            try:
                with trio.fail_after(20):
                    while one.statistics().connected:  # noqa: ASYNC110
                        await trio.sleep(0.05)
                    with pytest.raises(BusError, match="took nothing for 1 s"):
                        await one.send(Note(n=1))
                    with pytest.raises(BusError, match="took nothing for 1 s"):
                        await one.claim(["x"], "runner-1")
            finally:
                own.thaw()
            with trio.fail_after(20):
                assert isinstance(await bob.receive(), BusGap)
                assert await one.claim(["x"], "runner-1") == {}


async def test_closing_does_not_wait_for_a_broker_that_stands_still(own: Cluster) -> None:
    try:
        with trio.fail_after(15):
            with pytest.raises(BusError, match="not taken by"):
                async with PostgresBus(own.dsn, channel="still") as one:
                    await one.send(Note(n=0))
                    await one.claim([], "runner-1")  # so that has been sent
                    own.freeze()
                    await one.send(Note(n=1))
    finally:
        own.thaw()


async def test_there_is_no_broker() -> None:
    with pytest.raises(BusError, match="cannot connect to PostgreSQL at postgresql://postgres@127.0.0.1:1/x"):
        async with PostgresBus("postgresql://postgres@127.0.0.1:1/x"):
            pass


# -- cancels


async def test_cancelled_at_random(channel: str) -> None:
    chance = random.Random(8)
    async with PostgresBus(DSN, channel=channel) as one, PostgresBus(DSN, channel=channel) as two:
        async with two.subscribe("bob", buffer=10_000) as bob:
            sure: list[int] = []

            async def do(number: int) -> None:
                await one.send(Note(n=number))
                sure.append(number)
                async with one.subscribe(f"name-{number}"):
                    await one.claim([f"name-{number}"], "runner-1")
                    await one.renew("runner-1")
                    await one.release([f"name-{number}"], "runner-1")

            for number in range(150):
                with trio.move_on_after(chance.random() * 0.01):
                    await do(number)
            await one.send(Note(n=1000))
            numbers, gaps = await notes(bob, 1000)
            assert gaps == []
            assert set(sure) <= set(numbers)
            assert numbers == sorted(set(numbers))
            assert one.statistics().connections == 1, "no cancel has cost a connection"
            await one.release(None, "runner-1")
            assert await two.claim([f"name-{number}" for number in range(150)], "runner-2") == {}


async def test_blocks_cancelled_at_random_leave_nothing(channel: str) -> None:
    chance = random.Random(9)
    for _ in range(40):
        with trio.move_on_after(chance.random() * 0.05):
            async with PostgresBus(DSN, channel=channel) as one, one.subscribe("bob"):
                await one.send(Note(n=1, text="x" * 10_000))
                await trio.sleep(0.01)
    async with connect_postgres(HERE) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query ~ $1 AND pid <> pg_backend_pid()"
        with trio.fail_after(5):
            while await connection.execute(query, channel) != [(0,)]:  # noqa: ASYNC110
                await trio.sleep(0.02)


async def test_cancelled_at_every_step(channel: str) -> None:
    name = f"test_{token_hex(6)}"
    dsn = f"{DSN}?application_name={name}"

    async def scenario(attempt: Attempt) -> None:
        with trio.fail_after(20):
            async with PostgresBus(dsn, channel=channel) as one, PostgresBus(dsn, channel=channel) as two:
                async with two.subscribe("bob") as bob:
                    await one.claim(["a"], "runner-1")
                    await one.send(Note(n=1, text="x" * 10_000))
                    assert await notes(bob, 1) == ([1], [])
                    await one.renew("runner-1")
                    await one.release(None, "runner-1")

    steps = await cancel_at_every_checkpoint(scenario, stride=3)
    assert steps > 20
    async with connect_postgres(HERE) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        with trio.fail_after(5):
            while await connection.execute(query, name) != [(0,)]:  # noqa: ASYNC110
                await trio.sleep(0.02)


# -- passwords, TLS, what is missing


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[Cluster, str]]:
    """A cluster that wants a password and TLS, and the certificate to trust."""
    with cluster() as it:
        root = it.make_certificate()
        it.start("-c", "ssl=on")
        with psycopg.connect(it.dsn, autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE ROLE guest LOGIN PASSWORD {}").format(PASSWORD))
            connection.execute("GRANT CREATE ON SCHEMA public TO guest")
        it.require_password()
        with psycopg.connect(it.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        yield it, str(root)


async def test_over_tls_with_a_password_that_nobody_sees(
    guarded: tuple[Cluster, str], caplog: pytest.LogCaptureFixture
) -> None:
    own, root = guarded
    dsn = own.dsn_of("guest", sslmode="verify-full", sslrootcert=root)
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    async with PostgresBus(dsn) as one, PostgresBus(dsn) as two, two.subscribe("bob", buffer=1000) as bob:
        shown += [repr(one), str(one.statistics()), repr(vars(one))]
        for number in range(300):
            await one.send(Note(n=number, text="x" * 3000))
        assert await notes(bob, 299) == (list(range(300)), [])
        with psycopg.connect(own.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", (bus_pid(two),))
        with trio.fail_after(10):
            shown.append(repr(await bob.receive()))
        shown.append(str(two.statistics()))
    for wrong in (
        dsn.replace(":" + PASSWORD_IN_URL, ":" + PASSWORD_IN_URL[:-1]),
        dsn.replace("/postgres?", "/nowhere?"),
        dsn.replace("127.0.0.1", "127.0.0.1,no-such-host.invalid"),
        dsn.replace(":" + PASSWORD_IN_URL, ""),
    ):
        try:
            async with PostgresBus(wrong):
                pass
        except BusError as exc:
            shown.append("".join(traceback.format_exception(exc)))
    shown += [record.getMessage() for record in caplog.records]
    assert len(shown) > 6
    for text in shown:
        assert PASSWORD not in text
        assert PASSWORD[:-1] not in text
        assert PASSWORD_IN_URL not in text


def test_what_is_refused() -> None:
    for wrong in (
        {"dsn": "s3cr3t"},
        {"dsn": None},
        {"channel": ""},
        {"channel": "x" * 49},
        {"lease": 0},
        {"send_timeout": 0},
    ):
        with pytest.raises(ConfigurationError) as raised:
            PostgresBus(**{"dsn": DSN, **wrong})
        assert "s3cr3t" not in str(raised.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'trio-pipes[postgres]'")):
        PostgresBus(DSN)


async def test_a_role_that_may_not_make_tables_is_told_what_to_do(guarded: tuple[Cluster, str]) -> None:
    own, _ = guarded
    with psycopg.connect(own.dsn, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE ROLE poor LOGIN PASSWORD {}").format(PASSWORD))
    with pytest.raises(BusError, match="GRANT SELECT, INSERT, UPDATE, DELETE"):
        async with PostgresBus(own.dsn_of("poor"), channel="poor"):
            pass
