"""Observers: what watches a task and tells what it sees. An observer cannot change or delay what it watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_pipes._base import on_first_access

if TYPE_CHECKING:
    from ._debug_log import DebugLogObserver
    from ._exporting import exporting
    from ._latency import UserBotLatencyObserver
    from ._latency_records import LatencyStep, UserBotLatency
    from ._metrics_log import MetricsLogObserver
    from ._metrics_observer import MetricsObserver
    from ._prometheus import PrometheusText
    from ._spans import open_span
    from ._startup import FirstFrame, ProcessorStartup, StartupReport, StartupTimingObserver
    from ._timeline import Timeline
    from ._tracing_observer import TracingObserver
    from ._turns import Turn, TurnTrackingObserver
else:
    __getattr__ = on_first_access(
        globals(),
        {
            "._debug_log": ("DebugLogObserver",),
            "._latency": ("UserBotLatencyObserver",),
            "._latency_records": ("LatencyStep", "UserBotLatency"),
            "._metrics_log": ("MetricsLogObserver",),
            "._startup": ("FirstFrame", "ProcessorStartup", "StartupReport", "StartupTimingObserver"),
            "._exporting": ("exporting",),
            "._metrics_observer": ("MetricsObserver",),
            "._prometheus": ("PrometheusText",),
            "._spans": ("open_span",),
            "._tracing_observer": ("TracingObserver",),
            "._timeline": ("Timeline",),
            "._turns": ("Turn", "TurnTrackingObserver"),
        },
    )

__all__ = [
    "DebugLogObserver",
    "FirstFrame",
    "LatencyStep",
    "MetricsLogObserver",
    "MetricsObserver",
    "ProcessorStartup",
    "PrometheusText",
    "StartupReport",
    "StartupTimingObserver",
    "Timeline",
    "TracingObserver",
    "Turn",
    "TurnTrackingObserver",
    "UserBotLatency",
    "UserBotLatencyObserver",
    "exporting",
    "open_span",
]
