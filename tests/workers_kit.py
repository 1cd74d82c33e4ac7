"""Workers for tests: one that writes down what happens to it, and a runner round them."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import trio

from trio_pipes import BaseWorker, DataMessage, PipelineRunner, SystemMessage, on_wire


@on_wire("tests.workers.data")
@attrs.define(eq=False)
class Data(DataMessage):
    n: int = 0


@on_wire("tests.workers.urgent")
@attrs.define(eq=False)
class Urgent(SystemMessage):
    n: int = 0


class Notes(BaseWorker):
    """Writes down what happens to it."""

    def __init__(self, name=None, *, log=None, takes=0.0, **settings) -> None:
        super().__init__(name, **settings)
        self.log = [] if log is None else log
        self.takes = takes

    def note(self, what) -> None:
        self.log.append(what)

    @asynccontextmanager
    async def lifespan(self):
        self.note("up")
        try:
            yield
        finally:
            self.note("down")

    async def on_bus_message(self, message) -> None:
        self.note(message.n)
        if isinstance(message, Data):
            await trio.sleep(self.takes)
            self.note(f"{message.n} done")

    async def on_activated(self, args) -> None:
        self.note(f"active {args}")

    async def on_deactivated(self) -> None:
        self.note("inactive")


@asynccontextmanager
async def hosted(*workers, bus=None, **settings):
    """A runner hosts them; the block's end asks it to end and waits."""
    runner = PipelineRunner(*workers, bus=bus, handle_sigint=False, **settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        yield runner
        runner.end()
