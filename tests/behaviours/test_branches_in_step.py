"""What users of a frame framework expect of branches whose outputs come out together."""

from __future__ import annotations

import pytest
import trio

from flow_kit import Sees, live, said, texts
from trio_pipes import FrameProcessor, SyncParallelPipeline, TextFrame, each
from trio_pipes.testing import run_pipeline


def marks(mark: str, delay: float):
    @each
    async def marked(frame: TextFrame) -> TextFrame:
        await trio.sleep(delay)
        return TextFrame(f"{frame.text}{mark}")

    return marked


async def test_the_same_frame_through_several_branches_in_step_comes_out_once(autojump_clock) -> None:
    sent = said("a", "b", "c")
    received = await run_pipeline([SyncParallelPipeline([FrameProcessor()], [Sees(delay=1)], [FrameProcessor()])], sent)
    assert received.down == sent


async def test_in_order_of_arrival_the_fast_branch_comes_first(autojump_clock) -> None:
    pipeline = [SyncParallelPipeline([marks("-slow", 2)], [marks("-fast", 1)], order="arrival")]
    received = await run_pipeline(pipeline, said("a", "b"))
    assert texts(received.down) == ["a-fast", "a-slow", "b-fast", "b-slow"]


@pytest.mark.parametrize("settings", [{}, {"order": "branches"}], ids=["default", "said"])
async def test_in_order_of_the_branches_the_pace_does_not_matter(autojump_clock, settings) -> None:
    pipeline = [SyncParallelPipeline([marks("-slow", 2)], [marks("-fast", 1)], **settings)]
    received = await run_pipeline(pipeline, said("a", "b"))
    assert texts(received.down) == ["a-slow", "a-fast", "b-slow", "b-fast"]


# What one frame gives comes out when the slowest branch is done with it, all at one moment.
async def test_what_one_frame_gives_comes_out_at_one_moment(autojump_clock) -> None:
    times: list[tuple[str, float]] = []

    @each
    def stamps(frame: TextFrame) -> None:
        times.append((frame.text, trio.current_time()))

    async with live([SyncParallelPipeline([marks("1", 3)], [marks("2", 1)]), stamps]) as run:
        await run.say("a", "b")
    assert times == [("a1", 3), ("a2", 3), ("b1", 6), ("b2", 6)]
