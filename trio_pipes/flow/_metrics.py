"""What processors measure: the records of a `MetricsFrame`, and who fills them in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trio_pipes._base import FINITE, ConfigurationError, check_count, check_instance, check_number

from ._frames import Frame, MetricsFrame

if TYPE_CHECKING:
    from ._contracts import Run

__all__ = [
    "LLMTokenUsage",
    "LLMUsageMetrics",
    "MetricsData",
    "ProcessingMetrics",
    "ProcessorMetrics",
    "STTUsageMetrics",
    "TTFBMetrics",
    "TTSUsageMetrics",
]


@attrs.frozen
class MetricsData:
    """A measurement. Derive your own kinds from it, with `@attrs.frozen`."""

    processor: str
    """The name of the processor that measured."""
    model: str | None = attrs.field(default=None, kw_only=True)
    """What it measured, where the processor said so."""


@attrs.frozen
class TTFBMetrics(MetricsData):
    """Time to first byte: from a request to the first output that answers it."""

    value: float
    """Seconds."""


@attrs.frozen
class ProcessingMetrics(MetricsData):
    """The time that a piece of work took."""

    value: float
    """Seconds."""


def _tokens(name: str, value: object) -> None:
    check_count(f"LLMTokenUsage({name}", value, "a number of tokens, 0 or more", least=0)


def _total(usage: LLMTokenUsage) -> int:
    _tokens("prompt_tokens", usage.prompt_tokens)
    _tokens("completion_tokens", usage.completion_tokens)
    return usage.prompt_tokens + usage.completion_tokens


@attrs.frozen
class LLMTokenUsage:
    """The tokens of one answer of a language model."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int = attrs.Factory(_total, takes_self=True)
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(LLMTokenUsage):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                _tokens(field.name, value)


@attrs.frozen
class LLMUsageMetrics(MetricsData):
    """What an answer of a language model used."""

    value: LLMTokenUsage


@attrs.frozen
class TTSUsageMetrics(MetricsData):
    """What was given to a speech synthesiser."""

    value: int
    """Characters."""


@attrs.frozen
class STTUsageMetrics(MetricsData):
    """What was given to a speech recogniser."""

    value: float
    """Seconds of audio."""


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

    __slots__ = ("_engine", "_name", "_processing", "_push", "_reported_ttfb", "_ttfb", "model")

    def __init__(self, name: str, engine: Run, push: Callable[[Frame], Awaitable[None]]) -> None:
        self.model: str | None = None
        """Goes into every record from then on: the name of the model in use."""
        self._name = name
        self._engine = engine
        self._push = push
        self._ttfb = _Watch()
        self._processing = _Watch()
        self._reported_ttfb = False

    def __repr__(self) -> str:
        return f"<metrics of {self._name}>"

    # -- durations

    def start_ttfb(self, at: float | None = None) -> None:
        """A request goes out, now or at `at`; one that was measured until now is forgotten."""
        only_first = self._engine.params.report_only_initial_ttfb and self._reported_ttfb
        if self._engine.params.enable_metrics and not only_first:
            self._ttfb.start(_moment("start_ttfb", at), self._engine.owner.interrupts)

    async def stop_ttfb(self, at: float | None = None) -> None:
        """The first output is here. Where no request is measured, or `at` is before it, nothing is reported."""
        seconds = self._ttfb.stop(_moment("stop_ttfb", at), self._engine.owner.interrupts)
        if seconds is not None:
            self._reported_ttfb = True
            await self.report(TTFBMetrics(self._name, seconds, model=self.model))

    def start_processing(self, at: float | None = None) -> None:
        """A piece of work begins."""
        if self._engine.params.enable_metrics:
            self._processing.start(_moment("start_processing", at), self._engine.owner.interrupts)

    async def stop_processing(self, at: float | None = None) -> None:
        """The piece of work is done."""
        seconds = self._processing.stop(_moment("stop_processing", at), self._engine.owner.interrupts)
        if seconds is not None:
            await self.report(ProcessingMetrics(self._name, seconds, model=self.model))

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
            await self._push(MetricsFrame(data=[record]))

    # -- any

    async def report(self, *records: MetricsData) -> None:
        """Send records of any kind, your own too, in one frame, if `PipelineParams.enable_metrics`."""
        wrong = [record for record in records if not isinstance(record, MetricsData)]
        if wrong or not records:
            raise ConfigurationError(f"report was given {wrong or records!r}, expected MetricsData records")
        if self._engine.params.enable_metrics:
            await self._push(MetricsFrame(data=list(records)))


def _moment(call: str, at: Any) -> float:
    if at is None:
        return trio.current_time()
    check_number(f"{call}(at", at, "seconds on Trio's clock: trio.current_time()", least=-FINITE, most=FINITE)
    return float(at)
