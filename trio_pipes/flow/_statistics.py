"""What `statistics()` of a processor gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ._contracts import Works
    from ._lane import Lane
    from ._measured import MetricsStatistics

__all__ = ["LaneStatistics", "NodeStatistics", "lane_statistics", "metrics_statistics"]


@attrs.frozen
class LaneStatistics:
    """One lane of a processor."""

    buffered: int
    """Frames accepted and not yet handled."""
    peak_buffered: int
    """The largest `buffered` of this run."""


@attrs.frozen
class NodeStatistics:
    """What `processor.statistics()` gives."""

    name: str
    downstream: LaneStatistics
    upstream: LaneStatistics
    urgent_downstream: LaneStatistics
    urgent_upstream: LaneStatistics
    waiting: int
    """Pushers that wait for room in the downstream lane."""
    handling: str | None
    """Name of the ordered frame in hand, or None."""
    stale_dropped: int
    """Frames that interrupts discarded here, queued or pushed by a handler that was being stopped."""
    late_dropped: int
    """Frames pushed down behind the end of the run, or while it was being torn down."""
    in_flight: int = 0
    """With `each(concurrency=...)`: frames taken of which not everything has been handed on."""
    paused: bool = False
    unusable: str | None = None
    """Why it is unusable, or None."""
    metrics: MetricsStatistics | None = None
    """What it has measured in this run; None: nothing."""


def lane_statistics(lane: Lane | None) -> LaneStatistics:
    """Of a lane that may not have been needed yet."""
    return LaneStatistics(0, 0) if lane is None else LaneStatistics(len(lane.q), lane.peak)


def metrics_statistics(processor: Works, node: object) -> MetricsStatistics | None:
    """What a processor has measured in the run in which it has this node."""
    known = getattr(processor, "_metrics", None)
    return known[1].statistics() if known is not None and known[0] is node else None
