"""Frames flow through processors; processors make a pipeline."""

from typing import TYPE_CHECKING

from trio_pipes._base import on_first_access

from ._block import Block, Frames, Out, processor
from ._check import check_frame
from ._contracts import FrameObserver
from ._deadline import deadline_of, with_deadline
from ._each import Each, each
from ._ends import Output
from ._frames import (
    CancelFrame,
    CancelTaskFrame,
    ControlFrame,
    DataFrame,
    Direction,
    EndFrame,
    EndTaskFrame,
    ErrorFrame,
    FlushMarker,
    Frame,
    Heartbeat,
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
from ._params import ErrorPolicy, PipelineParams, UnusablePolicy
from ._pipeline import ParallelPipeline, Pipeline, made
from ._processor import FrameProcessor
from ._shapes import SyncParallelPipeline, merge, route, tee
from ._statistics import LaneStatistics, NodeStatistics
from ._switchable import Switchable

if TYPE_CHECKING:
    from ._audio_frames import (
        AudioFrame,
        BotStartedSpeakingFrame,
        BotStoppedSpeakingFrame,
        InputAudioFrame,
        OutputAudioFrame,
        UserStartedSpeakingFrame,
        UserStoppedSpeakingFrame,
    )
    from ._metrics import (
        LLMTokenUsage,
        LLMUsageMetrics,
        MetricsData,
        ProcessingMetrics,
        ProcessorMetrics,
        STTUsageMetrics,
        TTFBMetrics,
        TTSUsageMetrics,
    )
    from ._pts import ReleaseAtPts, StampPts
else:
    __getattr__ = on_first_access(
        globals(),
        {
            "._audio_frames": (
                "AudioFrame",
                "BotStartedSpeakingFrame",
                "BotStoppedSpeakingFrame",
                "InputAudioFrame",
                "OutputAudioFrame",
                "UserStartedSpeakingFrame",
                "UserStoppedSpeakingFrame",
            ),
            "._metrics": (
                "LLMTokenUsage",
                "LLMUsageMetrics",
                "MetricsData",
                "ProcessingMetrics",
                "ProcessorMetrics",
                "STTUsageMetrics",
                "TTFBMetrics",
                "TTSUsageMetrics",
            ),
            "._pts": (
                "ReleaseAtPts",
                "StampPts",
            ),
        },
    )

__all__ = [
    "AudioFrame",
    "Block",
    "BotStartedSpeakingFrame",
    "BotStoppedSpeakingFrame",
    "CancelFrame",
    "CancelTaskFrame",
    "ControlFrame",
    "DataFrame",
    "Direction",
    "Each",
    "EndFrame",
    "EndTaskFrame",
    "ErrorFrame",
    "ErrorPolicy",
    "FlushMarker",
    "Frame",
    "FrameObserver",
    "FrameProcessor",
    "Frames",
    "Heartbeat",
    "HeartbeatFrame",
    "InputAudioFrame",
    "InterruptionFrame",
    "InterruptionTaskFrame",
    "LLMTokenUsage",
    "LLMUsageMetrics",
    "LaneStatistics",
    "LifecycleFrame",
    "MetricsData",
    "MetricsFrame",
    "NodeStatistics",
    "Out",
    "Output",
    "OutputAudioFrame",
    "ParallelPipeline",
    "PauseFrame",
    "PauseUrgentFrame",
    "Pipeline",
    "PipelineParams",
    "ProcessingMetrics",
    "ProcessorMetrics",
    "ReleaseAtPts",
    "ResumeFrame",
    "STTUsageMetrics",
    "StampPts",
    "StartFrame",
    "StopFrame",
    "StopTaskFrame",
    "Switchable",
    "SyncParallelPipeline",
    "SystemFrame",
    "TTFBMetrics",
    "TTSUsageMetrics",
    "TextFrame",
    "UnusablePolicy",
    "UserStartedSpeakingFrame",
    "UserStoppedSpeakingFrame",
    "check_frame",
    "deadline_of",
    "each",
    "made",
    "merge",
    "processor",
    "route",
    "tee",
    "with_deadline",
]
