"""Branches in step: what belongs together comes out together, also round an interrupt."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trio_pipes as tp
from graves_kit import (
    HUNG,
    Button,
    Drops,
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
from trio_pipes import FrameProcessor, TaskState, TextFrame, each


def kept(text: str) -> TextFrame:
    return TextFrame(text, interruptible=False)


def marked(mark: str) -> object:
    """A function that tells the texts of its branch from those of others."""

    @each
    def mark_text(frame: TextFrame) -> TextFrame:
        return TextFrame(f"{frame.text}{mark}", interruptible=frame.interruptible)

    return mark_text


def in_step() -> FrameProcessor:
    return tp.SyncParallelPipeline([Slow(1), marked("x")], [Slow(2), marked("y")], [marked("z")])


async def run_with(task, *steps) -> None:
    """Run `task`; each step is a number of seconds to sleep, or frames to queue, or a call."""
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(TaskState.RUNNING)
                for step in steps:
                    if isinstance(step, list):
                        await task.queue_frames(step)
                        await trio.testing.wait_all_tasks_blocked()
                    elif callable(step):
                        step()
                    else:
                        await trio.sleep(step)
                task.stop_when_done()


def batches(words: list[str]) -> list[list[str]]:
    """The outputs, three by three, each lot in an order of its own."""
    return [sorted(words[n : n + 3]) for n in range(0, len(words), 3)]


def all_three(*contents: str) -> list[list[str]]:
    return [[f"{content}{mark}" for mark in "xyz"] for content in contents]


@places
@modes
async def test_g25_outputs_of_one_frame_come_together_and_before_the_next(autojump_clock, place, mode) -> None:
    last = Probe()
    task = task_at(place, mode, in_step(), last, queue_size=2)
    await run_with(task, texts(*"ABCDE"))
    assert batches(last.texts) == all_three(*"ABCDE")


# The deadlock: a frame that must survive is in the branches when the interrupt comes.
@places
@modes
@pytest.mark.parametrize("moment", [0, 0.5, 1.5, 2.5])
async def test_g25_an_uninterruptible_frame_and_an_interrupt_do_not_hang(autojump_clock, place, mode, moment) -> None:
    last = Probe()
    task = task_at(place, mode, in_step(), last)
    await run_with(task, [kept("A"), kept("B")], moment, task.interrupt, texts("C"))
    assert batches(last.texts) == all_three(*"ABC")
    assert task.state is TaskState.ENDED


# Its output came out with the next frame's.
@places
@modes
@pytest.mark.parametrize("moment", [0, 0.5, 1.5])
async def test_g25_an_interrupted_frames_output_does_not_come_with_the_next(
    autojump_clock, place, mode, moment
) -> None:
    last = Probe()
    task = task_at(place, mode, in_step(), last)
    await run_with(task, texts("A"), moment, task.interrupt, texts(*"BCD"))
    assert batches(last.texts) == all_three(*"BCD")


@modes
async def test_g25_interrupts_at_any_time_mix_no_two_frames(autojump_clock, mode) -> None:
    for tenths in range(1, 40, 3):
        last = Probe()
        frames = [kept(f"k{n} ") if n % 2 else TextFrame(f"f{n} ") for n in range(6)]
        task = task_at("deep", mode, in_step(), last)
        await run_with(task, frames, *[tenths / 10, task.interrupt] * 5)
        lots: dict[str, list[str]] = {}
        for text in last.texts:
            lots.setdefault(text.split()[0], []).append(text.split()[1])
        assert [name for name in lots if name.startswith("k")] == ["k1", "k3", "k5"]
        assert all(sorted(lots[name]) == ["x", "y", "z"] for name in lots if name.startswith("k"))
        order = [int(text.split()[0][1]) for text in last.texts]
        assert order == sorted(order)  # no two frames are mixed


@cancels
@pytest.mark.parametrize("mode", ["tasks", "inline"])
async def test_g25_cancel_gets_through_to_branches_in_step(autojump_clock, way, mode) -> None:
    button, stuck = Button(), Stuck(TextFrame)
    task = task_at("row", mode, button, tp.SyncParallelPipeline([stuck], [Drops()]), Probe())
    await task.queue_frames(texts(1, 2))
    assert await cancelled(way, task, stuck.holding.wait, button=button) == 0


@ends
@modes
async def test_g25_every_end_gets_through_branches_in_step_behind_all_frames(autojump_clock, way, mode) -> None:
    button, last = Button(), Probe()
    task = task_at("row", mode, button, in_step(), last)

    async def fill() -> None:
        await task.wait_state(TaskState.RUNNING)
        await task.queue_frames(texts(*"ABC"))

    await asked_to_end(way, task, fill, button=button)
    assert batches(last.texts) == all_three(*"ABC")
    assert task.state is ended_state(way)


def test_g25_an_interrupt_at_any_step_mixes_no_two_frames() -> None:
    async def scenario(arm) -> None:
        last = Probe()
        task = task_at("row", "tasks", in_step(), last)
        arm(task.interrupt)
        await run_with(task, [kept("A"), TextFrame("B"), kept("C")])
        lots = batches([text for text in last.texts if not text.startswith("B")])
        assert lots == all_three("A", "C")
        assert [text[0] for text in last.texts] == sorted(text[0] for text in last.texts)

    assert at_every_checkpoint(scenario) > 20
