"""What a task can be told, what it tells, and the time it keeps for frames."""

import math

import attrs
import pytest
import trio

from hosting import Probe, Slow, Stuck, started, task_of, texts
from trio_pipes import (
    BaseClock,
    ConfigurationError,
    DataFrame,
    ErrorPolicy,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    SystemClock,
    TaskState,
    TextFrame,
)

DEFAULTS = {
    "allow_interruptions": False,
    "enable_metrics": False,
    "enable_usage_metrics": False,
    "send_initial_empty_metrics": True,
    "report_only_initial_ttfb": False,
    "enable_heartbeats": False,
    "heartbeat_period": 1.0,
    "heartbeat_timeout": 10.0,
    "idle_timeout": None,
    "idle_frames": (DataFrame,),
    "cancel_on_idle_timeout": True,
    "queue_size": 64,
    "lane_limit": 10_000,
    "on_error": ErrorPolicy.RAISE,
    "setup_timeout": 20.0,
    "start_timeout": 20.0,
    "end_timeout": None,
    "cleanup_timeout": 10.0,
    "audio_in_sample_rate": 16_000,
    "audio_out_sample_rate": 24_000,
    "start_metadata": {},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_the_design(name) -> None:
    assert getattr(PipelineParams(), name) == DEFAULTS[name]


def test_params_are_frozen_and_given_by_name() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PipelineParams().queue_size = 3
    with pytest.raises(TypeError):
        PipelineParams(True)
    assert attrs.evolve(PipelineParams(), queue_size=3).queue_size == 3


BAD = {
    "allow_interruptions": [None, 1, "yes"],
    "enable_heartbeats": [0],
    "enable_metrics": [None, "yes"],
    "enable_usage_metrics": [1],
    "send_initial_empty_metrics": [None],
    "report_only_initial_ttfb": [0],
    "cancel_on_idle_timeout": [None, 1],
    "heartbeat_timeout": [0, -1, math.nan, "1", None, True],
    "queue_size": [0, -1, 1.5, math.inf, "64", None, True],
    "lane_limit": [0, -1, 2.5, None],
    "heartbeat_period": [0, -1, math.nan, "1", None, True],
    "idle_timeout": [0, -1, math.nan, "1"],
    "setup_timeout": [0, -1, math.nan, None],
    "start_timeout": [0, -1, math.nan, None],
    "end_timeout": [0, -1, math.nan, "soon"],
    "cleanup_timeout": [0, -1, math.nan, None],
    "on_error": ["raise", None, 1],
    "idle_frames": [DataFrame, [DataFrame], (int,), None],
    "audio_in_sample_rate": [0, -8000, 16000.0, None],
    "start_metadata": [None, 3, [("a", 1)]],
}


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name, values in BAD.items() for bad in values])
def test_a_bad_value_is_refused_with_its_name_the_value_and_what_was_expected(name, bad) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PipelineParams(**{name: bad})
    assert f"{name}={bad!r}" in str(caught.value)
    assert "expected" in str(caught.value)


async def test_start_metadata_is_on_the_start_frame_of_each_run(autojump_clock) -> None:
    given = {"room": "kitchen"}
    for _ in range(2):
        probe = Probe()
        task = task_of(probe, start_metadata=given)
        task.stop_when_done()
        await task.run()
        (start,) = [frame for frame in probe.seen if isinstance(frame, StartFrame)]
        assert start.metadata == given
        start.metadata["mine"] = 1  # not shared with the next run
    assert given == {"room": "kitchen"}


# -- statistics


async def test_statistics_before_while_and_after(autojump_clock) -> None:
    slow = Slow(1, "slow")
    task = task_of(Probe("first"), slow, queue_size=2)
    before = task.statistics()
    assert (before.state, before.frames_in, before.frames_out, before.processors) == (TaskState.NEW, 0, 0, ())
    async with started(task, 100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.queue_frames, texts(*range(20)))
            await trio.sleep(2.5)
            now = task.statistics()
            assert now.state is TaskState.RUNNING
            assert now.frames_out == 2
            assert 2 < now.frames_in < 20
            assert now.push_waiting > 0
            assert [processor.name for processor in now.processors] == ["first", "slow"]
            assert now.processors[1].handling.startswith("TextFrame#")
            assert now.processors[1].downstream.peak_buffered <= 3
        # F5: the sum of what is anywhere is what was accepted.
    after = task.statistics()
    assert (after.state, after.frames_in, after.frames_out, after.push_waiting) == (TaskState.ENDED, 20, 20, 0)


# Where the run has been called and the processors have not been wired there is nothing to count of them.
async def test_statistics_of_a_task_that_was_cancelled_before_its_run(autojump_clock) -> None:
    task = task_of(Probe())
    task.cancel()
    await task.run()
    assert (task.statistics().state, task.statistics().processors) == (TaskState.CANCELLED, ())


async def test_statistics_at_the_very_beginning(autojump_clock) -> None:
    class Looks:
        def on_starting(self, task) -> None:
            seen.append(task.statistics())

    seen = []
    async with started(task_of(Probe(), observers=[Looks()])):
        pass
    assert [(one.state, one.processors) for one in seen] == [(TaskState.STARTING, ())]


async def test_statistics_name_who_is_stuck_with_what(autojump_clock) -> None:
    task = task_of(Stuck(TextFrame, "stuck"))
    frame = TextFrame("x")
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(frame)
        await trio.sleep(1)
        assert task.statistics().processors[0].handling == frame.name
        task.cancel()


# -- clocks


async def test_the_system_clock_counts_from_the_start_of_the_task(autojump_clock) -> None:
    task = PipelineTask(Pipeline([Probe()]))
    assert task.clock.get_time() == 0
    await trio.sleep(100)
    async with started(task):
        assert task.clock.get_time() == 0
        await trio.sleep(1.5)
        assert task.clock.get_time() == 1_500_000_000


async def test_a_clock_of_ones_own_is_started_once_and_ends_no_wait(autojump_clock) -> None:
    class Frozen:
        started = 0

        def start(self) -> None:
            self.started += 1

        def get_time(self) -> int:
            return 42

    clock: BaseClock = Frozen()
    task = PipelineTask(Pipeline([Slow(1000)]), PipelineParams(setup_timeout=5), clock)
    await task.queue_frame(TextFrame())
    task.stop_when_done()
    await task.run()
    assert task.clock is clock
    assert clock.started == 1
    assert trio.current_time() == pytest.approx(1000)


def test_clocks_work_before_and_without_a_run() -> None:
    assert SystemClock().get_time() == 0
    assert isinstance(PipelineTask(Pipeline([Probe()])).clock, SystemClock)


def test_an_idle_timeout_with_nothing_that_counts_as_life_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="idle_frames"):
        PipelineParams(idle_timeout=1, idle_frames=())


HALF = type("Half", (), {"start": 1, "get_time": 2})()


@pytest.mark.parametrize("clock", [SystemClock, BaseClock, HALF], ids=["class", "protocol", "half"])
def test_a_class_or_half_a_clock_is_no_clock(clock) -> None:
    with pytest.raises(ConfigurationError, match="clock"):
        PipelineTask(Pipeline([Probe()]), clock=clock)


# It is asked in the middle of the engine, so what it raises must not be taken for a processor's error.
async def test_a_clock_that_cannot_start_fails_the_task(autojump_clock) -> None:
    class Broken(SystemClock):
        def start(self) -> None:
            raise ZeroDivisionError

    task = PipelineTask(Pipeline([Probe()]), clock=Broken())
    with trio.fail_after(30), pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert caught.value.subgroup(ZeroDivisionError)
    assert task.state is TaskState.FAILED
