"""Frames that only voice processors know."""

from __future__ import annotations

import attrs

from trio_pipes.flow import DataFrame

__all__ = ["TranscriptionFrame"]


@attrs.define(eq=False)
class TranscriptionFrame(DataFrame):
    """What the user said. It survives an interrupt: what was said counts, also when the user goes on speaking."""

    text: str
    """The words, in lower case; empty when no word was recognised."""
    confidence: float = 1.0
    """From 0 to 1: how much of the speech the words account for. The rest sounded like something else."""
    stopped_at: float | None = None
    """When the last sound of it was heard, in seconds on Trio's clock."""
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)
