"""`ServiceSwitcher`: several services, of which one works."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast, final

from trio_pipes._base import ConfigurationError, are_classes, check_flag, check_instance, refuse
from trio_pipes.flow._content import Asked, Graph, HasContent
from trio_pipes.flow._fits import Types
from trio_pipes.flow._frames import Frame, LifecycleFrame
from trio_pipes.flow._pipeline import Part, leaves_of, made, refuse_twice
from trio_pipes.flow._processor import FrameProcessor, Recipe

from ._switch_strategies import Failover, SwitchStrategy
from ._switcher_end import SwitcherEnd
from ._switcher_node import SwitcherNode

if TYPE_CHECKING:
    from trio_pipes.flow._picture import Drawing, Way

__all__ = ["ServiceSwitcher"]

FAILOVER: Final = Failover()


@final
class ServiceSwitcher(HasContent):
    """Several services that can stand for each other, of which one, the active one, gets the frames.

    The first in the list is active until `switch_to`, a `SwitchServiceFrame` or the strategy makes another one active.
    `strategy=Failover()`, the default, does so when the active one cannot work any more, be it that it says so by
    `set_unusable`, or that it fails; with None nothing is done, and an error in a service fails the task as any other.

    With `warm=True` all services are set up with the pipeline and stay so, so that a switch takes no time. With
    `warm=False` only the active one is: another one is set up when it is chosen, and frames wait meanwhile if the active
    one cannot work. All are shown the start and the end, and interrupts; frames of the classes in `to_all` (settings, for
    instance) are shown to all that are set up, and go on once.

    Raises `ConfigurationError` for no services, for one that is in it twice and for what is no processor.
    """

    services: Sequence[FrameProcessor]
    """All of them, in the order in which they were given."""
    strategy: SwitchStrategy | None
    """What turns to another service by itself."""
    warm: bool
    """Whether all services are set up with the pipeline."""
    to_all: tuple[type[Frame], ...]
    """The classes of frames that are for all services."""
    begins_with: FrameProcessor
    """The service that is active when a run begins."""

    def __init__(
        self,
        services: Iterable[Part],
        strategy: SwitchStrategy | None = FAILOVER,
        *,
        warm: bool = True,
        to_all: type[Frame] | Iterable[type[Frame]] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if isinstance(services, FrameProcessor | Recipe | str | bytes) or not isinstance(services, Iterable):
            raise ConfigurationError(
                f"ServiceSwitcher was given {services!r}, expected a list of services: ServiceSwitcher([a, b])"
            )
        self.services = tuple(made(service, "ServiceSwitcher") for service in services)
        if not self.services:
            raise ConfigurationError("ServiceSwitcher([]) has no services, expected at least one")
        expected = "a SwitchStrategy such as Failover(), or None"
        check_instance("ServiceSwitcher(strategy", strategy, SwitchStrategy, expected, optional=True)
        check_flag("ServiceSwitcher(warm", warm)
        self.strategy = strategy
        self.warm = warm
        self.to_all = _classes(to_all)
        self.begins_with = self.services[0]
        refuse_twice(self)

    def __repr__(self) -> str:
        return f"<{self.name} with {self.active!r} active>"

    # -- looked at

    @property
    def active(self) -> FrameProcessor:
        """The service that gets the frames; outside of a run, the one that the next run begins with."""
        node = self._running()
        return self.begins_with if node is None else node.active.processor

    @property
    def usable_services(self) -> Sequence[FrameProcessor]:
        """The services that can work, in their order. A cold one can until it was tried."""
        node = self._running()
        return self.services if node is None else tuple(one.processor for one in node.services if one.lost is None)

    @property
    def lost(self) -> Mapping[str, str]:
        """Why services cannot work, by their names."""
        node = self._running()
        services = [] if node is None else node.services
        return MappingProxyType({one.name: one.lost for one in services if one.lost is not None})

    # -- to call

    def switch_to(self, service: FrameProcessor | str) -> Awaitable[None]:
        """Choose the service, itself or by its name. Takes effect when called; await it to know that it is done.

        Between two frames: the active one finishes what it has in hand, the chosen one gets what waits. What a call has
        asked for is done before what a later one does. A service that is not set up is, while the active one works on. Where no
        run is on, the next one begins with the chosen service.

        Awaiting it raises `RuntimeError` when that service is unusable, and what went wrong in its set-up; then
        the active one stays, and an `ErrorFrame` goes up as well. It raises `trio.ClosedResourceError` when the run ends
        first, and `RuntimeError` inside the pipeline, where it may wait for itself. Raises `ConfigurationError` for what
        is no service of this switcher.
        """
        named = [one for one in self.services if one is service or (isinstance(service, str) and one.name == service)]
        if len(named) != 1:
            names = ", ".join(repr(one.name) for one in self.services)
            expected = f"one of its services, or the name of one: {names}"
            raise refuse(f"{self.name}.switch_to(", service, expected)
        call = f"{self.name}.switch_to()"
        node = self._running()
        if node is None:
            self.begins_with = named[0]
            asked = Asked(call)
            asked.settle()
            return asked
        engine: Any = node.engine
        asked = Asked(call, engine.is_inside)
        chosen = node.find(named[0])
        assert chosen is not None
        node.switching.ask(chosen, asked)
        return asked

    def set_unusable(self, reason: str, exception: Exception | None = None) -> NoReturn:
        """Not for a switcher: it is unusable when all of its services are. Raises `RuntimeError`."""
        raise RuntimeError(f"{self.name!r} is usable as long as one of its services is: say it of a service")

    def set_usable(self) -> NoReturn:
        """Not for a switcher: it is usable when one of its services is. Raises `RuntimeError`."""
        raise RuntimeError(f"{self.name!r} is usable as long as one of its services is: say it of a service")

    # -- for the pipeline and the engine

    def leaves(self) -> Iterator[FrameProcessor]:
        """The services; this one, which hands the frames in, first."""
        yield self
        for service in self.services:
            yield from leaves_of(service)

    def _running(self) -> SwitcherNode | None:
        node = self._node
        return None if node is None or node.engine.done else cast("SwitcherNode", node)

    def _make_ends(self, graph: Graph) -> tuple[SwitcherNode, SwitcherEnd]:
        self._check_settings()
        node = SwitcherNode(self, self, graph)
        return node, node.end

    def _inner(self) -> Sequence[FrameProcessor]:
        return self.services

    def _comes_of(self, coming: Types | None) -> Types | None:
        ways = [service._comes_of(coming) for service in self.services]
        if any(way is None for way in ways):
            return None
        return tuple(dict.fromkeys(t for way in ways for t in way or ()))

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        with drawing.group(self.name, "branches"):
            (fork,) = drawing.point(above, "one of", kind="route")
            ways = [service._sketch(drawing, [fork]) for service in self.services]
            return drawing.point([way for end in ways for way in end])


def _classes(types: object) -> tuple[type[Frame], ...]:
    """Frame classes, one or several."""
    named: tuple[Any, ...] = (types,)
    if isinstance(types, Iterable) and not isinstance(types, str | type):
        named = tuple(types)
    if not are_classes(named, Frame) or any(issubclass(one, LifecycleFrame) for one in named):
        expected = "frame classes, not of lifecycle frames: to_all=(SettingsFrame,)"
        raise refuse("ServiceSwitcher(to_all", types, expected)
    return named
