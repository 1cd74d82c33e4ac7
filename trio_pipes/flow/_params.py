"""What a run of a pipeline can be told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

import attrs

from trio_pipes._base import (
    check_classes,
    check_count,
    check_flag,
    check_instance,
    check_number,
    check_timeout,
    refuse,
)

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


def check_error_policy(what: str, value: object, *, optional: bool = False) -> None:
    """A member of `ErrorPolicy`, or None where it is `optional`."""
    check_instance(what, value, ErrorPolicy, "ErrorPolicy.RAISE or ErrorPolicy.REPORT", optional=optional)


def check_unusable_policy(what: str, value: object, *, optional: bool = False) -> None:
    """A member of `UnusablePolicy`, or None where it is `optional`."""
    check_instance(what, value, UnusablePolicy, "UnusablePolicy.CONTINUE, END or CANCEL", optional=optional)


def _call(field: attrs.Attribute[Any]) -> str:
    return f"PipelineParams({field.name}"


def _seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_number(_call(field), value, "a number of seconds above 0 (math.inf for no limit)", above=True)


def _seconds_or_none(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_timeout(_call(field), value)


def _count(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_count(_call(field), value)


def _flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_flag(_call(field), value)


def _policy(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_error_policy(_call(field), value)


def _unusable_policy(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_unusable_policy(_call(field), value)


def _frame_types(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple):
        raise refuse(_call(field), value, "a tuple of frame classes")
    check_classes(_call(field), value, Frame, "a tuple of frame classes")


def _metadata(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_instance(_call(field), value, Mapping, "a mapping")


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
    """Fuses nothing, so that warnings and tracebacks name the very processor."""

    def __attrs_post_init__(self) -> None:
        if self.idle_timeout is not None and not self.idle_frames:
            raise refuse("PipelineParams(idle_frames", (), "the frame classes that count as life")
        if self.enable_heartbeats and not self.heartbeat_timeout > self.heartbeat_period:
            expected = f"more than heartbeat_period={self.heartbeat_period!r}, or none could come in time"
            raise refuse("PipelineParams(heartbeat_timeout", self.heartbeat_timeout, expected)
