"""A process on a machine: a runner on the bus, which does what it is told on standard input and says what happens.

    python -m chaos.member URL --name NAME [--lease SECONDS]

Lines of JSON both ways. A command's `do` names the function below that does it; most start something that goes on until the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from time import perf_counter
from typing import Any

import attrs
import trio

from trio_pipes import Bus, BusError, BusGap, PipelineRunner, PipesError

from .messages import Number

MOST = 65_536  # bytes read at once


def say(event: str, **fields: Any) -> None:
    """Tell the harness."""
    os.write(1, json.dumps({"event": event, "at": perf_counter(), **fields}).encode() + b"\n")


def bus_at(url: str, lease: float) -> Bus:
    """The bus at this address."""
    from trio_pipes.net import PostgresBus, RedisBus

    return (RedisBus if url.startswith("redis") else PostgresBus)(url, channel="chaos", lease=lease)


@attrs.define(eq=False)
class Member:
    """What this process is, and what it can do."""

    bus: Bus
    runner: PipelineRunner
    nursery: trio.Nursery
    talks: dict[str, trio.CancelScope] = attrs.field(factory=dict)

    async def obey(self) -> None:
        """Do what the lines of standard input say, until its end."""
        rest = b""
        async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
            async for piece in stdin:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    command = json.loads(line)
                    self.nursery.start_soon(partial(getattr(self, command.pop("do")), **command))

    async def talk(
        self, source: str, to: str | None = None, every: float = 0.01, count: int | None = None, size: int = 0
    ) -> None:
        """Send numbered messages to one name or to everybody, until `hush` or so many."""
        n, longest = 0, 0.0
        with trio.CancelScope() as self.talks[source]:
            while count is None or n < count:
                began = perf_counter()
                try:
                    known = await self.bus.send(Number(source=source, target=to, n=n, filling=bytes(size)))
                except BusError as error:
                    say("not sent", source=source, n=n, error=str(error), took=perf_counter() - began)
                else:
                    say("sent" if known else "nobody", source=source, n=n)
                longest = max(longest, perf_counter() - began)
                n += 1
                await trio.sleep(every)
        say("silent", source=source, count=n, longest=longest)

    async def hush(self, source: str) -> None:
        """End a talk; it says `silent`."""
        self.talks[source].cancel(reason="told to")

    async def hear(self, ear: str, buffer: int = 4096, overflow: Any = "error", nap: float = 0) -> None:
        """Subscribe, and say what comes; `nap` seconds of sleep after each."""
        try:
            async with self.bus.subscribe(ear, Number, buffer=buffer, overflow=overflow) as messages:
                say("hears", ear=ear)
                async for message in messages:
                    match message:
                        case BusGap():
                            say("gap", ear=ear, peer=message.peer, missed=message.missed)
                        case Number():
                            say("got", ear=ear, source=message.source, n=message.n, size=len(message.filling))
                            await trio.sleep(nap)
        except PipesError as error:
            say("deaf", ear=ear, kind=type(error).__name__, error=str(error))


async def live(url: str, name: str, lease: float) -> int:
    """Be a member until standard input ends."""
    bus = bus_at(url, lease)
    runner = PipelineRunner(name=name, handle_sigint=False, bus=bus)
    async with bus, trio.open_nursery() as nursery:
        member = Member(bus, runner, nursery)
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        say("up", runner=runner.runner_id, bus=bus.id)
        await member.obey()
        nursery.cancel_scope.cancel(reason="the harness has nothing more to do")
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="chaos.member")
    parser.add_argument("url")
    parser.add_argument("--name", required=True)
    parser.add_argument("--lease", type=float, default=10)
    options = parser.parse_args()
    return trio.run(live, options.url, options.name, options.lease)


if __name__ == "__main__":
    sys.exit(main())
