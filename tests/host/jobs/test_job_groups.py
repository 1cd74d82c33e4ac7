"""Groups: the same work, asked of several workers."""

import outcome
import pytest
import trio
import trio.testing

from jobs_kit import Asker, Doer, running
from trio_pipes import BaseWorker, JobError, JobRequest, JobTimeout, job


async def test_b6_a_group_gives_the_results_of_all(autojump_clock) -> None:
    asker = Asker("asker")
    async with running(Doer("a"), Doer("b"), asker):
        async with asker.job_group(["a", "b"], 1) as group:
            assert await group.results() == {"a": ("default", 1), "b": ("default", 1)}
            assert await group.results() == group.responses
            assert list(group.jobs) == ["a", "b"]
            assert group.jobs["a"].id != group.jobs["b"].id
        async with asker.job_group(["a", "b"], 2, name="sleep") as group:
            await group.results()
        assert trio.current_time() == 2


async def test_b6_a_group_tells_who_says_what(autojump_clock) -> None:
    async with running(Doer("a"), Doer("b")) as runner:
        async with runner.job_group(["a", "b"], 5, name="count") as group:
            told = [it async for it in group]
            assert sorted(told) == [(name, n) for name in "ab" for n in range(5)]
            assert [n for name, n in told if name == "a"] == list(range(5))
        async with runner.job_group(["a", "b"], 10, name="stream") as group:
            for member in group.jobs.values():
                assert [chunk async for chunk in member.stream()] == list(range(10))
            assert await group.results() == {"a": "streamed", "b": "streamed"}


class Mixed(Doer):
    """Fails after a second, where its payload names it."""

    @job("try")
    async def attempt(self, job: JobRequest) -> str:
        await trio.sleep(1)
        if self.name in job.payload:
            raise ValueError(self.name)
        await trio.sleep(1)
        self.log.append("survived")
        return self.name


async def test_b6_the_first_failure_cancels_the_others(autojump_clock) -> None:
    a, b, c = Mixed("a"), Mixed("b"), Mixed("c")
    async with running(a, b, c) as runner, runner.job_group(["a", "b", "c"], "b", name="try") as group:
        await trio.sleep(5)  # at once, whatever the body does
        with pytest.raises(JobError, match="ValueError: b") as caught:
            await group.results()
        assert caught.value.worker == "b"
        assert (a.log, c.log) == ([], [])
        for name in "ac":
            with pytest.raises(JobError, match="in the same group failed") as caught:
                await group.jobs[name].result()
            assert caught.value.status == "cancelled"
        assert [it async for it in group] == []


async def test_b6_what_the_others_gave_before_is_kept(autojump_clock) -> None:
    async with running(Mixed("a"), Doer("b")) as runner, runner.job_group(["a", "b"], 0.5, name="sleep") as group:
        await group.results()

    class Fast(BaseWorker):
        @job("try")
        async def attempt(self, job: JobRequest) -> str:
            return "fast"

    async with running(Mixed("a"), Fast("b")) as runner, runner.job_group(["a", "b"], "a", name="try") as group:
        with pytest.raises(JobError):
            await group.results()
        assert group.responses == {"b": "fast"}


async def test_b6_each_outcome_may_be_wanted(autojump_clock) -> None:
    async with running(Mixed("a"), Mixed("b")) as runner:
        async with runner.job_group(["a", "b", "c"], "a", name="try", timeout=10, cancel_on_error=False) as group:
            results = await group.results()
            assert trio.current_time() == 10
            assert results["b"] == outcome.Value("b")
            with pytest.raises(JobError, match="ValueError: a"):
                results["a"].unwrap()
            with pytest.raises(JobTimeout, match="'c' was not done in time: after 10 s the worker is not there"):
                results["c"].unwrap()


async def test_b6_each_is_asked_as_soon_as_it_is_there(autojump_clock) -> None:
    late = Doer("late")
    async with running(Doer("a")) as runner:
        async with runner.job_group(["a", "late"], 2, name="sleep") as group:
            await trio.sleep(1)
            runner.add_workers(late)
            assert await group.results() == {"a": 2, "late": 2}
            assert trio.current_time() == 3


@pytest.mark.parametrize("how", ["leave", "raise", "cancel"])
async def test_b6_leaving_a_group_cancels_the_work(autojump_clock, how) -> None:
    a, b = Doer("a"), Doer("b")
    async with running(a, b) as runner:
        try:
            with trio.move_on_after(1) as scope:
                async with runner.job_group(["a", "b", "nobody"], 10, name="sleep") as group:
                    await trio.testing.wait_all_tasks_blocked()
                    if how == "raise":
                        raise KeyError("mine")
                    if how == "cancel":
                        await group.results()
        except KeyError as exc:
            assert exc.args == ("mine",)
        assert scope.cancelled_caught == (how == "cancel")
        await trio.testing.wait_all_tasks_blocked()
        assert a.log == b.log == [("begin", 10), ("cancelled", 10)]
        subscriptions = runner.bus.statistics().subscriptions
        assert subscriptions <= 6
        with pytest.raises(RuntimeError, match="one block"):
            await group.__aenter__()


async def test_b6_a_group_times_out(autojump_clock) -> None:
    async with running(Doer("a"), Doer("b")) as runner:
        async with runner.job_group(["a", "b"], 10, name="sleep", timeout=3) as group:
            with pytest.raises(JobTimeout):
                await group.results()
            assert trio.current_time() == 3
