"""What a runner can host."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import trio

from trio_pipes._base import ConfigurationError, Requested

if TYPE_CHECKING:
    from ._bus import Bus
    from ._registry import Beside, Registry

__all__ = ["Host", "Worker", "ask_worker", "check_is_worker", "inner"]


@runtime_checkable
class Worker(Protocol):
    """A name, `run()`, and two requests. A worker that has `attach(runner)` is given its runner before the run."""

    name: str

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> object:
        """Work until the end; say `task_status.started()` when ready."""

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """Accept nothing new, finish what was accepted, then end."""
        ...

    def cancel(self, reason: str | None = None) -> Requested:
        """End now."""
        ...


class Host(Protocol):
    """What a worker sees of its runner: a `PipelineRunner`."""

    name: str

    @property
    def runner_id(self) -> str:
        """Its address on the bus."""
        ...

    @property
    def bus(self) -> Bus:
        """What carries messages between workers."""
        ...

    @property
    def registry(self) -> Registry:
        """Which workers are up, here and elsewhere."""
        ...

    def add_workers(
        self, *workers: Worker, isolated: bool = False, helper: bool = False, parent: str | None = None
    ) -> Requested:
        """Add workers to it."""
        ...

    def get_worker(self, name: str) -> Worker | None:
        """One of its workers, by name."""
        ...

    async def end_worker(self, name: str, reason: str | None = None) -> bool:
        """Ask a worker, on whatever runner, to end."""
        ...

    async def cancel_worker(self, name: str, reason: str | None = None) -> bool:
        """Have a worker, on whatever runner, end now."""
        ...

    def end(self, reason: str | None = None) -> Requested:
        """Have every worker finish what it accepted, then end."""
        ...

    def cancel(self, reason: str | None = None) -> Requested:
        """End now."""
        ...

    def _children_of(self, name: str) -> tuple[Worker, ...]: ...
    def _ask_children(self, name: str, request: str, reason: str | None) -> None: ...
    def _parent_of(self, name: str) -> str | None: ...
    def _serve_also(self, beside: Beside) -> None: ...


def inner(worker: Worker) -> Worker:
    """The worker itself, where this one makes it, and again when it fails."""
    made: Worker = getattr(worker, "worker", worker) if getattr(worker, "makes_again", False) else worker
    return made


def ask_worker(worker: Worker, request: str, reason: str | None) -> None:
    """Make a request of a worker.

    A runner's own `stop_when_done` is for its pipelines only; where it is a worker itself, it is asked to end.
    """
    if request == "stop_when_done":
        getattr(worker, "_end_as_worker", worker.stop_when_done)(reason)
    else:
        worker.cancel(reason)


def check_is_worker(worker: object, who: str) -> None:
    """Raise unless `worker` can be hosted; the text says what was meant, as far as that can be told."""
    if inspect.iscoroutine(worker):
        worker.close()
        raise TypeError(
            f"{who} was given a coroutine. Pass the worker itself:\n"
            f"    PipelineRunner(task)         # yes\n"
            f"    PipelineRunner(task.run())   # no"
        )
    if isinstance(worker, type):
        raise TypeError(f"{who} was given the class {worker.__name__}, expected an instance of it")
    missing = [name for name in ("name", "run", "stop_when_done", "cancel") if not hasattr(worker, name)]
    if missing:
        hint = " Put a pipeline into a task: PipelineTask(pipeline)." if hasattr(worker, "process_frame") else ""
        raise TypeError(f"{who} was given {worker!r}, expected a worker: it has no {', '.join(missing)}.{hint}")
    for request in ("stop_when_done", "cancel"):
        if inspect.iscoroutinefunction(getattr(worker, request)):
            raise TypeError(
                f"{who} was given {worker!r}, whose {request} is async, expected a plain function: "
                "a request takes effect when it is called, and does not wait"
            )
    if not callable(worker.run):  # type: ignore[attr-defined]  # looked at above
        raise TypeError(f"{who} was given {worker!r}, whose run is no function")
    name = worker.name  # type: ignore[attr-defined]  # looked at just above
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{who} was given {worker!r}, whose name is {name!r}, expected a non-empty string")
