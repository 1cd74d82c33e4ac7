"""Handles of tasks and runners for threads in which Trio does not run.

# How a call crosses, and what it waits for.
#
# A handle is made where Trio runs and remembers that run. A call is handed over by `trio.from_thread`, which Trio keeps
# correct while a run ends: it is either carried out or it raises `trio.RunFinishedError`. The thread waits until
# it has been carried out, so a request has taken effect, and a frame has been accepted, when the call returns.
# In a thread of `trio.to_thread.run_sync` the call runs in the task that waits for the thread: what cancels that task
# also wakes the thread, and a processor's thread is inside its processor, where `queue_frame` never waits.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar, final

import trio

from trio_pipes.flow import Direction, Frame

from ._task_state import TaskResult
from ._worker import Worker

__all__ = ["RunnerFromThread", "TaskFromThread"]

T = TypeVar("T")

_ELSEWHERE: Final = object()


class _Bridge:
    """A way from other threads into the Trio run in which it was made."""

    def __init__(self, owner: str) -> None:
        if not trio.lowlevel.in_trio_run():
            raise RuntimeError(
                f"{owner}.from_thread() was called outside of a Trio run: call it where Trio runs, "
                "and give the handle to the thread"
            )
        self.owner = owner
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()

    def call(self, name: str, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the Trio run, and wait for it. Raises `trio.RunFinishedError` after the end of that run."""
        self._refuse_to_block_trio(name)
        if _is_trios_thread():
            came: Any = trio.from_thread.run_sync(self._if_here, function, args)
            if came is not _ELSEWHERE:
                return came  # type: ignore[no-any-return]
        try:
            return trio.from_thread.run_sync(function, *args, trio_token=self._token)
        except trio.RunFinishedError:
            raise self._too_late(name) from None

    def wait(self, name: str, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Call an async function in the Trio run, and wait for it. Raises as `call` does."""
        self._refuse_to_block_trio(name)
        if _is_trios_thread():
            came: Any = trio.from_thread.run(self._await_if_here, function, args)
            if came is not _ELSEWHERE:
                return came  # type: ignore[no-any-return]
        try:
            return trio.from_thread.run(function, *args, trio_token=self._token)
        except trio.RunFinishedError:
            raise self._too_late(name) from None
        except trio.Cancelled:  # of a system task's: this thread is in no scope that could catch it
            text = f"{self.owner}: its Trio run ended while {name}() waited"
            raise trio.RunFinishedError(text) from None  # noqa: ASYNC104

    def _if_here(self, function: Callable[..., object], args: tuple[Any, ...]) -> object:
        return function(*args) if trio.lowlevel.current_trio_token() is self._token else _ELSEWHERE

    async def _await_if_here(self, function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> object:
        return await function(*args) if trio.lowlevel.current_trio_token() is self._token else _ELSEWHERE

    def _too_late(self, name: str) -> trio.RunFinishedError:
        return trio.RunFinishedError(f"{self.owner}: its Trio run is over, and {name}() cannot be done any more")

    def _refuse_to_block_trio(self, name: str) -> None:
        inside = trio.lowlevel.in_trio_run()
        if not inside and threading.get_ident() != self._thread:
            return
        try:
            self._token.run_sync_soon(_nothing)  # is it over? Then its thread does something else now, and may
        except trio.RunFinishedError:
            raise self._too_late(name) from None
        # Between two steps of a guest run its thread is not in Trio, and must not wait for it all the same.
        if threading.get_ident() == self._thread:
            fix = f"it would wait for itself. Use {self.owner}.{name}() itself here"
        else:
            fix = f"which it would block. Use: await trio.to_thread.run_sync(handle.{name}, ...)"
        raise RuntimeError(f"handle.{name}() of {self.owner} was called where Trio runs: {fix}")


def _nothing() -> None:
    pass


def _is_trios_thread() -> bool:
    """Whether this thread was started by `trio.to_thread.run_sync`."""
    try:
        with suppress(trio.Cancelled):  # a request goes through all the same, and a wait will see it itself
            trio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    return True


@final
class TaskFromThread:
    """A pipeline task, for other threads: each call waits until it has been carried out where the task runs.

    You get one from `PipelineTask.from_thread()`. When the Trio run is over, calls raise `trio.RunFinishedError`,
    unless the task had finished: then they do and raise what the task's own do.
    """

    def __init__(self, task: Any) -> None:
        self._task = task
        self._bridge = _Bridge(task.name)

    def __repr__(self) -> str:
        return f"<{self._task.name} {self._task.state.name}, from a thread>"

    @property
    def name(self) -> str:
        """The task's."""
        return str(self._task.name)

    def queue_frame(self, frame: Frame, direction: Direction = Direction.DOWNSTREAM) -> None:
        """Put a frame in; the thread waits for room. Raises what `PipelineTask.queue_frame` raises."""
        self._accepting("queue_frame", self._task.queue_frame, frame, direction)

    def queue_frames(self, frames: Iterable[Frame], direction: Direction = Direction.DOWNSTREAM) -> None:
        """Put frames in, in order. A list or tuple goes in at once; of another iterable each frame as it comes."""
        if isinstance(frames, AsyncIterable | Frame) or not isinstance(frames, Iterable):
            raise TypeError(f"{self.name}.queue_frames was given {frames!r}, expected an iterable of frames")
        if isinstance(frames, list | tuple):
            self._accepting("queue_frames", self._task.queue_frames, frames, direction)
        else:
            for frame in frames:
                self._accepting("queue_frames", self._task.queue_frame, frame, direction)

    def _accepting(self, name: str, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            self._bridge.wait(name, function, *args)
        except trio.RunFinishedError:
            if self._task.has_finished():
                self._task._entrance.check()
            raise

    def stop_when_done(self, reason: str | None = None) -> None:
        """Accept nothing new, finish what was accepted, then end."""
        self._request("stop_when_done", reason)

    def cancel(self, reason: str | None = None) -> None:
        """Cancel the run now; cleanup runs."""
        self._request("cancel", reason)

    def interrupt(self) -> None:
        """Make every interruptible frame in the pipeline stale."""
        self._request("interrupt")

    def _request(self, name: str, *args: Any) -> None:
        try:
            self._bridge.call(name, getattr(self._task, name), *args)
        except trio.RunFinishedError:
            if not self._task.has_finished():
                raise

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued before has been handled; as `PipelineTask.flush`."""
        done: bool = self._bridge.wait("flush", self._task.flush, timeout)
        return done

    def wait_finished(self) -> TaskResult:
        """Wait until everything is torn down, however it ended."""
        try:
            result: TaskResult = self._bridge.wait("wait_finished", self._task.wait_finished)
        except trio.RunFinishedError:
            if self._task.result is None:
                raise
            result = self._task.result
        return result

    def has_finished(self) -> bool:
        """Whether everything is torn down."""
        return bool(self._task.has_finished())


@final
class RunnerFromThread:
    """A runner, for other threads: each call waits until it has been carried out where the runner runs.

    You get one from `PipelineRunner.from_thread()`. When the Trio run is over, calls raise `trio.RunFinishedError`.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._bridge = _Bridge(runner.name)

    def __repr__(self) -> str:
        return f"<{self._runner.name}, from a thread>"

    @property
    def name(self) -> str:
        """The runner's."""
        return str(self._runner.name)

    def add_workers(
        self, *workers: Worker, isolated: bool = False, helper: bool = False, parent: str | None = None
    ) -> None:
        """Add workers; as `PipelineRunner.add_workers`."""
        self._bridge.call(
            "add_workers",
            lambda: self._runner.add_workers(*workers, isolated=isolated, helper=helper, parent=parent),
        )

    def get_task(self, name: str) -> TaskFromThread | None:
        """The pipeline task of that name, as a handle for this thread; None when there is none."""
        handle: TaskFromThread | None = self._bridge.call("get_task", self._runner._task_from_thread, name)
        return handle

    def stop_when_done(self, reason: str | None = None) -> None:
        """Have every root pipeline task drain and end; other workers go on."""
        self._bridge.call("stop_when_done", self._runner.stop_when_done, reason)

    def end(self, reason: str | None = None) -> None:
        """Take no new workers, have every worker finish what it accepted, helpers last, then end."""
        self._bridge.call("end", self._runner.end, reason)

    def cancel(self, reason: str | None = None) -> None:
        """Cancel every worker now; cleanup runs."""
        self._bridge.call("cancel", self._runner.cancel, reason)

    def wait_ready(self, *names: str) -> None:
        """Wait until the workers of these names (none: all that are there now) are ready."""
        self._bridge.wait("wait_ready", self._runner.wait_ready, *names)

    def wait_finished(self) -> None:
        """Wait until the runner has run and no call of `run()` is open."""
        self._bridge.wait("wait_finished", self._runner.wait_finished)
