"""The two ends of a pipeline: the source on top, where upstream frames come out, and the sink below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from ._frames import Direction, EndFrame, ErrorFrame, FlushMarker, Frame, Heartbeat, StartFrame, StopFrame
from ._lane import Lane

if TYPE_CHECKING:
    from ._contracts import Receiver, Run

__all__ = ["Output", "Sink", "Source"]


@attrs.define(eq=False)
class Output:
    """A channel for those frames of some types that reach one end."""

    types: tuple[type[Frame], ...]
    channel: trio.MemorySendChannel[Frame]


class _End:
    """Where frames leave. Urgent and upstream ones are handed out by a lane, so that no pusher waits."""

    engine: Run
    above: Receiver
    below: Receiver

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.name = "the sink" if direction is Direction.DOWNSTREAM else "the source"
        self.count = 0  # ordinary and system frames that came
        self.outputs: list[Output] = []
        self.open = self.quick = False  # the attributes that a lane's owner has
        self.started = False

    def attach(self, engine: Run) -> None:
        self.engine = engine
        self.count = 0
        self.started = False
        self.lane = Lane(self, self.direction, urgent=True)
        self._waiting: list[tuple[Frame, trio.CancelScope]] = []  # for a reader
        self._owed: dict[Frame, list[Output]] = {}  # what the lane still has to deliver, and to whom

    async def deliver(self, frame: Frame) -> None:
        """Hand a frame to the outputs that want it; wait for those that are full."""
        await self._send(frame, [output for output in self.outputs if isinstance(frame, output.types)])

    async def _send(self, frame: Frame, outputs: list[Output]) -> None:
        while outputs:
            try:
                outputs[0].channel.send_nowait(frame)
            except trio.WouldBlock:
                if not await self._wait_and_send(frame, outputs):
                    return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.close(outputs[0])  # the reader has left its block
            outputs.pop(0)

    async def _wait_and_send(self, frame: Frame, outputs: list[Output]) -> bool:
        """False when the frame has become stale meanwhile."""
        with trio.CancelScope() as scope:
            entry = (frame, scope)
            self._waiting.append(entry)
            try:
                await outputs[0].channel.send(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.close(outputs[0])
            except trio.Cancelled:
                if not frame.interruptible and not self.engine.over:  # its pusher is stopped, and it must not be lost
                    self._owed[frame] = outputs
                    self.lane.put(frame)
                raise
            finally:
                self._waiting.remove(entry)
        return not scope.cancelled_caught

    def discard_waiting(self) -> None:
        """Let those go on whose frame has become stale while it waited for a reader."""
        for frame, scope in self._waiting:
            if frame.interruptible:
                scope.cancel(reason="the frame is stale")

    def close(self, output: Output) -> None:
        output.channel.close()
        if output in self.outputs:
            self.outputs.remove(output)

    def put(self, frame: Frame) -> None:
        """Take a frame without making anybody wait: what finds no room is handed out by the lane."""
        if not self.started or self.lane.q or self.lane.active:
            self.lane.put(frame)
            return
        self.arrived(frame)
        full = self.offer(frame)
        if full:
            self._owed[frame] = full
            self.lane.put(frame)

    def offer(self, frame: Frame) -> list[Output]:
        """Hand a frame to the outputs that want it and have room; gives those that have none."""
        full = []
        for output in [output for output in self.outputs if isinstance(frame, output.types)]:
            try:
                output.channel.send_nowait(frame)
            except trio.WouldBlock:
                full.append(output)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.close(output)
        return full

    def arrived(self, frame: Frame) -> None:
        """Count it, and tell who watches."""
        self.count += 1
        self.tell(frame)

    def tell(self, frame: Frame) -> None:
        """Tell who watches that a frame is here."""
        watch = self.engine.observed
        if watch is not None and watch.reached is not None:
            watch.reached(frame, self.direction)

    def busy(self) -> bool:
        return bool(self.lane.q or self.lane.active)

    # -- what a lane asks of its owner

    def may_take(self, lane: Lane) -> bool:
        return self.started

    def urgent_first(self, direction: Direction) -> bool:
        return False

    def lane_busy(self, lane: Lane) -> None: ...

    def lane_idle(self, lane: Lane) -> None:
        self.engine.check_quiet()

    async def take(self, frame: Frame, direction: Direction) -> None:
        owed = self._owed.pop(frame, None)
        if owed is not None:
            await self._send(frame, owed)
            return
        self.arrived(frame)
        await self.deliver(frame)

    def failed(self, exc: Exception, frame: Frame | None) -> None:
        self.engine.fail(exc)

    def has_unwound(self) -> None: ...

    def forget_returning(self, lane: Lane) -> None: ...


class Sink(_End):
    """The lower end."""

    def __init__(self) -> None:
        super().__init__(Direction.DOWNSTREAM)

    async def accept(self, frame: Frame, nowait: bool) -> None:
        if nowait:
            self.put(frame)
        else:
            self.arrived(frame)
            if self.outputs:
                await self.deliver(frame)

    async def accept_lifecycle(self, frame: Frame) -> None:
        if isinstance(frame, FlushMarker):
            if not self.engine.over:
                frame.reached.set()
            return
        self.tell(frame)
        full = self.offer(frame)
        if isinstance(frame, Heartbeat):
            frame.reached()  # where an output is full it is left out: one that nobody reads must not pile them up
            return
        for output in full:  # a lifecycle frame never waits for a reader
            self.engine.spawn(self._send_later, output, frame)
        if isinstance(frame, StartFrame):
            self.started = True
            self.lane.start()
            self.engine.start_reached_sink()
        elif isinstance(frame, EndFrame | StopFrame):
            self.engine.last_reached_sink()

    async def _send_later(self, output: Output, frame: Frame) -> None:
        try:
            await output.channel.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.close(output)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        self.put(frame)

    def accept_up(self, frame: Frame) -> None:
        raise AssertionError("nothing is below the sink")


class Source(_End):
    """The upper end."""

    def __init__(self) -> None:
        super().__init__(Direction.UPSTREAM)

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.started = True  # what comes up has been started by definition

    def accept_up(self, frame: Frame) -> None:
        self.put(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        if isinstance(frame, ErrorFrame):
            self.engine.error_reported(frame)
        self.put(frame)

    async def accept(self, frame: Frame, nowait: bool) -> None:
        raise AssertionError("nothing is above the source")

    async def accept_lifecycle(self, frame: Frame) -> None:
        raise AssertionError("lifecycle frames go down")
