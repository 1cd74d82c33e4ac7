"""`Tap`: frames of any place of a pipeline, for readers outside."""

import json
import math

import attrs
import pytest
import trio

from flow_kit import UP, Sees, live, said, settle, text, texts
from hosting import task_of
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    DataFrame,
    EndFrame,
    EndTimeout,
    Frame,
    InterruptionFrame,
    ParallelPipeline,
    Pipeline,
    PipelineTask,
    Switchable,
    SystemFrame,
    Tap,
    TaskState,
    TextFrame,
    each,
)
from trio_pipes.testing import cancel_at_every_checkpoint, check_processor, nothing_left


@attrs.define(eq=False)
class Number(DataFrame):
    value: int = 0


async def read(channel, into: list) -> None:
    async for item in channel:
        into.append(item)
    into.append("end")


def line_of(frame: TextFrame) -> str:
    return json.dumps({"text": frame.text})


async def test_what_passes_a_place_comes_out_of_the_channel_and_goes_on(autojump_clock):
    tap, got = Tap(TextFrame), []
    async with tap.open() as frames, trio.open_nursery() as nursery:
        nursery.start_soon(read, frames, got)
        async with live([tap, each(lambda frame: TextFrame(frame.text.upper()))]) as now:
            await now.say("a", "b")
    assert texts(got[:-1]) == ["a", "b"]
    assert got[-1] == "end"
    assert now.texts == ["A", "B"]


async def test_readers_get_what_is_made_of_a_frame_and_nothing_for_none(autojump_clock):
    async def squared(frame: Number) -> int | None:
        await trio.sleep(1)
        return frame.value**2 if frame.value else None

    texts_tap, numbers = Tap(TextFrame, serialize=line_of), Tap(Number, serialize=squared)
    async with live([texts_tap, numbers]) as now:
        async with texts_tap.open() as lines, numbers.open() as squares:
            await now.task.queue_frames([text("a"), Number(0), Number(3), text("b")])
            assert [await squares.receive()] == [9]
            assert [await lines.receive() for _ in range(2)] == ['{"text": "a"}', '{"text": "b"}']
    assert len(now.down) == 4


async def test_without_types_all_data_and_control_frames_are_offered(autojump_clock):
    class Mark(ControlFrame):
        pass

    tap, got = Tap(), []
    async with tap.open() as frames, trio.open_nursery() as nursery:
        nursery.start_soon(read, frames, got)
        async with live(tap) as now:
            await now.task.queue_frames([text("a"), Mark(), SystemFrame()])
    assert [type(item) for item in got] == [TextFrame, Mark, str]


async def test_system_frames_and_interrupts_are_offered_where_they_are_named_and_lifecycle_frames_never(autojump_clock):
    tap, got = Tap(Frame), []
    async with tap.open() as frames, trio.open_nursery() as nursery:
        nursery.start_soon(read, frames, got)
        async with live(tap) as now:
            await now.task.queue_frame(SystemFrame())
            await settle()
            now.task.interrupt()
            await settle()
    assert [type(item) for item in got] == [SystemFrame, InterruptionFrame, str]


async def test_it_looks_the_way_it_is_told(autojump_clock):
    down, up, both = Tap(TextFrame), Tap(TextFrame, direction=UP), Tap(TextFrame, direction=None)
    got = {tap: [] for tap in (down, up, both)}
    async with trio.open_nursery() as nursery:
        async with down.open() as a, up.open() as b, both.open() as c:
            for tap, channel in zip(got, (a, b, c), strict=True):
                nursery.start_soon(read, channel, got[tap])
            async with live([down, up, both]) as now:
                await now.say("down")
                await settle()
                await now.task.queue_frame(text("up"), UP)
                await settle()
    assert [texts(i for i in items if i != "end") for items in got.values()] == [["down"], ["up"], ["down", "up"]]


async def test_each_reader_has_a_channel_of_its_own_from_when_it_opens_it(autojump_clock):
    tap = Tap(TextFrame)
    async with live(tap) as now:
        async with tap.open() as first:
            await now.say("a")
            await settle()
            async with tap.open() as second:
                await now.say("b")
                await settle()
                assert second.receive_nowait().text == "b"
            assert [first.receive_nowait().text for _ in range(2)] == ["a", "b"]


# -- room


async def test_when_nobody_has_opened_it_nothing_is_kept_and_nothing_is_made(autojump_clock):
    made = []
    tap = Tap(TextFrame, serialize=made.append)
    async with live(tap) as now:
        await now.say(*map(str, range(1000)))
    assert made == []
    assert len(now.texts) == 1000


async def test_a_full_buffer_makes_the_tap_wait_and_leaving_the_block_frees_it(autojump_clock):
    tap = Tap(TextFrame)
    async with live(tap) as now:
        async with tap.open(buffer=2):
            await now.say("a", "b", "c", "d")
            await trio.sleep(10)
            assert now.texts == ["a", "b"]
        await settle()
        assert now.texts == ["a", "b", "c", "d"]


@pytest.mark.parametrize("buffer", [0, 1, 5, math.inf])
async def test_a_slow_reader_gets_everything(autojump_clock, buffer):
    tap, got = Tap(TextFrame), []

    async def read_slowly(channel):
        async for frame in channel:
            await trio.sleep(1)
            got.append(frame.text)

    async with tap.open(buffer) as frames, trio.open_nursery() as nursery:
        nursery.start_soon(read_slowly, frames)
        async with live(tap) as now:
            await now.say(*map(str, range(20)))
    assert got == [str(n) for n in range(20)]


async def test_a_slow_reader_may_want_the_newest(autojump_clock):
    tap = Tap(TextFrame)
    async with live(tap) as now:
        async with tap.open(3, overflow="drop_oldest") as frames:
            await now.say(*map(str, range(10)))
            await settle()
            assert now.texts == [str(n) for n in range(10)]
            assert [frames.receive_nowait().text for _ in range(3)] == ["7", "8", "9"]
            assert tap.dropped == 7


async def test_one_slow_reader_who_drops_does_not_cost_another_anything(autojump_clock):
    tap = Tap(TextFrame)
    async with live(tap) as now:
        async with tap.open(1, overflow="drop_oldest") as newest, tap.open(math.inf) as whole:
            await now.say("a", "b", "c")
            await settle()
            assert newest.receive_nowait().text == "c"
            assert [whole.receive_nowait().text for _ in range(3)] == ["a", "b", "c"]


async def test_an_interrupt_stops_a_tap_that_waits_for_its_reader(autojump_clock):
    tap = Tap(TextFrame)
    async with live([tap]) as now:
        async with tap.open(0) as frames:
            await now.say("stale", "stale too")
            await trio.sleep(1)
            now.task.interrupt()
            await now.say("new")
            assert (await frames.receive()).text == "new"
    assert now.texts == ["new"]


async def test_an_uninterruptible_frame_waits_for_its_reader_through_an_interrupt(autojump_clock):
    tap = Tap(TextFrame)
    async with live([tap]) as now:
        async with tap.open(0) as frames:
            await now.task.queue_frame(text("kept", kept=True))
            await trio.sleep(1)
            now.task.interrupt()
            assert (await frames.receive()).text == "kept"
    assert now.texts == ["kept"]


async def test_a_reader_that_never_reads_is_named_by_the_end_timeout(autojump_clock):
    tap = Tap(TextFrame, name="out")
    task = task_of(tap, end_timeout=5)
    await task.queue_frames(said("a", "b"))
    task.stop_when_done()
    async with tap.open(1):
        with pytest.raises(EndTimeout, match="'out' has TextFrame"):
            await task.run()


async def test_a_reader_may_close_its_channel_early(autojump_clock):
    tap = Tap(TextFrame)
    async with live(tap) as now:
        async with tap.open(0) as frames, tap.open(1, overflow="drop_oldest") as other:
            await now.say("a", "b")
            await settle()
            frames.close()
            other.close()
            await now.say("c")
            await settle()
            assert now.texts == ["a", "b", "c"]


# -- the end


async def test_what_is_in_the_channel_stays_readable_after_the_end(autojump_clock):
    tap = Tap(TextFrame)
    task = task_of(tap)
    async with tap.open() as frames:
        await task.queue_frames(said("a", "b"))
        task.stop_when_done()
        await task.run()
        assert [frame.text async for frame in frames] == ["a", "b"]


@pytest.mark.parametrize("way", ["cancel", "fail", "scope"])
@pytest.mark.parametrize("direction", [UP, None])
async def test_the_channel_ends_however_the_run_does(autojump_clock, way, direction):
    def breaks(frame: TextFrame):
        raise ValueError("odd")

    tap, got = Tap(TextFrame, direction=direction), []
    task = task_of(tap, each(breaks))
    with trio.fail_after(100):
        async with tap.open() as frames, trio.open_nursery() as nursery:
            nursery.start_soon(read, frames, got)
            with trio.move_on_after(5 if way == "scope" else 50):
                try:
                    async with trio.open_nursery() as inner:
                        await inner.start(task.run)
                        if way == "fail":
                            await task.queue_frame(text("a"))
                        elif way == "cancel":
                            task.cancel()
                except ExceptionGroup:
                    assert way == "fail"
    assert got[-1] == "end"


async def test_a_channel_belongs_to_one_run(autojump_clock):
    tap = Tap(TextFrame)
    pipeline = Pipeline([tap])
    async with pipeline:
        for content in ("a", "b"):
            async with tap.open() as frames:
                task = PipelineTask(pipeline)
                await task.queue_frame(text(content))
                task.stop_when_done()
                await task.run()
                assert [frame.text async for frame in frames] == [content]


async def test_what_goes_up_after_the_end_has_passed_is_offered_too(autojump_clock):
    class AnswersLate(Sees):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if isinstance(frame, EndFrame):
                await self.push_frame(text("late"), UP)

    tap, got = Tap(TextFrame, direction=UP), []
    async with tap.open() as frames, trio.open_nursery() as nursery:
        nursery.start_soon(read, frames, got)
        async with live([tap, AnswersLate()]):
            pass
    assert [item if item == "end" else item.text for item in got] == ["late", "end"]


async def test_a_tap_that_leaves_a_slot_ends_its_channels(autojump_clock):
    tap, got = Tap(TextFrame, direction=None), []
    slot = Switchable(tap)
    async with tap.open() as frames, trio.open_nursery() as nursery:
        nursery.start_soon(read, frames, got)
        async with live(slot) as now:
            await now.say("a")
            await settle()
            await slot.replace(Sees())
            await settle()
            assert got[-1] == "end"


async def test_in_a_branch(autojump_clock):
    tap = Tap(TextFrame)
    async with live(ParallelPipeline([tap], [Sees()])) as now, tap.open() as frames:
        await now.say("a")
        assert (await frames.receive()).text == "a"
        await settle()
        assert now.texts == ["a"]


# -- errors


async def test_what_serialize_raises_is_the_taps_error(autojump_clock):
    def breaks(frame):
        raise ValueError("odd")

    tap = Tap(TextFrame, serialize=breaks, name="out")
    task = task_of(tap)
    await task.queue_frames(said("a"))
    task.stop_when_done()
    async with tap.open() as frames:
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="odd")) as caught:
            await task.run()
        assert "'out'" in "".join(caught.value.exceptions[0].__notes__)
        with pytest.raises(trio.EndOfChannel):
            await frames.receive()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Tap("TextFrame"), r"Tap\(types=\('TextFrame',\)\): expected frame classes"),
        (lambda: Tap(TextFrame("a")), r"Tap\(types=\(TextFrame.*expected frame classes"),
        (lambda: Tap(TextFrame, serialize="json"), r"Tap\(serialize='json'\): expected a function"),
        (lambda: Tap(TextFrame, serialize=lambda: ""), r"Tap\(serialize=.*expected a function.*it takes \(\)"),
        (lambda: Tap(EndFrame), r"Tap\(types=.*expected data, control or system frames"),
        (lambda: Tap(TextFrame, direction="up"), r"Tap\(direction='up'\): expected a Direction"),
    ],
)
def test_bad_input_is_named(make, expected):
    with pytest.raises(ConfigurationError, match=expected):
        make()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"buffer": -1}, r"out.open\(buffer=-1\): expected a number of items, 0 or more, or math.inf"),
        ({"buffer": 1.5}, r"out.open\(buffer=1.5\)"),
        ({"buffer": 0, "overflow": "drop_oldest"}, r"out.open\(buffer=0\): expected a number of items, 1 or more"),
        ({"overflow": "error"}, r"out.open\(overflow='error'\): expected 'wait' or 'drop_oldest'"),
    ],
)
async def test_bad_input_of_a_block_is_named(arguments, expected):
    with pytest.raises(ConfigurationError, match=expected):
        async with Tap(name="out").open(**arguments):
            pass


# -- the rules of processors


async def test_k2_a_tap_keeps_the_rules(pipes_clock):
    await check_processor(lambda: Tap(TextFrame, serialize=line_of))


@pytest.mark.parametrize("what", ["cancel", "end"])
async def test_whatever_happens_at_any_step_the_reader_has_what_came_through(pipes_clock, what):
    async def scenario(attempt):
        tap, got, last = Tap(TextFrame), [], Sees()
        task = task_of(tap, last, queue_size=1)
        attempt.arm(task.cancel if what == "cancel" else task.stop_when_done)
        async with nothing_left(), tap.open(1) as frames, trio.open_nursery() as nursery:
            nursery.start_soon(read, frames, got)
            nursery.start_soon(task.run)
            try:
                for n in range(4):
                    await task.queue_frame(text(str(n)))
                task.stop_when_done()
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                pass
        assert got.pop() == "end"
        if what == "end":
            assert texts(got) == last.texts()
        assert set(last.texts()) <= set(texts(got))
        assert task.state is not TaskState.FAILED

    assert await cancel_at_every_checkpoint(scenario) > 5
