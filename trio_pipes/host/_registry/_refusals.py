"""Why a name cannot be had, or is not had any more."""

from __future__ import annotations

from typing import Final

from trio_pipes._base import DuplicateName, LeaseLost

__all__ = ["RUNNER", "lost_worker", "refused_runner", "refused_worker"]

RUNNER: Final = "runner:"
"""Stands before the name of a runner where names are claimed: runners and workers do not share theirs."""


def refused_worker(runner: str, name: str, owner: str) -> DuplicateName:
    """The name belongs to a worker of somebody else."""
    return DuplicateName(
        f"{runner} cannot start a worker named {name!r}: the runner {owner} has one of that name on this bus. "
        "Give this one another name, or wait until the other has ended."
    )


def refused_runner(name: str, owner: str) -> DuplicateName:
    """The name belongs to another runner."""
    return DuplicateName(
        f"a runner cannot be named {name!r} on this bus: {owner} is running, and has that name. "
        "Give this one another name, or none."
    )


def lost_worker(runner: str, name: str) -> LeaseLost:
    """Somebody else took the name, since the lease had run out."""
    return LeaseLost(
        f"{runner} has lost the name {name!r} of its worker: it was not heard of for longer than the lease of its bus, and "
        "another runner has taken the name since"
    )
