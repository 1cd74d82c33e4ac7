"""`WebSocketProxyServer`: the end that others connect to."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import trio
from websockets.trio.server import ServerConnection, serve

from trio_pipes._base import Codec, ConfigurationError, WireError, check_name, refuse
from trio_pipes.host import BusMessage

from ._jobs_across import JOBS
from ._link import ProxyRefused
from ._worker import ProxyWorker, WebSocket, same_token

__all__ = ["WebSocketProxyServer"]

logger = logging.getLogger("trio_pipes")

# Refused connections that are logged.
MOST_LOGGED: Final = 100


class WebSocketProxyServer(ProxyWorker):
    """A worker that joins the bus of its runner with those of clients, as far as the allow-lists of both ends go.

    `token` is the secret that clients have to know. Workers here whose names are in `expose` are known there, and those
    there whose names are in `reach` are known here. `accept` are the classes of messages that may come in, by default those
    of jobs; `forward` are those of which broadcasts go out. `port=0` takes a free one: `port` has it once the worker is ready. Without
    `ssl_context` everything is readable on the way, the token included: so a `host` that others can see needs
    one, or `plain=True` where something else encrypts.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8765,
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
        check_name("WebSocketProxyServer(host", host, "the name or address of this machine")
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise refuse("WebSocketProxyServer(port", port, "a port from 1 to 65535, or 0 for a free one")
        check_encrypted("WebSocketProxyServer(host", host, ssl_context, plain=plain)
        self.host: str = host
        self.port: int = port
        self._ssl = ssl_context
        self._strangers = 0

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Take connections until told to end. Raises `OSError` where the port cannot be had."""
        with self._scope:
            listeners = await trio.open_tcp_listeners(self.port, host=self.host)
            self.port = listeners[0].socket.getsockname()[1]
            async with trio.open_nursery() as nursery:
                await nursery.start(self._listen, listeners)
                task_status.started(self)

    async def _listen(self, listeners: list[trio.SocketListener], *, task_status: trio.TaskStatus[Any]) -> None:  # noqa: ASYNC128
        await serve(
            self._handle,
            listeners=listeners,
            ssl=self._ssl,
            process_request=self._admit,
            compression=None,  # messages are small, and a bomb is not worth it
            max_size=self._codec.max_bytes,
            ping_interval=self._ping,
            ping_timeout=self._ping,
            server_header=None,
            task_status=task_status,
        )

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        if same_token(request.headers.get("Authorization"), self._token):
            return None
        self._strangers += 1
        if self._strangers <= MOST_LOGGED:  # whoever knocks for ever must not fill the log
            logger.warning("%s: refused %s, which does not know the token", self.name, connection.remote_address)
        return connection.respond(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong\n")

    async def _handle(self, connection: ServerConnection) -> None:
        try:
            await self._serve(WebSocket(connection))
        except (ProxyRefused, WireError) as exc:
            logger.warning("%s: refused %s: %s", self.name, connection.remote_address, exc)
            await connection.aclose(1002, str(exc)[:100])


def check_encrypted(what: str, host: str, context: object, *, plain: bool) -> None:
    """Raise where a token would cross a network in the open."""
    if context is None and not plain and host not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigurationError(
            f"{what}={host!r}): expected TLS, ssl_context=... at the server and a wss:// URL at the client, since the token "
            "and every message could be read on the way; or plain=True where something else encrypts"
        )
