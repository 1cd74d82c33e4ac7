"""What a processor must do, rule by rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, Final

import attrs
import trio

from trio_pipes import (
    Direction,
    EndFrame,
    EndTimeout,
    ErrorFrame,
    Frame,
    FrameProcessor,
    SetupTimeout,
    StartFrame,
    StartTimeout,
    StopFrame,
    TaskState,
)

from ._cancel import Attempt, cancel_at_every_checkpoint, steps_of
from ._handlers import Injected, Lifespans, fail_push, watch_cancels
from ._leftovers import nothing_left
from ._rules import Rule, told
from ._trial import ENDS, UP, Case, Put, StrangeData, Trial, leaves_of
from ._within import descends_from, within

__all__ = ["PROCESSOR_RULES"]

# Seconds that a reader takes for a frame in the rule about slow readers.
SLOW_READER: Final = 1.0
# A stall is told when it happens so many times in a row: once may be the machine's doing.
TRIES: Final = 3
# Pushes that are made to fail, one in each run.
FAILED_PUSHES: Final = 10


async def _run(case: Case, subject: FrameProcessor | None = None, **settings: Any) -> Trial:
    """A trial from end to end, and its error, if there is one, raised."""
    trial = Trial(case, subject, **settings)
    await within(case.timeout, "the run", trial.run)
    if trial.error is not None:
        raise trial.error
    return trial


# -- a plain run


async def _runs(case: Case) -> Iterable[str]:
    trial = Trial(case)
    await within(case.timeout, "the run", trial.run)
    case.known["plain"] = trial
    if isinstance(trial.error, SetupTimeout | StartTimeout | EndTimeout):
        return [str(trial.error)]
    if trial.error is not None:
        raise trial.error
    return []


async def _passes(case: Case) -> Iterable[str]:
    trial: Trial = case.known["plain"]
    return trial.lost(trial.put)


async def _makes(case: Case) -> Iterable[str]:
    trial: Trial = case.known["plain"]
    return [
        f"{_short(frame)} came out, was not put in, and is none of makes={tuple(each.__name__ for each in case.makes)}"
        for frame in trial.made()
        if not isinstance(frame, case.makes)
    ]


async def _order(case: Case) -> Iterable[str]:
    trial: Trial = case.known["plain"]
    return trial.disordered()


class _Ends(FrameProcessor):
    """Notes what it is shown behind the processor in question."""

    def __init__(self) -> None:
        self.seen: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is Direction.DOWNSTREAM:
            self.seen.append(frame)
        await self.push_frame(frame, direction)


async def _lifecycle(case: Case) -> Iterable[str]:
    problems = []
    for last in (EndFrame, StopFrame):
        below = _Ends()
        trial = Trial(case, below=below)

        async def feed(trial: Trial, last: type[Frame] = last) -> None:
            await trial.queue(trial.case.feed())
            await trial.task.queue_frame(last())

        await within(case.timeout, f"the run up to {last.__name__}", lambda: trial.run(feed))  # noqa: B023
        if trial.error is not None:
            raise trial.error
        shown = [type(frame) for frame in below.seen]
        if shown.count(StartFrame) != 1 or shown[0] is not StartFrame:
            problems.append("StartFrame is not the first frame that the one below is shown, or not once")
        lasts = [kind for kind in shown if kind in (EndFrame, StopFrame)]
        if len(lasts) != 1:
            problems.append(f"the one below is shown {len(lasts)} last frames, expected one {last.__name__}")
        late = sum(each.late_dropped for each in trial.task.statistics().processors)
        if late:
            problems.append(f"{late} frames were pushed behind {last.__name__}, and are lost")
    return problems


async def _leaves_nothing(case: Case) -> Iterable[str]:
    problems = []
    for how in ("at its end", "when it is cancelled", "when a neighbour fails"):
        async with nothing_left():
            problems += [f"{problem}, {how}" for problem in await _ended(case, how)]
        case.after()
    return problems


class _Fails(FrameProcessor):
    """Fails on the last stranger."""

    def __init__(self) -> None:
        self.error = Injected("a neighbour's")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, EndFrame):
            raise self.error
        await self.push_frame(frame, direction)


async def _ended(case: Case, how: str) -> Iterator[str]:
    subject, fails = case.make(), _Fails()
    lifespans = Lifespans(subject)
    trial = Trial(case, subject, below=fails if how == "when a neighbour fails" else None)

    async def feed(trial: Trial) -> None:
        await trial.queue(trial.case.feed())
        if how == "when it is cancelled":
            await trial.task.flush()
            trial.task.cancel()
        trial.stop()

    await within(case.timeout, f"the run that ends {how}", lambda: trial.run(feed))
    return _what_is_wrong(trial, lifespans, fails)


def _what_is_wrong(trial: Trial, lifespans: Lifespans, fails: _Fails) -> Iterator[str]:
    others = [error for error in _errors_in(trial.error) if error is not fails.error]
    if others:
        yield f"it raised {', '.join(map(told, others))}"
    yield from _cut(trial, lifespans)


def _cut(trial: Trial, lifespans: Lifespans) -> Iterator[str]:
    if lifespans.entered != lifespans.left:
        yield f"its lifespan was entered {lifespans.entered} times and left {lifespans.left} times"
    if lifespans.slowest >= trial.task.params.cleanup_timeout:
        limit = trial.task.params.cleanup_timeout
        yield f"the cleanup in its lifespan took {lifespans.slowest:g} s; at cleanup_timeout ({limit:g} s) it is cut off"


def _errors_in(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [inner for part in error.exceptions for inner in _errors_in(part)]
    return [] if error is None else [error]


# -- broken off


async def _sweep(case: Case, scenario: Callable[[Attempt], Any]) -> None:
    steps = await steps_of(scenario, case.timeout)
    stride = max(1, math.ceil(steps / case.points))
    await cancel_at_every_checkpoint(scenario, stride=stride, limit=10 * steps + 100, timeout=case.timeout)


async def _cancel(case: Case) -> Iterable[str]:
    async def scenario(attempt: Attempt) -> None:
        await _cancelled(case, attempt, by_request=True)

    await _sweep(case, scenario)
    return []


async def _cancelled_from_outside(case: Case) -> Iterable[str]:
    swallowed: list[str] = []

    async def scenario(attempt: Attempt) -> None:
        await _cancelled(case, attempt, swallowed=swallowed)

    try:
        await _sweep(case, scenario)
    except Exception:
        if not swallowed:
            raise
    return swallowed[:1]


async def _cancelled(
    case: Case, attempt: Attempt, *, by_request: bool = False, swallowed: list[str] | None = None
) -> None:
    subject = case.make()
    lifespans = Lifespans(subject)
    if swallowed is not None:
        watch_cancels(subject, lambda: attempt.fired, swallowed)
    trial = Trial(case, subject)
    fired_at = math.inf

    def cancel() -> None:
        nonlocal fired_at
        fired_at = trio.current_time()
        if by_request:
            trial.task.cancel("to see what is left")
        else:
            scope.cancel(reason="to see what is left")

    def check() -> None:
        took = (trial.result.finished_at if trial.result else trio.current_time()) - fired_at
        limit = trial.task.params.cleanup_timeout
        problems = [f"it raised {told(trial.error)}"] if trial.error is not None else []
        problems += _cut(trial, lifespans)
        if took > limit + 0.001:
            problems.append(f"it ended {took:g} s after it was cancelled, later than cleanup_timeout ({limit:g} s)")
        if trial.task.state is not TaskState.NEW and not trial.task.has_finished():
            problems.append("the task has not finished")
        problems += swallowed or []
        if problems:
            raise AssertionError("; ".join(problems))
        case.after()

    attempt.afterwards(check)
    attempt.arm(cancel)
    with trio.CancelScope() as scope:
        await trial.run()


async def _interrupted(case: Case) -> Iterable[str]:
    """Both rules about interrupts, from the same runs."""
    problems: dict[str, list[str]] = {"interrupt": [], "uninterruptible": []}

    async def scenario(attempt: Attempt) -> None:
        trial = Trial(case)
        later: list[Put] = []

        async def feed(trial: Trial) -> None:
            await trial.queue(case.feed(kept=True))
            await trial.task.flush()
            attempt.disarm()
            before = len(trial.put)
            try:
                await trial.queue(case.feed("later "))
            finally:
                later.extend(trial.put[before:])
            trial.stop()

        attempt.arm(trial.task.interrupt)
        await trial.run(feed)
        if trial.error is not None:
            raise trial.error
        earlier = [put for put in trial.put if put not in later]
        kept = [put for put in earlier if not put.frame.interruptible]
        step = f", interrupted before step {attempt.step}"
        problems["uninterruptible"] += [f"{each}{step}" for each in trial.lost(kept)]
        stale = [put for put in earlier if put.frame.interruptible]
        found = [*trial.lost(stale, may_be_lost=lambda put: True), *trial.lost(later)]
        found += trial.disordered() if case.ordered else []
        problems["interrupt"] += [f"{each}{step}" for each in found]
        attempt.afterwards(case.after)

    case.known["interrupted"] = problems
    await _sweep(case, scenario)
    return problems["interrupt"]


async def _uninterruptible(case: Case) -> Iterable[str]:
    if "interrupted" not in case.known:
        await _interrupted(case)
    return case.known["interrupted"]["uninterruptible"]  # type: ignore[no-any-return]


# -- in other circumstances


def _differs(case: Case, other: Trial, how: str) -> Iterator[str]:
    """What comes out otherwise than in the plain run."""
    plain: Trial = case.known["plain"]
    if "signature" not in case.known:
        case.known["signature"] = plain.signature()
    for where, expected in case.known["signature"].items():
        got = other.signature()[where]
        if got != expected:
            number = next((i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), None)
            if number is None:
                yield f"{how}, {len(got)} {where}, otherwise {len(expected)}"
            else:
                yield f"{how}, number {number + 1} of the {where} is {_short(got[number])}, otherwise {_short(expected[number])}"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) < 200 else f"{text[:150]} ... {text[-40:]}"


async def _fused(case: Case) -> Iterable[str]:
    problems = list(_differs(case, await _run(case, debug=True), "with debug=True"))
    subject = case.make()
    for leaf in leaves_of(subject):
        leaf.inline = True
    problems += _differs(case, await _run(case, subject), "with inline=True")
    return problems


async def _small_queues(case: Case) -> Iterable[str]:
    return _differs(case, await _run(case, queue_size=1), "with queue_size=1")


async def _slow_reader(case: Case) -> Iterable[str]:
    return _differs(case, await _run(case, seconds_a_frame=SLOW_READER, queue_size=1), "with a slow reader")


async def _again(case: Case) -> Iterable[str]:
    subject = case.make()
    await _run(case, subject)
    return _differs(case, await _run(case, subject), "in a second run of the same instance")


async def _together(case: Case) -> Iterable[str]:
    trials: list[Trial] = []

    async def run() -> None:
        trials.append(await _run(case))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(run)
    return [each for trial in trials for each in _differs(case, trial, "while another instance runs")]


async def _errors(case: Case) -> Iterable[str]:
    problems = []
    for nth in range(1, FAILED_PUSHES + 1):
        subject = case.make()
        failed = fail_push(subject, nth)
        trial = Trial(case, subject)
        await within(case.timeout, "the run with an error in it", trial.run)
        if failed.error is None:
            break
        reported = [frame.exception for frame in trial.out(UP) if isinstance(frame, ErrorFrame)]
        if failed.error not in (*_errors_in(trial.error), *reported):
            problems.append(f"an error that was {failed.error} neither left run() nor was reported at {ENDS[UP]}")
            break
    return problems


# -- time


class _Stalls(trio.abc.Instrument):
    """The longest step of the tasks below one, in real seconds."""

    def __init__(self, top: trio.lowlevel.Task) -> None:
        self.top = top
        self.longest = 0.0
        self._began = math.inf

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self._began = perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = perf_counter() - self._began
        if took > self.longest and descends_from(task, self.top):
            self.longest = took


async def _stall(case: Case) -> Iterable[str]:
    shortest = math.inf
    for _ in range(TRIES):
        stalls = _Stalls(trio.lowlevel.current_task())
        trio.lowlevel.add_instrument(stalls)
        try:
            await _run(case)
        finally:
            trio.lowlevel.remove_instrument(stalls)
        shortest = min(shortest, stalls.longest)
        if shortest <= case.stall:
            return []
    return [f"Trio's loop stood still for {shortest:.3f} s of real time, more than stall={case.stall:g}"]


PROCESSOR_RULES: Final = {
    "runs": Rule("It sets up, starts, handles what it is given, ends, and raises nothing.", _runs, needed=True),
    "passes": Rule(
        "What it does not handle comes out at the other end, the very frame, once, in both directions.", _passes
    ),
    "makes": Rule("What comes out and did not go in is of a class that it was said to make.", _makes),
    "order": Rule("Ordered frames come out in the order they went in, and so do system frames.", _order),
    "lifecycle": Rule("The last frame is the last: EndFrame and StopFrame go on, and nothing is pushed later.", _lifecycle),
    "cleanup": Rule("Ended, cancelled or beside one that fails, it cleans up in time and leaves nothing.", _leaves_nothing),
    "cancel": Rule("Cancelled by request at any of its steps, it ends in time and leaves nothing.", _cancel),
    "cancelled": Rule(
        "Cancelled from outside at any of its steps, it lets Cancelled pass and leaves nothing.", _cancelled_from_outside
    ),
    "interrupt": Rule("Interrupted at any of its steps, it goes on with what comes next.", _interrupted),
    "uninterruptible": Rule("An interrupt at any of its steps loses no uninterruptible frame.", _uninterruptible),
    "errors": Rule("An error that its push raises reaches the caller of run(), or is reported.", _errors),
    "fused": Rule("It gives the same in a task of its own and in one that it shares.", _fused),
    "queue_size": Rule("It gives the same with queue_size=1.", _small_queues),
    "slow_reader": Rule("It gives the same, and ends, when those who read the outputs are slow.", _slow_reader),
    "reuse": Rule("An instance gives the same in a second run.", _again),
    "together": Rule("Two instances that run at the same time do not know of each other.", _together),
    "stall": Rule("It does not keep Trio's loop from turning.", _stall),
}
