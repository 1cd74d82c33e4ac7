"""What SIGINT and SIGTERM do, and that the process is afterwards as it was before."""

import signal
import subprocess
import sys
import threading

import pytest
import trio
import trio.testing

from hosting import Lives, Plain, Probe, Slow, Stuck, errors_in, nothing_left, task_of, texts
from trio_pipes import Pipeline, PipelineRunner, PipelineTask, TaskState, TextFrame

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers_are_as_before():
    before = [signal.getsignal(signum) for signum in BOTH]
    yield
    assert [signal.getsignal(signum) for signum in BOTH] == before


def handlers() -> list[object]:
    return [signal.getsignal(signum) for signum in BOTH]


async def raise_soon(*signums: signal.Signals, every: float = 1) -> None:
    for signum in signums:
        await trio.sleep(every)
        signal.raise_signal(signum)


@pytest.mark.parametrize("signum", BOTH)
async def test_the_first_signal_ends_and_loses_nothing(autojump_clock, signum) -> None:
    probe = Slow(1)
    task = task_of(probe)
    await task.queue_frames(texts(*range(5)))
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(raise_soon, signum)
        with trio.fail_after(60):
            await PipelineRunner(task).run()
    # Nothing accepted is lost, and the task ended; it was not cancelled.
    assert probe.texts == list("01234")
    assert (await task.wait_finished()).state is TaskState.ENDED


async def test_g18_a_second_signal_cancels_while_the_first_waits(autojump_clock) -> None:
    stuck = Stuck(TextFrame)
    task = task_of(stuck)
    await task.queue_frame(TextFrame("work"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raise_soon, signal.SIGINT, signal.SIGINT)
        with trio.fail_after(10):  # far below the grace period
            await PipelineRunner(task).run()
    assert task.state is TaskState.CANCELLED
    assert trio.current_time() < 10


async def test_two_different_signals_are_a_first_and_a_second(autojump_clock) -> None:
    task = task_of(Stuck(TextFrame))
    await task.queue_frame(TextFrame("work"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raise_soon, signal.SIGTERM, signal.SIGINT)
        with trio.fail_after(10):
            await PipelineRunner(task).run()
    assert task.state is TaskState.CANCELLED


@pytest.mark.parametrize("grace", [0, 3.0])
async def test_after_the_grace_period_the_end_becomes_a_cancel(autojump_clock, grace) -> None:
    task = task_of(Stuck(TextFrame))
    await task.queue_frame(TextFrame("work"))
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raise_soon, signal.SIGINT)
        with trio.fail_after(60):
            await PipelineRunner(task, grace_period=grace).run()
    assert task.state is TaskState.CANCELLED
    assert trio.current_time() - began == pytest.approx(1 + grace)


async def test_the_reason_names_the_signal(autojump_clock) -> None:
    task = task_of(Probe())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raise_soon, signal.SIGTERM)
        await PipelineRunner(task).run()
    assert "SIGTERM" in ((await task.wait_finished()).reason or "")


async def test_g18_sigterm_is_handled_by_default(autojump_clock) -> None:
    seen = []

    async def look(runner: PipelineRunner) -> None:
        await runner.wait_ready()
        seen.extend(handlers())
        runner.end()

    runner, before = PipelineRunner(task_of(Probe())), handlers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, runner)
        await runner.run()
    assert seen[0] is not before[0]
    assert seen[1] is not before[1]


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({}, (True, True)),
        ({"handle_sigint": False}, (False, False)),  # None: as handle_sigint
        ({"handle_sigint": False, "handle_sigterm": True}, (False, True)),
        ({"handle_sigterm": False}, (True, False)),
    ],
)
async def test_each_signal_is_on_or_off(autojump_clock, settings, taken) -> None:
    runner, before = PipelineRunner(Plain("w"), **settings), handlers()
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        now = handlers()
        runner.end()
    assert tuple(a is not b for a, b in zip(before, now, strict=True)) == taken


async def test_g33_the_old_handlers_are_back_after_the_run(autojump_clock) -> None:
    before = handlers()
    for _ in range(3):
        runner = PipelineRunner(Plain("w"))
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            assert handlers() != before
            runner.end()
        assert handlers() == before


@pytest.mark.parametrize("first_to_leave", [0, 1])
async def test_g33_two_runners_overlap_and_leave_in_any_order(autojump_clock, first_to_leave) -> None:
    before = handlers()
    workers = [Plain("a"), Plain("b")]
    runners = [PipelineRunner(worker) for worker in workers]
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        taken = handlers()
        runners[first_to_leave].end()
        await runners[first_to_leave].wait_finished()
        # The one that stays still hears of a signal.
        assert handlers() == taken
        left = workers[1 - first_to_leave]
        assert not left.end.is_set()
        signal.raise_signal(signal.SIGINT)
        with trio.fail_after(5):
            await left.end.wait()
    assert handlers() == before


async def test_a_signal_goes_to_every_runner_that_asked(autojump_clock) -> None:
    hears, hears_too, deaf = Plain("a"), Plain("b"), Plain("c")
    deaf_runner = PipelineRunner(deaf, handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(PipelineRunner(hears).run)
        await nursery.start(PipelineRunner(hears_too).run)
        await nursery.start(deaf_runner.run)
        signal.raise_signal(signal.SIGINT)
        await trio.sleep(1)
        assert [w.log[-1] for w in (hears, hears_too, deaf)] == ["a down", "b down", "c up"]
        deaf_runner.end()


async def test_one_signal_is_one_signal_to_a_runner_with_several_calls(autojump_clock) -> None:
    # Two calls of one runner: the first signal must be an end for both, not an end and a cancel.
    runner = PipelineRunner()
    one, two = task_of(Slow(1)), task_of(Slow(1))
    for task in (one, two):
        await task.queue_frames(texts(*range(5)))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run, one)
            nursery.start_soon(runner.run, two)
            await trio.sleep(0.5)
            signal.raise_signal(signal.SIGINT)
    assert [one.state, two.state] == [TaskState.ENDED, TaskState.ENDED]


async def test_one_call_of_several_leaves_and_the_others_still_hear(autojump_clock) -> None:
    runner, before = PipelineRunner(), handlers()
    one, two = Plain("a"), Plain("b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, one)
        nursery.start_soon(runner.run, two)
        await runner.wait_ready("a", "b")
        one.stop_when_done()
        await trio.sleep(1)
        assert handlers() != before
        assert two.log == ["b up"]
        signal.raise_signal(signal.SIGINT)
        with trio.fail_after(5):
            await runner.wait_finished()
    assert two.log == ["b up", "b told", "b down"] or two.log == ["b up", "b told", "b told", "b down"]


async def test_a_second_run_counts_its_signals_anew(autojump_clock) -> None:
    runner = PipelineRunner(Plain("first"))
    for name in ("first", "second"):
        if name == "second":
            runner.add_workers(task := task_of(Slow(1)))
            await task.queue_frames(texts(1, 2, 3))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_soon, signal.SIGINT)
            await runner.run()
    assert task.state is TaskState.ENDED


async def test_a_signal_during_set_up_ends_in_order(autojump_clock) -> None:
    # Ctrl-C during set-up leaves nothing.
    worker = Plain("slow to start", needs=5)
    task = task_of(Probe())
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(raise_soon, signal.SIGINT)
        with trio.fail_after(30):
            await PipelineRunner(worker, task).run()
    assert worker.log[-1] == "slow to start down"
    assert task.has_finished()


def test_off_the_main_thread_the_error_says_what_to_pass() -> None:
    caught: list[BaseException] = []
    worker = Plain("w")
    runner = PipelineRunner(worker)

    def elsewhere() -> None:
        try:
            trio.run(runner.run)
        except BaseException as exc:
            caught.append(exc)

    thread = threading.Thread(target=elsewhere, name="elsewhere")
    thread.start()
    thread.join(20)
    assert isinstance(caught[0], RuntimeError)
    assert "handle_sigint=False" in str(caught[0])
    assert "elsewhere" in str(caught[0])
    assert worker.log == []  # early: before anything was started


def test_off_the_main_thread_it_runs_without_signals() -> None:
    results: list[object] = []
    task = PipelineTask(Pipeline([Probe()]))
    task.stop_when_done()
    thread = threading.Thread(
        target=lambda: results.append(trio.run(PipelineRunner(handle_sigint=False).run, task)), name="elsewhere"
    )
    thread.start()
    thread.join(20)
    assert results[0].state is TaskState.ENDED


def test_off_the_main_thread_only_the_signals_asked_for_are_named() -> None:
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            trio.run(PipelineRunner(Plain("w"), handle_sigint=False, handle_sigterm=True).run)
        except RuntimeError as exc:
            caught.append(exc)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(20)
    assert "SIGTERM" in str(caught[0])
    assert "SIGINT" not in str(caught[0])


CHILD = """
import sys, trio
from trio_pipes import *

class Show(FrameProcessor):
    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame):
            await trio.sleep(0.05)
            print(frame.text, flush=True)
        await self.push_frame(frame, direction)

task = PipelineTask(Pipeline([Show()]))
async def fill():
    await task.queue_frames([TextFrame(str(n)) for n in range(10)])
trio.run(fill)
trio.run(PipelineRunner(task).run)
print(task.state.name, flush=True)
"""


@pytest.mark.parametrize("signum", BOTH)
def test_a_real_process_ends_in_order_on_a_real_signal(signum) -> None:
    # Not raise_signal: the operating system interrupts a loop that sleeps in its poll.
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "0\n"
        child.send_signal(signum)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (0, "")
    assert out.split() == [*"123456789", "ENDED"]


def test_g33_ctrl_c_works_again_after_the_run() -> None:
    code = (
        CHILD.replace("range(10)", "range(1)")
        + "\nimport signal\ntask.stop_when_done()\nsignal.raise_signal(signal.SIGINT)"
    )
    code = code.replace(
        "trio.run(PipelineRunner(task).run)", "task.stop_when_done()\ntrio.run(PipelineRunner(task).run)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGINT or "KeyboardInterrupt" in done.stderr


@pytest.mark.parametrize("signum", BOTH)
async def test_g18_a_second_signal_is_heard_while_helpers_and_observers_finish(autojump_clock, signum) -> None:
    class Endless:
        async def on_worker_finished(self, runner, worker) -> None:
            await trio.sleep_forever()

    helper = Plain("helper", drain=20)
    runner = PipelineRunner(task_of(Probe()), observers=[Endless()])
    runner.add_workers(helper, helper=True)
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        signal.raise_signal(signum)
        await trio.sleep(2)
        assert helper.log == ["helper up", "helper told"]
        signal.raise_signal(signum)
        with trio.fail_after(2):  # a second of it is what observers have at the end
            await runner.wait_finished()
    assert helper.log[-1] == "helper down"


async def test_g18_a_second_signal_during_the_cleanup_that_the_grace_period_forced_is_harmless(autojump_clock) -> None:
    log: list[str] = []
    task = task_of(Stuck(TextFrame), Lives(log, "slow to clean up", down=5))
    await task.queue_frame(TextFrame())
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(raise_soon, signal.SIGINT, signal.SIGTERM, signal.SIGINT)
        with trio.fail_after(30):
            await PipelineRunner(task, grace_period=0.5).run()
    assert task.state is TaskState.CANCELLED
    assert log == ["slow to clean up up", "slow to clean up down"]


async def test_the_runner_tells_which_signal_it_was(autojump_clock) -> None:
    for signums, reason in (
        ([signal.SIGTERM], "SIGTERM"),
        ([signal.SIGINT, signal.SIGINT], "second SIGINT"),
        ([signal.SIGINT, signal.SIGTERM], "second SIGTERM"),
    ):
        runner = PipelineRunner(Plain("w", drain=1.5))  # no pipeline task: nobody else would know
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_soon, *signums)
            await runner.run()
        assert runner.statistics().reason == reason


async def test_a_signal_beside_workers_that_answer_with_errors_still_ends_the_run(autojump_clock) -> None:
    class Sulks(Plain):
        def stop_when_done(self, reason=None):
            raise ValueError("sulks")

    good = Plain("good")
    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(10):
        async with nothing_left(), trio.open_nursery() as nursery:
            nursery.start_soon(raise_soon, signal.SIGINT)
            await PipelineRunner(good, Sulks("bad")).run()
    assert [str(error) for error in errors_in(caught.value)] == ["sulks"]
    assert good.log[-1] == "good down"


async def test_ctrl_c_twice_during_set_up_leaves_nothing(autojump_clock) -> None:
    log: list[str] = []
    task = task_of(Lives(log, "ready", up=0.1, down=1), Lives(log, "slow", up=15))
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(raise_soon, signal.SIGINT, signal.SIGINT)
        with trio.fail_after(5):
            await PipelineRunner(task).run()
    assert task.state is TaskState.CANCELLED
    assert log == ["ready up", "ready down"]
