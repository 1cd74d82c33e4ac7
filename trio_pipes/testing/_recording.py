"""`Recording`: the frames of a session that was recorded, to be sent again and to be compared.

# The file.
#
# Lines of JSON, so that it can be read, cut and mended by hand:
#
#   {"trio_pipes": "recording", "version": 1}
#   {"time": 120000000, "direction": "downstream", "frame": "TextFrame", "fields": {"text": "hello", "interruptible": true}}
#   {"end": 3400000000, "frames": 1}
#
# `time` and `end` are nanoseconds on the task's clock. A frame may have `pts` and `metadata` besides. What JSON has no form for
# is an object with one key that begins with a dollar: {"$bytes": base64}, {"$tuple": [...]}, {"$float": "nan"},
# {"$dict": [[key, value], ...]}, {"$record": class, "fields": {...}}. The last line tells that nothing is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from trio_pipes import (
    Direction,
    EndFrame,
    Frame,
    InterruptionFrame,
    PipelineTask,
    StartFrame,
    StopFrame,
    TaskState,
)
from trio_pipes._base import check_flag, check_instance, check_path, outside

from ._frame_codec import FrameCodec, RecordingError

__all__ = ["HEADER", "RecordedFrame", "Recording", "frame_line", "last_line", "replay"]

VERSION: Final = 1
HEADER: Final = json.dumps({"trio_pipes": "recording", "version": VERSION}).encode() + b"\n"
NANOSECONDS: Final = 1e9
DIRECTIONS: Final = {direction.value: direction for direction in Direction}


def frame_line(codec: FrameCodec, time: int, direction: Direction, frame: Frame) -> bytes:
    """The line of a frame."""
    record = {"time": time, "direction": direction.value, **codec.encode(frame)}
    return json.dumps(record, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def last_line(time: int, frames: int) -> bytes:
    """The line that ends a recording."""
    return json.dumps({"end": time, "frames": frames}).encode() + b"\n"


@attrs.frozen(eq=False)
class RecordedFrame:
    """One frame of a recording."""

    line: int
    """Its line in the file, counted from 1."""
    time: int
    """When it passed, in nanoseconds on the task's clock."""
    direction: Direction
    """Which way it went."""
    _record: dict[str, Any] = attrs.field(repr=False)
    _codec: FrameCodec = attrs.field(repr=False)

    def make(self) -> Frame:
        """A new frame with its content."""
        return self._codec.decode(self._record)


@attrs.frozen(eq=False)
class Recording:
    """What `FrameRecorder` wrote; `await Recording.read(path)` reads it."""

    path: str
    """The file it was read from."""
    frames: tuple[RecordedFrame, ...] = attrs.field(repr=lambda frames: f"<{len(frames)}>")
    """All frames, in the order in which they passed."""
    end: int | None
    """When the recorder was closed, in nanoseconds on the task's clock; None when the file has no end."""
    _codec: FrameCodec = attrs.field(repr=False)

    @classmethod
    async def read(
        cls, path: str | os.PathLike[str], *, classes: Iterable[type[Any]] = (), partial: bool = False
    ) -> Recording:
        """Read a file, in a thread. Only frames of this library and of `classes` are made.

        `partial` takes a file whose end is missing, because the process was killed, as far as its lines are whole. Raises
        `RecordingError`, which names the line, for what is damaged, cut off or no recording, and `OSError`.
        """
        check_path("Recording.read(path", path)
        check_flag("Recording.read(partial", partial)
        codec = FrameCodec(classes)
        with outside():
            content = await trio.to_thread.run_sync(Path(path).read_bytes)
            return await trio.to_thread.run_sync(_parse, os.fspath(path), content, codec, partial)

    async def replay(
        self,
        task: PipelineTask,
        *,
        direction: Direction = Direction.DOWNSTREAM,
        interruptions: bool = False,
        stop: bool = True,
    ) -> None:
        """Queue what went in `direction`, each frame when it passed then, counted from the task's start.

        Waits for the task to run. `interruptions` asks for an interrupt where one came through: leave it off where the
        pipeline asks for them by itself. `stop` asks for the end when the recording ended. Raises what `queue_frame` raises
        when the task ends before.
        """
        await task.wait_state(*(state for state in TaskState if state not in (TaskState.NEW, TaskState.STARTING)))
        start = trio.current_time() - task.clock.get_time() / NANOSECONDS
        for recorded in self._going(direction):
            frame = recorded.make()
            if interruptions or not isinstance(frame, InterruptionFrame):
                await trio.sleep_until(start + recorded.time / NANOSECONDS)
                await task.queue_frame(frame, direction)
        if stop:
            if self.end is not None:
                await trio.sleep_until(start + self.end / NANOSECONDS)
            task.stop_when_done(f"{self.path} has been replayed")

    def check(
        self, frames: Iterable[Frame], direction: Direction = Direction.DOWNSTREAM, *, ignore: Collection[str] = ()
    ) -> None:
        """Raise `AssertionError` where `frames` are not what went in `direction`; lifecycle frames and times do not count.

        `ignore` are fields that may differ, as `"UserStartedSpeakingFrame.at"`.
        """
        codec = FrameCodec(self._codec.classes.values(), skip=ignore)
        expected = list(self._going(direction))
        got = [frame for frame in frames if not isinstance(frame, StartFrame | EndFrame | StopFrame)]
        for recorded, frame in zip(expected, got, strict=False):
            was = recorded.make()
            if codec.encode(was) != codec.encode(frame):
                raise AssertionError(
                    f"{self.path}, line {recorded.line}: {was!r} was recorded, and now it is {frame!r}"
                )
        if len(expected) > len(got):
            missing = expected[len(got)]
            raise AssertionError(
                f"{self.path}, line {missing.line}: {missing.make()!r} was recorded, and now nothing comes "
                f"({len(expected)} were recorded, {len(got)} came)"
            )
        if len(got) > len(expected):
            raise AssertionError(
                f"{self.path}: {len(expected)} were recorded, and now {got[len(expected)]!r} comes besides"
            )

    def _going(self, direction: Direction) -> Iterator[RecordedFrame]:
        check_instance("Recording.replay(direction", direction, Direction, "a member of Direction")
        return (recorded for recorded in self.frames if recorded.direction is direction)


async def replay(
    path: str | os.PathLike[str], task: PipelineTask, *, classes: Iterable[type[Any]] = (), **options: Any
) -> Recording:
    """`Recording.read`, and then its `replay(task, **options)`; gives the recording."""
    recording = await Recording.read(path, classes=classes)
    await recording.replay(task, **options)
    return recording


# -- reading


def _parse(path: str, content: bytes, codec: FrameCodec, partial: bool) -> Recording:
    lines = content.split(b"\n")
    rest = lines.pop()  # what stands behind the last newline
    _check_header(path, lines[0] if lines else rest)
    frames: list[RecordedFrame] = []
    end: int | None = None
    for number, line in enumerate(lines[1:], 2):
        if end is not None:
            raise RecordingError(f"{path}, line {number}: something stands behind the end")
        record = _record(path, number, line)
        if "end" in record:
            end = _end(path, number, record, len(frames))
        else:
            frames.append(_frame(path, number, record, codec))
    if not partial and (end is None or rest):
        raise RecordingError(
            f"{path}, line {len(lines) + 1}: cut off, the end is missing. Recording.read(..., partial=True) takes what is there"
        )
    return Recording(path, tuple(frames), end, codec)


def _check_header(path: str, line: bytes) -> None:
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("trio_pipes") != "recording":
        raise RecordingError(f"{path}, line 1: this is no recording of frames, it begins with {line[:60]!r}")
    if header.get("version") != VERSION:
        raise RecordingError(f"{path}, line 1: a recording of version {header.get('version')!r}, expected {VERSION}")


def _record(path: str, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as exc:
        raise RecordingError(f"{path}, line {number}: damaged, {exc}") from exc
    if not isinstance(record, dict):
        raise RecordingError(f"{path}, line {number}: {record!r}, expected a JSON object")
    return record


def _frame(path: str, number: int, record: dict[str, Any], codec: FrameCodec) -> RecordedFrame:
    time, direction, pts = record.get("time"), DIRECTIONS.get(str(record.get("direction"))), record.get("pts")
    unknown = sorted(record.keys() - {"time", "direction", "frame", "fields", "pts", "metadata"})
    if unknown or "frame" not in record or "fields" not in record or direction is None or not _is_time(time):
        raise RecordingError(f"{path}, line {number}: {record!r}, expected time, direction, frame and fields")
    if not (pts is None or _is_time(pts)) or not isinstance(record.get("metadata", {}), dict):
        raise RecordingError(f"{path}, line {number}: pts={pts!r}, metadata={record.get('metadata')!r}")
    recorded = RecordedFrame(number, time, direction, record, codec)  # type: ignore[arg-type]  # looked at
    try:
        recorded.make()
    except RecordingError as exc:
        raise RecordingError(f"{path}, line {number}: {exc}") from exc
    return recorded


def _end(path: str, number: int, record: dict[str, Any], frames: int) -> int:
    end = record["end"]
    if not _is_time(end) or record.get("frames") != frames:
        raise RecordingError(
            f"{path}, line {number}: the end tells of {record.get('frames')!r} frames at {end!r}, and {frames} are here"
        )
    return end  # type: ignore[no-any-return]  # looked at


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
