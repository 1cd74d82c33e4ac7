"""V5: times when the user is not listened to. The scripts are those of `turns_kit`."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    Direction,
    Frame,
    InputAudioFrame,
    Pipeline,
    PipelineTask,
    StartFrame,
    TextFrame,
)
from trio_pipes.testing import run_processor
from trio_pipes.voice import (
    Between,
    DuringFirstSpeech,
    FrameCondition,
    UntilFirstSpeech,
    UserMute,
    UserMuteStoppedFrame,
    UserTurns,
    WhileBotSpeaks,
)
from turns_kit import Log, frame_of, talk


@attrs.define(eq=False)
class CallStartedFrame(ControlFrame):
    call: str


@attrs.define(eq=False)
class CallEndedFrame(ControlFrame):
    call: str


def calling() -> Between:
    return Between(CallStartedFrame, CallEndedFrame, key=lambda frame: frame.call)


def made(token: str) -> Frame:
    """`+a` and `-a`: a call named a begins and ends; `start`: a run does."""
    if token == "start":
        return StartFrame()
    if token[0] in "+-":
        return (CallStartedFrame if token[0] == "+" else CallEndedFrame)(token[1:])
    return frame_of(token)


# --------------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("condition", "script", "expected"),
    [
        (WhileBotSpeaks, "start S B+ S B- S B+ start", "00110010"),
        (DuringFirstSpeech, "start S B+ S B- S B+ B- start B+ B-", "00110000010"),
        (UntilFirstSpeech, "start S B+ S B- S B+ start B+ B-", "1111000110"),
        (UntilFirstSpeech, "start B- B+", "100"),
        (calling, "start +a S +b -a S -b S", "01111100"),
        (calling, "start -x +a -x -a -a +a start", "00110010"),
        (calling, "+a +a -a", "110"),
        (lambda: Between(CallStartedFrame, CallEndedFrame), "+a +b -x S", "1100"),
        (lambda: Between((CallStartedFrame, TextFrame), CallEndedFrame), "X:x -a +a -a", "1010"),
    ],
)
async def test_v5_when_conditions_hold(pipes_clock, condition: Callable[[], FrameCondition], script, expected) -> None:
    it = condition()
    assert "".join(str(int(it.holds(made(token)))) for token in script.split()) == expected


# ----------------------------------------------------------------------------------------------------------- sentences


async def test_v5_a_muted_user_begins_no_turn(pipes_clock) -> None:
    mute = UserMute(WhileBotSpeaks())
    said = await talk("S 1 E T:one 1 B+ 1 S 1 E I:tw T:two 1 B- 1 S 1 E T:three 2", mute, UserTurns())
    assert said.down == "! turn S E T:one over mute unmute ! turn S E T:three over end"
    assert mute.dropped == 1


async def test_a_mute_is_told_both_ways(pipes_clock) -> None:
    mute = UserMute(DuringFirstSpeech())
    seen: list[bool] = []
    said = await talk("L B+ L 3 B- L", mute, others={"L": lambda: seen.append(mute.is_muted)})
    assert said.down == "mute unmute end"
    assert said.up == "mute B+ unmute B-"
    assert said.times("mute", "unmute") == [0.0, 3.0]
    assert seen == [False, True, False]
    assert said.frames("unmute")[0].at - said.frames("mute")[0].at == 3.0


async def test_a_mute_from_the_start(pipes_clock) -> None:
    said = await talk("S 1 E T:a B+ 1 S .5 E T:b B- S 1 E T:c", UserMute(UntilFirstSpeech()))
    assert said.down == "mute unmute S E T:c end"


# It began before the mute: it is heard to its end, and its transcript with it.
async def test_v5_a_sentence_that_began_before_the_mute_is_heard(pipes_clock) -> None:
    mute = UserMute(WhileBotSpeaks())
    said = await talk("S .5 I:on B+ 1 I:one E .1 T:one 1 S 1 E T:two 1 B- 5", mute, UserTurns())
    assert said.down == "! turn S I:on mute I:one E T:one over unmute end"
    assert mute.dropped == 1


# It outlasts the mute: it is heard, and its transcript is the whole of it.
async def test_v5_a_sentence_that_outlasts_the_mute_is_heard(pipes_clock) -> None:
    mute = UserMute(WhileBotSpeaks())
    said = await talk("B+ 1 S .5 B- 1 E .1 T:whole 5", mute, UserTurns())
    assert said.down == "mute unmute ! turn S E T:whole over end"
    assert said.times("turn", "S") == [1.5, 1.5]
    (speech,) = said.frames("S")
    assert speech.at == pytest.approx(trio.current_time() - 5 - 0.1 - 1 - 0.5)
    assert mute.dropped == 0


# It was spoken within the mute: its transcript comes after it, and is dropped all the same.
async def test_v5_a_sentence_within_the_mute_is_dropped_with_its_transcript(pipes_clock) -> None:
    mute = UserMute(WhileBotSpeaks())
    said = await talk("B+ 1 S 1 E B- .1 T:one .1 T:two 5", mute, UserTurns())
    assert said.down == "mute unmute ! turn T:two over end"
    assert mute.dropped == 1


# Recognisers that tell while the user speaks: pieces belong to the sentence in which they come.
async def test_pieces_of_a_sentence_are_dropped_together(pipes_clock) -> None:
    mute = UserMute(WhileBotSpeaks())
    said = await talk("B+ S T:a T:b E T:c B- S T:d B+ T:e E T:f 1 B-", mute)
    assert said.down == "mute unmute S T:d mute T:e E T:f unmute end"
    assert mute.dropped == 3


async def test_transcripts_without_speech_are_dropped_while_muted(pipes_clock) -> None:
    mute = UserMute(WhileBotSpeaks())
    said = await talk("T:a B+ T:b I:c B- T:d", mute)
    assert said.down == "T:a mute unmute T:d end"
    assert mute.dropped == 1


# A judge from outside is the user's voice as well; its frames stay pairs.
async def test_turn_frames_from_outside_are_muted(pipes_clock) -> None:
    said = await talk("B+ ts 1 te B- ts B+ te B- B+ ts B- te", UserMute(WhileBotSpeaks()))
    assert said.down == "mute unmute turn mute over unmute mute unmute turn over end"


async def test_two_sentences_that_overlap_the_ends_of_two_mutes(pipes_clock) -> None:
    said = await talk("B+ S B- 1 B+ 1 E T:a S B- E T:b", UserMute(WhileBotSpeaks()))
    assert said.down == "mute unmute S mute E T:a unmute S E T:b end"


# What is not the user's passes, both ways, and so does what goes up.
async def test_everything_else_passes(pipes_clock) -> None:
    said = await talk("B+ X:a ^X:b ^T:c ^S ^E ^ts B- X:d", UserMute(WhileBotSpeaks()))
    assert said.down == "mute X:a unmute X:d end"
    assert said.up == "mute B+ X:b T:c S E turn unmute B-"


# Above voice activity: what a muted microphone gives is silence, so that the sentence ends.
async def test_v5_sound_becomes_silence(pipes_clock) -> None:
    mute, below = UserMute(WhileBotSpeaks()), Log(Direction.DOWNSTREAM)
    task = PipelineTask(Pipeline([mute, below]))
    up, loud = Direction.UPSTREAM, b"\x01\x02" * 160
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for token in ("audio", "B+", "audio", "S", "audio", "B-", "audio", "S", "B+", "audio", "E", "audio"):
            if token == "audio":
                await task.queue_frame(InputAudioFrame(loud, 16_000))
            else:
                await task.queue_frame(frame_of(token), up)
            await trio.testing.wait_all_tasks_blocked()
        task.stop_when_done()
    heard = [frame for _, frame in below.frames if isinstance(frame, InputAudioFrame)]
    # Who was heard to speak before the mute is heard to the end.
    assert [frame.audio == loud for frame in heard] == [True, False, False, True, True, False]
    assert {len(frame.audio) for frame in heard} == {len(loud)}
    assert {frame.audio for frame in heard} == {loud, bytes(len(loud))}
    assert not any(type(frame).__name__.startswith("UserSt") for _, frame in below.frames)


async def test_what_ends_and_never_began(pipes_clock) -> None:
    assert (await talk("E te B+ E te B- E", UserMute(WhileBotSpeaks()))).down == "E over mute unmute E end"


async def test_before_the_run_nobody_is_muted() -> None:
    mute = UserMute(UntilFirstSpeech())
    assert (mute.is_muted, mute.dropped) == (False, 0)


async def test_several_conditions_and_new_ones(pipes_clock) -> None:
    mute = UserMute(WhileBotSpeaks(), calling())
    others: dict[str, Callable[[], object]] = {
        "+a": lambda: CallStartedFrame("a"),
        "-a": lambda: CallEndedFrame("a"),
        "R": lambda: mute.update_conditions(DuringFirstSpeech()),
    }
    said = await talk("+a T:1 B+ T:2 -a T:3 B- T:4 R B+ T:5 B- T:6 B+ T:7", mute, others=others)
    assert " ".join(n for n in said.down.split() if "Call" not in n) == "mute unmute T:4 mute unmute T:6 T:7 end"


async def test_each_run_begins_anew(pipes_clock) -> None:
    mute = UserMute(UntilFirstSpeech())
    pipeline = Pipeline([mute])
    async with pipeline:
        for _ in range(2):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery, task.open_output() as output:
                await nursery.start(task.run)
                await task.queue_frame(frame_of("T:a"))
                await task.flush()
                await task.queue_frame(frame_of("B-"), Direction.UPSTREAM)
                await trio.testing.wait_all_tasks_blocked()
                await task.queue_frame(frame_of("T:b"))
                task.stop_when_done()
                texts = [frame.text async for frame in output if hasattr(frame, "text")]
            assert texts == ["b"]
            assert mute.dropped == 1


# The mute ends where the frame that ends it comes along: before what is below is told, so nobody answers too early.
async def test_the_frame_that_ends_the_mute_comes_after_the_news(pipes_clock) -> None:
    said = await talk("B+ B-", UserMute(WhileBotSpeaks()))
    assert said.up.split().index("unmute") < said.up.split().index("B-")
    assert isinstance(said.frames("unmute")[0], UserMuteStoppedFrame)


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "found", "expected"),
    [
        (UserMute, "UserMute(conditions=())", "at least one"),
        (lambda: UserMute(WhileBotSpeaks), "UserMute(conditions=", "with a method holds()"),
        (lambda: UserMute([WhileBotSpeaks()]), "UserMute(conditions=", "with a method holds()"),
        (lambda: UserMute(WhileBotSpeaks()).update_conditions(), "UserMute(conditions=())", "at least one"),
        (lambda: Between(int, TextFrame), "Between(begins=<class 'int'>)", "a frame class"),
        (lambda: Between(TextFrame, "x"), "Between(ends='x')", "a frame class"),
        (lambda: Between(TextFrame, TextFrame, key=3), "Between(key=3)", "a function of a frame"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], found: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert found in str(caught.value)
    assert expected in str(caught.value)


async def test_a_condition_that_answers_something_else_is_named(pipes_clock) -> None:
    class Odd:
        def holds(self, frame: Frame) -> Any:
            return None

    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(UserMute(Odd()), [TextFrame("x")])
    assert caught.group_contains(TypeError, match=r"Odd object.*holds\(\) gave None, expected True or False")
