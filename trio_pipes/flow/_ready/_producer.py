"""`Producer` and `Consumer`: copies of frames, from one place of a pipeline to another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final
from weakref import WeakSet

from trio.lowlevel import checkpoint_if_cancelled

from trio_pipes._base import check_flag, check_function, check_instance
from trio_pipes.flow._annotations import caller_names
from trio_pipes.flow._check import check_frame
from trio_pipes.flow._frames import LIFECYCLE, ORDERED, URGENT, Direction, Frame, InterruptionFrame
from trio_pipes.flow._node import Node
from trio_pipes.flow._processor import FrameProcessor

from ._copies import copy_of
from ._producer_nodes import ConsumerNode, ProducerNode
from ._question import Question
from ._which import check_direction, concerns

if TYPE_CHECKING:
    from trio_pipes.flow._picture import Drawing, Way

__all__ = ["Consumer", "Producer"]

Transform = Callable[[Any], Frame | Awaitable[Frame | None] | None]
FORM = "a function: def f(frame: Frame) -> Frame | None"


@final
class Producer(FrameProcessor):
    """Gives copies of some frames to the `Consumer`s that name it, wherever in the same pipeline they stand.

    `filter` says of which: a frame class, a tuple of them, or a function that gives True or False. It is asked about data
    and control frames, and about those system frames whose class it names, that go the way that `direction` says (None:
    both). Each consumer gets a copy of its own: the same class, content, `pts` and metadata. `transform(frame)` makes
    another frame in place of it, or None for none. Both functions may be async. The frame itself goes on, unless
    `passthrough` is False.

    While a consumer has no room its producer waits, unless what the consumer pushes can come to the producer again: there
    copies wait in the consumer's lane, at most `PipelineParams.lane_limit`.
    """

    _node_class: ClassVar[type[Node]] = ProducerNode

    def __init__(
        self,
        filter: type[Frame] | tuple[type[Frame], ...] | Callable[[Any], bool | Awaitable[bool]],  # noqa: A002
        *,
        transform: Transform | None = None,
        passthrough: bool = True,
        direction: Direction | None = Direction.DOWNSTREAM,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self._question = Question("Producer(filter", filter, caller_names(1), may_wait=True, never=(InterruptionFrame,))
        self._urgent = tuple(t for t in self._question.types if t._lane == URGENT)
        if transform is not None:
            check_function("Producer(transform", transform, FORM, "frame")
        check_flag("Producer(passthrough", passthrough)
        check_direction("Producer(direction", direction)
        self._transform = transform
        self.passthrough: bool = passthrough
        self.direction: Direction | None = direction
        self._consumers: list[ConsumerNode] = []  # of the run that was last

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Give copies of a frame, and pass it on."""
        if concerns(self.direction, direction) and self._may_ask(frame) and await self._question.wait_answer(frame):
            await self._produce(frame)
            if not self.passthrough:
                return
        await self.push_frame(frame, direction)

    def _may_ask(self, frame: Frame) -> bool:
        return frame._lane == ORDERED or (
            bool(self._urgent) and isinstance(frame, self._urgent) and not isinstance(frame, InterruptionFrame)
        )

    async def _produce(self, frame: Frame) -> None:
        made = frame if self._transform is None else await transformed(self, self._transform, frame)
        if made is None:
            return
        await checkpoint_if_cancelled()  # an interrupt during the transform has made it stale
        node: Any = self._node
        for consumer in node.consumers():
            copy = copy_of(made)
            node.tell_push(copy, consumer.consumer.direction)
            await consumer.take_copy(copy)


@final
class Consumer(FrameProcessor):
    """Pushes what a `Producer` in the same pipeline gives it, among the frames that pass it by.

    `transform(frame)` makes another frame of each copy, or None for none; it may be async. `direction` is where copies go.
    The end of the run waits until the producer can give no more: all copies are before it. In a loop, where what it pushes
    can come to its producer again, the end waits until the loop has come to rest. Copies are frames like others: an
    interrupt drops those that are interruptible. What the producer makes when the end has passed the consumer is dropped,
    counted (`late_dropped` of `statistics()`) and told in a warning.

    Raises `ConfigurationError`, out of the task's `run()`, where the producer is not in the same pipeline.
    """

    _node_class: ClassVar[type[Node]] = ConsumerNode

    def __init__(
        self,
        producer: Producer,
        *,
        transform: Transform | None = None,
        direction: Direction = Direction.DOWNSTREAM,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        check_instance("Consumer(producer", producer, Producer, "a Producer: Producer(TextFrame)")
        if transform is not None:
            check_function("Consumer(transform", transform, FORM, "frame")
        check_instance("Consumer(direction", direction, Direction, "a member of Direction")
        self.producer: Producer = producer
        self.direction: Direction = direction
        self._transform = transform
        self._copies: WeakSet[Frame] = WeakSet()  # those to be transformed when they come

    def expect(self, frame: Frame) -> None:
        """A copy is on its way here."""
        if self._transform is not None:
            self._copies.add(frame)

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Pass on frames, and copies as they are to be."""
        if self._copies and frame in self._copies:
            self._copies.discard(frame)
            assert self._transform is not None
            made = await transformed(self, self._transform, frame)
            if made is None:
                return
            frame = made
        await self.push_frame(frame, direction)

    def _sketch(self, drawing: Drawing, above: Sequence[Way]) -> Sequence[Way]:
        drawing.aside(self.producer, self, "copies")
        return super()._sketch(drawing, above)


async def transformed(who: FrameProcessor, transform: Transform, frame: Frame) -> Frame | None:
    """What a user's function makes of a frame. Raises `TypeError` when that is no frame that can be pushed."""
    made = transform(frame)
    if isinstance(made, Awaitable):
        made = await made
    if made is None:
        return None
    if not isinstance(made, Frame) or made._lane == LIFECYCLE:
        raise TypeError(
            f"the transform of {who.name!r} returned {made!r} for {frame.name}, expected a data, control or system frame, "
            "or None for none"
        )
    check_frame(made, Direction.DOWNSTREAM, who.name)
    return made
