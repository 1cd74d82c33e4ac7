"""`Switchable`: a slot in a pipeline, whose content can be replaced while the pipeline runs."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast, final

from trio_pipes._base import ConfigurationError

from ._content import Asked, Graph, HasContent
from ._fits import Types
from ._pipeline import Part, leaves_of, made
from ._processor import FrameProcessor
from ._slot import SlotEnd, SlotNode

if TYPE_CHECKING:
    from ._picture import Drawing, Way

__all__ = ["Switchable"]


@final
class Switchable(HasContent):
    """A slot: a processor (or a pipeline) that can be replaced between two frames while the pipeline runs.

    What is in it gets the frames, as if it stood there itself.
    """

    content: FrameProcessor
    """What is in it now."""

    def __init__(self, processor: Part, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.content = self._checked(processor)

    def __repr__(self) -> str:
        return f"<{self.name} with {self.content!r}>"

    def leaves(self) -> Iterator[FrameProcessor]:
        """What is in it; this one, which hands the frames in, first."""
        yield self
        yield from leaves_of(self.content)

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        with drawing.group(self.name, "slot"):
            return self.content._sketch(drawing, above)

    def _inner(self) -> Sequence[FrameProcessor]:
        return (self.content,)

    def _comes_of(self, coming: Types | None) -> Types | None:
        self.content._comes_of(coming)
        return None  # who knows what will be in it

    def replace(self, processor: Part) -> Awaitable[None]:
        """Replace what is in the slot. Takes effect when called; await it to know that it is done.

        The new one is set up while the old one works on. Then, between two frames, the old one finishes what it
        has and is shown `EndFrame`, the new one is shown `StartFrame` and gets the frames that wait, and the
        old one is cleaned up (one that `async with pipeline:` holds stays open with it). Nothing is lost and
        nothing changes its place. Several replacements are done in the order in which they were asked for.
        Where no run is on, the slot simply has another content.

        Awaiting it raises what went wrong in the set-up (`SetupTimeout` after `setup_timeout`): then the old one
        stays, and an `ErrorFrame` goes up as well. It raises `trio.ClosedResourceError` when the run ends first, and
        `RuntimeError` inside the pipeline, where it may wait for itself. Raises `ConfigurationError` for what is no
        processor, or one that is running already.
        """
        new = self._checked(processor)
        node, call = self._node, f"{self.name}.replace()"
        if node is None or node.engine.done:
            self.content = new
            replacement = Asked(call)
            replacement.settle()
            return replacement
        engine: Any = node.engine
        replacement = Asked(call, engine.is_inside)
        cast("SlotNode", node).replace(new, replacement)
        return replacement

    def _make_ends(self, graph: Graph) -> tuple[SlotNode, SlotEnd]:
        end = SlotEnd()
        return SlotNode(self, graph, end), end

    def _checked(self, processor: Part) -> FrameProcessor:
        new = made(processor, self.name)
        for leaf in leaves_of(new):
            if leaf is self:
                raise ConfigurationError(f"{self.name!r} cannot have itself as its content")
            refuse_running(leaf, self.name)
        return new


def refuse_running(processor: FrameProcessor, where: str) -> None:
    """A processor has one place at a time."""
    node = processor._node
    if node is not None and not node.engine.done:
        raise ConfigurationError(
            f"{processor.name!r} is in {node.engine.name!r}, which is running, and cannot be put into {where!r}. "
            "An instance has one place at a time: make a second one."
        )
