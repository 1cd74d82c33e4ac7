"""Observers may come and go at any moment, also from their own methods; and who fails or stands in the way is told of."""

from __future__ import annotations

import logging
import re
import time

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from hosting import Breaks, Lives, Plain, Probe, Slow, nothing_left, records, started, task_of, texts
from trio_pipes import (
    ConfigurationError,
    Frames,
    Out,
    ParallelPipeline,
    PipelineRunner,
    TaskState,
    TextFrame,
    each,
    processor,
)
from trio_pipes.host._observer_queue import BACKLOG
from trio_pipes.host._observers import ERRORS_KEPT

EVENTS = [
    "on_starting", "on_started", "on_set_up", "on_frame_pushed", "on_frame_taken", "on_frame_handled", "on_reached_sink",
]  # fmt: skip


class Async:
    """Notes what it hears of, and takes its time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.told: list[str] = []

    async def on_reached_sink(self, task, frame) -> None:
        await trio.sleep(self.seconds)
        if isinstance(frame, TextFrame):
            self.told.append(frame.text)


# -- before a Trio task serves the observer


async def test_one_that_is_added_and_removed_at_once_hurts_nobody(autojump_clock) -> None:
    last = Probe()
    task = task_of(last)
    async with nothing_left(), started(task):
        for _ in range(3):
            watch = Async()
            task.add_observer(watch)
            task.remove_observer(watch)
        task.add_observer(watch)
        await task.queue_frame(TextFrame("x"))
    assert last.texts == ["x"]
    assert watch.told == ["x"]
    assert (await task.wait_finished()).observer_errors == ()


@pytest.mark.parametrize("event", ["on_starting", "on_frame_pushed"])
async def test_one_that_fails_before_its_async_methods_could_be_called_hurts_nobody(
    autojump_clock, caplog, event
) -> None:
    watch, last = Async(), Probe()

    def fail(*args) -> None:
        raise ValueError("observer")

    setattr(watch, event, fail)
    task = task_of(last, observers=[watch])
    async with nothing_left(), started(task):
        await task.queue_frame(TextFrame("x"))
    result = await task.wait_finished()
    assert last.texts == ["x"]
    assert [repr(error) for error in result.observer_errors] == ["ValueError('observer')"]
    assert watch.told == []


async def test_one_of_a_runner_that_is_added_and_removed_at_once_hurts_nobody(autojump_clock) -> None:
    class Hears:
        told = 0

        async def on_worker_finished(self, runner, worker) -> None:
            Hears.told += 1

    worker, watch = Plain("plain"), Hears()
    runner = PipelineRunner(worker)
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        for _ in range(3):
            runner.add_observer(watch)
            runner.remove_observer(watch)
        runner.add_observer(watch)
        runner.end()
    assert Hears.told == 1


# -- from their own methods


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("what", ["remove itself", "remove another", "add another", "remove itself and come back"])
@pytest.mark.parametrize("event", [*EVENTS, "on_finished"])
async def test_observers_come_and_go_from_within_any_method(autojump_clock, event, what, is_async) -> None:
    class Meddles:
        done = 0

    def meddle(*args) -> None:
        watch.done += 1
        if watch.done > 1:
            return
        if what != "add another":
            task.remove_observer(other if what == "remove another" else watch)
        if what == "add another":
            task.add_observer(new)
        elif what == "remove itself and come back":
            task.add_observer(watch)

    async def meddle_async(*args) -> None:
        meddle()
        await trio.sleep(0.01)

    watch, other, new, last = Meddles(), Async(), Async(), Probe()
    setattr(watch, event, meddle_async if is_async else meddle)
    task = task_of(Lives([], "lives"), each(lambda frame: frame), last, observers=[watch, other])
    async with nothing_left(), started(task):
        await task.queue_frames(texts(1, 2, 3))
        await task.flush()
        began = trio.current_time()
    assert trio.current_time() - began <= 0.5  # nobody waits for one that has gone
    result = await task.wait_finished()
    assert watch.done >= 1
    assert last.texts == ["1", "2", "3"]
    assert result.observer_errors == ()
    if what == "remove itself":
        assert watch.done == 1
    if what == "add another" and event in ("on_starting", "on_set_up"):
        assert new.told == ["1", "2", "3"]
    assert len(other.told) <= 3


async def test_one_that_removes_itself_at_the_end_is_not_waited_for(autojump_clock) -> None:
    class Leaves:
        async def on_finished(self, task, result) -> None:
            task.remove_observer(self)
            await trio.sleep_forever()

    task = task_of(Probe(), observers=[Leaves()])
    task.stop_when_done()
    await task.run()
    assert trio.current_time() == 0


async def test_one_that_has_come_back_is_not_removed_for_what_it_raised_when_it_went(autojump_clock, caplog) -> None:
    class Back(Async):
        async def on_started(self, task) -> None:
            task.remove_observer(self)
            task.add_observer(self)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("on the way out")

    watch = Back()
    task = task_of(Probe(), observers=[watch])
    async with nothing_left(), started(task):
        await trio.sleep(1)
        await task.queue_frame(TextFrame("x"))
    result = await task.wait_finished()
    assert watch.told == ["x"]
    assert [repr(error) for error in result.observer_errors] == ["ValueError('on the way out')"]


# -- at any moment

KINDS = ("class", "inline", "function", "async function", "block", "branches")


def part(kind: str) -> object:
    match kind:
        case "class":
            return Probe()
        case "inline":
            probe = Probe()
            probe.inline = True
            return probe
        case "function":
            return each(lambda frame: frame)
        case "async function":

            @each
            async def function(frame: TextFrame) -> TextFrame:
                await trio.sleep(0.01)
                return frame

            return function
        case "block":

            @processor
            async def block(frames: Frames[TextFrame], out: Out) -> None:
                async for frame in frames:
                    await out.push(frame)

            return block
        case _:
            return ParallelPipeline([Probe()], [each(lambda frame: None)])


class Hears:
    """Counts what it hears of while it is there, and what it hears of when it is not."""

    def __init__(self) -> None:
        self.there = False
        self.told = self.told_elsewhere = 0

    def hear(self, *args) -> None:
        if self.there:
            self.told += 1
        else:
            self.told_elsewhere += 1

    on_frame_pushed = on_frame_taken = on_frame_handled = on_reached_sink = on_interrupt = hear


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    st.lists(st.integers(0, 60), min_size=1, max_size=6),
    st.booleans(),
)
def test_whenever_observers_come_and_go_what_comes_out_is_the_same(kinds, moments, interrupts) -> None:
    async def run(moments: list[int]) -> tuple[list[str], int]:
        told = 0
        hears = [Hears(), Hears()]

        class Meddles:
            def event(self, *args) -> None:
                nonlocal told
                told += 1
                for each_ in moments:
                    if told == each_:
                        watch = hears[each_ % 2]
                        if watch.there:
                            task.remove_observer(watch)
                        else:
                            task.add_observer(watch)
                        watch.there = not watch.there
                if interrupts and told == 30:
                    task.interrupt()

            on_frame_pushed = on_frame_handled = on_reached_sink = event

        last = Probe()
        task = task_of(*(part(kind) for kind in kinds), last, observers=[Meddles()])
        async with started(task):
            await task.queue_frames(texts(*range(12)))
            await task.flush()
        result = await task.wait_finished()
        assert result.state is TaskState.ENDED
        assert result.observer_errors == ()
        # Two who are told of one event are told of it together, whatever the first one does.
        assert all(watch.told_elsewhere <= len(moments) for watch in hears)
        return last.texts, told

    clock = trio.testing.MockClock(autojump_threshold=0)
    with_them = trio.run(run, moments, clock=clock)
    without = trio.run(run, [], clock=trio.testing.MockClock(autojump_threshold=0))
    if not interrupts:  # which frames an interrupt meets is a matter of the moment
        assert with_them == without


# -- who fails, who stands in the way: told of


async def test_who_failed_and_what_was_lost_is_in_the_statistics_while_it_runs(autojump_clock, caplog) -> None:
    class Fails:
        def on_reached_sink(self, task, frame) -> None:
            raise LookupError("observer")

    class Never:
        async def on_frame_pushed(self, task, processor, frame, direction) -> None:
            await trio.sleep_forever()

    task = task_of(Probe(), observers=[Fails(), Never()])
    async with started(task):
        await task.queue_frames(texts(*range(BACKLOG + 10)))
        await task.flush()
        statistics = task.statistics()
        assert [repr(error) for error in statistics.observer_errors] == ["LookupError('observer')"]
        assert statistics.observer_events_lost >= 9
    result = await task.wait_finished()
    assert result.observer_errors == statistics.observer_errors
    assert result.observer_events_lost >= BACKLOG


async def test_who_failed_and_what_was_lost_is_in_the_statistics_of_a_runner(autojump_clock, caplog) -> None:
    class Fails:
        def on_ready(self, runner) -> None:
            raise LookupError("observer")

    class Never:
        async def on_worker_started(self, runner, worker) -> None:
            await trio.sleep_forever()

        async def on_worker_finished(self, runner, worker) -> None:
            pass

    runner = PipelineRunner(Plain("plain"), observers=[Fails(), Never()])
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await trio.sleep(1)
        runner.end()
    statistics = runner.statistics()
    assert [repr(error) for error in statistics.observer_errors] == ["LookupError('observer')"]
    assert statistics.observer_events_lost == 1


async def test_a_function_that_fails_for_each_frame_takes_no_more_and_more_memory(autojump_clock, caplog) -> None:
    def fails(frame, handled) -> None:
        raise LookupError("on_handled")

    task = task_of(Probe())
    async with started(task):
        for text in texts(*range(ERRORS_KEPT + 50)):
            await task.queue_frame(text, on_handled=fails)
    result = await task.wait_finished()
    assert len(result.observer_errors) == ERRORS_KEPT
    assert len(records(caplog, logging.ERROR)) == ERRORS_KEPT + 50


# It is called in Trio's loop, and so it stands in everybody's way; that it is async does not help.
async def test_an_async_one_that_holds_up_the_loop_is_named(autojump_clock, caplog) -> None:
    class Blocks:
        async def on_started(self, task) -> None:
            await trio.sleep(1)
            time.sleep(0.12)  # noqa: ASYNC251, TID251 # the real clock is what it is about
            await trio.sleep(1)

        async def on_finished(self, task, result) -> None:
            await trio.sleep(0.5)  # it only waits

        def __repr__(self) -> str:
            return "<the blocking one>"

    task = task_of(Probe(), observers=[Blocks()])
    async with started(task):
        await trio.sleep(3)
    (line,) = records(caplog)
    assert re.search(r"<the blocking one> took 0\.[1-9]", line)
    assert "on_started" in line


async def test_what_is_thrown_into_an_async_one_reaches_it(autojump_clock) -> None:
    log: list[str] = []

    class Cleans:
        async def on_started(self, task) -> None:
            with trio.move_on_after(1):
                await trio.sleep_forever()
            log.append("went on")
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                log.append("cancelled")
                raise
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.5)
                log.append("cleaned up")

    watch = Cleans()
    task = task_of(Probe(), observers=[watch])
    async with nothing_left(), started(task):
        await trio.sleep(2)
        task.remove_observer(watch)
        await trio.sleep(1)
        assert log == ["went on", "cancelled", "cleaned up"]
    assert (await task.wait_finished()).observer_errors == ()


async def test_one_that_awaits_what_trio_does_not_know_hears_of_it_and_hurts_nobody(autojump_clock, caplog) -> None:
    log: list[str] = []

    class OfAnotherLoop:
        def __await__(self):
            yield "what another loop would understand"

    class Foreign:
        async def on_started(self, task) -> None:
            try:
                await OfAnotherLoop()
            except TypeError:
                log.append("heard of it")
                raise

    last = Probe()
    task = task_of(last, observers=[Foreign()])
    async with nothing_left(), started(task):
        await task.queue_frame(TextFrame("x"))
    (error,) = (await task.wait_finished()).observer_errors
    assert isinstance(error, TypeError)
    assert log == ["heard of it"]
    assert last.texts == ["x"]


# -- nobody watches


async def test_a_task_without_observers_takes_the_short_way_and_so_does_one_whose_observers_have_gone(
    autojump_clock, caplog
) -> None:
    class Silent:
        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            pass

    class Fails:
        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            raise ValueError("observer")

    class NotOfFrames:
        def on_finished(self, task, result) -> None:
            pass

    task = task_of(Probe(), Slow(0), observers=[NotOfFrames()])
    engine = task._engine
    async with started(task):
        pushes = [node.push for node in engine.nodes]
        assert engine.observed is None
        for watch in (Silent(), Fails()):
            task.add_observer(watch)
            assert engine.observed is not None
            await task.queue_frame(TextFrame("x"))
            await task.flush()
            if isinstance(watch, Silent):
                task.remove_observer(watch)
            assert engine.observed is None
        assert [node.push.__code__ for node in engine.nodes] == [push.__code__ for push in pushes]


async def test_an_error_of_an_isolated_worker_reaches_observers_that_come_and_go(autojump_clock) -> None:
    told: list[str] = []

    class Tells:
        def on_error(self, runner, worker, error) -> None:
            told.append(str(error))
            runner.remove_observer(self)

    runner = PipelineRunner(Plain("plain"), observers=[Tells()])
    runner.add_workers(*(Breaks(f"breaks {n}", LookupError(str(n)), after=n) for n in (1, 2)), isolated=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await trio.sleep(3)
        runner.end()
    assert told == ["1"]


@pytest.mark.parametrize("misspelt", ["on_frame_push", "on_setup", "on_frame_take", "on_waited", "on_measure"])
async def test_g13_a_misspelt_event_is_refused_while_it_runs_and_changes_nothing(autojump_clock, misspelt) -> None:
    async def method(*args) -> None:
        pass

    watch = Async()
    setattr(watch, misspelt, method)
    last = Probe()
    task = task_of(last)
    async with started(task):
        with pytest.raises(ConfigurationError, match=misspelt):
            task.add_observer(watch)
        await task.queue_frame(TextFrame("x"))
    assert last.texts == ["x"]
    assert watch.told == []


async def test_only_one_that_is_added_when_the_pipeline_is_up_is_told_so_and_it_alone(autojump_clock) -> None:
    told = []

    class Watch:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_added(self, task) -> None:
            told.append(("added", self.name))

        def on_started(self, task) -> None:
            told.append(("started", self.name))
            if self.name == "early":
                task.add_observer(Watch("while it is told"))

    class Async:
        async def on_added(self, task) -> None:
            await trio.sleep(1)
            told.append(("added", trio.current_time()))

    task = task_of(Probe(), observers=[Watch("early")])
    task.add_observer(Watch("before the run"))
    async with started(task):
        task.add_observer(Watch("late"))
        task.add_observer(Async())
        await trio.sleep(5)
    await task.wait_finished()
    task.add_observer(Watch("after the end"))
    assert told == [
        ("started", "early"), ("added", "while it is told"), ("started", "before the run"), ("added", "late"), ("added", 1.0),
    ]  # fmt: skip


async def test_one_that_raises_when_it_is_added_is_removed_and_hurts_nobody(autojump_clock) -> None:
    class Breaks:
        def on_added(self, task) -> None:
            raise LookupError("what?")

    task = task_of(Probe())
    async with started(task):
        task.add_observer(Breaks())
    assert [str(error) for error in (await task.wait_finished()).observer_errors] == ["what?"]
