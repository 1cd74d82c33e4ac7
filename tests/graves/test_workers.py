"""Workers on a bus: who is told of whom, and what is left of those that have ended."""

from __future__ import annotations

import pytest
import trio

from hosting import errors_in
from trio_pipes import BaseWorker, MemoryBus, PipelineRunner, worker_ready
from workers_kit import Data, Notes, hosted


# The handler ran while the newcomer was being registered, and what it raised was the newcomer's end.
async def test_g37_a_failing_ready_handler_does_not_harm_who_has_got_ready(autojump_clock) -> None:
    class Bad(BaseWorker):
        @worker_ready("victim")
        async def there(self, info) -> None:
            raise ValueError("handler")

    bus, victim = MemoryBus(), Notes("victim")
    with pytest.raises(ExceptionGroup) as caught:
        async with hosted(victim, bus=bus):
            with pytest.raises(ExceptionGroup) as others:
                await PipelineRunner(Bad("bad"), bus=bus, handle_sigint=False).run()
            await bus.send(Data(1, target="victim"))
            await trio.sleep(1)
            raise others.value
    assert [str(error) for error in errors_in(caught.value)] == ["handler"]
    assert victim.log == ["up", "active None", 1, "1 done", "down"]


async def test_g37_a_ready_handler_that_never_returns_delays_nobody(autojump_clock) -> None:
    class Stuck(BaseWorker):
        @worker_ready("newcomer")
        async def there(self, info) -> None:
            await trio.sleep_forever()

    newcomer = Notes("newcomer")
    async with hosted(Stuck("stuck")) as runner:
        runner.add_workers(newcomer)
        await runner.wait_ready("newcomer")
        assert trio.current_time() == 0.0


# A child's crash fired no event, and its parent waited for it for ever when it ended.
@pytest.mark.parametrize("isolated", [True, False])
async def test_g32_a_worker_whose_child_has_crashed_ends(autojump_clock, isolated, caplog) -> None:
    class Breaks(BaseWorker):
        async def on_bus_message(self, message) -> None:
            raise OSError("crashed")

    class Parent(BaseWorker):
        told: str = ""

        async def on_child_failed(self, name, error) -> None:
            self.told = name

    parent = Parent("parent")
    async with hosted(parent) as runner:
        parent.add_workers(Breaks("child"), isolated=isolated)
        await runner.wait_ready("child")
        await runner.bus.send(Data(target="child"))
        await trio.sleep(1)
        parent.stop_when_done()
        with trio.fail_after(1):
            await parent.wait_finished()
    assert parent.told == "child"


# Fifty finished sessions left fifty-one subscriptions and a hundred tasks, and their names could not be used again.
async def test_g28_workers_that_come_and_go_leave_no_subscription_and_no_task(autojump_clock) -> None:
    async with hosted(Notes("stays")) as runner:

        async def count() -> tuple[int, int, int]:
            await trio.testing.wait_all_tasks_blocked()
            tasks = trio.lowlevel.current_statistics().tasks_living
            return runner.bus.statistics().subscriptions, tasks, len(runner.registry.workers)

        before = await count()
        for n in range(50):
            session, child = Notes("session"), Notes("child")
            runner.add_workers(session)
            await runner.wait_ready("session")
            session.add_workers(child)
            session.watch_workers("child")
            await runner.bus.send(Data(n, target="session"))
            session.stop_when_done()
            await session.wait_finished()
        assert await count() == before
