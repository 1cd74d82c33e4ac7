"""Workers that are used wrongly, or have nothing to send it with: what is told, and to whom."""

import pytest
import trio

from net_kit import Broker
from trio_pipes import (
    ActivationError,
    BaseWorker,
    BridgedPipeline,
    BusBridge,
    BusError,
    ConfigurationError,
    DataMessage,
    IdentityFilter,
    JobError,
    MemoryBus,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    Restart,
    StartFrame,
    job,
    worker_ready,
)
from workers_kit import Data, Notes


def task() -> PipelineTask:
    return PipelineTask(Pipeline([IdentityFilter()]), name="a")


@pytest.mark.parametrize("make", [lambda: Notes("a"), task, lambda: Restart(lambda: Notes("a"))])
async def test_a_worker_that_two_runners_were_given_belongs_to_the_one_that_runs_it(autojump_clock, make) -> None:
    worker = make()
    first = PipelineRunner(worker, handle_sigint=False)
    second = PipelineRunner(worker, handle_sigint=False)
    actual = worker.worker if isinstance(worker, Restart) else worker
    assert actual.runner is second
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        assert actual.runner is first
        if isinstance(actual, Notes):
            assert await first.bus.send(Data(1, target="a"))
        with pytest.raises(RuntimeError, match="has been run already"):
            PipelineRunner(worker)
        assert actual.runner is first
        first.end()
        if isinstance(actual, PipelineTask):
            actual.stop_when_done()
    with pytest.raises(ExceptionGroup) as caught:
        await second.run()
    assert caught.group_contains(RuntimeError, match="has been run already")


async def test_a_handover_whose_arguments_cannot_be_sent_is_refused_to_its_caller_alone(autojump_clock) -> None:
    broker = Broker()
    giver, taker = Notes("giver"), Notes("taker", active=False)
    runners = [PipelineRunner(worker, bus=broker.bus(), handle_sigint=False) for worker in (giver, taker)]
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        with pytest.raises(ActivationError, match="cannot be sent.*'giver' is active again"):
            await giver.hand_over("taker", object())
        assert (giver.is_active, taker.is_active) == (True, False)
        await giver.hand_over("taker", {"why": 1})
        assert (giver.is_active, taker.is_active) == (False, True)
        with pytest.raises(ActivationError, match="within 1 s; no worker of that name is known"):
            await giver.activate_worker("nobody", timeout=1)
        for runner in runners:
            runner.end()


async def test_what_workers_raised_is_told_beside_a_bus_that_cannot_be_closed_in_order(autojump_clock) -> None:
    class Talks(BaseWorker):
        async def on_activated(self, args: object) -> None:
            broker.pause()
            await self.send(Data(1, target="far"))
            raise KeyError("its own")

    broker = Broker()
    with pytest.raises(ExceptionGroup) as caught:
        await PipelineRunner(Talks("a"), bus=broker.bus(lease=1000.0), handle_sigint=False).run()
    broker.go_on()
    assert caught.group_contains(KeyError, match="its own")
    assert caught.group_contains(BusError, match="not taken")


async def test_an_error_that_cannot_say_what_it_is_fails_its_job_alone(autojump_clock) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise AttributeError("code")

    class Fails(BaseWorker):
        @job("fail")
        async def fail(self, request: object) -> None:
            raise Mute

        @job("work")
        async def work(self, request: object) -> int:
            return 1

    runner = PipelineRunner(Fails("a"), handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        with pytest.raises(JobError, match="Mute: it has no text: its str\\(\\) raised AttributeError"):
            async with runner.job("a", "fail") as asked:
                await asked.result()
        async with runner.job("a", "work") as asked:
            assert await asked.result() == 1
        runner.end()


async def test_a_target_that_is_no_name_is_refused(autojump_clock) -> None:
    with pytest.raises(ConfigurationError, match=r"MemoryBus.send\(message.target=3\): expected a name"):
        await MemoryBus().send(DataMessage(target=3))  # type: ignore[arg-type]


async def test_an_open_bus_cannot_be_opened_in_another_thread(autojump_clock) -> None:
    bus = Broker().bus()

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another thread"):
            async with bus:
                raise AssertionError

    async with bus:
        await trio.to_thread.run_sync(trio.run, elsewhere)
    async with bus:
        assert await bus.send(Data(1))


async def test_a_bus_whose_broker_refuses_may_be_opened_elsewhere(autojump_clock) -> None:
    broker = Broker()
    broker.refuses = "no"
    bus = broker.bus()
    with pytest.raises(BusError):
        await bus.__aenter__()
    assert bus._thread is None


async def test_a_bridge_to_its_own_task_is_refused(autojump_clock) -> None:
    task = PipelineTask(BridgedPipeline([BusBridge("a")]), name="a")
    with pytest.raises(ExceptionGroup) as caught:
        await PipelineRunner(task, handle_sigint=False).run()
    assert caught.group_contains(ConfigurationError, match="frames would go round")


def test_what_could_never_work_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="expected an async method"):
        worker_ready("b")(lambda self, info: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="never do: StartFrame"):
        BusBridge("a", frames=(StartFrame,))
    with pytest.raises(ConfigurationError, match="expected a list of processors"):
        BridgedPipeline(3)  # type: ignore[arg-type]
