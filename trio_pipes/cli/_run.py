"""Run what was loaded, show how it is doing, and turn how it ended into an exit code."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import outcome
import trio

from trio_pipes import Pipeline, PipelineRunner, PipelineTask

from ._load import Runnable, UsageError, load
from ._report import leaves, print_failure
from ._status import status_of
from ._timeline import TimelineFile
from ._watch import Watch

__all__ = ["run_target"]

ENDED: Final = 0
FAILED: Final = 1
USAGE_ERROR: Final = 2


def exit_code_of(signum: signal.Signals) -> int:
    """What a shell makes of a program that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + signum


def run_target(target: str, args: Sequence[str], *, timeline: Path | None, quiet: bool, whole_traceback: bool) -> int:
    """Load `FILE[:NAME]`, run it to its end, and give the exit code that tells how it went."""

    def load_and_run() -> int:
        file = None if timeline is None else TimelineFile(timeline)
        return trio.run(run_loaded, load(target, args), args, quiet, file)

    match outcome.capture(load_and_run):
        case outcome.Value(value=code):
            return code
        case outcome.Error(error=UsageError() as error):
            print(f"trio-pipes: {error}", file=sys.stderr)
            return USAGE_ERROR
        case outcome.Error(error=error):
            return code_for(error, whole_traceback=whole_traceback)


def code_for(error: BaseException, *, whole_traceback: bool) -> int:
    """The exit code for what left the run. Through a nursery Ctrl-C and `sys.exit()` arrive in groups."""
    kinds = {type(leaf) for leaf, _ in leaves(error)}
    if kinds == {KeyboardInterrupt}:
        return exit_code_of(signal.SIGINT)
    if kinds == {SystemExit}:
        code = next(leaf.code for leaf, _ in leaves(error) if isinstance(leaf, SystemExit))
        if code is None or isinstance(code, int):
            return code or ENDED
        print(code, file=sys.stderr)
        return FAILED
    print_failure(error, whole=whole_traceback)
    return FAILED


async def run_loaded(runnable: Runnable, args: Sequence[str], quiet: bool, timeline: TimelineFile | None) -> int:
    """Run it: a pipeline as a task, a task under a runner, a function as it is."""
    if isinstance(runnable, Pipeline):
        runnable = PipelineTask(runnable)
    if isinstance(runnable, PipelineTask):
        runnable = PipelineRunner(runnable)
    if isinstance(runnable, PipelineRunner):
        return await run_runner(runnable, quiet, timeline)
    if timeline is not None:
        raise UsageError(
            "--timeline is for a Pipeline, PipelineTask or PipelineRunner, and this is an async function, which makes tasks of its own. "
            "Give them an observer: PipelineTask(..., observers=[timeline]), with trio_pipes.observers.Timeline"
        )
    return await run_function(runnable, args)


async def run_runner(runner: PipelineRunner, quiet: bool, timeline: TimelineFile | None) -> int:
    """Run a runner, with its tasks' status shown."""
    watch = Watch() if timeline is None else Watch(timeline.observer)
    runner.add_observer(watch)
    try:
        async with trio.open_nursery() as nursery:
            if not quiet:
                nursery.start_soon(status_of(watch).show)
            await runner.run()
            nursery.cancel_scope.cancel(reason="the run is over")
    finally:
        if timeline is not None:
            await timeline.write()  # noqa: ASYNC102  (it has a shield, and a deadline)
    # A runner that a signal ends gives the signal's name as its reason.
    found = re.fullmatch("(?:second )?(SIGINT|SIGTERM)", runner.statistics().reason or "")
    if found is not None:
        return exit_code_of(signal.Signals[found[1]])
    return ENDED if timeline is None or timeline.is_written else FAILED


async def run_function(function: Callable[..., Awaitable[object]], args: Sequence[str]) -> int:
    """Call an async function. Trio turns Ctrl-C into an exception in it; SIGTERM cancels it, so that it cleans up."""
    stopped = False

    async def cancel_on_sigterm(scope: trio.CancelScope) -> None:
        nonlocal stopped
        async for _ in signals:
            stopped = True
            scope.cancel(reason="SIGTERM")

    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_on_sigterm, nursery.cancel_scope)
            await function(*args)
            nursery.cancel_scope.cancel(reason="the function has returned")
    return exit_code_of(signal.SIGTERM) if stopped else ENDED
