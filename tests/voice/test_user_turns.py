"""V5: `UserTurns` says when it is the user's turn. The scripts are those of `turns_kit`."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio

from trio_pipes import (
    ConfigurationError,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    TextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStoppedFrame,
)
from trio_pipes.testing import run_processor
from trio_pipes.voice import (
    ExternalStart,
    ExternalStop,
    SpeechTimeoutStop,
    TranscriptionFrame,
    TranscriptionStart,
    TurnPhase,
    UserTurn,
    UserTurns,
    VoiceActivityStart,
)
from turns_kit import Log, name_of, talk

# ------------------------------------------------------------------------------------------------------------ a turn


# The turn begins before what began it, and ends behind its last transcript. Both ways, so that who is above knows too.
async def test_v5_a_turn_goes_round_what_is_said_in_it(pipes_clock) -> None:
    said = await talk("S 1.5 E .1 T:hello 5", UserTurns())
    assert said.down == "! turn S E T:hello over end"
    assert said.up == "turn over"
    assert said.times("turn", "over") == [0.0, pytest.approx(1.5 + 0.6)]


async def test_the_times_of_a_turn_are_those_of_the_sound(pipes_clock) -> None:
    said = await talk("1 S-.1 1 E-.5 .2 T:hello 5", UserTurns())
    (started,), (stopped,) = said.frames("turn"), said.frames("over")
    assert stopped.at - started.at == pytest.approx(2 - 0.5 - (1 - 0.1))
    assert not stopped.timed_out


# What voice activity waits for and the timeout do not add up: 0.6 s after the last sound, of which 0.5 s are over.
async def test_silence_counts_from_the_last_sound(pipes_clock) -> None:
    said = await talk("S 1.5 E-.5 .02 T:hello 5", UserTurns())
    assert said.times("over") == [pytest.approx(1.6)]


# The transcript that comes late is what the turn waits for, and not one moment longer.
async def test_a_turn_is_over_with_its_transcript_when_the_silence_was_long_enough(pipes_clock) -> None:
    said = await talk("S 1.5 E-.5 .3 T:hello 5", UserTurns())
    assert said.times("T:hello") == said.times("over") == [pytest.approx(1.8)]


# At once means before the next frame.
async def test_a_turn_that_is_over_is_over_before_what_follows(pipes_clock) -> None:
    turns, below = UserTurns(), Log(Direction.DOWNSTREAM)
    task = PipelineTask(Pipeline([turns, below]))
    await trio.sleep(10)
    await task.queue_frames(
        [
            UserStartedSpeakingFrame(at=0.0),
            UserStoppedSpeakingFrame(at=1.0),
            TranscriptionFrame("hello"),
            TextFrame("next"),
        ]
    )
    task.stop_when_done()
    await task.run()
    assert [name_of(frame) for _, frame in below.frames] == ["turn", "S", "E", "T:hello", "over", "X:next", "end"]


async def test_before_the_run_there_is_no_turn() -> None:
    turns = UserTurns()
    assert (turns.turn.is_open, turns.ignored) == (False, 0)


async def test_a_pause_within_a_turn_does_not_end_it(pipes_clock) -> None:
    said = await talk("S 1 E .1 T:turn_on .3 S 1 E .1 T:the_light 5", UserTurns())
    assert said.down == "! turn S E T:turn on S E T:the light over end"


# Issue 4053 there: what a turn left behind ended the next one too early.
async def test_a_turn_knows_nothing_of_the_one_before(pipes_clock) -> None:
    said = await talk("S 1 E .1 T:one 1 S 1 E 2 T:two 2", UserTurns())
    assert said.down == "! turn S E T:one over ! turn S E T:two over end"
    assert said.times("T:two") == said.times("over")[1:]


# With two sentences under way the transcript of the first is none of the second, where it says when it was spoken.
async def test_a_late_transcript_of_an_earlier_sentence_does_not_end_the_turn(pipes_clock) -> None:
    said = await talk("S 1 E .2 S .3 T@1:one 1 E 2 T@2.5:two 5", UserTurns())
    assert said.down == "! turn S E S T:one E T:two over end"


# An interrupt first, and nothing of the turn is lost by it: what waits is the user's (issue 5683 there).
async def test_v5_a_transcript_that_waits_behind_the_beginning_of_its_turn_is_not_lost(pipes_clock) -> None:
    turns, below = UserTurns(), Log(Direction.DOWNSTREAM)
    task = PipelineTask(Pipeline([turns, below]), PipelineParams(allow_interruptions=True))
    Slow.stopped = 0
    slow = PipelineTask(Pipeline([Slow(), turns, below]), PipelineParams(allow_interruptions=True))
    for each in (task, slow):
        below.frames.clear()
        await each.queue_frames(
            [
                TextFrame("stale"),
                UserStartedSpeakingFrame(at=0.0),
                TranscriptionFrame("no"),
                UserStoppedSpeakingFrame(at=0.0),
                TranscriptionFrame("wait"),
            ]
        )
        each.stop_when_done()
        with trio.fail_after(100):
            await each.run()
        assert [frame.text for _, frame in below.frames if isinstance(frame, TranscriptionFrame)] == ["no", "wait"]
        assert turns.ignored == 0


class Slow(FrameProcessor):
    """A second for each frame, so that what follows waits."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await trio.sleep(1)
        await self.push_frame(frame, direction)


class Answers(FrameProcessor):
    """Takes ten seconds for a text."""

    def __init__(self) -> None:
        self.stopped = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            try:
                await trio.sleep(10)
            except trio.Cancelled:
                self.stopped += 1
                raise
        await self.push_frame(frame, direction)


@pytest.mark.parametrize(
    ("allowed", "interrupts", "stopped"), [(True, True, 1), (False, True, 0), (True, False, 0)], ids=str
)
async def test_a_turn_interrupts_the_bot(pipes_clock, allowed: bool, interrupts: bool, stopped: int) -> None:
    answers = Answers()
    turns = UserTurns(interrupts=interrupts)
    said = await talk("X:long 1 S 1 E T:stop 20", turns, answers, allow_interruptions=allowed)
    assert answers.stopped == stopped
    assert said.down.count("X:long") == 1 - stopped
    assert said.down.endswith("turn S E T:stop over end")


# A transcript without speech: said too softly, or transcribed elsewhere.
async def test_a_transcript_alone_is_a_turn(pipes_clock) -> None:
    said = await talk("T:psst 5", UserTurns())
    assert said.down == "! turn T:psst over end"
    assert said.times("over") == [0.6]


async def test_each_transcript_without_voice_activity_is_a_turn_or_joins_one(pipes_clock) -> None:
    said = await talk("T:one .5 T:two 5 T:three 5", UserTurns())
    assert said.down == "! turn T:one T:two over ! turn T:three over end"
    assert said.times("over") == pytest.approx([1.1, 6.1])


async def test_a_transcript_only_turn_after_a_spoken_one_ends_as_promptly(pipes_clock) -> None:
    said = await talk("S 1 E T:one 2 T:two 5", UserTurns())
    assert said.times("over") == pytest.approx([1.6, 3.6])


# The turn begins in the middle of a sentence: it is not over before the sentence is.
async def test_a_turn_that_words_begin_lasts_while_the_user_speaks(pipes_clock) -> None:
    said = await talk("S 1 I:please_turn 2 E .1 T:please_turn_on 5", UserTurns([TranscriptionStart()]))
    assert said.down == "S ! turn I:please turn E T:please turn on over end"
    assert said.times("turn", "over") == pytest.approx([1.0, 3.6])


# A transcript that comes when its turn was ended without it begins one of its own: it is answered, not lost.
async def test_v5_a_transcript_after_its_turn_begins_one(pipes_clock) -> None:
    said = await talk("S 1 E 7 T:late 5", UserTurns())
    assert said.down == "! turn S E timeout ! turn T:late over end"


# Where nothing may begin a turn but voice activity, it goes no further, and is counted.
async def test_v5_a_transcript_that_nobody_takes_is_counted(pipes_clock) -> None:
    turns = UserTurns([VoiceActivityStart()])
    said = await talk("T:early S 1 E 7 T:late 5 X:text", turns)
    assert said.down == "! turn S E timeout X:text end"
    assert turns.ignored == 2


# ------------------------------------------------------------------------------------------------------- the watchdog


async def test_a_turn_in_which_nothing_happens_is_ended_after_five_seconds_and_says_so(pipes_clock) -> None:
    said = await talk("S 1 E 10", UserTurns())
    assert said.down == "! turn S E timeout end"
    assert said.times("timeout") == [6.0]
    assert said.up == "turn timeout"


async def test_the_watchdog_waits_while_the_user_speaks(pipes_clock) -> None:
    said = await talk("S 100 E 10", UserTurns(stop_timeout=2.0))
    assert said.times("timeout") == [102.0]


# What is known of the user, and not the clock alone: interim transcripts are a sign of life.
async def test_the_watchdog_waits_while_something_comes(pipes_clock) -> None:
    said = await talk("S 1 E 4 I:well 4 I:well_then 20", UserTurns())
    assert said.times("timeout") == [14.0]


async def test_with_a_transcript_there_is_no_timeout(pipes_clock) -> None:
    said = await talk("S 1 E 4 T:hello 10", UserTurns())
    assert said.down == "! turn S E T:hello over end"


async def test_without_watchdog_and_strategies_the_end_ends_the_turn(pipes_clock) -> None:
    said = await talk("S 1 E T:hello 500", UserTurns(stop=[], stop_timeout=None))
    assert said.down == "! turn S E T:hello over end"
    assert said.times("over") == [501.0]


# ---------------------------------------------------------------------------------------------------------- the end


# The end does not wait for a strategy: what was said is a turn, in the middle of a word as well.
@pytest.mark.parametrize("script", ["S", "S 1 E", "S 1 E T:hello", "T:hello"])
async def test_the_end_ends_a_turn_at_once(pipes_clock, script: str) -> None:
    said = await talk(script, UserTurns())
    assert said.down.endswith("over end")
    assert said.times("over") == said.times("end")


async def test_no_turn_begins_or_ends_after_the_end(pipes_clock) -> None:
    class HoldsTheEnd(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, EndFrame):
                await self.push_frame(UserTurnStoppedFrame(at=0.0), Direction.UPSTREAM)
                await trio.sleep(100)
            await self.push_frame(frame, direction)

    turns = UserTurns([*ALWAYS], [Now()])
    said = await talk("X:a X:b", turns, HoldsTheEnd())
    assert said.down == "! turn X:a over ! turn X:b over end"
    assert said.up == "turn over turn over over"
    assert not turns.turn.is_open


class Starts:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.seen: list[Frame] = []

    def starts(self, frame: Frame, turn: UserTurn) -> Any:
        self.seen.append(frame)
        return self.answer(frame) if callable(self.answer) else self.answer


class Stops:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.seen: list[Frame] = []

    def stops(self, frame: Frame, turn: UserTurn) -> Any:
        self.seen.append(frame)
        return self.answer() if callable(self.answer) else self.answer


class Now:
    def stops(self, frame: Frame, turn: UserTurn) -> float | None:
        return -math.inf


ALWAYS = (Starts(lambda frame: not isinstance(frame, StartFrame)),)


async def test_a_second_run_begins_anew(pipes_clock) -> None:
    turns, below = UserTurns(), Log(Direction.DOWNSTREAM)
    pipeline = Pipeline([turns, below])
    async with pipeline:
        first = PipelineTask(pipeline)
        async with trio.open_nursery() as nursery:
            await nursery.start(first.run)
            await first.queue_frames([UserStartedSpeakingFrame(at=0.0), TranscriptionFrame("one")])
            await first.flush()
            assert turns.turn.is_open
            first.cancel()
        await trio.sleep(100)
        below.frames.clear()
        second = PipelineTask(pipeline)
        await second.queue_frames([TranscriptionFrame("two")])
        second.stop_when_done()
        await second.run()
        assert [type(frame).__name__ for _, frame in below.frames] == [
            "UserTurnStartedFrame",
            "TranscriptionFrame",
            "UserTurnStoppedFrame",
            "EndFrame",
        ]


# --------------------------------------------------------------------------------------------------------- strategies


def is_text(word: str) -> Callable[[Frame], bool | None]:
    return lambda frame: True if isinstance(frame, TextFrame) and frame.text == word else None


async def test_strategies_are_asked_in_order_and_the_first_decision_wins(pipes_clock) -> None:
    first, second, third = Starts(is_text("a")), Starts(is_text("b")), Starts(None)
    said = await talk("X:b 1 X:a 1 X:c", UserTurns([first, second, third], []))
    assert said.down == "! turn X:b X:a X:c over end"
    assert [len([f for f in s.seen if isinstance(f, TextFrame)]) for s in (first, second, third)] == [3, 2, 1]
    assert all(isinstance(strategy.seen[0], StartFrame) for strategy in (first, second, third))


# False: not for the bot. Nobody after it is asked, and the transcript goes no further.
async def test_a_strategy_can_say_that_something_is_not_for_the_bot(pipes_clock) -> None:
    turns = UserTurns([Starts(lambda frame: False if isinstance(frame, TranscriptionFrame) else None), *ALWAYS])
    said = await talk("T:private I:well 1 X:now 5", turns)
    assert said.down == "! turn I:well X:now timeout end"
    assert turns.ignored == 1


async def test_what_is_refused_within_a_turn_belongs_to_it(pipes_clock) -> None:
    refuses = Starts(lambda frame: isinstance(frame, UserStartedSpeakingFrame))
    turns = UserTurns([refuses])
    said = await talk("S 1 E T:hello I:and T:bye 5", turns)
    assert said.down == "! turn S E T:hello I:and T:bye over end"
    assert turns.ignored == 0


async def test_the_earliest_time_counts_and_the_last_word_of_each(pipes_clock) -> None:
    began = trio.current_time()
    times = iter([began + 20, began + 9, math.inf])
    stop = [Stops(lambda: next(times)), Stops(began + 12), Stops(None)]
    said = await talk("X:a 1 X:b 1 X:c 50", UserTurns([*ALWAYS], stop, stop_timeout=None))
    assert said.times("over") == [12.0]


async def test_a_stop_strategy_is_first_asked_for_the_frame_that_began_the_turn(pipes_clock) -> None:
    stops = Stops(None)
    await talk("X:a S 1 E 10 X:b", UserTurns([VoiceActivityStart()], [stops]))
    assert [type(frame) for frame in stops.seen] == [UserStartedSpeakingFrame, UserStoppedSpeakingFrame]


# It has decided too late: the user has gone on.
async def test_no_turn_is_ended_while_the_user_speaks(pipes_clock) -> None:
    turns = UserTurns([VoiceActivityStart()], [ExternalStop(TextFrame, wait_for_transcript=False)])
    said = await talk("S 1 X:over 1 E 1 X:over 5", turns)
    assert said.down == "! turn S X:over E X:over over end"
    said = await talk("S 1 E 1 S 1 X:over 1 E 20", turns)
    assert said.down == "! turn S E S X:over E timeout end"


async def test_what_was_decided_is_forgotten_when_the_user_goes_on(pipes_clock) -> None:
    said = await talk("S 1 E T:a .5 S 3 E 10", UserTurns())
    assert said.times("over", "timeout") == [9.5]


async def test_strategies_are_replaced_while_it_runs(pipes_clock) -> None:
    turns = UserTurns()

    def replace() -> None:
        turns.update_strategies([ExternalStart(TextFrame)], [SpeechTimeoutStop(2.0, wait_for_transcript=False)])

    said = await talk("S 1 E T:one 5 R S 1 E T:two 5 X:go S 1 E 5", turns, others={"R": replace})
    assert said.down == "! turn S E T:one over S E ! turn X:go S E over end"
    assert turns.ignored == 1
    assert said.times("over") == [1.6, 15.0]


# In the middle of a turn: the new ones end it.
async def test_strategies_are_replaced_within_a_turn(pipes_clock) -> None:
    turns = UserTurns(stop_timeout=None)
    said = await talk(
        "S 1 E R T:one 1 X:nobody 1 X:go 5",
        turns,
        others={"R": lambda: turns.update_strategies(stop=[ExternalStop(TextFrame)])},
    )
    assert said.down == "! turn S E T:one X:nobody over X:go end"


# What the old ones have said is forgotten; the watchdog is not.
async def test_what_replaced_strategies_have_said_is_forgotten(pipes_clock) -> None:
    turns = UserTurns()
    said = await talk("S 1 E T:one .1 R 9", turns, others={"R": lambda: turns.update_strategies(stop=[])})
    assert said.times("over", "timeout") == [6.0]
    others = UserTurns()
    said = await talk("S 1 E T:one .1 R 9", others, others={"R": lambda: others.update_strategies([*ALWAYS])})
    assert said.times("over", "timeout") == [1.6]


# The bot's frames come from below: a strategy sees both directions, and a decision on them holds as well.
async def test_a_strategy_may_decide_on_what_comes_from_below(pipes_clock) -> None:
    turns = UserTurns([VoiceActivityStart()], [ExternalStop(TextFrame, wait_for_transcript=False)])
    said = await talk("S 1 E 1 ^X:over 5", turns)
    assert (said.down, said.times("over")) == ("! turn S E over end", [2.0])
    assert said.up == "turn X:over over"
    turns = UserTurns([ExternalStart(TextFrame)])
    said = await talk("^X:go 1 T:hello 5", turns)
    assert said.down == "! turn T:hello over end"
    turns = UserTurns([ExternalStart(TextFrame)], [Now()])
    said = await talk("^X:go 1 X:wait", turns)
    assert said.times("turn", "over")[:2] == [0.0, 0.0]


# ------------------------------------------------------------------------------------------------- turns from outside


# Somebody above knows better: its frames are proposals. They end here, so that nobody sees a turn twice.
async def test_turn_frames_from_outside_are_followed(pipes_clock) -> None:
    turns = UserTurns([ExternalStart()], [ExternalStop()])
    said = await talk("ts 1 T:one 1 te 1 T:none ts 1 te 1 T:two 5", turns)
    assert said.down == "! turn T:one over ! turn T:two over end"
    assert said.up == "turn over turn over"
    assert said.times("turn", "over") == [0.0, 2.0, 3.0, 5.0]


async def test_turn_frames_that_nobody_follows_go_no_further(pipes_clock) -> None:
    said = await talk("te ts S 1 E ts te T:one ts 5 te", UserTurns())
    assert said.down == "! turn S E T:one over end"


async def test_turn_frames_from_below_pass(pipes_clock) -> None:
    said = await talk("^ts 1 ^te 1", UserTurns())
    assert (said.up, said.down) == ("turn over", "end")


# Two of them in one pipeline: the lower one adopts what the upper one has decided.
async def test_one_that_follows_another_one(pipes_clock) -> None:
    said = await talk("S 1 E T:one 5", UserTurns(), UserTurns([ExternalStart()], [ExternalStop()], interrupts=False))
    assert said.down == "! turn S E T:one over end"


# --------------------------------------------------------------------------------------------------- how it stands


async def test_how_a_turn_stands(pipes_clock) -> None:
    turns = UserTurns()
    phases: list[tuple[TurnPhase, str]] = []

    def look() -> None:
        phases.append((turns.turn.phase, turns.turn.text))

    await talk("L S L 1 E L T:turn L T: T:on L .7 L", turns, others={"L": look})
    assert phases == [
        (TurnPhase.SILENCE, ""),
        (TurnPhase.SPEECH, ""),
        (TurnPhase.PAUSE, ""),
        (TurnPhase.PAUSE, "turn"),
        (TurnPhase.PAUSE, "turn on"),
        (TurnPhase.SILENCE, ""),
    ]


# Full lanes below: frames of two decisions do not come mixed, and nothing is lost.
async def test_decisions_keep_their_order_where_there_is_no_room(pipes_clock) -> None:
    said = await talk("S .1 E T:a .1 T:b S .1 E T:c 1 S E T:d 5 X:e", UserTurns(), slow=3.0)
    kinds = said.down.split()
    turns = [kind for kind in kinds if kind in ("turn", "over", "timeout")]
    assert turns == ["turn", "over"] * (len(turns) // 2)
    assert [kind for kind in kinds if kind.startswith("T:")] == ["T:a", "T:b", "T:c", "T:d"]
    inside = " ".join(kinds).replace("timeout", "over").split("over")
    assert all("turn" in part for part in inside if "T:" in part)
    assert said.up.split() == turns


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "found", "expected"),
    [
        (lambda: UserTurns(stop_timeout=0), "UserTurns(stop_timeout=0)", "seconds above 0, or None"),
        (lambda: UserTurns(stop_timeout="5"), "UserTurns(stop_timeout='5')", "seconds above 0, or None"),
        (lambda: UserTurns(interrupts=1), "UserTurns(interrupts=1)", "True or False"),
        (lambda: UserTurns(start=[]), "UserTurns(start=[])", "at least one strategy"),
        (lambda: UserTurns(start=[SpeechTimeoutStop()]), "UserTurns(start=", "with a method starts()"),
        (lambda: UserTurns(stop=[VoiceActivityStart()]), "UserTurns(stop=", "with a method stops()"),
        (lambda: UserTurns(stop=[SpeechTimeoutStop]), "UserTurns(stop=", "with a method stops()"),
        (lambda: UserTurns(start=VoiceActivityStart()), "UserTurns(start=", "strategies"),
        (lambda: UserTurns().update_strategies(stop="soon"), "UserTurns(stop='soon')", "strategies"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], found: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert found in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("turns", "match"),
    [
        (lambda: UserTurns([Starts("yes")]), r"starts\(\) gave 'yes', expected True, False or None"),
        (lambda: UserTurns(stop=[Stops("now")]), r"stops\(\) gave 'now', expected a time in seconds, or None"),
        (lambda: UserTurns(stop=[Stops(True)]), r"stops\(\) gave True, expected a time"),
        (lambda: UserTurns(stop=[Stops(math.nan)]), r"stops\(\) gave nan, expected a time"),
    ],
)
async def test_a_strategy_that_answers_something_else_is_named(turns, match: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(turns(), [TranscriptionFrame("hello")])
    assert caught.group_contains(TypeError, match=match)
    assert "UserTurns" in str(caught.value.exceptions[0].__notes__)
