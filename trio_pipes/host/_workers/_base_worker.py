"""`BaseWorker`: a worker without a pipeline, that others reach over the bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Self, TypeVarTuple

import attrs
import trio

from trio_pipes._base import (
    FINITE,
    REQUESTED,
    Requested,
    check_callable,
    check_count,
    check_flag,
    check_instance,
    check_name,
    check_number,
    check_reason,
    default_name,
    is_default_name,
    next_id,
)

from .._bus import BusMessage
from .._jobs import JobServerStatistics, job_handlers_of, open_job, open_job_group
from ._hooks import Hooks
from ._life import Life
from ._watching import watch

if TYPE_CHECKING:
    from .._bus import Bus
    from .._jobs import Job, JobGroup, JobRequest
    from .._registry import Registry
    from .._worker import Host, Worker

__all__ = ["BaseWorker", "BaseWorkerStatistics"]

Ts = TypeVarTuple("Ts")

TIMEOUT: Final = 10.0  # seconds that an order to another worker may take


@attrs.frozen
class BaseWorkerStatistics:
    """A worker at one moment."""

    active: bool
    handled: int
    """Data messages that `on_bus_message` was given."""
    dropped: int
    """Data messages that came while it was not active, or had not been handled when it was told not to be."""
    waiting: int
    """Data messages in its buffer."""
    urgent: int
    """System messages and hooks that wait for those before them."""
    jobs: JobServerStatistics | None
    """What it does for others; None: it has not begun."""


class BaseWorker(Hooks):
    """Runs until it is told to end. Override what you need; no `super()` call is needed anywhere, nor in `__init__`.

    A name that you give is known on the whole bus, and nobody else's there. `active=False`: no data messages come
    before somebody activates it. `buffer` is how many data messages may wait; one more, and it fails with `SubscriberTooSlow`.
    """

    id: int
    """Unique in the process."""
    _life: Life

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        job_handlers_of(cls)  # two methods for one job are refused here

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG004
        self = super().__new__(cls)
        self.id = next_id()
        self.name = default_name(cls)
        self._life = Life(self)
        return self

    def __init__(self, name: str | None = None, *, active: bool = True, buffer: int = 1024) -> None:
        who = type(self).__name__
        check_name(f"{who}(name", name, optional=True)
        check_flag(f"{who}(active", active)
        check_count(f"{who}(buffer", buffer, "a whole number of messages, at least 1")
        if name is not None:
            self.name = name
        self._life.buffer = buffer
        self._life.presence.activation.active = active

    def __repr__(self) -> str:
        return f"<{self.name} {self._life.state.value}{'' if self.is_active else ', inactive'}>"

    # -- where it is

    @property
    def runner(self) -> Host:
        """Its runner. Raises `RuntimeError` before a runner was given this worker."""
        runner = self._life.runner_or_none
        if runner is None:
            raise RuntimeError(f"{self.name!r} has no runner yet: give it to one, PipelineRunner({self.name})")
        return runner

    @property
    def bus(self) -> Bus:
        """The bus of its runner."""
        return self.runner.bus

    @property
    def registry(self) -> Registry:
        """The registry of its runner."""
        return self.runner.registry

    @property
    def address(self) -> str:
        """What messages to it have as their target: its name; for a default name, with the runner's id before it."""
        return f"{self.runner.runner_id}/{self.name}" if is_default_name(self.name) else self.name

    @property
    def _runner_or_none(self) -> Host | None:
        return self._life.runner_or_none

    def attach(self, runner: Host) -> None:
        """What a runner calls before it runs this worker."""
        self._life.attach(runner)

    # -- the run

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128
        """Set up, be ready, handle messages until told to end, clean up.

        Raises what a hook or a task of `start_soon` raised, as an `ExceptionGroup`; a cancel from outside as Trio's
        `Cancelled`.
        """
        await self._life.run(task_status)

    # -- its own tasks

    def start_soon(self, fn: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run an async function in the worker's nursery. Called before the worker is set up: as soon as it is.

        It ends with the worker, which does not wait for it; its error is the worker's.
        """
        check_callable(f"{self.name}.start_soon(fn", fn, "an async function")
        self._life.start_soon(fn, *args)

    # -- requests

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """Take no more messages, handle those that have come, have the children end, then end."""
        check_reason(f"{self.name}.stop_when_done", reason)
        return self._life.stop_when_done(reason)

    def cancel(self, reason: str | None = None) -> Requested:
        """End now, and the children too; cleanup runs."""
        check_reason(f"{self.name}.cancel", reason)
        return self._life.cancel(reason)

    async def wait_finished(self) -> None:
        """Wait until it has run and everything is torn down."""
        await self._life.state.wait_value("over")

    # -- messages

    async def send(self, message: BusMessage) -> bool:
        """Send a message of this worker's: where its `source` is empty, that is filled in. Gives what `bus.send` gives."""
        check_instance(f"{self.name}.send(message", message, BusMessage, "an instance of a class below BusMessage")
        if not message.source:
            message.source = self.address
        return await self.bus.send(message)

    # -- jobs

    def job(self, worker: str, name: str | None = None, payload: Any = None, *, timeout: float | None = None) -> Job:
        """Ask a worker, on whatever runner, to do something: `async with self.job("b", "search", {...}) as job`.

        Without a `name`, what its default handler does. Entering waits until the worker is there and ready; leaving cancels what
        is not done. `await job.result()` gives what its handler gave, or raises `JobError`; `async for update in job` gives
        what it tells meanwhile. `timeout`, in seconds, covers everything from there: the wait for the worker, its
        queue, and the work. None waits as long as it takes, also for a worker that nobody has started yet. Entering
        raises `WireError` for a `payload` that cannot be sent.
        """
        return open_job(self.runner, self.address, worker, name, payload, timeout)

    def job_group(
        self,
        workers: Iterable[str],
        payload: Any = None,
        *,
        name: str | None = None,
        timeout: float | None = None,
        cancel_on_error: bool = True,
    ) -> JobGroup:
        """Ask several workers for the same job. `await group.results()` gives a dict by the workers' names.

        `cancel_on_error`: one that fails cancels the others, and `results()` raises its `JobError`.
        """
        return open_job_group(self.runner, self.address, workers, payload, name, timeout, cancel_on_error)

    @property
    def jobs(self) -> tuple[JobRequest, ...]:
        """The jobs that it is doing."""
        return () if self._life.jobs is None else self._life.jobs.requests

    # -- who is active

    @property
    def is_active(self) -> bool:
        """Whether it gets data messages."""
        return self._life.presence.activation.active

    @property
    def activation_args(self) -> Any:
        """What it was activated with; None while it is not active."""
        return self._life.presence.activation.args

    async def activate_worker(self, name: str, args: Any = None, *, timeout: float = TIMEOUT) -> bool:
        """Have another worker (or this one) be active. False: it was already, and keeps the arguments that it had.

        Returns when it has acknowledged, which is before its `on_activated` has run. `timeout` is in seconds. Raises
        `ActivationError` when it refuses, does not answer, or nobody has that name.
        """
        self._check_order("activate_worker", name, timeout)
        return await self._life.presence.activate(name, args, timeout)

    async def deactivate_worker(self, name: str, *, timeout: float = TIMEOUT) -> bool:
        """Have another worker (or this one) be inactive. False: it was already. Raises as `activate_worker` does."""
        self._check_order("deactivate_worker", name, timeout)
        return await self._life.presence.deactivate(name, timeout)

    async def hand_over(self, name: str, args: Any = None, *, timeout: float = TIMEOUT) -> None:
        """Be inactive at once, and have another worker be active in this one's place: two never are.

        Returns when it has acknowledged. Raises `ActivationError` when this worker is not active, or the other one
        refuses, is active already, is gone, or does not answer; the text says who is active then, which is this worker
        again as soon as it is known that the other one is not. A cancel of this call does not leave that open either.
        """
        self._check_order("hand_over", name, timeout)
        await self._life.presence.hand_over(name, args, timeout)

    def _check_order(self, call: str, name: str, timeout: float) -> None:
        check_name(f"{self.name}.{call}(name", name, "the name of a worker")
        check_number(f"{self.name}.{call}(timeout", timeout, "a number of seconds above 0", above=True, most=FINITE)
        if self._life.nursery is None:
            raise RuntimeError(f"{self.name}.{call}() works only while it runs; it is {self._life.state.value}")

    # -- other workers

    def watch_workers(self, *names: str) -> Requested:
        """Have `on_worker_ready` and `on_worker_gone` called for these. Those that are ready are told at once."""
        for name in names:
            check_name(f"{self.name}.watch_workers(*names", name, "names of workers")
        if names:
            self.start_soon(watch, self, names, self.on_worker_ready, self.on_worker_gone)
        return REQUESTED

    async def end_worker(self, name: str, reason: str | None = None) -> bool:
        """Ask a worker, on whatever runner, to finish what it accepted and end. False: nobody has that name."""
        return await self.runner.end_worker(name, reason)

    async def cancel_worker(self, name: str, reason: str | None = None) -> bool:
        """Have a worker, on whatever runner, end now. False: nobody has that name."""
        return await self.runner.cancel_worker(name, reason)

    # -- parent and children

    @property
    def children(self) -> tuple[Worker, ...]:
        """The workers of its runner that belong to it."""
        return self._life.children.workers

    @property
    def parent(self) -> str | None:
        """Name of the worker that it belongs to."""
        runner = self._life.runner_or_none
        return None if runner is None else runner._parent_of(self.name)

    def add_workers(self, *workers: Worker, isolated: bool = False) -> Requested:
        """Add workers to its runner that belong to this one: when it ends they end first, and a cancel reaches them.

        `isolated` confines a child's error to it. Raises as `runner.add_workers` does.
        """
        return self.runner.add_workers(*workers, isolated=isolated, parent=self.name)

    def _child_failed(self, name: str, error: Exception) -> bool:
        return self._life.child_failed(name, error)

    def _child_over(self) -> None:
        self._life.children.one_is_over()

    # -- looked at

    def statistics(self) -> BaseWorkerStatistics:
        """Counts at this moment."""
        return BaseWorkerStatistics(
            active=self.is_active,
            handled=self._life.handled,
            dropped=self._life.dropped + self._life.presence.dropped,
            waiting=self._life.presence.waiting,
            urgent=len(self._life.urgent),
            jobs=None if self._life.jobs is None else self._life.jobs.statistics(),
        )
