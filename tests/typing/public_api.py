"""What type checkers see of the public API: run by mypy and pyright (`nox -s types`), never executed."""

from collections.abc import AsyncIterator
from typing import assert_type

import trio
from trio_util import AsyncBool

from trio_pipes import (
    Direction,
    EndFrame,
    ErrorFrame,
    Failover,
    Frame,
    FrameGate,
    FrameProcessor,
    Frames,
    FunctionFilter,
    IdleFrameProcessor,
    LLMTokenUsage,
    NotifierGate,
    Out,
    Pipeline,
    PipelineParams,
    PipelineRunner,
    PipelineTask,
    Requested,
    Restart,
    RunnerFromThread,
    ServiceSwitcher,
    Switchable,
    SwitchStrategy,
    SyncParallelPipeline,
    Tap,
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


async def is_short(frame: TextFrame) -> bool:
    return len(frame.text) < 3


async def ask(processor: IdleFrameProcessor) -> None:
    await processor.push_frame(TextFrame("Are you there?"))


class Patient(SwitchStrategy):
    def next_service(self, switcher: ServiceSwitcher) -> FrameProcessor | None:
        return switcher.usable_services[0]

    def after_error(self, switcher: ServiceSwitcher, error: ErrorFrame) -> FrameProcessor | None:
        return None if error.fatal else switcher.active


async def switching() -> None:
    switcher = ServiceSwitcher([shout, Both()], Patient(), to_all=(TextFrame, EndFrame))
    ServiceSwitcher([shout], None, warm=False, to_all=TextFrame)
    ServiceSwitcher([shout], Failover(failback=True, retry_after=5))
    ServiceSwitcher([shout], "failover")  # type: ignore[arg-type]
    assert_type(switcher.active, FrameProcessor)
    await switcher.switch_to("shout")
    switcher.switch_to(switcher.services[1])


def ready_made() -> None:
    Pipeline([FunctionFilter(is_short), FunctionFilter(lambda frame: frame.text == "x"), IdleFrameProcessor(5, ask)])
    gate = FrameGate(opens=TextFrame, closes=lambda frame: frame.pts is None, overflow="drop_oldest")
    FrameGate(opens=is_short)  # type: ignore[arg-type]  # async
    NotifierGate(AsyncBool(), timeout=5)
    NotifierGate(trio.Event(), at_end="drop")
    NotifierGate("event")  # type: ignore[arg-type]
    assert_type(gate.kept, int)
    assert_type(gate.is_open, bool)


async def taps() -> None:
    def line(frame: TextFrame) -> str | None:
        return frame.text or None

    async def size(frame: TextFrame) -> int:
        return len(frame.text)

    assert_type(Tap(TextFrame), Tap[Frame])
    assert_type(Tap(TextFrame, serialize=line), Tap[str])
    assert_type(Tap(TextFrame, serialize=size), Tap[int])
    async with Tap(TextFrame, serialize=line).open() as lines:
        assert_type(lines, trio.MemoryReceiveChannel[str])
