"""What the parts of a run ask of each other, so that none has to import the one above it.

Lanes ask the node that they belong to; nodes ask their neighbours and the engine; the engine asks its owner.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import trio
from trio.lowlevel import Task

from ._frames import Direction, ErrorFrame, Frame, PauseUrgentFrame, ResumeFrame
from ._params import ErrorPolicy, PipelineParams, UnusablePolicy
from ._turn import Turn
from ._watch import FrameWatch

__all__ = ["InboxOwner", "LaneOwner", "Owner", "Receiver", "Row", "Run", "Serves", "Works"]


class Receiver(Protocol):
    """What a node has above and below it: another node, a fork or join of branches, or an end."""

    async def accept(self, frame: Frame, nowait: bool) -> None:
        """An ordered frame from above; waits while there is no room, unless `nowait`."""

    async def accept_lifecycle(self, frame: Frame) -> None:
        """A lifecycle frame from above; never waits for room."""

    def accept_up(self, frame: Frame) -> None:
        """An ordered frame from below."""

    def accept_urgent(self, frame: Frame, direction: Direction) -> None:
        """A system frame from either side."""


class Works(Protocol):
    """What a node asks of its processor."""

    name: str
    inline: bool
    on_error: ErrorPolicy | None
    on_unusable: UnusablePolicy | None
    frame_timeout: float | None

    @property
    def _node(self) -> Any: ...

    @property
    def _held_by_block(self) -> Any: ...

    async def process_frame(self, frame: Frame, direction: Direction) -> None: ...

    async def on_interrupt(self) -> None: ...

    def _handler(self) -> Callable[[Frame, Direction], Awaitable[None]]: ...

    def _bind(self, node: Any) -> None: ...

    def _unbind(self) -> None: ...

    def _lifespan_or_none(self) -> AbstractAsyncContextManager[None] | None: ...


class Owner(Protocol):
    """Who runs an engine and answers what its processors ask for."""

    name: str
    task: Any
    """What processors see as their task."""
    interrupts: int
    """Interrupts that have taken effect in this run."""

    def asked(self, frame: Frame) -> None:
        """A processor pushed a lifecycle frame of its own, or a request such as `EndTaskFrame`."""

    def interrupted(self) -> None:
        """An interrupt has taken effect."""

    def interrupt_refused(self) -> None:
        """A processor asked for an interrupt, and interrupts are not allowed."""

    def error_reported(self, frame: ErrorFrame) -> None:
        """An error has come up to the source, or a fatal one has happened."""

    def set_up(self, processor: Any, seconds: float) -> None:
        """A processor's set-up has taken so long."""

    def usable_changed(self, processor: Any, *, usable: bool) -> None:
        """A processor says that it cannot do its work any more, or that it can again."""

    def measuring(self, processor: Any, kind: type[Any], at: float) -> None:
        """A processor began to measure a time, at `at` seconds on Trio's clock; `kind` of record will tell it."""

    def measured(self, processor: Any, records: Sequence[Any]) -> None:
        """A processor has measured: records of a `MetricsFrame`."""

    def broken_off(self) -> None:
        """The run is over before its end: it was cancelled or has failed. Called once or more."""


class Run(Protocol):
    """What nodes and lanes ask of the engine."""

    name: str
    params: PipelineParams
    turn: Turn
    over: bool
    done: bool
    observed: FrameWatch | None

    @property
    def whole(self) -> Any:
        """The run that all processors of the pipeline are in: of those in a slot, the one round it."""

    @property
    def pool(self) -> Any: ...

    @property
    def owner(self) -> Owner: ...

    @property
    def start(self) -> Frame: ...

    @property
    def last(self) -> Frame | None: ...

    @property
    def lanes(self) -> MutableMapping[Task, Any]: ...

    def spawn(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None: ...

    def enter(self, nodes: Any) -> dict[Any, trio.Event]: ...

    async def leave(self, nodes: Any, *, cancelled: bool) -> None: ...

    def is_own(self, frame: Frame) -> bool: ...

    @property
    def is_ending(self) -> bool: ...

    def pause_or_resume(self, frame: PauseUrgentFrame | ResumeFrame) -> None: ...

    def request(self, frame: Frame) -> None: ...

    def ask_interrupt(self) -> None: ...

    def error_reported(self, frame: ErrorFrame) -> None: ...

    def cancel(self, reason: str | None) -> None: ...

    def fail(self, exc: Exception) -> None: ...

    def can_lose(self) -> bool: ...

    def loses(self, node: Any, exc: Exception, frame: Frame | None) -> bool: ...

    def is_set_up(self, node: Any, seconds: float) -> None: ...

    def fail_with(self, frame: ErrorFrame) -> None: ...

    def flood(self, name: str, where: str, depth: int) -> None: ...

    def check_quiet(self) -> None: ...

    def when_idle(self, frame: Frame) -> list[Callable[[], bool]]: ...

    def check_stall(self, node: Any, began: float) -> None: ...

    def start_reached_sink(self) -> None: ...

    def last_reached_sink(self) -> None: ...

    def lane_here(self) -> Any: ...


class Serves(Protocol):
    """The task that serves a lane."""

    @property
    def task(self) -> Task: ...

    @property
    def scope(self) -> trio.CancelScope: ...


class LaneOwner(Protocol):
    """What a lane asks of the node, or the end of the pipeline, that it belongs to."""

    name: str

    @property
    def engine(self) -> Run: ...

    def may_take(self, lane: Any) -> bool:
        """Whether the first frame of `lane` may be handled now."""
        ...

    def urgent_first(self, direction: Direction) -> bool:
        """Whether a system frame came before, and its handler has not begun yet."""
        ...

    def lane_busy(self, lane: Any) -> None:
        """A lane has got in line to be served."""

    def lane_idle(self, lane: Any) -> None:
        """A lane is served no more."""

    async def take(self, frame: Frame, direction: Direction) -> None:
        """Handle one frame."""

    def failed(self, exc: Exception, frame: Frame | None) -> None:
        """An error of the handler."""

    def forget_returning(self, lane: Any) -> None:
        """The handlers that a lane's server ran have ended: none of them is waited for any more."""

    def has_unwound(self) -> None:
        """A handler that an interrupt stopped has ended."""


class Row(Protocol):
    """Synchronous functions in a row, as the hot loop uses them."""

    @property
    def run_for(self) -> Mapping[type, Callable[[Frame], Frame | Generator[Frame | None] | None]]: ...

    @property
    def put(self) -> Any: ...

    async def push_result(self, result: Frame | Generator[Frame | None] | None) -> None: ...


class InboxOwner(LaneOwner, Protocol):
    """What the ordered downstream lane asks besides."""

    shares_task: bool
    quick: int
    open: int
    late_dropped: int

    @property
    def process(self) -> Any:
        """The processor's `process_frame`, or what stands for it."""

    @property
    def row(self) -> Row | None:
        """The functions that begin with this node, if it is one."""

    @property
    def pusher(self) -> Any:
        """The node whose processor pushes here now; None when frames come from outside."""

    def refresh(self) -> None:
        """Work out again what has to be looked at."""
