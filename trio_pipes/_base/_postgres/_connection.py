"""One connection to PostgreSQL: statements, transactions, notifications."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, final

import psycopg
import psycopg.abc
import psycopg.errors
import psycopg.pq
import trio
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq.abc import PGconn, PGresult
from trio.lowlevel import current_task

from trio_pipes._base._outside import outside

from ._dsn import Dsn
from ._talk import PATIENCE, Talk

__all__ = ["Notification", "PostgresConnection", "connect_postgres", "open_postgres"]

Row = tuple[Any, ...]

# Seconds to connect in, where the DSN has no `connect_timeout`.
CONNECT_TIMEOUT: Final = 10.0


class Notification(NamedTuple):
    """What somebody sent with NOTIFY."""

    channel: str
    payload: str


@final
class PostgresConnection:
    """An open connection. You get one from `connect_postgres` or `open_postgres`.

    Statements of several tasks are taken one after the other, in the order in which they were asked for. Each is a
    transaction of its own, unless it is asked for in the block of `transaction`. A statement that is cancelled is
    cancelled at the server as well, and the connection can be used on; whether it was done is not known then, as
    after a lost connection.

    All methods raise `psycopg.Error` where the server refuses, `trio.BrokenResourceError` when the connection is lost,
    and `trio.ClosedResourceError` when it has been closed.
    """

    def __init__(self, pgconn: PGconn, dsn: Dsn) -> None:
        self._talk = Talk(pgconn, dsn)
        self._dsn = dsn
        self._types: psycopg.Connection[Any] = psycopg.Connection(
            pgconn
        )  # knows how values are written; asked nothing else
        self._lock = trio.Lock()
        self._in_transaction: trio.lowlevel.Task | None = None
        self._reading = False
        self._pid = pgconn.backend_pid

    def __repr__(self) -> str:
        return f"<PostgresConnection to {self._dsn!r}, {self._talk.state}>"

    @property
    def backend_pid(self) -> int:
        """The process id of the server process that serves this connection."""
        return self._pid

    async def execute(self, sql: str, *params: object, binary: bool = False) -> list[Row]:
        """Run one statement with parameters `$1`, `$2`, and give its rows; none for a statement that has no rows.

        `binary`: its rows come in PostgreSQL's binary format, which is half of the bytes for a `bytea`.
        """
        types: psycopg.abc.Transformer = Transformer(self._types)
        values = types.dump_sequence(params, [PyFormat.AUTO] * len(params))
        wanted = psycopg.pq.Format.BINARY if binary else psycopg.pq.Format.TEXT
        pgconn, statement = self._talk.pgconn, sql.encode()

        def send() -> None:
            pgconn.send_query_params(statement, values, types.types, types.formats, wanted)

        return self._rows(types, await self._ask(send))

    async def execute_all(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """Run several statements in one transaction, sent in one piece: the server does all or none, whatever happens to us.

        Parameters are `%(name)s`, and written into the text: a server takes none where there is more than one statement.
        Gives the rows of the last one.
        """
        if params is not None:
            sql = psycopg.ClientCursor(self._types).mogrify(sql.encode(), params)
        pgconn, statements = self._talk.pgconn, sql.encode()
        return self._rows(Transformer(self._types), await self._ask(lambda: pgconn.send_query(statements)))

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None, None]:
        """A transaction while the block lasts: committed at its end, undone when an error or a cancel leaves it.

        What this task asks for in the block is part of it; other tasks' statements wait for its end.
        """
        if self._in_transaction is current_task():
            raise RuntimeError("this task is in a transaction of this connection already")
        async with self._lock:
            self._in_transaction = current_task()
            try:
                await self.execute_all("BEGIN")
                yield
                (result,) = await self._ask(lambda: self._talk.pgconn.send_query(b"COMMIT"))
                if result.command_status != b"COMMIT":
                    raise psycopg.errors.InFailedSqlTransaction("a statement of this transaction failed: it was undone")
            except BaseException:
                await self._undo()  # noqa: ASYNC102  # shielded inside, and bounded
                raise
            finally:
                self._in_transaction = None

    async def _undo(self) -> None:
        idle = psycopg.pq.TransactionStatus.IDLE
        if self._talk.state != "open" or self._talk.pgconn.transaction_status == idle:
            return
        gone = psycopg.Error, trio.BrokenResourceError  # whether it was undone is looked at below
        with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE), suppress(*gone):
            await self.execute_all("ROLLBACK")
        if self._talk.state == "open" and self._talk.pgconn.transaction_status != idle:
            self._talk.give_up("a transaction could not be undone")

    async def notifications(self) -> list[Notification]:
        """Wait for notifications of the channels that were asked for by LISTEN; all that have come, in order.

        One task at a time. It may wait while others run statements on the same connection. What came before the
        connection was lost is given before the error.
        """
        if self._reading:
            raise trio.BusyResourceError("another task is waiting for notifications of this connection")
        self._reading = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._talk.look()
            if self._talk.arrived:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while not self._talk.arrived:
                await self._talk.input()
            arrived = [Notification(one.relname.decode(), one.extra.decode()) for one in self._talk.arrived]
            self._talk.arrived.clear()
            return arrived
        finally:
            self._reading = False

    async def _ask(self, send: Callable[[], None]) -> list[PGresult]:
        if self._in_transaction is current_task():
            with outside():
                return await self._talk.ask(send)
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            with outside():
                return await self._talk.ask(send)
        finally:
            self._lock.release()

    def _rows(self, types: psycopg.abc.Transformer, results: list[PGresult]) -> list[Row]:
        if not results or results[-1].status != psycopg.pq.ExecStatus.TUPLES_OK:
            return []
        types.set_pgresult(results[-1])
        return types.load_rows(0, results[-1].ntuples, tuple)

    async def aclose(self) -> None:
        """Close it. Never waits for the server; whoever waits for it is told. May be called again."""
        self._talk.close()
        await trio.lowlevel.cancel_shielded_checkpoint()


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
        await connection.aclose()  # noqa: ASYNC102  # waits for nobody


async def open_postgres(dsn: Dsn, **defaults: str) -> PostgresConnection:
    """As `connect_postgres`, for an owner that closes it by `aclose`."""
    timeout = dsn.connect_timeout or CONNECT_TIMEOUT
    refused: str | None = None
    with trio.move_on_after(timeout) as scope, outside():
        try:
            return await _open(await dsn.resolve(application_name="trio_pipes", **defaults), dsn)
        except OSError as exc:
            refused = str(exc)
        except psycopg.Error as exc:
            refused = " ".join(dsn.hide(str(exc)).split())
    if scope.cancelled_caught:
        refused = f"no answer within {timeout:g} s"
    raise trio.BrokenResourceError(f"cannot connect to {dsn!r}: {refused}")


async def _open(conninfo: bytes, dsn: Dsn) -> PostgresConnection:
    """Connect by libpq's non-blocking steps.

    Each is short, and in a thread all the same: there is some arithmetic in a login, and a service file may name a
    host that libpq itself looks up.
    """
    step = psycopg.pq.PollingStatus
    limiter = trio.CapacityLimiter(1)
    pgconn = await trio.to_thread.run_sync(psycopg.pq.PGconn.connect_start, conninfo, limiter=limiter)
    try:
        while True:
            if pgconn.status == psycopg.pq.ConnStatus.BAD:
                raise psycopg.OperationalError(pgconn.get_error_message())
            status = await trio.to_thread.run_sync(pgconn.connect_poll, limiter=limiter)
            if status == step.READING:
                await trio.lowlevel.wait_readable(pgconn.socket)
            elif status == step.WRITING:
                await trio.lowlevel.wait_writable(pgconn.socket)
            elif status == step.OK:
                pgconn.nonblocking = 1
                return PostgresConnection(pgconn, dsn)
            else:
                raise psycopg.OperationalError(pgconn.get_error_message())
    except BaseException:
        pgconn.finish()
        raise
