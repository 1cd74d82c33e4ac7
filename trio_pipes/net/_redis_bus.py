"""`RedisBus`: workers in several processes, over Redis or Valkey."""

from __future__ import annotations

import ssl

from trio_pipes._base import check_instance, find_extra, refuse

from ._broker_bus import BrokerBus
from ._broker_link import BrokerLink
from ._redis_url import redis_address

__all__ = ["RedisBus"]


class RedisBus(BrokerBus):
    """A bus over a Redis or Valkey server, version 6.2 or later.

    `url` is `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS with the certificate checked, or
    `unix://[user:password@]/path/of.sock[?db=0]`. `ssl_context` is your own for TLS: a private authority, a client
    certificate. Buses of one `channel` on one server hear each other. `lease` is in seconds: a runner that is not heard of
    for so long is forgotten, with its names; a third of it is what a connection may be silent before it counts as lost.
    `send_timeout` is how many seconds `send`, `subscribe` and `claim` wait for a server that is away or slow, before they raise `BusError`.

    `async with bus:` connects; it raises `BusError` when there is no server. A connection that is lost later is made again, for as long
    as it takes; subscriptions get a `BusGap` then, since messages may have been lost. Needs the extra `[redis]`.
    """

    def __init__(
        self,
        url: str,
        *,
        channel: str = "trio_pipes",
        lease: float = 10.0,
        send_timeout: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        address = redis_address(url)
        check_instance("RedisBus(ssl_context", ssl_context, ssl.SSLContext, "an ssl.SSLContext, or None", optional=True)
        if ssl_context is not None and not address.tls:
            raise refuse("RedisBus(ssl_context", ssl_context, "None, or a URL that begins with rediss://")
        find_extra("hiredis", "redis", "RedisBus")
        super().__init__(address.shown, channel=channel, lease=lease, send_timeout=send_timeout)
        self._address = address
        self._ssl_context = ssl_context

    async def _connect(self) -> BrokerLink:
        from ._redis_connection import open_redis
        from ._redis_link import RedisLink

        context = self._ssl_context
        if self._address.tls and context is None:
            context = ssl.create_default_context()
        return RedisLink(await open_redis(self._address, context), self.channel, self._address.database)
