"""The processors of a session, written in every way that there is; all of them do what their script says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from trio_pipes import (
    Direction,
    ErrorFrame,
    Failover,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    ServiceSwitcher,
    Switchable,
    SyncParallelPipeline,
    each,
    processor,
    route,
    tee,
)

from .book import Echo, Heard, Note, Said, renewed
from .pieces import Copies, Ready, Switcher
from .place import Place, Top
from .planned import Planned
from .ready import build_copies, build_ready
from .script import LATER, SET_UP, Part, Shape, Slot, Split

if TYPE_CHECKING:
    from .session import Session

DOWN, UP = Direction.DOWNSTREAM, Direction.UPSTREAM
Numbered = Said | Heard


class Ends(FrameProcessor):
    """The first and the last one: they write down what comes out."""

    def __init__(self, session: Session, way: Direction) -> None:
        super().__init__("first" if way is UP else "last", inline=way is DOWN)
        self.session, self.way = session, way

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is self.way and isinstance(frame, Said | Heard | Note | Echo):
            self.session.book.out(frame, direction)
        if self.way is UP and isinstance(frame, ErrorFrame):
            self.session.errors.append(frame.error)
        await self.push_frame(frame, direction)


class Work:
    """What one part does for a frame, however it is written."""

    def __init__(self, session: Session, part: Part) -> None:
        self.session, self.part = session, part
        self.place = session.place
        self.handled = 0

    def at_once(self, frame: Numbered) -> tuple[Numbered, str | None]:
        """What a sync one can do, and what is left to do for the others."""
        session = self.session
        self.handled += 1
        act = self.part.acts.get(self.handled)
        if act == "fail":
            if self.place is None or not self.place.gives_on(self.part):
                session.book.failed.add(frame.number)
            session.book.raised += 1
            raise Planned(f"{session.script.name}: {frame.number}")
        if act == "interrupt":
            session.interrupt()
        result = renewed(frame) if self.part.renews else frame
        if self.place is not None:
            self.place.saw(result)
        return result, act

    async def on(self, frame: Numbered, push: Any, owner: FrameProcessor | None = None) -> Numbered:
        result, act = self.at_once(frame)
        if self.part.nap and isinstance(frame, Said):
            await trio.sleep(self.part.nap)
        if act is not None:
            await self.session.act(act, push, owner)
        return result


class Written(FrameProcessor):
    def __init__(self, session: Session, part: Part) -> None:
        super().__init__(inline=part.kind == "inline")
        self.work = Work(session, part)
        session.classes.append(self)

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is UP or not isinstance(frame, Said | Heard):
            await self.push_frame(frame, direction)
            return
        if self.work.session.script.measures:
            self.metrics.start_ttfb()
        result = await self.work.on(frame, self.push_frame, self)
        if self.work.session.script.measures:
            await self.metrics.stop_ttfb()
        try:
            await self.hand_on(result)
        except BaseException:
            if self.work.place is not None:
                self.work.session.book.failed.add(result.number)  # something of it may have come out already
            raise

    async def hand_on(self, result: Numbered) -> None:
        if self.work.part.kind == "helped":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.push_frame, result)
        else:
            await self.push_frame(result)

    async def on_interrupt(self) -> None:
        await trio.lowlevel.checkpoint()


class Owns(Written):
    """Has something open while it runs, and a task beside the frames."""

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        session = self.work.session
        acts = self.work.part.acts
        if SET_UP in acts:
            raise Planned(f"{session.script.name}: set-up")
        if session.script.stuck == "set-up":
            await trio.sleep(session.rng_nap)
        session.book.opened += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.tick)
                if LATER in acts:
                    nursery.start_soon(self.fail_later)
                yield
                nursery.cancel_scope.cancel()
        finally:
            if session.script.stuck == "lifespan":
                await trio.sleep(session.rng_nap)
            session.book.closed += 1

    async def fail_later(self) -> None:
        await trio.sleep(2)
        raise Planned(f"{self.work.session.script.name}: background work")

    async def tick(self) -> None:
        while True:
            await trio.sleep(0.5)
            self.statistics()


def build(session: Session, shape: Shape) -> list[Any]:
    parts: list[Any] = []
    for one in shape:
        if isinstance(one, Part):
            parts.append(build_part(session, one))
        elif isinstance(one, tuple):
            parts.append(ParallelPipeline(*(build(session, branch) for branch in one)))
        elif isinstance(one, Slot):
            slot = Switchable(Pipeline(build(session, one.contents[0])))
            session.slots.append((slot, iter(one.contents[1:]), session.place))
            parts.append(slot)
        elif isinstance(one, Switcher):
            parts.append(build_switcher(session, one))
        elif isinstance(one, Ready):
            parts += build_ready(session, one)
        elif isinstance(one, Copies):
            parts.append(build_copies(session, one))
        elif isinstance(one, Split):
            branches = [build(session, branch) for branch in one.branches]
            match one.kind:
                case "sync":
                    parts.append(SyncParallelPipeline(*branches))
                case "tee":
                    parts.append(tee(*branches))
                case _:
                    count = len(branches)

                    def key(frame: Any, count: int = count) -> int:
                        return int(frame.number) % count

                    parts.append(route(key, dict(enumerate(branches))))
        else:
            parts.append(Pipeline(build(session, one)))
    return parts


def build_switcher(session: Session, one: Switcher) -> ServiceSwitcher:
    outer = session.place
    places, services = [], []
    settings = one.settings
    for index, shape in enumerate(one.services):
        lone = len(shape) == 1 and isinstance(shape[0], Part)
        session.place = place = Place(
            session, index, outer, lone=lone, repeats=settings["strategy"] and settings["repeat"]
        )
        parts = build(session, shape)
        services.append(parts[0] if lone else Pipeline([Top(place), *parts]))
        places.append(place)
        session.places.append(place)
    session.place = outer
    strategy = Failover(settings["failback"], retry_after=settings["retry_after"], repeat=settings["repeat"])
    switcher = ServiceSwitcher(services, strategy if settings["strategy"] else None, warm=settings["warm"])
    for place in places:
        place.switcher = switcher
    session.switchers.append(switcher)
    return switcher


def build_part(session: Session, part: Part) -> Any:
    work = Work(session, part)
    match part.kind:
        case "class" | "inline" | "helped":
            return (Owns if part.resource else Written)(session, part)
        case "sync":

            @each
            def sync(frame: Said | Heard) -> Frame:
                return work.at_once(frame)[0]

            return sync

        case "generator":

            @each
            def generator(frame: Said | Heard) -> Iterator[Frame]:
                yield work.at_once(frame)[0]

            return generator

        case "async":

            @each
            async def asynchronous(frame: Said | Heard) -> Frame:
                return await work.on(frame, None)

            return asynchronous

        case "concurrent" | "unordered":

            @each(concurrency=3, ordered=part.kind == "concurrent")
            async def concurrent(frame: Said | Heard) -> Frame:
                return await work.on(frame, None)

            return concurrent

        case "async generator":

            @each
            async def async_generator(frame: Said | Heard) -> AsyncIterator[Frame]:
                yield await work.on(frame, None)

            return async_generator

        case "block":

            @processor
            async def block(frames: Frames[Said | Heard], out: Out) -> None:
                async for frame in frames:
                    await out.push(await work.on(frame, out.push))

            return block

        case "careful block":

            @processor
            async def careful(frames: Frames[Said | Heard], out: Out) -> None:
                async for frame in frames:
                    with frames.interruptible():
                        await out.push(await work.on(frame, out.push))

            return careful
    raise AssertionError(part.kind)
