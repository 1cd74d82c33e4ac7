"""What was measured so far, added up: counts and sums in constant memory, however long a run lasts."""

from __future__ import annotations

from typing import final

import attrs
import trio

from ._metrics_records import (
    LLMUsageMetrics,
    MetricsData,
    ProcessingMetrics,
    STTUsageMetrics,
    TTFBMetrics,
    TTSUsageMetrics,
)

__all__ = ["DurationStatistics", "Measured", "MetricsStatistics"]


@attrs.frozen
class DurationStatistics:
    """Measured durations of one kind, in seconds."""

    count: int
    """How many were measured."""
    total: float
    """Their sum."""
    max: float
    """The longest."""
    last: float
    """The latest."""
    last_at: float
    """When that was reported, in seconds on Trio's clock."""

    @property
    def mean(self) -> float:
        """Their mean."""
        return self.total / self.count


@attrs.frozen
class MetricsStatistics:
    """What was measured so far in a run, by one processor or by all of a task."""

    ttfb: DurationStatistics | None = None
    """Times to first byte; None: none was measured."""
    processing: DurationStatistics | None = None
    """Times that pieces of work took; None: none was measured."""
    prompt_tokens: int = 0
    """Tokens that language models were given."""
    completion_tokens: int = 0
    """Tokens that language models gave."""
    characters: int = 0
    """Characters that synthesisers were given."""
    audio_seconds: float = 0.0
    """Seconds of audio that recognisers were given."""


@final
class Measured:
    """Adds up records as they come. Records of a user's own kinds are not summed up: nobody knows how."""

    __slots__ = (
        "_any",
        "_audio_seconds",
        "_characters",
        "_completion_tokens",
        "_processing",
        "_prompt_tokens",
        "_ttfb",
    )

    def __init__(self) -> None:
        self._any = False
        self._ttfb: DurationStatistics | None = None
        self._processing: DurationStatistics | None = None
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._characters = 0
        self._audio_seconds = 0.0

    def add(self, record: MetricsData) -> None:
        """One more."""
        match record:
            case TTFBMetrics():
                self._ttfb = _with(self._ttfb, record.value)
            case ProcessingMetrics():
                self._processing = _with(self._processing, record.value)
            case LLMUsageMetrics():
                self._prompt_tokens += record.value.prompt_tokens
                self._completion_tokens += record.value.completion_tokens
            case TTSUsageMetrics():
                self._characters += record.value
            case STTUsageMetrics():
                self._audio_seconds += record.value
            case _:
                return
        self._any = True

    def statistics(self) -> MetricsStatistics | None:
        """How it stands now; None: there was nothing yet."""
        if not self._any:
            return None
        return MetricsStatistics(
            ttfb=self._ttfb,
            processing=self._processing,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            characters=self._characters,
            audio_seconds=self._audio_seconds,
        )


def _with(so_far: DurationStatistics | None, seconds: float) -> DurationStatistics:
    now = trio.current_time()
    if so_far is None:
        return DurationStatistics(1, seconds, seconds, seconds, now)
    return DurationStatistics(so_far.count + 1, so_far.total + seconds, max(so_far.max, seconds), seconds, now)
