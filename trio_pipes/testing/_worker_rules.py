"""What a worker must do, rule by rule."""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import attrs
import trio
import trio.testing

from trio_pipes import PipelineRunner, Worker

from ._cancel import Attempt, cancel_at_every_checkpoint, steps_of
from ._leftovers import nothing_left
from ._rules import Rule, told
from ._within import within

__all__ = ["WORKER_RULES", "WorkerCase"]

# Seconds that a worker is left alone, to see whether it ends by itself.
ALONE: Final = 10.0

REQUESTS: Final = ("stop_when_done", "cancel")


@attrs.frozen(kw_only=True)
class WorkerCase:
    """The worker in question, and what it was said to do."""

    make: Callable[[], Any]
    work: Callable[[Any], Awaitable[object]] | None
    reusable: bool
    after: Callable[[], object]
    cleanup: float
    points: int
    timeout: float
    known: dict[str, Any] = attrs.field(factory=dict)
    """What one rule has found out and another can use."""


class _Status:
    """The `task_status` that the worker is given."""

    def __init__(self) -> None:
        self.times = 0
        self.ready = trio.Event()

    def started(self, value: object = None) -> None:
        self.times += 1
        self.ready.set()


class _Life:
    """One run of one worker."""

    def __init__(self, case: WorkerCase) -> None:
        self.case = case
        self.worker: Worker = case.make()
        self.status = _Status()
        self.over = trio.Event()
        self.scope = trio.CancelScope()
        self.error: Exception | None = None

    async def run(self) -> None:
        """Run it, under a scope of ours."""
        try:
            with self.scope:
                await self.worker.run(task_status=self.status)
        except Exception as exc:  # noqa: BLE001  (kept: the rules judge)
            self.error = exc
        finally:
            self.over.set()

    async def ready_or_over(self) -> None:
        """Wait until it is ready, or has ended before it was."""
        async with trio.open_nursery() as nursery:

            async def wait(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait, self.over)
            nursery.start_soon(wait, self.status.ready)
        await trio.lowlevel.checkpoint_if_cancelled()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """It runs, and does its work, if it was given some, until the block is left and it has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            await self.ready_or_over()
            if self.case.work is not None:
                nursery.start_soon(self._work)
            yield
            await self.over.wait()
            nursery.cancel_scope.cancel()

    async def _work(self) -> None:
        assert self.case.work is not None
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):  # it was told to end meanwhile
            await self.case.work(self.worker)

    def errors(self) -> Iterator[str]:
        """What its run raised."""
        if self.error is not None:
            yield f"run() raised {told(self.error)}"


# -- what it has


async def _is_worker(case: WorkerCase) -> Iterable[str]:
    worker, other = case.make(), case.make()
    if worker is other:
        return ["the factory made the same worker twice"]
    try:
        PipelineRunner(worker, handle_sigint=False)
    except Exception as exc:  # noqa: BLE001  (it becomes the verdict)
        return [told(exc)]
    return _signatures(worker)


def _signatures(worker: Any) -> Iterator[str]:
    if not inspect.iscoroutinefunction(worker.run):
        yield f"run is {worker.run!r}, expected an async function"
    for name, arguments in (
        ("run", {"task_status": None}),
        ("stop_when_done", {"reason": ""}),
        ("cancel", {"reason": ""}),
    ):
        for given in ({}, arguments):
            try:
                inspect.signature(getattr(worker, name)).bind(**given)
            except TypeError as exc:
                yield f"{name}({', '.join(given)}) cannot be called: {exc}"


async def _answers(case: WorkerCase) -> Iterable[str]:
    problems = []
    for name in REQUESTS:
        answer = getattr(case.make(), name)("to see what it answers")
        if inspect.iscoroutine(answer):
            answer.close()
            problems.append(f"{name}() gave a coroutine: a request takes effect when it is called, awaited or not")
            continue
        if not inspect.isawaitable(answer):
            problems.append(f"{name}() gave {answer!r}, expected a Requested")
            continue
        given = await within(case.timeout, f"await {name}()", lambda answer=answer: _await(answer))  # type: ignore[misc]
        if given is not None:
            problems.append(f"await {name}() gave {given!r}, expected None")
    return problems


async def _await(answer: Awaitable[Any]) -> Any:
    return await answer


async def _becomes_ready(case: WorkerCase) -> Iterable[str]:
    life = _Life(case)
    name = life.worker.name
    problems: list[str] = []

    async def run() -> None:
        async with life.up():
            if not life.status.times:
                problems.append("it ended without a word on being ready")
            with trio.move_on_after(ALONE):
                await life.over.wait()
            case.known["ends"] = life.over.is_set()
            life.worker.stop_when_done()

    await within(case.timeout, "a run", run)
    if life.status.times > 1:
        problems.append(f"it said {life.status.times} times that it is ready")
    if life.worker.name != name:
        problems.append(f"its name was {name!r} and is {life.worker.name!r} now")
    return [*problems, *life.errors()]


# -- told to end


async def _asked(case: WorkerCase, request: str) -> Iterable[str]:
    """A request before the run, while it runs, twice, and after the end."""
    problems: list[str] = []
    async with nothing_left():
        before = _Life(case)
        getattr(before.worker, request)("before the run")
        await within(case.timeout, f"a run after {request}()", before.run)
        problems += before.errors()

        running = _Life(case)

        async def run() -> None:
            async with running.up():
                asked_at = trio.current_time()
                getattr(running.worker, request)("while it runs")
                getattr(running.worker, request)("once more")
            if request == "cancel":
                problems.extend(_late(case, trio.current_time() - asked_at))
            getattr(running.worker, request)("after the end")

        await within(case.timeout, f"a run told to {request}()", run)
        problems += running.errors()
    case.after()
    return problems


def _late(case: WorkerCase, took: float) -> Iterator[str]:
    if took > case.cleanup + 0.001:
        yield f"it ended {took:g} s after it was cancelled, later than cleanup={case.cleanup:g}"


async def _sweep(case: WorkerCase, request: str | None) -> Iterable[str]:
    """Asked, or cancelled from outside, at each of its steps, until it has been alone for a while."""
    problems: list[str] = []

    async def scenario(attempt: Attempt) -> None:
        life = _Life(case)
        fired_at = math.inf

        def fire() -> None:
            nonlocal fired_at
            fired_at = trio.current_time()
            if request is None:
                life.scope.cancel(reason="from outside")
            else:
                getattr(life.worker, request)(f"at step {attempt.step}")

        attempt.arm(fire)
        async with life.up():
            with trio.move_on_after(ALONE):
                await life.over.wait()
            attempt.disarm()
            if not attempt.fired:
                getattr(life.worker, request or "stop_when_done")("it has been alone for long enough")
        if attempt.fired:
            problems.extend(_wrong_after(case, life, request, trio.current_time() - fired_at))
        else:
            problems.extend(life.errors())
        if problems:
            raise AssertionError(problems[0])
        attempt.afterwards(case.after)

    steps = await steps_of(scenario, case.timeout)
    stride = max(1, math.ceil(steps / case.points))
    await cancel_at_every_checkpoint(scenario, stride=stride, limit=10 * steps + 100, timeout=case.timeout)
    return problems


def _wrong_after(case: WorkerCase, life: _Life, request: str | None, took: float) -> Iterator[str]:
    if request is None and not life.scope.cancelled_caught and not case.known.get("ends"):
        what = "raised " + told(life.error) if life.error is not None else "returned"
        yield f"cancelled from outside, run() {what} in place of passing Cancelled on"
    yield from life.errors()
    if request != "stop_when_done":
        yield from _late(case, took)


# -- once, and hosted


async def _once(case: WorkerCase) -> Iterable[str]:
    if case.reusable:
        return []
    life, problems = _Life(case), []

    async def run_again(when: str) -> None:
        with trio.move_on_after(ALONE) as scope:
            try:
                await life.worker.run()
            except RuntimeError:
                return
            except Exception as exc:  # noqa: BLE001  (it becomes the verdict)
                problems.append(f"a second run {when} raised {told(exc)}, expected RuntimeError")
                return
        problems.append(
            f"a second run {when} {'began' if scope.cancelled_caught else 'returned'}, expected RuntimeError"
        )

    async def run() -> None:
        async with life.up():
            if not life.over.is_set():
                await run_again("while the first is under way")
            life.worker.stop_when_done()
        await run_again("after the first")

    await within(case.timeout, "two runs", run)
    return [*problems, *life.errors()]


async def _hosted(case: WorkerCase) -> Iterable[str]:
    problems = []
    for request in ("end", "cancel"):
        runner = PipelineRunner(case.make(), handle_sigint=False)

        async def host(runner: PipelineRunner = runner, request: str = request) -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                getattr(runner, request)("to see that it ends")

        try:
            async with nothing_left():
                await within(case.timeout, f"a runner told to {request}()", host)
        except Exception as exc:  # noqa: BLE001  (it becomes the verdict)
            problems.append(f"{told(exc)}, hosted by a runner that was told to {request}()")
        case.after()
    return problems


WORKER_RULES: Final = {
    "worker": Rule(
        "It has a name, an async run() and two requests, as the protocol Worker says.", _is_worker, needed=True
    ),
    "requests": Rule("A request takes effect when called, and gives what may be ignored or awaited.", _answers),
    "ready": Rule(
        "It says once that it is ready, runs, ends when it is told to, and keeps its name.", _becomes_ready, needed=True
    ),
    "stop": Rule(
        "Told to stop before the run, in it, twice or after it, it ends and leaves nothing.",
        lambda case: _asked(case, "stop_when_done"),
    ),
    "stop_anywhere": Rule(
        "Told to stop at any of its steps, it ends and leaves nothing.", lambda case: _sweep(case, "stop_when_done")
    ),
    "cancel": Rule(
        "Cancelled by request before the run, in it, twice or after it, it ends in time and leaves nothing.",
        lambda case: _asked(case, "cancel"),
    ),
    "cancel_anywhere": Rule(
        "Cancelled by request at any of its steps, it ends in time and leaves nothing.",
        lambda case: _sweep(case, "cancel"),
    ),
    "cancelled": Rule(
        "Cancelled from outside at any of its steps, it passes Cancelled on and leaves nothing.",
        lambda case: _sweep(case, None),
    ),
    "once": Rule("A second run is a RuntimeError.", _once),
    "hosted": Rule("A runner can host it, end it and cancel it.", _hosted),
}
