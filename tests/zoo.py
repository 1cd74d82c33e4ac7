"""Processors that misbehave, each in one way that has been seen in the wild."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from trio_pipes import (
    DataFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    Frames,
    InterruptionFrame,
    Out,
    StartFrame,
    SystemFrame,
    TextFrame,
    each,
    processor,
)

UP = Direction.UPSTREAM


class Forgets(FrameProcessor):
    """Handles what it knows and forgets the rest."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            await self.push_frame(frame, direction)


class OneWay(FrameProcessor):
    """Forgets that frames come from below as well."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame)


class Urgent(FrameProcessor):
    """Takes system frames to be its own."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, SystemFrame):
            await self.push_frame(frame, direction)


class Doubles(FrameProcessor):
    """Passes on what it has passed on."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, DataFrame):
            await self.push_frame(frame, direction)
        await self.push_frame(frame, direction)


class Chatters(FrameProcessor):
    """Says more than it was said to."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame):
            await self.push_frame(TextFrame("indeed"))


class Reorders(FrameProcessor):
    """Lets the second text go before the first."""

    first: TextFrame | None = None

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame) and frame.text == "one":
            self.first = frame
            return
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame) and self.first is not None:
            await self.push_frame(self.first)
            self.first = None


class Raises(FrameProcessor):
    """Has a bug."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            raise LookupError(frame.text)
        await self.push_frame(frame, direction)


class HangsOn(FrameProcessor):
    """Waits for what never comes."""

    def __init__(self, kind: type[Frame]) -> None:
        super().__init__()
        self.kind = kind

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, self.kind):
            await trio.sleep_forever()
        await self.push_frame(frame, direction)


class NeverReady(FrameProcessor):
    """Is never set up."""

    @asynccontextmanager
    async def lifespan(self):
        await trio.sleep_forever()
        yield


class SpeaksLate(FrameProcessor):
    """Lets the end go and then says its last words."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, EndFrame):
            await self.push_frame(TextFrame("one more thing"))


class CleansUpSlowly(FrameProcessor):
    """Takes its time to say goodbye."""

    @asynccontextmanager
    async def lifespan(self):
        try:
            yield
        finally:
            await trio.sleep(60)


class FailsToCleanUp(FrameProcessor):
    """Cannot cope with a run that was broken off."""

    @asynccontextmanager
    async def lifespan(self):
        self.ended = False
        try:
            yield
        finally:
            if not self.ended:
                raise RuntimeError("not ended properly")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        self.ended = self.ended or isinstance(frame, EndFrame)


class LeavesATask(FrameProcessor):
    """Starts what nobody stops."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, StartFrame):
            trio.lowlevel.spawn_system_task(trio.sleep, 10_000)
        await self.push_frame(frame, direction)


class LeavesAFile(FrameProcessor):
    """Opens and does not close."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, StartFrame):
            Path(__file__).open()  # noqa: ASYNC230, SIM115
        await self.push_frame(frame, direction)


class ForgetsToAwait(FrameProcessor):
    """Calls what has to be awaited."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame):
            trio.sleep(1)  # noqa: ASYNC105


class ClosesAtTheEndOnly(FrameProcessor):
    """Counts what is open, and closes it when EndFrame comes."""

    open = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, StartFrame):
            ClosesAtTheEndOnly.open += 1
        if isinstance(frame, EndFrame):
            ClosesAtTheEndOnly.open -= 1
        await self.push_frame(frame, direction)


class CatchesAll(FrameProcessor):
    """Takes a cancel for an error of the service that it calls."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            try:
                await trio.sleep(1)
            except BaseException:
                return
        await self.push_frame(frame, direction)


class Replaces(FrameProcessor):
    """Makes an error of a cancel."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                raise TimeoutError("the service did not answer") from None
        await self.push_frame(frame, direction)


class GoesOnForEver(FrameProcessor):
    """Has a loop that nothing can stop."""

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.poll)
            yield
            self.over = True

    over = False

    async def poll(self) -> None:
        while not self.over:
            try:
                await trio.sleep(1)
            except BaseException:
                continue


class Shields(FrameProcessor):
    """Must not be disturbed."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame) and direction is not UP:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.seconds)
        await self.push_frame(frame, direction)


class StaysBusy(FrameProcessor):
    """Thinks for ever that its frame is still being worked on."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = trio.Event()
        self.idle.set()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame) and direction is not UP:
            await self.idle.wait()
            self.idle = trio.Event()
            await trio.sleep(1)
            self.idle.set()
        await self.push_frame(frame, direction)


class FailsOnInterrupt(FrameProcessor):
    """Has never been interrupted before."""

    async def on_interrupt(self) -> None:
        raise RuntimeError("what now?")


class Holds(FrameProcessor):
    """Keeps frames back until three are there, and drops them all on an interrupt."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, SystemFrame) or direction is UP:
            await self.push_frame(frame, direction)
            return
        self.held.append(frame)
        if len(self.held) >= 3 or isinstance(frame, EndFrame | StartFrame):
            while self.held:
                await self.push_frame(self.held.pop(0))
                await trio.sleep(0.1)

    async def on_interrupt(self) -> None:
        self.held.clear()


class SwallowsErrors(FrameProcessor):
    """Carries on whatever happens."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        try:
            await self.push_frame(frame, direction)
        except Exception:
            print("something went wrong")


@processor
async def swallows_errors(frames: Frames[TextFrame], out: Out) -> None:
    """The same as a block."""
    async for frame in frames:
        try:
            await out.push(frame)
        except Exception:
            print("something went wrong")


class KnowsItsTask(FrameProcessor):
    """Says what depends on the task that it runs in."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame):
            await self.push_frame(TextFrame(f"inline: {self.inline}"))


class LooksAhead(FrameProcessor):
    """Waits until three more frames are there."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame) and frame.text == "one":
            while self.statistics().downstream.buffered < 3:  # noqa: ASYNC110
                await trio.sleep(0.1)
        await self.push_frame(frame, direction)


class LosesPatience(FrameProcessor):
    """Drops what it cannot get rid of within half a second."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        with trio.move_on_after(0.5):
            await self.push_frame(frame, direction)


class Counts(FrameProcessor):
    """Counts on in the next run."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame):
            self.count += 1
            await self.push_frame(TextFrame(str(self.count)))


class BeginsInSetUp(FrameProcessor):
    """Takes its set-up for the beginning of a run."""

    @asynccontextmanager
    async def lifespan(self):
        self.count = 0
        yield

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame):
            self.count += 1
            await self.push_frame(TextFrame(str(self.count)))


class KeepsWhatIsLeft(FrameProcessor):
    """Begins anew when a run has ended, and not when one was cancelled."""

    count = 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        await self.push_frame(frame, direction)
        if isinstance(frame, TextFrame):
            self.count += 1
            await self.push_frame(TextFrame(str(self.count)))
        elif isinstance(frame, EndFrame):
            self.count = 0


class NeedsItsTask(FrameProcessor):
    """Asks for its task while it is set up."""

    @asynccontextmanager
    async def lifespan(self):
        assert self.task is not None
        yield


class Shares(FrameProcessor):
    """Has one list for all its instances."""

    latest: list[str] = []  # noqa: RUF012  (that is the bug)

    @asynccontextmanager
    async def lifespan(self):
        self.latest.clear()
        yield

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            self.latest.append(frame.text)
            await trio.sleep(0.01)
            frame = TextFrame(" ".join(self.latest))
        await self.push_frame(frame, direction)


class Sleeps(FrameProcessor):
    """Sleeps in real time, and everybody else with it."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, TextFrame):
            time.sleep(0.05)  # noqa: ASYNC251, TID251
        await self.push_frame(frame, direction)


class StuckInGenerator(FrameProcessor):
    """Leaves an async generator in the middle."""

    kept: list[object] = []  # noqa: RUF012

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, StartFrame):
            words = self.words()
            self.kept.append(words)
            async for _ in words:
                break
        await self.push_frame(frame, direction)

    async def words(self):
        yield "one"
        yield "two"


class InterruptsForget(FrameProcessor):
    """Has a task that an InterruptionFrame ends, and that nobody starts again."""

    @asynccontextmanager
    async def lifespan(self):
        self.send, receive = trio.open_memory_channel[Frame](0)
        async with trio.open_nursery() as self.nursery:
            self.nursery.start_soon(self.serve, receive)  # noqa: ASYNC113
            yield
            self.nursery.cancel_scope.cancel()

    async def serve(self, receive: trio.MemoryReceiveChannel[Frame]) -> None:
        with trio.CancelScope() as self.scope:
            async for frame in receive:
                await self.push_frame(frame)

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, InterruptionFrame):
            self.scope.cancel()
        if isinstance(frame, TextFrame) and direction is not UP:
            await self.send.send(frame)
        else:
            await self.push_frame(frame, direction)


@each
def forgets_that_it_takes_all(frame: DataFrame) -> None:
    """Drops data frames that it does not know."""
