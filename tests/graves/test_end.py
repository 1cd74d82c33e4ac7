"""The end: it comes, whatever processors do, and nothing accepted is lost."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

from graves_kit import (
    Button,
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
from hosting import Probe, Slow, Stuck, at_every_checkpoint, nothing_left
from trio_pipes import (
    Direction,
    EndFrame,
    EndTaskFrame,
    EndTimeout,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    PipelineRunner,
    PipelineTask,
    StartFrame,
    StopFrame,
    TaskState,
    TextFrame,
    each,
    processor,
)

LAST = {"EndFrame": EndFrame, "StopFrame": StopFrame}

# -- G2: the end frame is lost on the way


class Transport(FrameProcessor):
    """Once the far side has hung up it throws away whatever it is given, the end too."""

    def __init__(self) -> None:
        self.connected = True
        self.thrown_away: list[str] = []

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if self.connected or isinstance(frame, StartFrame):
            await self.push_frame(frame, direction)
        else:
            self.thrown_away.append(type(frame).__name__)


@ends
@places
async def test_g02_an_end_that_a_torn_down_transport_throws_away_still_ends(autojump_clock, way, place) -> None:
    for mode in ("tasks", "inline", "debug"):
        transport, button, below = Transport(), Button(), Probe()
        task = task_at(place, mode, button, transport, below)

        async def hangs_up(transport: Transport = transport, task: PipelineTask = task) -> None:
            await task.wait_state(TaskState.RUNNING)
            await task.queue_frame(TextFrame("heard"))
            await trio.sleep(1)
            transport.connected = False
            await task.queue_frames(texts("into", "the void"))

        assert await asked_to_end(way, task, hangs_up, button=button) == 0
        assert task.state is ended_state(way)
        assert transport.thrown_away[:2] == ["TextFrame", "TextFrame"]
        assert below.texts == ["heard"]
        assert below.kinds[-1] in LAST


# "Every later cancel is a dead letter": here the end was asked for and something else is in its way.
@cancels
@pytest.mark.parametrize("mode", ["tasks", "inline"])
@pytest.mark.parametrize("last", LAST)
async def test_g02_a_cancel_after_an_end_that_does_not_come_gets_through(autojump_clock, way, mode, last) -> None:
    transport, button = Transport(), Button()
    task = task_at("deep", mode, button, transport, Stuck(LAST[last]), transport_of_a_peer_that_stopped_reading)

    async def hangs_up() -> None:
        await task.wait_state(TaskState.RUNNING)
        transport.connected = False
        await task.queue_frame(LAST[last]())
        await trio.sleep(1200)  # the peer's sessions lived on for twenty minutes
        assert not task.has_finished()

    assert await cancelled(way, task, hangs_up, button=button) == 0


@processor
async def transport_of_a_peer_that_stopped_reading(frames: Frames[TextFrame], out: Out) -> None:
    async for _ in frames:
        await trio.sleep_forever()


@pytest.mark.parametrize("mode", ["tasks", "inline"])
@pytest.mark.parametrize("last", LAST)
async def test_g02_an_end_timeout_names_who_is_in_the_way(autojump_clock, mode, last) -> None:
    task = task_at("deep", mode, Probe(), Stuck(TextFrame, name="the wire"), Probe(), end_timeout=5)
    await task.queue_frames([*texts("stuck"), LAST[last]()])
    async with nothing_left():
        with trio.fail_after(6), pytest.raises(EndTimeout, match=r"'the wire' has TextFrame#\d+ in hand"):
            await task.run()
    assert trio.current_time() == 5
    assert task.state is TaskState.FAILED


# -- G3: a slow processor, and an end asked for upstream meanwhile


class HangsUpOn(FrameProcessor):
    """Asks for the end upstream, and for an interrupt before or after it, when a certain word comes by."""

    def __init__(self, word: str, *, interrupts: str = "") -> None:
        self.word, self.interrupts = word, interrupts

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame) and frame.text == self.word:
            if self.interrupts == "before":
                self.interrupt()
            await self.push_frame(EndTaskFrame(reason="goodbye"), Direction.UPSTREAM)
            if self.interrupts == "after":
                self.interrupt()
        await self.push_frame(frame, direction)


@places
@modes
@pytest.mark.parametrize("slow_is", ["above", "below"])
async def test_g03_an_end_asked_for_upstream_of_a_slow_processor_does_not_freeze(
    autojump_clock, place, mode, slow_is
) -> None:
    slow, asks, last = Slow(1), HangsUpOn("1"), Probe()
    parts = [slow, asks] if slow_is == "above" else [asks, slow]
    task = task_at(place, mode, *parts, last, queue_size=2)
    async with nothing_left():
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                accepted = []
                with pytest.raises(trio.ClosedResourceError):
                    for n in range(100):
                        await task.queue_frame(TextFrame(str(n)))
                        accepted.append(str(n))
                        await trio.sleep(0.1)
    result = await task.wait_finished()
    assert (result.state, result.reason) == (TaskState.ENDED, "goodbye")
    assert last.texts == accepted  # all of them, and they were slow
    assert trio.current_time() >= len(accepted)


# The peer's freeze: the interrupt threw the queued end away.
@places
@modes
@pytest.mark.parametrize("interrupts", ["before", "after"])
async def test_g03_an_interrupt_does_not_throw_the_queued_end_away(autojump_clock, place, mode, interrupts) -> None:
    slow, last = Slow(1), Probe()
    task = task_at(place, mode, HangsUpOn("1", interrupts=interrupts), slow, last, allow_interruptions=True)
    await task.queue_frames(texts(0, 1, 2, 3))
    async with nothing_left():
        with trio.fail_after(60):
            result = await task.run()
    assert (result.state, result.reason) == (TaskState.ENDED, "goodbye")
    assert last.kinds[-1] == "EndFrame"
    assert "1" in last.texts  # the frame of the handler that asked is new


@ends
@modes
async def test_g03_interrupts_without_end_while_the_end_drains(autojump_clock, way, mode) -> None:
    button, last = Button(), Probe()
    kept = [TextFrame(str(n), interruptible=False) for n in range(5)]
    task = task_at("deep", mode, button, Slow(1), last)
    await task.queue_frames([*texts("a", "b"), *kept, *texts("c")])
    async with nothing_left():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_interrupts, task, 0.3)
            await asked_to_end(way, task, after(0.1), button=button, within=60)
            nursery.cancel_scope.cancel()
    assert task.state is ended_state(way)
    assert [word for word in last.texts if word.isdigit()] == list("01234")
    assert last.kinds[-1] in LAST


async def _interrupts(task: PipelineTask, every: float) -> None:
    while True:
        await trio.sleep(every)
        task.interrupt()


# -- G4: a processor blocks on the end


@cancels
@places
@pytest.mark.parametrize("last", LAST)
async def test_g04_cancel_gets_through_to_a_processor_that_blocks_on_the_end(autojump_clock, way, place, last) -> None:
    for mode in ("tasks", "inline", "debug"):
        stuck, button = Stuck(LAST[last]), Button()
        task = task_at(place, mode, button, Probe(), stuck, Probe())
        await task.queue_frame(LAST[last]())
        assert await cancelled(way, task, stuck.holding.wait, button=button) == 0


@processor
async def says_goodbye_for_ever(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)
    await trio.sleep_forever()


@cancels
@modes
async def test_g04_cancel_gets_through_to_a_block_that_blocks_after_its_loop(autojump_clock, way, mode) -> None:
    button = Button()
    task = task_at("nested", mode, button, says_goodbye_for_ever, Probe())
    task.stop_when_done()
    assert await cancelled(way, task, after(100), button=button) == 0


@places
@modes
@pytest.mark.parametrize("last", LAST)
async def test_g04_the_end_is_bounded_and_the_error_says_who_is_stuck(autojump_clock, place, mode, last) -> None:
    task = task_at(place, mode, Probe(), Stuck(LAST[last], name="bye"), Probe(), end_timeout=3)
    await task.queue_frames([*texts(1, 2), LAST[last]()])
    async with nothing_left():
        with trio.fail_after(4), pytest.raises(EndTimeout, match=rf"'bye' has {last}#\d+ in hand .*for 3\.000 s"):
            await PipelineRunner().run(task)
    assert trio.current_time() == 3


# Nothing else bounds it here, and nobody cancels: the signal's grace does.
async def test_g04_the_grace_of_a_signal_bounds_an_end_without_a_limit(autojump_clock) -> None:
    stuck = Stuck(EndFrame)
    task = task_at("branch", "tasks", stuck)
    async with nothing_left():
        with trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(PipelineRunner(task, grace_period=7).run)
                await task.wait_state(TaskState.RUNNING)
                signal.raise_signal(signal.SIGTERM)
    assert trio.current_time() == 7
    assert stuck.holding.is_set()
    assert task.state is TaskState.CANCELLED


# -- G23: the end does not overtake what was queued

WRITTEN = {"class": lambda: Slow(1), "block": lambda: slow_block, "function": lambda: slow_function}


@processor
async def slow_block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        await trio.sleep(1)
        await out.push(frame)


@each
async def slow_function(frame: TextFrame) -> TextFrame:
    await trio.sleep(1)
    return frame


@ends
@places
@pytest.mark.parametrize("written", WRITTEN)
async def test_g23_a_graceful_end_delivers_everything_that_was_queued(autojump_clock, way, place, written) -> None:
    for mode in ("tasks", "inline", "debug"):
        button, last = Button(), Probe()
        slow = [WRITTEN[written](), Slow(0.5), WRITTEN[written]()]
        task = task_at(place, mode, button, *slow, last, queue_size=2)

        async def fill(task: PipelineTask = task) -> None:
            await task.wait_state(TaskState.RUNNING)
            await task.queue_frames(texts(*range(10)))

        await task.queue_frames(texts("kept", "before the run"))
        await asked_to_end(way, task, fill, button=button, within=100)
        assert last.texts == ["kept", "before the run", *"0123456789"]
        result = await task.wait_finished()
        assert (result.state, result.frames_in) == (ended_state(way), 12)
        assert result.frames_out == 12


# Ten workers, one runner: each delivers its ten.
async def test_g23_the_end_of_a_runner_is_graceful_for_all_its_workers(autojump_clock) -> None:
    lasts = [Probe() for _ in range(10)]
    tasks = [task_at("branch", "tasks", Slow(1 + n / 10), last) for n, last in enumerate(lasts)]
    for task in tasks:
        await task.queue_frames(texts(*range(10)))
    runner = PipelineRunner(*tasks)
    async with nothing_left():
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run)
                await runner.wait_ready()
                runner.end()
    assert [last.texts for last in lasts] == [list("0123456789")] * 10
    assert {task.state for task in tasks} == {TaskState.ENDED}


def test_g23_an_end_at_any_step_loses_nothing_that_was_accepted() -> None:
    async def scenario(arm) -> None:
        last = Probe()
        task = task_at("branch", "tasks", slow_block, slow_function, last, queue_size=1)
        runner = PipelineRunner(task, handle_sigint=False)
        accepted: list[str] = []
        arm(runner.end)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            try:
                for n in range(6):
                    await task.queue_frame(TextFrame(str(n)))
                    accepted.append(str(n))
                runner.end()
            except trio.ClosedResourceError:
                pass
        assert last.texts == accepted
        assert task.state is TaskState.ENDED

    assert at_every_checkpoint(scenario) > 20
