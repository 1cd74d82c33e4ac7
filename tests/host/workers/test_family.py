"""Parents and children, ready handlers, and who is told of whom."""

import pytest
import trio

from bus_kit import open_medium
from hosting import errors_in
from trio_pipes import BaseWorker, ConfigurationError, PipelineRunner, Restart, worker_ready
from trio_pipes.testing import cancel_at_every_checkpoint, nothing_left
from workers_kit import Data, Notes, hosted


class Breaks(BaseWorker):
    """Fails on its first message."""

    async def on_bus_message(self, message) -> None:
        raise ValueError("broken")


class Parent(Notes):
    """Deals with its children's failures."""

    async def on_child_failed(self, name, error) -> None:
        self.note(f"{name} failed: {error.exceptions[0]}")


async def test_b5_children_end_before_their_parent(autojump_clock) -> None:
    log = []
    parent, child, grandchild = Notes("parent", log=log), Notes("child", takes=2.0), Notes("grandchild")
    async with hosted(parent) as runner:
        await trio.testing.wait_all_tasks_blocked()
        parent.add_workers(child)
        await runner.wait_ready("child")
        child.add_workers(grandchild)
        await runner.wait_ready("grandchild")
        assert parent.children == (child,)
        assert (child.parent, grandchild.parent) == ("parent", "child")
        await runner.bus.send(Data(1, target="child"))
        await trio.sleep(1)
        parent.stop_when_done()
        await trio.sleep(0.5)
        assert log == ["up", "active None"]
        await parent.wait_finished()
        assert trio.current_time() == 2.0
        assert child.log[-2:] == ["1 done", "down"]
        assert grandchild.log[-1] == "down"
        assert parent.children == ()


async def test_a_cancel_of_the_parent_reaches_its_children(autojump_clock) -> None:
    parent, child = Notes("parent"), Notes("child", takes=100.0)
    async with hosted(parent, Notes("other")) as runner:
        parent.add_workers(child)
        await runner.wait_ready("child")
        await runner.bus.send(Data(1, target="child"))
        await trio.sleep(1)
        parent.cancel()
        await child.wait_finished()
        await parent.wait_finished()
        assert trio.current_time() == 1.0
        assert child.log[-2:] == [1, "down"]


async def test_r6_a_parent_that_wants_to_is_told_and_goes_on(autojump_clock) -> None:
    parent = Parent("parent")
    async with hosted(parent) as runner:
        for n in range(2):  # the name is free again
            parent.add_workers(Breaks("child"))
            await runner.wait_ready("child")
            await runner.bus.send(Data(n, target="child"))
            await trio.sleep(1)
        assert runner.statistics().failed == 2
    assert parent.log == ["up", "active None", *["child failed: broken"] * 2, "down"]


async def test_g32_a_child_that_fails_is_nobodys_secret(autojump_clock) -> None:
    parent = Notes("parent")
    with pytest.raises(ExceptionGroup) as caught:
        async with hosted(parent) as runner:
            parent.add_workers(Breaks("child"))
            await runner.wait_ready("child")
            await runner.bus.send(Data(1, target="child"))
            await trio.sleep_forever()
    assert [str(error) for error in errors_in(caught.value)] == ["broken"]
    assert parent.log[-1] == "down"


async def test_g32_a_parent_that_ends_does_not_wait_for_a_child_that_failed(autojump_clock) -> None:
    parent = Parent("parent")
    async with hosted(parent) as runner:
        parent.add_workers(Breaks("child"))
        await runner.wait_ready("child")
        parent.stop_when_done()
        await runner.bus.send(Data(1, target="child"))
    assert trio.current_time() == 0.0


async def test_what_a_parent_raises_on_a_childs_failure_is_its_own(autojump_clock) -> None:
    class Strict(Notes):
        async def on_child_failed(self, name, error) -> None:
            raise error

    with pytest.raises(ExceptionGroup) as caught:
        async with hosted(Strict("parent")) as runner:
            runner.get_worker("parent").add_workers(Breaks("child"))
            await runner.wait_ready("child")
            await runner.bus.send(Data(1, target="child"))
            await trio.sleep_forever()
    assert "broken" in {str(error) for error in errors_in(caught.value)}


async def test_b7_a_child_of_a_parent_elsewhere_ends_when_that_is_gone(autojump_clock) -> None:
    async with open_medium() as medium:
        parent, child = Notes("parent"), Notes("child")
        one = PipelineRunner(parent, bus=medium.bus(), handle_sigint=False)
        two = PipelineRunner(bus=medium.bus(), handle_sigint=False)
        async with trio.open_nursery() as nursery:
            await nursery.start(one.run)
            two.add_workers(child, parent="parent")
            nursery.start_soon(lambda: two.run(auto_end=False))
            await two.registry.wait_ready("parent")
            await trio.sleep(1)
            assert not child.log or child.log[-1] != "down"
            one.end()
            await child.wait_finished()
            two.end()


async def test_b5_ready_handlers(autojump_clock) -> None:
    class Looks(Notes):
        @worker_ready("b")
        async def b_is_there(self, info) -> None:
            self.note(f"{info.name} ready")

        async def on_worker_ready(self, info) -> None:
            self.note(f"+{info.name}")

        async def on_worker_gone(self, info) -> None:
            self.note(f"-{info.name}")

    looks = Looks("a")
    looks.watch_workers("b", "c")
    async with hosted(looks) as runner:
        runner.add_workers(Notes("b"))
        await trio.sleep(1)
        assert sorted(looks.log[2:]) == ["+b", "b ready"]
        del looks.log[:]
        runner.get_worker("b").stop_when_done()
        await trio.sleep(1)
        runner.add_workers(Notes("b"), Notes("c"))
        await trio.sleep(1)
        assert looks.log[0] == "-b"
        assert sorted(looks.log[1:]) == ["+b", "+c", "b ready"]


# G37: a watch handler that failed killed the worker that had just registered.
async def test_g37_a_failing_ready_handler_is_its_own_workers_failure(autojump_clock) -> None:
    class Bad(BaseWorker):
        @worker_ready("victim")
        async def there(self, info) -> None:
            raise ValueError("handler")

    victim = Notes("victim")
    bus_runner = PipelineRunner(victim, handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(bus_runner.run)
        with pytest.raises(ExceptionGroup) as caught:
            await PipelineRunner(Bad("bad"), bus=bus_runner.bus, handle_sigint=False).run()
        assert [str(error) for error in errors_in(caught.value)] == ["handler"]
        await bus_runner.bus.send(Data(1, target="victim"))
        await trio.sleep(1)
        assert victim.log == ["up", "active None", 1, "1 done"]
        bus_runner.end()


def test_two_ready_handlers_of_one_name() -> None:
    class Twice(BaseWorker):
        @worker_ready("b")
        async def one(self, info) -> None: ...

        @worker_ready("b")
        async def two(self, info) -> None: ...

    with pytest.raises(ConfigurationError, match="two methods"):
        PipelineRunner(Twice("a"))
    with pytest.raises(ConfigurationError, match="worker_ready"):
        worker_ready("")


# G28: fifty finished sessions left fifty entries and a hundred tasks, and no name could be used again.
async def test_g28_a_long_lived_runner_keeps_nothing_of_finished_workers(autojump_clock) -> None:
    async with hosted(Notes("stays")) as runner:
        await runner.wait_ready("stays")
        before = runner.bus.statistics().subscriptions, trio.lowlevel.current_statistics().tasks_living
        for n in range(50):
            worker = Notes("session")
            runner.add_workers(worker)
            await runner.wait_ready("session")
            await runner.bus.send(Data(n, target="session"))
            worker.stop_when_done()
            await worker.wait_finished()
            await trio.testing.wait_all_tasks_blocked()
        after = runner.bus.statistics().subscriptions, trio.lowlevel.current_statistics().tasks_living
        assert after == before
        assert len(runner.registry.workers) == 1


def test_a_family_cancelled_at_each_step_leaves_nothing() -> None:
    async def scenario(attempt) -> None:
        parent, child = Parent("parent"), Notes("child", takes=1.0)
        runner = PipelineRunner(parent, handle_sigint=False)
        with trio.CancelScope() as scope:
            attempt.arm(scope.cancel)
            async with nothing_left(), trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                try:
                    parent.add_workers(child)
                except RuntimeError:  # it was cancelled just now
                    assert attempt.fired
                await runner.wait_ready("child")
                await runner.bus.send(Data(1, target="child"))
                await trio.sleep(0.5)
                parent.stop_when_done()
        attempt.disarm()
        assert runner.bus.statistics().subscriptions == 0

    async def main() -> None:
        await cancel_at_every_checkpoint(scenario)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_worker_that_is_made_again_is_on_the_bus_again(autojump_clock) -> None:
    made = []

    def make() -> Breaks:
        made.append(Breaks("again"))
        return made[-1]

    async with hosted(Restart(make), Notes("a")) as runner:
        for n in range(3):
            await runner.bus.send(Data(n, target="again"))
            await trio.sleep(1)
        assert len(made) == 4
        made[-1].stop_when_done()
        await trio.sleep(1)
        assert not await runner.bus.send(Data(target="again"))


async def test_a_parent_that_is_made_again_has_its_hooks(autojump_clock) -> None:
    parents = []

    def make() -> Parent:
        parents.append(Parent("parent"))
        return parents[-1]

    async with hosted(Restart(make), Notes("a")) as runner:
        parents[0].add_workers(Breaks("child"))
        await runner.wait_ready("child")
        await runner.bus.send(Data(1, target="child"))
        await trio.sleep(1)
        assert parents[0].log[-1] == "child failed: broken"
