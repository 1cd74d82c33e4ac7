"""What is counted of the jobs of a worker."""

from __future__ import annotations

import attrs

__all__ = ["JobServerStatistics"]


@attrs.frozen
class JobServerStatistics:
    """The jobs of a worker at one moment."""

    waiting: int
    """For their turn."""
    running: int
    done: int
    """That gave a result, in all."""
    failed: int
    """That ended without one: the handler raised, or was stopped."""
    refused: int
    """That were not taken."""
    kept: int
    """That are over and kept in case that their requester has not heard of it."""
