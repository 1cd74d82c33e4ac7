"""`check_worker`: what is right passes, and each rule can be broken."""

import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from hosting import Probe, Slow, texts
from trio_pipes import (
    ConfigurationError,
    FrameProcessor,
    Pipeline,
    PipelineRunner,
    PipelineTask,
    Requested,
    TextFrame,
    each,
)
from trio_pipes.testing import RuleBroken, check_worker
from trio_pipes.testing._worker_rules import WORKER_RULES

PAGE = Path(__file__).parent.parent.parent / "docs" / "testing.md"
DONE = PipelineTask(Pipeline([Probe()])).stop_when_done()  # any request will do


class Good:
    """As small as a worker can be. The misbehaving ones below differ from it in one way each."""

    name = "good"

    def __init__(self) -> None:
        self.end = trio.Event()
        self.scope = trio.CancelScope()
        self.has_run = False

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> object:
        if self.has_run:
            raise RuntimeError("it has been run already")
        self.has_run = True
        with self.scope:
            await trio.sleep(1)
            task_status.started(self)
            await self.serve()
        return "over"

    async def serve(self) -> None:
        await self.end.wait()

    def stop_when_done(self, reason: str | None = None) -> Requested:
        self.end.set()
        return DONE

    def cancel(self, reason: str | None = None) -> Requested:
        self.scope.cancel()
        return DONE


class EndsItself(Good):
    async def serve(self) -> None:
        await trio.sleep(3)


async def give_frames(task: PipelineTask) -> None:
    await task.queue_frames(texts(*range(5)))


class Opens(FrameProcessor):
    @asynccontextmanager
    async def lifespan(self):
        await trio.sleep(1)
        yield
        await trio.sleep(1)


@each
async def think(frame: TextFrame) -> TextFrame:
    await trio.sleep(1)
    return frame


def task() -> PipelineTask:
    return PipelineTask(Pipeline([Opens(), Slow(1), think]))


def runner_of_two() -> PipelineRunner:
    return PipelineRunner(task(), PipelineTask(Pipeline([think])), handle_sigint=False)


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        pytest.param(Good, {}, id="a small worker"),
        pytest.param(EndsItself, {}, id="one that ends by itself"),
        pytest.param(task, {}, id="PipelineTask"),
        pytest.param(task, {"work": give_frames}, id="PipelineTask with work"),
        pytest.param(runner_of_two, {"reusable": True}, id="PipelineRunner"),
    ],
)
async def test_k2_what_the_library_has_keeps_every_rule(pipes_clock, factory, options) -> None:
    await check_worker(factory, **options)


class Nameless(Good):
    name = ""


class NoKeyword(Good):
    async def run(self) -> object:
        return None


class AsyncRequests(Good):
    async def cancel(self, reason: str | None = None) -> None:
        self.scope.cancel()


class NoAnswer(Good):
    def stop_when_done(self, reason: str | None = None) -> None:
        self.end.set()


class NeverReady(Good):
    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> object:
        with self.scope:
            await self.end.wait()


class ReadyTwice(Good):
    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> object:
        task_status.started()
        return await super().run(task_status=task_status)


class Renames(Good):
    async def serve(self) -> None:
        self.name = "busy"
        await super().serve()


class NeverStops(Good):
    async def serve(self) -> None:
        await trio.sleep_forever()


class RaisesAtItsEnd(Good):
    async def serve(self) -> None:
        await super().serve()
        raise LookupError("at its end")


class ForgetsAnEarlyStop(Good):
    async def serve(self) -> None:
        self.end = trio.Event()
        await super().serve()


class OnlyOnce(Good):
    def stop_when_done(self, reason: str | None = None) -> Requested:
        if self.end.is_set():
            raise RuntimeError("told already")
        return super().stop_when_done(reason)


class ForgetsAnEarlyCancel(Good):
    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> object:
        self.scope = trio.CancelScope()
        return await super().run(task_status=task_status)


class LetsItsCancelOut(Good):
    async def serve(self) -> None:
        try:
            await super().serve()
        except trio.Cancelled:
            raise TimeoutError("cancelled") from None


class CleansUpSlowly(Good):
    async def serve(self) -> None:
        try:
            await super().serve()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(30)


class LeavesATask(Good):
    async def serve(self) -> None:
        trio.lowlevel.spawn_system_task(trio.sleep, 100_000)
        await super().serve()


class SwallowsCancelled(Good):
    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> object:
        try:
            return await super().run(task_status=task_status)
        except BaseException as exc:
            if isinstance(exc, RuntimeError):
                raise
            return "all well"


class StopIsLost(Good):
    """Looks whether it was told to stop, rests, and then waits to be told."""

    asked = False

    async def serve(self) -> None:
        if not self.asked:
            await trio.sleep(1)
            self.end = trio.Event()
            await self.end.wait()

    def stop_when_done(self, reason: str | None = None) -> Requested:
        self.asked = True
        return super().stop_when_done(reason)


class CancelIsLost(Good):
    async def serve(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)
        await super().serve()


class RunsAgain(Good):
    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> object:
        self.has_run, self.scope = False, trio.CancelScope()
        return await super().run(task_status=task_status)


class FearsItsRunner(Good):
    def attach(self, runner: PipelineRunner) -> None:
        self.runner = runner

    async def serve(self) -> None:
        if hasattr(self, "runner"):
            raise RuntimeError(f"not with {type(self.runner).__name__}")
        await super().serve()


ZOO = [
    ("worker", Nameless, "whose name is ''"),
    ("worker", NoKeyword, "run(task_status) cannot be called"),
    ("worker", object, "expected a worker: it has no name, run"),
    ("worker", AsyncRequests, "whose cancel is async, expected a plain function"),
    ("requests", NoAnswer, "stop_when_done() gave None, expected a Requested"),
    ("ready", NeverReady, "a run has not ended within 1000 s"),
    ("ready", ReadyTwice, "it said 2 times that it is ready"),
    ("ready", Renames, "its name was 'good' and is 'busy' now"),
    ("ready", NeverStops, "serve"),
    ("ready", RaisesAtItsEnd, "LookupError('at its end')"),
    ("stop", ForgetsAnEarlyStop, "a run after stop_when_done() has not ended"),
    ("stop", OnlyOnce, "RuntimeError('told already')"),
    ("stop", LeavesATask, "task trio.sleep"),
    ("stop_anywhere", StopIsLost, "in serve"),
    ("cancel", ForgetsAnEarlyCancel, "a run after cancel() has not ended"),
    ("cancel", LetsItsCancelOut, "TimeoutError('cancelled')"),
    ("cancel", CleansUpSlowly, "it ended 30 s after it was cancelled, later than cleanup=10"),
    ("cancel_anywhere", CancelIsLost, "s after it was cancelled, later than cleanup=10"),
    ("cancel_anywhere", CleansUpSlowly, "it ended 30 s after it was cancelled"),
    ("cancelled", SwallowsCancelled, "run() returned in place of passing Cancelled on"),
    ("cancelled", LetsItsCancelOut, "run() raised TimeoutError('cancelled') in place of passing Cancelled on"),
    ("once", RunsAgain, "a second run while the first is under way began, expected RuntimeError"),
    ("hosted", FearsItsRunner, "not with PipelineRunner"),
]


@pytest.mark.parametrize(
    ("rule", "factory", "says"), [pytest.param(*line, id=f"{line[0]}-{line[1].__name__}") for line in ZOO]
)
async def test_k2_each_rule_can_be_broken(pipes_clock, rule, factory, says) -> None:
    with pytest.raises(RuleBroken, match=re.escape(says)) as caught:
        await check_worker(factory, skip=sorted({*WORKER_RULES} - {rule}))
    assert caught.value.rule == rule


def test_every_rule_is_broken_by_somebody() -> None:
    assert {line[0] for line in ZOO} == set(WORKER_RULES)


def test_the_page_lists_the_rules() -> None:
    listed = re.findall(r"^\| `(\w+)` +\| (.*?) +\|$", PAGE.read_text(), re.MULTILINE)
    ours = [(name, rule.must) for name, rule in WORKER_RULES.items()]
    shown = [(name, must.replace("`", "")) for name, must in listed]
    first = shown.index(ours[0])
    assert shown[first : first + len(ours)] == ours


async def test_several_broken_rules_come_in_a_group(pipes_clock) -> None:
    with pytest.raises(ExceptionGroup, match="CleansUpSlowly breaks 3 rules: cancel, cancel_anywhere, cancelled"):
        await check_worker(CleansUpSlowly)


async def test_what_is_open_is_looked_at_afterwards(pipes_clock) -> None:
    def check() -> None:
        raise AssertionError("still open")

    with pytest.raises(ExceptionGroup) as caught:
        await check_worker(Good, after=check, points=2)
    assert "still open" in str(caught.value.exceptions[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"factory": 3}, "given 3"),
        ({"factory": DONE}, "given <requested>"),
        ({"skip": ["speed"]}, "no rule speed"),
        ({"cleanup": 0}, "cleanup=0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"points": 1.5}, "points=1.5"),
    ],
    ids=range(6),
)
async def test_bad_input_is_named(pipes_clock, options, says) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        await check_worker(**{"factory": Good, **options})
    with pytest.raises(ConfigurationError, match="makes a fresh worker"):
        await check_worker(Good())


async def test_a_real_clock_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pipes_clock"):
        await check_worker(Good)
