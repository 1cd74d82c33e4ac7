"""Frames that only voice processors know."""

from __future__ import annotations

import attrs

from trio_pipes._base import check_timeout
from trio_pipes.flow import DataFrame, SystemFrame

__all__ = [
    "InterimTranscriptionFrame",
    "TranscriptionFrame",
    "UserIdleTimeoutUpdateFrame",
    "UserMuteStartedFrame",
    "UserMuteStoppedFrame",
]


@attrs.define(eq=False)
class TranscriptionFrame(DataFrame):
    """What the user said. It survives an interrupt: what was said counts, also when the user goes on speaking."""

    text: str
    """The words, in lower case; empty when no word was recognised."""
    confidence: float = 1.0
    """From 0 to 1: how much of the speech the words account for. The rest sounded like something else."""
    stopped_at: float | None = None
    """When the last sound of it was heard, in seconds on Trio's clock."""
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


@attrs.define(eq=False)
class InterimTranscriptionFrame(DataFrame):
    """What the user seems to be saying, from a recogniser that tells before it is sure. A `TranscriptionFrame` follows."""

    text: str
    """The words so far."""
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


@attrs.define(eq=False)
class UserMuteStartedFrame(SystemFrame):
    """What the user says is not listened to from now on. Sent both ways by `UserMute`."""

    at: float
    """When, in seconds on Trio's clock."""


@attrs.define(eq=False)
class UserMuteStoppedFrame(SystemFrame):
    """The user is listened to again. Sent both ways by `UserMute`."""

    at: float
    """When, in seconds on Trio's clock."""


@attrs.define(eq=False)
class UserIdleTimeoutUpdateFrame(SystemFrame):
    """Gives `UserIdle` another timeout, from wherever it is pushed; time begins to count anew."""

    timeout: float | None
    """In seconds; None: the user may be silent for ever."""

    def __attrs_post_init__(self) -> None:
        check_timeout("UserIdleTimeoutUpdateFrame(timeout", self.timeout)
