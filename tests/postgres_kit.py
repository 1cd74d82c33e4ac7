"""PostgreSQL for tests: the server at the usual port, and clusters of a test's own that can be killed and stopped."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from with_servers import PATIENCE, is_listening, program

DSN = "postgresql://postgres@127.0.0.1:5432/test"
PASSWORD = "gr&ün/es:Gehei%m"
PASSWORD_IN_URL = "gr%26%C3%BCn%2Fes%3AGehei%25m"


def need_postgres() -> None:
    """Skip where none listens at the usual port; `nox -s servers` starts it, and CI takes a skip for a failure."""
    if not is_listening(5432):
        pytest.skip("no PostgreSQL listens at 127.0.0.1:5432: `nox -s servers` starts one")


def free_port() -> int:
    """One that stays free while its server is down: not of those that the system gives to whoever connects."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


class Cluster:
    """A PostgreSQL server with a port and files of its own. Nothing is synced to disk, so it starts quickly."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data = place / "data"
        self.port = free_port()
        self.user = "postgres" if os.geteuid() == 0 else None
        self.server: subprocess.Popen[bytes] | None = None
        self.log = place / "log"
        (place / "password").write_text(PASSWORD)
        self.give(place)
        self.give(place / "password")
        self.run(
            *(program("initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"),
            f"--pwfile={place / 'password'}",
            "--no-instructions",
        )

    def give(self, path: Path) -> None:
        if self.user is not None:
            shutil.chown(path, self.user, self.user)

    def run(self, *command: str) -> None:
        subprocess.run(
            command, user=self.user, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.place
        )

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def dsn_of(self, user: str, password: str = PASSWORD_IN_URL, **more: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in more.items())
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/postgres?{query}"

    def start(self, *options: str) -> None:
        command = [program("postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1"]
        command += ["-k", str(self.place), "-F"]
        give_up = time.monotonic() + PATIENCE
        while self.server is None or self.server.poll() is not None or not self.answers():
            assert time.monotonic() < give_up, self.log.read_text()
            if self.server is None or self.server.poll() is not None:
                # One that was killed leaves children, whose memory is in its successor's way until they have noticed.
                with self.log.open("ab") as log:
                    self.server = subprocess.Popen(
                        [*command, *options], user=self.user, stdout=log, stderr=log, cwd=self.place
                    )
            time.sleep(0.02)  # noqa: TID251 # a helper without Trio

    def answers(self) -> bool:
        if not is_listening(self.port):
            return False
        ready = subprocess.run([program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False)
        return ready.returncode == 0

    def processes(self) -> list[int]:
        """The server and everything that it started."""
        assert self.server is not None
        of = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.server.pid)], capture_output=True, text=True, check=False
        )
        return [self.server.pid, *map(int, of.stdout.split())]

    def signal(self, number: signal.Signals) -> None:
        assert self.server is not None
        os.kill(self.server.pid, signal.SIGSTOP)  # it starts no other process while we look at which there are
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """As a power cut would end it."""
        assert self.server is not None
        self.signal(signal.SIGKILL)
        self.server.wait()
        self.server = None

    def freeze(self) -> None:
        """It keeps its connections, takes new ones (that is the kernel), and answers nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def require_password(self) -> None:
        """Everybody but postgres logs in with a password; takes effect at the next start."""
        rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self.data / "pg_hba.conf").write_text(rules)

    def make_certificate(self) -> Path:
        """TLS with a certificate that vouches for itself; start with `-c ssl=on`."""
        certificate, key = self.data / "server.crt", self.data / "server.key"
        self.run(
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
            *("-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)),
        )
        key.chmod(0o600)
        copy = self.place / "root.crt"
        copy.write_bytes(certificate.read_bytes())
        return copy


@contextmanager
def cluster() -> Iterator[Cluster]:
    """One that has not been started."""
    with tempfile.TemporaryDirectory(prefix="pg-") as place:
        Path(place).chmod(0o755)
        it = Cluster(Path(place))
        try:
            yield it
        finally:
            if it.server is not None:
                it.kill()


@contextmanager
def running_cluster(*options: str) -> Iterator[Cluster]:
    """One that listens."""
    with cluster() as it:
        it.start(*options)
        yield it
