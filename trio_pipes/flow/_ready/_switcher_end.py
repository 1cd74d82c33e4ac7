"""The lower end of a service switcher: what comes out of its services, and what comes to them from below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trio_pipes.flow._frames import Direction, Frame

from ._switch_frames import SwitchServiceFrame

if TYPE_CHECKING:
    from trio_pipes.flow._contracts import Receiver, Run

__all__ = ["SwitcherEnd"]

DOWN = Direction.DOWNSTREAM


class Switcher(Protocol):
    """What the end asks of the switcher's node."""

    name: str

    def chosen_from_below(self, frame: SwitchServiceFrame) -> bool:
        """A frame from below chooses a service; False: it is of another switcher."""
        ...

    def hand_up(self, frame: Frame) -> None:
        """An ordered frame comes from below."""

    def hand_urgent(self, frame: Frame, direction: Direction) -> None:
        """A system frame does."""


class SwitcherEnd:
    """What the services have in common below them."""

    above: Receiver  # nothing uses it
    below: Receiver
    fuses = False

    def __init__(self, switcher: Switcher) -> None:
        self._switcher = switcher

    def attach(self, engine: Run) -> None:
        """Begin a run."""
        self._engine = engine
        self.passed_start = False
        self._early: list[Frame] = []  # from services that have started before the active one
        self._held: list[Frame] | None = None  # from below, while nobody may take it

    # -- down

    async def let_out(self, frame: Frame, nowait: bool) -> None:
        """Hand on what came out of a service, or goes past them."""
        if self.passed_start:
            await self.below.accept(frame, nowait)
            return
        self._early.append(frame)
        if len(self._early) > self._engine.params.lane_limit:
            self._engine.flood(self._switcher.name, "pushed before StartFrame", len(self._early))

    async def let_lifecycle_out(self, frame: Frame) -> None:
        """Hand a lifecycle frame on."""
        await self.below.accept_lifecycle(frame)
        if frame is self._engine.start:
            while self._early:
                await self.below.accept(self._early.pop(0), nowait=True)
            self.passed_start = True

    def urgent_out(self, frame: Frame) -> None:
        """Hand a system frame on."""
        self.below.accept_urgent(frame, DOWN)

    # -- up

    @property
    def holds(self) -> bool:
        """Whether frames from below wait here."""
        return bool(self._held)

    def hold(self) -> None:
        """Keep what comes up."""
        if self._held is None:
            self._held = []

    def let_go(self) -> None:
        """Hand on what was kept."""
        held, self._held = self._held, None
        for frame in held or ():
            self._switcher.hand_up(frame)

    def accept_up(self, frame: Frame) -> None:
        if isinstance(frame, SwitchServiceFrame) and self._switcher.chosen_from_below(frame):
            return
        if self._held is None:
            self._switcher.hand_up(frame)
            return
        self._held.append(frame)
        if len(self._held) > self._engine.params.lane_limit:
            self._engine.flood(self._switcher.name, "at the lower end", len(self._held))

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        self._switcher.hand_urgent(frame, direction)

    def drop_stale(self) -> int:
        """Forget what an interrupt makes stale; how much that was."""
        before = len(self._early) + len(self._held or ())
        self._early = [frame for frame in self._early if not frame.interruptible]
        if self._held:
            self._held = [frame for frame in self._held if not frame.interruptible]
        return before - len(self._early) - len(self._held or ())

    async def accept(self, frame: Frame, nowait: bool) -> None:
        raise AssertionError("services hand frames down past the end")

    async def accept_lifecycle(self, frame: Frame) -> None:
        raise AssertionError("services hand frames down past the end")
