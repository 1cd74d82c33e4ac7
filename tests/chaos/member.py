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
from time import perf_counter, time
from typing import Any

import attrs
import trio

from trio_pipes import Bus, BusError, BusGap, PipelineRunner, PipesError, Subscription, WireError, Worker

from .messages import Number
from .saying import say


def bus_at(url: str, lease: float, send_timeout: float) -> Bus:
    """The bus at this address."""
    from trio_pipes import net

    kind = net.RedisBus if url.startswith("redis") else net.PostgresBus
    return kind(url, channel="chaos", lease=lease, send_timeout=send_timeout)


@attrs.define(eq=False)
class Member:
    """What this process is, and what it can do."""

    bus: Bus
    runner: PipelineRunner
    nursery: trio.Nursery
    talks: dict[str, trio.CancelScope] = attrs.field(factory=dict)
    ears: dict[str, Subscription] = attrs.field(factory=dict)

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
                except (BusError, WireError) as error:
                    kind, took = type(error).__name__, perf_counter() - began
                    say("not sent", source=source, n=n, kind=kind, error=str(error)[:300], took=took)
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
                self.ears[ear] = messages
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

    async def count(self, ear: str) -> None:
        """Say what a subscription has counted."""
        say("counted", ear=ear, dropped=self.ears[ear].dropped)

    async def fit(self, source: str, to: str) -> None:
        """Find out how many bytes a message may have: by halves, with an encoding alone."""
        encode = self.bus._codec.encode
        low, high = 0, 1 << 30
        while high - low > 1:
            size = (low + high) // 2
            try:
                encode(Number(source=source, target=to, n=0, filling=bytes(size)))
            except WireError:
                high = size
            else:
                low = size
        say("fits", size=low)

    async def work(self, name: str) -> None:
        """Add a worker of this name."""
        from .worker import Labourer  # while it is not needed, nothing of workers has to work

        self.runner.add_workers(Labourer(name=name), isolated=True)

    async def watch(self, names: list[str]) -> None:
        """Say what becomes of these workers."""
        async with self.runner.registry.watch(*names) as events:
            async for event in events:
                say("worker", name=event.worker.name, kind=event.kind.value, reason=event.reason)

    async def census(self) -> None:
        """Say who is up, as this registry knows it."""
        registry = self.runner.registry
        workers = sorted(worker.name for worker in registry.workers if worker.ready)
        say("census", workers=workers, runners=sorted(registry.runners))

    async def ask(self, worker: str, target: str, job: str, payload: Any = None, timeout: float | None = None) -> None:
        """One of our workers asks another for a job."""
        asker: Any = self.runner.get_worker(worker)
        assert asker is not None
        try:
            async with asker.job(target, job, payload, timeout=timeout) as asked:
                result = await asked.result()
        except PipesError as error:
            say("asked", target=target, job=job, kind=type(error).__name__, error=str(error)[:300])
        else:
            say("asked", target=target, job=job, result=result)

    async def labour(self, source: str, worker: str, target: str, every: float, seconds: float, timeout: float) -> None:
        """Ask for one numbered job after the other, without waiting for the last, until `hush`."""
        n = 0
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as self.talks[source]:
                while True:
                    n += 1
                    nursery.start_soon(self._labour, source, worker, target, f"{source}/{n}", seconds, timeout)
                    await trio.sleep(every)
        say("laboured", source=source, count=n)

    async def _labour(self, source: str, worker: str, target: str, n: str, seconds: float, timeout: float) -> None:
        asker: Any = self.runner.get_worker(worker)
        began = perf_counter()
        payload = {"n": n, "seconds": seconds}
        try:
            async with asker.job(target, "numbered", payload, timeout=timeout) as asked:
                result = await asked.result()
        except PipesError as error:
            kind, text = type(error).__name__, str(error)[:300]
            say("job over", source=source, n=n, took=perf_counter() - began, kind=kind, error=text)
        else:
            say("job over", source=source, n=n, took=perf_counter() - began, result=result)

    async def bridge_far(self, name: str) -> None:
        """Be the far end of a bridge."""
        from .bridge import run_far

        await run_far(self.runner, name)

    async def bridge_near(self, to: str, every: float) -> None:
        """Be the near end of a bridge, until `hush`; says what came back."""
        from .bridge import run_near

        self.talks["bridge"] = trio.CancelScope()
        await run_near(self.runner, to, every, self.talks["bridge"])

    def on_worker_started(self, runner: PipelineRunner, worker: Worker) -> None:
        """As an observer of the runner."""
        say("works", name=worker.name)

    def on_error(self, runner: PipelineRunner, worker: Worker, error: Exception) -> None:
        """As an observer of the runner."""
        say("refused", name=worker.name, kind=type(error).__name__, error=str(error)[:300])


async def live(bus: Bus, name: str) -> int:
    """Be a member until standard input ends."""
    runner = PipelineRunner(name=name, handle_sigint=False, bus=bus)
    try:
        async with bus, trio.open_nursery() as nursery:
            member = Member(bus, runner, nursery)
            runner.add_observer(member)
            await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
            say("up", runner=runner.runner_id, bus=bus.id, wall=time())
            await member.obey()
            nursery.cancel_scope.cancel(reason="the harness has nothing more to do")
    except* PipesError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        say("refused", kind=type(error).__name__, error=str(error)[:300])
        return_code = 1
    else:
        return_code = 0
    return return_code


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="chaos.member")
    parser.add_argument("url")
    parser.add_argument("--name", required=True)
    parser.add_argument("--lease", type=float, default=10)
    parser.add_argument("--send-timeout", type=float, default=30)
    options = parser.parse_args()
    return trio.run(live, bus_at(options.url, options.lease, options.send_timeout), options.name)


if __name__ == "__main__":
    sys.exit(main())
