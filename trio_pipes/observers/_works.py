"""What processors measure, as spans.

# When a work ends.
#
# It begins with the first time that a processor measures, and its handler's end is its end, or the moment that
# `stop_processing()` gave, which may be earlier. Where something is measured still when the handler ends, the answer is
# expected elsewhere, and so is the end. What was begun outside of a handler ends when nothing is measured any more, but its
# span is left open for a moment: usage is told last. It is closed when its processor begins the next one, and at the latest
# with the turn or the run; its time is not moved by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio
from trio.lowlevel import current_task

from trio_pipes._base import wall_time_ns
from trio_pipes.flow import (
    ErrorFrame,
    FrameProcessor,
    LLMUsageMetrics,
    MetricsData,
    ProcessingMetrics,
    STTUsageMetrics,
    TTFBMetrics,
    TTSUsageMetrics,
)

from ._handlings import Handling
from ._otel import MODEL, OPERATION, PROCESSOR, clean
from ._scene import Scene
from ._spans import CANCELLED, INTERRUPTED, mark, mark_failed

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

__all__ = ["Works"]

USAGE: Final = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "cache_read_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation_input_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}


@final
@attrs.define(eq=False)
class _Work:
    """What a processor measures."""

    span: Span
    handling: Handling | None  # in which it was begun
    trio_task: trio.lowlevel.Task
    token: Token[Context] | None
    measured: dict[type[MetricsData], float] = attrs.field(factory=dict)  # what is measured now, since when
    ended: float | None = None  # as far as is known

    @property
    def outlives_its_handler(self) -> bool:
        return self.handling is None or self.handling.over


@final
class Works:
    """What the processors of one run measure, at most one work of each at a time."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._works: dict[FrameProcessor, _Work] = {}

    def measuring(
        self, processor: FrameProcessor, kind: type[MetricsData], at: float, handling: Handling | None
    ) -> None:
        """A processor begins to measure a time, in a handler or outside of one."""
        work = self._works.get(processor)
        if work is not None and (not work.measured or kind in work.measured):  # it is over, or forgotten
            self._close(processor)
            work = None
        if work is None:
            work = self._works[processor] = self._begin(processor, at, handling)
        work.measured[kind] = at

    def _begin(self, processor: FrameProcessor, at: float, handling: Handling | None) -> _Work:
        scene = self._scene
        parent = scene.now if handling is None else scene.current()
        span = scene.start(scene.name_of(processor), {PROCESSOR: clean(processor.name)}, at=at, context=parent)
        token: Token[Context] | None = scene.attach(scene.within(span, parent))
        trio_task = current_task()
        if handling is not None:
            handling.measures = True
            if handling.trio_task is trio_task:
                token = None  # the handling's end sets back what was before it
        return _Work(span, handling, trio_task, token)

    def measured(self, processor: FrameProcessor, records: Sequence[MetricsData]) -> None:
        """A processor has measured."""
        work = self._works.get(processor)
        for record in records:
            if work is None:
                self._scene.note("measured", {PROCESSOR: clean(processor.name), **_attributes(record)})
            else:
                work.span.set_attributes(_attributes(record))
                began = work.measured.pop(type(record), None)
                if began is not None and isinstance(record, TTFBMetrics | ProcessingMetrics):
                    self._has_measured(work, record, began)

    def _has_measured(self, work: _Work, record: TTFBMetrics | ProcessingMetrics, began: float) -> None:
        at = began + record.value
        if isinstance(record, TTFBMetrics):
            work.span.add_event("first byte", {}, wall_time_ns(at))
        else:
            work.ended = at
        if not work.measured and work.outlives_its_handler:
            work.ended = at if work.ended is None else work.ended
            self._leave(work)

    def handling_is_over(self, handling: Handling, outcome: str | None, reason: str | None) -> None:
        """A handler has ended, and with it the work that was begun in it."""
        work = self._works.get(handling.processor)
        if work is None or work.handling is not handling:
            return
        if outcome is not None or not work.measured:
            self._close(handling.processor, outcome, reason)

    def interrupted(self) -> None:
        """An interrupt has taken effect: what is measured now will not be told. Handlers that it stops tell of themselves."""
        for processor, work in tuple(self._works.items()):
            cut_off = bool(work.measured)
            work.measured.clear()
            if work.outlives_its_handler:
                self._close(processor, INTERRUPTED if cut_off else None)

    def failed(self, frame: ErrorFrame) -> None:
        """An error of a processor: of the work in its hand, or of one whose end is expected elsewhere."""
        work = self._works.get(frame.processor)
        if work is not None and (work.measured or not work.outlives_its_handler):
            mark_failed(work.span, frame.exception, frame.error, wall_time_ns())
            if work.outlives_its_handler:
                self._close(frame.processor)

    def settle(self) -> None:
        """Close what is over."""
        for processor, work in tuple(self._works.items()):
            if not work.measured and work.outlives_its_handler:
                self._close(processor)

    def finish(self) -> None:
        """The run is over, and with it everything."""
        for processor, work in tuple(self._works.items()):
            self._close(processor, CANCELLED if work.measured else None)

    def _close(self, processor: FrameProcessor, outcome: str | None = None, reason: str | None = None) -> None:
        work = self._works.pop(processor)
        at = wall_time_ns(work.ended)
        if outcome is not None:
            mark(work.span, outcome, reason, at)
        work.span.end(at)
        self._leave(work)

    def _leave(self, work: _Work) -> None:
        token, work.token = work.token, None
        if token is not None and work.trio_task is current_task():
            self._scene.detach(token)


def _attributes(record: MetricsData) -> dict[str, Any]:
    """A measurement as attributes; by OpenTelemetry's conventions where they have a name."""
    attributes: dict[str, Any] = {} if record.model is None else {MODEL: record.model}
    match record:
        case TTFBMetrics():
            attributes["trio_pipes.ttfb"] = record.value
        case ProcessingMetrics():
            attributes["trio_pipes.processing"] = record.value
        case LLMUsageMetrics():
            used = attrs.asdict(record.value)
            attributes[OPERATION] = "chat"
            attributes |= {name: used[field] for field, name in USAGE.items() if used[field] is not None}
        case TTSUsageMetrics():
            attributes["trio_pipes.characters"] = record.value
        case STTUsageMetrics():
            attributes["trio_pipes.audio.seconds"] = record.value
        case _:
            attributes["trio_pipes.record"] = type(record).__name__
    return attributes
