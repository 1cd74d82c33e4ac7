"""`FaultyProcessor`: a fault, injected at a frame of your choice."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Collection, Iterable
from enum import Enum

import trio

from trio_pipes import ConfigurationError, DataFrame, Direction, Frame, FrameProcessor, StartFrame
from trio_pipes._base import are_classes, check_instance, check_number, refuse

__all__ = ["Fault", "FaultyProcessor"]


class Fault(Enum):
    """What goes wrong."""

    RAISE = "raise"
    """It raises `error`."""
    HANG = "hang"
    """It waits, for `seconds` or for ever, and then passes the frame on."""
    SHIELD = "shield"
    """The same, and no cancel can stop it."""
    SWALLOW_CANCEL = "swallow cancel"
    """The same, and a cancel (or an interrupt) ends the wait and is forgotten."""
    STALL = "stall"
    """It stops Trio's loop, and with it the whole process, for `seconds` of real time."""
    DROP = "drop"
    """The frame is gone."""
    DUPLICATE = "duplicate"
    """The frame is passed on twice."""
    REORDER = "reorder"
    """The frame is passed on behind the next one."""


NEED_SECONDS = (Fault.SHIELD, Fault.STALL)


class FaultyProcessor(FrameProcessor):
    """Passes on everything, but for a fault at the `at`-th frame of `types` that comes from `direction`.

    `at` counts from 1 and may be several numbers; `rate` (0 to 1) makes faults by chance instead, the same ones for the same
    `seed`. `seconds` are on Trio's clock but for `Fault.STALL`. `error` is what `Fault.RAISE` raises.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        at: int | Collection[int] = 1,
        rate: float | None = None,
        seed: int = 0,
        types: type[Frame] | tuple[type[Frame], ...] = DataFrame,
        direction: Direction = Direction.DOWNSTREAM,
        seconds: float | None = None,
        error: Exception | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if not isinstance(fault, Fault):
            raise ConfigurationError(f"FaultyProcessor was given {fault!r}, expected a Fault, such as Fault.RAISE")
        if seconds is None and fault in NEED_SECONDS:
            raise ConfigurationError(f"FaultyProcessor({fault}) needs seconds=..., how long it lasts")
        if seconds is not None:
            check_number("FaultyProcessor(seconds", seconds, "seconds, 0 or more")
        if fault is Fault.STALL and seconds == math.inf:
            raise ConfigurationError("FaultyProcessor(Fault.STALL, seconds=math.inf) would never end: expected seconds")
        if rate is not None:
            check_number("FaultyProcessor(rate", rate, "a number from 0 to 1", most=1.0)
        check_instance("FaultyProcessor(seed", seed, int, "a whole number")
        check_instance(
            "FaultyProcessor(error", error, Exception, "an exception, such as ValueError('x')", optional=True
        )
        check_instance("FaultyProcessor(direction", direction, Direction, "a member of Direction")
        self._types = types if isinstance(types, tuple) else (types,)
        if not are_classes(self._types, Frame):
            raise refuse("FaultyProcessor(types", types, "a class of frames, or a tuple of them")
        self._at = frozenset(_numbers(at))
        self._fault, self._rate, self._seed, self._direction = fault, rate, seed, direction
        self._seconds = math.inf if seconds is None else seconds
        self._error = error
        self._begin()

    def _begin(self) -> None:
        self.faults: int = 0
        """How often it has happened in this run."""
        self._count = 0
        self._random = random.Random(self._seed)
        self._held: Frame | None = None

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Pass it on, or not."""
        if isinstance(frame, StartFrame):
            self._begin()
        if direction is self._direction and isinstance(frame, self._types) and self._is_due():
            self.faults += 1
            await self._go_wrong(frame, direction)
            return
        await self.push_frame(frame, direction)
        if self._held is not None and direction is self._direction:
            held, self._held = self._held, None
            await self.push_frame(held, direction)

    def _is_due(self) -> bool:
        self._count += 1
        if self._rate is not None:
            return self._random.random() < self._rate
        return self._count in self._at

    async def _go_wrong(self, frame: Frame, direction: Direction) -> None:
        match self._fault:
            case Fault.RAISE:
                raise self._error or RuntimeError(f"fault injected at {frame.name}, number {self._count}")
            case Fault.DROP:
                return
            case Fault.REORDER:
                if self._held is None:
                    self._held = frame
                    return
            case Fault.DUPLICATE:
                await self.push_frame(frame, direction)
            case Fault.STALL:
                time.sleep(self._seconds)  # noqa: ASYNC251, TID251  (the fault itself)
            case Fault.HANG:
                await trio.sleep(self._seconds)
            case Fault.SHIELD:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self._seconds)
            case Fault.SWALLOW_CANCEL:
                try:
                    await trio.sleep(self._seconds)
                except trio.Cancelled:  # noqa: ASYNC103
                    return  # noqa: ASYNC104
        await self.push_frame(frame, direction)


def _numbers(at: object) -> Iterable[int]:
    numbers = (
        [at] if isinstance(at, int) else list(at) if isinstance(at, Collection) and not isinstance(at, str) else [at]
    )
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 1 for number in numbers):
        raise refuse("FaultyProcessor(at", at, "numbers of frames, counted from 1")
    return numbers  # type: ignore[return-value]  # looked at just above
