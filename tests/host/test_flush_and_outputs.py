"""What comes out of a task, and when everything queued has been handled."""

import math

import pytest
import trio
import trio.testing

from hosting import Does, Probe, Slow, Stuck, Urgent, nothing_left, started, task_of, texts
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    Direction,
    EndFrame,
    ErrorPolicy,
    Frame,
    FrameProcessor,
    ParallelPipeline,
    StartFrame,
    StopFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
)

UP = Direction.UPSTREAM


class Answers(FrameProcessor):
    """Sends an answer up for each text."""

    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame) and direction is not UP:
            await self.push_frame(TextFrame(f"answer to {frame.text}"), UP)
        await self.push_frame(frame, direction)


async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
    raise ValueError("crash")


# -- flush


async def test_t8_flush_waits_until_everything_queued_before_is_handled(autojump_clock) -> None:
    slow = Slow(1)
    task = task_of(slow, Slow(1))
    async with started(task):
        await task.queue_frames(texts(1, 2, 3))
        assert await task.flush() is True
        assert slow.texts == ["1", "2", "3"]
        assert task.statistics().frames_out == 3
        assert trio.current_time() == pytest.approx(4)
        # Nothing to do: at once.
        assert await task.flush(1) is True
        assert trio.current_time() == pytest.approx(4)


async def test_flush_does_not_wait_for_what_is_queued_after_it(autojump_clock) -> None:
    task = task_of(Slow(1))
    flushed = []

    async def flush() -> None:
        await task.flush()
        flushed.append(trio.current_time())

    async with started(task), trio.open_nursery() as nursery:
        await task.queue_frames(texts(1, 2))
        nursery.start_soon(flush)
        await trio.testing.wait_all_tasks_blocked()
        await task.queue_frames(texts(*range(10)))
    assert flushed == [pytest.approx(2)]


async def test_flush_gives_false_when_the_time_is_up_and_the_task_goes_on(autojump_clock) -> None:
    slow = Slow(5)
    task = task_of(slow)
    async with started(task):
        await task.queue_frame(TextFrame("x"))
        assert await task.flush(2) is False
        assert trio.current_time() == pytest.approx(2)
        assert await task.flush(10) is True
    assert slow.texts == ["x"]


async def test_flush_is_shown_to_no_processor_and_comes_out_nowhere(autojump_clock) -> None:
    probe = Probe()
    task = task_of(probe)
    async with task.open_output() as frames:
        async with started(task):
            assert await task.flush()
            assert task.statistics().frames_in == 0
        assert [type(frame) async for frame in frames] == [StartFrame, EndFrame]
    assert probe.kinds == ["StartFrame", "EndFrame"]


async def test_flush_passes_a_full_pipeline(autojump_clock) -> None:
    task = task_of(Slow(1), queue_size=1)
    async with started(task, 1000), trio.open_nursery() as nursery:
        nursery.start_soon(task.queue_frames, texts(*range(20)))
        await trio.sleep(2.5)
        assert await task.flush(100) is True


async def test_flush_before_the_run_waits_for_it(autojump_clock) -> None:
    slow = Slow(1)
    task = task_of(slow)
    await task.queue_frames(texts(1, 2))
    assert await task.flush(5) is False
    done = []

    async def flush() -> None:
        done.append((await task.flush(), list(slow.texts)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush)
        await trio.sleep(1)
        async with started(task):
            await trio.sleep(5)
    assert done == [(True, ["1", "2"])]


async def test_flush_after_the_end_says_whether_all_was_handled(autojump_clock) -> None:
    for how, flushed in (("stop_when_done", True), ("cancel", False), ("crash", False)):
        task = task_of(Does(crash))
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await (task.queue_frame(TextFrame()) if how == "crash" else getattr(task, how)())
        except* ValueError:
            pass
        with trio.fail_after(1):
            assert await task.flush() is flushed, how
    task = task_of(Probe())
    task.cancel()
    with trio.fail_after(1):
        assert await task.flush() is False


async def test_flush_while_it_ends_waits_for_the_end(autojump_clock) -> None:
    slow = Slow(1)
    task = task_of(slow)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames(texts(1, 2, 3))
        task.stop_when_done()
        assert await task.flush(10) is True
        assert slow.texts == ["1", "2", "3"]


@pytest.mark.parametrize("how", ["cancel", "crash", "outside"])
async def test_flush_that_waits_is_told_of_a_task_that_does_not_end_in_order(autojump_clock, how) -> None:
    release, done = trio.Event(), []

    async def hold(processor: FrameProcessor, frame: TextFrame) -> None:
        await release.wait()
        raise ValueError("crash")

    task = task_of(Does(hold))

    async def flush() -> None:
        done.append(await task.flush())

    with trio.fail_after(5):
        async with trio.open_nursery() as outer:
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(task.run)
                    await task.queue_frame(TextFrame())
                    outer.start_soon(flush)
                    await trio.sleep(1)
                    match how:
                        case "cancel":
                            task.cancel()
                        case "crash":
                            release.set()
                        case "outside":
                            nursery.cancel_scope.cancel()
            except* ValueError:
                pass
    assert done == [False]


@pytest.mark.parametrize("params", [{}, {"debug": True}], ids=["", "debug"])
async def test_g38_flush_through_parallel_pipelines(autojump_clock, params) -> None:
    slow = Slow(1)
    task = task_of(
        ParallelPipeline([slow, ParallelPipeline([Slow(1)], [Probe()])], [Probe()]),
        ParallelPipeline([Slow(1)]),
        **params,
    )
    async with started(task):
        for _ in range(3):
            slow.seen.clear()
            await task.queue_frames(texts(1, 2, 3))
            assert await task.flush(60) is True
            assert slow.texts == ["1", "2", "3"]


async def test_g38_flushes_at_the_same_time(autojump_clock) -> None:
    task = task_of(ParallelPipeline([Slow(1)], [Probe()]))
    done = []

    async def flush() -> None:
        done.append(await task.flush(30))

    async with started(task), trio.open_nursery() as nursery:
        for word in range(5):
            await task.queue_frame(TextFrame(str(word)))
            nursery.start_soon(flush)
    assert done == [True] * 5


async def test_flush_survives_an_interrupt(autojump_clock) -> None:
    task = task_of(Slow(5))
    done = []

    async def flush() -> None:
        done.append((await task.flush(), trio.current_time()))

    async with started(task), trio.open_nursery() as nursery:
        await task.queue_frames(texts(*range(10)))
        nursery.start_soon(flush)
        await trio.sleep(1)
        task.interrupt()
    assert done == [(True, pytest.approx(1))]


async def test_flush_waits_for_a_frame_whose_error_is_reported(autojump_clock) -> None:
    task = task_of(Slow(1), Does(crash), on_error=ErrorPolicy.REPORT)
    async with started(task):
        await task.queue_frames(texts(1, 2))
        assert await task.flush(10) is True
        assert trio.current_time() == pytest.approx(2)
        await trio.testing.wait_all_tasks_blocked()  # the reports go up: flush does not wait for them
        assert task.statistics().reported_errors == 2


async def test_flush_does_not_wait_for_answers_that_go_up(autojump_clock) -> None:
    class SlowUp(FrameProcessor):
        async def process_frame(self, frame, direction):
            if direction is UP:
                await trio.sleep(10)
            await self.push_frame(frame, direction)

    task = task_of(SlowUp(), Answers())
    async with started(task):
        await task.queue_frame(TextFrame("q"))
        assert await task.flush(1) is True


# -- outputs


async def test_t8_an_output_gets_the_frames_of_its_types_that_reach_the_sink(autojump_clock) -> None:
    class Mine(DataFrame):
        pass

    task = task_of(Probe())
    async with task.open_output(TextFrame) as only_texts, task.open_output(Mine, Urgent) as others:
        async with task.open_output() as everything:
            await task.queue_frames([TextFrame("a"), Mine(), Urgent("b")])
            task.stop_when_done()
            await task.run()
            assert [frame.text async for frame in only_texts] == ["a"]
            assert {type(frame) async for frame in others} == {Mine, Urgent}
            kinds = [type(frame) async for frame in everything]
    assert (kinds[0], kinds[-1]) == (StartFrame, EndFrame)
    assert set(kinds[1:-1]) == {TextFrame, Mine, Urgent}


async def test_an_output_gives_what_comes_while_it_comes(autojump_clock) -> None:
    task = task_of(Slow(1))
    times = []
    async with started(task), trio.open_nursery() as nursery:

        async def read() -> None:
            async with task.open_output(TextFrame, buffer=0) as frames:
                async for _ in frames:
                    times.append(trio.current_time())
                    if len(times) == 3:
                        break

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await task.queue_frames(texts(1, 2, 3))
    assert times == [pytest.approx(1), pytest.approx(2), pytest.approx(3)]


@pytest.mark.parametrize("buffer", [0, 1, 5])
async def test_a_full_buffer_makes_the_sink_wait(autojump_clock, buffer) -> None:
    last = Probe()
    task = task_of(last, queue_size=1)
    async with trio.open_nursery() as nursery, task.open_output(TextFrame, buffer=buffer) as frames:
        await nursery.start(task.run)
        nursery.start_soon(task.queue_frames, texts(*range(100)))
        await trio.sleep(10)
        # What is in the buffer, one that the sink holds, one in hand at most.
        assert buffer + 1 <= len(last.texts) <= buffer + 2
        got = [(await frames.receive()).text for _ in range(100)]
        assert got == [str(n) for n in range(100)]
        task.cancel()


async def test_leaving_the_block_frees_the_sink(autojump_clock) -> None:
    last = Probe()
    task = task_of(last, queue_size=1)
    async with started(task):
        async with task.open_output(TextFrame, buffer=1), trio.open_nursery() as nursery:
            nursery.start_soon(task.queue_frames, texts(*range(50)))
            await trio.sleep(1)
            assert len(last.texts) < 5
            nursery.cancel_scope.cancel()
        accepted = task.statistics().frames_in
        with trio.fail_after(1):
            assert await task.flush()
        assert len(last.texts) == accepted


async def test_leaving_one_block_leaves_the_other_outputs(autojump_clock) -> None:
    task = task_of(Probe())
    async with task.open_output(TextFrame, buffer=math.inf) as stays:
        async with started(task):
            async with task.open_output(TextFrame, buffer=1):
                await task.queue_frames(texts(1, 2, 3))
                await trio.sleep(1)
            await task.queue_frames(texts(4))
        assert [frame.text async for frame in stays] == ["1", "2", "3", "4"]


async def test_closing_the_channel_itself_frees_the_sink_too(autojump_clock) -> None:
    task = task_of(Probe())
    async with started(task), task.open_output(TextFrame, buffer=1) as frames:
        await task.queue_frames(texts(*range(5)))
        await trio.sleep(1)
        await frames.aclose()
        with trio.fail_after(1):
            assert await task.flush()


@pytest.mark.parametrize("how", ["stop_when_done", "cancel", "crash"])
async def test_what_is_buffered_stays_readable_after_the_end(autojump_clock, how) -> None:
    async def maybe(processor: FrameProcessor, frame: TextFrame) -> None:
        if frame.text == "crash":
            raise ValueError("crash")

    task = task_of(Does(maybe))
    async with task.open_output(TextFrame) as frames:
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await task.queue_frames(texts(1, 2, 3))
                await task.flush()
                await (task.queue_frame(TextFrame("crash")) if how == "crash" else getattr(task, how)())
        except* ValueError:
            pass
        assert [frame.text async for frame in frames] == ["1", "2", "3"]
        with pytest.raises(trio.EndOfChannel):
            await frames.receive()


@pytest.mark.parametrize("kind", [EndFrame, StopFrame])
async def test_the_end_never_waits_for_a_reader(autojump_clock, kind) -> None:
    # Nobody reads, and every buffer is full: the task ends all the same.
    task = task_of(Probe())
    async with task.open_output(Frame, buffer=2) as frames, task.open_output(kind, buffer=0):
        await task.queue_frames([TextFrame("1"), kind()])
        with trio.fail_after(5):
            await task.run()
        assert [type(frame) for frame in [frame async for frame in frames][:2]] == [StartFrame, TextFrame]


async def test_an_end_frame_is_left_out_of_an_output_that_has_no_room_for_it(autojump_clock) -> None:
    # A lifecycle frame never waits for a reader; the end of the channel says the same.
    for buffer, last in ((2, TextFrame), (3, EndFrame)):
        task = task_of(Probe())
        async with task.open_output(Frame, buffer=buffer) as frames:
            await task.queue_frames([TextFrame("1"), EndFrame()])
            await task.run()
            assert [type(frame) async for frame in frames][-1] is last


@pytest.mark.parametrize("buffer", [0, 1, 2, math.inf])
async def test_lifecycle_frames_keep_their_place_in_an_output(autojump_clock, buffer) -> None:
    task = task_of(Probe())
    kinds = []

    async def read(task_status) -> None:
        async with task.open_output(Frame, buffer=buffer) as frames:
            task_status.started()
            async for frame in frames:
                kinds.append(type(frame))
                await trio.sleep(0.1)

    await task.queue_frames(texts(1, 2, 3))
    async with trio.open_nursery() as nursery:
        await nursery.start(read)
        await nursery.start(task.run)
        await trio.sleep(10)
        task.stop_when_done()
    assert kinds == [StartFrame, TextFrame, TextFrame, TextFrame, EndFrame]


async def test_a_start_frame_does_not_wait_for_a_reader(autojump_clock) -> None:
    task = task_of(Probe())
    async with task.open_output(StartFrame, buffer=0):
        with trio.fail_after(1):
            async with started(task):
                pass


async def test_an_orderly_end_waits_until_frames_are_in_the_output(autojump_clock) -> None:
    # Frames, unlike lifecycle frames, are not dropped because nobody has read them yet.
    task = task_of(Probe())
    async with task.open_output(TextFrame, buffer=1) as frames, trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames(texts(*range(10)))
        task.stop_when_done()
        await trio.sleep(5)
        assert not task.has_finished()
        assert [frame.text async for frame in frames] == [str(n) for n in range(10)]
    assert task.state is TaskState.ENDED


async def test_an_unread_output_does_not_stop_a_cancel(autojump_clock) -> None:
    task = task_of(Probe())
    async with nothing_left(), task.open_output(TextFrame, buffer=0), task.open_output(Urgent, buffer=0):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frames([Urgent(), Urgent(), *texts(1, 2, 3)])
            await trio.sleep(1)
            task.cancel()
            with trio.fail_after(1):
                await task.wait_finished()


async def test_upstream_outputs_get_what_reaches_the_source(autojump_clock) -> None:
    task = task_of(Probe(), Answers())
    async with task.open_output(TextFrame) as down, task.open_output(TextFrame, direction=UP) as up:
        await task.queue_frames(texts(1, 2))
        task.stop_when_done()
        await task.run()
        assert [frame.text async for frame in down] == ["1", "2"]
        assert [frame.text async for frame in up] == ["answer to 1", "answer to 2"]
    assert task.statistics().frames_up == 2


async def test_a_full_upstream_output_makes_no_pusher_wait(autojump_clock) -> None:
    last = Answers()
    task = task_of(last)
    async with task.open_output(TextFrame, buffer=1, direction=UP) as up:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frames(texts(*range(20)))
            with trio.fail_after(1):
                assert await task.flush()
            assert task.statistics().frames_out == 20
            task.stop_when_done()
            got = [frame.text async for frame in up]
    assert got == [f"answer to {n}" for n in range(20)]


async def test_system_frames_reach_a_full_output_in_order_and_make_no_pusher_wait(autojump_clock) -> None:
    task = task_of(Probe())
    async with task.open_output(SystemFrame, buffer=1) as frames:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            with trio.fail_after(1):
                for n in range(20):
                    await task.queue_frame(Urgent(str(n)))
                await task.queue_frames(texts(*range(20)))  # the ordered lane goes on
                assert await task.flush()
            task.stop_when_done()
            got = [frame.text async for frame in frames]
    assert got == [str(n) for n in range(20)]


async def test_an_output_opened_while_running_gets_what_comes_from_then_on(autojump_clock) -> None:
    task = task_of(Probe())
    async with started(task):
        await task.queue_frames(texts(1))
        await task.flush()
        async with task.open_output(TextFrame) as frames:
            await task.queue_frames(texts(2))
            await task.flush()
            assert frames.receive_nowait().text == "2"
            with pytest.raises(trio.WouldBlock):
                frames.receive_nowait()


@pytest.mark.parametrize("how", ["stop_when_done", "cancel"])
async def test_an_output_opened_after_the_end_is_at_its_end(autojump_clock, how) -> None:
    task = task_of(Probe())
    getattr(task, how)()
    await task.run()
    async with task.open_output(TextFrame) as frames:
        with pytest.raises(trio.EndOfChannel), trio.fail_after(1):
            await frames.receive()


async def test_an_output_opened_before_a_task_is_cancelled_unrun_is_at_its_end(autojump_clock) -> None:
    task = task_of(Probe())
    async with task.open_output(TextFrame) as frames:
        task.cancel()
        with pytest.raises(trio.EndOfChannel), trio.fail_after(1):
            await frames.receive()


async def test_a_reader_that_is_already_waiting_is_let_go_at_the_end(autojump_clock) -> None:
    task, got = task_of(Probe()), []

    async def read() -> None:
        async with task.open_output(TextFrame) as frames:
            got.extend([frame.text async for frame in frames])
            got.append("over")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async with started(task):
                await task.queue_frames(texts(1))
    assert got == ["1", "over"]


@pytest.mark.parametrize("bad", [(int,), (TextFrame("x"),), ("TextFrame",), (None,)], ids=repr)
async def test_what_is_no_frame_class_is_refused(autojump_clock, bad) -> None:
    with pytest.raises(ConfigurationError, match="frame classes"):
        async with task_of(Probe()).open_output(*bad):
            raise AssertionError


@pytest.mark.parametrize("bad", [-1, 1.5, "64", None, True, math.nan, -math.inf], ids=repr)
async def test_a_bad_buffer_is_refused(autojump_clock, bad) -> None:
    with pytest.raises(ConfigurationError, match="buffer"):
        async with task_of(Probe()).open_output(TextFrame, buffer=bad):
            raise AssertionError


async def test_a_bad_direction_is_refused(autojump_clock) -> None:
    with pytest.raises((ConfigurationError, TypeError), match="direction|Direction"):
        async with task_of(Probe()).open_output(TextFrame, direction="up"):
            raise AssertionError


@pytest.mark.parametrize("bad", [-1, math.nan, "soon"], ids=repr)
async def test_a_bad_flush_timeout_is_refused(autojump_clock, bad) -> None:
    task = task_of(Probe())
    async with started(task):
        with pytest.raises((ValueError, TypeError)):
            await task.flush(bad)


async def test_stuck_below_flush_times_out_at_its_own_time(autojump_clock) -> None:
    task = task_of(Stuck(TextFrame))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frame(TextFrame())
        assert await task.flush(0) is False
        assert await task.flush(3) is False
        assert trio.current_time() == pytest.approx(3)
        task.cancel()


async def test_functions_only_and_outputs(autojump_clock) -> None:
    # The hot path of fused functions goes to the sink another way; backpressure and order hold there too.
    @each
    def double(frame: TextFrame) -> list[TextFrame]:
        return [frame, TextFrame(frame.text + "'")]

    task = task_of(double, queue_size=2)
    async with task.open_output(TextFrame, buffer=1) as frames, trio.open_nursery() as nursery:
        await nursery.start(task.run)
        nursery.start_soon(task.queue_frames, texts(*range(100)))
        await trio.sleep(1)
        assert task.statistics().frames_in < 20
        got = [(await frames.receive()).text for _ in range(200)]
        task.cancel()
    assert got == [text for n in range(100) for text in (f"{n}", f"{n}'")]


# What is queued in the same pass of Trio's loop as an interrupt is new; a marker behind it must not change that.
async def test_a_marker_behind_a_new_frame_does_not_make_it_stale(autojump_clock) -> None:
    probe = Probe()
    task = task_of(probe)
    told: list[bool] = []
    async with started(task):
        await trio.testing.wait_all_tasks_blocked()
        await task.queue_frame(TextFrame("new"), on_handled=lambda _, handled: told.append(handled))
        task.interrupt()
    assert probe.texts == ["new"]
    assert told == [True]


async def test_an_end_behind_a_new_frame_does_not_make_it_stale(autojump_clock) -> None:
    probe = Probe()
    task = task_of(probe)
    async with started(task):
        await trio.testing.wait_all_tasks_blocked()
        await task.queue_frame(TextFrame("new"))
        task.stop_when_done()
        task.interrupt()
    assert probe.texts == ["new"]
