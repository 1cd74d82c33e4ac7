"""What a Redis URL says, and that no text repeats its password."""

import logging
import ssl

import pytest
import trio
from hypothesis import given, strategies as st

from trio_pipes import BusError, ConfigurationError, RedisBus
from trio_pipes.net._redis_url import redis_address

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("h", 6379, "", False, "default", None, 0)),
        ("redis://h:7000/3", ("h", 7000, "", False, "default", None, 3)),
        ("redis://:pw@h?db=2", ("h", 6379, "", False, "default", "pw", 2)),
        ("rediss://me:p%40%2F@[::1]:7000", ("::1", 7000, "", True, "me", "p@/", 0)),
        ("unix:///run/redis.sock?db=1", ("", 6379, "/run/redis.sock", False, "default", None, 1)),
        ("unix://me:pw@/run/redis.sock", ("", 6379, "/run/redis.sock", False, "me", "pw", 0)),
    ],
)
def test_what_a_url_says(url: str, expected: tuple[object, ...]) -> None:
    found = redis_address(url)
    assert (found.host, found.port, found.path, found.tls, found.user, found.password, found.database) == expected


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "localhost",
            "http://h",
            "redis://",
            "redis:///3",
            "redis://h/x",
            "redis://h:x",
            "redis://h:99999",
            "redis://h?x=1",
        ),
        *("redis://h#x", "unix://h/x", "unix://", "redis://h/-1", "redis://[::1", None, 3, b"redis://h"),
    ],
)
def test_urls_that_cannot_work(url: object) -> None:
    with pytest.raises(ConfigurationError, match=r"RedisBus\(url=.*expected redis://"):
        RedisBus(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}@h",
        f"redis://me:{SECRET}@h:port",
        f"redis://me:{SECRET}/#@h",
        f"redis://me:{SECRET}@[::1",
        f"redis://me:{SECRET}@h/x?password={SECRET}",
        f"redis://h?password={SECRET}",
        f"redis:me:{SECRET}@h",
        f"{SECRET}",
    ],
)
def test_a_password_in_a_wrong_url_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisBus(url)
    while caught.value is not None:
        assert SECRET not in str(caught.value)
        break
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(password=st.text(min_size=8, max_size=30).filter(lambda text: not text.isascii()))
def test_any_password_can_be_given_and_is_in_no_repr(password: str) -> None:
    from urllib.parse import quote

    try:
        url = f"redis://me:{quote(password, safe='')}@h"
    except UnicodeEncodeError:
        return
    assert redis_address(url).password == password
    bus = RedisBus(url)
    for text in (repr(bus), str(bus.statistics()), repr(redis_address(url))):
        assert password not in text
        assert quote(password, safe="") not in text


async def test_the_password_is_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(BusError, match=r"cannot connect to Redis at 127\.0\.0\.1:1: .*[Rr]efused") as caught:
            async with RedisBus(f"redis://me:{SECRET}@127.0.0.1:1"):
                pass
    import traceback

    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caplog.text


async def test_a_server_that_is_no_redis_is_told() -> None:
    async def answers(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answers, [listener])
        port = listener.socket.getsockname()[1]
        with pytest.raises(BusError, match="what came is not of Redis"):
            async with RedisBus(f"redis://127.0.0.1:{port}"):
                pass
        nursery.cancel_scope.cancel()


async def test_a_server_that_hangs_up_is_told() -> None:
    async def hangs_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, hangs_up, [listener])
        with pytest.raises(BusError, match="the server closed it"):
            async with RedisBus(f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"):
                pass
        nursery.cancel_scope.cancel()


async def test_an_old_server_is_told() -> None:
    async def answers(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answers, [listener])
        with pytest.raises(BusError, match="version 6.2 or later"):
            async with RedisBus(f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"):
                pass
        nursery.cancel_scope.cancel()


def test_a_context_without_tls_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rediss://"):
        RedisBus("redis://h", ssl_context=ssl.create_default_context())
    with pytest.raises(ConfigurationError, match="ssl_context"):
        RedisBus("rediss://h", ssl_context=True)  # type: ignore[arg-type]
