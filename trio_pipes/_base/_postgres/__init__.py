"""PostgreSQL for Trio: psycopg 3 by its public API, the low-level one (`psycopg.pq`), without threads.

Not part of `trio_pipes._base`'s own names: psycopg is an extra, and is imported when this package is.
"""

from ._connection import Notification, PostgresConnection, connect_postgres, open_postgres
from ._dsn import Dsn, parse_dsn

__all__ = ["Dsn", "Notification", "PostgresConnection", "connect_postgres", "open_postgres", "parse_dsn"]
