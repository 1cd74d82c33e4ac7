"""Pauses, deadlines, timeouts, processors that come and go, interrupts: all at random moments, together.

Whatever happens, a frame that was accepted comes out once, in its place, or there is one error for it, or an interrupt
made it stale; and nothing hangs.
"""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st

from flow_kit import DOWN, HUNG, UP
from trio_pipes import (
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    FrameTimeout,
    Out,
    PauseFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    TextFrame,
    each,
    processor,
    with_deadline,
)


def seconds(frame, place):
    """How long the processor at `place` works on it."""
    return (sum(map(ord, frame.text)) + 3 * place) % 7 / 10


def make(kind, place, timeout):
    if kind in ("class", "inline"):

        class Works(FrameProcessor):
            async def process_frame(self, frame, direction):
                if isinstance(frame, TextFrame) and direction is DOWN:
                    await trio.sleep(seconds(frame, place))
                await self.push_frame(frame, direction)

        works = Works(name=f"at {place}", inline=kind == "inline")
        works.frame_timeout = timeout
        return works
    if kind == "block":

        @processor(name=f"at {place}")
        async def block(frames: Frames[TextFrame], out: Out) -> None:
            async for frame in frames:
                with frames.interruptible() as scope:
                    await trio.sleep(seconds(frame, place))
                if not scope.cancelled_caught:
                    await out.push(frame)

        return block

    if kind == "sync":

        @each(name=f"at {place}")
        def sync(frame: TextFrame):
            return frame

        return sync

    @each(name=f"at {place}", timeout=timeout, concurrency=3 if kind == "concurrent" else 1)
    async def function(frame: TextFrame):
        await trio.sleep(seconds(frame, place))
        return frame

    return function


KINDS = ["class", "inline", "inline", "block", "sync", "function", "concurrent"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.05, 0.3, 1]),
        st.sampled_from(
            ["say"] * 5
            + ["kept", "hurry", "hurry", "hurry kept", "pause", "resume", "ordered", "out", "back", "interrupt"]
        ),
        st.integers(0, 4),
    ),
    max_size=30,
)


async def run(kinds, timeouts, steps, size, debug, interrupts):
    parts = [make(kind, i, timeouts[i]) for i, kind in enumerate(kinds)]
    pipeline = Pipeline(parts)
    params = PipelineParams(queue_size=size, debug=debug, on_error=ErrorPolicy.REPORT)
    task = PipelineTask(pipeline, params)
    accepted: list[str] = []
    interrupted = False
    may_change = [i for i, kind in enumerate(kinds) if kind != "sync"]

    async def change(what, index):
        if not may_change:
            return
        it = pipeline.processors[may_change[index % len(may_change)]]
        match what:
            case "pause":
                it.pause()
            case "resume":
                it.resume()
            case "out":
                it.set_unusable("out of order")
            case "back":
                it.set_usable()
            case "ordered":
                with trio.move_on_after(2):
                    await task.queue_frame(PauseFrame(it))

    with trio.fail_after(HUNG):
        async with (
            task.open_output(TextFrame, buffer=1000) as out,
            task.open_output(ErrorFrame, buffer=1000, direction=UP) as errors,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(task.run)
            for i, (delay, what, index) in enumerate(steps):
                await trio.sleep(delay)
                if what in ("say", "kept", "hurry", "hurry kept"):
                    frame = TextFrame(str(i), interruptible="kept" not in what)
                    if "hurry" in what:
                        with_deadline(frame, 0.1 + index / 4)
                    with trio.move_on_after(3) as scope:
                        await task.queue_frame(frame)
                    if not scope.cancelled_caught:
                        accepted.append(frame.text)
                elif what == "interrupt":
                    interrupted = interrupts
                    if interrupts:
                        task.interrupt()
                else:
                    await change(what, index)
            task.stop_when_done()
            came = [frame.text async for frame in out]
            timeouts_of = [frame async for frame in errors if isinstance(frame.exception, FrameTimeout)]
    assert came == [content for content in accepted if content in came]
    if not interrupted:
        assert len(came) + len(timeouts_of) == len(accepted)
    else:
        kept = [accepted_one for accepted_one in accepted if "kept" in steps[int(accepted_one)][1]]
        assert len(set(came) | set(kept)) <= len(came) + len(timeouts_of)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5),
    timeouts=st.lists(st.sampled_from([None, None, None, 0.45]), min_size=5, max_size=5),
    steps=STEPS,
    size=st.sampled_from([1, 2, 64]),
    interrupts=st.booleans(),
)
def test_every_frame_comes_out_or_is_accounted_for(kinds, timeouts, steps, size, interrupts):
    for debug in (False, True):
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(run, kinds, timeouts, steps, size, debug, interrupts, clock=clock)
