"""A processor that tells when nothing has come for some time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, final

import trio

from trio_pipes._base import FINITE, check_function, check_number, refuse
from trio_pipes.flow._frames import LIFECYCLE, DataFrame, Direction, EndFrame, Frame, StartFrame, StopFrame

from ._beside import WorksBeside
from ._which import check_frame_types

__all__ = ["IdleFrameProcessor"]

FORM = "a function of the processor: def f(processor: IdleFrameProcessor) -> None"


@final
class IdleFrameProcessor(WorksBeside):
    """Calls `on_idle`, with itself, each time `timeout` seconds pass without a frame of `types`, in either direction.

    It may be sync or async, and push frames. The time runs from `StartFrame`, from each such frame, and from
    its return; it is not called while it is still at work. It ends with the run: nothing is called after
    `EndFrame`, and what is still at work then is cancelled. An error in it is this processor's error.
    """

    timeout: float
    types: tuple[type[Frame], ...]

    def __init__(
        self,
        timeout: float,
        on_idle: Callable[[IdleFrameProcessor], Awaitable[object]] | Callable[[IdleFrameProcessor], object],
        *,
        types: type[Frame] | tuple[type[Frame], ...] = (DataFrame,),
        name: str | None = None,
    ) -> None:
        super().__init__(name, inline=True)
        expected = "a finite number of seconds above 0"
        check_number("IdleFrameProcessor(timeout", timeout, expected, above=True, most=FINITE)
        check_function("IdleFrameProcessor(on_idle", on_idle, FORM, "processor")
        self.types = check_frame_types("IdleFrameProcessor(types", types)
        if any(t._lane == LIFECYCLE for t in self.types):
            raise refuse(
                "IdleFrameProcessor(types",
                types,
                "data, control or system frames: what the engine carries does not count",
            )
        self.timeout = timeout
        self._on_idle: Callable[[IdleFrameProcessor], Any] = on_idle
        self._seen = 0.0  # seconds on Trio's clock

    async def process_frame(self, frame: Frame, direction: Direction) -> None:
        """Note when a frame comes, and pass it on."""
        if frame._lane != LIFECYCLE:
            if isinstance(frame, self.types):
                self._seen = trio.current_time()
        elif isinstance(frame, StartFrame):
            self._begin_work(self._watch)
        elif isinstance(frame, EndFrame | StopFrame):
            self._end_work()
        await self.push_frame(frame, direction)

    async def _watch(self) -> None:
        self._seen = trio.current_time()
        while True:
            due = self._seen + self.timeout
            if trio.current_time() < due:
                await trio.sleep_until(due)
                continue
            before = self._seen
            try:
                result = self._on_idle(self)
                if isinstance(result, Awaitable):
                    result = await result
                if isinstance(result, Frame):
                    raise TypeError(
                        f"on_idle of {self.name!r} gave {result.name}, expected it to push the frame itself"
                    )
            except Exception as exc:  # noqa: BLE001  (handed on: it fails the task or becomes an ErrorFrame)
                self._report(exc)
            if self._seen == before:  # the time in it counts only from a frame that came meanwhile
                self._seen = trio.current_time()
