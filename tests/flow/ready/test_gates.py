"""P1: gates keep frames until a frame, or somebody, opens them; never the end, and never for ever without a word."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from trio_util import AsyncBool, RepeatedEvent

from cancel_everywhere import cancelled_everywhere
from flow_kit import DOWN, UP, Sees, live, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    DataFrame,
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    FloodError,
    FrameGate,
    FrameNotifier,
    FrameProcessor,
    FrameTimeout,
    InterruptionFrame,
    NotifierGate,
    ParallelPipeline,
    PauseFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    ResumeFrame,
    StartFrame,
    StopFrame,
    Switchable,
    SyncParallelPipeline,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    with_deadline,
)
from trio_pipes.testing import check_processor, nothing_left


@attrs.define(eq=False)
class Go(DataFrame):
    pass


@attrs.define(eq=False)
class Halt(DataFrame):
    pass


@attrs.define(eq=False)
class GoNow(SystemFrame):
    pass


def kinds(frames) -> list[str]:
    return [frame.text if isinstance(frame, TextFrame) else type(frame).__name__ for frame in frames]


async def queue(task: PipelineTask, *frames: object) -> None:
    for frame in frames:
        await task.queue_frame(text(frame) if isinstance(frame, str) else frame)
    await settle()


def told_gate(kind: str):
    """A notifier, and a gate that listens to it."""
    notifier = {"event": trio.Event, "flag": AsyncBool, "repeated": RepeatedEvent}[kind]()
    return notifier, NotifierGate(notifier)


# -- opened by frames


async def test_it_keeps_frames_and_lets_them_out_behind_the_one_that_opens_it(autojump_clock):
    gate = FrameGate(opens=Go, closes=Halt)
    async with live([gate]) as run:
        await queue(run.task, "a", "b", ControlFrame())
        assert run.down == []
        assert (gate.kept, gate.is_open) == (3, False)
        await queue(run.task, Go(), "c")
        assert kinds(run.down) == ["Go", "a", "b", "ControlFrame", "c"]
        assert (gate.kept, gate.is_open) == (0, True)


async def test_the_frame_that_closes_it_is_the_first_that_it_keeps(autojump_clock):
    gate = FrameGate(opens=Go, closes=Halt, start_open=True)
    async with live([gate]) as run:
        await queue(run.task, "a", Halt(), "b", Halt(), "c")
        assert kinds(run.down) == ["a"]
        await queue(run.task, Go())
        assert kinds(run.down) == ["a", "Go", "Halt", "b", "Halt", "c"]


async def test_without_closes_it_stays_open(autojump_clock):
    async with live([FrameGate(Go)]) as run:
        await queue(run.task, Go(), Halt(), "a", Go())
        assert kinds(run.down) == ["Go", "Halt", "a", "Go"]


async def test_a_function_is_asked_about_the_frames_that_it_is_annotated_with(autojump_clock):
    asked = []

    def wanted(frame: TextFrame) -> bool:
        asked.append(frame.text)
        return frame.text == "go"

    async with live([FrameGate(opens=wanted, closes=lambda frame: isinstance(frame, Halt))]) as run:
        await queue(run.task, Halt(), "a", SystemFrame(), "go", "b", Halt(), "c")
        assert kinds(run.down) == ["SystemFrame", "go", "Halt", "a", "b"]
    assert asked == ["a", "go", "c"]


async def test_several_classes_open_it(autojump_clock):
    for frame in (Go(), Halt()):
        async with live([FrameGate((Go, Halt))]) as run:
            await queue(run.task, "a", frame)
            assert kinds(run.down) == [type(frame).__name__, "a"]


async def test_a_system_frame_passes_and_may_open_it(autojump_clock):
    async with live([FrameGate(opens=GoNow)]) as run:
        await queue(run.task, "a", SystemFrame())
        assert kinds(run.down) == ["SystemFrame"]
        await queue(run.task, GoNow())
        assert kinds(run.down) == ["SystemFrame", "GoNow", "a"]


async def test_a_frame_from_below_may_open_what_comes_from_above(autojump_clock):
    async with live([FrameGate(opens=Go)]) as run:
        await queue(run.task, "a")
        await run.task.queue_frame(text("not held"), UP)
        await settle()
        assert (kinds(run.down), kinds(run.up)) == ([], ["not held"])
        await run.task.queue_frame(Go(), UP)
        await settle()
        assert (kinds(run.down), kinds(run.up)) == (["a"], ["not held", "Go"])


@pytest.mark.parametrize(("direction", "held"), [(DOWN, (1, 0)), (UP, (0, 1)), (None, (1, 1))])
async def test_the_direction_is_the_way_that_it_holds(autojump_clock, direction, held):
    async with live([FrameGate(opens=GoNow, direction=direction)]) as run:
        await run.task.queue_frame(text("down"))
        await run.task.queue_frame(text("up"), UP)
        await settle()
        assert (1 - len(run.down), 1 - len(run.up)) == held
        await queue(run.task, GoNow())
        assert (texts(run.down), texts(run.up)) == (["down"], ["up"])


async def test_one_that_drops_keeps_nothing(autojump_clock):
    gate = FrameGate(opens=Go, closes=Halt, drops=True)
    async with live([gate]) as run:
        await queue(run.task, "a", "b", Go(), "c", Halt(), "d", Go(), "e")
        assert kinds(run.down) == ["Go", "c", "Go", "e"]
        assert (gate.dropped, gate.kept) == (4, 0)


async def test_an_interrupt_may_close_it_and_each_interrupt_is_one_frame(autojump_clock):
    gate = FrameGate(opens=Go, closes=InterruptionFrame, start_open=True)
    async with live([gate, Sees()]) as run:
        await queue(run.task, "a")
        run.task.interrupt()
        await queue(run.task, "b")
        assert (texts(run.down), gate.kept) == (["a"], 1)
        await queue(run.task, Go())
        assert kinds(run.down) == ["a", "Go", "b"]


# -- told from elsewhere


async def test_an_event_opens_it_for_good(autojump_clock):
    event, gate = told_gate("event")
    async with live([gate]) as run:
        await queue(run.task, "a", "b")
        assert (texts(run.down), gate.kept, gate.is_open) == ([], 2, False)
        event.set()
        await queue(run.task, "c")
        assert (texts(run.down), gate.is_open) == (["a", "b", "c"], True)


async def test_it_is_open_while_the_flag_is_true(autojump_clock):
    flag, gate = told_gate("flag")
    async with live([gate]) as run:
        for value, come in ((False, []), (True, ["0", "1"]), (False, ["0", "1"]), (True, ["0", "1", "2", "3"])):
            flag.value = value
            await queue(run.task, str(len(run.down) + gate.kept))
            assert texts(run.down) == come
            assert gate.is_open is value


async def test_each_time_that_a_repeated_event_is_set_lets_out_what_is_kept_then(autojump_clock):
    event, gate = told_gate("repeated")
    async with live([gate]) as run:
        await queue(run.task, "a", "b")
        event.set()
        await settle()
        assert texts(run.down) == ["a", "b"]
        await queue(run.task, "c")
        assert (texts(run.down), gate.is_open) == (["a", "b"], False)
        event.set()
        event.set()
        await settle()
        await queue(run.task, "d")
        assert (texts(run.down), gate.kept) == (["a", "b", "c"], 1)
    assert texts(run.down) == ["a", "b", "c", "d"]


async def test_with_a_limit_of_one_only_the_last_is_let_out(autojump_clock):
    event = RepeatedEvent()
    gate = NotifierGate(event, limit=1, overflow="drop_oldest")
    async with live([gate]) as run:
        await queue(run.task, "a", "b", "c")
        event.set()
        await settle()
        assert (texts(run.down), gate.dropped) == (["c"], 2)


async def test_what_is_set_before_the_run_counts(autojump_clock):
    event, gate = told_gate("event")
    event.set()
    async with live([gate]) as run:
        await queue(run.task, "a")
        assert texts(run.down) == ["a"]


@pytest.mark.parametrize("kind", ["event", "flag", "repeated"])
async def test_a_frame_elsewhere_in_the_pipeline_tells_it(autojump_clock, kind):
    notifier, gate = told_gate(kind)
    async with live([gate, FrameNotifier(notifier, Go, direction=UP)]) as run:
        await queue(run.task, "a", Go())
        assert kinds(run.down) == []
        await run.task.queue_frame(Go(), UP)
        await settle()
        assert (kinds(run.down), kinds(run.up)) == (["a", "Go"], ["Go"])


async def test_a_notifier_above_the_gate_is_told_before_its_frame_comes_to_it(autojump_clock):
    event, gate = told_gate("event")

    async def wanted(frame: TextFrame) -> bool:
        await trio.sleep(1)
        return frame.text == "go"

    async with live([FrameNotifier(event, wanted), gate]) as run:
        await queue(run.task, SystemFrame(), "a", "go", "b")
        await trio.sleep(5)
        assert kinds(run.down) == ["SystemFrame", "a", "go", "b"]


# -- how much it keeps


async def test_one_frame_more_than_the_limit_is_an_error_that_names_it(autojump_clock):
    task = PipelineTask(Pipeline([FrameGate(Go, limit=2, name="gate")]))
    await task.queue_frames([text("a"), text("b"), text("c")])
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    (error,) = caught.value.exceptions
    assert isinstance(error, FloodError)
    for part in ("'gate'", "limit=2", "a frame of Go", "drop_oldest"):
        assert part in str(error)


async def test_where_errors_are_reported_the_frame_too_many_is_dropped(autojump_clock):
    async with live([FrameGate(Go, limit=2)], on_error=ErrorPolicy.REPORT) as run:
        await queue(run.task, "a", "b", "c")
        assert [type(frame.exception) for frame in run.up if isinstance(frame, ErrorFrame)] == [FloodError]
        await queue(run.task, Go())
        assert kinds(run.down) == ["Go", "a", "b"]


async def test_the_limit_is_for_each_way(autojump_clock):
    gate = FrameGate(GoNow, direction=None, limit=2)
    async with live([gate]) as run:
        for direction in (DOWN, UP):
            for content in "ab":
                await run.task.queue_frame(text(content), direction)
        await settle()
        assert gate.kept == 4


# An open gate keeps nothing: who comes while it lets frames out waits for its turn, above it.
async def test_what_comes_while_it_lets_frames_out_does_not_count_against_the_limit(autojump_clock):
    gate, slow = FrameGate(Go, limit=10), Sees(delay=1)
    task = PipelineTask(Pipeline([gate, slow]), PipelineParams(queue_size=1))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames([text(str(n)) for n in range(10)])
        await task.queue_frame(Go())
        await task.queue_frames([text(str(n)) for n in range(10, 40)])
        task.stop_when_done()
    assert slow.texts() == [str(n) for n in range(40)]


# -- the end


@pytest.mark.parametrize("make", [lambda: FrameGate(Go), lambda: NotifierGate(trio.Event())], ids=["frame", "told"])
@pytest.mark.parametrize("last", ["end", "stop"])
async def test_the_end_goes_behind_what_it_keeps(autojump_clock, make, last):
    sees = Sees()
    async with live([make(), sees]) as run:
        await queue(run.task, "a", "b")
        if last == "stop":
            await run.task.queue_frame(StopFrame())
    assert sees.kinds() == ["StartFrame", "a", "b", "EndFrame" if last == "end" else "StopFrame"]


async def test_what_it_keeps_may_be_dropped_at_the_end(autojump_clock):
    gate = FrameGate(Go, at_end="drop", direction=None)
    async with live([gate]) as run:
        await queue(run.task, "a", text("b", kept=True))
        await run.task.queue_frame(text("up"), UP)
        await settle()
    assert (run.down, run.up, gate.dropped) == ([], [], 3)


async def test_the_end_of_an_open_gate_drops_nothing(autojump_clock):
    slow = Sees(delay=1)
    async with live([FrameGate(Go, at_end="drop"), slow], queue_size=1) as run:
        await queue(run.task, *"abcdef", Go())
    assert slow.texts() == list("abcdef")
    slow = Sees(delay=1)
    async with live([NotifierGate(flag := AsyncBool(), at_end="drop"), slow], queue_size=1) as run:
        await queue(run.task, *"abcdef")
        flag.value = True
    assert slow.texts() == list("abcdef")


async def test_what_it_keeps_going_up_goes_before_the_end(autojump_clock):
    async with live([FrameGate(GoNow, direction=UP)]) as run:
        await run.task.queue_frame(text("a"), UP)
        await settle()
        assert run.up == []
    assert texts(run.up) == ["a"]


@pytest.mark.parametrize(("at_end", "comes"), [("release", ["answer"]), ("drop", [])])
async def test_what_comes_up_after_the_end_is_not_held_any_more(autojump_clock, at_end, comes):
    class Answers(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if type(frame).__name__ == "EndFrame":
                await trio.sleep(1)
                await self.push_frame(text("answer"), UP)

    gate = FrameGate(GoNow, direction=UP, at_end=at_end)
    async with live([gate, Answers()]) as run:
        pass
    assert (texts(run.up), gate.kept) == (comes, 0)


# The frame that opens it was put before what is kept, where the task that lets out had ended already: nobody took it.
@pytest.mark.parametrize("at_end", ["release", "drop"])
async def test_what_opens_it_after_the_end_comes_through(autojump_clock, at_end):
    class Answers(FrameProcessor):
        async def process_frame(self, frame, direction):
            await self.push_frame(frame, direction)
            if type(frame).__name__ == "EndFrame":
                await trio.sleep(1)
                for answer in (text("dropped"), Go(), text("answer")):
                    await self.push_frame(answer, UP)

    gate = FrameGate(Go, direction=UP, at_end=at_end)
    async with live([gate, Answers()], end_timeout=5) as run:
        pass
    assert kinds(run.up) == (["dropped", "Go", "answer"] if at_end == "release" else ["Go", "answer"])
    assert gate.kept == 0


@pytest.mark.parametrize("opened_first", [False, True])
async def test_a_slow_reader_gets_what_is_kept_before_the_end(autojump_clock, opened_first):
    event = trio.Event()
    task = PipelineTask(Pipeline([NotifierGate(event)]))
    came = []
    async with task.open_output(TextFrame, buffer=0) as frames, trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await queue(task, "a")
        if opened_first:
            event.set()
            await trio.sleep(10)
        task.stop_when_done()
        await trio.sleep(10)
        async for frame in frames:
            came.append(frame.text)
    assert came == ["a"]


async def test_a_flush_goes_past_what_is_kept_and_waits_for_what_an_opening_lets_out(autojump_clock):
    slow = Sees(delay=1)
    async with live([FrameGate(Go), slow]) as run:
        await queue(run.task, "a", "b", "c")
        assert await run.task.flush()
        assert trio.current_time() == 0
        await run.task.queue_frame(Go())
        assert await run.task.flush()
        assert slow.texts() == ["a", "b", "c"]


# -- interrupts


@pytest.mark.parametrize("make", [lambda: FrameGate(Go), lambda: NotifierGate(trio.Event())], ids=["frame", "told"])
async def test_an_interrupt_makes_what_is_kept_stale_and_uninterruptible_frames_survive(autojump_clock, make):
    gate = make()
    async with live([gate]) as run:
        await queue(run.task, "a", text("b", kept=True), "c")
        run.task.interrupt()
        await queue(run.task, "d")
        assert gate.kept == 2
    assert texts(run.down) == ["b", "d"]


# The frame has waited for a gate that lets others out; the gate closes, and in the same pass of the loop there is an
# interrupt: its handler has been woken up already, and must not take it for a new one.
async def test_a_frame_whose_wait_ends_with_an_interrupt_is_not_kept_as_a_new_one(autojump_clock):
    for _ in range(30):  # who is woken up first is chance
        flag, gate = told_gate("flag")
        slow = Sees(delay=10)
        async with live([gate, slow], queue_size=1) as run:
            await queue(run.task, *"abcdef")
            flag.value = True
            await queue(run.task, "late")
            before = gate.kept
            assert before > 0

            async def interrupt_when_it_closes(run=run, flag=flag) -> None:
                await flag.wait_value(False)
                run.task.interrupt()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(interrupt_when_it_closes)
                await settle()
                flag.value = False
            await settle()
            assert gate.kept == 0
        assert "late" not in slow.texts()


# -- other frames keep their ways


# What is below the gate asks above it, and waits for the answer while the gate lets frames out.
async def test_a_question_from_below_is_not_behind_what_goes_down(autojump_clock):
    class Asks(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and direction is DOWN:
                self.answered = trio.Event()
                await self.push_frame(Halt(), UP)
                await self.answered.wait()
            elif isinstance(frame, GoNow):
                self.answered.set()
            await self.push_frame(frame, direction)

    class Answers(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, Halt):
                await self.push_frame(GoNow())
            await self.push_frame(frame, direction)

    async with live([Answers(), FrameGate(Go, direction=None), Asks()], queue_size=1) as run:
        await queue(run.task, *"abcdef", Go())
        assert texts(run.down) == list("abcdef")


async def test_a_pause_frame_keeps_its_place_behind_the_gate(autojump_clock):
    async with live([FrameGate(Go), Sees(name="sees"), Sees()]) as run:
        await queue(run.task, "a", PauseFrame("sees"), "b", Go())
        assert kinds(run.down) == ["Go", "a"]
        await queue(run.task, ResumeFrame("sees"))
        assert kinds(run.down) == ["Go", "a", "b"]


async def test_a_gate_that_drops_lets_a_pause_frame_through(autojump_clock):
    async with live([FrameGate(Go, drops=True), Sees(name="sees")]) as run:
        await queue(run.task, "a", PauseFrame("sees"), Go())
        assert run.down == []
        await queue(run.task, ResumeFrame("sees"))
        assert kinds(run.down) == ["Go"]


# The deadline of the frame that opens the gate stops its handler, and no other frame.
async def test_the_deadline_of_the_frame_that_opens_it_loses_nothing_that_was_kept(autojump_clock):
    slow = Sees(delay=10)
    async with live([FrameGate(Go), slow], queue_size=1, on_error=ErrorPolicy.REPORT) as run:
        await queue(run.task, *"abcdef")
        await queue(run.task, with_deadline(Go(), seconds=25))
    assert slow.texts() == list("abcdef")


# -- the deadline


async def failure_of(gate: FrameProcessor, *frames: object, seconds: float = 0) -> Exception:
    task = PipelineTask(Pipeline([gate]))
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await trio.sleep(seconds)
            await queue(task, *frames)
    (group,) = caught.value.exceptions
    (error,) = group.exceptions
    assert isinstance(error, FrameTimeout)
    return error


@pytest.mark.parametrize(
    ("make", "waits"),
    [
        (lambda: FrameGate((Go, Halt), timeout=5, name="gate"), "a frame of Go or Halt"),
        (lambda: FrameGate(lambda frame: False, timeout=5, name="gate"), "<lambda> is true"),
        (lambda: NotifierGate(trio.Event(), timeout=5, name="gate"), "its Event to be set"),
        (lambda: NotifierGate(AsyncBool(), timeout=5, name="gate"), "its AsyncBool to be True"),
        (lambda: NotifierGate(RepeatedEvent(), timeout=5, name="gate"), "its RepeatedEvent to be set"),
    ],
)
async def test_a_gate_that_does_not_open_in_time_is_an_error_that_says_all(autojump_clock, make, waits):
    first = text("a")
    error = await failure_of(make(), first, text("b"), ControlFrame(), seconds=100)
    assert trio.current_time() == pytest.approx(105)
    for part in ("'gate'", "5 s", "since 100.000 s", waits, "2 TextFrame, 1 ControlFrame", first.name):
        assert part in str(error)
    assert "'gate'" in error.__notes__[0]


async def test_a_gate_that_drops_has_a_deadline_from_the_first_frame_that_it_drops(autojump_clock):
    error = await failure_of(FrameGate(Go, drops=True, timeout=5, name="gate"), "a", "b", seconds=100)
    assert trio.current_time() == pytest.approx(105)
    assert "has dropped 2 frames" in str(error)


async def test_a_closed_gate_that_nothing_waits_for_has_all_the_time(autojump_clock):
    gate = FrameGate(Go, Halt, timeout=5)
    async with live([gate]) as run:
        await trio.sleep(100)
        await queue(run.task, "a")
        await trio.sleep(4)
        await queue(run.task, Go())
        await trio.sleep(100)
        await queue(run.task, "b", Halt())  # what it kept before does not count
        await trio.sleep(4)
        run.task.interrupt()
        await trio.sleep(100)
        await queue(run.task, "c")
        await trio.sleep(4)
    assert kinds(run.down) == ["Go", "a", "b", "c"]


async def test_an_open_gate_has_no_deadline_however_slow_it_is_below(autojump_clock):
    slow = Sees(delay=10)
    async with live([NotifierGate(flag := AsyncBool(), timeout=5), slow], queue_size=1) as run:
        await queue(run.task, *"abcdef")
        flag.value = True
    assert slow.texts() == list("abcdef")


async def test_the_time_runs_anew_when_a_gate_closes_while_it_lets_frames_out(autojump_clock):
    slow = Sees(delay=3)
    gate = NotifierGate(flag := AsyncBool(), timeout=5)
    async with live([gate, slow], queue_size=1) as run:
        await queue(run.task, *"abcdef")
        await trio.sleep(4)
        flag.value = True
        await trio.sleep(4)
        flag.value = False
        await trio.sleep(4)
        assert gate.kept > 0
        flag.value = True
    assert slow.texts() == list("abcdef")


async def test_what_a_gate_had_no_time_to_let_out_has_a_deadline_too(autojump_clock):
    with pytest.raises(ExceptionGroup) as caught:
        async with live([NotifierGate(flag := AsyncBool(), timeout=5), Sees(delay=3)], queue_size=1) as run:
            await queue(run.task, *"abcdefgh")
            flag.value = True
            await trio.sleep(7)
            flag.value = False
            await trio.sleep(100)
    assert caught.group_contains(FrameTimeout, match=r"since 7\.000 s.*keeps 3 TextFrame")


async def test_an_interrupt_is_a_new_beginning_for_the_deadline_of_a_gate_that_drops(autojump_clock):
    async with live([FrameGate(Go, drops=True, timeout=5)]) as run:
        await queue(run.task, "a")
        await trio.sleep(4)
        run.task.interrupt()
        await trio.sleep(4)
        await queue(run.task, "b")
        await trio.sleep(4)
    assert run.down == []


async def test_where_errors_are_reported_a_deadline_drops_what_waited_and_the_gate_goes_on(autojump_clock):
    gate = FrameGate(Go, timeout=5)
    async with live([gate], on_error=ErrorPolicy.REPORT) as run:
        await queue(run.task, "a", "b")
        await trio.sleep(6)
        assert [type(frame.exception) for frame in run.up if isinstance(frame, ErrorFrame)] == [FrameTimeout]
        assert (gate.kept, gate.dropped) == (0, 2)
        await queue(run.task, "c")
        await trio.sleep(4)
        await queue(run.task, Go())
        assert kinds(run.down) == ["Go", "c"]
        assert len(run.up) == 1


# -- several runs


async def test_within_a_block_each_run_begins_anew(autojump_clock):
    gate = FrameGate(Go, Halt)
    pipeline = Pipeline([gate, sees := Sees()])
    async with pipeline:
        for round_ in "abc":
            task = PipelineTask(pipeline)
            await task.queue_frames([text(f"{round_}1"), Go(), text(f"{round_}2"), StopFrame()])
            await task.run()
    assert sees.texts() == ["a1", "a2", "b1", "b2", "c1", "c2"]


async def test_within_a_block_nothing_is_left_of_a_run_that_was_cut_off(autojump_clock):
    flag = AsyncBool()
    gate = NotifierGate(flag, timeout=5)
    pipeline = Pipeline([gate, sees := Sees()])
    async with nothing_left(), pipeline:
        for _ in range(2):
            task = PipelineTask(pipeline)
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                await queue(task, "old")
                task.cancel()
            assert task.state is TaskState.CANCELLED
            await trio.sleep(100)  # the deadline was the run's
            assert (gate.kept, gate.dropped) == (1, 0)
        flag.value = True
        await settle()
        task = PipelineTask(pipeline)
        await task.queue_frames([text("new"), StopFrame()])
        await task.run()
    assert sees.texts() == ["new"]


# -- in other shapes


async def test_a_closed_gate_in_a_slot_lets_out_what_it_keeps_when_it_is_replaced(autojump_clock):
    slot = Switchable(FrameGate(Go))
    async with live([slot]) as run:
        await queue(run.task, "a", "b")
        assert run.down == []
        await slot.replace(FrameGate(Halt))
        await queue(run.task, "c")
        assert texts(run.down) == ["a", "b"]
        await queue(run.task, Halt())
        assert kinds(run.down) == ["a", "b", "Halt", "c"]


async def test_what_a_gate_lets_out_in_a_branch_in_step_comes_with_the_frame_that_opened_it(autojump_clock):
    branches = SyncParallelPipeline([FrameGate(Go), Sees(delay=1)], [each(lambda frame: DataFrame())])
    async with live([branches]) as run:
        await queue(run.task, "a", "b", Go(), "c")
        await trio.sleep(10)
        assert kinds(run.down) == ["DataFrame", "DataFrame", "Go", "a", "b", "DataFrame", "c", "DataFrame"]


async def test_a_gate_holds_its_own_branch_only(autojump_clock):
    async with live([ParallelPipeline([FrameGate(GoNow)], [each(lambda frame: text(f"{frame.text}!"))])]) as run:
        await queue(run.task, "a", "b")
        assert texts(run.down) == ["a!", "b!"]
        await queue(run.task, GoNow())
        assert kinds(run.down) == ["a!", "b!", "GoNow", "a", "b"]


# -- wrong values


def asks_of_the_end(frame: EndFrame) -> bool:
    return True


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: FrameGate(3), "opens=3"),
        (lambda: FrameGate(StartFrame), "opens=.*names StartFrame, which it is not asked about"),
        (lambda: FrameGate(Go, (Halt, ErrorFrame)), "closes=.*names ErrorFrame, which it is not asked about"),
        (lambda: FrameNotifier(trio.Event(), asks_of_the_end), "when=.*names EndFrame, which it is not asked about"),
        (lambda: FrameGate(None), "opens=None"),
        (lambda: FrameGate(()), r"opens=\(\)"),
        (lambda: FrameGate(int), "opens=<class 'int'>"),
        (lambda: FrameGate((Go, int)), "opens="),
        (lambda: FrameGate(trio.Event()), "opens=<trio.Event"),
        (lambda: FrameGate(lambda: True), "lambda"),
        (lambda: FrameGate(Go, "x"), "closes='x'"),
        (lambda: FrameGate(Go, start_open=1), "start_open=1"),
        (lambda: FrameGate(Go, direction="down"), "direction='down'"),
        (lambda: FrameGate(Go, limit=0), "limit=0"),
        (lambda: FrameGate(Go, overflow="wait"), "overflow='wait'"),
        (lambda: FrameGate(Go, drops=None), "drops=None"),
        (lambda: FrameGate(Go, at_end=False), "at_end=False"),
        (lambda: FrameGate(Go, timeout=0), "timeout=0"),
        (lambda: FrameGate(Go, name=""), "name=''"),
        (lambda: NotifierGate(True), "notifier=True"),
        (lambda: NotifierGate(trio.Event), "notifier=<class"),
        (lambda: NotifierGate(trio.Event(), limit=None), "limit=None"),
        (lambda: NotifierGate(RepeatedEvent(), drops=True), "drops=True"),
        (lambda: FrameNotifier(None, Go), "notifier=None"),
        (lambda: FrameNotifier(trio.Event(), 3), "when=3"),
        (lambda: FrameNotifier(trio.Event(), Go, direction="up"), "direction='up'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        make()
    assert "expected" in str(caught.value)


def test_an_async_function_cannot_open_a_gate():
    async def wanted(frame: TextFrame) -> bool:
        return True

    with pytest.raises(ConfigurationError, match="opens=.*async, expected a plain function"):
        FrameGate(wanted)


@pytest.mark.parametrize("answer", [None, 1, "yes", trio.sleep])
async def test_an_answer_that_is_neither_true_nor_false_is_an_error(autojump_clock, answer):
    @each
    def passes(frame: TextFrame) -> TextFrame:
        return frame

    gate = FrameGate(lambda frame: answer(1) if callable(answer) else answer, name="gate")
    task = PipelineTask(Pipeline([passes, gate]))
    await task.queue_frame(text("a"))
    with pytest.raises(ExceptionGroup) as caught:
        await task.run()
    (error,) = caught.value.exceptions
    assert isinstance(error, TypeError)
    assert "expected True or False" in str(error)
    assert ("async def" in str(error)) is callable(answer)
    assert "'gate'" in error.__notes__[0]


# -- the rules of every processor

GATES = {
    "opens": lambda: FrameGate(Go),
    "opens and closes": lambda: FrameGate(GoNow, TextFrame, start_open=True, direction=None),
    "event": lambda: NotifierGate(trio.Event(), direction=None),
    "repeated event": lambda: NotifierGate(RepeatedEvent(), timeout=1e9),
    "open": lambda: FrameGate(Go, start_open=True),
}


@pytest.mark.parametrize("make", GATES.values(), ids=GATES)
async def test_k2_gates(pipes_clock, make):
    await check_processor(make, points=40)


async def test_k2_a_gate_that_opens_on_the_way(pipes_clock):
    frames = [text("a"), Go(), text("b")]
    await check_processor(lambda: FrameGate(Go, TextFrame), frames, points=40, skip=["order"])  # the first is the last


async def test_k2_a_gate_that_drops(pipes_clock):
    await check_processor(lambda: FrameGate(Go, drops=True), drops=(DataFrame, ControlFrame), points=40)


async def test_k2_frame_notifier(pipes_clock):
    await check_processor(lambda: FrameNotifier(RepeatedEvent(), TextFrame), points=40)


@pytest.mark.parametrize("kind", ["event", "flag", "repeated"])
def test_t11_cancelled_anywhere_it_leaves_nothing(kind):
    def make():
        notifier, gate = told_gate(kind)
        gate.timeout = 20
        task = PipelineTask(Pipeline([FrameGate(Go, Halt), gate, Sees(delay=1)]), PipelineParams(queue_size=1))

        async def scenario() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                for frame in (text("a"), text("b", kept=True), Go(), Halt(), text("c"), text("d"), Go()):
                    await task.queue_frame(frame)
                await trio.sleep(2)
                if kind == "flag":
                    notifier.value = True
                else:
                    notifier.set()
                await trio.sleep(2)
                task.interrupt()
                await task.queue_frame(text("e"))
                task.stop_when_done()

        def check() -> None:
            assert task.has_finished() or task.state is TaskState.NEW

        return scenario, check, None

    assert cancelled_everywhere(make) > 20
