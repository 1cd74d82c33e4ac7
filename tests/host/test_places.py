"""Where a runner can run: a nursery of someone else, a thread, a host loop of another kind."""

import queue
import threading

import pytest
import trio
import trio.testing

from hosting import Lives, Plain, Probe, Slow, errors_in, nothing_left, task_of, texts
from trio_pipes import ConfigurationError, PipelineRunner, Restart, TaskResult, TaskState, TextFrame


async def test_r7_inside_someone_elses_nursery_leaving_it_leaves_nothing(autojump_clock) -> None:
    log: list[str] = []
    task, helper = task_of(Lives(log, "a", down=2)), Plain("helper")
    runner = PipelineRunner(task, handle_sigint=False)
    runner.add_workers(helper, helper=True)
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await task.queue_frame(TextFrame())
        nursery.cancel_scope.cancel()
    assert log == ["a up", "a down"]
    assert helper.log[-1] == "helper down"
    assert runner.statistics().running == ()
    assert task.state is TaskState.CANCELLED
    with trio.fail_after(1):
        await runner.wait_finished()


async def test_r7_an_error_of_a_worker_leaves_that_nursery(autojump_clock) -> None:
    class Bad(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started()
            await trio.sleep(1)
            raise ValueError("bad")

    with pytest.raises(ExceptionGroup) as caught:
        async with nothing_left(), trio.open_nursery() as nursery:
            await nursery.start(PipelineRunner(Bad("w"), handle_sigint=False).run)
    assert [str(error) for error in errors_in(caught.value)] == ["bad"]


async def test_r7_a_runner_is_a_worker_of_another_runner(autojump_clock) -> None:
    # It has a name, `run`, `stop_when_done` and `cancel`; what it hosts ends with it.
    slow = Slow(1)
    task = task_of(slow)
    inner = PipelineRunner(task, handle_sigint=False)
    outer = PipelineRunner(inner, handle_sigint=False)
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(outer.run)
        await task.queue_frames(texts(1, 2))
        outer.end()
    assert slow.texts == ["1", "2"]
    assert task.state is TaskState.ENDED


@pytest.mark.parametrize("restart", [False, True])
async def test_r7_a_hosted_runner_ends_with_all_its_workers_not_only_its_pipelines(autojump_clock, restart) -> None:
    task, plain, sibling = task_of(slow := Slow(1)), Plain("plain"), Plain("sibling")
    inner = PipelineRunner(task, plain, handle_sigint=False)
    outer = PipelineRunner(Restart(lambda: inner) if restart else inner, sibling, handle_sigint=False)
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(outer.run)
        await task.queue_frames(texts(1, 2))
        with trio.fail_after(10):
            outer.end("by the outer")
            await outer.wait_finished()
    assert slow.texts == ["1", "2"]
    assert plain.log == ["plain up", "plain told", "plain down"]
    assert inner.statistics().reason == task.result.reason == "by the outer"


async def test_a_runner_cannot_host_itself(autojump_clock) -> None:
    runner = PipelineRunner(handle_sigint=False)
    with pytest.raises(ConfigurationError, match="cannot host itself"):
        runner.add_workers(runner)
    with pytest.raises(ConfigurationError, match="cannot host itself"):
        await runner.run(runner)


@pytest.mark.parametrize("ask", ["end", "cancel", "nothing"])
def test_r7_guest_mode(ask) -> None:
    # A host loop of one queue, as a GUI toolkit has; Trio runs as its guest.
    todo: queue.Queue = queue.Queue()
    over = []
    slow = Slow(0.01)
    task = task_of(slow)
    runner = PipelineRunner(task, handle_sigint=False)

    async def main() -> TaskResult:
        await task.queue_frames(texts(*range(5)))
        if ask == "nothing":
            task.stop_when_done()
        await runner.run()
        return await task.wait_finished()

    def done(outcome) -> None:
        over.append(outcome)

    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=todo.put,
        run_sync_soon_not_threadsafe=todo.put,
        done_callback=done,
        host_uses_signal_set_wakeup_fd=True,
    )
    asked = False
    while not over:
        todo.get(timeout=20)()
        if not asked and slow.texts and ask != "nothing":
            asked = True
            getattr(runner, ask)("by the host")  # requests are plain calls: the host makes them between two steps
    result = over[0].unwrap()
    if ask == "cancel":
        assert (result.state, result.reason) == (TaskState.CANCELLED, "by the host")
    else:
        assert result.state is TaskState.ENDED
        assert slow.texts == list("01234")


@pytest.mark.parametrize("ask", ["nothing", "end", "cancel", "thread"])
def test_r7_guest_of_an_asyncio_loop(ask) -> None:
    # A real host: asyncio work goes on beside Trio's, and both may ask the runner.
    import asyncio  # noqa: TID251  (the host)

    slow = Slow(0.001)
    task = task_of(slow)
    runner = PipelineRunner(task, handle_sigint=False)
    ticks = 0

    async def main() -> TaskResult:
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            handles.append(runner.from_thread())
            await task.queue_frames(texts(*range(20)))
            if ask == "nothing":
                task.stop_when_done()
        return await task.wait_finished()

    handles: list = []

    async def host() -> TaskResult:
        nonlocal ticks
        loop = asyncio.get_running_loop()
        done: asyncio.Future = loop.create_future()
        trio.lowlevel.start_guest_run(
            main,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        asked = False
        while not done.done():
            ticks += 1
            if slow.texts and not asked:
                asked = True
                if ask in ("end", "cancel"):
                    getattr(runner, ask)("by the host")
                elif ask == "thread":
                    await loop.run_in_executor(None, handles[0].end, "by the host")
            await asyncio.sleep(0.001)
        return (await done).unwrap()

    result = asyncio.run(asyncio.wait_for(host(), 20))
    assert ticks > 1
    assert result.reason == (None if ask == "nothing" else "by the host")
    if ask == "cancel":
        assert result.state is TaskState.CANCELLED
    else:
        assert result.state is TaskState.ENDED
        assert slow.texts == [str(n) for n in range(20)]


def test_r7_guest_mode_with_signals() -> None:
    import signal

    todo: queue.Queue = queue.Queue()
    over = []
    before = signal.getsignal(signal.SIGINT)
    probe = Probe()
    task = task_of(probe)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(PipelineRunner(task).run)
            signal.raise_signal(signal.SIGINT)

    trio.lowlevel.start_guest_run(
        main, run_sync_soon_threadsafe=todo.put, run_sync_soon_not_threadsafe=todo.put, done_callback=over.append
    )
    while not over:
        todo.get(timeout=20)()
    over[0].unwrap()
    assert task.state is TaskState.ENDED
    assert signal.getsignal(signal.SIGINT) is before


def test_several_threads_each_with_a_run_of_trio() -> None:
    # Nothing is shared between Trio runs but names and ids.
    results: list[TaskResult] = []

    def one() -> None:
        async def main() -> None:
            task = task_of(Slow(0.001), Probe())
            await task.queue_frames(texts(*range(20)))
            task.stop_when_done()
            results.append(await PipelineRunner(handle_sigint=False).run(task))

        trio.run(main)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [(result.state, result.frames_out) for result in results] == [(TaskState.ENDED, 20)] * 4


def test_one_runner_in_two_runs_of_trio_one_after_the_other() -> None:
    runner = PipelineRunner()
    for _ in range(2):
        task = task_of(Probe())
        task.stop_when_done()
        assert trio.run(runner.run, task).state is TaskState.ENDED


async def test_k3_an_hour_takes_no_time_on_the_test_clock(autojump_clock) -> None:
    import time

    began = time.perf_counter()
    slow = Slow(60)
    task = task_of(slow)
    await task.queue_frames(texts(*range(60)))
    task.stop_when_done()
    await PipelineRunner(handle_sigint=False).run(task)
    assert trio.current_time() == pytest.approx(3600)
    assert time.perf_counter() - began < 5
