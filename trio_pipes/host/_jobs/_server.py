"""`JobServer`: the side of a worker that does jobs.

# Where a job runs.
#
# Each in a task of the worker's own nursery and a scope of its own, so that it ends with the worker, and by itself when
# its requester leaves it, its time is over or somebody here cancels it. An error of a handler is its requester's and is
# logged here; it is not the worker's, which goes on. A handler that ends in a way that is nobody's answer (the worker is
# cancelled) is answered for when the server's block is left.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from itertools import islice
from types import TracebackType
from typing import Any, Protocol, Self, final

import attrs
import trio
from trio.lowlevel import ParkingLot, checkpoint

from trio_pipes._base import BusError, PipesError

from .._bus import BusMessage, Listener
from .._worker import Host
from ._directory import ROUNDS, jobs_address, life_of
from ._failure import Failure
from ._handlers import job_handlers_of
from ._messages import (
    TO_WORKER,
    JobAnswer,
    JobAnswerUrgent,
    JobAsk,
    JobCredit,
    JobKeep,
    JobKnown,
    JobLeave,
    JobProgress,
)
from ._request import JobRequest
from ._statistics import JobServerStatistics
from ._work import Lane, Work

__all__ = ["JobServer"]

logger = logging.getLogger("trio_pipes")

# Jobs that wait for their turn at one worker: more are refused. A requester that waits is no load, a flood is.
MOST_WAITING = 10_000

# Seconds in which a worker that ends has to tell the requesters of what it leaves undone.
TO_TELL = 5.0

# Jobs that are over, or were left before they came, and are remembered for longer than a lease: what asks for them may have waited
# in a process that was cut off, and come late. It is not to be done again.
MOST_REMEMBERED = 10_000

STARTED_AGAIN = "the worker does not know it: it has been started again since"


class Named(Protocol):
    """A worker, as far as its jobs are concerned."""

    name: str


@final
class JobServer:
    """Does the jobs that are asked of a worker, in `nursery`, for as long as its block lasts.

    `stop()` and `wait_idle()` before the block is left finish what was accepted. What is left then is cancelled, and its
    requesters get a `JobError` whose status is "gone".
    """

    def __init__(self, worker: Named, runner: Host, nursery: trio.Nursery, *, address: str) -> None:
        self._worker = worker
        self._runner = runner
        self._bus = runner.bus
        self._nursery = nursery
        self._handlers = job_handlers_of(type(worker))
        self._lanes = {name: Lane(handler) for name, handler in self._handlers.items()}
        self._works: dict[str, Work] = {}
        self._active = 0  # waiting or running
        self._fewer = ParkingLot()
        self._held = False
        self._taking = True
        self._context = copy_context()  # of handlers: not what is current where a message happens to be sent
        self._not_again: dict[str, int] = {}  # jobs that are over or were left before they came, and rounds since
        self._watch: trio.CancelScope | None = None
        self._done = self._failed = self._refused = 0
        self._listener: Listener = self._bus.listen(
            jobs_address(address), *TO_WORKER, handle=self._hear, failed=self._bus_failed
        )

    def __repr__(self) -> str:
        return f"<jobs of {self._worker.name!r}: {self._active} accepted and not over>"

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._taking = False
        self._listener.close()
        if self._watch is not None:
            self._watch.cancel(reason=f"{self._worker.name} takes no more jobs")
        gone = Failure("gone", "the worker ended before it was done")
        for lane in self._lanes.values():
            lane.waiting.clear()
        left = [work for work in self._works.values() if work.wanted and not work.told]
        for work in self._works.values():
            work.why = work.why or gone
            work.scope.cancel(reason=gone.text)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + TO_TELL):
            for work in left:
                await self._tell_answer(work, work.answer or work.answer_with(work.why))
        self._works.clear()

    # -- what the worker asks

    def stop(self) -> None:
        """Take no more jobs. Those that wait while the worker is not active will never be done, and are given back."""
        self._taking = False
        if self._held:
            self._give_back()

    async def wait_idle(self) -> None:
        """Wait until no accepted job is left."""
        await checkpoint()
        while self._active:
            await self._fewer.park()

    def hold(self) -> None:
        """Start no jobs: what is accepted waits for `resume()`."""
        self._held = True
        if not self._taking:
            self._give_back()

    def resume(self) -> None:
        """Start jobs again."""
        self._held = False
        for lane in self._lanes.values():
            self._fill(lane)

    @property
    def requests(self) -> tuple[JobRequest, ...]:
        """The jobs that are running."""
        return tuple(work.request for work in self._works.values() if work.state == "running")

    def statistics(self) -> JobServerStatistics:
        """Counts at this moment."""
        waiting = sum(len(lane.waiting) for lane in self._lanes.values())
        running = sum(lane.running for lane in self._lanes.values())
        kept = len(self._works) - self._active
        return JobServerStatistics(waiting, running, self._done, self._failed, self._refused, kept)

    def _give_back(self) -> None:
        for lane in self._lanes.values():
            for work in tuple(lane.waiting.values()):
                work.stop(Failure("refused", "the worker is not active, and ends"))

    # -- what requesters say

    def _hear(self, message: BusMessage) -> None:
        kind = type(message)
        if kind is JobAsk:
            self._asked(message)  # type: ignore[arg-type]  # by its class
            return
        if isinstance(message, JobKeep | JobCredit | JobLeave | JobProgress):
            work = self._works.get(message.job)
            if work is None:
                if kind is JobKeep:
                    self._refuse(message.job, "gone", STARTED_AGAIN)
                elif kind is JobLeave:
                    self._forget(message.job)
                return
            work.rounds = 0
            if isinstance(message, JobKeep):
                self._repeat(work, message)
            elif isinstance(message, JobCredit):
                if work.out is not None:
                    work.out.take(message.taken)
            elif isinstance(message, JobLeave):
                self._left(work, message.reason)
            else:
                work.progress_asked = True
                if work.state == "running":
                    work.answer_progress()

    def _bus_failed(self, error: Exception) -> None:
        """Nobody will be heard of any more: the worker is told by its own subscription."""
        self._taking = False
        for work in tuple(self._works.values()):
            work.wanted = False
            work.stop(Failure("gone", f"the bus failed: {error!r}"))

    def _asked(self, ask: JobAsk) -> None:
        work = self._works.get(ask.job)
        if work is not None:
            work.rounds = 0
            self._repeat(work, None)
            return
        if ask.job in self._not_again:
            return
        if not self._taking:
            self._refuse(ask.job, "refused", "the worker is ending and takes no more jobs")
            return
        if ask.again and ask.life != life_of(self._runner, self._worker.name):
            self._refuse(ask.job, "gone", STARTED_AGAIN)
            return
        lane = self._lanes.get(ask.name)
        if lane is None:
            has = ", ".join(sorted(repr(name) for name in self._handlers if name is not None)) or "none"
            default = "a default one" if None in self._handlers else "no default one"
            self._refuse(ask.job, "unknown", f"the worker does these: {has}, and {default}")
            return
        if len(lane.waiting) >= MOST_WAITING:
            self._refuse(ask.job, "refused", f"{MOST_WAITING:,} jobs of this name are waiting")
            return
        deadline = float("inf") if ask.seconds is None else trio.current_time() + ask.seconds
        scope = trio.CancelScope(deadline=deadline)
        work = self._works[ask.job] = Work(ask.job, lane.handler, ask.payload, ask.source, self, lane, scope)
        lane.waiting[work.id] = work
        self._active += 1
        self._fill(lane)
        self._look_after()

    def _refuse(self, job: str, status: str, text: str) -> None:
        self._refused += 1
        self.start(self._tell_refusal, JobAnswer(job=job, target=job, status=status, text=text))

    async def _tell_refusal(self, answer: JobAnswer) -> None:
        """Also where the worker is cancelled just now: nobody else knows of it."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + TO_TELL):
            await self.tell(answer)

    def _left(self, work: Work, reason: str | None) -> None:
        work.wanted = False
        if work.state == "over":
            self._forget(work.id)
        else:
            work.stop(Failure("cancelled", reason or "its requester has left it"))

    def _repeat(self, work: Work, keep: JobKeep | None) -> None:
        """Say again what a requester may have missed."""
        if not work.wanted:
            return
        again: list[BusMessage] = []
        if work.out is not None:
            if keep is not None:
                work.out.take(keep.taken)
            again += work.out.missing(0 if keep is None else keep.arrived)
        again.append(JobKnown(job=work.id) if work.answer is None else attrs.evolve(work.answer))
        self.start(self._send_all, work, again)

    async def _send_all(self, work: Work, messages: list[BusMessage]) -> None:
        for message in messages:
            await work.send(message)

    # -- the work

    def _fill(self, lane: Lane) -> None:
        """Start what may be started."""
        while lane.waiting and lane.has_room() and not self._held:
            work = next(iter(lane.waiting.values()))
            if work.scope.deadline <= trio.current_time():
                work.stop(Failure("timeout", "its time was over before its turn came"))
                continue
            del lane.waiting[work.id]
            work.state = "running"
            lane.running += 1
            self.start(self._run, work)

    def dismiss(self, work: Work) -> None:
        """It was waiting, and is to be answered without being done."""
        del work.lane.waiting[work.id]
        work.end()
        self.start(self._dismissed, work)

    async def _dismissed(self, work: Work) -> None:
        try:
            await self._answer(work, work.why)
        finally:
            self._less()

    async def _run(self, work: Work) -> None:
        lane, failure, value, ended = work.lane, None, None, False
        try:
            try:
                with work.scope:
                    value = await getattr(self._worker, work.handler.method)(work.request)
            except Exception as exc:  # noqa: BLE001  (its requester's: see above)
                failure = Failure.of(exc)
                self._log(work, exc)
            if work.why is not None:  # a job that was stopped is no success, whatever its handler gives
                failure = work.why
            elif failure is None and work.scope.cancel_called:
                failure = Failure("timeout", "its time was over while it was being done")
            ended = True
            work.end()
            lane.running -= 1
            self._fill(lane)
            await self._answer(work, failure, value)
        finally:
            if not ended:  # cancelled with the worker: what waits is not begun, and the block answers for what is left
                self._held, self._taking = True, False
                work.end()
                lane.running -= 1
            self._less()

    def _log(self, work: Work, error: Exception) -> None:
        who, what = self._worker.name, "the default job" if work.name is None else f"job {work.name!r}"
        if work.wanted:
            logger.warning("%s: %s for %r failed", who, what, work.source, exc_info=error)
        else:
            logger.error("%s: %s for %r failed after its requester had left it", who, what, work.source, exc_info=error)

    async def _answer(self, work: Work, failure: Failure | None, value: Any = None) -> None:
        self._done += failure is None
        self._failed += failure is not None
        if work.wanted and work.answer is None:
            await self._tell_answer(work, work.answer_with(failure, value))
        if not (work.wanted and self._bus.crosses):
            self._forget(work.id)

    async def _tell_answer(self, work: Work, answer: JobAnswer | JobAnswerUrgent) -> None:
        try:
            await work.send(answer)
        except PipesError as exc:  # it cannot be written for the wire
            self._log(work, exc)
            failure = Failure.of(exc)
            if answer.status != "done":  # what went wrong first matters more
                failure = Failure(
                    answer.status, f"{answer.text} (its payload is missing: {exc})", None, answer.traceback
                )
            await work.send(work.answer_with(failure))
        work.told = True

    def _less(self) -> None:
        self._active -= 1
        if not self._active:
            self._fewer.unpark_all()

    def start(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run it in the worker's nursery."""
        self._context.run(self._nursery.start_soon, function, *args)

    async def tell(self, message: BusMessage) -> object:
        """Send it. What a broker that is away does not take is asked for again."""
        message.source = self._worker.name
        try:
            return await self._bus.send(message)
        except BusError as exc:
            logger.debug("%s: %r was not sent: %s", self._worker.name, message, exc)
            return False

    # -- where the bus crosses to other processes

    def _forget(self, job: str) -> None:
        """Nobody needs its answer any more. It may still arrive, again or for the first time, and is not to be done."""
        self._works.pop(job, None)
        if self._bus.crosses:
            self._not_again[job] = 0
            if len(self._not_again) > MOST_REMEMBERED:
                self._look_after()

    def _look_after(self) -> None:
        if self._bus.crosses and self._watch is None and not self._listener.is_closed:
            self._watch = trio.CancelScope()
            self.start(self._count_rounds, self._watch)

    def _remember_less(self) -> None:
        """A round is over: of the oldest that are too many, forget those that were told a lease ago."""
        for job in self._not_again:
            self._not_again[job] += 1
        for job in [*islice(self._not_again, max(0, len(self._not_again) - MOST_REMEMBERED))]:
            if self._not_again[job] >= ROUNDS:
                del self._not_again[job]

    async def _count_rounds(self, scope: trio.CancelScope) -> None:
        """Stop the jobs of requesters that are not heard of, and the answers of what is over, one lease after the last word."""
        with scope:
            while self._works or len(self._not_again) > MOST_REMEMBERED:
                await trio.sleep(self._bus.lease / ROUNDS)
                self._remember_less()
                for work in tuple(self._works.values()):
                    work.rounds += 1
                    if work.rounds < ROUNDS:
                        continue
                    if work.state == "over":
                        self._forget(work.id)
                    elif work.rounds == ROUNDS:
                        work.wanted = False
                        work.stop(Failure("gone", f"its requester was not heard of for {self._bus.lease:g} s"))
        self._watch = None
