"""The frames of this room may cross a wire, under these tags; imported when a codec first meets a frame."""

from __future__ import annotations

from typing import Any, Final

from trio_pipes._base import on_wire

from ._dtmf import DTMFFrame
from ._frames import (
    InterimTranscriptionFrame,
    TranscriptionFrame,
    UserIdleTimeoutUpdateFrame,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
)

__all__: list[str] = []

LISTED: Final[dict[str, type[Any]]] = {
    "transcription": TranscriptionFrame,
    "interim-transcription": InterimTranscriptionFrame,
    "user-mute-started": UserMuteStartedFrame,
    "user-mute-stopped": UserMuteStoppedFrame,
    "user-idle-timeout": UserIdleTimeoutUpdateFrame,
    "dtmf": DTMFFrame,
}

for _tag, _cls in LISTED.items():
    on_wire(f"trio_pipes.voice.{_tag}")(_cls)
