"""A span of one's own says when it was cancelled, which OpenTelemetry's own block does not."""

from __future__ import annotations

import sys

import pytest
import trio
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from otel_kit import Traces, event, events
from trio_pipes import ConfigurationError, MissingExtra
from trio_pipes.observers import MetricsObserver, PrometheusText, TracingObserver, open_span


@pytest.fixture
def traced() -> Traces:
    return Traces()


async def test_it_is_the_current_span_while_it_lasts(autojump_clock, traced) -> None:
    with open_span("outer", tracer=traced.tracer, attributes={"n": 1}) as outer:
        assert trace.get_current_span() is outer
        with open_span("inner", tracer=traced.tracer):
            await trio.sleep(2)
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert traced.tree() == {"outer": None, "inner": "outer"}
    assert traced.times(traced.one("inner")) == (0, 2)
    assert dict(traced.one("outer").attributes) == {"n": 1}


async def test_a_cancelled_block_says_so_with_the_reason(autojump_clock, traced) -> None:
    with trio.CancelScope() as scope:
        scope.cancel(reason="hung up")
        with open_span("call", tracer=traced.tracer):
            await trio.sleep(1)
    span = traced.one("call")
    assert span.attributes["trio_pipes.outcome"] == "cancelled"
    assert event(span, "cancelled") == {"reason": "hung up"}
    assert span.status.status_code is StatusCode.UNSET


async def test_a_deadline_says_that_it_was_one(autojump_clock, traced) -> None:
    with trio.move_on_after(1), open_span("call", tracer=traced.tracer):
        await trio.sleep(5)
    assert event(traced.one("call"), "cancelled") == {"reason": "deadline"}


async def test_a_nursery_in_it_that_is_cancelled_counts_as_well(autojump_clock, traced) -> None:
    with trio.move_on_after(1), open_span("call", tracer=traced.tracer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 5)
            nursery.start_soon(trio.sleep, 5)
    assert traced.one("call").attributes["trio_pipes.outcome"] == "cancelled"


async def test_a_group_of_cancels_alone_is_a_cancel(autojump_clock, traced) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        with open_span("call", tracer=traced.tracer):
            try:
                await trio.sleep(1)
            except trio.Cancelled as exc:
                raise BaseExceptionGroup("two", [exc, BaseExceptionGroup("in it", [exc])]) from None
    assert events(traced.one("call")) == ["cancelled"]


@pytest.mark.parametrize(
    "error", [LookupError("no"), KeyboardInterrupt("no"), ExceptionGroup("no", [OSError()])], ids=repr
)
def test_an_error_is_an_error(traced, error) -> None:
    with pytest.raises(type(error)), open_span("call", tracer=traced.tracer):
        raise error
    span = traced.one("call")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["trio_pipes.outcome"] == "failed"
    assert span.attributes["error.type"] == type(error).__name__
    assert events(span) == ["exception"]


async def test_a_group_with_an_error_in_it_is_an_error(autojump_clock, traced) -> None:
    async def fails() -> None:
        raise OSError

    with pytest.raises(ExceptionGroup), open_span("call", tracer=traced.tracer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 5)
            nursery.start_soon(fails)
    assert traced.one("call").status.status_code is StatusCode.ERROR


def test_what_is_left_early_is_no_error(traced) -> None:
    def numbers():
        with open_span("numbers", tracer=traced.tracer):
            yield 1

    opened = numbers()
    next(opened)
    opened.close()
    assert events(traced.one("numbers")) == []


def test_without_a_tracer_it_is_the_global_providers(traced, monkeypatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: traced.provider)
    with open_span("call"):
        pass
    assert traced.one("call").instrumentation_scope.name == "trio_pipes"


@pytest.mark.parametrize(
    ("name", "given"),
    [("name", {"name": ""}), ("name", {"name": 1}), ("tracer", {"tracer": "t"}), ("attributes", {"attributes": 1})],
    ids=str,
)
def test_bad_values_are_refused(traced, name, given) -> None:
    with (
        pytest.raises(ConfigurationError, match=rf"^open_span\({name}=.*: expected "),
        open_span(**({"name": "a", "tracer": traced.tracer} | given)),
    ):
        pass


NEED = {
    "metrics": (MetricsObserver, "opentelemetry.metrics"),
    "traces": (TracingObserver, "opentelemetry.trace"),
    "a span": (lambda: open_span("a").__enter__(), "opentelemetry.trace"),
    "prometheus": (PrometheusText, "opentelemetry.exporter.prometheus"),
    "its client": (PrometheusText, "prometheus_client"),
}


@pytest.mark.parametrize("what", NEED)
def test_without_the_packages_the_error_has_the_line_to_install(monkeypatch, what) -> None:
    make, module = NEED[what]
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    with pytest.raises(MissingExtra, match=r"pip install 'trio-pipes\[otel\]'"):
        make()
