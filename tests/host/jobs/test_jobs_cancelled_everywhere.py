"""Jobs whose requester, handler or worker is cancelled at every step: whoever waits is told, and nothing is left."""

import pytest
import trio
import trio.testing

from bus_kit import open_medium
from jobs_kit import Asker, Doer, running
from trio_pipes import JobError
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint

USES = ["updates", "stream", "sequential", "group", "timeout"]


async def use(asker: Asker, how: str) -> None:
    """One job, used to its end."""
    if how == "updates":
        async with asker.job("doer", "count", 3) as it:
            assert [update async for update in it] == [0, 1, 2]
            assert await it.result() == "counted"
    elif how == "stream":
        async with asker.job("doer", "stream", 9) as it:
            assert [chunk async for chunk in it.stream()] == list(range(9))
            assert await it.result() == "streamed"
    elif how == "sequential":
        async with asker.job("doer", "one", 1) as first, asker.job("doer", "one", 2) as second:
            assert (await second.result(), await first.result()) == (2, 1)
    elif how == "group":
        async with asker.job_group(["doer", "asker"], 1, name="sleep", cancel_on_error=False) as group:
            results = await group.results()
            assert results["doer"].unwrap() == 1
    else:
        async with asker.job("doer", "sleep", 5, timeout=1) as it:
            with pytest.raises(trio.TooSlowError):
                await it.result()


@pytest.mark.parametrize("how", USES)
@pytest.mark.parametrize("who", ["requester", "worker"])
async def test_b6_cancelled_at_every_step_in_one_process(autojump_clock, how, who) -> None:
    async def scenario(attempt: Attempt) -> None:
        asker, doer = Asker("asker"), Doer()
        async with running(asker, doer) as runner:
            subscriptions = runner.bus.statistics().subscriptions

            async def ask() -> None:
                with scope:
                    try:
                        await use(asker, how)
                    except JobError as exc:
                        assert exc.status in ("gone", "refused")
                        assert who == "worker"
                    except AssertionError:
                        assert who == "worker"
                        assert how in ("updates", "stream", "group")

            scope = trio.CancelScope()
            attempt.arm(scope.cancel if who == "requester" else doer.cancel)
            with trio.fail_after(60) if who == "requester" or how == "group" else trio.move_on_after(60):
                await ask()
            attempt.disarm()
            await trio.testing.wait_all_tasks_blocked()
            if who == "requester":
                statistics = doer.statistics().jobs
                assert (statistics.running, statistics.waiting, statistics.kept) == (0, 0, 0)
                assert runner.bus.statistics().subscriptions == subscriptions
                assert doer.jobs == ()
                await use(asker, how)  # and it goes on

    assert await cancel_at_every_checkpoint(scenario) > 1


@pytest.mark.parametrize("how", ["updates", "stream", "group"])
async def test_b6_cancelled_at_every_step_over_a_medium(autojump_clock, how) -> None:
    async def scenario(attempt: Attempt) -> None:
        async with open_medium() as medium:
            asker, doer = Asker("asker"), Doer()
            async with running(doer, bus=medium.bus()), running(asker, bus=medium.bus()) as runner:
                await runner.registry.wait_ready("doer")
                scope = trio.CancelScope()
                attempt.arm(scope.cancel)
                with trio.fail_after(60), scope:
                    await use(asker, how)
                attempt.disarm()
                await trio.sleep(25)
                statistics = doer.statistics().jobs
                assert (statistics.running, statistics.waiting, statistics.kept) == (0, 0, 0)

    assert await cancel_at_every_checkpoint(scenario, stride=2) > 3
