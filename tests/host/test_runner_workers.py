"""Who hosts whom: one call, several, workers added, names, and whose error leaves where."""

import contextlib
import gc

import pytest
import trio
import trio.testing

from hosting import Breaks, Does, Plain, Probe, Slow, Stuck, errors_in, nothing_left, task_of, texts
from trio_pipes import (
    DuplicateName,
    FrameProcessor,
    PipelineRunner,
    TaskResult,
    TaskState,
    TextFrame,
    Worker,
)


def runner_of(*workers: Worker, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, handle_sigint=False, **settings)


async def finish(runner: PipelineRunner, *names: str) -> None:
    """End these workers of a runner."""
    for name in names:
        runner.get_worker(name).stop_when_done()


# -- one and many


def test_r1_trio_run_works_as_it_stands() -> None:
    task = task_of(Probe())
    task.stop_when_done()
    assert trio.run(PipelineRunner(task).run) is None
    assert task.state is TaskState.ENDED


async def test_r1_run_with_a_worker_gives_what_its_run_returned(autojump_clock) -> None:
    task = task_of(Probe())
    task.stop_when_done("done")
    result = await runner_of().run(task)
    assert isinstance(result, TaskResult)
    assert result.reason == "done"
    plain = Plain("p")
    plain.stop_when_done()
    assert await runner_of().run(plain) == "p is over"


async def test_a_runner_without_workers_ends_at_once(autojump_clock) -> None:
    with trio.fail_after(1):
        assert await runner_of().run() is None


async def test_r1_several_runs_at_once_each_return_for_their_own_worker(autojump_clock) -> None:
    runner, results, tasks = runner_of(), {}, [task_of(Slow(n)) for n in (1, 2, 3)]

    async def one(task) -> None:
        results[task.name] = (await runner.run(task), trio.current_time())

    for task in tasks:
        await task.queue_frame(TextFrame())
        task.stop_when_done(task.name)
    async with nothing_left(), trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(one, task)
        await trio.sleep(0.5)
        assert runner.statistics().calls == 3
        assert set(runner.statistics().running) == {task.name for task in tasks}
    assert {name: result.reason for name, (result, _) in results.items()} == {t.name: t.name for t in tasks}
    # Each returns when its own worker has ended, not with the last.
    assert [round(when) for _, when in sorted(results.values(), key=lambda pair: pair[1])] == [1, 2, 3]
    assert runner.statistics().calls == 0


@pytest.mark.parametrize("failing", [0, 1])
async def test_r1_several_runs_at_once_each_raise_for_their_own_worker(autojump_clock, failing) -> None:
    runner, outcomes = runner_of(), {}
    workers: list[Plain] = [Plain("a"), Plain("b")]
    workers[failing] = Breaks("bad", ValueError("own"), after=1)
    good = workers[1 - failing]

    async def one(worker) -> None:
        try:
            outcomes[worker.name] = await runner.run(worker)
        except Exception as exc:
            outcomes[worker.name] = exc

    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(one, worker)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(2)
        assert [str(error) for error in errors_in(outcomes["bad"])] == ["own"]
        assert good.name not in outcomes  # it goes on
        good.stop_when_done()
    assert outcomes[good.name] == f"{good.name} is over"


async def test_siblings_are_hosted_by_the_oldest_call_which_waits_for_them(autojump_clock) -> None:
    sibling, own, later = Plain("sibling"), Plain("own"), Plain("later")
    runner, over = runner_of(sibling), []

    async def call(worker) -> None:
        await runner.run(worker)
        over.append(worker.name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, own)
        await runner.wait_ready("own", "sibling")
        nursery.start_soon(call, later)
        await runner.wait_ready("later")
        runner.add_workers(added := Plain("added"))
        await runner.wait_ready("added")
        own.stop_when_done()
        later.stop_when_done()
        await trio.sleep(1)
        assert over == ["later"]
        sibling.stop_when_done()
        await trio.sleep(1)
        assert over == ["later"]
        added.stop_when_done()
        await trio.sleep(1)
        assert over == ["later", "own"]


async def test_when_the_oldest_call_has_left_the_next_hosts_what_is_added(autojump_clock) -> None:
    runner, first, second = runner_of(), Plain("first"), Plain("second")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, first)
        await runner.wait_ready("first")
        nursery.start_soon(runner.run, second)
        await runner.wait_ready("second")
        first.stop_when_done()
        await trio.sleep(1)
        runner.add_workers(added := Plain("added"))
        with trio.fail_after(1):
            await runner.wait_ready("added")
        second.stop_when_done()
        await trio.sleep(1)
        assert runner.statistics().calls == 1
        added.stop_when_done()


async def test_an_error_of_a_sibling_cancels_that_lot_and_no_other_call(autojump_clock) -> None:
    bad, own, other = Breaks("bad", ValueError("sibling"), after=2), Plain("own"), Plain("other")
    runner, outcomes = runner_of(bad), {}

    async def call(worker) -> None:
        try:
            outcomes[worker.name] = await runner.run(worker)
        except BaseException as exc:
            outcomes[worker.name] = exc

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, own)
        await runner.wait_ready("own")
        nursery.start_soon(call, other)
        await trio.sleep(3)
        assert isinstance(outcomes["own"], ExceptionGroup)
        assert [str(error) for error in errors_in(outcomes["own"])] == ["sibling"]
        assert own.log == ["own up", "own down"]  # cancelled, not asked
        assert "other" not in outcomes
        other.stop_when_done()
    assert outcomes["other"] == "other is over"


async def test_an_error_of_a_worker_leaves_run_as_a_group(autojump_clock) -> None:
    log: list[str] = []
    runner = runner_of(Breaks("bad", ValueError("boom"), after=1), Plain("good", log))
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    assert [repr(error) for error in errors_in(caught.value)] == ["ValueError('boom')"]
    assert log == ["good up", "good down"]


class FailsOnCancel(Plain):
    """Raises while it is cancelled."""

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError(self.name)


async def test_errors_of_several_workers_all_leave(autojump_clock) -> None:
    runner = runner_of(Breaks("a", ValueError("a"), after=1), FailsOnCancel("b"), FailsOnCancel("c"))
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    assert sorted(str(error) for error in errors_in(caught.value)) == ["a", "b", "c"]


async def test_a_worker_that_fails_while_it_is_cancelled_from_outside_is_not_swallowed(autojump_clock) -> None:
    with pytest.raises(ExceptionGroup) as caught, trio.move_on_after(1):
        await runner_of(FailsOnCancel("unwinding")).run()
    assert [str(error) for error in errors_in(caught.value)] == ["unwinding"]


async def test_a_worker_that_fails_after_runner_cancel_is_not_swallowed(autojump_clock) -> None:
    runner = runner_of(FailsOnCancel("unwinding"))
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            runner.cancel()
    assert [str(error) for error in errors_in(caught.value)] == ["unwinding"]


async def test_base_exceptions_of_a_worker_are_not_swallowed(autojump_clock) -> None:
    class Stop(BaseException):
        pass

    with pytest.raises(BaseExceptionGroup) as caught:
        await runner_of(Breaks("bad", Stop("now"), after=1), Plain("good")).run()
    assert [repr(error) for error in errors_in(caught.value)] == ["Stop('now')"]


async def test_g32_a_worker_that_crashes_is_told_and_raised(autojump_clock) -> None:
    events = []

    class Watch:
        def on_error(self, runner, worker, error) -> None:
            events.append((runner, worker, str(error)))

        def on_worker_finished(self, runner, worker) -> None:
            events.append(("finished", worker))

    bad = Breaks("bad", ValueError("crashed"))
    runner = runner_of(bad, observers=[Watch()])
    with pytest.raises(ExceptionGroup, match="bad|worker"):
        await runner.run()
    assert events == [(runner, bad, "crashed"), ("finished", bad)]
    assert runner.statistics().failed == 1


async def test_g32_nobody_waits_for_ever_for_a_worker_that_was_never_started(autojump_clock) -> None:
    # The second starts when the first is ready. The first fails before; who waits for the second must be let go.
    class FailsEarly(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            await trio.sleep(1)
            raise ValueError("never ready")

    second, results = task_of(Probe()), []

    async def parent() -> None:
        with trio.move_on_after(100):
            results.append(await second.wait_finished())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent)
        with pytest.raises(ExceptionGroup):
            await runner_of(FailsEarly("first"), second).run()
    assert [result.state for result in results] == [TaskState.CANCELLED]
    assert trio.current_time() < 50


async def test_g32_nobody_waits_for_ever_when_the_run_is_cancelled_before_the_start(autojump_clock) -> None:
    second, results = task_of(Probe()), []

    async def parent() -> None:
        with trio.move_on_after(100):
            results.append(await second.wait_finished())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent)
        with trio.move_on_after(1):
            await runner_of(Plain("first", needs=5), second).run()
    assert [result.state for result in results] == [TaskState.CANCELLED]


async def test_g32_a_parent_that_waits_for_its_child_is_let_go_when_the_child_crashes(autojump_clock) -> None:
    async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
        raise ValueError("child")

    child, results = task_of(Does(crash)), []

    class Parent(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started()
            results.append(await child.wait_finished())

    await child.queue_frame(TextFrame())
    runner = runner_of(Parent("parent"))
    runner.add_workers(child, isolated=True, parent="parent")
    with trio.fail_after(5):
        await runner.run()
    assert results[0].state is TaskState.FAILED
    assert [str(error) for error in errors_in(results[0].error)] == ["child"]


# -- order, adding, names


async def test_workers_start_in_order_each_when_the_one_before_is_ready(autojump_clock) -> None:
    log: list[str] = []
    runner = runner_of(Plain("a", log, needs=3), Plain("b", log, needs=2))
    runner.add_workers(Plain("c", log, needs=1))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert trio.current_time() == pytest.approx(6)
        runner.add_workers(Plain("d", log, needs=2), Plain("e", log))
        await runner.wait_ready("d", "e")
        assert log == ["a up", "b up", "c up", "d up", "e up"]
        runner.end()
    # Stopped in reverse.
    assert [line for line in log if "told" in line][:5] == ["e told", "d told", "c told", "b told", "a told"]


async def test_a_task_status_started_twice_by_a_worker_is_harmless(autojump_clock) -> None:
    class Twice(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started(1)
            task_status.started(2)
            return "fine"

    assert await runner_of().run(Twice("w")) == "fine"


async def test_a_worker_that_never_says_it_is_ready_does_not_hang_the_run(autojump_clock) -> None:
    class Mute(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            await trio.sleep(1)

    with trio.fail_after(10):
        await runner_of(Mute("mute"), Mute("next")).run()


async def test_r4_workers_are_added_while_running_and_found_by_name(autojump_clock) -> None:
    runner, added = runner_of(Plain("first")), Plain("added")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert runner.get_worker("added") is None
        runner.add_workers(added)
        assert runner.get_worker("added") is added
        await runner.wait_ready("added")
        assert set(runner.statistics().ready) == {"first", "added"}
        await finish(runner, "first")
        await trio.sleep(1)
        assert runner.get_worker("first") is None
        assert runner.statistics().calls == 1  # the added one is a root too and keeps it up
        await finish(runner, "added")
    assert added.log[-1] == "added down"


async def test_r4_a_worker_can_be_added_from_inside_a_worker(autojump_clock) -> None:
    added = task_of(Probe())
    added.stop_when_done()

    async def add(processor: FrameProcessor, frame: TextFrame) -> None:
        runner.add_workers(added)

    task = task_of(Does(add))
    await task.queue_frame(TextFrame())
    task.stop_when_done()
    runner = runner_of(task)
    with trio.fail_after(5):
        await runner.run()
    assert added.state is TaskState.ENDED


async def test_g28_a_worker_added_as_the_last_one_ends_is_hosted(autojump_clock) -> None:
    # One session after the other: an observer starts the next when one is over.
    ran = []

    class Next:
        def on_worker_finished(self, runner, worker) -> None:
            ran.append(worker.log)
            if len(ran) < 5:
                runner.add_workers(Takes(f"w{len(ran)}"))

    class Takes(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started()
            with trio.move_on_after(1):  # a second of work, unless it is told to stop before
                await self.end.wait()
                self.log.append("cut short")
            self.log.append("done")

    runner = runner_of(Takes("w0"), observers=[Next()])
    with trio.fail_after(100):
        await runner.run()
    assert ran == [["done"]] * 5


async def test_a_worker_added_while_helpers_end_is_hosted_or_refused(autojump_clock) -> None:
    # Never half of it: in the roster, and nobody to run it.
    helper, runner = Plain("helper", drain=5), runner_of(Plain("w"))
    runner.add_workers(helper, helper=True)
    late, refused = task_of(Probe(), name="late"), None
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await finish(runner, "w")
        await trio.sleep(1)
        assert helper.log[-1] == "helper told"
        try:
            runner.add_workers(late)
        except RuntimeError as exc:
            refused = exc
        late.stop_when_done()
    if refused is None:
        assert late.state is TaskState.ENDED
    else:
        assert "late" in str(refused) or runner.name in str(refused)
        assert runner.get_worker("late") is None


async def test_g14_a_second_worker_of_the_same_name_is_an_error(autojump_clock) -> None:
    first, second = Plain("same"), Plain("same")
    with pytest.raises(DuplicateName, match="same"):
        runner_of(first, second)
    runner = runner_of(first)
    with pytest.raises(DuplicateName, match="'same'"):
        runner.add_workers(second)
    with pytest.raises(DuplicateName, match="same worker"):
        runner.add_workers(first)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        with pytest.raises(DuplicateName, match="same"):
            runner.add_workers(second)
        with pytest.raises(DuplicateName, match="same"):
            await runner.run(second)
        # The one that is up goes on.
        assert runner.get_worker("same") is first
        assert not first.end.is_set()
        runner.end()
    assert second.log == []


async def test_one_of_several_added_is_a_duplicate(autojump_clock) -> None:
    # All of one add_workers or none: what is refused must not stay half added.
    runner = runner_of(Plain("there"))
    fresh = Plain("fresh")
    with pytest.raises(DuplicateName):
        runner.add_workers(fresh, Plain("there"))
    with pytest.raises(DuplicateName):
        runner.add_workers(Plain("twin"), Plain("twin"))
    assert runner.get_worker("fresh") is None
    assert runner.get_worker("twin") is None
    runner.add_workers(fresh)


async def test_g28_a_name_can_be_used_again_after_the_end(autojump_clock) -> None:
    runner = runner_of()
    for _ in range(3):
        task = task_of(Probe(), name="session")
        task.stop_when_done()
        assert (await runner.run(task)).state is TaskState.ENDED
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: runner.run(auto_end=False))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            task = task_of(Probe(), name="session")
            task.stop_when_done()
            runner.add_workers(task)
            await task.wait_finished()
            await trio.testing.wait_all_tasks_blocked()
        runner.end()


async def test_g28_fifty_sessions_leave_nothing_in_a_long_lived_runner(autojump_clock) -> None:
    runner, tasks = runner_of(), 0
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        for n in range(51):
            task = task_of(Probe(), Slow(1))
            await task.queue_frame(TextFrame())
            task.stop_when_done()
            runner.add_workers(task)
            await task.wait_finished()
            await trio.testing.wait_all_tasks_blocked()
            if n == 0:
                tasks = trio.lowlevel.current_statistics().tasks_living
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        statistics = runner.statistics()
        assert (statistics.running, statistics.ready, statistics.finished, statistics.failed) == ((), (), 51, 0)
        runner.end()


async def test_g28_finished_tasks_of_a_long_lived_runner_are_garbage(autojump_clock) -> None:
    import weakref

    runner, seen = runner_of(), []
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        for _ in range(3):
            task = task_of(Probe())
            task.stop_when_done()
            runner.add_workers(task)
            await task.wait_finished()
            seen.append(weakref.ref(task))
        del task
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        # The last may still be the one whose end the next start waits for.
        assert [ref() for ref in seen[:-1]] == [None, None]
        runner.end()


# -- isolated, helpers, children


async def test_isolated_confines_an_error_to_its_worker_and_tells(autojump_clock, caplog) -> None:
    events, bad, good = [], Breaks("bad", ValueError("alone"), after=1), Plain("good")

    class Watch:
        def on_error(self, runner, worker, error) -> None:
            events.append((worker.name, str(error)))

    runner = runner_of(good, observers=[Watch()])
    runner.add_workers(bad, isolated=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(2)
        assert events == [("bad", "alone")]
        assert good.log == ["good up"]
        good.stop_when_done()
    assert "bad" in caplog.text


async def test_helpers_outlive_the_others_and_never_keep_the_runner_up(autojump_clock) -> None:
    log: list[str] = []
    runner = runner_of(Plain("a", log, drain=1), Plain("b", log, drain=2))
    runner.add_workers(Plain("helper", log, drain=1), helper=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await finish(runner, "a", "b")
    assert log.index("helper told") > max(log.index("a down"), log.index("b down"))
    assert log[-1] == "helper down"


async def test_a_runner_with_helpers_only_ends_at_once(autojump_clock) -> None:
    runner, helper = runner_of(), Plain("helper")
    runner.add_workers(helper, helper=True)
    with trio.fail_after(5):
        await runner.run()
    assert helper.log[-1] == "helper down"


async def test_an_error_of_a_helper_is_not_swallowed(autojump_clock) -> None:
    runner, good = runner_of(), Plain("good")
    runner.add_workers(good)
    runner.add_workers(Breaks("helper", ValueError("helper"), after=1), helper=True)
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    assert [str(error) for error in errors_in(caught.value)] == ["helper"]
    assert good.log == ["good up", "good down"]


async def test_r4_children_do_not_keep_the_runner_up_and_end_with_the_roots(autojump_clock) -> None:
    log: list[str] = []
    runner = runner_of(Plain("root", log))
    runner.add_workers(Plain("child", log, drain=1), parent="root")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await finish(runner, "root")
    assert log == ["root up", "child up", "root told", "root down", "child told", "child down"]


# -- waiting and looking


async def test_started_gives_the_runner_when_every_worker_added_before_is_ready(autojump_clock) -> None:
    runner = runner_of(Plain("a", needs=2))
    runner.add_workers(Plain("b", needs=3))
    async with trio.open_nursery() as nursery:
        assert await nursery.start(runner.run) is runner
        assert trio.current_time() == pytest.approx(5)
        assert set(runner.statistics().ready) == {"a", "b"}
        runner.end()


async def test_nursery_start_of_a_runner_does_not_fail_for_a_cancel(autojump_clock) -> None:
    # As for tasks: a cancel is no error, also before everybody was ready.
    for early in (True, False):
        runner = runner_of(Plain("w", needs=5))
        if early:
            runner.cancel()
        async with trio.open_nursery() as nursery:

            async def later(runner=runner) -> None:
                await trio.sleep(1)
                runner.cancel()

            nursery.start_soon(later)
            assert await nursery.start(runner.run) is runner


async def test_wait_ready_waits_for_names_and_for_all(autojump_clock) -> None:
    runner = runner_of(Plain("a", needs=1), Plain("b", needs=2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await runner.wait_ready("a")
        assert trio.current_time() == pytest.approx(1)
        await runner.wait_ready()
        assert trio.current_time() == pytest.approx(3)
        await runner.wait_ready("a", "b")
        runner.end()


async def test_wait_finished_of_a_runner_from_several_tasks(autojump_clock) -> None:
    runner, done = runner_of(Plain("w", drain=2)), []

    async def wait() -> None:
        await runner.wait_finished()
        done.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.sleep(1)
        assert done == []  # not before it has run
        await nursery.start(runner.run)
        runner.end()
    assert done == [pytest.approx(3)] * 3
    with trio.fail_after(1):
        await runner.wait_finished()


async def test_ids_and_names(autojump_clock) -> None:
    class Mine(PipelineRunner):
        pass

    first, second = Mine(handle_sigint=False), Mine(handle_sigint=False)
    assert (first.name, second.name) == ("Mine#0", "Mine#1")
    task, another = task_of(Probe()), task_of(Probe())
    assert len({first.id, second.id, task.id, another.id}) == 4
    kind, number = task.name.split("#")
    assert (kind, another.name) == ("PipelineTask", f"PipelineTask#{int(number) + 1}")
    assert runner_of(name="mine").name == "mine"
    assert task_of(Probe(), name="mine").name == "mine"


async def test_a_worker_with_attach_is_given_its_runner_once_before_run(autojump_clock) -> None:
    class Attaches(Plain):
        def attach(self, runner) -> None:
            self.log.append(runner.name)

    worker, added = Attaches("w"), Attaches("added")
    runner = runner_of(worker, name="host")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.add_workers(added)
        await runner.wait_ready()
        runner.end()
    assert worker.log[:2] == ["host", "w up"]
    assert added.log[:2] == ["host", "added up"]


async def test_runner_observers_hear_everything_in_order(autojump_clock) -> None:
    events = []

    class Watch:
        def on_ready(self, runner) -> None:
            events.append("ready")

        def on_worker_started(self, runner, worker) -> None:
            events.append(f"{worker.name} started")

        async def on_worker_finished(self, runner, worker) -> None:
            await trio.sleep(0.1)
            events.append(f"{worker.name} finished")

    watch = Watch()
    runner = runner_of(Plain("a"))
    runner.add_observer(watch)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert events == ["a started", "ready"]
        runner.end()
    assert events == ["a started", "ready", "a finished"]


@pytest.mark.parametrize("first_to_leave", [0, 1])
async def test_async_observers_hear_of_all_calls_whichever_leaves_first(autojump_clock, first_to_leave) -> None:
    events = []

    class Watch:
        async def on_worker_finished(self, runner, worker) -> None:
            events.append(worker.name)

    runner, workers = runner_of(observers=[Watch()]), [Plain("a"), Plain("b")]
    async with nothing_left(), trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(runner.run, worker)
            await runner.wait_ready(worker.name)
        first, second = workers[first_to_leave], workers[1 - first_to_leave]
        first.stop_when_done()
        await trio.sleep(2)
        assert events == [first.name]
        second.stop_when_done()
    assert events == [first.name, second.name]
    # And of a run after that.
    third = Plain("c")
    third.stop_when_done()
    await runner.run(third)
    assert events[2:] == ["c"]


@pytest.mark.parametrize("how", ["outside", "error"])
async def test_async_observers_go_on_when_the_oldest_call_does_not_end_in_order(autojump_clock, how) -> None:
    events = []

    class Watch:
        async def on_worker_finished(self, runner, worker) -> None:
            events.append(worker.name)

    runner, scope = runner_of(observers=[Watch()]), trio.CancelScope()
    oldest = Plain("oldest") if how == "outside" else Breaks("oldest", ValueError("x"), after=1)
    other = Plain("other")

    async def call() -> None:
        with scope, contextlib.suppress(ValueError, ExceptionGroup):
            await runner.run(oldest)

    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await runner.wait_ready("oldest")
        nursery.start_soon(runner.run, other)
        await runner.wait_ready("other")
        scope.cancel() if how == "outside" else None
        await trio.sleep(3)
        other.stop_when_done()
    assert events[-1] == "other"


async def test_g29_an_async_observer_of_a_runner_that_never_returns_does_not_block_the_end(autojump_clock) -> None:
    class Never:
        async def on_ready(self, runner) -> None:
            await trio.sleep_forever()

    for how in ("end", "cancel", "outside"):
        runner, began = runner_of(Plain("w"), observers=[Never()]), trio.current_time()
        async with nothing_left(), trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            nursery.cancel_scope.cancel() if how == "outside" else getattr(runner, how)()
        assert trio.current_time() - began <= 1.1


async def test_a_worker_may_run_another_in_the_same_runner(autojump_clock) -> None:
    class Parent(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started()
            child = task_of(Slow(1), name="child")
            await child.queue_frame(TextFrame())
            child.stop_when_done()
            return await runner.run(child)

    runner = runner_of()
    with trio.fail_after(10):
        result = await runner.run(Parent("parent"))
    assert (result.state, result.frames_out) == (TaskState.ENDED, 1)


async def test_an_endless_grace_period(autojump_clock) -> None:
    import math
    import signal

    slow = Slow(1000)
    task = task_of(slow)
    await task.queue_frame(TextFrame("kept"))
    async with trio.open_nursery() as nursery:
        await nursery.start(PipelineRunner(task, grace_period=math.inf).run)
        signal.raise_signal(signal.SIGINT)
    assert slow.texts == ["kept"]


async def test_r5_an_observer_that_raises_does_not_hurt_the_runner(autojump_clock, caplog) -> None:
    class Bad:
        def on_ready(self, runner) -> None:
            raise ValueError("observer")

        async def on_worker_finished(self, runner, worker) -> None:
            raise AssertionError("it was removed")

    class BadAsync:
        async def on_ready(self, runner) -> None:
            raise ValueError("async observer")

    runner = runner_of(Plain("a"), observers=[Bad(), BadAsync()])
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.end()
    assert "ValueError: observer" in caplog.text
    assert "ValueError: async observer" in caplog.text
    assert "it was removed" not in caplog.text


async def test_r5_force_gc_collects_at_the_end(autojump_clock) -> None:
    class Cycle:
        pass

    import weakref

    for force in (True, False):
        gc.disable()
        try:
            cycle = Cycle()
            cycle.me = cycle
            ref = weakref.ref(cycle)
            del cycle
            task = task_of(Probe())
            task.stop_when_done()
            await runner_of(force_gc=force).run(task)
            assert (ref() is None) == force
        finally:
            gc.enable()


async def test_a_runner_can_run_again(autojump_clock) -> None:
    runner = runner_of(Plain("first"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.end()
    runner.add_workers(second := Plain("second"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert second.log == ["second up"]
        await finish(runner, "second")


async def test_a_task_in_a_runner_has_started_when_it_is_ready(autojump_clock) -> None:
    task = task_of(Slow(1))
    runner = runner_of(task)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert task.state is TaskState.RUNNING
        await task.queue_frames(texts(1, 2))
        runner.end()
    assert task.state is TaskState.ENDED


async def test_a_stuck_sibling_is_cancelled_by_an_error(autojump_clock) -> None:
    stuck = task_of(Stuck(TextFrame))
    await stuck.queue_frame(TextFrame())
    with trio.fail_after(10), pytest.raises(ExceptionGroup):
        await runner_of(stuck, Breaks("bad", ValueError("x"), after=1)).run()
    assert stuck.state is TaskState.CANCELLED
