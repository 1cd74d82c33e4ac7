"""`async with pipeline:` the block holds what is in it open, whatever its runs come to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from cancel_everywhere import cancelled_everywhere
from hosting import Does, Lives, Probe, Slow, Stuck, Urgent, errors_in, notes_of, nothing_left, started, texts
from trio_pipes import (
    ConfigurationError,
    Direction,
    EndFrame,
    EndTaskFrame,
    FloodError,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ReleaseAtPts,
    SetupTimeout,
    StartFrame,
    StopFrame,
    Switchable,
    SyncParallelPipeline,
    TaskState,
    TextFrame,
    merge,
    processor,
)
from trio_pipes.testing import SlowLink


async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
    if frame.text == "crash":
        raise ValueError("crash")


async def run_once(pipeline: FrameProcessor, *words: object, last: type[Frame] = StopFrame, **params) -> PipelineTask:
    task = PipelineTask(pipeline, PipelineParams(**params))
    await task.queue_frames([*texts(*words), last()])
    await task.run()
    return task


class Helper(FrameProcessor):
    """Does something in the background of its lifespan; what comes to `say` is pushed, an exception is raised."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.send, self._receive = trio.open_memory_channel[object](100)

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._work)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def _work(self) -> None:
        async for what in self._receive:
            if isinstance(what, Exception):
                raise what
            if isinstance(what, Frame):
                await self.push_frame(what)
            else:
                await what()


# -- the rule: the lifespans are the block's


@pytest.mark.parametrize("how", ["end", "stop", "cancel", "error", "outside"])
async def test_whatever_ends_a_run_in_the_block_the_processors_stay_open_until_it_is_left(autojump_clock, how) -> None:
    log: list[str] = []
    probe = Probe()
    pipeline = Pipeline([Lives(log, "a", up=2, down=3), Does(crash), Lives(log, "b", up=1, down=1), probe])
    async with nothing_left():
        async with pipeline as entered:
            assert entered is pipeline
            assert log == ["b up", "a up"]
            assert trio.current_time() == 2
            for _ in range(3):
                task = PipelineTask(pipeline)
                if how in ("end", "stop"):
                    await task.queue_frames([*texts("x"), EndFrame() if how == "end" else StopFrame()])
                    await task.run()
                else:
                    with trio.CancelScope() as scope:
                        try:
                            async with trio.open_nursery() as nursery:
                                await nursery.start(task.run)
                                match how:
                                    case "cancel":
                                        task.cancel()
                                    case "error":
                                        await task.queue_frame(TextFrame("crash"))
                                    case "outside":
                                        scope.cancel()
                        except* ValueError:
                            assert how == "error"
                assert task.state is {"end": TaskState.ENDED, "stop": TaskState.STOPPED, "error": TaskState.FAILED}.get(
                    how, TaskState.CANCELLED
                )
                assert log == ["b up", "a up"]
            assert trio.current_time() == 2
        assert trio.current_time() == 5
    assert log == ["b up", "a up", "b down", "a down"]
    assert probe.kinds.count("StartFrame") == 3


async def test_without_the_block_a_stop_closes_like_an_end(autojump_clock) -> None:
    log: list[str] = []
    pipeline = Pipeline([Lives(log, "a")])
    for _ in range(2):
        assert (await run_once(pipeline)).state is TaskState.STOPPED
    assert log == ["a up", "a down"] * 2


async def test_after_the_block_runs_set_up_for_themselves_again_and_it_can_be_entered_again(autojump_clock) -> None:
    log: list[str] = []
    pipeline = Pipeline([Lives(log, "a")])
    for _ in range(2):
        async with pipeline:
            await run_once(pipeline)
        assert log == ["a up", "a down"]
        log.clear()
    await run_once(pipeline)
    assert log == ["a up", "a down"]


@pytest.mark.parametrize("kind", ["one", "parallel", "sync", "nested", "slot"])
async def test_anything_that_a_task_can_run_can_be_opened(autojump_clock, kind) -> None:
    log: list[str] = []
    a, b, last = Lives(log, "a"), Lives(log, "b"), Probe()
    pipeline: FrameProcessor = {
        "one": lambda: a,
        "parallel": lambda: ParallelPipeline([a], [b, last]),
        "sync": lambda: SyncParallelPipeline([a], [b, last]),
        "nested": lambda: Pipeline([Pipeline([a, Pipeline([b])]), ParallelPipeline([Pipeline([last])])]),
        "slot": lambda: Switchable(Pipeline([a, b, last])),
    }[kind]()
    async with pipeline:
        for n in range(3):
            task = await run_once(pipeline, n)
            assert task.state is TaskState.STOPPED
        assert set(log) <= {"a up", "b up"}
    assert log.count("a up") == log.count("a down") == 1
    if kind != "one":
        assert last.texts == ["0", "1", "2"]


async def test_what_is_opened_by_itself_stays_open_in_any_pipeline_and_the_rest_is_the_runs(autojump_clock) -> None:
    log: list[str] = []
    model = Lives(log, "model", up=5)
    async with model:
        for n in range(2):
            await run_once(Pipeline([Lives(log, f"{n}"), model]))
    assert log == ["model up", "0 up", "0 down", "1 up", "1 down", "model down"]


async def test_a_block_of_code_runs_its_body_once_per_run(autojump_clock) -> None:
    log: list[str] = []

    @processor
    async def body(frames: Frames[TextFrame], out: Out) -> None:
        log.append("up")
        async for frame in frames:
            log.append(frame.text)
        log.append("down")

    pipeline = Pipeline([body, Lives(log, "class")])
    async with pipeline:
        for n in range(2):
            await run_once(pipeline, n)
    assert log == ["class up", "up", "0", "down", "up", "1", "down", "class down"]


async def test_leaving_as_it_ran_returns_at_the_yield_and_by_an_error_raises_cancelled_there(autojump_clock) -> None:
    log: list[str] = []

    class Tells(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
                log.append("returned")
            except trio.Cancelled:
                log.append("cancelled")
                raise

    async with Pipeline([Tells()]):
        pass
    with pytest.raises(KeyError):
        async with Pipeline([Tells()]):
            raise KeyError("mine")
    with trio.move_on_after(1):
        async with Pipeline([Tells()]):
            await trio.sleep_forever()
    assert log == ["returned", "cancelled", "cancelled"]


# -- what goes wrong


class Fails(FrameProcessor):
    def __init__(self, where: str, name: str | None = None) -> None:
        super().__init__(name)
        self.where = where

    @asynccontextmanager
    async def lifespan(self):
        if self.where == "up":
            await trio.sleep(1)
            raise ValueError("up")
        try:
            yield
        finally:
            if self.where == "down":
                raise ValueError("down")


async def test_set_up_that_fails_closes_what_was_set_up_and_leaves_the_entering(autojump_clock) -> None:
    log: list[str] = []
    pipeline = Pipeline([Lives(log, "a"), Lives(log, "late", up=50), Fails("up", "bad")])
    for _ in range(2):  # nothing is held afterwards
        async with nothing_left():
            with pytest.raises(ExceptionGroup) as caught:
                async with pipeline:
                    pytest.fail("it was entered")
        (error,) = errors_in(caught.value)
        assert isinstance(error, ValueError)
        assert f"in processor 'bad', of {pipeline.name!r}" in notes_of(error)
        assert log == ["a up", "a down"]
        log.clear()


async def test_set_up_that_takes_too_long_is_named_and_the_timeout_can_be_given(autojump_clock) -> None:
    log: list[str] = []
    pipeline = Pipeline([Lives(log, "quick"), Lives(log, "late", up=50)])
    with pytest.raises(SetupTimeout, match=r"set-up of 'late' has not finished within setup_timeout \(20 s, since 0"):
        async with pipeline:
            pytest.fail("it was entered")
    assert trio.current_time() == 20
    async with pipeline.opened(PipelineParams(setup_timeout=60)) as entered:
        assert entered is pipeline
        assert trio.current_time() == 70
    assert log == ["quick up", "quick down", "quick up", "late up", "quick down", "late down"] or log[-1].endswith(
        "down"
    )


@pytest.mark.parametrize("params", [20, PipelineParams, {"setup_timeout": 1}], ids=["number", "class", "dict"])
async def test_what_are_no_params_is_refused(params) -> None:
    with pytest.raises(ConfigurationError, match=r"opened\(.*expected PipelineParams"):
        async with Pipeline([Probe()]).opened(params):
            pass


async def test_a_lifespan_that_is_none_is_refused_before_any_is_entered() -> None:
    log: list[str] = []

    class Wrong(FrameProcessor):
        async def lifespan(self):
            pass

    first = Lives(log, "a")
    with pytest.raises(ConfigurationError, match="context manager"):
        async with Pipeline([first, Wrong()]):
            pass
    assert log == []
    async with first:
        pass


async def test_cleanup_is_bounded_and_its_errors_leave_the_block_beside_those_of_the_body(
    autojump_clock, caplog
) -> None:
    log: list[str] = []
    pipeline = Pipeline([Fails("down", "bad"), Lives(log, "long", down=100), Lives(log, "b", down=2)])
    with pytest.raises(BaseExceptionGroup) as caught:
        async with pipeline:
            raise KeyError("body")
    assert [type(error) for error in errors_in(caught.value)] == [KeyError, ValueError]
    assert trio.current_time() == 10
    assert "cleanup of 'long' took longer than cleanup_timeout (10 s)" in caplog.text
    assert "b down" in log
    with pytest.raises(ExceptionGroup) as alone:
        async with pipeline.opened(PipelineParams(cleanup_timeout=1)):
            pass
    assert [str(error) for error in errors_in(alone.value)] == ["down"]
    assert trio.current_time() == 11


async def test_an_error_of_the_body_leaves_it_as_it_is(autojump_clock) -> None:
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        async with Pipeline([Lives([], "a")]):
            raise error
    assert caught.value is error


@pytest.mark.parametrize("earlier_runs", [0, 1])
async def test_background_work_that_fails_while_no_task_runs_cancels_the_block(autojump_clock, earlier_runs) -> None:
    log: list[str] = []
    helper = Helper("helper")
    pipeline = Pipeline([helper, Lives(log, "a")])
    async with nothing_left():
        with pytest.raises(ExceptionGroup) as caught:
            async with pipeline:
                for _ in range(earlier_runs):
                    await run_once(pipeline)
                await helper.send.send(ValueError("background"))
                await trio.sleep_forever()
    (error,) = errors_in(caught.value)
    assert str(error) == "background"
    assert f"in processor 'helper', of {pipeline.name!r}" in notes_of(error)
    assert log == ["a up", "a down"]


async def test_background_work_that_fails_while_a_task_runs_fails_that_task_and_no_other_can_run(
    autojump_clock,
) -> None:
    log: list[str] = []
    helper = Helper("helper")
    pipeline = Pipeline([helper, Lives(log, "a")])
    async with nothing_left(), pipeline:
        await run_once(pipeline)
        task = PipelineTask(pipeline)
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await helper.send.send(ValueError("background"))
        (error,) = errors_in(caught.value)
        assert str(error) == "background"
        assert f"in processor 'helper', of {task.name!r}" in notes_of(error)
        assert task.state is TaskState.FAILED
        assert log == ["a up"]
        await trio.sleep(1)  # the block goes on
        with pytest.raises(
            RuntimeError, match="'helper' cannot run: .* its lifespan has failed there. Leave the block"
        ):
            await PipelineTask(pipeline).run()
    assert log == ["a up", "a down"]  # and the error does not leave it a second time


# -- pushes while no task runs


async def test_what_set_up_pushes_waits_behind_the_first_start_frame(autojump_clock) -> None:
    class Early(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await self.push_frame(TextFrame("down 1"))
            await self.push_frame(TextFrame("up"), Direction.UPSTREAM)
            await self.push_frame(TextFrame("down 2"))
            with pytest.raises(TypeError, match="no frame|expected"):
                await self.push_frame("no frame")  # type: ignore[arg-type]
            yield

    above, below = Probe(), Probe()
    pipeline = Pipeline([above, Early(), below])
    async with pipeline:
        await trio.sleep(1)
        await run_once(pipeline, "first")
        await run_once(pipeline, "second")
    assert below.texts == ["down 1", "down 2", "first", "second"]
    assert below.kinds[:3] == ["StartFrame", "TextFrame", "TextFrame"]
    assert above.texts.count("up") == 1
    assert above.kinds[0] == "StartFrame"


async def test_a_request_that_set_up_pushes_is_heard_by_the_first_task(autojump_clock) -> None:
    helper = Helper()
    async with Pipeline([helper]) as pipeline:
        await helper.send.send(EndTaskFrame("asked before"))
        await trio.testing.wait_all_tasks_blocked()
        result = await PipelineTask(pipeline).run()
    assert (result.state, result.reason) == (TaskState.ENDED, "asked before")


async def test_who_pushes_on_and_on_before_the_first_task_is_a_flood(autojump_clock) -> None:
    class Floods(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            while True:
                await self.push_frame(TextFrame("x"))
            yield

    with pytest.raises(ExceptionGroup) as caught:
        async with Pipeline([Floods("floods")]).opened(PipelineParams(lane_limit=100)):
            pytest.fail("it was entered")
    (error,) = errors_in(caught.value)
    assert isinstance(error, FloodError)
    assert "'floods' has pushed more than lane_limit=100" in str(error)


async def test_between_two_runs_pushes_are_late_and_dropped(autojump_clock) -> None:
    helper, last = Helper(), Probe()
    async with Pipeline([helper, last]) as pipeline:
        for n in range(3):
            async with started(PipelineTask(pipeline)):
                await helper.send.send(TextFrame(f"in {n}"))
                await trio.testing.wait_all_tasks_blocked()
            await helper.send.send(TextFrame("between"))
            await trio.testing.wait_all_tasks_blocked()
            assert helper.statistics().late_dropped == 1
    assert last.texts == ["in 0", "in 1", "in 2"]


async def test_background_work_that_waits_for_room_is_freed_when_the_run_is_cut_off(autojump_clock) -> None:
    helper, last = Helper(), Stuck(TextFrame)
    end = Probe()
    async with Pipeline([helper, last, end]) as pipeline:
        task = PipelineTask(pipeline, PipelineParams(queue_size=1))
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            for _ in range(10):
                await helper.send.send(TextFrame("x"))
            await trio.testing.wait_all_tasks_blocked()
            assert task.statistics().processors[1].waiting == 1
            task.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert helper.send.statistics().current_buffer_used == 0
        last.on = StopFrame  # type: ignore[assignment]  # it lets texts pass now
        async with trio.open_nursery() as nursery:
            second = PipelineTask(pipeline)
            await nursery.start(second.run)
            await helper.send.send(TextFrame("new"))
            await trio.testing.wait_all_tasks_blocked()
            second.cancel()
    assert end.texts == ["new"]


# -- what needs a task


async def test_set_up_in_the_block_has_no_task_and_says_so(autojump_clock) -> None:
    class Asks(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            assert self.task.params
            yield

    asks = Asks("asks")
    pipeline = Pipeline([asks], name="calls")
    await run_once(pipeline)  # a run of its own has one; and the block does not see that one
    with pytest.raises(ExceptionGroup) as caught:
        async with pipeline:
            pytest.fail("it was entered")
    (error,) = errors_in(caught.value)
    assert isinstance(error, RuntimeError)
    assert "'asks'.task works only while a PipelineTask runs" in str(error)
    assert "`async with calls` sets up before there is one: handle StartFrame" in str(error)


async def test_background_work_sees_the_task_of_each_run_and_is_inside_it(autojump_clock) -> None:
    helper = Helper()
    seen: list[object] = []

    async def look() -> None:
        seen.append(helper.task)
        for call in (helper.task.wait_finished, partial(helper.task.flush, 1)):
            with pytest.raises(RuntimeError, match="inside one of its own processors"):
                await call()
        for _ in range(200):
            await helper.task.queue_frame(TextFrame("x"))  # never waits, inside

    tasks = []
    async with Pipeline([helper, Slow(1)]) as pipeline:
        for _ in range(2):
            tasks.append(task := PipelineTask(pipeline))
            async with started(task, within=1000):
                began = trio.current_time()
                await helper.send.send(look)
                await trio.testing.wait_all_tasks_blocked()
                assert trio.current_time() == began
                assert seen == tasks


# -- two at once


async def test_a_block_cannot_be_entered_twice_at_once(autojump_clock) -> None:
    log: list[str] = []
    pipeline = Pipeline([Lives(log, "a", up=5)], name="p")
    async with nothing_left():
        async with trio.open_nursery() as nursery:

            async def enter() -> None:
                async with pipeline:
                    await trio.sleep(10)

            nursery.start_soon(enter)
            await trio.sleep(1)
            for _ in range(2):  # while it is being entered, and afterwards
                with pytest.raises(RuntimeError, match="'p' cannot be opened: 'a' is held already by the block"):
                    async with pipeline:
                        pytest.fail("it was entered")
                with pytest.raises(RuntimeError, match="'outer' cannot be opened: 'a' is held already by the block"):
                    async with Pipeline([pipeline], name="outer"):
                        pytest.fail("it was entered")
                await trio.sleep(8)
    assert log == ["a up", "a down"]


async def test_a_pipeline_that_runs_cannot_be_opened(autojump_clock) -> None:
    log: list[str] = []
    task = PipelineTask(pipeline := Pipeline([Probe(), Lives(log, "a")]))
    async with started(task):
        with pytest.raises(RuntimeError, match=rf"cannot be opened: 'Probe#\d+' is in '{task.name}', which is running"):
            async with pipeline:
                pytest.fail("it was entered")
    assert log == ["a up", "a down"]


async def test_a_task_cannot_run_while_the_block_is_entered_or_left(autojump_clock) -> None:
    pipeline = Pipeline([Lives([], "a", up=5, down=5)])
    task = PipelineTask(pipeline)
    async with trio.open_nursery() as nursery:

        async def enter() -> None:
            async with pipeline:
                await trio.sleep(5)

        nursery.start_soon(enter)
        await trio.sleep(2)
        with pytest.raises(RuntimeError, match="which is still being entered"):
            await task.run()
        await trio.sleep(10)
        with pytest.raises(RuntimeError, match="which is being left"):
            await task.run()
    await task.queue_frame(StopFrame())
    assert (await task.run()).state is TaskState.STOPPED  # what was refused has not been used up


async def test_two_tasks_cannot_run_it_at_once(autojump_clock) -> None:
    async with Pipeline([Lives([], "a")]) as pipeline, started(PipelineTask(pipeline)):
        with pytest.raises(ConfigurationError, match="which is running"):
            await PipelineTask(pipeline).run()


async def test_a_task_from_outside_may_run_in_the_block_and_fails_when_that_is_left_first(autojump_clock) -> None:
    log: list[str] = []
    pipeline = Pipeline([Slow(5), Lives(log, "a")], name="p")
    task = PipelineTask(pipeline)

    class Watches:
        def on_finished(self, task: PipelineTask, result: object) -> None:
            log.append(f"{task.state.value}")

    task.add_observer(Watches())
    async with nothing_left():
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                async with pipeline:
                    await nursery.start(task.run)
                    await task.queue_frames(texts("x", "y"))
                    await trio.sleep(1)
    (error,) = errors_in(caught.value)
    assert isinstance(error, RuntimeError)
    assert str(error) == f"the block `async with p` was left while {task.name!r} ran in it. End the run first."
    assert log == ["a up", "failed", "a down"]


async def test_a_task_from_outside_is_cancelled_when_the_block_is_left_by_an_error(autojump_clock) -> None:
    log: list[str] = []
    pipeline = Pipeline([Lives(log, "a")])
    task = PipelineTask(pipeline)
    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError):
            async with pipeline:
                await nursery.start(task.run)
                raise KeyError("x")
        assert log == ["a up", "a down"]
        assert (await task.wait_finished()).state is TaskState.CANCELLED


async def test_another_trio_run_cannot_use_what_is_open(autojump_clock) -> None:
    async with Pipeline([Lives([], "a")]) as pipeline:
        task = PipelineTask(pipeline)

        def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="which is in another Trio run"):
                trio.run(task.run)

        await trio.to_thread.run_sync(elsewhere)


# -- slots


async def test_the_block_holds_what_was_in_a_slot_and_a_run_has_what_comes_later(autojump_clock) -> None:
    log: list[str] = []
    old, new = Lives(log, "old"), Lives(log, "new")
    slot, last = Switchable(old), Probe()
    async with Pipeline([slot, last]) as pipeline:
        await run_once(pipeline, 1)
        async with started(task := PipelineTask(pipeline)):
            await task.queue_frame(TextFrame("2"))
            await slot.replace(new)
            await task.queue_frame(TextFrame("3"))
        assert log == ["old up", "new up", "new down"]
        await run_once(pipeline, 4)
        assert log == ["old up", "new up", "new down", "new up", "new down"]
        log.clear()
        async with started(task := PipelineTask(pipeline)):
            await slot.replace(old)  # it is still open
            assert log == ["new up", "new down"]
            await task.queue_frame(TextFrame("5"))
        slot.replace(new)
        slot.replace(old)
        await run_once(pipeline, 6)
        assert log == ["new up", "new down"]
    assert log == ["new up", "new down", "old down"]
    assert last.texts == list("123456")


async def test_what_another_block_holds_can_be_put_into_a_slot_and_stays_open(autojump_clock) -> None:
    log: list[str] = []
    spare = Lives(log, "spare")
    slot = Switchable(Lives(log, "first"))
    async with spare, Pipeline([slot]) as pipeline:
        async with started(PipelineTask(pipeline)):
            await slot.replace(spare)
        assert log == ["spare up", "first up"]


async def test_what_has_failed_in_its_block_is_refused_by_a_slot_and_the_old_one_stays(autojump_clock) -> None:
    helper, first, last = Helper("helper"), Probe("first"), Probe()
    slot = Switchable(first)
    async with helper, Pipeline([slot, last]) as pipeline:
        with pytest.raises(ExceptionGroup):
            async with trio.open_nursery() as nursery:
                await nursery.start(PipelineTask(Pipeline([helper])).run)
                await helper.send.send(ValueError("x"))
        async with started(task := PipelineTask(pipeline)):
            with pytest.raises(RuntimeError, match="'helper' cannot run"):
                await slot.replace(helper)
            await task.queue_frame(TextFrame("still"))
        assert slot.content is first
    assert last.texts == ["still"]


async def test_an_instance_twice_is_refused_when_the_block_is_entered(autojump_clock) -> None:
    twice = Lives([], "twice")
    slot = Switchable(Probe())
    pipeline = Pipeline([twice, slot])
    slot.replace(twice)
    with pytest.raises(ConfigurationError, match="is in .* twice"):
        async with pipeline:
            pytest.fail("it was entered")


# -- processors of ours that work in the background


async def test_a_link_forgets_what_a_run_that_was_cut_off_has_left(autojump_clock) -> None:
    last = Probe()
    async with Pipeline([SlowLink(10), last]) as pipeline:
        task = PipelineTask(pipeline)
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frames(texts("old"))
            await trio.sleep(1)
            task.cancel()
        await run_once(pipeline, "new")
    assert last.texts == ["new"]


async def test_frames_with_a_time_are_forgotten_when_their_run_is_cut_off(autojump_clock) -> None:
    last = Probe()

    def timed(word: str, seconds: float) -> TextFrame:
        frame = TextFrame(word)
        frame.pts = int(seconds * 1e9)
        return frame

    async with Pipeline([ReleaseAtPts(), last]) as pipeline:
        task = PipelineTask(pipeline)
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(timed("old", 5))
            await trio.sleep(1)
            task.cancel()
        for n in range(2):
            began = trio.current_time()
            task = PipelineTask(pipeline)
            await task.queue_frames([timed(f"new {n}", 10), StopFrame()])
            await task.run()
            assert trio.current_time() - began == pytest.approx(10, abs=0.1)
    assert last.texts == ["new 0", "new 1"]


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_sources_are_read_afresh_in_each_run(autojump_clock, how) -> None:
    class Counts:
        async def __aiter__(self):
            for n in range(100):
                await trio.sleep(1)
                yield TextFrame(str(n))

    last = Probe()
    async with Pipeline([merge(Counts()), last]) as pipeline:
        for _ in range(3):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await trio.sleep(2.5)
                if how == "stop":
                    await task.queue_frame(StopFrame())
                else:
                    task.cancel()
            await trio.sleep(10)
    assert last.texts == ["0", "1"] * 3


# -- cancels


@pytest.mark.parametrize("how", ["scope", "task", "stop"])
@pytest.mark.parametrize("mode", ["tasks", "debug"])
def test_a_cancel_at_any_step_leaves_nothing_and_closes_what_was_opened(how, mode) -> None:
    def make():
        log: list[str] = []
        probe = Probe()

        @processor
        async def body(frames: Frames[TextFrame], out: Out) -> None:
            async for frame in frames:
                await out.push(frame)

        pipeline = Pipeline(
            [Lives(log, "a", up=1, down=1), ParallelPipeline([Slow(1), Lives(log, "b", up=2)], [body]), Helper(), probe]
        )
        params = PipelineParams(debug=mode == "debug")
        now: list[PipelineTask] = []

        def cancel() -> None:
            if now and how == "task":
                now[-1].cancel()
            elif now:
                now[-1].stop_when_done()

        async def scenario() -> None:
            async with pipeline.opened(params):
                for n in range(2):
                    now.append(task := PipelineTask(pipeline, params))
                    await task.queue_frame(TextFrame(str(n)))
                    async with trio.open_nursery() as nursery:
                        await nursery.start(task.run)
                        if how == "scope" or not task.has_finished():
                            task.stop_when_done()

        def check() -> None:
            for name in "ab":
                assert log.count(f"{name} up") == log.count(f"{name} down") <= 1, log
            for leaf in pipeline.leaves():
                assert leaf._held_by_block is None

        return scenario, check, None if how == "scope" else cancel

    assert cancelled_everywhere(make) > 50


def test_a_cancel_of_set_up_or_cleanup_that_awaits_waits_for_the_cleanup() -> None:
    def make():
        log: list[str] = []
        pipeline = Pipeline([Lives(log, name, up=1, down=3) for name in "abc"])

        async def scenario() -> None:
            async with pipeline:
                await trio.sleep(1)

        def check() -> None:
            assert sum("up" in line for line in log) == sum("down" in line for line in log)

        return scenario, check, None

    assert cancelled_everywhere(make) >= 5


async def test_start_frame_is_shown_again_with_the_metadata_of_each_run(autojump_clock) -> None:
    seen: list[object] = []

    class Notes(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, StartFrame):
                seen.append((frame.metadata.get("call"), self.task.params.audio_in_sample_rate))
            await self.push_frame(frame, direction)

    async with Notes() as notes:
        for n in (1, 2):
            await run_once(notes, start_metadata={"call": n}, audio_in_sample_rate=8000 * n)
    assert seen == [(1, 8000), (2, 16000)]


# What background work pushes before a later run has shown it StartFrame may be of a run that was cut off: it is late.
async def test_what_a_cut_off_run_has_left_does_not_come_out_in_the_next(autojump_clock) -> None:
    class StartsSlowly(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, StartFrame):
                await trio.sleep(2)
            await self.push_frame(frame, direction)

    helper, probe = Helper(), Probe()
    pipeline = Pipeline([StartsSlowly(), helper, probe])
    async with pipeline:
        for number in (1, 2):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(1)
                for frame in (TextFrame(f"early {number}"), Urgent(), EndTaskFrame("by what was left")):
                    if number == 2 or isinstance(frame, TextFrame):
                        helper.send.send_nowait(frame)
                await trio.sleep(2)
                helper.send.send_nowait(TextFrame(f"in time {number}"))
                await trio.sleep(1)
                assert not task.has_finished()
                task.cancel()
            assert task.statistics().processors[1].late_dropped == (0 if number == 1 else 3)
    assert probe.texts == ["early 1", "in time 1", "in time 2"]
    assert "Urgent" not in probe.kinds
