"""What type checkers see of the public API: run by mypy and pyright (`nox -s types`), never executed."""

from collections.abc import AsyncIterator
from typing import assert_type

import trio

from trio_pipes import (
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Frames,
    LLMTokenUsage,
    Out,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    Requested,
    Restart,
    RunnerFromThread,
    Switchable,
    SyncParallelPipeline,
    TaskFromThread,
    TaskResult,
    TaskState,
    TextFrame,
    TTFBMetrics,
    each,
    merge,
    processor,
    route,
    tee,
)


@each
def shout(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text.upper())


@each
async def drop(frame: TextFrame) -> None:
    await trio.sleep(1)


@processor
async def block(frames: Frames[TextFrame], out: Out) -> None:
    async for frame in frames:
        assert_type(frame, TextFrame)
        assert_type(frame.text, str)
        await out.push(frame)


@each(name="number")
def number(frame: TextFrame | EndFrame) -> list[TextFrame]:
    return []


@each
async def letters(frame: TextFrame) -> AsyncIterator[TextFrame]:
    yield frame


async def call() -> None:
    assert_type(shout(TextFrame("a")), TextFrame)
    assert_type(number(TextFrame("a")), list[TextFrame])
    assert_type(await drop(TextFrame("a")), None)
    async for frame in letters(TextFrame("a")):
        assert_type(frame, TextFrame)
    shout("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Both(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)


class Measures(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        self.metrics.start_ttfb()
        await self.metrics.stop_ttfb(at=trio.current_time())
        await self.metrics.llm_usage(LLMTokenUsage(1, 2))
        await self.metrics.report(TTFBMetrics(self.name, 0.5, model="tiny"))
        await self.metrics.tts_usage(3)  # type: ignore[arg-type]
        await self.broadcast_frame(TextFrame, text="both")


def told(frame: Frame, handled: bool) -> None:
    assert_type(handled, bool)


def length(frame: TextFrame) -> int:
    return len(frame.text)


each(length)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def shapes(channel: trio.MemoryReceiveChannel[TextFrame]) -> None:
    slot = Switchable(shout)
    await slot.replace(Both())
    assert_type(slot.content, FrameProcessor)
    Pipeline(
        [
            merge(channel, [Both()], drop),
            SyncParallelPipeline([shout], [block, Both()], order="arrival"),
            tee([drop]),
            route(type, {TextFrame: [shout], EndFrame: []}, default=[]),
            route(lambda frame: frame.text, {"a": [shout]}),
            slot,
        ],
        takes=TextFrame,
        gives=(TextFrame,),
    )


async def use() -> None:
    task = PipelineTask(Pipeline([shout, drop, block, Both()]), PipelineParams(queue_size=8))
    runner = PipelineRunner(task)
    await task.queue_frame(TextFrame("hello"))
    await task.queue_frames([TextFrame("a"), TextFrame("b")])
    await task.queue_frame("hello")  # type: ignore[arg-type]
    await task.queue_frame(TextFrame("c"), on_handled=told)
    await task.queue_frame(TextFrame("c"), on_handled=lambda frame, handled: print(frame.name, handled))
    await task.queue_frame(TextFrame("c"), on_handled=lambda: None)  # type: ignore[arg-type, misc]
    task.cancel()
    await task.cancel(reason="asked")
    assert_type(await task.flush(1.0), bool)
    assert_type(task.state, TaskState)
    assert_type(await task.wait_finished(), TaskResult)
    async with task.open_output(TextFrame) as frames:
        async for frame in frames:
            assert_type(frame.id, int)
    restart = Restart(lambda: PipelineTask(Pipeline([shout])), max_restarts=1, period=1.5)
    assert_type(runner.add_workers(restart, helper=True), Requested)
    assert_type(runner.statistics().reason, str | None)
    assert_type(task.result, TaskResult | None)
    handle = task.from_thread()
    assert_type(handle, TaskFromThread)
    assert_type(handle.queue_frame(TextFrame("from a thread")), None)
    assert_type(handle.wait_finished(), TaskResult)
    handle.queue_frame("hello")  # type: ignore[arg-type]
    assert_type(runner.from_thread(), RunnerFromThread)
    assert_type(runner.from_thread().get_task("talk"), TaskFromThread | None)
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await nursery.start(runner.run)


trio.run(PipelineRunner().run)
