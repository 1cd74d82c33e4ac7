"""`BridgedPipeline`: a pipeline that does its part in the pipelines of others, on whatever runner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from trio_pipes._base import FINITE, check_count, check_flag, check_iterable, check_name, check_number
from trio_pipes.flow import Direction, Frame, FrameProcessor, Pipeline

from ._far_end import FarEnd
from ._link import BridgeStatistics
from ._which import Which

if TYPE_CHECKING:
    from trio_pipes.flow._pipeline import Part

__all__ = ["BridgedPipeline"]


class _Top(FrameProcessor):
    """Where frames come in that go down, and leave that go up."""

    def __init__(self, end: FarEnd) -> None:
        super().__init__()
        self._end = end

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        async with self._end.opened(self.task):
            yield

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is Direction.UPSTREAM and await self._end.cross(frame, direction):
            return
        await self.push_frame(frame, direction)

    async def on_interrupt(self) -> None:
        self._end.interrupted()


class _Bottom(FrameProcessor):
    """Where frames leave that go down, and come in that go up."""

    def __init__(self, end: FarEnd) -> None:
        super().__init__()
        self._end = end

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        if direction is Direction.DOWNSTREAM and await self._end.cross(frame, direction):
            return
        await self.push_frame(frame, direction)


class BridgedPipeline(Pipeline):
    """Takes the frames of every `BusBridge` that names its task, and sends back what leaves it at either end.

    The task needs a name of its own: `PipelineTask(BridgedPipeline([...]), name="dialogue")`. `bridges`: the names of those
    `BusBridge`s whose frames it takes (none: of all). What leaves goes to every bridge that is open, if it is of `frames` and not
    of `exclude` (as at a `BusBridge`); while none is open it goes on to the sink. While it is not `active` it takes no frames and
    sends none. Its task takes `QueueFrameMessage`s too, while it is active.
    """

    def __init__(
        self,
        processors: Iterable[Part],
        *,
        bridges: Iterable[str] = (),
        active: bool = True,
        frames: type[Frame] | tuple[type[Frame], ...] | None = None,
        exclude: type[Frame] | tuple[type[Frame], ...] = (),
        window: int = 32,
        interrupts: bool = True,
        name: str | None = None,
    ) -> None:
        call = "BridgedPipeline("
        check_iterable(f"{call}processors", processors, "a list of processors: BridgedPipeline([a, b, c])")
        check_iterable(f"{call}bridges", bridges, "names of BusBridges")
        bridges = tuple(bridges)
        for bridge in bridges:
            check_name(f"{call}bridges", bridge, "names of BusBridges")
        check_flag(f"{call}active", active)
        check_flag(f"{call}interrupts", interrupts)
        check_count(f"{call}window", window, "a number of frames, at least 1")
        which = Which("BridgedPipeline", frames, exclude)
        end = self._end = FarEnd(self, which, bridges, active, window, interrupts)
        top, bottom = end.top, end.bottom = _Top(end), _Bottom(end)
        super().__init__([top, *processors, bottom], name=name)

    # -- to override

    async def on_activated(self, args: Any) -> None:
        """It is active: from the beginning, or because somebody activated it or handed over, with these arguments."""

    async def on_deactivated(self) -> None:
        """It is not active any more."""

    # -- who is active

    @property
    def is_active(self) -> bool:
        """Whether it takes frames."""
        return self._end.presence.activation.active

    @property
    def activation_args(self) -> Any:
        """What it was activated with; None while it is not active."""
        return self._end.presence.activation.args

    async def hand_over(self, name: str, args: Any = None, *, timeout: float = 10.0) -> None:
        """Be inactive at once, and have another task or worker be active in its place: as `BaseWorker.hand_over`.

        What has not left this pipeline by then does not any more.
        """
        self._check("hand_over", name, timeout)
        await self._end.presence.hand_over(name, args, timeout)

    async def activate_worker(self, name: str, args: Any = None, *, timeout: float = 10.0) -> bool:
        """Have another task or worker be active: as `BaseWorker.activate_worker`."""
        self._check("activate_worker", name, timeout)
        return await self._end.presence.activate(name, args, timeout)

    async def deactivate_worker(self, name: str, *, timeout: float = 10.0) -> bool:
        """Have another task or worker be inactive: as `BaseWorker.deactivate_worker`."""
        self._check("deactivate_worker", name, timeout)
        return await self._end.presence.deactivate(name, timeout)

    def _check(self, call: str, name: str, timeout: float) -> None:
        check_name(f"{self.name}.{call}(name", name, "the name of a worker")
        check_number(f"{self.name}.{call}(timeout", timeout, "a number of seconds above 0", above=True, most=FINITE)
        if not self._end.is_open:
            raise RuntimeError(f"{self.name}.{call}() works only while a task runs it")

    def bridge_statistics(self) -> BridgeStatistics:
        """What has crossed at its ends, up to this moment."""
        return attrs.evolve(self._end.counts)
