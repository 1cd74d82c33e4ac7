"""`Tap`: what passes a place of a pipeline, for somebody outside to read."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, Literal, TypeVar, final, overload

import attrs
import trio

from trio_pipes._base import are_classes, check_count, check_function, refuse
from trio_pipes.flow._frames import LIFECYCLE, ORDERED, Direction, EndFrame, Frame, LifecycleFrame, StopFrame
from trio_pipes.flow._processor import FrameProcessor

from ._which import check_direction, concerns

__all__ = ["Tap"]

T = TypeVar("T")
DOWN = Direction.DOWNSTREAM
FORM: Final = "a function: def f(frame: Frame) -> what readers get, or None"


@attrs.define(eq=False)
class _Reader:
    """One open block."""

    send: trio.MemorySendChannel[Any]
    receive: trio.MemoryReceiveChannel[Any]
    drops: bool
    """Whether the oldest item makes room for a new one."""


@final
class Tap(FrameProcessor, Generic[T]):
    """Offers the frames that pass it to readers outside the pipeline, each with a channel of its own.

    `types` are the classes to offer; none: all data and control frames. `serialize(frame)` makes what readers get, or None
    for nothing; it may be async, and is not called while there is no reader. `direction` is the way it looks, None for
    both. Every frame goes on, unchanged.
    """

    dropped: int
    """Items that made room for newer ones, where a reader was too slow and wanted that."""

    @overload
    def __init__(
        self: Tap[Frame], *types: type[Frame], direction: Direction | None = DOWN, name: str | None = None
    ) -> None: ...
    @overload
    def __init__(
        self,
        *types: type[Frame],
        serialize: Callable[[Any], Awaitable[T | None]],
        direction: Direction | None = DOWN,
        name: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        *types: type[Frame],
        serialize: Callable[[Any], T | None],
        direction: Direction | None = DOWN,
        name: str | None = None,
    ) -> None: ...
    def __init__(
        self,
        *types: type[Frame],
        serialize: Callable[[Any], Any] | None = None,
        direction: Direction | None = DOWN,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if not are_classes(types, Frame):
            raise refuse("Tap(types", types, "frame classes: Tap(TextFrame, AudioFrame)")
        if any(t._lane == LIFECYCLE for t in types):
            raise refuse(
                "Tap(types", types, "data, control or system frames: nobody is offered what the engine carries"
            )
        if serialize is not None:
            check_function("Tap(serialize", serialize, FORM, "frame")
        check_direction("Tap(direction", direction)
        self.types: tuple[type[Frame], ...] = types
        self.direction: Direction | None = direction
        self.dropped = 0
        self._serialize = serialize
        self._readers: list[_Reader] = []

    @asynccontextmanager
    async def open(
        self, buffer: float = 64, *, overflow: Literal["wait", "drop_oldest"] = "wait"
    ) -> AsyncIterator[trio.MemoryReceiveChannel[T]]:
        """A channel of what passes while the block lasts. It ends when the run does; what is in it stays readable.

        When `buffer` items wait to be read the next frame waits here, and with it everything above; with
        `overflow="drop_oldest"` the oldest item is dropped instead, and counted. Leaving the block frees the pipeline.
        """
        who = f"{self.name}.open"
        if overflow not in ("wait", "drop_oldest"):
            raise refuse(f"{who}(overflow", overflow, "'wait' or 'drop_oldest'")
        drops = overflow == "drop_oldest"
        if buffer != math.inf:
            expected = "a number of items, 1 or more" if drops else "a number of items, 0 or more, or math.inf"
            check_count(f"{who}(buffer", buffer, expected, least=1 if drops else 0)
        send, receive = trio.open_memory_channel[T](buffer)
        reader = _Reader(send, receive, drops)
        self._readers.append(reader)
        try:
            yield receive
        finally:
            self._close(reader)
            receive.close()

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Offer a frame, and pass it on."""
        if isinstance(frame, EndFrame | StopFrame):
            if self.direction is DOWN:
                self._close_all()
        elif self._readers and concerns(self.direction, direction) and self._offers(frame):
            await self._offer(frame)
        await self.push_frame(frame, direction)

    def _offers(self, frame: Frame) -> bool:
        if not self.types:
            return frame._lane == ORDERED
        return isinstance(frame, self.types) and not isinstance(frame, LifecycleFrame)

    async def _offer(self, frame: Frame) -> None:
        item: Any = frame
        if self._serialize is not None:
            item = self._serialize(frame)
            if isinstance(item, Awaitable):
                item = await item
            if item is None:
                return
        for reader in tuple(self._readers):
            try:
                await self._send(reader, item)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._close(reader)  # it has left its block

    async def _send(self, reader: _Reader, item: object) -> None:
        try:
            reader.send.send_nowait(item)
        except trio.WouldBlock:
            if not reader.drops:
                await reader.send.send(item)
                return
            reader.receive.receive_nowait()
            self.dropped += 1
            reader.send.send_nowait(item)

    def _close(self, reader: _Reader) -> None:
        reader.send.close()
        if reader in self._readers:
            self._readers.remove(reader)

    def _close_all(self) -> None:
        for reader in tuple(self._readers):
            self._close(reader)

    def _unbind(self) -> None:
        super()._unbind()
        self._close_all()  # the run is over, however it ended
