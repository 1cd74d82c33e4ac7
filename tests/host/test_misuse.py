"""Tasks and runners used from where they should not be: other threads, other Trio runs, their own observers and workers."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import trio
import trio.testing

from hosting import Does, Plain, Probe, Slow, errors_in, started, task_of, texts
from trio_pipes import (
    Direction,
    DuplicateName,
    EndFrame,
    PipelineRunner,
    PipelineTask,
    TaskState,
    TextFrame,
)

HUNG = 1000

TASK_EVENTS = ["on_started", "on_frame_pushed", "on_frame_handled", "on_reached_sink", "on_interrupt", "on_finished"]


def observer(event: str, call):
    """An observer of that event which makes a call the first time."""

    class Watch:
        called = 0

    def tell(self, *args) -> None:
        self.called += 1
        if self.called == 1:
            call(self)

    setattr(Watch, event, tell)
    return Watch()


# -- observers that ask


@pytest.mark.parametrize("asked", ["stop_when_done", "cancel", "interrupt", "remove", "add", "statistics"])
@pytest.mark.parametrize("event", TASK_EVENTS)
async def test_an_observer_may_ask_its_task_for_anything(autojump_clock, event, asked) -> None:
    def ask(watch) -> None:
        match asked:
            case "remove":
                task.remove_observer(watch)
            case "add":
                task.add_observer(observer(event, lambda _: None))
            case _:
                getattr(task, asked)()

    watch = observer(event, ask)
    task = task_of(Probe(), Probe(inline=True) if False else Probe(), observers=[watch], allow_interruptions=True)
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            try:
                await task.queue_frames(texts("a", "b"))
                await trio.sleep(1)
                task.interrupt()
                await trio.sleep(1)
                await task.queue_frame(TextFrame("c"))
                await trio.sleep(1)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                assert asked in ("stop_when_done", "cancel")
            task.stop_when_done()
        result = await task.wait_finished()
    assert watch.called
    cancelled = asked == "cancel" and event != "on_finished"
    assert result.state is (TaskState.CANCELLED if cancelled else TaskState.ENDED)
    assert result.observer_errors == ()


# One that queues what it sees come out, faster than anybody can handle it: the task goes on, and ends.
async def test_an_observer_that_queues_what_comes_out_hangs_nobody(autojump_clock) -> None:
    class Echo:
        async def on_reached_sink(self, task, frame) -> None:
            if isinstance(frame, TextFrame):
                await task.queue_frame(TextFrame(frame.text + "!"))

    last = Probe()
    task = task_of(Slow(0.1), last, observers=[Echo()], queue_size=1)
    with trio.fail_after(HUNG):
        async with started(task):
            await task.queue_frames(texts(*"abc"))
            await trio.sleep(5)
        result = await task.wait_finished()
    assert result.state is TaskState.ENDED
    assert len(last.texts) > 20
    assert all(isinstance(error, trio.ClosedResourceError) for error in result.observer_errors)


# -- other threads


def outcome_in_a_thread(call) -> object:
    """What the call gave or raised in a thread of its own."""
    kept: list[object] = []

    def run() -> None:
        try:
            kept.append(call())
        except BaseException as exc:
            kept.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return kept[0]


@pytest.mark.parametrize("call", ["stop_when_done", "cancel", "interrupt"])
async def test_a_request_from_a_thread_is_refused_and_changes_nothing(autojump_clock, call) -> None:
    last = Probe()
    task = task_of(Probe(), last, allow_interruptions=True)
    async with started(task):
        error = outcome_in_a_thread(getattr(task, call))
        assert isinstance(error, RuntimeError)
        assert f"{task.name}.{call}()" in str(error)
        assert "from_thread" in str(error)
        assert task.state is TaskState.RUNNING
        await task.queue_frame(TextFrame("still here"))
    assert task.state is TaskState.ENDED
    assert last.texts == ["still here"]


@pytest.mark.parametrize("call", ["stop_when_done", "cancel"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_request_from_a_thread_is_fine_where_nothing_runs(autojump_clock, call, moment) -> None:
    task = task_of()
    if moment == "after":
        task.stop_when_done()
        await task.run()
    assert repr(outcome_in_a_thread(getattr(task, call))) == "<requested>"
    if moment == "before":
        with trio.fail_after(1):
            await task.run()
    assert task.has_finished()


FOREIGN = {
    "queue_frame": lambda task: task.queue_frame(TextFrame("x")),
    "queue_frame up": lambda task: task.queue_frame(TextFrame("x"), Direction.UPSTREAM),
    "queue_frame end": lambda task: task.queue_frame(EndFrame()),
    "queue_frames": lambda task: task.queue_frames(texts(*range(30))),
    "flush": lambda task: task.flush(),
    "wait_finished": lambda task: task.wait_finished(),
    "wait_state": lambda task: task.wait_state(TaskState.ENDED),
}


@pytest.mark.parametrize("call", sorted(FOREIGN))
async def test_use_from_another_trio_run_is_refused_and_hurts_nobody(autojump_clock, call) -> None:
    last = Probe()
    task = task_of(Probe(), last, queue_size=8)
    async with started(task):
        await trio.testing.wait_all_tasks_blocked()
        error = outcome_in_a_thread(lambda: trio.run(FOREIGN[call], task))
        assert isinstance(error, RuntimeError), error
        assert "its Trio run is in another one" in str(error)
        assert task.state is TaskState.RUNNING
        await task.queue_frame(TextFrame("still here"))
        assert await task.flush(5)
    assert last.texts == ["still here"]


async def test_an_output_is_not_opened_from_another_trio_run(autojump_clock) -> None:
    task = task_of()

    async def foreign() -> None:
        async with task.open_output(TextFrame):
            raise AssertionError

    async with started(task):
        error = outcome_in_a_thread(lambda: trio.run(foreign))
        assert isinstance(error, RuntimeError)
        assert "open_output" in str(error)


# A processor is not the task: its push is the hot path, which looks at nothing; whoever wakes the neighbour does.
async def test_a_push_from_another_trio_run_is_refused_and_hurts_nobody(autojump_clock) -> None:
    first, last = Probe(), Probe()
    task = task_of(first, last)
    async with started(task):
        await trio.testing.wait_all_tasks_blocked()
        error = outcome_in_a_thread(lambda: trio.run(first.push_frame, TextFrame("x")))
        assert isinstance(error, RuntimeError), error
        assert "another Trio run" in str(error)
        await task.queue_frame(TextFrame("still here"))
        assert await task.flush(5)
    assert last.texts[-1] == "still here"


# By Trio's own way back everything is allowed.
async def test_a_thread_uses_a_task_by_way_of_trio() -> None:
    last = Probe()
    task = task_of(last)

    def work() -> None:
        trio.from_thread.run(task.queue_frame, TextFrame("a"))
        trio.from_thread.run_sync(task.interrupt)
        trio.from_thread.run(task.flush)
        trio.from_thread.run(task.queue_frame, TextFrame("b"))
        trio.from_thread.run_sync(task.stop_when_done)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await trio.to_thread.run_sync(work)
    assert last.texts == ["a", "b"]
    assert task.state is TaskState.ENDED


# -- one Trio run after the other


# What a run has left behind answers in the next one, as it does in its own.
def test_what_one_trio_run_has_left_answers_in_the_next() -> None:
    first = Probe()
    task = task_of(first)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(TextFrame("a"))
            task.stop_when_done()

    trio.run(run)

    async def again() -> None:
        with trio.fail_after(5):
            assert (await task.wait_finished()).state is TaskState.ENDED
            assert await task.flush()
            assert await task.wait_state(TaskState.ENDED) is TaskState.ENDED
            async with task.open_output() as frames:
                assert [frame async for frame in frames] == []
            with pytest.raises(trio.ClosedResourceError):
                await task.queue_frame(TextFrame("b"))
            with pytest.raises(RuntimeError, match="has been run already"):
                await task.run()
            await first.push_frame(TextFrame("late"))
        task.cancel()
        task.stop_when_done()
        task.interrupt()
        # And its processors serve another task.
        second = PipelineTask(task.pipeline)
        second.stop_when_done()
        await second.run()

    trio.run(again)
    assert task.state is TaskState.ENDED


# Built and filled in one run, run in the next, in another thread.
def test_a_task_that_was_filled_in_one_trio_run_runs_in_another() -> None:
    last = Probe()
    task = task_of(last)

    async def fill() -> None:
        await task.queue_frames(texts(*"abc"))
        task.stop_when_done()

    trio.run(fill)
    assert outcome_in_a_thread(lambda: trio.run(task.run)).state is TaskState.ENDED
    assert last.texts == ["a", "b", "c"]


# A Trio run that was broken off, by an error of somebody else's, leaves a task that has finished.
def test_a_run_that_was_broken_off_leaves_a_finished_task() -> None:
    task = task_of(Slow(5))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(TextFrame("a"))
            raise ValueError("somebody else")

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(run)
    assert [str(error) for error in errors_in(caught.value)] == ["somebody else"]
    assert task.has_finished()
    assert task.state is TaskState.CANCELLED
    assert repr(task.cancel()) == "<requested>"


# -- runners


# A worker asks its own runner for anything, from within.
@pytest.mark.parametrize("asked", ["stop_when_done", "end", "cancel"])
@pytest.mark.parametrize("auto_end", [True, False])
async def test_a_processor_may_ask_its_runner(autojump_clock, asked, auto_end) -> None:
    async def ask(processor, frame) -> None:
        getattr(runner, asked)()

    task = task_of(Does(ask))
    runner = PipelineRunner(task, handle_sigint=False)
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: runner.run(auto_end=auto_end, task_status=task_status))
            await task.queue_frame(TextFrame("a"))
            await task.wait_finished()
            runner.end()
    assert task.state is (TaskState.CANCELLED if asked == "cancel" else TaskState.ENDED)
    assert runner.statistics().running == ()


# A processor that hosts its own task again, by its runner or another.
async def test_a_processor_cannot_have_its_own_task_hosted_again(autojump_clock) -> None:
    tried = []

    async def host(processor, frame) -> None:
        with pytest.raises(DuplicateName, match=task.name):
            runner.add_workers(task)
        with pytest.raises(RuntimeError, match="has been run already"):
            await PipelineRunner(handle_sigint=False).run(task)
        tried.append(frame)

    task = task_of(Does(host))
    runner = PipelineRunner(task, handle_sigint=False)
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await task.queue_frame(TextFrame("a"))
            task.stop_when_done()
    assert len(tried) == 1
    assert task.state is TaskState.ENDED


# A processor may host other work on the runner that it is hosted by, and wait for it.
async def test_a_processor_may_have_other_work_hosted_by_its_runner(autojump_clock) -> None:
    inner_last = Probe()

    async def host(processor, frame) -> None:
        inner = task_of(inner_last)
        await inner.queue_frame(TextFrame("inner"))
        inner.stop_when_done()
        await runner.run(inner)

    task = task_of(Does(host))
    runner = PipelineRunner(task, handle_sigint=False)
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await task.queue_frame(TextFrame("a"))
            task.stop_when_done()
    assert inner_last.texts == ["inner"]


@pytest.mark.parametrize("event", ["on_ready", "on_worker_started", "on_worker_finished"])
@pytest.mark.parametrize("asked", ["end", "cancel", "stop_when_done", "add"])
async def test_an_observer_may_ask_its_runner_for_anything(autojump_clock, event, asked) -> None:
    refused = []

    def ask(watch) -> None:
        if asked == "add":
            try:
                runner.add_workers(more)
            except RuntimeError as exc:
                refused.append(exc)
        else:
            getattr(runner, asked)()

    more = task_of(name="more")
    more.stop_when_done()
    task = task_of()
    watch = observer(event, ask)
    runner = PipelineRunner(Plain("p", drain=1), task, handle_sigint=False, observers=[watch])
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            await trio.sleep(1)
            task.stop_when_done()
            await trio.sleep(1)
            runner.end()
        await runner.wait_finished()
    assert watch.called
    assert task.has_finished() or event != "on_ready"
    assert more.has_finished() or refused or asked != "add"
    assert runner.statistics().running == ()


async def test_a_runner_that_stays_up_forgets_its_last_worker(autojump_clock) -> None:
    runner = PipelineRunner(handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        task = task_of()
        task.stop_when_done()
        runner.add_workers(task)
        await task.wait_finished()
        await trio.testing.wait_all_tasks_blocked()
        gone = weakref.ref(task)
        del task
        gc.collect()
        try:
            assert gone() is None
        finally:
            runner.end()
