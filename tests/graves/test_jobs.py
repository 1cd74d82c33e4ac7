"""Graves of jobs: who waited for ever, what was lost on the way, and what was left behind."""

import gc
import logging
from contextlib import suppress

import pytest
import trio
import trio.testing

from bus_kit import open_medium
from jobs_kit import Asker, Doer, running
from trio_pipes import BaseWorker, JobError, JobRequest, JobTimeout, job
from trio_pipes.host._jobs import _messages as messages


class Dies(BaseWorker):
    """Fails as a whole while it does a job."""

    @job("work")
    async def work(self, job: JobRequest) -> None:
        await job.update("begun")
        await trio.sleep_forever()

    @job("wait", sequential=True)
    async def wait(self, job: JobRequest) -> None:
        await trio.sleep_forever()

    async def on_bus_message(self, message: object) -> None:
        raise RuntimeError("the worker's own failure")


# There the requester waits until its own timeout, if it has one.
@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_g22_a_job_whose_worker_died_fails_at_once(autojump_clock, how) -> None:
    dies = Dies("dies")
    async with running() as runner:
        runner.add_workers(dies, isolated=True)
        async with (
            runner.job("dies", "work") as working,
            runner.job("dies", "wait") as first,
            runner.job("dies", "wait") as second,
        ):
            assert await working.__anext__() == "begun"
            await trio.sleep(3)
            if how == "fails":
                await runner.bus.send(messages.JobKnown(job="any", target="dies"))
            else:
                dies.cancel()
            for it in (working, first, second):
                with pytest.raises(JobError, match="the worker ended before it was done") as caught:
                    await it.result()
                assert caught.value.status == "gone"
            assert trio.current_time() == 3


async def test_g22_a_job_whose_runner_died_fails_within_one_lease(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = medium.bus(lease=10), medium.bus(lease=10)
        asker = Asker("asker")
        async with running(Doer(), bus=one), running(asker, bus=two) as runner:
            await runner.registry.wait_ready("doer")
            async with asker.job("doer", "sleep", 1000) as it:
                await trio.sleep(20)
                medium.cut(one)
                died = trio.current_time()
                with pytest.raises(JobError) as caught:
                    await it.result()
                assert caught.value.status == "gone"
                assert trio.current_time() - died <= 10.1


# There it sends no answer, and its requester hangs.
async def test_g24_a_handler_that_raises_answers(autojump_clock) -> None:
    async with running(Doer()) as runner, runner.job("doer", "fail", "luck") as it:
        with pytest.raises(JobError, match="LookupError: no luck"):
            await it.result()
        assert trio.current_time() == 0


async def test_g24_a_job_that_the_worker_does_not_have_is_an_error_at_once(autojump_clock) -> None:
    class Idle(BaseWorker):
        pass

    async with running(Doer(), Idle("idle")) as runner:
        for name, told in (("doer", "does these: 'count', 'echo'"), ("idle", "does these: none, and no default one")):
            async with runner.job(name, "fly") as it:
                with pytest.raises(JobError, match=told) as caught:
                    await it.result()
                assert caught.value.status == "unknown"
        async with runner.job("idle") as it:
            with pytest.raises(JobError, match="the default job of 'idle' is unknown there"):
                await it.result()
        assert trio.current_time() == 0


# There it hangs, whatever its timeout. Here the timeout counts, and who wants to wait for somebody to come may.
async def test_g24_a_job_of_an_unknown_worker_has_its_time(autojump_clock) -> None:
    async with running() as runner:
        async with runner.job("nobody", "fly", timeout=30) as it:
            with pytest.raises(JobTimeout, match="the worker is not there"):
                await it.result()
        assert trio.current_time() == 30
        with trio.move_on_after(30) as scope:
            async with runner.job("nobody", "fly"):
                raise AssertionError
        assert scope.cancelled_caught


# There 501 closures were left after 500 jobs.
@pytest.mark.parametrize("crosses", [False, True])
async def test_g24_500_jobs_leave_nothing_behind(autojump_clock, caplog, crosses) -> None:
    caplog.set_level(logging.CRITICAL, "trio_pipes")  # records of errors keep what they tell of
    async with open_medium() as medium:
        bus = medium.bus(lease=10) if crosses else None
        doer = Doer()
        async with running(doer, bus=bus) as runner:

            async def ask(count: int) -> None:
                for n in range(count):
                    async with runner.job("doer", ("echo", "fail", "count", "stream")[n % 4], n % 7) as it:
                        with trio.move_on_after(5):
                            with suppress(JobError):
                                await it.result()
                with trio.move_on_after(1):
                    async with runner.job("nobody", "echo"):
                        pass

            async def objects() -> int:
                await trio.sleep(30)  # two leases and more: what was kept for a repeated request is gone
                doer.log.clear()
                gc.collect()
                return len(gc.get_objects())

            await ask(20)
            subscriptions, before = runner.bus.statistics().subscriptions, await objects()
            tasks = trio.lowlevel.current_statistics().tasks_living
            await ask(500)
            after = await objects()
            assert after - before < 250
            assert runner.bus.statistics().subscriptions == subscriptions
            assert trio.lowlevel.current_statistics().tasks_living == tasks
            assert doer.statistics().jobs.kept == doer.statistics().jobs.running == 0


# There an update is lost where sending it suspends: the requester was not listening yet.
async def test_g34_updates_that_come_before_anybody_reads_are_there(autojump_clock) -> None:
    async with open_medium() as medium:
        asker = Asker("asker")
        async with running(Doer(), bus=medium.bus()), running(asker, bus=medium.bus()) as runner:
            await runner.registry.wait_ready("doer")
            async with asker.job("doer", "count", 5) as it:
                await trio.sleep(5)
                assert [update async for update in it] == [0, 1, 2, 3, 4]


# There a cancelled job gives {} as its success.
async def test_g34_a_cancelled_job_is_no_success(autojump_clock) -> None:
    class Swallows(BaseWorker):
        @job("swallow")
        async def swallow(self, job: JobRequest) -> dict:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            return {}

    doer, swallows = Doer(), Swallows("swallows")
    async with running(doer, swallows) as runner:
        for worker, name in ((doer, "sleep"), (swallows, "swallow")):
            async with runner.job(worker.name, name, 100) as it:
                await trio.testing.wait_all_tasks_blocked()
                worker.jobs[0].cancel("changed my mind")
                with pytest.raises(JobError, match="changed my mind") as caught:
                    await it.result()
                assert caught.value.status == "cancelled"


# There the data that a handler gives with its error does not arrive.
async def test_g34_the_payload_of_an_error_is_kept(autojump_clock) -> None:
    async with running(Doer()) as runner, runner.job("doer", "refuse", "trio") as it:
        with pytest.raises(JobError, match="not this one") as caught:
            await it.result()
        assert caught.value.payload == {"nearest": "trio"}


# There it counts until the worker is ready, and then again from the start.
async def test_g34_the_timeout_counts_once(autojump_clock) -> None:
    async with running() as runner, trio.open_nursery() as nursery:

        async def come() -> None:
            await trio.sleep(8)
            runner.add_workers(Doer())

        nursery.start_soon(come)
        async with runner.job("doer", "sleep", 9, timeout=10) as it:
            with pytest.raises(JobTimeout):
                await it.result()
        assert trio.current_time() == 10
