"""`UserBotLatencyObserver`: from the user's last sound to the bot's first, in steps that add up to the whole."""

from __future__ import annotations

import math

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from hosting import Slow, nothing_left
from observers_kit import Stage
from trio_pipes import (
    BotStartedSpeakingFrame,
    ConfigurationError,
    DataFrame,
    Direction,
    Frame,
    FrameProcessor,
    InputAudioFrame,
    OutputAudioFrame,
    StartFrame,
    TextFrame,
    TTFBMetrics,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from trio_pipes.observers import LatencyStep, UserBotLatency, UserBotLatencyObserver
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint


@attrs.define(eq=False)
class Transcript(DataFrame):
    text: str = ""


class Recogniser(FrameProcessor):
    """Has a transcript 0.25 s after it was told that the user has finished."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, UserStoppedSpeakingFrame) and direction is Direction.DOWNSTREAM:
            await trio.sleep(0.25)
            await self.push_frame(Transcript("hello"))


class Model(FrameProcessor):
    """Half a second to the first word, of which 0.375 s are the service's; a word every eighth of a second from then on."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, Transcript):
            await self.push_frame(frame, direction)
            return
        await trio.sleep(0.125)
        self.metrics.start_ttfb()
        await trio.sleep(0.375)
        await self.metrics.stop_ttfb()
        for word in ("Hello", " there", ". How", " are", " you?"):
            await self.push_frame(TextFrame(word))
            await trio.sleep(0.125)


class Sentences(FrameProcessor):
    """Makes sentences of words."""

    text = ""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)
            return
        self.text += frame.text
        head, mark, self.text = self.text.rpartition(".")
        if mark:
            await self.push_frame(TextFrame(head + mark))


class Voice(FrameProcessor):
    """Speaks what it is given, after 0.125 s."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)
            return
        await trio.sleep(0.125)
        for _ in range(3):
            await self.push_frame(OutputAudioFrame(bytes(480), 24_000))


class Player(FrameProcessor):
    """Begins to play 1/16 s after it has the first sound."""

    speaks = False

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, OutputAudioFrame) and not self.speaks:
            self.speaks = True
            await trio.sleep(0.0625)
            await self.broadcast_frame(BotStartedSpeakingFrame, at=trio.current_time())


def measured(*between, enable_metrics=True, **settings) -> tuple[UserBotLatencyObserver, Stage]:
    observer = UserBotLatencyObserver(**settings)
    return observer, Stage(*between, observers=[observer], enable_metrics=enable_metrics)


def assistant() -> tuple[FrameProcessor, ...]:
    return Recogniser("stt"), Model("llm"), Sentences("sentences"), Voice("tts"), Player("speaker")


# -- one latency


async def test_it_counts_from_the_last_sound_of_the_user_to_the_first_of_the_bot(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        await stage.user_starts()
        await trio.sleep(2)
        await stage.user_stops(at=1.5)  # half a second of silence shows it
        await trio.sleep(1)
        await stage.bot_starts(at=3.125)  # it sounds an eighth of a second after it is told
    (latency,) = observer.latencies
    assert latency == UserBotLatency(
        1.5,
        3.125,
        (
            LatencyStep("silence, until the end was noticed", "user", 1.5, 2.0),
            LatencyStep("first sound", "bot", 2.0, 3.125),
        ),
    )
    assert latency.seconds == 1.625
    assert [step.seconds for step in latency.steps] == [0.5, 1.125]


async def test_the_steps_tell_who_brought_what_and_add_up_to_the_whole(autojump_clock) -> None:
    observer, stage = measured(*assistant())
    async with stage.running():
        await stage.user_starts()
        await trio.sleep(2)
        await stage.user_stops(at=1.5)
        await trio.sleep(10)
    (latency,) = observer.latencies
    assert [(step.processor, step.what, step.seconds, step.ttfb) for step in latency.steps] == [
        ("user", "silence, until the end was noticed", 0.5, None),
        ("stt", "first Transcript", 0.25, None),
        ("llm", "first TextFrame", 0.5, 0.375),
        ("sentences", "first TextFrame", 0.25, None),
        ("tts", "first OutputAudioFrame", 0.125, None),
        ("speaker", "first sound", 0.0625, None),
    ]
    assert latency.seconds == 1.6875 == sum(step.seconds for step in latency.steps)
    assert latency.ttfb == (TTFBMetrics("llm", 0.375),)
    for step, after in zip(latency.steps, latency.steps[1:], strict=False):
        assert step.ended_at == after.began_at


async def test_a_latency_reads_as_a_table(autojump_clock) -> None:
    observer, stage = measured(*assistant())
    async with stage.running():
        await stage.user_starts()
        await trio.sleep(2)
        await stage.user_stops(at=1.5)
        await trio.sleep(10)
        await stage.user_starts()
        await stage.user_stops()
        await stage.user_starts()
    assert str(observer.latencies[0]) == (
        "1.688 s from the user's last sound to the bot's first sound\n"
        "    0.000  +0.500  user       silence, until the end was noticed\n"
        "    0.500  +0.250  stt        first Transcript\n"
        "    0.750  +0.500  llm        first TextFrame (time to first byte 0.375)\n"
        "    1.250  +0.250  sentences  first TextFrame\n"
        "    1.500  +0.125  tts        first OutputAudioFrame\n"
        "    1.625  +0.062  speaker    first sound"
    )
    assert observer.render() == (
        "   at, s  latency, s  longest step, s\n"
        "    1.50        1.688  0.500  user: silence, until the end was noticed\n"
        "   12.00  interrupted  0.000  user: silence, until the end was noticed\n"
        "  median       1.688\n"
        "   worst       1.688"
    )


async def test_the_table_of_latencies_counts_from_the_beginning_of_the_run(autojump_clock) -> None:
    await trio.sleep(100)
    observer, stage = measured()
    async with stage.running():
        await trio.sleep(5)
        await stage.user_speaks()
        await trio.sleep(1)
        await stage.bot_starts()
    assert observer.render().splitlines()[1].split()[:2] == ["6.00", "1.000"]


async def test_each_question_is_measured(autojump_clock) -> None:
    told: list[UserBotLatency] = []
    observer, stage = measured(on_latency=told.append)
    async with stage.running():
        for seconds in (1, 2, 3):
            await stage.user_speaks()
            await trio.sleep(seconds)
            await stage.bot_speaks()
    assert [latency.seconds for latency in told] == [1, 2, 3]
    assert tuple(told) == observer.latencies


async def test_without_metrics_there_are_steps_all_the_same(autojump_clock) -> None:
    observer, stage = measured(*assistant(), enable_metrics=False)
    async with stage.running():
        await stage.user_speaks()
        await trio.sleep(10)
    (latency,) = observer.latencies
    assert latency.ttfb == ()
    assert len(latency.steps) == 6
    assert all(step.ttfb is None for step in latency.steps)


async def test_the_first_text_counts_and_none_that_only_passes(autojump_clock) -> None:
    observer, stage = measured(*assistant(), Slow(0), Slow(0))
    async with stage.running():
        await stage.push("user", TextFrame("made before "))
        await stage.user_speaks()
        await trio.sleep(10)
    (latency,) = observer.latencies
    assert [step.processor for step in latency.steps].count("sentences") == 1
    assert not any((step.processor or "").startswith("Slow") for step in latency.steps)


async def test_what_was_under_way_before_is_no_step(autojump_clock) -> None:
    observer, stage = measured(Slow(2))
    async with stage.running():
        await stage.push("user", TextFrame("of before"))
        await stage.user_speaks()
        await trio.sleep(5)
        await stage.bot_starts()
    assert [step.what for step in observer.latencies[0].steps] == ["silence, until the end was noticed", "first sound"]


async def test_a_time_to_first_byte_stands_beside_the_first_step_of_its_processor(autojump_clock) -> None:
    class Twice(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            await self.push_frame(frame, direction)
            if isinstance(frame, UserStoppedSpeakingFrame) and direction is Direction.DOWNSTREAM:
                self.metrics.start_ttfb()
                await trio.sleep(1)
                await self.metrics.stop_ttfb()
                await self.push_frame(Transcript())
                await self.push_frame(TextFrame())

    observer, stage = measured(Twice("twice"))
    async with stage.running():
        await stage.user_speaks()
        await trio.sleep(2)
        await stage.bot_starts()
    assert [step.ttfb for step in observer.latencies[0].steps] == [None, 1.0, None, None]


async def test_input_audio_is_no_step(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        await stage.user_speaks()
        await stage.push("user", InputAudioFrame(bytes(320), 16_000))
        await trio.sleep(1)
        await stage.bot_starts()
    assert [step.what for step in observer.latencies[0].steps] == ["silence, until the end was noticed", "first sound"]


async def test_the_steps_may_be_chosen(autojump_clock) -> None:
    observer, stage = measured(*assistant(), milestones=(Transcript, OutputAudioFrame))
    async with stage.running():
        await stage.user_speaks()
        await trio.sleep(10)
    assert [step.what for step in observer.latencies[0].steps] == [
        "silence, until the end was noticed", "first Transcript", "first OutputAudioFrame", "first sound",
    ]  # fmt: skip


# -- none, and interrupted ones


async def test_a_bot_that_speaks_of_its_own_accord_is_not_measured(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        await stage.user_speaks()
        await stage.bot_speaks()
        await trio.sleep(1)
        await stage.bot_speaks()
    assert len(observer.latencies) == 1


@pytest.mark.parametrize("how", ["the user goes on", "an interrupt"])
async def test_a_reply_that_is_dropped_before_its_first_sound_is_told_as_interrupted(autojump_clock, how) -> None:
    observer, stage = measured(*assistant())
    async with stage.running():
        await stage.user_speaks()
        await trio.sleep(0.5)
        if how == "an interrupt":
            await stage.task.interrupt()
        else:
            await stage.user_starts()
        await trio.sleep(0.5)
        await stage.user_stops()
        await trio.sleep(10)
    first, second = observer.latencies
    assert (first.interrupted, first.seconds) == (True, 0.5)
    assert [(step.processor, step.seconds) for step in first.steps] == [("user", 0.0), ("stt", 0.25), (None, 0.25)]
    # What was measured before is forgotten.
    assert not second.interrupted
    assert second.steps[0].began_at == 2.0


async def test_one_interrupt_is_one_record_whoever_tells_of_it_first(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        await stage.user_speaks()
        await stage.task.interrupt()
        await trio.sleep(1)
        await stage.user_stops()
        await stage.task.interrupt()
        await stage.task.interrupt()
    assert [latency.interrupted for latency in observer.latencies] == [True, True]


# -- the bot speaks first


async def test_a_bot_that_speaks_first_is_measured_from_the_start_and_once(autojump_clock) -> None:
    told: list[UserBotLatency] = []
    observer, stage = measured(Voice("tts"), Player("speaker"), on_latency=told.append)
    async with stage.running():
        await trio.sleep(0.5)
        await stage.push("user", TextFrame("Welcome."))
        await trio.sleep(2)
        await stage.bot_speaks()
    (first,) = told
    assert first is observer.first_bot_speech
    assert first.after_start
    assert first.seconds == 0.6875
    assert [step.what for step in first.steps] == ["first TextFrame", "first OutputAudioFrame", "first sound"]
    assert str(first).startswith("0.688 s from the start to the bot's first sound")
    assert observer.latencies == ()


async def test_where_the_user_speaks_first_there_is_no_first_speech_of_the_bot(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        await stage.user_speaks()
        await stage.bot_speaks()
    assert observer.first_bot_speech is None
    assert len(observer.latencies) == 1


async def test_who_speaks_before_the_pipeline_is_up_has_spoken_first(autojump_clock) -> None:
    class Early(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, StartFrame):
                await self.broadcast_frame(UserStartedSpeakingFrame, at=trio.current_time())
            await self.push_frame(frame, direction)

    observer, stage = measured(Early())
    async with stage.running():
        await trio.sleep(1)
        await stage.bot_speaks()
    assert observer.first_bot_speech is None


# -- turns


async def test_with_turns_it_counts_from_the_end_of_the_turn_and_a_pause_is_none(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        await stage.turn_starts()
        await stage.user_speaks()
        await trio.sleep(2)
        await stage.user_starts()
        await trio.sleep(1)
        await stage.user_stops()
        await trio.sleep(0.5)
        await stage.turn_stops(at=4.0)
        await trio.sleep(0.25)
        await stage.user_speaks(0.25)  # a cough
        await stage.bot_starts()
    (latency,) = observer.latencies
    assert [(step.what, step.seconds) for step in latency.steps] == [
        ("silence, until the end was noticed", 0.0),
        ("the turn was taken as over", 0.5),
        ("first sound", 0.5),
    ]


async def test_a_turn_that_is_only_noticed_when_it_is_over_is_measured(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        for _ in range(2):
            await stage.user_speaks()
            await trio.sleep(0.5)
            await stage.turn_starts()  # by the transcript
            await stage.turn_stops(at=trio.current_time() - 0.5)
            await trio.sleep(0.5)
            await stage.bot_speaks()
    assert [latency.seconds for latency in observer.latencies] == [1.0, 1.0]
    for latency in observer.latencies:
        assert not latency.interrupted
        assert [(step.what, step.seconds) for step in latency.steps] == [
            ("silence, until the end was noticed", 0.0),
            ("the turn was taken as over", 0.5),
            ("first sound", 0.5),
        ]


async def test_an_interrupt_in_the_middle_of_a_turn_interrupts_no_answer(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        await stage.turn_starts()
        await stage.user_speaks()
        await stage.task.interrupt()
        await trio.sleep(0.5)
        await stage.turn_stops(at=1.0)
        await stage.bot_starts()
    (latency,) = observer.latencies
    assert [(step.what, step.seconds) for step in latency.steps] == [
        ("silence, until the end was noticed", 0.0),
        ("the turn was taken as over", 0.5),
        ("first sound", 0.0),
    ]


async def test_the_next_turn_interrupts_the_answer_to_the_last(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        for _ in range(2):
            await stage.turn_starts()
            await stage.turn_stops()
            await trio.sleep(1)
    assert [(latency.interrupted, latency.seconds) for latency in observer.latencies] == [(True, 1.0)]


# -- bounds, misuse


async def test_as_many_as_were_asked_for_are_kept(autojump_clock) -> None:
    observer, stage = measured(keep=3)
    async with stage.running():
        for seconds in range(1, 11):
            await stage.user_speaks()
            await trio.sleep(seconds)
            await stage.bot_speaks()
    assert [latency.seconds for latency in observer.latencies] == [8, 9, 10]


async def test_one_that_never_ends_takes_no_more_memory(autojump_clock) -> None:
    observer, stage = measured()
    async with stage.running():
        await stage.user_speaks()
        for _ in range(5000):
            await stage.task.queue_frame(TextFrame())
        await stage.task.flush()
        wait = observer._wait
        assert len(wait.marks) < 5
        assert len(wait._once._new) + len(wait._once._old) <= 2000


def test_a_table_of_nothing_is_a_heading() -> None:
    assert UserBotLatencyObserver().render() == "   at, s  latency, s  longest step, s"


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None, True])
def test_a_number_to_keep_that_is_none_is_refused(bad) -> None:
    with pytest.raises(ConfigurationError, match="keep=.*expected a number of latencies"):
        UserBotLatencyObserver(keep=bad)


@pytest.mark.parametrize("bad", [int, [TextFrame], (int,), ("TextFrame",), (TextFrame(),), 3])
def test_milestones_that_are_no_classes_of_frames_are_refused(bad) -> None:
    with pytest.raises(ConfigurationError, match="milestones=.*expected a frame class, a tuple of them"):
        UserBotLatencyObserver(milestones=bad)


def test_what_is_no_sync_function_is_refused() -> None:
    async def waits(latency: UserBotLatency) -> None:
        pass

    with pytest.raises(ConfigurationError, match=r"on_latency=3\): expected a function"):
        UserBotLatencyObserver(on_latency=3)
    with pytest.raises(ConfigurationError, match="on_latency=.*expected a sync function"):
        UserBotLatencyObserver(on_latency=waits)


async def test_it_watches_one_task_at_a_time(autojump_clock) -> None:
    observer, stage = measured()
    other = Stage(observers=[observer])
    async with stage.running():
        async with other.running():
            await other.user_speaks()
        await stage.user_speaks()
        await stage.bot_speaks()
    (error,) = (await other.task.wait_finished()).observer_errors
    assert isinstance(error, ConfigurationError)
    assert stage.task.name in str(error)
    assert other.task.name in str(error)
    assert len(observer.latencies) == 1
    third = Stage(observers=[observer])
    async with third.running():
        await third.user_speaks()
        await third.bot_speaks()
    assert len(observer.latencies) == 2


async def test_it_may_come_and_go_while_the_task_runs(autojump_clock) -> None:
    observer, stage = UserBotLatencyObserver(), Stage()
    async with nothing_left(), stage.running():
        await stage.user_speaks()
        stage.task.add_observer(observer)
        await trio.sleep(1)
        await stage.bot_speaks()  # to a question that it has not heard
        await stage.user_speaks()
        await trio.sleep(1)
        await stage.bot_speaks()
        stage.task.remove_observer(observer)
        await stage.user_speaks()
        await stage.bot_speaks()
    assert [latency.seconds for latency in observer.latencies] == [1.0]
    assert observer.render().splitlines()[1].split()[:2] == ["0.00", "1.000"]


async def test_a_cancel_at_any_moment_leaves_nothing(autojump_clock) -> None:
    async def scenario(attempt: Attempt) -> None:
        observer, stage = measured(*assistant())
        attempt.afterwards(lambda: all(math.isfinite(latency.seconds) for latency in observer.latencies))
        async with stage.running():
            await stage.user_speaks()
            await trio.sleep(2)

    assert await cancel_at_every_checkpoint(scenario, stride=3) > 10


# -- whatever happens

moves = st.lists(
    st.tuples(
        st.sampled_from(
            ["user_starts", "user_stops", "turn_starts", "turn_stops", "bot_starts", "bot_stops", "interrupt", "text"]
        ),
        st.sampled_from([0.0, 0.5, 0.3]),
        st.sampled_from([-1.0, -0.1, 0.0, 0.1]),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(moves)
def test_whatever_happens_the_steps_of_each_latency_follow_one_another_and_add_up(script) -> None:
    observer = UserBotLatencyObserver()

    async def main() -> None:
        stage = Stage(Slow(0.25, "slow"), observers=[observer])
        async with stage.running():
            for move, pause, early in script:
                if move == "interrupt":
                    await stage.task.interrupt()
                elif move == "text":
                    await stage.task.queue_frame(TextFrame())
                else:
                    await getattr(stage, move)(trio.current_time() + early)
                await trio.sleep(pause)
        assert (await stage.task.wait_finished()).observer_errors == ()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    for latency in observer.latencies:
        assert latency.steps[0].began_at == latency.began_at
        assert latency.steps[-1].ended_at == latency.ended_at
        assert all(step.seconds >= 0 for step in latency.steps)
        assert all(a.ended_at == b.began_at for a, b in zip(latency.steps, latency.steps[1:], strict=False))
        assert math.isclose(sum(step.seconds for step in latency.steps), latency.seconds, abs_tol=1e-9)
        assert str(latency)
    assert observer.render()
