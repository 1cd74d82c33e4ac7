"""How a registry reaches those of other processes: what it says and hears, and when it believes that somebody has gone.

# Tasks.
#
# One says what there is to say: changes (those of one moment together, and at most fifty times a second), a beat
# each third of a lease, snapshots for those who asked. One listens. One looks at leases. Two see to names. What
# cannot be said because the broker is away is not kept: the version in a later beat tells the others that they missed
# something, and they ask. Nothing here needs a message to arrive.
#
# A process whose loop was held up has not heard what others said meanwhile, so it gives them the time of a
# beat before it believes that they are gone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from trio_pipes._base import BusError, is_default_name
from trio_pipes.host._bus import Bus, BusGap, BusMessage, Subscription

from ._announced import Announced, row_of
from ._directory import Directory
from ._info import WorkerInfo
from ._leased_names import LeasedNames
from ._messages import RegistryBeat, RegistryGoodbye, RegistryMessage, RegistryQuestion
from ._refusals import RUNNER, lost_worker, refused_runner, refused_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["OverBroker"]

logger = logging.getLogger("trio_pipes")

# Seconds between two announcements, so that workers which come one after the other are told together.
PAUSE: Final = 0.02

# Seconds that saying goodbye may take when the broker does not answer.
LAST_WORD: Final = 2.0


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
        self._subscription: Subscription | None = None
        self._homes: list[trio.Nursery] = []  # of the calls that are open
        self._home: trio.Nursery | None = None  # where the tasks are
        self._tasks = trio.CancelScope()
        self._tasks_gone: trio.Event | None = None
        self._news = trio.Event()
        self._beat_due = 0.0
        self._asks_all = True
        self._askers: dict[str, None] = {}

    # -- its life

    async def open(self) -> None:
        """Listen, and own the runner's name if it was given one. Raises `DuplicateName` and `BusError`."""
        subscription = self._bus.subscribe(self._runner_id, RegistryMessage)
        await subscription.__aenter__()
        try:
            if not is_default_name(self._runner):
                taken = await self._names.hold_first(RUNNER + self._runner)
                if taken is not None:
                    raise refused_runner(self._runner, taken)
        except BaseException:
            subscription.close()
            raise
        self._subscription = subscription
        self._asks_all = True

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

    async def close(self) -> None:
        """Tell the others that the runner has gone, and give its names back."""
        if self._subscription is None:
            return
        self._subscription.close()
        self._subscription = None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_WORD):
            await self._send(self._announced.goodbye())
            await self._names.close()
        self._directory.clear("the registry that says so has left the bus")

    async def _serve(self, scope: trio.CancelScope, before: trio.Event | None, gone: trio.Event) -> None:
        try:
            with scope:
                if before is not None:
                    await before.wait()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen)
                    nursery.start_soon(self._look_at_leases)
                    nursery.start_soon(self._names.serve)
                    nursery.start_soon(self._names.renew)
                    await self._speak()
        finally:
            gone.set()

    # -- what the registry does

    async def hold(self, name: str) -> None:
        """Make the runner the owner of a name. Raises `DuplicateName`, and `BusError` when the broker is away for long."""
        taken = await self._names.hold(name)
        if taken is not None:
            raise refused_worker(self._runner, name, taken)

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
        while True:
            self._news = trio.Event()
            for message in self._to_say():
                await self._send(message)
            await trio.sleep(PAUSE)
            with trio.move_on_at(self._beat_due):
                await self._news.wait()

    def _to_say(self) -> Iterator[RegistryMessage]:
        now = trio.current_time()
        for change in self._announced.changes():  # a sign of life as good as a beat
            self._beat_due = now + self._bus.lease / 3
            yield change
        if self._beat_due <= now:
            self._beat_due = now + self._bus.lease / 3
            yield self._announced.beat()
        if self._asks_all:
            self._asks_all = False
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

    # -- heard

    async def _listen(self) -> None:
        assert self._subscription is not None
        async for message in self._subscription:
            self._hear(message)

    def _hear(self, message: BusMessage) -> None:
        if isinstance(message, RegistryBeat | RegistryGoodbye):
            self._directory.hear(message, trio.current_time())
            if self._directory.questions:
                self._news.set()
            return
        if isinstance(message, BusGap):
            self._asks_all = True
        elif isinstance(message, RegistryQuestion) and message.target is not None:
            self._askers[message.source] = None
        self._beat_due = trio.current_time()
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
