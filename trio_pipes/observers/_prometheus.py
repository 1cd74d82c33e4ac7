"""`PrometheusText`: metrics as Prometheus reads them.

It is OpenTelemetry's own exporter for Prometheus (`opentelemetry-exporter-prometheus`), with a registry of its own in place of
`prometheus-client`'s global one, and without its thread: who serves the text decides where.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, final

from trio_pipes._base import import_extra, refuse

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader

__all__ = ["PrometheusText"]


@final
class PrometheusText:
    """Metrics as the text that Prometheus scrapes.

    Give its `reader` to a `MeterProvider`, and serve what `render()` gives as `/metrics`. `prefix` goes in front of each
    name. Raises `MissingExtra` where OpenTelemetry's exporter for Prometheus is not installed.
    """

    content_type: str
    """What to send as `Content-Type`."""

    def __init__(self, *, prefix: str = "") -> None:
        if not isinstance(prefix, str) or not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", prefix):
            raise refuse("PrometheusText(prefix", prefix, "letters, digits and _, not beginning with a digit")
        client: Any = import_extra("prometheus_client", "otel", "PrometheusText")
        exporter: Any = import_extra("opentelemetry.exporter.prometheus", "otel", "PrometheusText")
        self._registry = client.CollectorRegistry()
        self._generate = client.generate_latest
        self._reader = exporter.PrometheusMetricReader(
            disable_target_info=True, prefix=prefix, scope_info_enabled=False, registry=self._registry
        )
        self.content_type = client.CONTENT_TYPE_LATEST

    @property
    def reader(self) -> MetricReader:
        """What a `MeterProvider` writes to: `MeterProvider(metric_readers=[text.reader])`."""
        reader: MetricReader = self._reader
        return reader

    def render(self) -> str:
        """The text, now. May be called in any thread."""
        text: str = self._generate(self._registry).decode()
        return text
