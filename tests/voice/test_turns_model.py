"""V5: turns, mutes and idling under any order of events: nothing that was said is lost, and turns are turns."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing
from hypothesis import given, strategies as st

from examples import examples
from trio_pipes import FrameProcessor, TextFrame
from trio_pipes.voice import (
    Between,
    DuringFirstSpeech,
    ExternalStart,
    ExternalStop,
    MinWordsStart,
    SpeechTimeoutStop,
    TranscriptionStart,
    UntilFirstSpeech,
    UserIdle,
    UserMute,
    UserTurnAggregator,
    UserTurns,
    VoiceActivityStart,
    WakePhraseStart,
    WhileBotSpeaks,
)
from turns_kit import Talk, talk

# What may happen, and how long until the next thing does. Transcripts are numbered, so that none is like another.
EVENTS = st.sampled_from(
    ["S", "E", "E-.5", "T", "T", "Twake_up", "Ttwo_words", "I:well", "B+", "B-", "ts", "te", "X:on", "!", "^X:up"]
)
PAUSES = st.sampled_from(["0", "0", ".1", ".5", ".6", "1", "3", "5", "12"])
SCRIPTS = st.lists(st.tuples(EVENTS, PAUSES), max_size=40)

STARTS = st.lists(
    st.sampled_from(
        [
            VoiceActivityStart,
            TranscriptionStart,
            lambda: TranscriptionStart(use_interim=False),
            lambda: MinWordsStart(2),
            lambda: WakePhraseStart(["wake up"]),
            lambda: WakePhraseStart(["wake up"], timeout=2.0, single_activation=True),
            ExternalStart,
            lambda: ExternalStart(TextFrame),
        ]
    ),
    min_size=1,
    max_size=3,
)
STOPS = st.lists(
    st.sampled_from(
        [
            SpeechTimeoutStop,
            lambda: SpeechTimeoutStop(0.0, wait_for_transcript=False),
            lambda: SpeechTimeoutStop(2.0),
            ExternalStop,
            lambda: ExternalStop(TextFrame, wait_for_transcript=False),
        ]
    ),
    max_size=3,
)
MUTES = st.none() | st.sampled_from(
    [WhileBotSpeaks, DuringFirstSpeech, UntilFirstSpeech, lambda: Between(TextFrame, TextFrame)]
)


def script_of(events: list[tuple[str, str]]) -> str:
    """The script, with the number of each transcript in its words."""
    tokens: list[str] = []
    for number, (event, pause) in enumerate(events):
        tokens += [f"T:{event[1:]}_{number}" if event.startswith("T") else event, pause]
    return " ".join(tokens)


@examples(300)
@given(events=SCRIPTS, start=STARTS, stop=STOPS, mute=MUTES, slow=st.sampled_from([0.0, 0.0, 0.3]), joins=st.booleans())
def test_v5_nothing_is_lost_and_turns_are_turns(
    events: list[tuple[str, str]], start: Any, stop: Any, mute: Any, slow: float, joins: bool
) -> None:
    script = script_of(events)

    async def main() -> None:
        muter = None if mute is None else UserMute(mute())
        turns = UserTurns([make() for make in start], [make() for make in stop])
        called: list[float] = []
        idle = UserIdle(3.0, lambda retries: called.append(trio.current_time()))
        processors: list[FrameProcessor] = [turns, *([UserTurnAggregator()] if joins else []), idle]
        said = await talk(script, *([muter] if muter else []), *processors, slow=slow)
        check(script, said, turns.ignored + (muter.dropped if muter else 0), joins=joins)
        end = trio.current_time()
        await trio.sleep(100)  # no timer goes off after the end
        assert all(at <= end for at in called)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def check(script: str, said: Talk, dropped: int, *, joins: bool) -> None:
    down, up = said.down.split(" "), said.up.split(" ")
    names = [name.split(":")[0] for name in said.down.replace("timeout", "over").split()]
    turns = [name for name in names if name in ("turn", "over")]
    # They alternate, the last one is over, and both ways the same is told.
    assert turns == ["turn", "over"] * (len(turns) // 2)
    assert [name for name in up if name in ("turn", "over", "timeout")] == [
        name for name in down if name in ("turn", "over", "timeout")
    ]
    assert names[-1:] == ["end"]
    # Each transcript is in a turn, or was dropped and counted; none comes twice; they keep their order.
    numbers = [token.split("_")[-1] for token in script.split() if token.startswith("T:")]
    kept = [word for _, frame in said.below for word in getattr(frame, "text", "").split() if word.isdigit()]
    assert [number for number in numbers if number in kept] == kept
    assert len(kept) == len(set(kept)) == len(numbers) - dropped
    is_open = False
    for name in names:
        if name in ("turn", "over"):
            is_open = name == "turn"
        assert name != "T" or is_open
    if joins:
        assert names.count("T") <= names.count("turn")
    # No turn is over while the user speaks, but at the very end.
    speaks = False
    for place, name in enumerate(names):
        speaks = name == "S" or (speaks and name != "E")
        if name == "over" and speaks:
            assert set(names[place + 1 :]) <= {"end"}


# The same on its own: with the strategies of everyday, everything that was said is in a turn.
@examples(100)
@given(events=SCRIPTS)
def test_v5_with_the_usual_strategies_every_word_is_in_a_turn(events: list[tuple[str, str]]) -> None:
    script = script_of(events)

    async def main() -> None:
        turns = UserTurns()
        said = await talk(script, turns, UserTurnAggregator())
        assert turns.ignored == 0
        check(script, said, 0, joins=True)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
