"""What one session was given and what came out of it, so that a lost frame is noticed.

Every frame that is queued carries a number, and keeps it when a processor replaces the frame by a new one. What
has to be known about a number: whether the task accepted it, whether an interrupt may have made it stale, whether a
processor failed on it, and how often it came out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs

from trio_pipes import AudioFrame, ControlFrame, DataFrame, Direction, Frame, SystemFrame, TextFrame


@attrs.define(eq=False)
class Said(TextFrame):
    number: int = attrs.field(default=0, kw_only=True)


@attrs.define(eq=False)
class Heard(AudioFrame):
    number: int = attrs.field(default=0, kw_only=True)


@attrs.define(eq=False)
class Note(SystemFrame):
    number: int = attrs.field(default=0, kw_only=True)


@attrs.define(eq=False)
class Echo(DataFrame):
    """What a part of the pipeline has made by itself; no other part takes it for its own."""

    number: int = attrs.field(default=0, kw_only=True)


@attrs.define(eq=False)
class Opens(ControlFrame):
    """Opens gates."""


@attrs.define(eq=False)
class Closes(ControlFrame):
    """Closes gates."""


PRODUCER = 1_000_000  # numbers of one producer's frames


def renewed(frame: Said | Heard) -> Said | Heard:
    """Another frame with the same number."""
    if isinstance(frame, Heard):
        return Heard(frame.audio, frame.sample_rate, interruptible=frame.interruptible, number=frame.number)
    return Said(frame.text, interruptible=frame.interruptible, number=frame.number)


@attrs.define(eq=False)
class _Entry:
    interruptible: bool
    since: int  # interrupts that had happened when it was handed over
    accepted: bool | None = None  # None: not known, one of a batch that was refused
    queued: bool = True  # not pushed by a processor
    copies: int | None = None  # that come out; None: as many as the pipeline makes


@attrs.define(eq=False)
class Book:
    """The account of one session."""

    down: dict[int, _Entry] = attrs.field(factory=dict)
    up: dict[int, _Entry] = attrs.field(factory=dict)
    out_down: list[int] = attrs.field(factory=list)
    out_up: list[int] = attrs.field(factory=list)
    interrupts: int = 0
    failed: set[int] = attrs.field(
        factory=set
    )  # numbers that may be missing: a processor raised for them, or dropped them
    lost: set[int] = attrs.field(factory=set)  # those of them that went with a service, as an error tells
    raised: int = 0
    cancel_asked: bool = False
    stop_asked: bool = False
    opened: int = 0
    closed: int = 0
    passed_by: bool = False  # a processor was unusable: what renews frames then lets them by, and fewer come out
    unnumbered: int = 0  # frames that were accepted and end at a processor
    unknown: bool = False  # whether all of the accepted ones are known
    problems: list[str] = attrs.field(factory=list)

    def offer(self, frame: Frame, direction: Direction = Direction.DOWNSTREAM) -> None:
        """It is about to be queued."""
        side = self.down if direction is Direction.DOWNSTREAM else self.up
        entry = _Entry(frame.interruptible, self.interrupts, accepted=False)
        if side.setdefault(number_of(frame), entry) is not entry:
            raise AssertionError(f"{number_of(frame)} is used twice")

    def accepted(self, frame: Frame, direction: Direction = Direction.DOWNSTREAM) -> None:
        side = self.down if direction is Direction.DOWNSTREAM else self.up
        side[number_of(frame)].accepted = True

    def pushed(self, frame: Frame) -> None:
        """A processor has pushed it upstream."""
        entry = self.up[number_of(frame)]
        entry.accepted, entry.queued = True, False

    def made(self, frame: Frame, direction: Direction, sure: bool) -> None:
        """A processor has made it and pushes it; `sure`: nothing but an interrupt can keep it from coming out."""
        side = self.down if direction is Direction.DOWNSTREAM else self.up
        entry = _Entry(frame.interruptible, self.interrupts, True if sure else None, queued=False, copies=1)
        if side.setdefault(number_of(frame), entry) is not entry:
            raise AssertionError(f"{number_of(frame)} is used twice")

    def perhaps(self, frames: list[Frame]) -> None:
        """A batch was refused while some of it may have gone in."""
        self.unknown = True
        for frame in frames:
            self.down[number_of(frame)].accepted = None

    def out(self, frame: Frame, direction: Direction) -> None:
        (self.out_down if direction is Direction.DOWNSTREAM else self.out_up).append(number_of(frame))

    @property
    def count(self) -> int:
        """How many the task has accepted."""
        numbered = sum(
            entry.accepted is True and entry.queued for side in (self.down, self.up) for entry in side.values()
        )
        return numbered + self.unnumbered

    def check(self, copies: int, in_order: bool, complete: bool) -> Iterator[str]:
        """What is wrong; `copies` of each come out below, and all of them when the run was `complete`."""
        yield from self.problems
        yield from self._check_side("down", self.down, Counter(self.out_down), copies, complete)
        yield from self._check_side("up", self.up, Counter(self.out_up), 1, complete)
        if in_order:
            latest: dict[tuple[bool, int], int] = {}
            for number in self.out_down:
                producer = (number < 0, abs(number) // PRODUCER)  # system frames have an order of their own
                if producer in latest and abs(number) <= abs(latest[producer]):
                    yield f"{number} came out behind {latest[producer]}"
                latest[producer] = number
        if self.opened != self.closed:
            yield f"{self.opened} resources were opened, {self.closed} closed"

    def _check_side(
        self, side: str, entries: dict[int, _Entry], out: Counter[int], copies: int, complete: bool
    ) -> Iterator[str]:
        for number, count in out.items():
            if number not in entries:
                yield f"{side}: {number} came out and was never queued"
            elif entries[number].accepted is False:
                yield f"{side}: {number} came out though it was refused"
            elif count > (most := 1 if number < 0 else entries[number].copies or copies):
                yield f"{side}: {number} came out {count} times, expected {most}"
        if not complete:
            return
        for number, entry in entries.items():
            expected = 1 if number < 0 or self.passed_by else entry.copies or copies
            if entry.accepted is not True or number in self.failed:
                continue
            if entry.interruptible and self.interrupts > entry.since:
                continue  # may have become stale
            if out[number] < expected:
                yield f"{side}: {number} was accepted and came out {out[number]} times, expected {expected}"


def number_of(frame: Frame) -> int:
    """The number; system frames, which no processor replaces, count below zero."""
    number: int = frame.number  # type: ignore[attr-defined]
    return -1 - number if isinstance(frame, Note) else number
