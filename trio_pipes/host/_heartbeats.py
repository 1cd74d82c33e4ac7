"""Heartbeats: frames that a task sends down at intervals, to notice when the pipeline does not move any more.

They go in behind what the first processor has queued, past the push channel: who queues frames has no part in it.
The engine carries them, so what arrives late is what is slow, and never what was dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

import trio

from trio_pipes.flow import Heartbeat, PipelineParams

from ._clock import BaseClock

if TYPE_CHECKING:
    from trio_pipes.flow._engine import Engine

__all__ = ["Heartbeats"]

logger = logging.getLogger("trio_pipes")

# A pipeline that stands still for a day must not fill up with heartbeats; as many as this tell the same.
UNDER_WAY: Final = 1000


@final
class Heartbeats:
    """Sends them while the pipeline is up, and tells when none has come through for too long."""

    def __init__(self, params: PipelineParams, engine: Engine, clock: BaseClock, lost: Callable[[str], None]) -> None:
        self.scope = trio.CancelScope()
        self._period = params.heartbeat_period
        self._timeout = params.heartbeat_timeout
        self._most = max(1, min(UNDER_WAY, params.lane_limit // 2))
        self._engine = engine
        self._clock = clock
        self._tell = lost
        self._under_way = 0
        self._arrived_at = 0.0
        self._lost = False

    async def run(self) -> None:
        """Until the last frame goes down: from then on `end_timeout` watches."""
        with self.scope:
            now = self._arrived_at = trio.current_time()
            next_one = now
            while self._engine.last is None and not self._engine.over:
                if now >= next_one:
                    self._send()
                    next_one = now + self._period
                if not self._lost and now >= self._arrived_at + self._timeout:
                    self._has_lost()
                due = next_one if self._lost else min(next_one, self._arrived_at + self._timeout)
                await trio.sleep_until(due)
                now = trio.current_time()

    def _send(self) -> None:
        if self._under_way < self._most:
            self._under_way += 1
            beat = Heartbeat(timestamp=self._clock.get_time(), reached=self._arrived)
            self._engine.graph.first.inbox.enqueue((beat,))

    def _arrived(self) -> None:
        self._under_way -= 1
        self._arrived_at = trio.current_time()
        self._lost = False

    def _has_lost(self) -> None:
        self._lost = True
        stuck = self._engine._who_is_stuck()
        logger.warning(
            "%s: no heartbeat has reached the sink for %g s: %s",
            self._engine.name,
            trio.current_time() - self._arrived_at,
            stuck,
        )
        self._tell(stuck)
