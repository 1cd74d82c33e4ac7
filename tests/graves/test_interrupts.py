"""Interrupts: at once, everywhere; nothing old comes after anything new, and what must survive does so once."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from graves_kit import HUNG, Button, Drops, after, modes, places, task_at, texts
from hosting import Probe, Slow, Stuck, Urgent, at_every_checkpoint, nothing_left
from trio_pipes import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Frames,
    InterruptionFrame,
    InterruptionTaskFrame,
    Out,
    ParallelPipeline,
    PipelineTask,
    StartFrame,
    StopFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)

# -- G15: words of the old answer after the new one began


class Model(FrameProcessor):
    """Answers each question with ten words, one every 0.3 s."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            for n in range(10):
                await trio.sleep(0.3)
                await self.push_frame(TextFrame(f"{frame.text} {n}"))
        else:
            await self.push_frame(frame, direction)


@processor
async def model_block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        with frames.interruptible():
            for n in range(10):
                await trio.sleep(0.3)
                await out.push(TextFrame(f"{frame.text} {n}"))


@each
async def model_function(frame: TextFrame):
    for n in range(10):
        await trio.sleep(0.3)
        yield TextFrame(f"{frame.text} {n}")


class Stubborn(FrameProcessor):
    """Takes its time to stop, and pushes what it has left while it does."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)
            return
        try:
            await trio.sleep(0.2)
            await self.push_frame(frame)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.7)
                await self.push_frame(TextFrame(f"{frame.text} late"))
            raise


class Buffers(FrameProcessor):
    """Says two words at a time; forgets what it has half of when it is interrupted."""

    def __init__(self) -> None:
        self.half: TextFrame | None = None

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)
        elif self.half is None:
            self.half = frame
        else:
            first, self.half = self.half, None
            await self.push_frame(first)
            await self.push_frame(frame)

    async def on_interrupt(self) -> None:
        self.half = None


class Notes(Probe):
    """Writes down the interrupts among the words."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await super().process_frame(frame, direction)

    def answers(self) -> list[list[str]]:
        """The words between one interrupt and the next."""
        parts: list[list[str]] = [[]]
        for frame in self.seen:
            if isinstance(frame, InterruptionFrame):
                parts.append([])
            elif isinstance(frame, TextFrame):
                parts[-1].append(frame.text)
        return parts


MODELS = {"class": Model, "block": lambda: model_block, "function": lambda: model_function}
ASKS = {
    "task.interrupt": lambda task: task.interrupt(),
    "InterruptionTaskFrame queued": lambda task: task.queue_frame(InterruptionTaskFrame()),
    "InterruptionFrame queued": lambda task: task.queue_frame(InterruptionFrame()),
}


@places
@modes
@pytest.mark.parametrize("model", MODELS)
async def test_g15_no_word_of_the_old_answer_after_the_new_question(autojump_clock, place, mode, model) -> None:
    # All through the first answer: whatever is at work there, and wherever its words are.
    for moment in range(0, 33, 2):
        last = Notes()
        row = [MODELS[model](), Stubborn(), Buffers(), Slow(0.25), last]
        task = task_at(place, mode, *row, queue_size=2)
        asks = list(ASKS.values())[moment // 2 % 3]
        async with nothing_left():
            with trio.fail_after(HUNG):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(task.run)
                    await task.wait_state(TaskState.RUNNING)
                    await task.queue_frames(texts("old", "older"))
                    await trio.testing.wait_all_tasks_blocked()  # they are in the pipeline: until then they are new
                    await trio.sleep(moment / 10)
                    await asks(task)
                    await task.queue_frame(TextFrame("new"))
                    task.stop_when_done()
        before, after_it = last.answers()
        assert after_it == [f"new {n}" for n in range(10)]
        assert before == [f"old {n}" for n in range(10)][: len(before)]


class AsksWhenItHears(FrameProcessor):
    """A turn begins: the user speaks (an urgent frame), and everything said so far is stale."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, Urgent):
            self.interrupt()
            await self.push_frame(TextFrame(frame.text))
        else:
            await self.push_frame(frame, direction)


# The question that interrupts is itself new: the peer threw it away with the turn that it ended.
@places
@modes
@pytest.mark.parametrize("model", MODELS)
async def test_g15_the_question_that_interrupts_is_answered(autojump_clock, place, mode, model) -> None:
    last = Notes()
    task = task_at(
        place, mode, AsksWhenItHears(), MODELS[model](), Stubborn(), Slow(0.25), last, allow_interruptions=True
    )
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                for question in "abcdef":
                    await task.queue_frame(Urgent(question))
                    await trio.sleep(1.7)
                task.stop_when_done()
    answers = last.answers()[1:]
    assert len(answers) == 6
    for question, words in zip("abcdef", answers, strict=True):
        assert words == [f"{question} {n}" for n in range(10)][: len(words)]
    assert len(answers[-1]) == 10


# Words cannot overtake each other in one direction, whatever is fused with what.
@places
@modes
async def test_g15_order_is_kept_through_everything(autojump_clock, place, mode) -> None:
    @each
    def same(frame: TextFrame) -> TextFrame:
        return TextFrame(frame.text)

    @each
    async def same_later(frame: TextFrame) -> TextFrame:
        await trio.sleep(0.01 * (int(frame.text) % 3))
        return TextFrame(frame.text)

    @processor
    async def same_block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await trio.sleep(0.01 * (int(frame.text) % 2))
            await out.push(frame)

    last = Probe()
    task = task_at(place, mode, same, same_later, Slow(0.001), same, same_block, same, last, queue_size=3)
    await task.queue_frames(texts(*range(200)))
    task.stop_when_done()
    with trio.fail_after(HUNG):
        await task.run()
    assert last.texts == [str(n) for n in range(200)]


# -- G16: an interrupt while an uninterruptible frame is handled


def kept(text: str) -> TextFrame:
    return TextFrame(text, interruptible=False)


@each
async def slow_function(frame: TextFrame) -> TextFrame:
    await trio.sleep(1)
    return frame


@processor
async def slow_block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        with frames.interruptible():
            await trio.sleep(1)
            await out.push(frame)


SLOW = {"class": lambda: Slow(1), "block": lambda: slow_block, "function": lambda: slow_function}


@places
@modes
@pytest.mark.parametrize("slow", SLOW)
@pytest.mark.parametrize("step", [0.1, 0.5, 1.0, 2.3])
async def test_g16_what_must_survive_comes_out_once_and_in_order(autojump_clock, place, mode, slow, step) -> None:
    last = Probe()
    task = task_at(place, mode, SLOW[slow](), SLOW[slow](), Slow(0.7), last, queue_size=2)
    frames = [kept(f"kept {n}") if n % 2 else TextFrame(f"may go {n}") for n in range(10)]
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_interrupts, task, step)
                async with trio.open_nursery() as inner:
                    inner.start_soon(task.run)
                    await task.wait_state(TaskState.RUNNING)
                    await task.queue_frames(frames)
                    task.stop_when_done()
                nursery.cancel_scope.cancel()
    assert [text for text in last.texts if text.startswith("kept")] == [f"kept {n}" for n in range(1, 10, 2)]
    assert len(set(last.texts)) == len(last.texts)  # none twice
    assert last.texts == sorted(last.texts, key=lambda text: int(text.split()[-1]))


async def _interrupts(task: PipelineTask, every: float) -> None:
    while True:
        await trio.sleep(every)
        task.interrupt()


# What a handler of such a frame makes of it is new work of the same kind: the handler is not stopped.
@modes
async def test_g16_the_handler_of_a_frame_that_must_survive_is_not_stopped(autojump_clock, mode) -> None:
    stopped = []

    class Works(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame):
                try:
                    await trio.sleep(10)
                except trio.Cancelled:
                    stopped.append(frame.text)
                    raise
            await self.push_frame(frame, direction)

    last = Probe()
    task = task_at("branch", mode, Works(), last)
    await task.queue_frames([kept("a"), TextFrame("b"), kept("c")])
    task.stop_when_done()
    async with nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            for _ in range(15):
                await trio.sleep(1)
                task.interrupt()
    assert last.texts == ["a", "c"]
    assert stopped == []  # "b" was still queued when it became stale


def test_g16_an_interrupt_at_any_step_loses_and_repeats_nothing() -> None:
    async def scenario(arm) -> None:
        last = Probe()
        task = task_at("branch", "tasks", slow_block, slow_function, Slow(1), last, queue_size=1)
        arm(task.interrupt)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await task.queue_frames([kept("1"), TextFrame("2"), kept("3"), kept("4")])
            task.stop_when_done()
        assert [text for text in last.texts if text != "2"] == ["1", "3", "4"]
        assert last.texts.count("2") < 2
        assert task.state is TaskState.ENDED

    assert at_every_checkpoint(scenario) > 20


# Lifecycle frames are of that kind. One that is being handled is neither lost nor shown twice.
@places
@modes
@pytest.mark.parametrize("last_frame", [EndFrame, StopFrame])
async def test_g16_an_interrupt_while_a_lifecycle_frame_is_handled(autojump_clock, place, mode, last_frame) -> None:
    class SlowEnd(Probe):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, StartFrame | EndFrame | StopFrame):
                await trio.sleep(1)
            await super().process_frame(frame, direction)

    probes = [SlowEnd() for _ in range(3)]
    task = task_at(place, mode, *probes)
    await task.queue_frame(last_frame())
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_interrupts, task, 0.25)
                await task.run()
                nursery.cancel_scope.cancel()
    for probe in probes:
        kinds = [kind for kind in probe.kinds if kind != "InterruptionFrame"]
        assert kinds == ["StartFrame", last_frame.__name__]


# -- G30: interrupts do not travel hop by hop


class Unwinds(FrameProcessor):
    """Needs time to stop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)
            return
        try:
            await self.push_frame(frame, direction)
            await trio.sleep(3600)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.seconds)


class HearsNew(Probe):
    """Knows when the first new word has come."""

    def __init__(self) -> None:
        super().__init__()
        self.new = trio.Event()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TextFrame) and frame.text == "new":
            self.new.set()


@places
@pytest.mark.parametrize("mode", ["tasks", "debug"])
@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(("count", "seconds"), [(4, 0.2), (4, 3), (12, 1)])
async def test_g30_unwinding_overlaps(autojump_clock, place, mode, ask, count, seconds) -> None:
    last = HearsNew()
    task = task_at(place, mode, *[Unwinds(seconds) for _ in range(count)], last)
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.queue_frame(TextFrame("old"))
                await trio.sleep(1)
                assert last.texts == ["old"]  # each of them works on it
                await ASKS[ask](task)
                await task.queue_frame(TextFrame("new"))
                began = trio.current_time()
                await last.new.wait()
                took = trio.current_time() - began
                task.cancel()
    assert took == pytest.approx(seconds, rel=0.05)


# The deepest is told as soon as the first: an interrupt does not go through what is above it.
@pytest.mark.parametrize("mode", ["tasks", "debug"])
async def test_g30_who_has_nothing_to_stop_is_told_at_once(autojump_clock, mode) -> None:
    told: dict[str, float] = {}

    class Tells(Unwinds):
        def __init__(self, label: str, seconds: float) -> None:
            self.label, self.seconds = label, seconds

        async def on_interrupt(self) -> None:
            told[self.label] = trio.current_time()

    row = [Tells("a", 2), Tells("b", 5), Drops(), Tells("idle", 9)]
    task = task_at("row", mode, *row)
    async with nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await task.queue_frame(TextFrame("old"))
            await trio.sleep(1)
            task.interrupt()
            await trio.sleep(20)
            task.cancel()
    assert told == {"a": 3, "b": 6, "idle": 1}


# Behind a backlog, in the middle of a drain, from below: it is always at once.
@pytest.mark.parametrize("mode", ["tasks", "inline", "debug"])
@pytest.mark.parametrize("draining", [False, True])
async def test_g30_an_interrupt_is_not_behind_a_backlog_or_a_drain(autojump_clock, mode, draining) -> None:
    button = Button()
    stuck, last = Stuck(TextFrame), Probe()
    task = task_at("branch", mode, Slow(1), stuck, button, last, allow_interruptions=True)
    await task.queue_frames(texts(*range(500)))
    if draining:
        task.stop_when_done()
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await after(30)()
                button.press(InterruptionTaskFrame())
                await trio.testing.wait_all_tasks_blocked()
                assert trio.current_time() == 30
                assert last.kinds.count("InterruptionFrame") == 1
                assert stuck.statistics().handling is None  # what it had in hand is gone
                task.cancel()


# -- G25: branches that belong together, an interrupt, and a frame that must survive


# The plain parallel pipeline: the outputs of an interrupted frame do not come with the next one, and nothing hangs.
@modes
async def test_g25_a_parallel_pipeline_survives_an_interrupt_with_a_frame_that_must_survive(
    autojump_clock, mode
) -> None:
    @each
    def other(frame: TextFrame) -> TextFrame:
        return TextFrame(f"{frame.text}'", interruptible=frame.interruptible)

    last = Notes()
    task = task_at("row", mode, ParallelPipeline([Slow(1)], [Slow(2), other]), last)
    async with nothing_left():
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                await task.queue_frames([TextFrame("A"), kept("B"), TextFrame("C")])
                await trio.sleep(0.5)
                task.interrupt()
                await task.queue_frames(texts("D"))
                task.stop_when_done()
    assert "A" not in last.texts
    assert "A'" not in last.texts
    assert sorted(last.texts) == ["B", "B'", "D", "D'"]
    assert last.kinds.count("EndFrame") == 1
