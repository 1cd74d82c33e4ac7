"""Many sessions at once, for a time on one clock, with a breath between the rounds in which what is left is counted."""

from __future__ import annotations

import logging
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import trio
import trio.testing

from trio_pipes import FrameProcessor, Pipeline, PipelineRunner, PipelineTask

from .left import Left, noticing
from .script import draw
from .session import Session

AT_ONCE = 16  # sessions
ROUND = 48  # sessions between two breaths
BLOCKS = 1.0  # growth that counts as flat: blocks of memory a session (a session makes about 100,000)
ENOUGH = 500  # sessions before growth is judged: caches fill up, and a heap settles, in the first few hundred
KIB = 0.5  # and resident memory, whose pages a heap gives back late


@attrs.define(eq=False)
class Report:
    """What came of it."""

    clock: str
    seed: str
    sessions: int = 0
    seconds: float = 0.0  # on that clock
    real_seconds: float = 0.0
    frames: int = 0  # accepted
    out: int = 0
    interrupts: int = 0
    states: Counter[str] = attrs.field(factory=Counter)
    blocks_a_session: float = 0.0
    kib_a_session: float = 0.0
    resident: list[int] = attrs.field(factory=list)  # MiB, at every breath
    logged: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)


class _Counts(logging.Handler):
    """Counts what the library logs, by its text before it is filled in."""

    def __init__(self, into: Counter[str]) -> None:
        super().__init__()
        self.into = into

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            record.getMessage()  # of an observer or a processor that writes what it sees
        else:
            self.into[str(record.msg)] += 1


def soak(clock: str, seed: str, seconds: float, sessions: int, tell: Callable[[str], None]) -> Report:
    """Run sessions for so long on that clock ("autojump" or "real"), and at least so many."""
    report = Report(clock, seed)
    logger = logging.getLogger("trio_pipes")
    handler, propagated = _Counts(report.logged), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    writers = [logging.getLogger(f"trio_pipes.{name}") for name in ("frames", "metrics")]
    levels = [writer.level for writer in writers]
    for writer in writers:
        writer.setLevel(logging.DEBUG)
    settings: dict[str, Any] = {}
    if clock == "autojump":
        settings["clock"] = trio.testing.MockClock(autojump_threshold=0)
    began = time.perf_counter()
    try:
        with noticing(report.problems):
            trio.run(_phase, report, seconds, sessions, tell, **settings)
    finally:
        for writer, level in zip(writers, levels, strict=True):
            writer.setLevel(level)
        logger.removeHandler(handler)
        logger.propagate = propagated
    report.real_seconds = time.perf_counter() - began
    return report


async def _phase(report: Report, seconds: float, sessions: int, tell: Callable[[str], None]) -> None:
    seed_trio(report.seed)
    left = Left()
    began = trio.current_time()
    runner = PipelineRunner(name="soak", handle_sigint=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
        while trio.current_time() < began + seconds or report.sessions < sessions:
            await _round(report, runner, began + seconds, sessions)
            roster = runner.statistics()
            if roster.running or roster.ready or roster.calls != 1:
                report.problems.append(f"after {report.sessions} sessions the runner has {roster}")
            runner.add_workers(calm := PipelineTask(Pipeline([FrameProcessor()])))
            calm.stop_when_done()
            await calm.wait_finished()  # whatever is kept of "the last one" is now kept of this one, each time
            del calm
            report.problems += await left.look(report.sessions)
            report.resident.append(left.samples[-1].resident // 1024)
            now = trio.current_time() - began
            tell(
                f"{report.clock}: {report.sessions} sessions, {now:.0f} s, {report.resident[-1]} MiB, {len(report.problems)} problems"
            )
            if len(report.problems) > 50:
                break
        runner.end()
    report.seconds = trio.current_time() - began
    report.blocks_a_session, report.kib_a_session = left.growth()
    if report.sessions < ENOUGH:
        return
    if report.blocks_a_session > BLOCKS:
        report.problems.append(f"memory grew by {report.blocks_a_session:.2f} blocks a session")
    if report.kib_a_session > KIB:
        report.problems.append(f"memory grew by {report.kib_a_session:.3f} KiB a session")


async def _round(report: Report, runner: PipelineRunner, until: float, sessions: int) -> None:
    limit = trio.CapacityLimiter(AT_ONCE)
    async with trio.open_nursery() as nursery:
        for _ in range(ROUND):
            if trio.current_time() >= until and report.sessions >= sessions:
                break
            token = object()
            await limit.acquire_on_behalf_of(token)
            nursery.start_soon(_one, report, runner, report.sessions, limit, token)
            report.sessions += 1
            await trio.sleep(random.Random(report.sessions).random() / 4)


async def _one(report: Report, runner: PipelineRunner, number: int, limit: trio.CapacityLimiter, token: object) -> None:
    name = f"{report.seed}/{number}"
    try:
        await session(name, report, runner)
    except Exception:  # it is a finding like the others, and the soak goes on
        report.problems.append(f"session {name}: {traceback.format_exc()}")
    finally:
        limit.release_on_behalf_of(token)


async def session(name: str, report: Report, runner: PipelineRunner) -> None:
    """Run the session of this name and judge it."""
    one = Session(draw(name))
    result = await one.run(runner)
    report.states[result.state.value] += 1
    report.frames += one.book.count
    report.out += len(one.book.out_down) + len(one.book.out_up)
    report.interrupts += one.book.interrupts
    report.problems += [f"session {name}: {problem}" for problem in one.problems(result)[:5]]


def seed_trio(seed: str) -> None:
    """Let Trio's choice of who runs first follow from the seed too; where it keeps that elsewhere, it stays random."""
    try:
        from trio._core import _run

        _run._ALLOW_DETERMINISTIC_SCHEDULING = True
        _run._r.seed(seed)
    except (ImportError, AttributeError):
        pass
