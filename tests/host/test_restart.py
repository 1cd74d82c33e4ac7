"""`Restart`: made again when it fails, up to a point; a worker like any other."""

import itertools
import math

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from hosting import Breaks, Does, Plain, Probe, at_every_checkpoint, errors_in, nothing_left, task_of, texts
from trio_pipes import (
    ConfigurationError,
    PipelineRunner,
    Restart,
    TaskState,
    TextFrame,
    Worker,
)


def runner_of(*workers: Worker, **settings) -> PipelineRunner:
    return PipelineRunner(*workers, handle_sigint=False, **settings)


class Made:
    """A factory that gives these workers in turn, and remembers how often it was asked."""

    def __init__(self, *workers) -> None:
        self.left = iter(workers)
        self.given: list = []

    def __call__(self):
        worker = next(self.left)
        if isinstance(worker, BaseException):
            raise worker
        self.given.append(worker)
        return worker


def bad(text: str = "x", after: float = 1, name: str = "w") -> Breaks:
    return Breaks(name, ValueError(text), after=after)


class NeverReady(Plain):
    """Raises after a second, before it was ready."""

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        await trio.sleep(1)
        raise ValueError("not even ready")


class Events:
    """An observer that writes down what happens to whom."""

    def __init__(self) -> None:
        self.log: list[tuple] = []

    def on_worker_started(self, runner, worker) -> None:
        self.log.append(("started", worker))

    def on_worker_finished(self, runner, worker) -> None:
        self.log.append(("finished", worker))

    def on_error(self, runner, worker, error) -> None:
        self.log.append(("error", worker, [str(it) for it in errors_in(error)]))


# -- what is made again, and when it is too much


async def test_r6_a_worker_that_fails_is_made_again(autojump_clock, caplog) -> None:
    first, second = bad("first"), Plain("w")
    restart = Restart(Made(first, second), 1, 10)
    assert isinstance(restart, Worker)
    runner = runner_of(restart)
    async with nothing_left(), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert restart.worker is first
        await trio.sleep(2)
        assert (restart.worker, restart.restarts, runner.statistics().restarts) == (second, 1, 1)
        assert runner.get_worker("w") is restart
        assert second.log == ["w up"]
        runner.end("enough")
    assert second.log == ["w up", "w told", "w down"]
    assert "w failed, and is made again (1 of 1 within 10 s)" in caplog.text
    assert "ValueError: first" in caplog.text
    assert runner.statistics().failed == 0


async def test_one_failure_too_many_within_the_period_raises_them_all(autojump_clock) -> None:
    restart = Restart(Made(*(bad(str(n)) for n in range(5))), 3, 10)
    with pytest.raises(ExceptionGroup, match=r"w failed 4 times within 10 s, and max_restarts is 3") as caught:
        await restart.run()
    assert [str(error) for error in caught.value.exceptions] == ["0", "1", "2", "3"]
    assert restart.restarts == 3
    assert trio.current_time() == 4


async def test_failures_that_lie_far_apart_never_add_up(autojump_clock) -> None:
    made = Made(*(bad(str(n), after=6) for n in range(50)), ended := Plain("w"))
    ended.stop_when_done()
    restart = Restart(made, 1, 5.0)
    assert await restart.run() == "w is over"
    assert restart.restarts == 50


async def test_only_the_errors_of_the_period_are_raised(autojump_clock) -> None:
    made = Made(bad("old", after=1), bad("a", after=20), bad("b", after=1))
    with pytest.raises(ExceptionGroup) as caught:
        await Restart(made, 1, 5).run()
    assert [str(error) for error in caught.value.exceptions] == ["a", "b"]


async def test_no_restarts_at_all(autojump_clock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await Restart(lambda: bad("once"), 0, 1).run()
    assert [str(error) for error in caught.value.exceptions] == ["once"]


async def test_an_endless_period_counts_all_failures_there_ever_were(autojump_clock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await Restart(lambda: bad(after=1e5), 2, math.inf).run()
    assert len(caught.value.exceptions) == 3


@settings(deadline=None, max_examples=100)
@given(
    gaps=st.lists(st.integers(0, 12), max_size=12),
    max_restarts=st.integers(0, 4),
    period=st.integers(1, 20),
)
def test_it_escalates_exactly_when_one_failure_more_than_allowed_lies_in_one_period(gaps, max_restarts, period) -> None:
    # A model: all times of failure are known beforehand.
    times = list(itertools.accumulate(gaps))
    expected = next(
        (n for n in range(len(times)) if sum(times[n] - period <= t for t in times[: n + 1]) > max_restarts), None
    )
    ended = Plain("w")
    ended.stop_when_done()
    made = Made(*(bad(str(n), after=gap) for n, gap in enumerate(gaps)), ended)

    async def main() -> None:
        restart = Restart(made, max_restarts, period)
        if expected is None:
            assert await restart.run() == "w is over"
            assert restart.restarts == len(gaps)
        else:
            with pytest.raises(ExceptionGroup) as caught:
                await restart.run()
            assert str(caught.value.exceptions[-1]) == str(expected)
            assert len(caught.value.exceptions) == max_restarts + 1

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_an_end_that_is_no_failure_is_the_end(autojump_clock) -> None:
    made = Made(ended := Plain("w"), Plain("w"))
    ended.stop_when_done()
    assert await runner_of().run(Restart(made)) == "w is over"
    assert made.given == [ended]


async def test_what_is_no_exception_is_not_restarted(autojump_clock) -> None:
    class Stop(BaseException):
        pass

    made = Made(Breaks("w", Stop("now")), Plain("w"))
    with pytest.raises(BaseExceptionGroup) as caught:
        await runner_of(Restart(made)).run()
    assert [repr(error) for error in errors_in(caught.value)] == ["Stop('now')"]
    assert len(made.given) == 1


async def test_an_escalation_cancels_the_others_as_any_failure_does(autojump_clock) -> None:
    good = Plain("good")
    with pytest.raises(ExceptionGroup) as caught:
        await runner_of(good, Restart(lambda: bad("again"), 1, 10)).run()
    assert [str(error) for error in errors_in(caught.value)] == ["again", "again"]
    assert good.log == ["good up", "good down"]


async def test_an_isolated_one_escalates_alone(autojump_clock, caplog) -> None:
    good = Plain("good")
    runner = runner_of(good)
    runner.add_workers(Restart(lambda: bad("again"), 1, 10), isolated=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(5)
        assert runner.statistics().running == ("good",)
        runner.end()
    assert good.log[-1] == "good down"
    assert "isolated worker 'w' failed" in caplog.text


async def test_one_that_fails_at_once_again_and_again_does_not_stall_the_others(autojump_clock) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await trio.lowlevel.checkpoint()

    class Fails(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            raise ValueError("at once")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        with pytest.raises(ExceptionGroup):
            await Restart(lambda: Fails("w"), 200, 10).run()
        nursery.cancel_scope.cancel()
    assert ticks > 150  # about one for each


# -- its requests


@pytest.mark.parametrize("request_name", ["stop_when_done", "cancel"])
async def test_requests_go_to_the_instance_that_runs(autojump_clock, request_name) -> None:
    restart = Restart(Made(bad(), second := Plain("w", drain=2)))
    async with nothing_left(), trio.open_nursery() as nursery:
        nursery.start_soon(restart.run)
        await trio.sleep(3)
        await getattr(restart, request_name)("reason")
    assert trio.current_time() == (5 if request_name == "stop_when_done" else 3)
    assert ("w told" in second.log) == (request_name == "stop_when_done")


@pytest.mark.parametrize("request_name", ["stop_when_done", "cancel"])
async def test_requests_between_two_instances_end_it(autojump_clock, request_name) -> None:
    made = Made(first := bad("told"), Plain("w"))
    restart = Restart(made)

    class Asks:
        def on_worker_finished(self, runner, worker) -> None:
            if worker is first:
                getattr(restart, request_name)()

    with trio.fail_after(5):
        assert await runner_of(observers=[Asks()]).run(restart) is None
    assert made.given == [first]


@pytest.mark.parametrize("request_name", ["stop_when_done", "cancel"])
async def test_requests_before_the_run_are_the_first_instances(autojump_clock, request_name) -> None:
    task = task_of(Probe())
    restart = Restart(Made(task))
    getattr(restart, request_name)("early")
    result = await runner_of().run(restart)
    assert result.reason == "early"
    assert result.state is (TaskState.ENDED if request_name == "stop_when_done" else TaskState.CANCELLED)


async def test_a_failure_after_the_end_was_asked_for_is_raised_and_not_restarted(autojump_clock) -> None:
    class FailsToEnd(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            await super().run(task_status=task_status)
            raise ValueError("while ending")

    made = Made(FailsToEnd("w"), Plain("w"))
    runner = runner_of(Restart(made))
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            runner.end()
    assert [str(error) for error in errors_in(caught.value)] == ["while ending"]
    assert len(made.given) == 1


async def test_stop_when_done_of_a_runner_ends_restarted_pipelines_too(autojump_clock) -> None:
    async def work(processor, frame) -> None:
        await trio.sleep(1)

    restart, plain = Restart(lambda: task_of(Does(work))), Plain("plain")
    runner = runner_of(restart, plain)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await restart.worker.queue_frames(texts(1, 2))
        runner.stop_when_done("enough")
        result = await restart.worker.wait_finished()
        assert (result.state, result.reason, result.frames_out) == (TaskState.ENDED, "enough", 2)
        assert plain.log == ["plain up"]
        plain.stop_when_done()


async def test_a_pipeline_that_fails_goes_on_with_a_new_one(autojump_clock) -> None:
    async def spoiled(processor, frame) -> None:
        if frame.text == "bad":
            raise ValueError("spoiled")

    restart = Restart(lambda: task_of(Does(spoiled)))  # default names: they count, and are the same name all the same
    async with trio.open_nursery() as nursery:
        await nursery.start(runner_of(restart).run)
        first = restart.worker
        await first.queue_frame(TextFrame("bad"))
        result = await first.wait_finished()
        assert [str(error) for error in errors_in(result.error)] == ["spoiled"]
        await trio.testing.wait_all_tasks_blocked()
        second = restart.worker
        assert second is not first
        assert second.state is TaskState.RUNNING
        await second.queue_frame(TextFrame("good"))
        second.stop_when_done()
    assert (await second.wait_finished()).frames_out == 1


# -- readiness, and who is told


async def test_it_is_ready_once_and_stays_so(autojump_clock) -> None:
    class FailsWhenReady(Plain):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            await trio.sleep(1)
            task_status.started(self)
            await trio.sleep(1)
            raise ValueError("later")

    told = []

    class Status:
        def started(self, value=None) -> None:
            told.append(value)

    restart = Restart(Made(NeverReady("w"), FailsWhenReady("w"), last := Plain("w", needs=1)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: restart.run(task_status=Status()))
        await trio.sleep(10)
        assert last.log == ["w up"]
        assert told == [restart]
        restart.stop_when_done()


async def test_a_runner_waits_for_the_first_instance_that_gets_ready(autojump_clock) -> None:
    restart = Restart(Made(NeverReady("w"), NeverReady("w"), Plain("w", needs=1)))
    runner = runner_of(restart, Plain("next"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert trio.current_time() == 3
        assert runner.statistics().ready == ("next", "w")
        runner.end()


async def test_each_instance_is_told_as_a_worker_inside_the_life_of_its_restart(autojump_clock) -> None:
    events = Events()
    first, second = bad("a"), bad("b")
    restart = Restart(Made(first, second), 1, 10)
    with pytest.raises(ExceptionGroup):
        await runner_of(observers=[events]).run(restart)
    assert events.log == [
        ("started", restart),
        ("started", first),
        ("error", first, ["a"]),
        ("finished", first),
        ("started", second),
        ("error", second, ["b"]),
        ("finished", second),
        ("error", restart, ["a", "b"]),
        ("finished", restart),
    ]


async def test_attach_is_passed_on_to_each_instance_before_its_run(autojump_clock) -> None:
    class Attached(Plain):
        def attach(self, runner) -> None:
            self.log.append(runner.name)

    class AttachedAndBad(Attached):
        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            raise ValueError("bad")

    first, second = AttachedAndBad("w"), Attached("w")
    runner = runner_of(Restart(Made(first, second)), name="host")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert (first.log, second.log) == (["host"], ["host", "w up"])
        runner.end()


async def test_a_restart_in_a_restart(autojump_clock) -> None:
    inner_made = []

    def inner() -> Restart:
        inner_made.append(Restart(bad, 1, 10))
        return inner_made[-1]

    with pytest.raises(ExceptionGroup) as caught:
        await runner_of().run(Restart(inner, 2, 100))
    assert len(errors_in(caught.value)) == 6
    assert len(inner_made) == 3


async def test_a_restart_as_a_helper_outlives_the_others(autojump_clock) -> None:
    log: list[str] = []
    runner = runner_of(root := Plain("root", log))
    runner.add_workers(Restart(Made(bad(), Plain("w", log))), helper=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(3)
        root.stop_when_done()
    assert log[-3:] == ["root down", "w told", "w down"]


def test_t11_a_cancel_at_every_step_leaves_nothing() -> None:
    async def scenario(arm) -> None:
        numbers = itertools.count()
        restart = Restart(lambda: task_of(Probe()) if next(numbers) > 1 else bad(name="PipelineTask"))
        with trio.CancelScope() as scope:
            arm(scope.cancel)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner_of(restart).run)
                await trio.sleep(3)
                await restart.worker.queue_frame(TextFrame())
                restart.stop_when_done()

    assert at_every_checkpoint(scenario) > 12


# -- what is wrong with a factory


@pytest.mark.parametrize("factory", [None, 3, "worker"], ids=repr)
def test_a_factory_that_is_no_function_is_refused(factory) -> None:
    with pytest.raises(TypeError, match="expected a function that makes a worker"):
        Restart(factory)


def test_a_worker_in_place_of_its_factory_is_refused_with_the_fix() -> None:
    with pytest.raises(TypeError, match=r"Restart\(lambda: "):
        Restart(task_of(Probe()))


def test_an_async_factory_is_refused() -> None:
    async def factory():
        return Plain("w")

    with pytest.raises(TypeError, match="plain function"):
        Restart(factory)


@pytest.mark.parametrize("bad_worker", [None, 3, Plain, Probe()], ids=["None", "3", "class", "processor"])
def test_a_factory_that_gives_no_worker_is_refused_when_it_is_given(bad_worker) -> None:
    with pytest.raises(TypeError, match="Restart, by its factory"):
        Restart(lambda: bad_worker)


def test_a_factory_that_raises_the_first_time_raises_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        Restart(lambda: 1 // 0)


async def test_a_factory_that_raises_later_has_failed_as_its_worker_would(autojump_clock, caplog) -> None:
    events = Events()
    restart = Restart(Made(bad("a"), OSError("not there yet"), OSError("nor now"), last := Plain("w")), 3, 10)
    runner = runner_of(restart, observers=[events])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(2)
        assert restart.worker is last
        runner.end()
    assert ("error", restart, ["not there yet"]) in events.log
    assert "OSError: nor now" in caplog.text

    restart = Restart(Made(bad("a"), OSError("b")), 1, 10)
    with pytest.raises(ExceptionGroup) as caught:
        await restart.run()
    assert [str(error) for error in caught.value.exceptions] == ["a", "b"]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (lambda first: first, "same worker again"),
        (lambda first: Plain("other"), "named 'other' after one named 'w'"),
        (lambda first: 3, "expected a worker"),
    ],
    ids=["same", "other name", "no worker"],
)
async def test_a_factory_that_gives_what_cannot_be_escalates_at_once(autojump_clock, second, says) -> None:
    first = bad("why")
    restart = Restart(Made(first, second(first)), 10, 10)
    with pytest.raises(ExceptionGroup, match="w cannot be made again") as caught:
        await restart.run()
    cause, error = caught.value.exceptions
    assert str(cause) == "why"
    assert says in str(error)


@pytest.mark.parametrize("value", [-1, 1.5, True, None, "3", math.inf], ids=repr)
def test_a_bad_max_restarts_is_refused(value) -> None:
    with pytest.raises(ConfigurationError, match="max_restarts"):
        Restart(lambda: Plain("w"), value, 1)


@pytest.mark.parametrize("value", [0, -1, math.nan, True, None, "3"], ids=repr)
def test_a_bad_period_is_refused(value) -> None:
    with pytest.raises(ConfigurationError, match="period"):
        Restart(lambda: Plain("w"), 1, value)


async def test_a_second_run_is_refused(autojump_clock) -> None:
    made = Plain("w")
    made.stop_when_done()
    restart = Restart(lambda: made)
    await restart.run()
    with pytest.raises(RuntimeError, match="run already"):
        await restart.run()
