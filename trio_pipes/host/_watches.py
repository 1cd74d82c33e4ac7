"""What goes on beside a pipeline while it is up: who is told of each frame, the idle watch, the heartbeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import trio

from trio_pipes.flow import Direction, FrameProcessor, MetricsFrame

from ._entrance import Entrance
from ._heartbeats import Heartbeats
from ._home import Home
from ._idle import IdleWatch, WatchedEntrance
from ._observers import Observers
from ._task_events import FrameWatchers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_pipes.flow._engine import Engine

__all__ = ["Watches"]


@final
class Watches:
    """The watches that the parameters of a task ask for."""

    def __init__(self, task: Any, engine: Engine, observers: Observers) -> None:
        self._task = task
        self._params = task.params
        self._engine = engine
        self._tell = observers.tell
        self._frames = FrameWatchers(engine, observers)
        observers.changed = self._frames.refresh
        self._idle: IdleWatch | None = None
        self._heartbeats: Heartbeats | None = None
        if self._params.idle_timeout is not None:
            self._idle = self._frames.idle = IdleWatch(self._params, self._frames.refresh, self._is_idle)
        if self._params.enable_heartbeats:
            self._heartbeats = Heartbeats(self._params, engine, task.clock, self._lost)
        self.refresh = self._frames.refresh

    def entrance(self, home: Home) -> Entrance:
        """The entrance of the task: where idling is watched it is a slower one."""
        settings = (self._task.name, self._params.queue_size, self._engine, home)
        return Entrance(*settings) if self._idle is None else WatchedEntrance(*settings, watch=self._idle)

    def begin(self, nursery: trio.Nursery, processors: Iterable[FrameProcessor]) -> None:
        """`StartFrame` has reached the sink."""
        for watch in (self._idle, self._heartbeats):
            if watch is not None:
                nursery.start_soon(watch.run)
        if self._params.enable_metrics and self._params.send_initial_empty_metrics:
            self._send_empty_metrics(processors)

    def end(self) -> None:
        """The run is over."""
        for watch in (self._idle, self._heartbeats):
            if watch is not None:
                watch.scope.cancel(reason=f"{self._task.name} is over")

    def _send_empty_metrics(self, processors: Iterable[FrameProcessor]) -> None:
        """Who will measure, with zeros: so that who draws them can make room."""
        names = [processor.name for processor in processors if processor.measures]
        from trio_pipes.flow import ProcessingMetrics, TTFBMetrics  # most programs measure nothing

        data = [kind(name, 0.0) for name in names for kind in (TTFBMetrics, ProcessingMetrics)]
        self._engine.graph.source.below.accept_urgent(MetricsFrame(data=data), Direction.DOWNSTREAM)

    def _is_idle(self) -> None:
        if self._engine.over:  # what still goes on is cleanup, which has a time of its own
            return
        self._tell("on_idle")
        if self._params.cancel_on_idle_timeout:
            self._task.cancel(f"idle for {self._params.idle_timeout:g} s")

    def _lost(self, stuck: str) -> None:
        self._tell("on_heartbeat_lost", stuck)
