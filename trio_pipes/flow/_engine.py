"""The engine: one run of one pipeline, from set-up to cleanup.

# The life of a run.
#
#   set up       every lifespan is entered, every block runs to its loop; all at once, within setup_timeout
#   start        StartFrame goes down; each node handles nothing before it; within start_timeout
#   run          nodes serve; frames are fed in at the top
#   end          the last frame goes down behind everything accepted; when it has reached the sink, no lane
#                holds a frame and no handler runs, the nursery is closed
#   clean up     lifespans are left, shielded, within cleanup_timeout
#
# A cancel or an error leaves from wherever it is to "clean up". There are two nurseries, one in the other: the
# inner has the handlers, so that they have ended when the lifespans in the owner's, the outer one, are left.
#
# Handlers never raise into each other. An error is kept here with its note, the scope is cancelled, and what
# was kept leaves `run()` as one group: flat, whether it came from a processor, its background work or cleanup.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.lowlevel import Task, current_task

from trio_pipes._base import EndTimeout, FloodError, PipesError, SetupTimeout, StartTimeout

from ._block_node import BlockNode
from ._frames import EndFrame, ErrorFrame, Frame, PauseUrgentFrame, ResumeFrame, StartFrame, StopFrame
from ._graph import Graph
from ._interrupt import interrupt_all, lane_of
from ._pause import BY_CALL, add_pause, end_pauses, remove_pause
from ._pool import Pool
from ._setup import Lifespan, flat, wait_cleaned_up
from ._turn import turn_of_this_run

if TYPE_CHECKING:
    from ._contracts import Owner
    from ._lane import Lane
    from ._node import Node
    from ._opened import Held
    from ._params import PipelineParams
    from ._turn import Turn
    from ._watch import FrameWatch

__all__ = ["Engine"]

logger = logging.getLogger("trio_pipes")

# A handler that keeps Trio's loop from turning for longer than this (seconds) is named in a warning. Half a
# second is an audible gap in anybody's audio, and far above what a loaded machine adds.
STALL: Final = 0.5


class Engine:
    """One run of one pipeline."""

    turn: Turn
    pool: Pool
    nursery: trio.Nursery
    """Of the handlers."""
    outer: trio.Nursery
    """Of the lifespans."""

    def __init__(self, graph: Graph, params: PipelineParams, owner: Owner) -> None:
        self.graph = graph
        self.params = params
        self.owner = owner
        self.name = owner.name
        self.nodes = graph.nodes
        self.start = StartFrame()
        self.last: EndFrame | StopFrame | None = None
        self.observed: FrameWatch | None = None
        self.over = False  # cancelled, failed or torn down: pushes do nothing any more
        self.running = False  # handlers may run
        self._attached = False  # the nodes are wired
        self.has_nodes = False  # and they have been, so there is something to count
        self.done = False  # everything is torn down
        self.lanes: dict[Task, Lane] = {}  # the lanes that are served, by the task that does
        self.broken_off = False  # it has not come to its end
        self._lifespans: list[Lifespan] = []
        self._borrowed: list[Held] = []  # processors that a block holds open
        self._errors: list[Exception] = []
        self._verdict: PipesError | None = None  # what the engine itself has against this run
        self._started = trio.Event()
        self._on_started: Callable[[], None] = lambda: None
        self._ending = trio.Event()
        self._last_at_sink = False
        self._quiet = trio.Event()
        self._when_idle: list[Callable[[], bool]] = []  # asked at such a moment, until one has set something going

    # -- the run

    async def run(self, outer: trio.Nursery, feed: Callable[[], None], on_started: Callable[[], None]) -> None:
        """Run to the end; lifespans are held open in `outer`, and `feed` is called when frames may come.

        Raises what went wrong: the engine's own verdict alone, or a group of all errors.
        """
        self.outer = outer
        self._on_started = on_started
        with turn_of_this_run() as self.turn:
            self.graph.attach(self)
            self._attached = self.has_nodes = True
            # One works, and one comes to see whether it is held up; where only one lane is ever busy, nobody need wait
            # for that.
            self.pool = Pool(self, spare=2 if sum(node.has_own_lane for node in self.nodes) > 1 else 1)
            try:
                await self._run(feed)
            except Exception as exc:  # noqa: BLE001  (kept, and raised below)
                self._errors.extend(flat(exc))
            except BaseException as exc:
                # A cancel from outside, or an interrupt from the keyboard: it goes on, beside what else went wrong.
                if self._errors or self._verdict:
                    both = [exc, *self._all_errors()]
                    raise BaseExceptionGroup(f"{self.name} failed", both) from None  # noqa: ASYNC104
                raise
            finally:
                self.over = True
                self.running = self._attached = False
                self.done = True
                for node in self.nodes:
                    node.inbox.let_go()
                self.graph.detach()
                for held in self._borrowed:
                    held.give_back()
        if self._errors:
            raise ExceptionGroup(f"{self.name} failed", self._all_errors())
        if self._verdict:
            raise self._verdict

    def _all_errors(self) -> list[Exception]:
        return [self._verdict, *self._errors] if self._verdict else self._errors

    async def _run(self, feed: Callable[[], None]) -> None:
        self.broken_off = True  # until the end is reached
        try:
            async with trio.open_nursery() as self.nursery:
                try:
                    await self._set_up()
                    await self._start(feed)
                    await self._end()
                    self.broken_off = False
                finally:
                    self.stop_pushes()  # before the nursery is closed to new tasks
                self.pool.dismiss()
                self.nursery.cancel_scope.cancel(reason=f"{self.name} has ended")
        finally:
            if self.broken_off:
                self.owner.broken_off()
            if self._lifespans:
                for lifespan in self._lifespans:
                    lifespan.close(cancelled=self.broken_off)
                await wait_cleaned_up(self._lifespans, self)  # noqa: ASYNC102  (shielded there)

    def enter(self, nodes: Iterable[Node]) -> dict[Node, trio.Event]:
        """Begin the set-up of nodes; gives an event for each that has any."""
        waiting: dict[Node, trio.Event] = {}
        for node in nodes:
            if isinstance(node, BlockNode):
                waiting[node] = node.ready
                node.engine.spawn(node.run_body)
            held = node.processor._held_by_block
            if held is not None:
                held.lend(node)
                self._borrowed.append(held)
                continue
            manager = node.processor._lifespan_or_none()
            if manager is not None:
                lifespan = Lifespan(node, manager, node.engine)
                self._lifespans.append(lifespan)
                waiting[node] = lifespan.ready
                self.outer.start_soon(lifespan.run)
        return waiting

    async def leave(self, nodes: Container[object], *, cancelled: bool) -> None:
        """Leave the lifespans of nodes that the run goes on without, and wait for their cleanup."""
        leaving = [lifespan for lifespan in self._lifespans if lifespan.node in nodes]
        for lifespan in leaving:
            lifespan.close(cancelled=cancelled)
        for lifespan in leaving:
            await lifespan.done.wait()
            self._lifespans.remove(lifespan)
        for held in [held for held in self._borrowed if held.node in nodes]:
            self._borrowed.remove(held)
            held.give_back()

    async def _set_up(self) -> None:
        began = trio.current_time()
        waiting = self.enter(self.nodes)
        if not waiting:
            return
        with trio.move_on_after(self.params.setup_timeout) as scope:
            for ready in waiting.values():
                await ready.wait()
        if scope.cancelled_caught:
            stuck = [node for node, ready in waiting.items() if not ready.is_set()]
            error = SetupTimeout(
                f"{self.name}: set-up of {', '.join(repr(node.name) for node in stuck)} has not finished within "
                f"setup_timeout ({self.params.setup_timeout:g} s, since {began:.3f} s on Trio's clock)"
            )
            if not all(node.engine.loses(node, error, None) for node in stuck):
                await self._give_up(error)

    async def _start(self, feed: Callable[[], None]) -> None:
        self.running = True
        first = self.graph.first.inbox
        first.limit = first.bound  # unlike those below it, it may make its pushers wait before StartFrame is handled
        first.put(self.start)
        feed()
        with trio.move_on_after(self.params.start_timeout) as scope:
            await self._started.wait()
        if scope.cancelled_caught:
            await self._give_up(
                StartTimeout(
                    f"{self.name}: StartFrame has not reached the sink within start_timeout "
                    f"({self.params.start_timeout:g} s): {self._who_is_stuck()}"
                )
            )

    async def _end(self) -> None:
        await self._ending.wait()
        timeout = self.params.end_timeout
        if timeout is None:
            await self._quiet.wait()
            return
        with trio.move_on_after(timeout) as scope:
            await self._quiet.wait()
        if scope.cancelled_caught:
            await self._give_up(
                EndTimeout(f"{self.name} has not ended within end_timeout ({timeout:g} s): {self._who_is_stuck()}")
            )

    async def _give_up(self, verdict: PipesError) -> None:
        self._verdict = self._verdict or verdict
        self.cancel(str(verdict))
        await trio.sleep_forever()

    # -- what the owner asks

    def end_behind(self, last: EndFrame | StopFrame) -> None:
        """Send the last frame down, behind everything that was fed in."""
        self.last = last
        self.graph.first.inbox.enqueue((last,))  # as what was queued in this pass: an interrupt counts from behind

    def ending(self) -> None:
        """The end was asked for: its time runs, and what is paused goes on."""
        self._ending.set()
        for node in self.nodes:
            end_pauses(node, all_of_them=False)

    @property
    def is_ending(self) -> bool:
        """Whether the end was asked for."""
        return self._ending.is_set()

    def pause_or_resume(self, frame: PauseUrgentFrame | ResumeFrame) -> None:
        """Pause or resume the processor that a frame names. Raises `ConfigurationError` when there is none."""
        node = self.graph.find(frame.processor)
        if isinstance(frame, ResumeFrame):
            remove_pause(node, BY_CALL)
        else:
            add_pause(node, BY_CALL)

    def cancel(self, reason: str | None) -> None:
        """Cancel the run now."""
        self.stop_pushes()
        self.nursery.cancel_scope.cancel(reason=reason)
        self.owner.broken_off()

    def interrupt(self) -> None:
        """Make everything stale; see `_interrupt`."""
        if self.running and not self.over:
            interrupt_all(self.graph, self.lanes, self.lane_here())
            self.owner.interrupted()

    def ask_interrupt(self) -> None:
        """An interrupt that a processor asks for."""
        if self.params.allow_interruptions:
            self.interrupt()
        else:
            self.owner.interrupt_refused()

    def observe(self, watch: FrameWatch | None) -> None:
        """Begin or stop to tell of each frame."""
        self.observed = watch
        if self._attached:
            self.graph.wire()
            for node in self.nodes:
                node.watch_changed()

    # -- what nodes and lanes tell

    def spawn(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        if not self.over:
            self.nursery.start_soon(fn, *args)

    def is_own(self, frame: Frame) -> bool:
        """Whether this lifecycle frame is the engine's, and not one that a processor made."""
        return frame is self.start or frame is self.last

    def request(self, frame: Frame) -> None:
        self.owner.asked(frame)

    def error_reported(self, frame: ErrorFrame) -> None:
        self.owner.error_reported(frame)

    def fail(self, exc: Exception) -> None:
        """An error that ends the run."""
        self._errors.extend(flat(exc))
        self.cancel(f"{self.name} failed: {exc!r}")

    def can_lose(self) -> bool:
        """Whether the run can go on without what is in here: it is all there is."""
        return False

    def loses(self, node: Any, exc: Exception, frame: Frame | None) -> bool:
        """Whether the run goes on without a processor that has failed, on a frame or in its set-up: not here."""
        return False

    def is_set_up(self, node: Any, seconds: float) -> None:
        """The set-up of a node's processor is over."""
        self.owner.set_up(node.processor, seconds)

    def fail_with(self, frame: ErrorFrame) -> None:
        """A fatal `ErrorFrame` ends the run with its exception, or with its text."""
        self.owner.error_reported(frame)
        exc = frame.exception or PipesError(frame.error)
        exc.add_note(f"fatal error of {getattr(frame.processor, 'name', None)!r}: {frame.error}")
        self.fail(exc)

    def flood(self, name: str, where: str, depth: int) -> None:
        error = FloodError(
            f"{self.name}: {depth} frames wait {where} of {name!r}, more than lane_limit={self.params.lane_limit}. "
            "It is sent frames faster than it handles them, by somebody who is never made to wait."
        )
        self._verdict = self._verdict or error
        self.cancel(str(error))

    def start_reached_sink(self) -> None:
        self._on_started()
        self._started.set()

    def last_reached_sink(self) -> None:
        self._last_at_sink = True
        self.check_quiet()

    @property
    def whole(self) -> Engine:
        """The run that all processors of the pipeline are in."""
        return self

    def when_idle(self, frame: Frame) -> list[Callable[[], bool]]:
        """Who is asked when no frame is in a lane and no handler works, because of a lifecycle frame that is kept."""
        return self._when_idle

    def check_quiet(self) -> None:
        """Whether the run is over: the last frame is out, and nothing is left to do."""
        if self._last_at_sink and not self._quiet.is_set():
            ends = (self.graph.sink, self.graph.source)
            if not any(node.busy() for node in self.nodes) and not any(end.busy() for end in ends):
                self._quiet.set()
        elif self._when_idle and not self.over and not any(node.busy() for node in self.nodes):
            any(call() for call in tuple(self._when_idle))

    def check_stall(self, node: Node, began: float) -> None:
        """Name the handler that has kept the loop from turning; `began` as `time.perf_counter` gives it."""
        took = perf_counter() - max(began, self.turn.began)
        if took > STALL and self.turn.named != self.turn.number:  # whoever comes later in this pass is innocent
            self.turn.named = self.turn.number
            names = ", ".join(repr(name) for name in _fused_with(node))
            logger.warning(
                "%s: %s kept Trio's loop from turning for %.2f s. Move blocking work to trio.to_thread.run_sync, "
                "or a process%s.",
                self.name,
                names,
                took,
                "" if self.params.debug else " (PipelineParams(debug=True) names the very processor)",
            )

    def stop_pushes(self) -> None:
        """From now on pushes notice that the run is over."""
        self.over = True
        if self.running:
            for node in self.nodes:
                node.refresh()

    # -- who is asking

    def lane_here(self) -> Lane | None:
        """The lane whose handler is running now, in its task or in one that it started."""
        return lane_of(self.lanes, current_task())

    def is_inside(self) -> bool:
        """Whether the caller is a processor of this run: a handler, a lifespan, or what one of them started."""
        try:
            task: Task | None = current_task()
        except RuntimeError:
            return False
        handlers = getattr(self, "nursery", None)
        borrowed = (held.lifespan for held in self._borrowed)
        lifespans = {lifespan.task for lifespan in (*self._lifespans, *borrowed) if lifespan is not None}
        while task is not None and (nursery := task.parent_nursery) is not None:
            if nursery is handlers or task in lifespans:
                return True
            task = nursery.parent_task
        return False

    def _who_is_stuck(self) -> str:
        now = trio.current_time()
        held = [(node.name, in_hand) for node in self.nodes if (in_hand := node.in_hand()) is not None]
        if held:
            return "; ".join(
                f"{name!r} has {frame.name} in hand since {since:.3f} s on Trio's clock (for {now - since:.3f} s)"
                for name, (frame, since) in held
            )
        queued = [node.name for node in self.nodes if node.busy()]
        return f"frames wait at {', '.join(map(repr, queued))}" if queued else "no processor has a frame in hand"


def _fused_with(node: Any) -> Iterator[str]:
    """The processors that work in this node's task."""
    while True:
        yield node.name
        node = node.below
        if not (getattr(node, "shares_task", False) or getattr(node, "fused", False)):
            return
