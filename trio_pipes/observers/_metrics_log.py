"""`MetricsLogObserver`: log lines about what was measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from trio_pipes._base import check_classes
from trio_pipes.flow import (
    FrameProcessor,
    LLMUsageMetrics,
    MetricsData,
    ProcessingMetrics,
    STTUsageMetrics,
    TTFBMetrics,
    TTSUsageMetrics,
)
from trio_pipes.host import PipelineTask

from ._log_place import log_place

__all__ = ["MetricsLogObserver"]


class MetricsLogObserver:
    """Writes a line into the log for each thing that a processor has measured.

    `kinds` are classes of records; None: all. The logger is `trio_pipes.metrics`, the level `logging.INFO`, unless you say
    otherwise. Something is measured only with `PipelineParams(enable_metrics=True)`, or `enable_usage_metrics`.
    """

    def __init__(
        self,
        kinds: type[MetricsData] | tuple[type[MetricsData], ...] | None = None,
        *,
        logger: str = "trio_pipes.metrics",
        level: int = logging.INFO,
    ) -> None:
        expected = "a kind of MetricsData, a tuple of them, or None for all"
        asked = MetricsData if kinds is None else kinds
        self._kinds = check_classes("MetricsLogObserver(kinds", asked, MetricsData, expected)
        self._logger, self._level = log_place("MetricsLogObserver", logger, level)

    def on_measured(self, task: PipelineTask, processor: FrameProcessor, records: Sequence[MetricsData]) -> None:
        """Write what was measured."""
        if self._logger.isEnabledFor(self._level):
            for record in records:
                if isinstance(record, self._kinds):
                    who = record.processor if record.model is None else f"{record.processor} ({record.model})"
                    self._logger.log(self._level, "%s: %s: %s", task.name, who, _in_words(record))


def _in_words(record: MetricsData) -> str:
    match record:
        case TTFBMetrics():
            return f"time to first byte {record.value:.3f} s"
        case ProcessingMetrics():
            return f"processing {record.value:.3f} s"
        case LLMUsageMetrics():
            return f"{record.value.prompt_tokens} prompt tokens, {record.value.completion_tokens} completion tokens"
        case TTSUsageMetrics():
            return f"{record.value} characters"
        case STTUsageMetrics():
            return f"{record.value:.3f} s of audio"
        case _:
            return repr(record)
