"""What leaves the process: OTLP over HTTP to a server in the test, off the loop, with a bounded end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trio
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from flow_kit import live
from hosting import records
from trio_pipes import ConfigurationError, Direction, Frame, FrameProcessor, LLMTokenUsage, TextFrame
from trio_pipes.observers import MetricsObserver, TracingObserver, exporting

MEASURED = {"enable_metrics": True, "enable_usage_metrics": True}


PATIENCE = 30.0  # real seconds, for what takes a moment on a machine that has nothing else to do


class Collector:
    """An OTLP/HTTP receiver: keeps what it is sent. It takes `delay` seconds over each, and until `ready` gives True."""

    def __init__(self, port: int, *, delay: float, ready: Callable[[], Callable[[], bool]] | None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.delay = delay
        self.ready = ready
        self.never_ready = 0
        self.requests: list[tuple[str, bytes]] = []

    def wait(self, closed: threading.Event) -> bool:
        """False: it is closed before the time to answer has come."""
        if self.ready is not None:
            is_ready, give_up = self.ready(), time.monotonic() + PATIENCE
            while not is_ready():
                if closed.wait(0.005) or time.monotonic() > give_up:
                    self.never_ready += 1
                    return False
        return not closed.wait(self.delay)

    @property
    def spans(self) -> dict[str, object]:
        found = {}
        for path, body in self.requests:
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self.service = {it.key: it.value.string_value for it in resource.resource.attributes}[
                        "service.name"
                    ]
                    for scope in resource.scope_spans:
                        found |= {span.name: span for span in scope.spans}
        return found

    @property
    def metrics(self) -> dict[str, object]:
        found = {}
        for path, body in self.requests:
            if path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in resource.scope_metrics:
                        found |= {metric.name: metric for metric in scope.metrics}
        return found


@contextmanager
def collector(delay: float = 0.0, ready: Callable[[], Callable[[], bool]] | None = None) -> Iterator[Collector]:
    class Receives(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not it.wait(closed):
                return
            it.requests.append((self.path, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    closed = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receives)
    it = Collector(server.server_port, delay=delay, ready=ready)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield it
    finally:
        closed.set()
        server.shutdown()
        server.server_close()
        thread.join()


def providers(url: str, *, timeout: float = PATIENCE) -> tuple[TracerProvider, MeterProvider]:
    resource = Resource.create({"service.name": "assistant"})
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{url}/v1/traces", timeout=timeout)
    tracer_provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=20))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{url}/v1/metrics", timeout=timeout), 20)
    return tracer_provider, MeterProvider([reader], resource, shutdown_on_exit=False)


class Model(FrameProcessor):
    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is Direction.DOWNSTREAM and isinstance(frame, TextFrame):
            self.metrics.start_ttfb()
            self.metrics.start_processing()
            await self.metrics.stop_ttfb()
            await self.metrics.stop_processing()
            await self.metrics.llm_usage(LLMTokenUsage(10, 5))
        await self.push_frame(frame, direction)


def otel_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("Otel")]


async def test_traces_and_metrics_arrive_by_otlp_and_no_thread_is_left() -> None:
    with collector() as at:
        tracer_provider, meter_provider = providers(at.url)
        async with exporting(tracer_provider, meter_provider):
            observers = [TracingObserver(tracer_provider), MetricsObserver(meter_provider)]
            async with live([Model("model")], observers=observers, **MEASURED) as now:
                await now.say("a")
                await now.task.flush()
            assert len(otel_threads()) == 2
    run, work = at.spans["run PipelineTask"], at.spans["model"]
    assert at.service == "assistant"
    assert (work.trace_id, work.parent_span_id) == (run.trace_id, run.span_id)
    attributes = {it.key: it.value for it in work.attributes}
    assert attributes["gen_ai.usage.input_tokens"].int_value == 10
    assert {it.key: it.value.string_value for it in run.attributes}["trio_pipes.state"] == "ended"
    tokens = at.metrics["gen_ai.client.token.usage"].histogram.data_points
    assert sorted(point.sum for point in tokens) == [5, 10]
    assert at.metrics["trio_pipes.run.duration"].unit == "s"
    assert otel_threads() == []


class Ticks:
    """How often Trio's loop has turned."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await trio.sleep(0.005)
            self.count += 1

    def some_more(self) -> Callable[[], bool]:
        """Gives True when it has turned some more times since now."""
        since = self.count
        return lambda: self.count >= since + 20


# The collector answers a request when the loop has turned meanwhile, and is waited for.
async def test_a_slow_collector_does_not_hold_up_the_loop_and_gets_everything() -> None:
    ticks = Ticks()
    with collector(ready=ticks.some_more) as at:
        tracer_provider, meter_provider = providers(at.url)
        async with trio.open_nursery() as nursery:
            await nursery.start(ticks.run)
            async with exporting(tracer_provider, meter_provider, timeout=PATIENCE):
                observers = [TracingObserver(tracer_provider), MetricsObserver(meter_provider)]
                for _ in range(5):
                    async with live([Model("model")], observers=observers, **MEASURED) as now:
                        await now.say("a")
            nursery.cancel_scope.cancel()
        assert at.spans.keys() == {"run PipelineTask", "model"}
        assert "trio_pipes.ttfb" in at.metrics
    assert at.never_ready == 0
    assert otel_threads() == []


async def test_a_dead_collector_holds_up_the_end_no_longer_than_the_timeout(caplog) -> None:
    with collector(delay=4 * PATIENCE) as at:
        tracer_provider, meter_provider = providers(at.url, timeout=2)
        began = time.perf_counter()
        async with exporting(tracer_provider, meter_provider, timeout=0.3):
            async with live([Model()], observers=[TracingObserver(tracer_provider)]) as now:
                await now.say("a")
        assert time.perf_counter() - began < PATIENCE
    assert "TracerProvider had not sent everything within 0.3 s, and is left behind" in records(caplog)
    deadline = time.monotonic() + PATIENCE
    while otel_threads() and time.monotonic() < deadline:  # real threads, which end by their own timeout
        time.sleep(0.01)  # noqa: ASYNC251, TID251
    assert otel_threads() == [], "what is left behind ends by itself"


async def test_what_is_held_is_sent_after_a_cancel_too() -> None:
    with collector() as at:
        tracer_provider, meter_provider = providers(at.url)
        with trio.CancelScope() as scope:
            async with exporting(tracer_provider, meter_provider):
                async with live([Model()], observers=[TracingObserver(tracer_provider)]):
                    scope.cancel()
                    await trio.sleep(1)
    assert {it.key: it.value.string_value for it in at.spans["run PipelineTask"].attributes}[
        "trio_pipes.outcome"
    ] == "cancelled"
    assert otel_threads() == []


async def test_a_test_clock_waits_for_it(autojump_clock) -> None:
    with collector(delay=0.2) as at:
        tracer_provider, meter_provider = providers(at.url)
        async with exporting(tracer_provider, meter_provider, timeout=PATIENCE):
            async with live([Model()], observers=[TracingObserver(tracer_provider)]):
                await trio.sleep(600)
        assert at.spans


class Broken(SpanExporter):
    def export(self, spans):
        raise OSError("no network")

    def shutdown(self) -> None:
        raise OSError("no network at all")


async def test_what_cannot_be_sent_is_logged_and_hurts_nobody(caplog) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Broken()))
    async with exporting(provider):
        async with live([Model()], observers=[TracingObserver(provider)]) as now:
            await now.say("a")
    assert "TracerProvider failed to send what it held" in records(caplog, logging.ERROR)


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    with pytest.raises(LookupError):
        async with exporting(provider):
            raise LookupError


@pytest.mark.parametrize(
    ("name", "given", "settings"),
    [("provider", [12], {}), ("provider", [TracerProvider], {}), ("timeout", [], {"timeout": 0}), ("timeout", [], {"timeout": None})],
    ids=str,
)  # fmt: skip
async def test_bad_values_are_refused(name, given, settings) -> None:
    with pytest.raises(ConfigurationError, match=rf"^exporting\({name}=.*: expected "):
        async with exporting(*given, **settings):
            pass
