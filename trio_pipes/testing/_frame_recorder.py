"""`FrameRecorder`: the frames that pass, written to a file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import trio

from trio_pipes import BaseClock, Direction, EndFrame, Frame, FrameProcessor, StartFrame, StopFrame
from trio_pipes._base import are_classes, check_path, outside, refuse

from ._frame_codec import FrameCodec
from ._recording import HEADER, frame_line, last_line

__all__ = ["FrameRecorder"]

# Bytes that may wait for the disk before those who push have to wait.
BACKLOG: Final = 1_000_000


class FrameRecorder(FrameProcessor):
    """Passes on everything, and writes each frame of `types` to a file that `Recording` reads and replays.

    First in a pipeline it records what comes in (downstream) and what answers it (upstream). The file is written in a thread,
    and begun anew by each run. Frames of this library can be recorded, and those of `classes`; `skip` are fields to leave out,
    as `"TextFrame.text"`. Lifecycle frames are not recorded.

    A frame that cannot be recorded is a `RecordingError` that names the field; a full disk is an `OSError` that fails the task.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        types: type[Frame] | tuple[type[Frame], ...] = Frame,
        classes: Iterable[type[Any]] = (),
        skip: Collection[str] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        check_path("FrameRecorder(path", path)
        self._path = Path(path)
        self._types = types if isinstance(types, tuple) else (types,)
        if not are_classes(self._types, Frame):
            raise refuse("FrameRecorder(types", types, "a class of frames, or a tuple of them")
        self._codec = FrameCodec(classes, skip)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open the file; at the end write what is left, and that it is the end."""
        self._lines: list[bytes] = [HEADER]
        self._waiting = len(HEADER)  # bytes
        self._count = 0
        self._changed, self._written = trio.Event(), trio.Event()
        with outside():
            self._file: BinaryIO = await trio.to_thread.run_sync(self._open)
        self._clock: BaseClock | None = None  # of the run that has begun
        failed = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_on)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel(reason=f"{self.name} is closed")
            failed = False
        except trio.Cancelled:
            failed = False
            raise
        finally:
            if failed:
                self._lines.clear()
            else:
                self._lines.append(last_line(0 if self._clock is None else self._clock.get_time(), self._count))
            with trio.CancelScope(shield=True), outside():
                await trio.to_thread.run_sync(self._close, self._lines)

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Record it, and pass it on."""
        if isinstance(frame, StartFrame):
            await self._begin()
        if isinstance(frame, self._types) and not isinstance(frame, StartFrame | EndFrame | StopFrame):
            line = frame_line(self._codec, self.task.clock.get_time(), direction, frame)
            while self._waiting > BACKLOG:
                await self._written.wait()
            self._lines.append(line)
            self._waiting += len(line)
            self._count += 1
            self._changed.set()
        await self.push_frame(frame, direction)

    async def _begin(self) -> None:
        if self._clock is not None:  # a run before this one has written, within `async with pipeline:`
            while self._lines:
                await self._written.wait()
            with outside():
                await trio.to_thread.run_sync(self._empty)
            self._lines.append(HEADER)
            self._waiting, self._count = len(HEADER), 0
            self._changed.set()
        self._clock = self.task.clock

    async def _write_on(self) -> None:
        while True:
            lines = list(self._lines)
            if lines:
                with outside():
                    await trio.to_thread.run_sync(self._write, lines)
                del self._lines[: len(lines)]  # only now: a cancel may come before the thread has begun
                self._waiting -= sum(map(len, lines))
                self._written.set()
                self._written = trio.Event()
            else:
                self._changed = trio.Event()
                await self._changed.wait()

    # -- in a thread

    def _open(self) -> BinaryIO:
        return self._path.open("wb", buffering=0)  # a close that has to write could fail again

    def _empty(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def _write(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            data = data[self._file.write(data) :]

    def _close(self, lines: list[bytes]) -> None:
        with self._file:
            self._write(lines)
