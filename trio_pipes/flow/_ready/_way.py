"""One direction through a gate: what is kept there, and the task that lets it out.

# How a gate keeps its promises.
#
# Each direction has a way of its own. A handler below may wait for an answer that goes up, so what goes up must never
# stand behind what goes down. That it is a task that lets frames out, and not the handler of the frame that opened the
# gate, is for the frames: an interrupt or a deadline that stops the handler must not lose one that is just leaving.
#
# While that task is at it, handlers of newer frames wait for it, so that only a closed gate keeps more and more; and so
# does the handler of the end, so that nothing is left behind it. An interrupt takes effect at once: a frame has the
# number of interrupts that there had been when it came, and with another one now it is stale, whether the gate has been
# told yet or not.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import attrs
import trio

from trio_pipes._base import FloodError
from trio_pipes.flow._frames import Direction, Frame

__all__ = ["Kept", "Way"]


@attrs.define(eq=False)
class Kept:
    """A frame behind a closed gate."""

    frame: Frame
    since: float
    """Seconds on Trio's clock."""
    interrupts: int
    """That had taken effect when it came."""
    free: bool = False
    """It leaves, whatever the gate is."""

    def is_stale(self, interrupts: int) -> bool:
        """Whether there has been one since, and it does not survive that; `interrupts` is how many there have been."""
        return bool(self.frame.interruptible) and self.interrupts != interrupts


class _Gate(Protocol):
    """What a way asks of its gate."""

    name: str
    limit: int
    dropped: int

    @property
    def overflow(self) -> str: ...

    @property
    def _lets_through(self) -> bool: ...

    @property
    def _keeps_nothing(self) -> bool: ...

    def _interrupts(self) -> int: ...

    def _met_closed(self) -> None: ...

    def _waits_for(self) -> str: ...

    async def push_frame(self, frame: Frame, direction: Direction = ...) -> None: ...


class Way:
    """What goes one way."""

    kept: deque[Kept]

    def __init__(self, gate: _Gate, direction: Direction) -> None:
        self.gate = gate
        self.direction = direction
        self.kept = deque()
        self._leaving = False  # one is on its way out
        self._wake = trio.Event()  # for the task
        self._moved = trio.Event()  # for handlers that wait for it

    # -- for handlers

    async def take(self, frame: Frame) -> None:
        """Let a frame through, or keep it; behind all that has come before."""
        if self.gate._lets_through and not (self.kept or self._leaving):
            await self.gate.push_frame(frame, self.direction)
            return
        came = self.gate._interrupts()  # an interrupt may take effect while it waits
        while self.gate._lets_through and (self.kept or self._leaving):
            await self._moved.wait()
        if self.gate._lets_through:
            await self.gate.push_frame(frame, self.direction)
        else:
            self._keep(Kept(frame, trio.current_time(), came))

    def put_first(self, frame: Frame) -> None:
        """Have a frame let out before all that is kept."""
        self.kept.appendleft(Kept(frame, trio.current_time(), self.gate._interrupts()))

    async def wait_emptied(self) -> None:
        """Wait until all that may leave has left."""
        while self._leaving or (self.kept and self._may_leave()):
            await self._moved.wait()

    def _keep(self, kept: Kept) -> None:
        gate = self.gate
        gate._met_closed()
        if gate._keeps_nothing:
            gate.dropped += 1
            return
        if len(self.kept) >= gate.limit:
            if gate.overflow == "error":
                raise FloodError(
                    f"{gate.name!r} is closed and keeps {len(self.kept)} frames, as many as it may (limit={gate.limit}): "
                    f"it waits for {gate._waits_for()}. Let it keep more, or drop (overflow='drop_oldest', drops=True)"
                )
            self.kept.popleft()
            gate.dropped += 1
        self.kept.append(kept)

    # -- for the gate

    def look(self) -> None:
        """The gate is another one now, or what is kept has been changed."""
        self._wake.set()
        self._has_moved()

    def free(self) -> None:
        """Let out what is kept now."""
        for kept in self.kept:
            kept.free = True
        self.look()

    def drop_stale(self) -> None:
        """There was an interrupt."""
        now = self.gate._interrupts()
        self.kept = deque(kept for kept in self.kept if not kept.is_stale(now))
        self.look()

    def drop(self) -> int:
        """Forget what may not leave; how many these were."""
        free = [kept for kept in self.kept if kept.free]
        count = len(self.kept) - len(free)
        self.kept = deque(free)
        self.look()
        return count

    async def let_out(self) -> None:
        """The task: let out what may leave, whenever there is something."""
        while True:
            self._wake = trio.Event()
            while self.kept and self._may_leave():
                kept = self.kept.popleft()
                if not kept.is_stale(self.gate._interrupts()):
                    self._leaving = True
                    try:
                        await self.gate.push_frame(kept.frame, self.direction)
                    finally:
                        self._leaving = False
            self._has_moved()
            await self._wake.wait()

    def _may_leave(self) -> bool:
        return self.gate._lets_through or self.kept[0].free

    def _has_moved(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
