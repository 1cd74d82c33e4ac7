"""Jobs in one process: what is asked, told and answered, and what leaving the block does."""

import gc
import weakref

import pytest
import trio
import trio.testing

from jobs_kit import Asker, Doer, running
from trio_pipes import (
    BaseWorker,
    ConfigurationError,
    Direction,
    Frame,
    FrameProcessor,
    JobError,
    JobRequest,
    JobTimeout,
    MemoryBus,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    TextFrame,
    job,
)


async def test_b6_a_job_gives_its_result_as_often_as_it_is_asked_for(autojump_clock) -> None:
    asker, doer = Asker("asker"), Doer()
    async with running(asker, doer) as runner:
        async with asker.job("doer", "echo", {"q": "trio"}) as it:
            assert await it.result() == {"q": "trio"}
            assert await it.result() == {"q": "trio"}
            assert it.is_over
        assert await it.result() == {"q": "trio"}
        async with runner.job("doer", payload=1) as it:
            assert await it.result() == ("default", 1)
        assert doer.log == [{"q": "trio"}]
        assert doer.jobs == ()
    assert trio.current_time() == 0


async def test_b6_a_handler_sees_who_asks_for_what_until_when(autojump_clock) -> None:
    seen = []

    class Curious(BaseWorker):
        @job("look")
        async def look(self, job: JobRequest) -> None:
            await trio.sleep(1)
            seen.append((job.name, job.payload, job.source, job.runner, job.deadline, job.seconds_left, job.id))

    asker = Asker("asker")
    async with running(asker, Curious("curious")) as runner:
        async with asker.job("curious", "look", 1, timeout=5) as it:
            await it.result()
        assert seen.pop() == ("look", 1, "asker", runner.runner_id, 5.0, 4.0, it.id)
        async with runner.job("curious", "look") as it:
            await it.result()
        assert seen.pop()[4:6] == (float("inf"), float("inf"))


async def test_b6_updates_come_in_order_and_end_with_the_job(autojump_clock) -> None:
    async with running(Doer()) as runner:
        async with runner.job("doer", "count", 20) as it:
            assert [update async for update in it] == list(range(20))
            assert await it.result() == "counted"
            assert [update async for update in it] == []


# Updates that nobody reads never block the job: the newest are kept, and the rest is counted.
async def test_b6_updates_that_are_not_read_are_dropped_and_counted(autojump_clock) -> None:
    async with running(Doer()) as runner:
        async with runner.job("doer", "count", 1000) as it:
            assert await it.result() == "counted"
            assert [update async for update in it] == list(range(1000 - 64, 1000))
            assert it.dropped == 1000 - 64


async def test_b6_urgent_updates_come_first(autojump_clock) -> None:
    async with running(Doer()) as runner:
        async with runner.job("doer", "quick") as it:
            assert await it.result() == "quick"
            assert [update async for update in it] == ["urgent news", "slow news"]


async def test_b6_a_stream_waits_for_its_reader(autojump_clock) -> None:
    doer = Doer()
    async with running(doer) as runner:
        async with runner.job("doer", "stream", 100) as it:
            stream = it.stream()
            await trio.testing.wait_all_tasks_blocked()
            assert doer.log == [0, 1, 2, 3]
            assert [chunk async for chunk in stream] == list(range(100))
            assert await it.result() == "streamed"
            assert [chunk async for chunk in it.stream()] == []


async def test_b6_a_stream_that_nobody_reads_is_given_up_for_the_result(autojump_clock) -> None:
    async with running(Doer()) as runner:
        async with runner.job("doer", "stream", 100) as it:
            assert await it.result() == "streamed"
            with pytest.raises(RuntimeError, match="gives up the stream"):
                it.stream()


async def test_b6_an_error_in_a_stream_reaches_its_reader(autojump_clock) -> None:
    async with running(Doer()) as runner, runner.job("doer", "tear") as it:
        stream = it.stream()
        assert await stream.__anext__() == "first"
        with pytest.raises(JobError, match="ValueError: torn"):
            await stream.__anext__()
        with pytest.raises(JobError, match="ValueError: torn"):
            await it.result()


async def test_b6_a_job_without_a_stream_has_an_empty_one(autojump_clock) -> None:
    async with running(Doer()) as runner:
        async with runner.job("doer", "echo", 1) as it:
            assert [chunk async for chunk in it.stream()] == []
            assert await it.result() == 1
        async with runner.job("doer", "fail", 1) as it:
            with pytest.raises(JobError):
                [chunk async for chunk in it.stream()]


async def test_b6_progress_is_told_when_it_is_asked_for(autojump_clock) -> None:
    async with running(Doer()) as runner, runner.job("doer", "progress") as it:
        await trio.sleep(3.5)
        await it.ask_progress()
        assert await it.__anext__() == 4
        await trio.sleep(4)
        await it.ask_progress()
        assert await it.__anext__() == 8
        assert await it.result() == 10
        await it.ask_progress()


async def test_b6_progress_is_told_once_somebody_knows(autojump_clock) -> None:
    class Late(BaseWorker):
        @job()
        async def work(self, job: JobRequest) -> str:
            await trio.sleep(5)
            job.on_progress_asked(lambda: "half")
            await trio.sleep(5)
            job.on_progress_asked(None)
            return "done"

    async with running(Late("late")) as runner, runner.job("late") as it:
        await it.ask_progress()
        assert [update async for update in it] == ["half"]
        assert await it.result() == "done"


async def test_what_tells_the_progress_fails_the_job_when_it_raises(autojump_clock) -> None:
    class Bad(BaseWorker):
        @job()
        async def work(self, job: JobRequest) -> None:
            job.on_progress_asked(lambda: 1 // 0)
            await trio.sleep_forever()

    async with running(Bad("bad")) as runner, runner.job("bad") as it:
        await trio.testing.wait_all_tasks_blocked()
        await it.ask_progress()
        with pytest.raises(JobError, match="ZeroDivisionError") as caught:
            await it.result()
        assert caught.value.status == "failed"


# -- what goes wrong


async def test_b6_an_error_of_a_handler_is_its_requesters(autojump_clock, caplog) -> None:
    doer = Doer()
    async with running(doer) as runner:
        for _ in range(2):
            async with runner.job("doer", "fail", "data") as it:
                with pytest.raises(JobError) as caught:
                    await it.result()
                assert [update async for update in it] == []
        error = caught.value
        assert str(error) == "job 'fail' of 'doer' failed: LookupError: no data"
        assert (error.worker, error.job, error.job_id, error.status) == ("doer", "fail", it.id, "failed")
        assert error.payload is None
        assert "raise LookupError" in error.remote_traceback
        assert "raise LookupError" in error.__notes__[0]
        assert "job 'fail'" in caplog.text  # it is told at the worker as well
        async with runner.job("doer", "echo", 1) as it:  # which goes on
            assert await it.result() == 1


async def test_b6_sequential_jobs_run_one_at_a_time_in_order(autojump_clock) -> None:
    doer = Doer()
    async with running(doer) as runner:

        async def ask(name: str, seconds: float) -> None:
            async with runner.job("doer", name, seconds) as it:
                await it.result()

        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(ask, "one", 1 + n / 10)
                await trio.testing.wait_all_tasks_blocked()
            assert doer.statistics().jobs.waiting == 4
        assert [it for it in doer.log if it[0] == "begin"] == [("begin", 1 + n / 10) for n in range(5)]
        assert doer.most == 1
        assert trio.current_time() == pytest.approx(6.0)
        async with trio.open_nursery() as nursery:  # names do not wait for each other
            nursery.start_soon(ask, "one", 1)
            nursery.start_soon(ask, "other", 1)
        assert doer.most == 2
        assert trio.current_time() == pytest.approx(7.0)


@pytest.mark.parametrize(("name", "most", "seconds"), [("three", 3, 4), ("sleep", 0, 1)])
async def test_b6_jobs_run_beside_each_other_up_to_their_limit(autojump_clock, name, most, seconds) -> None:
    doer = Doer()
    async with running(doer) as runner, trio.open_nursery() as nursery:

        async def ask() -> None:
            async with runner.job("doer", name, 1) as it:
                await it.result()

        for _ in range(10):
            nursery.start_soon(ask)
    assert doer.most == most
    assert trio.current_time() == seconds


# -- leaving


@pytest.mark.parametrize("how", ["leave", "raise", "cancel"])
@pytest.mark.parametrize("name", ["sleep", "one"])
async def test_b6_leaving_the_block_cancels_the_work(autojump_clock, how, name) -> None:
    doer = Doer()
    async with running(doer) as runner:
        try:
            with trio.move_on_after(1):
                async with runner.job("doer", name, 10) as it:
                    await trio.testing.wait_all_tasks_blocked()
                    if how == "raise":
                        raise KeyError("mine")
                    if how == "cancel":
                        await it.result()
        except KeyError as exc:
            assert exc.args == ("mine",)
        await trio.testing.wait_all_tasks_blocked()
        assert doer.log == [("begin", 10), ("cancelled", 10)]
        assert doer.jobs == ()
        with pytest.raises(JobError, match="left") as caught:
            await it.result()
        assert caught.value.status == "cancelled"
        assert trio.current_time() == (1 if how == "cancel" else 0)


async def test_b6_a_job_that_waits_its_turn_is_never_begun_when_it_is_left(autojump_clock) -> None:
    doer = Doer()
    async with running(doer) as runner, runner.job("doer", "one", 5) as first:
        async with runner.job("doer", "one", 6):
            await trio.testing.wait_all_tasks_blocked()
        async with runner.job("doer", "one", 7) as third:
            assert (await first.result(), await third.result()) == (5, 7)
    assert [it for it in doer.log if it[0] == "begin"] == [("begin", 5), ("begin", 7)]


# -- time


async def test_b6_the_timeout_counts_once_from_the_entry(autojump_clock) -> None:
    doer = Doer()
    async with running() as runner:

        async def come() -> None:
            await trio.sleep(3)
            runner.add_workers(doer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            async with runner.job("doer", "sleep", 10, timeout=5) as it:
                assert trio.current_time() == 3
                with pytest.raises(JobTimeout, match="not done in time: ") as caught:
                    await it.result()
                assert trio.current_time() == 5
                assert isinstance(caught.value, trio.TooSlowError)
                assert caught.value.status == "timeout"
        assert doer.log == [("begin", 10), ("cancelled", 10)]


async def test_b6_the_timeout_covers_the_wait_for_the_worker(autojump_clock) -> None:
    async with running() as runner, runner.job("nobody", "echo", timeout=5) as it:
        assert trio.current_time() == 5
        with pytest.raises(JobTimeout, match="after 5 s the worker is not there"):
            await it.result()


async def test_b6_the_timeout_covers_the_queue(autojump_clock) -> None:
    doer = Doer()
    async with running(doer) as runner, runner.job("doer", "one", 10) as first:
        async with runner.job("doer", "one", 1, timeout=4) as it:
            with pytest.raises(JobTimeout):
                await it.result()
        assert trio.current_time() == 4
        async with runner.job("doer", "one", 2, timeout=5) as it:
            await trio.sleep(8)  # the worker sees that its time is over; nobody waits here
            with pytest.raises(JobTimeout):
                await it.result()
        await first.result()
    assert doer.log == [("begin", 10), ("end", 10)]


async def test_b6_without_a_timeout_an_unknown_worker_is_waited_for(autojump_clock) -> None:
    async with running() as runner:

        async def come() -> None:
            await trio.sleep(3600)
            runner.add_workers(Doer())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            async with runner.job("doer", "echo", 1) as it:
                assert await it.result() == 1
        assert trio.current_time() == 3600


# A handler that takes no notice of the cancel is not a success after its time either.
async def test_b6_a_result_that_comes_too_late_is_none(autojump_clock) -> None:
    class Deaf(BaseWorker):
        @job("deaf")
        async def deaf(self, job: JobRequest) -> str:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)
            return "late"

    async with running(Deaf("deaf")) as runner:
        async with runner.job("deaf", "deaf", timeout=5) as it:
            await trio.sleep(20)
            with pytest.raises(JobTimeout):
                await it.result()


# -- the worker's side of it


async def test_b6_the_worker_may_stop_what_it_does(autojump_clock) -> None:
    doer = Doer()
    async with running(doer) as runner, runner.job("doer", "sleep", 10) as it:
        await trio.testing.wait_all_tasks_blocked()
        (request,) = doer.jobs
        await request.cancel("not now")
        request.cancel("again")
        with pytest.raises(JobError, match="was cancelled: not now") as caught:
            await it.result()
        assert caught.value.status == "cancelled"
        with pytest.raises(RuntimeError, match=r"update\(\) was called"):
            await request.update(1)
        with pytest.raises(RuntimeError, match=r"open_stream\(\) was called"):
            request.open_stream()


async def test_b6_a_worker_that_ends_finishes_the_jobs_that_it_took(autojump_clock) -> None:
    doer = Doer()
    async with running(doer) as runner:
        async with runner.job("doer", "one", 5) as first, runner.job("doer", "one", 6) as second:
            await trio.sleep(1)
            doer.stop_when_done()
            async with runner.job("doer", "echo", 1) as late:
                with pytest.raises(JobError, match="takes no more jobs") as caught:
                    await late.result()
            assert caught.value.status == "refused"
            assert (await first.result(), await second.result()) == (5, 6)
        await doer.wait_finished()
        assert trio.current_time() == 11


async def test_b6_jobs_of_a_worker_that_is_not_active_wait(autojump_clock) -> None:
    class Sleepy(Doer):
        async def on_activated(self, args: object) -> None:
            await trio.sleep(2)
            self.log.append("active")

    doer, asker = Sleepy(active=False), Asker("asker")
    async with running(doer, asker):
        async with asker.job("doer", "echo", 1, timeout=10) as it:
            await trio.sleep(5)
            assert not it.is_over
            await asker.activate_worker("doer")
            assert await it.result() == 1
            assert doer.log == ["active", 1]
            assert trio.current_time() == 7
        await asker.deactivate_worker("doer")
        async with asker.job("doer", "echo", 2) as it:
            await trio.sleep(5)
            doer.stop_when_done()
            with pytest.raises(JobError, match="not active, and ends") as caught:
                await it.result()
            assert caught.value.status == "refused"


async def test_b6_a_worker_may_ask_itself_and_others_in_turn(autojump_clock) -> None:
    class Chain(BaseWorker):
        @job("down")
        async def down(self, job: JobRequest) -> list[int]:
            if job.payload == 0:
                raise JobError("the bottom", payload="deep")
            async with self.job("chain", "down", job.payload - 1) as it:
                return await it.result()

    async with running(Chain("chain")) as runner, runner.job("chain", "down", 3) as it:
        with pytest.raises(JobError, match="the bottom") as caught:
            await it.result()
        assert caught.value.payload == "deep"
        assert str(caught.value).count("job 'down' of 'chain' failed") == 4


async def test_b6_a_job_is_asked_from_inside_a_processor(autojump_clock) -> None:
    class Ask(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                async with self.task.job("doer", "echo", frame.text) as it:
                    frame = TextFrame(await it.result() + "!")
            await self.push_frame(frame, direction)

    task = PipelineTask(Pipeline([Ask()]))
    async with running(Doer()) as runner, task.open_output(TextFrame) as output:
        await task.queue_frame(TextFrame("hello"))
        task.stop_when_done()
        await runner.run(task)
        assert [frame.text async for frame in output] == ["hello!"]


async def test_a_task_without_a_runner_asks_nobody(autojump_clock) -> None:
    with pytest.raises(RuntimeError, match="has no runner"):
        PipelineTask(Pipeline([FrameProcessor()])).job("doer", "echo")
    with pytest.raises(RuntimeError, match="has no runner"):
        Asker("asker").job("doer", "echo")


# A handler's context is the worker's: what happened to be current where a request was sent is not.
async def test_a_handler_does_not_run_in_the_context_of_who_asks(autojump_clock) -> None:
    from contextvars import ContextVar

    current = ContextVar("current", default="nothing")
    seen = []

    class Looks(BaseWorker):
        @job()
        async def look(self, job: JobRequest) -> None:
            seen.append(current.get())

    async with running(Looks("looks")) as runner:
        current.set("a processor")
        async with runner.job("looks") as it:
            await it.result()
    assert seen == ["nothing"]


async def test_a_job_is_asked_once(autojump_clock) -> None:
    async with running(Doer()) as runner:
        async with runner.job("doer", "echo") as it:
            with pytest.raises(RuntimeError, match="one block"):
                async with it:
                    pass
            await it.result()


async def test_a_job_leaves_nothing_behind(autojump_clock) -> None:
    doer = Doer()
    async with running(doer) as runner:
        subscriptions = runner.bus.statistics().subscriptions

        class Thing:
            pass

        refs = []
        for how in range(3):
            thing = Thing()
            refs.append(weakref.ref(thing))
            async with runner.job("doer", ["echo", "sleep", None][how], thing if how != 1 else 5) as it:
                if how != 1:
                    await it.result()
            del thing, it
        doer.log.clear()
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [ref() for ref in refs] == [None, None, None]
        assert runner.bus.statistics().subscriptions == subscriptions
        assert doer.statistics().jobs.kept == doer.statistics().jobs.running == 0


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda runner: runner.job("", "echo"), "worker=''"),
        (lambda runner: runner.job(None, "echo"), "worker=None"),
        (lambda runner: runner.job("doer", ""), "name=''"),
        (lambda runner: runner.job("doer", "echo", timeout=0), "timeout=0"),
        (lambda runner: runner.job("doer", "echo", timeout=float("nan")), "timeout=nan"),
        (lambda runner: runner.job_group([]), "workers"),
        (lambda runner: runner.job_group("ab"), "workers"),
        (lambda runner: runner.job_group(["a", "a"]), "each name once"),
        (lambda runner: runner.job_group(["a", 1]), "workers=1"),
        (lambda runner: runner.job_group(["a"], cancel_on_error=1), "cancel_on_error"),
        (lambda runner: job(""), "name=''"),
        (lambda runner: job("x", sequential=1), "sequential=1"),
        (lambda runner: job("x", limit=0), "limit=0"),
        (lambda runner: job("x", sequential=True, limit=2), "limit"),
        (lambda runner: job("x", urgent=None), "urgent"),
        (lambda runner: job("x")(lambda self, job: None), "async method"),
    ],
)
async def test_bad_calls_are_refused(ask, named) -> None:
    with pytest.raises(ConfigurationError, match=named):
        ask(PipelineRunner(handle_sigint=False))


def test_two_methods_for_one_job_are_refused_with_the_class() -> None:
    with pytest.raises(ConfigurationError, match="Two: a and b both do job 'x'"):

        class Two(BaseWorker):
            @job("x")
            async def a(self, job: JobRequest) -> None: ...

            @job("x")
            async def b(self, job: JobRequest) -> None: ...

    with pytest.raises(ConfigurationError, match="both do the default job"):

        class Below(Doer):
            @job()
            async def another(self, job: JobRequest) -> None: ...

    with pytest.raises(ConfigurationError, match="expected an async method"):

        class Plain(Doer):
            echo = None

    with pytest.raises(ConfigurationError, match="already"):

        class Twice(BaseWorker):
            @job("x")
            @job("y")
            async def a(self, job: JobRequest) -> None: ...


async def test_an_override_does_the_job(autojump_clock) -> None:
    class Louder(Doer):
        async def echo(self, job: JobRequest) -> str:
            return f"{job.payload}!"

    async with running(Louder()) as runner, runner.job("doer", "echo", "hey") as it:
        assert await it.result() == "hey!"


async def test_wrong_things_to_tell_progress_with_are_refused(autojump_clock) -> None:
    class Wrong(BaseWorker):
        @job()
        async def work(self, job: JobRequest) -> None:
            async def tell() -> None: ...

            with pytest.raises(TypeError, match="is async"):
                job.on_progress_asked(tell)
            with pytest.raises(ConfigurationError):
                job.on_progress_asked(1)
            with pytest.raises(ConfigurationError):
                job.open_stream(buffer=0)
            stream = job.open_stream()
            with pytest.raises(RuntimeError, match="one"):
                job.open_stream()
            with pytest.raises(RuntimeError, match="is not open"):
                await stream.send(1)

    async with running(Wrong("wrong")) as runner, runner.job("wrong") as it:
        await it.result()


async def test_b6_a_worker_with_a_default_name_is_asked_on_its_own_runner(autojump_clock) -> None:
    doer = Doer(None)
    async with running(doer) as runner, runner.job(doer.name, "echo", 1) as it:
        assert await it.result() == 1
        assert doer.name.startswith("Doer#")


async def test_b6_a_job_of_another_runner_of_the_same_bus(autojump_clock) -> None:
    bus = MemoryBus()
    async with running(Doer(), bus=bus), running(bus=bus) as runner:
        async with runner.job("doer", "stream", 9) as it:
            assert [chunk async for chunk in it.stream()] == list(range(9))
            assert await it.result() == "streamed"
        async with runner.job("doer", "sleep", 5):
            await trio.testing.wait_all_tasks_blocked()


# A worker that knows nothing of jobs, such as a pipeline, says no at once.
async def test_b6_a_worker_that_does_no_jobs_is_an_error_at_once(autojump_clock) -> None:
    task = PipelineTask(Pipeline([FrameProcessor()]), name="pipeline")
    async with running(task) as runner:
        await runner.registry.wait_ready("pipeline")
        async with runner.job("pipeline", "echo") as it:
            with pytest.raises(JobError, match="this worker does no jobs") as caught:
                await it.result()
            assert caught.value.status == "refused"
        assert trio.current_time() == 0
