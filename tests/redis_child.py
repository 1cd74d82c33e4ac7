"""The other process of a test: answers each note that it gets, until one has the number -1."""

import sys

import trio

from net_kit import Note, Shout
from trio_pipes import RedisBus


async def main(url: str, channel: str) -> None:
    async with RedisBus(url, channel=channel) as bus, bus.subscribe("child", Note, buffer=1000) as messages:
        await bus.send(Shout(source="child", target="parent"))
        async for message in messages:
            assert isinstance(message, Note)
            if message.n == -1:
                return
            await bus.send(Note(source="child", target="parent", n=message.n))


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
