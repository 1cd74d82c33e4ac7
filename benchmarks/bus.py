"""Messages over the bus of one process: one publisher, and subscribers that take what they get."""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from typing import Any

import attrs
import trio

from trio_pipes import DataMessage, MemoryBus


@attrs.define(eq=False)
class Tick(DataMessage):
    n: int = 0


async def bus(a: argparse.Namespace) -> dict[str, Any]:
    """To `n` subscribers, per CPU second of the loop's thread, from the first one sent to the last one read."""
    rates = [await _once(a.n, a.frames, a.targeted) for _ in range(a.inner)]
    return {"value": statistics.median(rates), "unit": "messages/cpu-s", "all": rates}


async def _once(subscribers: int, count: int, targeted: bool) -> float:
    over = trio.Event()
    left = 1 if targeted else subscribers

    async def read(name: str, carrier: MemoryBus, *, task_status: trio.TaskStatus[None]) -> None:
        nonlocal left
        async with carrier.subscribe(name) as messages:
            task_status.started()
            got = 0
            async for _ in messages:
                got += 1
                if got == count:
                    left -= 1
                    if not left:
                        over.set()

    carrier = MemoryBus()
    target = "s0" if targeted else None
    async with trio.open_nursery() as nursery:
        for i in range(subscribers):
            await nursery.start(read, f"s{i}", carrier)
        messages = [Tick(n, source="publisher", target=target) for n in range(count)]
        gc.collect()
        began = time.thread_time()
        for message in messages:
            await carrier.send(message)
        await over.wait()
        took = time.thread_time() - began
        nursery.cancel_scope.cancel()
    return count / took
