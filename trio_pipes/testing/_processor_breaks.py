"""Rules about what breaks off: an end, a cancel, an interrupt, an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import trio

from trio_pipes import (
    Direction,
    EndFrame,
    ErrorFrame,
    Frame,
    FrameProcessor,
    TaskState,
)

from ._cancel import Attempt, cancel_at_every_checkpoint, steps_of
from ._handlers import Injected, Lifespans, fail_push, watch_cancels
from ._leftovers import nothing_left
from ._rules import told
from ._trial import ENDS, UP, Case, Put, Trial
from ._within import within

__all__ = [
    "can_be_cancelled",
    "cleans_up",
    "goes_on_after_interrupt",
    "keeps_uninterruptible",
    "passes_cancelled",
    "passes_errors",
]

# Pushes that are made to fail, one in each run.
FAILED_PUSHES: Final = 10


async def cleans_up(case: Case) -> Iterable[str]:
    problems = []
    for how in ("at its end", "when it is cancelled", "when a neighbour fails"):
        async with nothing_left():
            problems += [f"{problem}, {how}" for problem in await _ended(case, how)]
        case.after()
    return problems


class _Fails(FrameProcessor):
    """Fails on the last stranger."""

    def __init__(self) -> None:
        self.error = Injected("a neighbour's")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, EndFrame):
            raise self.error
        await self.push_frame(frame, direction)


async def _ended(case: Case, how: str) -> Iterator[str]:
    subject, fails = case.make(), _Fails()
    lifespans = Lifespans(subject)
    trial = Trial(case, subject, below=fails if how == "when a neighbour fails" else None)

    async def feed(trial: Trial) -> None:
        await trial.queue(trial.case.feed())
        if how == "when it is cancelled":
            await trial.task.flush()
            trial.task.cancel()
        trial.stop()

    await within(case.timeout, f"the run that ends {how}", lambda: trial.run(feed))
    return _what_is_wrong(trial, lifespans, fails)


def _what_is_wrong(trial: Trial, lifespans: Lifespans, fails: _Fails) -> Iterator[str]:
    others = [error for error in _errors_in(trial.error) if error is not fails.error]
    if others:
        yield f"it raised {', '.join(map(told, others))}"
    yield from _cut(trial, lifespans)


def _cut(trial: Trial, lifespans: Lifespans) -> Iterator[str]:
    if lifespans.entered != lifespans.left:
        yield f"its lifespan was entered {lifespans.entered} times and left {lifespans.left} times"
    if lifespans.slowest >= trial.task.params.cleanup_timeout:
        limit = trial.task.params.cleanup_timeout
        yield f"the cleanup in its lifespan took {lifespans.slowest:g} s; at cleanup_timeout ({limit:g} s) it is cut off"


def _errors_in(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [inner for part in error.exceptions for inner in _errors_in(part)]
    return [] if error is None else [error]


# -- broken off


async def _sweep(case: Case, scenario: Callable[[Attempt], Any]) -> None:
    steps = await steps_of(scenario, case.timeout)
    stride = max(1, math.ceil(steps / case.points))
    await cancel_at_every_checkpoint(scenario, stride=stride, limit=10 * steps + 100, timeout=case.timeout)


async def can_be_cancelled(case: Case) -> Iterable[str]:
    async def scenario(attempt: Attempt) -> None:
        await _cancelled(case, attempt, by_request=True)

    await _sweep(case, scenario)
    return []


async def passes_cancelled(case: Case) -> Iterable[str]:
    swallowed: list[str] = []

    async def scenario(attempt: Attempt) -> None:
        await _cancelled(case, attempt, swallowed=swallowed)

    try:
        await _sweep(case, scenario)
    except Exception:
        if not swallowed:
            raise
    return swallowed[:1]


async def _cancelled(
    case: Case, attempt: Attempt, *, by_request: bool = False, swallowed: list[str] | None = None
) -> None:
    subject = case.make()
    lifespans = Lifespans(subject)
    if swallowed is not None:
        watch_cancels(subject, lambda: attempt.fired, swallowed)
    trial = Trial(case, subject)
    fired_at = math.inf

    def cancel() -> None:
        nonlocal fired_at
        fired_at = trio.current_time()
        if by_request:
            trial.task.cancel("to see what is left")
        else:
            scope.cancel(reason="to see what is left")

    def check() -> None:
        took = (trial.result.finished_at if trial.result else trio.current_time()) - fired_at
        limit = trial.task.params.cleanup_timeout
        problems = [f"it raised {told(trial.error)}"] if trial.error is not None else []
        problems += _cut(trial, lifespans)
        if took > limit + 0.001:
            problems.append(f"it ended {took:g} s after it was cancelled, later than cleanup_timeout ({limit:g} s)")
        if trial.task.state is not TaskState.NEW and not trial.task.has_finished():
            problems.append("the task has not finished")
        problems += swallowed or []
        if problems:
            raise AssertionError("; ".join(problems))
        case.after()

    attempt.afterwards(check)
    attempt.arm(cancel)
    with trio.CancelScope() as scope:
        await trial.run()


async def goes_on_after_interrupt(case: Case) -> Iterable[str]:
    """Both rules about interrupts, from the same runs."""
    problems: dict[str, list[str]] = {"interrupt": [], "uninterruptible": []}

    async def scenario(attempt: Attempt) -> None:
        trial = Trial(case)
        later: list[Put] = []

        async def feed(trial: Trial) -> None:
            await trial.queue(case.feed(kept=True))
            await trial.task.flush()
            attempt.disarm()
            before = len(trial.put)
            try:
                await trial.queue(case.feed("later "))
            finally:
                later.extend(trial.put[before:])
            trial.stop()

        attempt.arm(trial.task.interrupt)
        await trial.run(feed)
        if trial.error is not None:
            raise trial.error
        earlier = [put for put in trial.put if put not in later]
        kept = [put for put in earlier if not put.frame.interruptible]
        step = f", interrupted before step {attempt.step}"
        problems["uninterruptible"] += [f"{each}{step}" for each in trial.lost(kept)]
        stale = [put for put in earlier if put.frame.interruptible]
        found = [*trial.lost(stale, may_be_lost=True), *trial.lost(later)]
        found += trial.disordered() if case.ordered else []
        problems["interrupt"] += [f"{each}{step}" for each in found]
        attempt.afterwards(case.after)

    case.known["interrupted"] = problems
    await _sweep(case, scenario)
    return problems["interrupt"]


async def keeps_uninterruptible(case: Case) -> Iterable[str]:
    if "interrupted" not in case.known:
        await goes_on_after_interrupt(case)
    return case.known["interrupted"]["uninterruptible"]  # type: ignore[no-any-return]


# -- errors


async def passes_errors(case: Case) -> Iterable[str]:
    problems = []
    for nth in range(1, FAILED_PUSHES + 1):
        subject = case.make()
        failed = fail_push(subject, nth)
        trial = Trial(case, subject)
        await within(case.timeout, "the run with an error in it", trial.run)
        if failed.error is None:
            break
        reported = [frame.exception for frame in trial.out(UP) if isinstance(frame, ErrorFrame)]
        if failed.error not in (*_errors_in(trial.error), *reported):
            problems.append(f"an error that was {failed.error} neither left run() nor was reported at {ENDS[UP]}")
            break
    return problems
