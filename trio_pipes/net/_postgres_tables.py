"""What a bus keeps in a PostgreSQL database: names of channels and tables, and the statements. No I/O.

# Who may do what at the same time.
#
# Leases and names are changed under one advisory lock of the bus's channel, in statements that are sent in one piece: the
# lock is held for as long as the server needs for them, and never for a client that has stopped in the middle. What a
# lease is worth is judged by the server's clock, when the lock has been taken (`clock_timestamp()`; `now()` would be when the
# waiting began), and each statement sees what was committed before it (`read committed`).
#
# Large messages lie in a table that PostgreSQL does not write into its log, since notifications do not outlive a crash
# either. Whoever puts one in removes old ones now and then.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import sha256
from typing import Final

__all__ = ["Tables", "channel_of"]

LONGEST: Final = 63  # bytes of an identifier

# Nothing that a bus sends is worth waiting for a disk; a claim of a name is.
SESSION: Final = "SET synchronous_commit = off; SET default_transaction_isolation = 'read committed'"

# How long a large message stays for who is slow to read, in seconds, and how many bytes of them there may be in all.
KEEP: Final = 60.0
MOST_BYTES: Final = 256 * 1024 * 1024


def channel_of(bus: str, topic: str | None) -> str:
    """The channel of NOTIFY for a topic of a bus; None: the one for all.

    Readable where that is safe and short enough, otherwise a hash. Two topics with one hash would hear each other's
    messages and drop them.
    """
    if topic is None:
        return bus
    readable = f"{bus}/{topic}"
    if len(readable) <= LONGEST and re.fullmatch(r"[\w.:-]+", topic, re.ASCII):
        return readable
    digits = min(32, LONGEST - 1 - len(bus))  # a bus's name has at most 48 letters, and none of them is '#' or '/'
    return f"{bus}#{sha256(topic.encode()).hexdigest()[:digits]}"


def quote(name: str) -> str:
    """An identifier as it stands in a statement."""
    return '"' + name.replace('"', '""') + '"'


def lock_of(what: str) -> str:
    """A statement that waits for the lock of this name, which its transaction then holds to its end."""
    return f"SELECT pg_advisory_xact_lock({int.from_bytes(sha256(what.encode()).digest()[:8], signed=True)})"


class Tables:
    """The statements of one bus's tables."""

    def __init__(self, channel: str) -> None:
        self.names: tuple[str, ...] = tuple(quote(f"{channel}_bus_{what}") for what in ("leases", "names", "large"))
        leases, names, large = self.names
        lock, clean_lock = (lock_of(f"trio_pipes bus {channel}{what}") for what in ("", " large"))

        self.look = (
            "SELECT current_user, current_schema(), pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',"
            " bool_and(it.there IS NOT NULL), coalesce(bool_and(has_table_privilege(it.there, 'SELECT')"
            " AND has_table_privilege(it.there, 'INSERT') AND has_table_privilege(it.there, 'UPDATE')"
            " AND has_table_privilege(it.there, 'DELETE')), true)"
            " FROM unnest($1::text[]) AS name, LATERAL (SELECT to_regclass(name)::oid AS there) AS it"
        )
        """Which role and schema, whether nothing can be written, whether all tables are there, and may be used."""

        self.create = ";\n".join(
            [
                f"CREATE TABLE IF NOT EXISTS {leases} (owner text PRIMARY KEY, until timestamptz NOT NULL)",
                f"CREATE TABLE IF NOT EXISTS {names} (name text PRIMARY KEY, owner text NOT NULL)",
                (
                    f"CREATE UNLOGGED TABLE IF NOT EXISTS {large} (id text PRIMARY KEY, at timestamptz NOT NULL"
                    " DEFAULT clock_timestamp(), size integer NOT NULL, body bytea NOT NULL)"
                ),
                f"ALTER TABLE {large} ALTER body SET STORAGE EXTERNAL",  # no time for compressing it
            ]
        )
        self.create_once = f"{lock};\n{self.create}"
        """The same, where several processes may be at it at once."""

        self.tidy = (
            f"{lock}; DELETE FROM {leases} WHERE until <= clock_timestamp();"
            f" DELETE FROM {names} AS n WHERE NOT EXISTS (SELECT FROM {leases} AS l WHERE l.owner = n.owner)"
        )
        """Forget whoever is gone."""

        self.claim = (
            f"SELECT set_config('synchronous_commit', 'on', true); {lock};"
            f" WITH taken AS (SELECT n.name, n.owner FROM {names} AS n JOIN {leases} AS l USING (owner)"
            "   WHERE n.name = ANY(%(names)s::text[]) AND n.owner <> %(owner)s AND l.until > clock_timestamp()),"
            f" leased AS (INSERT INTO {leases} SELECT %(owner)s, clock_timestamp() + make_interval(secs => %(lease)s)"
            "   ON CONFLICT (owner) DO UPDATE SET until = excluded.until),"
            f" given AS (INSERT INTO {names} SELECT DISTINCT name, %(owner)s FROM unnest(%(names)s::text[]) AS name"
            "   WHERE NOT EXISTS (SELECT FROM taken) ON CONFLICT (name) DO UPDATE SET owner = excluded.owner)"
            " SELECT name, owner FROM taken"
        )

        self.renew = (
            f"{lock}; UPDATE {leases} SET until = clock_timestamp() + make_interval(secs => %(lease)s)"
            " WHERE owner = %(owner)s AND until > clock_timestamp() RETURNING owner"
        )

        self.release = f"{lock}; DELETE FROM {names} WHERE owner = %(owner)s AND name = ANY(%(names)s::text[])"
        self.release_lease = f"; DELETE FROM {leases} WHERE owner = %(owner)s"

        self.notify = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS t (channel, payload)"
        self.fetch = f"SELECT body FROM {large} WHERE id = $1"

        self.clean = (
            f"{clean_lock}; DELETE FROM {large} WHERE id IN (SELECT id FROM (SELECT id, at, sum(size) OVER (ORDER BY at DESC, id)"
            f" AS total FROM {large}) AS t WHERE at < clock_timestamp() - make_interval(secs => {KEEP})"
            f" OR total > {MOST_BYTES})"
        )

    def listen(self, verb: str, channels: Collection[str]) -> str:
        """`LISTEN` or `UNLISTEN` to all of these."""
        return "; ".join(f"{verb} {quote(channel)}" for channel in channels)

    def notify_large(self, rows: int) -> str:
        """The same, with so many rows put in first; one by one, because an array of bytes would be written as text."""
        values = ", ".join(f"(${2 * row + 3}::text, ${2 * row + 4}::bytea)" for row in range(rows))
        return (
            f"WITH put AS (INSERT INTO {self.names[2]} (id, size, body) SELECT id, octet_length(body), body"
            f" FROM (VALUES {values}) AS t (id, body)) {self.notify}"
        )

    def wanted(self, role: str) -> str:
        """What somebody who may do so has to run for a role that may not."""
        grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(self.names)} TO {quote(role)}"
        return f"{self.create};\n{grant};"
