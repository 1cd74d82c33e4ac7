"""`cancel_at_every_checkpoint` and `nothing_left`: every step is tried, and whatever is left is named."""

import re
from contextlib import suppress

import pytest
import trio

from trio_pipes import ConfigurationError, Pipeline, PipelineTask, TaskState, TextFrame, each
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint, nothing_left


async def test_k4_each_step_of_each_task_is_tried(autojump_clock) -> None:
    reached: dict[int, list[str]] = {}

    async def scenario(attempt: Attempt) -> None:
        log = reached.setdefault(attempt.step, [])

        async def child() -> None:
            for n in range(3):
                await trio.sleep(1)
                log.append(f"child {n}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep(1.5)
            log.append("parent")

    tried = await cancel_at_every_checkpoint(scenario)
    assert sorted(reached) == list(range(tried + 2))  # the first one was not cancelled, the last one was over before
    lengths = [len(reached[step]) for step in sorted(reached) if step]
    assert lengths == sorted(lengths)
    assert set(lengths) == {0, 1, 2, 3, 4}


async def test_a_cancel_may_come_before_the_first_line(autojump_clock) -> None:
    cancelled = []

    async def scenario(attempt: Attempt) -> None:
        cancelled.append(trio.current_effective_deadline() == float("-inf"))

    assert await cancel_at_every_checkpoint(scenario) == 1
    assert cancelled == [False, True, False]


async def test_steps_count_from_where_it_was_armed_to_where_it_was_disarmed(autojump_clock) -> None:
    seen = []

    async def scenario(attempt: Attempt) -> None:
        await trio.sleep(1)
        now = []
        attempt.arm(lambda: now.append(trio.current_time() - began))
        began = trio.current_time()
        await trio.sleep(2)
        await trio.sleep(2)
        attempt.disarm()
        await trio.sleep(100)
        seen.append(now)

    tried = await cancel_at_every_checkpoint(scenario)
    assert tried == 2
    assert seen == [[], [pytest.approx(2)], [pytest.approx(4)], []]


async def test_a_stride_takes_each_so_manyth(autojump_clock) -> None:
    steps = []

    async def scenario(attempt: Attempt) -> None:
        steps.append(attempt.step)
        for _ in range(20):
            await trio.sleep(1)

    assert await cancel_at_every_checkpoint(scenario, stride=7) == 3
    assert steps == [0, 1, 8, 15, 22]


async def test_tasks_that_were_there_before_do_not_count(autojump_clock) -> None:
    async def ticks() -> None:
        while True:  # noqa: ASYNC110
            await trio.sleep(0.01)

    async def scenario(attempt: Attempt) -> None:
        await trio.sleep(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticks)
        assert await cancel_at_every_checkpoint(scenario) == 2
        nursery.cancel_scope.cancel()


async def test_a_request_takes_the_place_of_the_cancel(autojump_clock) -> None:
    states = set()

    @each
    async def think(frame: TextFrame) -> TextFrame:
        await trio.sleep(1)
        return frame

    async def scenario(attempt: Attempt) -> None:
        task = PipelineTask(Pipeline([think]))
        await task.queue_frame(TextFrame("x"))
        attempt.arm(task.cancel)
        attempt.afterwards(lambda: states.add(task.state))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(5)
            task.stop_when_done()

    assert await cancel_at_every_checkpoint(scenario) > 10
    assert states == {TaskState.CANCELLED, TaskState.ENDED}


async def agen():
    yield 1
    yield 2


async def leaves_a_task(attempt) -> None:
    trio.lowlevel.spawn_system_task(trio.sleep, 1e9)


async def leaves_a_generator(attempt) -> None:
    generator = agen()
    KEPT.append(generator)
    async for _ in generator:
        break


KEPT: list[object] = []


async def drops_a_generator(attempt) -> None:
    async for _ in agen():
        break


async def forgets_to_await(attempt) -> None:
    trio.sleep(1)  # noqa: ASYNC105


async def leaves_a_file(attempt) -> None:
    open(__file__)  # noqa: ASYNC230, SIM115, PTH123


class Noisy:
    def __del__(self) -> None:
        raise ValueError("in __del__")


async def leaves_an_error(attempt) -> None:
    Noisy()


async def waits_for_ever(attempt) -> None:
    attempt.disarm()
    await trio.sleep_forever()


async def shields_itself(attempt) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def swallows(attempt) -> None:
    done = 0
    while done < 3:
        with suppress(trio.Cancelled):
            await trio.sleep(1)
            done += 1


async def swallows_everything(attempt) -> None:
    done = 0
    while done < 3:
        with suppress(BaseException):
            await trio.sleep(1)
            done += 1


async def has_a_child_that_swallows(attempt) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(swallows, attempt)


async def fails_when_cancelled(attempt) -> None:
    try:
        await trio.sleep(1)
    except trio.Cancelled:
        raise LookupError("mine") from None


async def has_a_check_that_fails(attempt) -> None:
    def check() -> None:
        raise AssertionError("still open")

    attempt.afterwards(check)
    await trio.sleep(1)


WRONG = [
    (leaves_a_task, "left behind: task trio.sleep"),
    (leaves_a_generator, "left behind: open async generator agen"),
    (drops_a_generator, "ResourceWarning: Async generator"),
    (forgets_to_await, "RuntimeWarning: coroutine 'sleep' was never awaited"),
    (leaves_a_file, "ResourceWarning: unclosed file"),
    (leaves_an_error, "ValueError('in __del__')"),
    (waits_for_ever, "has not ended within 50 s on Trio's clock. task"),
    (shields_itself, "in shields_itself ("),
    (swallows, "was cancelled 1001 times and goes on, in swallows ("),
    (swallows_everything, "was cancelled 1001 times and goes on, in swallows_everything ("),
    (has_a_child_that_swallows, "swallows was cancelled 1001 times and goes on, in swallows ("),
    (fails_when_cancelled, "mine"),
    (has_a_check_that_fails, "still open"),
]


@pytest.mark.parametrize(("scenario", "says"), WRONG, ids=[scenario.__name__ for scenario, _ in WRONG])
async def test_k4_what_is_wrong_is_named_with_its_step(autojump_clock, scenario, says) -> None:
    with pytest.raises((AssertionError, LookupError), match=re.escape(says)) as caught:
        await cancel_at_every_checkpoint(scenario, timeout=50)
    assert re.search(r"not cancelled|cancelled before step \d", "".join(caught.value.__notes__))
    async with nothing_left():  # and what was wrong has been cleared away
        await trio.lowlevel.checkpoint()


async def test_a_deadline_round_it_works(autojump_clock) -> None:
    async def scenario(attempt: Attempt) -> None:
        attempt.disarm()
        await trio.sleep_forever()

    with trio.move_on_after(5) as scope:
        await cancel_at_every_checkpoint(scenario)
    assert scope.cancelled_caught


async def test_too_many_steps_are_an_error(autojump_clock) -> None:
    async def scenario(attempt: Attempt) -> None:
        for _ in range(100):
            await trio.sleep(1)

    with pytest.raises(AssertionError, match="not over after 20 steps"):
        await cancel_at_every_checkpoint(scenario, limit=20)


@pytest.mark.parametrize(
    "settings", [{"stride": 0}, {"stride": 1.5}, {"limit": 0}, {"limit": True}, {"timeout": 0}], ids=str
)
async def test_bad_settings_are_refused(settings) -> None:
    async def scenario(attempt: Attempt) -> None:
        pass

    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        await cancel_at_every_checkpoint(scenario, **settings)


async def test_what_is_armed_and_checked_can_be_called(autojump_clock) -> None:
    async def late() -> None:
        pass

    for wrong in (lambda a: a.arm(3), lambda a: a.afterwards("x"), lambda a: a.afterwards(late)):

        async def scenario(attempt: Attempt, wrong=wrong) -> None:
            wrong(attempt)

        with pytest.raises(ConfigurationError, match=r"Attempt\.(arm|afterwards)"):
            await cancel_at_every_checkpoint(scenario)


async def test_nothing_left_is_quiet_where_nothing_is_and_where_something_is_raised(autojump_clock) -> None:
    async with nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
    with pytest.raises(LookupError):
        async with nothing_left():
            raise LookupError


async def test_warnings_about_versions_are_not_about_this_run(autojump_clock) -> None:
    import warnings

    async with nothing_left():
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    with pytest.raises(AssertionError, match="UserWarning: odd"):
        async with nothing_left():
            warnings.warn("odd", stacklevel=1)
