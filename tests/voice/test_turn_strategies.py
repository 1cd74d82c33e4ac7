"""V5: when a turn begins and when it is over, strategy by strategy. The scripts are those of `turns_kit`."""

import math
from collections.abc import Callable

import pytest
import trio

from trio_pipes import ConfigurationError, Frame, StartFrame, TextFrame, UserTurnStartedFrame, UserTurnStoppedFrame
from trio_pipes.voice import (
    ExternalStart,
    ExternalStop,
    MinWordsStart,
    SpeechTimeoutStop,
    StartStrategy,
    StopStrategy,
    TranscriptionStart,
    UserTurn,
    UserTurns,
    VoiceActivityStart,
    WakePhraseStart,
)
from turns_kit import frame_of, talk


async def answers(strategy: StartStrategy, script: str) -> list[bool | None]:
    """What a strategy says of each frame of a script, with no turn begun; the frames are noted as `UserTurns` does."""
    turn, said = UserTurn(), []
    for token in script.split():
        frame = frame_of(token)
        turn.see(frame)
        said.append(strategy.starts(frame, turn))
    return said


# --------------------------------------------------------------------------------------------------------- beginning


async def test_v5_voice_activity_begins_a_turn(pipes_clock) -> None:
    assert await answers(VoiceActivityStart(), "E S T:hello I:hello B+ ts X:x") == [None, True, *[None] * 5]


async def test_v5_words_begin_a_turn(pipes_clock) -> None:
    assert await answers(TranscriptionStart(), "S T:hello I:he T: T:_") == [None, True, True, None, None]
    assert await answers(TranscriptionStart(use_interim=False), "I:he T:hello") == [None, True]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("B+ T:Hello T:Hello_there", [None, False, True]),
        ("B+ I:Hello I:Hello_there", [None, False, True]),
        ("B+ I:Hello T:Hello_there", [None, False, True]),
        ("T:Hello", [True]),
        ("I:Hello", [True]),
        ("B+ B- T:Hello", [None, None, True]),
        ("T: T:_", [False, False]),
        ("B+ S E", [None, None, None]),
    ],
)
async def test_v5_while_the_bot_speaks_a_turn_takes_several_words(pipes_clock, script, expected) -> None:
    assert await answers(MinWordsStart(2), script) == expected


# They are counted in one transcript: "yes", "yes", "yes" is three times too short.
async def test_words_are_not_added_up(pipes_clock) -> None:
    assert await answers(MinWordsStart(3), "B+ T:yes T:mhm T:right") == [None, False, False, False]
    assert await answers(MinWordsStart(1, use_interim=False), "I:yes T:yes") == [None, True]


# What is too short to interrupt the bot is not said to it later either.
async def test_what_is_too_short_does_not_come_into_the_next_turn(pipes_clock) -> None:
    turns = UserTurns([MinWordsStart(3)])
    said = await talk("B+ S 1 E T:mhm_yes 1 S 1 E T:please_stop_that 5", turns)
    assert said.down == "S E S E ! turn T:please stop that over end"
    assert turns.ignored == 1


async def test_v5_a_frame_from_outside_begins_a_turn(pipes_clock) -> None:
    assert await answers(ExternalStart(), "S ts te X:x") == [None, True, None, None]
    assert await answers(ExternalStart((TextFrame, UserTurnStoppedFrame)), "S ts te X:x") == [None, None, True, True]


# ------------------------------------------------------------------------------------------------------- wake phrases


async def woken_by(script: str, *phrases: str) -> list[bool | None]:
    return await answers(WakePhraseStart(phrases), script)


async def test_v5_nothing_begins_a_turn_before_the_wake_phrase(pipes_clock) -> None:
    assert await woken_by("S E T:hello X:x B+ T:hey_robot S T:hello", "hey robot") == [*[False] * 5, True, None, None]


@pytest.mark.parametrize(
    "script",
    [
        "T:Hey,_Robot!",
        "T:well_hey_robot_turn_on_the_light",
        "T:good_morning_computer",
        "T:hey S T:robot",
        "T:Hé_Garçon",
    ],
)
async def test_a_wake_phrase_is_found(pipes_clock, script: str) -> None:
    *before, last = await woken_by(script, "hey robot", "Computer", "hé garçon")
    assert last is True
    assert not any(before)


async def test_without_a_timeout_it_stays_awake_and_one_phrase_may_stand_alone(pipes_clock) -> None:
    turns = UserTurns([WakePhraseStart("hey robot", timeout=None), VoiceActivityStart()])
    said = await talk("T:hey_robot 60 S 1 E T:one 60 S 1 E T:two", turns)
    assert said.down == "! turn T:hey robot over ! turn S E T:one over ! turn S E T:two over end"


@pytest.mark.parametrize("script", ["I:hey_robot", "T:hey_robots", "T:robot_hey", "T:hey_you T:robot", "T:", "S"])
async def test_a_wake_phrase_is_not_found(pipes_clock, script: str) -> None:
    assert not any(await woken_by(script, "hey robot"))


# What is said to somebody else is not heard below, and is counted.
async def test_what_is_said_before_the_wake_phrase_goes_no_further(pipes_clock) -> None:
    turns = UserTurns([WakePhraseStart(["hey robot"]), VoiceActivityStart()])
    said = await talk("S 1 E T:dinner_is_ready I:hey 1 S 1 E T:hey_robot_hello 2 S 1 E T:thanks 2", turns)
    assert said.down == "S E S E ! turn T:hey robot hello over ! turn S E T:thanks over end"
    assert turns.ignored == 1


async def test_v5_it_sleeps_again_when_nobody_has_spoken_for_a_while(pipes_clock) -> None:
    wake = WakePhraseStart(["hey robot"], timeout=10)
    turns = UserTurns([wake, VoiceActivityStart()])
    # The turn is over after 0.6 s; then 10 s count.
    said = await talk("T:hey_robot 10 S 1 E T:one 10.7 S 1 E T:two", turns)
    assert said.down == "! turn T:hey robot over ! turn S E T:one over S E end"
    assert not wake.awake


# Whoever speaks keeps it awake, however long that takes.
async def test_it_stays_awake_while_somebody_speaks(pipes_clock) -> None:
    turns = UserTurns([WakePhraseStart(["hey robot"], timeout=5), VoiceActivityStart()])
    said = await talk("T:hey_robot 3 B+ 60 B- 4 S 30 E T:one 3 B+ 1 B- 4 S 1 E T:two", turns)
    assert said.down == "! turn T:hey robot over ! turn S E T:one over ! turn S E T:two over end"


# Asleep, the bot's own talk does not wake it.
async def test_the_bots_speech_does_not_wake_it(pipes_clock) -> None:
    turns = UserTurns([WakePhraseStart(["hey robot"], timeout=5), VoiceActivityStart()])
    said = await talk("T:hey_robot 20 B+ 1 S 1 E T:one B- 1 S 1 E T:two", turns)
    assert said.down == "! turn T:hey robot over S E S E end"


async def test_v5_with_single_activation_each_turn_takes_the_phrase(pipes_clock) -> None:
    wake = WakePhraseStart(["hey robot"], single_activation=True)
    turns = UserTurns([wake, VoiceActivityStart()])
    said = await talk("T:hey_robot .2 S 1 E T:light 1 S 1 E T:not_you 1 T:hey_robot_stop 1", turns)
    assert said.down == "! turn T:hey robot S E T:light over S E ! turn T:hey robot stop over end"
    assert turns.ignored == 1


async def test_each_run_begins_asleep(pipes_clock) -> None:
    wake, turn = WakePhraseStart(["hey robot"]), UserTurn()
    assert wake.starts(frame_of("T:hey_robot"), turn) is True
    assert wake.awake
    assert wake.starts(StartFrame(), turn) is False
    assert not wake.awake


# ----------------------------------------------------------------------------------------------------------- the end


# S and E: speech; I: interim, T: final transcript. The turn is over 0.6 s after the last sound, with the transcript.
@pytest.mark.parametrize(
    ("script", "over"),
    [
        ("S .5 T:a .5 E 9", 1.6),
        ("S .2 I:a .3 T:a .5 E 9", 1.6),
        ("S .5 T:a .1 I:b .4 E S .4 T:b .6 E 9", 2.6),
        ("S 1 E .1 T:a 9", 1.6),
        ("S .5 I:a .5 E .1 T:a 9", 1.6),
        ("S .5 I:a .5 E .1 I:a .1 T:a 9", 1.6),
        ("S 1 E .1 I:a .1 T:a 9", 1.6),
        ("S 1 E .1 T:a .1 T:b 9", 1.6),
        ("S .5 I:a .5 E .1 T:a .1 I:b .1 T:b 9", 1.6),
        ("T:a 9", 0.6),
        ("I:a .1 T:a 9", 0.7),
        # No transcript before the time was up: over at once when it comes.
        ("S .5 I:a .5 E 2 I:a .5 T:a 9", 3.5),
        ("S .5 I:a .5 E 2 T:a 9", 3.0),
        # An interim one says that more is to come.
        ("S 1 E .1 T:a .1 I:b 2 T:a_b 9", 3.2),
    ],
)
async def test_v5_a_turn_is_over_after_silence(pipes_clock, script: str, over: float) -> None:
    said = await talk(script, UserTurns())
    assert said.times("over") == [pytest.approx(over)]
    assert not said.times("timeout")


async def test_two_turns_in_a_row(pipes_clock) -> None:
    said = await talk("S .5 T:a .5 E 2 S 1 E .1 T:b 9", UserTurns())
    assert said.times("over") == [pytest.approx(1.6), pytest.approx(4.6)]


async def test_without_waiting_for_the_transcript_silence_is_enough(pipes_clock) -> None:
    stop = [SpeechTimeoutStop(1.0, wait_for_transcript=False)]
    said = await talk("S 1 E 9", UserTurns(stop=stop))
    assert said.times("over") == [2.0]
    said = await talk("S 1 E .5 S 1 E 9", UserTurns(stop=stop))
    assert said.times("over") == [3.5]


# A recogniser that has heard no word has answered: nobody waits five seconds for more.
async def test_an_empty_transcript_is_one(pipes_clock) -> None:
    said = await talk("S 1 E .1 T: 9", UserTurns())
    assert said.down == "! turn S E T: over end"
    assert said.times("over") == [1.6]


async def test_no_timeout_at_all_ends_a_turn_with_its_transcript(pipes_clock) -> None:
    said = await talk("S 1 E .1 T:a 9", UserTurns(stop=[SpeechTimeoutStop(0)]))
    assert said.times("over") == [1.1]


async def test_v5_a_frame_from_outside_ends_a_turn(pipes_clock) -> None:
    external = [ExternalStop()]
    assert (await talk("S 1 E T:a 1 te 9", UserTurns(stop=external))).times("over") == [2.0]
    # It waits for the transcript, and for nothing else then.
    assert (await talk("S 1 E 1 te 1 T:a 9", UserTurns(stop=external))).times("over") == [3.0]
    assert (await talk("S 1 E 1 te 9", UserTurns(stop=external))).times("timeout") == [6.0]  # `te` is no sign of life
    assert (await talk("S 1 E T:a 9", UserTurns(stop=external))).times("timeout") == [6.0]


async def test_a_frame_from_outside_without_a_transcript(pipes_clock) -> None:
    stop = [ExternalStop(TextFrame, wait_for_transcript=False)]
    assert (await talk("S 1 E 1 X:over 9", UserTurns(stop=stop))).times("over") == [2.0]


# It was said of another turn, or before the user went on.
@pytest.mark.parametrize("script", ["te S 1 E T:a 9", "S 1 E te S 1 E T:a 9", "S te 1 E T:a 9"])
async def test_a_frame_that_came_too_early_does_not_end_a_turn(pipes_clock, script: str) -> None:
    said = await talk(script, UserTurns(stop=[ExternalStop()]))
    assert "over" not in said.down.split()


# The watchdog ends the turn while the transcript is waited for: the next turn knows nothing of it.
async def test_a_frame_from_outside_holds_for_its_own_turn(pipes_clock) -> None:
    said = await talk("S 1 E te 9 S 1 E T:b 9", UserTurns(stop=[ExternalStop()]))
    assert said.down == "! turn S E timeout ! turn S E T:b timeout end"
    said = await talk("S 1 E te 9 T:b 9", UserTurns(stop=[ExternalStop()]))
    assert said.down == "! turn S E timeout ! turn T:b timeout end"


async def test_what_ended_one_turn_does_not_end_the_next(pipes_clock) -> None:
    turns = UserTurns([TranscriptionStart()], [ExternalStop(TextFrame, wait_for_transcript=False)])
    said = await talk("T:a 1 X:over 1 T:b 9", turns)
    assert said.down == "! turn T:a X:over over ! turn T:b timeout end"


# One's own: what was said decides.
class WhenPolite:
    """Over with a "please", and otherwise after three seconds."""

    def stops(self, frame: Frame, turn: UserTurn) -> float:
        if not turn.transcribed or turn.silent_since is None:
            return math.inf
        return trio.current_time() if turn.text.endswith("please") else turn.silent_since + 3


async def test_v5_a_strategy_of_ones_own(pipes_clock) -> None:
    strategy: StopStrategy = WhenPolite()
    said = await talk(
        "S 1 E T:light_please 5 S 1 E T:light 1 S 1 E T:please 5 S 1 E T:light 5", UserTurns(stop=[strategy])
    )
    assert said.times("over") == [1.0, 9.0, 18.0]


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "found", "expected"),
    [
        (lambda: MinWordsStart(0), "MinWordsStart(min_words=0)", "at least 1"),
        (lambda: MinWordsStart(2, use_interim=None), "MinWordsStart(use_interim=None)", "True or False"),
        (lambda: TranscriptionStart(use_interim=1), "TranscriptionStart(use_interim=1)", "True or False"),
        (lambda: WakePhraseStart("?"), "WakePhraseStart(phrases='?')", "a phrase with words"),
        (lambda: WakePhraseStart([]), "WakePhraseStart(phrases=[])", "a phrase with words"),
        (lambda: WakePhraseStart(["hey", "!"]), "WakePhraseStart(phrases=['hey', '!'])", "with words in it"),
        (lambda: WakePhraseStart([3]), "WakePhraseStart(phrases=[3])", "a phrase with words"),
        (lambda: WakePhraseStart(["hey"], timeout=0), "WakePhraseStart(timeout=0)", "seconds above 0"),
        (lambda: WakePhraseStart(["hey"], timeout=math.inf), "WakePhraseStart(timeout=inf)", "a finite number"),
        (lambda: WakePhraseStart(["a"], single_activation=0), "single_activation=0", "True or False"),
        (lambda: ExternalStart(int), "ExternalStart(types=<class 'int'>)", "a frame class"),
        (lambda: ExternalStart(()), "ExternalStart(types=())", "a frame class"),
        (lambda: ExternalStop(UserTurnStartedFrame(at=0.0)), "ExternalStop(types=", "a frame class"),
        (lambda: ExternalStop(wait_for_transcript=2), "wait_for_transcript=2", "True or False"),
        (lambda: SpeechTimeoutStop(-1), "SpeechTimeoutStop(timeout=-1)", "0 or more"),
        (lambda: SpeechTimeoutStop(math.nan), "SpeechTimeoutStop(timeout=nan)", "0 or more"),
        (lambda: SpeechTimeoutStop(wait_for_transcript=2), "wait_for_transcript=2", "True or False"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], found: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert found in str(caught.value)
    assert expected in str(caught.value)
