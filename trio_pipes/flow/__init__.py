"""Frames flow through processors; processors make a pipeline."""

from typing import TYPE_CHECKING

from trio_pipes._base import on_first_access

from ._block import Block, Frames, Out, processor
from ._check import check_frame
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
from ._watch import FrameWatch

if TYPE_CHECKING:
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
    from ._measured import DurationStatistics, MetricsStatistics
    from ._metrics import ProcessorMetrics
    from ._metrics_records import (
        LLMTokenUsage,
        LLMUsageMetrics,
        MetricsData,
        ProcessingMetrics,
        STTUsageMetrics,
        TTFBMetrics,
        TTSUsageMetrics,
    )
    from ._pts import ReleaseAtPts, StampPts
    from ._ready._aggregated import AggregatedTextFrame
    from ._ready._filters import FrameFilter, FunctionFilter, IdentityFilter, NullFilter
    from ._ready._frame_logger import FrameLogger
    from ._ready._gates import FrameGate, NotifierGate
    from ._ready._idle_processor import IdleFrameProcessor
    from ._ready._markdown import strip_markdown
    from ._ready._notifiers import FrameNotifier
    from ._ready._pattern_pairs import PatternAction, PatternMatch, PatternPair, PatternPairAggregator
    from ._ready._producer import Consumer, Producer
    from ._ready._sentence_aggregator import SentenceAggregator, SkipTagsAggregator
    from ._ready._sentences import sentence_end
    from ._ready._switch_frames import ServiceSwitchedFrame, SwitchServiceFrame
    from ._ready._switch_strategies import Failover, SwitchStrategy
    from ._ready._switcher import ServiceSwitcher
    from ._ready._tap import Tap
    from ._ready._text_transformer import TextTransformer
    from ._ready._wake import WakePhraseFilter
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
                "UserTurnStartedFrame",
                "UserTurnStoppedFrame",
            ),
            "._measured": ("DurationStatistics", "MetricsStatistics"),
            "._metrics": ("ProcessorMetrics",),
            "._metrics_records": (
                "LLMTokenUsage",
                "LLMUsageMetrics",
                "MetricsData",
                "ProcessingMetrics",
                "STTUsageMetrics",
                "TTFBMetrics",
                "TTSUsageMetrics",
            ),
            "._pts": (
                "ReleaseAtPts",
                "StampPts",
            ),
            "._ready._aggregated": ("AggregatedTextFrame",),
            "._ready._filters": (
                "FrameFilter",
                "FunctionFilter",
                "IdentityFilter",
                "NullFilter",
            ),
            "._ready._frame_logger": ("FrameLogger",),
            "._ready._gates": (
                "FrameGate",
                "NotifierGate",
            ),
            "._ready._idle_processor": ("IdleFrameProcessor",),
            "._ready._notifiers": ("FrameNotifier",),
            "._ready._pattern_pairs": ("PatternAction", "PatternMatch", "PatternPair", "PatternPairAggregator"),
            "._ready._producer": ("Consumer", "Producer"),
            "._ready._sentence_aggregator": ("SentenceAggregator", "SkipTagsAggregator"),
            "._ready._sentences": ("sentence_end",),
            "._ready._tap": ("Tap",),
            "._ready._markdown": ("strip_markdown",),
            "._ready._switch_frames": (
                "ServiceSwitchedFrame",
                "SwitchServiceFrame",
            ),
            "._ready._switch_strategies": (
                "Failover",
                "SwitchStrategy",
            ),
            "._ready._switcher": ("ServiceSwitcher",),
            "._ready._text_transformer": ("TextTransformer",),
            "._ready._wake": ("WakePhraseFilter",),
        },
    )

__all__ = [
    "AggregatedTextFrame",
    "AudioFrame",
    "Block",
    "BotStartedSpeakingFrame",
    "BotStoppedSpeakingFrame",
    "CancelFrame",
    "CancelTaskFrame",
    "Consumer",
    "ControlFrame",
    "DataFrame",
    "Direction",
    "DurationStatistics",
    "Each",
    "EndFrame",
    "EndTaskFrame",
    "ErrorFrame",
    "ErrorPolicy",
    "Failover",
    "FlushMarker",
    "Frame",
    "FrameFilter",
    "FrameGate",
    "FrameLogger",
    "FrameNotifier",
    "FrameProcessor",
    "FrameWatch",
    "Frames",
    "FunctionFilter",
    "Heartbeat",
    "HeartbeatFrame",
    "IdentityFilter",
    "IdleFrameProcessor",
    "InputAudioFrame",
    "InterruptionFrame",
    "InterruptionTaskFrame",
    "LLMTokenUsage",
    "LLMUsageMetrics",
    "LaneStatistics",
    "LifecycleFrame",
    "MetricsData",
    "MetricsFrame",
    "MetricsStatistics",
    "NodeStatistics",
    "NotifierGate",
    "NullFilter",
    "Out",
    "Output",
    "OutputAudioFrame",
    "ParallelPipeline",
    "PatternAction",
    "PatternMatch",
    "PatternPair",
    "PatternPairAggregator",
    "PauseFrame",
    "PauseUrgentFrame",
    "Pipeline",
    "PipelineParams",
    "ProcessingMetrics",
    "ProcessorMetrics",
    "Producer",
    "ReleaseAtPts",
    "ResumeFrame",
    "STTUsageMetrics",
    "SentenceAggregator",
    "ServiceSwitchedFrame",
    "ServiceSwitcher",
    "SkipTagsAggregator",
    "StampPts",
    "StartFrame",
    "StopFrame",
    "StopTaskFrame",
    "SwitchServiceFrame",
    "SwitchStrategy",
    "Switchable",
    "SyncParallelPipeline",
    "SystemFrame",
    "TTFBMetrics",
    "TTSUsageMetrics",
    "Tap",
    "TextFrame",
    "TextTransformer",
    "UnusablePolicy",
    "UserStartedSpeakingFrame",
    "UserStoppedSpeakingFrame",
    "UserTurnStartedFrame",
    "UserTurnStoppedFrame",
    "WakePhraseFilter",
    "check_frame",
    "deadline_of",
    "each",
    "made",
    "merge",
    "processor",
    "route",
    "sentence_end",
    "strip_markdown",
    "tee",
    "with_deadline",
]
