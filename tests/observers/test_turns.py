"""`TurnTrackingObserver`: turns are counted once, timed by the sound of them, and end in one of three ways."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from hosting import Slow, nothing_left, records, task_of
from observers_kit import Cue, Stage
from trio_pipes import (
    BotStartedSpeakingFrame,
    ConfigurationError,
    Direction,
    EndFrame,
    EndTaskFrame,
    Frame,
    FrameProcessor,
    TextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    each,
)
from trio_pipes.observers import Turn, TurnTrackingObserver
from trio_pipes.observers._once import SpeechEvents
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint


def tracked(*between, **settings) -> tuple[TurnTrackingObserver, Stage]:
    observer = TurnTrackingObserver(**settings)
    return observer, Stage(*between, observers=[observer])


# -- a conversation


async def test_question_and_answer_are_a_turn_and_the_next_question_begins_the_next(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        for _ in range(2):
            await trio.sleep(1)
            await stage.user_speaks(2)
            await trio.sleep(0.5)
            await stage.bot_speaks(3)
    assert observer.turns == (
        Turn(1, 1.0, "user", 6.5, "user"),
        Turn(2, 7.5, "user", 13.0, "end"),
    )
    assert [turn.duration for turn in observer.turns] == [5.5, 5.5]
    assert observer.turn_count == 2
    assert observer.turn is None


async def test_a_user_who_speaks_twice_before_the_bot_does_is_in_one_turn(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.user_speaks()
        await trio.sleep(10)
        await stage.user_speaks()
        await stage.bot_speaks()
    assert observer.turns == (Turn(1, 0.0, "user", 13.0, "end"),)


async def test_a_user_who_begins_while_the_bot_speaks_interrupts_and_begins_the_next_turn(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.user_speaks()
        await stage.bot_starts()
        await trio.sleep(2)
        await stage.user_starts()
        assert observer.turns == (Turn(1, 0.0, "user", 3.0, "user", interrupted=True),)
        assert observer.turn == Turn(2, 3.0, "user")
        await stage.bot_stops(interrupted=True)  # belongs to the turn before
        await trio.sleep(10)
        assert observer.turn == Turn(2, 3.0, "user")
    assert observer.turns[1:] == (Turn(2, 3.0, "user", 13.0, "end"),)


async def test_it_is_an_interrupted_turn_also_where_the_bot_is_silent_before_the_user_is_noticed(
    autojump_clock,
) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.bot_starts()
        await trio.sleep(2)
        await stage.bot_stops(interrupted=True)
        await stage.user_starts()
    assert observer.turns[0] == Turn(1, 0.0, "bot", 2.0, "user", interrupted=True)


async def test_a_bot_that_pauses_and_goes_on_is_in_one_turn(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.user_speaks()
        for _ in range(3):
            await stage.bot_speaks()
            await trio.sleep(2.4)
        await trio.sleep(10)
    assert observer.turns == (Turn(1, 0.0, "user", 8.8, "timeout"),)


async def test_a_turn_is_over_when_the_bot_was_silent_for_the_timeout_also_where_no_frame_moves(autojump_clock) -> None:
    told: list[tuple[float, Turn]] = []
    observer, stage = tracked(on_turn_ended=lambda turn: told.append((trio.current_time(), turn)), turn_end_timeout=4)
    async with stage.running():
        await stage.user_speaks()
        await stage.bot_speaks()
        await trio.sleep(60)
        # The silence that showed it is no part of it.
        assert told == [(6.0, Turn(1, 0.0, "user", 2.0, "timeout"))]
    assert len(told) == 1
    assert observer.turns == (told[0][1],)


async def test_the_timeout_counts_from_the_last_sound_and_not_from_when_it_was_told(autojump_clock) -> None:
    times: list[float] = []
    observer, stage = tracked(on_turn_ended=lambda turn: times.append(trio.current_time()))
    async with stage.running():
        await stage.bot_starts()
        await trio.sleep(3)
        await stage.bot_stops(at=2.0)
        await trio.sleep(10)
    assert times == [4.5]
    assert observer.turns[0].duration == 2.0


async def test_an_observer_that_was_added_late_ends_a_turn_at_its_very_moment_too(autojump_clock) -> None:
    times = []
    observer, stage = TurnTrackingObserver(on_turn_ended=lambda turn: times.append(trio.current_time())), Stage()
    async with stage.running():
        stage.task.add_observer(observer)
        await stage.bot_speaks()
        await trio.sleep(10)
        assert observer.turns == (Turn(1, 0.0, "bot", 1.0, "timeout"),)
    assert times == [3.5]


async def test_a_bot_that_greets_begins_a_turn_and_so_does_one_that_speaks_of_its_own_accord(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.bot_speaks()
        await trio.sleep(60)
        await stage.bot_speaks()
        await trio.sleep(1)
        await stage.user_speaks()
    assert [(turn.started_by, turn.ended_by) for turn in observer.turns] == [
        ("bot", "timeout"), ("bot", "user"), ("user", "end"),
    ]  # fmt: skip


async def test_each_turn_is_told_when_it_begins_and_when_it_ends(autojump_clock) -> None:
    told: list[tuple[str, int, float]] = []
    _, stage = tracked(
        on_turn_started=lambda turn: told.append(("started", turn.number, trio.current_time())),
        on_turn_ended=lambda turn: told.append(("ended", turn.number, trio.current_time())),
    )
    async with stage.running():
        await stage.user_speaks()
        await stage.bot_starts()
        await trio.sleep(1)
        await stage.user_starts()
    assert told == [("started", 1, 0.0), ("ended", 1, 2.0), ("started", 2, 2.0), ("ended", 2, 2.0)]


def test_a_turn_reads_well() -> None:
    assert str(Turn(3, 1.0, "user")) == "turn 3, begun by the user, goes on"
    assert Turn(3, 1.0, "user").duration is None
    assert str(Turn(3, 1.0, "bot", 2.5, "user", interrupted=True)) == "turn 3, begun by the bot, 1.50 s, interrupted"


# -- ends


@pytest.mark.parametrize("how", ["stop_when_done", "cancel"])
async def test_the_end_of_the_task_ends_the_turn(autojump_clock, how) -> None:
    observer, stage = tracked()
    async with stage.running(how):
        await stage.user_starts()
        await trio.sleep(3)
    assert observer.turns == (Turn(1, 0.0, "user", 3.0, "end"),)


async def test_an_end_that_the_pipeline_asks_for_a_failure_and_a_cancel_from_outside_end_the_turn(
    autojump_clock,
) -> None:
    observer, stage = tracked()
    async with stage.running("has_finished"):
        await stage.user_starts()
        await trio.sleep(1)
        await stage.push("user", EndTaskFrame())
    assert observer.turns[-1].ended_by == "end"

    @each
    def crash(frame: TextFrame) -> None:
        raise ValueError("crash")

    observer, stage = tracked(crash)
    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with stage.running("has_finished"):
            await stage.user_starts()
            await trio.sleep(1)
            await stage.push("user", TextFrame())
    assert (observer.turns[-1].ended_by, observer.turns[-1].duration) == ("end", 1.0)

    observer, stage = tracked()
    with trio.move_on_after(5):
        async with stage.running():
            await stage.user_starts()
            await trio.sleep_forever()
    assert (observer.turns[-1].ended_by, observer.turns[-1].duration) == ("end", 5.0)


async def test_a_bot_that_is_cut_off_by_a_cancel_was_interrupted(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running("cancel"):
        await stage.bot_starts()
        await trio.sleep(2)
    assert observer.turns == (Turn(1, 0.0, "bot", 2.0, "end", interrupted=True),)


async def test_an_end_without_a_turn_is_an_end(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.user_speaks()
        await stage.bot_speaks()
        await trio.sleep(3)
    assert len(observer.turns) == 1
    observer, stage = tracked()
    async with stage.running():
        pass
    assert observer.turns == ()
    assert (await stage.task.wait_finished()).observer_errors == ()


async def test_the_observer_does_not_hold_up_the_end(autojump_clock) -> None:
    _, stage = tracked()
    async with stage.running():
        await stage.user_speaks()
        await stage.bot_speaks()
    assert trio.current_time() == 2.0


def test_a_task_that_is_cancelled_before_its_run_outside_of_trio_has_no_turn() -> None:
    observer, stage = tracked()
    stage.task.cancel()
    assert observer.turns == ()
    assert stage.task.statistics().state.name == "CANCELLED"


# -- each frame once


async def test_a_frame_counts_where_it_is_first_pushed_however_long_it_is_under_way(autojump_clock) -> None:
    observer, stage = tracked(Slow(), Slow())
    async with stage.running():
        await stage.task.queue_frames([TextFrame(str(n)) for n in range(30)])  # a minute of work for the slow ones
        for n in range(3):
            await stage.task.queue_frame(Cue("user", ((UserStartedSpeakingFrame, {"at": n}),)))
            await stage.task.queue_frame(Cue("user", ((UserStoppedSpeakingFrame, {"at": n + 0.5}),)))
        await trio.sleep(1)
        await stage.bot_starts()
        await stage.bot_stops()
    assert observer.turn_count == 1


async def test_a_frame_that_is_copied_or_sent_both_ways_is_one_event_and_two_at_one_moment_are_two(
    autojump_clock,
) -> None:
    class Copies(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, BotStartedSpeakingFrame | UserStartedSpeakingFrame):
                frame = type(frame)(at=frame.at)
            await self.push_frame(frame, direction)

    observer, stage = tracked(Copies())
    async with stage.running():
        for _ in range(3):
            await stage.user_starts()
            await stage.bot_starts()
    assert observer.turn_count == 3


async def test_frames_for_the_users_turn_count_where_there_are_any(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.user_starts()
        await stage.turn_starts()
        await trio.sleep(1)
        await stage.user_stops()
        await stage.turn_stops()
        await stage.bot_starts()
        await trio.sleep(1)
        await stage.user_starts()  # a cough: no turn
        await trio.sleep(1)
        await stage.bot_stops()
    assert observer.turns == (Turn(1, 0.0, "user", 3.0, "end"),)


async def test_who_speaks_after_the_end_begins_no_turn(autojump_clock) -> None:
    class SpeaksLast(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            await self.push_frame(frame, direction)
            if isinstance(frame, EndFrame):
                await self.push_frame(UserStartedSpeakingFrame(at=trio.current_time()), Direction.UPSTREAM)

    observer = TurnTrackingObserver()
    seen: list[str] = []
    task = task_of(SpeaksLast(), observers=[observer, DebugLog(seen)])
    task.stop_when_done()
    await task.run()
    assert seen == ["UserStartedSpeakingFrame"]
    assert observer.turn_count == 0


class DebugLog:
    """Notes what is pushed."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def on_frame_pushed(self, task, processor, frame, direction) -> None:
        self.seen.append(type(frame).__name__)


async def test_no_turn_ends_before_it_began(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await trio.sleep(5)
        await stage.bot_starts(at=5.5)  # it is told before it can be heard
        await stage.user_starts(at=4.5)  # and he before it is noticed
    assert [(turn.started_at, turn.ended_at) for turn in observer.turns] == [(5.5, 5.5), (4.5, 5.0)]


async def test_a_bot_that_was_cut_off_and_speaks_again_was_interrupted(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.bot_starts()
        await trio.sleep(1)
        await stage.bot_stops(interrupted=True)
        await trio.sleep(1)
        await stage.bot_speaks()
    assert observer.turns == (Turn(1, 0.0, "bot", 3.0, "end", interrupted=True),)


# -- bounds, misuse


async def test_as_many_turns_as_were_asked_for_are_kept_and_all_are_counted(autojump_clock) -> None:
    observer, stage = tracked(keep=3)
    async with stage.running():
        for _ in range(10):
            await stage.bot_speaks()
            await trio.sleep(5)
    assert [turn.number for turn in observer.turns] == [8, 9, 10]
    assert observer.turn_count == 10


async def test_a_function_that_raises_is_the_observers_failure_and_hurts_nobody(autojump_clock, caplog) -> None:
    def fails(turn: Turn) -> None:
        raise LookupError("callback")

    for event in ("on_turn_started", "on_turn_ended"):
        observer, stage = tracked(**{event: fails})
        async with nothing_left(), stage.running():
            await stage.bot_speaks()
            await trio.sleep(10)
        result = await stage.task.wait_finished()
        assert [repr(error) for error in result.observer_errors] == ["LookupError('callback')"]
        assert observer.turn_count == 1
    assert len(records(caplog)) == 2


async def test_it_watches_one_task_after_another_and_not_two_at_once(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.bot_speaks()
    other = Stage(observers=[observer])
    async with other.running():
        await other.bot_speaks()
        third = Stage(observers=[observer])
        async with third.running():
            await third.bot_speaks()
        (error,) = (await third.task.wait_finished()).observer_errors
        assert isinstance(error, ConfigurationError)
        assert third.task.name in str(error)
        assert other.task.name in str(error)
    assert [turn.number for turn in observer.turns] == [1, 2]


async def test_one_that_was_taken_away_from_a_task_may_watch_another_when_that_is_over(autojump_clock) -> None:
    observer, stage = tracked()
    async with stage.running():
        await stage.bot_speaks()
        stage.task.remove_observer(observer)
    other = Stage(observers=[observer])
    async with other.running():
        await other.bot_speaks()
    assert (await other.task.wait_finished()).observer_errors == ()
    assert observer.turn_count == 2


async def test_a_thousand_events_are_remembered_and_no_more(autojump_clock) -> None:
    speech, speaker = SpeechEvents(), FrameProcessor()
    for n in range(5000):
        assert speech.take(speaker, BotStartedSpeakingFrame(at=float(n)), Direction.DOWNSTREAM)
    assert len(speech._told) <= 1000
    assert len(speech._once._new) + len(speech._once._old) <= 2000


@pytest.mark.parametrize("bad", [-1, math.inf, math.nan, "2", None, True])
def test_a_timeout_that_is_no_time_is_refused(bad) -> None:
    with pytest.raises(ConfigurationError, match="turn_end_timeout=.*expected a finite number of seconds"):
        TurnTrackingObserver(turn_end_timeout=bad)


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None, True])
def test_a_number_to_keep_that_is_none_is_refused(bad) -> None:
    with pytest.raises(ConfigurationError, match="keep=.*expected a number of turns"):
        TurnTrackingObserver(keep=bad)


@pytest.mark.parametrize("what", ["on_turn_started", "on_turn_ended"])
def test_what_is_no_sync_function_is_refused(what) -> None:
    async def waits(turn: Turn) -> None:
        pass

    with pytest.raises(ConfigurationError, match=rf"{what}=3\): expected a function"):
        TurnTrackingObserver(**{what: 3})
    with pytest.raises(ConfigurationError, match=rf"{what}=.*expected a sync function"):
        TurnTrackingObserver(**{what: waits})


async def test_a_cancel_at_any_moment_leaves_nothing_and_ends_the_turn(autojump_clock) -> None:
    async def scenario(attempt: Attempt) -> None:
        observer, stage = tracked()
        attempt.afterwards(lambda: observer.turn is None or pytest.fail(f"{observer.turn} goes on"))
        async with stage.running():
            await stage.bot_speaks()
            await stage.user_starts()

    assert await cancel_at_every_checkpoint(scenario) > 5


# -- whatever happens

moves = st.lists(
    st.tuples(
        st.sampled_from(["user_starts", "user_stops", "turn_starts", "turn_stops", "bot_starts", "bot_stops"]),
        st.sampled_from([0.0, 0.5, 2.4, 2.5, 3.0]),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(moves)
def test_whatever_happens_turns_follow_one_another_and_each_that_began_ends_once(script) -> None:
    begun: list[Turn] = []
    ended: list[Turn] = []
    observer = TurnTrackingObserver(on_turn_started=begun.append, on_turn_ended=ended.append)

    async def main() -> None:
        stage = Stage(observers=[observer])
        async with stage.running():
            for move, pause in script:
                await getattr(stage, move)()
                await trio.sleep(pause)
        assert (await stage.task.wait_finished()).observer_errors == ()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    numbers = list(range(1, len(begun) + 1))
    assert [turn.number for turn in begun] == [turn.number for turn in ended] == numbers
    assert tuple(ended) == observer.turns
    last = 0.0
    for turn in ended:
        assert last <= turn.started_at <= turn.ended_at
        last = turn.ended_at


@pytest.mark.parametrize("name", ["on_turn_started", "on_turn_ended"])
async def test_what_a_callback_gives_to_await_is_an_error_and_not_lost(autojump_clock, name) -> None:
    async def tell(turn: Turn) -> None: ...

    def forgets(turn: Turn) -> object:
        return tell(turn)

    observer = TurnTrackingObserver(**{name: forgets})
    stage = Stage(observers=[observer])
    async with stage.running():
        await stage.bot_speaks()
    (error,) = (await stage.task.wait_finished()).observer_errors
    assert str(error).startswith(f"{name} gave <coroutine object")


@pytest.mark.parametrize("bad", [lambda: None, lambda turn, more: None, "print"])
def test_a_callback_that_cannot_take_the_record_is_refused(bad) -> None:
    with pytest.raises(ConfigurationError, match="on_turn_ended=.*expected a function to call with the record"):
        TurnTrackingObserver(on_turn_ended=bad)


def test_a_callback_that_would_only_make_a_generator_is_refused() -> None:
    def tells(turn: Turn):
        yield turn

    with pytest.raises(ConfigurationError, match="on_turn_ended=.*; this is a generator"):
        TurnTrackingObserver(on_turn_ended=tells)
