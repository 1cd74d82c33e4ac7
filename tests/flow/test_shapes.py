"""`tee`, `route` and `merge` (DESIGN 4.8)."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager

import pytest
import trio

from cancel_everywhere import cancelled_everywhere
from flow_kit import DOWN, HUNG, UP, Drops, Sees, live, said, settle, text, texts
from trio_pipes import (
    AudioFrame,
    ConfigurationError,
    ControlFrame,
    DataFrame,
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    InputAudioFrame,
    Out,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    SyncParallelPipeline,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
    merge,
    processor,
    route,
    tee,
)
from trio_pipes.testing import run_pipeline


class Ping(SystemFrame):
    pass


class Mark(ControlFrame):
    pass


def adds(suffix, delay=0.0):
    @each
    async def add(frame: TextFrame):
        await trio.sleep(delay)
        return text(frame.text + suffix)

    return add


def adds_sync(suffix):
    @each
    def add(frame: TextFrame):
        return text(frame.text + suffix)

    return add


class Answers(FrameProcessor):
    """Sends an answer up for each text."""

    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame) and direction is DOWN:
            await self.push_frame(text(f"answer to {frame.text}"), UP)
        await self.push_frame(frame, direction)


async def ran(parts, frames, **params):
    with trio.fail_after(HUNG):
        return await run_pipeline(parts, frames, params=PipelineParams(**params))


# -- tee


# The flow passes unchanged and in order; every branch sees all of it; what the branches make ends with them.
async def test_tee_hands_every_branch_the_flow_and_passes_it_on(autojump_clock, debug):
    one, two = Sees(), Sees(delay=1)
    sent = [text("a"), Mark(), Ping(), text("b"), text("c")]
    received = await ran([tee([one, adds("1")], [two, Drops()]), adds_sync("!")], sent, debug=debug)
    assert texts(received.down) == ["a!", "b!", "c!"]
    assert one.texts() == two.texts() == ["a", "b", "c"]
    for part in (one, two):
        assert part.kinds().count("Ping") == part.kinds().count("Mark") == 1
        assert part.kinds()[0] == "StartFrame"
        assert part.kinds()[-1] == "EndFrame"
    assert sum(isinstance(frame, Ping) for frame in received.down) == 1
    assert sum(isinstance(frame, Mark) for frame in received.down) == 1


# A branch that is still at work holds up neither the flow (while its lanes have room) nor loses anything at the end.
async def test_tee_does_not_wait_for_its_branches_until_the_end(autojump_clock, debug):
    slow = Sees(delay=10)
    async with live([tee([slow])], debug=debug) as now:
        await now.say("a", "b", "c")
        await settle()
        assert now.texts == ["a", "b", "c"]
    assert slow.texts() == ["a", "b", "c"]


# A full branch makes the flow wait: nothing is dropped.
async def test_a_full_branch_makes_the_flow_wait(autojump_clock):
    async with live([tee([Sees(delay=1)])], queue_size=1) as now:
        with trio.move_on_after(4.5):
            for i in range(100):
                await now.say(str(i))
        assert 4 <= len(now.texts) < 10


# What goes up: a branch's answers and errors do; frames from below do not enter the branches.
async def test_tee_and_what_goes_up(autojump_clock, debug):
    @each(on_error=ErrorPolicy.REPORT)
    def fails(frame: TextFrame):
        raise ValueError(frame.text)

    first, side, last = Sees(), Sees(), Sees()
    async with live([first, tee([side, Answers(), fails]), last], debug=debug) as now:
        await now.say("a")
        await now.task.queue_frame(text("from below"), UP)
        await now.task.queue_frame(Ping(), UP)
    assert sorted(first.texts(UP)) == sorted(texts(now.up)) == ["answer to a", "from below"]
    assert "from below" not in side.texts(UP)
    assert side.kinds(UP).count("Ping") == 0
    assert first.kinds(UP).count("Ping") == 1
    assert first.kinds(UP).count("ErrorFrame") == 1
    assert now.texts == ["a"]


# A tee in a tee, and one in a branch.
async def test_tee_nested(autojump_clock, debug):
    inner, outer = Sees(), Sees()
    parts = [ParallelPipeline([tee([outer, tee([inner, adds("x")])]), adds("1")], [Drops()]), adds_sync("!")]
    received = await ran(parts, said("a", "b"), debug=debug)
    assert texts(received.down) == ["a1!", "b1!"]
    assert inner.texts() == outer.texts() == ["a", "b"]


# -- route


# Each data frame takes one way, by its key; an empty way, and the default, pass it on.
async def test_route_by_key(autojump_clock, debug):
    one, two, rest = Sees(), Sees(), Sees()
    routed = route(lambda frame: frame.text[0], {"1": [one, adds("one")], "2": [two], "3": []}, default=[rest])
    received = await ran([routed, adds_sync("!")], said("1", "2", "3", "4", "1b"), debug=debug)
    assert sorted(texts(received.down)) == ["1bone!", "1one!", "2!", "3!", "4!"]
    assert (one.texts(), two.texts(), rest.texts()) == (["1", "1b"], ["2"], ["4"])


async def test_route_with_an_empty_default(autojump_clock):
    received = await ran([route(lambda frame: frame.text, {"a": [adds("!")]}, default=[])], said("a", "b"))
    assert sorted(texts(received.down)) == ["a!", "b"]


# By class: a subclass goes the way of the nearest of its bases.
async def test_route_by_class(autojump_clock, debug):
    audio, data = Sees(), Sees()
    routed = route(type, {TextFrame: [adds("t")], AudioFrame: [audio], DataFrame: [data]})

    class Number(DataFrame):
        pass

    sent = [text("a"), InputAudioFrame(b"\0\0", 16000, 1), Number()]
    received = await ran([routed], sent, debug=debug)
    assert texts(received.down) == ["at"]
    assert [type(frame) for frame, _ in audio.seen if isinstance(frame, DataFrame)] == [InputAudioFrame]
    assert [type(frame) for frame, _ in data.seen if isinstance(frame, DataFrame)] == [Number]


# Order holds within a way, and a slow way does not hold up the others.
async def test_route_keeps_order_within_a_way(autojump_clock, debug):
    routed = route(lambda frame: frame.text[0], {"s": [adds("", 1)], "f": [Sees()]})
    received = await ran([routed], said("s1", "f1", "s2", "f2", "s3", "f3"), debug=debug)
    assert texts(received.down) == ["f1", "f2", "f3", "s1", "s2", "s3"]


# Other frames go through every way and come out once; so do those that come from below.
async def test_route_shows_other_frames_to_every_way(autojump_clock, debug):
    ways = [Sees(), Sees(delay=1), Sees()]
    last = Sees()
    routed = route(lambda frame: "a", {"a": [ways[0]], "b": [ways[1]]}, default=[ways[2]])
    async with live([routed, last], debug=debug) as now:
        await now.task.queue_frame(Mark())
        await now.task.queue_frame(Ping())
        await now.task.queue_frame(text("up"), UP)
        assert await now.task.flush()
    for way in ways:
        assert way.kinds().count("Mark") == way.kinds().count("Ping") == 1
        assert way.texts(UP) == ["up"]
    assert last.kinds().count("Mark") == last.kinds().count("Ping") == 1
    assert texts(now.up) == ["up"]


# The same object, sent down two ways one after the other, comes out twice.
async def test_route_sends_one_object_down_two_ways(autojump_clock, debug):
    turns = iter("abab")
    frame = text("x")
    received = await ran([route(lambda frame: next(turns), {"a": [Sees()], "b": []})], [frame] * 4, debug=debug)
    assert texts(received.down) == ["x"] * 4


# A key that has no way: an error that names the value and the ways; reported, the run goes on.
async def test_route_with_an_unknown_key(autojump_clock, debug):
    routed = route(lambda frame: frame.text, {"a": [], "b": [Sees()]}, name="by text")
    with pytest.raises(ExceptionGroup) as raised:
        await ran([routed], said("a", "c"), debug=debug)
    (error,) = raised.value.exceptions
    assert isinstance(error, LookupError)
    assert str(error).startswith("'by text' has no route for 'c', the key of TextFrame#")
    assert "It has: 'a', 'b'" in str(error)
    routed = route(lambda frame: frame.text, {"a": [], "b": [Sees()]})
    received = await ran([routed], said("a", "c", "a"), debug=debug, on_error=ErrorPolicy.REPORT)
    assert texts(received.down) == ["a", "a"]
    assert [type(frame) for frame in received.up] == [ErrorFrame]


async def test_route_with_no_way_for_a_class(autojump_clock):
    with pytest.raises(ExceptionGroup) as raised:
        await ran([route(type, {AudioFrame: []})], said("a"))
    assert "It has: AudioFrame" in str(raised.value.exceptions[0])


# What the key function raises is an error like others; a key that cannot be hashed is named.
async def test_route_with_a_key_that_fails(autojump_clock):
    received = await ran(
        [route(lambda frame: 1 / 0, {1: []}), route(lambda frame: [frame], {1: []})],
        said("a"),
        on_error=ErrorPolicy.REPORT,
    )
    assert [type(frame.exception) for frame in received.up] == [ZeroDivisionError]
    received = await ran([route(lambda frame: [1], {1: []})], said("a"), on_error=ErrorPolicy.REPORT)
    assert "cannot be hashed" in received.up[0].error


# -- merge


async def numbers(label, count, delay=0.0):
    for i in range(count):
        await trio.sleep(delay)
        yield text(f"{label}{i}")


async def run_merged(parts, **params):
    """Run until the task ends of itself; gives what came out."""
    task = PipelineTask(Pipeline(parts), PipelineParams(**params))
    with trio.fail_after(HUNG):
        async with task.open_output(TextFrame, buffer=math.inf) as down:
            result = await task.run()
            return [frame.text async for frame in down], result


# Several sources in one flow, each in its own order; when all have ended the task ends.
async def test_merge_of_async_iterables(autojump_clock, debug):
    send, receive = trio.open_memory_channel(10)
    for i in range(3):
        send.send_nowait(text(f"c{i}"))
    send.close()
    parts = [merge(numbers("a", 4, 1), numbers("b", 2, 1.5), receive, name="all"), adds_sync("!")]
    got, result = await run_merged(parts, debug=debug)
    assert sorted(got) == ["a0!", "a1!", "a2!", "a3!", "b0!", "b1!", "c0!", "c1!", "c2!"]
    for label in "abc":
        assert [t for t in got if t.startswith(label)] == sorted(t for t in got if t.startswith(label))
    assert result.state is TaskState.ENDED
    assert result.reason == "the sources of all have ended"


# What comes from above passes on, and does not enter the sources; system frames and frames from below do.
async def test_merge_passes_on_what_comes_from_above(autojump_clock, debug):
    producer, first, last = Sees(), Sees(), Sees()
    async with live([first, merge([producer], numbers("n", 2, 1)), last], debug=debug) as now:
        await now.say("a")
        await now.task.queue_frame(Ping())
        await now.task.queue_frame(text("up"), UP)
        await trio.sleep(5)
    assert sorted(now.texts) == ["a", "n0", "n1"]
    assert producer.texts() == []
    assert producer.texts(UP) == ["up"] == first.texts(UP)
    assert producer.kinds().count("Ping") == last.kinds().count("Ping") == 1
    assert producer.kinds()[0] == "StartFrame"
    assert producer.kinds()[-1] == "EndFrame"


class Ticks(FrameProcessor):
    """Produces on its own."""

    @asynccontextmanager
    async def lifespan(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tick)
            yield
            nursery.cancel_scope.cancel()

    async def tick(self):
        for i in range(3):
            await trio.sleep(1)
            await self.push_frame(text(f"tick{i}"))


# Processors that produce are sources too; the task goes on, since nobody knows when they have ended.
async def test_merge_of_processors_that_produce(autojump_clock, debug):
    async with live([merge([Ticks(), adds("!")], Ticks(), numbers("n", 1))], debug=debug) as now:
        await trio.sleep(10)
        assert now.task.state is TaskState.RUNNING
    assert sorted(now.texts) == ["n0", "tick0", "tick0!", "tick1", "tick1!", "tick2", "tick2!"]


# Asked to end: what was read goes on, what was not stays in the channel.
@pytest.mark.parametrize("size", [1, 64])
async def test_merge_stops_reading_when_the_end_is_asked_for(autojump_clock, debug, size):
    send, receive = trio.open_memory_channel(100)
    for i in range(20):
        send.send_nowait(text(str(i)))
    async with live([merge(receive), Sees(delay=1)], debug=debug, queue_size=size) as now:
        await trio.sleep(2.5)
        left = receive.statistics().current_buffer_used
    got = now.texts
    assert got == [str(i) for i in range(len(got))]
    assert receive.statistics().current_buffer_used <= left
    rest = [receive.receive_nowait().text for _ in range(receive.statistics().current_buffer_used)]
    assert got + rest == [str(i) for i in range(20)]


# A source that waits for ever does not hold up the end; an async generator is closed.
async def test_a_source_that_waits_does_not_hold_up_the_end(autojump_clock, debug):
    closed = []

    async def waits():
        try:
            yield text("one")
            await trio.sleep_forever()
        finally:
            closed.append(True)

    async with live([merge(waits())], debug=debug) as now:
        await trio.sleep(1)
    assert now.texts == ["one"]
    assert closed == [True]


async def test_merge_without_end(autojump_clock):
    async with live([merge(numbers("n", 2), end=False)]) as now:
        await trio.sleep(5)
        await now.say("still")
    assert now.texts == ["n0", "n1", "still"]


# An error of a source fails the task and names it; so does what is no frame.
async def test_a_source_that_fails(autojump_clock):
    async def fails():
        yield text("a")
        raise OSError("the line is down")

    with pytest.raises(ExceptionGroup) as raised:
        await run_merged([merge(fails(), name="lines")])
    (error,) = raised.value.exceptions
    assert isinstance(error, OSError)
    assert "'lines source 0'" in "".join(error.__notes__)

    async def wrong():
        yield None

    with pytest.raises(ExceptionGroup) as raised:
        await run_merged([merge(wrong())])
    assert isinstance(raised.value.exceptions[0], TypeError)


# An interrupt drops what is in the pipeline; the sources go on.
async def test_an_interrupt_leaves_the_sources(autojump_clock, debug):
    async with live([merge(numbers("n", 4, 1)), Sees(delay=0.7)], debug=debug) as now:
        await trio.sleep(2.2)
        now.task.interrupt()
        await trio.sleep(5)
    assert now.texts == ["n0", "n2", "n3"]


# -- all together


async def test_shapes_in_shapes(autojump_clock, debug):
    side = Sees()
    parts = [
        merge(numbers("m", 2), end=False),
        route(
            lambda frame: frame.text[0],
            {"m": [SyncParallelPipeline([adds("1")], [adds("2", 1)])], "q": [tee([side]), adds("q")]},
        ),
        adds_sync("!"),
    ]
    async with live(parts, debug=debug) as now:
        await now.say("q0", "q1")
        await trio.sleep(10)
    assert sorted(now.texts) == ["m01!", "m02!", "m11!", "m12!", "q0q!", "q1q!"]
    assert side.texts() == ["q0", "q1"]


def shapes_of(kind):
    if kind == "tee":
        return tee([adds("x", 0.1)], [Drops()])
    if kind == "route":
        return route(lambda frame: frame.text, {"0": [adds("x", 0.1)], "1": []}, default=[adds("y")])
    return merge(numbers("n", 3, 0.1), [Ticks()])


@pytest.mark.parametrize("kind", ["tee", "route", "merge"])
def test_cancelled_everywhere(kind):
    def make():
        task = PipelineTask(Pipeline([shapes_of(kind), Sees(delay=0.1)]), PipelineParams(queue_size=1))

        async def run():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                for i in range(3):
                    try:
                        await task.queue_frame(text(str(i)))
                    except trio.BrokenResourceError:
                        break
                    if i == 1:
                        await trio.sleep(0.05)
                        task.interrupt()
                task.stop_when_done()
                await task.wait_finished()

        def check():
            if task.state is not TaskState.NEW:
                assert task.has_finished()

        return run, check, None

    assert cancelled_everywhere(make) > 15


@processor
async def counts(frames: Frames[TextFrame], out: Out) -> None:
    n = 0
    async for _ in frames:
        n += 1
    await out.push(text(f"{n} in all"))


# A block at the end of a way pushes its rest before the end passes.
async def test_what_blocks_push_at_the_end_comes_out(autojump_clock, debug):
    last = Sees()
    parts = [route(lambda frame: frame.text, {"a": [counts], "b": [counts]}), last]
    received = await ran(parts, [*said("a", "b", "a"), EndFrame()], debug=debug)
    assert sorted(texts(received.down)) == ["1 in all", "2 in all"]
    assert last.kinds()[-1] == "EndFrame"


# -- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (tee, "no branches"),
        (lambda: tee(Sees()), "expected a list of processors"),
        (lambda: tee([]), "is empty"),
        (lambda: tee([1]), "expected a processor"),
        (lambda: tee([Sees()], name=1), "non-empty string"),
        (lambda: route("text", {"a": []}), "expected a function of a frame"),
        (lambda: route(numbers, ["a"]), "expected a dict"),
        (lambda: route(len, {}), "no routes"),
        (lambda: route(type, {"a": []}), "expected a class of data frames"),
        (lambda: route(type, {Ping: []}), "expected a class of data frames"),
        (lambda: route(len, {1: Sees()}), "expected a list of processors"),
        (lambda: route(len, {1: "ab"}), "expected a list of processors"),
        (lambda: route(len, {1: []}, default=5), "expected a list of processors"),
        (merge, "no sources"),
        (lambda: merge(5), "expected an async iterable"),
        (lambda: merge("ab"), "expected an async iterable"),
        (lambda: merge(numbers), r"Call it: numbers\(\)"),
        (lambda: merge([]), "is empty"),
        (lambda: merge([5]), "expected a processor"),
        (lambda: merge([Sees()], end=1), "expected True or False"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_an_async_key_is_refused():
    async def key(frame):
        return 1

    with pytest.raises(ConfigurationError, match="async"):
        route(key, {1: []})


def test_one_processor_in_two_ways():
    part = Sees()
    with pytest.raises(ConfigurationError, match="twice"):
        route(len, {1: [part], 2: [part]})
    with pytest.raises(ConfigurationError, match="twice"):
        Pipeline([part, tee([part])])
