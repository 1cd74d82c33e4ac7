"""A processor that reads frames from an async iterable, beside those that come from above."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import trio

from ._frames import Direction, EndFrame, EndTaskFrame, Frame, StartFrame, StopFrame
from ._processor import FrameProcessor

if TYPE_CHECKING:
    from ._picture import Drawing, Way

__all__ = ["Reads"]

_END = object()


class Reads(FrameProcessor):
    """Pushes the frames of `source`, from `StartFrame` to `EndFrame`.

    `ends_task` is asked when the source has ended: whether the task is to end then.
    """

    def __init__(self, source: AsyncIterable[Frame], name: str, ends_task: Callable[[], bool]) -> None:
        super().__init__(name)
        self._source = source
        self._ends_task = ends_task
        self.has_ended = False

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        return drawing.box(self, above, about="async iterable")

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Room for the task that reads."""
        self._waiting: trio.CancelScope | None = None  # for the next frame
        self._reading = trio.CancelScope()
        self._over: trio.Event | None = None  # there is no reading yet
        async with trio.open_nursery() as self._nursery:
            yield
            self._nursery.cancel_scope.cancel(reason=f"{self.name} is closed")

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Begin with the start; at the end let the frame go that has been read."""
        match frame:
            case StartFrame():
                await self._stop_reading()
                self._asked_to_end = self.has_ended = False
                await self.push_frame(frame, direction)
                self._over = trio.Event()
                self._nursery.start_soon(self._read)
            case EndFrame() | StopFrame():
                self._asked_to_end = True
                if self._waiting is not None:
                    self._waiting.cancel(reason="the end was asked for")
                if self._over is not None:
                    await self._over.wait()
                await self.push_frame(frame, direction)
            case _:
                await self.push_frame(frame, direction)

    async def _stop_reading(self) -> None:
        """A run before this one was cut off: within `async with pipeline:` it has left its reader."""
        if self._over is not None:
            self._reading.cancel(reason=f"{self.name} begins again")
            await self._over.wait()
        self._over = None
        self._reading = trio.CancelScope()

    async def _read(self) -> None:
        with self._reading:
            await self._read_all()

    async def _read_all(self) -> None:
        frames: Any = aiter(self._source)
        assert self._over is not None
        try:
            async with aclosing(frames) if isinstance(frames, AsyncGenerator) else nullcontext():
                while (frame := await self._next(frames)) is not _END:
                    await self.push_frame(frame)
        finally:
            self._over.set()
        if self.has_ended and self._ends_task():
            await self.push_frame(EndTaskFrame(f"the sources of {self.name.rsplit(' source ')[0]} have ended"))

    async def _next(self, frames: AsyncIterator[Frame]) -> Any:
        """The next frame; `_END` at the end of the source, or when the end was asked for."""
        frame: object = _END
        if self._asked_to_end:
            return frame
        with trio.CancelScope() as self._waiting:
            try:
                frame = await anext(frames)
            except StopAsyncIteration:
                self.has_ended = True
        self._waiting = None
        return frame
