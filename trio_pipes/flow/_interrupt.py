"""An interrupt: everything interruptible that is now in the pipeline becomes stale, in one pass.

# In which order, and why.
#
#   1. nobody may take the short way: the next push of everybody looks up
#   2. handlers that work on a stale frame are stopped, all at once, so that their unwinding overlaps
#   3. stale frames leave the lanes; pushers that wait for room with a new one are let in
#   4. every processor that can take it gets an InterruptionFrame and holds newer frames until it has handled it
#
# The handler that asks is not stopped. Where handlers share a task, those above the asker wait for it to
# return, and one cancel scope is round them all: they are stopped when it has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._block_node import BlockNode
from ._each import FunctionNode
from ._frames import Direction, InterruptionFrame
from ._node import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.lowlevel import Task

    from ._graph import Graph
    from ._lane import Lane

__all__ = ["interrupt_all", "lane_of", "stop"]


def lane_of(lanes: Mapping[Task, Lane], task: Task | None) -> Lane | None:
    """The lane whose handler `task` is, or was started by."""
    while task is not None:
        lane = lanes.get(task)
        if lane is not None:
            return lane
        task = task.parent_nursery.parent_task if task.parent_nursery else None
    return None


def interrupt_all(graph: Graph, lanes: Mapping[Task, Lane], asker: Lane | None) -> None:
    """Interrupt a running pipeline, whose busy lanes are `lanes`; `asker` is the one whose handler asks."""
    nodes = graph.nodes
    for node in nodes:
        node.quick = False
        if node.inbox.waiting:
            node.inbox.admit_uninterruptible()
    for lane in tuple(lanes.values()):
        if lane is not asker:
            stop(lane)
    graph.first.engine.pool.after_others = True  # those who are stopped are not behind those who are told
    if asker is not None:
        _stop_those_above(asker)
    for node in nodes:
        _drop_stale(node, may_wait=node is graph.first)
    for join in graph.joins:
        join.drop_stale()
    graph.sink.discard_waiting()
    frame = InterruptionFrame()
    frame._given = True
    for node in nodes:
        _announce(node, frame, asker)


def stop(lane: Lane, *, kept_too: bool = False) -> bool:
    """Stop the handler of a lane if the frame in its hand is stale (`kept_too`: or uninterruptible); whether it is."""
    frame, node = lane.frame, lane.node
    if not isinstance(node, Node) or lane.urgent or lane.stop or frame is None:
        return False
    if not (frame.interruptible or kept_too):
        return False
    if isinstance(node, BlockNode) and lane is node.inbox:
        node.became_stale()
        return True
    _doom(lane, _stack(lane, node))
    lane.stop = True
    node.refresh()
    assert lane.scope is not None
    lane.scope.cancel(reason=f"interrupt of {node.engine.name}")
    return True


def _stack(lane: Lane, node: Node) -> list[Node]:
    """The nodes whose handlers run in a lane's task: its own, and neighbours and functions that share it."""
    handlers = [node]
    if lane is node.inbox:
        handlers += [member for member in node.members if member.frame is not None]
    return handlers


def _stop_those_above(asker: Lane) -> None:
    """See to it that the handlers which wait for the asker, in the same task, are stopped when it returns."""
    node = asker.node
    if not isinstance(node, Node) or asker is not node.inbox or asker.frame is None or asker.stop:
        return
    if not asker.frame.interruptible:
        return
    handlers = _stack(asker, node)
    innermost = handlers[-1]
    rows = [innermost, *innermost.functions]
    generates = any(isinstance(row, FunctionNode) and row.generating for row in rows)  # a generator is the asker
    reads = generates
    for row in rows:
        if (generates or innermost.chaining) and isinstance(row, FunctionNode) and row.iterating and not row.generating:
            row.leaving = reads = True  # its frames went before the asker; what comes of the asker's is still read
    if isinstance(node, BlockNode):
        if node.chaining:  # a function below it is the asker
            node.became_stale()
            node.attention = not reads
        return
    above = handlers if innermost.chaining else handlers[:-1]  # a function below the innermost is the asker then
    if generates and isinstance(innermost, FunctionNode) and innermost.chainable:
        above = handlers[:-1]  # its own generator: nobody waits for it in this handler
    if above:
        _doom(asker, above)
        # While somebody watches a function may wait for the next: the last one that does is the first to return.
        waiting = [row for row in innermost.functions if row.chaining and row.head is innermost.head]
        last = waiting[-1] if waiting else innermost
        last.returning, last.attention = asker, not reads


def _doom(lane: Lane, handlers: list[Node]) -> None:
    """Make what these nodes push for their frames stale, and wait for them before they are told."""
    nodes = [node for handler in handlers for node in (handler, *handler.functions)]
    new = [node for node in dict.fromkeys(nodes) if node not in lane.stack]
    lane.stack += tuple(new)
    for node in new:
        node.unwinding += 1
        node.refresh()


def _drop_stale(node: Node, *, may_wait: bool) -> None:
    """Clear a node's lanes. Who waits for room waits with a stale frame; not before the first node, outside."""
    inbox = node.inbox
    dropped = inbox.drop_stale()
    if node.up is not None:
        dropped += node.up.drop_stale()
    if node.early:
        kept = [frame for frame in node.early if not frame.interruptible]
        dropped += len(node.early) - len(kept)
        node.early[:] = kept
    if inbox.waiting:
        if not may_wait:
            dropped += inbox.discard_waiting()
        inbox.admit()
        inbox.start()
    node.stale_dropped += dropped


def _announce(node: Node, frame: InterruptionFrame, asker: Lane | None) -> None:
    if not node.takes_urgent(frame, Direction.DOWNSTREAM):
        return
    lane = node.urgent_lane(Direction.DOWNSTREAM)
    if not node.started:
        lane.put(frame)
        return
    node.hold += 1
    was_active = lane.active
    if lane is asker:
        node.engine.spawn(node.interrupted, frame)  # behind itself it would wait for ever
    else:
        lane.put(frame)
    if was_active or not lane.active:  # otherwise the node has looked as the lane got in line
        node.refresh()
        node.tell_pusher()
