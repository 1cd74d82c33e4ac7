"""Helpers for tests of pipelines and workers."""

from ._cancel import Attempt, cancel_at_every_checkpoint
from ._check_processor import check_processor
from ._leftovers import nothing_left
from ._rules import RuleBroken
from ._run import Received, run_pipeline, run_processor, running

__all__ = [
    "Attempt",
    "Received",
    "RuleBroken",
    "cancel_at_every_checkpoint",
    "check_processor",
    "nothing_left",
    "run_pipeline",
    "run_processor",
    "running",
]
