"""`PostgresBus`: a bus over a PostgreSQL database that is there anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_pipes._base import find_extra

from ._broker_bus import BrokerBus
from ._broker_link import BrokerLink

if TYPE_CHECKING:
    from trio_pipes._base._postgres import Dsn

__all__ = ["PostgresBus"]


class PostgresBus(BrokerBus):
    """Messages between processes over PostgreSQL's LISTEN and NOTIFY. Needs the extra `[postgres]`.

    Buses with one `channel` in one database hear each other. Each has one connection, and what it keeps is in three small
    tables, made when they are missing: leases of runners, names that they own, and messages that are too large
    for a notification (8,000 bytes), which are removed after a minute.

    Args:
        dsn: a URL such as `postgresql://user:password@host/database?sslmode=verify-full`, or libpq's keyword=value
            pairs. Passwords may also be where libpq looks for them: PGPASSWORD, or a password file.
        channel: up to 48 letters, digits, `_`, `-`, `.` and `:`.
        lease: seconds after which a runner that is not heard of is forgotten; at least 1.
        send_timeout: seconds for which `send` and other calls wait for a connection that is away, or for a slow server.

    Raises `BusError` on entering its block when there is no connection, or the role may not do what is needed; the text
    says what that is. The connection must be one's own for its time: of a PgBouncer, only its session mode will do.
    """

    def __init__(
        self, dsn: str, *, channel: str = "trio_pipes", lease: float = 10.0, send_timeout: float = 30.0
    ) -> None:
        find_extra("psycopg", "postgres", "PostgresBus")
        from trio_pipes._base._postgres import parse_dsn

        self._dsn: Dsn = parse_dsn("PostgresBus(dsn", dsn)
        where = f"PostgreSQL at {self._dsn!r}"
        super().__init__(where, channel=channel, lease=lease, send_timeout=send_timeout)

    async def _connect(self) -> BrokerLink:
        from ._postgres_link import link_postgres

        return await link_postgres(self._dsn, self.channel)
