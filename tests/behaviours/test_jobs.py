"""Jobs, as users of pipecat know them: who is told what, when, and what an urgent answer is."""

import pytest
import trio

from bus_kit import open_medium
from jobs_kit import Asker, Doer, running
from trio_pipes import BaseWorker, JobError, JobRequest, SystemMessage, job
from trio_pipes.host._jobs import _messages as messages


class Urgent(BaseWorker):
    """Answers urgently, if not well."""

    @job("try", urgent=True)
    async def attempt(self, job: JobRequest) -> str:
        await trio.sleep(1)
        if job.payload == self.name:
            raise ValueError("urgent")
        return self.name


async def test_a_request_goes_to_each_worker_and_each_answer_to_who_asked(autojump_clock) -> None:
    async with open_medium() as medium:
        asker = Asker("asker")
        async with running(Doer("a"), Doer("b"), bus=medium.bus()), running(asker, bus=medium.bus()) as runner:
            await runner.registry.wait_ready("a", "b")
            medium.carried.clear()
            async with asker.job_group(["a", "b"], {"q": 1}, name="echo") as group:
                await group.results()
            asked = [it for it in medium.carried if isinstance(it, messages.JobAsk)]
            assert sorted((it.target, it.source, it.name, it.payload["q"]) for it in asked) == [
                ("a/jobs", "asker", "echo", 1),
                ("b/jobs", "asker", "echo", 1),
            ]
            answers = [it for it in medium.carried if isinstance(it, messages.JobAnswer)]
            assert sorted((it.source, it.target) for it in answers) == sorted(
                (name, group.jobs[name].id) for name in ("a", "b")
            )
            assert all(it.status == "done" for it in answers)


async def test_an_urgent_answer_is_a_system_message(autojump_clock) -> None:
    async with open_medium() as medium:
        asker = Asker("asker")
        async with running(Urgent("a"), bus=medium.bus()), running(asker, bus=medium.bus()) as runner:
            await runner.registry.wait_ready("a")
            async with asker.job_group(["a"], name="try") as group:
                assert await group.results() == {"a": "a"}
            (answer,) = [it for it in medium.carried if isinstance(it, messages.JobAnswerUrgent)]
            assert isinstance(answer, SystemMessage)


async def test_an_urgent_error_cancels_the_group(autojump_clock) -> None:
    doer = Doer("b")

    class Both(Doer):
        @job("try")
        async def attempt(self, job: JobRequest) -> None:
            await trio.sleep(100)

    async with running(Urgent("a"), Both("b")) as runner, runner.job_group(["a", "b"], "a", name="try") as group:
        with pytest.raises(JobError, match="ValueError: urgent") as caught:
            await group.results()
        assert (caught.value.worker, caught.value.status) == ("a", "failed")
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == 1
        assert group.jobs["b"].is_over
    assert doer.jobs == ()


async def test_a_job_that_was_cancelled_there_fails_its_group(autojump_clock) -> None:
    doer = Doer("a")
    async with running(doer, Doer("b")) as runner, runner.job_group(["a", "b"], 100, name="sleep") as group:
        await trio.sleep(1)
        doer.jobs[0].cancel("user said stop")
        with pytest.raises(JobError, match="user said stop"):
            await group.results()


async def test_a_timeout_that_does_not_come_cancels_nothing(autojump_clock) -> None:
    doer = Doer()
    async with running(doer) as runner:
        async with runner.job("doer", "sleep", 1, timeout=2) as it:
            assert await it.result() == 1
            await trio.sleep(10)
            assert await it.result() == 1
        assert doer.log == [("begin", 1), ("end", 1)]


# What a stream ends with is the job's own end: there is no second message to forget.
async def test_the_end_of_a_stream_is_not_the_end_of_the_job(autojump_clock) -> None:
    class Streams(BaseWorker):
        @job()
        async def stream(self, job: JobRequest) -> str:
            async with job.open_stream() as out:
                await out.send(1)
            await trio.sleep(5)
            return "and more"

    async with running(Streams("streams")) as runner, runner.job("streams") as it:
        assert [chunk async for chunk in it.stream()] == [1]
        assert trio.current_time() == 0
        assert await it.result() == "and more"
        assert trio.current_time() == 5
