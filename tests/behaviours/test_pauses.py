"""What users of a frame framework expect of a paused processor: what it holds, in which order it goes on, that it ends."""

from __future__ import annotations

import pytest
import trio

from flow_kit import UP, Does, Sees, live, said, text
from hosting import Probe, nothing_left, task_of
from trio_pipes import FrameProcessor, SystemFrame, TaskState, TextFrame, each


class Ping(SystemFrame):
    pass


class Holds(Sees):
    """Pauses itself at "hold" until its event is set, or ten seconds have passed."""

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.ready = trio.Event()
        self.came: list[bool] = []

    async def process_frame(self, frame, direction) -> None:
        if isinstance(frame, Ping):
            self.came.append(await self.pause_until(self.ready.wait, timeout=10))
        await super().process_frame(frame, direction)


@pytest.mark.parametrize("inline", [False, True])
async def test_frames_wait_for_what_is_waited_for_and_then_come_in_order(autojump_clock, inline) -> None:
    holds = Holds(inline=inline)
    async with live([Sees(), holds, Sees()]) as run:
        await run.task.queue_frame(Ping())
        await trio.sleep(1)
        await run.say("a", "b", "c")
        await trio.sleep(5)
        assert holds.texts() == []
        assert holds.is_paused
        holds.ready.set()
        await trio.sleep(0.1)
        assert holds.texts() == ["a", "b", "c"]
        assert not holds.is_paused
    assert holds.came == [True]
    assert run.texts == ["a", "b", "c"]


async def test_a_wait_that_is_in_vain_holds_no_longer_than_its_time(autojump_clock) -> None:
    holds = Holds()
    async with live([holds]) as run:
        await run.task.queue_frame(Ping())
        await trio.sleep(1)
        await run.say("a")
        await trio.sleep(8)
        assert run.texts == []
        await trio.sleep(2)
        assert run.texts == ["a"]
    assert holds.came == [False]


# Frames that were in the lane before the pause are held too. Urgent ones and those that go up are not, unlike there.
async def test_a_pause_holds_what_is_queued_and_nothing_else(autojump_clock) -> None:
    slow = Sees(delay=1)
    async with live([Sees(), slow, Sees()]) as run:
        await run.say("in hand", "queued")
        await trio.sleep(0.5)
        slow.pause()
        await run.task.queue_frame(Ping())
        await run.task.queue_frame(text("up"), UP)
        await trio.sleep(5)
        assert slow.kinds() == ["StartFrame", "in hand", "Ping"]
        assert slow.texts(UP) == ["up"]
        assert run.texts == ["in hand"]  # what was in hand has been finished
        slow.resume()
        await trio.sleep(5)
        assert run.texts == ["in hand", "queued"]


# There it is accepted, does nothing and warns.
async def test_a_function_that_works_within_another_cannot_be_paused_and_says_so(autojump_clock) -> None:
    async def asks(self, frame):
        with pytest.raises(RuntimeError, match="cannot be paused"):
            function.pause()
        await self.push_frame(frame)

    @each
    def passes(frame: TextFrame) -> TextFrame:
        return frame

    task = task_of(Does(asks), passes)
    function = task.pipeline.processors[1]
    await task.queue_frames(said("a"))
    task.stop_when_done()
    assert (await task.run()).state is TaskState.ENDED


# As a speaking service does: it holds text while its sound plays, and the word that the sound has ended never comes.
@pytest.mark.parametrize("how", ["pause", "paused", "pause_until"])
async def test_an_end_is_not_held_by_a_pause_that_nobody_ends(autojump_clock, how) -> None:
    class Speaks(FrameProcessor):
        async def process_frame(self, frame, direction) -> None:
            await self.push_frame(frame, direction)
            if isinstance(frame, Ping):
                if how == "pause":
                    self.pause()
                elif how == "paused":
                    with self.paused():
                        await self.wait_resumed()
                else:
                    await self.pause_until(trio.sleep_forever, timeout=10)

    last = Probe()
    task = task_of(Speaks(), last)
    with trio.fail_after(60):
        async with nothing_left(), trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frame(Ping())
            await trio.sleep(1)
            await task.queue_frames(said("a", "b"))
            await trio.sleep(2)
            assert last.texts == []
            task.stop_when_done()
    assert last.texts == ["a", "b"]
    assert last.kinds[-1] == "EndFrame"


async def test_a_cancel_takes_no_time_in_a_pause(autojump_clock) -> None:
    probe = Probe()
    task = task_of(probe)
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(task.run)
        probe.pause()
        await task.queue_frames(said("a"))
        await trio.sleep(3)
        task.cancel()
    assert (trio.current_time(), task.state, probe.texts) == (3, TaskState.CANCELLED, [])
