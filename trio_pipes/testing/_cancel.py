"""`cancel_at_every_checkpoint`: a scenario that is cancelled at its first, second, third ... step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from trio_pipes import ConfigurationError
from trio_pipes._base import check_awaitable, check_callable, check_count, check_number

from ._leftovers import nothing_left, young_garbage_only
from ._within import descends_from, within

__all__ = ["Attempt", "cancel_at_every_checkpoint", "steps_of"]


class Attempt:
    """One run of the scenario, cancelled at one step."""

    def __init__(self, step: int) -> None:
        self.step: int = step
        """The number of the step before which it is cancelled, counted from 1; 0: it is not."""
        self.fired: bool = False
        """Whether that step has been reached."""
        self._call: Callable[[], object] | None = None
        self._count = 0
        self._armed = False  # by the scenario
        self._checks: list[Callable[[], object]] = []

    def arm(self, call: Callable[[], object]) -> None:
        """Call this, such as `task.cancel`, rather than cancel the scope round the scenario; steps count from here."""
        if not callable(call):
            raise ConfigurationError(
                f"Attempt.arm was given {call!r}, expected something to call: attempt.arm(task.cancel)"
            )
        self._armed = True
        if not self.fired:
            self._call, self._count = call, 0

    def disarm(self) -> None:
        """What follows is left in peace."""
        self._call = None

    def afterwards(self, check: Callable[[], object]) -> None:
        """Call this when the scenario has ended, however it did: for what has to hold then."""
        if not callable(check):
            raise ConfigurationError(f"Attempt.afterwards was given {check!r}, expected something to call")
        self._checks.append(check)

    def _make_step(self) -> None:
        if self._call is not None and not self.fired:
            self._count += 1
            if self._count == self.step:
                self.fired = True
                self._call()


class _Steps(trio.abc.Instrument):
    """Counts the steps of the tasks of a scenario."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.top: trio.lowlevel.Task | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        if self.top is not None and descends_from(task, self.top):
            self.attempt._make_step()


async def cancel_at_every_checkpoint(
    scenario: Callable[[Attempt], Awaitable[object]], *, stride: int = 1, limit: int = 10_000, timeout: float = 1000.0
) -> int:
    """Run `scenario(attempt)` again and again, cancelled before its first, second, third ... step, until it is over first.

    The very first run is not cancelled. A step is what a task does between two checkpoints; those of all tasks that the scenario starts count. Each time it has
    to end within `timeout` seconds on Trio's clock and to leave nothing (see `nothing_left`), and what it gave to
    `attempt.afterwards` has to hold. `stride` takes each so manyth step only, `limit` is the most steps there may be.
    Gives the number of steps at which it was cancelled.

    Raises what the scenario raises, `AssertionError` for what is left, each with a note that names the step. Needs an
    autojump clock (the fixture `pipes_clock`) where the scenario waits.
    """
    check_callable("cancel_at_every_checkpoint(scenario", scenario, "an async function of an Attempt")
    check_count("cancel_at_every_checkpoint(stride", stride, "a whole number, 1 or more")
    check_count("cancel_at_every_checkpoint(limit", limit, "a whole number, 1 or more")
    check_number("cancel_at_every_checkpoint(timeout", timeout, "seconds above 0", above=True)
    tried = 0
    with young_garbage_only():
        arms = (await _once(scenario, 0, timeout))._armed
        for step in range(1, limit + 1, stride):
            attempt = await _once(scenario, step, timeout, arms=arms)
            if not attempt.fired:
                return tried
            tried += 1
    raise AssertionError(f"the scenario is not over after {limit} steps: give a higher limit, or a stride")


async def steps_of(scenario: Callable[[Attempt], Awaitable[object]], timeout: float) -> int:
    """How many steps there are to cancel the scenario at."""
    return (await _once(scenario, 0, timeout))._count


async def _once(
    scenario: Callable[[Attempt], Awaitable[object]], step: int, timeout: float, *, arms: bool = False
) -> Attempt:
    """`arms`: the scenario is known to arm the attempt itself, and until then no step counts."""
    attempt = Attempt(step)
    steps = _Steps(attempt)

    async def run() -> None:
        steps.top = trio.lowlevel.current_task()
        with trio.CancelScope() as scope:
            if not arms:
                attempt._call = lambda: scope.cancel(reason=f"step {step}")
            try:
                await trio.lowlevel.cancel_shielded_checkpoint()  # so that a cancel can come before its first line
                await check_awaitable("cancel_at_every_checkpoint: scenario(attempt)", scenario(attempt))
            finally:
                steps.top = None

    trio.lowlevel.add_instrument(steps)
    try:
        async with nothing_left():
            await within(timeout, "the scenario", run)
            for check in attempt._checks:
                _refuse_coroutine(check())
    except Exception as exc:
        exc.add_note(f"cancelled before step {step}" if attempt.fired else "not cancelled")
        raise
    finally:
        trio.lowlevel.remove_instrument(steps)
    return attempt


def _refuse_coroutine(result: Any) -> None:
    if hasattr(result, "__await__"):
        if hasattr(result, "close"):
            result.close()
        raise ConfigurationError(f"what was given to Attempt.afterwards returned {result!r}, expected a plain function")
