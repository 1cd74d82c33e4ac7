"""Statements, notifications, cancels and losses on one connection, with a real server."""

import random
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from secrets import token_hex

import psycopg
import pytest
import trio

from postgres_kit import DSN, PASSWORD, PASSWORD_IN_URL, Cluster, cluster, running_cluster
from trio_pipes._base._postgres import Notification, PostgresConnection, connect_postgres, parse_dsn

pytestmark = pytest.mark.server

HERE = parse_dsn("test(dsn", DSN)


@pytest.fixture
async def connection() -> AsyncIterator[PostgresConnection]:
    async with connect_postgres(HERE) as it:
        yield it


@pytest.fixture
async def other() -> AsyncIterator[PostgresConnection]:
    async with connect_postgres(HERE) as it:
        yield it


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A cluster that tests freeze, kill and start again."""
    with running_cluster() as it:
        yield it


@pytest.fixture
def channel() -> str:
    return f"test_{token_hex(6)}"


def busy_threads() -> int:
    """Threads that are at work for us; Trio keeps idle ones for a while."""
    return sum(1 for thread in threading.enumerate() if "ThreadCall" in thread.name or "_in_thread" in thread.name)


# -- statements


async def test_rows_parameters_and_no_rows(connection: PostgresConnection) -> None:
    assert await connection.execute("SELECT 1, %s::text, %s::bytea", ("ü", b"\0\xff")) == [(1, "ü", b"\0\xff")]
    assert await connection.execute("SET application_name = 'x'") == []
    assert await connection.execute("SELECT '100%'") == [("100%",)]
    assert await connection.execute("SELECT pg_backend_pid()") == [(connection.backend_pid,)]


async def test_a_refused_statement_leaves_the_connection_usable(connection: PostgresConnection) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        await connection.execute("SELECT * FROM no_such_table")
    assert await connection.execute("SELECT 1") == [(1,)]


async def test_each_statement_is_a_transaction_and_transact_is_one(connection: PostgresConnection) -> None:
    await connection.execute("CREATE TEMPORARY TABLE t (n int)")
    await connection.execute("INSERT INTO t VALUES (1)")

    def two(inner: psycopg.Connection) -> str:
        inner.execute("INSERT INTO t VALUES (2)")
        inner.execute("INSERT INTO t VALUES (3)")
        return "done"

    def fails(inner: psycopg.Connection) -> None:
        inner.execute("INSERT INTO t VALUES (4)")
        raise ZeroDivisionError

    assert await connection.transact(two) == "done"
    with pytest.raises(ZeroDivisionError):
        await connection.transact(fails)
    assert await connection.execute("SELECT n FROM t ORDER BY n") == [(1,), (2,), (3,)]


async def test_many_tasks_share_a_connection(connection: PostgresConnection) -> None:
    answers: list[int] = []

    async def ask(number: int) -> None:
        ((answer,),) = await connection.execute("SELECT %s::int", (number,))
        assert answer == number
        answers.append(answer)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, number)
    assert sorted(answers) == list(range(50))


# -- cancels


async def test_a_cancel_reaches_the_server(connection: PostgresConnection, other: PostgresConnection) -> None:
    with trio.fail_after(5):
        with trio.move_on_after(0.1) as scope:
            await connection.execute("SELECT pg_sleep(60)")
        assert scope.cancelled_caught
        query = "SELECT state FROM pg_stat_activity WHERE pid = %s"
        assert await other.execute(query, (connection.backend_pid,)) == [("idle",)]
        assert await connection.execute("SELECT 1") == [(1,)]


async def test_a_cancelled_transaction_is_undone(connection: PostgresConnection) -> None:
    await connection.execute("CREATE TEMPORARY TABLE t (n int)")

    def work(inner: psycopg.Connection) -> None:
        inner.execute("INSERT INTO t VALUES (1)")
        inner.execute("SELECT pg_sleep(60)")

    with trio.fail_after(5), trio.move_on_after(0.1) as scope:
        await connection.transact(work)
    assert scope.cancelled_caught
    assert await connection.execute("SELECT n FROM t") == []


async def test_a_cancel_between_two_statements_stops_the_next(connection: PostgresConnection) -> None:
    first = trio.Event()
    token = trio.lowlevel.current_trio_token()
    go_on = threading.Event()

    def work(inner: psycopg.Connection) -> None:
        inner.execute("SELECT 1")
        token.run_sync_soon(first.set)
        go_on.wait()
        inner.execute("SELECT pg_sleep(60)")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.transact, work)
        await first.wait()
        nursery.cancel_scope.cancel()
        go_on.set()
    assert await connection.execute("SELECT 1") == [(1,)]


async def test_300_random_cancels(connection: PostgresConnection) -> None:
    chance = random.Random(5)

    def work(inner: psycopg.Connection) -> None:
        inner.execute("SELECT pg_sleep(0.0005)")
        inner.execute("SELECT pg_sleep(0.0005)")

    before = busy_threads()
    for number in range(300):
        with trio.move_on_after(chance.random() * 0.004):
            if number % 3:
                await connection.execute("SELECT pg_sleep(0.001), generate_series(1, 50)")
            else:
                await connection.transact(work)
        assert await connection.execute("SELECT %s::int", (number,)) == [(number,)]
    assert busy_threads() == before


async def test_cancelled_before_it_begins(connection: PostgresConnection) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.execute("SELECT 1")
    assert scope.cancelled_caught
    assert await connection.execute("SELECT 2") == [(2,)]


async def test_a_cancelled_connect_leaves_nothing(other: PostgresConnection) -> None:
    chance = random.Random(6)
    name = f"test_{token_hex(6)}"
    dsn = parse_dsn("test(dsn", f"{DSN}?application_name={name}")
    for _ in range(60):
        with trio.move_on_after(chance.random() * 0.01):
            async with connect_postgres(dsn) as connection:
                await connection.execute("SELECT 1")
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    with trio.fail_after(5):
        while await other.execute(query, (name,)) != [(0,)]:  # noqa: ASYNC110 # another process
            await trio.sleep(0.01)  # the server takes a moment to notice


# -- notifications


async def test_notifications_come_in_order_and_with_no_thread_waiting(
    connection: PostgresConnection, other: PostgresConnection, channel: str
) -> None:
    await connection.execute(f'LISTEN "{channel}"')
    for number in range(100):
        await other.execute("SELECT pg_notify(%s, %s)", (channel, str(number)))
    got: list[Notification] = []
    with trio.fail_after(5):
        while len(got) < 100:
            got += await connection.notifications()
    assert got == [Notification(channel, str(number)) for number in range(100)]


async def test_a_waiting_reader_wakes_while_the_connection_is_used(
    connection: PostgresConnection, other: PostgresConnection, channel: str
) -> None:
    got: list[Notification] = []

    async def read() -> None:
        while True:
            got.extend(await connection.notifications())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await connection.execute(f'LISTEN "{channel}"')
        for number in range(200):
            if number % 2:
                nursery.start_soon(connection.execute, "SELECT 1")
            # Its own notifications come with the answer, in libpq's buffer and not in the socket.
            await (other if number % 3 else connection).execute("SELECT pg_notify(%s, %s)", (channel, str(number)))
        with trio.fail_after(5):
            while len(got) < 200:  # noqa: ASYNC110 # the socket is what is tested
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert [one.payload for one in got] == [str(number) for number in range(200)]


async def test_what_comes_with_the_answer_needs_no_other_wake(connection: PostgresConnection, channel: str) -> None:
    await connection.execute(f'LISTEN "{channel}"')
    async with trio.open_nursery() as nursery:
        got: list[Notification] = []

        async def read() -> None:
            got.extend(await connection.notifications())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            await connection.execute("SELECT pg_notify(%s, 'x')", (channel,))
    assert got == [Notification(channel, "x")]


async def test_a_cancelled_reader_loses_nothing(
    connection: PostgresConnection, other: PostgresConnection, channel: str
) -> None:
    chance = random.Random(7)
    await connection.execute(f'LISTEN "{channel}"')
    got: list[str] = []

    async def write() -> None:
        for number in range(300):
            await other.execute("SELECT pg_notify(%s, %s)", (channel, str(number)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        with trio.fail_after(20):
            while len(got) < 300:
                with trio.move_on_after(chance.random() * 0.002):
                    got += [one.payload for one in await connection.notifications()]
    assert got == [str(number) for number in range(300)]


async def test_one_reader_at_a_time(connection: PostgresConnection) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.notifications)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await connection.notifications()
        nursery.cancel_scope.cancel()


# The clock stands while a thread works, and not while a reader waits for what may never come.
async def test_the_autojump_clock_jumps_past_a_reader_and_not_past_a_statement(autojump_clock: object) -> None:
    async with connect_postgres(HERE) as connection:
        with trio.move_on_after(1000) as scope:
            await connection.notifications()
        assert scope.cancelled_caught
        began = trio.current_time()
        await connection.execute("SELECT pg_sleep(0.2)")
        assert trio.current_time() == began


# -- losses


async def test_a_terminated_connection_is_told_to_everybody(other: PostgresConnection, channel: str) -> None:
    async with connect_postgres(HERE) as connection:
        await connection.execute(f'LISTEN "{channel}"')
        told: list[str] = []

        async def wait(what: object) -> None:
            with pytest.raises(trio.BrokenResourceError, match="is lost") as raised:
                await what()  # type: ignore[operator]
            told.append(str(raised.value))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, connection.notifications)
                nursery.start_soon(wait, lambda: connection.execute("SELECT pg_sleep(60)"))
                await trio.sleep(0.05)
                await other.execute("SELECT pg_terminate_backend(%s)", (connection.backend_pid,))
            assert len(told) == 2
            await wait(lambda: connection.execute("SELECT 1"))
            await wait(connection.notifications)
        assert "lost" in repr(connection)


async def test_a_closed_connection(connection: PostgresConnection) -> None:
    async with connect_postgres(HERE) as closed:
        pass
    with pytest.raises(trio.ClosedResourceError):
        await closed.execute("SELECT 1")
    with pytest.raises(trio.ClosedResourceError):
        await closed.notifications()
    assert "closed" in repr(closed)


async def test_leaving_the_block_ends_what_others_wait_for() -> None:
    async with trio.open_nursery() as nursery:
        ended: list[str] = []

        async def wait(what: object) -> None:
            try:
                await what()  # type: ignore[operator]
            except (trio.ClosedResourceError, trio.BrokenResourceError) as exc:
                ended.append(type(exc).__name__)

        with trio.fail_after(5):
            async with connect_postgres(HERE) as connection:
                nursery.start_soon(wait, connection.notifications)
                nursery.start_soon(wait, lambda: connection.execute("SELECT pg_sleep(60)"))
                await trio.sleep(0.05)
            while len(ended) < 2:  # noqa: ASYNC110
                await trio.sleep(0.01)


async def test_a_server_that_is_stopped_does_not_hold_a_cancelled_call(own: Cluster) -> None:
    async with connect_postgres(parse_dsn("test(dsn", own.dsn)) as connection:
        own.freeze()
        try:
            with trio.fail_after(4), trio.move_on_after(0.1) as scope:  # the server has 2 s to take the cancel
                await connection.execute("SELECT 1")
            assert scope.cancelled_caught
            with pytest.raises(trio.BrokenResourceError):
                await connection.execute("SELECT 1")
            with trio.move_on_after(0.2) as scope:
                async with connect_postgres(parse_dsn("test(dsn", own.dsn)):
                    pass
            assert scope.cancelled_caught
            with pytest.raises(trio.BrokenResourceError, match="no answer within 1 s"):
                async with connect_postgres(parse_dsn("test(dsn", own.dsn + "?connect_timeout=1")):
                    pass
        finally:
            own.thaw()


async def test_a_server_that_is_killed_and_back(own: Cluster) -> None:
    dsn = parse_dsn("test(dsn", own.dsn)
    async with connect_postgres(dsn) as connection:
        await connection.execute("LISTEN x")
        own.kill()
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            await connection.notifications()
        with (
            trio.fail_after(5),
            pytest.raises(trio.BrokenResourceError, match="cannot connect to postgresql://postgres@"),
        ):
            async with connect_postgres(dsn):
                pass
    await trio.to_thread.run_sync(own.start)
    async with connect_postgres(dsn) as connection:
        assert await connection.execute("SELECT 1") == [(1,)]


async def test_over_a_unix_socket(own: Cluster) -> None:
    for dsn in (
        f"postgresql://postgres@/postgres?host={own.place}&port={own.port}",
        f"host={own.place} port={own.port} user=postgres",
    ):
        async with connect_postgres(parse_dsn("test(dsn", dsn)) as connection:
            assert await connection.execute("SELECT inet_client_addr()") == [(None,)]


async def test_the_first_of_several_hosts_that_answers(own: Cluster) -> None:
    dsn = f"host=no-such-host.invalid,127.0.0.1,localhost port=5432,1,{own.port} user=postgres dbname=postgres"
    async with connect_postgres(parse_dsn("test(dsn", dsn)) as connection:
        assert await connection.execute("SELECT inet_server_port()") == [(own.port,)]


# -- TLS and passwords


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[Cluster, str]]:
    """A cluster that wants a password and offers TLS, and the certificate to trust."""
    with cluster() as it:
        root = it.make_certificate()
        it.start("-c", "ssl=on")
        with psycopg.connect(it.dsn, autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE ROLE guest LOGIN PASSWORD {}").format(PASSWORD))
        it.require_password()
        with psycopg.connect(it.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        yield it, str(root)


async def test_password_and_tls_from_the_url(guarded: tuple[Cluster, str], channel: str) -> None:
    own, root = guarded
    dsn = parse_dsn("test(dsn", own.dsn_of("guest", sslmode="verify-full", sslrootcert=root))
    async with connect_postgres(dsn) as connection, connect_postgres(dsn) as other:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert await connection.execute(query) == [(True,)]
        assert PASSWORD not in repr(connection)
        # Many that are large: OpenSSL holds some that the socket does not tell of.
        await connection.execute(f'LISTEN "{channel}"')
        await other.execute("SELECT pg_notify(%s, n || repeat('x', 7900)) FROM generate_series(1, 300) n", (channel,))
        got: list[Notification] = []
        with trio.fail_after(10):
            while len(got) < 300:
                got += await connection.notifications()
        assert [int(one.payload.rstrip("x")) for one in got] == list(range(1, 301))
        with trio.fail_after(5), trio.move_on_after(0.05):
            await connection.execute("SELECT pg_sleep(60)")
        assert await connection.execute("SELECT 1") == [(1,)]


async def test_wrong_password_wrong_certificate_no_database(guarded: tuple[Cluster, str]) -> None:
    own, _ = guarded
    wrong = "n1cht-das-richtige"
    for dsn, text in [
        (own.dsn_of("guest", wrong), "password authentication failed"),
        (own.dsn_of("guest", sslmode="verify-full", sslrootcert="system"), "certificate verify failed"),
        (own.dsn_of("guest").replace("/postgres?", "/nowhere?"), 'database "nowhere" does not exist'),
        ("postgresql://guest@no-such-host.invalid/x", "'no-such-host.invalid' is not known"),
    ]:
        with pytest.raises(trio.BrokenResourceError, match=text) as raised:
            async with connect_postgres(parse_dsn("test(dsn", dsn)):
                pass
        shown = "".join(traceback.format_exception(raised.value))
        for secret in (PASSWORD, PASSWORD_IN_URL, wrong):
            assert secret not in shown
