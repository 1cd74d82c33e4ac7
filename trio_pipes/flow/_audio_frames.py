"""Frames of sound and of who is speaking: what transports and voice processors have in common.

They do not know each other, so what passes between them is defined below both.
"""

from __future__ import annotations

import attrs

from trio_pipes._base import check_count, check_instance

from ._frames import ControlFrame, DataFrame, SystemFrame

__all__ = [
    "AudioFrame",
    "BotStartedSpeakingFrame",
    "BotStoppedSpeakingFrame",
    "InputAudioFrame",
    "OutputAudioFrame",
    "UserStartedSpeakingFrame",
    "UserStoppedSpeakingFrame",
    "UserTurnStartedFrame",
    "UserTurnStoppedFrame",
]

BYTES_A_SAMPLE = 2


def _show_length(audio: bytes) -> str:
    return f"<{len(audio)} bytes>"


@attrs.define(eq=False)
class AudioFrame(DataFrame):
    """A piece of sound: signed 16-bit little-endian samples, the channels interleaved."""

    audio: bytes = attrs.field(repr=_show_length)
    sample_rate: int
    """Samples a second of one channel, in Hz."""
    channels: int = 1

    def __attrs_post_init__(self) -> None:
        # Audio comes in many small pieces: the texts of the checks are made only where one fails.
        rate, channels = self.sample_rate, self.channels
        right = self.audio.__class__ is bytes and rate.__class__ is channels.__class__ is int
        if right and 1 <= rate < 2**63 and 1 <= channels < 2**63:
            return
        who = type(self).__name__
        check_instance(f"{who}(audio", self.audio, bytes | bytearray | memoryview, "bytes: 16-bit samples")
        check_count(f"{who}(sample_rate", rate, "a rate in Hz, of at least 1")
        check_count(f"{who}(channels", channels)

    @property
    def seconds(self) -> float:
        """How long the piece lasts, in seconds."""
        return len(self.audio) / (BYTES_A_SAMPLE * self.channels * self.sample_rate)


@attrs.define(eq=False)
class InputAudioFrame(AudioFrame):
    """Sound that came in. An interrupt leaves it alone: it comes from the very person who interrupts."""

    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


@attrs.define(eq=False)
class OutputAudioFrame(AudioFrame):
    """Sound to be played. An interrupt drops what has not been played."""


@attrs.define(eq=False)
class UserStartedSpeakingFrame(ControlFrame):
    """The user has begun to speak. Ordered against the sound, so it follows the piece that showed it."""

    at: float
    """When the first sound of it was heard, in seconds on Trio's clock."""
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


@attrs.define(eq=False)
class UserStoppedSpeakingFrame(ControlFrame):
    """The user has finished a sentence. Ordered against the sound."""

    at: float
    """When the last sound of it was heard, in seconds on Trio's clock: before the silence that showed it."""
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


@attrs.define(eq=False)
class UserTurnStartedFrame(ControlFrame):
    """The user's turn has begun. A turn is what is meant to be answered: several sentences and pauses, where a strategy says so."""

    at: float
    """When, in seconds on Trio's clock."""
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


@attrs.define(eq=False)
class UserTurnStoppedFrame(ControlFrame):
    """The user's turn is over: now it is the bot's."""

    at: float
    """When the last sound of it was heard, in seconds on Trio's clock; where none was, when the turn was ended."""
    timed_out: bool = False
    """Nothing more came, and no strategy had an opinion: the watchdog ended it."""
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


@attrs.define(eq=False)
class BotStartedSpeakingFrame(SystemFrame):
    """The first sound of a reply is being played. Sent both ways by whatever plays it."""

    at: float
    """When, in seconds on Trio's clock."""


@attrs.define(eq=False)
class BotStoppedSpeakingFrame(SystemFrame):
    """The reply has been played, or an interrupt has cut it off. Sent both ways by whatever plays it."""

    at: float
    """When the last sound of it was played, in seconds on Trio's clock."""
    interrupted: bool = False
    """An interrupt cut it off."""
