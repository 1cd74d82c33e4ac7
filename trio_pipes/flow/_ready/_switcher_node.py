"""The node of a service switcher: the active one of its services gets the frames.

# Which frames go where.
#
# Down: ordered and system frames to the active service, those that are for all to the others too, where they end (see
# `_service`). What a service emits of its own goes on whether it is active or not: it may be late with what it was given.
# Up: the same from the other side.
# Lifecycle frames: all services are shown StartFrame, and the last frame when the active one has let it out, because
# any of them may be needed until then. It goes on when those that were active before have let it out too: they may have
# kept something. The others go through the active service alone.
#
# When the active service is lost, what it has not begun comes back to the front of what waits here, lifecycle frames in
# their place: the end cannot be lost with it. How another one takes over is told in `_switching`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from trio_pipes.flow._content import Content, Graph, HoldsContent
from trio_pipes.flow._frames import Direction, Frame
from trio_pipes.flow._params import UnusablePolicy

from ._losses import Losses
from ._service import Carried, FrameSet, Service
from ._switch_frames import SwitchServiceFrame
from ._switcher_end import SwitcherEnd
from ._switching import Switching

if TYPE_CHECKING:
    from trio_pipes.flow._contracts import Run, Works
    from trio_pipes.flow._processor import FrameProcessor

    from ._switch_strategies import SwitchStrategy

__all__ = ["SwitcherNode"]

DOWN = Direction.DOWNSTREAM
UP = Direction.UPSTREAM


class Settings(Protocol):
    """What a `ServiceSwitcher` was made with."""

    services: Sequence[FrameProcessor]
    strategy: SwitchStrategy | None
    warm: bool
    to_all: tuple[type[Frame], ...]
    begins_with: FrameProcessor


class SwitcherNode(HoldsContent):
    """Hands frames to the active service."""

    __slots__ = (
        "active",
        "again",
        "awaited",
        "end",
        "for_services",
        "graph",
        "has_begun",
        "losses",
        "services",
        "settings",
        "switching",
    )

    active: Service
    losses: Losses
    switching: Switching

    def __init__(self, processor: Works, settings: Settings, graph: Graph) -> None:
        super().__init__(processor)
        self.settings = settings
        self.graph = graph
        self.end = SwitcherEnd(self)
        self.below = _Fan(self)

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.for_services = attrs.evolve(engine.params, on_unusable=UnusablePolicy.CONTINUE)
        self.has_begun = trio.Event()
        self.again = FrameSet()  # those that came back from a service
        self.switching = Switching(self)
        self.losses = Losses(self)
        self.services = [Service(self, service) for service in self.settings.services]
        self.awaited: list[Service] | None = None  # at the end: those that have not let out the last frame
        self.active = next(one for one in self.services if one.processor is self.settings.begins_with)
        self.active.has_worked = True
        for service in self.services:
            if self.settings.warm or service is self.active:
                service.content = service.content_for(None)
        self.handler = self._hand_in

    def contents(self) -> Sequence[Content]:
        return [service.content for service in self.services if service.content is not None]

    def find(self, named: object) -> Service | None:
        """The service that is this processor, or has this name."""
        return next((one for one in self.services if named is one.processor or named == one.name), None)

    def takes_up(self, frame: Frame) -> bool:
        return False

    def takes_urgent(self, frame: Frame, direction: Direction) -> bool:
        return False

    def takes_lifecycle(self, frame: Frame) -> bool:
        return False

    @property
    def may_be_unusable(self) -> bool:
        return False

    def busy(self) -> bool:
        return self.end.holds or super().busy()

    # -- ordered frames that go down

    async def _hand_in(self, frame: Frame, direction: Direction) -> None:
        """As the processor would by its push, without the detour at an ordinary moment."""
        if isinstance(frame, SwitchServiceFrame) and (service := self.find(frame.service)) is not None:
            await self.switching.choose_here(service, frame)  # what comes behind it waits, since this one is in hand
        elif self.open and frame.interruptible is True and not self.engine.observed:
            await self.hand_down(frame, nowait=False)
        else:
            await self.push_slow(frame, direction)

    async def pass_by(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, SwitchServiceFrame):
            await self._hand_in(frame, direction)
        else:
            self.tell_push(frame, direction)
            await self.end.let_out(frame, nowait=False)

    async def hand_down(self, frame: Frame, nowait: bool) -> None:
        """Give a frame to the active service, and to the others what is for all."""
        active = self.active
        if active.content is None or self.unusable is not None:
            await self.end.let_out(frame, nowait)
            return
        again = self.again.discard(frame)
        if again and frame in active.copies:
            await active.first.accept_lifecycle(Carried(frame=frame, interrupts=self.engine.owner.interrupts))
            return
        active.copies.discard(frame)
        if not again:
            for service in self._others(frame):
                await service.first.accept(frame, nowait=True)
        await active.first.accept(frame, nowait)

    def _others(self, frame: Frame) -> list[Service]:
        """The services that get a copy of this frame, although they are not active."""
        if not isinstance(frame, self.settings.to_all):
            return []
        others = [one for one in self.services if one is not self.active and one.content is not None]
        for service in others:
            service.copies.add(frame)
        return others

    def give_back(self, frames: Sequence[Frame]) -> None:
        """What a service has not begun waits here again, in front of all."""
        if not frames:
            return
        for frame in frames:
            if isinstance(frame, self.settings.to_all):
                self.again.add(frame)
        if any(frame is self.engine.last for frame in frames):
            self.ended = False
            self.refresh()
        here = self.switching.withdraw_here()
        self.inbox.queue().extendleft(reversed(frames if here is None else [*frames, here]))
        self.inbox.start()

    # -- others

    def hand_up(self, frame: Frame) -> None:
        """Give a frame from below to the active service, and to the others what is for all."""
        content = self.active.content
        if content is None or self.unusable is not None:
            self.above.accept_up(frame)
            return
        for service in self._others(frame):
            if service.content is not None:
                service.content.bottom.above.accept_up(frame)
        content.bottom.above.accept_up(frame)

    def hand_urgent(self, frame: Frame, direction: Direction) -> None:
        """Give a system frame to the active service, and to the others what is for all."""
        if self.active.content is None:
            self.let_by(frame, direction)
        for service in (*self._others(frame), self.active):
            if service.content is not None:
                content = service.content
                (content.top.below if direction is DOWN else content.bottom.above).accept_urgent(frame, direction)

    def let_by(self, frame: Frame, direction: Direction) -> None:
        """Hand a system frame past the services."""
        if direction is DOWN:
            self.end.urgent_out(frame)
        else:
            self.above.accept_urgent(frame, UP)

    def chosen_from_below(self, frame: SwitchServiceFrame) -> bool:
        service = self.find(frame.service)
        if service is not None:
            self.switching.choose(service)
        return service is not None

    # -- lifecycle frames

    async def lifecycle(self, frame: Frame) -> None:
        await super().lifecycle(frame)
        if frame is self.engine.start:
            self.has_begun.set()

    async def hand_lifecycle(self, frame: Frame) -> None:
        """Give a lifecycle frame to the active service; StartFrame to all."""
        active = self.active
        if frame is self.engine.start:
            await self._hand_to_others(frame)
        if active.content is None:
            await self._let_through(frame)
        else:
            active.inside.append(frame)
            await active.first.accept_lifecycle(frame)

    async def came_through(self, service: Service, frame: Frame) -> None:
        """A lifecycle frame has come out of a service."""
        if any(frame is one for one in service.inside):
            service.inside.remove(frame)
            await self._let_through(frame)
        elif frame is self.engine.last:
            await self.await_no_more(service)

    async def _let_through(self, frame: Frame) -> None:
        if frame is not self.engine.last:
            await self.end.let_lifecycle_out(frame)
            return
        others = (one for one in self.services if one is not self.active)
        self.awaited = [one for one in others if one.has_worked and one.lost is None and one.content is not None]
        await self._hand_to_others(frame)
        await self.await_no_more()

    async def await_no_more(self, service: Service | None = None) -> None:
        """A service has let out the last frame, or is lost: if it was the last one of them, that frame goes on."""
        if self.awaited is None:
            return
        self.awaited = [one for one in self.awaited if one is not service and one.lost is None]
        if not self.awaited:
            self.awaited = None
            assert self.engine.last is not None
            await self.end.let_lifecycle_out(self.engine.last)

    async def _hand_to_others(self, frame: Frame) -> None:
        for service in self.services:
            if service is not self.active and service.content is not None:
                await service.first.accept_lifecycle(frame)

    # -- what comes out of services

    async def let_out(self, frame: Frame, nowait: bool) -> None:
        await self.end.let_out(frame, nowait)

    def urgent_out(self, frame: Frame) -> None:
        self.end.urgent_out(frame)

    async def unwrap(self, carried: Carried) -> None:
        frame: Frame = carried.frame
        if frame.interruptible and carried.interrupts != self.engine.owner.interrupts:
            self.stale_dropped += 1
        else:
            await self.end.let_out(frame, nowait=True)


class _Fan:
    """What the switcher's node has below it: its services."""

    def __init__(self, node: SwitcherNode) -> None:
        self._node = node

    async def accept(self, frame: Frame, nowait: bool) -> None:
        await self._node.hand_down(frame, nowait)

    async def accept_lifecycle(self, frame: Frame) -> None:
        await self._node.hand_lifecycle(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        self._node.hand_urgent(frame, direction)

    def accept_up(self, frame: Frame) -> None:
        raise AssertionError("the services hand frames up past the switcher's node")
