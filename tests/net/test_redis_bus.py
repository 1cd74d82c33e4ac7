"""`RedisBus` over a real server: the rules, a server that is killed, frozen and restarted, passwords, TLS, two processes."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio

from net_kit import Note, Shout
from redis_kit import HOST, URL, Client, RedisServer, fresh_channel, need_redis, redis_server
from trio_pipes import Bus, BusError, BusGap, BusMessage, RedisBus
from trio_pipes.testing import check_bus

pytestmark = pytest.mark.server

CHILD = Path(__file__).parent.parent / "redis_child.py"


@pytest.fixture
def channel() -> Iterator[str]:
    """A channel of the test's own; nothing of it is left at the server."""
    need_redis()
    name = fresh_channel()
    yield name
    with Client() as redis:
        redis("DEL", f"{{{name}}}:names", f"{{{name}}}:leases")
        assert redis("PUBSUB", "CHANNELS", f"{name}*") == [], "somebody still listens"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as it:
        yield it


def connection_of(bus: Bus) -> int:
    """The server's id of the connection of a bus: the only one with this local port."""
    stream = bus._link._connection._stream  # type: ignore[attr-defined]
    port = stream.socket.getsockname()[1]
    with Client() as redis:
        for line in redis("CLIENT", "LIST").splitlines():
            found = dict(pair.partition("=")[::2] for pair in line.split())
            if found["addr"] == f"{HOST}:{port}":
                return int(found["id"])
    raise AssertionError("the bus is not connected")


async def test_b2_it_keeps_every_rule(channel: str) -> None:
    async def cut(bus: Bus) -> None:
        if bus._link is not None:  # type: ignore[attr-defined]
            with Client() as redis:
                redis("CLIENT", "KILL", "ID", connection_of(bus))

    async def inject(data: bytes) -> None:
        with Client() as redis:
            assert redis("PUBLISH", channel, data) == 2

    await check_bus(lambda: RedisBus(URL, channel=channel, lease=1.5), cut=cut, inject=inject)


# G21: the peer's reader ended with the connection, its bus went on without, and nobody was told.
async def test_g21_a_server_that_is_killed_and_started_again(server: RedisServer) -> None:
    async with RedisBus(server.url, lease=3.0) as one, RedisBus(server.url, lease=3.0) as two:
        async with two.subscribe("b", Note, buffer=100) as at_b, one.subscribe("a", Note) as at_a:
            await one.send(Note(target="b", n=1))
            assert (await at_b.receive()).n == 1  # type: ignore[attr-defined]
            assert await one.claim(["x"], "me") == {}
            server.kill()
            while one.statistics().connected:  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert f"lost the connection to Redis at {HOST}:{server.port}" in str(one.statistics().last_error)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.send, Note(target="b", n=2))  # waits
                await trio.sleep(0.3)
                server.start()
            with trio.fail_after(10):
                for messages in (at_a, at_b):
                    assert isinstance(await messages.receive(), BusGap)
                for n in (3, 4):
                    await one.send(Note(target="b", n=n))
                seen: list[object] = []
                while not seen or seen[-1] != 4:
                    seen.append(getattr(await at_b.receive(), "n", "gap"))
                assert seen in ([2, 3, 4], ["gap", 3, 4]), (
                    "2 may have gone out before the receiver was back, which it was told"
                )
            assert await one.renew("me") == set(), "what the server has forgotten is told it again"
            assert await two.claim(["x"], "other") == {"x": "me"}


async def test_a_server_that_is_frozen_makes_senders_wait(server: RedisServer) -> None:
    async with RedisBus(server.url, lease=30.0) as one, RedisBus(server.url, lease=30.0) as two:
        async with two.subscribe("b", buffer=5000) as at_b:
            server.freeze()
            sent = 0
            with trio.move_on_after(0.5):
                while True:
                    await one.send(Note(target="b", n=sent))
                    sent += 1
            assert sent == 1000
            server.thaw()
            with trio.fail_after(10):
                assert [(await at_b.receive()).n for _ in range(sent)] == [*range(sent)]  # type: ignore[attr-defined]
        assert (one.statistics().connections, two.statistics().gaps) == (1, 0)


# The connection is given up; what it had taken goes out when the server wakes up, and so does what is sent again.
async def test_a_server_that_is_frozen_for_longer_than_a_third_of_the_lease(server: RedisServer) -> None:
    async with RedisBus(server.url, lease=1.5) as one, RedisBus(server.url, lease=1.5, send_timeout=0.3) as two:
        async with two.subscribe("b", Note, buffer=100) as at_b:
            server.freeze()
            for n in range(50):
                await one.send(Note(target="b", n=n))
            since = trio.current_time()
            while one.statistics().connected or two.statistics().connected:  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert trio.current_time() - since < 0.5 + 0.3
            with pytest.raises(BusError, match="took nothing for 0.3 s: lost the connection to Redis at .*: no answer"):
                await two.send(Note(target="x"))
            server.thaw()
            with trio.fail_after(10):
                while not (one.statistics().connected and two.statistics().connected):  # noqa: ASYNC110
                    await trio.sleep(0.01)
                await one.send(Note(target="b", n=50))
                seen: list[object] = []
                while not seen or seen[-1] != 50:
                    seen.append(getattr(await at_b.receive(), "n", "gap"))
            numbers = [n for n in seen if n != "gap"]
            assert numbers == sorted(set(numbers))  # type: ignore[type-var]
            assert "gap" in seen


async def test_a_client_that_does_not_read_is_thrown_out_by_the_server_and_told(server: RedisServer) -> None:
    with Client(server.port) as redis:
        redis("CONFIG", "SET", "client-output-buffer-limit", "pubsub 200000 200000 1")
        async with (
            RedisBus(server.url) as one,
            RedisBus(server.url) as two,
            two.subscribe("b", Note, buffer=10_000) as at_b,
        ):
            stream = two._link._connection._stream  # type: ignore[union-attr]
            receive = stream.receive_some

            async def late(most: int) -> bytes:
                await trio.sleep(1)
                return bytes(await receive(most))

            stream.receive_some = late  # type: ignore[method-assign]
            await one.send(Note(target="b"))  # it is woken once, and then it is late
            for _ in range(100):
                await one.send(Note(target="b", text="x" * 200_000))
            with trio.fail_after(10):
                while not isinstance(await at_b.receive(), BusGap):
                    pass
            await one.send(Note(target="b", n=-1))
            with trio.fail_after(10):
                while getattr(await at_b.receive(), "n", 0) != -1:
                    pass


@pytest.mark.parametrize("user", ["", "me"])
async def test_password(tmp_path: Path, user: str) -> None:
    with redis_server(
        "--requirepass", "pa:s@s/", *(["--user", "me", "on", ">pa:s@s/", "~*", "&*", "+@all"] if user else [])
    ) as server:
        at = f"{HOST}:{server.port}"
        async with (
            RedisBus(f"redis://{user}:pa%3As%40s%2F@{at}/1") as one,
            RedisBus(f"redis://{user}:pa%3As%40s%2F@{at}/1") as two,
        ):
            async with two.subscribe("b") as at_b:
                await one.send(Note(target="b", n=1))
                assert (await at_b.receive()).n == 1  # type: ignore[attr-defined]
        for wrong in (f"redis://{user}:wrong@{at}", f"redis://{at}"):
            with pytest.raises(BusError, match=f"cannot connect to Redis at {at}: (WRONGPASS|NOAUTH)"):
                async with RedisBus(wrong):
                    pass


# The line of the page, word for word.
async def test_a_user_needs_no_more_than_the_page_says() -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "bus-brokers.md"
    (line,) = re.findall(r"^user calls (on (?:.|\n  )+)$", page.read_text(), re.MULTILINE)
    with redis_server("--user", "calls", *line.split()) as server:
        url = f"redis://calls:secret@{HOST}:{server.port}"
        async with RedisBus(url, channel="calls") as one, RedisBus(url, channel="calls") as two:
            async with two.subscribe("b/c", Note) as messages:
                await one.send(Note(target="b/c", n=1))
                await one.send(Note(n=2))
                assert [(await messages.receive()).n for _ in range(2)] == [1, 2]  # type: ignore[attr-defined]
            assert await one.claim(["a"], "me") == {}
            assert await one.renew("me") == set()
            assert await two.claim(["a"], "other") == {"a": "me"}
            await one.release(None, "me")
        with pytest.raises(BusError, match="lost the connection to Redis at .*: NOPERM"):
            async with RedisBus(url, channel="others"):
                pass


async def test_tls() -> None:
    with redis_server("--requirepass", "pw", tls=True) as server:
        url = f"rediss://:pw@localhost:{server.port}"
        context = server.context()
        async with RedisBus(url, ssl_context=context) as one, RedisBus(url, ssl_context=context) as two:
            assert repr(one).count("(TLS)") == 1
            async with two.subscribe("b", buffer=300) as at_b:
                for n in range(300):
                    await one.send(Note(target="b", n=n, text="x" * 5000))
                with trio.fail_after(10):
                    assert [(await at_b.receive()).n for _ in range(300)] == [*range(300)]  # type: ignore[attr-defined]
        with pytest.raises(BusError, match="(?i)certificate"):
            async with RedisBus(url):  # nobody vouches for it
                pass
        with pytest.raises(BusError, match="(?i)closed|not of Redis|reset"):
            async with RedisBus(f"redis://:pw@localhost:{server.port}"):
                pass


async def test_a_unix_socket(server: RedisServer) -> None:
    async with (
        RedisBus(f"unix://{server.place}/redis.sock") as one,
        RedisBus(server.url) as two,
        two.subscribe("b") as at_b,
    ):
        await one.send(Note(target="b", n=1))
        assert (await at_b.receive()).n == 1  # type: ignore[attr-defined]
    with pytest.raises(BusError, match=r"cannot connect to Redis at /no/such\.sock: .*No such file"):
        async with RedisBus("unix:///no/such.sock"):
            pass


async def test_two_databases_do_not_hear_each_other(channel: str) -> None:
    async with RedisBus(f"{URL}/0", channel=channel) as one, RedisBus(f"{URL}/1", channel=channel) as two:
        async with one.subscribe("a") as at_a, two.subscribe("a") as also_a:
            await one.send(Note(n=1))
            await two.send(Note(n=2))
            await trio.sleep(0.1)
            assert (await at_a.receive()).n == 1  # type: ignore[attr-defined]
            assert (await also_a.receive()).n == 2  # type: ignore[attr-defined]
            assert await one.claim(["x"], "me") == await two.claim(["x"], "other") == {}
        await two.release(None, "other")


async def test_topics_of_one_channel_are_not_another_channel(channel: str) -> None:
    async with (
        RedisBus(URL, channel=channel) as one,
        RedisBus(URL, channel=f"{channel}:a") as two,
        two.subscribe("b") as at_b,
    ):
        await one.send(Note(target="a"))
        await one.send(Note(target="a:b"))
        await trio.sleep(0.1)
        assert (at_b.statistics().waiting, two.statistics().unreadable) == (0, 0)


# What the dead leave behind does not grow, and when nobody is left it goes.
async def test_names_of_the_dead_are_forgotten_by_the_server(channel: str) -> None:
    async with RedisBus(URL, channel=channel, lease=1.0) as one:
        for n in range(200):
            await one.claim([f"dead-{n}"], f"runner-{n}")
        await trio.sleep(1.1)
        for n in range(100):
            await one.claim([f"name-{n}"], "alive")
        with Client() as redis:
            assert redis("HLEN", f"{{{channel}}}:names") < 130
            assert redis("ZCARD", f"{{{channel}}}:leases") == 1
            assert 0 < redis("PTTL", f"{{{channel}}}:names") <= 100_000
        assert await one.claim([f"many-{n}" for n in range(20_000)], "alive") == {}
        await one.release(None, "alive")
        with Client() as redis:
            assert redis("HLEN", f"{{{channel}}}:names") == 0


async def test_subscribers_of_many_names(channel: str) -> None:
    async with RedisBus(URL, channel=channel) as one, RedisBus(URL, channel=channel) as two:
        with ExitStack() as stack:
            for n in range(500):
                messages = await two.subscribe(f"w{n}").__aenter__()
                stack.callback(messages.close)
            await one.send(Note(target="w499", n=1))
            assert (await messages.receive()).n == 1  # type: ignore[attr-defined]
            with Client() as redis:
                redis("CLIENT", "KILL", "ID", connection_of(two))
            assert isinstance(await messages.receive(), BusGap)
            await one.send(Note(target="w499", n=2))
            assert (await messages.receive()).n == 2  # type: ignore[attr-defined]
            assert len(redis_channels(channel)) == 501
        await trio.sleep(0.1)
        assert len(redis_channels(channel)) == 1


def redis_channels(channel: str) -> list[str]:
    with Client() as redis:
        found: list[str] = redis("PUBSUB", "CHANNELS", f"{channel}*")
    return found


async def test_a_thousand_random_cancels(channel: str) -> None:
    rng = random.Random(7)
    sure: list[int] = []
    async with RedisBus(URL, channel=channel) as one, RedisBus(URL, channel=channel) as two:
        async with two.subscribe("b", Note, buffer=10_000) as at_b, two.subscribe("c", Note, buffer=10_000) as at_c:
            for n in range(1000):
                with trio.move_on_after(rng.random() * 0.0005):
                    match rng.randrange(5):
                        case 0:
                            await one.send(Note(target="b", n=n))
                            sure.append(n)
                            await trio.sleep_forever()
                        case 1:
                            await at_c.receive()
                        case 2:
                            async with one.subscribe(f"t{n % 5}") as messages:
                                await messages.receive()
                        case 3:
                            await one.claim([f"n{n % 3}"], f"o{n % 2}")
                        case _:
                            await one.renew("o1")
            await one.send(Note(target="b", n=-1))
            seen: list[int] = []
            with trio.fail_after(10):
                while not seen or seen[-1] != -1:
                    message: BusMessage = await at_b.receive()
                    assert isinstance(message, Note)
                    seen.append(message.n)
            seen.pop()
            assert seen == sorted(set(seen))
            assert set(sure) <= set(seen)
            assert (one.statistics().connections, two.statistics().connections) == (1, 1), "none was poisoned"
        for owner in ("o0", "o1"):
            await one.release(None, owner)


async def test_two_processes(channel: str) -> None:
    """Each message there and back; the other one is killed, and comes again."""
    async with RedisBus(URL, channel=channel) as bus, bus.subscribe("parent", Note, Shout, buffer=1000) as messages:
        for life in range(2):
            async with trio.open_nursery() as nursery:
                run = partial(trio.run_process, [sys.executable, str(CHILD), URL, channel], check=False)
                child = await nursery.start(run)
                with trio.fail_after(30):
                    ready = await messages.receive()
                    assert isinstance(ready, Shout)
                    for n in range(300):
                        await bus.send(Note(source="parent", target="child", n=n))
                    for n in range(300):
                        assert (await messages.receive()).n == n  # type: ignore[attr-defined]
                if life == 0:
                    child.kill()
                else:
                    await bus.send(Note(source="parent", target="child", n=-1))


# hiredis is C and says nothing; other clients were seen to write to stdout.
def test_nothing_is_printed(channel: str) -> None:
    code = f"""
import trio
from trio_pipes import RedisBus
async def main():
    async with RedisBus({URL!r}, channel={channel!r}) as bus:
        async with bus.subscribe("a"):
            await bus.claim(["x"], "me")
            await bus.release(None, "me")
trio.run(main)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
