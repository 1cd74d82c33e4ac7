"""One connection to PostgreSQL: statements in threads, notifications without.

# Why it looks like this.
#
# psycopg's own AsyncConnection wants asyncio. Its blocking Connection is used here, by its public names only: each
# statement is a call in a thread (`ThreadCall`), which ends when its caller is cancelled. Nothing waits in a thread
# for something that may never come: to connect is libpq's own non-blocking way (`psycopg.pq`), with Trio waiting
# for the socket between two steps, and so is to wait for notifications.
#
# Trio waits for a duplicate of the socket's file descriptor. libpq closes its own when the server is gone, in
# whichever thread finds out, and a number that is closed, and used again for something else, must not be waited for.
#
# Who touches libpq holds `_lock`: a thread, or the reader of notifications while it takes out what has come. The reader
# waits for the socket without the lock, so a LISTEN goes in between. A thread that reads its answer reads notifications
# as well, some of which stay in libpq's buffer where no socket tells of them: so the reader is woken after each call.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, TypeVar, final

import psycopg
import psycopg.errors
import psycopg.pq
import trio

from trio_pipes._base._outside import outside

from ._dsn import Dsn
from ._thread_call import ThreadCall

__all__ = ["Notification", "PostgresConnection", "connect_postgres", "open_postgres"]

T = TypeVar("T")
Row = tuple[Any, ...]
Params = Sequence[object] | Mapping[str, object]

# Seconds to connect in, where the DSN has no `connect_timeout`.
CONNECT_TIMEOUT: Final = 10.0

# Notifications that are taken out of libpq before other tasks have their turn.
AT_ONCE: Final = 1000

# What a server says to everyone before it closes the connection.
GOING_DOWN: Final = (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown, psycopg.errors.IdleSessionTimeout)


class Notification(NamedTuple):
    """What somebody sent with NOTIFY."""

    channel: str
    payload: str


@final
class PostgresConnection:
    """An open connection. You get one from `connect_postgres` or `open_postgres`.

    Statements of several tasks are taken one after the other, in the order in which they were asked for.
    """

    def __init__(self, connection: psycopg.Connection[Any], dsn: Dsn) -> None:
        self._connection = connection
        self._dsn = dsn
        self._socket = socket.fromfd(connection.fileno(), -1, -1, -1)  # a duplicate; it finds out what it is
        self._lock = trio.Lock()
        self._arrived: deque[Notification] = deque()
        self._look = False  # libpq may hold something that its socket does not tell of
        self._reading = False
        self._waiting: trio.CancelScope | None = None
        self._lost: str | None = None
        self._closed = False
        self._pid = connection.info.backend_pid
        connection.add_notify_handler(self._arrive)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "lost" if self._lost is not None else "open"
        return f"<PostgresConnection to {self._dsn!r}, {state}>"

    @property
    def backend_pid(self) -> int:
        """The process id of the server process that serves this connection."""
        return self._pid

    async def execute(self, sql: str, params: Params = (), *, binary: bool = False) -> list[Row]:
        """Run one statement, in a transaction of its own, and give its rows; none for a statement that has no rows.

        `binary`: its rows come in PostgreSQL's binary format, which is half of the bytes for a `bytea`.

        Cancelled, it is cancelled at the server as well, and the connection can be used on. Whether the statement was
        done is not known then, as after a lost connection.

        Raises:
            psycopg.Error: the server refused the statement.
            trio.BrokenResourceError: the connection is lost.
            trio.ClosedResourceError: its block has been left.
        """
        return await self._call(lambda connection: _rows(connection, sql, params, binary))

    async def execute_all(self, sql: str, params: Params = ()) -> list[Row]:
        """Run several statements in one transaction, sent in one piece: the server does all or none, whatever happens to us.

        Gives the rows of the last one. Raises as `execute`.
        """
        return await self._call(lambda connection: _rows_of_last(connection, sql, params))

    async def transact(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Run `work(connection)` in a thread and in a transaction: committed when it returns, undone when it raises.

        Raises what `work` raises, and otherwise as `execute`.
        """

        def transaction(connection: psycopg.Connection[Any]) -> T:
            connection.autocommit = False
            result = work(connection)
            connection.commit()
            return result

        return await self._call(transaction)

    async def notifications(self) -> list[Notification]:
        """Wait for notifications of the channels that were asked for by LISTEN; all that have come, in order.

        One task at a time. It may wait while others run statements on the same connection.

        Raises `trio.BrokenResourceError` when the connection is lost, after what came before has been given.
        """
        if self._reading:
            raise trio.BusyResourceError("another task is waiting for notifications of this connection")
        self._reading = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            while not self._arrived:
                self._check_usable()
                if not self._look:
                    await self._wait_for_socket()
                async with self._lock:
                    self._take_out()
            arrived = list(self._arrived)
            self._arrived.clear()
            await trio.lowlevel.cancel_shielded_checkpoint()
            return arrived
        finally:
            self._reading = False

    async def _wait_for_socket(self) -> None:
        with trio.CancelScope() as self._waiting:
            await trio.lowlevel.wait_readable(self._socket)
        self._waiting = None

    def _take_out(self) -> None:
        """What libpq has read and can read without waiting. Under TLS it reads what the socket has no more of."""
        self._look = False
        pgconn = self._connection.pgconn
        if self._closed or self._lost is not None:
            return
        try:
            for _ in range(AT_ONCE):
                pgconn.consume_input()
                before = len(self._arrived)
                while (notify := pgconn.notifies()) is not None:
                    self._arrived.append(Notification(notify.relname.decode(), notify.extra.decode()))
                if len(self._arrived) == before:
                    return
                if len(self._arrived) >= AT_ONCE:
                    break
            self._look = True
        except psycopg.Error as exc:
            self._lose(exc)

    def _arrive(self, notify: psycopg.Notify) -> None:
        # In the thread of a statement, which has libpq to itself.
        self._arrived.append(Notification(notify.channel, notify.payload))

    async def _call(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        async with self._lock:
            self._check_usable()
            try:
                return await ThreadCall(self._connection, work, self.shut_down).run()
            except psycopg.Error as exc:
                if self._connection.closed or isinstance(exc, GOING_DOWN):
                    raise self._lose(exc) from None
                raise
            finally:
                if not self._connection.closed:
                    self._connection.autocommit = True
                elif self._lost is None:
                    self._lost = "the connection was given up"
                self._look = True
                if self._waiting is not None:
                    self._waiting.cancel()

    def _check_usable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r} is closed")
        if self._lost is not None:
            raise self._broken()

    def _lose(self, error: psycopg.Error) -> trio.BrokenResourceError:
        if self._lost is None:
            self._lost = _one_line(self._dsn.hide(str(error)))
        return self._broken()

    def _broken(self) -> trio.BrokenResourceError:
        return trio.BrokenResourceError(f"the connection to {self._dsn!r} is lost: {self._lost}")

    def shut_down(self) -> None:
        """Break the connection off: whoever waits for the server, in whichever thread, is told at once."""
        with suppress(OSError):  # it is broken already
            self._socket.shutdown(socket.SHUT_RDWR)

    async def aclose(self) -> None:
        """Close it. Never waits for the server; whoever waits for it is told. May be called again."""
        if self._closed:
            return
        self._closed = True
        if self._lock.locked():
            self.shut_down()  # a task that outlives the block has a statement under way
        if self._waiting is not None:
            self._waiting.cancel()
        with trio.CancelScope(shield=True):
            async with self._lock:
                trio.lowlevel.notify_closing(self._socket)
                self._connection.close()
                self._socket.close()


def _rows(connection: psycopg.Connection[Any], sql: str, params: Params, binary: bool) -> list[Row]:
    # psycopg's own `execute` wants a literal; what comes here is put together from quoted names.
    cursor = connection.execute(sql.encode(), params or None, binary=binary)
    return cursor.fetchall() if cursor.description is not None else []


def _rows_of_last(connection: psycopg.Connection[Any], sql: str, params: Params) -> list[Row]:
    # A server takes several statements in one message only without parameters of their own: the client writes them in.
    cursor: psycopg.ClientCursor[Row] = psycopg.ClientCursor(connection)
    cursor.execute(sql.encode(), params or None)
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description is not None else []


def _one_line(text: str) -> str:
    return " ".join(text.split())


@asynccontextmanager
async def connect_postgres(dsn: Dsn, **defaults: str) -> AsyncGenerator[PostgresConnection, None]:
    """A connection while the block lasts; `defaults` are libpq's parameters where the DSN has no word of its own.

    Raises `trio.BrokenResourceError` when the server cannot be reached or refuses, also when it takes longer than the
    DSN's `connect_timeout` (10 s). The text never holds a password.
    """
    connection = await open_postgres(dsn, **defaults)
    try:
        yield connection
    finally:
        await connection.aclose()  # noqa: ASYNC102  # shielded inside, and waits for nobody


async def open_postgres(dsn: Dsn, **defaults: str) -> PostgresConnection:
    """As `connect_postgres`, for an owner that closes it by `aclose`."""
    timeout = dsn.connect_timeout or CONNECT_TIMEOUT
    refused: str | None = None
    with trio.move_on_after(timeout) as scope, outside():
        try:
            pgconn = await _open(await dsn.resolve(application_name="trio_pipes", **defaults))
        except OSError as exc:
            refused = str(exc)
        except psycopg.Error as exc:
            refused = _one_line(dsn.hide(str(exc)))
        else:
            connection: psycopg.Connection[Any] = psycopg.Connection(pgconn)
            connection.autocommit = True
            try:
                return PostgresConnection(connection, dsn)
            except BaseException:
                connection.close()
                raise
    if scope.cancelled_caught:
        refused = f"no answer within {timeout:g} s"
    raise trio.BrokenResourceError(f"cannot connect to {dsn!r}: {refused}")


async def _open(conninfo: bytes) -> psycopg.pq.abc.PGconn:
    """Connect by libpq's non-blocking steps.

    Each is short, and in a thread all the same: there is some arithmetic in a login, and a service file may name a
    host that libpq itself looks up.
    """
    status = psycopg.pq.PollingStatus
    limiter = trio.CapacityLimiter(1)
    pgconn = await trio.to_thread.run_sync(psycopg.pq.PGconn.connect_start, conninfo, limiter=limiter)
    try:
        while True:
            if pgconn.status == psycopg.pq.ConnStatus.BAD:
                raise psycopg.OperationalError(pgconn.get_error_message())
            step = await trio.to_thread.run_sync(pgconn.connect_poll, limiter=limiter)
            if step == status.READING:
                await trio.lowlevel.wait_readable(pgconn.socket)
            elif step == status.WRITING:
                await trio.lowlevel.wait_writable(pgconn.socket)
            elif step == status.OK:
                pgconn.nonblocking = 1
                return pgconn
            else:
                raise psycopg.OperationalError(pgconn.get_error_message())
    except BaseException:
        pgconn.finish()
        raise
