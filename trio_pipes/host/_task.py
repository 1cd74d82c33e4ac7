"""`PipelineTask`: one run of one pipeline, as a worker."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import outcome
import trio

from trio_pipes._base import (
    REQUESTED,
    ConfigurationError,
    Requested,
    TransitionError,
    Value,
    check_instance,
    check_methods,
    check_name,
    check_number,
    check_reason,
    default_name,
    next_id,
    step,
)
from trio_pipes.flow import (
    CancelFrame,
    Direction,
    EndFrame,
    Frame,
    FrameProcessor,
    PipelineParams,
    StartFrame,
    StopFrame,
    check_frame,
)
from trio_pipes.flow._engine import Engine
from trio_pipes.flow._graph import Graph

from ._async_frames import closing
from ._clock import BaseClock, SystemClock
from ._frame_requests import answer_pushed, answer_queued, is_request
from ._home import Home
from ._markers import Markers, OnHandled
from ._observers import TASK_EVENTS, observers as make_observers
from ._outputs import Outputs
from ._task_events import Answers
from ._task_state import FINAL, REACHABLE, TASK, TaskResult, TaskState, TaskStatistics, now_or_zero, without_cancelled
from ._watches import Watches

if TYPE_CHECKING:
    from ._from_thread import TaskFromThread
    from ._jobs import Job, JobGroup
    from ._worker import Host

__all__ = ["PipelineTask"]

DEFAULTS: Final = PipelineParams()


class PipelineTask:
    """One run of one pipeline: a nursery, a push channel in at the top, an up channel out at the top."""

    def __init__(
        self,
        pipeline: FrameProcessor,
        params: PipelineParams | None = None,
        clock: BaseClock | None = None,
        *,
        name: str | None = None,
        observers: Iterable[object] = (),
        resources: Any = None,
    ) -> None:
        if not isinstance(pipeline, FrameProcessor):
            raise ConfigurationError(f"PipelineTask was given {pipeline!r}, expected a Pipeline: Pipeline([...])")
        check_instance("PipelineTask(params", params, PipelineParams, "PipelineParams(...)", optional=True)
        if clock is not None:
            check_methods("PipelineTask(clock", clock, ["start", "get_time"], "a clock, with start() and get_time()")
        check_name("PipelineTask(name", name, optional=True)
        self.id: int = next_id()
        self.name: str = name or default_name(type(self))
        self.pipeline: FrameProcessor = pipeline
        self.params: PipelineParams = params or DEFAULTS
        self.clock: BaseClock = SystemClock() if clock is None else clock
        self.resources: Any = resources
        """Whatever the processors should share, as `processor.task.resources`."""
        self._observers = make_observers(self, TASK_EVENTS, observers)
        self._graph = Graph(pipeline, fuse=not self.params.debug)
        self._answers = Answers(self, self._observers, partial(answer_pushed, self), self._broken_off)
        self._engine = Engine(self._graph, self.params, self._answers)
        self._engine.start.metadata.update(self.params.start_metadata)
        self._home = Home(self.name)
        self._watches = Watches(self, self._engine, self._observers)
        self._entrance = self._watches.entrance(self._home)
        self._markers = Markers(self.name, self._entrance, self._observers.keep)
        self._outputs = Outputs(self.name, self._graph)
        self._state: Value[TaskState] = Value(TaskState.NEW)
        self._finished: Value[bool] = Value(False)
        self._last: EndFrame | StopFrame | None = None  # asked for
        self._reason: str | None = None
        self._cancelled = False
        self._run_called = False
        self._result: TaskResult | None = None
        self._started_at: float | None = None
        self._runner_or_none: Host | None = None

    def __repr__(self) -> str:
        return f"<{self.name} {self.state.name}>"

    def attach(self, runner: Host) -> None:
        """Called by the runner that hosts it. Raises `RuntimeError` when another one runs it, or has run it."""
        if runner is not self._runner_or_none:
            self._check_not_run()
        self._runner_or_none = runner

    @property
    def runner(self) -> Host:
        """The runner that hosts it, and through it the bus. Raises `RuntimeError` where there is none."""
        if self._runner_or_none is None:
            raise RuntimeError(f"{self.name} has no runner: add it to one, PipelineRunner(task)")
        return self._runner_or_none

    # -- the run

    async def run(self, *, task_status: trio.TaskStatus[PipelineTask] = trio.TASK_STATUS_IGNORED) -> TaskResult:
        """Run the pipeline to its end; `task_status` is started once `StartFrame` has reached the sink.

        Returns when the task ended, stopped or cancelled itself. Raises what a processor raised, as an
        `ExceptionGroup`; a timeout or a flood as itself; a cancel from outside as Trio's `Cancelled`.
        """
        self._claim_run()
        if self._cancelled:
            self._home.leave()
            self._graph.detach()
            task_status.started(self)
            await trio.lowlevel.checkpoint()
            assert self._result is not None
            return self._result
        self._step("run")
        self._entrance.open()
        self._watches.refresh()
        try:
            async with trio.open_nursery() as nursery:
                self._observers.open(nursery)
                self._observers.tell("on_starting")

                def started() -> None:
                    self._has_started(nursery)
                    task_status.started(self)

                ran = await outcome.acapture(self._engine.run, nursery, self._feed, started)
                result = self._conclude(ran)
                await self._observers.close()
                result = attrs.evolve(
                    result,
                    observer_errors=tuple(self._observers.errors),
                    observer_events_lost=self._observers.lost,
                )
                self._result = result
                nursery.cancel_scope.cancel(reason=f"{self.name} is over")
        finally:
            self._home.leave()
            self._finished.value = True
        if self._started_at is None and result.state is not TaskState.FAILED:
            task_status.started(self)
        ran.unwrap()
        return result

    def _has_started(self, nursery: trio.Nursery) -> None:
        """`StartFrame` has reached the sink."""
        self._started_at = trio.current_time()
        self.clock.start()
        self._step("started")
        if self._last is not None:
            self._step("ask_end")
        self._watches.begin(nursery, _leaves(self.pipeline))
        self._observers.tell("on_started")

    def _check_not_run(self) -> None:
        if self._run_called:
            raise RuntimeError(
                f"{self.name} has been run already. A task is one run: build a new PipelineTask for the next."
            )

    def _claim_run(self) -> None:
        self._check_not_run()
        for processor in _leaves(self.pipeline):
            node = processor._node
            if node is not None and not node.engine.done:
                raise ConfigurationError(
                    f"{processor.name!r} is in {node.engine.name!r}, which is running, and cannot be in {self.name!r} "
                    "too. An instance belongs to one running pipeline at a time: make a second one."
                )
            if processor._held_by_block is not None:
                processor._held_by_block.check()
        self._home.settle()
        self._run_called = True

    def _feed(self) -> None:
        self._entrance.go_live(self._nothing_more_comes)

    def _nothing_more_comes(self) -> None:
        assert self._last is not None
        self._engine.end_behind(self._last)

    def _conclude(self, ran: outcome.Outcome[None]) -> TaskResult:
        """Work out how it ended, and tell everybody who waits."""
        error = without_cancelled(ran.error) if isinstance(ran, outcome.Error) else None
        cancelled = isinstance(ran, outcome.Error) or self._engine.broken_off
        if error is None and cancelled:
            self._step("cancel")
        elif error is not None:
            self._step("fail")
        else:
            self._step("stop" if isinstance(self._last, StopFrame) else "end")
        if self.state in (TaskState.CANCELLED, TaskState.FAILED):
            self._entrance.break_off(f"it is {self.state.value}")
        self._watches.end()
        self._let_go()
        self._result = self._make_result(error)
        self._observers.tell("on_finished", self._result)
        return self._result

    def _let_go(self) -> None:
        """Everybody who waits for frames, or for a word about one."""
        self._outputs.close()
        self._markers.break_off()

    def _make_result(self, error: BaseException | None) -> TaskResult:
        return TaskResult(
            state=self.state,
            reason=self._reason,
            error=error,
            frames_in=self._entrance.count,
            frames_out=self._graph.sink.count,
            started_at=self._started_at,
            finished_at=now_or_zero(),
            reported_errors=self._answers.reported_errors,
            observer_errors=tuple(self._observers.errors),
            observer_events_lost=self._observers.lost,
        )

    def _step(self, event: str) -> None:
        self._state.value = step(TASK, self.state, event, who=self.name)

    # -- frames in

    async def queue_frame(
        self,
        frame: Frame,
        direction: Direction = Direction.DOWNSTREAM,
        *,
        on_handled: OnHandled | None = None,
    ) -> None:
        """Put a frame in at the top (or, upstream, at the bottom).

        Before the run it is kept. While the task runs an ordered frame waits for room, except from inside a
        processor of this task. A lifecycle frame is a request: `EndFrame` is `stop_when_done()`.

        `on_handled(frame, True)` is called once when the pipeline is done with the frame and with what came of it:
        handled, dropped or made stale; `on_handled(frame, False)` when the run ended before. It is a sync function, and for
        data and control frames that go down.

        Raises `trio.ClosedResourceError` after the end was asked for, `trio.BrokenResourceError` after a cancel or
        a failure, `TypeError` for what is not a frame.
        """
        if on_handled is None and direction is Direction.DOWNSTREAM and self._entrance.is_ordinary(frame):
            await self._entrance.put_ordinary(frame)
            return
        check_frame(frame, direction, self.name)
        if on_handled is not None:
            await self._markers.queue(frame, direction, on_handled)
            return
        self._home.check("queue_frame")
        if is_request(frame):
            await trio.lowlevel.checkpoint_if_cancelled()
            answer_queued(self, frame)
        else:
            await self._entrance.put(frame, direction)

    async def queue_frames(
        self, frames: Iterable[Frame] | AsyncIterable[Frame], direction: Direction = Direction.DOWNSTREAM
    ) -> None:
        """Queue frames in order. An async iterable given before the run waits for the run to take it."""
        self._home.check("queue_frames")
        if isinstance(frames, AsyncIterable):
            async with closing(frames):
                await self.wait_state(*(state for state in TaskState if state is not TaskState.NEW))
                async for frame in frames:
                    await self.queue_frame(frame, direction)
            return
        if isinstance(frames, Frame | str | bytes) or not isinstance(frames, Iterable):
            raise TypeError(f"{self.name}.queue_frames was given {frames!r}, expected an iterable of frames")
        if direction is not Direction.DOWNSTREAM:
            for frame in frames:
                await self.queue_frame(frame, direction)
            return
        for batch in self._entrance.batches(frames):
            if len(batch) == 1:
                await self.queue_frame(batch[0])
            else:
                await self._entrance.put_batch(batch)

    def _start_with(self, frame: StartFrame) -> None:
        if self.state is not TaskState.NEW:
            raise RuntimeError(f"{self.name}: a StartFrame can be queued only before the run; it is {self.state.name}")
        self._engine.start = frame
        for key, value in self.params.start_metadata.items():
            frame.metadata.setdefault(key, value)

    # -- requests

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """Accept nothing new, finish what was accepted, then end."""
        self._home.check("stop_when_done")
        check_reason(f"{self.name}.stop_when_done", reason)
        return self._ask_end(EndFrame(reason=reason))

    def _ask_end(self, last: EndFrame | StopFrame) -> Requested:
        if self._last is None and self.state not in FINAL:
            self._last = last
            if self._reason is None:
                self._reason = last.reason
            if self.state is TaskState.RUNNING:
                self._step("ask_end")
            self._entrance.close("its end was asked for")
            self._engine.ending()
        return REQUESTED

    def cancel(self, reason: str | None = None) -> Requested:
        """Cancel the run now; cleanup runs. Before the run: it will not run."""
        self._home.check("cancel")
        check_reason(f"{self.name}.cancel", reason)
        if self._cancelled or self.state in FINAL:
            return REQUESTED
        self._cancelled = True
        self._reason = reason
        if self._run_called:
            self._observers.tell("on_reached_sink", CancelFrame(reason=reason))
            self._engine.cancel(reason)  # first: the feeder then ends by its cancel
        else:
            self._entrance.break_off("it is cancelled")
            self._step("cancel")
            self._let_go()
            self._result = self._make_result(None)
            self._observers.tell("on_finished", self._result)
            self._finished.value = True
        return REQUESTED

    def interrupt(self) -> Requested:
        """Make every interruptible frame in the pipeline stale, whatever `allow_interruptions` says."""
        self._home.check("interrupt")
        self._engine.interrupt()
        return REQUESTED

    # -- waiting

    @property
    def state(self) -> TaskState:
        """Where the task is in its life."""
        return self._state.value

    async def wait_state(self, *states: TaskState) -> TaskState:
        """Wait until the task is in one of these states; gives that state.

        Raises `TransitionError` when it is in a state from which none of them can be reached.
        """
        if not states or not all(isinstance(state, TaskState) for state in states):
            raise ConfigurationError(f"{self.name}.wait_state was given {states!r}, expected TaskState members")
        wanted = frozenset(states)
        if wanted <= FINAL:
            self._refuse_inside("wait_state")
        met: list[TaskState] = []  # a task may be in one of them and on its way again before this wakes

        def is_over(state: TaskState) -> bool:
            if state in wanted:
                met.append(state)
            return state in wanted or wanted.isdisjoint(REACHABLE[state])

        with self._home.waiting("wait_state"):
            state = await self._state.wait_value(is_over)
        if not met:
            names = " or ".join(wish.name for wish in states)
            raise TransitionError(f"{self.name} is {state.name}, and cannot come to {names} any more")
        return met[-1]

    def has_finished(self) -> bool:
        """Whether everything is torn down."""
        return self._finished.value

    @property
    def result(self) -> TaskResult | None:
        """How it ended; None before everything is torn down."""
        return self._result if self._finished.value else None

    async def wait_finished(self) -> TaskResult:
        """Wait until everything is torn down, however it ended. Inside a processor of this task: `RuntimeError`."""
        self._refuse_inside("wait_finished")
        with self._home.waiting("wait_finished"):
            await self._wait_finished()
        assert self._result is not None
        return self._result

    async def _wait_finished(self) -> None:
        await self._finished.wait_value(True)

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued before has been handled: True; False when `timeout` seconds pass first.

        Answers that go up are not waited for. A task that ends first gives whether it handled everything.
        """
        if timeout is not None:
            check_number(f"{self.name}.flush(timeout", timeout, "a number of seconds, 0 or more, or None for no limit")
        self._refuse_inside("flush")
        with self._home.waiting("flush"):
            if self.state not in FINAL and not await self._markers.flush(timeout, self._wait_finished):
                return False
        return self.state not in (TaskState.CANCELLED, TaskState.FAILED)

    def _refuse_inside(self, call: str) -> None:
        if self._engine.is_inside():
            raise RuntimeError(f"{self.name}.{call}() inside one of its own processors would wait for itself")

    # -- frames out

    @asynccontextmanager
    async def open_output(
        self, *types: type[Frame], buffer: float = 64, direction: Direction = Direction.DOWNSTREAM
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Frame]]:
        """A channel of the frames of these types (none: of all) that reach the sink, or, upstream, the source.

        When `buffer` frames wait in it the sink waits, so read it from another task than the one that queues.
        What is in it stays readable after the end; then comes `trio.EndOfChannel`. A lifecycle frame never waits
        for a reader: where the buffer is full until the end, it is left out.
        """
        self._home.check("open_output")
        async with self._outputs.open(types, buffer, direction) as receive:
            yield receive

    # -- observing

    def add_observer(self, observer: object) -> None:
        """Add an observer, also while the task runs; see the documentation.

        Raises `ConfigurationError` when it has a method `on_*` that is no event, or cannot take what it would be given.
        """
        self._home.check("add_observer")
        self._observers.add(observer)
        if self._started_at is not None and self._result is None:
            self._observers.tell_one(observer, "on_added")

    def remove_observer(self, observer: object) -> None:
        """Remove an observer. Raises `ValueError` for one that is not there."""
        self._home.check("remove_observer")
        self._observers.remove(observer)

    def job(self, worker: str, name: str | None = None, payload: Any = None, *, timeout: float | None = None) -> Job:
        """Ask a worker for a job, as `BaseWorker.job` does. From inside a processor: `self.task.job(...)`."""
        from ._jobs import open_job  # most pipelines ask nobody

        self._home.check("job")
        return open_job(self.runner, self.name, worker, name, payload, timeout)

    def job_group(
        self,
        workers: Iterable[str],
        payload: Any = None,
        *,
        name: str | None = None,
        timeout: float | None = None,
        cancel_on_error: bool = True,
    ) -> JobGroup:
        """Ask several workers for the same job, as `BaseWorker.job_group` does."""
        from ._jobs import open_job_group

        self._home.check("job_group")
        return open_job_group(self.runner, self.name, workers, payload, name, timeout, cancel_on_error)

    def from_thread(self) -> TaskFromThread:
        """A handle of this task for other threads. Raises `RuntimeError` outside of a Trio run."""
        from ._from_thread import TaskFromThread  # most programs have no other threads

        self._home.check("from_thread")
        return TaskFromThread(self)

    def statistics(self) -> TaskStatistics:
        """Counts and depths at this moment."""
        return TaskStatistics(
            state=self.state,
            frames_in=self._entrance.count,
            frames_out=self._graph.sink.count,
            frames_up=self._graph.source.count,
            push_waiting=self._entrance.waiting(),
            reported_errors=self._answers.reported_errors,
            observer_errors=tuple(self._observers.errors),
            observer_events_lost=self._observers.lost,
            processors=tuple(node.statistics() for node in self._graph.nodes) if self._engine.has_nodes else (),
            metrics=self._answers.metrics_statistics(),
        )

    def _broken_off(self) -> None:
        self._entrance.break_off("it was cancelled or has failed")


def _leaves(pipeline: FrameProcessor) -> Iterable[FrameProcessor]:
    leaves = getattr(pipeline, "leaves", None)
    return leaves() if leaves else (pipeline,)
