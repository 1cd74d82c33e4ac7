"""The records of a `MetricsFrame`."""

from __future__ import annotations

from typing import Any

import attrs

from trio_pipes._base import check_count, check_instance, check_number

__all__ = [
    "LLMTokenUsage",
    "LLMUsageMetrics",
    "MetricsData",
    "ProcessingMetrics",
    "STTUsageMetrics",
    "TTFBMetrics",
    "TTSUsageMetrics",
]


def _seconds(record: object, field: attrs.Attribute[Any], value: object) -> None:
    check_number(f"{type(record).__name__}({field.name}", value, "a number of seconds, 0 or more")


def _characters(record: object, field: attrs.Attribute[Any], value: object) -> None:
    check_count(f"{type(record).__name__}({field.name}", value, "a number of characters, 0 or more", least=0)


def _usage(record: object, field: attrs.Attribute[Any], value: object) -> None:
    what = f"{type(record).__name__}({field.name}"
    check_instance(what, value, LLMTokenUsage, "LLMTokenUsage(prompt_tokens, completion_tokens)")


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

    value: float = attrs.field(validator=_seconds)
    """Seconds."""


@attrs.frozen
class ProcessingMetrics(MetricsData):
    """The time that a piece of work took."""

    value: float = attrs.field(validator=_seconds)
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

    value: LLMTokenUsage = attrs.field(validator=_usage)


@attrs.frozen
class TTSUsageMetrics(MetricsData):
    """What was given to a speech synthesiser."""

    value: int = attrs.field(validator=_characters)
    """Characters."""


@attrs.frozen
class STTUsageMetrics(MetricsData):
    """What was given to a speech recogniser."""

    value: float = attrs.field(validator=_seconds)
    """Seconds of audio."""
