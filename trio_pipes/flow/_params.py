"""What a run of a pipeline can be told."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs

from trio_pipes._base import check_count, check_flag, check_number, refuse

from ._frames import DataFrame, Frame

__all__ = ["ErrorPolicy", "PipelineParams"]


class ErrorPolicy(Enum):
    """What an exception in a processor does."""

    RAISE = "raise"
    """It cancels the task and leaves `run()` in an `ExceptionGroup`."""
    REPORT = "report"
    """It becomes an `ErrorFrame` upstream, and the frame that was being handled is dropped."""


def _call(field: attrs.Attribute[Any]) -> str:
    return f"PipelineParams({field.name}"


def _seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_number(_call(field), value, "a number of seconds above 0 (math.inf for no limit)", above=True)


def _seconds_or_none(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        expected = "a finite number of seconds above 0, or None for no limit"
        check_number(_call(field), value, expected, above=True, most=sys.float_info.max)


def _count(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_count(_call(field), value)


def _flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_flag(_call(field), value)


def _policy(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, ErrorPolicy):
        raise refuse(_call(field), value, "ErrorPolicy.RAISE or ErrorPolicy.REPORT")


def _frame_types(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(t, type) and issubclass(t, Frame) for t in value):
        raise refuse(_call(field), value, "a tuple of frame classes")


def _metadata(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise refuse(_call(field), value, "a mapping")


@attrs.frozen(kw_only=True)
class PipelineParams:
    """Settings of one `PipelineTask`. Times are in seconds on Trio's clock, sample rates in Hz."""

    allow_interruptions: bool = attrs.field(default=False, validator=_flag)
    """Whether interrupts that a processor (or the speech it hears) asks for take effect."""
    enable_metrics: bool = attrs.field(default=False, validator=_flag)
    """Accepted, and without effect in this release."""
    enable_usage_metrics: bool = attrs.field(default=False, validator=_flag)
    """Accepted, and without effect in this release."""
    send_initial_empty_metrics: bool = attrs.field(default=True, validator=_flag)
    """Accepted, and without effect in this release."""
    report_only_initial_ttfb: bool = attrs.field(default=False, validator=_flag)
    """Accepted, and without effect in this release."""
    enable_heartbeats: bool = attrs.field(default=False, validator=_flag)
    """Accepted, and without effect in this release."""
    heartbeat_period: float = attrs.field(default=1.0, validator=_seconds)
    """Accepted, and without effect in this release."""
    heartbeat_timeout: float = attrs.field(default=10.0, validator=_seconds)
    """Accepted, and without effect in this release."""
    idle_timeout: float | None = attrs.field(default=None, validator=_seconds_or_none)
    """Accepted, and without effect in this release."""
    idle_frames: tuple[type[Frame], ...] = attrs.field(default=(DataFrame,), validator=_frame_types)
    """Accepted, and without effect in this release."""
    cancel_on_idle_timeout: bool = attrs.field(default=True, validator=_flag)
    """Accepted, and without effect in this release."""
    queue_size: int = attrs.field(default=64, validator=_count)
    """Frames that wait between two processors before the one that pushes has to wait."""
    lane_limit: int = attrs.field(default=10_000, validator=_count)
    """Frames in a lane that never makes its pusher wait (upstream, urgent) before that is a `FloodError`."""
    on_error: ErrorPolicy = attrs.field(default=ErrorPolicy.RAISE, validator=_policy)
    setup_timeout: float = attrs.field(default=20.0, validator=_seconds)
    start_timeout: float = attrs.field(default=20.0, validator=_seconds)
    end_timeout: float | None = attrs.field(default=None, validator=_seconds_or_none)
    cleanup_timeout: float = attrs.field(default=10.0, validator=_seconds)
    audio_in_sample_rate: int = attrs.field(default=16_000, validator=_count)
    audio_out_sample_rate: int = attrs.field(default=24_000, validator=_count)
    start_metadata: Mapping[str, Any] = attrs.field(factory=dict, validator=_metadata)
    """Put into the metadata of the `StartFrame`."""
    debug: bool = attrs.field(default=False, validator=_flag)
    """Gives each processor a task of its own, so that warnings and tracebacks name the very one."""
