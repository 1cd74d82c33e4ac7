"""Blocking work on a psycopg connection, in a thread, that ends when its caller is cancelled.

# How a thread that waits for a server is broken off.
#
# A thread cannot be cancelled, the statement that it waits for can: the server is asked on a connection of its own
# (`cancel_safe`), the thread gets `QueryCanceled`, rolls back, and ends. The caller waits for all of this, so that no
# thread outlives its call and no cancel request is still on its way when the connection is used next: the server has
# been signalled before `cancel_safe` returns, and a server process that is idle ignores the signal.
#
# A request can come too early (between two statements, or before the first has been sent), so it is repeated until
# the thread has ended. It must not hit the rollback, so the thread closes a gate before it rolls back. A server that
# does not answer (stopped, cut off) does not answer cancel requests either: after PATIENCE our end of the socket is
# shut down, which libpq notices at once. The connection is lost then, the thread is not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, final

import psycopg
import trio

from trio_pipes._base._outside import outside

__all__ = ["PATIENCE", "ThreadCall"]

T = TypeVar("T")

# Seconds that the server has for a cancel request. It needs milliseconds, unless it does not answer at all.
PATIENCE: Final = 2.0


@final
class ThreadCall(Generic[T]):
    """One call of `work(connection)` in a thread."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        work: Callable[[psycopg.Connection[Any]], T],
        shutdown: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._work = work
        self._shutdown = shutdown
        self._gate = threading.Lock()  # held by a cancel request under way, and while the next two are looked at
        self._begun = False
        self._given_up = False
        self._undoing = False
        self._token = trio.lowlevel.current_trio_token()
        self._ended = trio.Event()
        # Of our own: a call that waits for its server takes no thread from the rest of the program.
        self._limiter = trio.CapacityLimiter(2)

    async def run(self) -> T:
        """What `work` gives or raises; cancelled, when the thread has ended."""
        with outside():
            try:
                return await trio.to_thread.run_sync(self._in_thread, abandon_on_cancel=True, limiter=self._limiter)
            except trio.Cancelled:
                await self._break_off()  # noqa: ASYNC102  # shielded inside, and bounded
                raise

    def _in_thread(self) -> T:
        with self._gate:
            if self._given_up:
                return None  # type: ignore[return-value]  # nobody asks for it any more
            self._begun = True
        try:
            return self._work(self._connection)
        finally:
            try:
                self._undo()
            finally:
                self._token.run_sync_soon(self._ended.set)

    def _undo(self) -> None:
        """Leave no transaction behind."""
        with self._gate:
            self._undoing = True
        status = psycopg.pq.TransactionStatus
        connection = self._connection
        try:
            if connection.info.transaction_status in (status.INTRANS, status.INERROR):
                connection.rollback()
        except psycopg.Error:
            pass  # what `work` raised is what the caller is told
        if connection.info.transaction_status != status.IDLE:
            connection.close()  # it is in no state to go on from

    async def _break_off(self) -> None:
        with self._gate:
            self._given_up = True
            if not self._begun:
                return
        pause = 0.005
        with trio.CancelScope(shield=True):
            with trio.move_on_after(PATIENCE):
                while not self._ended.is_set() and await self._ask_server():
                    with trio.move_on_after(pause):
                        await self._ended.wait()
                    pause = min(2 * pause, 0.5)
            if not self._ended.is_set():
                self._shutdown()
            await self._ended.wait()

    async def _ask_server(self) -> bool:
        """Send a cancel request; whether the server took it."""
        return await trio.to_thread.run_sync(self._request, limiter=self._limiter)

    def _request(self) -> bool:
        with self._gate:
            if self._undoing:
                return True
            try:
                self._connection.cancel_safe(timeout=PATIENCE)
            except psycopg.Error:
                return False
            return True
