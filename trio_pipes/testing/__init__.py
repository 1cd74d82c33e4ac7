"""Helpers for tests of pipelines and workers."""

from ._cancel import Attempt, cancel_at_every_checkpoint
from ._check_bus import check_bus
from ._check_processor import check_processor
from ._check_worker import check_worker
from ._faults import Fault, FaultyProcessor
from ._frame_codec import RecordingError
from ._frame_recorder import FrameRecorder
from ._leftovers import nothing_left
from ._recorder import Recorder
from ._recording import RecordedFrame, Recording, replay
from ._rules import RuleBroken
from ._run import Received, run_pipeline, run_processor, running
from ._slow_link import SlowLink

__all__ = [
    "Attempt",
    "Fault",
    "FaultyProcessor",
    "FrameRecorder",
    "Received",
    "RecordedFrame",
    "Recorder",
    "Recording",
    "RecordingError",
    "RuleBroken",
    "SlowLink",
    "cancel_at_every_checkpoint",
    "check_bus",
    "check_processor",
    "check_worker",
    "nothing_left",
    "replay",
    "run_pipeline",
    "run_processor",
    "running",
]
