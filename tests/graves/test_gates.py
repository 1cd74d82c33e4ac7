"""Gates, filters and branches: they hold frames, never the end."""

from __future__ import annotations

from collections import deque

import pytest
import trio
import trio.testing
from trio_util import AsyncBool

from graves_kit import (
    HUNG,
    STOPS,
    Button,
    Owns,
    after,
    asked_to_end,
    cancelled,
    cancels,
    ended_state,
    ends,
    modes,
    places,
    task_at,
    texts,
)
from hosting import Probe, Slow, Stuck, Urgent, nothing_left, started
from trio_pipes import (
    CancelTaskFrame,
    ControlFrame,
    Direction,
    EndFrame,
    EndTaskFrame,
    EndTimeout,
    Frame,
    FrameFilter,
    FrameGate,
    FrameProcessor,
    Frames,
    FrameTimeout,
    FunctionFilter,
    NotifierGate,
    NullFilter,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    StopFrame,
    StopTaskFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)

# -- G26: a closed gate or a filter swallows the end


class ClosedGate(FrameProcessor):
    """Keeps everything for itself until it is opened, which never happens."""

    def __init__(self) -> None:
        self.kept: deque[Frame] = deque()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        self.kept.append(frame)


class Filter(FrameProcessor):
    """Lets through what it was told to, and forgets that there are other frames."""

    def __init__(self, *types: type[Frame]) -> None:
        self.types = types

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, self.types):
            await self.push_frame(frame, direction)


def is_wanted(frame: Frame) -> bool:
    return False


@processor
async def gate_block(frames: Frames[Frame], out: Out) -> None:
    kept = [frame async for frame in frames]
    assert all(isinstance(frame, Frame) for frame in kept)


@each
def nothing_through(frame: Frame) -> None:
    return None


@each
def not_even_the_end(frame: EndFrame | StopFrame | StartFrame | ControlFrame | TextFrame) -> None:
    return None


GATES = {
    "closed gate": ClosedGate,
    "null filter": Filter,
    "text filter": lambda: Filter(TextFrame),
    "block": lambda: gate_block,
    "function": lambda: nothing_through,
    "function shown the end": lambda: not_even_the_end,
    "ready-made gate": lambda: FrameGate(Urgent, direction=None),
    "ready-made gate that drops": lambda: FrameGate(Urgent, direction=None, drops=True),
    "ready-made gate that is told": lambda: NotifierGate(trio.Event(), direction=None, at_end="drop"),
    "ready-made filter": lambda: FrameFilter(Urgent, direction=None, filter_system_frames=True),
    "ready-made filter of nothing": lambda: NullFilter(direction=None),
    "ready-made filter with a function": lambda: FunctionFilter(is_wanted, direction=None, filter_system_frames=True),
}


@ends
@places
@pytest.mark.parametrize("gate", GATES)
async def test_g26_no_gate_and_no_filter_can_swallow_the_end(autojump_clock, way, place, gate) -> None:
    for mode in ("tasks", "inline", "debug"):
        button, above, below = Button(), Probe(), Probe()
        button_below = Button()
        task = task_at(place, mode, button, above, GATES[gate](), button_below, below)
        await task.queue_frames(texts(1, 2))
        assert await asked_to_end(way, task, after(1), button=button_below) == 0
        assert task.state is ended_state(way)
        assert above.kinds[-1] == below.kinds[-1] == ("StopFrame" if way in STOPS else "EndFrame")
        assert below.kinds.count("StartFrame") == 1


# The handler of a voicemail detector ends the call with a frame that has to pass its own closed gates.
@places
@modes
@pytest.mark.parametrize("direction", list(Direction), ids=lambda direction: direction.name)
@pytest.mark.parametrize("asks", [EndTaskFrame, StopTaskFrame, CancelTaskFrame])
async def test_g26_a_request_between_two_closed_gates_is_heard(autojump_clock, place, mode, direction, asks) -> None:
    class Detects(FrameProcessor):
        async def process_frame(self, frame: Frame, way: Direction) -> None:
            if isinstance(frame, TextFrame) and frame.text == "beep":
                await self.push_frame(asks(), direction)

    state = {EndTaskFrame: TaskState.ENDED, StopTaskFrame: TaskState.STOPPED, CancelTaskFrame: TaskState.CANCELLED}[
        asks
    ]
    for above, below in (
        (Filter(TextFrame), ClosedGate()),
        (FrameFilter(TextFrame, direction=None, filter_system_frames=True), NotifierGate(trio.Event(), direction=None)),
        (FrameGate(TextFrame, direction=None), FunctionFilter(is_wanted, direction=None, filter_system_frames=True)),
    ):
        task = task_at(place, mode, above, Detects(), below)
        await task.queue_frames(texts("hello", "beep"))
        async with nothing_left():
            with trio.fail_after(1):
                result = await task.run()
        assert result.state is state


@pytest.mark.parametrize("direction", list(Direction), ids=lambda direction: direction.name)
async def test_g26_a_request_behind_a_backlog_is_heard_at_once(autojump_clock, direction) -> None:
    button = Button(direction)
    task = task_at("branch", "tasks", Slow(1), button, Slow(1), Stuck(TextFrame))
    await task.queue_frames(texts(*range(300)))
    assert await cancelled("CancelTaskFrame from inside", task, after(20), button=button) == 0


# -- G38: a stop or a flush through a parallel pipeline


@ends
@modes
@pytest.mark.parametrize("branches", [2, 3, 6])
async def test_g38_an_end_through_a_parallel_pipeline_keeps_the_frames_of_all_branches(
    autojump_clock, way, mode, branches
) -> None:
    @each
    def named(frame: TextFrame) -> TextFrame:
        return TextFrame(f"{frame.text} of a branch")

    button, last = Button(), Probe()
    rows = [[Slow(n), named] for n in range(branches)]
    task = task_at("row", mode, button, ParallelPipeline(*rows), last)

    async def fill() -> None:
        await task.wait_state(TaskState.RUNNING)
        await task.queue_frames(texts(*range(5)))

    await asked_to_end(way, task, fill, button=button)
    assert sorted(last.texts) == sorted(f"{n} of a branch" for n in range(5) for _ in range(branches))
    assert last.kinds.count("StopFrame" if way in STOPS else "EndFrame") == 1


@modes
async def test_g38_flush_through_parallel_pipelines_is_true_when_all_is_handled(autojump_clock, mode) -> None:
    last = Probe()
    task = task_at(
        "row", mode, ParallelPipeline([Slow(2)], [Pipeline([ParallelPipeline([Slow(1)], [Stuck(Urgent)])])]), last
    )
    async with nothing_left(), started(task):
        assert await task.flush(0.5)  # idle
        for round_ in range(3):
            await task.queue_frames(texts(round_, round_))
            began = trio.current_time()
            assert await task.flush(30)
            assert trio.current_time() - began == 4
            assert last.texts.count(str(round_)) == 2
    assert task.state is TaskState.ENDED


@pytest.mark.parametrize("mode", ["tasks", "debug"])
async def test_g38_flush_that_runs_out_of_time_is_false_and_hurts_nothing(autojump_clock, mode) -> None:
    last = Probe()
    task = task_at("deep", mode, Slow(10), last)
    async with nothing_left(), started(task):
        await task.queue_frames(texts(1, 2))
        assert not await task.flush(5)
        assert await task.flush(30)
    assert last.texts == ["1", "2"]


# A stopped pipeline is open for the next run; nothing of the first is lost or repeated in it.
@modes
async def test_g38_a_stop_through_branches_and_a_second_run(autojump_clock, mode) -> None:
    log: list[str] = []
    last = Probe()
    pipeline = Pipeline([ParallelPipeline([Slow(1), Owns(log)], [Slow(3)]), last])
    params = PipelineParams(debug=mode == "debug")
    async with pipeline:
        for round_ in range(3):
            task = PipelineTask(pipeline, params)
            await task.queue_frames([*texts(f"{round_}a", f"{round_}b"), StopFrame()])
            result = await task.run()
            assert (result.state, result.frames_out) == (TaskState.STOPPED, 2)
            assert log == []
    assert last.texts == [f"{n}{x}" for n in range(3) for x in "ab"]
    assert log == ["closed"]


# -- G39: what waits for something that never comes


class WaitsFor(FrameProcessor):
    """A gate that waits in its handler for a word from below, which never comes."""

    def __init__(self) -> None:
        self.word = trio.Event()
        self.stopped = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame) and direction is Direction.DOWNSTREAM:
            try:
                await self.word.wait()
            except trio.Cancelled:
                self.stopped += 1
                raise
        await self.push_frame(frame, direction)


@cancels
@places
async def test_g39_a_gate_that_waits_for_ever_cannot_hold_a_cancel_up(autojump_clock, way, place) -> None:
    for mode in ("tasks", "inline", "debug"):
        gate, button = WaitsFor(), Button()
        task = task_at(place, mode, button, gate, Probe())
        await task.queue_frames(texts(1, 2))
        task.stop_when_done()
        assert await cancelled(way, task, after(1000), button=button) == 0
        assert gate.stopped == 1


@places
@modes
async def test_g39_a_gate_that_waits_for_ever_holds_the_end_for_its_timeout_and_is_named(
    autojump_clock, place, mode
) -> None:
    task = task_at(place, mode, WaitsFor(), Probe(), end_timeout=60)
    await task.queue_frames(texts(1, 2))
    task.stop_when_done()
    async with nothing_left():
        with trio.fail_after(61), pytest.raises(EndTimeout, match=r"'WaitsFor#\d+' has TextFrame#\d+ in hand"):
            await task.run()


# The gates that ship hold neither the end nor a cancel, whatever they wait for; with a deadline they say so.
NEVER_OPENED = {
    "by a frame": lambda **settings: FrameGate(Urgent, name="gate", **settings),
    "by somebody": lambda **settings: NotifierGate(AsyncBool(), name="gate", direction=None, **settings),
}
never_opened = pytest.mark.parametrize("make", NEVER_OPENED.values(), ids=NEVER_OPENED)


@cancels
@places
@never_opened
async def test_g39_a_ready_made_gate_that_nobody_opens_cannot_hold_a_cancel_up(
    autojump_clock, way, place, make
) -> None:
    for mode in ("tasks", "inline", "debug"):
        button = Button()
        task = task_at(place, mode, button, make(), WaitsFor(), Probe())
        await task.queue_frames(texts(1, 2))
        assert await cancelled(way, task, after(1000), button=button) == 0


@ends
@places
@never_opened
async def test_g39_a_ready_made_gate_that_nobody_opens_holds_no_end_and_loses_nothing(
    autojump_clock, way, place, make
) -> None:
    for mode in ("tasks", "inline", "debug"):
        button, last = Button(), Probe()
        task = task_at(place, mode, button, make(), last)
        await task.queue_frames(texts(1, 2))
        assert await asked_to_end(way, task, after(1000), button=button) == 0
        assert last.texts == ["1", "2"]


@places
@modes
@never_opened
async def test_g39_a_ready_made_gate_with_a_deadline_says_that_nobody_opens_it(
    autojump_clock, place, mode, make
) -> None:
    task = task_at(place, mode, make(timeout=60), Probe())
    await task.queue_frames(texts(1, 2))
    async with nothing_left():
        with trio.fail_after(61), pytest.raises(ExceptionGroup) as caught:
            await task.run()
    assert caught.group_contains(FrameTimeout, match=r"'gate' has not opened.* it waits for .* keeps 2 TextFrame")


# System frames and answers from below are not behind it: that is how the word could come at all.
@places
@modes
async def test_g39_a_gate_that_waits_does_not_hold_system_frames_and_answers(autojump_clock, place, mode) -> None:
    class Opens(FrameProcessor):
        """Answers upstream, from below the gate, when it hears an urgent frame."""

        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, Urgent):
                await self.push_frame(TextFrame("open"), Direction.UPSTREAM)
            await self.push_frame(frame, direction)

    class Gate(WaitsFor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if direction is Direction.UPSTREAM:
                self.word.set()
            await super().process_frame(frame, direction)

    button, last = Button(Direction.DOWNSTREAM), Probe()
    task = task_at(place, mode, button, Gate(), Opens(), last)
    await task.queue_frames(texts(1, 2))
    async with nothing_left():
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(1)
                task.stop_when_done()
                await trio.sleep(1)
                button.press(Urgent())
    assert last.texts == ["1", "2"]
    assert task.state is TaskState.ENDED


# An interrupt stops the wait: what comes next goes through, and the end too.
@places
@modes
async def test_g39_an_interrupt_frees_a_gate_that_waits_for_ever(autojump_clock, place, mode) -> None:
    gate, last = WaitsFor(), Probe()
    task = task_at(place, mode, gate, last)
    await task.queue_frames(texts(1, 2))
    async with nothing_left():
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(1)
                task.interrupt()
                gate.word.set()
                await task.queue_frame(TextFrame("3"))
                task.stop_when_done()
    assert last.texts == ["3"]
    assert gate.stopped == 1


# A reader that never reads holds the frames that it asked for, by their type; not a cancel, and not beyond its block.
@cancels
@places
@pytest.mark.parametrize("buffer", [0, 1])
async def test_g39_a_reader_that_never_reads_cannot_hold_a_cancel_up(autojump_clock, way, place, buffer) -> None:
    button = Button()
    task = task_at(place, "tasks", button, Probe())
    await task.queue_frames(texts(*range(5)))
    async with task.open_output(TextFrame, buffer=buffer):
        assert await cancelled(way, task, after(1000), button=button) == 0


@places
@modes
async def test_g39_a_reader_that_leaves_frees_the_end(autojump_clock, place, mode) -> None:
    last = Probe()
    task = task_at(place, mode, last)
    await task.queue_frames(texts(*range(5)))
    task.stop_when_done()
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                async with task.open_output(TextFrame, buffer=0):
                    nursery.start_soon(task.run)
                    await trio.sleep(100)
                    assert not task.has_finished()
    assert last.texts == list("01234")
    assert task.state is TaskState.ENDED
