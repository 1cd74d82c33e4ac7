"""Where a Redis server is and how to get in, from a URL. The password is in no text."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import attrs

from trio_pipes._base import ConfigurationError, refuse

__all__ = ["RedisAddress", "redis_address"]

EXPECTED: Final = "expected redis://[user:password@]host[:port][/db], rediss:// for TLS, or unix://[user:password@]/path/of.sock[?db=0]"
PORT: Final = 6379


@attrs.frozen
class RedisAddress:
    """What a URL says."""

    host: str
    """Empty: `path` it is."""
    port: int
    path: str
    """Of a Unix socket."""
    tls: bool
    user: str
    password: str | None = attrs.field(repr=False)
    database: int

    @property
    def shown(self) -> str:
        """For texts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"Redis at {self.path or f'{host}:{self.port}'}{' (TLS)' if self.tls else ''}"


def redis_address(url: object) -> RedisAddress:
    """Read a URL. Raises `ConfigurationError`, without what stands before the host."""
    if not isinstance(url, str | bytes):
        raise refuse("RedisBus(url", url, EXPECTED.removeprefix("expected "))
    if isinstance(url, bytes):
        raise ConfigurationError(f"RedisBus(url=<bytes>): {EXPECTED}")
    try:
        parts = urlsplit(url)
        address = _address(parts)
    except ValueError as exc:
        # `exc` is not chained: the parser's own text may hold a piece of the password.
        why = str(exc) if isinstance(exc, _Unfit) else "it cannot be parsed"
    else:
        return address
    raise ConfigurationError(f"RedisBus(url=<str> {_without_secrets(url)!r}): {why}; {EXPECTED}")


class _Unfit(ValueError):
    """What is wrong, in words that hold nothing of the URL but what is no secret."""


def _address(parts: SplitResult) -> RedisAddress:
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise _Unfit("the scheme is another one")
    if set(query) - {"db"} or parts.fragment:
        raise _Unfit("it has something behind '?' or '#' that is not db=")
    is_unix = parts.scheme == "unix"
    database = query["db"][-1] if "db" in query else "" if is_unix else parts.path.removeprefix("/")
    if database and not (database.isascii() and database.isdigit()):
        raise _Unfit("the database is no number")
    if is_unix and (parts.hostname or not parts.path):
        raise _Unfit("a Unix socket has a path and no host")
    if not is_unix and not parts.hostname:
        raise _Unfit("there is no host")
    password = None if parts.password is None else unquote(parts.password)
    user = unquote(parts.username or "") or "default"
    return RedisAddress(
        host=parts.hostname or "",
        port=PORT if parts.port is None else parts.port,
        path=unquote(parts.path) if is_unix else "",
        tls=parts.scheme == "rediss",
        user=user,
        password=password or None,
        database=int(database or "0"),
    )


def _without_secrets(url: str) -> str:
    """What may be shown of a URL that is not understood: all but what stands between '//' and the last '@'."""
    scheme, slashes, rest = url.partition("//")
    if not slashes:
        return "..."
    secret, at, host = rest.rpartition("@")
    return f"{scheme[:12]}//{'...' if secret else ''}{at}{host.partition('?')[0]}"
