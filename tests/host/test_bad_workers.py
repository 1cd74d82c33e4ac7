"""What a runner is given that is no worker: an error that says what was meant, before anything starts."""

import warnings

import pytest
import trio

from hosting import Plain, Probe, task_of
from trio_pipes import ConfigurationError, Pipeline, PipelineRunner, PipelineTask, Worker


def test_our_workers_are_workers() -> None:
    for worker in (task_of(Probe()), PipelineRunner(), Plain("w")):
        assert isinstance(worker, Worker)


def give(runner: PipelineRunner, bad: object, how: str) -> None:
    match how:
        case "constructor":
            PipelineRunner(bad)
        case "add_workers":
            runner.add_workers(bad)
        case "run":
            trio.run(runner.run, bad)


HOW = pytest.mark.parametrize("how", ["constructor", "add_workers", "run"])


@HOW
def test_a_coroutine_in_place_of_a_worker(how) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor is there a "never awaited" behind it
        with pytest.raises(TypeError, match=r"PipelineRunner\(task\)"):
            give(PipelineRunner(handle_sigint=False), task_of(Probe()).run(), how)


@HOW
@pytest.mark.parametrize("kind", [PipelineTask, Plain])
def test_a_class_in_place_of_a_worker(how, kind) -> None:
    with pytest.raises(TypeError, match=kind.__name__):
        give(PipelineRunner(handle_sigint=False), kind, how)


@HOW
def test_a_pipeline_in_place_of_a_task(how) -> None:
    with pytest.raises(TypeError, match=r"PipelineTask\(pipeline\)"):
        give(PipelineRunner(handle_sigint=False), Pipeline([Probe()]), how)


@HOW
@pytest.mark.parametrize(
    "bad", [3, "worker", [task_of(Probe())], object(), lambda: None], ids=["3", "str", "list", "object", "function"]
)
def test_what_is_no_worker_is_refused_with_what_it_lacks(how, bad) -> None:
    with pytest.raises(TypeError, match="run, stop_when_done, cancel|stop_when_done"):
        give(PipelineRunner(handle_sigint=False), bad, how)


@HOW
@pytest.mark.parametrize("missing", ["name", "stop_when_done", "cancel"])
def test_a_half_worker_is_refused(how, missing) -> None:
    class Half:
        def __init__(self) -> None:
            if missing != "name":
                self.name = "half"

        async def run(self, *, task_status=trio.TASK_STATUS_IGNORED): ...

        def __getattr__(self, name):
            if name in ("stop_when_done", "cancel") and name != missing:
                return lambda reason=None: None
            raise AttributeError(name)

    with pytest.raises(TypeError, match=missing):
        give(PipelineRunner(handle_sigint=False), Half(), how)


@HOW
@pytest.mark.parametrize("name", ["", None, 3])
def test_a_worker_without_a_good_name_is_refused(how, name) -> None:
    worker = Plain("w")
    worker.name = name
    with pytest.raises(ConfigurationError, match="name"):
        give(PipelineRunner(handle_sigint=False), worker, how)


@pytest.mark.parametrize("name", ["", 3])
def test_a_runner_without_a_good_name_is_refused(name) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        PipelineRunner(name=name)


async def test_a_refused_worker_leaves_the_runner_as_it_was(autojump_clock) -> None:
    runner = PipelineRunner(handle_sigint=False)
    with pytest.raises(TypeError):
        runner.add_workers(Plain("good"), 3)
    assert runner.get_worker("good") is None
    with trio.fail_after(1):
        await runner.run()


async def test_a_worker_whose_run_is_not_async_fails_its_call_and_nothing_hangs(autojump_clock) -> None:
    class Sync(Plain):
        def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
            return 3

    with trio.fail_after(5), pytest.raises((TypeError, ExceptionGroup)):
        await PipelineRunner(Sync("sync"), Plain("other"), handle_sigint=False).run()


async def test_a_worker_whose_requests_raise_does_not_stop_the_others_from_being_asked(autojump_clock) -> None:
    class Sulks(Plain):
        def stop_when_done(self, reason=None):
            raise ValueError("sulks")

    good = Plain("good")
    runner = PipelineRunner(good, Sulks("sulks"), handle_sigint=False)
    with pytest.raises((ExceptionGroup, ValueError)), trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            runner.end()
    assert good.log[-1] == "good down"


async def test_two_calls_for_one_worker_are_a_duplicate(autojump_clock) -> None:
    from trio_pipes import DuplicateName

    worker, runner = Plain("w"), PipelineRunner(handle_sigint=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run, worker)
        await runner.wait_ready("w")
        with pytest.raises(DuplicateName, match="same worker"):
            await runner.run(worker)
        runner.end()


async def test_one_task_in_two_runners_is_an_error_of_the_second_only(autojump_clock) -> None:
    task = task_of(Probe())
    first, second = (PipelineRunner(handle_sigint=False) for _ in range(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run, task)
        await first.wait_ready(task.name)
        with pytest.raises((RuntimeError, ExceptionGroup), match="run already|failed"):
            await second.run(task)
        assert task.state.value == "running"
        first.end()
