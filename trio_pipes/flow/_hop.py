"""Which way the pushes of a node take: chosen by what stands below it, and by whether somebody watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._each import FunctionNode
from ._ends import Sink
from ._frames import Direction, Frame
from ._node import Node
from ._processor import FrameProcessor
from ._short_ways import to_chain, to_inbox, to_neighbour, to_sink
from ._watched_ways import watched_to_function, watched_to_inbox, watched_to_neighbour, watched_to_sink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["make_push", "make_put"]

DOWN = Direction.DOWNSTREAM


def make_push(node: Node) -> Callable[..., Awaitable[None]]:
    """The push of a node whose neighbours are known; those below it must have theirs already."""
    below = node.below
    watched = node.engine.observed is not None
    if isinstance(below, Sink):
        return (watched_to_sink if watched else to_sink)(node, below)
    if isinstance(below, FunctionNode) and below.fused:
        push = (watched_to_function if watched else to_chain)(node, below)
    elif isinstance(below, Node) and below.shares_task:
        push = (watched_to_neighbour if watched else to_neighbour)(node, below)
    elif isinstance(below, Node):
        return (watched_to_inbox if watched else to_inbox)(node, below)
    else:
        return node.push_slow
    return _guarded(node, push) if _may_have_helpers(node.processor) else push


def make_put(node: Node) -> Callable[[Frame], bool]:
    """For a loop over synchronous functions: put a frame below `node` at once, or give False."""
    below = node.below
    if isinstance(below, Sink):

        def to_sink(frame: Frame) -> bool:  # noqa: ARG001
            if node.open is True and not below.outputs:
                below.count += 1
                return True
            return False

        return to_sink
    if isinstance(below, Node) and not below.shares_task:
        inbox = below.inbox
        q = inbox.queue()

        def to_inbox(frame: Frame) -> bool:
            depth = len(q)
            if node.open is True and depth < inbox.limit:
                q.append(frame)
                if depth >= inbox.peak:
                    inbox.peak = depth + 1
                if not inbox.active:
                    inbox.start()
                return True
            return False

        return to_inbox
    return lambda frame: False  # noqa: ARG005


def _may_have_helpers(processor: object) -> bool:
    return getattr(type(processor), "lifespan", None) is not FrameProcessor.lifespan


def _guarded(node: Node, push_on: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    lane: Any = node.head.inbox

    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        try:
            mine = lane.coro.cr_running
        except AttributeError:
            mine = False  # nobody serves
        await (push_on if mine else node.push_slow)(frame, direction)

    return push
