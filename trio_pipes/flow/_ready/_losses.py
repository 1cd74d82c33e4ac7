"""When a service of a switcher cannot work any more: what is done at once, before another one takes over.

# What becomes of the frames that a lost service has.
#
#   not begun   they come back to the front of what waits at the switcher's node, and go to the next service
#   in hand     a handler that says by itself that its service cannot work any more finishes: the frame is done. One that
#               has raised, or that is stopped because something else in the service says so, is not done with the frame:
#               the next service gets it, unless something has come of it already. Then it is lost, and the error says so
#   within      what waits between the first processor of a service and the one that cannot work is lost, and told
#   from below, and system frames: of a service that is unusable they take their course; past one that broke they go by
#
# A service is *unusable* when a processor of it says so, or a handler raises: its processors are in place, are shown
# system frames and the end, and may find that they work again. It *broke* when its set-up or its background work failed:
# its processors are stopped and cleaned up at once, and it is set up afresh before it works again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from trio_pipes._base import ConfigurationError, SetupTimeout
from trio_pipes.flow._content import Content, Graph
from trio_pipes.flow._deadline import deadline_of, has_deadline
from trio_pipes.flow._frames import LIFECYCLE, Direction, ErrorFrame, Frame
from trio_pipes.flow._interrupt import stop
from trio_pipes.flow._node import Node
from trio_pipes.flow._usable import make_unusable, set_usable

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_pipes.flow._contracts import Receiver, Run, Works
    from trio_pipes.flow._processor import FrameProcessor

    from ._service import Service
    from ._switch_strategies import SwitchStrategy

__all__ = ["Losses", "reasons", "why"]

NAMED: Final = 10  # lost frames whose names an error gives; the others are counted


class Has(Protocol):
    """What the settings of a switcher are, as far as this goes."""

    @property
    def strategy(self) -> SwitchStrategy | None: ...


class Switches(Protocol):
    """Who is told that another service has to work."""

    def hold(self) -> None: ...

    def wake(self) -> None: ...

    def choose(self, service: Service) -> None: ...


class Switcher(Protocol):
    """What is asked of the switcher's node."""

    name: str
    above: Receiver
    graph: Graph

    @property
    def engine(self) -> Run: ...

    @property
    def processor(self) -> Works: ...

    @property
    def settings(self) -> Has: ...

    @property
    def services(self) -> Sequence[Service]: ...

    @property
    def active(self) -> Service: ...

    @property
    def switching(self) -> Switches: ...

    def give_back(self, frames: Sequence[Frame]) -> None: ...

    def let_by(self, frame: Frame, direction: Direction) -> None: ...

    def report(self, frame: ErrorFrame) -> None: ...


class Losses:
    """Sees to services that are lost, and to those that come back."""

    def __init__(self, switcher: Switcher) -> None:
        self._switcher = switcher
        self._strategy = switcher.settings.strategy

    # -- what services tell

    def usable_changed(self, service: Service) -> None:
        unusable = service.unusable_nodes()
        if unusable and service.lost is None:
            self.lose(service, str(unusable[0].unusable))
        elif not unusable and service.lost is not None:
            self._returned(service)

    def failed(self, service: Service, node: Node, exc: Exception, frame: Frame | None) -> bool:
        strategy = self._strategy
        if strategy is None or not self._is_for_us(service, exc, frame):
            return False
        if service.lost is not None:
            node.report(ErrorFrame(error=str(exc) or repr(exc), exception=exc, processor=node.processor))
            return True
        again = frame if strategy.repeat and service.could_repeat(node, frame) else None
        service.is_broken = isinstance(exc, SetupTimeout)
        make_unusable(node, why(exc), exc)
        if again is not None and service is self._switcher.active:
            self._switcher.give_back([again])
        if service.is_broken:
            self._take_out(service)
        return True

    def broke(self, service: Service, exc: Exception) -> bool:
        if not self._is_for_us(service, exc, None):
            return False
        service.is_broken = True
        if service.lost is None:
            make_unusable(service.first, why(exc), exc)
        else:
            self.failed_apart(service, exc)
            self._take_frames(service)
        self._take_out(service)
        return True

    def failed_apart(self, service: Service, exc: Exception) -> bool:
        if self._strategy is None:
            return False
        self._switcher.report(ErrorFrame(error=str(exc) or repr(exc), exception=exc, processor=service.processor))
        return True

    def has_reported(self, service: Service, frame: ErrorFrame) -> None:
        strategy = self._strategy
        concerns = service is self._switcher.active and service.lost is None and service.has(frame.processor)
        if strategy is not None and concerns:
            self._choose_if(lambda switcher: strategy.after_error(switcher, frame), "after_error")

    def can_do_without(self, service: Service) -> bool:
        others = any(other.lost is None for other in self._switcher.services if other is not service)
        return self._strategy is not None and (others or service.lost is not None or self._switcher.engine.can_lose())

    def _is_for_us(self, service: Service, exc: Exception, frame: Frame | None) -> bool:
        """Whether an error costs this service only."""
        if self._strategy is None or self._switcher.engine.over:
            return False
        if frame is not None and has_deadline(frame) and deadline_of(frame) <= trio.current_time():
            return False  # the frame is late, wherever it goes
        if self.can_do_without(service):
            return True
        others = [other for other in self._switcher.services if other is not service]
        if others:
            exc.add_note(f"in {self._switcher.name!r}, where no other service is left: {reasons(others)}")
        return False

    # -- lost, and back

    def lose(self, service: Service, reason: str) -> None:
        """A service cannot work any more."""
        service.lost = reason
        service.losses += 1
        strategy = self._strategy
        if strategy is None:
            return
        if strategy.retry_after is not None:
            self._switcher.engine.spawn(self._retry, service, service.losses, strategy.retry_after)
        self._take_frames(service)
        self._switcher.switching.wake()

    def _take_frames(self, service: Service) -> None:
        """What the active service is not done with comes back to the switcher, as far as others can have it."""
        if service is self._switcher.active and service.content is not None and not self._switcher.engine.over:
            self._switcher.switching.hold()
            self._switcher.give_back(self._take_all(service, service.content))

    def _take_all(self, service: Service, content: Content) -> list[Frame]:
        """Stop a service that is lost; gives the frames that others can have."""
        repeat = self._strategy is not None and self._strategy.repeat
        nodes = content.nodes()
        if not service.is_broken:
            lost = [i for i, node in enumerate(nodes) if any(node is one for one in service.unusable_nodes())]
            nodes = nodes[: max(lost, default=0) + 1]
        stopped, within = self._stop_handlers(service, nodes)
        begun = within + service.take_begun(nodes)
        taken = service.take_back()
        if stopped is not None and repeat and service.spoke_for is not stopped:
            taken.insert(0, stopped)
        elif stopped is not None:
            begun.append(stopped)
        lifecycle = [frame for frame in begun if frame._lane == LIFECYCLE]
        names = [frame.name for frame in begun if frame._lane != LIFECYCLE]
        gone = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        if gone:
            text = f"{service.name!r} had begun what is lost now: {gone}"
            self._switcher.report(ErrorFrame(error=text, processor=service.processor))
        return [*lifecycle, *taken]

    def _stop_handlers(self, service: Service, nodes: Sequence[Node]) -> tuple[Frame | None, list[Frame]]:
        """Stop what processors have in hand; gives the frame of the first one, if that was stopped, and those of others.

        Not the handler that says itself that it cannot work.
        """
        first = service.first
        frame: Frame | None = None
        others: list[Frame] = []
        engine = self._switcher.engine
        saying = engine.lane_here()
        for node in nodes:
            lane, in_hand = node.inbox, node.inbox.frame
            others[:0] = _in_flight(node) if service.is_broken else ()
            served = lane is not saying and lane in engine.lanes.values()
            if in_hand is not None and in_hand._lane == LIFECYCLE:
                continue  # it is in `inside`
            if in_hand is not None and served and stop(lane, kept_too=service.is_broken):
                if node is first:
                    frame = in_hand
                else:
                    others.insert(0, in_hand)
            elif node.frame is not None and node.head is not first:  # it shares the task of one that was stopped
                others.insert(0, node.frame)
        return frame, others

    async def _retry(self, service: Service, loss: int, seconds: float) -> None:
        await trio.sleep(seconds)
        if service.lost is None or service.losses != loss:
            return
        for node in service.content.nodes() if service.content is not None else ():
            set_usable(node)
        if service.lost is not None:
            self._returned(service)

    def _returned(self, service: Service) -> None:
        service.lost = None
        strategy = self._strategy
        if strategy is None:
            return
        active = self._switcher.active
        if service is active or active.lost is not None:
            self._switcher.switching.hold()  # until it works, or has taken over
        else:
            self._choose_if(lambda switcher: strategy.after_return(switcher, service.processor), "after_return")
        self._switcher.switching.wake()

    def _take_out(self, service: Service) -> None:
        """What a service is made of does not work any more: stop it, and go on without it."""
        content, service.content = service.content, None
        service.is_broken = False
        assert content is not None
        inside, service.inside = service.inside, []
        engine = self._switcher.engine
        self._switcher.give_back([frame for frame in inside if frame is not engine.start])
        nodes = content.nodes()
        self._switcher.graph.gather()
        content.run.closed = True
        self._let_by(nodes)
        for lane in tuple(engine.lanes.values()):
            if any(lane.node is node for node in nodes) and lane.scope is not None:
                lane.stop = True
                lane.scope.cancel(reason=f"{service.name} is lost")
        run: Any = content.run
        run.wait_no_more()
        self.put_away(service, content.give_up)
        self._switcher.switching.wake()

    def put_away(self, service: Service, close: Callable[[], Any]) -> None:
        """Clean up what a service was made of, while the run goes on."""
        service.put_away = trio.Event()
        self._switcher.engine.spawn(_put_away, close, service.put_away)

    def _let_by(self, nodes: Sequence[Node]) -> None:
        """Frames that wait in processors that are gone, and do not go down in order, pass by them."""
        for node in nodes:
            node.refresh()
            while node.up is not None and node.up.q:
                self._switcher.above.accept_up(node.up.q.popleft())
            for lane in (node.urgent_up, node.urgent_down):
                while lane is not None and lane.q:
                    frame = lane.q.popleft()
                    if not getattr(frame, "_given", False):
                        self._switcher.let_by(frame, lane.direction)

    # -- the strategy

    def successor(self) -> Service | None:
        """The service that takes over from the active one, which is lost."""
        strategy = self._strategy
        return None if strategy is None else self._consult(strategy.next_service, "next_service")

    def _choose_if(self, ask: Callable[[Any], FrameProcessor | None], method: str) -> None:
        chosen = self._consult(ask, method)
        if chosen is not None:
            self._switcher.switching.choose(chosen)

    def _consult(self, ask: Callable[[Any], FrameProcessor | None], method: str) -> Service | None:
        """What the strategy says. One that raises, or gives what it must not, fails the task."""
        try:
            chosen = ask(self._switcher.processor)
            if chosen is None:
                return None
            usable = [one for one in self._switcher.services if one.lost is None]
            service = next((one for one in usable if one.processor is chosen), None)
            if service is None:
                names = ", ".join(repr(one.name) for one in usable)
                raise ConfigurationError(f"it gave {chosen!r}, expected one of the usable services ({names}), or None")
        except Exception as exc:  # noqa: BLE001  (handed on)
            exc.add_note(f"in {type(self._strategy).__name__}.{method}() of {self._switcher.name!r}")
            self._switcher.engine.fail(exc)
            return None
        return service


def _in_flight(node: Any) -> list[Frame]:
    """The frames that are in a concurrent function, or about to go in."""
    flights = getattr(node, "flights", ())
    return [frame for flight in flights for frame in (flight.frame, *flight.q) if frame is not None]


async def _put_away(close: Callable[[], Any], done: trio.Event) -> None:
    try:
        await close()
    finally:
        done.set()


def why(exc: Exception) -> str:
    """An error in a word or two."""
    return f"{type(exc).__name__}: {exc}" if str(exc) else repr(exc)


def reasons(services: Sequence[Service]) -> str:
    """Why services cannot work, each by its name."""
    return ", ".join(f"{one.name!r} ({one.lost})" for one in services if one.lost is not None)
