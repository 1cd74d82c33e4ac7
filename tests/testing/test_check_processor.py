"""`check_processor`: what is right passes, and each rule can be broken."""

import re
from pathlib import Path

import pytest
import trio

import zoo
from hosting import nothing_left
from trio_pipes import (
    ConfigurationError,
    DataFrame,
    EndFrame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    ReleaseAtPts,
    StampPts,
    StartFrame,
    Switchable,
    SyncParallelPipeline,
    TextFrame,
    each,
    merge,
    processor,
    route,
    tee,
)
from trio_pipes.testing import RuleBroken, check_processor
from trio_pipes.testing._processor_rules import PROCESSOR_RULES

PAGE = Path(__file__).parent.parent.parent / "docs" / "testing.md"


def rules_in(error: BaseException) -> set[str]:
    if isinstance(error, BaseExceptionGroup):
        return {rule for inner in error.exceptions for rule in rules_in(inner)}
    assert isinstance(error, RuleBroken), error
    return {error.rule}


@each
def shout(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text.upper())


@each
async def think(frame: TextFrame) -> TextFrame:
    await trio.sleep(1)
    return frame


@each
def twice(frame: TextFrame):
    return [TextFrame(frame.text), TextFrame(frame.text)]


@each
async def words(frame: TextFrame):
    for word in frame.text.split():
        await trio.sleep(0.1)
        yield TextFrame(word)


@each
def watches(frame: StartFrame | EndFrame | DataFrame):
    return frame


@processor
async def count(frames: Frames[TextFrame], out: Out) -> None:
    n = 0
    await trio.sleep(1)
    async for frame in frames:
        with frames.interruptible():
            await trio.sleep(1)
        n += 1
        await out.push(frame)
    await out.push(TextFrame(str(n)))


class Says(FrameProcessor):
    """Says some words when it starts."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self.words = words

    async def process_frame(self, frame, direction):
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            for word in self.words:
                await self.push_frame(TextFrame(word))


class WordsOf:
    """Can be iterated over again and again."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def __aiter__(self):
        for word in self.text.split():
            await trio.lowlevel.checkpoint()
            yield TextFrame(word)


MADE = {"drops": TextFrame, "makes": TextFrame}


async def patient(frame: TextFrame) -> TextFrame:
    await trio.sleep(0.1)
    return frame


# Everything of the core that is a processor.
@pytest.mark.parametrize(
    ("factory", "options"),
    [
        pytest.param(FrameProcessor, {}, id="the base class"),
        pytest.param(shout, MADE, id="a sync function"),
        pytest.param(think, {}, id="an async function"),
        pytest.param(twice, MADE, id="a function that returns several"),
        pytest.param(words, MADE, id="an async generator"),
        pytest.param(watches, {}, id="a function of lifecycle frames"),
        pytest.param(count, {"makes": TextFrame}, id="a block"),
        pytest.param(lambda: Pipeline([FrameProcessor(), think]), {}, id="a pipeline"),
        pytest.param(lambda: Pipeline([shout, Pipeline([twice, count]), words]), MADE, id="a nested pipeline"),
        pytest.param(lambda: ParallelPipeline([shout], [shout, shout]), {**MADE, "skip": ["order"]}, id="branches"),
        pytest.param(
            lambda: ParallelPipeline([think], [FrameProcessor(), ParallelPipeline([count], [think])]),
            {"makes": TextFrame, "skip": ["order"]},
            id="branches of branches",
        ),
        pytest.param(lambda: SyncParallelPipeline([think], [FrameProcessor()]), {"skip": ["order"]}, id="in step"),
        pytest.param(lambda: tee([FrameProcessor()]), {}, id="a tee"),
        pytest.param(lambda: route(type, {TextFrame: [think]}, default=[]), {"skip": ["order"]}, id="a route"),
        pytest.param(lambda: merge(FrameProcessor()), {"skip": ["order"]}, id="a merge of processors"),
        pytest.param(lambda: merge([Says("a", "b"), think]), {"makes": TextFrame}, id="a merge of what produces"),
        pytest.param(
            lambda: merge(WordsOf("a b c"), end=False),
            # Reading stops when the end is asked for, so what was read depends on when that is.
            {"makes": TextFrame, "skip": ["queue_size", "slow_reader", "together"]},
            id="a merge of iterables",
        ),
        pytest.param(
            lambda: merge(WordsOf("a b c")),
            {"frames": [], "makes": TextFrame, "ends": True},
            id="a merge that ends",
        ),
        pytest.param(lambda: Switchable(FrameProcessor()), {}, id="a slot"),
        pytest.param(each(concurrency=4)(patient), {}, id="a concurrent function"),
        pytest.param(ReleaseAtPts, {}, id="release at pts"),
        pytest.param(StampPts, {}, id="stamp pts"),
    ],
)
async def test_k2_what_the_core_has_keeps_every_rule(pipes_clock, factory, options) -> None:
    await check_processor(factory, **options)


ZOO = [
    ("passes", zoo.Forgets, {}, "StrangeData(0) that went down did not come out at the sink"),
    ("passes", zoo.OneWay, {}, "StrangeSystem(0) that went up came out at the sink"),
    ("passes", zoo.Urgent, {}, "StrangeSystem(0) that went down did not come out"),
    ("passes", zoo.Doubles, {}, "StrangeData(0) that went down came out at the sink 2 times"),
    ("passes", shout, {}, "TextFrame, number 1 of those given, that went down did not come out"),
    ("passes", zoo.forgets_that_it_takes_all, {"drops": TextFrame}, "StrangeData(0) that went down did not"),
    ("makes", zoo.Chatters, {}, "came out, was not put in, and is none of makes=()"),
    ("order", zoo.Reorders, {}, "TextFrame, number 1 of those given, that went down went in before"),
    ("runs", zoo.Raises, {}, "LookupError('one')"),
    ("runs", lambda: zoo.HangsOn(TextFrame), {}, "HangsOn#"),
    ("runs", lambda: zoo.HangsOn(EndFrame), {}, "EndFrame#"),
    ("runs", lambda: zoo.HangsOn(StartFrame), {}, "StartFrame has not reached the sink"),
    ("runs", zoo.NeverReady, {}, "set-up of 'NeverReady#"),
    ("lifecycle", zoo.SpeaksLate, {"makes": TextFrame}, "1 frames were pushed behind EndFrame"),
    ("cleanup", zoo.CleansUpSlowly, {}, "at cleanup_timeout (10 s) it is cut off"),
    ("cleanup", zoo.FailsToCleanUp, {}, "RuntimeError('not ended properly')"),
    ("cleanup", zoo.LeavesATask, {}, "task trio.sleep"),
    ("cleanup", zoo.LeavesAFile, {}, "unclosed file"),
    ("cleanup", zoo.StuckInGenerator, {}, "open async generator StuckInGenerator.words"),
    ("cleanup", zoo.ForgetsToAwait, {}, "was never awaited"),
    ("cancel", lambda: zoo.Shields(60), {}, "after it was cancelled, later than cleanup_timeout"),
    ("cancel", zoo.GoesOnForEver, {}, "GoesOnForEver.poll was cancelled 1001 times and goes on"),
    ("cancelled", lambda: zoo.Shields(60), {}, "after it was cancelled, later than cleanup_timeout"),
    ("cancelled", zoo.CatchesAll, {}, "was cancelled, and returned as if it had not been"),
    ("cancelled", zoo.Replaces, {}, "raised TimeoutError('the service did not answer') in place of Cancelled"),
    ("interrupt", zoo.StaysBusy, {}, "'StaysBusy#"),
    ("interrupt", zoo.FailsOnInterrupt, {}, "RuntimeError('what now?')"),
    ("interrupt", zoo.InterruptsForget, {"skip": ["order"]}, "in process_frame"),
    ("uninterruptible", zoo.Holds, {}, "that went down did not come out at the sink, interrupted before step"),
    ("errors", zoo.SwallowsErrors, {}, "raised by the push of Strange"),
    ("errors", zoo.swallows_errors, {}, "neither left run() nor was reported"),
    ("fused", zoo.KnowsItsTask, {"makes": TextFrame}, "with inline=True"),
    ("queue_size", zoo.LooksAhead, {}, "zoo.py"),
    ("slow_reader", zoo.LosesPatience, {}, "with a slow reader"),
    ("reuse", zoo.Counts, {"makes": TextFrame}, "text='4'"),
    ("opened", zoo.BeginsInSetUp, {"makes": TextFrame}, "in a second run in one `async with`, number 1 of the"),
    (
        "opened",
        zoo.KeepsWhatIsLeft,
        {"makes": TextFrame},
        "after a run that was cancelled, in one `async with`, number 1",
    ),
    ("opened", zoo.NeedsItsTask, {}, "which each run shows"),
    ("together", zoo.Shares, {**MADE}, "while another instance runs"),
    ("stall", zoo.Sleeps, {"stall": 0.04}, "Trio's loop stood still for 0."),
]


# Each rule alone sees it, and says what, where.
@pytest.mark.parametrize(
    ("rule", "factory", "options", "says"),
    [
        pytest.param(*line, id=f"{line[0]}-{number}-{getattr(line[1], '__name__', 'x').strip('<>')}")
        for number, line in enumerate(ZOO)
    ],
)
async def test_k2_each_rule_can_be_broken(pipes_clock, rule, factory, options, says) -> None:
    others = [*options.pop("skip", ()), *(set(PROCESSOR_RULES) - {rule})] if options else set(PROCESSOR_RULES) - {rule}
    with pytest.raises(RuleBroken, match=re.escape(says)) as caught:
        await check_processor(factory, **options, skip=sorted(others))
    assert caught.value.rule == rule


def test_every_rule_is_broken_by_somebody() -> None:
    assert {line[0] for line in ZOO} == set(PROCESSOR_RULES)


def test_the_page_lists_the_rules() -> None:
    listed = re.findall(r"^\| `(\w+)` +\| (.*?) +\|$", PAGE.read_text(), re.MULTILINE)
    ours = [(name, rule.must.replace("()", "()")) for name, rule in PROCESSOR_RULES.items()]
    assert [(name, must.replace("`", "")) for name, must in listed if name in PROCESSOR_RULES][: len(ours)] == ours


async def test_several_broken_rules_come_in_a_group(pipes_clock) -> None:
    with pytest.raises(ExceptionGroup, match="Shields breaks 2 rules: cancel, cancelled") as caught:
        await check_processor(lambda: zoo.Shields(60), points=20)
    assert rules_in(caught.value) == {"cancel", "cancelled"}


async def test_a_processor_that_does_not_run_at_all_is_told_once(pipes_clock) -> None:
    with pytest.raises(RuleBroken, match="runs") as caught:
        await check_processor(zoo.Raises)
    assert "LookupError" in repr(caught.value.__cause__)


async def test_what_is_open_is_looked_at_after_each_run(pipes_clock) -> None:
    def none_is_open() -> None:
        assert zoo.ClosesAtTheEndOnly.open == 0, "still open"

    with pytest.raises(ExceptionGroup, match="cleanup, cancel, cancelled"):
        await check_processor(zoo.ClosesAtTheEndOnly, after=none_is_open, points=20)


async def test_the_suite_itself_leaves_nothing_even_where_much_is_broken(pipes_clock) -> None:
    async with nothing_left():
        for factory in (lambda: zoo.Shields(10**9), zoo.CatchesAll):
            with pytest.raises((RuleBroken, ExceptionGroup)):
                await check_processor(factory, points=5)


async def test_frames_may_be_made_anew_for_each_run(pipes_clock) -> None:
    made = []

    def frames():
        made.append(TextFrame("x"))
        return made[-1:]

    await check_processor(shout, frames, **MADE, skip=set(PROCESSOR_RULES) - {"fused"})
    assert len(made) > 3
    await check_processor(shout, [TextFrame("x")], **MADE, skip=set(PROCESSOR_RULES) - {"fused"})


async def test_upstream_frames_are_sent_up(pipes_clock) -> None:
    class Mute(FrameProcessor):
        async def process_frame(self, frame, direction):
            if not isinstance(frame, TextFrame):
                await self.push_frame(frame, direction)

    up = {"frames": [], "upstream": [TextFrame("up")], "points": 10}
    with pytest.raises(RuleBroken, match="given, that went up did not come out at the source"):
        await check_processor(Mute, **up, skip=set(PROCESSOR_RULES) - {"passes"})
    await check_processor(Mute, **up, drops_upstream=TextFrame)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"skip": ["speed"]}, "no rule speed. There are: runs, passes"),
        ({"skip": "order"}, "skip='order'"),
        ({"drops": "TextFrame"}, "drops='TextFrame'"),
        ({"makes": (int,)}, "makes="),
        ({"frames": TextFrame("x")}, "frames="),
        ({"frames": ["x"]}, "'x' is no frame"),
        ({"stall": 0}, "stall=0"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"points": 0}, "points=0"),
        ({"points": True}, "points=True"),
        ({"factory": FrameProcessor()}, "what makes a fresh processor"),
        ({"factory": 3}, "given 3"),
        ({"factory": lambda: 3}, "made 3"),
        ({"factory": lambda kept=FrameProcessor("kept"): kept}, "made 'kept' twice"),  # noqa: B008
    ],
    ids=range(14),
)
async def test_bad_input_is_named(pipes_clock, options, says) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        await check_processor(**{"factory": FrameProcessor, **options})


async def test_a_real_clock_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pipes_clock"):
        await check_processor(FrameProcessor)
