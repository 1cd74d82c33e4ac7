"""The short ways of a push, one for each kind of what stands below the pusher.

# The hot path.
#
# Most pushes are an ordinary frame going down, at a moment when nothing else is up. Two looks tell:
#
#   frame.interruptible   only ordinary frames are. `is True` also turns away a frame *class* pushed by mistake,
#                         whose attribute is a descriptor.
#   node.quick            set (to `node.open`) by whoever hands the node a frame, taken away by the first push,
#                         cleared by whatever must be noticed: an interrupt, a cancel, the end, an observer, a
#                         neighbour that may not be handed frames. So a handler that pushes on and on comes by
#                         `push_slow`, where it gives way to others. While somebody watches it is not True itself:
#                         who has kept one of these pushes does not get by without telling.
#
# A frame may be handed over within the task only by the task that serves the head, because another task's
# handler could not be stopped by the head's cancel scope. A processor that has a `lifespan` may have helper
# tasks that push; there `cr_running` of the serving task's coroutine tells who it is, for a third of what asking
# Trio for the current task costs. Lanes that are served by themselves close the short way while they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._each import FunctionNode
from ._ends import Sink
from ._frames import Direction, Frame
from ._node import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["to_chain", "to_inbox", "to_neighbour", "to_sink"]

DOWN = Direction.DOWNSTREAM


def to_inbox(node: Node, below: Node) -> Callable[..., Awaitable[None]]:
    inbox = below.inbox
    q = inbox.queue()

    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        try:
            ordinary = node.quick is True and frame.interruptible is True and direction is DOWN
        except AttributeError:
            ordinary = False  # no frame: push_slow says so
        if not ordinary:
            await node.push_slow(frame, direction)
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


def to_neighbour(node: Node, below: Node) -> Callable[..., Awaitable[None]]:
    process = below.process

    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        try:
            ordinary = node.quick is True and frame.interruptible is True and direction is DOWN
        except AttributeError:
            ordinary = False  # no frame: push_slow says so
        if not ordinary:
            await node.push_slow(frame, direction)
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


def to_chain(node: Node, first: FunctionNode) -> Callable[..., Awaitable[None]]:
    chain = first.chain
    run_for = chain.run_for
    tail = first.tail
    push_on = tail.push

    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        try:
            ordinary = node.quick is True and not chain.busy and frame.interruptible is True and direction is DOWN
        except AttributeError:
            ordinary = False
        if not ordinary:
            await node.push_slow(frame, direction)
            return
        node.quick = False
        node.chaining = True
        try:
            result = run_for[frame.__class__](frame)
            tail.quick = tail.open
            if isinstance(result, Frame):
                await push_on(result)
            elif result is not None:
                await chain.push_each(result, node)  # type: ignore[arg-type]  # any node can read
        finally:
            node.chaining = False
            if node.attention:
                node.look_up()

    return push


def to_sink(node: Node, sink: Sink) -> Callable[..., Awaitable[None]]:
    async def push(frame: Frame, direction: Direction = DOWN) -> None:
        try:
            ordinary = node.quick is True and frame.interruptible is True and direction is DOWN
        except AttributeError:
            ordinary = False
        if not ordinary:
            await node.push_slow(frame, direction)
            return
        node.quick = False
        sink.count += 1
        if sink.outputs:
            await sink.deliver(frame)

    return push
