"""Fakes that can be broken on purpose: each fault does what it says, and the rules see it."""

import math
import re
import time

import pytest
import trio

from hosting import errors_in, nothing_left, texts
from trio_pipes import (
    ConfigurationError,
    Direction,
    EndTimeout,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    TextFrame,
)
from trio_pipes.testing import (
    Fault,
    FaultyProcessor,
    Recorder,
    RuleBroken,
    SlowLink,
    check_processor,
    run_pipeline,
    run_processor,
    running,
)
from trio_pipes.testing._processor_rules import PROCESSOR_RULES

UP = Direction.UPSTREAM


def words(frames) -> list[str]:
    return [frame.text for frame in frames]


# ---------------------------------------------------------------------------------------------------- FaultyProcessor


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(Fault.DROP, "acd"), (Fault.DUPLICATE, "abbcd"), (Fault.REORDER, "acbd")],
    ids=["drop", "duplicate", "reorder"],
)
async def test_k4_a_fault_happens_to_the_nth_frame(autojump_clock, fault, expected) -> None:
    faulty = FaultyProcessor(fault, at=2)
    received = await run_processor(faulty, texts(*"abcd"))
    assert "".join(words(received.down)) == expected
    assert faulty.faults == 1


async def test_faults_may_be_several_and_upstream_and_of_some_types(autojump_clock) -> None:
    assert words((await run_processor(FaultyProcessor(Fault.DROP, at=[1, 3]), texts(*"abcd"))).down) == ["b", "d"]
    faulty = FaultyProcessor(Fault.DROP, at=1, direction=UP)
    assert words((await run_processor(faulty, texts(*"ab"), direction=UP)).up) == ["b"]
    assert words((await run_processor(FaultyProcessor(Fault.DROP, types=Recorded), texts(*"ab"))).down) == ["a", "b"]


class Recorded(TextFrame):
    """A type of its own."""


async def test_raise_raises_what_it_was_given(autojump_clock) -> None:
    error = LookupError("mine")
    for given, expected in ((error, "LookupError('mine')"), (None, "fault injected at TextFrame#")):
        with pytest.raises(ExceptionGroup) as caught:
            await run_processor(FaultyProcessor(Fault.RAISE, error=given), texts("a"))
        assert expected in repr(errors_in(caught.value)[0])


async def test_hang_waits_for_some_seconds_or_for_ever(autojump_clock) -> None:
    began = trio.current_time()
    assert words((await run_processor(FaultyProcessor(Fault.HANG, seconds=5), texts("a"))).down) == ["a"]
    assert trio.current_time() - began == pytest.approx(5)
    with pytest.raises(EndTimeout, match="FaultyProcessor#"):
        await run_processor(FaultyProcessor(Fault.HANG), texts("a"), params=PipelineParams(end_timeout=3))


async def test_shield_outlasts_a_cancel(autojump_clock) -> None:
    began = trio.current_time()
    with trio.move_on_after(1) as scope:
        await run_processor(FaultyProcessor(Fault.SHIELD, seconds=50), texts("a"))
    assert scope.cancelled_caught
    assert trio.current_time() - began == pytest.approx(50)


async def test_stall_takes_real_time(autojump_clock) -> None:
    began = time.perf_counter()
    await run_processor(FaultyProcessor(Fault.STALL, seconds=0.02), texts("a"))
    assert time.perf_counter() - began >= 0.02


async def test_chance_is_the_same_for_the_same_seed(autojump_clock) -> None:
    async def once(seed: int) -> list[str]:
        faulty = FaultyProcessor(Fault.DROP, rate=0.5, seed=seed)
        return words((await run_processor(faulty, texts(*range(100)))).down)

    first = await once(1)
    assert first == await once(1) != await once(2)
    assert 20 < len(first) < 80
    faulty = FaultyProcessor(Fault.DROP, at=1)
    for _ in range(2):  # a second run begins to count anew
        assert words((await run_processor(faulty, texts(*"ab"))).down) == ["b"]


# What is broken on purpose breaks the rule that is about it.
@pytest.mark.parametrize(
    ("rule", "fault", "settings"),
    [
        ("runs", Fault.RAISE, {}),
        ("runs", Fault.HANG, {}),
        ("passes", Fault.DROP, {}),
        ("passes", Fault.DUPLICATE, {}),
        ("order", Fault.REORDER, {}),
        ("cancel", Fault.SHIELD, {"seconds": 60}),
        ("cancelled", Fault.SWALLOW_CANCEL, {"seconds": 60}),
        ("stall", Fault.STALL, {"seconds": 0.05}),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "-" if isinstance(value, dict) else value,
)
async def test_k4_the_rules_see_the_faults(pipes_clock, rule, fault, settings) -> None:
    with pytest.raises(RuleBroken, match=rule) as caught:
        await check_processor(
            lambda: FaultyProcessor(fault, **settings), stall=0.04, points=20, skip=sorted({*PROCESSOR_RULES} - {rule})
        )
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fault": "raise"}, "given 'raise'"),
        ({"fault": Fault.SHIELD}, "needs seconds"),
        ({"fault": Fault.STALL, "seconds": math.inf}, "would never end"),
        ({"seconds": -1}, "seconds=-1"),
        ({"seconds": math.nan}, "seconds=nan"),
        ({"at": 0}, "at=0"),
        ({"at": "1"}, "at='1'"),
        ({"at": [1, 2.0]}, "at=[1, 2.0]"),
        ({"rate": 2}, "rate=2"),
        ({"types": int}, "types="),
        ({"direction": "up"}, "direction='up'"),
        ({"error": ValueError}, "error="),
        ({"name": ""}, "name=''"),
    ],
    ids=range(13),
)
def test_bad_faults_are_refused(settings, says) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        FaultyProcessor(**{"fault": Fault.DROP, **settings})


# ----------------------------------------------------------------------------------------------------------- SlowLink


async def test_k4_a_link_has_latency_and_not_less_throughput(autojump_clock) -> None:
    came = []

    class Times(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                came.append((frame.text, trio.current_time() - began))
            await self.push_frame(frame, direction)

    task = PipelineTask(Pipeline([SlowLink(2), Times()]))
    async with running(task):
        began = trio.current_time()
        for word in "abc":
            await task.queue_frame(TextFrame(word))
            await trio.sleep(0.5)
    assert came == [("a", pytest.approx(2)), ("b", pytest.approx(2.5)), ("c", pytest.approx(3))]


async def test_jitter_keeps_the_order_and_is_the_same_for_the_same_seed(autojump_clock) -> None:
    async def once(seed: int) -> tuple[list[str], float]:
        began = trio.current_time()
        received = await run_processor(SlowLink(1, jitter=5, seed=seed), texts(*range(20)))
        return words(received.down), round(trio.current_time() - began, 6)

    (order, took), again, other = await once(1), await once(1), await once(2)
    assert order == [str(number) for number in range(20)]
    assert again == (order, took)
    assert other[1] != took
    assert 4 < took <= 6


async def test_an_interrupt_drops_what_is_on_its_way(autojump_clock) -> None:
    task = PipelineTask(Pipeline([SlowLink(10)]))
    kept = TextFrame("kept", interruptible=False)
    async with running(task), task.open_output(TextFrame, buffer=10) as said:
        await task.queue_frames([TextFrame("lost"), kept])
        await trio.sleep(1)
        task.interrupt()
        await task.queue_frame(TextFrame("new"))
        assert [(await said.receive()).text for _ in range(2)] == ["kept", "new"]


async def test_a_link_is_bounded(autojump_clock) -> None:
    link = SlowLink(10, in_flight=3)
    received = await run_processor(link, texts(*range(10)), params=PipelineParams(queue_size=1))
    assert len(received.down) == 10
    assert trio.current_time() == pytest.approx(40)  # in threes
    assert words((await run_processor(link, texts(*range(10)), direction=UP)).up) == [str(n) for n in range(10)]


async def test_answers_come_up_a_link_before_the_end(autojump_clock) -> None:
    class Answers(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and direction is not UP:
                await self.push_frame(TextFrame(f"{frame.text}!"), UP)
            await self.push_frame(frame, direction)

    received = await run_pipeline([SlowLink(1), Answers()], texts("a", "b"))
    assert words(received.up) == ["a!", "b!"]


@pytest.mark.parametrize(
    "settings",
    [{"seconds": -1}, {"seconds": math.inf}, {"jitter": math.nan}, {"in_flight": 0}, {"seconds": True}],
    ids=str,
)
def test_bad_links_are_refused(settings) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        SlowLink(**{"seconds": 1, **settings})


# ----------------------------------------------------------------------------------------------------------- Recorder


async def test_k1_a_recorder_remembers_what_passes(autojump_clock) -> None:
    recorder = Recorder()
    task = PipelineTask(Pipeline([recorder]))
    async with nothing_left(), running(task):
        await task.queue_frame(TextFrame("down"))
        await task.queue_frame(TextFrame("up"), UP)
        assert words(await recorder.wait_for(TextFrame)) == ["down"]
        assert words(await recorder.wait_for(direction=UP)) == ["up"]
        with trio.move_on_after(5) as scope:
            await recorder.wait_for(count=2)
        assert scope.cancelled_caught
        with pytest.raises(ConfigurationError, match="TextFrame"):
            await recorder.wait_for("TextFrame")
    assert (words(recorder.down), words(recorder.up)) == (["down"], ["up"])


@pytest.mark.parametrize(
    "factory",
    [
        lambda: SlowLink(2, jitter=1),
        lambda: SlowLink(0),
        lambda: SlowLink(0.1, in_flight=1),
        Recorder,
        lambda: FaultyProcessor(Fault.DROP, at=10**6),
        lambda: FaultyProcessor(Fault.HANG, seconds=0.5),
    ],
    ids=["slow link", "fast link", "narrow link", "recorder", "faulty", "late"],
)
async def test_k2_the_fakes_themselves_keep_every_rule(pipes_clock, factory) -> None:
    await check_processor(factory)
