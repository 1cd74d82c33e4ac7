"""What users of a frame framework expect of filters, gates and the processor that notices silence."""

from __future__ import annotations

import pytest
import trio

from flow_kit import UP, live, said, settle, text, texts
from hosting import Probe
from trio_pipes import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ControlFrame,
    DataFrame,
    EndFrame,
    FrameFilter,
    FrameGate,
    FunctionFilter,
    IdentityFilter,
    IdleFrameProcessor,
    OutputAudioFrame,
    StopFrame,
    SystemFrame,
    TextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    WakePhraseFilter,
)
from trio_pipes.testing import run_processor

# -- filters


async def test_an_identity_filter_passes_content_and_who_is_speaking(autojump_clock) -> None:
    frames = [UserStartedSpeakingFrame(at=0.0), text("hello"), UserStoppedSpeakingFrame(at=1.0)]
    assert (await run_processor(IdentityFilter(), frames)).down == frames


async def test_a_filter_by_class_passes_its_classes(autojump_clock) -> None:
    frames = [text("hello"), DataFrame(), ControlFrame()]
    assert (await run_processor(FrameFilter(TextFrame), frames)).down == frames[:1]


@pytest.mark.parametrize("last", [EndFrame, StopFrame])
async def test_the_end_passes_a_filter_whether_it_is_named_or_not(autojump_clock, last) -> None:
    for types in ((last,), ()):
        below = Probe()
        async with live([FrameFilter(*types), below]) as run:
            await run.say("hello")
            await run.task.queue_frame(last())
        assert below.kinds == ["StartFrame", last.__name__]


async def test_system_frames_pass_a_filter_that_names_nothing(autojump_clock) -> None:
    frames = [BotStartedSpeakingFrame(at=0.0), SystemFrame(), BotStoppedSpeakingFrame(at=1.0)]
    assert (await run_processor(FrameFilter(), [*frames, text("hello")])).down == frames


async def test_a_function_that_says_yes_passes_everything(autojump_clock) -> None:
    async def wanted(frame: DataFrame) -> bool:
        return True

    frames = said("a", "b")
    assert (await run_processor(FunctionFilter(wanted), frames)).down == frames


async def test_a_function_that_says_no_drops_content_and_not_system_frames(autojump_clock) -> None:
    system = SystemFrame()
    received = await run_processor(FunctionFilter(lambda frame: False), [system, *said("a", "b")])
    assert received.down == [system]


@pytest.mark.parametrize(
    ("settings", "down", "up"),
    [({}, [], ["up"]), ({"direction": UP}, ["down"], []), ({"direction": None}, [], [])],
)
async def test_a_filter_looks_one_way_or_both(autojump_clock, settings, down, up) -> None:
    async with live([FunctionFilter(lambda frame: False, **settings)]) as run:
        await run.say("down")
        await run.task.queue_frame(text("up"), UP)
    assert (texts(run.down), texts(run.up)) == (down, up)


async def test_without_the_wake_phrase_nothing_is_heard(autojump_clock) -> None:
    received = await run_processor(WakePhraseFilter("Hey, Pipecat", TextFrame), said("Phrase 1", "hey", "there"))
    assert received.down == []


async def test_with_the_wake_phrase_all_that_follows_is_heard_for_some_time(autojump_clock) -> None:
    async with live([WakePhraseFilter(["Hey, Pipecat"], TextFrame, timeout=3)]) as run:
        await run.say("Not yet", "well, hey Pipecat: now")
        await trio.sleep(2)
        await run.say("and now")
        await trio.sleep(4)
        await run.say("not any more")
    assert run.texts == ["hey Pipecat: now", "and now"]


# -- gates


async def test_a_closed_gate_keeps_frames_and_the_one_that_opens_it_comes_first(autojump_clock) -> None:
    class Begins(ControlFrame):
        pass

    gate = FrameGate(opens=OutputAudioFrame, closes=Begins)
    sound = OutputAudioFrame(b"", 16_000)
    frames = [Begins(), *said("Hello, ", "world."), ControlFrame()]
    async with live([gate]) as run:
        for frame in frames:
            await run.task.queue_frame(frame)
        await settle()
        assert run.down == []
        await run.task.queue_frame(sound)
        again = Begins()
        await run.task.queue_frame(again)
        await settle()
        assert run.down == [sound, *frames]
    assert run.down == [sound, *frames, again]  # closed again, and the end lets it out


# -- silence


async def test_silence_is_told(autojump_clock) -> None:
    told = trio.Event()

    async def idle(processor) -> None:
        told.set()

    async with live([IdleFrameProcessor(0.5, idle)]):
        with trio.fail_after(0.6):
            await told.wait()


async def test_activity_puts_silence_off(autojump_clock) -> None:
    told = []
    async with live([IdleFrameProcessor(0.5, told.append)]) as run:
        for _ in range(10):
            await trio.sleep(0.3)
            await run.say("still here")
        assert told == []
        await trio.sleep(0.6)
        assert len(told) == 1


async def test_a_frame_that_comes_while_silence_is_told_is_not_forgotten(autojump_clock) -> None:
    told = []

    async def idle(processor) -> None:
        told.append(trio.current_time())
        await trio.sleep(0.4)

    async with live([IdleFrameProcessor(0.5, idle)]) as run:
        await trio.sleep(0.7)
        await run.say("here")  # it is told from 0.5 to 0.9
        await trio.sleep(0.45)
        assert told == [0.5]
        await trio.sleep(0.1)
        assert told == pytest.approx([0.5, 1.2])


async def test_only_frames_of_the_classes_that_are_watched_put_it_off(autojump_clock) -> None:
    told = []
    async with live([IdleFrameProcessor(0.5, told.append, types=TextFrame)]) as run:
        for _ in range(3):
            await trio.sleep(0.3)
            await run.task.queue_frame(OutputAudioFrame(b"", 16_000))
        assert len(told) == 1
        for _ in range(3):
            await run.say("x")
            await trio.sleep(0.3)
        assert len(told) == 1
