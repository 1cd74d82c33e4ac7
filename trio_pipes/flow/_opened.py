"""`async with pipeline:` a block that holds the lifespans of processors open, round several runs.

# Whose the lifespans are.
#
# The block's: what was in the pipeline when it was entered is set up there and cleaned up when it is left, whatever
# ended the runs in between. A run only borrows them: its engine finds the processor held, enters nothing, and leaves
# nothing when it ends. What is not held (put into a slot later, or a part of a larger pipeline that was not opened)
# is the run's own, as ever.
#
# An error of a lifespan, or of what it has started, goes to the run that has borrowed it; without one it cancels the
# block. Refused: to close the processors at the first EndFrame, cancel or failure. Then what a block does would hang
# on how its last run went, and what is left of it would have to be an error.
#
# What set-up pushes before there is a run is kept, and waits behind the StartFrame of the first, as it would within
# a run. Between two runs pushes are late, and dropped, as they are after any run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio
from trio.lowlevel import checkpoint, current_trio_token

from trio_pipes._base import FloodError, SetupTimeout, check_instance

from ._check import check_frame
from ._frames import Direction, Frame
from ._params import PipelineParams
from ._setup import Lifespan, flat, wait_cleaned_up

if TYPE_CHECKING:
    from ._contracts import Run
    from ._node import Node

__all__ = ["Held", "Opened", "opened"]


class Openable(Protocol):
    """What a block asks of a processor."""

    name: str
    _node: Any
    _held_by_block: Any

    def _check_settings(self) -> None: ...

    def _lifespan_or_none(self) -> AbstractAsyncContextManager[None] | None: ...


class Held:
    """A processor that a block holds."""

    def __init__(self, processor: Openable, block: Opened) -> None:
        self.name = processor.name
        self.block = block
        self.lifespan: Lifespan | None = None
        self.node: Node | None = None  # in the run that has borrowed it
        self.given_back: trio.Event | None = None
        self.early: deque[tuple[Frame, Direction]] = deque()  # pushed before the first run
        self._processor = processor
        self._was_lent = False

    def open(self, manager: AbstractAsyncContextManager[None] | None) -> None:
        """It belongs to the block from now on."""
        if manager is not None:
            self.lifespan = Lifespan(self, manager, self.block)
        self._processor._node = None  # of a run before: set-up has none
        self._processor._held_by_block = self

    def close(self) -> None:
        """It is an ordinary processor again."""
        self._processor._held_by_block = None

    def note(self, exc: Exception, frame: Frame | None) -> None:
        """Write into an error where it happened, while no run was on."""
        exc.add_note(f"in processor {self.name!r}, of {self.block.name!r}")

    # -- what runs ask

    def check(self) -> None:
        """Raise `RuntimeError` where no run can borrow it."""
        block = f"the block `async with {self.block.name}`"
        if self.block.token is not current_trio_token():
            why = f"{block}, which is in another Trio run"
        elif self.block.closing:
            why = f"{block}, which is being left"
        elif self.lifespan is not None and self.lifespan.done.is_set():
            why = f"{block}, and its lifespan has failed there. Leave the block and enter it again"
        elif not self.block.ready:
            why = f"{block}, which is still being entered"
        else:
            return
        raise RuntimeError(f"{self.name!r} cannot run: it is held by {why}")

    def lend(self, node: Node) -> None:
        """A run takes it up."""
        self.check()
        self.node = node
        self.given_back = trio.Event()
        node.dormant = self._was_lent and self.lifespan is not None
        self._was_lent = True
        if self.lifespan is not None:
            self.lifespan.node, self.lifespan.holder = node, node.engine
        while self.early:
            node.push_kept(*self.early.popleft())

    def give_back(self) -> None:
        """The run is over."""
        assert self.given_back is not None
        self.node = None
        if self.lifespan is not None:
            self.lifespan.node, self.lifespan.holder = self, self.block
        self.given_back.set()

    async def keep(self, frame: Frame, direction: Direction) -> None:
        """A frame that is pushed before there is a run."""
        check_frame(frame, direction, self.name)
        self.early.append((frame, direction))
        if len(self.early) > self.block.params.lane_limit:
            limit = self.block.params.lane_limit
            raise FloodError(f"{self.name!r} has pushed more than lane_limit={limit} frames before a task runs it")
        await checkpoint()


class Opened:
    """The block: it holds processors, and what goes wrong while no run has them is its own error."""

    def __init__(self, name: str, processors: Iterable[Openable], params: PipelineParams) -> None:
        self.name = name
        self.params = params
        self.token = current_trio_token()
        self.ready = False
        self.closing = False
        self.errors: list[Exception] = []
        self.scope = trio.CancelScope()  # of the body
        self._processors = tuple(processors)
        self._held: list[Held] = []
        self._lifespans: list[Lifespan] = []

    def hold(self) -> None:
        """Take hold of all processors, or of none. Raises `RuntimeError` for one that is not free."""
        for processor in self._processors:
            held: Held | None = processor._held_by_block
            if held is not None:
                raise RuntimeError(
                    f"{self.name!r} cannot be opened: {processor.name!r} is held already by the block "
                    f"`async with {held.block.name}`"
                )
            node = processor._node
            if node is not None and not node.engine.done:
                raise RuntimeError(
                    f"{self.name!r} cannot be opened: {processor.name!r} is in {node.engine.name!r}, which is running. "
                    "Enter the block first, then run."
                )
            processor._check_settings()
        managers = [processor._lifespan_or_none() for processor in self._processors]
        for processor, manager in zip(self._processors, managers, strict=True):
            one = Held(processor, self)
            one.open(manager)
            self._held.append(one)
        self._lifespans = [held.lifespan for held in self._held if held.lifespan is not None]

    async def set_up(self, nursery: trio.Nursery) -> None:
        """Enter all lifespans at once."""
        began = trio.current_time()
        seconds = self.params.setup_timeout
        for lifespan in self._lifespans:
            nursery.start_soon(lifespan.run)
        with trio.move_on_after(seconds) as scope:
            for lifespan in self._lifespans:
                await lifespan.ready.wait()
        if scope.cancelled_caught:
            stuck = ", ".join(repr(one.node.name) for one in self._lifespans if not one.ready.is_set())
            raise SetupTimeout(
                f"{self.name}: set-up of {stuck} has not finished within setup_timeout "
                f"({seconds:g} s, since {began:.3f} s on Trio's clock)"
            )
        self.ready = True

    async def close(self, *, cancelled: bool) -> None:
        """Leave all lifespans, once no run has them any more."""
        self.closing = True
        with trio.CancelScope(shield=True):
            await self._end_runs(cancelled=cancelled)
            for lifespan in self._lifespans:
                lifespan.close(cancelled=cancelled)
            await wait_cleaned_up(self._lifespans, self)
        for held in self._held:
            held.close()

    async def _end_runs(self, *, cancelled: bool) -> None:
        runs: dict[Run, None] = dict.fromkeys(held.node.engine for held in self._held if held.node is not None)
        for run in runs:
            if run.over:
                continue
            if cancelled:
                run.cancel(f"the block `async with {self.name}` was cancelled or failed")
            else:
                run.fail(
                    RuntimeError(
                        f"the block `async with {self.name}` was left while {run.name!r} ran in it. End the run first."
                    )
                )
        for held in self._held:
            if held.node is not None and held.given_back is not None:
                await held.given_back.wait()

    def is_set_up(self, node: object, seconds: float) -> None:
        """There is no run yet that could tell of it."""

    def fail(self, exc: Exception) -> None:
        """A lifespan has failed while no run had it: the block is over."""
        self.errors.extend(flat(exc))
        self.closing = True
        self.scope.cancel(reason=f"{self.name} failed: {exc!r}")


@asynccontextmanager
async def opened(name: str, processors: Iterable[Openable], params: PipelineParams | None) -> AsyncIterator[None]:
    """The block round a `yield`. What goes wrong in it leaves it as it is, with errors of lifespans as a group."""
    check_instance(f"{name}.opened(params", params, PipelineParams, "PipelineParams(...)", optional=True)
    await checkpoint()
    block = Opened(name, processors, params or PipelineParams())
    block.hold()
    body: BaseException | None = None  # what leaves the body; the nursery would wrap it
    try:
        async with trio.open_nursery() as nursery:
            try:
                with block.scope:
                    await block.set_up(nursery)
                    yield
            except BaseException as exc:  # noqa: BLE001, ASYNC103 (raised below)
                body = exc
            await block.close(cancelled=body is not None or block.scope.cancel_called)
    except BaseException as exc:
        # A cancel from outside during set-up, or an interrupt from the keyboard: it goes on, beside what else went wrong.
        others = [body] if body is not None and not isinstance(body, trio.Cancelled) else []
        if block.errors or others:
            raise BaseExceptionGroup(f"{name} failed", [exc, *others, *block.errors]) from None  # noqa: ASYNC104
        raise
    if block.errors:
        together: list[BaseException] = [*block.errors] if body is None else [body, *block.errors]
        raise BaseExceptionGroup(f"{name} failed", together)
    if body is not None:
        try:
            raise body
        finally:
            del body  # its traceback has this frame
