"""Run a command with Redis and PostgreSQL listening at their usual local ports: `python with_servers.py COMMAND...`.

A server that is listening already is used as it is; one that is not is started with nothing kept on disk, and stopped
afterwards. Only what was started here is stopped. PostgreSQL refuses to run as root, so root hands it to user `postgres`.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE = 30.0  # seconds for a server to listen; a cold PostgreSQL on a busy machine takes about three


def is_listening(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def program(name: str) -> str:
    """The path of a server program; Debian keeps PostgreSQL's off the path."""
    found = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    for path in filter(None, found):
        return path
    sys.exit(f"{name} is not installed; the server tests need it, or a server that listens at its usual port")


@contextmanager
def started(name: str, port: int, command: list[str], user: str | None = None) -> Iterator[None]:
    """Start a server, wait until it listens, and stop it on leaving."""
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, user=user, stdout=log, stderr=log) as server:
        try:
            give_up = time.monotonic() + PATIENCE
            while not is_listening(port):
                if server.poll() is not None or time.monotonic() > give_up:
                    log.seek(0)
                    sys.exit(f"{name} does not listen at port {port}:\n{log.read().decode()}")
                time.sleep(0.1)  # noqa: TID251 # a script without Trio
            print(f"{name}: started at port {port}", flush=True)
            yield
        finally:
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast way out: it does not wait for clients


@contextmanager
def redis() -> Iterator[None]:
    port = 6379
    if is_listening(port):
        print(f"redis: one is listening at port {port}, used as it is", flush=True)
        yield
        return
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with started("redis", port, command):
        yield


@contextmanager
def postgres() -> Iterator[None]:
    port = 5432
    if is_listening(port):
        print(f"postgresql: one is listening at port {port}, used as it is", flush=True)
        yield
        return
    user = "postgres" if os.name == "posix" and os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as place:
        if user is not None:
            shutil.chown(place, user)
        data = f"{place}/data"
        subprocess.run(
            [program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            user=user, check=True, stdout=subprocess.DEVNULL, cwd=place,
        )  # fmt: skip
        command = [program("postgres"), "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", place, "-F"]
        with started("postgresql", port, command, user):
            make = [program("createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "test"]
            give_up = time.monotonic() + PATIENCE
            while subprocess.run(make, check=False).returncode:  # it listens a moment before it answers
                if time.monotonic() > give_up:
                    sys.exit("postgresql does not let its database be made")
                time.sleep(0.1)  # noqa: TID251 # a script without Trio
            yield


def main() -> int:
    with ExitStack() as stack:
        stack.enter_context(redis())
        stack.enter_context(postgres())
        return subprocess.run(sys.argv[1:], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
