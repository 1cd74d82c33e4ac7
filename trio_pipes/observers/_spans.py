"""How spans say how they ended. OpenTelemetry does so for errors, and says nothing of what was cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_pipes._base import check_methods, check_name, wall_time_ns

from ._otel import ERROR_TYPE, check_attributes, error_type, opentelemetry, our_version

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from ._otel import Attributes

__all__ = ["CANCELLED", "FAILED", "INTERRUPTED", "OUTCOME", "mark", "mark_failed", "open_span"]

OUTCOME: Final = "trio_pipes.outcome"
INTERRUPTED: Final = "interrupted"
CANCELLED: Final = "cancelled"
FAILED: Final = "failed"


def mark(span: Span, outcome: str, reason: str | None = None, at: int | None = None) -> None:
    """Say that what a span tells of was cancelled or interrupted: not an error, so its status stays as it is."""
    span.set_attribute(OUTCOME, outcome)
    span.add_event(outcome, {} if reason is None else {"reason": reason}, at)


def mark_failed(span: Span, error: BaseException | None, text: str, at: int | None = None) -> None:
    """Say that what a span tells of has failed."""
    status: Any = opentelemetry("trace.status", "open_span")
    span.set_attribute(OUTCOME, FAILED)
    span.set_attribute(ERROR_TYPE, error_type(error))
    span.set_status(status.Status(status.StatusCode.ERROR, text))
    if error is not None:
        span.record_exception(error, timestamp=at)


@contextmanager
def open_span(name: str, *, tracer: Tracer | None = None, attributes: Attributes | None = None) -> Iterator[Span]:
    """A block that is a span, the current one while it lasts: a child of the span that is current where it begins.

    Inside a handler that is the one of the processor's work, of the turn or of the run, where `TracingObserver` watches
    the task. A block that is cancelled says so: `trio_pipes.outcome` is `"cancelled"`, and an event has the reason.
    One that raises is marked as an error. `tracer` None is one of OpenTelemetry's global provider.

    Raises `MissingExtra` where OpenTelemetry is not installed.
    """
    trace: Any = opentelemetry("trace", "open_span")
    check_name("open_span(name", name)
    chosen: Any = trace.get_tracer("trio_pipes", our_version()) if tracer is None else tracer
    check_methods("open_span(tracer", chosen, ["start_span"], "a Tracer, or None")
    given = check_attributes("open_span(attributes", attributes)
    span: Span = chosen.start_span(name, attributes=given, start_time=wall_time_ns())
    try:
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield span
    except BaseException as exc:
        _mark_with(span, exc)
        raise
    finally:
        span.end(wall_time_ns())


def _mark_with(span: Span, exc: BaseException) -> None:
    at = wall_time_ns()
    if isinstance(exc, BaseExceptionGroup):
        cancelled, rest = exc.split(trio.Cancelled)
        if rest is None:
            exc = next(_leaves(cancelled))
    if isinstance(exc, trio.Cancelled):
        mark(span, CANCELLED, exc.reason or exc.source, at)
    elif not isinstance(exc, GeneratorExit):
        mark_failed(span, exc, f"{type(exc).__name__}: {exc}", at)


def _leaves(exc: BaseException | None) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    elif exc is not None:
        yield exc
