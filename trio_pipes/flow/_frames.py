"""Frames: what flows through a pipeline.

A frame belongs to one of two lanes, by its class. System frames use the urgent lane: they overtake what
is queued and survive an interrupt. Data and control frames use the ordered lane. Lifecycle frames
(`StartFrame`, `EndFrame`, `StopFrame`) travel in the ordered lane too, but the engine carries them, so no
processor can lose one.

Frames are compared by identity: two frames with the same content are two frames.
"""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Any, ClassVar, Final

import attrs

from trio_pipes._base import check_flag, check_instance, next_id, refuse

__all__ = [
    "CancelFrame",
    "CancelTaskFrame",
    "ControlFrame",
    "DataFrame",
    "Direction",
    "EndFrame",
    "EndTaskFrame",
    "ErrorFrame",
    "Frame",
    "HeartbeatFrame",
    "InterruptionFrame",
    "InterruptionTaskFrame",
    "MetricsFrame",
    "PauseFrame",
    "PauseUrgentFrame",
    "ResumeFrame",
    "StartFrame",
    "StopFrame",
    "StopTaskFrame",
    "SystemFrame",
    "TextFrame",
]


class Direction(Enum):
    """Which way a frame travels: with the data, or against it."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"


# The lanes, as the class attribute `_lane`. ORDERED is 0 so that "is it special?" is a truth test.
ORDERED: Final = 0
LIFECYCLE: Final = 1
URGENT: Final = 2
ADDRESSED: Final = 3  # ordered, and meant for the engine at one processor


@attrs.define(eq=False)
class Frame:
    """Base of everything that flows. Derive from `DataFrame`, `ControlFrame` or `SystemFrame`."""

    id: int = attrs.field(factory=next_id, init=False)
    """Unique in the process."""
    pts: int | None = attrs.field(default=None, init=False, repr=False)
    """Presentation time in nanoseconds since the task's start, or None."""
    _metadata: dict[str, Any] = attrs.field(init=False, repr=False)  # unset until it is asked for

    # False: an interrupt leaves the frame and its handler alone. The hot path reads this one attribute:
    # what is interruptible is an ordinary frame of the ordered lane, and nothing else is.
    interruptible = True
    _lane: ClassVar[int] = ORDERED

    def __init_subclass__(cls) -> None:
        if cls.__module__ == __name__:
            return
        declared = {*cls.__dict__, *inspect.get_annotations(cls)}
        if cls._lane == URGENT and "interruptible" in declared:
            raise TypeError(
                f"{cls.__name__} is a system frame, which no interrupt makes stale: leave out interruptible"
            )
        if isinstance(cls.__dict__.get("interruptible"), bool) and "interruptible" not in cls.__annotations__:
            raise TypeError(
                f"{cls.__name__}.interruptible is a field, and a plain class attribute cannot change its "
                f"default. Write:\n"
                f"    @attrs.define(eq=False)\n"
                f"    class {cls.__name__}(...):\n"
                f"        interruptible: bool = attrs.field(default={cls.__dict__['interruptible']}, kw_only=True)"
            )

    @property
    def name(self) -> str:
        """`"TextFrame#17"`: the class and the id."""
        return f"{type(self).__name__}#{self.id}"

    @property
    def metadata(self) -> dict[str, Any]:
        """Anything that should travel with the frame; made on first use."""
        try:
            return self._metadata
        except AttributeError:
            self._metadata = {}
            return self._metadata


@attrs.define(eq=False)
class SystemFrame(Frame):
    """Urgent: overtakes ordered frames, is ordered against other system frames, survives an interrupt."""

    interruptible = False
    _lane: ClassVar[int] = URGENT


@attrs.define(eq=False)
class DataFrame(Frame):
    """Content, in order."""

    interruptible: bool = attrs.field(default=True, kw_only=True, repr=False)
    """Whether an interrupt makes this frame stale, queued or being handled."""


@attrs.define(eq=False)
class ControlFrame(Frame):
    """Something that must keep its place among the data."""

    interruptible: bool = attrs.field(default=True, kw_only=True, repr=False)
    """Whether an interrupt makes this frame stale, queued or being handled."""


def _never_interruptible(frame: Frame, _: object, value: bool) -> None:
    if value is not False:
        raise refuse(f"{type(frame).__name__}(interruptible", value, "False: such a frame survives interrupts")


@attrs.define(eq=False)
class LifecycleFrame(ControlFrame):
    """A control frame that the engine carries from processor to processor."""

    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False, validator=_never_interruptible)
    _lane: ClassVar[int] = LIFECYCLE


@attrs.define(eq=False)
class StartFrame(LifecycleFrame):
    """The first frame that every processor is shown; `PipelineParams.start_metadata` is in its metadata."""


@attrs.define(eq=False)
class EndFrame(LifecycleFrame):
    """The last frame: everything queued before has been handled. Queued or pushed by you: a request to end."""

    reason: str | None = None


@attrs.define(eq=False)
class StopFrame(LifecycleFrame):
    """Ends the run as `EndFrame` does; the task's state is STOPPED then."""

    reason: str | None = None


@attrs.define(eq=False)
class FlushMarker(LifecycleFrame):
    """Carried down behind everything queued before it; no processor is shown it."""

    reached: Any = None  # a trio.Event that the sink sets


@attrs.define(eq=False)
class CancelFrame(SystemFrame):
    """Observers see it when a task is cancelled. Queued or pushed by you: a request to cancel."""

    reason: str | None = None


@attrs.define(eq=False)
class InterruptionFrame(SystemFrame):
    """Given to every processor by the engine after an interrupt. Queued or pushed by you: a request for one."""

    _given: bool = attrs.field(default=False, init=False, repr=False)  # made by the engine


@attrs.define(eq=False)
class EndTaskFrame(SystemFrame):
    """Pushed from inside, in either direction: asks the task to end when everything is done."""

    reason: str | None = None


@attrs.define(eq=False)
class StopTaskFrame(SystemFrame):
    """Pushed from inside, in either direction: asks the task to stop when everything is done."""

    reason: str | None = None


@attrs.define(eq=False)
class CancelTaskFrame(SystemFrame):
    """Pushed from inside, in either direction: asks the task to cancel itself now."""

    reason: str | None = None


@attrs.define(eq=False)
class InterruptionTaskFrame(SystemFrame):
    """Pushed from inside, in either direction: asks for an interrupt."""


def _addressee(frame: Frame, _: object, value: object) -> None:
    if isinstance(value, type) or not (hasattr(value, "process_frame") or (isinstance(value, str) and value)):
        raise TypeError(
            f"{type(frame).__name__}(processor={value!r}): expected a processor of the pipeline, or its name "
            '(an @each or @processor function makes one in each pipeline: give it a name, each(name="..."))'
        )


@attrs.define(eq=False)
class PauseFrame(ControlFrame):
    """Pauses a processor, itself or by its name, when it has come to it: what was pushed before is handled.

    It travels as any control frame does, and ends at that processor, which is not shown it.
    """

    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False, validator=_never_interruptible)
    processor: Any = attrs.field(validator=_addressee)
    _lane: ClassVar[int] = ADDRESSED


@attrs.define(eq=False)
class PauseUrgentFrame(SystemFrame):
    """Pauses a processor, itself or by its name, at once; acts where it is pushed or queued."""

    processor: Any = attrs.field(validator=_addressee)


@attrs.define(eq=False)
class ResumeFrame(SystemFrame):
    """Resumes what a `PauseFrame` or `pause()` has paused; acts where it is pushed or queued."""

    processor: Any = attrs.field(validator=_addressee)


@attrs.define(eq=False)
class ErrorFrame(SystemFrame):
    """An error on its way upstream."""

    error: str = ""
    exception: Exception | None = None
    processor: Any = attrs.field(default=None, repr=False)
    """The processor that it happened in."""
    fatal: bool = False
    """Ends the task."""

    def __attrs_post_init__(self) -> None:
        check_instance("ErrorFrame(error", self.error, str, "a string")
        check_instance("ErrorFrame(exception", self.exception, Exception, "an exception (an instance)", optional=True)
        check_flag("ErrorFrame(fatal", self.fatal)


@attrs.define(eq=False)
class HeartbeatFrame(ControlFrame):
    """Sent down at intervals to see that the pipeline still moves."""

    timestamp: int = 0
    """Nanoseconds of the task's clock when it was sent."""


@attrs.define(eq=False)
class Heartbeat(HeartbeatFrame):
    """The heartbeat that a task sends. The engine carries it, as it does lifecycle frames, so no processor can lose one."""

    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False, validator=_never_interruptible)
    reached: Any = attrs.field(default=None, kw_only=True, repr=False)  # the sink calls it
    _lane: ClassVar[int] = LIFECYCLE


@attrs.define(eq=False)
class MetricsFrame(SystemFrame):
    """Measurements, each a record of its own kind."""

    data: list[Any] = attrs.field(factory=list)


@attrs.define(eq=False)
class TextFrame(DataFrame):
    """A piece of text."""

    text: str = ""
