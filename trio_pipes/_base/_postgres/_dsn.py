"""Where a PostgreSQL server is and who asks: what a DSN says, without ever showing the secrets in it."""

from __future__ import annotations

import re
import socket
from typing import Final, final

import attrs
import psycopg
import psycopg.conninfo
import psycopg.pq
import trio

from trio_pipes._base._checks import refuse
from trio_pipes._base._errors import ConfigurationError

__all__ = ["Dsn", "parse_dsn"]

HIDDEN: Final = "***"

EXPECTED: Final = (
    "expected a PostgreSQL URL such as postgresql://user:password@host:5432/database, or keyword=value pairs. "
    "In a URL the characters @ / : ? # % of a user name or password are percent-encoded. "
    "(A text is not shown here, because it may hold a password.)"
)


@final
@attrs.frozen(repr=False)
class Dsn:
    """Connection parameters by libpq's names. Shows user, host, port and database, and nothing else."""

    _params: dict[str, str]
    _secrets: tuple[str, ...]

    def __repr__(self) -> str:
        of = self._params.get
        user = f"{of('user')}@" if of("user") else ""
        host = of("host") or of("hostaddr") or ""
        port = f":{of('port')}" if of("port") else ""
        return f"postgresql://{user}{host}{port}/{of('dbname') or ''}"

    def hide(self, text: str) -> str:
        """The text without the secrets, in case that somebody's error message quotes one."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    @property
    def connect_timeout(self) -> float | None:
        """Seconds, where the DSN says so."""
        given = self._params.get("connect_timeout")
        return None if given is None or float(given) <= 0 else float(given)

    async def resolve(self, **defaults: str) -> bytes:
        """What libpq is given to connect: with numeric addresses, because it would block the loop to look up a name.

        `defaults` are parameters for which the DSN has no word of its own. Raises `OSError` where no name is known.
        """
        params = {**defaults, **self._params}
        params.pop("connect_timeout", None)  # for blocking connects only; ours has Trio's clock
        params["client_encoding"] = "utf8"  # Python's text, whatever the database keeps
        if "hostaddr" not in params and "service" not in params:
            params.update(await _addresses(params))
        return psycopg.conninfo.make_conninfo("", **params).encode()


async def _addresses(params: dict[str, str]) -> dict[str, str]:
    """`host`, `hostaddr` and `port` with one entry an address; libpq tries them in this order."""
    known = {option.keyword.decode(): option.val for option in psycopg.pq.Conninfo.get_defaults()}
    given = {name: params.get(name) or (known.get(name) or b"").decode() for name in ("host", "port")}
    if not given["host"]:
        return {}  # libpq's own socket
    hosts = given["host"].split(",")
    ports = given["port"].split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    found: list[tuple[str, str, str]] = []
    unknown: OSError | None = None
    for host, port in zip(hosts, ports, strict=False):
        if not host or host.startswith(("/", "@")):
            found.append((host, "", port))
            continue
        try:
            infos = await trio.socket.getaddrinfo(host, port or None, type=socket.SOCK_STREAM)
        except OSError as exc:
            unknown = OSError(f"the name of host {host!r} is not known: {exc.strerror or exc}")
            continue
        found += [(host, str(info[4][0]), port) for info in infos]
    if not found and unknown is not None:
        raise unknown
    return {
        name: ",".join(part) for name, part in zip(("host", "hostaddr", "port"), zip(*found, strict=True), strict=True)
    }


def parse_dsn(what: str, dsn: object) -> Dsn:
    """Read a DSN; `what` is the call as its caller wrote it, up to the value: `"PostgresBus(dsn"`.

    Raises `ConfigurationError`, which never quotes the DSN.
    """
    if not isinstance(dsn, str | bytes):
        raise refuse(what, dsn, EXPECTED.removeprefix("expected "))
    wrong = ConfigurationError(f"{what}=<{type(dsn).__name__}>): {EXPECTED}")
    if isinstance(dsn, bytes) or "\0" in dsn or _has_stray_at(dsn):
        raise wrong
    try:
        options = psycopg.pq.Conninfo.parse(dsn.encode())
    except (psycopg.Error, UnicodeError):
        raise wrong from None  # libpq quotes what it does not understand
    given = {it.keyword.decode(): (it.val.decode(), it.dispchar) for it in options if it.val is not None}
    params = {name: value for name, (value, _) in given.items()}
    # Where a password with a slash in it was not encoded, libpq takes a piece of it for the port, and quotes it.
    ports = params.get("port", "").split(",")
    if not all(port == "" or (port.isascii() and port.isdigit() and 0 < int(port) < 65536) for port in ports):
        raise wrong
    if not re.fullmatch(r"-?[0-9]{1,9}", params.get("connect_timeout", "0")):
        raise wrong
    hidden = (value for name, (value, shown_as) in given.items() if shown_as == b"*" or "secret" in name)
    return Dsn(params, tuple(sorted(filter(None, hidden), key=len, reverse=True)))


def _has_stray_at(dsn: str) -> bool:
    """Whether a URL has an @ that does not end its user and password, so that a part of them is taken for a host."""
    scheme, slashes, rest = dsn.partition("://")
    if not slashes or scheme not in ("postgresql", "postgres"):
        return False
    before, _, _ = rest.partition("?") if "@" not in rest.partition("?")[2] else (rest, "", "")
    authority, _, path = before.partition("/")
    return authority.count("@") > 1 or "@" in path
