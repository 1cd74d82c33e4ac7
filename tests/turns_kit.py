"""Conversations written down in a line, played on a clock that jumps: who does what when, and what comes of it.

    "S 1.5 E .1 T:hello 5"

S and E: the user starts and stops to speak, as voice activity tells it; `E-.5` tells it half a second late. T:words: the transcript
(`T:` an empty one, `T@1.5:words` one that says when its last sound was). I:words: an interim one. B+ and B-: the bot starts and stops to speak. ts and te: turn frames
from outside. X:words: any text. !: an interrupt. A number: seconds that pass. `_` in words is a space.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
import trio

from trio_pipes import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    InterruptionFrame,
    Pipeline,
    PipelineParams,
    PipelineTask,
    StartFrame,
    TextFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)
from trio_pipes.voice import (
    InterimTranscriptionFrame,
    TranscriptionFrame,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
)

DOWN, UP = Direction.DOWNSTREAM, Direction.UPSTREAM


def frame_of(token: str) -> Frame:
    """The frame of a token, made now."""
    now = trio.current_time()
    match re.fullmatch(r"(?P<kind>ts|te|B\+|B-|[SEITX])(?P<late>-[\d.]+)?(@(?P<at>[\d.]+))?(:(?P<words>.*))?", token):
        case None:
            raise ValueError(token)
        case found:
            words = (found["words"] or "").replace("_", " ")
            at = now + float(found["late"] or 0)
    match found["kind"]:
        case "S":
            return UserStartedSpeakingFrame(at=at)
        case "E":
            return UserStoppedSpeakingFrame(at=at)
        case "T":
            return TranscriptionFrame(words, stopped_at=float(found["at"]) if found["at"] else None)
        case "I":
            return InterimTranscriptionFrame(words)
        case "X":
            return TextFrame(words)
        case "ts":
            return UserTurnStartedFrame(at=at)
        case "te":
            return UserTurnStoppedFrame(at=at)
        case "B+":
            return BotStartedSpeakingFrame(at=at)
    return BotStoppedSpeakingFrame(at=at)


def name_of(frame: Frame) -> str:
    """What a frame is called in a log."""
    match frame:
        case TranscriptionFrame():
            return f"T:{frame.text}"
        case InterimTranscriptionFrame():
            return f"I:{frame.text}"
        case TextFrame():
            return f"X:{frame.text}"
        case UserTurnStoppedFrame(timed_out=True):
            return "timeout"
    return NAMES.get(type(frame), type(frame).__name__)


NAMES: dict[type[Frame], str] = {
    UserStartedSpeakingFrame: "S",
    UserStoppedSpeakingFrame: "E",
    UserTurnStartedFrame: "turn",
    UserTurnStoppedFrame: "over",
    BotStartedSpeakingFrame: "B+",
    BotStoppedSpeakingFrame: "B-",
    InterruptionFrame: "!",
    UserMuteStartedFrame: "mute",
    UserMuteStoppedFrame: "unmute",
    EndFrame: "end",
}


class Log(FrameProcessor):
    """Writes down what passes in one direction, and when."""

    def __init__(self, direction: Direction, delay: float = 0.0) -> None:
        self.direction = direction
        self.delay = delay
        self.frames: list[tuple[float, Frame]] = []

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is self.direction and not isinstance(frame, StartFrame):
            self.frames.append((round(trio.current_time() - Talk.began, 6), frame))
            if self.delay and not isinstance(frame, InterruptionFrame):
                await trio.sleep(self.delay)
        await self.push_frame(frame, direction)


@attrs.define
class Talk:
    """What came of a conversation; times are in seconds from its start."""

    began = 0.0
    below: list[tuple[float, Frame]]
    above: list[tuple[float, Frame]]

    @property
    def down(self) -> str:
        """What came out below."""
        return " ".join(name_of(frame) for _, frame in self.below)

    @property
    def up(self) -> str:
        """And above."""
        return " ".join(name_of(frame) for _, frame in self.above)

    def frames(self, name: str) -> list[Any]:
        """The frames of a name that came out below."""
        return [frame for _, frame in self.below if name_of(frame) == name]

    def times(self, *names: str) -> list[float]:
        """When those came out below."""
        return [at for at, frame in self.below if name_of(frame) in names]


async def talk(
    script: str,
    *processors: FrameProcessor,
    others: dict[str, Callable[[], object]] | None = None,
    allow_interruptions: bool = True,
    slow: float = 0.0,
) -> Talk:
    """Play a script to processors, and end. `others`: what further tokens do (a frame to send down, or None); a token with ^ before it goes up.

    `slow`: what stands below takes so many seconds for each frame, with room for one.
    """
    below, above = Log(DOWN, slow), Log(UP)
    params = PipelineParams(allow_interruptions=allow_interruptions, queue_size=1 if slow else 64)
    task = PipelineTask(Pipeline([above, *processors, below]), params)
    Talk.began = trio.current_time()
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            await nursery.start(task.run)
            Talk.began = trio.current_time()
            for token in script.split():
                if re.fullmatch(r"[\d.]+", token):
                    await trio.sleep(float(token))
                    continue
                if token == "!":
                    task.interrupt()
                    continue
                up = token.startswith(("^", "B"))
                made = (others or {}).get(
                    token.removeprefix("^"), lambda token=token: frame_of(token.removeprefix("^"))
                )()
                if isinstance(made, Frame):
                    await task.queue_frame(made, UP if up else DOWN)
                if not slow:
                    await trio.testing.wait_all_tasks_blocked()
            task.stop_when_done()
    return Talk(below.frames, above.frames)
