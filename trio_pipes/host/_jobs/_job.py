"""`Job`: work that is asked of another worker, as its requester has it."""

from __future__ import annotations

import math
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, final

import trio
from trio.lowlevel import ParkingLot, checkpoint

from trio_pipes._base import BusError, JobError, PipesError, next_id, shown

from .._bus import BusGap, BusMessage, Listener
from .._worker import Host
from ._directory import ROUNDS, find, is_ready, jobs_address, life_of
from ._failure import Failure
from ._keeper import Keeper, keeper_of
from ._messages import (
    TO_REQUESTER,
    JobAnswer,
    JobAnswerUrgent,
    JobAsk,
    JobChunk,
    JobCredit,
    JobKeep,
    JobLeave,
    JobProgress,
    JobStreamEnd,
    JobUpdate,
    JobUpdateUrgent,
)
from ._stream_in import Chunks, JobStream
from ._updates import UPDATES_KEPT, Updates

__all__ = ["Job"]

# Seconds in which a requester that leaves has to tell the worker. Where that fails, the worker finds out by the lease.
TO_TELL = 2.0


@final
class Job:
    """What `worker.job(...)` gives. `async with` it: entering asks, leaving cancels what has not been done.

    Entering waits until the worker is there and ready. In the block, `async for update in job` gives what the handler tells
    while it works, and ends with the job; `await job.result()` gives its result or raises `JobError`.
    """

    def __init__(
        self,
        runner: Host,
        source: str,
        worker: str,
        name: str | None,
        payload: Any,
        timeout: float | None,
        changed: ParkingLot | None = None,
    ) -> None:
        self.id: str = f"{runner.runner_id}/job-{next_id()}"
        """Tells it from all other jobs on the bus."""
        self.worker: str = worker
        """Of whom it is asked."""
        self.name: str | None = name
        """What is asked; None: the worker's default job."""
        self._runner = runner
        self._bus = runner.bus
        self._source = source
        self._payload = payload
        self._timeout = timeout
        self._deadline = math.inf
        self._changed = ParkingLot() if changed is None else changed
        self._listener: Listener | None = None
        self._address: str | None = None  # where it was asked
        self._life = ""  # which was asked
        self._has_arrived = False
        self._answer: JobAnswer | JobAnswerUrgent | None = None
        self._failure: Failure | None = None
        self._error: PipesError | None = None  # found on this side
        self._updates = Updates()
        self._chunks = Chunks()
        self._stream: JobStream | None = None
        self._discards = False
        self._keeper: Keeper | None = None
        self.over_as: int = 0
        """Which was over earlier has a smaller number."""
        self._rounds = 0  # since the worker was heard of
        self._rests = True
        self.has_gap: bool = False
        """Something was lost on the way from the worker."""

    def __repr__(self) -> str:
        what = "the default job" if self.name is None else f"job {shown(self.name)!r}"
        return f"<{what} of {shown(self.worker)!r}, {'over' if self.is_over else 'not over'}>"

    # -- the block

    async def __aenter__(self) -> Self:
        await self.open()
        try:
            await self.ask()
        except BaseException as exc:
            await self.__aexit__(type(exc), exc, None)  # noqa: ASYNC102  (shielded, with a deadline)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        reason = None if value is None else f"its requester's block was left with {value!r}"
        await self.leave(reason)  # noqa: ASYNC102  (shielded, with a deadline)

    async def open(self) -> None:
        """Be able to hear the worker; from here the time counts."""
        if self._listener is not None:
            raise RuntimeError(f"{self!r} has been asked before: a job is one block, ask again for another")
        if self._timeout is not None:
            self._deadline = trio.current_time() + self._timeout
        self._listener = self._bus.listen(self.id, *TO_REQUESTER, handle=self._hear, failed=self._bus_failed)
        await self._listener.__aenter__()

    async def ask(self) -> None:
        """Find the worker, and ask it. Returns when it has been asked, or its time is over."""
        if not self._bus.crosses and is_ready(self._runner, self.worker) and await self._ask_once():
            return  # nothing to wait for, as a rule
        with trio.move_on_at(self._deadline):
            while True:
                if await self._ask_once():
                    return
                if is_ready(self._runner, self.worker):  # and not ended meanwhile
                    self._end(Failure("refused", "this worker does no jobs, or is ending"))
                    return
        if not self.is_over:
            self._time_is_over()

    async def _ask_once(self) -> bool:
        """False: nobody listens there, or not any more."""
        self._address = jobs_address(await find(self._runner, self.worker))
        self._life = life_of(self._runner, self.worker)
        asked = await self._send(self._asking())
        if not asked:
            self._address = None
        elif self._bus.crosses:
            self._keeper = keeper_of(self._runner)
            self._keeper.add(self)
        return asked

    async def leave(self, reason: str | None = None) -> None:
        """Stop the work if it is not done; nothing more is heard of it."""
        listener = self._listener
        if listener is None or listener.is_closed:
            return
        if self._keeper is not None:
            self._keeper.remove(self)
        try:
            if self._address is not None and (self._answer is None or self._bus.crosses):
                with trio.CancelScope(shield=True, deadline=trio.current_time() + TO_TELL):
                    await self._send_if_possible(JobLeave(job=self.id, reason=reason))
        finally:
            listener.close()
            self._end(Failure("cancelled", "its requester has left it"))

    def cancel_locally(self, reason: str) -> None:
        """It is not waited for any more, though its block goes on (a group)."""
        self._end(Failure("cancelled", reason))

    # -- what is said to the worker

    def _asking(self, *, again: bool = False) -> JobAsk:
        left = None if self._timeout is None else max(0.0, self._deadline - trio.current_time())
        payload, life = self._payload, self._life
        return JobAsk(job=self.id, name=self.name, payload=payload, seconds=left, life=life, again=again)

    async def _send(self, message: BusMessage) -> bool:
        message.source, message.target = self._source, self._address
        return await self._bus.send(message)

    async def _send_if_possible(self, message: BusMessage) -> None:
        """What is said again later, or is not needed."""
        with suppress(BusError):
            await self._send(message)

    def pass_a_round(self) -> BusMessage | None:
        """Where the bus crosses to other processes: what is to be said now, if anything."""
        self._rounds += 1
        if self._rounds >= ROUNDS:
            self._end(Failure("gone", f"nothing was heard of the worker for {self._bus.lease:g} s"))
        self._rests = not self._rests
        return None if self._rests else self.say_again()

    def say_again(self) -> BusMessage | None:
        """That somebody waits, and what has arrived; None: nothing is missing."""
        self.has_gap = False
        if trio.current_time() >= self._deadline:
            self._time_is_over()
        if self.has_all or self._address is None:
            return None
        message: BusMessage
        if self._has_arrived:
            message = JobKeep(job=self.id, taken=self._chunks.taken, arrived=self._chunks.arrived)
        else:
            message = self._asking(again=True)
        message.source, message.target = self._source, self._address
        return message

    def run_is_over(self) -> None:
        """The runner that asked has ended, and hears no more."""
        self._end(Failure("gone", f"the runner {self._runner.name} ended, which asked for it"))

    # -- what the worker says

    def _hear(self, message: BusMessage) -> bool:
        if isinstance(message, BusGap):
            self._note_gap()
            return False
        self._rounds = 0
        self._has_arrived = True
        if isinstance(message, JobUpdate | JobUpdateUrgent):
            if self.is_over:
                return False
            put = self._updates.put if isinstance(message, JobUpdate) else self._updates.put_urgent
            put(message.number, message.data)
            self._changed.unpark_all()
            return len(self._updates) > UPDATES_KEPT // 2  # its sender gives way
        if isinstance(message, JobAnswer | JobAnswerUrgent):
            self._answered(message)
        elif isinstance(message, JobChunk | JobStreamEnd):
            chunks = self._chunks
            whole = chunks.put(message) if isinstance(message, JobChunk) else chunks.end(message)
            if not whole:
                self._note_gap()
            self._changed.unpark_all()
        return False

    def _note_gap(self) -> None:
        self.has_gap = True
        if self._keeper is not None:
            self._keeper.wake()

    def _answered(self, answer: JobAnswer | JobAnswerUrgent) -> None:
        if self.is_over:
            if answer.status != "done":
                self._end(Failure(answer.status, answer.text))
            return
        self._answer = answer
        self._updates.expect(answer.updates)
        if answer.status != "done":
            self._failure = Failure(answer.status, answer.text, answer.value, answer.traceback)
        elif answer.chunks is not None and not self._chunks.is_whole:
            self._chunks.total = answer.chunks
            if not self._chunks.is_whole:
                self._note_gap()
        self._is_over_now()

    def _bus_failed(self, error: Exception) -> None:
        self._end(Failure("gone", f"the bus failed: {error!r}"))

    def _end(self, failure: Failure) -> None:
        """It is over for this side, whatever the worker does."""
        if not self.is_over:
            self._failure = failure
            self._is_over_now()
        elif self.awaits_chunks:  # it is done, and its stream has stopped on the way
            self._chunks.break_off(failure)
            self._changed.unpark_all()

    def _is_over_now(self) -> None:
        self.over_as = next_id()
        self._payload = None
        self._changed.unpark_all()

    def fail(self, error: PipesError) -> None:
        """It could not be asked: raised by `result()` as it is."""
        if not self.is_over:
            self._error = error
            self._is_over_now()

    def _time_is_over(self) -> None:
        if self._address is None:
            state = "is not there" if self._runner.registry.get(self.worker) is None else "is not ready"
            how = f"the worker {state}"
        else:
            how = "the rest of its stream has not come" if self.is_over else "it was asked, and has not answered"
        self._end(Failure("timeout", f"after {self._timeout:g} s {how}"))

    # -- what the requester asks

    @property
    def is_over(self) -> bool:
        """Whether `result()` gives its result, or its error, at once."""
        return self._answer is not None or self._failure is not None or self._error is not None

    @property
    def has_failed(self) -> bool:
        """Whether it is over without a result."""
        return self._failure is not None or self._error is not None

    @property
    def failure(self) -> Failure | None:
        """What went wrong at the worker, or on the way to it and back."""
        return self._failure

    @property
    def value(self) -> Any:
        """The result, where there is one."""
        return None if self._answer is None else self._answer.value

    @property
    def error(self) -> PipesError:
        """What is raised for it, where it has failed; a new one each time."""
        if self._error is not None:
            return self._error
        assert self._failure is not None
        return self.error_of(self._failure)

    async def wait_over(self) -> None:
        """Until there is a result, or an error."""
        while not self.is_over:
            await self._wait()

    @property
    def awaits_chunks(self) -> bool:
        """It is done, and chunks of its stream are still on their way."""
        return self._failure is None and self._chunks.total is not None and not self._chunks.is_whole

    @property
    def has_all(self) -> bool:
        """Nothing more is waited for."""
        return self.is_over and (self._discards or not self.awaits_chunks)

    @property
    def dropped(self) -> int:
        """Updates that were lost on their way, or made room for newer ones while nobody read them (64 are kept)."""
        return self._updates.dropped

    @property
    def deadline(self) -> float:
        """When its time is over, on Trio's clock; infinite without a timeout."""
        return self._deadline

    async def result(self) -> Any:
        """The result, as often as it is asked for. Raises `JobError`, or `JobTimeout` where its time is over.

        Called before `stream()`, it gives up the stream, which is then not waited for.
        """
        if self._stream is None and not self._discards:
            self._discards = True
        if self.is_over:
            await checkpoint()
        while not self.is_over:
            await self._discard()
            if not self.is_over:
                await self._wait()
        if self.has_failed:
            raise self.error
        return self.value

    async def _discard(self) -> None:
        """A stream that nobody reads is let flow."""
        chunks = self._chunks
        if self._stream is None and chunks.waiting:
            chunks.taken += len(chunks.waiting)
            chunks.waiting.clear()
            await self._tell_taken(chunks.taken)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """What the handler tells next."""
        if self._updates or self.is_over:
            await checkpoint()
        while True:
            if (update := self.take_update()) is not None:
                return update[0]
            if self.is_over:
                raise StopAsyncIteration
            await self._wait()

    def take_update(self) -> tuple[Any] | None:
        """An update that has come and not been read."""
        return (self._updates.take(),) if self._updates else None

    def stream(self) -> JobStream:
        """The stream that the handler opens, or opened: `async for chunk in job.stream()`. There is one."""
        if self._discards:
            raise RuntimeError(
                f"{self!r}: result() was called first, which gives up the stream: read the stream before"
            )
        if self._stream is None:
            self._stream = JobStream(self, self._chunks, self._wait, self._tell_taken)
        return self._stream

    async def _tell_taken(self, taken: int) -> None:
        await self._send_if_possible(JobCredit(job=self.id, taken=taken))
        self._chunks.told = taken

    async def ask_progress(self) -> None:
        """Ask how far it is: the handler may answer with an update. Does nothing when the job is over."""
        await checkpoint()
        if not self.is_over and self._address is not None:
            await self._send_if_possible(JobProgress(job=self.id))

    def error_of(self, failure: Failure) -> JobError:
        """What is raised for it; a new one each time."""
        return failure.error(worker=self.worker, job=self.name, job_id=self.id)

    async def _wait(self) -> None:
        """Until something has changed, or the time is over."""
        if self._deadline == math.inf:
            await self._changed.park()
            return
        with trio.move_on_at(self._deadline) as scope:
            await self._changed.park()
        if scope.cancelled_caught:
            self._time_is_over()
