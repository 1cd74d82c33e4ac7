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
    StartFrame,
    StopFrame,
    StopTaskFrame,
    SystemFrame,
    TextFrame,
)
from ._params import ErrorPolicy, PipelineParams
from ._pipeline import ParallelPipeline, Pipeline, made
from ._processor import FrameProcessor
from ._shapes import SyncParallelPipeline, merge, route, tee
from ._statistics import LaneStatistics, NodeStatistics
from ._switchable import Switchable

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
    "Pipeline",
    "PipelineParams",
    "StartFrame",
    "StopFrame",
    "StopTaskFrame",
    "Switchable",
    "SyncParallelPipeline",
    "SystemFrame",
    "TextFrame",
    "UserStartedSpeakingFrame",
    "UserStoppedSpeakingFrame",
    "check_frame",
    "each",
    "made",
    "merge",
    "processor",
    "route",
    "tee",
]
