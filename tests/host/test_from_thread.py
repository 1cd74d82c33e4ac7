"""Tasks and runners used from threads in which Trio does not run. Real time: threads do not wait for a test clock."""

import queue
import threading
from collections.abc import Callable

import outcome
import pytest
import trio
import trio.lowlevel
import trio.testing

from hosting import Does, Plain, Probe, Stuck, nothing_left, started, task_of, texts
from trio_pipes import (
    ConfigurationError,
    Direction,
    DuplicateName,
    PipelineRunner,
    PipelineTask,
    Requested,
    Restart,
    RunnerFromThread,
    TaskFromThread,
    TaskState,
    TextFrame,
    TransitionError,
)


def runner_of(*workers, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, handle_sigint=False, **settings)


class Thread:
    """A thread that Trio knows nothing of; `await` it for what its function gave or raised."""

    def __init__(self, function: Callable, *args) -> None:
        self.ended = trio.Event()
        self.outcome: outcome.Outcome | None = None
        token = trio.lowlevel.current_trio_token()

        def run() -> None:
            self.outcome = outcome.capture(function, *args)
            token.run_sync_soon(self.ended.set)

        threading.Thread(target=run, name="elsewhere", daemon=True).start()

    async def result(self):  # never left behind, also when the test is cancelled
        with trio.fail_after(20, shield=True):
            await self.ended.wait()
        return self.outcome.unwrap()


async def until(true: Callable[[], bool]) -> None:
    """Wait for what a thread brings about; there is no event for it."""
    with trio.fail_after(10):
        while not true():  # noqa: ASYNC110
            await trio.sleep(0.001)


async def in_thread(function: Callable, *args):
    return await Thread(function, *args).result()


class Gate(Probe):
    """Holds each text until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = trio.Event()

    async def process_frame(self, frame, direction) -> None:
        if isinstance(frame, TextFrame):
            await self.open.wait()
        await super().process_frame(frame, direction)


# -- a task


async def test_r8_frames_from_several_threads_arrive_all_and_in_each_threads_order() -> None:
    probe = Probe()
    task = task_of(probe, queue_size=4)
    async with started(task):
        handle = task.from_thread()
        assert isinstance(handle, TaskFromThread)

        def produce(name: str) -> None:
            for n in range(20):
                handle.queue_frame(TextFrame(f"{name} {n}"))

        threads = [Thread(produce, name) for name in "abc"]
        for thread in threads:
            await thread.result()
    for name in "abc":
        assert [text for text in probe.texts if text[0] == name] == [f"{name} {n}" for n in range(20)]


async def test_r8_queue_frames_takes_a_list_or_anything_that_gives_frames() -> None:
    probe = Probe()
    task = task_of(probe)
    async with started(task):
        handle = task.from_thread()
        await in_thread(handle.queue_frames, texts(1, 2))
        await in_thread(handle.queue_frames, (TextFrame(str(n)) for n in (3, 4)))
        await in_thread(handle.queue_frame, TextFrame("up"), Direction.UPSTREAM)
        assert await in_thread(handle.flush, 5)
    assert sorted(probe.texts) == ["1", "2", "3", "4", "up"]


async def test_frames_of_a_slow_generator_go_in_as_they_come() -> None:
    probe, go_on = Probe(), threading.Event()

    def slow():
        yield TextFrame("first")
        assert go_on.wait(20)
        yield TextFrame("second")

    task = task_of(probe)
    async with started(task):
        thread = Thread(task.from_thread().queue_frames, slow())
        await until(lambda: probe.texts == ["first"])
        go_on.set()
        await thread.result()
    assert probe.texts == ["first", "second"]


@pytest.mark.parametrize("kind", ["plain thread", "thread of Trio"])
async def test_r8_backpressure_makes_the_thread_wait(kind) -> None:
    gate = Gate()
    task = task_of(gate, queue_size=1)
    accepted = 0

    def produce() -> None:
        nonlocal accepted
        for frame in texts(*range(50)):
            handle.queue_frame(frame)
            accepted += 1

    async with started(task) as nursery:
        handle = task.from_thread()
        if kind == "plain thread":
            thread = Thread(produce)
        else:
            nursery.start_soon(trio.to_thread.run_sync, produce)
        await until(lambda: task.statistics().push_waiting >= 2)  # one in the channel, and the thread
        assert accepted < 10
        before = accepted
        await trio.sleep(0.02)
        assert accepted == before
        gate.open.set()
        if kind == "plain thread":
            await thread.result()
        await until(lambda: accepted == 50)
    assert gate.texts == [str(n) for n in range(50)]


@pytest.mark.parametrize(
    ("request_name", "state"), [("stop_when_done", TaskState.ENDING), ("cancel", None)], ids=["stop", "cancel"]
)
async def test_r8_a_request_has_taken_effect_when_it_returns(request_name, state) -> None:
    task = task_of(gate := Gate())
    async with started(task):
        handle = task.from_thread()
        await task.queue_frame(TextFrame())

        def ask() -> tuple:
            asked = getattr(handle, request_name)("why")
            try:
                handle.queue_frame(TextFrame())
            except (trio.ClosedResourceError, trio.BrokenResourceError) as exc:
                return asked, type(exc)
            raise AssertionError("accepted")

        asked, error = await in_thread(ask)
        assert asked is None
        assert error is (trio.ClosedResourceError if state else trio.BrokenResourceError)
        assert task.state is state or state is None
        gate.open.set()
        result = await in_thread(handle.wait_finished)
        assert result.reason == "why"
        assert handle.has_finished()


async def test_r8_interrupt_from_a_thread() -> None:
    task = task_of(stuck := Stuck(TextFrame), probe := Probe())
    async with started(task):
        await task.queue_frame(TextFrame("stale"))
        await stuck.holding.wait()
        await in_thread(task.from_thread().interrupt)
        stuck.on = int  # lets the next one through
        await task.queue_frame(TextFrame("next"))
    assert probe.texts == ["next"]


async def test_bad_input_raises_in_the_thread_what_the_task_raises() -> None:
    task = task_of()
    async with started(task):
        handle = task.from_thread()
        for bad in (None, "text", 3):
            with pytest.raises(TypeError):
                await in_thread(handle.queue_frame, bad)
        for bad in (TextFrame(), 3, None):
            with pytest.raises(TypeError, match="iterable of frames"):
                await in_thread(handle.queue_frames, bad)

        async def frames():
            yield TextFrame()

        with pytest.raises(TypeError, match="iterable of frames"):
            await in_thread(handle.queue_frames, frames())
        with pytest.raises(ConfigurationError, match="reason=5"):
            await in_thread(handle.stop_when_done, 5)


async def test_wait_finished_gives_a_failure_and_raises_nothing() -> None:
    async def spoil(processor, frame) -> None:
        raise ValueError("spoiled")

    task = task_of(Does(spoil))
    with pytest.raises(ExceptionGroup):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            handle = task.from_thread()
            thread = Thread(handle.wait_finished)
            await in_thread(handle.queue_frame, TextFrame())
            await trio.sleep_forever()
    assert (await thread.result()).state is TaskState.FAILED


# -- where a handle can be made, and where it can be used


def test_a_handle_cannot_be_made_outside_of_a_trio_run() -> None:
    for owner in (task_of(), runner_of()):
        with pytest.raises(RuntimeError, match=rf"{owner.name}.from_thread\(\) was called outside of a Trio run"):
            owner.from_thread()


async def test_a_handle_cannot_be_made_in_the_other_thread() -> None:
    task = task_of()
    async with started(task):
        with pytest.raises(RuntimeError, match="another one"):
            await in_thread(task.from_thread)


CALLS = [
    ("queue_frame", (TextFrame(),)),
    ("queue_frames", ([TextFrame()],)),
    ("stop_when_done", ()),
    ("cancel", ()),
    ("interrupt", ()),
    ("flush", ()),
    ("wait_finished", ()),
]


@pytest.mark.parametrize(("call", "args"), CALLS, ids=[name for name, _ in CALLS])
async def test_a_call_in_trios_own_thread_says_that_it_would_wait_for_itself(call, args) -> None:
    task = task_of(name="t")
    async with started(task):
        with pytest.raises(RuntimeError, match=rf"wait for itself. Use t.{call}\(\) itself"):
            getattr(task.from_thread(), call)(*args)


@pytest.mark.parametrize(("call", "args"), CALLS, ids=[name for name, _ in CALLS])
async def test_a_call_where_another_trio_runs_says_how(call, args) -> None:
    task = task_of(probe := Probe())
    async with started(task):
        handle = task.from_thread()

        async def blocks() -> None:
            getattr(handle, call)(*args)

        with pytest.raises(RuntimeError, match="trio.to_thread.run_sync"):
            await in_thread(trio.run, blocks)
        if call == "wait_finished":
            task.stop_when_done()
        # And that way it works.
        await in_thread(trio.run, trio.to_thread.run_sync, lambda: getattr(handle, call)(*args))
    if call.startswith("queue"):
        assert probe.texts == [""]


def test_a_call_by_the_host_of_a_guest_run_says_that_it_would_block_it() -> None:
    todo: queue.Queue = queue.Queue()
    over, handles, errors = [], [], []

    async def main() -> None:
        task = task_of()
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            handles.append((task, task.from_thread()))

    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=todo.put,
        done_callback=over.append,
        host_uses_signal_set_wakeup_fd=True,
    )
    while not over:
        todo.get(timeout=20)()
        if handles and not errors:
            task, handle = handles[0]
            with pytest.raises(RuntimeError, match="wait for itself|which it would block") as caught:
                handle.wait_finished()
            errors.append(caught)
            task.stop_when_done()  # the host calls the task itself
    over[0].unwrap()
    assert len(errors) == 1


# -- in a thread of Trio's


async def test_a_cancel_wakes_a_thread_of_trio_that_waits_for_room() -> None:
    task = task_of(Gate(), queue_size=1)

    def produce() -> None:
        while True:
            handle.queue_frame(TextFrame())

    async with started(task) as nursery:
        handle = task.from_thread()
        with trio.fail_after(10), trio.move_on_after(0.05) as scope:
            await trio.to_thread.run_sync(produce)
        assert scope.cancelled_caught
        assert task.state is TaskState.RUNNING
        nursery.cancel_scope.cancel()


async def test_a_request_goes_through_also_when_the_threads_task_is_cancelled() -> None:
    task, asked = task_of(), threading.Event()

    def clean_up() -> None:
        assert asked.wait(10)
        handle.stop_when_done("by a thread that was cancelled")

    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        handle = task.from_thread()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(trio.to_thread.run_sync, clean_up)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                asked.set()
    assert task.result.reason == "by a thread that was cancelled"


async def test_a_processors_thread_is_inside_the_processor() -> None:
    # It may queue without waiting for room, which only its own processor could make; and what would wait for itself says so.
    async def work(processor, frame) -> None:
        if frame.text == "go":
            await trio.to_thread.run_sync(in_the_thread)

    def in_the_thread() -> None:
        for frame in texts(*range(20)):
            handle.queue_frame(frame)
        for call in (handle.flush, handle.wait_finished):
            with pytest.raises(RuntimeError, match="wait for itself"):
                call()

    task = task_of(Does(work), probe := Probe(), queue_size=1)
    with trio.fail_after(10):
        async with started(task):
            handle = task.from_thread()
            await task.queue_frame(TextFrame("go"))
            assert await task.flush(5)
    assert probe.texts == ["go", *map(str, range(20))]


# -- the end, and races with it


@pytest.mark.parametrize("ask", ["stop_when_done", "cancel"])
@pytest.mark.parametrize("after", [1, 7, 40])
async def test_r8_racing_the_end_no_accepted_frame_is_lost_and_no_thread_left_waiting(ask, after) -> None:
    probe = Probe()
    task = task_of(probe, queue_size=2)
    accepted: list[str] = []

    def produce(name: str) -> type[BaseException]:
        n = 0
        while True:
            frame = TextFrame(f"{name} {n}")
            try:
                handle.queue_frame(frame)
            except (trio.ClosedResourceError, trio.BrokenResourceError) as exc:
                return type(exc)
            accepted.append(frame.text)
            n += 1

    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(task.run)
        handle = task.from_thread()
        threads = [Thread(produce, name) for name in "abc"]
        with trio.fail_after(10):
            while len(probe.texts) < after:
                await trio.lowlevel.checkpoint()
        getattr(task, ask)()
        errors = {await thread.result() for thread in threads}
    if ask == "stop_when_done":
        assert errors == {trio.ClosedResourceError}
        assert sorted(accepted) == sorted(probe.texts)
        assert task.result.frames_in == len(accepted)
    else:
        assert errors == {trio.BrokenResourceError}


@pytest.mark.parametrize("number", range(5))
def test_r8_racing_the_end_of_the_trio_run_raises_and_never_hangs(number) -> None:
    outcomes: list[outcome.Outcome] = []
    threads: list[threading.Thread] = []
    accepted: list[str] = []
    probe = Probe()

    def produce() -> None:
        n = 0
        while True:
            frame = TextFrame(str(n))
            handle.queue_frame(frame)
            accepted.append(frame.text)
            n += 1

    async def main() -> None:
        nonlocal handle
        task = task_of(probe, queue_size=2)
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            handle = task.from_thread()
            thread = threading.Thread(target=lambda: outcomes.append(outcome.capture(produce)))
            threads.append(thread)
            thread.start()
            while len(probe.texts) <= number:
                await trio.lowlevel.checkpoint()
            task.stop_when_done()

    handle = None
    trio.run(main)
    threads[0].join(20)
    assert not threads[0].is_alive()
    with pytest.raises(trio.ClosedResourceError):
        outcomes[0].unwrap()
    assert accepted == probe.texts


def test_after_the_end_of_the_trio_run_a_finished_task_answers_as_ever() -> None:
    async def main() -> tuple[TaskFromThread, TaskFromThread]:
        ended, cancelled = task_of(), task_of()
        for task in (ended, cancelled):
            task.stop_when_done("done")
        cancelled.cancel()
        await ended.run()
        return ended.from_thread(), cancelled.from_thread()

    ended, cancelled = trio.run(main)
    with pytest.raises(trio.ClosedResourceError):
        ended.queue_frame(TextFrame())
    with pytest.raises(trio.BrokenResourceError):
        cancelled.queue_frame(TextFrame())
    assert ended.wait_finished().reason == "done"
    for ask in ("stop_when_done", "cancel", "interrupt"):
        getattr(ended, ask)()  # after the end: harmless


@pytest.mark.parametrize(("call", "args"), CALLS, ids=[name for name, _ in CALLS])
def test_after_the_end_of_the_trio_run_a_task_that_has_not_run_cannot_be_reached(call, args) -> None:
    async def main() -> TaskFromThread:
        return task_of(name="t").from_thread()

    handle = trio.run(main)
    with pytest.raises(trio.RunFinishedError, match=rf"t: its Trio run is over, and {call}\(\)"):
        getattr(handle, call)(*args)
    caught: list[outcome.Outcome] = []
    thread = threading.Thread(target=lambda: caught.append(outcome.capture(getattr(handle, call), *args)))
    thread.start()
    thread.join(20)
    with pytest.raises(trio.RunFinishedError):
        caught[0].unwrap()


def test_a_thread_that_waits_when_the_trio_run_ends_is_told() -> None:
    caught: list[outcome.Outcome] = []
    threads: list[threading.Thread] = []

    async def main() -> None:
        for owner in (task_of(), runner_of()):  # neither will run
            handle = owner.from_thread()
            thread = threading.Thread(target=lambda handle=handle: caught.append(outcome.capture(handle.wait_finished)))
            thread.start()
            threads.append(thread)
        await trio.sleep(0.02)

    trio.run(main)
    for thread in threads:
        thread.join(20)
    assert len(caught) == 2
    for one in caught:
        with pytest.raises(trio.RunFinishedError, match="ended while wait_finished|is over"):
            one.unwrap()


# -- a runner


async def test_r8_a_runner_is_filled_asked_and_awaited_from_a_thread() -> None:
    first, probe = Plain("first"), Probe()
    runner = runner_of(first)
    task = task_of(probe, name="talk")

    def use(handle: RunnerFromThread) -> str:
        handle.wait_ready("first")
        assert handle.get_task("talk") is None
        handle.add_workers(task)
        handle.wait_ready("talk")
        talk = handle.get_task("talk")
        talk.queue_frames(texts(1, 2))
        with pytest.raises(DuplicateName):
            handle.add_workers(Plain("first"))
        with pytest.raises(ConfigurationError, match="no pipeline task"):
            handle.get_task("first")
        with pytest.raises(TypeError):
            handle.add_workers(3)
        handle.stop_when_done("talked")
        assert talk.wait_finished().reason == "talked"
        handle.end("over")
        handle.wait_finished()
        return handle.name

    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert await in_thread(use, runner.from_thread()) == runner.name
    assert probe.texts == ["1", "2"]
    assert first.log[-1] == "first down"
    assert runner.statistics().reason == "over"


async def test_r8_a_runner_cancelled_from_a_thread() -> None:
    runner = runner_of(task := task_of(Gate()))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await in_thread(runner.from_thread().cancel, "now")
    assert (task.state, task.result.reason) == (TaskState.CANCELLED, "now")


async def test_a_runners_waits_raise_in_the_thread() -> None:
    runner = runner_of(Plain("w"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        thread = Thread(runner.from_thread().wait_ready, "nobody")
        await trio.sleep(0.01)
        runner.end()
    with pytest.raises(TransitionError, match="nobody"):
        await thread.result()


async def test_the_task_of_a_restart_is_found_by_name() -> None:
    restart = Restart(lambda: task_of(name="talk"))
    runner = runner_of(restart)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        talk = await in_thread(runner.from_thread().get_task, "talk")
        await in_thread(talk.stop_when_done)
    assert restart.worker.state is TaskState.ENDED


def test_after_the_end_of_the_trio_run_a_runner_cannot_be_reached() -> None:
    async def main() -> RunnerFromThread:
        runner = runner_of()
        await runner.run()
        return runner.from_thread()

    handle = trio.run(main)
    for call in ("end", "cancel", "stop_when_done", "wait_finished", "wait_ready", "add_workers"):
        with pytest.raises(trio.RunFinishedError, match="is over"):
            getattr(handle, call)()


# -- without a handle


TASK_CALLS = ["stop_when_done", "cancel", "interrupt", "from_thread", "add_observer", "remove_observer"]
RUNNER_CALLS = ["add_workers", "stop_when_done", "end", "cancel", "from_thread", "add_observer", "remove_observer"]


@pytest.mark.parametrize("call", TASK_CALLS)
async def test_a_task_asked_from_a_thread_without_a_handle_says_how(call) -> None:
    task = task_of(name="t")
    async with started(task):
        with pytest.raises(
            RuntimeError, match=rf"t.{call}\(\) was called in the thread 'elsewhere'.*t.from_thread\(\)"
        ):
            await in_thread(getattr(task, call), *([object()] if "observer" in call else []))
        assert task.state is TaskState.RUNNING


@pytest.mark.parametrize("call", RUNNER_CALLS)
async def test_a_runner_asked_from_a_thread_without_a_handle_says_how(call) -> None:
    runner = runner_of(worker := Plain("w"), name="r")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        with pytest.raises(
            RuntimeError, match=rf"r.{call}\(\) was called in the thread 'elsewhere'.*r.from_thread\(\)"
        ):
            await in_thread(getattr(runner, call), *([object()] if "observer" in call else []))
        assert worker.log == ["w up"]
        runner.end()


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("run", ()),
        ("queue_frame", (TextFrame(),)),
        ("queue_frames", ([TextFrame()],)),
        ("queue_frames", ([TextFrame(), TextFrame()],)),
        ("wait_finished", ()),
        ("wait_state", (TaskState.ENDED,)),
        ("flush", ()),
        ("open_output", ()),
    ],
    ids=["run", "frame", "one frame", "frames", "finished", "state", "flush", "output"],
)
async def test_a_task_used_in_another_trio_run_is_refused_there_and_unharmed_here(call, args) -> None:
    task = task_of(probe := Probe())
    async with started(task):
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="another one|run already"):

            async def elsewhere() -> None:
                if call == "open_output":
                    async with task.open_output():
                        pass
                else:
                    await getattr(task, call)(*args)

            await in_thread(trio.run, elsewhere)
        await task.queue_frame(TextFrame("here"))
        with trio.fail_after(5):
            assert await task.flush()
    assert probe.texts == ["here"]


@pytest.mark.parametrize("call", ["run", "wait_finished", "wait_ready"])
async def test_a_runner_used_in_another_trio_run_is_refused_there_and_unharmed_here(call) -> None:
    runner = runner_of(worker := Plain("w"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        with pytest.raises(RuntimeError, match="another one"):
            await in_thread(trio.run, getattr(runner, call))
        assert worker.log == ["w up"]
        runner.end()


@pytest.mark.parametrize("call", ["wait_finished", "wait_ready"])
async def test_a_runner_that_another_trio_run_waits_for_says_so_when_it_is_run_here(call) -> None:
    runner, waiting, scopes = runner_of(), threading.Event(), []

    async def wait() -> None:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            scopes.append((token, scope))
            trio.lowlevel.current_trio_token().run_sync_soon(waiting.set)
            await getattr(runner, call)(*(["nobody"] if call == "wait_ready" else []))

    thread = Thread(trio.run, wait)
    await until(waiting.is_set)
    with pytest.raises(RuntimeError, match="waited for in another thread"):
        await runner.run()
    token, scope = scopes[0]
    token.run_sync_soon(scope.cancel)
    await thread.result()
    await runner.run()
    assert runner.statistics().calls == 0


def test_requests_of_a_handle_give_nothing_to_await() -> None:
    # `Requested` is for Trio's side; in a thread the call itself has waited.
    async def main() -> None:
        task: PipelineTask = task_of()
        async with started(task):
            assert not isinstance(await in_thread(task.from_thread().stop_when_done), Requested)

    trio.run(main)
