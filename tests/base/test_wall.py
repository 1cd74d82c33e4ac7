"""Wall time: real, read anew each time; on a test clock, that clock's time since it was first asked."""

import time

import trio
import trio.testing

from trio_pipes._base import wall_time_ns

SECOND = 1_000_000_000
TOLERATED = SECOND  # between two readings, on a machine that has other things to do


def test_outside_of_trio_it_is_now() -> None:
    assert abs(wall_time_ns() - time.time_ns()) < TOLERATED


def test_on_the_real_clock_it_is_now_and_moments_are_that_much_before() -> None:
    async def main() -> None:
        assert abs(wall_time_ns() - time.time_ns()) < TOLERATED
        ago = time.time_ns() - wall_time_ns(trio.current_time() - 100)
        assert abs(ago - 100 * SECOND) < TOLERATED

    trio.run(main)


async def test_a_test_clock_carries_it_on(autojump_clock) -> None:
    began = wall_time_ns()
    assert abs(began - time.time_ns()) < TOLERATED
    await trio.sleep(3600)
    assert wall_time_ns() == began + 3600 * SECOND
    assert wall_time_ns(trio.current_time() - 60) == began + 3540 * SECOND


def test_each_run_has_its_own_beginning() -> None:
    async def main() -> int:
        await trio.sleep(3600)
        return wall_time_ns()

    for _ in range(2):
        assert abs(trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) - time.time_ns()) < TOLERATED


def test_a_clock_of_ones_own_is_taken_for_a_test_clock() -> None:
    class Fast(trio.abc.Clock):
        __slots__ = ("now",)  # such an object cannot be a weak key

        def __init__(self) -> None:
            self.now = 0.0

        def start_clock(self) -> None: ...

        def current_time(self) -> float:
            return self.now

        def deadline_to_sleep_time(self, deadline: float) -> float:
            return deadline - self.now

    clock = Fast()

    async def main() -> None:
        began = wall_time_ns()
        clock.now = 5.0
        assert wall_time_ns() == began + 5 * SECOND

    trio.run(main, clock=clock)
