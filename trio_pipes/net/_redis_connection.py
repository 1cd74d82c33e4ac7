"""One connection to Redis: commands out, replies and messages in.

# Why this and not a client library.
#
# What carries a bus must tell when its connection was lost: messages may be missing then. Measured side by side on one
# core (200-byte messages, Redis 7.0, trio 0.35; one way from PUBLISH to the subscriber, median): this way 26 us and 850,000
# published and received per CPU second when many are under way; valkey-glide 2.5, the one maintained client that runs on
# Trio and keeps its pool when a call is cancelled, 110 us and 23,000. Glide also reconnects and subscribes again in its own
# thread without saying so, which would hide every gap. The protocol itself is parsed by hiredis, Redis' own parser.
#
# One connection does both, since with version 3 of the protocol messages are marked and may come between replies.
# One task asks, one command after the other; another one reads. A command that was cancelled ends the connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import hiredis
import trio

from ._broker_link import LinkLost, Refused
from ._redis_url import RedisAddress

__all__ = ["Argument", "RedisConnection", "open_redis"]

Argument = str | int | float | bytes | memoryview  # what hiredis packs

# Its type is written down as that of one argument alone.
pack: Callable[[tuple[Argument, ...]], bytes] = cast("Any", hiredis).pack_command

PIECE: Final = 1 << 16
MORE: Final = object()  # the parser has no whole reply yet


async def open_redis(address: RedisAddress, context: ssl.SSLContext | None) -> RedisConnection:
    """Connect and get in. Raises `LinkLost` and `Refused`, without secrets."""
    try:
        stream = await _open_stream(address, context)
    except (OSError, ssl.SSLError, trio.BrokenResourceError) as exc:
        raise LinkLost(_reason(exc)) from None
    connection = RedisConnection(stream)
    try:
        await connection.enter(address)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return connection


async def _open_stream(address: RedisAddress, context: ssl.SSLContext | None) -> trio.abc.Stream:
    if address.path:
        return await trio.open_unix_socket(address.path)
    if not address.tls:
        return await trio.open_tcp_stream(address.host, address.port)
    stream = await trio.open_ssl_over_tcp_stream(address.host, address.port, ssl_context=context)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def _reason(exc: BaseException) -> str:
    """Why there is no connection: what the system says, or what Trio says the system said."""
    if isinstance(exc, trio.BrokenResourceError) and exc.__cause__ is not None:
        return _reason(exc.__cause__)
    if isinstance(exc, OSError) and isinstance(exc.__cause__, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_reason(each) for each in exc.__cause__.exceptions))
    return str(exc) or type(exc).__name__


class RedisConnection:
    """`read` runs in one task, `ask` is called by another. Both raise `LinkLost`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._parser = hiredis.Reader(notEnoughData=MORE)
        self._replies: list[Any] = []
        self._missing = 0  # replies
        self._answered = trio.Event()

    async def enter(self, address: RedisAddress) -> None:
        """Say hello, with the password, before anybody reads or asks. Raises `Refused`."""
        hello: list[Argument] = ["HELLO", 3]
        if address.password is not None:
            hello += ["AUTH", address.user, address.password]
        commands: list[list[Argument]] = [hello]
        if address.database:
            commands.append(["SELECT", address.database])
        for command in commands:
            await self._send([command], 1)
            while not self._answered.is_set():
                await self._receive()
                await self._sort(_to_nobody)
            try:
                self._result()
            except Refused as exc:
                if "unknown command" in str(exc):
                    raise Refused(f"{exc}; the bus needs version 6.2 or later of the server") from None
                raise

    async def ask(self, commands: Sequence[Sequence[Argument]], replies: int | None = None) -> list[Any]:
        """Send commands and give their replies, one for each if `replies` does not say how many.

        The first error among them is raised at once, as `Refused`; with more than one command, close the connection then.
        """
        await self._send(commands, len(commands) if replies is None else replies)
        await self._answered.wait()
        return self._result()

    async def read(self, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand over messages, until the connection is lost."""
        while True:
            await self._sort(deliver)
            await self._receive()

    async def _send(self, commands: Sequence[Sequence[Argument]], replies: int) -> None:
        self._replies = []
        self._missing = replies
        self._answered = trio.Event()
        try:
            await self._stream.send_all(b"".join([pack(tuple(command)) for command in commands]))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise LinkLost(_reason(exc)) from None

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some(PIECE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise LinkLost(_reason(exc)) from None
        if not data:
            raise LinkLost("the server closed it")
        self._parser.feed(bytes(data))  # of bytes, no copy

    async def _sort(self, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        """What has been received: replies for whoever asked, messages to be delivered."""
        gets = self._parser.gets
        try:
            while (reply := gets()) is not MORE:
                if not isinstance(reply, hiredis.PushNotification):
                    self._take(reply)
                elif reply[0] == b"message":
                    await deliver(reply[2])
                elif reply[0] in (b"subscribe", b"unsubscribe"):
                    self._take(reply)
        except hiredis.ProtocolError as exc:
            raise LinkLost(f"what came is not of Redis: {exc}") from None

    def _take(self, reply: Any) -> None:
        self._replies.append(reply)
        self._missing -= 1
        if self._missing <= 0 or isinstance(reply, hiredis.ReplyError):
            self._answered.set()

    def _result(self) -> list[Any]:
        for reply in self._replies:
            if isinstance(reply, hiredis.ReplyError):
                raise Refused(str(reply))
        return self._replies

    async def aclose(self) -> None:
        """Close it at once."""
        await trio.aclose_forcefully(self._stream)


async def _to_nobody(message: bytes) -> None:
    """Before anything is attended nothing comes."""
