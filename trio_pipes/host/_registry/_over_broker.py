"""How a registry reaches those of other processes: what it says and hears, and when it believes that somebody has gone.

# Tasks.
#
# One says what there is to say: changes (those of one moment together, and at most fifty times a second), a beat
# each third of a lease, snapshots for those who asked. One looks at leases. Two see to names. What is heard needs
# none: it is taken in as it arrives. What cannot be said because the broker is away is not kept: the version in
# a later beat tells the others that they missed something, and they ask. Nothing here needs a message to arrive.
#
# A process whose loop was held up has not heard what others said meanwhile, so it gives them the time of a
# beat before it believes that they are gone.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_pipes._base import BusError, ConfigurationError, WireError, is_default_name, refuse
from trio_pipes.host._bus import Bus, BusGap, BusMessage, Listener

from ._announced import Announced, row_of
from ._directory import Directory
from ._info import WorkerInfo
from ._leased_names import LeasedNames
from ._messages import RegistryBeat, RegistryGoodbye, RegistryMessage, RegistryQuestion
from ._refusals import RUNNER, lost_worker, refused_runner, refused_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["Beside", "OverBroker"]

logger = logging.getLogger("trio_pipes")

# Seconds between two announcements, so that workers which come one after the other are told together.
PAUSE: Final = 0.02

# Seconds that saying goodbye may take when the broker does not answer.
LAST_WORD: Final = 2.0


class Beside(Protocol):
    """What is done for a runner besides, as long as it runs: as the jobs that it asks for are kept alive."""

    async def serve(self) -> None:
        """The task. It is cancelled when the call that hosts it ends, and started in another one if there is one."""

    def run_is_over(self) -> None:
        """The runner's run has ended."""


class OverBroker:
    """How the registry of one runner reaches those of others through a broker."""

    def __init__(
        self, bus: Bus, runner: str, runner_id: str, directory: Directory, lost: Callable[[str, Exception], None]
    ) -> None:
        self._bus = bus
        self._runner = runner
        self._runner_id = runner_id
        self._directory = directory
        self._lost = lost
        self._announced = Announced(runner_id, bus.lease)
        self._names = LeasedNames(bus, runner_id, self._lost_name)
        self._listener: Listener | None = None
        self._failure: Exception | None = None  # of the bus, for good
        self._homes: list[trio.Nursery] = []  # of the calls that are open
        self._home: trio.Nursery | None = None  # where the tasks are
        self._tasks = trio.CancelScope()
        self._tasks_gone: trio.Event | None = None
        self._nursery: trio.Nursery | None = None  # of the tasks
        self._also: list[Beside] = []
        self._news = trio.Event()
        self._beat_due = 0.0
        self._last_beat = -math.inf
        self._ask_due = math.inf  # to ask everybody for a beat
        self._last_ask = -math.inf
        self._askers: dict[str, None] = {}

    # -- its life

    async def open(self) -> None:
        """Listen, and own the runner's name if it was given one. Raises `DuplicateName` and `BusError`."""
        self._failure = None
        listener = self._bus.listen(self._runner_id, RegistryMessage, handle=self._hear, failed=self._bus_failed)
        await listener.__aenter__()
        try:
            if not is_default_name(self._runner):
                await self._send(RegistryQuestion(source=self._runner_id))  # is there one of this name?
                taken = await self._insist(self._names.hold_first, RUNNER + self._runner)
                if taken is not None:
                    raise refused_runner(self._runner, taken)
        except BaseException:
            listener.close()
            self._directory.clear("the registry that says so could not join")
            raise
        self._listener = listener
        self._ask_due = trio.current_time()

    def serve_in(self, nursery: trio.Nursery) -> None:
        """A call's nursery, where its tasks may be until `leave`."""
        self._homes.append(nursery)
        if self._home is None:
            self._start(nursery)

    def _start(self, nursery: trio.Nursery) -> None:
        before, self._tasks_gone = self._tasks_gone, trio.Event()
        # Workers that clean up after a cancel still have their names. Its cancel always comes from `leave`.
        self._tasks = trio.CancelScope(shield=True)
        self._home = nursery
        nursery.start_soon(self._serve, self._tasks, before, self._tasks_gone, name=f"registry of {self._runner}")

    def leave(self, nursery: trio.Nursery) -> None:
        """This call ends."""
        if nursery in self._homes:
            self._homes.remove(nursery)
        if nursery is self._home:
            self._home = None
            self._tasks.cancel(reason=f"a call of {self._runner} ends")
            if self._homes:
                self._start(self._homes[0])

    def serve_also(self, beside: Beside) -> None:
        """One more task beside its own, from now on whenever the runner runs."""
        self._also.append(beside)
        if self._nursery is not None:
            self._nursery.start_soon(beside.serve)

    async def close(self) -> None:
        """Tell the others that the runner has gone, and give its names back."""
        for beside in self._also:
            beside.run_is_over()
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_WORD):
            await self._send(self._announced.goodbye())
            await self._names.close()
        self._directory.clear("the registry that says so has left the bus")

    async def _serve(self, scope: trio.CancelScope, before: trio.Event | None, gone: trio.Event) -> None:
        try:
            with scope:
                if before is not None:
                    await before.wait()
                async with trio.open_nursery() as self._nursery:
                    nursery = self._nursery
                    for beside in self._also:
                        nursery.start_soon(beside.serve)
                    nursery.start_soon(self._look_at_leases)
                    nursery.start_soon(self._names.serve)
                    nursery.start_soon(self._names.renew)
                    await self._speak()
        finally:
            if self._tasks is scope:
                self._nursery = None
            gone.set()

    # -- what the registry does

    async def hold(self, name: str) -> None:
        """Make the runner the owner of a name. Raises `DuplicateName`, and `BusError` when the broker is away for long."""
        if name != name.encode(errors="replace").decode():
            raise refuse("PipelineRunner.add_workers(worker.name", name, "a name that can be written in UTF-8")
        taken = await self._insist(self._names.hold, name)
        if taken is not None:
            raise refused_worker(self._runner, name, taken)

    async def _insist(self, hold: Callable[[str], Awaitable[str | None]], name: str) -> str | None:
        """Own a name. One whose owner is not heard of was perhaps that of a process that was killed: wait for its lease."""
        patience = trio.current_time() + 1.5 * self._bus.lease
        while True:
            owner = await hold(name)
            if owner is None or self._directory.has_heard_of(owner) or trio.current_time() >= patience:
                return owner
            await trio.sleep(self._bus.lease / 12)

    def put(self, info: WorkerInfo) -> None:
        """Tell of a worker that has come or changed."""
        self._announced.put(row_of(info))
        self._news.set()

    def remove(self, name: str) -> None:
        """Give the name of a worker back, and then tell that the worker has gone."""

        def tell() -> None:
            self._announced.remove(name)
            self._news.set()

        self._names.give_back(name, tell)

    def _lost_name(self, name: str) -> None:
        if name == RUNNER + self._runner:  # nobody is addressed by it
            logger.warning(
                "%s is not the only runner of its name on this bus any more: its lease had run out", self._runner
            )
        else:
            self._lost(name, lost_worker(self._runner, name))

    # -- said

    async def _speak(self) -> None:
        self._beat_due = trio.current_time()
        while self._failure is None:
            self._news = trio.Event()
            for message in self._to_say():
                await self._send(message)
            await trio.sleep(PAUSE)
            with trio.move_on_at(min(self._beat_due, self._ask_due)):
                await self._news.wait()
        raise self._failure

    def _to_say(self) -> Iterator[RegistryMessage]:
        now = trio.current_time()
        is_due = self._beat_due <= now
        changes = self._announced.changes()
        if is_due or changes:  # which are a sign of life as good as a beat
            self._last_beat = now
            self._beat_due = now + self._bus.lease / 3
        if is_due and not changes:
            yield self._announced.beat()
        yield from changes
        if self._ask_due <= now:
            self._last_ask, self._ask_due = now, math.inf
            yield RegistryQuestion(source=self._runner_id)
        while self._directory.questions:
            target = next(iter(self._directory.questions))
            del self._directory.questions[target]
            yield RegistryQuestion(source=self._runner_id, target=target)
        if self._askers:
            while self._announced.has_news:  # since we have begun to speak
                yield from self._announced.changes()
            askers, self._askers = self._askers, {}
            yield from self._announced.snapshot(next(iter(askers)) if len(askers) == 1 else None)

    async def _send(self, message: RegistryMessage) -> None:
        try:
            await self._bus.send(message)
        except BusError as exc:  # the next beat shows that something is missing
            logger.debug("%s could not say %s: %s", self._runner_id, type(message).__name__, exc)
        except (ConfigurationError, WireError) as exc:  # a name that cannot be carried, perhaps that of who asked
            logger.warning("%s could not say %s: %s", self._runner_id, type(message).__name__, exc)

    # -- heard

    def _hear(self, message: BusMessage) -> None:
        if isinstance(message, RegistryBeat | RegistryGoodbye):
            self._directory.hear(message, trio.current_time())
            if self._directory.questions:
                self._news.set()
            return
        # Soon, but where much is lost those who ask because of it must not flood the bus.
        now, rest = trio.current_time(), self._bus.lease / 50
        if isinstance(message, BusGap):
            self._ask_due = min(self._ask_due, max(now, self._last_ask + rest))
        elif isinstance(message, RegistryQuestion) and message.target is not None:
            self._askers[message.source] = None
        self._beat_due = min(self._beat_due, max(now, self._last_beat + rest))
        self._news.set()

    def _bus_failed(self, error: Exception) -> None:
        self._failure = error
        self._news.set()

    async def _look_at_leases(self) -> None:
        tick = self._bus.lease / 12
        while True:
            planned = trio.current_time() + tick
            await trio.sleep_until(planned)
            now = trio.current_time()
            if now > planned + tick:
                self._directory.excuse(now)
            else:
                self._directory.expire(now)
