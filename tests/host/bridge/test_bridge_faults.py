"""Bridges over a bus that loses, repeats and reorders, and far sides that go."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from bridge_kit import Dialogue, Front, Shout, bridged
from bus_kit import open_medium
from hosting import Probe, texts
from trio_pipes import (
    BusBridge,
    Direction,
    ErrorFrame,
    FrameProcessor,
    MemoryBus,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    TaskState,
    TextFrame,
)
from trio_pipes._base import Codec
from trio_pipes.host._bridge._messages import (
    BridgeFrame,
    BridgeInterrupt,
    BridgeKeep,
    BridgeOpen,
    BridgeState,
    BridgeTaken,
)
from trio_pipes.testing import cancel_at_every_checkpoint, nothing_left


@asynccontextmanager
async def over_medium(seed: int = 0):
    async with open_medium(seed) as medium:
        medium.codec = Codec()
        yield medium


def errors(front: Front) -> list[str]:
    return [frame.error for frame in front.before.seen if isinstance(frame, ErrorFrame)]


async def test_a_lost_frame_is_told_and_the_others_come(autojump_clock) -> None:
    front, dialogue = Front(), Dialogue()
    async with over_medium() as medium:
        medium.tells_gaps = False
        medium.lose = lambda message, bus: (
            isinstance(message, BridgeFrame) and getattr(message.frame, "text", "") == "a3"
        )
        async with bridged(front, dialogue, medium=medium):
            await front.task.queue_frames(texts(*(f"a{n}" for n in range(6))))
    assert front.after.texts == ["A0", "A1", "A2", "A4", "A5"]
    assert dialogue.pipeline.bridge_statistics().lost == 1


async def test_a_loss_with_nothing_behind_it_is_told_too_and_gives_its_room_back(autojump_clock) -> None:
    front, dialogue = Front(window=4), Dialogue(window=4)
    async with over_medium() as medium:
        medium.tells_gaps = False
        deaf = True
        medium.lose = lambda message, bus: deaf and isinstance(message, BridgeFrame)
        async with bridged(front, dialogue, medium=medium):
            await trio.sleep(1)
            await front.task.queue_frames(texts(*range(4)))
            await trio.sleep(1)
            deaf = False
            await front.task.queue_frames(texts("last"))
            await trio.sleep(10)
            assert front.after.texts == ["LAST"]
            assert dialogue.pipeline.bridge_statistics().lost == 4


@pytest.mark.parametrize("lost", [BridgeOpen, BridgeState, BridgeTaken, BridgeInterrupt])
async def test_words_between_the_ends_may_be_lost(autojump_clock, lost) -> None:
    front, dialogue = Front(window=2), Dialogue(window=2)
    async with over_medium() as medium:
        medium.tells_gaps = False
        count = 0

        def lose(message, bus) -> bool:
            nonlocal count
            count += isinstance(message, lost)
            return isinstance(message, lost) and count <= 2

        medium.lose = lose
        async with bridged(front, dialogue, medium=medium):
            await front.task.queue_frames(texts(*"abcdefgh"))
            await trio.sleep(30)
            front.task.interrupt()
            await front.task.queue_frames(texts(*"ij"))
            await trio.sleep(30)
    assert front.after.texts == list("ABCDEFGHIJ")
    assert front.bridge.bridge_statistics().lost == 0
    assert dialogue.top.kinds.count("InterruptionFrame") == 1


async def test_a_far_side_that_is_killed_is_told_and_another_takes_over(autojump_clock) -> None:
    front, dialogue = Front(timeout=100.0), Dialogue(Shout(takes=1.0))
    async with over_medium() as medium:
        one, two = (PipelineRunner(side.task, bus=medium.bus(), handle_sigint=False) for side in (front, dialogue))
        async with trio.open_nursery() as nursery:
            await nursery.start(one.run)
            await nursery.start(two.run)
            await trio.sleep(1)
            await front.task.queue_frames(texts(*"abc"))
            await trio.sleep(1.5)
            medium.cut(two.bus)
            await trio.sleep(30)
            assert any("may be lost" in error for error in errors(front))
            await front.task.queue_frames(texts("d"))
            other = Dialogue()
            three = PipelineRunner(other.task, bus=medium.bus(), handle_sigint=False)
            nursery.start_soon(three.run)
            await trio.sleep(60)
            assert front.after.texts == ["A", "D"]
            front.task.stop_when_done()
            await front.task.wait_finished()
            nursery.cancel_scope.cancel()


async def test_a_link_that_heals_goes_on(autojump_clock) -> None:
    front, dialogue = Front(timeout=100.0), Dialogue()
    async with over_medium() as medium:
        async with bridged(front, dialogue, medium=medium) as (_, two):
            await trio.sleep(1)
            await front.task.queue_frames(texts("a"))
            await trio.sleep(1)
            medium.cut(two.bus)
            await trio.sleep(20)
            medium.mend(two.bus)
            await trio.sleep(20)
            await front.task.queue_frames(texts("b"))
            await trio.sleep(5)
            assert front.after.texts == ["A", "B"]


async def test_a_far_side_that_fails_is_not_the_fronts_failure(autojump_clock) -> None:
    class Breaks(FrameProcessor):
        async def process_frame(self, frame, direction) -> None:
            if isinstance(frame, TextFrame):
                raise ValueError("far")
            await self.push_frame(frame, direction)

    front, dialogue = Front(timeout=3.0), Dialogue(Breaks())
    async with over_medium() as medium:
        one, two = (PipelineRunner(side.task, bus=medium.bus(), handle_sigint=False) for side in (front, dialogue))
        async with trio.open_nursery() as nursery:
            await nursery.start(one.run)
            with pytest.raises(ExceptionGroup):
                async with trio.open_nursery() as inner:
                    await inner.start(two.run)
                    await trio.sleep(1)
                    await front.task.queue_frames(texts("a"))
            await front.task.queue_frames(texts("b"))
            await trio.sleep(10)
            front.task.stop_when_done()
    assert front.task.result.state is TaskState.ENDED
    assert any("did not cross" in error for error in errors(front))


async def test_a_full_pipeline_is_no_deadlock_for_what_comes_up(autojump_clock) -> None:
    """The far side waits for an answer from below the bridge while its own direction is full."""
    asked = {}

    class Asks(FrameProcessor):
        async def process_frame(self, frame, direction) -> None:
            if isinstance(frame, TextFrame) and frame.text.startswith("q"):
                answered = asked[frame.text] = trio.Event()
                await self.push_frame(TextFrame(f"ask {frame.text}"))
                await answered.wait()
            elif isinstance(frame, TextFrame) and frame.text.startswith("re ask"):
                asked[frame.text[7:]].set()
            else:
                await self.push_frame(frame, direction)

    class Answers(FrameProcessor):
        async def process_frame(self, frame, direction) -> None:
            if isinstance(frame, TextFrame):
                await self.push_frame(TextFrame(f"re {frame.text}"), Direction.UPSTREAM)
            await self.push_frame(frame, direction)

    small = PipelineParams(queue_size=1)
    below = Probe()
    front = PipelineTask(Pipeline([BusBridge("dialogue", window=1), below, Answers()]), small, name="front")
    dialogue = Dialogue(Asks(), params=small, window=1)
    runner = PipelineRunner(front, dialogue.task, handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await front.queue_frames(texts(*(f"q{n}" for n in range(20))))
        await front.flush()
        await trio.sleep(5)
        runner.end()
    assert [text for text in below.texts if text.startswith("ask")] == [f"ask q{n}" for n in range(20)]


def test_cancelled_at_each_step_it_leaves_nothing() -> None:
    async def scenario(attempt) -> None:
        front, dialogue, bus = Front(), Dialogue(), MemoryBus()
        async with nothing_left():
            with trio.CancelScope() as scope:
                attempt.arm(scope.cancel)
                async with bridged(front, dialogue, bus=bus):
                    await front.task.queue_frames(texts(*"ab"))
                    await trio.sleep(1)
                    front.task.interrupt()
            attempt.disarm()
        assert bus.statistics().subscriptions == 0

    async def main() -> None:
        await cancel_at_every_checkpoint(scenario, stride=3)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    window=st.integers(1, 5),
    loss=st.sampled_from([0.0, 0.1, 0.4]),
    twice=st.booleans(),
    batches=st.lists(st.tuples(st.integers(0, 12), st.floats(0, 3)), min_size=1, max_size=5),
)
def test_what_comes_is_in_order_once_and_the_rest_is_told(seed, window, loss, twice, batches) -> None:
    words = (BridgeFrame, BridgeTaken, BridgeKeep, BridgeInterrupt)

    async def main() -> None:
        front, dialogue = Front(window=window, timeout=None, flush_timeout=30.0), Dialogue(window=window)
        with trio.fail_after(2000):
            async with over_medium(seed) as medium:
                medium.tells_gaps = False
                medium.lose = lambda message, bus: isinstance(message, words) and medium.random.random() < loss
                medium.copies = lambda message: 2 if twice and isinstance(message, words) else 1
                n = 0
                async with bridged(front, dialogue, medium=medium):
                    for count, pause in batches:
                        await front.task.queue_frames(texts(*range(n, n + count)))
                        n += count
                        await trio.sleep(pause)
                    await trio.sleep(100)
                    medium.lose = lambda message, bus: False
                    await trio.sleep(20)
                came = [int(text) for text in front.after.texts]
                assert came == sorted(set(came))
                if not loss:
                    assert came == list(range(n))
                far = dialogue.pipeline.bridge_statistics()
                told = front.bridge.bridge_statistics().lost + far.lost + far.passed
                assert len(came) + told >= n

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
