"""`StartupTimingObserver`: what a pipeline waits for before it is up, and what it costs to know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from hosting import nothing_left, started, task_of
from observers_kit import Stage
from trio_pipes import (
    BotStartedSpeakingFrame,
    ConfigurationError,
    DataFrame,
    Direction,
    Frame,
    FrameProcessor,
    Frames,
    InputAudioFrame,
    Out,
    OutputAudioFrame,
    ParallelPipeline,
    Pipeline,
    PipelineTask,
    SetupTimeout,
    StartFrame,
    StopFrame,
    Switchable,
    TextFrame,
    each,
    processor,
)
from trio_pipes.observers import FirstFrame, ProcessorStartup, StartupReport, StartupTimingObserver
from trio_pipes.testing import cancel_at_every_checkpoint


class Loads(FrameProcessor):
    """Takes time over its set-up and over `StartFrame`."""

    def __init__(self, name: str, set_up: float = 0.0, start: float = 0.0) -> None:
        super().__init__(name)
        self.set_up, self.start = set_up, start

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        await trio.sleep(self.set_up)
        yield

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, StartFrame):
            await trio.sleep(self.start)
        await self.push_frame(frame, direction)


class Passes(FrameProcessor):
    """Has no set-up."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)


class Connected(DataFrame):
    """A transport of one's own tells that somebody is there."""


async def test_a_start_is_timed_by_processor(autojump_clock) -> None:
    observer = StartupTimingObserver()
    await trio.sleep(5)
    async with started(task_of(Loads("model", 2, 0.5), Passes("passes"), Loads("voice", 1), observers=[observer])):
        pass
    report = observer.report
    assert report == StartupReport(
        5.0,
        7.5,
        (
            ProcessorStartup("voice", 5.0, 1.0, 0.0),
            ProcessorStartup("model", 5.0, 2.0, 0.5),
            ProcessorStartup("passes", None, 0.0, 0.0),
        ),
    )


async def test_the_whole_is_the_span_and_no_sum(autojump_clock) -> None:
    observer = StartupTimingObserver()
    async with started(task_of(*(Loads(f"loads {n}", 1) for n in range(3)), observers=[observer])):
        pass
    assert observer.report.seconds == 1.0
    assert [part.set_up for part in observer.report.processors] == [1.0, 1.0, 1.0]


async def test_what_is_no_class_and_what_is_nested_is_timed_as_well(autojump_clock) -> None:
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        await trio.sleep(3)
        async for frame in frames:
            await out.push(frame)

    @each
    def function(frame: TextFrame) -> TextFrame:
        return frame

    observer = StartupTimingObserver()
    task = task_of(
        block, function, Pipeline([Loads("nested", 1)]), ParallelPipeline([Loads("branch", 2)], [Passes("other")]),
        observers=[observer],
    )  # fmt: skip
    async with started(task):
        pass
    times = {part.processor.split("#")[0]: part.set_up for part in observer.report.processors}
    assert times.items() >= {"block": 3.0, "nested": 1.0, "branch": 2.0, "other": 0.0}.items()
    assert observer.report.seconds == 3.0


async def test_the_processors_to_report_may_be_chosen(autojump_clock) -> None:
    observer = StartupTimingObserver(processors=(Loads,))
    async with started(task_of(Loads("loads", 1), Passes("passes"), observers=[observer])):
        pass
    assert [part.processor for part in observer.report.processors] == ["loads"]
    observer = StartupTimingObserver(processors=())
    async with started(task_of(Loads("loads", 1), observers=[observer])):
        pass
    assert observer.report.processors == ()
    assert observer.report.seconds == 1.0


async def test_two_of_one_name_are_two(autojump_clock) -> None:
    observer = StartupTimingObserver()
    async with started(task_of(Loads("twin", 1), Loads("twin", 2), observers=[observer])):
        pass
    assert [part.set_up for part in observer.report.processors] == [1.0, 2.0]


async def test_the_report_is_told_once_when_the_pipeline_is_up(autojump_clock) -> None:
    told: list[tuple[float, StartupReport]] = []
    observer = StartupTimingObserver(on_report=lambda report: told.append((trio.current_time(), report)))
    slot = Switchable(Loads("first", 1))
    async with started(task_of(slot, observers=[observer])):
        await trio.sleep(10)
        await slot.replace(Loads("second", 3))
    ((when, report),) = told
    assert when == report.started_at == 1.0
    assert report == observer.report  # what is set up later is no part of the start
    assert "second" not in str(observer.report)


# -- first frames


async def test_the_first_sound_in_made_and_heard_is_told_from_the_beginning_of_the_run(autojump_clock) -> None:
    told: list[FirstFrame] = []
    observer = StartupTimingObserver(on_first=told.append)
    stage = Stage(Loads("model", 1), observers=[observer])
    async with stage.running():
        for seconds in (0.5, 1.5):
            await trio.sleep(seconds)
            await stage.push("user", InputAudioFrame(bytes(320), 16_000))
            await stage.push("bot", OutputAudioFrame(bytes(320), 16_000))
            await stage.bot_starts(at=trio.current_time() + 0.25)
    assert observer.report.firsts == (
        FirstFrame("InputAudioFrame", "user", 1.5),
        FirstFrame("OutputAudioFrame", "bot", 1.5),
        FirstFrame("BotStartedSpeakingFrame", "bot", 1.75),
    )
    assert tuple(told) == observer.report.firsts


async def test_a_connection_is_told_also_where_it_comes_before_the_start(autojump_clock) -> None:
    class Transport(Passes):
        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            await trio.sleep(0.5)
            await self.push_frame(Connected())
            await trio.sleep(0.5)
            yield

    observer = StartupTimingObserver(firsts=(Connected, DataFrame))
    async with started(task_of(Transport("transport"), observers=[observer])):
        pass
    assert observer.report.firsts == (
        FirstFrame("Connected", "transport", 0.5),
        FirstFrame("DataFrame", "transport", 0.5),
    )
    assert observer.report.seconds == 1.0


# -- what it costs


async def test_when_all_is_seen_nobody_is_told_of_frames_any_more(autojump_clock) -> None:
    observer = StartupTimingObserver(firsts=(TextFrame,))
    task = task_of(Passes(), observers=[observer])
    async with started(task):
        assert task._engine.observed is not None
        await task.queue_frame(TextFrame())
        await task.flush()
        assert task._engine.observed is None
    task = task_of(Passes(), observers=[StartupTimingObserver(firsts=())])
    async with started(task):
        assert task._engine.observed is None
    assert (await task.wait_finished()).observer_errors == ()


# -- starts that are none


async def test_a_start_that_fails_shows_how_far_it_came(autojump_clock) -> None:
    observer = StartupTimingObserver()
    task = task_of(Loads("quick", 1), Loads("stuck", 100), observers=[observer], setup_timeout=5)
    with pytest.raises(SetupTimeout):
        await task.run()
    assert observer.report == StartupReport(0.0, None, (ProcessorStartup("quick", 0.0, 1.0),))
    assert observer.report.seconds is None
    assert str(observer.report).startswith("not started\n")


async def test_one_that_was_added_late_has_nothing_to_report(autojump_clock) -> None:
    observer = StartupTimingObserver()
    task = task_of(Loads("loads", 1))
    async with started(task):
        task.add_observer(observer)
        await task.queue_frame(InputAudioFrame(bytes(320), 16_000))
    assert observer.report is None
    assert (await task.wait_finished()).observer_errors == ()


async def test_each_start_of_an_opened_pipeline_is_one_of_its_own(autojump_clock) -> None:
    observer = StartupTimingObserver()
    pipeline = Pipeline([Loads("loads", 1, 0.25)])
    async with pipeline:
        for _ in range(2):
            await trio.sleep(1)
            task = PipelineTask(pipeline, observers=[observer])
            await task.queue_frame(StopFrame())
            await task.run()
            # What the block has set up before is no part of it.
            assert observer.report.seconds == 0.25
            assert [part.set_up_at for part in observer.report.processors] == [None]
    assert observer.report.began_at > 2


async def test_a_cancel_at_any_moment_leaves_nothing(autojump_clock) -> None:
    async def scenario(attempt) -> None:
        observer = StartupTimingObserver()
        task = task_of(Loads("a", 1), Loads("b", 2, 1), observers=[observer])
        attempt.afterwards(lambda: (task.result is None or task.result.observer_errors == ()) or pytest.fail("errors"))
        task.stop_when_done()
        await task.run()

    assert await cancel_at_every_checkpoint(scenario) > 5


# -- how it reads, misuse


def test_a_report_reads_as_a_table() -> None:
    report = StartupReport(
        5.0,
        7.5,
        (ProcessorStartup("voice", 5.0, 1.0), ProcessorStartup("model", 5.5, 2.0, 0.25), ProcessorStartup("passes")),
        (FirstFrame("InputAudioFrame", "microphone", 7.75),),
    )
    assert str(report) == (
        "started in 2.500 s\n"
        "   began  set-up  StartFrame\n"
        "   0.000   1.000       0.000  voice\n"
        "   0.500   2.000       0.250  model\n"
        "                       0.000  passes\n"
        "   2.750  first InputAudioFrame, microphone"
    )
    assert str(StartupReport(0.0)) == "not started"


@pytest.mark.parametrize("bad", [int, [Loads], (int,), ("Loads",), (Passes(),), 3])
def test_what_are_no_classes_of_processors_or_frames_is_refused(bad) -> None:
    with pytest.raises(ConfigurationError, match="processors=.*expected a class of processors, a tuple"):
        StartupTimingObserver(processors=bad)
    with pytest.raises(ConfigurationError, match="firsts=.*expected a frame class, or a tuple"):
        StartupTimingObserver(firsts=bad)


@pytest.mark.parametrize("what", ["on_report", "on_first"])
def test_what_is_no_sync_function_is_refused(what) -> None:
    async def waits(record: object) -> None:
        pass

    with pytest.raises(ConfigurationError, match=rf"{what}=3\): expected a function"):
        StartupTimingObserver(**{what: 3})
    with pytest.raises(ConfigurationError, match=rf"{what}=.*expected a sync function"):
        StartupTimingObserver(**{what: waits})


async def test_functions_that_raise_hurt_nobody(autojump_clock, caplog) -> None:
    def fails(record: object) -> None:
        raise LookupError("callback")

    stage = Stage(observers=[StartupTimingObserver(on_report=fails, on_first=fails, firsts=(BotStartedSpeakingFrame,))])
    async with nothing_left(), stage.running():
        await stage.bot_speaks()
    result = await stage.task.wait_finished()
    assert [repr(error) for error in result.observer_errors] == ["LookupError('callback')"] * 2
