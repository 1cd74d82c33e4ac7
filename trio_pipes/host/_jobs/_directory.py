"""Where a worker is asked: its address on the bus, once it is there and ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from trio_pipes.host._bus import Bus

__all__ = ["Runner", "find", "is_ready", "jobs_address"]


class Known(Protocol):
    """What is known of a worker."""

    @property
    def ready(self) -> bool:
        """It has said that it is ready."""
        ...


class Registry(Protocol):
    """What is needed of a runner's registry."""

    def get(self, name: str) -> Known | None:
        """The worker of that name, here or on another runner."""
        ...

    async def wait_ready(self, *names: str) -> None:
        """Wait until they are ready."""


class Runner(Protocol):
    """What both sides of a job need of a `PipelineRunner`."""

    name: str

    @property
    def runner_id(self) -> str:
        """Its address on the bus."""
        ...

    @property
    def bus(self) -> Bus:
        """What carries messages."""
        ...

    @property
    def registry(self) -> Registry:
        """Who is up."""
        ...

    @property
    def get_worker(self) -> Callable[[str], Any]:
        """One of its workers, by name."""
        ...


def jobs_address(address: str) -> str:
    """Where a worker hears of jobs."""
    return f"{address}/jobs"


def is_ready(runner: Runner, name: str) -> bool:
    """Whether a worker of that name is known to be ready."""
    info = runner.registry.get(name)
    return info is not None and info.ready


async def find(runner: Runner, name: str) -> str:
    """The address of a worker, which is waited for until it is ready."""
    if not is_ready(runner, name):
        await runner.registry.wait_ready(name)
    address: str = getattr(runner.get_worker(name), "address", name)
    return address
