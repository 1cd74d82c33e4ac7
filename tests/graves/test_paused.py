"""Pauses: they hold frames, and never the end, a cancel, an interrupt or what goes up."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from graves_kit import CANCELS, HUNG, Button, asked_to_end, cancelled, ended_state, ends, modes, places, task_at, texts
from hosting import Probe, Slow, Urgent, nothing_left
from trio_pipes import Direction, Frame, FrameProcessor, TaskState, TextFrame


class PausesItself(FrameProcessor):
    """Speech that waits until the sound is out, which never happens: the word that would wake it does not come."""

    def __init__(self) -> None:
        self.interrupted = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame) and direction is Direction.DOWNSTREAM:
            self.pause()

    async def on_interrupt(self) -> None:
        self.interrupted += 1
        self.resume()


# Two signals aside: the first asks for the end, and that ends the pause.
@pytest.mark.parametrize("way", [way for way in CANCELS if way != "two signals"])
@places
async def test_g39_a_cancel_gets_through_to_a_paused_processor(autojump_clock, way, place) -> None:
    for mode in ("tasks", "inline", "debug"):
        button, last = Button(), Probe()
        task = task_at(place, mode, button, PausesItself(), last)
        await task.queue_frames(texts(1, 2, 3))

        async def an_hour(last: Probe = last) -> None:
            await trio.sleep(3600)
            assert last.texts == ["1"]

        assert await cancelled(way, task, an_hour, button=button) == 0


@ends
@places
async def test_g39_a_pause_does_not_hold_the_end_and_nothing_is_lost(autojump_clock, way, place) -> None:
    for mode in ("tasks", "inline", "debug"):
        button, last = Button(), Probe()
        task = task_at(place, mode, button, PausesItself(), Slow(1), last)

        async def fill(task=task) -> None:
            await task.wait_state(TaskState.RUNNING)
            await task.queue_frames(texts(*range(5)))
            await trio.sleep(100)

        await asked_to_end(way, task, fill, button=button, within=200)
        assert last.texts == list("01234")
        assert task.state is ended_state(way)


# Barge-in while it waits for its first sound: frames that must survive are behind the pause.
@places
@modes
async def test_g39_an_interrupt_reaches_a_paused_processor(autojump_clock, place, mode) -> None:
    pauses, last = PausesItself(), Probe()
    task = task_at(place, mode, pauses, last)
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                await task.queue_frames([*texts("1", "2"), TextFrame("a result", interruptible=False)])
                await trio.sleep(1)
                assert last.texts == ["1"]
                task.interrupt()
                await trio.testing.wait_all_tasks_blocked()
                assert pauses.interrupted == 1
                assert last.texts == ["1", "a result"]
                task.cancel()


# A pause holds one lane of one direction: answers and urgent frames pass, in both directions.
@places
@modes
async def test_g39_a_pause_holds_no_urgent_frame_and_nothing_that_goes_up(autojump_clock, place, mode) -> None:
    above, last = Probe(), Probe()
    task = task_at(place, mode, above, PausesItself(), last)
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                await task.queue_frames(texts("1", "2"))
                await trio.sleep(1)
                await task.queue_frame(Urgent("down"))
                await task.queue_frame(Urgent("up"), Direction.UPSTREAM)
                await task.queue_frame(TextFrame("answer"), Direction.UPSTREAM)
                await trio.testing.wait_all_tasks_blocked()
                assert sorted(frame.text for frame in last.seen if isinstance(frame, Urgent)) == ["down", "up"]
                assert "answer" in above.texts
                assert "2" not in last.texts
                task.cancel()


# A wait for something that never comes has a deadline, and an owner.
@modes
async def test_g39_a_pause_until_something_that_never_comes_has_a_deadline(autojump_clock, mode) -> None:
    came: list[bool] = []

    class Waits(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            await self.push_frame(frame, direction)
            if isinstance(frame, Urgent):
                came.append(await self.pause_until(trio.sleep_forever, timeout=3))

    last = Probe()
    task = task_at("row", mode, Waits(), last)
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                await task.queue_frame(Urgent("wait"))
                await trio.sleep(1)
                await task.queue_frames(texts("1", "2"))
                task.stop_when_done()
    assert trio.current_time() == 3
    assert came == [False]
    assert last.texts == ["1", "2"]
