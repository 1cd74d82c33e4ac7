"""`BaseWorker`: its life, its messages, its tasks, what fails whom."""

from contextlib import asynccontextmanager

import pytest
import trio

from hosting import errors_in, notes_of
from trio_pipes import (
    BaseWorker,
    ConfigurationError,
    MemoryBus,
    PipelineRunner,
    SubscriberTooSlow,
)
from trio_pipes.host._jobs import job
from trio_pipes.testing import check_worker
from workers_kit import Data, Notes, Urgent, hosted


async def test_b5_messages_come_in_order_and_system_ones_at_once(autojump_clock) -> None:
    worker = Notes("a", takes=1.0)
    async with hosted(worker) as runner:
        for n in range(3):
            assert await runner.bus.send(Data(n, target="a"))
        await trio.sleep(0.5)
        assert await runner.bus.send(Urgent(10, target="a"))
        await trio.sleep(0.1)
        assert worker.log == ["up", "active None", 0, 10]
    assert worker.log[3:] == [10, "0 done", 1, "1 done", 2, "2 done", "down"]


async def test_no_super_call_is_needed(autojump_clock) -> None:
    got = []

    class Plain(BaseWorker):
        def __init__(self, got) -> None:
            self.got = got

        async def on_bus_message(self, message) -> None:
            self.got.append(message.n)

    worker = Plain(got)
    assert worker.name.startswith("Plain#")
    async with hosted(worker) as runner:
        assert worker.address == f"{runner.runner_id}/{worker.name}"
        assert await runner.bus.send(Data(1, target=worker.address))
        await runner.bus.send(Data(2))
    assert got == [1, 2]


async def test_what_it_sends_says_who_sends_it_and_does_not_come_back(autojump_clock) -> None:
    a, b = Notes("a"), Notes("b")
    async with hosted(a, b):
        message = Data(5)
        assert await a.send(message)
        assert message.source == "a"
        assert await b.send(Data(6, target="a"))
        assert not await b.send(Data(7, target="nobody"))
    assert [n for n in a.log if isinstance(n, int)] == [6]
    assert [n for n in b.log if isinstance(n, int)] == [5]


async def test_what_comes_during_set_up_waits_for_it(autojump_clock) -> None:
    class Slow(Notes):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(1)
            self.note("up")
            yield

    worker = Slow("a")
    runner = PipelineRunner(worker, handle_sigint=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(0.5)
        assert await runner.bus.send(Data(1, target="a"))
        await trio.sleep(1)
        runner.end()
    assert worker.log == ["up", "active None", 1, "1 done"]


async def test_stop_when_done_finishes_what_has_come_and_takes_no_more(autojump_clock) -> None:
    worker = Notes("a", takes=1.0)
    async with hosted(worker) as runner:
        for n in range(3):
            await runner.bus.send(Data(n, target="a"))
        await trio.sleep(0.5)
        worker.stop_when_done()
        await runner.bus.send(Data(3, target="a"))
        await worker.wait_finished()
        assert trio.current_time() == 3.0
    assert worker.log[-3:] == [2, "2 done", "down"]


async def test_a_failing_hook_is_its_workers_failure_with_a_note(autojump_clock) -> None:
    class Bad(Notes):
        async def on_bus_message(self, message) -> None:
            raise ValueError("no")

    bus = MemoryBus()
    other = Notes("other")
    with pytest.raises(ExceptionGroup) as caught:
        async with hosted(other, bus=bus):
            with pytest.raises(ExceptionGroup) as inner:
                async with hosted(Bad("bad"), bus=bus):
                    await bus.send(Data(1))
                    await trio.sleep_forever()
            raise inner.value
    (error,) = errors_in(caught.value)
    assert isinstance(error, ValueError)
    assert "on_bus_message" in notes_of(error)
    assert "'bad'" in notes_of(error)
    assert 1 in other.log


async def test_a_reader_that_is_too_slow_fails_alone(autojump_clock) -> None:
    slow, quick = Notes("slow", takes=1000, buffer=2), Notes("quick")
    bus = MemoryBus()
    with pytest.raises(ExceptionGroup) as caught:
        async with hosted(quick, bus=bus), trio.open_nursery() as nursery:
            nursery.start_soon(PipelineRunner(slow, bus=bus, handle_sigint=False).run)
            await trio.testing.wait_all_tasks_blocked()
            for n in range(10):
                await bus.send(Data(n))
                await trio.sleep(0.1)
    assert any(isinstance(error, SubscriberTooSlow) for error in errors_in(caught.value))
    assert quick.log.count("down") == 1


async def test_tasks_of_its_own_begin_when_it_is_set_up_and_end_with_it(autojump_clock) -> None:
    log = []

    class Ticks(Notes):
        @asynccontextmanager
        async def lifespan(self):
            self.start_soon(self.tick, 1.0)
            self.note("up")
            yield
            self.note("down")

        async def tick(self, period) -> None:
            while True:
                self.note("tick")
                await trio.sleep(period)

    worker = Ticks("a", log=log)
    async with hosted(worker):
        await trio.sleep(2.5)
    assert sorted(map(str, log[1:3])) == ["active None", "tick"]
    assert log[0] == "up"
    assert log[3:] == ["tick", "tick", "down"]
    with pytest.raises(RuntimeError, match="starts no task"):
        worker.start_soon(worker.tick, 1.0)


async def test_an_error_in_a_task_of_its_own_is_the_workers(autojump_clock) -> None:
    async def breaks() -> None:
        await trio.sleep(1)
        raise OSError("gone")

    worker = Notes("a")
    worker.start_soon(breaks)
    with pytest.raises(ExceptionGroup) as caught:
        await PipelineRunner(worker, handle_sigint=False).run()
    assert [type(error) for error in errors_in(caught.value)] == [OSError]
    assert worker.log[-1] == "down"


async def test_cleanup_may_await_after_a_cancel_and_has_a_deadline(autojump_clock, caplog) -> None:
    class Tidy(Notes):
        needs = 1.0

        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                await trio.sleep(self.needs)
                self.note("tidied")

    worker = Tidy("a")
    async with hosted(worker) as runner:
        runner.cancel()
    assert worker.log[-1] == "tidied"

    worker = Tidy("a")
    worker.needs = 100.0
    before = trio.current_time()
    async with hosted(worker) as runner:
        runner.cancel()
    assert trio.current_time() == before + 10
    assert "tidied" not in worker.log
    assert "took longer than 10 s" in caplog.text


@pytest.mark.parametrize("bad", [{"name": ""}, {"name": 5}, {"active": 1}, {"buffer": 0}])
def test_what_it_cannot_be_given(bad) -> None:
    with pytest.raises(ConfigurationError):
        BaseWorker(**bad)


async def test_it_says_what_is_missing(autojump_clock) -> None:
    worker = BaseWorker("a")
    with pytest.raises(RuntimeError, match="has no runner yet"):
        _ = worker.bus
    assert worker.parent is None
    assert worker.children == ()
    with pytest.raises(RuntimeError, match="only while it runs"):
        await worker.activate_worker("b")

    class Wrong(BaseWorker):
        async def lifespan(self):
            pass

    with pytest.raises(ConfigurationError, match="asynccontextmanager"):
        await Wrong("b").run()


async def test_it_is_a_worker_as_all_are(autojump_clock) -> None:
    await check_worker(lambda: Notes("a"))


async def test_it_costs_one_task(autojump_clock) -> None:
    async with hosted(*(BaseWorker(f"w{n}") for n in range(10))):
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        async with hosted(*(BaseWorker(f"v{n}") for n in range(20))):
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living <= before + 20 + 2


async def test_statistics(autojump_clock) -> None:
    worker = Notes("a", takes=1.0)
    async with hosted(worker) as runner:
        for n in range(3):
            await runner.bus.send(Data(n, target="a"))
        await trio.sleep(0.5)
        found = worker.statistics()
        assert (found.active, found.handled, found.waiting, found.dropped, found.urgent) == (True, 1, 2, 0, 0)


class Searcher(Notes):
    """Does a job."""

    @job("search")
    async def search(self, request):
        self.note(f"search {request.payload}")
        await request.update("half")
        await trio.sleep(self.takes)
        return request.payload * 2


async def test_b6_a_worker_does_jobs_for_others(autojump_clock) -> None:
    asker, searcher = Notes("asker"), Searcher("searcher", takes=1.0)
    async with hosted(asker, searcher):
        async with asker.job("searcher", "search", 4) as asked:
            assert [update async for update in asked] == ["half"]
            assert await asked.result() == 8
        async with asker.job_group(["searcher"], 5, name="search") as group:
            assert await group.results() == {"searcher": 10}
        async with asker.job("searcher", "search", 1):
            await trio.sleep(0.5)
            assert [request.payload for request in searcher.jobs] == [1]


async def test_accepted_jobs_are_finished_before_the_end(autojump_clock) -> None:
    asker, searcher = Notes("asker"), Searcher("searcher", takes=3.0)
    async with hosted(asker, searcher):
        async with asker.job("searcher", "search", 4) as asked:
            await trio.sleep(1)
            searcher.stop_when_done()
            assert await asked.result() == 8
        await searcher.wait_finished()
        assert trio.current_time() == 3.0


async def test_jobs_wait_while_the_worker_is_not_active(autojump_clock) -> None:
    asker, searcher = Notes("asker"), Searcher("searcher", active=False)
    async with hosted(asker, searcher):
        async with asker.job("searcher", "search", 4) as asked:
            await trio.sleep(1)
            assert not any("search" in str(entry) for entry in searcher.log)
            await asker.activate_worker("searcher")
            assert await asked.result() == 8
