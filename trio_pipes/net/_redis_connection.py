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
# One task asks, one command after the other; another one reads. A command that was cancelled ends the connection. What is
# short is also written by whoever has it, in one step, without waiting: a wake-up of another task costs more than the write.
"""

from __future__ import annotations

import os
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import attrs
import hiredis
import trio

from ._broker_link import LinkLost, Refused
from ._redis_url import RedisAddress

__all__ = ["AT_ONCE", "Argument", "RedisConnection", "open_redis"]

Argument = str | int | float | bytes | memoryview  # what hiredis packs

# Its type is written down as that of one argument alone.
pack: Callable[[tuple[Argument, ...]], bytes] = cast("Any", hiredis).pack_command

# Bytes that are read at a time: of small messages what can be handled in about two milliseconds, before others get a turn.
PIECE: Final = 1 << 15

# Bytes that are best written without waiting: a fraction of what the system's buffer of a connection holds.
AT_ONCE: Final = 8192

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


@attrs.define(eq=False)
class _Expected:
    """Replies to come, in the order in which was asked."""

    count: int
    then: trio.Event | Callable[[], None] | None = None
    replies: list[Any] = attrs.field(factory=list)

    @property
    def is_there(self) -> bool:
        """All of them, or an error, after which no more come that are worth waiting for."""
        return len(self.replies) >= self.count or (
            bool(self.replies) and isinstance(self.replies[-1], hiredis.ReplyError)
        )

    def result(self) -> list[Any]:
        """Them. Raises `Refused` for an error."""
        for reply in self.replies:
            if isinstance(reply, hiredis.ReplyError):
                raise Refused(str(reply))
        return self.replies


class RedisConnection:
    """`read` runs in one task, `ask` is called by another. Both raise `LinkLost`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._parser = hiredis.Reader(notEnoughData=MORE)
        self._file = stream.socket.fileno() if isinstance(stream, trio.SocketStream) and os.name == "posix" else None
        self._writing = False
        self._rest = b""  # of something that was to be written at once
        self._expected: deque[_Expected] = deque()

    @property
    def asks_nowait(self) -> bool:
        """Whether `ask_nowait` is possible at all: bytes are written as they are, on a system that can."""
        return self._file is not None

    async def enter(self, address: RedisAddress) -> None:
        """Say hello, with the password, before anybody reads or asks. Raises `Refused`."""
        hello: list[Argument] = ["HELLO", 3]
        if address.password is not None:
            hello += ["AUTH", address.user, address.password]
        commands: list[list[Argument]] = [hello]
        if address.database:
            commands.append(["SELECT", address.database])
        for command in commands:
            answer = await self._send([command], 1)
            while not answer.is_there:
                await self._receive()
                await self._sort(_to_nobody)
            try:
                answer.result()
            except Refused as exc:
                if "unknown command" in str(exc):
                    raise Refused(f"{exc}; the bus needs version 6.2 or later of the server") from None
                if str(exc).startswith("NOAUTH"):
                    raise Refused("NOAUTH: it wants a password, redis://user:password@host") from None
                raise

    async def ask(self, commands: Sequence[Sequence[Argument]], replies: int | None = None) -> list[Any]:
        """Send commands and give their replies, one for each if `replies` does not say how many.

        The first error among them is raised at once, as `Refused`; with more than one command, close the connection then.
        """
        answer = await self._send(commands, len(commands) if replies is None else replies)
        if not answer.is_there:
            answer.then = trio.Event()
            await answer.then.wait()
        return answer.result()

    def ask_nowait(self, commands: Sequence[Sequence[Argument]], then: Callable[[], None]) -> bool:
        """Send commands, of `AT_ONCE` bytes or so, if they can be written at once; when they have been answered, `then` is called by `read`.

        False: they were not sent, or not as a whole; the server may act on them.
        """
        if self._file is None or self._writing or self._rest:
            return False
        data = b"".join([pack(tuple(command)) for command in commands])
        try:
            written = os.write(self._file, data)
        except OSError:  # full; or lost, which the reader sees too
            return False
        is_whole = written == len(data)
        self._rest = data[written:]
        self._expected.append(_Expected(len(commands), then if is_whole else _nothing))
        return is_whole

    async def read(self, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand over messages, until the connection is lost."""
        while True:
            await self._sort(deliver)
            await self._receive()

    async def _send(self, commands: Sequence[Sequence[Argument]], replies: int) -> _Expected:
        data = b"".join([self._rest, *[pack(tuple(command)) for command in commands]])
        self._rest = b""
        answer = _Expected(replies)
        self._expected.append(answer)
        self._writing = True
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise LinkLost(_reason(exc)) from None
        self._writing = False  # where it was cancelled, nobody else may write either
        return answer

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
        if not self._expected:
            raise LinkLost("the server answered what nobody had asked")
        answer = self._expected[0]
        answer.replies.append(reply)
        if answer.is_there:
            self._expected.popleft()
            if isinstance(answer.then, trio.Event):
                answer.then.set()
            elif answer.then is not None:
                answer.result()
                answer.then()

    async def aclose(self) -> None:
        """Close it at once."""
        self._file = None
        await trio.aclose_forcefully(self._stream)


def _nothing() -> None:
    """Nobody wants to know."""


async def _to_nobody(message: bytes) -> None:
    """Before anything is attended nothing comes."""
