"""The node of a slot: what is in it can be replaced while the pipeline runs.

# How a replacement goes.
#
# What is in a slot has nodes of its own, between the slot's node above and a `SlotEnd` below. They take a `ContentRun`
# for the engine: the run they are in, with a start and an end of their own. So to them a replacement looks like the
# end of a run, or like its start, and nothing else in the pipeline notices.
#
#   set up    the new nodes are made and set up, while the old ones work; what goes wrong here concerns nobody else
#   swap      between two frames: the slot's node takes nothing more, the old nodes get an EndFrame behind what they
#             have. When it has come out, frames that come up are held until no old handler works. The new nodes get
#             a StartFrame, then what was held and what waits
#   clean up  the old lifespans are left, while the new nodes work
#
# Replacements asked for together are done one after the other. The marker that makes the slot's node swap goes in
# front of what waits there: the new nodes get that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

import attrs
import trio

from ._content import Asked, Content, Graph, HoldsContent
from ._content_run import ContentRun
from ._frames import Direction, ErrorFrame, Frame, LifecycleFrame, StartFrame

if TYPE_CHECKING:
    from ._contracts import Receiver, Run, Works
    from ._processor import FrameProcessor

__all__ = ["SlotEnd", "SlotNode"]


class Slot(Protocol):
    """The processor of the slot's node."""

    content: FrameProcessor


@attrs.define(eq=False)
class SwapMarker(LifecycleFrame):
    """In the lane of a slot's node: swap now."""

    content: Any = None
    done: trio.Event = attrs.field(factory=trio.Event)


class SlotNode(HoldsContent):
    """Hands what comes down to what is in the slot, and sees to its replacement."""

    __slots__ = ("asked", "content", "end", "graph", "has_begun")

    content: Content

    def __init__(self, processor: Works, graph: Graph, end: SlotEnd) -> None:
        super().__init__(processor)
        self.graph = graph
        self.end = end
        self.end.slot = self
        self.below = _In(self)

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.has_begun = trio.Event()
        self.asked: deque[tuple[FrameProcessor, Asked]] = deque()  # the first one is being worked on
        self.content = self._content(cast("Slot", self.processor).content, None)
        self.handler = self._hand_in

    def contents(self) -> Iterable[Content]:
        return (self.content,)

    def _content(self, processor: FrameProcessor, start: StartFrame | None) -> Content:
        run = ContentRun(self.engine, start)
        return Content(self.graph, processor, run, _Top(self), _Bottom(self.end, run))

    async def _hand_in(self, frame: Frame, direction: Direction) -> None:
        """As the processor would by its push, without the detour at an ordinary moment."""
        if self.open and frame.interruptible is True and not self.engine.observed:
            await self.below.accept(frame, nowait=False)
        else:
            await self.push_slow(frame, direction)

    @property
    def may_be_unusable(self) -> bool:
        return False

    def takes_up(self, frame: Frame) -> bool:
        return False

    def takes_urgent(self, frame: Frame, direction: Direction) -> bool:
        return False

    def takes_lifecycle(self, frame: Frame) -> bool:
        return False

    async def lifecycle(self, frame: Frame) -> None:
        if isinstance(frame, SwapMarker):
            await self._swap(frame)
            return
        await super().lifecycle(frame)
        if frame is self.engine.start:
            self.has_begun.set()

    # -- replacing

    def replace(self, processor: FrameProcessor, replacement: Asked) -> None:
        """Begin to replace what is in the slot."""
        if self.engine.over:
            replacement.settle(self._too_late())
            return
        self.engine.pool.check_here()
        self.asked.append((processor, replacement))
        if len(self.asked) == 1:
            self.engine.spawn(self._replace_all)

    async def _replace_all(self) -> None:
        """One after the other, in the order in which they were asked for."""
        try:
            await self.has_begun.wait()
            while self.asked:
                await self._replace(*self.asked[0])
                self.asked.popleft()
        finally:
            for _, replacement in self.asked:
                replacement.settle(self._too_late())

    async def _replace(self, processor: FrameProcessor, replacement: Asked) -> None:
        try:
            if not self.ended:
                await self._set_up_and_swap(processor)
        except Exception as exc:  # noqa: BLE001  (handed on; what was in the slot stays)
            replacement.settle(exc)
            text = f"{self.name!r} keeps what is in it: {str(exc) or repr(exc)}"
            self.report(ErrorFrame(error=text, exception=exc, processor=self.processor))
        finally:
            replacement.settle(None if self.content.processor is processor else self._too_late())

    async def _set_up_and_swap(self, processor: FrameProcessor) -> None:
        start = StartFrame()
        start.metadata.update(self.engine.start.metadata)
        old, new = self.content, self._content(processor, start)
        try:
            await new.set_up(self.name)
            if self.ended:
                return
            marker = SwapMarker(content=new)
            self.inbox.queue().appendleft(marker)
            self.inbox.start()
            await marker.done.wait()
            new.check()
        finally:
            if self.content is not new:
                await new.give_up()  # noqa: ASYNC102
        await old.leave()

    async def _swap(self, marker: SwapMarker) -> None:
        old, new = self.content, marker.content
        if not new.run.errors:
            new.run.setting_up = False  # from here on there is no way back
            await old.end(f"replaced in {self.name}")
            self.end.hold()
            old.run.check_quiet()
            await old.run.quiet.wait()
            self.content = new
            cast("Slot", self.processor).content = new.processor
            self.graph.gather()
            await new.begin()
            self.end.let_go()
        marker.done.set()

    def _too_late(self) -> Exception:
        return trio.ClosedResourceError(f"the run of {self.engine.name} has ended, or is ending: nothing was replaced")


class _In:
    """What the slot's node has below it: whatever is in the slot."""

    def __init__(self, slot: SlotNode) -> None:
        self._slot = slot

    async def accept(self, frame: Frame, nowait: bool) -> None:
        await self._slot.content.top.below.accept(frame, nowait)

    async def accept_lifecycle(self, frame: Frame) -> None:
        await self._slot.content.top.below.accept_lifecycle(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        self._slot.content.top.below.accept_urgent(frame, direction)

    def accept_up(self, frame: Frame) -> None:
        raise AssertionError("what is in the slot hands frames up past its node")


class _Top:
    """What the first processor in the slot has above it."""

    below: Receiver

    def __init__(self, slot: SlotNode) -> None:
        self._slot = slot

    async def accept(self, frame: Frame, nowait: bool) -> None:
        raise AssertionError("the slot's node hands frames down")

    async def accept_lifecycle(self, frame: Frame) -> None:
        raise AssertionError("the slot's node hands frames down")

    def accept_up(self, frame: Frame) -> None:
        self._slot.above.accept_up(frame)

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        self._slot.above.accept_urgent(frame, direction)


class _Bottom:
    """What the last processor in the slot has below it."""

    above: Receiver

    def __init__(self, end: SlotEnd, run: ContentRun) -> None:
        self._end = end
        self._run = run

    async def accept(self, frame: Frame, nowait: bool) -> None:
        await self._end.below.accept(frame, nowait)

    async def accept_lifecycle(self, frame: Frame) -> None:
        if not self._run.stays_inside(frame):
            await self._end.below.accept_lifecycle(frame)
        elif frame is self._run.last:
            self._run.ended.set()

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        self._end.below.accept_urgent(frame, direction)

    def accept_up(self, frame: Frame) -> None:
        raise AssertionError("the slot's end hands frames up")


class SlotEnd:
    """The lower end of a slot. Upwards it hands frames to what is in the slot."""

    above: Receiver  # nothing uses it
    below: Receiver
    slot: SlotNode
    fuses = False

    def attach(self, engine: Run) -> None:
        """Begin a run."""
        self._engine = engine
        self._held: list[Frame] | None = None

    def hold(self) -> None:
        """Keep what comes up."""
        self._held = []

    def let_go(self) -> None:
        """Hand on what was kept."""
        held, self._held = self._held, None
        for frame in held or ():
            self.accept_up(frame)

    def accept_up(self, frame: Frame) -> None:
        if self._held is None:
            self.slot.content.bottom.above.accept_up(frame)
            return
        self._held.append(frame)
        if len(self._held) > self._engine.params.lane_limit:
            self._engine.flood(self.slot.name, "at the lower end", len(self._held))

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        self.slot.content.bottom.above.accept_urgent(frame, direction)

    def drop_stale(self) -> int:
        if not self._held:
            return 0
        kept = [frame for frame in self._held if not frame.interruptible]
        dropped = len(self._held) - len(kept)
        self._held = kept
        return dropped

    async def accept(self, frame: Frame, nowait: bool) -> None:
        raise AssertionError("what is in the slot hands frames down past its end")

    async def accept_lifecycle(self, frame: Frame) -> None:
        raise AssertionError("what is in the slot hands frames down past its end")
