"""Helpers for tests of pipelines and workers."""

from ._run import Received, run_pipeline, run_processor, running

__all__ = ["Received", "run_pipeline", "run_processor", "running"]
