"""How a runner ends: stop_when_done, end, cancel, by itself, and not at all."""

import pytest
import trio
import trio.testing

from hosting import Does, Plain, Probe, Slow, Stuck, nothing_left, task_of, texts
from trio_pipes import PipelineRunner, StartFrame, TaskState, TextFrame


def runner_of(*workers, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, handle_sigint=False, **settings)


async def test_stop_when_done_ends_root_pipelines_and_lets_other_workers_go_on(autojump_clock) -> None:
    slow, plain = Slow(1), Plain("plain")
    root, child, helper = task_of(slow), task_of(Probe()), task_of(Probe())
    runner = runner_of(root, plain)
    runner.add_workers(child, parent="plain")
    runner.add_workers(helper, helper=True)
    await root.queue_frames(texts(1, 2, 3))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.stop_when_done()
        await root.wait_finished()
        await trio.sleep(10)
        assert slow.texts == ["1", "2", "3"]
        assert plain.log == ["plain up"]
        assert child.state is helper.state is TaskState.RUNNING
        # It takes new workers still.
        runner.add_workers(Plain("new"))
        await runner.wait_ready("new")
        runner.end()


async def test_stop_when_done_of_pipelines_only_ends_the_runner(autojump_clock) -> None:
    tasks = [task_of(Slow(n)) for n in (1, 2)]
    for task in tasks:
        await task.queue_frames(texts(1, 2))
    runner = runner_of(*tasks)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.stop_when_done("enough")
    assert [task.state for task in tasks] == [TaskState.ENDED] * 2
    assert [(await task.wait_finished()).reason for task in tasks] == ["enough"] * 2


async def test_with_auto_end_false_the_runner_stays_up_until_told(autojump_clock) -> None:
    runner = runner_of(task_of(Probe()))
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        runner.stop_when_done()
        await trio.sleep(100)
        assert (runner.statistics().calls, runner.statistics().running) == (1, ())
        runner.add_workers(later := task_of(Probe()))
        await runner.wait_ready(later.name)
        await runner.end("told")
    assert later.state is TaskState.ENDED


async def test_end_ends_an_empty_runner_with_auto_end_false(autojump_clock) -> None:
    for ask in ("end", "cancel"):
        runner = runner_of()
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status, runner=runner: runner.run(auto_end=False, task_status=task_status))
            await trio.sleep(1)
            getattr(runner, ask)()
            with trio.fail_after(1):
                await runner.wait_finished()


async def test_end_asks_every_worker_helpers_last_and_loses_nothing(autojump_clock) -> None:
    log: list[str] = []
    slow = Slow(1)
    task = task_of(slow)
    await task.queue_frames(texts(*range(10)))
    runner = runner_of(Plain("a", log, drain=2), task)
    runner.add_workers(Plain("helper", log, drain=1), helper=True)
    runner.add_workers(Plain("child", log, drain=1), parent="a")
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.end("time to go")
        await trio.sleep(1.5)
        assert "helper told" not in log
    assert slow.texts == list("0123456789")
    assert (await task.wait_finished()).reason == "time to go"
    assert log[-2:] == ["helper told", "helper down"]
    assert log.index("child told") < log.index("a told")  # in reverse


@pytest.mark.parametrize("ask", ["end", "stop_when_done"])
async def test_g23_an_end_lets_each_of_ten_queued_frames_arrive_and_no_cancel_overtakes_it(autojump_clock, ask) -> None:
    slow = Slow(1)
    task = task_of(slow, probe := Probe())
    runner = runner_of(task)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await task.queue_frames(texts(*range(10)))
        getattr(runner, ask)("in order")
        result = await task.wait_finished()
    assert probe.texts == [str(n) for n in range(10)]
    assert (result.state, result.reason) == (TaskState.ENDED, "in order")
    assert probe.kinds[-1] == "EndFrame"


async def test_end_takes_no_new_workers(autojump_clock) -> None:
    slow = Slow(5)
    task = task_of(slow)
    await task.queue_frame(TextFrame())
    runner = runner_of(task)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.end()
        with pytest.raises(RuntimeError, match="told to end"):
            runner.add_workers(Plain("late"))
        with pytest.raises(RuntimeError, match="told to end"):
            await runner.run(Plain("late"))
        assert runner.get_worker("late") is None


async def test_cancel_ends_all_now_with_cleanup(autojump_clock) -> None:
    log: list[str] = []
    stuck = task_of(Stuck(TextFrame))
    await stuck.queue_frame(TextFrame())
    runner = runner_of(Plain("a", log), stuck)
    runner.add_workers(Plain("helper", log), helper=True)
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.cancel("now")
        with trio.fail_after(1):
            await runner.wait_finished()
    assert (await stuck.wait_finished()).reason == "now"
    assert "a down" in log
    assert "helper down" in log
    assert "a told" not in log


async def test_end_and_cancel_concern_all_calls(autojump_clock) -> None:
    for ask, state in (("end", TaskState.ENDED), ("cancel", TaskState.CANCELLED)):
        runner, tasks = runner_of(), [task_of(Slow(1)) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(runner.run, task)
            await runner.wait_ready(*(task.name for task in tasks))
            getattr(runner, ask)("all")
        assert [task.state for task in tasks] == [state] * 3
        assert {(await task.wait_finished()).reason for task in tasks} == {"all"}


async def test_r3_requests_are_idempotent_and_may_come_in_any_order(autojump_clock) -> None:
    for asks in (("stop_when_done", "end"), ("end", "end"), ("end", "cancel"), ("cancel", "cancel"), ("cancel", "end")):
        task = task_of(Slow(1))
        await task.queue_frame(TextFrame())
        runner = runner_of(task)
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            for ask in asks:
                await getattr(runner, ask)(ask)
            with trio.fail_after(5):
                await runner.wait_finished()
        assert task.state is (TaskState.CANCELLED if "cancel" in asks else TaskState.ENDED)
        assert (await task.wait_finished()).reason == ("cancel" if "cancel" in asks else asks[0])
        for ask in ("stop_when_done", "end", "cancel"):
            await getattr(runner, ask)()  # after the end: harmless


async def test_requests_before_the_run(autojump_clock) -> None:
    for ask, state in (("stop_when_done", "ended"), ("end", "ended"), ("cancel", "cancelled")):
        slow = Slow(1)
        task = task_of(slow)
        await task.queue_frames(texts(1, 2))
        runner = runner_of(task)
        await getattr(runner, ask)()
        with trio.fail_after(10):
            await runner.run()
        assert task.state.value == state
        assert slow.texts == (["1", "2"] if state == "ended" else [])


async def test_a_request_before_the_run_is_used_up_by_it(autojump_clock) -> None:
    runner = runner_of(Plain("first"))
    runner.end()
    await runner.run()
    runner.add_workers(second := Plain("second"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await trio.sleep(1)
        assert second.log == ["second up"]
        runner.end()


@pytest.mark.parametrize("request_name", ["stop_when_done", "end", "cancel"])
async def test_requests_from_inside_a_worker_do_not_deadlock(autojump_clock, request_name) -> None:
    async def ask(processor, frame: TextFrame) -> None:
        await getattr(runner, request_name)()

    task, plain = task_of(Does(ask)), Plain("plain")
    runner = runner_of(task, plain)
    await task.queue_frame(TextFrame())
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            await task.wait_finished()
            assert (plain.log[-1] == "plain up") == (request_name == "stop_when_done")
            plain.stop_when_done()


async def test_end_while_workers_start_lets_each_run_and_end(autojump_clock) -> None:
    # Nothing accepted is lost, also by a worker whose turn has not come yet.
    probe = Probe()
    task = task_of(probe)
    await task.queue_frames(texts(1, 2))
    first = Plain("first", needs=5)
    runner = runner_of(first, task)
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        runner.end()
        with trio.fail_after(60):
            await runner.wait_finished()
    assert probe.texts == ["1", "2"]
    assert task.state is TaskState.ENDED


async def test_g06_a_cancelled_pipeline_leaves_no_task_of_its_own(autojump_clock) -> None:
    task = task_of(Slow(1), Slow(1))
    async with nothing_left(), trio.open_nursery() as nursery:
        before = len(nursery.child_tasks)
        await nursery.start(runner_of(task).run)
        await task.queue_frames(texts(*range(10)))
        task.cancel("idle")
        await task.wait_finished()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == before
    assert task.state is TaskState.CANCELLED


async def test_a_stuck_start_is_ended_by_cancel(autojump_clock) -> None:
    runner = runner_of(task_of(Stuck(StartFrame)), Plain("never"))
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        runner.cancel()
        with trio.fail_after(1):
            await runner.wait_finished()


@pytest.mark.parametrize("bad", [-1, "30", None, True, float("nan")], ids=repr)
def test_a_bad_grace_period_is_refused(bad) -> None:
    from trio_pipes import ConfigurationError

    with pytest.raises(ConfigurationError, match="grace_period"):
        PipelineRunner(grace_period=bad)
