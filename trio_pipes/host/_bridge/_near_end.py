"""The near side of a bridge: the links of one `BusBridge`.

# Which far pipeline, and what when there is none.
#
# The registry says when a pipeline of these names is ready; each is asked to take this bridge's frames, again until it
# answers. It says whether it is active, and under which number. Frames go to the one that is active (with the
# highest number, where a runner that was cut off believes to be active still), and only its frames are pushed on here.
# Where none is, a frame waits. Frames go from one place to one other: nothing can echo.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_pipes._base import BusError, next_id
from trio_pipes.flow import Direction, Frame, FrameProcessor

from ._link import BridgeStatistics, Link, LinkDown
from ._messages import (
    BridgeClose,
    BridgeFlushFrame,
    BridgeFrame,
    BridgeInterrupt,
    BridgeKeep,
    BridgeOpen,
    BridgeState,
    BridgeTaken,
    BridgeUrgent,
)

if TYPE_CHECKING:
    from .._bus import BusMessage

__all__ = ["HEARD", "TO_TELL", "NearEnd"]

HEARD: Final = (BridgeFrame, BridgeUrgent, BridgeTaken, BridgeInterrupt, BridgeKeep, BridgeClose)

AGAIN: Final = 1.0  # seconds until an opening that nobody answered is asked for again
TO_TELL: Final = 2.0  # seconds in which an end that is over says so


class NearEnd:
    """Where frames leave a pipeline in its middle, and come back."""

    def __init__(self, place: FrameProcessor, to: tuple[str, ...], window: int, interrupts: bool) -> None:
        self.counts = BridgeStatistics()
        self._place = place
        self._to = to
        self._window = window
        self._interrupts = interrupts
        self._links: dict[str, Link] = {}  # by the far pipeline's address
        self._changed = trio.lowlevel.ParkingLot()
        self._fence = 0
        self._expected = 0  # interrupts that come from the other side
        self._flushed: dict[int, trio.Event] = {}
        self._nursery: trio.Nursery | None = None

    # -- its life

    @asynccontextmanager
    async def opened(self, task: Any) -> AsyncIterator[None]:
        """A block in which far pipelines are looked for, and used."""
        runner = task.runner
        self._bus, self._registry = runner.bus, runner.registry
        self._address = f"{runner.runner_id}/bridge-{self._place.id}"
        async with trio.open_nursery() as nursery:
            listener = self._bus.listen(self._address, *HEARD, BridgeState, handle=self._take, failed=self._bus_failed)
            async with listener:
                self._nursery = nursery
                nursery.start_soon(self._look_after)
                if self._bus.crosses:
                    nursery.start_soon(self._keep_up)
                try:
                    yield
                finally:
                    self._nursery = None
                    with trio.move_on_after(TO_TELL):
                        for link in self._links.values():
                            await link.close()  # noqa: ASYNC102  (the engine shields a lifespan's cleanup)
                    self._links.clear()
                    nursery.cancel_scope.cancel(reason=f"{self._place.name} is over")

    async def _look_after(self) -> None:
        """Open a link to each far pipeline when it is there, and forget it when it goes."""
        async with self._registry.watch(*self._to) as events, trio.open_nursery() as nursery:
            opening: dict[str, trio.CancelScope] = {}
            async for event in events:
                name = event.worker.name
                if name in opening:
                    opening.pop(name).cancel(reason="it is not the same any more")
                self._forget(name)
                if not event.is_gone:
                    opening[name] = trio.CancelScope()
                    nursery.start_soon(self._open, name, opening[name])

    async def _open(self, name: str, scope: trio.CancelScope) -> None:
        with scope:
            link = self._links[name] = Link(self, name, next_id(), self._window)
            while self._links.get(name) is link and not link.number:
                message = BridgeOpen(serial=link.serial, bridge=self._place.name, window=self._window, target=name)
                if not await self.send(message) and not self._bus.crosses:
                    if self._registry.is_ready(name):
                        await self._place.push_error(f"{self._place.name}: {name!r} runs no BridgedPipeline")
                    return
                with trio.move_on_after(AGAIN):
                    while not link.number and self._links.get(name) is link:
                        await self._changed.park()

    async def _keep_up(self) -> None:
        """Say what the other end may have missed, and notice when it says nothing any more."""
        while True:
            await trio.sleep(self._bus.lease / 3)
            for link in tuple(self._links.values()):
                if not link.number:
                    continue
                if trio.current_time() - link.heard > self._bus.lease:
                    self._begin_again(link)
                else:
                    await link.keep()

    def _begin_again(self, link: Link) -> None:
        """This link does not work any more, and the registry may not have noticed anything."""
        if self._links.get(link.peer) is link:
            self._forget(link.peer)
            self.spawn(self._open, link.peer, trio.CancelScope())

    def _forget(self, name: str) -> None:
        link = self._links.pop(name, None)
        if link is not None:
            link.go_down()
            self._changed.unpark_all()

    def _bus_failed(self, error: Exception) -> None:
        self.spawn(self._fail, error)

    async def _fail(self, error: Exception) -> None:
        raise error

    # -- frames

    @property
    def has_somebody(self) -> bool:
        """Whether a far pipeline is active."""
        return self._current() is not None

    def _current(self) -> Link | None:
        """The link to the far pipeline that is active."""
        best = None
        for link in self._links.values():
            if link.active and (best is None or link.number > best.number):
                best = link
        return best

    async def cross(self, frame: Frame, direction: Direction) -> None:
        """Send a frame over; waits for somebody to be active, and for room."""
        while True:
            link = self._current()
            if link is None:
                await self._changed.park()
                continue
            try:
                await link.send(frame, direction, 0)
            except LinkDown:
                self._begin_again(link)
            else:
                return

    async def flush(self, timeout: float) -> None:
        """Wait until what went over, and what came of it, is back."""
        link = self._current()
        if link is None:
            return
        frame = BridgeFlushFrame(next_id())
        back = self._flushed[frame.flush] = trio.Event()
        try:
            with trio.move_on_after(timeout):
                await link.send(frame, Direction.DOWNSTREAM, 0)
                while not back.is_set() and not link.is_down:
                    await self._changed.park()
        except LinkDown:
            pass
        finally:
            del self._flushed[frame.flush]

    def interrupted(self) -> None:
        """The pipeline was interrupted."""
        if self._expected:
            self._expected = 0
        elif self._interrupts:
            for link in self._links.values():
                if link.active:
                    link.interrupt()

    # -- what comes

    def _take(self, message: BusMessage) -> None:
        link = self._links.get(message.source)
        if link is None or getattr(message, "serial", None) != link.serial:
            return
        if isinstance(message, BridgeState):
            self._take_state(link, message)
        elif isinstance(message, HEARD):
            link.take(message)

    def _take_state(self, link: Link, message: BridgeState) -> None:
        link.heard = trio.current_time()
        if message.refused is not None:
            self._forget(link.peer)
            self.spawn(self._place.push_error, f"{self._place.name}: {message.refused}")
        elif message.number >= link.number:
            link.active, link.number = message.active, message.number
            current = self._current()
            if current is not None:
                self._fence = current.number
        self._changed.unpark_all()

    # -- as the end of links

    async def send(self, message: BusMessage) -> bool:
        """Send it from here. What a broker that is away does not take is made up for, or told, by the signs of life."""
        message.source = self._address
        try:
            found: bool = await self._bus.send(message)
        except BusError:
            return True
        return found

    def spawn(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run it in the nursery, if there is one yet, or still."""
        if self._nursery is not None:
            self._nursery.start_soon(fn, *args)

    def accepts(self, number: int) -> bool:
        """Whether a frame from there was made by the one that is active now, or was last."""
        return number >= self._fence

    async def deliver(self, frame: Frame, direction: Direction) -> None:
        """A frame from there."""
        if isinstance(frame, BridgeFlushFrame):
            event = self._flushed.get(frame.flush)
            if event is not None:
                event.set()
                self._changed.unpark_all()
        else:
            await self._place.push_frame(frame, direction)

    def interrupted_by_peer(self) -> None:
        """It was interrupted there."""
        if self._interrupts:
            self._expected += 1
            self._place.task.interrupt()

    def lost(self, link: Link, count: int) -> None:
        """Frames have not come, or were under way when the link went."""
        self.counts.lost += count
        what = "a frame" if count == 1 else f"up to {count:,} frames"
        self.spawn(self._place.push_error, f"{self._place.name}: {what} may be lost between here and {link.peer!r}")

    def closed_by_peer(self, link: Link) -> None:
        """It is over there."""
        self._begin_again(link)
