"""`each(concurrency=n)`: several frames inside one function at once (F10)."""

from __future__ import annotations

import contextlib

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st

from cancel_everywhere import cancelled_everywhere
from flow_kit import HUNG, UP, Does, Sees, live, said, settle, text, texts
from trio_pipes import (
    ConfigurationError,
    ControlFrame,
    DataFrame,
    EndFrame,
    EndTaskFrame,
    ErrorFrame,
    ErrorPolicy,
    Frame,
    ParallelPipeline,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    SystemFrame,
    TaskState,
    TextFrame,
    each,
)
from trio_pipes.testing import run_pipeline


class Mark(ControlFrame):
    pass


class Ping(SystemFrame):
    pass


class Busy:
    """An async function that takes as many virtual seconds as a frame's text says, and counts who is in it."""

    def __init__(self, **settings):
        self.inside = self.most = 0
        self.began: list[str] = []
        self.cancelled: list[str] = []
        self.recipe = each(name="busy", **settings)(self.work)

    async def work(self, frame: TextFrame):
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.began.append(frame.text)
        try:
            await trio.sleep(float(frame.text))
        except trio.Cancelled:
            self.cancelled.append(frame.text)
            raise
        finally:
            self.inside -= 1
        return frame


async def test_several_frames_are_inside_and_order_is_kept(autojump_clock, debug, observers):
    busy = Busy(concurrency=4)
    began = trio.current_time()
    params = PipelineParams(debug=debug)
    received = await run_pipeline([busy.recipe], said("4", "1", "3", "2"), params=params, observers=observers)
    assert texts(received.down) == ["4", "1", "3", "2"]
    assert busy.most == 4
    assert trio.current_time() - began == pytest.approx(4)


async def test_without_order_frames_come_as_they_are_ready(autojump_clock, debug, observers):
    busy = Busy(concurrency=4, ordered=False)
    params = PipelineParams(debug=debug)
    received = await run_pipeline([busy.recipe], said("4", "1", "3", "2"), params=params, observers=observers)
    assert texts(received.down) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("ordered", [True, False])
async def test_never_more_are_inside_than_allowed(autojump_clock, ordered):
    busy = Busy(concurrency=3, ordered=ordered)
    received = await run_pipeline([busy.recipe], said(*("1" for _ in range(10))))
    assert len(received.down) == 10
    assert busy.most == 3


# Results that wait for their turn do not keep the function idle, up to a bound.
async def test_what_waits_for_its_turn_is_bounded(autojump_clock):
    busy = Busy(concurrency=2)
    async with live([busy.recipe], queue_size=1) as run:
        with trio.move_on_after(50):
            await run.say("100", *("0.1" for _ in range(20)))
        assert len(busy.began) == 4  # the slow one, and three behind it: twice as many as may be inside
        assert run.texts == []
        numbers = run.task.statistics().processors[0]
        assert numbers.in_flight == 4
        assert numbers.handling is not None
        assert numbers.downstream.buffered <= 1
    assert run.texts[:4] == ["100", "0.1", "0.1", "0.1"]


# Who pushes in has to wait when those behind do.
async def test_backpressure_from_below_reaches_above(autojump_clock):
    busy = Busy(concurrency=2)
    async with live([busy.recipe, Sees(delay=10)], queue_size=1) as run:
        with trio.move_on_after(5) as scope:
            await run.say(*("0" for _ in range(100)))
        assert scope.cancelled_caught
        assert len(busy.began) <= 8
        run.task.cancel()


@each(concurrency=4)
async def spell(frame: TextFrame):
    for letter in frame.text:
        await trio.sleep(1 / (1 + ord(letter) - ord("a")))
        yield TextFrame(letter)


@each(concurrency=4)
async def spell_in_one(frame: TextFrame):
    await trio.sleep(10 / len(frame.text))
    return [TextFrame(letter) for letter in frame.text]


@each(concurrency=4)
async def spell_lazily(frame: TextFrame):
    await trio.sleep(10 / len(frame.text))
    return (TextFrame(letter) for letter in frame.text)


@pytest.mark.parametrize("recipe", [spell, spell_in_one, spell_lazily], ids=["generator", "list", "iterator"])
async def test_several_frames_for_one_stay_together(autojump_clock, debug, recipe):
    received = await run_pipeline([recipe], said("abc", "zzzzz", "b"), params=PipelineParams(debug=debug))
    assert "".join(texts(received.down)) == "abczzzzzb"


# A frame that the function does not take keeps its place; so does the gap that a dropped one leaves.
async def test_passing_frames_keep_their_place(autojump_clock, debug, observers):
    @each(concurrency=8)
    async def slow(frame: TextFrame):
        await trio.sleep(len(frame.text))
        return frame if frame.text != "drop" else None

    sees = Sees()
    frames = [text("aaa"), Mark(), text("drop"), Mark(), text("b"), Mark()]
    began = trio.current_time()
    await run_pipeline([slow, sees], frames, params=PipelineParams(debug=debug), observers=observers)
    assert sees.kinds() == ["StartFrame", "aaa", "Mark", "Mark", "b", "Mark", "EndFrame"]
    assert trio.current_time() - began == pytest.approx(4)  # a passing frame makes nobody wait


async def test_without_order_passing_frames_pass_at_once(autojump_clock):
    busy = Busy(concurrency=2, ordered=False)
    sees = Sees()
    await run_pipeline([busy.recipe, sees], [text("3"), Mark(), text("2"), Mark()])
    assert sees.kinds() == ["StartFrame", "Mark", "Mark", "2", "3", "EndFrame"]


async def test_system_and_upstream_frames_pass_by(autojump_clock, debug):
    busy = Busy(concurrency=2)
    sees = Sees()
    async with live([busy.recipe, sees], debug=debug) as run:
        await run.say("5", "5", "5")
        await trio.sleep(1)
        await run.task.queue_frame(Ping())
        await run.task.queue_frame(text("up"), UP)
        await settle()
        assert sees.kinds()[1:] == ["Ping"]
        assert texts(run.up) == ["up"]


# The end, and a flush, come behind everything that is inside.
@pytest.mark.parametrize("ordered", [True, False])
async def test_lifecycle_frames_wait_for_all(autojump_clock, debug, ordered):
    busy = Busy(concurrency=4, ordered=ordered)
    sees = Sees()
    async with live([busy.recipe, sees], debug=debug) as run:
        await run.say("3", "2", "1")
        assert await run.task.flush(10)
        assert sorted(sees.texts()) == ["1", "2", "3"]
        await run.say("2", "5")
    assert isinstance(sees.seen[-1][0], EndFrame)
    assert isinstance(sees.seen[0][0], StartFrame)
    assert len(sees.texts()) == 5


async def test_flush_gives_up_at_its_timeout_while_one_is_inside(autojump_clock):
    busy = Busy(concurrency=4)
    async with live([busy.recipe]) as run:
        await run.say("20")
        assert not await run.task.flush(5)


async def test_an_error_names_processor_and_frame_and_cancels_all(autojump_clock, debug):
    cancelled = []

    @each(concurrency=4, name="culprit")
    async def fails(frame: TextFrame):
        try:
            await trio.sleep(float(frame.text))
        except trio.Cancelled:
            cancelled.append(frame.text)
            raise
        raise ValueError(frame.text)

    with pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([fails], said("5", "1", "7"), params=PipelineParams(debug=debug))
    (error,) = caught.value.exceptions
    assert isinstance(error, ValueError)
    assert "in processor 'culprit', frame TextFrame#" in error.__notes__[0]
    assert sorted(cancelled) == ["5", "7"]


async def test_reported_errors_drop_their_frame_only(autojump_clock, debug, observers):
    @each(concurrency=4, on_error=ErrorPolicy.REPORT)
    async def fails(frame: TextFrame):
        await trio.sleep(1)
        if frame.text == "bad":
            raise ValueError(frame.text)
        return frame

    frames = said("a", "bad", "b", "bad", "c")
    received = await run_pipeline([fails], frames, params=PipelineParams(debug=debug), observers=observers)
    assert texts(received.down) == ["a", "b", "c"]
    assert [frame.error for frame in received.up if isinstance(frame, ErrorFrame)] == ["bad", "bad"]


@pytest.mark.parametrize("wrong", [3, "text", [TextFrame("a"), 3]], ids=["number", "string", "among frames"])
async def test_a_wrong_result_is_an_error_that_shows_it(autojump_clock, wrong):
    @each(concurrency=2, name="wrong")
    async def returns(frame: TextFrame):
        return wrong

    with pytest.raises(ExceptionGroup) as caught:
        await run_pipeline([returns], said("a"))
    assert isinstance(caught.value.exceptions[0], TypeError)
    assert "'wrong' returned" in str(caught.value.exceptions[0])


async def test_an_interrupt_stops_all_that_are_inside(autojump_clock, debug, observers):
    busy = Busy(concurrency=3)
    async with live([busy.recipe], debug=debug, observers=observers) as run:
        await run.say("5", "6", "7", "8", "9")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("2", "1")
    assert sorted(busy.cancelled) == ["5", "6", "7"]
    assert busy.began == ["5", "6", "7", "2", "1"]  # calls begin in the order in which their frames came
    assert run.texts == ["2", "1"]


async def test_uninterruptible_frames_finish_in_their_place(autojump_clock, debug):
    busy = Busy(concurrency=4)
    async with live([busy.recipe], debug=debug) as run:
        await run.say("5")
        await run.task.queue_frame(text("6", kept=True))
        await run.say("3")
        await trio.sleep(1)
        run.task.interrupt()
        await run.say("1")
        await trio.sleep(3)
        assert run.texts == []  # the new one waits for the one that was kept
    assert run.texts == ["6", "1"]
    assert sorted(busy.cancelled) == ["3", "5"]


# Finished, and waiting for the one before it: an interrupt makes it stale all the same.
async def test_a_result_that_waits_for_its_turn_becomes_stale(autojump_clock, debug):
    busy = Busy(concurrency=4)
    async with live([busy.recipe], debug=debug) as run:
        await run.task.queue_frame(text("6", kept=True))
        await run.say("1")
        await trio.sleep(3)
        run.task.interrupt()
    assert run.texts == ["6"]
    assert busy.cancelled == []


# The one that asks is not stopped; the others are, and what it gives is new.
async def test_an_interrupt_from_within_the_function(autojump_clock, debug):
    stopped = []

    @each(concurrency=4)
    async def asks(frame: TextFrame):
        try:
            await trio.sleep(2 if frame.text == "ask" else 5)
            if frame.text == "ask":
                task.interrupt()
                await trio.sleep(1)
        except trio.Cancelled:
            stopped.append(frame.text)
            raise
        return frame

    task = PipelineTask(Pipeline([asks]), PipelineParams(debug=debug))
    with trio.fail_after(HUNG):
        async with task.open_output(TextFrame) as out, trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frames(said("a", "ask", "b"))
            await trio.sleep(4)
            await task.queue_frame(text("new"))
            task.stop_when_done()
            assert [frame.text async for frame in out] == ["ask", "new"]
    assert sorted(stopped) == ["a", "b"]


# The first call asks before the others have begun: these are stale all the same.
async def test_an_interrupt_before_a_call_has_begun(autojump_clock, debug):
    began = []

    @each(concurrency=4)
    async def asks(frame: TextFrame):
        began.append(frame.text)
        if frame.text == "ask":
            task.interrupt()
        return frame

    task = PipelineTask(Pipeline([asks]), PipelineParams(debug=debug))
    await task.queue_frames(said("ask", "a", "b"))
    await task.queue_frame(text("kept", kept=True))
    task.stop_when_done()
    with trio.fail_after(HUNG):
        async with task.open_output(TextFrame) as out:
            await task.run()
            assert [frame.text async for frame in out] == ["ask", "kept"]
    assert began == ["ask", "kept"]


async def test_what_the_function_returns_may_be_urgent_or_a_request(autojump_clock):
    @each(concurrency=2)
    async def returns(frame: TextFrame):
        await trio.sleep(float(frame.text))
        return Ping() if frame.text == "1" else EndTaskFrame("enough") if frame.text == "2" else frame

    sees = Sees()
    task = PipelineTask(Pipeline([returns, sees]))
    with trio.fail_after(HUNG):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            await task.queue_frames(said("5", "1", "2"))
            result = await task.wait_finished()
    assert (result.state, result.reason) == (TaskState.ENDED, "enough")
    assert sees.kinds() == ["StartFrame", "Ping", "5", "EndFrame"]  # the urgent one did not wait for its turn


# Sync functions and inline processors below, and branches, see what they would see below any other processor.
async def test_below_and_in_branches(autojump_clock, debug):
    @each
    def louder(frame: TextFrame):
        return TextFrame(frame.text + "!")

    async def pass_on(self, frame):
        await self.push_frame(frame)

    slow, slower = Busy(concurrency=4), Busy(concurrency=2)
    parts = [slow.recipe, louder, Does(pass_on, inline=True)]
    received = await run_pipeline(parts, said("3", "1", "2"), params=PipelineParams(debug=debug))
    assert texts(received.down) == ["3!", "1!", "2!"]
    parts = [ParallelPipeline([slow.recipe], [slower.recipe, louder]), louder]
    received = await run_pipeline(parts, said("3", "1", "2"), params=PipelineParams(debug=debug))
    assert [t for t in texts(received.down) if t.endswith("!!")] == ["3!!", "1!!", "2!!"]
    assert [t for t in texts(received.down) if not t.endswith("!!")] == ["3!", "1!", "2!"]


async def test_the_recipe_may_stand_in_several_places(autojump_clock):
    busy = Busy(concurrency=2)
    received = await run_pipeline([busy.recipe, busy.recipe], said("2", "1"))
    assert texts(received.down) == ["2", "1"]


# Whoever is stuck is named, with the oldest frame.
async def test_a_timeout_of_the_task_names_it(autojump_clock):
    busy = Busy(concurrency=2)
    with pytest.raises(trio.TooSlowError, match="'busy' has TextFrame#.* in hand since"):
        await run_pipeline([busy.recipe], said("50", "60"), params=PipelineParams(end_timeout=5))


async def test_observers_are_told_of_each_frame_once(autojump_clock):
    told = []

    class Watches:
        def on_frame_handled(self, task, processor, frame, direction):
            if processor.name == "busy" and isinstance(frame, DataFrame | Mark):
                told.append(frame.text if isinstance(frame, TextFrame) else "mark")

    busy = Busy(concurrency=2)
    await run_pipeline([busy.recipe], [Mark(), text("3"), Mark(), text("1")], observers=[Watches()])
    assert sorted(told) == ["1", "3", "mark", "mark"]


# -- settings


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "4", None], ids=repr)
def test_a_wrong_concurrency_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"each\(concurrency=.*at least 1"):
        each(concurrency=wrong)


@pytest.mark.parametrize("wrong", [0, "no", None], ids=repr)
def test_a_wrong_order_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=r"each\(ordered="):
        each(concurrency=2, ordered=wrong)


def test_a_sync_function_is_refused():
    with pytest.raises(ConfigurationError, match=r"concurrency=2.*async"):

        @each(concurrency=2)
        def sync(frame: TextFrame): ...


@pytest.mark.parametrize("kind", [StartFrame, Ping, EndFrame], ids=lambda kind: kind.__name__)
def test_special_frames_are_refused(kind):
    async def special(frame):
        pass

    special.__annotations__["frame"] = kind
    with pytest.raises(ConfigurationError, match=kind.__name__):
        each(concurrency=2)(special)


async def test_a_function_of_any_frame_gets_the_ordered_ones(autojump_clock):
    seen = []

    @each(concurrency=2)
    async def anything(frame: Frame):
        seen.append(type(frame).__name__)
        return frame

    received = await run_pipeline([anything], [text("a"), Ping(), Mark()])
    assert sorted(seen) == ["Mark", "TextFrame"]
    assert len(received.down) == 3


def test_concurrency_of_one_is_the_plain_processor():
    async def f(frame: TextFrame):
        return frame

    plain, one = (type(Pipeline([recipe]).processors[0]) for recipe in (each(f), each(concurrency=1)(f)))
    assert plain is one


# -- cancel at each checkpoint


@pytest.mark.parametrize("ordered", [True, False])
def test_cancelled_anywhere_nothing_is_left(ordered):
    def make():
        busy = Busy(concurrency=2, ordered=ordered)
        task = PipelineTask(Pipeline([busy.recipe, Sees(delay=0.05)]), PipelineParams(queue_size=1))

        async def run():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                with contextlib.suppress(trio.BrokenResourceError):
                    for i in range(6):
                        await task.queue_frame(text(f"0.{i % 3 + 1}", kept=i == 2))
                        if i == 3:
                            await trio.sleep(0.15)
                            task.interrupt()
                        if i == 4:
                            await task.queue_frame(Mark())
                task.stop_when_done()
                await task.wait_finished()

        def check():
            assert busy.inside == 0

        return run, check, None

    assert cancelled_everywhere(make) > 20


# -- random histories against the sequential reference

SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
DOES = ["one", "one", "one", "none", "two", "fail", "passes"]
FRAMES = st.lists(
    st.tuples(st.sampled_from(DOES), st.sampled_from([0, 0.1, 0.5, 1, 3]), st.sampled_from([0, 0, 0.2, 2])),
    max_size=20,
)
FORMS = ["return", "generator"]


def outputs(index: int, does: str) -> list[str]:
    return {"one": [f"{index}"], "none": [], "two": [f"{index}a", f"{index}b"], "fail": [], "passes": [f"{index}"]}[
        does
    ]


class Passing(ControlFrame):
    text = ""


async def run_random(frames, concurrency, ordered, form, size, slow, interrupts, kept, debug):
    spec = {}
    inside = most = 0
    stale: set[int] = set()

    def results(index, does):
        return [TextFrame(content, interruptible=index not in kept) for content in outputs(index, does)]

    async def work(index):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            await trio.sleep(spec[index][1])
            if spec[index][0] == "fail":
                raise ValueError(str(index))
        finally:
            inside -= 1

    if form == "return":

        @each(concurrency=concurrency, ordered=ordered)
        async def step(frame: TextFrame):
            index = int(frame.text)
            await work(index)
            return results(index, spec[index][0])

    else:

        @each(concurrency=concurrency, ordered=ordered)
        async def step(frame: TextFrame):
            index = int(frame.text)
            await work(index)
            for result in results(index, spec[index][0]):
                yield result

    sees = Sees(delay=slow)
    params = PipelineParams(debug=debug, queue_size=size, on_error=ErrorPolicy.REPORT)
    task = PipelineTask(Pipeline([step, sees]), params)
    entered: list[int] = []
    async with task.open_output(Frame, buffer=1000) as out, trio.open_nursery() as nursery:
        await nursery.start(task.run)
        for index, (does, duration, pause) in enumerate(frames):
            spec[index] = (does, duration)
            await trio.sleep(pause)
            if index in interrupts:
                await settle()
                task.interrupt()
                stale |= {i for i in entered if i not in kept}
            frame = (
                Passing(interruptible=index not in kept)
                if does == "passes"
                else TextFrame(str(index), interruptible=index not in kept)
            )
            if does == "passes":
                frame.metadata["index"] = index
            await task.queue_frame(frame)
            entered.append(index)
        task.stop_when_done()
        came = [
            frame.text if isinstance(frame, TextFrame) else str(frame.metadata["index"])
            async for frame in out
            if isinstance(frame, TextFrame | Passing)
        ]
    assert most <= concurrency
    assert inside == 0
    return came, stale


def run_now(fn, *args):
    async def main():
        with trio.fail_after(3600):
            return await fn(*args)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@SETTINGS
@given(
    frames=FRAMES,
    concurrency=st.sampled_from([1, 2, 3, 16]),
    form=st.sampled_from(FORMS),
    size=st.sampled_from([1, 2, 64]),
    slow=st.sampled_from([0, 0, 0.3]),
    debug=st.booleans(),
)
def test_what_comes_out_is_what_one_at_a_time_gives(frames, concurrency, form, size, slow, debug):
    reference = [content for i, (does, _, _) in enumerate(frames) for content in outputs(i, does)]
    came, _ = run_now(run_random, frames, concurrency, True, form, size, slow, set(), set(), debug)
    assert came == reference
    came, _ = run_now(run_random, frames, concurrency, False, form, size, slow, set(), set(), debug)
    assert sorted(came) == sorted(reference)
    for i, (does, _, _) in enumerate(frames):
        mine = outputs(i, does)
        assert [content for content in came if content in mine] == mine


# What was in the pipeline at an interrupt is gone, unless it came out before; what is uninterruptible, or new, comes.
@SETTINGS
@given(
    frames=FRAMES,
    concurrency=st.sampled_from([1, 2, 3, 16]),
    ordered=st.booleans(),
    form=st.sampled_from(FORMS),
    size=st.sampled_from([1, 2, 64]),
    slow=st.sampled_from([0, 0, 0.3]),
    interrupts=st.sets(st.integers(0, 19), max_size=5),
    kept=st.sets(st.integers(0, 19)),
    debug=st.booleans(),
)
def test_with_interrupts(frames, concurrency, ordered, form, size, slow, interrupts, kept, debug):
    came, stale = run_now(run_random, frames, concurrency, ordered, form, size, slow, interrupts, kept, debug)
    reference = [content for i, (does, _, _) in enumerate(frames) for content in outputs(i, does)]
    never_stale = [content for i, (does, _, _) in enumerate(frames) if i not in stale for content in outputs(i, does)]
    assert set(never_stale) <= set(came) <= set(reference)
    assert len(set(came)) == len(came)
    if ordered:
        assert came == sorted(came, key=reference.index)
