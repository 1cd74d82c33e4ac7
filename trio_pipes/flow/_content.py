"""Processors that begin and end within a run: what is in a slot, or one of the services of a switcher.

Their nodes are a section of their own, between a top and a bottom that belong to whoever holds them, and take a
`ContentRun` for the engine.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import trio

from trio_pipes._base import SetupTimeout

from ._content_run import ContentRun
from ._node import Node
from ._pause import end_pauses
from ._pipeline import Composite

if TYPE_CHECKING:
    from ._contracts import Run
    from ._processor import FrameProcessor

__all__ = ["Asked", "Content", "Graph", "HasContent", "HoldsContent", "Section"]


class Section(Protocol):
    """Nodes that begin and end together."""

    def attach(self, run: Run) -> None: ...

    def wire(self) -> None: ...

    def detach(self) -> None: ...

    def all_nodes(self) -> Iterator[Node]: ...

    def all_joins(self) -> Iterator[Any]: ...


class Graph(Protocol):
    """What the holder of content asks of the graph that it is in."""

    def make_section(self, processor: FrameProcessor, above: Any, below: Any) -> Section:
        """The nodes of a processor, linked to what is above and below."""
        ...

    def gather(self) -> None:
        """Look again which nodes there are."""


class HoldsContent(Node):
    """The node above content."""

    __slots__ = ()

    @abstractmethod
    def contents(self) -> Iterable[Content]:
        """What is in the run now."""


class HasContent(Composite):
    """A processor whose content begins and ends within a run."""

    @abstractmethod
    def _inner(self) -> Sequence[FrameProcessor]:
        """What it has, each in a place of its own beside the others."""

    @abstractmethod
    def _make_ends(self, graph: Graph) -> tuple[HoldsContent, Any]:
        """The node above the content, and what is below it."""


class Asked(Awaitable[None]):
    """A change that was asked for. May be awaited, not inside the pipeline: it waits until all is done."""

    def __init__(self, call: str, inside: Callable[[], bool] | None = None) -> None:
        self._call = call
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
                f"awaiting {self._call} inside a processor of the same pipeline may wait for itself. "
                "Call it without await: it takes effect all the same."
            )
        await trio.lowlevel.checkpoint()
        await self._over.wait()
        if self._error is not None:
            raise self._error

    async def over(self) -> None:
        """Wait until it is settled, however."""
        await self._over.wait()


class Content:
    """A processor in its place, in one run."""

    def __init__(self, graph: Graph, processor: FrameProcessor, run: ContentRun, top: Any, bottom: Any) -> None:
        self.processor = processor
        self.run = run
        self.top = top
        self.bottom = bottom
        self.section = graph.make_section(processor, top, bottom)
        self.run.nodes = self.section.all_nodes
        self.section.attach(cast("Run", run))

    def nodes(self) -> list[Node]:
        """All of its nodes."""
        return list(self.section.all_nodes())

    async def set_up(self, where: str) -> None:
        """Set it up while the run goes on. Raises what goes wrong; then it has to be given up."""
        engine = self.run.run
        seconds = engine.params.setup_timeout
        ready: dict[Node, trio.Event] = {}
        with trio.move_on_after(seconds) as self.run.waiting:
            ready = engine.enter(self.nodes())
            for event in ready.values():
                await event.wait()
        self.check()
        if self.run.waiting.cancelled_caught:
            stuck = ", ".join(repr(node.name) for node, event in ready.items() if not event.is_set())
            raise SetupTimeout(f"{where}: set-up of {stuck} has not finished within setup_timeout ({seconds:g} s)")

    def check(self) -> None:
        """Raise what has gone wrong in its set-up."""
        errors = self.run.errors
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup(f"set-up of {self.processor.name} failed", errors)

    async def begin(self) -> None:
        """Show it its start."""
        self.section.wire()  # somebody may have begun to watch since it was made
        if self.run.run.is_ending:  # that ended the pauses of those that were in the run already
            for node in self.nodes():
                end_pauses(node, all_of_them=False)
        await self.top.below.accept_lifecycle(self.run.start)

    async def end(self, reason: str) -> None:
        """Show it an end of its own, and wait until that has come out."""
        await self.top.below.accept_lifecycle(self.run.end(reason))
        await self.run.ended.wait()

    async def leave(self) -> None:
        """Clean up what has ended."""
        await self.run.run.leave(self.nodes(), cancelled=False)
        self.close()

    async def give_up(self) -> None:
        """Stop what of it works, and close it."""
        self.run.stop()
        leaving = self.run.run.leave(self.nodes(), cancelled=True)
        try:
            await leaving
        finally:
            self.close()

    def close(self) -> None:
        """These nodes are part of no run any more."""
        self.run.closed = True
        self.section.detach()
        for node in self.section.all_nodes():
            node.refresh()
