"""What is known of a worker, and what happened to it."""

from __future__ import annotations

from enum import Enum

import attrs

__all__ = ["RegistryStatistics", "WorkerChange", "WorkerEvent", "WorkerInfo"]


@attrs.frozen
class WorkerInfo:
    """A worker as the registry knows it at one moment."""

    name: str
    runner: str
    """The `runner_id` of the runner that hosts it."""
    ready: bool
    """It has said that it is ready."""
    active: bool
    """It gets data messages."""
    parent: str | None
    """Name of the worker that it belongs to."""
    kind: str
    """Name of its class."""
    life: int
    """Tells one life of a name on a runner from the next: a larger number is a later one."""
    is_local: bool
    """It runs on the runner whose registry says so."""


class WorkerChange(Enum):
    """What a watch tells of a worker."""

    READY = "ready"
    """It is ready, and had not been while this watch looked."""
    GONE = "gone"
    """It has ended, or its runner has, or that was not heard of for a whole lease."""
    BACK = "back"
    """It is ready again: the same one that was told as gone, or another of its name."""


@attrs.frozen
class WorkerEvent:
    """One thing that a watch tells."""

    kind: WorkerChange
    worker: WorkerInfo
    """As it is; as it was last known, when it is gone."""
    reason: str | None = None
    """Why it is gone."""

    @property
    def is_gone(self) -> bool:
        """Whether it is there no more."""
        return self.kind is WorkerChange.GONE


@attrs.frozen
class RegistryStatistics:
    """A registry at one moment."""

    local: int
    """Workers of its own runner."""
    remote: int
    """Workers of other runners."""
    ready: int
    """Of both, those that are ready."""
    runners: int
    """Runners that are up, its own included."""
    watches: int
    """Open blocks of `watch`."""
    waiting: int
    """Calls of `wait_ready` that wait."""
