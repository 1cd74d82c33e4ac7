"""`check_worker`: whether a worker behaves as one should."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from trio_pipes import ConfigurationError, Worker
from trio_pipes._base import check_count, check_number

from ._leftovers import young_garbage_only
from ._rules import check_rules, refuse_real_clock, refuse_unknown
from ._worker_rules import WORKER_RULES, WorkerCase

__all__ = ["check_worker"]


async def check_worker(
    factory: Callable[[], Worker],
    *,
    work: Callable[[Any], Awaitable[object]] | None = None,
    reusable: bool = False,
    after: Callable[[], object] | None = None,
    cleanup: float = 10.0,
    points: int = 100,
    timeout: float = 1000.0,
    skip: Collection[str] = (),
) -> None:
    """Run a worker again and again, ended and cancelled in every way, and see that it keeps the rules of the documentation.

    `factory` is called for a fresh one each time. `work(worker)` is called when it is ready, to give it something to do.
    `reusable` says that it may be run more than once. `after` is called after runs that were broken off: to look at what the
    worker should have closed. `cleanup` is how long it may take to end once it is cancelled, `timeout` what a run may take at
    all, both in seconds on Trio's clock; `points` the number of steps, evenly spread, at which it is told to stop, and
    cancelled. `skip` names rules that are not checked.

    Raises `RuleBroken`, or an `ExceptionGroup` of them. Needs an autojump clock: take the fixture `pipes_clock`.
    """
    refuse_real_clock("check_worker")
    skip = refuse_unknown("check_worker", skip, WORKER_RULES)
    if (
        not callable(factory)
        or inspect.iscoroutinefunction(factory)
        or (not isinstance(factory, type) and hasattr(factory, "stop_when_done"))
    ):
        raise ConfigurationError(
            f"check_worker was given {factory!r}, expected what makes a fresh worker each time: "
            f"the class, or lambda: {type(factory).__name__}(...)"
        )
    check_number("check_worker(cleanup", cleanup, "seconds above 0", above=True)
    check_number("check_worker(timeout", timeout, "seconds above 0", above=True)
    check_count("check_worker(points", points, "a whole number, 1 or more")
    case = WorkerCase(
        make=factory,
        work=work,
        reusable=reusable,
        after=after or (lambda: None),
        cleanup=cleanup,
        points=points,
        timeout=timeout,
    )
    who = getattr(factory, "__name__", "the worker").replace("<lambda>", "the worker")
    with young_garbage_only():
        await check_rules(who, WORKER_RULES, skip - {"worker", "ready"}, case)
