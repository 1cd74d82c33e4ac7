"""What users of a frame framework expect of one processor: copies, pushes around an interrupt, work beside it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from flow_kit import DOWN, UP, Does, Sees, live, said, text
from trio_pipes import (
    ControlFrame,
    DataFrame,
    EndFrame,
    EndTaskFrame,
    FrameProcessor,
    Pipeline,
    PipelineTask,
    StartFrame,
    StopFrame,
    SystemFrame,
    TaskState,
    TextFrame,
)
from trio_pipes.testing import run_pipeline


@attrs.define(eq=False)
class Price(DataFrame):
    cents: int = 0
    currency: str = "EUR"


class Ping(SystemFrame):
    pass


# -- frames


# The peer's `broadcast_frame_instance` copies all fields but id and name. Here attrs copies what the class declares.
def test_a_copy_by_attrs_is_a_frame_of_its_own() -> None:
    price = Price(cents=5, currency="SEK", interruptible=False)
    price.pts = 10
    price.metadata["from"] = "till"
    copy = attrs.evolve(price, cents=6)
    assert (copy.cents, copy.currency, copy.interruptible) == (6, "SEK", False)
    assert copy.id != price.id
    assert copy.name != price.name
    assert copy.pts is None  # time and luggage belong to the one frame
    assert copy.metadata == {}


async def test_a_broadcast_is_two_frames_with_ids_of_their_own(autojump_clock) -> None:
    async def tells(self, frame):
        await self.broadcast_frame(Price, cents=7)

    received = await run_pipeline([Sees(), Does(tells), Sees()], said("go"))
    (down,), (up,) = received.down, received.up
    assert len({down.id, up.id}) == 2
    assert (down.cents, up.cents) == (7, 7)
    assert (down.metadata["broadcast_sibling_id"], up.metadata["broadcast_sibling_id"]) == (up.id, down.id)


# -- lifecycle frames and interrupts


@pytest.mark.parametrize("last", [EndFrame, StopFrame], ids=["end", "stop"])
@pytest.mark.parametrize("inline", [False, True])
async def test_what_ends_a_run_survives_an_interrupt_behind_a_slow_processor(autojump_clock, last, inline) -> None:
    final = Sees()
    task = PipelineTask(Pipeline([Sees(delay=100), Sees(inline=inline), final]))
    with trio.fail_after(50):  # the interrupt stops what would have taken a hundred seconds
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frames([text("old"), text("old too"), last(reason="bye")])
            await trio.sleep(1)
            task.interrupt()
    assert final.kinds() == ["StartFrame", "InterruptionFrame", last.__name__]
    result = await task.wait_finished()
    assert result.state is (TaskState.ENDED if last is EndFrame else TaskState.STOPPED)
    assert result.reason == "bye"


# An urgent frame pushed right after asking for an interrupt overtakes nothing and is not lost.
async def test_code_after_an_interrupt_runs_and_may_push_urgent_frames(autojump_clock) -> None:
    async def asks(self, frame):
        self.interrupt()
        await self.push_frame(Ping())
        await self.push_frame(Ping(), UP)

    above, below = Sees(), Sees()
    async with live([above, Does(asks), below], allow_interruptions=True) as run:
        await run.say("go")
    assert below.kinds() == ["StartFrame", "InterruptionFrame", "Ping", "EndFrame"]
    assert above.kinds(UP) == ["Ping"]


# A class that wants to end behind what it has just pushed queues nothing: the request does not overtake it.
async def test_a_request_to_end_leaves_what_was_pushed_before_it(autojump_clock) -> None:
    async def last_words(self, frame):
        for word in ("good", "bye"):
            await self.push_frame(text(word))
        await self.push_frame(EndTaskFrame("said it"), UP)

    final = Sees(delay=1)
    task = PipelineTask(Pipeline([Sees(), Does(last_words), Sees(delay=1), final]))
    await task.queue_frame(text("go"))
    result = await task.run()
    assert final.kinds() == ["StartFrame", "good", "bye", "EndFrame"]
    assert (result.state, result.reason) == (TaskState.ENDED, "said it")


# -- before the start


# Frames that reach a processor before its StartFrame: start first, then urgent, then the others.
async def test_what_came_before_the_start_is_handled_after_it_urgent_first(autojump_clock) -> None:
    class Early(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            await self.push_frame(text("first"))
            await self.push_frame(ControlFrame())
            await self.push_frame(Ping())
            yield

        async def process_frame(self, frame, direction):
            if isinstance(frame, StartFrame):
                await trio.sleep(2)
            await self.push_frame(frame, direction)

    late = Sees()
    await run_pipeline([Early(), late], said("queued"))
    assert late.kinds() == ["StartFrame", "Ping", "first", "ControlFrame", "queued", "EndFrame"]


# -- work beside the handlers: there a task manager keeps a list of it, here a nursery owns it


class Works(FrameProcessor):
    """Starts `work` twice beside its handlers, and cancels it at the end."""

    def __init__(self, work) -> None:
        super().__init__()
        self.work = work

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            nursery.start_soon(self.work)
            nursery.start_soon(self.work)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()


async def test_work_of_one_name_is_twice_cancelled_and_twice_cleaned_up(autojump_clock) -> None:
    ended = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with live([Works(work)]):
        await trio.sleep(3)
    assert ended == [3, 3]


# The peer leaked a coroutine that was cancelled before it ran. The suite takes the warning for an error.
async def test_work_that_is_cancelled_before_it_ran_leaves_no_coroutine(autojump_clock, recwarn) -> None:
    ran = []

    class Hasty(FrameProcessor):
        @asynccontextmanager
        async def lifespan(self):
            async with trio.open_nursery() as nursery:
                nursery.cancel_scope.cancel()
                nursery.start_soon(self.work)
            yield

        async def work(self) -> None:
            await trio.lowlevel.checkpoint()
            ran.append(1)

    await run_pipeline([Hasty()], said("a"))
    assert ran == []
    assert [str(warning.message) for warning in recwarn] == []


async def test_work_gives_its_value_by_what_it_shares(autojump_clock) -> None:
    async def answers(self, frame):
        async with trio.open_nursery() as nursery:
            found: list[str] = []
            nursery.start_soon(self.look_up, frame.text, found)
        await self.push_frame(text(*found))

    class Asks(Does):
        async def look_up(self, word: str, found: list[str]) -> None:
            await trio.sleep(1)
            found.append(word.upper())

    async with live([Asks(answers)]) as run:
        await run.say("a")
    assert run.texts == ["A"]


# Whoever cancels some work and waits for it is still cancelled by others meanwhile, and still cleans up.
async def test_a_cancel_while_waiting_for_cancelled_work_is_not_swallowed(autojump_clock) -> None:
    log = []

    class Waits(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame):
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self.slow_to_go)
                        await trio.sleep(1)
                        nursery.cancel_scope.cancel()
                    log.append("went on")
                    await trio.sleep_forever()
                finally:
                    log.append("cleaned up")
            await self.push_frame(frame, direction)

        async def slow_to_go(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)

    task = PipelineTask(Pipeline([Waits()]))
    await task.queue_frame(text("x"))
    with trio.move_on_after(3) as deadline:
        await task.run()
    assert deadline.cancelled_caught
    assert log == ["cleaned up"]
    assert trio.current_time() == 6  # the shield is the slow one's own
    assert task.state is TaskState.CANCELLED


async def test_work_that_cancels_itself_takes_nothing_with_it(autojump_clock) -> None:
    log = []

    async def work() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.lowlevel.checkpoint()
        log.append("goes on")

    async with live([Works(work)]) as run:
        await trio.sleep(1)
        await run.say("a")
    assert log == ["goes on", "goes on"]
    assert run.texts == ["a"]


async def test_both_directions_of_a_row_keep_their_order(autojump_clock) -> None:
    ends = [Sees(), Sees(delay=0.1), Sees()]
    async with live(ends) as run:
        for word in "abc":
            await run.task.queue_frame(text(word))
            await run.task.queue_frame(text(word.upper()), UP)
    for sees in ends:
        assert sees.texts(DOWN) == ["a", "b", "c"]
        assert sees.texts(UP) == ["A", "B", "C"]
