"""Cancelled at any moment, nothing is left: no task, no open lifespan, no warning (T11, G1, G27)."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from cancel_everywhere import cancelled_everywhere
from flow_kit import UP, Sees, text
from trio_pipes import (
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    TaskState,
    TextFrame,
    each,
    processor,
)

FINAL = {TaskState.ENDED, TaskState.STOPPED, TaskState.CANCELLED}


class Ledger:
    """What was opened, and whether all of it was closed."""

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.handling = 0
        self.overlaps = 0


class Opens(FrameProcessor):
    """Opens something in its lifespan, with a helper task, and closes it with an await."""

    def __init__(self, ledger: Ledger, inline: bool = False) -> None:
        super().__init__(inline=inline)
        self.ledger = ledger

    @asynccontextmanager
    async def lifespan(self):
        await trio.lowlevel.checkpoint()
        self.ledger.opened += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.help)
                yield
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)
            if self.ledger.handling:
                self.ledger.overlaps += 1
            self.ledger.closed += 1

    async def help(self):
        for _ in range(3):
            await trio.sleep(0.15)
            await self.push_frame(text("helper's"))

    async def process_frame(self, frame, direction):
        self.ledger.handling += 1
        try:
            if isinstance(frame, TextFrame):
                await trio.sleep(0.1)
            await self.push_frame(frame, direction)
        finally:
            self.ledger.handling -= 1


def block_of(ledger: Ledger):
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        await trio.sleep(0.05)
        ledger.opened += 1
        try:
            async for frame in frames:
                with frames.interruptible():
                    await trio.sleep(0.1)
                await out.push(frame)
            await out.push(text("rest"))
        finally:
            ledger.closed += 1

    return block


def scenario(parts_of, *, interrupts=False, debug=False, how="scope"):
    def make():
        ledger = Ledger()
        params = PipelineParams(debug=debug, queue_size=2, allow_interruptions=True)
        task = PipelineTask(Pipeline(parts_of(ledger)), params)

        async def run():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                with contextlib.suppress(trio.BrokenResourceError):
                    for i in range(6):
                        await task.queue_frame(text(str(i)))
                        await task.queue_frame(text("up"), UP)
                        if interrupts and i % 2:
                            await trio.sleep(0.15)
                            task.interrupt()
                task.stop_when_done()
                await task.wait_finished()

        def check():
            assert ledger.opened == ledger.closed
            assert ledger.handling == 0
            assert ledger.overlaps == 0
            if task.state is not TaskState.NEW:
                assert task.has_finished()
                assert task.state in FINAL

        return run, check, (lambda: task.cancel("at this step")) if how == "call" else None

    return make


# A handful of classes, inline and not, with helpers.
@pytest.mark.parametrize("how", ["scope", "call"])
@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize("debug", [False, True], ids=["fused", "unfused"])
def test_t11_classes_leave_nothing(interrupts, debug, how):
    def parts(ledger):
        return [Opens(ledger), Opens(ledger, inline=True), each(lambda f: f), Sees(inline=True)]

    assert cancelled_everywhere(scenario(parts, how=how, interrupts=interrupts, debug=debug)) > 50


# Blocks, functions, async functions.
@pytest.mark.parametrize("how", ["scope", "call"])
@pytest.mark.parametrize("interrupts", [False, True])
def test_t11_blocks_and_functions_leave_nothing(interrupts, how):
    def parts(ledger):
        @each
        async def slow(frame: TextFrame):
            await trio.sleep(0.05)
            yield frame
            yield text("more")

        return [block_of(ledger), each(lambda f: [f, f]), slow, block_of(ledger), Opens(ledger)]

    assert cancelled_everywhere(scenario(parts, how=how, interrupts=interrupts)) > 50


# Branches, nested.
@pytest.mark.parametrize("how", ["scope", "call"])
@pytest.mark.parametrize("interrupts", [False, True])
def test_t11_branches_leave_nothing(interrupts, how):
    def parts(ledger):
        return [
            Opens(ledger),
            ParallelPipeline(
                [Opens(ledger, inline=True)], [block_of(ledger), ParallelPipeline([Opens(ledger)], [Sees()])]
            ),
            each(lambda f: f),
        ]

    assert cancelled_everywhere(scenario(parts, how=how, interrupts=interrupts)) > 50


# The same with task.cancel() from inside, at each of its handlers' steps.
@pytest.mark.parametrize("debug", [False, True], ids=["fused", "unfused"])
def test_cancel_asked_by_the_nth_handler_leaves_nothing(debug):
    def once(n):
        ledger = Ledger()
        calls = 0

        class Cancels(FrameProcessor):
            async def process_frame(self, frame, direction):
                nonlocal calls
                calls += 1
                if calls == n:
                    self.task.cancel("nth")
                await self.push_frame(frame, direction)

        async def main():
            task = PipelineTask(
                Pipeline([Opens(ledger), Cancels(inline=True), block_of(ledger), Cancels()]),
                PipelineParams(debug=debug, queue_size=1),
            )
            with trio.fail_after(1000):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(task.run)
                    try:
                        for i in range(5):
                            await task.queue_frame(text(str(i)))
                            await task.queue_frame(text("up"), UP)
                        task.stop_when_done()
                    except trio.BrokenResourceError:
                        assert task.state is TaskState.CANCELLED or calls >= n
            assert ledger.opened == ledger.closed
            assert ledger.overlaps == ledger.handling == 0
            assert task.state is (TaskState.CANCELLED if calls >= n else TaskState.ENDED)
            return calls >= n

        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    n = 1
    while once(n):
        n += 1
    assert n > 15


# An error in the nth handler: the same, and it leaves run().
@pytest.mark.parametrize("inline", [False, True])
def test_an_error_in_the_nth_handler_leaves_nothing(inline):
    def once(n):
        ledger = Ledger()
        calls = 0

        class Fails(FrameProcessor):
            async def process_frame(self, frame, direction):
                nonlocal calls
                calls += 1
                if calls == n:
                    raise ValueError("nth")
                await self.push_frame(frame, direction)

        async def main():
            task = PipelineTask(
                Pipeline([Opens(ledger), Fails(inline=inline), ParallelPipeline([block_of(ledger)], [Opens(ledger)])]),
                PipelineParams(queue_size=1),
            )
            failed = False
            with trio.fail_after(1000):
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(task.run)
                        for i in range(5):
                            await task.queue_frame(text(str(i)))
                            await task.queue_frame(text("up"), UP)
                        task.stop_when_done()
                except* (ValueError, trio.BrokenResourceError) as group:
                    failed = True
                    assert group.subgroup(ValueError)
            assert ledger.opened == ledger.closed
            assert ledger.overlaps == ledger.handling == 0
            assert task.state is (TaskState.FAILED if failed else TaskState.ENDED)
            assert failed == (calls >= n)
            return failed

        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    n = 1
    while once(n):
        n += 1
    assert n > 10


# G27: a deadline round run() is not swallowed, at whatever time it strikes.
def test_g27_a_deadline_round_run_is_not_swallowed():
    async def main(seconds):
        ledger = Ledger()
        task = PipelineTask(Pipeline([Opens(ledger), block_of(ledger), Opens(ledger, inline=True)]))
        await task.queue_frames([text(str(i)) for i in range(20)])
        with trio.move_on_after(seconds) as scope:
            await task.run()
            raise AssertionError("not reached")
        assert scope.cancelled_caught
        assert task.state is TaskState.CANCELLED
        assert ledger.opened == ledger.closed

    for tenths in range(30):
        trio.run(main, tenths / 20, clock=trio.testing.MockClock(autojump_threshold=0))


# G1: cancel before StartFrame has reached the sink, at each step of a slow start.
def test_g01_cancel_during_start_returns():
    class SlowStart(FrameProcessor):
        async def process_frame(self, frame, direction):
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            await trio.sleep(1)
            await self.push_frame(frame, direction)

    def make():
        task = PipelineTask(Pipeline([SlowStart(), SlowStart(inline=True), SlowStart()]))

        async def run():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(2.5)
                task.cancel()
                await task.wait_finished()

        def check():
            assert task.state in (TaskState.NEW, TaskState.CANCELLED)

        return run, check, None

    assert cancelled_everywhere(make) > 20
