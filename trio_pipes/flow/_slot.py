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
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

import attrs
import trio

from trio_pipes._base import SetupTimeout

from ._content_run import ContentRun
from ._frames import Direction, ErrorFrame, Frame, LifecycleFrame, StartFrame
from ._node import Node

if TYPE_CHECKING:
    from ._contracts import Receiver, Run, Works
    from ._processor import FrameProcessor

__all__ = ["Graph", "Replacement", "Section", "SlotEnd", "SlotNode"]


class Section(Protocol):
    """Nodes that begin and end together."""

    def attach(self, run: Run) -> None: ...

    def detach(self) -> None: ...

    def all_nodes(self) -> Iterator[Node]: ...

    def all_joins(self) -> Iterator[Any]: ...


class Graph(Protocol):
    """What a slot asks of the graph that it is in."""

    def make_section(self, processor: FrameProcessor, above: Any, below: Any) -> Section:
        """The nodes of a processor, linked to what is above and below."""
        ...

    def gather(self) -> None:
        """Look again which nodes there are."""


class Slot(Protocol):
    """The processor of the slot's node."""

    content: FrameProcessor


class Replacement(Awaitable[None]):
    """A replacement that was asked for. May be awaited, not inside the pipeline: it waits until all is done."""

    def __init__(self, slot: str, inside: Callable[[], bool] | None = None) -> None:
        self._slot = slot
        self._inside = inside
        self._over = trio.Event()
        self._error: Exception | None = None

    def settle(self, error: Exception | None = None) -> None:
        """It is done, or will not be; the first word counts."""
        if not self._over.is_set():
            self._error = error
            self._over.set()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self._inside is not None and self._inside():
            raise RuntimeError(
                f"awaiting {self._slot}.replace() inside a processor of the same pipeline may wait for itself. "
                "Call it without await: it takes effect all the same."
            )
        await trio.lowlevel.checkpoint()
        await self._over.wait()
        if self._error is not None:
            raise self._error


@attrs.define(eq=False)
class SwapMarker(LifecycleFrame):
    """In the lane of a slot's node: swap now."""

    content: Any = None
    done: trio.Event = attrs.field(factory=trio.Event)


class Content:
    """What is in a slot, in one run."""

    def __init__(self, slot: SlotNode, processor: FrameProcessor, start: StartFrame | None) -> None:
        self.processor = processor
        self.run = ContentRun(slot.engine, start)
        self.top = _Top(slot)
        self.bottom = _Bottom(slot.end, self.run)
        self.section = slot.graph.make_section(processor, self.top, self.bottom)
        self.run.nodes = self.section.all_nodes
        self.section.attach(cast("Run", self.run))

    def nodes(self) -> list[Node]:
        return list(self.section.all_nodes())

    def close(self) -> None:
        """These nodes are part of no run any more."""
        self.run.closed = True
        self.section.detach()
        for node in self.section.all_nodes():
            node.refresh()


class SlotNode(Node):
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
        self.asked: deque[tuple[FrameProcessor, Replacement]] = deque()  # the first one is being worked on
        self.content = Content(self, cast("Slot", self.processor).content, None)
        self.process = self._hand_in

    async def _hand_in(self, frame: Frame, direction: Direction) -> None:
        """As the processor would by its push, without the detour at an ordinary moment."""
        if self.open and frame.interruptible is True:
            await self.below.accept(frame, nowait=False)
        else:
            await self.push_slow(frame, direction)

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

    def replace(self, processor: FrameProcessor, replacement: Replacement) -> None:
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

    async def _replace(self, processor: FrameProcessor, replacement: Replacement) -> None:
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
        old, new = self.content, Content(self, processor, start)
        try:
            await self._set_up(new)
            if self.ended:
                return
            marker = SwapMarker(content=new)
            self.inbox.queue().appendleft(marker)
            self.inbox.start()
            await marker.done.wait()
            if new.run.errors:
                raise _together(new)
        finally:
            if self.content is not new:
                await self._give_up(new)  # noqa: ASYNC102
        await self.engine.leave(old.nodes(), cancelled=False)
        old.close()

    async def _set_up(self, new: Content) -> None:
        seconds = self.engine.params.setup_timeout
        ready: dict[Node, trio.Event] = {}
        with trio.move_on_after(seconds) as new.run.waiting:
            ready = self.engine.enter(new.nodes())
            for event in ready.values():
                await event.wait()
        if new.run.errors:
            raise _together(new)
        if new.run.waiting.cancelled_caught:
            stuck = ", ".join(repr(node.name) for node, event in ready.items() if not event.is_set())
            raise SetupTimeout(f"{self.name}: set-up of {stuck} has not finished within setup_timeout ({seconds:g} s)")

    async def _give_up(self, new: Content) -> None:
        """The new one does not come into the slot: stop what of it works, and close it."""
        new.run.stop()
        leaving = self.engine.leave(new.nodes(), cancelled=True)
        try:
            await leaving
        finally:
            new.close()

    async def _swap(self, marker: SwapMarker) -> None:
        old, new = self.content, marker.content
        if not new.run.errors:
            new.run.setting_up = False  # from here on there is no way back
            await old.top.below.accept_lifecycle(old.run.end(f"replaced in {self.name}"))
            await old.run.ended.wait()
            self.end.hold()
            old.run.check_quiet()
            await old.run.quiet.wait()
            self.content = new
            cast("Slot", self.processor).content = new.processor
            self.graph.gather()
            await new.top.below.accept_lifecycle(new.run.start)
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


def _together(content: Content) -> Exception:
    errors = content.run.errors
    return errors[0] if len(errors) == 1 else ExceptionGroup(f"set-up of {content.processor.name} failed", errors)
