"""Jobs of a requester that is cut off from its broker: what it says waits there, and comes late. Found by `nox -s chaos`."""

import pytest
import trio

from bus_kit import open_medium
from jobs_kit import Asker, Doer, running
from trio_pipes import JobError
from trio_pipes.host._jobs import _server

LEASE = 10.0


async def test_b6_a_requester_that_is_cut_off_is_told_after_one_lease(autojump_clock) -> None:
    async with open_medium() as medium:
        medium.holds = True
        near, far = medium.bus(LEASE), medium.bus(LEASE)
        asker, doer = Asker("asker"), Doer()
        async with running(doer, bus=near), running(asker, bus=far):
            async with asker.job("doer", "sleep", 1000) as it:
                await trio.sleep(1)
                medium.cut(far)
                cut = trio.current_time()
                with pytest.raises(JobError, match="nothing was heard of the worker for 10 s"):
                    await it.result()
                assert trio.current_time() - cut <= LEASE + LEASE / 4
                medium.mend(far)
            await trio.sleep(2 * LEASE)
            assert doer.log == [("begin", 1000), ("cancelled", 1000)]


# It says that again while nothing has come back, and its broker has taken that when the link is cut.
@pytest.mark.parametrize("seconds", [1, 1000])
async def test_b6_what_asks_for_a_job_again_after_the_lease_does_not_begin_it_again(autojump_clock, seconds) -> None:
    async with open_medium() as medium:
        near, far = medium.bus(LEASE), medium.bus(LEASE)
        asker, doer = Asker("asker"), Doer()
        async with running(doer, bus=near), running(asker, bus=far):
            async with asker.job("doer", "sleep", seconds) as it:
                await trio.sleep(2)
                again = it._asking()
                medium.cut(far)
                with pytest.raises(JobError) if seconds > LEASE else trio.CancelScope():
                    await it.result()
            await trio.sleep(3 * LEASE)
            medium.mend(far)
            again.source, again.target = "asker", "doer/jobs"
            begun = len(doer.log)
            for _ in range(2):
                await far.send(again)
                await trio.sleep(LEASE)
            assert len(doer.log) == begun


async def test_b6_of_very_many_jobs_the_oldest_are_forgotten(autojump_clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "MOST_REMEMBERED", 20)
    async with open_medium() as medium:
        near, far = medium.bus(LEASE), medium.bus(LEASE)
        asker, doer = Asker("asker"), Doer()
        async with running(doer, bus=near), running(asker, bus=far):
            server = doer._life.jobs
            for number in range(50):
                async with asker.job("doer", "echo", number) as it:
                    await it.result()
            await trio.sleep(1)
            assert len(server._not_again) == 50
            await trio.sleep(2 * LEASE)
            assert len(server._not_again) == 20
            assert server._watch is None
