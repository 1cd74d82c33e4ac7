"""Messages and jobs between two processes over a broker, beside what the broker itself takes.

    python benchmarks/brokers.py [--runs 5] [--count 2000] [--strict] [redis=redis://127.0.0.1:6379]

For each broker, in turn, run by run: a bare round trip (the same protocol parser on the same Trio streams, and nothing else: PUBLISH
there, PUBLISH back; with PostgreSQL NOTIFY), a round trip of a bus message, a round trip of a job; then as many messages one way as go through. The
other end of each is in a process of its own. A table goes to stderr, JSON to stdout. Exit code 1 with `--strict` when
the goal was missed: a job round trip over Redis under 3 x the bare one. PostgreSQL (`postgres=postgresql://...`) has no goal.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from trio_pipes import BaseWorker, Bus, DataMessage, JobRequest, PipelineRunner, PostgresBus, RedisBus, job, on_wire

GOAL = 3.0  # times a bare round trip
SIZE = 200  # bytes of text


@on_wire("benchmarks.tick")
@attrs.define(eq=False, kw_only=True)
class Tick(DataMessage):
    n: int = 0
    text: str = ""


# -- a bus of each kind


def make_bus(kind: str, url: str, channel: str) -> Bus:
    if kind == "redis":
        return RedisBus(url, channel=channel)
    if kind == "postgres":
        return PostgresBus(url, channel=channel)
    raise SystemExit(f"no such broker: {kind}")


# -- the broker alone


Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes]]


@asynccontextmanager
async def bare_redis(url: str, mine: str, other: str) -> AsyncIterator[tuple[Send, Receive]]:
    """Send to the other, receive what is for me: one connection for each, no acknowledgements waited for."""
    import hiredis

    host, _, port = url.partition("//")[2].partition(":")

    class Plain:
        def __init__(self, stream: trio.SocketStream) -> None:
            self.stream, self.reader = stream, hiredis.Reader()

        async def ask(self, *command: Any) -> None:
            await self.stream.send_all(hiredis.pack_command(command))

        async def receive(self) -> Any:
            while (reply := self.reader.gets()) is False:
                self.reader.feed(await self.stream.receive_some(65536))
            return reply

    async with (
        await trio.open_tcp_stream(host, int(port or 6379)) as sends,
        await trio.open_tcp_stream(host, int(port or 6379)) as hears,
    ):
        out, into = Plain(sends), Plain(hears)
        await into.ask("SUBSCRIBE", mine)
        await into.receive()

        async def send(data: bytes) -> None:
            await out.ask("PUBLISH", other, data)

        async def receive() -> bytes:
            data: bytes = (await into.receive())[2]
            return data

        async with trio.open_nursery() as nursery:

            async def read_replies() -> None:
                while True:
                    await out.receive()

            nursery.start_soon(read_replies)
            yield send, receive
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def bare_postgres(url: str, mine: str, other: str) -> AsyncIterator[tuple[Send, Receive]]:
    """The same with NOTIFY, by libpq's own calls; like ours, it waits for the server's word and not for its disk."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as out, psycopg.connect(url, autocommit=True) as into:
        out.execute("SET synchronous_commit = off")
        into.execute(f'LISTEN "{mine}"'.encode())

        async def send(data: bytes) -> None:
            out.pgconn.send_query_params(b"SELECT pg_notify($1, $2)", [other.encode(), b64encode(data)])
            while out.pgconn.flush():
                await trio.lowlevel.wait_writable(out.fileno())
            while True:
                while out.pgconn.is_busy():
                    await trio.lowlevel.wait_readable(out.fileno())
                    out.pgconn.consume_input()
                if out.pgconn.get_result() is None:
                    return

        async def receive() -> bytes:
            while (notify := into.pgconn.notifies()) is None:
                await trio.lowlevel.wait_readable(into.fileno())
                into.pgconn.consume_input()
            return b64decode(notify.extra)

        yield send, receive


BARE = {"redis": bare_redis, "postgres": bare_postgres}


def tidy(kind: str, url: str, channel: str) -> None:
    """Leave nothing behind."""
    if kind == "postgres":
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            for what in ("leases", "names", "large"):
                connection.execute(f'DROP TABLE IF EXISTS "{channel}_bus_{what}"'.encode())


# -- the other process


async def serve(kind: str, url: str, channel: str, what: str) -> None:
    await {"bare": serve_bare, "bus": serve_bus, "job": serve_jobs}[what](kind, url, channel)


async def serve_bare(kind: str, url: str, channel: str) -> None:
    async with BARE[kind](url, f"{channel}-child", f"{channel}-parent") as (send, receive):
        await send(b"ready")
        while (data := await receive()) != b"end":
            await send(data)


async def serve_bus(kind: str, url: str, channel: str) -> None:
    """Answers each tick; those with a negative number are counted, and the last one is answered with the CPU time they took."""
    async with make_bus(kind, url, channel) as bus, bus.subscribe("child", Tick, buffer=100_000) as ticks:
        await bus.send(Tick(source="child", target="parent", text="ready"))
        cpu: float | None = None
        async for tick in ticks:
            assert isinstance(tick, Tick)
            if tick.text == "end":
                return
            if tick.n >= 0:
                await bus.send(Tick(source="child", target="parent", n=tick.n, text=tick.text))
            elif cpu is None:
                cpu = time.thread_time()
            elif tick.n == -1:
                await bus.send(Tick(source="child", target="parent", text=str(time.thread_time() - cpu)))
                cpu = None


class Echo(BaseWorker):
    @job("echo")
    async def echo(self, request: JobRequest) -> Any:
        return request.payload


async def serve_jobs(kind: str, url: str, channel: str) -> None:
    await PipelineRunner(Echo("child"), bus=make_bus(kind, url, channel), handle_sigint=False).run()


# -- this process


async def bare(kind: str, url: str, channel: str, count: int) -> dict[str, float]:
    async with (
        BARE[kind](url, f"{channel}-parent", f"{channel}-child") as (send, receive),
        child(kind, url, channel, "bare"),
    ):
        await receive()
        text = b"x" * SIZE

        async def trip() -> None:
            await send(text)
            await receive()

        found = await timed(trip, count)
        await send(b"end")
    return found


async def bus(kind: str, url: str, channel: str, count: int) -> dict[str, float]:
    async with (
        make_bus(kind, url, channel) as carrier,
        carrier.subscribe("parent", Tick) as ticks,
        child(kind, url, channel, "bus"),
    ):
        await ticks.receive()
        text = "x" * SIZE

        async def trip() -> None:
            await carrier.send(Tick(source="parent", target="child", text=text))
            await ticks.receive()

        found = await timed(trip, count)
        many = 10 * count
        began, cpu = time.perf_counter(), time.thread_time()
        for n in range(many):
            await carrier.send(Tick(source="parent", target="child", text=text, n=n - many))
        sent = time.thread_time() - cpu
        last = await ticks.receive()
        assert isinstance(last, Tick)
        found["messages_per_s"] = many / (time.perf_counter() - began)
        found["sent_per_cpu_s"] = many / sent
        found["received_per_cpu_s"] = many / float(last.text)
        await carrier.send(Tick(source="parent", target="child", text="end"))
    return found


async def jobs(kind: str, url: str, channel: str, count: int) -> dict[str, float]:
    found: dict[str, float] = {}

    class Asks(BaseWorker):
        async def on_activated(self, *_: Any) -> None:
            pass

    asks = Asks("parent")
    runner = PipelineRunner(asks, bus=make_bus(kind, url, channel), handle_sigint=False)
    payload = {"text": "x" * SIZE}

    async def trip() -> None:
        async with asks.job("child", "echo", payload) as asked:
            await asked.result()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await runner.wait_ready()
        async with child(kind, url, channel, "job") as process:
            await trip()
            found = await timed(trip, count)
            process.terminate()
        runner.cancel()
    return found


async def timed(trip: Callable[[], Awaitable[None]], count: int) -> dict[str, float]:
    for _ in range(count // 10):
        await trip()
    took = []
    cpu = time.thread_time()
    for _ in range(count):
        began = time.perf_counter()
        await trip()
        took.append(time.perf_counter() - began)
    cpu = time.thread_time() - cpu
    took.sort()
    return {"p50_us": took[count // 2] * 1e6, "p99_us": took[int(count * 0.99)] * 1e6, "cpu_us": cpu / count * 1e6}


@asynccontextmanager
async def child(kind: str, url: str, channel: str, what: str) -> AsyncIterator[trio.Process]:
    command = [sys.executable, __file__, "--serve", kind, url, channel, what]
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(trio.run_process, command, check=False))


# -- all of it


def measure(kind: str, url: str, runs: int, count: int) -> dict[str, Any]:
    figures: dict[str, list[dict[str, float]]] = {}
    for _ in range(runs):
        for what, measurement in (("bare", bare), ("bus", bus), ("job", jobs)):
            channel = f"bench-{secrets.token_hex(4)}"
            figures.setdefault(what, []).append(trio.run(measurement, kind, url, channel, count))
            tidy(kind, url, channel)
    found = {
        what: {key: statistics.median(run[key] for run in rows) for key in rows[0]} for what, rows in figures.items()
    }
    row: dict[str, Any] = {"broker": kind, **found}
    row["ratios"] = {what: found[what]["p50_us"] / found["bare"]["p50_us"] for what in ("bus", "job")}
    if kind == "redis":
        row["goal"], row["met"] = f"job < {GOAL:g} x bare", row["ratios"]["job"] < GOAL
    return row


def show(row: dict[str, Any], runs: int) -> None:
    print(f"{row['broker']}, {SIZE} bytes, two processes, medians of {runs}", file=sys.stderr)
    for what in ("bare", "bus", "job"):
        if (found := row.get(what)) is not None:
            times = f"= {row['ratios'][what]:.2f} x" if what in row.get("ratios", {}) else ""
            line = f"  {what:5} round trip p50 {found['p50_us']:6.0f} us {times:9} p99 {found['p99_us']:6.0f} us, CPU here {found['cpu_us']:5.0f} us"
            print(line, file=sys.stderr)
    one_way = [f"{row['bus'][key]:,.0f}" for key in ("messages_per_s", "sent_per_cpu_s", "received_per_cpu_s")]
    print("  one way {} messages/s; per CPU second {} sent and {} received".format(*one_way), file=sys.stderr)
    if "goal" in row:
        print(f"  goal: {row['goal']}: {'reached' if row['met'] else 'MISSED'}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("brokers", nargs="*", default=["redis=redis://127.0.0.1:6379"], help="KIND=URL")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.serve:
        trio.run(serve, *a.serve)
        return 0
    rows = [measure(*broker.split("=", 1), a.runs, a.count) for broker in a.brokers]
    for row in rows:
        show(row, a.runs)
    print(json.dumps(rows, indent=1))
    return 1 if a.strict and not all(row.get("met", True) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
