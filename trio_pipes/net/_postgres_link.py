"""`PostgresLink`: one connection to PostgreSQL, as `BrokerBus` uses it. LISTEN, NOTIFY, and three small tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Final

import psycopg
import psycopg.errors
import trio

from trio_pipes._base._postgres import Dsn, PostgresConnection, open_postgres

from ._broker_link import BrokerLink, LinkLost, Refused
from ._postgres_payload import pack, unpack
from ._postgres_tables import KEEP, MOST_BYTES, SESSION, Tables, channel_of

__all__ = ["PostgresLink", "link_postgres"]

# After so many bytes of large messages, or so many seconds, who sent them looks for old ones.
CLEAN_BYTES: Final = MOST_BYTES // 16
CLEAN_SECONDS: Final = KEEP / 4


@contextmanager
def border(dsn: Dsn) -> Iterator[None]:
    """Errors of the connection as errors of a link."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        raise LinkLost(str(exc).removeprefix(f"cannot connect to {dsn!r}: ")) from None  # the bus says that itself
    except psycopg.Error as exc:
        raise Refused(dsn.hide(" ".join(str(exc).split()))) from None


async def link_postgres(dsn: Dsn, channel: str) -> PostgresLink:
    """Connect, and make the tables where they are missing. Raises `LinkLost`, and `Refused` with what is needed."""
    tables = Tables(channel)
    with border(dsn):
        connection = await open_postgres(dsn)
        try:
            await _prepare(connection, tables)
        except BaseException:
            await connection.aclose()
            raise
    return PostgresLink(connection, dsn, channel, tables)


async def _prepare(connection: PostgresConnection, tables: Tables) -> None:
    await connection.execute_all(SESSION)
    ((role, schema, read_only, complete, usable),) = await connection.execute(tables.look, list(tables.names))
    if read_only:
        raise Refused(
            "this server can only be read (a replica, or read-only by default), and a bus needs one that can be written to. "
            "Name the primary, or all of them (host=a,b) with target_session_attrs=read-write"
        )
    needed = (
        f"the role {role!r} needs three small tables in schema {schema!r}, which it may not %s. Let it, or let somebody "
        f"who may run:\n{tables.wanted(role)}"
    )
    if not complete:
        try:
            await connection.execute_all(tables.create_once)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName):
            raise Refused(needed % "create") from None
    elif not usable:
        raise Refused(needed % "use")
    await connection.execute_all(tables.tidy)
    await connection.execute_all(tables.clean)


class PostgresLink(BrokerLink):
    """A connection that listens and notifies. Make one by `link_postgres`."""

    def __init__(self, connection: PostgresConnection, dsn: Dsn, channel: str, tables: Tables) -> None:
        self._connection = connection
        self._dsn = dsn
        self._channel = channel
        self._tables = tables
        self._unread: deque[str] = deque()
        self._id = token_hex(8)
        self._rows = 0
        self._uncleaned = 0  # bytes of large messages that were sent since the last time
        self._clean_at = trio.current_time() + CLEAN_SECONDS

    @property
    def backend_pid(self) -> int:
        """The process at the server that serves this connection."""
        return self._connection.backend_pid

    async def read(self, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand over each message that arrives, until the connection is lost: then raise `LinkLost`."""
        with border(self._dsn):
            while True:
                while self._unread:
                    messages = await self._open(self._unread[0])
                    self._unread.popleft()  # not before: whoever is cancelled in between comes again for it
                    for message in messages:
                        await deliver(message)
                arrived = await self._connection.notifications()
                self._unread.extend([one.payload for one in arrived])

    async def _open(self, payload: str) -> list[bytes]:
        try:
            content = unpack(payload)
        except ValueError:
            return [payload.encode()]  # no bus sent it; the bus says so where it says such things
        if not isinstance(content, str):
            return content
        rows = await self._connection.execute(self._tables.fetch, content, binary=True)
        if not rows:
            raise LinkLost(
                f"a large message was removed before it was read: this process was {KEEP:g} s late, or there were many"
            )
        return [rows[0][0]]

    async def publish(self, batch: Sequence[tuple[str | None, bytes]]) -> None:
        """Carry these, in this order, to whoever attends their topics."""
        parcels = pack([(channel_of(self._channel, topic), data) for topic, data in batch], self._new_row)
        large = [parcel for parcel in parcels if parcel.row is not None]
        notify = ([parcel.channel for parcel in parcels], [parcel.payload for parcel in parcels])
        with border(self._dsn):
            if not large and len(parcels) == 1:
                await self._connection.execute("SELECT pg_notify($1, $2)", parcels[0].channel, parcels[0].payload)
                return
            if not large:
                await self._connection.execute(self._tables.notify, *notify)
                return
            rows = [part for parcel in large for part in (parcel.row, parcel.body)]
            await self._connection.execute(self._tables.notify_large(len(large)), *notify, *rows)
            self._uncleaned += sum(len(parcel.body) for parcel in large)
            if self._uncleaned > CLEAN_BYTES:
                await self._clean()

    def _new_row(self) -> str:
        self._rows += 1
        return f"{self._id}-{self._rows}"

    async def _clean(self) -> None:
        self._uncleaned = 0
        self._clean_at = trio.current_time() + CLEAN_SECONDS
        await self._connection.execute_all(self._tables.clean)

    async def attend(self, topics: Collection[str | None]) -> None:
        """From now on messages on these topics arrive."""
        channels = [channel_of(self._channel, topic) for topic in topics]
        with border(self._dsn):
            await self._connection.execute_all(self._tables.listen("LISTEN", channels))

    async def unattend(self, topics: Collection[str]) -> None:
        """They need not arrive any more."""
        channels = [channel_of(self._channel, topic) for topic in topics]
        with border(self._dsn):
            await self._connection.execute_all(self._tables.listen("UNLISTEN", channels))

    async def ping(self) -> None:
        """Ask for a sign of life. Notifications come on the same connection."""
        with border(self._dsn):
            if self._rows and trio.current_time() >= self._clean_at:
                await self._clean()
            else:
                await self._connection.execute("SELECT 1")

    async def claim(self, names: Sequence[str], owner: str, lease: float) -> dict[str, str]:
        """Begin the lease of `owner` anew, and give it all these names; or none, and say who has some."""
        with border(self._dsn):
            params = {"names": list(names), "owner": owner, "lease": lease}
            return dict(await self._connection.execute_all(self._tables.claim, params))

    async def renew(self, owner: str, lease: float) -> bool:
        """Begin the lease of `owner` anew if it has not run out."""
        with border(self._dsn):
            return bool(await self._connection.execute_all(self._tables.renew, {"owner": owner, "lease": lease}))

    async def release(self, names: Sequence[str], owner: str, *, lease_too: bool) -> None:
        """Take these names from `owner` where it still has them."""
        sql = self._tables.release + (self._tables.release_lease if lease_too else "")
        with border(self._dsn):
            await self._connection.execute_all(sql, {"names": list(names), "owner": owner})

    async def aclose(self) -> None:
        """Close the connection, without waiting for the server."""
        await self._connection.aclose()
