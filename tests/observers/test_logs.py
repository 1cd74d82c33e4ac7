"""`DebugLogObserver` and `MetricsLogObserver`: lines in the log, for what was asked for, and nothing paid where it is off."""

from __future__ import annotations

import logging
import re

import attrs
import pytest
import trio

from hosting import Probe, Slow, started, task_of
from trio_pipes import (
    ConfigurationError,
    Direction,
    Frame,
    FrameProcessor,
    InputAudioFrame,
    LLMTokenUsage,
    MetricsData,
    OutputAudioFrame,
    ProcessingMetrics,
    TextFrame,
    TTFBMetrics,
)
from trio_pipes.observers import DebugLogObserver, MetricsLogObserver

FRAMES = "trio_pipes.frames"
METRICS = "trio_pipes.metrics"


@pytest.fixture
def log(caplog):
    """The lines of the loggers of these observers, at every level."""
    caplog.set_level(logging.DEBUG, logger=FRAMES)
    caplog.set_level(logging.DEBUG, logger=METRICS)
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("trio_pipes.")]


async def run(*frames: Frame, up: tuple[Frame, ...] = (), between=(), **settings) -> str:
    """Run frames through `first`, `between` and `last`; gives the task's name."""
    task = task_of(Probe("first"), *between, Probe("last"), observers=[DebugLogObserver(**settings)])
    async with started(task):
        await task.queue_frames(frames)
        await task.queue_frames(up, Direction.UPSTREAM)
        await task.flush()
    assert (await task.wait_finished()).observer_errors == ()
    return task.name


# -- frames


async def test_each_frame_is_logged_at_each_processor_that_pushes_it(autojump_clock, log) -> None:
    frame, back = TextFrame("hello"), TextFrame("back")
    task = await run(frame, up=(back,))
    assert [line for line in log() if " down " in line] == [
        f"{task}: pushed down by first: TextFrame(id={frame.id}, text='hello')",
        f"{task}: pushed down by last: TextFrame(id={frame.id}, text='hello')",
    ]
    assert [line for line in log() if " down " not in line] == [
        f"{task}: pushed up by last: TextFrame(id={back.id}, text='back')",
        f"{task}: pushed up by first: TextFrame(id={back.id}, text='back')",
    ]


async def test_frames_are_chosen_by_their_class(autojump_clock, log) -> None:
    await run(TextFrame("hello"), OutputAudioFrame(bytes(320), 16_000), types=(OutputAudioFrame, InputAudioFrame))
    assert len(log()) == 2
    assert all("OutputAudioFrame" in line and "<320 bytes>" in line for line in log())


@pytest.mark.parametrize("how", ["itself", "its name", "its class", "several"])
async def test_processors_are_chosen_by_themselves_their_names_or_their_classes(autojump_clock, log, how) -> None:
    slow = Slow(0, "slow")
    wanted = {"itself": (slow,), "its name": ("slow",), "its class": (Slow,), "several": ("last", slow)}[how]
    await run(TextFrame("hello"), between=[slow], processors=wanted)
    who = [line.split(" by ")[1].split(":")[0] for line in log()]
    assert who == (["slow", "last"] if how == "several" else ["slow"])


async def test_one_direction_may_be_chosen(autojump_clock, log) -> None:
    for direction, word in ((Direction.UPSTREAM, "up"), (Direction.DOWNSTREAM, "down")):
        before = len(log())
        await run(TextFrame("a"), up=(TextFrame("b"),), direction=direction)
        lines = log()[before:]
        assert len(lines) == 2
        assert all(f" pushed {word} " in line for line in lines)


async def test_the_events_may_be_chosen_the_ends_among_them(autojump_clock, log) -> None:
    down, up = TextFrame("a"), TextFrame("b")
    events = ("on_frame_taken", "on_frame_handled", "on_reached_sink", "on_reached_source")
    task = await run(down, up=(up,), events=events, types=(TextFrame,), processors=("first",))
    a, b = f"TextFrame(id={down.id}, text='a')", f"TextFrame(id={up.id}, text='b')"
    assert sorted(log()) == sorted(
        [
            f"{task}: taken down by first: {a}",
            f"{task}: handled down by first: {a}",
            f"{task}: reached the sink: {a}",
            f"{task}: taken up by first: {b}",
            f"{task}: handled up by first: {b}",
            f"{task}: reached the source: {b}",
        ]
    )


async def test_what_was_stopped_and_what_waited_is_logged(autojump_clock, log) -> None:
    observer = DebugLogObserver(events=("on_frame_stopped", "on_waited_for_room"))
    task = task_of(Probe("first"), Slow(5, "slow"), observers=[observer], queue_size=1)
    async with started(task) as nursery:
        nursery.start_soon(task.queue_frames, [TextFrame(text) for text in "abcdef"])
        await trio.sleep(6)
        await task.interrupt()
    lines = log()
    assert any(" first waited 5.000 s for room: TextFrame(" in line for line in lines)
    assert any(" who queues waited " in line for line in lines)
    assert sum(" stopped down in slow: TextFrame(" in line for line in lines) == 1


async def test_the_fields_that_are_shown_may_be_chosen(autojump_clock, log) -> None:
    frame = TextFrame("hello")
    frame.pts = 12
    task = await run(frame, fields=("pts", "text", "nothing_of_the_kind"), processors=("first",))
    assert log() == [f"{task}: pushed down by first: {frame.name} pts=12 text='hello'"]


async def test_a_long_frame_is_cut(autojump_clock, log) -> None:
    await run(TextFrame("x" * 5000), processors=("first",))
    (line,) = log()
    assert len(line) < 1200
    assert re.search(r"xxx\.\.\. \(5,0\d\d characters\)$", line)


async def test_another_logger_and_another_level_may_be_chosen(autojump_clock, caplog) -> None:
    caplog.set_level(logging.INFO, logger="mine")
    await run(TextFrame("hello"), logger="mine", level=logging.INFO, processors=("first",))
    (record,) = [record for record in caplog.records if record.name == "mine"]
    assert record.levelno == logging.INFO


# -- off


async def test_where_the_level_is_off_nobody_is_told_of_frames(autojump_clock, caplog) -> None:
    caplog.set_level(logging.INFO, logger=FRAMES)
    observer = DebugLogObserver(events=("on_frame_pushed", "on_frame_handled", "on_reached_sink"))
    task = task_of(Probe(), observers=[observer])
    async with started(task):
        assert task._engine.observed is None
        await task.queue_frame(TextFrame())
        task.remove_observer(observer)
        caplog.set_level(logging.DEBUG, logger=FRAMES)
        task.add_observer(DebugLogObserver())
        assert task._engine.observed is not None
        await task.queue_frame(TextFrame("now"))
    assert [record.getMessage() for record in caplog.records if "now" in record.getMessage()]
    assert (await task.wait_finished()).observer_errors == ()


async def test_one_that_is_added_late_looks_at_the_level_of_that_moment(autojump_clock, caplog) -> None:
    caplog.set_level(logging.INFO, logger=FRAMES)
    observer = DebugLogObserver()
    task = task_of(Probe("first"))
    async with started(task):
        caplog.set_level(logging.DEBUG, logger=FRAMES)
        task.add_observer(observer)
        await task.queue_frame(TextFrame("now"))
        await task.flush()
        task.remove_observer(observer)
        caplog.set_level(logging.INFO, logger=FRAMES)
        task.add_observer(observer)
        assert task._engine.observed is None
    assert len([record for record in caplog.records if record.name == FRAMES and "now" in record.getMessage()]) == 1
    assert (await task.wait_finished()).observer_errors == ()


async def test_logging_may_be_set_up_between_the_observer_and_the_run(autojump_clock, caplog) -> None:
    caplog.set_level(logging.INFO, logger=FRAMES)
    task = task_of(Probe("first"), observers=[DebugLogObserver()])
    caplog.set_level(logging.DEBUG, logger=FRAMES)
    async with started(task):
        await task.queue_frame(TextFrame("hello"))
    assert len([record for record in caplog.records if record.name == FRAMES]) == 1


async def test_logging_may_be_turned_off_between_the_observer_and_the_run(autojump_clock, log, caplog) -> None:
    observer = DebugLogObserver()
    task = task_of(Probe("first"), observers=[observer])
    caplog.set_level(logging.INFO, logger=FRAMES)
    async with started(task):
        assert task._engine.observed is None
        await task.queue_frame(TextFrame("hello"))
        task.remove_observer(observer)  # it is there all the same
    assert log() == []


async def test_a_level_that_is_set_while_it_runs_silences_it(autojump_clock, log, caplog) -> None:
    task = task_of(Probe(), observers=[DebugLogObserver(events=("on_frame_pushed", "on_reached_sink"))])
    async with started(task):
        caplog.set_level(logging.INFO, logger=FRAMES)
        await task.queue_frame(TextFrame("hello"))
    assert not any("TextFrame" in line for line in log())


async def test_one_may_serve_several_tasks_at_once(autojump_clock, log) -> None:
    observer = DebugLogObserver(types=(TextFrame,))
    tasks = [task_of(Probe(), observers=[observer]) for _ in range(2)]
    async with started(tasks[0]), started(tasks[1]):
        for task in tasks:
            await task.queue_frame(TextFrame())
    assert sorted(line.split(":")[0] for line in log()) == sorted(task.name for task in tasks)


# -- metrics


@attrs.frozen
class Temperature(MetricsData):
    value: float


class Measures(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            self.metrics.start_ttfb()
            self.metrics.start_processing()
            await trio.sleep(0.125)
            await self.metrics.stop_ttfb()
            await trio.sleep(0.125)
            await self.metrics.stop_processing()
            self.metrics.model = "tiny-1"
            await self.metrics.llm_usage(LLMTokenUsage(11, 2))
            await self.metrics.tts_usage("hello")
            await self.metrics.stt_usage(1.5)
            await self.metrics.report(Temperature("thermometer", 36.6))
        await self.push_frame(frame, direction)


async def measure(observer: MetricsLogObserver) -> str:
    task = task_of(
        Measures("m"), Probe(), Probe(), observers=[observer], enable_metrics=True, enable_usage_metrics=True
    )
    async with started(task):
        assert task._engine.observed is None  # it is not told of frames
        await task.queue_frame(TextFrame())
    return task.name


async def test_what_is_measured_is_logged_once_and_in_words(autojump_clock, log) -> None:
    task = await measure(MetricsLogObserver())
    assert log() == [
        f"{task}: m: time to first byte 0.125 s",
        f"{task}: m: processing 0.250 s",
        f"{task}: m (tiny-1): 11 prompt tokens, 2 completion tokens",
        f"{task}: m (tiny-1): 5 characters",
        f"{task}: m (tiny-1): 1.500 s of audio",
        f"{task}: thermometer: {Temperature('thermometer', 36.6)!r}",
    ]


async def test_the_kinds_of_metrics_may_be_chosen(autojump_clock, log) -> None:
    await measure(MetricsLogObserver((TTFBMetrics, ProcessingMetrics)))
    assert [line.split(": ", 2)[2].rsplit(" ", 2)[0] for line in log()] == ["time to first byte", "processing"]


async def test_metrics_have_a_level_too(autojump_clock, caplog) -> None:
    caplog.set_level(logging.WARNING, logger=METRICS)
    await measure(MetricsLogObserver())
    await measure(MetricsLogObserver(level=logging.WARNING))
    assert {record.levelno for record in caplog.records if record.name == METRICS} == {logging.WARNING}
    assert len([record for record in caplog.records if record.name == METRICS]) == 6


# -- misuse


@pytest.mark.parametrize(
    ("setting", "bad", "expected"),
    [
        ("types", "TextFrame", "a frame class, or a tuple of them"),
        ("types", (int,), "a frame class, or a tuple of them"),
        ("types", ("TextFrame",), "a frame class, or a tuple of them"),
        ("processors", "first", "a tuple of processors, names or classes"),
        ("processors", (3,), "a tuple of processors, names or classes"),
        ("processors", ("",), "a tuple of processors, names or classes"),
        ("processors", (TextFrame,), "a tuple of processors, names or classes"),
        ("direction", "down", "a Direction, or None for both"),
        ("events", (), "a tuple of some of on_frame_pushed, "),
        ("events", "on_frame_pushed", "a tuple of some of on_frame_pushed, "),
        ("events", ("on_frame_push",), "a tuple of some of on_frame_pushed, "),
        ("events", ("on_started",), "a tuple of some of on_frame_pushed, "),
        ("fields", "text", "a tuple of names of fields"),
        ("fields", (3,), "a tuple of names of fields"),
        ("logger", "", "the name of a logger"),
        ("logger", logging.getLogger("x"), "the name of a logger"),
        ("level", "DEBUG", "a level of logging"),
        ("level", True, "a level of logging"),
        ("level", -1, "a level of logging"),
    ],
)
def test_a_debug_log_says_what_it_cannot_use(setting, bad, expected) -> None:
    with pytest.raises(ConfigurationError, match=rf"DebugLogObserver\({setting}=.*expected {expected}"):
        DebugLogObserver(**{setting: bad})


@pytest.mark.parametrize(
    ("setting", "bad", "expected"),
    [
        ("kinds", TextFrame, "a kind of MetricsData, a tuple of them"),
        ("kinds", (int,), "a kind of MetricsData, a tuple of them"),
        ("logger", 3, "the name of a logger"),
        ("level", None, "a level of logging"),
    ],
)
def test_a_metrics_log_says_what_it_cannot_use(setting, bad, expected) -> None:
    with pytest.raises(ConfigurationError, match=rf"MetricsLogObserver\({setting}=.*expected {expected}"):
        MetricsLogObserver(**{setting: bad})
