"""Rules about what flows: that what does not concern a processor passes it, and that circumstances change nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from time import perf_counter, thread_time
from typing import Any, Final

import trio
import trio.testing

from trio_pipes import (
    Direction,
    EndFrame,
    EndTimeout,
    Frame,
    FrameProcessor,
    SetupTimeout,
    StartFrame,
    StartTimeout,
    StopFrame,
)

from ._handlers import FUNCTIONS
from ._trial import Case, Trial, leaves_of
from ._within import descends_from, within

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # elsewhere than on Linux

    def times_given_away() -> int | None:
        """Unknown here."""
        return None
else:

    def times_given_away() -> int | None:
        """How often this thread has let others have the processor of its own accord."""
        return getrusage(RUSAGE_THREAD).ru_nvcsw


__all__ = [
    "carries_lifecycle",
    "does_not_stall",
    "keeps_order",
    "makes",
    "passes",
    "runs",
    "same_again",
    "same_fused",
    "same_held_open",
    "same_together",
    "same_with_slow_reader",
    "same_with_small_queues",
]

# Seconds that a reader takes for a frame in the rule about slow readers.
SLOW_READER: Final = 1.0
# A stall is told when it happens so many times in a row: once may be the machine's doing.
TRIES: Final = 3


async def _run(case: Case, subject: FrameProcessor | None = None, **settings: Any) -> Trial:
    """A trial from end to end, and its error, if there is one, raised."""
    trial = Trial(case, subject, **settings)
    await within(case.timeout, "the run", trial.run)
    if trial.error is not None:
        raise trial.error
    return trial


# -- a plain run


async def runs(case: Case) -> Iterable[str]:
    trial = Trial(case)
    await within(case.timeout, "the run", trial.run)
    case.known["plain"] = trial
    if isinstance(trial.error, SetupTimeout | StartTimeout | EndTimeout):
        return [str(trial.error)]
    if trial.error is not None:
        raise trial.error
    return []


async def passes(case: Case) -> Iterable[str]:
    trial: Trial = case.known["plain"]
    return trial.lost(trial.put)


async def makes(case: Case) -> Iterable[str]:
    trial: Trial = case.known["plain"]
    return [
        f"{_short(frame)} came out, was not put in, and is none of makes={tuple(each.__name__ for each in case.makes)}"
        for frame in trial.made()
        if not isinstance(frame, case.makes)
    ]


async def keeps_order(case: Case) -> Iterable[str]:
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


async def carries_lifecycle(case: Case) -> Iterable[str]:
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


async def same_fused(case: Case) -> Iterable[str]:
    problems = list(_differs(case, await _run(case, debug=True), "with debug=True"))
    subject = case.make()
    for leaf in leaves_of(subject):
        if type(leaf) not in FUNCTIONS:
            leaf.inline = True
    problems += _differs(case, await _run(case, subject), "with inline=True")
    return problems


async def same_with_small_queues(case: Case) -> Iterable[str]:
    return _differs(case, await _run(case, queue_size=1), "with queue_size=1")


async def same_with_slow_reader(case: Case) -> Iterable[str]:
    return _differs(case, await _run(case, seconds_a_frame=SLOW_READER, queue_size=1), "with a slow reader")


async def same_again(case: Case) -> Iterable[str]:
    subject = case.make()
    await _run(case, subject)
    return _differs(case, await _run(case, subject), "in a second run of the same instance")


async def same_held_open(case: Case) -> Iterable[str]:
    subject = case.make()
    problems: list[str] = []

    async def several() -> None:
        async with subject:
            problems.extend(_differs(case, await _run(case, subject), "held open by `async with`"))
            problems.extend(_differs(case, await _run(case, subject), "in a second run in one `async with`"))
            await Trial(case, subject).run(_cut_off)
            problems.extend(
                _differs(case, await _run(case, subject), "after a run that was cancelled, in one `async with`")
            )

    await within(case.timeout, "the runs in one `async with`", several)
    return problems


async def _cut_off(trial: Trial) -> None:
    puts = list(trial.case.feed())
    await trial.queue(puts[: len(puts) // 2])
    await trio.testing.wait_all_tasks_blocked()
    trial.task.cancel("to see what the next run makes of what is left")


async def same_together(case: Case) -> Iterable[str]:
    trials: list[Trial] = []

    async def run() -> None:
        trials.append(await _run(case))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(run)
    return [each for trial in trials for each in _differs(case, trial, "while another instance runs")]


# -- time


class _Stalls(trio.abc.Instrument):
    """The longest step of the tasks below one, in real seconds.

    Where the system tells, a step that only waited for the processor does not count: it neither worked for long nor
    gave the processor away by itself, as whoever sleeps or reads does.
    """

    def __init__(self, top: trio.lowlevel.Task, limit: float) -> None:
        self.top = top
        self.limit = limit
        self.longest = 0.0
        self._began = math.inf
        self._worked = 0.0
        self._gave_away = times_given_away()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._worked, self._gave_away = thread_time(), times_given_away()
        self._began = perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = perf_counter() - self._began
        if took <= max(self.longest, self.limit) or not descends_from(task, self.top):
            return
        given_away = times_given_away()
        if thread_time() - self._worked > self.limit or given_away is None or given_away != self._gave_away:
            self.longest = took


async def does_not_stall(case: Case) -> Iterable[str]:
    shortest = math.inf
    for _ in range(TRIES):
        stalls = _Stalls(trio.lowlevel.current_task(), case.stall)
        trio.lowlevel.add_instrument(stalls)
        try:
            await _run(case)
        finally:
            trio.lowlevel.remove_instrument(stalls)
        shortest = min(shortest, stalls.longest)
        if shortest <= case.stall:
            return []
    return [f"Trio's loop stood still for {shortest:.3f} s of real time, more than stall={case.stall:g}"]
