"""Redis and PostgreSQL on a machine of their own, to be killed and started again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

import attrs
import trio

from .network import Machine
from .process import Hung, Process
from .rights import postgres

LISTENS_WITHIN = 30.0  # seconds


class Broker(Protocol):
    """What the scenarios know of one."""

    machine: Machine

    @property
    def url(self) -> str:
        """Where members find it."""

    async def start(self) -> None:
        """Start it, or start it again, and come back when it listens."""

    async def kill(self) -> None:
        """It dies at once, with all that it has not written."""


@attrs.define(eq=False)
class Redis:
    """A redis-server that keeps nothing on disk."""

    machine: Machine
    folder: Path  # the network's
    _process: Process | None = None

    @property
    def url(self) -> str:
        """Where members find it."""
        return f"redis://{self.machine.address}:6379/0"

    async def start(self) -> None:
        """Start it, and come back when it listens."""
        options = ["--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no"]
        self._process = await self.machine.start(
            "redis-server", *options, "--save", "", "--appendonly", "no", "--dir", str(self.folder), name="redis"
        )
        await listens(self.machine, 6379, self._process)

    async def kill(self) -> None:
        """It dies at once, with all that it knew."""
        await self.machine.kill_all()


@attrs.define(eq=False)
class Postgres:
    """A PostgreSQL with a cluster of its own, which outlives its processes."""

    machine: Machine
    folder: Path  # the network's
    _process: Process | None = None

    @property
    def url(self) -> str:
        """Where members find it."""
        return f"postgresql://postgres@{self.machine.address}:5432/postgres"

    async def start(self) -> None:
        """Start it, and come back when it listens."""
        place = self.folder / "postgres"
        data = place / "data"
        if not place.exists():
            place.mkdir()
            shutil.chown(place, "postgres")
            initdb = [
                postgres("initdb") or "",
                "-D",
                str(data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ]
            await trio.run_process(initdb, capture_stdout=True, user="postgres", cwd=place)
            with (data / "pg_hba.conf").open("a") as file:
                file.write("host all all 10.77.0.0/24 trust\n")
        options = ["-D", str(data), "-p", "5432", "-h", "0.0.0.0", "-k", str(place), "-F"]
        self._process = await self.machine.start(postgres("postgres") or "", *options, name="postgres", user="postgres")
        await listens(self.machine, 5432, self._process)

    async def kill(self) -> None:
        """The postmaster and all its children die at once."""
        await self.machine.kill_all()


BROKERS: dict[str, type[Redis | Postgres]] = {"redis": Redis, "postgres": Postgres}


async def listens(machine: Machine, port: int, server: Process) -> None:
    """Come back when the server can be used."""
    ready = b"ready to accept connections" if port != 6379 else b"Ready to accept connections"
    with trio.move_on_after(LISTENS_WITHIN):
        while not server.over.is_set():
            if ready.decode() in server.errors or any(ready.decode() in line for line in server.text):
                return
            await trio.sleep(0.02)
    raise Hung(f"{server.name} on {machine.name} does not listen; {server.errors[-2000:]} {server.text[-5:]}")
