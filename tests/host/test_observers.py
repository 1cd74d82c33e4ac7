"""Observers see everything, and cannot hurt what they observe."""

import logging
import time
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
import trio.testing

from hosting import Does, Probe, Slow, Urgent, nothing_left, records, started, task_of, texts
from trio_pipes import (
    CancelFrame,
    ConfigurationError,
    Direction,
    EndFrame,
    ErrorFrame,
    ErrorPolicy,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    PipelineRunner,
    StartFrame,
    TaskResult,
    TaskState,
    TextFrame,
    each,
    processor,
)

TASK_EVENTS = [
    "on_started", "on_finished", "on_error", "on_idle", "on_heartbeat_lost", "on_interrupt", "on_interrupt_refused",
    "on_frame_pushed", "on_frame_handled", "on_reached_source", "on_reached_sink",
]  # fmt: skip
RUNNER_EVENTS = ["on_ready", "on_error", "on_worker_started", "on_worker_finished"]


def observer_with(**methods) -> object:
    """An object with these methods."""
    return type("Observer", (), {name: staticmethod(method) for name, method in methods.items()})()


class Everything:
    """Notes each event with its arguments."""

    def __init__(self) -> None:
        self.events: list[tuple] = []

    def names(self) -> list[str]:
        return [event[0] for event in self.events]


for _name in TASK_EVENTS:
    setattr(Everything, _name, lambda self, *args, _name=_name: self.events.append((_name, *args)))


# -- what they are told


async def test_a_run_is_told_from_its_start_to_its_end(autojump_clock) -> None:
    watch, probe = Everything(), Probe()
    task = task_of(probe, observers=[watch])
    frame = TextFrame("x")
    async with started(task):
        await task.queue_frame(frame)
    result = await task.wait_finished()
    assert watch.names().count("on_started") == watch.names().count("on_finished") == 1
    assert ("on_started", task) in watch.events
    assert watch.events[-1][:2] == ("on_finished", task)
    told = watch.events[-1][2]
    assert isinstance(told, TaskResult)
    assert (told.state, told.frames_out) == (result.state, result.frames_out) == (TaskState.ENDED, 1)
    down = Direction.DOWNSTREAM
    of_frame = [event for event in watch.events if frame in event]
    assert of_frame == [
        ("on_frame_pushed", task, probe, frame, down),
        ("on_reached_sink", task, frame),
        ("on_frame_handled", task, probe, frame, down),
    ]


async def test_lifecycle_frames_are_seen_to_reach_the_sink(autojump_clock) -> None:
    watch = Everything()
    task = task_of(Probe(), observers=[watch])
    async with started(task):
        pass
    reached = [type(event[2]) for event in watch.events if event[0] == "on_reached_sink"]
    assert reached == [StartFrame, EndFrame]
    # Started once StartFrame has reached the sink.
    names = [event[0] for event in watch.events if event[0] in ("on_started", "on_reached_sink")]
    assert names == ["on_reached_sink", "on_started", "on_reached_sink"]


async def test_t8_what_reaches_the_source_is_told_by_frame(autojump_clock) -> None:
    watch = Everything()
    task = task_of(Probe(), observers=[watch])
    frames = [TextFrame("up"), Urgent("up")]
    async with started(task):
        for frame in frames:
            await task.queue_frame(frame, Direction.UPSTREAM)
        await trio.sleep(1)
    assert {event[2] for event in watch.events if event[0] == "on_reached_source"} == set(frames)


@pytest.mark.parametrize("fused", [True, False])
async def test_every_kind_of_processor_is_observed_and_each_hop_once(autojump_clock, fused) -> None:
    @each
    def function(frame: TextFrame) -> TextFrame:
        return frame

    @each
    async def async_function(frame: TextFrame) -> TextFrame:
        return frame

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    watch = Everything()
    task = task_of(
        Probe("class"), function, function, async_function, block, Probe("last"), observers=[watch], debug=not fused
    )
    frame = TextFrame("x")
    async with started(task):
        await task.queue_frame(frame)
    pushed = [
        event[2].name.split("#")[0] for event in watch.events if event[0] == "on_frame_pushed" and event[3] is frame
    ]
    assert pushed == ["class", "function", "function", "async_function", "block", "last"]
    handled = [
        event[2].name.split("#")[0] for event in watch.events if event[0] == "on_frame_handled" and event[3] is frame
    ]
    assert sorted(handled) == sorted(pushed)


async def test_observing_changes_nothing_that_comes_out(autojump_clock) -> None:
    @each
    def twice(frame: TextFrame) -> list[TextFrame]:
        return [frame, TextFrame(frame.text * 2)]

    results = []
    for observers in ([], [Everything()]):
        last = Probe()
        task = task_of(twice, ParallelPipeline([Slow(1)], [twice]), Probe(), last, observers=observers)
        await task.queue_frames(texts(*"abc"))
        task.stop_when_done()
        result = await task.run()
        results.append((sorted(last.texts), last.kinds[-1], result.frames_in, result.frames_out))
    assert results[0] == results[1]


async def test_cancel_is_seen_as_a_frame_by_observers_only(autojump_clock) -> None:
    watch, probe = Everything(), Probe()
    task = task_of(probe, observers=[watch])
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        task.cancel("why")
    (frame,) = [
        event[2] for event in watch.events if event[0] == "on_reached_sink" and isinstance(event[2], CancelFrame)
    ]
    assert frame.reason == "why"
    assert "CancelFrame" not in probe.kinds
    assert watch.events[-1][2].state is TaskState.CANCELLED


async def test_errors_are_told(autojump_clock) -> None:
    async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
        raise ValueError("crash")

    watch = Everything()
    task = task_of(Does(crash), observers=[watch], on_error=ErrorPolicy.REPORT)
    async with started(task):
        await task.queue_frame(TextFrame())
    (told,) = [event[2] for event in watch.events if event[0] == "on_error"]
    assert isinstance(told, ErrorFrame)
    assert repr(told.exception) == "ValueError('crash')"


async def test_an_error_that_fails_the_task_is_told(autojump_clock) -> None:
    async def crash(processor: FrameProcessor, frame: TextFrame) -> None:
        raise ValueError("crash")

    watch = Everything()
    task = task_of(Does(crash), observers=[watch])
    await task.queue_frame(TextFrame())
    with pytest.raises(ExceptionGroup):
        await task.run()
    assert watch.events[-1][2].state is TaskState.FAILED
    assert "on_error" in watch.names()


async def test_interrupts_and_refusals_are_told(autojump_clock) -> None:
    async def ask(processor: FrameProcessor, frame: TextFrame) -> None:
        processor.interrupt()

    for allowed, event in ((True, "on_interrupt"), (False, "on_interrupt_refused")):
        watch = Everything()
        task = task_of(Does(ask), observers=[watch], allow_interruptions=allowed)
        async with started(task):
            await task.queue_frame(TextFrame())
            await task.flush()
        assert [e for e in watch.events if "interrupt" in e[0]] == [(event, task)]
    watch = Everything()
    task = task_of(Probe(), observers=[watch])
    async with started(task):
        await task.interrupt()
    assert ("on_interrupt", task) in watch.events


async def test_an_observer_may_have_some_of_the_methods(autojump_clock) -> None:
    seen = []
    task = task_of(Probe(), observers=[observer_with(on_finished=lambda task, result: seen.append(result.state))])
    async with started(task):
        pass
    assert seen == [TaskState.ENDED]


# -- what they may be


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("on_start", "on_started"),
        ("on_finish", "on_finished"),
        ("on_frame_push", "on_frame_pushed"),
        ("on_ended", "on_"),
    ],
)
async def test_g13_a_misspelt_event_is_refused_with_the_nearest_name(autojump_clock, misspelt, meant) -> None:
    bad = observer_with(**{misspelt: lambda *args: None})
    with pytest.raises(ConfigurationError, match=rf"{misspelt}.*{meant}"):
        task_of(Probe(), observers=[bad])
    task = task_of(Probe())
    with pytest.raises(ConfigurationError, match=rf"{misspelt}.*{meant}"):
        task.add_observer(bad)


def test_g13_the_events_of_a_runner_are_others() -> None:
    with pytest.raises(ConfigurationError, match="on_worker_start.*on_worker_started"):
        PipelineRunner(observers=[observer_with(on_worker_start=lambda *args: None)])
    with pytest.raises(ConfigurationError, match="on_frame_pushed"):
        PipelineRunner().add_observer(observer_with(on_frame_pushed=lambda *args: None))
    with pytest.raises(ConfigurationError, match="on_ready"):
        task_of(Probe(), observers=[observer_with(on_ready=lambda *args: None)])


def test_every_event_of_the_design_is_known() -> None:
    task_of(Probe(), observers=[Everything()])
    for event in TASK_EVENTS:
        task_of(Probe(), observers=[observer_with(**{event: lambda *args: None})])
    for event in RUNNER_EVENTS:
        PipelineRunner(observers=[observer_with(**{event: lambda *args: None})])


@pytest.mark.parametrize("bad", [object(), Everything, 3, None], ids=["no methods", "a class", "3", "None"])
async def test_what_is_no_observer_is_refused(autojump_clock, bad) -> None:
    with pytest.raises(ConfigurationError):
        task_of(Probe(), observers=[bad])
    task = task_of(Probe())
    with pytest.raises(ConfigurationError):
        task.add_observer(bad)


async def test_an_observer_is_added_once(autojump_clock) -> None:
    watch = Everything()
    task = task_of(Probe(), observers=[watch])
    with pytest.raises(ConfigurationError, match="already"):
        task.add_observer(watch)
    with pytest.raises(ValueError, match="observe"):
        task.remove_observer(Everything())


async def test_observers_are_added_and_removed_while_it_runs(autojump_clock) -> None:
    for kind in (Probe, lambda: each(lambda frame: frame)):
        seen = []
        watch = observer_with(on_reached_sink=lambda task, frame, seen=seen: seen.append(getattr(frame, "text", None)))
        last = Probe()
        task = task_of(Probe(), last)
        async with started(task):
            for word in range(6):
                if word % 2:
                    task.add_observer(watch)
                elif word:
                    task.remove_observer(watch)
                await task.queue_frame(TextFrame(str(word)))
                await task.flush()
        assert seen[:3] == ["1", "3", "5"]
        assert last.texts == list("012345")
        del kind


# -- they cannot hurt


@pytest.mark.parametrize(
    "event", ["on_started", "on_reached_sink", "on_frame_pushed", "on_frame_handled", "on_finished"]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_g17_one_that_raises_is_removed_logged_once_and_kept(autojump_clock, caplog, event, is_async) -> None:
    calls = []

    def bad(*args) -> None:
        calls.append(args)
        raise ValueError("observer")

    async def bad_async(*args) -> None:
        bad(*args)

    good = Everything()
    last = Probe()
    task = task_of(last, observers=[observer_with(**{event: bad_async if is_async else bad}), good])
    async with nothing_left(), started(task):
        await task.queue_frames(texts(1, 2, 3))
    result = await task.wait_finished()
    assert last.texts == ["1", "2", "3"]
    assert result.state is TaskState.ENDED
    assert [repr(error) for error in result.observer_errors] == ["ValueError('observer')"]
    assert len(calls) == 1
    assert len(records(caplog, logging.ERROR)) == 1
    assert good.names()[-1] == "on_finished"  # the others go on


async def test_g17_what_run_returns_has_the_observer_errors_too(autojump_clock, caplog) -> None:
    def bad(*args) -> None:
        raise ValueError("observer")

    async def bad_async(*args) -> None:
        await trio.sleep(0.5)
        raise ValueError("async observer")

    task = task_of(Probe(), observers=[observer_with(on_finished=bad), observer_with(on_finished=bad_async)])
    task.stop_when_done()
    result = await task.run()
    assert sorted(str(error) for error in result.observer_errors) == ["async observer", "observer"]
    assert (await task.wait_finished()).observer_errors == result.observer_errors


async def test_g17_a_slow_async_observer_delays_nobody(autojump_clock) -> None:
    seen = []

    async def slowly(task, frame) -> None:
        await trio.sleep(3)
        seen.append(frame)

    task = task_of(Slow(1), observers=[observer_with(on_reached_sink=slowly)])
    async with trio.open_nursery() as nursery:
        await nursery.start(task.run)
        await task.queue_frames(texts(*range(10)))
        await task.flush()
        assert trio.current_time() == pytest.approx(10)
        task.stop_when_done()
    # It has a last second at the end, no more.
    assert 10 <= trio.current_time() <= 11.1
    assert 1 <= len(seen) < 10


async def test_g29_one_that_never_returns_does_not_block_the_end(autojump_clock) -> None:
    async def never(*args) -> None:
        await trio.sleep_forever()

    for how in ("stop_when_done", "cancel"):
        began = trio.current_time()
        task = task_of(Probe(), observers=[observer_with(on_started=never), observer_with(on_finished=never)])
        async with nothing_left(), trio.open_nursery() as nursery:
            await nursery.start(task.run)
            getattr(task, how)()
            with trio.fail_after(5):
                await task.wait_finished()
        assert trio.current_time() - began <= 1.1


async def test_g29_one_that_never_returns_does_not_block_a_cancel_from_outside(autojump_clock) -> None:
    async def never(*args) -> None:
        await trio.sleep_forever()

    task = task_of(Probe(), observers=[observer_with(on_started=never)])
    async with nothing_left():
        with trio.move_on_after(5) as scope:
            await task.run()
    assert scope.cancelled_caught
    assert trio.current_time() <= 6.1


async def test_async_ones_have_a_second_at_the_end_to_finish(autojump_clock) -> None:
    seen = []

    async def note(task, result) -> None:
        await trio.sleep(0.9)
        seen.append(result.state)

    task = task_of(Probe(), observers=[observer_with(on_finished=note)])
    task.stop_when_done()
    result = await task.run()
    assert seen == [TaskState.ENDED]
    assert result.observer_errors == ()


async def test_without_async_observers_the_end_takes_no_time(autojump_clock) -> None:
    task = task_of(Probe(), observers=[Everything()])
    task.stop_when_done()
    await task.run()
    assert trio.current_time() == pytest.approx(0)


async def test_g29_events_reach_an_async_observer_one_at_a_time_in_order(autojump_clock) -> None:
    seen, at_work = [], 0

    async def note(task, frame) -> None:
        nonlocal at_work
        at_work += 1
        assert at_work == 1
        await trio.sleep(0.01)
        at_work -= 1
        seen.append(getattr(frame, "text", type(frame).__name__))

    async def last(task, result) -> None:
        seen.append("finished")

    task = task_of(Probe(), observers=[observer_with(on_reached_sink=note, on_finished=last)])
    async with started(task):
        await task.queue_frames(texts(*range(20)))
    assert seen == ["StartFrame", *[str(n) for n in range(20)], "EndFrame", "finished"]


async def test_a_full_queue_of_an_async_observer_drops_the_oldest_and_counts(autojump_clock, caplog) -> None:
    seen, gate = [], trio.Event()

    async def note(task, frame) -> None:
        await gate.wait()
        seen.append(getattr(frame, "text", None))

    task = task_of(Probe(), observers=[observer_with(on_reached_sink=note)])
    async with started(task):
        await task.queue_frames(texts(*range(1500)))
        await task.flush()
        gate.set()
        await trio.sleep(1)
    # One in hand (the StartFrame) and the newest 1,000.
    assert seen[1:1001] == [str(n) for n in range(500, 1500)]
    assert any("500" in message for message in records(caplog))


async def test_a_slow_sync_method_is_named_in_a_warning(autojump_clock, caplog) -> None:
    class Blocks:
        def on_started(self, task) -> None:
            time.sleep(0.15)  # noqa: TID251 # the real clock is what it is about

    task = task_of(Probe(), observers=[Blocks()])
    async with started(task):
        pass
    (message,) = records(caplog)
    assert "Blocks" in message
    assert "on_started" in message


async def test_async_and_sync_methods_in_one_observer(autojump_clock) -> None:
    events = []

    class Mixed:
        def on_started(self, task) -> None:
            events.append("started")

        async def on_finished(self, task, result) -> None:
            events.append("finished")

    task = task_of(Probe(), observers=[Mixed()])
    task.stop_when_done()
    await task.run()
    assert events == ["started", "finished"]


async def test_an_async_observer_added_while_it_runs(autojump_clock) -> None:
    seen = []

    async def note(task, frame) -> None:
        seen.append(getattr(frame, "text", None))

    watch = observer_with(on_reached_sink=note)
    task = task_of(Probe())
    async with nothing_left(), started(task):
        for _ in range(3):
            task.add_observer(watch)
            await task.queue_frame(TextFrame("seen"))
            await task.flush()
            await trio.testing.wait_all_tasks_blocked()
            task.remove_observer(watch)
            await task.queue_frame(TextFrame("unseen"))
            await task.flush()
    assert seen == ["seen"] * 3


async def test_removing_an_async_observer_ends_its_task(autojump_clock) -> None:
    async def note(*args) -> None:
        pass

    task = task_of(Probe())
    async with started(task):
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(10):
            watch = observer_with(on_interrupt=note)
            task.add_observer(watch)
            await trio.testing.wait_all_tasks_blocked()
            task.remove_observer(watch)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("call", ["stop_when_done", "cancel", "interrupt"])
@pytest.mark.parametrize("event", ["on_started", "on_reached_sink", "on_frame_pushed", "on_finished"])
async def test_an_observer_may_make_requests(autojump_clock, event, call) -> None:
    asked = []

    def ask(*args) -> None:
        if not asked:  # an interrupt is itself a frame that is pushed
            asked.append(getattr(task, call)())

    task = task_of(Probe())
    task.add_observer(observer_with(**{event: ask}))
    async with nothing_left():
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.run)
                await task.wait_state(
                    *(state for state in TaskState if state not in (TaskState.NEW, TaskState.STARTING))
                )
                try:
                    await task.queue_frame(TextFrame())
                    await task.flush()
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    pass
                task.stop_when_done()
    result = await task.wait_finished()
    assert result.observer_errors == ()
    assert result.state is (TaskState.CANCELLED if call == "cancel" and event != "on_finished" else TaskState.ENDED)


async def test_an_observer_that_removes_itself_or_another_while_told(autojump_clock) -> None:
    seen = []
    task = task_of(Probe())

    class Once:
        def on_reached_sink(self, task, frame) -> None:
            seen.append(frame)
            task.remove_observer(self)

    task.add_observer(Once())
    task.add_observer(other := Everything())
    async with started(task):
        await task.queue_frames(texts(1, 2))
    assert len(seen) == 1
    assert other.names().count("on_reached_sink") == 4
    assert (await task.wait_finished()).observer_errors == ()


async def test_observers_of_a_task_cancelled_unrun(autojump_clock) -> None:
    # It is over, so who watches is told, once.
    watch = Everything()
    task = task_of(Probe(), observers=[watch])
    task.cancel("no")
    await task.run()
    assert "on_started" not in watch.names()
    assert watch.names().count("on_finished") == 1


async def test_one_observer_of_two_tasks_that_raises_is_removed_where_it_raised(autojump_clock, caplog) -> None:
    seen = []

    async def note(task, frame) -> None:
        seen.append(task.name)
        if task.name == "bad":
            raise ValueError("here")

    watch = observer_with(on_reached_sink=note)
    tasks = [task_of(Probe(), name=name, observers=[watch]) for name in ("good", "bad")]
    for task in tasks:
        await task.queue_frames(texts(1, 2))
        task.stop_when_done()
    results = [await task.run() for task in tasks]
    assert (seen.count("good"), seen.count("bad")) == (4, 1)
    assert [len(result.observer_errors) for result in results] == [0, 1]


async def test_one_that_raised_can_be_added_again(autojump_clock, caplog) -> None:
    calls = []

    def sometimes(task, frame) -> None:
        calls.append(frame)
        if len(calls) == 1:
            raise ValueError("once")

    watch = observer_with(on_reached_sink=sometimes)
    task = task_of(Probe(), observers=[watch])
    async with started(task):
        with pytest.raises(ValueError, match="observe"):
            task.remove_observer(watch)
        task.add_observer(watch)
        await task.queue_frame(TextFrame())
        await task.flush()
        assert len(calls) == 2


async def test_a_method_that_turns_out_to_be_async_is_not_lost_without_a_word(autojump_clock, caplog) -> None:
    # `inspect` cannot tell that this is async; what it returns is not awaited by accident of nobody looking.
    ran = []

    async def note(task) -> None:
        ran.append(task)

    task = task_of(Probe(), observers=[observer_with(on_started=lambda task: note(task))])  # noqa: PLW0108 # that is the trap
    task.stop_when_done()
    result = await task.run()
    assert ran or result.observer_errors


async def test_observers_after_the_end(autojump_clock) -> None:
    async def note(*args) -> None: ...

    task = task_of(Probe())
    task.stop_when_done()
    await task.run()
    for watch in (Everything(), observer_with(on_finished=note)):
        task.add_observer(watch)
        task.remove_observer(watch)


# -- where time goes: what is told of each handler


def events_of(watch: Everything, *names: str) -> list[tuple]:
    return [event for event in watch.events if event[0] in names]


class WithEverything(Everything):
    """Also those events that only one who looks for lost time needs."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []


for _name in ("on_set_up", "on_frame_taken", "on_frame_stopped", "on_waited_for_room"):
    setattr(WithEverything, _name, lambda self, *args, _name=_name: self.events.append((_name, *args)))


@pytest.mark.parametrize("fused", [True, False])
async def test_each_handler_is_told_of_when_it_begins_and_when_it_ends(autojump_clock, fused) -> None:
    @each
    def function(frame: TextFrame) -> TextFrame:
        return frame

    @each(concurrency=2)
    async def concurrent(frame: TextFrame) -> TextFrame:
        return frame

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            await out.push(frame)

    watch = WithEverything()
    kinds = (Probe("class"), function, concurrent, block, ParallelPipeline([Probe("branch")]), Probe("last"))
    task = task_of(*kinds, observers=[watch], debug=not fused)
    frame = TextFrame("x")
    async with started(task):
        await task.queue_frame(frame)
    taken = [event[2].name for event in events_of(watch, "on_frame_taken") if event[3] is frame]
    handled = [event[2].name for event in events_of(watch, "on_frame_handled") if event[3] is frame]
    assert [name.split("#")[0] for name in taken] == [
        "class", "function", "concurrent", "block", "ParallelPipeline", "branch", "last",
    ]  # fmt: skip
    assert sorted(handled) == sorted(taken)
    assert events_of(watch, "on_frame_stopped") == []


async def test_a_handler_that_an_interrupt_stops_is_told_of_as_stopped(autojump_clock) -> None:
    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        async for frame in frames:
            with frames.interruptible():
                await trio.sleep(10)
            await out.push(frame)

    for slow in (Slow(10), block):
        watch = WithEverything()
        task = task_of(slow, observers=[watch])
        frame = TextFrame("x")
        async with started(task):
            await task.queue_frame(frame)
            await trio.sleep(1)
            task.interrupt()
            await trio.sleep(1)
        told = [event[0] for event in watch.events if frame in event]
        assert told == ["on_frame_taken", "on_frame_stopped"]


async def test_a_handler_that_a_cancel_stops_is_told_of_as_stopped(autojump_clock) -> None:
    watch = WithEverything()
    task = task_of(Slow(10), observers=[watch])
    await task.queue_frame(TextFrame("x"))
    with trio.move_on_after(1):
        await task.run()
    assert len(events_of(watch, "on_frame_stopped")) == 1


async def test_a_handler_that_raises_is_told_of_as_handled(autojump_clock) -> None:
    watch = WithEverything()
    raising = Does(lambda self, frame: 1 / 0)
    task = task_of(raising, observers=[watch], on_error=ErrorPolicy.REPORT)
    frame = TextFrame("x")
    async with started(task):
        await task.queue_frame(frame)
    assert [event[0] for event in watch.events if frame in event] == ["on_frame_taken", "on_frame_handled"]


async def test_a_push_that_waits_for_room_is_told_of_with_its_seconds(autojump_clock) -> None:
    watch = WithEverything()
    task = task_of(Probe("fast"), Slow(5), observers=[watch], queue_size=1)
    frames = texts(*"abcd")
    async with started(task):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.queue_frames, frames)
    waits = [(event[2] and event[2].name, event[3].text, event[4]) for event in events_of(watch, "on_waited_for_room")]
    assert ("fast", "c", 5.0) in waits  # "a" is in hand below, "b" in the lane
    assert {name for name, _, _ in waits} == {"fast", None}  # None: who queued had to wait as well


async def test_each_set_up_is_told_of_with_its_seconds(autojump_clock) -> None:
    class Loads(FrameProcessor):
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        @asynccontextmanager
        async def lifespan(self):
            await trio.sleep(self.seconds)
            yield

    @processor
    async def block(frames: Frames[TextFrame], out: Out) -> None:
        await trio.sleep(3)
        async for frame in frames:
            await out.push(frame)

    watch = WithEverything()
    first, second = Loads(1), Loads(2)
    task = task_of(first, second, block, Probe(), observers=[watch])
    async with started(task):
        pass
    told = {event[2].name.split("#")[0] + f" {event[3]:g}" for event in events_of(watch, "on_set_up")}
    assert told == {"Loads 1", "Loads 2", "block 3"}
    assert watch.names().index("on_set_up") < watch.names().index("on_started")


async def test_an_observer_may_come_and_go_between_two_frames(autojump_clock) -> None:
    watch = WithEverything()
    task = task_of(*(Probe() for _ in range(3)), each(lambda frame: frame))
    async with started(task):
        for text in "abc":
            if text == "b":
                task.add_observer(watch)
            await task.queue_frame(TextFrame(text))
            await task.flush()
            if text == "b":
                task.remove_observer(watch)
    assert {event[3].text for event in events_of(watch, "on_frame_taken", "on_frame_handled", "on_frame_pushed")} == {
        "b"
    }
    for name in ("on_frame_taken", "on_frame_handled", "on_frame_pushed"):
        assert len(events_of(watch, name)) == 4


async def test_an_observer_that_interrupts_from_a_push_is_told_of_it_once(autojump_clock) -> None:
    class Interrupts(WithEverything):
        def on_frame_pushed(self, task, processor, frame, direction) -> None:
            super().on_frame_pushed(task, processor, frame, direction)
            if isinstance(frame, TextFrame) and frame.text == "!" and processor.name == "first":
                task.interrupt()

    watch = Interrupts()
    second = Probe("second")
    second.inline = True
    task = task_of(Probe("first"), second, observers=[watch])
    async with started(task):
        await task.queue_frames(texts("!"))
        await task.flush()
        await task.queue_frames(texts("x"))
    pushes = [
        (event[2].name, event[3].text) for event in events_of(watch, "on_frame_pushed") if hasattr(event[3], "text")
    ]
    assert len(pushes) == len(set(pushes))
    assert ("second", "x") in pushes


async def test_what_async_observers_were_not_told_is_counted(autojump_clock) -> None:
    class Never:
        async def on_frame_pushed(self, task, processor, frame, direction) -> None:
            await trio.sleep_forever()

    task = task_of(Probe(), observers=[Never()], lane_limit=100_000)
    async with started(task):
        await task.queue_frames(texts(*["x"] * 1500))
        await task.flush()
        in_hand, kept = 1, 1000
        assert task.statistics().observer_events_lost == 1500 - in_hand - kept
    result = await task.wait_finished()
    assert result.observer_events_lost == 1500 - in_hand


# -- before anything


# What is begun there belongs to who called `run()`: a trace's context, say.
async def test_the_beginning_of_a_run_is_told_first_and_in_the_task_that_called_run(autojump_clock) -> None:
    @processor
    async def block(frames: Frames, out: Out) -> None:
        async for _ in frames:
            pass

    told: list[object] = []
    watch = Everything()
    watch.on_starting = lambda task: told.append((trio.lowlevel.current_task(), task.state, len(watch.events)))
    task = task_of(block, observers=[watch])
    task.stop_when_done()
    await task.run()
    assert told == [(trio.lowlevel.current_task(), TaskState.STARTING, 0)]
    assert len(watch.events) > 1


async def test_an_observer_that_is_added_as_the_run_begins_hears_the_rest(autojump_clock) -> None:
    watch = Everything()
    task = task_of(Probe(), observers=[observer_with(on_starting=lambda task: task.add_observer(watch))])
    task.stop_when_done()
    await task.run()
    assert {"on_started", "on_frame_handled", "on_reached_sink", "on_finished"} <= set(watch.names())


async def test_a_run_that_was_cancelled_before_it_began_is_told_as_finished_only(autojump_clock) -> None:
    told: list[str] = []
    watch = observer_with(on_starting=lambda task: told.append("starting"), on_finished=lambda *_: told.append("over"))
    task = task_of(Probe(), observers=[watch])
    task.cancel()
    await task.run()
    assert told == ["over"]


WRONG = {
    "too few": (
        lambda self: None,
        r"on_started\(\) cannot be told: too many positional arguments; expected on_started\(task\)",
    ),
    "too many": (
        lambda self, task, more: None,
        r"on_started\(task, more\) cannot be told: missing a required argument: 'more'",
    ),
}


@pytest.mark.parametrize(("method", "told"), WRONG.values(), ids=WRONG)
def test_a_method_that_cannot_take_what_it_would_be_given_is_refused(method, told) -> None:
    observer = type("Mine", (), {"on_started": method})()
    with pytest.raises(ConfigurationError, match=rf"Mine\.{told}"):
        task_of(Probe(), observers=[observer])


def test_a_method_that_is_a_generator_is_refused_for_nobody_would_run_it() -> None:
    class Sync:
        def on_started(self, task):
            yield

    class Async:
        async def on_ready(self, runner):
            yield

    with pytest.raises(ConfigurationError, match=r"Sync\.on_started is a generator"):
        task_of(Probe(), observers=[Sync()])
    with pytest.raises(ConfigurationError, match=r"Async\.on_ready is a generator"):
        PipelineRunner(observers=[Async()])


async def test_an_async_one_that_never_returns_is_named_at_the_end(autojump_clock, caplog) -> None:
    class Hangs:
        async def on_started(self, task) -> None:
            await trio.sleep_forever()

        def __repr__(self) -> str:
            return "<hangs>"

    task = task_of(Probe(), observers=[Hangs()])
    async with started(task):
        pass
    lines = [record.getMessage() for record in caplog.records if record.name == "trio_pipes"]
    assert lines == [f"{task.name}: observer <hangs> was still at work after its last second, and is cancelled"]


async def test_what_a_sync_method_gives_to_await_is_an_error_that_names_the_method(autojump_clock) -> None:
    async def asleep() -> None: ...

    class Forgets:
        def on_started(self, task):
            return asleep()

    task = task_of(Probe(), observers=[Forgets()])
    async with started(task):
        pass
    (error,) = (await task.wait_finished()).observer_errors
    assert str(error).startswith("Forgets.on_started gave <coroutine object")
