"""Wrong values, calls from odd places, use after the end: a clear error or the right thing, and never a hang."""

import math
import signal

import hypothesis
import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from hosting import Breaks, Does, Plain, Probe, Slow, errors_in, nothing_left, task_of, texts
from trio_pipes import ConfigurationError, DuplicateName, PipelineRunner, Restart, TaskResult, TaskState, TextFrame


def runner_of(*workers, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, handle_sigint=False, **settings)


# -- wrong values


@pytest.mark.parametrize(
    ("setting", "bad"),
    [
        ("name", ""),
        ("name", 3),
        ("observers", 3),
        ("observers", "watch"),
        ("observers", None),
        ("observers", [object()]),
        ("handle_sigint", None),
        ("handle_sigint", 1),
        ("handle_sigterm", "yes"),
        ("grace_period", -1),
        ("grace_period", math.nan),
        ("grace_period", -math.inf),
        ("grace_period", "30"),
        ("grace_period", True),
        ("force_gc", 1),
        ("force_gc", None),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else type(value).__name__,
)
def test_a_setting_that_cannot_work_is_refused_by_name(setting, bad) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting}|method to call"):
        PipelineRunner(**{setting: bad})


@pytest.mark.parametrize(
    ("setting", "bad"),
    [("isolated", 1), ("isolated", None), ("helper", "yes"), ("parent", ""), ("parent", 3), ("parent", Plain("p"))],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else type(value).__name__,
)
def test_what_add_workers_cannot_take_is_refused_by_name(setting, bad) -> None:
    runner = runner_of()
    with pytest.raises(ConfigurationError, match=f"add_workers\\({setting}="):
        runner.add_workers(Plain("w"), **{setting: bad})
    assert runner.get_worker("w") is None


@pytest.mark.parametrize("call", ["stop_when_done", "end", "cancel"])
@pytest.mark.parametrize("bad", [5, b"why", ["why"]], ids=["int", "bytes", "list"])
async def test_a_reason_that_is_no_text_is_refused_and_nothing_is_asked(autojump_clock, call, bad) -> None:
    runner = runner_of(task := task_of())
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        for asked in (runner, task):
            if hasattr(asked, call):
                with pytest.raises(ConfigurationError, match=r"reason="):
                    getattr(asked, call)(bad)
        await trio.testing.wait_all_tasks_blocked()
        assert task.state is TaskState.RUNNING
        runner.end()


async def test_auto_end_that_is_no_bool_is_refused(autojump_clock) -> None:
    with pytest.raises(ConfigurationError, match="auto_end"):
        await runner_of().run(auto_end=None)


@pytest.mark.parametrize("request_name", ["stop_when_done", "cancel"])
def test_a_worker_whose_request_is_async_is_refused(request_name) -> None:
    # It would never be awaited: the worker would not hear of its end.
    async def ask(reason=None) -> None: ...

    worker = Plain("w")
    setattr(worker, request_name, ask)
    with pytest.raises(TypeError, match=f"whose {request_name} is async, expected a plain function"):
        runner_of(worker)


def test_a_worker_whose_run_is_no_function_is_refused() -> None:
    worker = Plain("w")
    worker.run = 3
    with pytest.raises(TypeError, match="whose run is no function"):
        runner_of(worker)


async def test_an_attach_that_raises_leaves_the_runner_as_it_was(autojump_clock) -> None:
    class Refuses(Plain):
        def attach(self, runner) -> None:
            raise ValueError("not here")

    runner = runner_of()
    for _ in range(2):
        with pytest.raises(ValueError, match="not here"):
            runner.add_workers(Plain("good"), Refuses("bad"))
    assert runner.statistics().running == ()
    with pytest.raises(ValueError, match="not here"):
        await runner.run(Refuses("bad"))
    assert runner.statistics().running == ()


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=2), st.just([]),
    st.just({}), st.just(()), st.builds(object), st.just(Plain), st.builds(Plain, st.just("w")), st.just(len),
)  # fmt: skip


def must_be_clear(error: Exception, given: dict[str, object]) -> None:
    """It names what is wrong: a setting with its value, a worker, an observer."""
    said = str(error)
    assert isinstance(error, ConfigurationError | TypeError), repr(error)
    assert any(f"{name}={value!r}" in said for name, value in given.items()) or "expected" in said or "which is" in said


@hypothesis.settings(deadline=None, max_examples=80)
@given(
    given=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("name", "observers", "handle_sigint", "handle_sigterm", "grace_period", "force_gc"), ANYTHING
        ),
    ),
    workers=st.lists(ANYTHING, max_size=2),
)
def test_whatever_a_runner_is_given_it_is_made_and_runs_or_says_what_is_wrong(given, workers) -> None:
    try:
        runner = PipelineRunner(*workers, **given)
    except DuplicateName:
        assert len(workers) == 2
        return
    except Exception as error:
        must_be_clear(error, given)
        return
    runner.end()
    trio.run(runner.run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert all(worker.log[-1] == "w down" for worker in workers)


@hypothesis.settings(deadline=None, max_examples=80)
@given(factory=ANYTHING, made=ANYTHING, given=st.fixed_dictionaries({"max_restarts": ANYTHING, "period": ANYTHING}))
def test_whatever_a_restart_is_given_it_is_made_and_runs_or_says_what_is_wrong(factory, made, given) -> None:
    for one in (factory, lambda: made):
        try:
            restart = Restart(one, **given)
        except Exception as error:
            if one is len or one is Plain:
                assert isinstance(error, TypeError | ConfigurationError)  # Python's own: it takes an argument
            else:
                must_be_clear(error, given)
            continue
        restart.stop_when_done()
        trio.run(restart.run, clock=trio.testing.MockClock(autojump_threshold=0))


# -- workers that answer requests with errors


class Sulks(Plain):
    """Raises when it is asked to end."""

    def stop_when_done(self, reason=None):
        raise ValueError("sulks")


class SulksAtBoth(Sulks):
    def cancel(self, reason=None):
        raise ValueError("sulks too")


async def test_a_request_that_raises_is_the_workers_failure_and_the_others_are_asked(autojump_clock) -> None:
    runner = runner_of(first := Plain("first"), Sulks("bad"), Plain("last"))
    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            runner.end()
    assert [str(error) for error in errors_in(caught.value)] == ["sulks"]
    assert "first told" in first.log


@pytest.mark.parametrize("request_name", ["end", "cancel"])
async def test_an_isolated_worker_that_sulks_is_cut_and_the_others_end_in_order(
    autojump_clock, request_name, caplog
) -> None:
    slow, bad = Slow(1), SulksAtBoth("bad")
    runner = runner_of(task := task_of(slow))
    runner.add_workers(bad, isolated=True)
    await task.queue_frames(texts(1, 2))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            getattr(runner, request_name)()
    assert bad.log == ["bad up", "bad down"]
    assert task.state is (TaskState.ENDED if request_name == "end" else TaskState.CANCELLED)
    assert "isolated worker 'bad' failed" in caplog.text
    assert runner.statistics().failed == 1


async def test_a_helper_or_child_that_sulks_cannot_hang_the_runner(autojump_clock) -> None:
    for role in ({"helper": True}, {"parent": "w"}):
        runner = runner_of(worker := Plain("w"))
        runner.add_workers(Sulks("bad"), **role)
        with pytest.raises(ExceptionGroup) as caught, trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                worker.stop_when_done()
        assert [str(error) for error in errors_in(caught.value)] == ["sulks"]


# -- from observers


class On:
    """An observer that calls a function at one event of a runner."""

    def __init__(self, event: str, what) -> None:
        setattr(self, event, what)


EVENTS = ["on_ready", "on_worker_started", "on_worker_finished", "on_error"]


@pytest.mark.parametrize("request_name", ["stop_when_done", "end", "cancel"])
@pytest.mark.parametrize("event", EVENTS)
async def test_a_runner_asked_from_its_own_observer(autojump_clock, event, request_name) -> None:
    asked = []

    def ask(*args) -> None:
        asked.append(event)
        getattr(runner, request_name)(event)

    runner = runner_of(Plain("a"), task_of(), observers=[On(event, ask)])
    runner.add_workers(Breaks("bad", ValueError("x"), after=1), isolated=True)
    async with nothing_left():
        with trio.fail_after(50):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run)
                await trio.sleep(5)
                runner.end()  # for those that go on
    assert asked


@pytest.mark.parametrize("event", EVENTS)
async def test_workers_added_from_an_observer_are_hosted(autojump_clock, event) -> None:
    added = [Plain(f"added {n}") for n in range(2)]
    left = list(added)

    def add(*args) -> None:
        if left:
            runner.add_workers(left.pop(0))

    runner = runner_of(first := Plain("first"), observers=[On(event, add)])
    runner.add_workers(Breaks("bad", ValueError("x"), after=1), isolated=True)
    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            await trio.sleep(5)
            first.stop_when_done()
            await trio.sleep(5)
            runner.end()
    for worker in added:
        if worker not in left:
            assert worker.log[0] == f"{worker.name} up"
            assert worker.log[-1] == f"{worker.name} down"
    assert len(left) < 2


async def test_a_worker_added_where_another_has_just_failed_is_ended_with_the_lot(autojump_clock) -> None:
    late = task_of()

    def add(runner, worker, error) -> None:
        runner.add_workers(late)

    runner = runner_of(Breaks("bad", ValueError("x"), after=1), observers=[On("on_error", add)])
    with pytest.raises(ExceptionGroup), trio.fail_after(5):
        await runner.run()
    assert late.state is TaskState.CANCELLED
    assert late.has_finished()


async def test_observers_that_come_and_go_inside_an_event(autojump_clock) -> None:
    seen = []

    def swap(*args) -> None:
        runner.remove_observer(first)
        runner.add_observer(On("on_worker_finished", lambda runner, worker: seen.append(worker.name)))

    first = On("on_worker_started", swap)
    runner = runner_of(Plain("w"), observers=[first])
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.end()
    assert seen == ["w"]


# -- from inside a worker


async def test_a_worker_that_waits_for_its_own_runner_is_let_go_by_a_cancel(autojump_clock) -> None:
    class Waits(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            task_status.started()
            await runner.wait_finished()

    runner = runner_of(Waits("w"))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await trio.sleep(1)
            runner.cancel()


async def test_a_processor_ends_its_own_runner_and_its_frame_is_finished(autojump_clock) -> None:
    async def end(processor, frame: TextFrame) -> None:
        runner.end("from inside")
        await trio.sleep(1)

    runner = runner_of(task := task_of(Does(end), probe := Probe()), Plain("other"))
    await task.queue_frames(texts(1, 2))
    with trio.fail_after(10):
        await runner.run()
    assert probe.texts == ["1", "2"]
    assert task.result.reason == runner.statistics().reason == "from inside"


@pytest.mark.parametrize("where", ["on_worker_finished", "stop_when_done", "cancel"])
async def test_what_is_no_exception_in_code_that_the_runner_calls_goes_through_and_hangs_nothing(
    autojump_clock, where
) -> None:
    class Stop(BaseException):
        pass

    def stop(*args) -> None:
        raise Stop

    runner = runner_of(first := Plain("first", needs=1), Plain("second"), helper := Plain("helper"))
    if where == "on_worker_finished":
        runner.add_observer(On(where, stop))
    else:
        runner.add_workers(bad := Plain("bad"), parent="first")
        setattr(bad, where, stop)
    runner.add_workers(Plain("real helper"), helper=True)
    with trio.fail_after(50), pytest.raises(BaseExceptionGroup) as caught:
        async with nothing_left():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run)
                await trio.sleep(0.5 if where == "cancel" else 2)  # some have not started, or all have
                if where == "cancel":
                    nursery.cancel_scope.cancel()
                else:
                    first.stop_when_done()
    assert {type(error) for error in errors_in(caught.value)} <= {Stop, trio.Cancelled}
    assert Stop in {type(error) for error in errors_in(caught.value)}
    assert runner.statistics().calls == 0
    assert helper.log.count("helper up") == helper.log.count("helper down")


# -- what run() gives


@pytest.mark.parametrize("how", ["before", "starting", "running", "signal"])
async def test_run_gives_the_result_of_its_task_also_when_the_runner_cancels_it(autojump_clock, how) -> None:
    runner, results = PipelineRunner(handle_sigint=how == "signal"), []
    task = task_of(Slow(100))
    await task.queue_frame(TextFrame())

    async def call() -> None:
        results.append(await runner.run(task))

    with trio.fail_after(50):
        async with trio.open_nursery() as nursery:
            if how == "before":
                runner.add_workers(Plain("first", needs=5))
            nursery.start_soon(call)
            if how != "starting":
                await trio.sleep(1)
            while not runner.statistics().calls:
                await trio.lowlevel.checkpoint()
            if how == "signal":
                signal.raise_signal(signal.SIGINT)
                await trio.sleep(1)
                signal.raise_signal(signal.SIGINT)
            else:
                runner.cancel("now")
    assert len(results) == 1
    assert isinstance(results[0], TaskResult)
    assert results[0].state is TaskState.CANCELLED
    assert results[0].reason == ("second SIGINT" if how == "signal" else "now")


async def test_run_gives_none_for_a_worker_that_was_cancelled_before_it_returned(autojump_clock) -> None:
    runner, results = runner_of(), []

    async def call() -> None:
        results.append(await runner.run(worker))

    class Stubborn(Plain):
        def cancel(self, reason=None):
            self.log.append("asked")

    worker = Stubborn("w")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await runner.wait_ready("w")
        runner.cancel()
    assert results == [None]
    assert worker.log == ["w up", "asked", "w down"]  # its scope was cancelled, whatever it makes of the request


# -- why it ends


async def test_statistics_tell_why_a_runner_ends(autojump_clock) -> None:
    for asks, reason in (
        ([("end", "a")], "a"),
        ([("end", "a"), ("end", "b")], "a"),
        ([("end", "a"), ("cancel", "b")], "b"),
        ([("end", "a"), ("cancel", None)], "a"),
        ([("cancel", "b"), ("end", "a")], "b"),
        ([("end", None)], None),
    ):
        runner = runner_of(Plain("w", drain=1))
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            assert runner.statistics().reason is None
            for ask, why in asks:
                getattr(runner, ask)(why)
            assert runner.statistics().reason == reason
        assert runner.statistics().reason == reason  # and ended
        runner.end("after the end")
        assert runner.statistics().reason == reason


async def test_the_reason_given_before_the_run_is_that_runs_and_not_the_nexts(autojump_clock) -> None:
    runner = runner_of(first := task_of())
    runner.end("early")
    await runner.run()
    assert (first.result.reason, runner.statistics().reason) == ("early", "early")
    second = Plain("second")
    second.stop_when_done()
    await runner.run(second)
    assert runner.statistics().reason is None


# -- no more Trio tasks than there is work


@pytest.mark.parametrize("signals", [False, True])
async def test_an_idle_runner_has_one_task_for_its_worker_and_one_for_each_signal(autojump_clock, signals) -> None:
    runner = PipelineRunner(Plain("w"), handle_sigint=signals)
    async with trio.open_nursery() as nursery:
        before = trio.lowlevel.current_statistics().tasks_living
        await nursery.start(runner.run)
        await trio.testing.wait_all_tasks_blocked()
        # `run` itself, the worker, and a reader for SIGINT and one for SIGTERM.
        assert trio.lowlevel.current_statistics().tasks_living - before == 2 + 2 * signals
        runner.end()
