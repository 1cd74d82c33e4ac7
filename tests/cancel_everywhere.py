"""`cancel_at_every_checkpoint` for tests that are no async functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from trio_pipes.testing import Attempt, cancel_at_every_checkpoint

Scenario = Callable[[], Awaitable[object]]


def cancelled_everywhere(
    make: Callable[[], tuple[Scenario, Callable[[], None], Callable[[], object] | None]], *, stride: int = 1
) -> int:
    """Cancel at each step (or each `stride`-th); gives how many there were.

    `make` gives a fresh scenario, what has to hold after it, however it ended, and how to cancel it (None: the scope
    round it is cancelled).
    """

    async def scenario(attempt: Attempt) -> None:
        run, check, cancel = make()
        attempt.afterwards(check)
        if cancel is not None:
            attempt.arm(cancel)
        await run()

    async def main() -> int:
        return await cancel_at_every_checkpoint(scenario, stride=stride)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
