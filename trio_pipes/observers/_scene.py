"""Where spans of a run are begun: which tracer, under which names, as children of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

import attrs

from trio_pipes._base import wall_time_ns
from trio_pipes.flow import Direction, Frame, FrameProcessor

from ._otel import DIRECTION, PROCESSOR, clean, opentelemetry

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, Tracer

__all__ = ["Scene", "TraceSettings"]


@attrs.frozen
class TraceSettings:
    """What an observer was told."""

    tracer: Tracer
    attributes: dict[str, Any]
    name_of: Callable[[str], str]
    types: tuple[type[Frame], ...]
    slow: float | None


@final
class Scene:
    """The span that what is begun now is a child of. Times are seconds on Trio's clock, until they go into a span."""

    def __init__(self, settings: TraceSettings, parent: Context) -> None:
        self.settings = settings
        contexts: Any = opentelemetry("context", "TracingObserver")
        self.attach: Callable[[Context], Token[Context]] = contexts.attach
        """Make a context the current one of this Trio task."""
        self.detach: Callable[[Token[Context]], None] = contexts.detach
        """Set back what was before `attach`, in the same Trio task."""
        self.current: Callable[[], Context] = contexts.get_current
        """The current one of this Trio task: what user's code sees."""
        self._trace: Any = opentelemetry("trace", "TracingObserver")
        self.now: Context = parent
        self.span: Span = self._trace.INVALID_SPAN

    def play_in(self, span: Span, context: Context) -> Context:
        """From now on everything is a child of this span, itself begun in `context`; gives the context with it."""
        self.span = span
        self.now = self.within(span, context)
        return self.now

    def within(self, span: Span, context: Context) -> Context:
        """A context in which a span is the current one."""
        within: Context = self._trace.set_span_in_context(span, context)
        return within

    def start(
        self,
        name: str,
        attributes: dict[str, Any],
        *,
        at: float | None = None,
        context: Context | None = None,
        links: Sequence[Link] = (),
    ) -> Span:
        """Begin a span, now or at a moment that has passed, in `context` or in the one that is now."""
        return self.settings.tracer.start_span(
            name,
            context=self.now if context is None else context,
            start_time=wall_time_ns(at),
            attributes={**self.settings.attributes, **attributes},
            links=links,
        )

    def link(self, span: Span, what: str) -> Link:
        """A link to a span."""
        link: Link = self._trace.Link(span.get_span_context(), {"trio_pipes.link": what})
        return link

    def note(self, what: str, attributes: dict[str, Any] | None = None) -> None:
        """Something happened."""
        self.span.add_event(what, attributes or {}, wall_time_ns())

    # -- names and attributes

    def name_of(self, processor: FrameProcessor) -> str:
        """What spans of a processor are called."""
        return self.settings.name_of(processor.name)

    def name_with(self, processor: FrameProcessor, frame: Frame) -> str:
        """What the handling of a frame is called."""
        return f"{self.name_of(processor)} {type(frame).__name__}"

    def of_frame(self, processor: FrameProcessor, frame: Frame, direction: Direction) -> dict[str, Any]:
        """Attributes of the handling of a frame."""
        return {
            PROCESSOR: clean(processor.name),
            DIRECTION: direction.value,
            "trio_pipes.frame": frame.name,
            "trio_pipes.frame.type": type(frame).__name__,
        }
