"""The outputs of a task: channels of what reaches an end of its pipeline."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import trio

from trio_pipes._base import ConfigurationError, are_classes, check_count, check_instance
from trio_pipes.flow import Direction, Frame, Output

if TYPE_CHECKING:
    from trio_pipes.flow._graph import Graph

__all__ = ["Outputs"]


@final
class Outputs:
    """The outputs that are open at both ends."""

    def __init__(self, name: str, graph: Graph) -> None:
        self._name = name
        self._graph = graph
        self._over = False

    @asynccontextmanager
    async def open(
        self, types: tuple[type[Frame], ...], buffer: float, direction: Direction
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Frame]]:
        """One more, while the block lasts; at its end at once when the run is over."""
        call = f"{self._name}.open_output"
        if not are_classes(types, Frame):
            raise ConfigurationError(f"{call} was given {types!r}, expected frame classes")
        if buffer != math.inf:
            check_count(f"{call}(buffer", buffer, "a number of frames, 0 or more, or math.inf", least=0)
        check_instance(f"{call}(direction", direction, Direction, "a member of Direction")
        send, receive = trio.open_memory_channel[Frame](buffer)
        output = Output(types or (Frame,), send)
        end = self._graph.sink if direction is Direction.DOWNSTREAM else self._graph.source
        if self._over:
            send.close()
        else:
            end.outputs.append(output)
        try:
            with receive:
                yield receive
        finally:
            end.close(output)

    def close(self) -> None:
        """The run is over: what is buffered stays readable."""
        self._over = True
        for end in (self._graph.sink, self._graph.source):
            for output in tuple(end.outputs):
                end.close(output)
