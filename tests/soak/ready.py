"""The ready-made processors of a session, and the accounts of what they may keep for themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import trio

from trio_pipes import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Consumer,
    ControlFrame,
    Direction,
    Frame,
    FrameFilter,
    FrameGate,
    FrameLogger,
    FrameNotifier,
    FrameProcessor,
    FunctionFilter,
    IdleFrameProcessor,
    InterruptionFrame,
    NotifierGate,
    Producer,
    StartFrame,
    Tap,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
    WakePhraseFilter,
    each,
)

from .book import PRODUCER, Closes, Echo, Heard, Opens, Said, number_of, renewed
from .pieces import Copies, Ready
from .script import copies_in

if TYPE_CHECKING:
    from .session import Session

DOWN, UP = Direction.DOWNSTREAM, Direction.UPSTREAM
WAYS: dict[str, Direction | None] = {"down": DOWN, "up": UP, "both": None}
MADE = 10  # groups of numbers from here on belong to frames that parts have made
SPEECH = {
    "user started": UserStartedSpeakingFrame,
    "user stopped": UserStoppedSpeakingFrame,
    "turn started": UserTurnStartedFrame,
    "turn stopped": UserTurnStoppedFrame,
    "bot started": BotStartedSpeakingFrame,
    "bot stopped": BotStoppedSpeakingFrame,
}


class Passed(FrameProcessor):
    """Writes down what passes."""

    def __init__(self, session: Session, begins: Callable[[], None] = lambda: None) -> None:
        super().__init__(inline=True)
        self.session, self.begins = session, begins
        self.numbers: dict[Direction, Counter[int]] = {DOWN: Counter(), UP: Counter()}
        self.since: dict[int, tuple[bool, int]] = {}  # whether it is interruptible, and interrupts until then
        self.order: list[int] = []

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, StartFrame):
            self.begins()
        if hasattr(frame, "number"):
            number = number_of(frame)
            self.numbers[direction][number] += 1
            self.since[number] = (frame.interruptible, self.session.book.interrupts)
            if direction is DOWN and isinstance(frame, Said | Heard | Echo):
                self.order.append(frame.id)
        await self.push_frame(frame, direction)


class Lossy:
    """The account of a part that may keep frames for itself, between two that write down what passes."""

    def __init__(self, session: Session, part: Any, way: Direction | None) -> None:
        self.session, self.part, self.way = session, part, way
        self.place = session.place
        self.above, self.below = Passed(session, self.begins), Passed(session)
        self.dropped = 0  # by a gate in a service, each time that it was at work before

    def begins(self) -> None:
        """The part begins; a gate then counts from nothing."""
        self.dropped += getattr(self.part, "dropped", 0)

    def missing(self) -> Iterator[tuple[int, int]]:
        """Numbers, and how many frames of that number went in and did not come out."""
        for way, before, after in ((DOWN, self.above, self.below), (UP, self.below, self.above)):
            for number, count in (before.numbers[way] - after.numbers[way]).items():
                if self.way in (None, way):
                    yield number, count

    def settle(self) -> None:
        """Nobody asks for what it has kept."""
        self.session.book.failed.update(number for number, _ in self.missing() if number >= 0)

    def problems(self) -> Iterator[str]:
        gate = self.part
        for number, _ in self.missing():
            if number < 0:
                yield f"{gate.name} has kept a system frame"
        if not isinstance(gate, FrameGate | NotifierGate) or gate.overflow == "error" or gate.timeout is not None:
            return
        lost = 0
        for number, count in self.missing():
            places = [passed.since[number] for passed in (self.above, self.below) if number in passed.since]
            stale = any(interruptible and self.session.book.interrupts > since for interruptible, since in places)
            went_with_it = self.place is not None and number in self.session.book.lost
            lost += 0 if stale or went_with_it else count
        dropped = self.dropped + gate.dropped
        if lost > dropped:
            yield f"{gate.name} says that it has dropped {dropped}, and {lost} are missing"


def is_opens(frame: Frame) -> bool:
    return isinstance(frame, Opens)


def is_closes(frame: Frame) -> bool:
    return isinstance(frame, Closes)


def build_ready(session: Session, one: Ready) -> list[Any]:
    """The processors of a piece."""
    way, settings = WAYS[one.way], one.settings
    match one.kind:
        case "logger":
            return [FrameLogger(session.script.name, direction=way)]
        case "tap":
            return build_tap(session, one)
        case "talks":
            return [Talks(settings["at"])]
        case "idle":
            return [build_idle(session, settings["timeout"])]
        case "notifier":

            def when(frame: Said | Heard) -> bool:
                return bool(frame.number % settings["every"] == 0)

            return [FrameNotifier(session.notifiers[settings["notifier"]], when, direction=way)]
        case "frame gate" | "notifier gate":
            part: Any = build_gate(session, one)
        case "filter":
            part = FrameFilter(Said, Heard, ControlFrame, direction=way)
        case "function filter":

            def function(frame: Said | Heard) -> bool:
                return bool(frame.number % settings["every"] != 0)

            part = FunctionFilter(function, direction=way)
        case "async filter":

            async def asynchronous(frame: Said | Heard) -> bool:
                await trio.sleep(0.001)
                return bool(frame.number % settings["every"] != 0)

            part = FunctionFilter(asynchronous, direction=way)
        case "wake":
            part = WakePhraseFilter("a few", Said, keep=settings["keep"], timeout=settings["timeout"], direction=way)
        case kind:
            raise AssertionError(kind)
    account = Lossy(session, part, way)
    session.accounts.append(account)
    if not one.renews:
        return [account.above, part, account.below]

    @each
    def another(frame: Said | Heard) -> Frame:
        return renewed(frame)

    return [account.above, part, account.below, another]


def build_gate(session: Session, one: Ready) -> FrameGate | NotifierGate:
    settings = one.settings
    kept: dict[str, Any] = {name: settings[name] for name in ("limit", "overflow", "drops", "at_end", "timeout")}
    if kept["overflow"] == "error" or kept["timeout"] is not None:
        session.gates_fail = True
    if one.kind == "notifier gate":
        if settings["notifier"] == 2:
            kept["drops"] = False
        return NotifierGate(session.notifiers[settings["notifier"]], direction=WAYS[one.way], **kept)
    opens: dict[str, Any] = {
        "frame": Opens,
        "function": is_opens,
        "speech": (Opens, UserStartedSpeakingFrame, BotStoppedSpeakingFrame),
    }
    closes: dict[str, Any] = {"frame": Closes, "function": is_closes, "interrupt": InterruptionFrame, "none": None}
    return FrameGate(
        opens[settings["opens"]],
        closes[settings["closes"]],
        start_open=settings["start_open"],
        direction=WAYS[one.way],
        **kept,
    )


# -- what makes frames


class Talks(FrameProcessor):
    """Tells who speaks, in an order that makes no sense."""

    def __init__(self, at: dict[int, str]) -> None:
        super().__init__()
        self.at, self.handled = at, 0

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, Said | Heard):
            self.handled += 1
            what = self.at.get(self.handled)
            if what is not None:
                await self.broadcast_frame(SPEECH[what], at=trio.current_time() - 0.01 * (self.handled % 5))
        await self.push_frame(frame, direction)


def build_idle(session: Session, timeout: float) -> IdleFrameProcessor:
    session.groups += 1
    numbers = iter(range((MADE + session.groups) * PRODUCER, (MADE + session.groups + 1) * PRODUCER))

    async def callback(processor: IdleFrameProcessor) -> None:
        frame = Echo(number=next(numbers))
        session.book.made(frame, DOWN, sure=False)
        await processor.push_frame(frame)

    return IdleFrameProcessor(timeout, callback)


def build_copies(session: Session, one: Copies) -> Producer | Consumer:
    """A producer or a consumer; whichever of them comes first makes the producer."""
    if one.producer not in session.copiers:
        session.copiers[one.producer] = Copier(session, one.producer)
    copier = session.copiers[one.producer]
    return copier.producer if one.consumer is None else copier.consumer(one)


class Copier:
    """A producer and its consumers. Each copy has a number for each consumer."""

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.count = 0
        self.consumers: list[tuple[int, Copies]] = []
        self.made: list[tuple[int, Consumer]] = []
        (settings,) = [
            one.settings for one in copies_in(session.script.shape) if one.consumer is None and one.producer == number
        ]
        self.passes, slow = settings["passes"], settings["slow"]

        async def slowly(frame: Said | Heard) -> Frame:
            await trio.sleep(0.002)
            return self.copy(frame)

        self.producer = Producer((Said, Heard), transform=slowly if slow else self.copy, passthrough=self.passes)

    def copy(self, frame: Said | Heard) -> Frame:
        book = self.session.book
        if not self.passes:
            book.failed.add(frame.number)
        self.count += 1
        for group, one in self.consumers:
            made = Echo(interruptible=frame.interruptible, number=group * PRODUCER + self.count)
            book.made(made, UP if one.settings["up"] else DOWN, sure=one.settings["comes_out"])
        return Echo(interruptible=frame.interruptible, number=self.count)

    def consumer(self, one: Copies) -> Consumer:
        self.session.groups += 1
        group = MADE + self.session.groups
        self.consumers.append((group, one))

        def transform(frame: Echo) -> Frame:
            return Echo(interruptible=frame.interruptible, number=group * PRODUCER + frame.number)

        async def slowly(frame: Echo) -> Frame:
            await trio.sleep(0.002)
            return transform(frame)

        fn: Any = slowly if one.settings["slow"] else transform
        consumer = Consumer(self.producer, transform=fn, direction=UP if one.settings["up"] else DOWN)
        self.made.append((group, consumer))
        return consumer

    def settle(self) -> Iterator[str]:
        """In a loop copies may come too late, which is documented; each has to be counted."""
        book = self.session.book
        for group, consumer in self.made:
            side, out = (book.up, book.out_up) if consumer.direction is UP else (book.down, book.out_down)
            late = self.session.late.get(consumer.name, 0)
            if late:
                came_out = set(out)
                ours = {n for n in side if n // PRODUCER == group and side[n].accepted}  # the others end on the way
                missing = ours - came_out - book.failed
                stale = {n for n in missing if side[n].interruptible and book.interrupts > side[n].since}
                if len(missing - stale) > late:
                    yield f"{consumer.name} counts {late} copies that came too late, and {len(missing - stale)} are missing"
                book.failed |= missing


# -- taps


def build_tap(session: Session, one: Ready) -> list[Any]:
    settings = one.settings

    def identity(frame: Frame) -> int:
        return frame.id

    async def slowly(frame: Frame) -> int:
        await trio.lowlevel.checkpoint()
        return frame.id

    way = WAYS[one.way]
    tap: Tap[int] = Tap(Said, Heard, Echo, serialize=slowly if settings["slow"] else identity, direction=way)
    account = Tapped(session, tap, settings, way)
    session.taps.append(account)
    return [tap, account.below]


class Tapped:
    """What a reader of a tap has got, and what has passed the tap."""

    def __init__(self, session: Session, tap: Tap[int], settings: dict[str, Any], way: Direction | None) -> None:
        self.session, self.tap, self.settings, self.way = session, tap, settings, way
        self.below = Passed(session)
        self.got: list[int] = []
        self.gets_all = False

    async def read(self) -> None:
        settings = self.settings
        self.gets_all = not settings["begins"] and settings["lasts"] == math.inf and settings["overflow"] == "wait"
        if settings["begins"]:  # otherwise it is there before the first frame
            await trio.sleep(settings["begins"])
        with trio.move_on_after(settings["lasts"]):
            async with self.tap.open(settings["buffer"], overflow=settings["overflow"]) as items:
                async for item in items:
                    self.got.append(item)

    def problems(self, complete: bool) -> Iterator[str]:
        if len(set(self.got)) < len(self.got) and self.way is DOWN:
            yield f"a reader of {self.tap.name} got a frame twice"
        if self.way is not DOWN or not self.gets_all or not complete:
            return
        got, passed = set(self.got), set(self.below.order)
        missing = len(passed - got)
        if missing:
            yield f"{missing} frames passed {self.tap.name}, which its reader did not get"
        if [item for item in self.got if item in passed] != [item for item in self.below.order if item in got]:
            yield f"the reader of {self.tap.name} got frames in another order than they passed it"
