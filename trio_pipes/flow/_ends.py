"""The two ends of a pipeline: the source on top, where upstream frames come out, and the sink below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from ._frames import Direction, EndFrame, ErrorFrame, FlushMarker, Frame, StartFrame, StopFrame
from ._lane import Lane

if TYPE_CHECKING:
    from ._engine import Engine
    from ._node import Node

__all__ = ["Output", "Sink", "Source"]


@attrs.define(eq=False)
class Output:
    """A channel for those frames of some types that reach one end."""

    types: tuple[type[Frame], ...]
    channel: trio.MemorySendChannel[Frame]


class _End:
    """Where frames leave. Urgent and upstream ones are handed out by a lane, so that no pusher waits."""

    engine: Engine

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.name = "the sink" if direction is Direction.DOWNSTREAM else "the source"
        self.count = 0  # ordinary and system frames that came
        self.outputs: list[Output] = []
        self.open = self.quick = False  # the attributes that a lane's owner has
        self.started = False

    def attach(self, engine: Engine) -> None:
        self.engine = engine
        self.count = 0
        self.started = False
        self.lane = Lane(self, self.direction, urgent=True)  # type: ignore[arg-type]  # an end is all the owner it needs

    async def deliver(self, frame: Frame) -> None:
        """Hand a frame to the outputs that want it; wait for those that are full."""
        for output in tuple(self.outputs):
            if isinstance(frame, output.types):
                try:
                    await output.channel.send(frame)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self.close(output)  # the reader has left its block

    def close(self, output: Output) -> None:
        output.channel.close()
        if output in self.outputs:
            self.outputs.remove(output)

    def put(self, frame: Frame) -> None:
        if not self.started or self.lane.q or self.lane.active or self._wanted(frame):
            self.lane.put(frame)
        else:
            self.arrived(frame)

    def _wanted(self, frame: Frame) -> bool:
        return any(isinstance(frame, output.types) for output in self.outputs)

    def arrived(self, frame: Frame) -> None:
        """Count it, and tell who watches."""
        self.count += 1
        if self.engine.observed:
            self.engine.observed.on_reached(frame, self.direction)

    def busy(self) -> bool:
        return bool(self.lane.q or self.lane.active)

    # -- what a lane asks of its owner

    def may_take(self, lane: Lane) -> bool:  # noqa: ARG002
        return self.started

    def lane_busy(self, lane: Lane) -> None: ...

    def lane_idle(self, lane: Lane) -> None:
        lane.start()
        self.engine.check_quiet()

    async def handle(self, frame: Frame, direction: Direction) -> None:  # noqa: ARG002
        self.arrived(frame)
        await self.deliver(frame)

    def failed(self, exc: Exception, frame: Frame | None) -> None:  # noqa: ARG002
        self.engine.fail(exc)


class Sink(_End):
    """The lower end."""

    def __init__(self) -> None:
        super().__init__(Direction.DOWNSTREAM)

    async def accept(self, frame: Frame, pusher: Node, nowait: bool) -> None:  # noqa: ARG002
        self.arrived(frame)
        if not self.outputs:
            return
        if nowait:
            self.lane.put(frame) if self._wanted(frame) else None
        else:
            await self.deliver(frame)

    async def accept_lifecycle(self, frame: Frame, pusher: Node) -> None:  # noqa: ARG002
        if isinstance(frame, FlushMarker):
            frame.reached.set()
            return
        if self.engine.observed:
            self.engine.observed.on_reached(frame, self.direction)
        for output in tuple(self.outputs):  # a lifecycle frame never waits for a reader
            if isinstance(frame, output.types):
                try:
                    output.channel.send_nowait(frame)
                except trio.WouldBlock:
                    self.engine.spawn(self._send_later, output, frame)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self.close(output)
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

    def accept_urgent(self, frame: Frame, direction: Direction, pusher: Node | None) -> None:  # noqa: ARG002
        self.put(frame)

    def accept_up(self, frame: Frame, pusher: Node | None) -> None:
        raise AssertionError("nothing is below the sink")


class Source(_End):
    """The upper end."""

    def __init__(self) -> None:
        super().__init__(Direction.UPSTREAM)

    def attach(self, engine: Engine) -> None:
        super().attach(engine)
        self.started = True  # what comes up has been started by definition

    def accept_up(self, frame: Frame, pusher: Node | None) -> None:  # noqa: ARG002
        self.put(frame)

    def accept_urgent(self, frame: Frame, direction: Direction, pusher: Node | None) -> None:  # noqa: ARG002
        if isinstance(frame, ErrorFrame):
            self.engine.error_reported(frame)
        self.put(frame)

    async def accept(self, frame: Frame, pusher: Node, nowait: bool) -> None:
        raise AssertionError("nothing is above the source")

    async def accept_lifecycle(self, frame: Frame, pusher: Node) -> None:
        raise AssertionError("lifecycle frames go down")
