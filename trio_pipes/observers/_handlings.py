"""Handlers at work, as traces see them: which span is the current one inside, and which of them are spans themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, final

import attrs
import trio
from trio.lowlevel import current_task

from trio_pipes._base import wall_time_ns
from trio_pipes.flow import Direction, Frame, FrameProcessor

from ._scene import Scene
from ._spans import CANCELLED, INTERRUPTED, mark

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

__all__ = ["Handling", "Handlings"]


@final
@attrs.define(eq=False)
class Here:
    """What tells code where it runs: in a handler, until that is over."""

    handling: Handling | None = None


@final
@attrs.define(eq=False)
class Handling:
    """A handler at work on a frame."""

    processor: FrameProcessor
    frame: Frame
    direction: Direction
    began: float
    interrupts: int  # that had taken effect when it began
    context: Context
    outer: Handling | None  # the handler within whose push this one runs
    trio_task: trio.lowlevel.Task
    span: Span | None = None
    here: Here = attrs.field(factory=Here)
    measures: bool = False  # there is a span of what it measures
    elsewhere: float = 0.0  # seconds in waits for room, and in handlers that ran within this one
    tokens: tuple[Token[Context], Token[Here | None]] | None = None  # of what was current before

    @property
    def over(self) -> bool:
        """Whether the handler has ended."""
        return self.here.handling is None


# Context variables are inherited by what a Trio task starts: what is found here may be another task's, or over. A worker that
# a handler has started has it all its life, which must not keep the handler, its processor and with it a whole session.
_current: Final[ContextVar[Here | None]] = ContextVar("trio_pipes.handling", default=None)

WhenOver = Callable[[Handling, str | None, str | None], None]
"""Called with the handling, its outcome where that is not the usual one, and the reason for it."""


@final
class Handlings:
    """The handlers that are at work in one run."""

    def __init__(self, scene: Scene, when_over: WhenOver) -> None:
        self._scene = scene
        self._when_over = when_over
        self._chosen = scene.settings.types
        self._interrupts = 0
        self._known: dict[tuple[FrameProcessor, Frame], Handling] = {}

    def here(self, processor: FrameProcessor | None = None) -> Handling | None:
        """The handler that this is called from, or of whose tasks this is one; of `processor`, if there is one given."""
        here = _current.get()
        handling = None if here is None else here.handling
        if handling is None or (processor is not None and handling.processor is not processor):
            return None
        return handling

    def taken(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> None:
        """A handler begins."""
        scene, trio_task = self._scene, current_task()
        outer = self.here()
        if outer is not None and outer.trio_task is not trio_task:
            outer = None
        began, context = trio.current_time(), scene.now
        handling = Handling(processor, frame, direction, began, self._interrupts, context, outer, trio_task)
        if self._chosen and isinstance(frame, self._chosen):
            attributes = scene.of_frame(processor, frame, direction)
            handling.span = scene.start(scene.name_with(processor, frame), attributes)
            context = scene.within(handling.span, context)
        handling.here.handling = handling
        handling.tokens = scene.attach(context), _current.set(handling.here)
        self._known[processor, frame] = handling

    def waited_for_room(self, seconds: float) -> None:
        """A push of the handler here has waited."""
        handling = self.here()
        if handling is not None:
            handling.elsewhere += seconds

    def interrupted(self) -> None:
        """An interrupt has taken effect."""
        self._interrupts += 1

    def handled(self, processor: FrameProcessor, frame: Frame) -> None:
        """A handler has come to its end."""
        handling = self._known.pop((processor, frame), None)
        if handling is not None:
            self._end(handling, None, None)

    def stopped(self, processor: FrameProcessor, frame: Frame) -> None:
        """A handler was stopped."""
        handling = self._known.pop((processor, frame), None)
        if handling is None:
            return
        if frame.interruptible and handling.interrupts != self._interrupts:
            self._end(handling, INTERRUPTED, None)
        else:
            exc = sys.exc_info()[1]
            self._end(handling, CANCELLED, exc.reason or exc.source if isinstance(exc, trio.Cancelled) else None)

    def finish(self) -> None:
        """The run is over. What is at work still is what nobody told the end of: who does was removed meanwhile."""
        for handling in self._known.values():
            handling.here.handling = None
            if handling.span is not None:
                handling.span.end(wall_time_ns())
        self._known.clear()

    def _end(self, handling: Handling, outcome: str | None, reason: str | None) -> None:
        now = trio.current_time()
        handling.here.handling = None
        if handling.tokens is not None and handling.trio_task is current_task():
            of_context, of_current = handling.tokens
            self._scene.detach(of_context)
            _current.reset(of_current)
        if handling.outer is not None:
            handling.outer.elsewhere += now - handling.began
        self._when_over(handling, outcome, reason)
        span = handling.span or self._of_slow(handling, now)
        if span is not None:
            if outcome is not None:
                mark(span, outcome, reason, wall_time_ns(now))
            span.end(wall_time_ns(now))

    def _of_slow(self, handling: Handling, now: float) -> Span | None:
        slow = self._scene.settings.slow
        if slow is None or handling.measures or now - handling.began - handling.elsewhere <= slow:
            return None
        attributes = self._scene.of_frame(handling.processor, handling.frame, handling.direction)
        if handling.elsewhere:
            attributes["trio_pipes.elsewhere"] = handling.elsewhere
        name = self._scene.name_with(handling.processor, handling.frame)
        return self._scene.start(name, attributes, at=handling.began, context=handling.context)
