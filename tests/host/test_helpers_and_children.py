"""What workers of one runner are to each other: helpers outlive, children end with their parents."""

import pytest
import trio
import trio.testing

from hosting import Breaks, Does, Plain, at_every_checkpoint, errors_in, nothing_left, task_of
from trio_pipes import PipelineRunner, Restart, TaskState, TextFrame


def runner_of(*workers, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, handle_sigint=False, **settings)


class UsesHelper(Plain):
    """Needs a helper in its cleanup, as one that says good-bye over a connection does."""

    def __init__(self, name: str, helper: Plain, takes: float = 2) -> None:
        super().__init__(name, helper.log)
        self.helper, self.takes = helper, takes

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        try:
            await super().run(task_status=task_status)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.takes)
                self.log.append(
                    f"{self.helper.name} is {'gone' if f'{self.helper.name} down' in self.log else 'there'}"
                )


@pytest.mark.parametrize("how", ["end", "cancel", "outside", "error", "grace"])
async def test_r6_a_helper_outlives_the_cleanup_of_the_others_however_the_runner_ends(autojump_clock, how) -> None:
    log: list[str] = []
    helper = Plain("helper", log, drain=1)
    runner = runner_of(UsesHelper("a", helper), UsesHelper("b", helper, takes=3))
    if how == "error":
        runner.add_workers(Breaks("bad", ValueError("x"), after=1))
    runner.add_workers(helper, helper=True)
    caught: list = []
    async with nothing_left():
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                match how:
                    case "outside":
                        nursery.cancel_scope.cancel()
                    case "grace":
                        runner._calls[0].scope.deadline = trio.current_time() + 1
                    case "end" | "cancel":
                        getattr(runner, how)()
        except ExceptionGroup as error:
            caught = errors_in(error)
    assert [str(error) for error in caught] == (["x"] if how == "error" else [])
    assert log.count("helper is there") == 2
    assert log[-1] == "helper down"
    assert ("helper told" in log) == (how == "end")


async def test_a_helper_that_will_not_end_is_cut_by_a_cancel_and_by_one_from_outside(autojump_clock) -> None:
    for how in ("cancel", "outside"):
        helper = Plain("helper", drain=1000)
        runner = runner_of(worker := Plain("w"))
        runner.add_workers(helper, helper=True)
        began = trio.current_time()
        async with nothing_left(), trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            worker.stop_when_done()
            await trio.sleep(1)
            assert helper.log == ["helper up", "helper told"]
            runner.cancel() if how == "cancel" else nursery.cancel_scope.cancel()
        assert trio.current_time() == began + 1
        assert helper.log[-1] == "helper down"


async def test_a_helper_that_ends_early_takes_nobody_with_it(autojump_clock) -> None:
    runner, helper = runner_of(worker := Plain("w")), Plain("helper")
    runner.add_workers(helper, helper=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        helper.stop_when_done()
        await trio.sleep(1)
        assert runner.statistics().running == ("w",)
        worker.stop_when_done()


async def test_an_interrupt_from_the_keyboard_ends_helpers_too(autojump_clock) -> None:
    runner, helper = runner_of(Breaks("w", KeyboardInterrupt(), after=1)), Plain("helper")
    runner.add_workers(helper, helper=True)
    with pytest.raises(BaseExceptionGroup) as caught, trio.fail_after(10):
        await runner.run()
    assert [type(error) for error in errors_in(caught.value)] == [KeyboardInterrupt]
    assert helper.log[-1] == "helper down"


# -- children


async def test_children_are_asked_to_end_when_their_parent_has_ended_and_not_before(autojump_clock) -> None:
    log: list[str] = []
    runner = runner_of(Plain("parent", log, drain=1), Plain("other", log))
    runner.add_workers(Plain("first", log), Plain("second", log), parent="parent")
    runner.add_workers(Plain("grandchild", log), parent="second")
    runner.add_workers(Plain("other's", log), parent="other")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        log.clear()
        runner.get_worker("parent").stop_when_done()
        await trio.sleep(5)
        assert log[:4] == ["parent told", "parent down", "second told", "first told"]  # in reverse
        assert sorted(log[4:]) == ["first down", "grandchild down", "grandchild told", "second down"]
        assert log.index("grandchild told") > log.index("second down")
        assert set(runner.statistics().running) == {"other", "other's"}
        runner.end()
    assert log.count("first told") == 1


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_children_of_a_parent_that_does_not_end_in_order_are_asked_too(autojump_clock, how) -> None:
    parent = Breaks("parent", ValueError("x"), after=1) if how == "fails" else Plain("parent")
    runner, child = runner_of(Plain("other")), Plain("child")
    runner.add_workers(parent, isolated=True)
    runner.add_workers(child, parent="parent")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        if how == "is cancelled":
            parent.scope.cancel()
        await trio.sleep(2)
        assert child.log == ["child up", "child told", "child down"]
        runner.end()


async def test_a_child_may_come_before_its_parent_and_ends_with_the_roots_if_that_never_comes(autojump_clock) -> None:
    runner, early, orphan = runner_of(root := Plain("root")), Plain("early"), Plain("orphan")
    runner.add_workers(early, parent="parent")
    runner.add_workers(orphan, parent="nobody")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.add_workers(parent := Plain("parent"))
        await runner.wait_ready("parent")
        parent.stop_when_done()
        await trio.sleep(1)
        assert early.log[-1] == "early down"
        assert orphan.log == ["orphan up"]
        root.stop_when_done()
    assert orphan.log == ["orphan up", "orphan told", "orphan down"]


async def test_a_worker_adds_children_of_its_own_while_it_runs(autojump_clock) -> None:
    async def add(processor, frame: TextFrame) -> None:
        runner.add_workers(Plain(frame.text), parent=parent.name)

    parent = task_of(Does(add))
    runner = runner_of(parent)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        for name in ("a", "b"):
            await parent.queue_frame(TextFrame(name))
        await runner.wait_ready("a", "b")
        child = runner.get_worker("a")
        parent.stop_when_done()
    assert parent.state is TaskState.ENDED
    assert child.log == ["a up", "a told", "a down"]


async def test_g28_what_is_known_of_families_does_not_grow(autojump_clock) -> None:
    runner = runner_of(Plain("root"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        for n in range(20):
            child = Plain(f"child {n}")
            runner.add_workers(child, parent=f"parent {n}" if n % 2 else "root")
            await runner.wait_ready(child.name)
            child.stop_when_done()
            await trio.testing.wait_all_tasks_blocked()
        assert runner._roster._children == {}
        runner.end()


# -- at any moment


@pytest.mark.parametrize("how", ["cancel", "outside", "end"])
def test_t11_a_family_asked_at_every_step_ends_in_order_and_leaves_nothing(how) -> None:
    logs: list[list[str]] = []

    async def scenario(arm) -> None:
        log: list[str] = []
        logs.append(log)
        helper = Plain("helper", log, drain=1)
        made = [Breaks("again", ValueError("x"), after=1), Plain("again", log)]
        runner = runner_of(UsesHelper("root", helper))
        # Isolated: when it fails while its end is asked for, that is its error and not one of this test.
        runner.add_workers(Restart(lambda: made.pop(0), 1), isolated=True)
        runner.add_workers(Plain("child", log), parent="root")
        runner.add_workers(helper, helper=True)
        with trio.CancelScope() as scope:
            arm(scope.cancel if how == "outside" else getattr(runner, how))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run)
                await trio.sleep(5)
                runner.end()

    assert at_every_checkpoint(scenario) > 12
    for log in logs:
        if "helper up" in log:
            assert log[-1] == "helper down"
            assert "helper is gone" not in log
        for name in ("root", "child", "again", "helper"):
            assert log.count(f"{name} up") <= log.count(f"{name} down")
