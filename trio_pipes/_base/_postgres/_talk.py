"""One statement at a time over libpq, without threads: sent, answered, and taken back when its asker is cancelled.

# Why like this.
#
# psycopg's `AsyncConnection` wants asyncio, and its blocking `Connection` wants a thread. Under both lies `psycopg.pq`, its
# public face of libpq, which never waits by itself: it says what it needs, and Trio waits. Measured side by side, a "SELECT 1"
# takes 21 us this way, 26 us with the blocking connection, and 120 to 200 us with that one in a Trio thread (3 ms for one in
# twenty, when threads compete for Python's lock). The values' types are psycopg's (`psycopg.adapt`).
#
# Who is cancelled while a statement runs asks the server to cancel it, on a connection of its own as the protocol has
# it, and waits for the answer. So when the statement is over, no cancel request is on its way any more that could hit
# the next one: the server signals itself before it lets go of the request, and a process that is idle ignores the signal. A
# request that came too early is repeated. A server that does not answer within PATIENCE gets no more time: the
# connection is given up.
#
# Two tasks may wait for input: one for an answer, another for notifications. Only one can wait for the socket; it
# feeds libpq and wakes the other one. libpq parses what stands behind an answer only when that has been taken, so who took
# it looks for notifications as well, and calls the reader away from the socket, which says nothing of them any more.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, final

import psycopg
import psycopg.errors
import psycopg.pq
import trio
from psycopg.pq import PGnotify
from psycopg.pq.abc import PGconn, PGresult

from ._dsn import Dsn

__all__ = ["PATIENCE", "Talk"]

# Seconds that the server has to stop what was cancelled. It needs milliseconds, unless it does not answer at all.
PATIENCE: Final = 2.0

# What a server says to everyone before it closes the connection.
GOING_DOWN: Final = (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown, psycopg.errors.IdleSessionTimeout)

# Seconds after which who cannot send looks whether there is something to read: the server may be stuck with what it has
# for us, and read nothing until we have read.
STUCK: Final = 0.05

COPYING: Final = (
    psycopg.pq.ExecStatus.COPY_IN,
    psycopg.pq.ExecStatus.COPY_OUT,
    psycopg.pq.ExecStatus.COPY_BOTH,
)


@final
class Talk:
    """What is said on one connection. Its owner sees to it that one statement is asked at a time."""

    def __init__(self, pgconn: PGconn, dsn: Dsn) -> None:
        self.pgconn = pgconn
        self._dsn = dsn
        # A duplicate: libpq closes its own when the server is gone, and Trio must not wait for a number that may by then
        # be somebody else's.
        self._socket = socket.fromfd(pgconn.socket, -1, -1, -1)
        self._times = 3 if pgconn.ssl_in_use else 1
        self.arrived: deque[PGnotify] = deque()
        """Notifications that nobody has taken yet."""
        self._waiting: trio.CancelScope | None = None  # of who waits for the socket
        self._others = trio.lowlevel.ParkingLot()
        self._lost: str | None = None
        self._closed = False

    @property
    def state(self) -> str:
        """For texts."""
        return "closed" if self._closed else "lost" if self._lost is not None else "open"

    def check_usable(self) -> None:
        """Raise `trio.ClosedResourceError` or `trio.BrokenResourceError` where it is not."""
        if self._closed:
            raise trio.ClosedResourceError(f"the connection to {self._dsn!r} is closed")
        if self._lost is not None:
            raise trio.BrokenResourceError(f"the connection to {self._dsn!r} is lost: {self._lost}")

    async def ask(self, send: Callable[[], None]) -> list[PGresult]:
        """Send one message and wait for its results. The first error among them is raised."""
        self.check_usable()
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            send()
            try:
                results = await self._answer()
            except trio.Cancelled:
                await self._take_back()  # noqa: ASYNC102  # shielded inside, and bounded
                raise
        except psycopg.OperationalError as exc:
            if self.pgconn.status != psycopg.pq.ConnStatus.OK:
                self._lose(exc)
                self.check_usable()
            raise
        finally:
            self._look_behind()
        for result in results:
            if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                error = psycopg.errors.error_from_result(result)
                if isinstance(error, GOING_DOWN) or self.pgconn.status != psycopg.pq.ConnStatus.OK:
                    self._lose(error)
                    self.check_usable()
                raise error
        return results

    async def _answer(self) -> list[PGresult]:
        """All results of what was sent. It may be called again where it was cancelled."""
        pgconn = self.pgconn
        while pgconn.flush():
            with trio.move_on_after(STUCK):
                await trio.lowlevel.wait_writable(self._socket)
            self._feed()
        results: list[PGresult] = []
        while True:
            while pgconn.is_busy():
                await self.input()
            result = pgconn.get_result()
            if result is None:
                return results
            if result.status in COPYING:
                self.give_up("it was asked to COPY")
                raise psycopg.NotSupportedError("COPY is not for this connection")
            results.append(result)

    async def input(self) -> None:
        """Wait until libpq has read something. Raises `trio.BrokenResourceError` when nothing can come any more."""
        self.check_usable()
        if self._waiting is not None:
            await self._others.park()
            self.check_usable()
            return
        try:
            with trio.CancelScope() as self._waiting:
                await trio.lowlevel.wait_readable(self._socket)
            self._feed()
        except psycopg.OperationalError as exc:
            self._lose(exc)
            self.check_usable()
        finally:
            self._waiting = None
            self._others.unpark_all()

    def _feed(self) -> None:
        """Have libpq read what is there."""
        # Under TLS one reading may leave a part of what was decrypted, of which the socket does not tell. libpq has
        # room for half of the largest record each time.
        for _ in range(self._times):
            self.pgconn.consume_input()
        self.look()

    def look(self) -> None:
        """Take the notifications that libpq has parsed."""
        if not self._closed:
            while (notify := self.pgconn.notifies()) is not None:
                self.arrived.append(notify)

    def _look_behind(self) -> None:
        self.look()
        if self.arrived:
            if self._waiting is not None:
                self._waiting.cancel()
            self._others.unpark_all()

    async def _take_back(self) -> None:
        with trio.CancelScope(shield=True):
            with trio.move_on_after(PATIENCE), suppress(psycopg.Error, trio.BrokenResourceError):
                pause = 0.02
                while True:
                    await self._request_cancel()
                    with trio.move_on_after(pause):
                        await self._answer()
                        return
                    pause *= 2
            self.give_up("a statement was cancelled, and the server did not answer")

    async def _request_cancel(self) -> None:
        """On another connection, to the end: until the server has passed it on."""
        step = psycopg.pq.PollingStatus
        request = self.pgconn.cancel_conn()
        try:
            request.start()
            while (status := request.poll()) != step.OK:
                if status == step.READING:
                    await trio.lowlevel.wait_readable(request.socket)
                elif status == step.WRITING:
                    await trio.lowlevel.wait_writable(request.socket)
                else:
                    raise psycopg.OperationalError(request.get_error_message())
        finally:
            request.finish()

    def _lose(self, error: psycopg.Error) -> None:
        self.give_up(" ".join(self._dsn.hide(str(error)).split()))

    def give_up(self, why: str) -> None:
        """Break the connection off; whoever waits for it is told."""
        if self._lost is None:
            self._lost = why
        with suppress(OSError):  # it is broken already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The same, when nobody needs it any more."""
        if not self._closed:
            self._closed = True
            if self._waiting is not None:
                self._waiting.cancel()
            self._others.unpark_all()
            self.pgconn.finish()  # it takes its leave, if there is room for that in the socket
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
