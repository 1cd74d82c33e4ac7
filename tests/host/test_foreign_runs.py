"""A task belongs to one Trio run. What is called from another one, or from a thread without any, is told so and harms nothing."""

import threading

import pytest
import trio

from hosting import Probe, Slow, nothing_left, started, task_of, texts
from trio_pipes import Direction, PipelineTask, SystemFrame, TaskState, TextFrame


class Watch:
    def on_error(self, task, frame) -> None: ...


WATCH = Watch()


async def open_output(task: PipelineTask) -> None:
    async with task.open_output(TextFrame):
        raise AssertionError


CALLS = {
    "queue_frame": lambda task: task.queue_frame(TextFrame("x")),
    "queue_frame up": lambda task: task.queue_frame(TextFrame("x"), Direction.UPSTREAM),
    "queue_frame system": lambda task: task.queue_frame(SystemFrame()),
    "queue_frame handled": lambda task: task.queue_frame(TextFrame("x"), on_handled=print),
    "queue_frames": lambda task: task.queue_frames(texts(1, 2)),
    "flush": lambda task: task.flush(1),
    "wait_finished": lambda task: task.wait_finished(),
    "wait_state": lambda task: task.wait_state(TaskState.ENDED),
    "open_output": open_output,
    "run": lambda task: task.run(),
}
REQUESTS = {
    "stop_when_done": lambda task: task.stop_when_done(),
    "cancel": lambda task: task.cancel(),
    "interrupt": lambda task: task.interrupt(),
    "add_observer": lambda task: task.add_observer(Watch()),
    "remove_observer": lambda task: task.remove_observer(WATCH),
}


def in_a_thread(fn) -> BaseException | None:
    """Call `fn` in a thread of its own; gives what it raised."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            fn()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it hangs"
    return raised[0] if raised else None


def from_a_foreign_run(call) -> BaseException | None:
    async def main() -> None:
        with trio.fail_after(5):
            result = call()
            if hasattr(result, "__await__"):
                await result

    return in_a_thread(lambda: trio.run(main))


@pytest.mark.parametrize("name", [*CALLS, *REQUESTS])
async def test_a_call_from_a_foreign_trio_run_is_refused_and_harms_nothing(autojump_clock, name) -> None:
    probe = Probe()
    task = task_of(probe, observers=[WATCH])
    call = {**CALLS, **REQUESTS}[name]
    async with nothing_left(), started(task):
        await trio.testing.wait_all_tasks_blocked()  # everybody is parked: a foreign wake-up would hit
        error = from_a_foreign_run(lambda: call(task))
        assert isinstance(error, RuntimeError)
        assert ("already" if name == "run" else name.split()[0]) in str(error)
        assert task.state is TaskState.RUNNING
        await task.queue_frame(TextFrame("y"))
        assert await task.flush()
    assert probe.texts == ["y"]
    assert (await task.wait_finished()).frames_in == 1


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_from_a_thread_without_trio_is_refused_and_names_the_way(autojump_clock, name) -> None:
    task = task_of(Slow(1), observers=[WATCH])
    async with started(task):
        await task.queue_frame(TextFrame("x"))
        error = in_a_thread(lambda: REQUESTS[name](task))
        assert isinstance(error, RuntimeError)
        assert f"handle = {task.name}.from_thread()" in str(error)
        assert task.state is TaskState.RUNNING
    assert (await task.wait_finished()).frames_out == 1


async def test_trios_own_way_from_a_thread_works() -> None:
    # Real threads, so on the real clock; nothing in here takes time.
    probe = Probe()
    task = task_of(probe)

    def work() -> None:
        trio.from_thread.run(task.queue_frame, TextFrame("x"))
        trio.from_thread.run_sync(task.stop_when_done, "from a thread")

    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.to_thread.run_sync(work)
    assert (await task.wait_finished()).reason == "from a thread"
    assert probe.texts == ["x"]


async def test_what_only_looks_may_be_called_from_anywhere(autojump_clock) -> None:
    task = task_of(Probe())
    seen: list[object] = []
    async with started(task):
        assert in_a_thread(lambda: seen.extend((task.state, task.has_finished(), task.statistics().state))) is None
    assert seen == [TaskState.RUNNING, False, TaskState.RUNNING]


def test_a_task_may_be_filled_in_one_thread_and_run_in_another() -> None:
    probe = Probe()
    task = task_of(probe)
    assert from_a_foreign_run(lambda: task.queue_frames(texts(1, 2))) is None
    assert in_a_thread(task.stop_when_done) is None
    assert trio.run(task.run).state is TaskState.ENDED
    assert probe.texts == ["1", "2"]
    assert from_a_foreign_run(task.wait_finished) is None  # it is over: anybody may ask


# Whoever waits before the run, elsewhere, could not be woken from it.
@pytest.mark.parametrize("name", ["wait_finished", "wait_state", "flush"])
def test_a_task_that_is_waited_for_in_another_thread_is_not_run(name) -> None:
    task = task_of(Probe())
    waits, over = threading.Event(), threading.Event()

    async def wait() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: CALLS[name](task))
            await trio.testing.wait_all_tasks_blocked()
            waits.set()
            await trio.to_thread.run_sync(over.wait)
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(wait,))
    thread.start()
    try:
        assert waits.wait(10)
        if name != "flush":  # (which gives up after its second, and is gone by then)
            with pytest.raises(RuntimeError, match="waited for in another thread"):
                trio.run(task.run)
            assert task.state is TaskState.NEW
    finally:
        over.set()
        thread.join(10)
    task.stop_when_done()
    assert trio.run(task.run).state is TaskState.ENDED
