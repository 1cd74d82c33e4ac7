"""A test clock stands while something outside Trio works for us."""

import threading
import time

import pytest
import trio
import trio.testing

from trio_pipes._base import outside


async def work(seconds: float = 0.05) -> None:
    """Something that a thread does."""
    with outside():
        await trio.to_thread.run_sync(time.sleep, seconds)  # noqa: TID251 # a thread's work, in real time


async def test_the_clock_stands_while_a_thread_works(autojump_clock) -> None:
    with trio.move_on_after(1) as scope:  # a second of the test clock, which would be over at once
        await work()
    assert not scope.cancelled_caught
    await trio.sleep(3600)  # and jumps again afterwards
    assert trio.current_time() == pytest.approx(3600, abs=1)


async def test_without_it_the_clock_would_jump(autojump_clock) -> None:
    # What it is for: the same wait without the word.
    done = threading.Event()
    with trio.move_on_after(1) as scope:
        await trio.to_thread.run_sync(done.wait, 5, abandon_on_cancel=True)
    done.set()
    assert scope.cancelled_caught


async def test_several_at_once_and_in_any_order(autojump_clock) -> None:
    with trio.move_on_after(1) as scope:
        async with trio.open_nursery() as nursery:
            for seconds in (0.1, 0.02, 0.05):
                nursery.start_soon(work, seconds)
            await work(0.01)
    assert not scope.cancelled_caught
    assert autojump_clock.autojump_threshold == 0


async def test_one_in_the_other(autojump_clock) -> None:
    with outside():
        with outside():
            assert autojump_clock.autojump_threshold > 1e9
        assert autojump_clock.autojump_threshold > 1e9
    assert autojump_clock.autojump_threshold == 0


async def test_the_threshold_that_was_there_comes_back(autojump_clock) -> None:
    autojump_clock.autojump_threshold = 0.01
    with pytest.raises(ValueError, match="inside"), outside():
        raise ValueError("inside")
    assert autojump_clock.autojump_threshold == 0.01


async def test_a_cancelled_block_lets_the_clock_go(autojump_clock) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await work()
    assert autojump_clock.autojump_threshold == 0


async def test_a_real_clock_is_left_alone() -> None:
    await work(0.001)


async def test_a_mock_clock_without_autojump_is_left_as_it_was(mock_clock) -> None:
    before = mock_clock.autojump_threshold
    await work(0.001)
    assert mock_clock.autojump_threshold == before
