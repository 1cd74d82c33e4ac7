"""Set-up and cleanup: together, bounded, and in the right order, whatever ends the run."""

import logging
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from hosting import Does, Lives, Probe, Slow, Stuck, errors_in, notes_of, nothing_left, records, started, task_of, texts
from trio_pipes import (
    ConfigurationError,
    EndFrame,
    EndTimeout,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    SetupTimeout,
    StartFrame,
    StartTimeout,
    TaskState,
    TextFrame,
    each,
    processor,
)


async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
    raise ValueError("crash")


async def run_and_end(task, how: str) -> None:
    """Run a task, and end it in one of the ways after a second."""
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await trio.sleep(1)
            match how:
                case "end":
                    task.stop_when_done()
                case "cancel":
                    task.cancel()
                case "error":
                    await task.queue_frame(TextFrame("crash"))
                case "outside":
                    nursery.cancel_scope.cancel()
    except* ValueError:
        pass


ENDS = pytest.mark.parametrize("how", ["end", "cancel", "error", "outside"])


async def test_t5_set_up_is_concurrent(autojump_clock) -> None:
    log: list[str] = []
    task = task_of(*[Lives(log, name, up=2, down=3) for name in "abcde"])
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        assert trio.current_time() == pytest.approx(2)
        task.stop_when_done()
    assert trio.current_time() == pytest.approx(5)  # and so is cleanup
    assert len(log) == 10


async def test_blocks_and_classes_set_up_together_before_the_start_frame(autojump_clock) -> None:
    log: list[str] = []

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        await trio.sleep(3)
        log.append("block up")
        async for frame in frames:
            await out.push(frame)
        log.append("block down")

    class Notes(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                log.append("start")
            await self.push_frame(frame, direction)

    task = task_of(Notes(), block, ParallelPipeline([Lives(log, "branch", up=2)], [Probe()]))
    async with started(task):
        assert log == ["branch up", "block up", "start"]
        assert trio.current_time() == pytest.approx(3)
    assert log[3:] == ["block down", "branch down"]


@ENDS
async def test_g19_cleanup_runs_after_the_handlers_have_ended_and_may_await(autojump_clock, how) -> None:
    log: list[str] = []

    class Works(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                log.append("cleanup begins")
                await trio.sleep(2)
                log.append("cleanup ends")

        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and frame.text == "work":
                try:
                    await trio.sleep(5)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(1)
                    log.append(f"{self.name} handler ended")
            await self.push_frame(frame, direction)

    first, second = Works("first"), Works("second")
    task = task_of(first, second, Does(crash) if how == "error" else Probe())

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            if how == "error":
                # The third processor fails while the first works.
                await task.queue_frame(TextFrame("crash"))
            await task.queue_frame(TextFrame("work"))
            await trio.testing.wait_all_tasks_blocked()
            match how:
                case "end":
                    task.stop_when_done()
                case "cancel":
                    task.cancel()
                case "outside":
                    nursery.cancel_scope.cancel()
    except* ValueError:
        pass
    ended = [n for n, line in enumerate(log) if "handler" in line]
    assert log.count("cleanup ends") == 2
    if ended:
        assert max(ended) < log.index("cleanup begins")
    if how != "error":
        assert ended


@ENDS
async def test_the_code_after_the_yield_runs_however_it_ends(autojump_clock, how) -> None:
    log: list[str] = []
    task = task_of(Lives(log, "a", down=2), Does(crash) if how == "error" else Probe(), Lives(log, "b", down=1))
    async with nothing_left():
        await run_and_end(task, how)
    assert sorted(log) == ["a down", "a up", "b down", "b up"]


async def test_after_a_cancel_the_yield_raises_cancelled_and_after_an_end_it_returns(autojump_clock) -> None:
    seen = {}

    class Looks(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            except BaseException as exc:
                seen[self.name] = type(exc)
                raise
            else:
                seen[self.name] = None

    for how in ("end", "cancel", "outside"):
        await run_and_end(task_of(Looks(how)), how)
    task = task_of(Looks("error"), Does(crash))
    await run_and_end(task, "error")
    assert seen == {"end": None, "cancel": trio.Cancelled, "outside": trio.Cancelled, "error": trio.Cancelled}


async def test_a_deadline_round_the_run_can_be_exceeded_by_cleanup(autojump_clock) -> None:
    log: list[str] = []
    with trio.move_on_after(1) as scope:
        await task_of(Lives(log, "a", down=5)).run()
    assert scope.cancelled_caught
    assert log == ["a up", "a down"]
    assert trio.current_time() == pytest.approx(6)


@ENDS
async def test_cleanup_has_a_deadline(autojump_clock, how, caplog) -> None:
    log: list[str] = []
    task = task_of(Lives(log, "endless", down=1000), Lives(log, "quick", down=1), Does(crash), cleanup_timeout=3)
    with trio.fail_after(60):
        await run_and_end(task, how)
    assert trio.current_time() == pytest.approx(4)
    assert "quick down" in log
    assert "endless down" not in log
    messages = records(caplog)
    assert any("endless" in message and "cleanup_timeout" in message for message in messages)
    assert not any("quick" in message for message in messages)


async def test_the_default_cleanup_timeout_is_ten_seconds(autojump_clock) -> None:
    log: list[str] = []
    task = task_of(Lives(log, "endless", down=1000))
    task.stop_when_done()
    await task.run()
    assert trio.current_time() == pytest.approx(10)


async def test_a_cleanup_that_shields_itself_is_reported_while_it_lasts(autojump_clock, caplog) -> None:
    class Shields(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(20)

    task = task_of(Shields("shielder"), Probe(), cleanup_timeout=3)
    async with nothing_left():
        await run_and_end(task, "cancel")
    assert trio.current_time() == pytest.approx(21)
    messages = [message for message in records(caplog) if "shield" in message]
    assert len([message for message in messages if "'shielder'" in message]) >= 2  # not once, and not every instant
    assert len(messages) < 20


async def test_a_cleanup_within_its_time_is_not_reported(autojump_clock, caplog) -> None:
    log: list[str] = []
    for how in ("end", "cancel", "outside"):
        await run_and_end(task_of(Lives(log, "a", down=9)), how)
    assert records(caplog, logging.WARNING) == []


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_an_error_in_set_up_names_the_processor_and_cleans_up_the_others(autojump_clock, place) -> None:
    class Bad(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(2)
            raise ValueError("no model")
            yield

    log: list[str] = []
    parts: list[FrameProcessor] = [Lives(log, "ready", up=1, down=1), Lives(log, "late", up=5)]
    parts.insert(place, Bad("bad"))
    task = task_of(*parts)
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    assert [str(error) for error in errors_in(caught.value)] == ["no model"]
    assert "'bad'" in notes_of(caught.value.exceptions[0])
    assert log == ["ready up", "ready down"]
    assert (await task.wait_finished()).state is TaskState.FAILED


async def test_an_error_in_the_set_up_of_a_block_names_it(autojump_clock) -> None:
    @processor(name="the block")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        raise ValueError("no model")

    with pytest.raises(ExceptionGroup) as caught:
        await task_of(Probe(), block).run()
    assert "'the block'" in notes_of(caught.value.exceptions[0])


async def test_a_lifespan_that_is_no_context_manager_is_named(autojump_clock) -> None:
    class Bad(FrameProcessor):
        async def lifespan(self):
            yield

    log: list[str] = []
    with pytest.raises((ConfigurationError, ExceptionGroup)) as caught:
        await task_of(Lives(log, "a"), Bad()).run()
    assert "asynccontextmanager" in str(errors_in(caught.value)[0])
    assert log.count("a up") == log.count("a down")


async def test_a_background_task_of_a_lifespan_that_fails_ends_the_run(autojump_clock) -> None:
    class Reads(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.read)
                yield
                nursery.cancel_scope.cancel()

        async def read(self) -> None:
            await trio.sleep(2)
            raise ConnectionError("gone")

    log: list[str] = []
    task = task_of(Reads("reader"), Lives(log, "a", down=1))
    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(10):
        await task.run()
    assert [repr(error) for error in errors_in(caught.value)] == ["ConnectionError('gone')"]
    assert "'reader'" in "".join(notes_of(error) for error in errors_in(caught.value))
    assert log == ["a up", "a down"]


async def test_a_lifespan_whose_own_scope_ends_it_is_an_error_not_a_hang(autojump_clock) -> None:
    class Impatient(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            with trio.move_on_after(2):
                yield

    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(10):
        await task_of(Impatient("impatient")).run()
    assert "'impatient'" in notes_of(errors_in(caught.value)[0])


async def test_a_nursery_held_open_by_a_lifespan_works_until_cleanup(autojump_clock) -> None:
    # Background work goes on to the very end: it may still be needed by the last handlers.
    ticks = []

    class Ticks(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.tick)
                yield
                nursery.cancel_scope.cancel()

        async def tick(self) -> None:
            while True:
                await trio.sleep(1)
                ticks.append(trio.current_time())

    task = task_of(Ticks(), Slow(5))
    await task.queue_frame(TextFrame())
    task.stop_when_done()
    await task.run()
    assert len(ticks) >= 4


async def test_push_frame_in_set_up_waits_behind_the_start_frame(autojump_clock) -> None:
    class Greets(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await self.push_frame(TextFrame("hello"))
            yield
            await self.push_frame(TextFrame("too late"))

    last = Probe()
    task = task_of(Greets(), last)
    task.stop_when_done()
    await task.run()
    assert last.kinds == ["StartFrame", "TextFrame", "EndFrame"]


# -- timeouts name who was stuck


async def test_t5_set_up_timeout_names_who_was_stuck(autojump_clock) -> None:
    log: list[str] = []

    @processor(name="stuck block")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        await trio.sleep_forever()

    task = task_of(Lives(log, "fine"), Lives(log, "endless", up=1000), block, Probe("probe"), setup_timeout=5)
    with pytest.raises(SetupTimeout) as caught, trio.fail_after(60):
        await task.run()
    text = str(caught.value)
    assert "'endless'" in text
    assert "'stuck block'" in text
    assert "'fine'" not in text
    assert "'probe'" not in text
    assert "5 s" in text
    assert isinstance(caught.value, trio.TooSlowError)
    assert trio.current_time() == pytest.approx(5)
    assert log == ["fine up", "fine down"]
    result = await task.wait_finished()
    assert (result.state, result.error) == (TaskState.FAILED, caught.value)


async def test_t5_the_default_set_up_timeout_is_twenty_seconds(autojump_clock) -> None:
    log: list[str] = []
    with pytest.raises(SetupTimeout):
        await task_of(Lives(log, "endless", up=1000)).run()
    assert trio.current_time() == pytest.approx(20)


@pytest.mark.parametrize("debug", [False, True])
async def test_t5_start_timeout_names_who_has_the_start_frame_since_when(autojump_clock, debug) -> None:
    class SlowStart(FrameProcessor):
        async def process_frame(self, frame, direction):
            await trio.sleep(2)
            await self.push_frame(frame, direction)

    task = task_of(SlowStart("before"), Stuck(StartFrame, "stuck"), Probe("after"), start_timeout=7, debug=debug)
    await trio.sleep(100)
    began = trio.current_time()
    with pytest.raises(StartTimeout) as caught, trio.fail_after(60):
        await task.run()
    text = str(caught.value)
    assert "'stuck'" in text
    assert "StartFrame" in text
    assert "'before'" not in text
    assert "'after'" not in text
    assert f"{began + 2:.3f}" in text  # since when
    assert "7 s" in text
    assert trio.current_time() - began == pytest.approx(7)
    assert (await task.wait_finished()).error is caught.value


async def test_t5_the_default_start_timeout_is_twenty_seconds(autojump_clock) -> None:
    with pytest.raises(StartTimeout):
        await task_of(Stuck(StartFrame)).run()
    assert trio.current_time() == pytest.approx(20)


async def end_timeout_of(*parts: object, frames=(), wait: float = 10, **params) -> EndTimeout:
    """The EndTimeout of a task that is given frames, left alone for a while, and asked to end."""
    task = task_of(*parts, **params)

    async def ask() -> None:
        await task.wait_state(TaskState.RUNNING)
        await task.queue_frames(frames)
        await trio.sleep(wait)
        task.stop_when_done()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        with pytest.raises(EndTimeout) as caught, trio.fail_after(60):
            await task.run()
    result = await task.wait_finished()
    assert (result.state, result.error) == (TaskState.FAILED, caught.value)
    return caught.value


@pytest.mark.parametrize("debug", [False, True])
async def test_t5_end_timeout_names_processor_frame_and_time(autojump_clock, debug) -> None:
    log: list[str] = []
    frame = TextFrame()
    error = await end_timeout_of(
        Probe("before"), Stuck(TextFrame, "stuck"), Lives(log, "after"), frames=[frame], end_timeout=4, debug=debug
    )
    text = str(error)
    assert "'stuck'" in text
    assert frame.name in text
    assert "'before'" not in text
    assert "'after'" not in text
    assert "since 0.000" in text
    assert "4 s" in text
    assert trio.current_time() == pytest.approx(14)
    assert log == ["after up", "after down"]


async def test_t5_end_timeout_names_who_holds_the_end_frame(autojump_clock) -> None:
    text = str(await end_timeout_of(Stuck(EndFrame, "stuck"), Probe("after"), end_timeout=4))
    assert "'stuck' has EndFrame" in text
    assert "since 10.000" in text


async def test_t5_end_timeout_names_everybody_who_is_stuck(autojump_clock) -> None:
    @processor(name="block")
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for _ in frames:
            await trio.sleep_forever()

    @each
    async def function(frame: TextFrame) -> None:
        await trio.sleep_forever()

    @each(name="named function")
    async def named(frame: TextFrame) -> None:
        await trio.sleep_forever()

    parallel = ParallelPipeline([block], [named], [Stuck(TextFrame, "class")])
    text = str(await end_timeout_of(parallel, frames=texts(1), end_timeout=4))
    for name in ("'block'", "'named function'", "'class'"):
        assert name in text


async def test_t5_end_timeout_names_a_reader_that_does_not_read(autojump_clock) -> None:
    # Not a processor: the sink waits for an output.
    task = task_of(Probe("probe"), end_timeout=4)
    async with task.open_output(TextFrame, buffer=0):
        await task.queue_frames(texts(1))
        task.stop_when_done()
        with pytest.raises(EndTimeout) as caught:
            await task.run()
    assert "sink" in str(caught.value) or "output" in str(caught.value) or "'probe'" in str(caught.value)


async def test_t5_the_end_has_no_timeout_by_default_and_its_time_runs_from_the_request(autojump_clock) -> None:
    slow = Slow(1000)
    task = task_of(slow)
    await task.queue_frame(TextFrame())
    task.stop_when_done()
    assert (await task.run()).state is TaskState.ENDED
    task = task_of(Slow(1), end_timeout=5)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await trio.sleep(100)  # long before the end is asked for
        await task.queue_frames(texts(1, 2, 3))
        task.stop_when_done()
    assert task.state is TaskState.ENDED


async def test_t5_timeouts_do_not_run_out_in_a_healthy_run(autojump_clock) -> None:
    log: list[str] = []
    task = task_of(Lives(log, "a", up=19, down=9), Slow(1))
    async with started(task, 10_000):
        await trio.sleep(5000)
    assert task.state is TaskState.ENDED
