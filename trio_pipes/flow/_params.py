"""What a run of a pipeline can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

import attrs

from trio_pipes._base import ConfigurationError

from ._frames import DataFrame, Frame

__all__ = ["ErrorPolicy", "PipelineParams", "UnusablePolicy"]


class ErrorPolicy(Enum):
    """What an exception in a processor does."""

    RAISE = "raise"
    """It cancels the task and leaves `run()` in an `ExceptionGroup`."""
    REPORT = "report"
    """It becomes an `ErrorFrame` upstream, and the frame that was being handled is dropped."""


class UnusablePolicy(Enum):
    """What a task does when one of its processors says that it cannot do its work any more."""

    CONTINUE = "continue"
    """It goes on; data and control frames pass by that processor."""
    END = "end"
    """It ends as by `stop_when_done()`."""
    CANCEL = "cancel"
    """It is cancelled."""


def _refuse(field: attrs.Attribute[Any], value: object, expected: str) -> ConfigurationError:
    return ConfigurationError(f"PipelineParams({field.name}={value!r}): expected {expected}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not _is_number(value) or not value > 0:  # type: ignore[operator]  # a number by then; NaN fails here
        raise _refuse(field, value, "a number of seconds above 0 (math.inf for no limit)")


def _seconds_or_none(instance: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        if value == math.inf:
            raise _refuse(field, value, "a finite number of seconds, or None for no limit")
        _seconds(instance, field, value)


def _count(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _refuse(field, value, "a whole number of at least 1")


def _flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise _refuse(field, value, "True or False")


def _policy(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, ErrorPolicy):
        raise _refuse(field, value, "ErrorPolicy.RAISE or ErrorPolicy.REPORT")


def _unusable_policy(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, UnusablePolicy):
        raise _refuse(field, value, "UnusablePolicy.CONTINUE, END or CANCEL")


def _frame_types(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(t, type) and issubclass(t, Frame) for t in value):
        raise _refuse(field, value, "a tuple of frame classes")


def _metadata(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise _refuse(field, value, "a mapping")


@attrs.frozen(kw_only=True)
class PipelineParams:
    """Settings of one `PipelineTask`. Times are in seconds on Trio's clock, sample rates in Hz."""

    allow_interruptions: bool = attrs.field(default=False, validator=_flag)
    """Whether interrupts that a processor (or the speech it hears) asks for take effect."""
    enable_metrics: bool = attrs.field(default=False, validator=_flag)
    """Whether processors report the times that they measure (`FrameProcessor.metrics`)."""
    enable_usage_metrics: bool = attrs.field(default=False, validator=_flag)
    """Whether processors report what they used: tokens, characters, seconds of audio."""
    send_initial_empty_metrics: bool = attrs.field(default=True, validator=_flag)
    """With `enable_metrics`: whether a `MetricsFrame` with zeros goes down at the start, for those that will measure."""
    report_only_initial_ttfb: bool = attrs.field(default=False, validator=_flag)
    """Whether each processor reports only the first time to first byte of a run."""
    enable_heartbeats: bool = attrs.field(default=False, validator=_flag)
    """Whether a `HeartbeatFrame` is sent down at intervals, and observers are told when none comes through."""
    heartbeat_period: float = attrs.field(default=1.0, validator=_seconds)
    """Seconds between two heartbeats."""
    heartbeat_timeout: float = attrs.field(default=10.0, validator=_seconds)
    """Seconds without a heartbeat at the sink after which `on_heartbeat_lost` is told, once until one comes again."""
    idle_timeout: float | None = attrs.field(default=None, validator=_seconds_or_none)
    """Seconds without any of `idle_frames` after which `on_idle` is told; None: never."""
    idle_frames: tuple[type[Frame], ...] = attrs.field(default=(DataFrame,), validator=_frame_types)
    """What counts as life: frames of these types that are queued, pushed or handled anywhere, or come out."""
    cancel_on_idle_timeout: bool = attrs.field(default=True, validator=_flag)
    """Whether an idle task is cancelled; otherwise `on_idle` is told again after each such time."""
    queue_size: int = attrs.field(default=64, validator=_count)
    """Frames that wait between two processors before the one that pushes has to wait."""
    lane_limit: int = attrs.field(default=10_000, validator=_count)
    """Frames in a lane that never makes its pusher wait (upstream, urgent) before that is a `FloodError`."""
    on_error: ErrorPolicy = attrs.field(default=ErrorPolicy.RAISE, validator=_policy)
    """What an exception in a processor does that has no policy of its own."""
    on_unusable: UnusablePolicy = attrs.field(default=UnusablePolicy.CONTINUE, validator=_unusable_policy)
    """What `set_unusable` does in a processor that has no policy of its own."""
    setup_timeout: float = attrs.field(default=20.0, validator=_seconds)
    """Seconds that all set-up together may take."""
    start_timeout: float = attrs.field(default=20.0, validator=_seconds)
    """Seconds that `StartFrame` may take to the sink."""
    end_timeout: float | None = attrs.field(default=None, validator=_seconds_or_none)
    """Seconds from when the end is asked for until it is reached; None for no limit."""
    cleanup_timeout: float = attrs.field(default=10.0, validator=_seconds)
    """Seconds that each cleanup may take before it is cancelled."""
    audio_in_sample_rate: int = attrs.field(default=16_000, validator=_count)
    """Of the audio that comes in, where a processor is told nothing else."""
    audio_out_sample_rate: int = attrs.field(default=24_000, validator=_count)
    """Of the audio that goes out, where a processor is told nothing else."""
    start_metadata: Mapping[str, Any] = attrs.field(default=MappingProxyType({}), validator=_metadata)
    """Put into the metadata of the `StartFrame`."""
    debug: bool = attrs.field(default=False, validator=_flag)
    """Gives each processor a task of its own, so that warnings and tracebacks name the very one."""

    def __attrs_post_init__(self) -> None:
        if self.idle_timeout is not None and not self.idle_frames:
            raise ConfigurationError("PipelineParams(idle_frames=()): expected the frame classes that count as life")
        if self.enable_heartbeats and not self.heartbeat_timeout > self.heartbeat_period:
            raise ConfigurationError(
                f"PipelineParams(heartbeat_timeout={self.heartbeat_timeout!r}): expected more than "
                f"heartbeat_period={self.heartbeat_period!r}, or none could come in time"
            )
