"""Redis servers for tests: the one at the usual port, and those of a test's own, which it may kill and freeze."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import hiredis
import pytest

HOST = "127.0.0.1"
URL = f"redis://{HOST}:6379"


def fresh_channel() -> str:
    """One that no other test uses, nor another run of the tests."""
    return f"test-{secrets.token_hex(6)}"


def need_redis() -> None:
    """Skip where none listens at the usual port; `nox -s servers` starts it, and CI takes a skip for a failure."""
    with socket.socket() as sock:
        sock.settimeout(1)
        if sock.connect_ex((HOST, 6379)):
            pytest.skip("no Redis listens at 127.0.0.1:6379: `nox -s servers` starts one")


class Client:
    """A plain client with blocking sockets, to look at a server past the library, and to be rude to it."""

    def __init__(self, port: int = 6379, password: str | None = None, context: ssl.SSLContext | None = None) -> None:
        self._sock: socket.socket = socket.create_connection((HOST, port), timeout=5)
        if context is not None:
            self._sock = context.wrap_socket(self._sock, server_hostname="localhost")
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        if password is not None:
            self("AUTH", password)

    def __call__(self, *command: Any) -> Any:
        self._sock.sendall(hiredis.pack_command(command))
        while (reply := self._reader.gets()) is False:
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._reader.feed(data)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def listeners(self, channel: str) -> list[int]:
        """The ids of the connections that are subscribed to something."""
        found = [
            dict(pair.partition("=")[::2] for pair in line.split()) for line in self("CLIENT", "LIST").splitlines()
        ]
        return [int(each["id"]) for each in found if each.get("sub") != "0"]


class RedisServer:
    """A server of the test's own, with nothing kept on disk."""

    def __init__(self, place: Path, *options: str, tls: bool = False) -> None:
        self.place = place
        with socket.socket() as sock:
            sock.bind((HOST, 0))
            self.port: int = sock.getsockname()[1]
        self.url = f"redis://{HOST}:{self.port}"
        port = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        if tls:
            self._make_certificate()
            port += ["--tls-cert-file", f"{place}/server.crt", "--tls-key-file", f"{place}/server.key"]
            port += ["--tls-ca-cert-file", f"{place}/server.crt", "--tls-auth-clients", "no"]
        self._command = ["redis-server", *port, "--bind", HOST, "--save", "", "--appendonly", "no"]
        self._command += ["--dir", str(place), "--unixsocket", f"{place}/redis.sock", *options]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it listens."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        for _ in range(1000):
            with socket.socket() as sock:
                if sock.connect_ex((HOST, self.port)) == 0:
                    return
            assert self.process.poll() is None, "redis-server has ended"
            os.sched_yield()
            signal.sigtimedwait([], 0.01)
        raise AssertionError("redis-server does not listen")

    def kill(self) -> None:
        """As a power cut would end it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def freeze(self) -> None:
        """It keeps its connections, takes new ones (that is the kernel), and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _make_certificate(self) -> None:
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-new",
                    "-x509",
                    "-days",
                    "2",
                    "-nodes",
                    "-newkey",
                    "rsa:2048",
                    "-subj",
                    "/CN=localhost",
                ),
                *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
                *("-out", f"{self.place}/server.crt", "-keyout", f"{self.place}/server.key"),
            ],
            check=True,
            capture_output=True,
        )

    def context(self) -> ssl.SSLContext:
        """One that trusts it."""
        return ssl.create_default_context(cafile=f"{self.place}/server.crt")


@contextmanager
def redis_server(*options: str, tls: bool = False) -> Iterator[RedisServer]:
    """One that runs."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix="redis-") as place:
        server = RedisServer(Path(place), *options, tls=tls)
        server.start()
        try:
            yield server
        finally:
            if server.process is not None:
                server.thaw()
                server.kill()
