"""Synchronous functions in a row, compiled into one.

A row of plain functions needs no coroutine, no queue and no task: a frame is handed from one to the next.
An interpreted loop over them pays for the loop and a type check at each; so, as attrs does for `__init__`,
the row is written out as source once for each length, and bound for each class of frame that comes: the
functions that take such a frame, called one after the other. That holds as long as each returns a frame of
the class it got; anything else (nothing, several frames, another class) leaves the fast path at that place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, closing
from functools import cache
from typing import Any, Protocol

import trio

from ._frames import LIFECYCLE, URGENT, Frame
from ._turn import FRAMES_A_TURN

__all__ = ["Chain"]

# A frame, nothing, or several of both: a None among several is one that was dropped, so that whoever reads on and
# on can let others have a turn.
Result = Frame | Generator[Frame | None] | None


class Link(Protocol):
    """One function of a row: its node."""

    types: tuple[type[Frame], ...]
    chain: Chain
    chaining: bool
    attention: bool
    generating: bool
    iterating: bool
    leaving: bool
    returning: Any
    push: Callable[..., Awaitable[None]]

    @property
    def function(self) -> Callable[[Frame], Any]: ...

    quick: int
    open: int

    async def stop_reading(self) -> bool: ...

    async def give_way(self) -> None: ...

    def look_up(self) -> None: ...

    def failed(self, exc: Exception, frame: Frame | None) -> None: ...

    def emit_special(self, frame: Frame) -> None: ...

    def frames_of(self, results: object, frame: Frame) -> Generator[Frame]: ...


@cache
def _template(length: int) -> Callable[..., Callable[[Frame], Result]]:
    """`bind(C, odd, fail, f0, f1, ...)`, which gives the function for frames of class `C`."""
    functions = [f"f{i}" for i in range(length)]
    lines = [f"def bind({', '.join(['C', 'odd', 'fail', *functions])}):", "    def run(x0):"]
    for i in range(length):
        lines += [
            "        try:",
            f"            x{i + 1} = f{i}(x{i})",
            "        except Exception as exc:",
            f"            return fail({i}, x{i}, exc)",
            f"        if x{i + 1}.__class__ is not C:",
            f"            return odd({i}, x{i + 1}, x{i})",
        ]
    lines += [f"        return x{length}", "    return run"]
    namespace: dict[str, Any] = {}
    exec("\n".join(lines), namespace)
    bind: Callable[..., Callable[[Frame], Result]] = namespace["bind"]
    return bind


class Chain:
    """A row of function nodes; `run_for[type(frame)]` runs a frame through it.

    The result is a frame, None, or an iterator of frames that has not run yet.
    """

    __slots__ = ("_lock", "busy", "nodes", "put", "run_for")

    put: Callable[[Frame], bool]
    """Puts a frame below the row at once, or gives False where that has to wait."""

    def __init__(self, nodes: Sequence[Link]) -> None:
        self.nodes = nodes
        self.busy = 0  # who is pushing several frames, and who waits until these are through
        self._lock = trio.Lock()
        self.run_for: dict[type, Callable[[Frame], Result]] = _Learning(self.learn)

    def learn(self, frame_class: type) -> Callable[[Frame], Result]:
        """Compile the row for a class of frame."""
        taking = [i for i, node in enumerate(self.nodes) if issubclass(frame_class, node.types)]

        def odd(i: int, result: object, frame: Frame) -> Result:
            return self._after(taking[i], result, frame)

        def fail(i: int, frame: Frame, exc: Exception) -> None:
            self.nodes[taking[i]].failed(exc, frame)

        return _template(len(taking))(frame_class, odd, fail, *(self.nodes[i].function for i in taking))

    async def push_result(self, result: Result) -> None:
        """Push what came out of the row."""
        head, tail = self.nodes[0], self.nodes[-1]
        tail.quick = tail.open
        if isinstance(result, Frame):
            await tail.push(result)
        elif result is not None:
            head.chaining = True
            try:
                await self.push_each(result, head)
            finally:
                head.chaining = False
                if head.attention:
                    head.look_up()

    async def push_each(self, results: Generator[Frame | None], reader: Link) -> None:
        """Push several frames; nobody else's come between. `reader` is the node whose handler waits for it."""
        asked, reader.attention = reader.attention, False  # by a function above these: what comes of its frame is new
        try:
            with closing(results):
                async with self.in_turn():
                    await self._push_each(results, reader)
        finally:
            reader.attention = reader.attention or asked

    async def _push_each(self, results: Generator[Frame | None], reader: Link) -> None:
        dropped = 0
        for frame in results:
            if frame is not None:
                await self.nodes[-1].push(frame)
            else:
                dropped += 1
                if dropped % FRAMES_A_TURN == 0:
                    await reader.give_way()
            if reader.attention and await reader.stop_reading():
                return
        if reader.returning is not None:
            reader.attention = True  # a function asked for an interrupt, and what it gives has ended

    async def push_in_turn(self, frame: Frame) -> None:
        """Run a frame through the row and push what comes out, when those before it have done so."""
        async with self.in_turn():
            result = self.run_for[frame.__class__](frame)
            if isinstance(result, Frame):
                await self.nodes[-1].push(result)
            elif result is not None:
                with closing(result):
                    await self._push_each(result, self.nodes[0])

    @asynccontextmanager
    async def in_turn(self) -> AsyncIterator[None]:
        """One at a time, in order. While somebody is in here, or waits to be, others have to come this way too."""
        self.busy += 1
        try:
            async with self._lock:
                yield
        finally:
            self.busy -= 1

    def _after(self, i: int, result: object, frame: Frame) -> Result:
        """What comes out of the row when the function at `i` returned something out of the ordinary for `frame`."""
        if result is None:
            return None
        if not isinstance(result, Frame):
            return self._each_of(i, result, frame)
        if result._lane in (LIFECYCLE, URGENT):
            self.nodes[i].emit_special(result)
            return None
        if i + 1 == len(self.nodes):
            return result
        run = self.nodes[i + 1].chain.run_for[result.__class__]
        return run(result)

    def _each_of(self, i: int, results: object, frame: Frame) -> Generator[Frame | None]:
        node = self.nodes[i]
        items = node.frames_of(results, frame)
        node.iterating, node.leaving = True, False
        try:
            while not node.leaving:
                node.generating = True
                try:
                    item = next(items, None)
                finally:
                    node.generating = False
                if item is None:
                    return
                result = self._after(i, item, item)
                if result is None or isinstance(result, Frame):
                    yield result
                else:
                    yield from result
        finally:
            node.iterating = False
            items.close()


class _Learning(dict[type, Callable[[Frame], Result]]):
    def __init__(self, learn: Callable[[type], Callable[[Frame], Result]]) -> None:
        self._learn = learn

    def __missing__(self, frame_class: type) -> Callable[[Frame], Result]:
        run = self[frame_class] = self._learn(frame_class)
        return run
