"""Two buses joined over a real websocket: what crosses, what does not, and what happens when the link breaks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from trio_pipes import (
    BaseWorker,
    BusError,
    BusGap,
    ConfigurationError,
    DataMessage,
    JobError,
    MemoryBus,
    PipelineRunner,
    SystemMessage,
    WorkerChange,
    job,
)
from trio_pipes._base import Codec, on_wire
from trio_pipes.net import WebSocketProxyClient, WebSocketProxyServer
from trio_pipes.net._proxy._link import Counts, Link
from trio_pipes.net._proxy._outbox import MOST_URGENT
from trio_pipes.net._proxy._rules import make_rules
from trio_pipes.net._proxy._server import MOST_LOGGED
from trio_pipes.net._proxy._words import PROTOCOL, Gap, Hello, Names

SECRET = "s3cret-of-the-proxy"


@on_wire("tests.proxy.note")
@attrs.define(eq=False)
class Note(DataMessage):
    n: int
    body: bytes = b""


@on_wire("tests.proxy.alarm")
@attrs.define(eq=False)
class Alarm(SystemMessage):
    n: int


@on_wire("tests.proxy.secret")
@attrs.define(eq=False)
class Secret(DataMessage):
    n: int


class Inbox:
    """A worker that keeps what it gets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.runner: Any = None
        self.got: list[Any] = []
        self.gaps = 0
        self._more = trio.Event()
        self._scope = trio.CancelScope()

    def attach(self, runner) -> None:
        self.runner = runner

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        with self._scope:
            async with self.runner.bus.subscribe(self.name, buffer=10_000) as messages:
                task_status.started()
                async for message in messages:
                    if isinstance(message, BusGap):
                        self.gaps += 1
                    elif isinstance(message, Note | Alarm | Secret):
                        self.got.append(message)
                    self._more.set()
                    self._more = trio.Event()

    async def has(self, count: int) -> list[int]:
        with trio.fail_after(20):
            while len(self.got) < count:
                await self._more.wait()
        return [message.n for message in self.got]

    async def has_gaps(self, count: int) -> None:
        with trio.fail_after(20):
            while self.gaps < count:
                await self._more.wait()

    async def send(self, message) -> bool:
        message.source = self.name
        return await self.runner.bus.send(message)

    def stop_when_done(self, reason=None) -> None:
        self._scope.cancel()

    cancel = stop_when_done


@attrs.define(eq=False)
class Sides:
    far: PipelineRunner
    near: PipelineRunner
    server: WebSocketProxyServer
    client: WebSocketProxyClient
    researcher: Inbox
    front: Inbox


@asynccontextmanager
async def joined(wait: bool = True, **rules: Any) -> AsyncIterator[Sides]:
    accept = rules.pop("accept", (Note, Alarm))
    forward = rules.pop("forward", ())
    far = PipelineRunner(name="far", bus=rules.pop("bus", None), handle_sigint=False)
    near = PipelineRunner(name="near", handle_sigint=False)
    researcher, front = Inbox("researcher"), Inbox("front")
    server = WebSocketProxyServer(
        port=0, token=SECRET, expose=["researcher"], reach=["front"], accept=accept, forward=forward
    )
    far.add_workers(researcher, Inbox("hidden"), server)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(20):
            await nursery.start(far.run)
        client = WebSocketProxyClient(
            f"ws://127.0.0.1:{server.port}/",
            token=SECRET,
            expose=["front"],
            reach=["researcher"],
            accept=accept,
            forward=forward,
        )
        near.add_workers(front, client)
        with trio.fail_after(20):
            await nursery.start(near.run)
            if wait:
                await near.registry.wait_ready("researcher")
                await far.registry.wait_ready("front")
        yield Sides(far, near, server, client, researcher, front)
        near.cancel()
        far.cancel()


async def test_b9_messages_for_names_that_are_exposed_cross_in_order() -> None:
    async with joined() as sides:
        for n in range(200):
            assert await sides.front.send(Note(n, target="researcher"))
        assert await sides.researcher.has(200) == list(range(200))
        assert {message.source for message in sides.researcher.got} == {"front"}
        await sides.researcher.send(Note(7, target="front"))
        assert await sides.front.has(1) == [7]
        assert not await sides.front.send(Note(0, target="hidden"))  # nobody stands here for that one
        statistics = sides.client.statistics()
        assert (statistics.links, statistics.sent, statistics.received) == (1, 200, 1)
        assert sides.server.statistics().refused_here == 0


async def test_b9_only_broadcasts_that_are_forwarded_cross_and_none_comes_back() -> None:
    async with joined(forward=(Note,)) as sides:
        await sides.front.send(Alarm(1))
        await sides.front.send(Note(2))
        assert await sides.researcher.has(1) == [2]
        await sides.researcher.send(Note(3))
        assert await sides.front.has(1) == [3]
        await sides.front.send(Note(4, target="researcher"))
        assert await sides.researcher.has(2) == [2, 4]
        assert [message.n for message in sides.front.got] == [3]


async def test_b9_what_is_not_accepted_is_refused_told_and_counted(caplog) -> None:
    caplog.set_level(logging.WARNING, "trio_pipes")
    async with joined(accept=(Note,)) as sides:
        for n in range(3):
            await sides.front.send(Secret(n, target="researcher"))
        await sides.front.send(Note(9, target="researcher"))
        assert await sides.researcher.has(1) == [9]
        assert sides.server.statistics().refused_here == 3
        await sides.researcher.send(Note(1, target="front"))
        await sides.front.has(1)
        assert sides.client.statistics().refused_there == 3
    told = [record.getMessage() for record in caplog.records if "not accepted" in record.getMessage()]
    assert len(told) == 2  # once at each end
    assert "a Secret is not accepted here" in told[0]


async def test_b9_a_wrong_token_fails_the_client_and_is_shown_nowhere(caplog) -> None:
    runner = PipelineRunner(handle_sigint=False)
    server = WebSocketProxyServer(port=0, token=SECRET, accept=[Note], name="gate")
    runner.add_workers(server)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(20):
            await nursery.start(runner.run)
            url = f"ws://127.0.0.1:{server.port}/"
            client = WebSocketProxyClient(url, token="another-secret", accept=[Note])
            with pytest.raises(BusError, match="HTTP 401") as caught:
                await PipelineRunner(handle_sigint=False).run(client)
            for header in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {SECRET}x"}):
                with pytest.raises(InvalidStatus):
                    async with connect(url, additional_headers=header, proxy=None):
                        pass
        assert server.statistics().links == 0
        server._strangers = MOST_LOGGED  # from now on they are only turned away
        said = len(caplog.records)
        with pytest.raises(InvalidStatus):
            async with connect(url, proxy=None):
                pass
        assert len(caplog.records) == said
        runner.cancel()
    shown = f"{caught.value!r} {client!r} {server!r} {caplog.text}"
    assert SECRET not in shown
    assert "another-secret" not in shown


async def test_b9_the_names_are_gone_with_the_link_and_back_with_it() -> None:
    async with joined() as sides:
        async with sides.near.registry.watch("researcher") as events:
            assert (await anext(events)).kind is WorkerChange.READY
            (scope,) = [one.scope for one in sides.server._links.values()]
            scope.cancel()
            with trio.fail_after(20):
                assert (await anext(events)).kind is WorkerChange.GONE
                assert (await anext(events)).kind is WorkerChange.BACK
        await sides.front.has_gaps(1)
        await sides.researcher.has_gaps(1)
        await sides.front.send(Note(1, target="researcher"))
        assert await sides.researcher.has(1) == [1]


async def test_b9_a_worker_that_ends_is_gone_at_the_other_end() -> None:
    async with joined() as sides:
        async with sides.near.registry.watch("researcher") as events:
            await anext(events)
            sides.researcher.cancel()
            with trio.fail_after(20):
                assert (await anext(events)).kind is WorkerChange.GONE
        assert not await sides.front.send(Note(1, target="researcher"))


async def test_b9_the_client_waits_for_a_server_that_is_not_there_yet() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    near = PipelineRunner(WebSocketProxyClient(f"ws://127.0.0.1:{port}/", token=SECRET, accept=[Note], name="link"))
    far = PipelineRunner(WebSocketProxyServer(port=port, token=SECRET, accept=[Note]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.run)
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.start_soon(far.run)
        with trio.fail_after(20):
            await near.wait_ready("link")
        near.cancel()
        far.cancel()


async def test_b9_a_port_that_is_taken_fails_the_server() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0]:
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await PipelineRunner().run(WebSocketProxyServer(port=port, token=SECRET, accept=[Note]))


# A peer that knows the token and nothing else gets nowhere, and harms nobody.
async def test_b9_hostile_words(caplog) -> None:
    codec = Codec()
    async with joined() as sides:
        url = f"ws://127.0.0.1:{sides.server.port}/"
        header = {"Authorization": f"Bearer {SECRET}"}

        async def ends(*words: bytes | str) -> None:
            """The server closes it."""
            async with connect(url, additional_headers=header, proxy=None) as connection:
                for word in words:
                    await connection.send(word)
                with trio.fail_after(20), pytest.raises(ConnectionClosed):
                    while True:
                        await connection.recv()

        await ends(b"\x00\xff")
        await ends("text")
        await ends(codec.encode(Names(["front"])))
        await ends(codec.encode(Hello(PROTOCOL + 1, "x", "y")))
        await ends(codec.encode(Hello(PROTOCOL, "x", sides.far.bus.id)))
        await ends(codec.encode(Hello(PROTOCOL, "x", "y")), b"x" * 2_000_000)

        async with connect(url, additional_headers=header, proxy=None) as connection:
            await connection.send(codec.encode(Hello(PROTOCOL, "evil-1234", "y")))
            for message in (
                b"\x93",
                codec.encode(Note(1, source="researcher")),  # as if from here
                codec.encode(Note(2, source="evil-1234", target="hidden")),
                codec.encode(Secret(3, source="evil-1234", target="researcher")),
                codec.encode(Names(["researcher", "hidden", "a/b", ""])),
                codec.encode(Hello(PROTOCOL, "front", "y")),
                codec.encode(Note(4, source="evil-1234", target="researcher")),
            ):
                await connection.send(message)
            assert await sides.researcher.has(1) == [4]
        assert sides.server.statistics().refused_here == 5
        await sides.front.send(Note(5, target="researcher"))
        assert await sides.researcher.has(2) == [4, 5]
        assert "evil" not in sides.far.registry
        assert sides.far.registry.get("hidden").kind == "Inbox"


# More than the link keeps: the sender's messages wait in the subscription of the one that stands in.
async def test_b9_large_messages_come_through() -> None:
    async with joined() as sides:
        for n in range(20):
            await sides.front.send(Note(n, bytes(900_000), target="researcher"))
        assert await sides.researcher.has(20) == list(range(20))
        assert sides.client.statistics().lost == 0


class StuckWire:
    """Says hello, exposes the researcher, and takes nothing until it is told to."""

    def __init__(self) -> None:
        codec = Codec()
        self.words = [codec.encode(Hello(PROTOCOL, "far-1234", "y")), codec.encode(Names(["researcher"]))]
        self.taken: list[Any] = []
        self.may_take = trio.Event()
        self.closed = trio.Event()

    async def send(self, data: bytes) -> None:
        word = Codec().decode(data)
        if isinstance(word, Note):
            await self.may_take.wait()
        self.taken.append(word)
        if isinstance(word, Note) and word.n == 2_000:
            self.closed.set()

    async def receive(self) -> bytes | None:
        if self.words:
            return self.words.pop(0)
        await self.closed.wait()
        return None


# Urgent messages do not wait and are not dropped, so an end that does not read is not written to for ever.
async def test_b9_a_link_whose_other_end_does_not_read_is_closed(autojump_clock, caplog) -> None:
    front, wire = Inbox("front"), StuckWire()
    runner = PipelineRunner(front, handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        link = Link("test", runner, make_rules("test", [], ["researcher"], [], []), Codec(), Counts())
        await link.meet(wire)
        over = trio.Event()

        async def serve() -> None:
            await link.serve(wire, trio.TASK_STATUS_IGNORED)
            over.set()

        nursery.start_soon(serve)
        await runner.registry.wait_ready("researcher")
        await front.send(Note(0, target="researcher"))  # at which the wire gets stuck
        for n in range(MOST_URGENT + 2):
            assert not over.is_set()
            await front.send(Alarm(n, target="researcher"))
            if n % 1_000 == 0:
                await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(10):
            await over.wait()
        runner.cancel()
    assert "does not read" in caplog.text


# What does not fit while the link is slow is dropped, oldest first, counted, and told at the other end.
async def test_b9_a_flood_is_dropped_and_told(autojump_clock) -> None:
    front, wire, counts = Inbox("front"), StuckWire(), Counts()
    runner = PipelineRunner(front, handle_sigint=False)
    rules = make_rules("test", [], ["researcher"], [], [])
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        link = Link("test", runner, rules, Codec(), counts)
        assert await link.meet(wire) == "far-1234"
        nursery.start_soon(link.serve, wire, trio.TASK_STATUS_IGNORED)
        await runner.registry.wait_ready("researcher")
        for n in range(2_001):
            await front.send(Note(n, bytes(8_192), target="researcher"))
        await trio.testing.wait_all_tasks_blocked()
        wire.may_take.set()
        await wire.closed.wait()
        runner.cancel()
    numbers = [word.n for word in wire.taken if isinstance(word, Note)]
    told = sum(word.missed for word in wire.taken if isinstance(word, Gap))
    assert told == counts.lost == 2_001 - len(numbers) > 1_000
    assert numbers == sorted(set(numbers))


async def test_b9_what_is_too_large_is_told_where_it_was_sent(caplog) -> None:
    async with joined() as sides:
        await sides.front.send(Note(1, bytes(2_000_000), target="researcher"))
        await sides.front.send(Note(2, target="researcher"))
        assert await sides.researcher.has(1) == [2]
        assert sides.client.statistics().lost == 1
    assert "2,000,0" in caplog.text


# A bus that takes nothing for a while ended the whole end of the proxy, and what runs beside it.
async def test_b9_a_bus_that_does_not_take_a_message_loses_that_one_and_not_the_link(caplog) -> None:
    class Moody(MemoryBus):
        away = False

        async def send(self, message) -> bool:
            if self.away:
                raise BusError("nobody takes anything")
            return await super().send(message)

    bus = Moody()
    async with joined(bus=bus) as sides:
        bus.away = True
        await sides.front.send(Note(1, target="researcher"))
        with trio.fail_after(20):
            while not sides.client.statistics().refused_there:  # noqa: ASYNC110  (a count, of which nobody tells)
                await trio.sleep(0.01)
        bus.away = False
        await sides.front.send(Note(2, target="researcher"))
        assert await sides.researcher.has(1) == [2]
        assert sides.server.statistics().lost == 1
    assert "nobody takes anything" in caplog.text


GOOD = {"token": SECRET, "accept": [Note]}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"host": ""}, "host=''"),
        ({"host": "0.0.0.0"}, "ssl_context"),
        ({"port": -1}, "port=-1"),
        ({"port": 70_000}, "port=70000"),
        ({"port": "80"}, "port='80'"),
        ({"token": ""}, "token"),
        ({"token": "two words"}, "token"),
        ({"token": 5}, "token"),
        ({"accept": [int]}, "accept"),
        ({"accept": Note}, "accept"),
        ({"accept": [BusGap]}, "BusGap never leaves"),
        ({"forward": [str]}, "forward"),
        ({"expose": "name"}, "expose"),
        ({"expose": ["Worker#1"]}, "expose"),
        ({"reach": ["a/b"]}, "reach"),
        ({"reach": ["a"], "expose": ["a"]}, "both ends"),
        ({"name": ""}, "name=''"),
    ],
)
def test_bad_servers_are_refused(arguments, named) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        WebSocketProxyServer(**{**GOOD, **arguments})
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize("url", ["", None, "http://x/", "ws://", "ws://u:p@localhost/", "ws://localhost:99999/", 5])
def test_bad_urls_are_refused(url) -> None:
    with pytest.raises(ConfigurationError, match="url"):
        WebSocketProxyClient(url, **GOOD)


def test_a_token_does_not_cross_a_network_in_the_open() -> None:
    with pytest.raises(ConfigurationError, match="wss://"):
        WebSocketProxyClient("ws://example.org/", **GOOD)
    WebSocketProxyClient("wss://example.org/", **GOOD)
    WebSocketProxyClient("ws://example.org/", plain=True, **GOOD)


class Researcher(BaseWorker):
    """Answers, streams, waits for ever."""

    def __init__(self) -> None:
        super().__init__("researcher")
        self.cancelled = trio.Event()

    @job("double")
    async def double(self, request):
        await request.update("half done")
        return 2 * request.payload

    @job("fail")
    async def fail(self, request):
        raise ValueError("no such paper")

    @job("wait")
    async def wait(self, request):
        try:
            await request.update("waiting")
            await trio.sleep_forever()
        finally:
            self.cancelled.set()


@asynccontextmanager
async def office_and_cloud() -> AsyncIterator[tuple[Researcher, PipelineRunner, WebSocketProxyServer]]:
    researcher = Researcher()
    server = WebSocketProxyServer(port=0, token=SECRET, expose=["researcher"])
    office = PipelineRunner(researcher, server, handle_sigint=False)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(20):
            await nursery.start(office.run)
            client = WebSocketProxyClient(f"ws://127.0.0.1:{server.port}/", token=SECRET, reach=["researcher"])
            cloud = PipelineRunner(client, handle_sigint=False)
            await nursery.start(cloud.run)
        yield researcher, cloud, server
        cloud.cancel()
        office.cancel()


async def test_b9_jobs_cross_with_their_updates_results_and_errors() -> None:
    async with office_and_cloud() as (_, cloud, _server):
        async with cloud.job("researcher", "double", 21, timeout=20) as asked:
            assert [update async for update in asked] == ["half done"]
            assert await asked.result() == 42
        async with cloud.job("researcher", "fail", timeout=20) as asked:
            with pytest.raises(JobError, match="no such paper") as caught:
                await asked.result()
        assert "ValueError" in caught.value.remote_traceback


async def test_b9_leaving_a_job_cancels_it_at_the_other_end() -> None:
    async with office_and_cloud() as (researcher, cloud, _):
        async with cloud.job("researcher", "wait", timeout=20) as asked:
            assert await anext(aiter(asked)) == "waiting"
        with trio.fail_after(20):
            await researcher.cancelled.wait()


async def test_b9_a_broken_link_ends_jobs_at_both_ends() -> None:
    async with office_and_cloud() as (researcher, cloud, server):
        async with cloud.job("researcher", "wait", timeout=60) as asked:
            assert await anext(aiter(asked)) == "waiting"
            (link,) = server._links.values()
            link.scope.cancel()
            with trio.fail_after(20):
                with pytest.raises(JobError) as caught:
                    await asked.result()
                assert caught.value.status == "gone"
                await researcher.cancelled.wait()
        with trio.fail_after(20):  # and it is back
            async with cloud.job("researcher", "double", 1, timeout=20) as asked:
                assert await asked.result() == 2


# Who asks need not be known at the other end: answers go to its runner.
async def test_b9_any_worker_here_may_ask_for_jobs_there() -> None:
    class Asker(BaseWorker):
        async def on_activated(self, args: object) -> None:
            async with self.job("researcher", "double", 4, timeout=20) as asked:
                self.answer = await asked.result()
            self.stop_when_done()

    async with office_and_cloud() as (_, cloud, _server):
        asker = Asker("asker")
        cloud.add_workers(asker)
        with trio.fail_after(20):
            await asker.wait_finished()
        assert asker.answer == 8


async def test_b9_so_may_a_worker_of_another_runner_on_this_bus() -> None:
    async with office_and_cloud() as (_, cloud, _server):
        other = PipelineRunner(bus=cloud.bus, handle_sigint=False)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: other.run(auto_end=False, task_status=task_status))
            async with other.job("researcher", "double", 5, timeout=20) as asked:
                assert await asked.result() == 10
            other.cancel()


async def test_b9_a_job_that_is_not_let_in_is_refused_at_once() -> None:
    async with joined(accept=(Note,)) as sides:
        async with sides.near.job("researcher", "double", 4, timeout=20) as asked:
            with pytest.raises(JobError) as caught:
                await asked.result()
    assert caught.value.status == "refused"
    assert "not accepted" in str(caught.value)
