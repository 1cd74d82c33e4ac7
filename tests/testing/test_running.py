"""`running`: workers that are up while a block lasts."""

import signal

import pytest
import trio

from hosting import Breaks, Plain, Probe, Slow, errors_in, nothing_left, task_of, texts
from trio_pipes import ConfigurationError, PipelineRunner, TaskState, TextFrame
from trio_pipes.testing import running


async def test_k1_the_block_begins_when_all_are_ready_and_ends_them(autojump_clock) -> None:
    slow, worker = Slow(1), Plain("w", needs=3)
    task = task_of(slow)
    async with nothing_left():
        async with running(worker, task) as runner:
            assert isinstance(runner, PipelineRunner)
            assert worker.log == ["w up"]
            assert task.state is TaskState.RUNNING
            await task.queue_frames(texts(1, 2, 3))
    assert slow.texts == ["1", "2", "3"]  # drained, not cut off
    assert task.state is TaskState.ENDED
    assert worker.log == ["w up", "w told", "w down"]


async def test_signals_are_off_by_default(autojump_clock) -> None:
    before = signal.getsignal(signal.SIGINT)
    async with running(Plain("w")):
        assert signal.getsignal(signal.SIGINT) is before
    async with running(Plain("w"), handle_sigint=True):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


async def test_an_error_in_the_block_cancels_the_workers_and_comes_out(autojump_clock) -> None:
    worker = Plain("w", drain=100)
    with pytest.raises((ValueError, ExceptionGroup)) as caught:
        async with running(worker):
            raise ValueError("test failed")
    assert [repr(error) for error in errors_in(caught.value)] == ["ValueError('test failed')"]
    assert worker.log == ["w up", "w down"]
    assert trio.current_time() == pytest.approx(0)


async def test_an_error_of_a_worker_cancels_the_block_and_comes_out(autojump_clock) -> None:
    went_on = []
    with pytest.raises(ExceptionGroup) as caught:
        async with running(Plain("good"), Breaks("bad", ValueError("worker"), after=1)):
            await trio.sleep(10)
            went_on.append(True)
    assert [repr(error) for error in errors_in(caught.value)] == ["ValueError('worker')"]
    assert went_on == []


async def test_workers_that_end_before_the_block_are_no_error(autojump_clock) -> None:
    task = task_of(Probe())
    async with running(task):
        task.stop_when_done()
        await task.wait_finished()
        await trio.sleep(5)


async def test_a_deadline_round_the_block_works(autojump_clock) -> None:
    worker = Plain("w")
    async with nothing_left():
        with trio.move_on_after(3) as scope:
            async with running(worker):
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert worker.log[-1] == "w down"


async def test_settings_are_those_of_the_runner(autojump_clock) -> None:
    async with running(Plain("w"), name="mine") as runner:
        assert runner.name == "mine"
    with pytest.raises(TypeError):
        async with running(Plain("w"), nonsense=1):
            raise AssertionError


async def test_nothing_to_run_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no workers"):
        async with running():
            raise AssertionError


async def test_two_blocks_one_in_the_other_share_a_worker_name(autojump_clock) -> None:
    # Names are unique in a runner, not in the process.
    async with running(Plain("same")), running(Plain("same")):
        pass


async def test_frames_flow_between_workers_of_the_block(autojump_clock) -> None:
    last = Probe()
    below = task_of(last)

    class HandsOver(Probe):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await below.queue_frame(frame)
            await super().process_frame(frame, direction)

    above = task_of(HandsOver())
    async with running(below, above):
        await above.queue_frames(texts("a", "b"))
        await above.flush()
        await below.flush()
        assert last.texts == ["a", "b"]
