"""Which frames of this room may cross a wire, under which tags; imported when a codec first meets a frame.

A frame keeps its class, its fields, `pts` and `metadata`. Its `id`, and with it its name, is the receiver's own. A deadline
travels as the seconds that are left, because Trio's clock is this process's. Frames that begin, end or steer a run belong to
the run that they are in.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, Final

import trio

from trio_pipes._base import leave_out, on_wire, stays_local, travels_with

from ._audio_frames import (
    AudioFrame,
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    InputAudioFrame,
    OutputAudioFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    UserTurnStartedFrame,
    UserTurnStoppedFrame,
)
from ._deadline import KEY, has_deadline, with_deadline
from ._frames import (
    CancelFrame,
    CancelTaskFrame,
    ControlFrame,
    DataFrame,
    EndFrame,
    EndTaskFrame,
    ErrorFrame,
    Frame,
    HeartbeatFrame,
    InterruptionFrame,
    InterruptionTaskFrame,
    LifecycleFrame,
    MetricsFrame,
    PauseFrame,
    PauseUrgentFrame,
    ResumeFrame,
    StartFrame,
    StopFrame,
    StopTaskFrame,
    SystemFrame,
    TextFrame,
)
from ._metrics_records import (
    LLMTokenUsage,
    LLMUsageMetrics,
    MetricsData,
    ProcessingMetrics,
    STTUsageMetrics,
    TTFBMetrics,
    TTSUsageMetrics,
)
from ._ready._aggregated import AggregatedTextFrame
from ._ready._switch_frames import ServiceSwitchedFrame, SwitchServiceFrame

__all__: list[str] = []

LISTED: Final[dict[str, type[Any]]] = {
    "data": DataFrame,
    "control": ControlFrame,
    "system": SystemFrame,
    "text": TextFrame,
    "aggregated-text": AggregatedTextFrame,
    "audio": AudioFrame,
    "input-audio": InputAudioFrame,
    "output-audio": OutputAudioFrame,
    "user-started-speaking": UserStartedSpeakingFrame,
    "user-stopped-speaking": UserStoppedSpeakingFrame,
    "user-turn-started": UserTurnStartedFrame,
    "user-turn-stopped": UserTurnStoppedFrame,
    "bot-started-speaking": BotStartedSpeakingFrame,
    "bot-stopped-speaking": BotStoppedSpeakingFrame,
    "error": ErrorFrame,
    "pause": PauseFrame,
    "pause-urgent": PauseUrgentFrame,
    "resume": ResumeFrame,
    "switch-service": SwitchServiceFrame,
    "metrics": MetricsFrame,
    "metrics-data": MetricsData,
    "ttfb-metrics": TTFBMetrics,
    "processing-metrics": ProcessingMetrics,
    "llm-token-usage": LLMTokenUsage,
    "llm-usage-metrics": LLMUsageMetrics,
    "tts-usage-metrics": TTSUsageMetrics,
    "stt-usage-metrics": STTUsageMetrics,
    # For codecs that are told to take them.
    "start": StartFrame,
    "end": EndFrame,
    "stop": StopFrame,
    "cancel": CancelFrame,
    "interruption": InterruptionFrame,
    "end-task": EndTaskFrame,
    "stop-task": StopTaskFrame,
    "cancel-task": CancelTaskFrame,
    "interruption-task": InterruptionTaskFrame,
    "heartbeat": HeartbeatFrame,
}

OF_A_RUN: Final = (
    *(LifecycleFrame, CancelFrame, InterruptionFrame, HeartbeatFrame),
    *(EndTaskFrame, StopTaskFrame, CancelTaskFrame, InterruptionTaskFrame),
)


def _take(frame: Frame, fields: dict[str, Any]) -> None:
    if frame.pts is not None:
        fields["pts"] = frame.pts
    metadata = getattr(frame, "_metadata", None)  # asking for `metadata` would make one
    if metadata:
        if has_deadline(frame):
            fields["interruptible"] = bool(frame.interruptible)
            metadata = dict(metadata)
            at = metadata.pop(KEY, math.inf)
            with suppress(RuntimeError):  # where no clock runs nothing is late
                fields["seconds_left"] = at - trio.current_time()
        fields["metadata"] = metadata


def _give(frame: Frame, rest: dict[str, Any]) -> None:
    frame.pts = rest.get("pts")
    metadata = rest.get("metadata")
    if metadata:
        frame.metadata.update(metadata)
    left = rest.get("seconds_left")
    if left is not None:
        try:
            now = trio.current_time()
        except RuntimeError:
            return
        with_deadline(frame, at=now + left)


travels_with(Frame, {"pts": int, "metadata": dict[str, Any], "seconds_left": float}, _take, _give)
leave_out(ErrorFrame, "exception", "processor")  # objects of the run; the text of the exception is in `error`
leave_out(InterruptionFrame, "_given")
for _base in OF_A_RUN:
    stays_local(_base, "it belongs to the run that it is in, whose begin and end no other run shares")
stays_local(ServiceSwitchedFrame, "the services that it tells of are objects of this process")
for _tag, _cls in LISTED.items():
    on_wire(f"trio_pipes.{_tag}")(_cls)
