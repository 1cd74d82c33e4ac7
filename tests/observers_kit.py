"""What the tests of the ready-made observers share: a conversation in which the test says who speaks, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from trio_pipes import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ControlFrame,
    Direction,
    Frame,
    FrameProcessor,
    Pipeline,
    PipelineParams,
    PipelineTask,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)


@attrs.define(eq=False)
class Cue(ControlFrame):
    """Tells a `Speaker` what to push."""

    who: str
    frames: tuple[Frame | tuple[type[Frame], dict[str, Any]], ...]
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


class Speaker(FrameProcessor):
    """Pushes what it is told to: a frame, or one both ways."""

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if not isinstance(frame, Cue) or frame.who != self.name:
            await self.push_frame(frame, direction)
            return
        for each in frame.frames:
            if isinstance(each, Frame):
                await self.push_frame(each)
            else:
                await self.broadcast_frame(each[0], **each[1])


class Stage:
    """A conversation: `user` and `bot` are the ends of a pipeline, and what happens takes no time by itself."""

    def __init__(self, *between: Any, observers: Iterable[object] = (), **params: Any) -> None:
        self.user, self.bot = Speaker("user"), Speaker("bot")
        pipeline = Pipeline([self.user, *between, self.bot])
        self.task = PipelineTask(pipeline, PipelineParams(**params), observers=observers)

    @asynccontextmanager
    async def running(self, how: str = "stop_when_done") -> AsyncIterator[Stage]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.task.run)
            yield self
            getattr(self.task, how)()

    async def push(self, who: str, *frames: Frame | tuple[type[Frame], dict[str, Any]]) -> None:
        """Have a processor push frames (or, given as class and fields, broadcast one). No time passes."""
        await self.task.queue_frame(Cue(who, frames))
        await trio.testing.wait_all_tasks_blocked()

    async def user_starts(self, at: float | None = None, *, kind: type[Frame] = UserStartedSpeakingFrame) -> None:
        await self.push("user", (kind, {"at": trio.current_time() if at is None else at}))

    async def user_stops(self, at: float | None = None) -> None:
        await self.user_starts(at, kind=UserStoppedSpeakingFrame)

    async def turn_starts(self, at: float | None = None) -> None:
        await self.user_starts(at, kind=UserTurnStartedFrame)

    async def turn_stops(self, at: float | None = None) -> None:
        await self.user_starts(at, kind=UserTurnStoppedFrame)

    async def bot_starts(self, at: float | None = None) -> None:
        await self.push("bot", (BotStartedSpeakingFrame, {"at": trio.current_time() if at is None else at}))

    async def bot_stops(self, at: float | None = None, *, interrupted: bool = False) -> None:
        fields = {"at": trio.current_time() if at is None else at, "interrupted": interrupted}
        await self.push("bot", (BotStoppedSpeakingFrame, fields))

    async def user_speaks(self, seconds: float = 1.0) -> None:
        await self.user_starts()
        await trio.sleep(seconds)
        await self.user_stops()

    async def bot_speaks(self, seconds: float = 1.0) -> None:
        await self.bot_starts()
        await trio.sleep(seconds)
        await self.bot_stops()
