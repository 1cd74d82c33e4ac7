"""V5: the bot has spoken, and the user says nothing. The scripts are those of `turns_kit`."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import trio

from trio_pipes import (
    ConfigurationError,
    Direction,
    EndTaskFrame,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StopFrame,
    TaskState,
    TextFrame,
)
from trio_pipes.testing import run_processor
from trio_pipes.voice import Between, FrameCondition, UserIdle, UserIdleTimeoutUpdateFrame, UserTurns
from turns_kit import Talk, frame_of, talk


class Calls:
    """Writes down when it is called, and with what."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls: list[tuple[float, int]] = []

    def __call__(self, retries: int) -> Any:
        self.calls.append((round(trio.current_time() - Talk.began, 6), retries))
        return self.answer(retries) if callable(self.answer) else self.answer

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.calls]


async def times(script: str, timeout: float | None = 5.0, **settings: Any) -> list[float]:
    """When somebody who gives up after the first time is called."""
    calls = Calls(False)
    others: dict[str, Callable[[], object]] = {
        f"timeout={seconds}": lambda seconds=seconds: UserIdleTimeoutUpdateFrame(float(seconds))
        for seconds in (2, 5, 20)
    }
    others["timeout=None"] = lambda: UserIdleTimeoutUpdateFrame(None)
    await talk(script, UserIdle(timeout, calls, **settings), others=others)
    return calls.times


# ------------------------------------------------------------------------------------------------------ when it counts


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("B+ 1 B- 20", [6.0]),
        # Nobody has been spoken to yet.
        ("20", []),
        ("S 1 E 20", []),
        ("ts 1 te T:hello 20", []),
        # Who speaks is not idle, and who is answered neither.
        ("B+ 1 B- 4 S 20 E 20", []),
        ("B+ 1 B- 4 S 1 E 2 B+ 1 B- 20", [14.0]),
        ("B+ 1 B- 4 ts S 20 E 5 te 20", []),
        ("B+ 1 B- 4 ts 1 te 1 B+ 1 B- 20", [13.0]),
        ("B+ 1 B- 4 B+ 10 B- 20", [20.0]),
        ("B+ 20 B- 4", []),
        # Issue 5479 there: a transcript alone is a sign of life.
        ("B+ 1 B- 4 T:hello 20", []),
        ("B+ 1 B- 4 T: 20", [6.0]),
        # The bot is cut off: it is the user who speaks then.
        ("B+ 1 S B- 20", []),
        ("B+ 1 ts B- 20 te 20", []),
        ("B+ 1 S B- 1 E 20", []),
        # It is not cut off, and goes on.
        ("B+ 1 S 1 E 2 B- 20", [9.0]),
        # A cough, where turns are told: it is still the user's turn to speak.
        ("ts te B+ 1 B- 4 S .5 E 20", [10.5]),
        ("ts te B+ 1 B- 4 S .5 E ts te 20", []),
        # Again, after the bot has spoken again.
        ("B+ 1 B- 6 S 1 E B+ 1 B- 20", [6.0, 14.0]),
    ],
)
async def test_v5_when_the_user_is_idle(pipes_clock, script: str, expected: list[float]) -> None:
    assert await times(script) == expected


@pytest.mark.parametrize(
    ("script", "timeout", "expected"),
    [
        ("B+ 1 B- 20", None, []),
        # On while all is quiet: from now on.
        ("B+ 1 B- 3 timeout=5 20", None, [9.0]),
        ("timeout=5 B+ 1 B- 20", None, [6.0]),
        ("B+ 1 B- 3 timeout=None 20", 5.0, []),
        # It begins to count anew.
        ("B+ 1 B- 3 timeout=2 20", 20.0, [6.0]),
        ("B+ 1 B- 3 timeout=20 30", 5.0, [24.0]),
        ("B+ 1 B- 3 ^timeout=2 20", 20.0, [6.0]),
        # It does not begin to count where it would not.
        ("B+ timeout=5 20 B-", None, []),
        ("timeout=5 20", None, []),
        ("B+ B- ts timeout=5 20", None, []),
        ("B+ B- S timeout=5 20", None, []),
        ("B+ B- ts 1 te timeout=5 20", None, []),
        ("B+ B- ts 1 te timeout=5 1 B+ 1 B- 20", None, [8.0]),
    ],
)
async def test_v5_the_timeout_changes_while_it_runs(pipes_clock, script, timeout, expected) -> None:
    assert await times(script, timeout) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("B+ 1 B- 3 X:call 20", []),
        ("X:call B+ 1 B- 20", []),
        ("B+ 1 B- 3 X:call 10 ts 20", []),
        ("B+ 1 B- 3 X:call 10 T: 20", []),
    ],
)
async def test_a_condition_excuses_the_user(pipes_clock, script: str, expected: list[float]) -> None:
    assert await times(script, unless=[Between(TextFrame, StopFrame)]) == expected


async def test_when_the_condition_is_over_time_begins_to_count(pipes_clock) -> None:
    class AfterTwo(FrameCondition):
        texts = 0

        def holds(self, frame: Frame) -> bool:
            self.texts += isinstance(frame, TextFrame)
            return self.texts == 1

    assert await times("B+ 1 B- 3 X:a 10 X:b 20", unless=[AfterTwo()]) == [19.0]


# -------------------------------------------------------------------------------------------------------- what it does


# One, two, three times: it counts on while the user says nothing, and begins anew when he does.
async def test_v5_retries_are_counted(pipes_clock) -> None:
    calls = Calls()
    await talk("B+ 1 B- 11 S 1 E B+ 1 B- 6", UserIdle(5.0, calls))
    assert calls.calls == [(6.0, 1), (11.0, 2), (20.0 - 1, 1)]


@pytest.mark.parametrize("sign", ["S E", "ts te", "T:yes"])
async def test_any_sign_of_life_begins_the_count_anew(pipes_clock, sign: str) -> None:
    calls = Calls()
    idle = UserIdle(5.0, calls)
    assert idle.retries == 0
    await talk(f"B+ 1 B- 11 {sign} B+ 1 B- 6", idle)
    assert [retries for _, retries in calls.calls] == [1, 2, 1]


@pytest.mark.parametrize(
    ("answer", "most", "expected"),
    [
        (None, None, [1, 2, 3, 4]),
        (True, None, [1, 2, 3, 4]),
        (False, None, [1]),
        (lambda retries: retries < 2, None, [1, 2]),
        (None, 3, [1, 2, 3]),
        (False, 3, [1]),
    ],
)
async def test_v5_it_says_whether_to_go_on(pipes_clock, answer, most, expected: list[int]) -> None:
    calls = Calls(answer)
    idle = UserIdle(5.0, calls, max_retries=most)
    await talk("B+ 1 B- 21", idle)
    assert [retries for _, retries in calls.calls] == expected
    assert idle.retries == len(expected)


# Who has been given up on is asked again after he has spoken.
async def test_giving_up_lasts_until_the_user_speaks(pipes_clock) -> None:
    calls = Calls(False)
    await talk("B+ 1 B- 20 B+ 1 B- 20 S 1 E B+ 1 B- 20", UserIdle(5.0, calls))
    assert calls.times == [6.0, 50.0 - 1]


async def test_v5_what_it_gives_is_said(pipes_clock) -> None:
    def question(retries: int) -> object:
        return TextFrame("there?") if retries == 1 else [TextFrame("well"), EndTaskFrame("gone")]

    class Speaks(FrameProcessor):
        """Speaks for a second, some time after the text has come."""

        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            await self.push_frame(frame, direction)
            if isinstance(frame, TextFrame):
                await trio.sleep(0.5)
                await self.push_frame(frame_of("B+"), Direction.UPSTREAM)
                await trio.sleep(1)
                await self.push_frame(frame_of("B-"), Direction.UPSTREAM)

    said = await talk("X:hello 8", UserIdle(5.0, question), Speaks())
    assert said.down == "X:hello X:there? end"
    assert said.times("X:there?") == [6.5]
    task = PipelineTask(Pipeline([UserIdle(5.0, question), Speaks()]))
    await task.queue_frame(TextFrame("hello"))
    await task.run()
    assert (await task.wait_finished()).reason == "gone"


async def test_an_async_function_is_waited_for(pipes_clock) -> None:
    calls: list[float] = []

    async def ask(retries: int) -> TextFrame:
        calls.append(trio.current_time() - Talk.began)
        await trio.sleep(3)
        return TextFrame(f"asked {retries}")

    said = await talk("B+ 1 B- 20", UserIdle(5.0, ask))
    assert said.times("X:asked 1", "X:asked 2") == [9.0, 17.0]
    assert calls == [6.0, 14.0]


# He speaks while the question is thought of: it is not asked.
@pytest.mark.parametrize("token", ["S", "ts", "T:wait", "B+"])
async def test_v5_who_speaks_meanwhile_is_not_asked(pipes_clock, token: str) -> None:
    cancelled: list[bool] = []

    async def ask(retries: int) -> TextFrame:
        try:
            await trio.sleep(3)
        except trio.Cancelled:
            cancelled.append(True)
            raise
        return TextFrame("there?")

    said = await talk(f"B+ 1 B- 6 {token} 20", UserIdle(5.0, ask))
    assert "X:there?" not in said.down
    assert cancelled == [True]


# Of several frames those are not said that wait while he begins to speak.
async def test_a_question_in_pieces_is_broken_off(pipes_clock) -> None:
    idle = UserIdle(5.0, lambda retries: [TextFrame(word) for word in ("are", "you", "still", "there")])
    said = await talk("B+ 1 B- 7 S 1 E 30", idle, slow=1.5)
    assert said.down.split()[:1] == ["X:are"]
    assert "X:there" not in said.down


# The bot says the first piece already while the others wait: that is what they are for.
async def test_the_bots_speech_does_not_break_off_the_question(pipes_clock) -> None:
    idle = UserIdle(5.0, lambda retries: [TextFrame(word) for word in ("are", "you", "still", "there")], max_retries=1)
    said = await talk("B+ 1 B- 5.5 B+ 8 B- 1", idle, slow=1.5)
    assert [name for name in said.down.split() if name[0] == "X"] == ["X:are", "X:you", "X:still", "X:there"]


# ---------------------------------------------------------------------------------------------------------- the end


# Issue 741 there: it went on after the end. Whatever ends the run ends it at once.
@pytest.mark.parametrize("how", ["end", "stop", "cancel"])
async def test_v5_it_ends_with_the_run(pipes_clock, how: str) -> None:
    calls = Calls()
    task = PipelineTask(Pipeline([UserIdle(5.0, calls)]))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        Talk.began = began = trio.current_time()
        await task.queue_frame(frame_of("B-"), Direction.UPSTREAM)
        await trio.sleep(4)
        if how == "end":
            task.stop_when_done()
        elif how == "stop":
            await task.queue_frame(StopFrame())
        else:
            task.cancel()
    assert trio.current_time() == began + 4
    assert calls.calls == []
    assert task.state in (TaskState.ENDED, TaskState.STOPPED, TaskState.CANCELLED)


async def test_nobody_is_asked_while_the_end_is_on_its_way(pipes_clock) -> None:
    calls = Calls()
    asked: list[str] = []

    async def ask(retries: int) -> TextFrame:
        calls(retries)
        try:
            await trio.sleep(100)
        finally:
            asked.append("cut off")
        return TextFrame("there?")

    class HoldsTheEnd(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if type(frame).__name__ == "EndFrame":
                await self.push_frame(frame_of("B-"), Direction.UPSTREAM)
                await trio.sleep(100)
            await self.push_frame(frame, direction)

    await talk("B+ 1 B- 6", UserIdle(5.0, ask), HoldsTheEnd())
    assert calls.times == [6.0]
    assert asked == ["cut off"]


# Between two runs of one pipeline nobody is asked, and the next one begins anew.
async def test_a_second_run_begins_anew(pipes_clock) -> None:
    calls = Calls()
    pipeline = Pipeline([UserIdle(5.0, calls)])
    async with pipeline:
        for cancels in (True, False):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                if cancels:
                    await task.queue_frame(UserIdleTimeoutUpdateFrame(7.0))
                    await task.queue_frame(frame_of("B-"), Direction.UPSTREAM)
                    await trio.sleep(4)
                    task.cancel()
                else:
                    Talk.began = trio.current_time()
                    await trio.sleep(100)
                    await task.queue_frame(frame_of("B-"), Direction.UPSTREAM)
                    await trio.sleep(6)
                    task.stop_when_done()
            await trio.sleep(100)
    assert calls.calls == [(105.0, 1)]


# Nor does a question that was thought of in the first run come into the second.
async def test_a_function_that_is_called_when_the_run_is_cancelled(pipes_clock) -> None:
    async def ask(retries: int) -> TextFrame:
        await trio.sleep(10)
        return TextFrame("there?")

    pipeline = Pipeline([UserIdle(5.0, ask)])
    async with pipeline:
        async with trio.open_nursery() as nursery:
            first = PipelineTask(pipeline)
            await nursery.start(first.run)
            await first.queue_frame(frame_of("B-"), Direction.UPSTREAM)
            await trio.sleep(6)
            first.cancel()
        second = PipelineTask(pipeline)
        async with trio.open_nursery() as nursery, second.open_output(TextFrame) as output:
            await nursery.start(second.run)
            await trio.sleep(20)
            second.stop_when_done()
            assert [frame.text async for frame in output] == []


async def test_with_user_turns(pipes_clock) -> None:
    calls = Calls()
    said = await talk("B+ 1 B- 4 S 1 E .1 T:hello 9 B+ 1 B- 6", UserTurns(), UserIdle(5.0, calls))
    assert calls.times == [21.1 - 1 + 1 - 0]
    assert "! turn S E T:hello over" in said.down


# ---------------------------------------------------------------------------------------------------------- bad input


def nothing(retries: int) -> None:
    """Never called."""


@pytest.mark.parametrize(
    ("make", "found", "expected"),
    [
        (lambda: UserIdle(0, nothing), "UserIdle(timeout=0)", "seconds above 0, or None"),
        (lambda: UserIdle(math.inf, nothing), "UserIdle(timeout=inf)", "seconds above 0, or None"),
        (lambda: UserIdle(5, "hello?"), "UserIdle(on_idle='hello?')", "a function of the number of retries"),
        (lambda: UserIdle(5, nothing, max_retries=0), "UserIdle(max_retries=0)", "at least 1, or None"),
        (lambda: UserIdle(5, nothing, max_retries=True), "UserIdle(max_retries=True)", "at least 1, or None"),
        (lambda: UserIdle(5, nothing, unless=Between), "UserIdle(unless=<class", "conditions"),
        (lambda: UserIdle(5, nothing, unless=[nothing]), "UserIdle(unless=", "with a method holds()"),
        (lambda: UserIdleTimeoutUpdateFrame(0), "UserIdleTimeoutUpdateFrame(timeout=0)", "seconds above 0, or None"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], found: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert found in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(("answer", "shown"), [("hello?", "'hello?'"), (7, "7"), ([TextFrame("a"), "b"], "'b'")])
async def test_an_answer_that_is_no_frame_is_named(pipes_clock, answer: object, shown: str) -> None:
    idle = UserIdle(5.0, Calls(answer), name="idle")
    task = PipelineTask(Pipeline([idle]))
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(frame_of("B-"), Direction.UPSTREAM)
            await trio.sleep(10)
    assert caught.group_contains(TypeError, match=rf"idle: on_idle\(\) gave {re.escape(shown)}")


# Its error is the task's, as in any processor.
async def test_an_error_in_the_function_fails_the_task(pipes_clock) -> None:
    def fails(retries: int) -> None:
        raise LookupError("no question left")

    with pytest.raises(ExceptionGroup) as caught:
        await run_processor(_Spoken(5.0, fails), [], params=PipelineParams())
    assert caught.group_contains(LookupError, match="no question left")


class _Spoken(UserIdle):
    """The bot has spoken before the first frame, and the end is far."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await super().process_frame(frame, direction)
        if type(frame).__name__ == "StartFrame":
            await super().process_frame(frame_of("B-"), Direction.UPSTREAM)
            await trio.sleep(10)
