"""What users of a frame framework expect of heartbeats and of the watch for idling."""

from __future__ import annotations

import pytest
import trio

from flow_kit import Drops, Sees, live, said, text
from hosting import Plain, Probe, Stuck, nothing_left, started, task_of
from trio_pipes import (
    ControlFrame,
    DataFrame,
    HeartbeatFrame,
    InputAudioFrame,
    PipelineRunner,
    TaskState,
    TextFrame,
)


class Told:
    """When the task was idle or lost its heartbeat, and what it said."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.idle: list[float] = []
        self.lost: list[float] = []
        self.beats: list[float] = []
        self.cancel_after = cancel_after

    def on_idle(self, task) -> None:
        self.idle.append(trio.current_time())
        if self.cancel_after == len(self.idle):
            task.cancel("idle long enough")

    def on_heartbeat_lost(self, task, stuck: str) -> None:
        self.lost.append(trio.current_time())
        if self.cancel_after == len(self.lost):
            task.cancel("lost")

    def on_reached_sink(self, task, frame) -> None:
        if isinstance(frame, HeartbeatFrame):
            self.beats.append(trio.current_time())


# -- heartbeats


async def test_heartbeats_come_through_at_their_pace(autojump_clock) -> None:
    told = Told()
    async with live(
        [Sees(), Drops(), Sees()], observers=[told], enable_heartbeats=True, heartbeat_period=0.5, heartbeat_timeout=2
    ):
        await trio.sleep(10)
    assert 19 <= len(told.beats) <= 21
    assert told.beats == pytest.approx([0.5 * n for n in range(len(told.beats))])
    assert told.lost == []


async def test_without_heartbeats_there_are_none(autojump_clock) -> None:
    told = Told()
    async with live([Stuck(TextFrame)], observers=[told]) as run:
        await run.say("x")
        await trio.sleep(60)
        run.task.cancel()
    assert (told.beats, told.lost) == ([], [])


# There it is told again and again. Here once, and once more after it has come back.
@pytest.mark.parametrize("timeout", [1.5, 4])
async def test_a_lost_heartbeat_is_told_after_its_time_once_for_each_loss(autojump_clock, timeout) -> None:
    slow, told = Sees(delay=30), Told()
    async with live(
        [slow], observers=[told], enable_heartbeats=True, heartbeat_period=1, heartbeat_timeout=timeout
    ) as run:
        for _ in range(2):
            await run.say("x")
            await trio.sleep(60)
        run.task.stop_when_done()
    first, second = told.lost
    assert timeout - 1 <= first <= timeout
    assert 60 + timeout - 1 <= second <= 60 + timeout + 1


async def test_who_is_told_of_a_lost_heartbeat_may_cancel(autojump_clock) -> None:
    told = Told(cancel_after=1)
    task = task_of(Stuck(TextFrame), observers=[told], enable_heartbeats=True, heartbeat_period=1, heartbeat_timeout=3)
    await task.queue_frames(said("x"))
    async with nothing_left():
        result = await task.run()
    assert (result.state, result.reason) == (TaskState.CANCELLED, "lost")
    assert trio.current_time() <= 4


# -- idling


@pytest.mark.parametrize("timeout", [0.2, 300])
async def test_a_task_that_is_idle_is_cancelled(autojump_clock, timeout) -> None:
    told = Told()
    task = task_of(Probe(), observers=[told], idle_timeout=timeout)
    async with nothing_left():
        result = await task.run()
    assert result.state is TaskState.CANCELLED
    assert "idle" in str(result.reason)
    assert told.idle == pytest.approx([timeout])


# There a bot is cancelled after five minutes unless one says otherwise.
async def test_a_task_may_be_idle_for_ever_unless_it_is_told_otherwise(autojump_clock) -> None:
    told = Told()
    task = task_of(Probe(), observers=[told])
    async with started(task, within=1e5):
        await trio.sleep(1e4)
    assert task.state is TaskState.ENDED
    assert told.idle == []


async def test_idling_may_only_be_told_again_and_again(autojump_clock) -> None:
    told = Told(cancel_after=3)
    task = task_of(Probe(), observers=[told], idle_timeout=2, cancel_on_idle_timeout=False)
    result = await task.run()
    assert (result.state, result.reason) == (TaskState.CANCELLED, "idle long enough")
    assert told.idle == pytest.approx([2, 4, 6])


@pytest.mark.parametrize("where", ["passed", "swallowed"])
async def test_frames_that_count_put_idling_off_also_where_they_are_swallowed(autojump_clock, where) -> None:
    told = Told()
    task = task_of(Probe(), *([Drops()] if where == "swallowed" else []), observers=[told], idle_timeout=2)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for _ in range(10):
            await trio.sleep(1.5)
            await task.queue_frame(text("x"))
    assert told.idle == pytest.approx([17], abs=0.1)


@pytest.mark.parametrize("kind", ["control", "other data", "heartbeats"])
async def test_frames_that_do_not_count_do_not(autojump_clock, kind) -> None:
    told = Told()
    settings = {"idle_frames": (TextFrame,)} if kind == "other data" else {}
    if kind == "heartbeats":
        settings["enable_heartbeats"] = True
    task = task_of(Probe(), observers=[told], idle_timeout=5, **settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for _ in range(9):
            await trio.sleep(0.5)
            if kind != "heartbeats":
                await task.queue_frame(ControlFrame() if kind == "control" else InputAudioFrame(b"", 16_000))
    assert told.idle == pytest.approx([5])
    assert task.state is TaskState.CANCELLED


async def test_several_kinds_of_frames_may_count(autojump_clock) -> None:
    told = Told()
    task = task_of(Probe(), observers=[told], idle_timeout=3, idle_frames=(TextFrame, ControlFrame))
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for frame in (TextFrame(), ControlFrame(), DataFrame()):
            await trio.sleep(2)
            await task.queue_frame(frame)
    assert told.idle == pytest.approx([7], abs=0.1)


# There one idle task takes the whole runner with it. Here it does where an observer says so.
@pytest.mark.parametrize("all_of_them", [False, True])
async def test_an_idle_task_takes_its_runner_with_it_where_an_observer_says_so(autojump_clock, all_of_them) -> None:
    class Ends:
        def on_idle(self, task) -> None:
            if all_of_them:
                runner.cancel("idle")

    task = task_of(Probe(), observers=[Ends()], idle_timeout=2)
    peer = Plain("peer")
    runner = PipelineRunner(task, peer, handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await trio.sleep(10)
        assert task.has_finished()
        assert ("peer cancelled" in peer.log) is all_of_them
        runner.end()
    assert peer.log[-1] == "peer down"
