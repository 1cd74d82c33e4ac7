"""The nodes of producers and consumers: how a copy gets from one place of a pipeline to another.

# A consumer is a node with a second way in.
#
# What a producer makes goes straight into the consumer's lanes, as if the processor above the consumer had pushed it.
# So everything that holds for a frame in a lane holds for a copy: its order, interrupts, bounds, what `flush` and the end
# wait for, statistics. Three things are to be seen to:
#
#   room   A copy waits for room as any frame that is pushed, and its producer with it. Not in a loop, though: where what
#          comes out of the consumer can come to its producer, directly or by way of other consumers, each could wait for
#          the other. There copies never wait, and count against `lane_limit`.
#   end    The last frame may come to a consumer before it has come to the producer, in another branch. So it is taken out
#          of the lane and kept until the producer has passed it on, and is then put behind all copies. In a loop it
#          cannot come to the producer before the consumer passes it on. There it is kept until nothing in the pipeline is
#          at work: what is on its way round has come to rest. (Of several that keep it, one lets go at a time.) Services
#          of which one stands for the other are such a case too: the last frame comes to the others behind the active one.
#   marks  A marker of `flush`, or of branches in step, is kept in the same way; not in a loop, which is no part of what
#          is waited for, and not where it may not come to the producer, which stands in one of several services.
#
# A copy that comes to a consumer which has passed the end on is dropped, counted and told.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast
from weakref import WeakSet

import trio
from trio.lowlevel import Task, current_task

from trio_pipes._base import ConfigurationError
from trio_pipes.flow._content_run import ContentRun
from trio_pipes.flow._contracts import Run, Works
from trio_pipes.flow._frames import (
    LIFECYCLE,
    URGENT,
    Direction,
    EndFrame,
    FlushMarker,
    Frame,
    StopFrame,
)
from trio_pipes.flow._lane import Inbox
from trio_pipes.flow._node import Node
from trio_pipes.flow._pipeline import leaves_of
from trio_pipes.flow._place import Place
from trio_pipes.flow._processor import FrameProcessor
from trio_pipes.flow._sync import BatchMarker

from ._places import is_above, is_behind_choice, places_in

__all__ = ["ConsumerNode", "ProducerNode"]

logger = logging.getLogger("trio_pipes")


class ProducerNode(Node):
    """Knows who consumes, and tells them which lifecycle frames have gone by."""

    __slots__ = ("passed",)

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.passed: WeakSet[Frame] = WeakSet()  # markers

    def consumers(self) -> list[ConsumerNode]:
        """The nodes of the consumers in this run."""
        known: list[ConsumerNode] = cast("Any", self.processor)._consumers
        return [node for node in known if node.engine.whole is self.engine.whole and not node.engine.done]

    async def carry(self, frame: Frame) -> None:
        if self.shown is not frame:
            return
        await super().carry(frame)
        if isinstance(frame, FlushMarker):
            self.passed.add(frame)
        for node in self.consumers():
            node.look()

    def comes_here(self, frame: Frame) -> bool:
        """Whether a lifecycle frame that has come to another place comes here too, and has not gone by."""
        if self.ended or self.engine.done or frame in self.passed:
            return False
        if isinstance(frame, BatchMarker):
            return self.processor in frame.branches.leaves()
        return True


class IsConsumer(Works, Protocol):
    """What the node of a consumer asks of its processor."""

    producer: Any
    direction: Direction

    def expect(self, frame: Frame) -> None:
        """A copy is on its way."""


class ConsumerInbox(Inbox):
    """Where a consumer is the first processor, a copy is older than what has come from outside in the same pass."""

    def put(self, frame: Frame) -> None:
        if self.fresh_turn != self.node.engine.turn.number:
            super().put(frame)
            return
        self.fresh = fresh = min(self.fresh, len(self.q))  # those that are still here
        super().put(frame)
        if frame._lane == LIFECYCLE:
            self.fresh += 1
        else:
            self.q.insert(len(self.q) - 1 - fresh, self.q.pop())


class ConsumerNode(Node):
    """Takes copies, and keeps the end until there can be no more."""

    __slots__ = (
        "asked_by",
        "freed",
        "giving",
        "has_started",
        "in_loop",
        "kept",
        "producer_may_not_get",
        "since",
        "told_late",
    )

    def attach(self, engine: Run) -> None:
        super().attach(engine)
        self.has_started = trio.Event()
        self.in_loop = False
        self.producer_may_not_get = False  # what comes here, as it stands in one of several services
        self.asked_by: deque[list[Callable[[], bool]]] = deque()  # for each that is kept, who asks when all is idle
        self.kept: deque[Frame] = deque()  # lifecycle frames, until the producer has passed them on
        self.since = 0.0  # on Trio's clock, that the first of them is kept
        self.freed: set[Frame] = set()  # those that are on their way again
        self.giving: set[Task] = set()  # tasks that wait for room with a copy
        self.told_late = False
        if not _is_replacement(engine):
            if self.consumer.producer not in leaves_of(engine.whole.graph.pipeline):
                raise self._no_producer()
            self._subscribe()

    def _make_inbox(self, bound: int) -> Inbox:
        return ConsumerInbox(self, bound)

    @property
    def consumer(self) -> IsConsumer:
        return cast("IsConsumer", self.processor)

    @property
    def producer(self) -> ProducerNode | None:
        """The producer's node, in this run or another."""
        return cast("ProducerNode | None", self.consumer.producer._node)

    def _no_producer(self) -> ConfigurationError:
        producer = self.consumer.producer.name
        return ConfigurationError(
            f"{self.name!r} is to consume what {producer!r} produces, which is not in the pipeline that "
            f"{self.engine.name} runs, or not any more. Put {producer!r} into the same pipeline."
        )

    def _subscribe(self) -> None:
        known: list[ConsumerNode] = self.consumer.producer._consumers
        known[:] = [node for node in known if node.engine.whole is self.engine.whole and not node.engine.done]
        known.append(self)

    def _has_started(self) -> None:
        super()._has_started()
        if _is_replacement(self.engine):
            if self.producer is None or self.producer.engine.whole is not self.engine.whole:
                self.engine.fail(self._no_producer())
                return
            self._subscribe()
        _find_loops(self.engine.whole)
        self.has_started.set()

    # -- copies

    async def take_copy(self, frame: Frame) -> None:
        """A copy from the producer, whose handler waits while there is no room; not in a loop."""
        direction = self.consumer.direction
        if frame._lane == URGENT or direction is Direction.UPSTREAM:
            self.consumer.expect(frame)
            if frame._lane == URGENT:
                self.accept_urgent(frame, direction)
            else:
                self.accept_up(frame)
            return
        if not self.started:
            await self.has_started.wait()
        if self.ended:
            self._came_late(frame)
            return
        self.consumer.expect(frame)
        task = current_task()
        self.giving.add(task)
        try:
            await self.accept(frame, nowait=self.in_loop)
        finally:
            self.giving.discard(task)

    def _came_late(self, frame: Frame) -> None:
        self.late_dropped += 1
        if not self.told_late:
            self.told_late = True
            logger.warning(
                "%s: %r dropped %s, a copy that %r made when the end had gone through %r already. There may be more of "
                "them: late_dropped of its statistics() counts them.",
                self.engine.name,
                self.name,
                frame.name,
                self.consumer.producer.name,
                self.name,
            )

    @property
    def pusher(self) -> Place | None:
        return self.producer if current_task() in self.giving else super().pusher

    # -- the end

    async def lifecycle(self, frame: Frame) -> None:
        if isinstance(frame, KEPT) and frame not in self.freed:
            self._keep(frame)
        else:
            self.freed.discard(frame)
            await super().lifecycle(frame)

    def _keep(self, frame: Frame) -> None:
        """Take it out of the lane; it comes back behind the copies that are there already, or are still to come."""
        if not self.kept:
            self.since = trio.current_time()
        self.kept.append(frame)
        self.asked_by.append(self.engine.when_idle(frame))
        self.asked_by[-1].append(self._at_rest)
        self.look()

    def _waits_with(self, frame: Frame) -> bool:
        """Whether copies may come for frames that are before this one."""
        producer = self.producer
        if self.consumer.direction is Direction.UPSTREAM:
            return False  # what goes up is not behind the end, and no flush waits for it
        if producer is None or not producer.comes_here(frame):
            return False
        run: Any = self.engine
        while isinstance(run, ContentRun):
            if run.stays_inside(frame) and producer not in run.nodes():
                return False  # what is in the slot ends, and the producer does not
            run = run.run
        return not ((self.in_loop or self.producer_may_not_get) and isinstance(frame, FlushMarker))

    def look(self) -> None:
        """The producer has passed something on, or is gone."""
        while self.kept and not self._waits_with(self.kept[0]):
            self._let_go()

    def _at_rest(self) -> bool:
        """Nobody is at work: let the end go on in a loop. True: something has been set going."""
        before = len(self.kept)
        self.look()
        if self.in_loop and len(self.kept) == before:
            self._let_go()
        return len(self.kept) < before

    def _let_go(self) -> None:
        frame = self.kept.popleft()
        self.asked_by.popleft().remove(self._at_rest)
        self.freed.add(frame)
        self.inbox.put_behind_all(frame)

    def in_hand(self) -> tuple[Frame, float] | None:
        return super().in_hand() or ((self.kept[0], self.since) if self.kept else None)


KEPT = (EndFrame, StopFrame, FlushMarker)


def _is_replacement(engine: Run) -> bool:
    """Whether these nodes are to come into a slot of a run that is on."""
    return isinstance(engine, ContentRun) and engine.is_replacement


def _find_loops(whole: Any) -> None:
    """Find out for each consumer of a run whether what it pushes down can come to its own producer."""
    places = places_in(whole.graph.pipeline)
    nodes: list[ConsumerNode] = [
        node
        for place in places
        if isinstance(node := place._node, ConsumerNode)
        and node.consumer.direction is Direction.DOWNSTREAM
        and node.consumer.producer in places
    ]
    here = {node: places[cast("FrameProcessor", node.processor)] for node in nodes}
    producers = {node: places[node.consumer.producer] for node in nodes}
    for node in nodes:
        reached: set[ConsumerNode] = set()  # those that get copies of what it pushes down, and so on
        ways = [node]
        while ways:
            above = here[ways.pop()]
            new = {other for other in nodes if is_above(above, producers[other])} - reached
            reached |= new
            ways += new
        other_service = is_behind_choice(producers[node], here[node]) and is_behind_choice(here[node], producers[node])
        node.in_loop = node in reached or other_service
        node.producer_may_not_get = is_behind_choice(here[node], producers[node])
