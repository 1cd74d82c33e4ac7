"""`Restart`: a worker that is made again when it fails, but not for ever.

# What counts, and what is told.
#
# As in OTP's supervisors: a worker that ends by itself, or because it was asked to, is not made again; one that fails is,
# until it has failed more than `max_restarts` times within `period` seconds. Then, or when it fails after its end
# was asked for, all errors of that period leave `run()` together. What the factory gives is the worker's own affair but
# for its name, which stays. Each instance is told to the runner's observers as a worker of its own
# (`on_worker_started`, `on_error`, `on_worker_finished`), inside the life of the `Restart` that made it. There is no
# pause before the next attempt: a worker that cannot reach a server should wait itself, where it knows for what.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import trio

from trio_pipes._base import REQUESTED, ConfigurationError, Requested, check_count, check_number

from ._task import PipelineTask
from ._worker import Worker, ask_worker, check_is_worker

__all__ = ["Restart", "pipeline_task_of"]

logger = logging.getLogger("trio_pipes")


class Restart:
    """A worker that is made by `factory`, and made again when it fails.

    More than `max_restarts` failures within `period` seconds, or one after its end was asked for, and `run()` raises
    them as an `ExceptionGroup`. The first instance is made at once, so that what is wrong with the factory shows early.
    """

    makes_again: ClassVar[bool] = True
    """The worker that one sees is `worker`."""

    def __init__(self, factory: Callable[[], Worker], max_restarts: int = 3, period: float = 5.0) -> None:
        if not callable(factory):
            hint = "" if not hasattr(factory, "run") else ": Restart(lambda: ...), with what makes this one in it"
            raise TypeError(f"Restart was given {factory!r}, expected a function that makes a worker{hint}")
        check_count("Restart(max_restarts", max_restarts, "a whole number, 0 or more", least=0)
        check_number("Restart(period", period, "seconds, more than 0", above=True)
        self._factory = factory
        self._max_restarts = max_restarts
        self._period = period
        self.restarts: int = 0
        """How often it was made again."""
        self.worker: Worker = self._make("Restart")
        """The instance that runs, or ran last."""
        self.name: str = self.worker.name
        self._runner_or_none: Any = None
        self._run_called = False
        self._asked = False  # to end, one way or the other

    def __repr__(self) -> str:
        return f"<Restart of {self.name}, {self.restarts} restarts>"

    def _make(self, who: str) -> Worker:
        made: object = self._factory()
        if inspect.isawaitable(made):
            if inspect.iscoroutine(made):
                made.close()
            raise TypeError(f"{who}: its factory gave {made!r} to await, expected a worker: make it a plain function")
        check_is_worker(made, f"{who}, by its factory,")
        assert isinstance(made, Worker)
        return made

    def _make_again(self) -> Worker:
        """The next instance. Raises what the factory raises, or what is wrong with what it gave."""
        made = self._make(f"Restart of {self.name}")
        if made is self.worker:
            raise ConfigurationError(
                f"Restart of {self.name}: its factory gave the same worker again, {made!r}. "
                "A worker runs once: make a new one each time"
            )
        if _stem(made.name) != _stem(self.name):
            raise ConfigurationError(
                f"Restart of {self.name}: its factory gave a worker named {made.name!r} after one named {self.name!r}, "
                "expected the same name each time"
            )
        return made

    # -- as a worker

    def attach(self, runner: Any) -> None:
        """The runner that hosts it: each instance is given it. Raises `RuntimeError` when another one runs it, or has run it."""
        if runner is not self._runner_or_none:
            self._check_not_run()
        self._runner_or_none = runner
        self._attach(self.worker)

    def _check_not_run(self) -> None:
        if self._run_called:
            raise RuntimeError(f"{self!r} has been run already. It runs once: build a new one")

    def _attach(self, worker: Worker) -> None:
        attach = getattr(worker, "attach", None)
        if attach is not None and self._runner_or_none is not None:
            attach(self._runner_or_none)

    async def run(self, *, task_status: trio.TaskStatus[Restart] = trio.TASK_STATUS_IGNORED) -> object:
        """Run the worker, and those made in its place; gives what the last one gave.

        `task_status` is started when an instance is ready for the first time.
        """
        self._check_not_run()
        self._run_called = True
        status = _Once(lambda: task_status.started(self))
        failures: deque[tuple[float, Exception]] = deque()
        while True:
            worker = self.worker
            self._tell("on_worker_started", worker)
            try:
                return await worker.run(task_status=status)
            except Exception as exc:  # noqa: BLE001  (counted, told, and raised when there are too many)
                self._tell("on_error", worker, exc)
                self._count(failures, exc)
            finally:
                self._tell("on_worker_finished", worker)
            while not await self._renewed(failures):
                if self._asked:
                    return None

    async def _renewed(self, failures: deque[tuple[float, Exception]]) -> bool:
        """Whether there is a new instance; a factory that raises has failed as a worker does."""
        await trio.lowlevel.checkpoint()  # where one that fails at once can be cancelled
        if self._asked:
            return False
        self.restarts += 1
        try:
            worker = self._make_again()
            self._attach(worker)
        except (ConfigurationError, TypeError) as exc:  # the next would be no better
            raise ExceptionGroup(f"{self.name} cannot be made again", [*_errors(failures), exc]) from None
        except Exception as exc:  # noqa: BLE001  (counted, told, and raised when there are too many)
            self._tell("on_error", self, exc)
            self._count(failures, exc)
            return False
        self.worker = worker
        restarted = getattr(self._runner_or_none, "_restarted", None)
        if restarted is not None:
            restarted()
        return True

    def _count(self, failures: deque[tuple[float, Exception]], error: Exception) -> None:
        """Remember a failure. Raises when it is one too many, or when the end was asked for."""
        now = trio.current_time()
        failures.append((now, error))
        while failures[0][0] < now - self._period:
            failures.popleft()
        if self._asked:
            raise ExceptionGroup(f"{self.name} failed after its end was asked for", _errors(failures)) from None
        if len(failures) > self._max_restarts:
            raise ExceptionGroup(
                f"{self.name} failed {len(failures)} times within {self._period:g} s, and max_restarts is "
                f"{self._max_restarts}",
                _errors(failures),
            ) from None
        logger.warning(
            "%s failed, and is made again (%d of %d within %g s)",
            self.name,
            len(failures),
            self._max_restarts,
            self._period,
            exc_info=error,
        )

    def _tell(self, event: str, worker: Worker, *more: object) -> None:
        tell = getattr(self._runner_or_none, "_tell", None)
        if tell is not None:
            tell(event, worker, *more)

    def stop_when_done(self, reason: str | None = None) -> Requested:
        """Have the worker finish what it accepted, and do not make it again."""
        self._asked = True
        ask_worker(self.worker, "stop_when_done", reason)
        return REQUESTED

    def cancel(self, reason: str | None = None) -> Requested:
        """Cancel the worker, and do not make it again."""
        self._asked = True
        self.worker.cancel(reason)
        return REQUESTED


class _Once:
    """A `task_status` that passes on the first `started()` only."""

    def __init__(self, started: Callable[[], None]) -> None:
        self._started: Callable[[], None] | None = started

    def started(self, value: object = None) -> None:
        started, self._started = self._started, None
        if started is not None:
            started()


def _errors(failures: deque[tuple[float, Exception]]) -> list[Exception]:
    return [error for _, error in failures]


def _stem(name: str) -> str:
    """A name without the number that default names count by."""
    return re.sub(r"#\d+$", "", name)


def pipeline_task_of(worker: object) -> PipelineTask | None:
    """The pipeline task that this worker is, or hosts now."""
    while isinstance(worker, Restart):
        worker = worker.worker
    return worker if isinstance(worker, PipelineTask) else None
