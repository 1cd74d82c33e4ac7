"""`RunnerStatistics`: a runner, looked at."""

from __future__ import annotations

import attrs

__all__ = ["RunnerStatistics"]


@attrs.frozen
class RunnerStatistics:
    """A runner at one moment."""

    running: tuple[str, ...]
    """Names of the workers that are up or waiting to start."""
    ready: tuple[str, ...]
    """Names of those that have said they are ready."""
    calls: int
    """Open calls of `run()`."""
    finished: int
    """Workers that have ended, in all."""
    failed: int
    """Of these, how many raised."""
    restarts: int
    """How often a worker was made again (see `Restart`), in all."""
    reason: str | None
    """Why it ends, or ended last: the reason that `end()` or `cancel()` was given, or the name of the signal."""
    observer_errors: tuple[Exception, ...]
    """What its observers raised: the first thousand."""
    observer_events_lost: int
    """Events that its async observers were not told of: their queue was full, or their last second was over."""
