"""What the tests of traces and metrics share: OpenTelemetry in memory, and ways to look at what came of it."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SECOND = 1_000_000_000

# Parameters of a task that measures all there is.
MEASURED = {"enable_metrics": True, "enable_usage_metrics": True}


class _Begun(SpanProcessor):
    """Counts the spans that have begun."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.count += 1


class Traces:
    """A tracer provider of its own, and the spans that came of it."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._begun = _Begun()
        self.provider.add_span_processor(self._begun)
        self.tracer = self.provider.get_tracer("a user's")

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: (span.start_time, -span.end_time))

    @property
    def open(self) -> int:
        """Spans that have begun and not ended."""
        return self._begun.count - len(self.spans)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def parent_of(self, span: ReadableSpan) -> ReadableSpan | None:
        if span.parent is None:
            return None
        return next((it for it in self.spans if it.context.span_id == span.parent.span_id), None)

    def tree(self) -> dict[str, str | None]:
        """The name of each span and that of its parent."""
        return {span.name: getattr(self.parent_of(span), "name", None) for span in self.spans}

    def times(self, span: ReadableSpan) -> tuple[float, float]:
        """When it began and ended, in seconds from the beginning of the first."""
        first = self.spans[0].start_time
        return round((span.start_time - first) / SECOND, 6), round((span.end_time - first) / SECOND, 6)


def events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


def event(span: ReadableSpan, name: str) -> dict[str, Any]:
    (found,) = [dict(event.attributes or {}) for event in span.events if event.name == name]
    return found


class Metrics:
    """A meter provider of its own, and the figures that came of it."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader], shutdown_on_exit=False)

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def names(self) -> set[str]:
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name for scope in scopes for metric in scope.metrics}

    def value(self, name: str, **attributes: Any) -> Any:
        """Of the only point with these attributes (dots as `__`): a number, or of a histogram its count and sum."""
        wanted = {key.replace("__", "."): it for key, it in attributes.items()}
        found = [it for it in self.points(name) if wanted.items() <= dict(it.attributes).items()]
        assert len(found) == 1, f"{len(found)} points of {name} with {wanted}: {[dict(it.attributes) for it in found]}"
        (point,) = found
        if isinstance(point, HistogramDataPoint):
            return point.count, round(point.sum, 6)
        return point.value
