"""Observers: none of them can slow, kill or hold up what it observes."""

from __future__ import annotations

import logging
import time

import pytest
import trio
import trio.testing

from graves_kit import (
    CANCELS,
    HUNG,
    Button,
    asked_to_end,
    cancelled,
    cancels,
    ends,
    modes,
    places,
    running,
    task_at,
    texts,
)
from hosting import Breaks, Plain, Probe, Slow, nothing_left, records, started
from trio_pipes import (
    Direction,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    TaskState,
    TextFrame,
)

TASK_EVENTS = (
    "on_started",
    "on_finished",
    "on_error",
    "on_interrupt",
    "on_interrupt_refused",
    "on_frame_pushed",
    "on_frame_handled",
    "on_reached_source",
    "on_reached_sink",
)

# -- G17: a slow observer, a failing one


class SlowWatch:
    """Needs a second of virtual time for each event."""

    def __init__(self) -> None:
        self.told = 0

    async def on_frame_pushed(self, task, processor, frame, direction) -> None:
        await trio.sleep(1)
        self.told += 1

    async def on_reached_sink(self, task, frame) -> None:
        await trio.sleep(1)
        self.told += 1


class Fails:
    """Raises at each event."""

    def __init__(self, event: str, *, is_async: bool) -> None:
        async def later(*args) -> None:
            raise LookupError("a mistake of the observer")

        def now(*args) -> None:
            raise LookupError("a mistake of the observer")

        setattr(self, event, later if is_async else now)


@places
@modes
async def test_g17_a_slow_async_observer_delays_no_frame(autojump_clock, place, mode) -> None:
    watch = SlowWatch()
    task = task_at(place, mode, Slow(0.01), Probe(), observers=[watch, SlowWatch()])
    async with nothing_left():
        with trio.fail_after(HUNG):
            async with trio.open_nursery() as nursery:
                await nursery.start(task.run)
                began = trio.current_time()
                await task.queue_frames(texts(*range(500)))
                assert await task.flush(HUNG)
                took = trio.current_time() - began
                task.stop_when_done()
            assert trio.current_time() == pytest.approx(began + 5 + 1)  # the last second that they have, and no more
    assert took == pytest.approx(5)
    assert 5 <= watch.told <= 7


# Its backlog is bounded, and what it missed is told.
async def test_g17_the_backlog_of_a_slow_observer_is_bounded(autojump_clock, caplog) -> None:
    watch = SlowWatch()
    task = task_at("row", "tasks", Probe(), observers=[watch])
    async with started(task, HUNG):
        for _ in range(30):
            await task.queue_frames(texts(*range(100)))
        assert await task.flush(10)
    missed = [line for line in records(caplog) if "async observers were not told of" in line]
    assert len(missed) == 1
    assert "1000 were left at the end" in missed[0] or "999 were left at the end" in missed[0]


@places
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("event", TASK_EVENTS)
async def test_g17_a_failing_observer_is_removed_and_kept_and_the_run_goes_on(
    autojump_clock, place, is_async, event, caplog
) -> None:
    class Asks(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: Direction) -> None:
            if isinstance(frame, TextFrame) and direction is Direction.DOWNSTREAM:
                self.interrupt()  # refused
                await self.push_error("told")
            await self.push_frame(frame, direction)

    for mode in ("tasks", "inline", "debug"):
        caplog.clear()
        last, good = Probe(), Counting()
        task = task_at(place, mode, Asks(), last, observers=[Fails(event, is_async=is_async), good])
        async with nothing_left(), started(task):
            await task.queue_frames(texts(1, 2))
            await task.flush(10)
            task.interrupt()
            await task.queue_frame(TextFrame("3"))
            await task.queue_frame(TextFrame("up"), Direction.UPSTREAM)
            await trio.sleep(1)
        result = await task.wait_finished()
        assert result.state is TaskState.ENDED
        assert [repr(error) for error in result.observer_errors] == ["LookupError('a mistake of the observer')"]
        assert [text for text in last.texts if text != "up"] == ["1", "2", "3"]
        assert good.finished == 1  # the one beside it is not hurt
        assert [line for line in records(caplog, logging.ERROR) if "raised and is removed" in line] != []
        assert len(records(caplog, logging.ERROR)) == 1  # once


class Counting:
    def __init__(self) -> None:
        self.finished = 0

    def on_finished(self, task, result) -> None:
        self.finished += 1


# A sync one stands in the way by its nature; it is named.
async def test_g17_a_slow_sync_observer_is_named(autojump_clock, caplog) -> None:
    class Blocks:
        def on_started(self, task) -> None:
            time.sleep(0.12)  # noqa: TID251 # the real clock is what it is about

        def __repr__(self) -> str:
            return "<the slow one>"

    task = task_at("row", "tasks", Probe(), observers=[Blocks()])
    async with started(task):
        pass
    assert any("<the slow one> took" in line for line in records(caplog))


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("event", ["on_ready", "on_error", "on_worker_started", "on_worker_finished"])
async def test_g17_a_failing_observer_of_a_runner_hurts_nobody(autojump_clock, is_async, event, caplog) -> None:
    isolated = Breaks("breaks", LookupError("crash"), after=1)
    worker = PipelineTask(Pipeline([Slow(1)]), name="works")
    await worker.queue_frames(texts(1, 2, 3))
    runner = PipelineRunner(worker, observers=[Fails(event, is_async=is_async)])
    runner.add_workers(isolated, isolated=True)
    async with nothing_left():
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                await trio.sleep(2)
                worker.stop_when_done()
    result = await worker.wait_finished()
    assert (result.state, result.frames_out) == (TaskState.ENDED, 3)
    assert len([line for line in records(caplog, logging.ERROR) if "raised and is removed" in line]) == 1


# An observer may do what observers should not: queue, stop, cancel, remove itself, add another. Nothing hangs.
@modes
@pytest.mark.parametrize("what", ["stop", "cancel", "interrupt", "remove itself", "add another"])
@pytest.mark.parametrize("event", ["on_started", "on_frame_pushed", "on_frame_handled", "on_reached_sink"])
async def test_g17_an_observer_that_meddles_hangs_nothing(autojump_clock, mode, what, event) -> None:
    class Meddles:
        done = False

    def meddle(*args) -> None:
        if watch.done:
            return
        watch.done = True
        if what == "stop":
            task.stop_when_done()
        elif what == "cancel":
            task.cancel()
        elif what == "interrupt":
            task.interrupt()
        elif what == "remove itself":
            task.remove_observer(watch)
        else:
            task.add_observer(other)

    watch, other = Meddles(), Counting()
    setattr(watch, event, meddle)
    task = task_at("branch", mode, Probe(), observers=[watch])
    await task.queue_frames(texts(1, 2, 3))
    async with nothing_left():
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await trio.sleep(1)
                task.stop_when_done()
    assert watch.done
    assert task.state is (TaskState.CANCELLED if what == "cancel" else TaskState.ENDED)
    assert other.finished == (what == "add another")


# -- G29: in any order; one that never returns


class Order:
    """Writes down what it is told, slower or faster."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.log: list[str] = []

    async def on_started(self, task) -> None:
        await trio.sleep(self.seconds)
        self.log.append("started")

    async def on_reached_sink(self, task, frame) -> None:
        if isinstance(frame, TextFrame):
            await trio.sleep(self.seconds / int(frame.text))
            self.log.append(frame.text)

    async def on_finished(self, task, result) -> None:
        self.log.append("finished")


@modes
async def test_g29_events_are_told_in_the_order_in_which_they_happened(autojump_clock, mode) -> None:
    fast, slow = Order(0), Order(0.3)
    task = task_at("row", mode, Probe(), observers=[slow, fast])
    async with nothing_left(), started(task):
        await task.queue_frames(texts(1, 2, 3, 4))
    assert slow.log == fast.log == ["started", "1", "2", "3", "4", "finished"]


async def test_g29_sync_observers_are_told_in_the_order_in_which_they_were_added(autojump_clock) -> None:
    log: list[str] = []

    class Numbered:
        def __init__(self, n: int) -> None:
            self.n = n

        def on_started(self, task) -> None:
            log.append(f"started {self.n}")

        def on_finished(self, task, result) -> None:
            log.append(f"finished {self.n}")

    task = task_at("row", "tasks", Probe(), observers=[Numbered(1), Numbered(2)])
    task.add_observer(Numbered(3))
    async with started(task):
        pass
    assert log == [f"{event} {n}" for event in ("started", "finished") for n in (1, 2, 3)]


class NeverReturns:
    """Hangs in whatever it is told."""

    def __init__(self) -> None:
        self.gone = 0

    async def hang(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.gone += 1

    async def on_started(self, task) -> None:
        await self.hang()

    async def on_finished(self, task, result) -> None:
        await self.hang()

    async def on_reached_sink(self, task, frame) -> None:
        await self.hang()


class HangsAtTheEnd(NeverReturns):
    async def on_started(self, task) -> None:
        pass

    async def on_reached_sink(self, task, frame) -> None:
        pass


@cancels
@pytest.mark.parametrize("make", [NeverReturns, HangsAtTheEnd])
async def test_g29_an_observer_that_never_returns_does_not_hold_up_a_cancel(autojump_clock, way, make) -> None:
    watch, button = make(), Button()
    task = task_at("branch", "tasks", button, Slow(1), observers=[watch, make()])
    await task.queue_frames(texts(1, 2, 3))
    assert await cancelled(way, task, running(task), button=button) <= 1
    if make is NeverReturns or way in ON_ITS_OWN:
        assert watch.gone == 1


ON_ITS_OWN = ("task.cancel", "await task.cancel", "CancelFrame queued", "CancelTaskFrame from inside")


class Hears:
    """A good one."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def on_finished(self, task, result) -> None:
        await trio.sleep(0.5)
        self.told.append(result.state.name)


@pytest.mark.parametrize("way", ON_ITS_OWN)
async def test_g29_async_observers_are_told_of_a_cancel_of_the_task(autojump_clock, way) -> None:
    hears, button = Hears(), Button()
    task = task_at("branch", "tasks", button, observers=[hears])
    assert await cancelled(way, task, running(task), button=button) == 0.5
    assert hears.told == ["CANCELLED"]


# (At the first of two signals an idle task comes to its end.)
@pytest.mark.parametrize("way", [way for way in CANCELS if way not in (*ON_ITS_OWN, "two signals")])
async def test_g29_async_observers_are_told_of_every_cancel(autojump_clock, way) -> None:
    hears = Hears()
    task = task_at("branch", "tasks", Probe(), observers=[hears])
    assert await cancelled(way, task, running(task)) == 0.5
    assert hears.told == ["CANCELLED"]


@ends
@pytest.mark.parametrize("make", [NeverReturns, HangsAtTheEnd])
async def test_g29_an_observer_that_never_returns_does_not_hold_up_the_end(autojump_clock, way, make) -> None:
    watch, button, last = make(), Button(), Probe()
    task = task_at("branch", "tasks", button, last, observers=[watch])
    await task.queue_frames(texts(1, 2, 3))
    assert await asked_to_end(way, task, running(task), button=button) == 1
    assert last.texts == ["1", "2", "3"]
    assert watch.gone == 1


@pytest.mark.parametrize("how", ["end", "cancel", "crash"])
async def test_g29_an_observer_of_a_runner_that_never_returns_does_not_hold_it_up(autojump_clock, how) -> None:
    class Hangs:
        async def on_ready(self, runner) -> None:
            await trio.sleep_forever()

        async def on_worker_finished(self, runner, worker) -> None:
            await trio.sleep_forever()

        async def on_error(self, runner, worker, error) -> None:
            await trio.sleep_forever()

    worker = Breaks("breaks", LookupError("crash"), after=1) if how == "crash" else Plain("plain")
    runner = PipelineRunner(worker, observers=[Hangs(), Hangs()])
    async with nothing_left():
        with trio.fail_after(5):
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(runner.run)
                    await trio.sleep(1)
                    if how != "crash":
                        getattr(runner, how)()
            except ExceptionGroup:
                assert how == "crash"
    assert trio.current_time() <= 2
