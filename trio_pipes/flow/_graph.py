"""From a pipeline to the nodes of a run: who is above and below whom, and who shares whose task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_pipes._base import ConfigurationError

from ._block import BlockNode
from ._branches import ForkNode, Join, JoinSide
from ._chain import Chain
from ._concurrent import ConcurrentNode
from ._each import FunctionNode
from ._ends import Sink, Source
from ._hop import make_push, make_put
from ._node import Node
from ._pause import end_pauses
from ._pipeline import ParallelPipeline, Pipeline

if TYPE_CHECKING:
    from ._contracts import Run
    from ._processor import FrameProcessor

__all__ = ["Graph"]


class Graph:
    """The nodes of one pipeline, linked."""

    def __init__(self, pipeline: FrameProcessor, *, fuse: bool) -> None:
        self.nodes: list[Node] = []
        self.joins: list[Join] = []
        self.source = Source()
        self.sink = Sink()
        self._fuse = fuse
        last, _ = self._place(pipeline, self.source, None)
        _link(last, self.sink)
        self.first = self.nodes[0]
        for node in self.nodes:
            node.functions = _functions_below(node)
        _compile_chains(self.nodes)

    def attach(self, engine: Run) -> None:
        """Begin a run: fresh lanes, and each processor's push made for its place."""
        self.source.attach(engine)
        self.sink.attach(engine)
        for join in self.joins:
            join.attach()
        for node in self.nodes:
            node.attach(engine)
        for node in reversed(self.nodes):
            node.push = make_push(node)
            if isinstance(node, FunctionNode) and node.chainable:
                node.chain.put = make_put(node.tail)
            node.processor._bind(node)

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

    # -- building; `above` is what frames come from, `head` whose task may be shared

    def _place(self, processor: FrameProcessor, above: Any, head: Node | None) -> tuple[Any, Node | None]:
        if isinstance(processor, Pipeline):
            for part in processor.processors:
                above, head = self._place(part, above, head)
            return above, head
        if isinstance(processor, ParallelPipeline):
            return self._place_branches(processor, above), None
        processor._check_settings()
        node = processor._node_class(processor)
        self.nodes.append(node)
        head = self._share(node, above, head)
        _link(above, node)
        return node, head

    def _place_branches(self, parallel: ParallelPipeline, above: Any) -> Join:
        fork = ForkNode(parallel, len(parallel.branches))
        fork.head = fork
        fork.above = above
        above.below = fork
        self.nodes.append(fork)
        join = Join(len(parallel.branches))
        self.joins.append(join)
        for branch, fork_side, join_side in zip(parallel.branches, fork.sides, join.sides, strict=True):
            last, _ = self._place(branch, fork_side, None)
            _link(last, join_side)
        return join

    def _share(self, node: Node, above: Any, head: Node | None) -> Node | None:
        """Decide whose task the node works in; gives the head for the nodes below it."""
        node.head = node
        if self._fuse and isinstance(node, FunctionNode) and node.chainable:
            if isinstance(above, Node | Join) and not isinstance(above, ConcurrentNode):
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
