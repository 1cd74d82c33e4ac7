"""From a pipeline to the nodes of a run: who is above and below whom, and who shares whose task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trio_pipes._base import ConfigurationError

from ._block_node import BlockNode
from ._branches import Join, JoinSide
from ._chain import Chain
from ._concurrent import ConcurrentNode
from ._content import HasContent, HoldsContent
from ._each import FunctionNode
from ._ends import Sink, Source
from ._hop import make_push, make_put
from ._node import Node
from ._pause import end_pauses
from ._pipeline import Branches, Composite, Pipeline, refuse_twice

if TYPE_CHECKING:
    from ._contracts import Run
    from ._processor import FrameProcessor

__all__ = ["Graph"]


class Graph:
    """The nodes of one pipeline, linked."""

    def __init__(self, pipeline: FrameProcessor, *, fuse: bool) -> None:
        self.source = Source()
        self.sink = Sink()
        self.pipeline = pipeline
        self._fuse = fuse
        self._main = self.make_section(pipeline, self.source, self.sink)
        self.first = self._main.nodes[0]
        self.nodes = list(self._main.nodes)
        """All there are; during a run those of what is in a slot too, behind the slot's own."""
        self.joins = list(self._main.joins)

    def make_section(self, processor: FrameProcessor, above: Any, below: Any) -> _Section:
        """The nodes of a processor, linked to what is above and below."""
        return _Section(self, processor, above, below, fuse=self._fuse)

    def attach(self, engine: Run) -> None:
        """Begin a run: fresh lanes, and each processor's push made for its place."""
        if isinstance(self.pipeline, Composite):
            refuse_twice(self.pipeline)  # what is in the slots may have changed since it was built
        self.source.attach(engine)
        self.sink.attach(engine)
        self._main.attach(engine)
        self.gather()

    def wire(self) -> None:
        """Make each processor's push and handler anew: somebody begins or stops to watch."""
        self._main.wire()

    def detach(self) -> None:
        for node in self.nodes:
            end_pauses(node, all_of_them=True)
            node.processor._unbind()

    def find(self, named: FrameProcessor | str) -> Node:
        """The node of a processor, or of the one that has this name."""
        found = [node for node in self.nodes if node.processor is named or node.name == named]
        if len(found) == 1:
            return found[0]
        who = repr(named if isinstance(named, str) else named.name)
        if found:
            raise ConfigurationError(
                f"{len(found)} processors of this pipeline have the name {who}: give the processor"
            )
        known = ", ".join(repr(node.name) for node in self.nodes)
        raise ConfigurationError(f"no processor of this pipeline is {who}, expected one of {known}")

    def gather(self) -> None:
        """Look again which nodes there are: what is in the slots changes."""
        self.nodes[:] = self._main.all_nodes()
        self.joins[:] = self._main.all_joins()


class _Section:
    """Nodes that begin and end together: those of a pipeline, or of what is in a slot."""

    def __init__(self, graph: Graph, processor: FrameProcessor, above: Any, below: Any, *, fuse: bool) -> None:
        self.nodes: list[Node] = []
        self.joins: list[Any] = []
        self._graph = graph
        self._fuse = fuse
        last, _ = self._place(processor, above, None)
        _link(last, below)
        for node in self.nodes:
            node.functions = _functions_below(node)
        _compile_chains(self.nodes)

    def all_nodes(self) -> Iterator[Node]:
        """Its nodes, and those of what is in its slots."""
        for node in self.nodes:
            yield node
            if isinstance(node, HoldsContent):
                for content in node.contents():
                    yield from content.section.all_nodes()

    def all_joins(self) -> Iterator[Any]:
        yield from self.joins
        for node in self.nodes:
            if isinstance(node, HoldsContent):
                for content in node.contents():
                    yield from content.section.all_joins()

    def attach(self, run: Run) -> None:
        """Begin a run."""
        for node in self.nodes:
            at = node.processor._node
            if at is not None and not at.engine.done:
                raise ConfigurationError(f"{node.name!r} is already at work in {at.engine.name!r}: make a second one")
        for join in self.joins:
            join.attach(run)
        for node in self.nodes:
            node.attach(run)
        self._wire()

    def wire(self) -> None:
        """Make the ways of frames through these nodes and those in their slots anew."""
        self._wire()
        for node in self.nodes:
            if isinstance(node, HoldsContent):
                for content in node.contents():
                    content.section.wire()

    def _wire(self) -> None:
        for node in self.nodes:
            node.choose_handler()
        for node in reversed(self.nodes):
            node.push = make_push(node)
            if isinstance(node, FunctionNode) and node.chainable:
                node.chain.put = make_put(node.tail)
            node.bind()

    def detach(self) -> None:
        for node in self.all_nodes():
            end_pauses(node, all_of_them=True)
            node.processor._unbind()

    # -- building; `above` is what frames come from, `head` whose task may be shared

    def _place(self, processor: FrameProcessor, above: Any, head: Node | None) -> tuple[Any, Node | None]:
        if isinstance(processor, Pipeline):
            for part in processor.processors:
                above, head = self._place(part, above, head)
            return above, head
        if isinstance(processor, Branches):
            return self._place_branches(processor, above), None
        if isinstance(processor, HasContent):
            holder, end = processor._make_ends(self._graph)
            self._place_alone(holder, above)
            self.joins.append(end)
            return end, None
        processor._check_settings()
        node = processor._node_class(processor)
        self.nodes.append(node)
        head = self._share(node, above, head)
        _link(above, node)
        return node, head

    def _place_branches(self, branches: Branches, above: Any) -> Join:
        fork, join = branches._make_ends()
        self._place_alone(fork, above)
        self.joins.append(join)
        for branch, fork_side, join_side in zip(branches.branches, fork.sides, join.sides, strict=True):
            last = fork_side if branch is None else self._place(branch, fork_side, None)[0]
            _link(last, join_side)
            join.fuses = join.fuses and (isinstance(last, Node) or (isinstance(last, Join) and last.fuses))
        return join

    def _place_alone(self, node: Node, above: Any) -> None:
        """A node that has a task of its own, and its own ways of handing frames down."""
        node.head = node
        node.above = above
        above.below = node
        self.nodes.append(node)

    def _share(self, node: Node, above: Any, head: Node | None) -> Node | None:
        """Decide whose task the node works in; gives the head for the nodes below it."""
        node.head = node
        if self._fuse and isinstance(node, FunctionNode) and node.chainable:
            alone = isinstance(above, Node) and not isinstance(above, ConcurrentNode)
            if alone or (isinstance(above, Join) and above.fuses):
                node.fused = True
                node.head = head or node
                return head
        elif self._fuse and node.processor.inline and head is not None:
            node.shares_task = True
            node.head = head
            head.members.append(node)
            return head
        # A block's task is its body's: an interrupt must not stop it, so no handler may run inside it. And where
        # several frames are handled at once there is no one task. A timeout must not reach into a neighbour.
        own = isinstance(node, BlockNode | ConcurrentNode) or node.processor.frame_timeout is not None
        return None if own else node


def _link(above: Any, below: Any) -> None:
    above.below = below
    below.above = above


def _functions_below(node: Node) -> tuple[Node, ...]:
    """The synchronous functions that run within the pushes of a node, also behind the end of its branch."""
    functions: list[Node] = []
    below: Any = node.below
    while True:
        if isinstance(below, JoinSide):
            below = below.join.below
        elif isinstance(below, FunctionNode) and below.fused:
            functions.append(below)
            below = below.below
        else:
            return tuple(functions)


def _compile_chains(nodes: list[Node]) -> None:
    for node in nodes:
        if isinstance(node, FunctionNode) and node.chainable:
            row = [node]
            while isinstance(row[-1].below, FunctionNode) and row[-1].below.fused:
                row.append(row[-1].below)
            node.row = node.chain = Chain(row)
            node.tail = row[-1]
