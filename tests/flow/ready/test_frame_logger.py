"""P1: a frame logger writes down what passes, where somebody wants to read it."""

from __future__ import annotations

import logging

import attrs
import pytest

from cancel_everywhere import cancelled_everywhere
from flow_kit import UP, live, settle, text
from trio_pipes import (
    AudioFrame,
    ConfigurationError,
    DataFrame,
    FrameLogger,
    InputAudioFrame,
    Pipeline,
    PipelineTask,
    SystemFrame,
    TaskState,
    TextFrame,
)
from trio_pipes.testing import check_processor


@attrs.define(eq=False)
class Shown(DataFrame):
    """Counts how often its text is made."""

    shown = 0

    def __repr__(self) -> str:
        Shown.shown += 1
        return "x" * 10_000


async def logged(caplog, logger: FrameLogger, *frames, level: int = logging.DEBUG) -> list[str]:
    caplog.set_level(level, logger="trio_pipes.frames")
    caplog.clear()
    async with live([logger]) as run:
        for frame in frames:
            await run.task.queue_frame(frame)
            await settle()
        await run.task.queue_frame(TextFrame("back"), UP)
    return [record.getMessage() for record in caplog.records if record.name.startswith("trio_pipes.frames")]


async def test_each_frame_is_a_line_with_its_way_and_its_fields(autojump_clock, caplog):
    hello = text("hello")
    lines = await logged(caplog, FrameLogger("Mic"), hello, SystemFrame())
    assert lines[0].startswith("Mic downstream: StartFrame(")
    assert lines[1] == f"Mic downstream: TextFrame(id={hello.id}, text='hello')"
    assert lines[2].startswith("Mic downstream: SystemFrame(")
    assert [line.partition(":")[0] for line in lines[3:]] == ["Mic upstream", "Mic downstream"]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


async def test_sound_is_left_out_unless_it_is_asked_for(autojump_clock, caplog):
    sound = InputAudioFrame(bytes(3200), 16_000)
    assert not any("Audio" in line for line in await logged(caplog, FrameLogger(), sound))
    lines = await logged(caplog, FrameLogger(ignored=(TextFrame,)), sound, text("a"))
    assert ["<3200 bytes>" in line for line in lines if "Audio" in line] == [True]
    assert not any("TextFrame" in line for line in lines)


async def test_one_way_only(autojump_clock, caplog):
    lines = await logged(caplog, FrameLogger(direction=UP), text("a"))
    assert [line.partition(":")[0] for line in lines] == ["Frame upstream"]


async def test_where_the_level_is_off_nothing_is_written_together(autojump_clock, caplog):
    Shown.shown = 0
    assert await logged(caplog, FrameLogger(), Shown(), level=logging.INFO) == []
    assert Shown.shown == 0
    lines = await logged(caplog, FrameLogger(level=logging.INFO), Shown(), level=logging.INFO)
    assert Shown.shown == 1
    assert lines[1] == f"Frame downstream: {'x' * 500}..."


async def test_the_logger_is_found_by_its_name(autojump_clock, caplog):
    caplog.set_level(logging.WARNING, logger="my.frames")
    async with live([FrameLogger(logger="my.frames", level=logging.WARNING)]) as run:
        await run.say("a")
    assert [record.name for record in caplog.records if "text='a'" in record.getMessage()] == ["my.frames"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"prefix": None}, "prefix=None"),
        ({"ignored": TextFrame}, "ignored=<class"),
        ({"ignored": (int,)}, "ignored="),
        ({"level": "DEBUG"}, "level='DEBUG'"),
        ({"level": True}, "level=True"),
        ({"level": -1}, "level=-1"),
        ({"logger": ""}, "logger=''"),
        ({"logger": logging.getLogger("x")}, "logger=<Logger"),
        ({"direction": "up"}, "direction='up'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(settings, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        FrameLogger(**settings)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
async def test_k2_frame_logger(pipes_clock, caplog, level):
    caplog.set_level(level, logger="trio_pipes.frames")
    await check_processor(lambda: FrameLogger(ignored=(AudioFrame,)), points=40)


def test_t11_cancelled_anywhere_it_leaves_nothing():
    def make():
        task = PipelineTask(Pipeline([FrameLogger(level=logging.CRITICAL, logger="trio_pipes.frames.test")]))

        async def scenario() -> None:
            await task.queue_frames([text("a"), DataFrame()])
            task.stop_when_done()
            await task.run()

        def check() -> None:
            assert task.has_finished() or task.state is TaskState.NEW

        return scenario, check, None

    assert cancelled_everywhere(make) > 3
