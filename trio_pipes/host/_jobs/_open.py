"""How a job is asked for: one place for workers, tasks and runners."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trio.lowlevel import ParkingLot

from trio_pipes._base import ConfigurationError, check_flag, check_iterable, check_name, check_timeout

from .._worker import Host
from ._group import JobGroup
from ._job import Job

__all__ = ["open_job", "open_job_group"]


def open_job(runner: Host, source: str, target: str, name: str | None, payload: Any, timeout: float | None) -> Job:
    """A job that `source`, a worker of the runner or the runner itself, asks of the worker `target`. See `BaseWorker.job`."""
    check_name(f"{source}.job(worker", target, "the name of a worker")
    check_name(f"{source}.job(name", name, "the name of a job, or None for the worker's default one", optional=True)
    check_timeout(f"{source}.job(timeout", timeout)
    return Job(runner, source, target, name, payload, timeout)


def open_job_group(
    runner: Host,
    source: str,
    targets: Iterable[str],
    payload: Any,
    name: str | None,
    timeout: float | None,
    cancel_on_error: bool,
) -> JobGroup:
    """The same job, asked of several workers. See `BaseWorker.job_group`."""
    call = f"{source}.job_group("
    check_iterable(f"{call}workers", targets, "the names of workers")
    names = list(targets)
    for target in names:
        check_name(f"{call}workers", target, "the names of workers")
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f"{call}workers={targets!r}): expected one name at least, and each name once")
    check_name(f"{call}name", name, "the name of a job, or None for the workers' default one", optional=True)
    check_timeout(f"{call}timeout", timeout)
    check_flag(f"{call}cancel_on_error", cancel_on_error)
    changed = ParkingLot()
    jobs = {target: Job(runner, source, target, name, payload, timeout, changed) for target in names}
    return JobGroup(jobs, changed, cancel_on_error)
