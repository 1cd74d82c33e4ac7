"""`WebSocketProxyClient`: the end that connects, and connects again."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import trio
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.trio.client import connect

from trio_pipes._base import BusError, Codec, WireError, refuse
from trio_pipes.host import BusMessage
from trio_pipes.net._backoff import Backoff

from ._jobs_across import JOBS
from ._link import ProxyRefused
from ._server import check_encrypted
from ._worker import ProxyWorker, WebSocket

__all__ = ["WebSocketProxyClient"]

logger = logging.getLogger("trio_pipes")

# Seconds between two tries to connect: the first and the longest.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0


class WebSocketProxyClient(ProxyWorker):
    """A worker that joins the bus of its runner with that of a `WebSocketProxyServer`, as far as both allow-lists go.

    It is ready when it has connected for the first time, tries again for ever with growing pauses when the server is
    away, and tells subscribers with a `BusGap` that there was one. The arguments are those of the server. A server that
    refuses it (wrong token, no proxy) fails it with `BusError`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        accept: Iterable[type[BusMessage]] = JOBS,
        expose: Iterable[str] = (),
        reach: Iterable[str] = (),
        forward: Iterable[type[BusMessage]] = (),
        ssl_context: ssl.SSLContext | None = None,
        plain: bool = False,
        codec: Codec | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name, token, expose, reach, accept, forward, codec)
        parts = urlsplit("")
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and not parts.username and (parts.port or 1)
        except (ValueError, TypeError, AttributeError):
            usable = False
        if not usable:
            raise refuse(
                "WebSocketProxyClient(url", url, "ws://host:port/ or wss://host:port/, without user and password"
            )
        check_encrypted("WebSocketProxyClient(url", parts.hostname or "", parts.scheme == "wss" or None, plain=plain)
        self.url: str = url
        self._ssl = ssl_context

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128
        """Stay connected until told to end."""
        with self._scope:
            backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
            met = Once(task_status)
            while True:
                try:
                    async with connect(
                        self.url,
                        ssl=self._ssl,
                        additional_headers={"Authorization": f"Bearer {self._token}"},
                        compression=None,
                        max_size=self._codec.max_bytes,
                        ping_interval=self._ping,
                        ping_timeout=self._ping,
                        user_agent_header=None,
                        proxy=None,
                        process_exception=lambda exc: exc,
                    ) as connection:
                        backoff.reset()
                        await self._serve(WebSocket(connection), met)
                        why: object = "the connection was closed"
                except InvalidStatus as exc:
                    if exc.response.status_code < 500:
                        raise BusError(f"{self.name}: {self.url} refuses: {_told(exc)}") from None
                    why = _told(exc)
                except (ProxyRefused, WireError) as exc:
                    raise BusError(f"{self.name}: {self.url} is no end of a proxy for this one: {exc}") from exc
                except (OSError, InvalidHandshake, InvalidMessage, trio.BrokenResourceError, TimeoutError) as exc:
                    why = exc
                pause = backoff.pause
                backoff.grow()
                logger.warning("%s: no connection to %s (%s); again in %.1f s", self.name, self.url, why, pause)
                await trio.sleep(pause)


class Once:
    """A `task_status` that is started with the first connection."""

    def __init__(self, task_status: trio.TaskStatus[Any]) -> None:
        self._task_status = task_status
        self._is_started = False

    def started(self, value: object = None) -> None:
        """Say it, unless it has been said."""
        if not self._is_started:
            self._is_started = True
            self._task_status.started(value)


def _told(exc: InvalidStatus) -> str:
    body = (exc.response.body or b"").decode(errors="replace").strip()[:200]
    return f"HTTP {exc.response.status_code}{': ' + body if body else ''}"
