"""`ProcessorMetrics`: measures for a processor, and tells of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, final

import trio

from trio_pipes._base import FINITE, ConfigurationError, check_instance, check_number

from ._frames import Frame, MetricsFrame
from ._measured import Measured
from ._metrics_records import (
    LLMTokenUsage,
    LLMUsageMetrics,
    MetricsData,
    ProcessingMetrics,
    STTUsageMetrics,
    TTFBMetrics,
    TTSUsageMetrics,
)

if TYPE_CHECKING:
    from ._contracts import Run, Works
    from ._measured import MetricsStatistics

__all__ = ["ProcessorMetrics"]


class _Watch:
    """One measurement of a duration, at most one at a time."""

    __slots__ = ("began", "interrupts")

    def __init__(self) -> None:
        self.began: float | None = None
        self.interrupts = 0

    def start(self, at: float, interrupts: int) -> None:
        self.began, self.interrupts = at, interrupts

    def stop(self, at: float, interrupts: int) -> float | None:
        """The seconds since `start`; None where nothing was started, or what was is not answered by this."""
        began, self.began = self.began, None
        if began is None or interrupts != self.interrupts or at < began:
            return None
        return at - began


@final
class ProcessorMetrics:
    """Measures for one processor in one run, and sends what it measured downstream, each in a `MetricsFrame`.

    Does nothing unless `PipelineParams.enable_metrics` (durations) or `enable_usage_metrics` (usage) is set. Times
    are seconds on Trio's clock. An interrupt ends the measurements that are going on: they report nothing.
    """

    __slots__ = (
        "_engine",
        "_measured",
        "_name",
        "_processing",
        "_processor",
        "_push",
        "_reported_ttfb",
        "_ttfb",
        "model",
    )

    def __init__(self, processor: Works, engine: Run, push: Callable[[Frame], Awaitable[None]]) -> None:
        self.model: str | None = None
        """Goes into every record from then on: the name of the model in use."""
        self._processor = processor
        self._name = processor.name
        self._engine = engine
        self._push = push
        self._ttfb = _Watch()
        self._processing = _Watch()
        self._reported_ttfb = False
        self._measured = Measured()

    def __repr__(self) -> str:
        return f"<metrics of {self._name}>"

    # -- durations

    def start_ttfb(self, at: float | None = None) -> None:
        """A request goes out, now or at `at`; one that was measured until now is forgotten."""
        only_first = self._engine.params.report_only_initial_ttfb and self._reported_ttfb
        if self._engine.params.enable_metrics and not only_first:
            self._start(self._ttfb, TTFBMetrics, _moment("start_ttfb", at))

    async def stop_ttfb(self, at: float | None = None) -> None:
        """The first output is here. Where no request is measured, or `at` is before it, nothing is reported."""
        if at is None and self._ttfb.began is None:
            return
        seconds = self._ttfb.stop(_moment("stop_ttfb", at), self._engine.owner.interrupts)
        if seconds is not None:
            self._reported_ttfb = True
            await self.report(TTFBMetrics(self._name, seconds, model=self.model))

    def start_processing(self, at: float | None = None) -> None:
        """A piece of work begins."""
        if self._engine.params.enable_metrics:
            self._start(self._processing, ProcessingMetrics, _moment("start_processing", at))

    async def stop_processing(self, at: float | None = None) -> None:
        """The piece of work is done."""
        if at is None and self._processing.began is None:
            return
        seconds = self._processing.stop(_moment("stop_processing", at), self._engine.owner.interrupts)
        if seconds is not None:
            await self.report(ProcessingMetrics(self._name, seconds, model=self.model))

    def _start(self, watch: _Watch, kind: type[MetricsData], at: float) -> None:
        watch.start(at, self._engine.owner.interrupts)
        self._engine.owner.measuring(self._processor, kind, at)

    # -- usage

    async def llm_usage(self, tokens: LLMTokenUsage) -> None:
        """A language model has answered."""
        check_instance("llm_usage(tokens", tokens, LLMTokenUsage, "LLMTokenUsage(prompt_tokens, completion_tokens)")
        await self._used(LLMUsageMetrics(self._name, tokens, model=self.model))

    async def tts_usage(self, text: str) -> None:
        """This text was given to a synthesiser."""
        check_instance("tts_usage(text", text, str, "the text that is spoken")
        await self._used(TTSUsageMetrics(self._name, len(text), model=self.model))

    async def stt_usage(self, seconds: float) -> None:
        """So much audio was given to a recogniser."""
        check_number("stt_usage(seconds", seconds, "a finite number of seconds, 0 or more", most=FINITE)
        await self._used(STTUsageMetrics(self._name, float(seconds), model=self.model))

    async def _used(self, record: MetricsData) -> None:
        if self._engine.params.enable_usage_metrics:
            await self._send([record])

    # -- any

    async def report(self, *records: MetricsData) -> None:
        """Send records of any kind, your own too, in one frame, if `PipelineParams.enable_metrics`."""
        wrong = [record for record in records if not isinstance(record, MetricsData)]
        if wrong or not records:
            raise ConfigurationError(f"report was given {wrong or records!r}, expected MetricsData records")
        if self._engine.params.enable_metrics:
            await self._send(list(records))

    async def _send(self, records: list[MetricsData]) -> None:
        for record in records:
            self._measured.add(record)
        self._engine.owner.measured(self._processor, records)
        await self._push(MetricsFrame(data=records))

    def statistics(self) -> MetricsStatistics | None:
        """What was measured so far in this run, added up; None: nothing."""
        return self._measured.statistics()


def _moment(call: str, at: Any) -> float:
    if at is None:
        return trio.current_time()
    check_number(f"{call}(at", at, "seconds on Trio's clock: trio.current_time()", least=-FINITE, most=FINITE)
    return float(at)
