"""The frame of a text that was put together of pieces and is a unit."""

from __future__ import annotations

import attrs

from trio_pipes.flow._frames import TextFrame

__all__ = ["AggregatedTextFrame"]


@attrs.define(eq=False)
class AggregatedTextFrame(TextFrame):
    """A text that is a unit: aggregators put nothing to it, and take nothing away."""

    kind: str = ""
    """What it is, such as the name of the pattern that it matched."""
