"""`FrameProcessor`: a processor as a class (DESIGN 4)."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from flow_kit import DOWN, HUNG, UP, Does, Sees, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    Frame,
    FrameProcessor,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    SetupTimeout,
    SystemFrame,
    TextFrame,
)
from trio_pipes.testing import run_pipeline, run_processor


# The example of the design.
async def test_a_class_as_the_design_writes_it(autojump_clock, debug):
    class Shout(FrameProcessor):
        async def process_frame(self, frame: Frame, direction) -> None:
            if isinstance(frame, TextFrame):
                frame = text(frame.text.upper())
            await self.push_frame(frame, direction)

    received = await run_processor(Shout(), said("a", "b"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["A", "B"]


# As it stands a processor passes everything on, in both directions.
async def test_a_bare_processor_passes_everything_on(autojump_clock, debug):
    class Bare(FrameProcessor):
        pass

    class Ping(SystemFrame):
        pass

    parts = [Bare(), Bare(inline=True), FrameProcessor()]
    sent = [text("a"), Ping(), ControlFrame()]
    down = await run_pipeline(parts, sent, params=PipelineParams(debug=debug))
    assert set(map(id, down.down)) == set(map(id, sent))
    up = await run_pipeline(parts, sent, direction=UP, params=PipelineParams(debug=debug))
    assert set(map(id, up.up)) == set(map(id, sent))


# G12: no `super()` call is needed anywhere, `__init__` included.
async def test_g12_no_super_call_is_needed(autojump_clock, debug):
    log = []

    class Own(FrameProcessor):
        def __init__(self, suffix):
            self.suffix = suffix

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                await self.push_frame(text(frame.text + self.suffix))

        @asynccontextmanager
        async def lifespan(self):
            log.append("open")
            yield
            log.append("close")

        async def on_interrupt(self):
            log.append("interrupt")

    own = Own("!")
    assert own.name.startswith("Own#")
    assert isinstance(own.id, int)
    assert own.inline is False
    async with live([own, Own("?")], debug=debug) as run:
        await run.say("a")
        await settle()
        run.task.interrupt()
        await run.say("b")
    assert run.texts == ["a!?", "b!?"]
    assert sorted(log) == ["close", "close", "interrupt", "interrupt", "open", "open"]


# Names and ids: `ClassName#n`, counted per class; one's own name stands.
def test_names_and_ids():
    class Mine(FrameProcessor):
        pass

    class Other(FrameProcessor):
        pass

    one, two, other = Mine(), Mine(), Other()
    assert one.name.rpartition("#")[0] == two.name.rpartition("#")[0] == "Mine"
    assert int(two.name.rpartition("#")[2]) == int(one.name.rpartition("#")[2]) + 1
    assert other.name.startswith("Other#")
    assert len({one.id, two.id, other.id}) == 3
    assert Mine(name="own").name == "own"
    assert Mine("own", True).inline is True


@pytest.mark.parametrize("settings", [{"name": ""}, {"name": 42}, {"inline": 1}, {"inline": None}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        FrameProcessor(**settings)


# Classes made by attrs, with slots, eq and all.
async def test_a_class_made_by_attrs(autojump_clock, debug):
    @attrs.define
    class Adds(FrameProcessor):
        suffix: str = "!"

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                frame = text(frame.text + self.suffix)
            await self.push_frame(frame, direction)

    received = await run_pipeline([Adds(), Adds("?")], said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a!?"]


# All processors of a pipeline set up concurrently, and clean up concurrently.
async def test_processors_set_up_and_clean_up_concurrently(autojump_clock, debug):
    class Slow(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(3)
            yield
            await trio.sleep(2)

    parts = [Slow(), Slow(inline=True), ParallelPipeline([Slow()], [Slow(), Slow()])]
    await run_pipeline(parts, said("a"), params=PipelineParams(debug=debug))
    assert trio.current_time() == 5


# Set-up that takes too long names who was stuck, and only them.
async def test_set_up_that_takes_too_long_names_who_was_stuck(autojump_clock, debug):
    class Slow(FrameProcessor):
        def __init__(self, name, seconds):
            super().__init__(name=name)
            self.seconds = seconds

        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(self.seconds)
            yield

    with pytest.raises(SetupTimeout) as caught:
        await run_pipeline([Slow("quick", 1), Slow("stuck", 99)], [], params=PipelineParams(setup_timeout=2))
    assert "'stuck'" in str(caught.value)
    assert "quick" not in str(caught.value)
    assert isinstance(caught.value, trio.TooSlowError)


# The task, its parameters and resources from inside; before the run a clear error.
async def test_the_task_from_inside(autojump_clock, debug):
    seen = []

    async def look(self, frame):
        seen.append((self.task, self.task.resources, self.task.params.audio_in_sample_rate))
        await self.push_frame(frame)

    part = Does(look)
    with pytest.raises(RuntimeError, match="only while a PipelineTask runs"):
        part.task  # noqa: B018
    with pytest.raises(RuntimeError, match="only while a PipelineTask runs"):
        part.interrupt()
    with pytest.raises(RuntimeError, match="only while a PipelineTask runs"):
        await part.push_frame(text("a"))
    task = PipelineTask(Pipeline([part]), PipelineParams(debug=debug), resources={"db": 1})
    await task.queue_frame(text("a"))
    task.stop_when_done()
    await task.run()
    assert seen == [(task, {"db": 1}, 16_000)]


# `broadcast_frame` makes one for each direction, and each knows the other.
async def test_broadcast(autojump_clock, debug):
    async def broadcast(self, frame):
        await self.broadcast_frame(TextFrame, text="news")

    above, below = Sees(), Sees()
    received = await run_pipeline(
        [above, Does(broadcast, inline=True), below], said("a"), params=PipelineParams(debug=debug)
    )
    (down,), (up,) = received.down, received.up
    assert down.text == up.text == "news"
    assert down is not up
    assert down.metadata["broadcast_sibling_id"] == up.id
    assert up.metadata["broadcast_sibling_id"] == down.id


# A class that overrides `push_frame` is asked for each of its pushes.
async def test_an_overridden_push_frame(autojump_clock, debug):
    class Counts(FrameProcessor):
        pushed = 0

        async def push_frame(self, frame, direction=DOWN):
            self.pushed += 1
            await super().push_frame(frame, direction)

    parts = [Counts(), Counts(inline=True)]
    received = await run_pipeline(parts, said("a", "b"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a", "b"]
    assert [part.pushed for part in parts] == [4, 4]


# An instance belongs to one running pipeline at a time: refused while running, allowed one after the other.
async def test_an_instance_belongs_to_one_running_pipeline_at_a_time(autojump_clock, debug):
    shared = Sees(name="shared")
    first = PipelineTask(Pipeline([shared]), PipelineParams(debug=debug))
    second = PipelineTask(Pipeline([Sees(), ParallelPipeline([shared])]), PipelineParams(debug=debug))
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        with pytest.raises(ConfigurationError, match="shared"):
            await second.run()
        first.stop_when_done()
    await second.queue_frame(text("a"))
    second.stop_when_done()
    with trio.fail_after(HUNG):
        assert (await second.run()).frames_out == 1


# After a cancel and after an error it may be used again.
@pytest.mark.parametrize("how", ["cancel", "error"])
async def test_an_instance_may_be_used_again_after_a_run_that_failed(autojump_clock, debug, how):
    async def fails(self, frame):
        if frame.text == "bad":
            raise ValueError
        await trio.sleep(5)
        await self.push_frame(frame)

    pipeline = Pipeline([Sees(), Does(fails, inline=True), Sees()])
    task = PipelineTask(pipeline, PipelineParams(debug=debug))
    await task.queue_frames(said("a", "bad", "b"))
    with trio.move_on_after(1 if how == "cancel" else 100):
        with pytest.raises((trio.Cancelled, ExceptionGroup)):
            await task.run()
    again = PipelineTask(pipeline, PipelineParams(debug=debug))
    await again.queue_frames(said("c"))
    again.stop_when_done()
    with trio.fail_after(HUNG):
        assert (await again.run()).frames_out == 1
    assert pipeline.processors[2].texts()[-1] == "c"


# A pipeline is itself a processor: a task runs a bare processor, and pipelines nest.
async def test_pipelines_nest(autojump_clock, debug):
    inner = Pipeline([Sees(), Pipeline([Sees(inline=True)])])
    received = await run_pipeline(Pipeline([Pipeline([inner]), Sees()]), said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a"]
    received = await run_pipeline(Sees(), said("b"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["b"]


# `lifespan` that is no context manager is told with the fix.
async def test_a_lifespan_without_its_decorator_is_told(autojump_clock):
    class Forgets(FrameProcessor):
        async def lifespan(self):
            yield

    with trio.fail_after(HUNG), pytest.raises(ExceptionGroup) as caught:
        await run_processor(Forgets(), [])
    assert "asynccontextmanager" in str(caught.value.exceptions[0])


# Awaits in the cleanup work, after a cancel from outside as after an end.
@pytest.mark.parametrize("how", ["end", "cancel", "scope"])
async def test_awaits_in_the_cleanup_work(autojump_clock, debug, how):
    log = []

    class Cleans(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
                log.append("normally")
            except trio.Cancelled:
                log.append("cancelled")
                raise
            finally:
                await trio.sleep(5)
                log.append("cleaned")

    task = PipelineTask(Pipeline([Cleans(inline=True)]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                if how == "end":
                    task.stop_when_done()
                elif how == "cancel":
                    task.cancel()
                else:
                    await trio.sleep(100)
    assert log == ["normally" if how == "end" else "cancelled", "cleaned"]
    assert trio.current_time() == (6 if how == "scope" else 5)


# What a processor pushes while it cleans up goes nowhere, and hurts nobody.
async def test_pushes_in_the_cleanup_are_dropped_and_counted(autojump_clock, debug):
    class Cleans(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            yield
            await self.push_frame(text("late"))
            await self.push_frame(text("late"), UP)
            await self.push_error("late")

    part = Cleans()
    received = await run_pipeline([part, Sees()], said("a"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["a"]
    assert received.up == []
    assert part.statistics().late_dropped == 3


# Statistics need a run; then they say where frames wait.
async def test_statistics(autojump_clock, debug):
    part, slow = Sees(), Sees(delay=10)
    with pytest.raises(RuntimeError, match="no statistics"):
        part.statistics()
    async with live([part, slow], debug=debug, queue_size=3) as run:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.task.queue_frames, said(*"abcdefgh"))
            await trio.sleep(1)
            stats = slow.statistics()
            assert stats.name == slow.name
            assert stats.handling.startswith("TextFrame#")
            assert 1 <= stats.downstream.buffered <= 3
            assert stats.downstream.peak_buffered == 3
            assert stats.waiting == 1
            run.task.interrupt()
            assert slow.statistics().downstream.buffered <= 3
            assert slow.statistics().stale_dropped >= 2
            await trio.sleep(500)
        assert slow.statistics().handling is None
        assert [p.name for p in run.task.statistics().processors] == [part.name, slow.name]
