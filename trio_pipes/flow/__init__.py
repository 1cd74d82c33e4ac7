"""Frames flow through processors; processors make a pipeline."""

from ._audio_frames import (
    AudioFrame,
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    InputAudioFrame,
    OutputAudioFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
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
from ._statistics import LaneStatistics, NodeStatistics

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
    "HeartbeatFrame",
    "InputAudioFrame",
    "InterruptionFrame",
    "InterruptionTaskFrame",
    "LaneStatistics",
    "LifecycleFrame",
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
    "ResumeFrame",
    "StartFrame",
    "StopFrame",
    "StopTaskFrame",
    "SystemFrame",
    "TextFrame",
    "UnusablePolicy",
    "UserStartedSpeakingFrame",
    "UserStoppedSpeakingFrame",
    "check_frame",
    "deadline_of",
    "each",
    "made",
    "processor",
    "with_deadline",
]
