"""The far side of bridges: the links of one `BridgedPipeline`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from trio_pipes._base import BusError, ConfigurationError, Requested, is_default_name
from trio_pipes.flow import Direction, Frame, FrameProcessor

from .._bus import BusMessage
from .._workers import QueueFrameMessage
from .._workers._presence import CONTROL, Presence
from .._workers._urgent import Urgent
from ._link import BridgeStatistics, Link, LinkDown
from ._messages import BridgeFlushFrame, BridgeOpen, BridgeState, FromBridge
from ._near_end import HEARD, TO_TELL
from ._which import Which

if TYPE_CHECKING:
    from .._worker import Host

__all__ = ["FarEnd"]

BUFFER = 1024  # messages with frames to be queued


class Hooks(Protocol):
    """What is called when it is activated, or not any more."""

    name: str

    async def on_activated(self, args: Any) -> None: ...
    async def on_deactivated(self) -> None: ...


class FarEnd:
    """Where frames from bridges come into a pipeline, and leave it."""

    top: FrameProcessor
    bottom: FrameProcessor

    def __init__(
        self, hooks: Hooks, which: Which, bridges: tuple[str, ...], active: bool, window: int, interrupts: bool
    ) -> None:
        self.counts = BridgeStatistics()
        self.presence = Presence(self, active=active)
        self._begins_active = active
        self._hooks = hooks
        self._which = which
        self._bridges = bridges
        self._window = window
        self._interrupts = interrupts
        self._links: dict[str, Link] = {}  # by the bridge's address
        self._task: Any = None
        self._nursery: trio.Nursery | None = None
        self._urgent = Urgent()
        self._expected = 0  # interrupts that come from a bridge

    @property
    def is_open(self) -> bool:
        """Whether a task runs it."""
        return self._nursery is not None

    @property
    def runner(self) -> Host:
        """The runner of its task."""
        runner: Host = self._task.runner
        return runner

    @property
    def address(self) -> str:
        """The name of its task."""
        name: str = self._task.name
        return name

    # -- its life

    @asynccontextmanager
    async def opened(self, task: Any) -> AsyncIterator[None]:
        """A block in which bridges are served."""
        self._task = task
        if self.presence.activation.closed:  # it has run before
            self.presence = Presence(self, active=self._begins_active)
        if is_default_name(task.name):
            raise ConfigurationError(
                f"{task.name} runs a BridgedPipeline, which bridges ask for by the name of the task: "
                "PipelineTask(..., name='dialogue')"
            )
        async with (
            trio.open_nursery() as nursery,
            self.presence.opened((*CONTROL, *HEARD, BridgeOpen, QueueFrameMessage), BUFFER),
        ):
            self._nursery = self._urgent.nursery = nursery
            self._urgent.who = task.name
            if self.presence.activation.active:
                self._urgent.add(self._hooks.on_activated, None)
            self.presence.begin()
            nursery.start_soon(self._queue_frames)
            if self.runner.bus.crosses:
                nursery.start_soon(self._keep_up)
            try:
                yield
            finally:
                self._nursery = self._urgent.nursery = None
                self.presence.close()
                with trio.move_on_after(TO_TELL):
                    for link in self._links.values():
                        await link.close()  # noqa: ASYNC102  (the engine shields a lifespan's cleanup)
                self._links.clear()
                nursery.cancel_scope.cancel(reason=f"{task.name} is over")

    async def _queue_frames(self) -> None:
        """What `QueueFrameMessage`s bring."""
        while (message := await self.presence.next_message()) is not None:
            await self._urgent.wait_hooks_done()
            if isinstance(message, QueueFrameMessage) and self.presence.activation.active:
                await self.deliver(message.frame, message.direction)
            else:
                self.counts.refused += 1

    async def _keep_up(self) -> None:
        bus = self.runner.bus
        while True:
            await trio.sleep(bus.lease / 3)
            for link in tuple(self._links.values()):
                if trio.current_time() - link.heard > bus.lease:
                    self._forget(link)
                else:
                    await link.keep()

    def _forget(self, link: Link) -> None:
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
        link.go_down()

    # -- frames

    async def cross(self, frame: Frame, direction: Direction) -> bool:
        """Send what leaves to every bridge. False: it stays in its own pipeline."""
        if not (self._which.crosses(frame) or isinstance(frame, BridgeFlushFrame)):
            return False
        if not self._links:
            self.counts.passed += 1
            return False
        activation = self.presence.activation
        if not activation.active:
            self.counts.refused += 1
            return True
        for bridge in tuple(self._links):
            await self._send_to(bridge, frame, direction, activation.number + 1)
        return True

    async def _send_to(self, bridge: str, frame: Frame, direction: Direction, number: int) -> None:
        """Over the link that there is now, or over the next, where the bridge has begun again while this waited."""
        while (link := self._links.get(bridge)) is not None:
            try:
                await link.send(frame, direction, number)
            except LinkDown:
                self._forget(link)
            else:
                return
        self.counts.lost += 1

    def interrupted(self) -> None:
        """The pipeline was interrupted."""
        if self._expected:
            self._expected = 0
        elif self._interrupts and self.presence.activation.active:
            for link in self._links.values():
                link.interrupt()

    # -- what comes

    def take(self, message: BusMessage) -> bool:
        """A message that is no order: whether it is dealt with."""
        if isinstance(message, QueueFrameMessage):
            return False
        if isinstance(message, BridgeOpen):
            self._open(message)
        elif isinstance(message, HEARD):
            self._take(message)
        return True

    def _take(self, message: FromBridge) -> None:
        link = self._links.get(message.source)
        if link is not None and message.serial == link.serial and not isinstance(message, BridgeOpen):
            link.take(message)

    def _open(self, message: BridgeOpen) -> None:
        if self._bridges and message.bridge not in self._bridges:
            names = ", ".join(map(repr, self._bridges))
            self._tell(
                message.source, message.serial, f"{self.address!r} takes frames of {names}, not of {message.bridge!r}"
            )
            return
        link = self._links.get(message.source)
        if link is None or link.serial < message.serial:
            if link is not None:
                link.go_down()
            self._links[message.source] = Link(self, message.source, message.serial, min(self._window, message.window))
        self._tell(message.source, message.serial)

    def _tell(self, bridge: str, serial: int, refused: str | None = None) -> None:
        """Whether it is active. Numbers begin with 1 here: 0 is for what nobody has answered yet."""
        activation = self.presence.activation
        state = BridgeState(
            serial=serial, active=activation.active, number=activation.number + 1, refused=refused, target=bridge
        )
        self.spawn(self.send, state)

    def activity_changed(self, active: bool, args: Any) -> None:
        """It is active from now on, or not."""
        if active:
            self._urgent.add(self._hooks.on_activated, args)
        else:
            self._urgent.add(self._hooks.on_deactivated)
        for link in self._links.values():
            self._tell(link.peer, link.serial)
        if self.runner.registry.get(self.address) is not None:
            self.runner.registry.set_active(self.address, active)

    # -- as a worker on the bus, and as the end of links

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """An end from elsewhere."""
        requested: Requested = self._task.stop_when_done(reason)
        return requested

    def cancel(self, reason: str | None = None) -> Requested:
        """A cancel from elsewhere."""
        requested: Requested = self._task.cancel(reason)
        return requested

    async def send(self, message: BusMessage) -> bool:
        """Send it from here."""
        message.source = self.address
        try:
            return await self.runner.bus.send(message)
        except BusError:
            return True  # what a broker that is away does not take is made up for, or told, by the signs of life

    def spawn(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run it in the nursery, if there is one yet, or still."""
        if self._nursery is not None:
            self._nursery.start_soon(fn, *args)

    def accepts(self, number: int) -> bool:
        """Whether frames are taken, whatever the bridge's number."""
        return self.presence.activation.active

    async def deliver(self, frame: Frame, direction: Direction) -> None:
        """A frame from a bridge, or from a message."""
        await self._urgent.wait_hooks_done()
        place = self.top if direction is Direction.DOWNSTREAM else self.bottom
        await place.push_frame(frame, direction)

    def interrupted_by_peer(self) -> None:
        """It was interrupted there."""
        if self._interrupts and self.presence.activation.active:
            self._expected += 1
            self._task.interrupt()

    def lost(self, link: Link, count: int) -> None:
        """Frames have not come, or were under way when the link went."""
        self.counts.lost += count
        what = "a frame" if count == 1 else f"up to {count:,} frames"
        self.spawn(self.top.push_error, f"{self.address}: {what} may be lost between here and the bridge {link.peer!r}")

    def closed_by_peer(self, link: Link) -> None:
        """It is over there."""
        self._forget(link)
