"""What the programs on the second and the third machine have in common: a command line, a runner, and their end."""

from __future__ import annotations

import argparse
import sys

import trio

from trio_pipes import PipelineRunner, PipesError, RedisBus, Worker, WorkerChange

__all__ = ["CHANNEL", "first", "run"]

CHANNEL = "three-machines"


async def serve(worker: Worker, url: str) -> None:
    """Run a worker until the front has gone, or Ctrl-C."""
    async with RedisBus(url, channel=CHANNEL) as bus:
        runner = PipelineRunner(worker, bus=bus)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_with_front, runner)
            await runner.run()
            nursery.cancel_scope.cancel(reason="the runner has ended")


async def end_with_front(runner: PipelineRunner) -> None:
    """End the runner when the front has gone, in whatever way."""
    async with runner.registry.watch("front") as events:
        async for event in events:
            print(f"the front is {event.kind.value}", flush=True)
            if event.kind is WorkerChange.GONE:
                runner.end("the front has gone")


def run(worker: Worker, description: str | None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("url", help="the Redis server: redis://HOST:6379")
    try:
        trio.run(serve, worker, parser.parse_args().url)
    except* PipesError as group:
        sys.exit(f"{parser.prog}: {first(group)}")


def first(error: BaseException) -> BaseException:
    """The first error in groups of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
