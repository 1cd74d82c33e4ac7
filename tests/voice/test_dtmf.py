"""Keys of a telephone: what was entered, and when it is complete."""

import pytest
import trio

from flow_kit import Sees, live, settle, text
from hosting import task_of
from trio_pipes import ConfigurationError, Pipeline, PipelineTask, StopFrame
from trio_pipes.testing import cancel_at_every_checkpoint, check_processor, run_pipeline
from trio_pipes.voice import DTMFAggregator, DTMFFrame, TranscriptionFrame


def keys(entered: str) -> list[DTMFFrame]:
    return [DTMFFrame(key) for key in entered]


def entered(frames) -> list[str]:
    return [frame.text for frame in frames if isinstance(frame, TranscriptionFrame)]


def pressed(frames) -> str:
    return "".join(frame.key for frame in frames if isinstance(frame, DTMFFrame))


async def test_keys_up_to_the_terminating_one_are_what_was_entered(autojump_clock):
    received = await run_pipeline([DTMFAggregator()], keys("123#"))
    assert entered(received.down) == ["DTMF: 123#"]
    assert pressed(received.down) == "123#"
    assert isinstance(received.down[-1], TranscriptionFrame)


async def test_what_was_entered_is_complete_when_no_key_comes_for_some_time(autojump_clock):
    async with live([DTMFAggregator()]) as now:
        await now.task.queue_frames(keys("12"))
        await trio.sleep(1.5)
        await now.task.queue_frame(DTMFFrame("3"))
        await trio.sleep(1.9)
        assert entered(now.down) == []
        await trio.sleep(0.2)
        assert entered(now.down) == ["DTMF: 123"]
        (frame,) = [frame for frame in now.down if isinstance(frame, TranscriptionFrame)]
        assert frame.stopped_at == pytest.approx(1.5)
        assert frame.interruptible is False


async def test_entries_follow_each_other(autojump_clock):
    async with live([DTMFAggregator()]) as now:
        await now.task.queue_frames(keys("1#22#"))
        await trio.sleep(1)
        await now.task.queue_frames(keys("3"))
        await trio.sleep(5)
        await now.task.queue_frames(keys("4#"))
    assert entered(now.down) == ["DTMF: 1#", "DTMF: 22#", "DTMF: 3", "DTMF: 4#"]


@pytest.mark.parametrize("end", [None, StopFrame])
async def test_the_end_completes_what_was_entered(autojump_clock, end):
    task = task_of(DTMFAggregator(), last := Sees())
    await task.queue_frames([*keys("12"), *([end()] if end else [])])
    task.stop_when_done()
    await task.run()
    assert last.kinds()[-2:] == ["TranscriptionFrame", "StopFrame" if end else "EndFrame"]
    assert trio.current_time() == 0


async def test_the_prefix_can_be_another_one(autojump_clock):
    received = await run_pipeline([DTMFAggregator(prefix="")], keys("9#"))
    assert entered(received.down) == ["9#"]


async def test_the_terminating_key_can_be_another_one_or_none(autojump_clock):
    received = await run_pipeline([DTMFAggregator(termination="*")], keys("1#2*3"))
    assert entered(received.down) == ["DTMF: 1#2*", "DTMF: 3"]
    received = await run_pipeline([DTMFAggregator(termination=None, timeout=None)], keys("1#2*3"))
    assert entered(received.down) == ["DTMF: 1#2*3"]


async def test_every_key_can_be_entered(autojump_clock):
    received = await run_pipeline([DTMFAggregator()], keys("0123456789*ABCD#"))
    assert entered(received.down) == ["DTMF: 0123456789*ABCD#"]


async def test_the_first_key_interrupts_what_is_said_and_keys_survive_interrupts(autojump_clock):
    async with live([DTMFAggregator(), sees := Sees(10)], allow_interruptions=True) as now:
        await now.say("a long answer", "and more")
        await trio.sleep(1)
        await now.task.queue_frames(keys("12"))
        await trio.sleep(0.5)
        now.task.interrupt()
        await now.task.queue_frame(DTMFFrame("#"))
    assert now.texts == []
    assert pressed(now.down) == "12#"
    assert entered(now.down) == ["DTMF: 12#"]
    assert sees.interrupts == 2


async def test_where_interrupts_are_not_allowed_a_key_is_just_a_key(autojump_clock):
    async with live([DTMFAggregator(), Sees(1)]) as now:
        await now.say("said")
        await now.task.queue_frames(keys("1#"))
    assert now.texts == ["said"]
    assert entered(now.down) == ["DTMF: 1#"]


async def test_a_second_run_begins_with_nothing(autojump_clock):
    pipeline = Pipeline([DTMFAggregator(), last := Sees()])
    async with pipeline:
        async with trio.open_nursery() as nursery:
            task = PipelineTask(pipeline)
            await nursery.start(task.run)
            await task.queue_frame(DTMFFrame("1"))
            await settle()
            task.cancel()
        task = PipelineTask(pipeline)
        await task.queue_frame(DTMFFrame("2"))
        task.stop_when_done()
        await task.run()
    assert entered(frame for frame, _ in last.seen) == ["DTMF: 2"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: DTMFFrame("x"), r"DTMFFrame\(key='x'\): expected one of the keys 0123456789\*#ABCD"),
        (lambda: DTMFFrame(""), r"DTMFFrame\(key=''\)"),
        (lambda: DTMFFrame("12"), r"DTMFFrame\(key='12'\)"),
        (lambda: DTMFFrame(1), r"DTMFFrame\(key=1\)"),
        (lambda: DTMFAggregator(timeout=0), r"DTMFAggregator\(timeout=0\): expected a finite number of seconds"),
        (lambda: DTMFAggregator(termination="x"), r"DTMFAggregator\(termination='x'\): expected one of the keys"),
        (lambda: DTMFAggregator(termination=""), r"DTMFAggregator\(termination=''\)"),
        (lambda: DTMFAggregator(prefix=None), r"DTMFAggregator\(prefix=None\): expected a string"),
    ],
)
def test_bad_input_is_named(make, expected):
    with pytest.raises(ConfigurationError, match=expected):
        make()


async def test_k2_it_keeps_the_rules(pipes_clock):
    # Without a timeout: how long keys wait for a slow reader is part of the time between them.
    await check_processor(
        lambda: DTMFAggregator(timeout=None),
        [*keys("1#2"), text("a"), *keys("3")],
        makes=TranscriptionFrame,
        points=30,
        key=without_time,
    )


def without_time(frame):
    return type(frame).__name__, getattr(frame, "text", None)


async def test_an_end_at_any_step_loses_no_key(pipes_clock):
    async def scenario(attempt):
        task = task_of(DTMFAggregator(), last := Sees(), queue_size=1)
        attempt.arm(task.stop_when_done)
        accepted = ""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            try:
                for key in "12#3":
                    await task.queue_frame(DTMFFrame(key))
                    accepted += key
                task.stop_when_done()
            except trio.ClosedResourceError:
                pass
        said = entered(frame for frame, _ in last.seen)
        assert "".join(text.removeprefix("DTMF: ") for text in said) == accepted

    assert await cancel_at_every_checkpoint(scenario) > 3
