"""What users of a frame framework expect of pipelines: what passes, where settings are found, how set-up fails."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from flow_kit import DOWN, UP, Sees, said, text, texts
from hosting import Lives, Probe, errors_in, notes_of, task_of
from trio_pipes import (
    EndFrame,
    FrameProcessor,
    ParallelPipeline,
    PipelineParams,
    StartFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
)
from trio_pipes.testing import run_pipeline


class Note(SystemFrame):
    pass


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("direction", [DOWN, UP])
@pytest.mark.parametrize("debug", [False, True])
async def test_a_row_of_processors_passes_the_very_frames(autojump_clock, count, direction, debug) -> None:
    row = [FrameProcessor() for _ in range(count)]
    sent = [text("a"), text("b"), Note()]
    received = await run_pipeline(row, sent, direction=direction, params=PipelineParams(debug=debug))
    out, other = (received.down, received.up) if direction is DOWN else (received.up, received.down)
    assert [id(frame) for frame in out if not isinstance(frame, Note)] == [id(sent[0]), id(sent[1])]
    assert [frame for frame in out if isinstance(frame, Note)] == [sent[2]]
    assert other == []


@pytest.mark.parametrize("branches", [1, 2, 5])
async def test_branches_that_change_nothing_let_one_of_each_frame_out(autojump_clock, branches) -> None:
    sent = said("a", "b")
    received = await run_pipeline([ParallelPipeline(*([FrameProcessor()] for _ in range(branches)))], sent)
    assert received.down == sent


async def test_branches_that_make_frames_let_all_of_them_out(autojump_clock) -> None:
    @each
    def copy(frame: TextFrame) -> TextFrame:
        return TextFrame(frame.text)

    received = await run_pipeline([ParallelPipeline([copy], [copy], [FrameProcessor()])], said("a"))
    assert texts(received.down) == ["a", "a", "a"]


# -- settings


# There they are fields of the StartFrame; here they are the task's, and there from set-up on.
async def test_the_settings_of_the_run_are_found_in_set_up(autojump_clock) -> None:
    found = []

    class Looks(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            params = self.task.params
            found.append((params.audio_in_sample_rate, params.audio_out_sample_rate, params.enable_metrics))
            yield

    task = task_of(Looks(), audio_in_sample_rate=8_000, audio_out_sample_rate=48_000, enable_metrics=True)
    task.stop_when_done()
    await task.run()
    assert found == [(8_000, 48_000, True)]
    assert not {"audio_in_sample_rate", "enable_metrics"} & set(dir(StartFrame()))


async def test_start_metadata_is_seen_by_every_processor_and_cannot_be_changed_for_the_next_run(autojump_clock) -> None:
    given = {"call": 7}
    first, last = Probe(), Probe()
    for _ in range(2):
        task = task_of(first, Sees(inline=True), last, start_metadata=given)
        task.stop_when_done()
        await task.run()
        (start,) = {frame for frame in last.seen if isinstance(frame, StartFrame)}
        assert start in first.seen
        assert start.metadata["call"] == 7
        start.metadata["call"] = 8
        last.seen.clear()
    assert given == {"call": 7}


# -- set-up


class Fails(FrameProcessor):
    def __init__(self, name: str, refused: trio.Event) -> None:
        super().__init__(name)
        self.refused = refused

    @asynccontextmanager
    async def lifespan(self):
        await self.refused.wait()
        raise ConnectionError(f"{self.name} has no service")
        yield


# There each failing one reports an ErrorFrame and the pipeline starts without it. Here the run fails with all of them.
async def test_each_processor_whose_set_up_fails_is_named(autojump_clock) -> None:
    log: list[str] = []
    seen = Probe()
    refused = trio.Event()
    task = task_of(Fails("one", refused), Lives(log, "fine"), seen, Fails("two", refused))
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(1)
            refused.set()
    errors = errors_in(caught.value)
    assert sorted(str(error) for error in errors) == ["one has no service", "two has no service"]
    assert sorted(notes_of(error).split("'")[1] for error in errors) == ["one", "two"]
    assert log == ["fine up", "fine down"]
    assert seen.seen == []  # nothing has been handled by a pipeline that is not whole
    assert (await task.wait_finished()).state is TaskState.FAILED


# Those who had finished are closed; those who had not are left where they were, by their own `finally`.
async def test_a_set_up_that_takes_too_long_leaves_nothing_open(autojump_clock) -> None:
    log: list[str] = []

    class HalfWay(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            log.append("half up")
            try:
                await trio.sleep_forever()
                yield
            finally:
                log.append("half down")

    task = task_of(Lives(log, "whole", up=1), HalfWay(), setup_timeout=3)
    with pytest.raises(trio.TooSlowError):
        await task.run()
    assert sorted(log) == ["half down", "half up", "whole down", "whole up"]
    assert trio.current_time() == 3


# What the other branches still have to say comes out before the end does.
async def test_the_end_waits_for_the_slowest_branch(autojump_clock) -> None:
    last = Probe()
    await run_pipeline([ParallelPipeline([Sees()], [Sees(delay=2), Sees(delay=2)]), last], said("a", "b", "c"))
    assert last.kinds[0] == "StartFrame"
    assert isinstance(last.seen[-1], EndFrame)
    assert last.texts == ["a", "b", "c"]
    assert trio.current_time() == pytest.approx(8)


# There nothing passes while the branches drain, an interrupt neither.
async def test_urgent_frames_and_interrupts_pass_branches_that_are_draining(autojump_clock) -> None:
    class Knocks(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.knock)
                yield

        async def knock(self) -> None:
            await trio.sleep(3)
            await self.push_frame(Note())

    last = Sees()
    task = task_of(Knocks(), ParallelPipeline([FrameProcessor()], [Sees(delay=100)]), last)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames(said("old"))
        await trio.sleep(1)
        task.stop_when_done()
        await trio.sleep(3)
        assert last.kinds() == ["StartFrame", "old", "Note"]  # one branch has ended, the other has "old" in hand
        task.interrupt()
    assert last.kinds() == ["StartFrame", "old", "Note", "InterruptionFrame", "EndFrame"]
    assert trio.current_time() == 4
    assert task.state is TaskState.ENDED
