"""Where a worker is asked: its address on the bus, once it is there and ready."""

from __future__ import annotations

from typing import Final

from trio_pipes._base import is_default_name

from .._worker import Host

__all__ = ["ROUNDS", "find", "is_ready", "jobs_address", "life_of"]


# Both sides look so often in a lease; who was not heard of for so many rounds is gone. Counted, not timed: a process that was
# stopped for longer has had no chance to hear. A requester speaks every other round, which leaves room for three losses.
ROUNDS: Final = 8


def jobs_address(address: str) -> str:
    """Where a worker hears of jobs."""
    return f"{address}/jobs"


def is_ready(runner: Host, name: str) -> bool:
    """Whether a worker of that name is known to be ready."""
    info = runner.registry.get(name)
    return info is not None and info.ready


def life_of(runner: Host, name: str) -> str:
    """Tells one life of a worker from the next of that name."""
    info = runner.registry.get(name)
    return "" if info is None else f"{info.runner} {info.life}"


async def find(runner: Host, name: str) -> str:
    """The address of a worker, which is waited for until it is ready."""
    if not is_ready(runner, name):
        await runner.registry.wait_ready(name)
    return f"{runner.runner_id}/{name}" if is_default_name(name) else name
