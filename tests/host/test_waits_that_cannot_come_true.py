"""Waits end: with what was waited for, or with an error that says why it cannot come."""

import pytest
import trio
import trio.testing

from hosting import Breaks, Plain, Probe, Slow, Stuck, errors_in, nothing_left, started, task_of, texts
from trio_pipes import ConfigurationError, PipelineRunner, StartFrame, TaskState, TextFrame, TransitionError


def runner_of(*workers, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, handle_sigint=False, **settings)


class NeverReady(Plain):
    """Ends after a second without having been ready; raises if it is given an error."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        super().__init__(name)
        self.error = error

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        await trio.sleep(1)
        if self.error is not None:
            raise self.error


# -- wait_ready


async def test_a_name_that_nobody_has_yet_is_waited_for_while_the_runner_runs(autojump_clock) -> None:
    runner = runner_of(Plain("w"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)

        async def later() -> None:
            await trio.sleep(5)
            runner.add_workers(Plain("later", needs=1))

        nursery.start_soon(later)
        await runner.wait_ready("w", "later")
        assert trio.current_time() == 6
        runner.end()


async def test_a_name_that_never_comes_is_an_error_when_the_runner_ends(autojump_clock) -> None:
    runner = runner_of(Plain("w"))
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)

        async def end() -> None:
            await trio.sleep(3)
            runner.end()

        nursery.start_soon(end)
        with pytest.raises(TransitionError, match=r"is over.*'neither', 'nobody' has been ready"):
            await runner.wait_ready("nobody", "w", "neither")
        assert trio.current_time() == 3


async def test_after_the_run_a_name_that_is_not_there_is_an_error_at_once(autojump_clock) -> None:
    runner = runner_of()
    await runner.run()
    with pytest.raises(TransitionError, match="nobody"):
        await runner.wait_ready("nobody")
    with trio.fail_after(1):
        await runner.wait_ready()  # there is nobody to wait for
    # What was added for the next run is waited for.
    runner.add_workers(Plain("next"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await runner.wait_ready("next")
        runner.end()


async def test_before_the_first_run_names_are_waited_for(autojump_clock) -> None:
    runner = runner_of()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await trio.sleep(5)
            runner.add_workers(Plain("w"))
            await runner.run()

        nursery.start_soon(run)
        await runner.wait_ready("w")
        runner.end()


async def test_g32_a_worker_that_fails_before_it_was_ready_is_told_to_who_waits_for_it(autojump_clock) -> None:
    runner = runner_of(Plain("good"))
    runner.add_workers(NeverReady("bad", ValueError("no")), isolated=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        for names in ((), ("bad",), ("good", "bad")):
            with (
                trio.fail_after(10),
                pytest.raises(TransitionError, match=r"'bad' failed.*before it was ready") as caught,
            ):
                await runner.wait_ready(*names)
            assert str(caught.value.__cause__) == "no"
            runner.add_workers(NeverReady("bad", ValueError("no")), isolated=True)
        runner.end()


async def test_g32_a_worker_that_ends_before_it_was_ready_is_told_to_who_waits_for_it(autojump_clock) -> None:
    runner = runner_of(NeverReady("mute"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        with pytest.raises(TransitionError, match="'mute' ended before it was ready"):
            await runner.wait_ready("mute")


async def test_a_worker_whose_turn_never_comes_is_told_too(autojump_clock) -> None:
    runner = runner_of(Plain("first", needs=10), Plain("second"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)

        async def cancel() -> None:
            runner.cancel()

        nursery.start_soon(cancel)
        with pytest.raises(TransitionError, match="'second' ended before it was ready"):
            await runner.wait_ready("second")


async def test_a_worker_counts_once_it_has_been_ready_also_when_it_has_ended_since(autojump_clock) -> None:
    runner = runner_of(short := Plain("short"), Plain("long", needs=5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)

        async def end() -> None:
            await trio.sleep(1)
            short.stop_when_done()

        nursery.start_soon(end)
        with trio.fail_after(10):
            await runner.wait_ready("short", "long")
        assert runner.statistics().ready == ("long",)
        runner.end()


async def test_who_stops_waiting_leaves_nothing(autojump_clock) -> None:
    runner = runner_of(Plain("w"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        with trio.move_on_after(1):
            await runner.wait_ready("nobody")
        assert runner._readiness._waits == []
        runner.end()


@pytest.mark.parametrize("bad", [3, None, ["w"], b"w"], ids=repr)
async def test_what_is_no_name_is_refused(autojump_clock, bad) -> None:
    with pytest.raises(ConfigurationError, match="wait_ready"):
        await runner_of().wait_ready("w", bad)


# -- wait_state


async def test_a_state_that_cannot_come_any_more_is_an_error(autojump_clock) -> None:
    task = task_of(Slow(1))
    async with started(task):
        for gone in (TaskState.NEW, TaskState.STARTING):
            with pytest.raises(TransitionError, match=f"is RUNNING, and cannot come to {gone.name} any more"):
                await task.wait_state(gone)
        task.stop_when_done()
        with pytest.raises(TransitionError, match="is ENDING, and cannot come to NEW or RUNNING any more"):
            await task.wait_state(TaskState.NEW, TaskState.RUNNING)
    with pytest.raises(TransitionError, match="is ENDED, and cannot come to RUNNING or FAILED"):
        await task.wait_state(TaskState.RUNNING, TaskState.FAILED)
    assert await task.wait_state(TaskState.RUNNING, TaskState.ENDED) is TaskState.ENDED


@pytest.mark.parametrize("how", ["cancelled before", "stuck in its start", "fails in its start"])
async def test_who_waits_for_a_task_to_run_hears_that_it_never_will(autojump_clock, how) -> None:
    class Fails(Probe):
        async def process_frame(self, frame, direction) -> None:
            await trio.sleep(1)
            raise ValueError("no start")

    task = task_of(Fails() if how.startswith("fails") else Stuck(StartFrame))
    caught = []

    async def wait() -> None:
        with pytest.raises(TransitionError, match="cannot come to RUNNING") as error:
            await task.wait_state(TaskState.RUNNING)
        caught.append(error.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        if how == "cancelled before":
            task.cancel()
        elif how.startswith("fails"):
            with pytest.raises(ExceptionGroup):
                await task.run()
        else:
            nursery.start_soon(task.run)
            await trio.sleep(1)
            task.cancel()
    assert len(caught) == 1


async def test_every_final_state_can_be_waited_for_from_the_beginning(autojump_clock) -> None:
    async def waits(state: TaskState) -> None:
        await task.wait_state(state)
        reached.append(state)

    task, reached = task_of(), []
    async with trio.open_nursery() as nursery:
        for state in TaskState:
            if state not in (TaskState.STOPPED, TaskState.CANCELLED, TaskState.FAILED):
                nursery.start_soon(waits, state)
        await trio.testing.wait_all_tasks_blocked()
        assert reached == [TaskState.NEW]
        await nursery.start(task.run)
        await task.queue_frames(texts(1))
        task.stop_when_done()
    assert reached == [TaskState.NEW, TaskState.STARTING, TaskState.RUNNING, TaskState.ENDING, TaskState.ENDED]


# -- wait_finished


async def test_wait_finished_comes_true_however_a_runner_ends(autojump_clock) -> None:
    for how in ("end", "cancel", "outside", "error", "by itself"):
        runner = runner_of(Breaks("w", ValueError("x"), after=2) if how == "error" else (worker := Plain("w")))
        caught = []
        async with nothing_left(), trio.open_nursery() as waiters:
            waiters.start_soon(runner.wait_finished)
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(runner.run)
                    if how == "outside":
                        nursery.cancel_scope.cancel()
                    elif how == "by itself":
                        worker.stop_when_done()
                    elif how != "error":
                        getattr(runner, how)()
            except ExceptionGroup as error:
                caught = errors_in(error)
        assert [str(error) for error in caught] == (["x"] if how == "error" else [])


async def test_a_task_of_a_runner_that_never_got_its_turn_has_finished(autojump_clock) -> None:
    task = task_of()
    runner = runner_of(Breaks("first", ValueError("x")), task)
    runner.add_workers(Plain("child"), parent="first")
    with pytest.raises(ExceptionGroup):
        await runner.run()
    with trio.fail_after(1):
        await task.wait_finished()
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await task.queue_frame(TextFrame())
