"""The short ways of a push while somebody watches: each tells, and then does as its like in `_short_ways`.

They ask for the watch anew each time, so what is under way when a watch ends tells nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._each import FunctionNode
from ._ends import Sink
from ._frames import Direction, Frame
from ._node import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["watched_to_function", "watched_to_inbox", "watched_to_neighbour", "watched_to_sink"]

DOWN = Direction.DOWNSTREAM


def watched_to_inbox(node: Node, below: Node) -> Callable[..., Awaitable[None]]:
    """Below is a processor that works by itself."""
    engine, processor = node.engine, node.processor
    inbox = below.inbox
    q = inbox.queue()

    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        if not (node.quick and direction is DOWN and getattr(frame, "interruptible", None) is True):
            await node.push_slow(frame, direction)
            return
        watch = engine.observed
        if watch is not None and watch.pushed is not None:
            watch.pushed(processor, frame, DOWN)
            if not node.quick:  # whoever was told has done something that must be noticed
                await node.push_slow(frame, DOWN, told=True)
                return
        node.quick = False
        depth = len(q)
        if depth < inbox.limit:
            q.append(frame)
            if depth >= inbox.peak:
                inbox.peak = depth + 1
            if not inbox.active:
                inbox.start()
        else:
            await inbox.put_or_wait(frame)

    return push


def watched_to_neighbour(node: Node, below: Node) -> Callable[..., Awaitable[None]]:
    """Below is a processor that shares the task."""
    engine, processor = node.engine, node.processor
    process = below.process

    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        if not (node.quick and direction is DOWN and getattr(frame, "interruptible", None) is True):
            await node.push_slow(frame, direction)
            return
        watch = engine.observed
        if watch is not None and watch.pushed is not None:
            watch.pushed(processor, frame, DOWN)
            if not node.quick:  # whoever was told has done something that must be noticed
                await node.push_slow(frame, DOWN, told=True)
                return
        node.quick = False
        below.frame = frame
        below.quick = below.open
        try:
            await process(frame, DOWN)
        except Exception as exc:  # noqa: BLE001  (it is the neighbour's and is handed on there)
            below.failed(exc, frame)
        finally:
            below.frame = None
            if below.attention:
                below.look_up()

    return push


def watched_to_function(node: Node, below: FunctionNode) -> Callable[..., Awaitable[None]]:
    """Below is a synchronous function: it is called by itself, not as the first of a row."""
    engine, processor = node.engine, node.processor
    process = below.process

    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        if not (node.quick and direction is DOWN and getattr(frame, "interruptible", None) is True):
            await node.push_slow(frame, direction)
            return
        watch = engine.observed
        if watch is not None and watch.pushed is not None:
            watch.pushed(processor, frame, DOWN)
            if not node.quick:  # whoever was told has done something that must be noticed
                await node.push_slow(frame, DOWN, told=True)
                return
        node.quick = False
        node.chaining = True
        below.quick = below.open
        try:
            await process(frame, DOWN)
        except Exception as exc:  # noqa: BLE001  (it is the function's and is handed on there)
            below.failed(exc, frame)
        finally:
            node.chaining = False
            if node.attention:
                node.look_up()

    return push


def watched_to_sink(node: Node, sink: Sink) -> Callable[..., Awaitable[None]]:
    """Below is the end of the pipeline."""
    engine, processor = node.engine, node.processor

    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        if not (node.quick and direction is DOWN and getattr(frame, "interruptible", None) is True):
            await node.push_slow(frame, direction)
            return
        watch = engine.observed
        if watch is not None and watch.pushed is not None:
            watch.pushed(processor, frame, DOWN)
            if not node.quick:  # whoever was told has done something that must be noticed
                await node.push_slow(frame, DOWN, told=True)
                return
        node.quick = False
        sink.arrived(frame)
        if sink.outputs:
            await sink.deliver(frame)

    return push
