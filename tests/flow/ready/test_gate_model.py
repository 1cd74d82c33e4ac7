"""A gate against a list: random frames, openings, interrupts and ends, both ways, with and without room below."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio
import trio.testing
from hypothesis import given, strategies as st
from trio_util import AsyncBool

from examples import examples
from flow_kit import DOWN, UP, Sees, live
from trio_pipes import (
    ControlFrame,
    DataFrame,
    Direction,
    ErrorFrame,
    ErrorPolicy,
    Frame,
    FrameGate,
    FrameProcessor,
    NotifierGate,
    PipelineTask,
    SystemFrame,
    each,
    tee,
)


@attrs.define(eq=False)
class Content(DataFrame):
    label: str = ""


@attrs.define(eq=False)
class Opens(ControlFrame):
    label: str = ""


@attrs.define(eq=False)
class Closes(DataFrame):
    label: str = ""


@attrs.define(eq=False)
class OpensNow(SystemFrame):
    label: str = ""


@attrs.define(eq=False)
class ClosesNow(SystemFrame):
    label: str = ""


KINDS: list[type] = [Content, Content, Content, Opens, Closes, OpensNow, ClosesNow]


@attrs.frozen
class Queue:
    """A frame is queued."""

    kind: type
    direction: Direction
    survives: bool

    def make(self, label: str) -> Frame:
        if issubclass(self.kind, SystemFrame):
            return self.kind(label)
        return self.kind(label, interruptible=not self.survives)


@attrs.frozen
class Interrupt:
    pass


@attrs.frozen
class Tell:
    """The notifier gets another value."""

    value: bool


@attrs.frozen
class Settings:
    start_open: bool
    direction: Direction | None
    limit: int
    overflow: str
    drops: bool
    at_end: str

    def kwargs(self) -> dict[str, object]:
        names = ("direction", "limit", "overflow", "drops", "at_end")
        return {name: getattr(self, name) for name in names}


queues = st.builds(Queue, st.sampled_from(KINDS), st.sampled_from([DOWN, DOWN, UP]), st.booleans())
settings = st.builds(
    Settings,
    start_open=st.booleans(),
    direction=st.sampled_from([DOWN, UP, None]),
    limit=st.sampled_from([1, 2, 1000]),
    overflow=st.sampled_from(["error", "drop_oldest"]),
    drops=st.booleans(),
    at_end=st.sampled_from(["release", "drop"]),
)


class Plain:
    """The same as a list for each direction."""

    def __init__(self, settings: Settings, *, by_frames: bool) -> None:
        self.settings = settings
        self.by_frames = by_frames
        self.open = settings.start_open
        self.kept: dict[Direction, list[Frame]] = {DOWN: [], UP: []}
        self.out: dict[Direction, list[str]] = {DOWN: [], UP: []}

    def frame(self, frame: Frame, direction: Direction) -> None:
        if self.by_frames and not self.open and isinstance(frame, Opens | OpensNow):
            self.open = True
            self._let(frame, direction)
            self._let_all_out()
            return
        if self.by_frames and self.open and isinstance(frame, Closes | ClosesNow):
            self.open = False
        held = self.settings.direction in (None, direction) and not isinstance(frame, SystemFrame)
        if self.open or not held:
            self._let(frame, direction)
        elif not self.settings.drops:
            self._keep(frame, direction)

    def tell(self, value: bool) -> None:
        self.open = value
        if value:
            self._let_all_out()

    def interrupt(self) -> None:
        for direction, kept in self.kept.items():
            self.kept[direction] = [frame for frame in kept if not frame.interruptible]

    def end(self) -> None:
        if self.open or self.settings.at_end == "release":
            self._let_all_out()

    def _keep(self, frame: Frame, direction: Direction) -> None:
        kept = self.kept[direction]
        if len(kept) >= self.settings.limit:
            if self.settings.overflow == "error":
                self.out[UP].append("error")
                return
            kept.pop(0)
        kept.append(frame)

    def _let(self, frame: Frame, direction: Direction) -> None:
        self.out[direction].append(frame.label)  # type: ignore[attr-defined]

    def _let_all_out(self) -> None:
        for direction, kept in self.kept.items():
            while kept:
                self._let(kept.pop(0), direction)


def labels(frames: list[Frame]) -> list[str]:
    return ["error" if isinstance(frame, ErrorFrame) else frame.label for frame in frames]  # type: ignore[attr-defined]


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked(0)


async def follow(gate: FrameProcessor, flag: AsyncBool | None, plain: Plain, steps: list[object]) -> None:
    """Both do the same, and after each step have the same to show."""
    async with live([Sees(), gate, Sees()], on_error=ErrorPolicy.REPORT) as run:
        for number, step in enumerate(steps):
            match step:
                case Queue():
                    frame = step.make(str(number))
                    await run.task.queue_frame(frame, step.direction)
                    plain.frame(frame, step.direction)
                case Interrupt():
                    run.task.interrupt()
                    plain.interrupt()
                case Tell(value):
                    assert flag is not None
                    flag.value = value
                    plain.tell(value)
            await settle()
            assert (labels(run.down), labels(run.up)) == (plain.out[DOWN], plain.out[UP])
            assert gate.is_open is plain.open  # type: ignore[attr-defined]
            assert gate.kept == sum(map(len, plain.kept.values()))  # type: ignore[attr-defined]
    plain.end()
    assert (labels(run.down), labels(run.up)) == (plain.out[DOWN], plain.out[UP])


def run_now(fn, *args) -> None:
    trio.run(fn, *args, clock=trio.testing.MockClock(autojump_threshold=0))


@examples(200)
@given(settings, st.lists(st.one_of(queues, queues, queues, st.just(Interrupt())), max_size=25))
def test_a_gate_that_frames_open_does_what_a_list_does(settings: Settings, steps: list[object]) -> None:
    gate = FrameGate((Opens, OpensNow), (Closes, ClosesNow), start_open=settings.start_open, **settings.kwargs())
    run_now(follow, gate, None, Plain(settings, by_frames=True), steps)


@examples(200)
@given(settings, st.lists(st.one_of(queues, queues, st.just(Interrupt()), st.builds(Tell, st.booleans())), max_size=25))
def test_a_gate_that_is_told_does_what_a_list_does(settings: Settings, steps: list[object]) -> None:
    flag = AsyncBool(settings.start_open)
    gate = NotifierGate(flag, **settings.kwargs())
    run_now(follow, gate, flag, Plain(settings, by_frames=False), steps)


# -- frames that come faster than they go: nothing is at rest when something happens


class Slow(FrameProcessor):
    """Takes a second over each frame."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is DOWN and hasattr(frame, "label"):
            await trio.sleep(1)
        await self.push_frame(frame, direction)


@attrs.frozen
class Wait:
    seconds: float


Below = Callable[[], list[FrameProcessor]]
BELOW: dict[str, Below] = {
    "slow": lambda: [Slow()],
    "slow and fused": lambda: [Slow(inline=True)],
    "function and slow": lambda: [each(lambda frame: frame), Slow()],
    "copies to the side": lambda: [tee([Slow()], [Slow(inline=True)])],
    "nothing": list,
}
below = st.sampled_from(sorted(BELOW))
waits = st.builds(Wait, st.sampled_from([0, 0.5, 1, 3]))
contents = st.builds(Queue, st.just(Content), st.just(DOWN), st.booleans())
by_frame = st.builds(Queue, st.sampled_from([Opens, Closes, OpensNow, ClosesNow]), st.just(DOWN), st.booleans())
bursts = st.lists(contents, min_size=1, max_size=8)


def history(*others: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    """Bursts of frames, and between them something else."""
    one = st.one_of(bursts, *(st.builds(lambda step: [step], other) for other in (waits, *others)))
    return st.lists(one, max_size=14).map(lambda parts: [step for part in parts for step in part])


class Hurry:
    """What came of a history in which nobody waited until all was at rest."""

    def __init__(self, steps: list[object], kind: str) -> None:
        self.steps = steps
        self.kind = kind
        self.queued: list[Frame] = []
        self.above, self.last = Sees(), Sees()
        self.seen_at_interrupts: list[tuple[set[Frame], int]] = []

    async def run(self, gate: FrameProcessor, flag: AsyncBool | None = None) -> None:
        async with live([self.above, gate, *BELOW[self.kind](), self.last], queue_size=2) as run:
            for number, step in enumerate(self.steps):
                match step:
                    case Queue():
                        self.queued.append(step.make(str(number)))
                        await run.task.queue_frame(self.queued[-1])
                    case Interrupt():
                        self._interrupt(run.task)
                    case Wait(seconds):
                        await trio.sleep(seconds)
                    case Tell(value):
                        assert flag is not None
                        flag.value = value
        for frames, count in self.seen_at_interrupts:
            late = [frame for frame, _ in self.last.seen[count:] if frame in frames and frame.interruptible]
            assert late == [], "stale frames came after an interrupt"

    def _interrupt(self, task: PipelineTask) -> None:
        task.interrupt()
        self.seen_at_interrupts.append(({frame for frame, _ in self.above.seen}, len(self.last.seen)))

    def came(self) -> list[str]:
        return [frame.label for frame, way in self.last.seen if way is DOWN and hasattr(frame, "label")]

    def must_come(self) -> set[str]:
        interrupted = any(isinstance(step, Interrupt) for step in self.steps)
        return {frame.label for frame in self.queued if not (interrupted and frame.interruptible)}  # type: ignore[attr-defined]


@examples(150)
@given(st.booleans(), history(by_frame.filter(lambda step: not issubclass(step.kind, SystemFrame))), below)
def test_without_interrupts_no_backlog_changes_what_comes_out(start_open, steps, kind) -> None:
    hurried = Hurry(steps, kind)
    run_now(hurried.run, FrameGate(Opens, Closes, start_open=start_open))
    plain = Plain(Settings(start_open, DOWN, 1000, "error", drops=False, at_end="release"), by_frames=True)
    for frame in hurried.queued:
        plain.frame(frame, DOWN)
    plain.end()
    assert hurried.came() == plain.out[DOWN]


@examples(200)
@given(st.booleans(), history(by_frame, st.just(Interrupt())), below)
def test_whatever_an_interrupt_finds_what_survives_comes_once_and_what_is_stale_never(start_open, steps, kind) -> None:
    hurried = Hurry(steps, kind)
    run_now(hurried.run, FrameGate((Opens, OpensNow), (Closes, ClosesNow), start_open=start_open))
    came = hurried.came()
    assert len(set(came)) == len(came)
    assert hurried.must_come() <= set(came)


@examples(200)
@given(history(st.builds(Tell, st.booleans()), st.just(Interrupt())), below)
def test_a_flag_that_flutters_changes_no_order_and_loses_nothing_that_survives(steps, kind) -> None:
    flag = AsyncBool()
    hurried = Hurry(steps, kind)
    run_now(hurried.run, NotifierGate(flag), flag)
    came = [int(label) for label in hurried.came()]
    assert came == sorted(set(came))
    assert hurried.must_come() <= set(map(str, came))
