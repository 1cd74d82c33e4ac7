"""Jobs between processes, over a medium that loses, repeats, reorders and is cut."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from bus_kit import open_medium
from jobs_kit import Asker, Doer, running
from trio_pipes import BaseWorker, JobError, JobRequest, JobTimeout, WireError, job
from trio_pipes._base import Codec
from trio_pipes.host._jobs import _messages as messages

LEASE = 10.0
ROUND = LEASE / 4

KINDS = [*messages.TO_WORKER, *messages.TO_REQUESTER]
SAID_ONCE = {"JobProgress", "JobKeep", "JobKnown", "JobUpdateUrgent", "JobAnswerUrgent"}
NEEDED = [kind for kind in KINDS if kind.__name__ not in SAID_ONCE]


class Everything(BaseWorker):
    """Tells, streams and answers; counts how often it was asked."""

    def __init__(self, name: str = "everything") -> None:
        super().__init__(name)
        self.begun = 0
        self.ended: list[str] = []

    @job("all")
    async def all(self, job: JobRequest) -> str:
        self.begun += 1
        try:
            for n in range(3):
                await job.update(n)
                await trio.sleep(0.1)
            async with job.open_stream(buffer=2) as out:
                for n in range(12):
                    await out.send(n)
            await trio.sleep(job.payload)
        except trio.Cancelled:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return "answer"


async def ask_all(asker: Asker, seconds: float = 0) -> tuple[list, list]:
    async with asker.job("everything", "all", seconds) as it:
        chunks = [chunk async for chunk in it.stream()]
        assert await it.result() == "answer"
        return chunks, [update async for update in it]


@pytest.mark.parametrize("tells_gaps", [True, False])
@pytest.mark.parametrize("kind", NEEDED, ids=lambda kind: kind.__name__)
async def test_b6_whatever_is_lost_the_result_arrives(autojump_clock, kind, tells_gaps) -> None:
    async with open_medium() as medium:
        medium.tells_gaps = tells_gaps
        medium.codec = Codec()
        lost = []

        def lose(message, bus) -> bool:
            if type(message) is kind and len(lost) < 3:
                lost.append(message)
                return True
            return False

        asker, doer = Asker("asker"), Everything()
        async with running(doer, bus=medium.bus(LEASE)), running(asker, bus=medium.bus(LEASE)) as runner:
            await runner.registry.wait_ready("everything")
            medium.lose = lose
            began = trio.current_time()
            chunks, updates = await ask_all(asker)
            assert chunks == list(range(12))
            assert doer.begun == 1
            if kind is not messages.JobUpdate:
                assert updates == [0, 1, 2]
            assert lost
            if tells_gaps:  # a gap is asked about at once
                assert trio.current_time() - began < 4 * ROUND
            await trio.sleep(2 * LEASE)
            statistics = doer.statistics().jobs
            assert (statistics.running, statistics.kept, doer.ended) == (0, 0, ["done"])


async def test_b6_lost_updates_are_counted(autojump_clock) -> None:
    async with open_medium() as medium:
        asker, doer = Asker("asker"), Everything()
        async with running(doer, bus=medium.bus(LEASE)), running(asker, bus=medium.bus(LEASE)) as runner:
            await runner.registry.wait_ready("everything")
            medium.lose = lambda message, bus: type(message) is messages.JobUpdate and message.number != 1
            async with asker.job("everything", "all", 0) as it:
                assert await it.result() == "answer"
                assert [update async for update in it] == [1]
                assert it.dropped == 2


async def test_b6_what_arrives_twice_is_done_once(autojump_clock) -> None:
    async with open_medium() as medium:
        medium.jitter = 1.0
        medium.copies = lambda message: 3 if type(message) in KINDS else 1
        asker, doer = Asker("asker"), Everything()
        async with running(doer, bus=medium.bus(LEASE)), running(asker, bus=medium.bus(LEASE)) as runner:
            await runner.registry.wait_ready("everything")
            for n in range(5):
                chunks, _ = await ask_all(asker)
                assert chunks == list(range(12))
                assert doer.begun == n + 1
            await trio.sleep(2 * LEASE)
            assert doer.begun == 5
            assert doer.statistics().jobs.kept == 0


async def test_b6_a_lost_farewell_is_found_out_within_one_lease(autojump_clock) -> None:
    async with open_medium() as medium:
        medium.tells_gaps = False
        asker, doer = Asker("asker"), Doer()
        async with running(doer, bus=medium.bus(LEASE)), running(asker, bus=medium.bus(LEASE)) as runner:
            await runner.registry.wait_ready("doer")
            medium.lose = lambda message, bus: type(message) is messages.JobLeave
            async with asker.job("doer", "sleep", 3600):
                await trio.sleep(7)
            left = trio.current_time()
            await doer.stopped.wait()
            assert trio.current_time() - left <= LEASE + 0.2
            await trio.sleep(2 * LEASE)
            assert doer.statistics().jobs.kept == doer.statistics().jobs.running == 0


# A job that is worked on for many leases is kept alive from both sides, also while nobody reads it.
async def test_b6_a_long_job_lives(autojump_clock) -> None:
    async with open_medium() as medium:
        asker, doer = Asker("asker"), Doer()
        async with running(doer, bus=medium.bus(LEASE)), running(asker, bus=medium.bus(LEASE)) as runner:
            await runner.registry.wait_ready("doer")
            async with asker.job("doer", "sleep", 300) as it:
                await trio.sleep(400)
                assert it.is_over
                assert await it.result() == 300


@pytest.mark.parametrize("who", ["worker", "requester"])
async def test_g22_a_runner_that_is_not_heard_of_fails_its_jobs_within_one_lease(autojump_clock, who) -> None:
    async with open_medium() as medium:
        one, two = medium.bus(LEASE), medium.bus(LEASE)
        asker, doer = Asker("asker"), Doer()
        async with running(doer, bus=one), running(asker, bus=two) as runner:
            await runner.registry.wait_ready("doer")
            async with asker.job("doer", "sleep", 3600) as it:
                await trio.sleep(33)
                medium.cut(one if who == "worker" else two)
                cut = trio.current_time()
                with pytest.raises(JobError, match="nothing was heard of the worker for 10 s") as caught:
                    await it.result()
                assert caught.value.status == "gone"
                assert trio.current_time() - cut <= LEASE + 0.1
                await doer.stopped.wait()
                assert trio.current_time() - cut <= LEASE + 0.3
            medium.mend(one, two)
            await trio.sleep(3 * LEASE)
            async with asker.job("doer", "echo", "again") as it:
                assert await it.result() == "again"


async def test_b6_a_cut_that_is_shorter_than_the_lease_costs_nothing(autojump_clock) -> None:
    async with open_medium() as medium:
        one, two = medium.bus(LEASE), medium.bus(LEASE)
        asker, doer = Asker("asker"), Doer()
        async with running(doer, bus=one), running(asker, bus=two) as runner:
            await runner.registry.wait_ready("doer")
            async with asker.job("doer", "sleep", 20) as it:
                for _ in range(4):
                    await trio.sleep(3)
                    medium.cut(one)
                    await trio.sleep(3)
                    medium.mend(one)
                assert await it.result() == 20
            assert doer.log == [("begin", 20), ("end", 20)]


async def test_b6_a_worker_started_again_does_not_know_the_job(autojump_clock) -> None:
    async with open_medium() as medium:
        asker, bus = Asker("asker"), medium.bus(LEASE)
        async with running(asker, bus=medium.bus(LEASE)) as runner:
            async with running(Doer(), bus=bus) as there:
                await runner.registry.wait_ready("doer")
                async with asker.job("doer", "sleep", 3600) as it:
                    await trio.sleep(1)
                    medium.lose = lambda message, bus: type(message) is messages.JobAnswer
                    there.cancel()
                    await there.wait_finished()
                    medium.lose = lambda message, bus: False
                    async with running(Doer(), bus=bus):
                        with pytest.raises(JobError, match="does not know it|ended before it was done") as caught:
                            await it.result()
                        assert caught.value.status == "gone"


async def test_b6_what_cannot_be_sent_is_told_where_it_is(autojump_clock) -> None:
    class Wrong(BaseWorker):
        @job("answer")
        async def answer(self, job: JobRequest) -> object:
            return object()

        @job("update")
        async def update(self, job: JobRequest) -> str:
            with pytest.raises(WireError):
                await job.update(object())
            return "fine"

    async with open_medium() as medium:
        one, two = medium.bus(LEASE), medium.bus(LEASE)
        medium.codec = Codec()
        asker = Asker("asker")
        async with running(Wrong("wrong"), bus=one), running(asker, bus=two) as runner:
            await runner.registry.wait_ready("wrong")
            with pytest.raises(WireError, match="payload"):
                async with asker.job("wrong", "answer", {"a": object()}):
                    pass
            async with asker.job_group(["wrong"], {"a": object()}, name="answer") as group:
                with pytest.raises(WireError, match="payload"):
                    await group.results()
            async with asker.job("wrong", "answer") as it:
                with pytest.raises(JobError, match="WireError") as caught:
                    await it.result()
                assert caught.value.status == "failed"
            async with asker.job("wrong", "update") as it:
                assert await it.result() == "fine"


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), loss=st.floats(0, 0.4), jitter=st.sampled_from([0.0, 0.5]), tells=st.booleans())
def test_b6_random_losses(seed, loss, jitter, tells) -> None:
    async def main() -> None:
        async with open_medium(seed) as medium:
            asker, doer = Asker("asker"), Everything()
            async with running(doer, bus=medium.bus(LEASE)), running(asker, bus=medium.bus(LEASE)) as runner:
                await runner.registry.wait_ready("everything")
                medium.tells_gaps, medium.jitter = tells, jitter
                ours = frozenset(KINDS)
                medium.lose = lambda message, bus: type(message) in ours and medium.random.random() < loss
                results = []

                async def ask() -> None:
                    try:
                        async with asker.job("everything", "all", 1, timeout=300) as it:
                            chunks = [chunk async for chunk in it.stream()]
                            assert chunks == list(range(12))
                            results.append(await it.result())
                            updates = [update async for update in it]
                            assert len(updates) + it.dropped == 3
                            assert updates == sorted(updates)
                    except JobTimeout:
                        raise
                    except JobError as exc:
                        assert exc.status == "gone"
                        results.append("gone")

                with trio.fail_after(2000):
                    async with trio.open_nursery() as nursery:
                        for _ in range(4):
                            nursery.start_soon(ask)
                assert len(results) == 4
                assert doer.begun <= 4
                await trio.sleep(3 * LEASE)
                assert len(doer.ended) == doer.begun
                assert doer.statistics().jobs.kept == doer.statistics().jobs.running == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# The result has come, and the rest of the stream has not: whoever reads it is told, and does not wait for ever.
@pytest.mark.parametrize("timeout", [None, 30])
async def test_b6_a_stream_that_stops_on_the_way_is_told(autojump_clock, timeout) -> None:
    async with open_medium() as medium:
        one = medium.bus(LEASE)
        asker, doer = Asker("asker"), Everything()
        async with running(doer, bus=one), running(asker, bus=medium.bus(LEASE)) as runner:
            await runner.registry.wait_ready("everything")
            medium.lose = lambda message, bus: type(message) is messages.JobChunk and message.number > 10
            async with asker.job("everything", "all", 0, timeout=timeout) as it:
                stream = it.stream()
                assert [await stream.__anext__() for _ in range(11)] == list(range(11))
                await it.wait_over()
                if timeout is None:
                    medium.cut(one)
                with pytest.raises(JobError) as caught:
                    await stream.__anext__()
                assert caught.value.status == ("gone" if timeout is None else "timeout")
                assert await it.result() == "answer"
            medium.mend(one)
