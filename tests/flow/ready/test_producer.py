"""Producers and consumers: copies from one place of a pipeline to another, in any branches and order (P2)."""

from contextlib import suppress

import attrs
import pytest
import trio

from flow_kit import UP, Drops, Sees, live, said, settle, text, texts
from hosting import records, task_of
from trio_pipes import (
    ConfigurationError,
    Consumer,
    ControlFrame,
    DataFrame,
    EndFrame,
    EndTimeout,
    FloodError,
    Frame,
    FrameProcessor,
    InterruptionFrame,
    MetricsFrame,
    ParallelPipeline,
    PauseFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    Producer,
    ServiceSwitcher,
    StartFrame,
    StopFrame,
    Switchable,
    SyncParallelPipeline,
    SystemFrame,
    TaskState,
    TextFrame,
    deadline_of,
    each,
    merge,
    route,
    tee,
    with_deadline,
)
from trio_pipes.flow import _turn
from trio_pipes.testing import cancel_at_every_checkpoint, check_processor, run_pipeline


@attrs.define(eq=False)
class Ping(SystemFrame):
    number: int = 0


@attrs.define(eq=False)
class Number(DataFrame):
    value: int = 0


class Slow(Sees):
    def __init__(self, seconds: float = 1, **settings) -> None:
        super().__init__(seconds, **settings)


def marked(frame: TextFrame) -> TextFrame:
    return TextFrame(f"copy of {frame.text}", interruptible=frame.interruptible)


def is_original(frame: TextFrame) -> bool:
    return not frame.text.startswith("copy")


def split(contents: list[str]) -> tuple[list[str], list[str]]:
    """The originals, and the copies."""
    return [c for c in contents if not c.startswith("copy")], [c for c in contents if c.startswith("copy")]


WORDS = [str(n) for n in range(10)]
COPIES = [f"copy of {word}" for word in WORDS]


# -- what it does


async def test_a_frame_goes_on_and_its_copy_comes_out_of_the_consumer(autojump_clock):
    producer = Producer(TextFrame)
    received = await run_pipeline([producer, Consumer(producer)], said("a"))
    assert texts(received.down) == ["a", "a"]
    assert received.down[0] is not received.down[1]


async def test_without_passthrough_only_the_copy_comes_out(autojump_clock):
    producer, between = Producer(TextFrame, passthrough=False), Sees()
    received = await run_pipeline([producer, between, Consumer(producer)], said("a"))
    assert texts(received.down) == ["a"]
    assert between.texts() == []


async def test_each_of_several_consumers_gets_a_copy_of_its_own(autojump_clock):
    producer = Producer(TextFrame, passthrough=False)
    received = await run_pipeline([producer, Consumer(producer), Consumer(producer)], said("a"))
    assert texts(received.down) == ["a", "a"]
    assert len({frame.id for frame in received.down}) == 2


@pytest.mark.parametrize("producer_first", [True, False])
async def test_from_one_branch_to_another(autojump_clock, producer_first):
    producer = Producer(TextFrame, passthrough=False)
    branches = [[producer], [Drops(), Consumer(producer)]]
    received = await run_pipeline(ParallelPipeline(*branches[:: 1 if producer_first else -1]), said(*WORDS))
    assert texts(received.down) == WORDS


async def test_a_transform_of_the_producer_makes_what_is_handed_over(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    received = await run_pipeline([producer, Consumer(producer)], said("a"))
    assert sorted(texts(received.down)) == ["a", "copy of a"]


async def test_a_transform_of_a_consumer_makes_what_that_one_pushes(autojump_clock):
    producer = Producer(TextFrame)
    pipeline = [producer, Consumer(producer, transform=marked), Consumer(producer)]
    received = await run_pipeline(pipeline, said("a"))
    assert sorted(texts(received.down)) == ["a", "a", "copy of a"]


async def test_transforms_and_filters_may_be_async_and_may_give_nothing(autojump_clock):
    async def even(frame: Number) -> bool:
        await trio.sleep(1)
        return frame.value % 2 == 0

    async def halved(frame: Number) -> Number | None:
        await trio.sleep(1)
        return Number(frame.value // 2) if frame.value else None

    async def plus_100(frame: Number) -> Number | None:
        await trio.sleep(1)
        return Number(frame.value + 100) if frame.value != 2 else None

    producer = Producer(even, transform=halved, passthrough=False)
    pipeline = [producer, Consumer(producer, transform=plus_100)]
    received = await run_pipeline(pipeline, [Number(n) for n in (0, 1, 2, 3, 4, 6)])
    assert sorted(frame.value for frame in received.down) == [1, 3, 101, 103]


async def test_a_copy_keeps_class_content_pts_metadata_and_whether_it_can_be_interrupted(autojump_clock):
    frame = text("a", kept=True)
    frame.pts, frame.metadata["who"] = 7, "bot"
    producer = Producer(TextFrame, passthrough=False)
    (copy,) = (await run_pipeline([producer, Consumer(producer)], [frame])).down
    assert (type(copy), copy.text, copy.pts, copy.metadata, copy.interruptible) == (
        TextFrame, "a", 7, {"who": "bot"}, False,
    )  # fmt: skip
    assert copy is not frame
    assert copy.id != frame.id
    copy.metadata["who"] = "user"
    assert frame.metadata["who"] == "bot"


async def test_a_copy_keeps_the_deadline(autojump_clock):
    frame = with_deadline(text("a"), 60)
    producer = Producer(TextFrame, passthrough=False)
    (copy,) = (await run_pipeline([producer, Consumer(producer)], [frame])).down
    assert deadline_of(copy) == deadline_of(frame)


async def test_what_a_frame_has_besides_what_its_init_takes_is_copied(autojump_clock):
    @attrs.define(eq=False)
    class Counted(DataFrame):
        words: list[str] = attrs.field(factory=list)
        _count: int = attrs.field(default=0, init=False)
        unset: int = attrs.field(init=False)

    class Plain(Counted):
        pass

    frame = Plain(["a"])
    frame._count, frame.note = 5, "mine"
    producer = Producer(Counted, passthrough=False)
    (copy,) = (await run_pipeline([producer, Consumer(producer)], [frame])).down
    assert (type(copy), copy.words, copy._count, copy.note) == (Plain, ["a"], 5, "mine")
    assert not hasattr(copy, "unset")


@pytest.mark.parametrize("asked", [(TextFrame, Number), lambda frame: isinstance(frame, TextFrame | Number)])
async def test_the_filter_is_classes_or_a_function(autojump_clock, asked):
    class Other(DataFrame):
        pass

    producer = Producer(asked, passthrough=False)
    received = await run_pipeline([producer, Drops(), Consumer(producer)], [text("a"), Number(1), Other()])
    assert [type(frame) for frame in received.down] == [TextFrame, Number]


async def test_control_frames_may_be_copied(autojump_clock):
    class Mark(ControlFrame):
        pass

    producer = Producer(Mark)
    received = await run_pipeline([producer, Consumer(producer)], [Mark()])
    assert [type(frame) for frame in received.down] == [Mark, Mark]


# -- directions, and system frames


async def test_a_consumer_may_push_upstream(autojump_clock):
    producer = Producer(TextFrame)
    received = await run_pipeline([producer, Consumer(producer, direction=UP, transform=marked)], said("a", "b"))
    assert texts(received.down) == ["a", "b"]
    assert texts(received.up) == ["copy of a", "copy of b"]


async def test_a_consumer_that_pushes_upstream_may_stand_above_its_producer(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    received = await run_pipeline([Consumer(producer, direction=UP), Slow(), producer], said(*WORDS))
    assert (texts(received.down), texts(received.up)) == (WORDS, COPIES)


async def test_a_producer_looks_the_way_it_is_told(autojump_clock):
    down, up, both = Producer(TextFrame), Producer(TextFrame, direction=UP), Producer(TextFrame, direction=None)
    consumers = [Consumer(p, transform=lambda f, p=p: Number(len(p.name))) for p in (down, up, both)]
    down.name, up.name, both.name = "1", "22", "333"
    async with live([down, up, both, *consumers]) as now:
        await now.say("a")
        await now.task.queue_frame(text("b"), UP)
        await settle()
        assert sorted(frame.value for frame in now.down if isinstance(frame, Number)) == [1, 2, 3, 3]
    assert texts(now.up) == ["b"]


async def test_system_frames_are_copied_only_where_their_class_is_named(autojump_clock):
    named, any_frame = Producer((TextFrame, Ping)), Producer(lambda frame: True)
    sees = Sees()
    parts = [named, any_frame, Consumer(named), Consumer(any_frame, transform=lambda f: Number()), sees]
    received = await run_pipeline(parts, [Ping(7), MetricsFrame(), text("a")])
    kinds = [type(frame).__name__ for frame in received.down if not isinstance(frame, StartFrame | EndFrame)]
    assert sorted(kinds) == ["MetricsFrame", "Number", "Ping", "Ping", "TextFrame", "TextFrame"]


async def test_a_copy_of_a_system_frame_overtakes_what_waits_at_the_consumer(autojump_clock):
    producer = Producer((TextFrame, Ping), passthrough=False)

    async def after_a_while(frame):
        await trio.sleep(1 if isinstance(frame, TextFrame) else 0)
        return frame

    received = await run_pipeline([producer, Consumer(producer, transform=after_a_while)], [*said("a", "b"), Ping(1)])
    assert [type(frame) for frame in received.down] == [Ping, TextFrame, TextFrame]


async def test_lifecycle_frames_and_interrupts_are_never_copied(autojump_clock):
    asked = []

    def ask(frame: Frame) -> bool:
        asked.append(type(frame))
        return True

    producer, sees = Producer((SystemFrame, TextFrame)), Sees()
    other = Producer(ask)
    async with live([producer, Consumer(producer), other, Consumer(other), sees]) as now:
        now.task.interrupt()
        await settle()
    assert asked == []
    assert sees.kinds() == ["StartFrame", "InterruptionFrame", "EndFrame"]


@pytest.mark.parametrize("kind", [StartFrame, EndFrame, PauseFrame, InterruptionFrame])
def test_a_producer_of_what_is_never_copied_is_refused(kind):
    with pytest.raises(
        ConfigurationError, match=rf"Producer\(filter=.* names {kind.__name__}, which it is not asked about"
    ):
        Producer((TextFrame, kind))


# -- the end: G36


PLACES = {
    "after": lambda p, c: Pipeline([p, Slow(), c, Slow()]),
    "right after": lambda p, c: Pipeline([p, c]),
    "before": lambda p, c: Pipeline([c, Slow(), p, Slow()]),
    "beside, first": lambda p, c: ParallelPipeline([c], [Slow(), p]),
    "beside, second": lambda p, c: ParallelPipeline([Slow(), p], [c]),
    "nested": lambda p, c: ParallelPipeline(
        [Pipeline([Slow(), ParallelPipeline([p], [Drops()])])], [Pipeline([c]), Slow()]
    ),
    "after branches": lambda p, c: Pipeline([ParallelPipeline([Slow(), p], [Drops()]), c]),
    "before branches": lambda p, c: Pipeline([c, ParallelPipeline([Slow(), p], [Drops()])]),
    "in step": lambda p, c: SyncParallelPipeline([c], [Slow(), p]),
    "into branches in step": lambda p, c: ParallelPipeline([Slow(), p], [SyncParallelPipeline([c], [Slow(0.1)])]),
    "out of branches in step": lambda p, c: ParallelPipeline([SyncParallelPipeline([p], [Slow(0.1)])], [c]),
    "out of a tee": lambda p, c: Pipeline([tee([Slow(), p]), c]),
    "into a tee": lambda p, c: Pipeline([p, tee([c, seen := Sees()]), seen_below(seen)]),
    "a route": lambda p, c: Pipeline([route(type, {TextFrame: [Slow(), p]}, default=[Drops()]), c]),
    "a merge": lambda p, c: Pipeline([p, merge([c], end=False)]),
    "in a slot": lambda p, c: ParallelPipeline([Switchable(Pipeline([Slow(), p]))], [c]),
    "into a slot": lambda p, c: ParallelPipeline([Slow(), p], [Switchable(c)]),
    "both in a slot, in a loop": lambda p, c: Switchable(Pipeline([c, Slow(), p])),
}


def seen_below(sees: Sees) -> FrameProcessor:
    """Pushes at the end the copies that came to a processor elsewhere."""

    class Below(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, EndFrame | StopFrame):
                for content in split(sees.texts())[1]:
                    await self.push_frame(text(content))
            await self.push_frame(frame, direction)

    return Below()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("queue_size", [1, 64])
async def test_g36_all_copies_are_delivered_before_the_end(autojump_clock, place, queue_size, debug, caplog):
    producer = Producer(is_original, transform=marked)
    task = task_of(PLACES[place](producer, Consumer(producer)), last := Sees(), queue_size=queue_size, debug=debug)
    await task.queue_frames(said(*WORDS))
    task.stop_when_done()
    with trio.fail_after(1000):
        await task.run()
    assert last.kinds()[-1] == "EndFrame"
    originals, copies = split(last.texts())
    assert copies == COPIES
    assert originals == WORDS
    assert records(caplog) == []


async def test_a_slow_transform_of_a_consumer_loses_nothing(autojump_clock):
    async def slowly(frame):
        await trio.sleep(5)
        return marked(frame)

    producer = Producer(TextFrame)
    received = await run_pipeline(
        ParallelPipeline([producer], [Drops(), Consumer(producer, transform=slowly)]), said(*WORDS)
    )
    assert split(texts(received.down)) == (WORDS, COPIES)


class SaysAtTheEnd(FrameProcessor):
    """As an aggregator does: what it has kept comes out at the end."""

    def __init__(self, *contents: str) -> None:
        self.contents = contents

    async def process_frame(self, frame, direction):
        if isinstance(frame, EndFrame | StopFrame):
            for content in self.contents:
                await self.push_frame(text(content))
        await self.push_frame(frame, direction)


async def test_what_is_said_at_the_end_above_a_producer_in_another_branch_is_copied_too(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    branches = ParallelPipeline([Slow(), SaysAtTheEnd("x", "y"), producer], [Consumer(producer)])
    received = await run_pipeline(branches, [])
    assert split(texts(received.down)) == (["x", "y"], ["copy of x", "copy of y"])


async def test_in_a_loop_what_is_said_at_the_end_comes_too_late_and_is_told(autojump_clock, caplog):
    producer = Producer(is_original, transform=marked)
    consumer = Consumer(producer, name="back")
    task = task_of(consumer, SaysAtTheEnd("x", "y"), producer, last := Sees())
    await task.queue_frames(said("a"))
    task.stop_when_done()
    await task.run()
    assert sorted(last.texts()) == ["a", "copy of a", "x", "y"]
    assert consumer.statistics().late_dropped == 2
    (told,) = records(caplog)
    assert "'back' dropped TextFrame#" in told
    assert repr(producer.name) in told


async def test_a_loop_comes_to_rest_before_the_end(autojump_clock):
    def less(frame: Number) -> Number:
        return Number(frame.value - 1)

    producer = Producer(lambda frame: frame.value > 0, transform=less)
    task = task_of(Consumer(producer), Slow(), producer, last := Sees())
    await task.queue_frames([Number(3), Number(2)])
    task.stop_when_done()
    await task.run()
    values = [frame.value for frame, _ in last.seen if isinstance(frame, Number)]
    assert sorted(values) == [0, 0, 1, 1, 2, 2, 3]
    assert last.kinds()[-1] == "EndFrame"


async def test_two_consumers_that_are_above_the_producer_of_each_other(autojump_clock):
    def less(frame: Number) -> Number:
        return Number(frame.value - 1)

    one, two = (Producer(lambda frame: frame.value > 0, transform=less, passthrough=False) for _ in range(2))
    branches = ParallelPipeline([Consumer(two), Slow(), one], [Drops(), Consumer(one), Slow(), two])
    task = task_of(branches, last := Sees(), queue_size=1)
    await task.queue_frames([Number(4), Number(3)])
    task.stop_when_done()
    with trio.fail_after(1000):
        await task.run()
    assert [frame.value for frame, _ in last.seen if isinstance(frame, Number)] == [0, 0]


async def test_loops_that_share_a_producer_end_one_after_the_other(autojump_clock):
    one, two = Producer(TextFrame), Producer(TextFrame)
    task = task_of(
        ParallelPipeline([Consumer(one), Consumer(one)], [Sees()], [Consumer(two), one, Consumer(two)]), two, Sees()
    )
    task.stop_when_done()
    with trio.fail_after(1000):
        await task.run()
    assert task.state is TaskState.ENDED


async def test_a_loop_that_never_comes_to_rest_is_ended_by_the_deadline_which_names_the_consumer(autojump_clock):
    producer = Producer(TextFrame, passthrough=False)
    consumer = Consumer(producer, name="back")
    task = task_of(consumer, Slow(), producer, end_timeout=50)
    await task.queue_frames(said("round and round"))
    task.stop_when_done()
    with pytest.raises(EndTimeout, match="'back' has EndFrame"):
        await task.run()


@pytest.mark.parametrize("end", [EndFrame, StopFrame])
async def test_the_end_may_come_twice_round(autojump_clock, end):
    producer = Producer(TextFrame, transform=marked)
    pipeline = Pipeline([ParallelPipeline([Slow(), producer], [Drops(), Consumer(producer)]), last := Sees()])
    async with pipeline:
        for _ in range(2):
            task = PipelineTask(pipeline)
            await task.queue_frames([*said(*WORDS), end()])
            result = await task.run()
            assert result.state is (TaskState.ENDED if end is EndFrame else TaskState.STOPPED)
    assert split(last.texts()) == (2 * WORDS, 2 * COPIES)
    assert len(producer._consumers) == 1


async def test_a_flush_waits_for_copies_that_go_to_another_branch(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    branches = ParallelPipeline([Slow(3), producer, Drops()], [Drops(), Consumer(producer)])
    async with live(branches) as now:
        await now.say(*WORDS)
        assert await now.task.flush()
        assert trio.current_time() == pytest.approx(30)
        await settle()
        assert now.texts == COPIES


async def test_a_flush_does_not_wait_for_a_loop(autojump_clock):
    producer = Producer(is_original, transform=marked)
    async with live([Consumer(producer), Slow(3), producer]) as now:
        await now.say("a")
        assert await now.task.flush()
        assert trio.current_time() == pytest.approx(3)
        await trio.sleep(10)
        assert now.texts == ["a", "copy of a"]


async def test_in_step_copies_come_out_with_the_frame_that_they_were_made_for(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    shape = SyncParallelPipeline([Slow(3), producer], [Drops(), Consumer(producer), Slow(5)], order="branches")
    received = await run_pipeline(shape, said("a", "b"))
    assert texts(received.down) == ["a", "copy of a", "b", "copy of b"]


# -- room


async def test_a_producer_waits_while_its_consumer_has_no_room(autojump_clock):
    producer, above = Producer(TextFrame, passthrough=False), Sees()
    branches = ParallelPipeline([above, producer], [Drops(), Consumer(producer), Slow(1)])
    async with live(branches, queue_size=2) as now:
        with trio.move_on_after(10.5):
            await now.say(*map(str, range(1000)))
        assert 10 <= len(above.texts()) < 25
        now.task.cancel()


async def test_who_waits_with_a_copy_is_the_producer(autojump_clock):
    waited = []

    class Watches:
        def on_waited_for_room(self, task, processor, frame, seconds):
            waited.append(processor)

    producer = Producer(TextFrame, passthrough=False)
    branches = ParallelPipeline([producer], [Drops(), Consumer(producer), Slow(1)])
    await run_pipeline(branches, said(*WORDS), params=PipelineParams(queue_size=1), observers=[Watches()])
    assert producer in waited


async def test_in_a_loop_nobody_waits_and_a_flood_names_the_consumer(autojump_clock):
    producer = Producer(lambda frame: True, transform=lambda frame: TextFrame("again"))
    task = task_of(Consumer(producer, name="back"), each(lambda frame: [frame, text("more")]), producer, lane_limit=100)
    await task.queue_frames(said("a"))
    with pytest.raises(FloodError, match="'back'"):
        await task.run()


@pytest.mark.parametrize("queue_size", [1, 2])
async def test_a_loop_with_little_room_is_no_deadlock(autojump_clock, queue_size):
    producer = Producer(is_original, transform=marked)
    task = task_of(Consumer(producer), Slow(), producer, Slow(), last := Sees(), queue_size=queue_size)
    await task.queue_frames(said(*map(str, range(100))))
    task.stop_when_done()
    with trio.fail_after(10_000):
        await task.run()
    originals, copies = split(last.texts())
    assert (len(originals), len(copies)) == (100, 100)


# -- interrupts


async def test_an_interrupt_drops_copies_that_wait_and_keeps_those_that_survive(autojump_clock):
    producer = Producer(TextFrame, transform=marked, passthrough=False)
    async with live([producer, Consumer(producer), Slow(10)]) as now:
        await now.say("a", "b")
        await now.task.queue_frame(text("kept", kept=True))
        await now.say("c")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("new")
    assert now.texts == ["copy of kept", "copy of new"]


async def test_an_interrupt_stops_a_producer_that_waits_for_room(autojump_clock):
    producer = Producer(TextFrame, transform=marked, passthrough=False)
    branches = ParallelPipeline([producer], [Drops(), Consumer(producer), Slow(10)])
    async with live(branches, queue_size=1) as now:
        await now.say(*"abc")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(now.say, *"defgh")
            await trio.sleep(5)
            now.task.interrupt()
            await now.say("new")
    assert now.texts[-1] == "copy of new"
    assert len(now.texts) < 9


async def test_an_interrupt_during_a_transform_gives_no_copy(autojump_clock):
    async def stubborn(frame):
        with suppress(trio.Cancelled):
            await trio.sleep(5)
        return marked(frame)

    producer = Producer(TextFrame, transform=stubborn, passthrough=False)
    async with live([producer, Consumer(producer)]) as now:
        await now.say("stale")
        await trio.sleep(1)
        now.task.interrupt()
        await now.say("new")
    assert now.texts == ["copy of new"]


async def test_at_the_top_an_interrupt_drops_the_copy_and_not_what_has_just_come_from_outside(
    autojump_clock, monkeypatch
):
    monkeypatch.setattr(_turn, "SECONDS_A_TURN", 60)  # all of it happens in one pass, also on a busy machine
    producer = Producer(is_original, transform=marked)
    producer.inline = True

    class Interrupts(FrameProcessor):
        async def process_frame(self, frame, direction):
            if isinstance(frame, TextFrame) and frame.text == "old":
                await self.task.queue_frame(text("new"))
                await self.push_frame(frame, direction)
                self.interrupt()
            else:
                await self.push_frame(frame, direction)

    async with live([Consumer(producer), Interrupts(), producer], allow_interruptions=True) as now:
        await now.say("old")
        await trio.sleep(1)
    assert now.texts == ["old", "new", "copy of new"]


# -- slots


async def test_a_consumer_that_comes_into_a_slot_gets_what_is_produced_from_then_on(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    slot = Switchable(Drops())
    async with live(ParallelPipeline([producer], [slot])) as now:
        await now.say("a")
        await settle()
        await slot.replace(Pipeline([Drops(), Consumer(producer)]))
        await now.say("b")
        await settle()
        await slot.replace(Drops())
        await now.say("c")
        await settle()
    assert sorted(now.texts) == ["a", "b", "c", "copy of b"]


async def test_the_end_does_not_wait_for_a_producer_that_has_left(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    slot = Switchable(producer)
    async with live(ParallelPipeline([slot], [Drops(), Consumer(producer)])) as now:
        await now.say("a")
        await settle()
        await slot.replace(Sees())
        await now.say("b")
        assert await now.task.flush(60)
    assert sorted(now.texts) == ["a", "b", "copy of a"]


async def test_what_leaves_a_slot_takes_its_copies_along(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    slot = Switchable(ParallelPipeline([Slow(5), producer], [Drops(), Consumer(producer)]))
    async with live(slot) as now:
        await now.say("a", "b")
        await settle()
        await slot.replace(Sees())
        assert sorted(now.texts) == ["a", "b", "copy of a", "copy of b"]


async def test_a_consumer_in_a_slot_leaves_it_though_the_producer_goes_on(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    slot = Switchable(Consumer(producer))
    async with live(ParallelPipeline([Slow(100), producer], [slot])) as now:
        await now.say("a")
        await settle()
        with trio.fail_after(1):
            await slot.replace(Drops())
    assert now.texts == ["a"]


async def test_a_picture_shows_where_copies_go():
    producer = Producer(TextFrame, name="out")
    picture = ParallelPipeline([producer], [Consumer(producer, name="in")]).mermaid()
    assert "-.->" in picture
    assert "copies" in picture


# -- services of which one is active


SERVICES = {
    "producer in the active one": lambda p, c: [ServiceSwitcher([Pipeline([Slow(), p]), Sees()]), c],
    "producer in another one": lambda p, c: [ServiceSwitcher([Sees(), Pipeline([Slow(), p])]), c],
    "beside the producer's": lambda p, c: [ParallelPipeline([ServiceSwitcher([Sees(), Pipeline([p])])], [Drops(), c])],
    "consumer in the active one": lambda p, c: [ParallelPipeline([Slow(), p], [Drops(), ServiceSwitcher([c, Sees()])])],
    "consumer in another one": lambda p, c: [ParallelPipeline([Slow(), p], [Drops(), ServiceSwitcher([Sees(), c])])],
    "each in one": lambda p, c: [ServiceSwitcher([c, Pipeline([Slow(), p])])],
    "each in one, the other way": lambda p, c: [ServiceSwitcher([Pipeline([Slow(), p]), c])],
    "both in the same": lambda p, c: [ServiceSwitcher([Pipeline([c, Slow(), p]), Sees()])],
    "cold": lambda p, c: [ServiceSwitcher([Sees(), Pipeline([Slow(), p])], warm=False), c],
}


@pytest.mark.parametrize("place", SERVICES)
async def test_services_that_stand_for_each_other_end_and_flush_whichever_is_active(autojump_clock, place, caplog):
    producer = Producer(is_original, transform=marked)
    is_active = (
        place in ("producer in the active one", "both in the same", "each in one, the other way") or "consumer" in place
    )
    async with live(SERVICES[place](producer, Consumer(producer))) as now:
        await now.say(*WORDS)
        assert await now.task.flush(500)
        await settle()
        assert split(now.texts)[0] == WORDS
    assert split(now.texts) == (WORDS, COPIES if is_active else [])
    assert records(caplog) == []


async def test_a_producer_in_the_service_that_takes_over_gives_copies(autojump_clock):
    producer = Producer(TextFrame, transform=marked)
    other = Pipeline([producer], name="other")
    switcher = ServiceSwitcher([Sees(), other], warm=False)
    async with live([switcher, Consumer(producer)]) as now:
        await now.say("a")
        await settle()
        await switcher.switch_to(other)
        await now.say("b")
    assert now.texts == ["a", "copy of b", "b"]


# -- errors


async def test_a_producer_that_is_not_in_the_same_pipeline_is_named(autojump_clock):
    producer = Producer(TextFrame, name="over there")
    task = task_of(Consumer(producer, name="here"))
    with pytest.raises(ConfigurationError, match=r"'here' is to consume what 'over there' produces, which is not in"):
        await task.run()
    assert task.state is TaskState.FAILED


async def test_a_producer_in_another_task_that_runs_is_not_in_this_pipeline(autojump_clock):
    producer = Producer(TextFrame)
    async with live([producer]):
        with pytest.raises(ConfigurationError, match="not in the pipeline"):
            await task_of(Consumer(producer)).run()


async def test_a_consumer_without_producer_in_a_slot_fails_the_run_and_is_named(autojump_clock):
    slot = Switchable(Sees())
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigurationError, match="not in the pipeline"), flatten_subgroups=True):
        async with live(slot) as now:
            slot.replace(Consumer(Producer(TextFrame)))
            await now.task.wait_finished()


@pytest.mark.parametrize("made", ["text", 5, EndFrame(), [TextFrame("a")]])
@pytest.mark.parametrize("whose", ["producer", "consumer"])
async def test_a_transform_that_gives_no_frame_is_an_error_that_names_it(autojump_clock, whose, made):
    producer = Producer(TextFrame, transform=(lambda frame: made) if whose == "producer" else None, name="producer")
    consumer = Consumer(producer, transform=(lambda frame: made) if whose == "consumer" else None, name="consumer")
    expected = rf"the transform of '{whose}' returned .* for TextFrame#\d+, expected a data, control or system frame"
    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match=expected)):
        await run_pipeline([producer, consumer], said("a"))


async def test_what_a_filter_or_transform_raises_is_the_processors_error(autojump_clock):
    def breaks(frame):
        raise ValueError("odd")

    for parts in ([Producer(breaks)], [p := Producer(TextFrame, transform=breaks), Consumer(p)]):
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="odd")) as caught:
            await run_pipeline(parts, said("a"))
        assert parts[0].name in "".join(caught.value.exceptions[0].__notes__)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Producer("TextFrame"), r"Producer\(filter='TextFrame'\): expected a frame class"),
        (lambda: Producer(int), r"Producer\(filter=<class 'int'>\): expected a frame class"),
        (lambda: Producer(()), r"Producer\(filter=\(\)\): expected a frame class"),
        (lambda: Producer(TextFrame, transform="upper"), r"Producer\(transform='upper'\): expected a function"),
        (lambda: Producer(TextFrame, passthrough=1), r"Producer\(passthrough=1\): expected True or False"),
        (lambda: Producer(TextFrame, direction="up"), r"Producer\(direction='up'\): expected a Direction"),
        (lambda: Producer(TextFrame, name=""), r"Producer\(name=''\): expected a non-empty string"),
        (lambda: Consumer(TextFrame), r"Consumer\(producer=<class .*TextFrame'>\): expected a Producer"),
        (lambda: Consumer(Producer(TextFrame), transform=5), r"Consumer\(transform=5\): expected a function"),
        (lambda: Consumer(Producer(TextFrame), direction=None), r"Consumer\(direction=None\): expected a member"),
    ],
)
def test_bad_input_is_named(make, expected):
    with pytest.raises(ConfigurationError, match=expected):
        make()


# -- the rules of processors


def of_a_pair(shape, **settings):
    producer = Producer(lambda frame: isinstance(frame, TextFrame) and is_original(frame), transform=marked, **settings)
    return shape(producer, Consumer(producer))


SHAPES = {
    "after": lambda p, c: Pipeline([p, c]),
    "before": lambda p, c: Pipeline([c, p]),
    "beside": lambda p, c: ParallelPipeline([c], [p]),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_k2_pairs_keep_the_rules(pipes_clock, shape):
    skip = ["order"] if shape == "beside" else []
    await check_processor(lambda: of_a_pair(SHAPES[shape]), makes=TextFrame, points=15, skip=skip)


async def test_k2_a_producer_that_keeps_the_frame_keeps_the_rules(pipes_clock):
    await check_processor(
        lambda: of_a_pair(SHAPES["after"], passthrough=False), drops=TextFrame, makes=TextFrame, points=15
    )


async def test_k2_a_consumer_that_pushes_upstream_keeps_the_rules(pipes_clock):
    def pair() -> Pipeline:
        producer = Producer(TextFrame)
        return Pipeline([producer, Consumer(producer, direction=UP)])

    await check_processor(pair, makes=TextFrame, points=15)


@pytest.mark.parametrize("what", ["cancel", "end", "interrupt"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_whatever_happens_at_any_step_nothing_hangs_and_what_is_accepted_before_the_end_is_whole(
    pipes_clock, shape, what
):
    async def scenario(attempt):
        task = task_of(of_a_pair(SHAPES[shape]), last := Sees(), queue_size=1, cleanup_timeout=1)
        attempt.arm({"cancel": task.cancel, "end": task.stop_when_done, "interrupt": task.interrupt}[what])
        accepted = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            try:
                for n in range(4):
                    await task.queue_frame(text(str(n)))
                    accepted += 1
                task.stop_when_done()
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                pass
        originals, copies = split(last.texts())
        assert set(copies) <= {f"copy of {n}" for n in range(4)}
        if what == "end":
            assert len(originals) == len(copies) == accepted

    assert await cancel_at_every_checkpoint(scenario) > 5
