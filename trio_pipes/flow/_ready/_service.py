"""One service of a switcher, in one run: what is above and below its processors, and what these take for the engine.

# What a service's processors see.
#
# Their nodes take a `ServiceRun` for the engine. It is the run they are in, but for what goes wrong: where another service
# can take over, an error is not the run's failure but the loss of this service, and what the task does when a processor
# is unusable is done when no service is left. Everything that leaves a service comes by its top or its bottom, where
# copies are held back: of a frame that went to all services, only the one of the active service goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import ref

import attrs
import trio

from trio_pipes.flow._content import Content, Graph
from trio_pipes.flow._content_run import ContentRun
from trio_pipes.flow._frames import LIFECYCLE, Direction, ErrorFrame, FlushMarker, Frame, StartFrame
from trio_pipes.flow._node import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_pipes.flow._contracts import Owner, Receiver, Run
    from trio_pipes.flow._params import PipelineParams
    from trio_pipes.flow._processor import FrameProcessor

__all__ = ["Carried", "FrameSet", "Service"]


class ToldOfLosses(Protocol):
    """Who is told of what goes wrong with a service."""

    def usable_changed(self, service: Service) -> None:
        """It may have been lost, or be usable again."""

    def failed(self, service: Service, node: Node, exc: Exception, frame: Frame | None) -> bool:
        """A handler has raised, or set-up takes too long; whether the run can do without that service."""
        ...

    def broke(self, service: Service, exc: Exception) -> bool:
        """Its set-up or its background work has failed; whether the run can do without it."""
        ...

    def failed_apart(self, service: Service, exc: Exception) -> bool:
        """What is in the run no more has failed; whether that is told."""
        ...

    def can_do_without(self, service: Service) -> bool:
        """Whether another one can work."""
        ...

    def has_reported(self, service: Service, frame: ErrorFrame) -> None:
        """An error of it is on its way up."""


class Switcher(Protocol):
    """What a service asks of the switcher's node."""

    graph: Graph
    above: Receiver
    for_services: PipelineParams

    @property
    def engine(self) -> Run: ...

    @property
    def losses(self) -> ToldOfLosses: ...

    async def let_out(self, frame: Frame, nowait: bool) -> None:
        """An ordered frame has come out of a service."""

    async def came_through(self, service: Service, frame: Frame) -> None:
        """A lifecycle frame has."""

    async def unwrap(self, carried: Carried) -> None:
        """A frame has that the service was not shown."""

    def urgent_out(self, frame: Frame) -> None:
        """A system frame has, downstream."""


@attrs.define(eq=False)
class Carried(FlushMarker):
    """Takes a frame past a service that has been shown it already, in its place."""

    frame: Any = None
    interrupts: int = 0
    """Those that had taken effect when it was sent."""


class FrameSet:
    """Frames, by identity; it keeps none alive."""

    __slots__ = ("_refs",)

    def __init__(self) -> None:
        self._refs: dict[int, ref[Frame]] = {}

    def __contains__(self, frame: Frame) -> bool:
        return bool(self._refs) and id(frame) in self._refs

    def add(self, frame: Frame) -> None:
        """One more."""
        key = id(frame)
        self._refs[key] = ref(frame, lambda _: self._refs.pop(key, None))

    def discard(self, frame: Frame) -> bool:
        """One less; whether it was in it."""
        return bool(self._refs) and self._refs.pop(id(frame), None) is not None


class Service:
    """A service of a switcher, in one run."""

    def __init__(self, switcher: Switcher, processor: FrameProcessor) -> None:
        self.switcher = switcher
        self.processor = processor
        self.name = processor.name
        self.content: Content | None = None
        """None: it is not set up."""
        self.put_away: trio.Event | None = None
        """What it was made of before has been cleaned up."""
        self.has_worked = False
        """It was active, and may keep something for the end."""
        self.lost: str | None = None
        """Why it cannot work."""
        self.is_broken = False
        """Its processors do not work any more, and are about to be taken out."""
        self.losses = 0
        """How often it was lost."""
        self.copies = FrameSet()
        """What it was given while another one was active: that does not come out of it."""
        self.inside: list[Frame] = []
        """Lifecycle frames that it was given as the active one, and that have not come out."""
        self.spoke_for: Frame | None = None
        """The frame that was in hand when something came out last."""

    def content_for(self, start: StartFrame | None) -> Content:
        """Nodes for it; with `start`, they begin within the run."""
        run = ServiceRun(self, self.switcher.engine, start)
        return Content(self.switcher.graph, self.processor, run, _Top(self), _Bottom(self, run))

    @property
    def first(self) -> Node:
        """The node that frames from above come to."""
        assert self.content is not None
        first: Node = self.content.top.below
        return first

    @property
    def works(self) -> bool:
        """Whether it can be given frames as it stands."""
        return self.lost is None and not self.needs_set_up

    @property
    def needs_set_up(self) -> bool:
        """Whether it is not set up, or has a block in it that has returned: that is not called a second time."""
        return self.content is None or any(getattr(node, "returned", False) for node in self.content.nodes())

    def unusable_nodes(self) -> list[Node]:
        """Those of its processors that say that they cannot work; what is in a switcher of its own is its own affair."""
        if self.content is None:
            return []
        return [
            one for one in self.content.nodes() if one.unusable is not None and _service_run_of(one) is self.content.run
        ]

    def has(self, processor: object) -> bool:
        """Whether it is made of this processor, among others."""
        return self.content is not None and any(node.processor is processor for node in self.content.nodes())

    def take_back(self) -> list[Frame]:
        """The frames that it has not begun, in order, lifecycle frames among them."""
        return self._withdraw(self.first)

    def take_begun(self, nodes: Sequence[Node]) -> list[Frame]:
        """Those that wait within it at these nodes, which nobody will handle."""
        return [frame for node in reversed(nodes) if node is not self.first for frame in self._withdraw(node)]

    def _withdraw(self, node: Node) -> list[Frame]:
        taken = node.inbox.withdraw(self._may_be_taken)
        node.engine.check_quiet()  # somebody may wait until it has nothing
        self.inside = [frame for frame in self.inside if not any(frame is one for one in taken)]
        return [frame.frame if isinstance(frame, Carried) else frame for frame in taken]

    def _may_be_taken(self, frame: Frame) -> bool:
        return frame._lane != LIFECYCLE or isinstance(frame, Carried) or any(frame is one for one in self.inside)

    def could_repeat(self, node: Node, frame: Frame | None) -> bool:
        """Whether nothing has come of a frame that a handler failed on, so that another service may have it."""
        if frame is None or frame._lane == LIFECYCLE or node is not self.first or self.spoke_for is frame:
            return False
        in_row = node.inbox.frame is None and node.row is not None  # of functions, which are not told what they handle
        return in_row or node.inbox.frame is frame


class ServiceRun(ContentRun):
    """What the processors of a service take for the engine."""

    def __init__(self, service: Service, run: Run, start: StartFrame | None) -> None:
        super().__init__(run, start)
        self.service = service
        self.params = service.switcher.for_services
        self.final: Exception | None = None  # an error that is the run's
        self._owner = _Owner(self)
        self._idle: trio.Event | None = None
        self._also_up = False

    @property
    def owner(self) -> Owner:
        return cast("Owner", self._owner)

    @property
    def is_in_place(self) -> bool:
        """Whether these are the processors that the service works with."""
        content = self.service.content
        return content is not None and content.run is self

    def can_lose(self) -> bool:
        return self.service.switcher.losses.can_do_without(self.service)

    def loses(self, node: Node, exc: Exception, frame: Frame | None) -> bool:
        return not self.setting_up and self.service.switcher.losses.failed(self.service, node, exc, frame)

    def fail(self, exc: Exception) -> None:
        losses = self.service.switcher.losses
        ours = not (self.setting_up or self.run.over or exc is self.final)
        if not (ours and (losses.broke if self.is_in_place else losses.failed_apart)(self.service, exc)):
            super().fail(exc)

    # -- waiting for it to be done

    async def wait_idle(self, *, also_up: bool) -> None:
        """Wait until nothing is in hand and nothing waits, of what goes down, or of everything."""
        self._idle, self._also_up = trio.Event(), also_up
        self.check_quiet()
        await self._idle.wait()

    def wait_no_more(self) -> None:
        """It will do nothing any more: let those go on who wait for it."""
        self.ended.set()
        if self._idle is not None:
            self._idle.set()

    def check_quiet(self) -> None:
        if self._idle is not None and not self._idle.is_set() and not self._has_work():
            self._idle.set()
        super().check_quiet()

    def _has_work(self) -> bool:
        return any(node.busy() if self._also_up else _works_down(node) for node in self.nodes())


def _service_run_of(node: Node) -> object:
    """The run of the innermost service that a node is in."""
    run: Any = node.engine
    while not isinstance(run, ServiceRun):
        run = run.run
    return run


def _works_down(node: Node) -> bool:
    """Whether an ordered frame that goes down is here."""
    inbox = node.inbox
    shared = node.shares_task and inbox.active
    held = node.frame is not None or inbox.frame is not None or bool(getattr(node, "flights", ()))
    return bool(held or shared or inbox.q or inbox.waiting)


class _Owner:
    """Whom the processors of a service tell."""

    def __init__(self, run: ServiceRun) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run.run.owner, name)

    def error_reported(self, frame: ErrorFrame) -> None:
        self._run.final = frame.exception
        if not self._run.setting_up:
            self._run.run.owner.error_reported(frame)

    def usable_changed(self, processor: Any, *, usable: bool) -> None:
        self._run.run.owner.usable_changed(processor, usable=usable)
        if self._run.is_in_place:
            self._run.service.switcher.losses.usable_changed(self._run.service)


class _Top:
    """What the first processor of a service has above it."""

    below: Receiver

    def __init__(self, service: Service) -> None:
        self._service = service

    def accept_up(self, frame: Frame) -> None:
        if frame not in self._service.copies:
            self._service.switcher.above.accept_up(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        if frame in self._service.copies:
            return
        if isinstance(frame, ErrorFrame):
            self._service.switcher.losses.has_reported(self._service, frame)
        self._service.switcher.above.accept_urgent(frame, direction)

    async def accept(self, frame: Frame, nowait: bool) -> None:
        raise AssertionError("the switcher's node hands frames down")

    async def accept_lifecycle(self, frame: Frame) -> None:
        raise AssertionError("the switcher's node hands frames down")


class _Bottom:
    """What the last processor of a service has below it."""

    above: Receiver

    def __init__(self, service: Service, run: ServiceRun) -> None:
        self._service = service
        self._run = run

    async def accept(self, frame: Frame, nowait: bool) -> None:
        service = self._service
        if self._run.is_in_place:
            service.spoke_for = service.first.inbox.frame
        if frame not in service.copies:
            await service.switcher.let_out(frame, nowait)

    async def accept_lifecycle(self, frame: Frame) -> None:
        if isinstance(frame, Carried):
            await self._service.switcher.unwrap(frame)
        elif self._run.stays_inside(frame):
            if frame is self._run.last:
                self._run.ended.set()
        elif self._run.is_in_place:
            await self._service.switcher.came_through(self._service, frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        if frame not in self._service.copies:
            self._service.switcher.urgent_out(frame)

    def accept_up(self, frame: Frame) -> None:
        raise AssertionError("the switcher's end hands frames up")
