"""Statements, notifications, cancels and losses on one connection, with a real server."""

import random
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from secrets import token_hex

import psycopg
import pytest
import trio

from postgres_kit import DSN, PASSWORD, PASSWORD_IN_URL, Cluster, cluster, need_postgres, running_cluster
from trio_pipes._base._postgres import Notification, PostgresConnection, connect_postgres, parse_dsn
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint

pytestmark = pytest.mark.server

HERE = parse_dsn("test(dsn", DSN)


@pytest.fixture
async def connection() -> AsyncIterator[PostgresConnection]:
    need_postgres()
    async with connect_postgres(HERE) as it:
        yield it


@pytest.fixture
async def other() -> AsyncIterator[PostgresConnection]:
    need_postgres()
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


# -- statements


async def test_rows_parameters_and_no_rows(connection: PostgresConnection) -> None:
    assert await connection.execute("SELECT 1, $1::text, $2::bytea, $3::int[]", "ü", b"\0\xff", [1, None]) == [
        (1, "ü", b"\0\xff", [1, None])
    ]
    assert await connection.execute("SET application_name = 'x'") == []
    assert await connection.execute("SELECT '100%'") == [("100%",)]
    assert await connection.execute("SELECT $1::text, $2::bytea", None, b"\xfe" * 99_999, binary=True) == [
        (None, b"\xfe" * 99_999)
    ]
    later = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
    assert await connection.execute("SELECT $1::timestamptz + interval '1 hour'", later) == [(later.replace(hour=23),)]
    assert await connection.execute("SELECT pg_backend_pid()") == [(connection.backend_pid,)]


async def test_a_refused_statement_leaves_the_connection_usable(connection: PostgresConnection) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        await connection.execute("SELECT * FROM no_such_table")
    assert await connection.execute("SELECT 1") == [(1,)]


async def test_several_statements_in_one_piece(connection: PostgresConnection) -> None:
    await connection.execute("CREATE TEMPORARY TABLE t (n int, s text)")
    sql = "INSERT INTO t VALUES (%(n)s, %(s)s); INSERT INTO t VALUES (%(n)s + 1, %(s)s); SELECT n, s FROM t ORDER BY n"
    odd = 'it\'s \\ "%s" $1; DROP TABLE t'
    assert await connection.execute_all(sql, {"n": 1, "s": odd}) == [(1, odd), (2, odd)]
    with pytest.raises(psycopg.errors.DivisionByZero):
        await connection.execute_all("INSERT INTO t VALUES (3); SELECT 1/0; INSERT INTO t VALUES (4)")
    assert await connection.execute("SELECT count(*) FROM t") == [(2,)]
    assert await connection.execute_all("SET application_name = '50%'") == []


async def test_transactions(connection: PostgresConnection) -> None:
    await connection.execute("CREATE TEMPORARY TABLE t (n int)")
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
        await connection.execute("INSERT INTO t VALUES (2)")
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (3)")
            raise ZeroDivisionError
    with pytest.raises(psycopg.errors.InFailedSqlTransaction, match="it was undone"):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (4)")
            with pytest.raises(psycopg.errors.UndefinedTable):
                await connection.execute("SELECT * FROM no_such_table")
    with pytest.raises(RuntimeError, match="already"):
        async with connection.transaction():
            async with connection.transaction():
                pass
    assert await connection.execute("SELECT n FROM t ORDER BY n") == [(1,), (2,)]


async def test_other_tasks_wait_for_the_end_of_a_transaction(connection: PostgresConnection) -> None:
    await connection.execute("CREATE TEMPORARY TABLE t (n int)")
    seen: list[object] = []

    async def look() -> None:
        seen.extend(await connection.execute("SELECT count(*) FROM t"))

    async with trio.open_nursery() as nursery:
        async with connection.transaction():
            nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked()
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.execute("INSERT INTO t VALUES (2)")
    assert seen == [(2,)]


async def test_copy_is_refused_and_ends_the_connection() -> None:
    async with connect_postgres(HERE) as connection:
        with pytest.raises(psycopg.NotSupportedError):
            await connection.execute("COPY (SELECT 1) TO STDOUT")
        with pytest.raises(trio.BrokenResourceError):
            await connection.execute("SELECT 1")


async def test_no_thread_waits_for_the_server(connection: PostgresConnection) -> None:
    before = threading.active_count()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.notifications)
        nursery.start_soon(connection.execute, "SELECT pg_sleep(60)")
        await trio.sleep(0.05)
        assert threading.active_count() <= before
        nursery.cancel_scope.cancel()


# The server reads nothing while it cannot send: who sends much has to read meanwhile.
async def test_much_is_sent_while_much_comes(
    connection: PostgresConnection, other: PostgresConnection, channel: str
) -> None:
    await connection.execute(f'LISTEN "{channel}"')
    await other.execute("SELECT pg_notify($1, n || repeat('x', 7000)) FROM generate_series(1, 3000) n", channel)
    with trio.fail_after(20):
        data = b"y" * 20_000_000
        assert await connection.execute("SELECT length($1::bytea)", data) == [(len(data),)]
        got: list[Notification] = []
        while len(got) < 3000:
            got += await connection.notifications()


async def test_many_tasks_share_a_connection(connection: PostgresConnection) -> None:
    answers: list[int] = []

    async def ask(number: int) -> None:
        ((answer,),) = await connection.execute("SELECT $1::int", number)
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
        query = "SELECT state FROM pg_stat_activity WHERE pid = $1"
        assert await other.execute(query, connection.backend_pid) == [("idle",)]
        assert await connection.execute("SELECT 1") == [(1,)]


async def test_a_cancelled_transaction_is_undone(connection: PostgresConnection) -> None:
    await connection.execute("CREATE TEMPORARY TABLE t (n int)")
    with trio.fail_after(5), trio.move_on_after(0.1) as scope:
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            await connection.execute("SELECT pg_sleep(60)")
    assert scope.cancelled_caught
    assert await connection.execute("SELECT n FROM t") == []
    with trio.move_on_after(0.05):
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (1)")
            await trio.sleep_forever()
    assert await connection.execute("SELECT n FROM t") == []


async def test_a_large_statement_is_cancelled_while_it_is_sent(connection: PostgresConnection) -> None:
    chance = random.Random(4)
    data = b"x" * 5_000_000
    for number in range(30):
        with trio.fail_after(5), trio.move_on_after(chance.random() * 0.02):
            await connection.execute("SELECT length($1::bytea), pg_sleep(60)", data)
        assert await connection.execute("SELECT $1::int", number) == [(number,)]


async def test_300_random_cancels(connection: PostgresConnection) -> None:
    chance = random.Random(5)
    for number in range(300):
        with trio.move_on_after(chance.random() * 0.004):
            if number % 3:
                await connection.execute("SELECT pg_sleep(0.001), generate_series(1, 50)")
            else:
                async with connection.transaction():
                    await connection.execute("SELECT pg_sleep(0.0005)")
                    await connection.execute("SELECT pg_sleep(0.0005)")
        assert await connection.execute("SELECT $1::int", number) == [(number,)]


async def test_tasks_that_share_a_connection_are_cancelled_at_random(
    connection: PostgresConnection, other: PostgresConnection, channel: str
) -> None:
    await connection.execute(f'LISTEN "{channel}"')
    got: list[str] = []
    done = 0

    async def ask(seed: int) -> None:
        nonlocal done
        chance = random.Random(seed)
        for number in range(60):
            with trio.move_on_after(chance.random() * 0.01):
                await connection.execute("SELECT pg_sleep(0.0005)")
                assert await connection.execute("SELECT $1::int", number * seed) == [(number * seed,)]
        done += 1

    async def read() -> None:
        chance = random.Random(8)
        while len(got) < 200:
            with trio.move_on_after(chance.random() * 0.005):
                got.extend([one.payload for one in await connection.notifications()])

    async with trio.open_nursery() as nursery:
        for seed in range(1, 5):
            nursery.start_soon(ask, seed)
        nursery.start_soon(read)
        for number in range(200):
            await other.execute("SELECT pg_notify($1, $2)", channel, str(number))
    assert done == 4
    assert got == [str(number) for number in range(200)]


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
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    with trio.fail_after(5):
        while await other.execute(query, name) != [(0,)]:  # noqa: ASYNC110 # another process
            await trio.sleep(0.01)  # the server takes a moment to notice


# -- notifications


async def test_notifications_come_in_order_and_with_no_thread_waiting(
    connection: PostgresConnection, other: PostgresConnection, channel: str
) -> None:
    await connection.execute(f'LISTEN "{channel}"')
    for number in range(100):
        await other.execute("SELECT pg_notify($1, $2)", channel, str(number))
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
            await (other if number % 3 else connection).execute("SELECT pg_notify($1, $2)", channel, str(number))
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
            await connection.execute("SELECT pg_notify($1, 'x')", channel)
    assert got == [Notification(channel, "x")]


async def test_a_cancelled_reader_loses_nothing(
    connection: PostgresConnection, other: PostgresConnection, channel: str
) -> None:
    chance = random.Random(7)
    await connection.execute(f'LISTEN "{channel}"')
    got: list[str] = []

    async def write() -> None:
        for number in range(300):
            await other.execute("SELECT pg_notify($1, $2)", channel, str(number))

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
                await other.execute("SELECT pg_terminate_backend($1)", connection.backend_pid)
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
        await other.execute("SELECT pg_notify($1, n || repeat('x', 7900)) FROM generate_series(1, 300) n", channel)
        got: list[Notification] = []
        with trio.fail_after(10):
            while len(got) < 300:
                got += await connection.notifications()
        assert [int(one.payload.rstrip("x")) for one in got] == list(range(1, 301))
        chance = random.Random(3)
        with trio.fail_after(10):
            for size in [16_384, 16_383, 8192, *(chance.randrange(100_000) for _ in range(100))]:
                assert await connection.execute("SELECT repeat('x', $1)", size) == [("x" * size,)]
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


# -- cancelled at every step


def test_cancelled_at_every_step(channel: str) -> None:
    need_postgres()
    name = f"test_{token_hex(6)}"
    dsn = parse_dsn("test(dsn", f"{DSN}?application_name={name}")

    async def scenario(attempt: Attempt) -> None:
        with trio.fail_after(20):
            async with connect_postgres(dsn) as connection, connect_postgres(dsn) as other:
                await connection.execute(f'LISTEN "{channel}"')
                async with connection.transaction():
                    await connection.execute("SELECT 1")
                    await other.execute("SELECT pg_notify($1, 'x')", channel)
                assert await connection.notifications() == [Notification(channel, "x")]
                await connection.execute_all("SELECT 1; SELECT 2")

    async def main() -> int:
        steps = await cancel_at_every_checkpoint(scenario)
        async with connect_postgres(HERE) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
            while await connection.execute(query, name) != [(0,)]:  # noqa: ASYNC110 # another process
                await trio.sleep(0.01)
        return steps

    assert trio.run(main) > 20
