"""What a bus asks of Redis, as commands.

# Keys and channels, for a bus of channel "c".
#
# A broadcast is published on "c", a message of topic "t" on "c:t/"; the bus's own name ends where a topic begins, and no
# channel name ends in a slash, so no two buses meet there. (Redis carries messages across databases; "c" is "c@3" in database 3, so
# that buses in two databases do not hear each other either.) Who owns which names stands in two keys: the hash "{c}:names",
# name to owner, and the sorted set "{c}:leases", owner to the end of its lease in milliseconds of the server's clock. A
# lease is renewed by one entry, however many names there are. A name whose owner has no lease is free. Scripts
# change both in one step; each claim also looks at a few names at random and deletes those of owners that are no more, so what the dead
# leave behind does not grow. When nobody renews anything for long, the keys themselves go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final

from ._broker_link import BrokerLink
from ._redis_connection import AT_ONCE, Argument, RedisConnection

__all__ = ["RedisLink"]

NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local names, leases, owner = KEYS[1], KEYS[2], ARGV[1]
local function is_alive(who)
    local till = redis.call('ZSCORE', leases, who)
    return till and tonumber(till) > now
end
local function extend(lease)
    redis.call('ZADD', leases, now + lease, owner)
    redis.call('PEXPIRE', leases, lease * 100)
    redis.call('PEXPIRE', names, lease * 100)
end
"""

# ARGV: owner, milliseconds, names... Gives names that others have, each with its owner.
CLAIM: Final = f"""{NOW}
local taken = {{}}
for i = 3, #ARGV do
    local who = redis.call('HGET', names, ARGV[i])
    if who and who ~= owner and is_alive(who) then
        taken[#taken + 1] = ARGV[i]
        taken[#taken + 1] = who
    end
end
if #taken == 0 then
    for i = 3, #ARGV do redis.call('HSET', names, ARGV[i], owner) end
end
extend(tonumber(ARGV[2]))
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
if redis.call('EXISTS', names) == 1 then
    for _, name in ipairs(redis.call('HRANDFIELD', names, 2 * #ARGV)) do
        if not is_alive(redis.call('HGET', names, name)) then redis.call('HDEL', names, name) end
    end
end
return taken
"""

# ARGV: owner, milliseconds. Gives 1, or 0 where the lease has run out.
RENEW: Final = f"""{NOW}
if not is_alive(owner) then return 0 end
extend(tonumber(ARGV[2]))
return 1
"""

# ARGV: owner, 1 where the lease ends too, names...
RELEASE: Final = f"""{NOW}
for i = 3, #ARGV do
    if redis.call('HGET', names, ARGV[i]) == owner then redis.call('HDEL', names, ARGV[i]) end
end
if ARGV[2] == '1' then redis.call('ZREM', leases, owner) end
return 1
"""

# Names in one script: the server does nothing else meanwhile.
MOST_NAMES: Final = 5000


class RedisLink(BrokerLink):
    """A connection to Redis, for the bus of a channel."""

    def __init__(self, connection: RedisConnection, channel: str, database: int) -> None:
        self._connection = connection
        self.publishes_nowait = connection.asks_nowait
        self._channel = f"{channel}@{database}" if database else channel
        self._keys = (f"{{{channel}}}:names", f"{{{channel}}}:leases")

    def _channel_of(self, topic: str | None) -> str:
        return self._channel if topic is None else f"{self._channel}:{topic}/"

    async def read(self, deliver: Callable[[bytes], Awaitable[None]]) -> None:
        await self._connection.read(deliver)

    async def publish(self, batch: Sequence[tuple[str | None, bytes]]) -> None:
        await self._connection.ask([("PUBLISH", self._channel_of(topic), data) for topic, data in batch])

    def publish_nowait(self, batch: Sequence[tuple[str | None, bytes]], acknowledged: Callable[[], None]) -> bool:
        if sum([len(data) for _, data in batch]) > AT_ONCE:
            return False
        commands = [("PUBLISH", self._channel_of(topic), data) for topic, data in batch]
        return self._connection.ask_nowait(commands, acknowledged)

    async def attend(self, topics: Collection[str | None]) -> None:
        await self._connection.ask([("SUBSCRIBE", *map(self._channel_of, topics))], replies=len(topics))

    async def unattend(self, topics: Collection[str]) -> None:
        await self._connection.ask([("UNSUBSCRIBE", *map(self._channel_of, topics))], replies=len(topics))

    async def ping(self) -> None:
        await self._connection.ask([("PING",)])

    async def claim(self, names: Sequence[str], owner: str, lease: float) -> dict[str, str]:
        taken: list[bytes] = await self._run(CLAIM, owner, _milliseconds(lease), *names)
        texts = [text.decode() for text in taken]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    async def renew(self, owner: str, lease: float) -> bool:
        return bool(await self._run(RENEW, owner, _milliseconds(lease)))

    async def release(self, names: Sequence[str], owner: str, *, lease_too: bool) -> None:
        for at in range(0, max(len(names), 1), MOST_NAMES):
            await self._run(RELEASE, owner, int(lease_too), *names[at : at + MOST_NAMES])

    async def _run(self, script: str, *arguments: Argument) -> Any:
        (reply,) = await self._connection.ask([("EVAL", script, len(self._keys), *self._keys, *arguments)])
        return reply

    async def aclose(self) -> None:
        await self._connection.aclose()


def _milliseconds(lease: float) -> int:
    return max(1, round(lease * 1000))
