"""`Keeper`: the one task of a runner that keeps alive the jobs it has asked for, where the bus crosses to other processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, final
from weakref import WeakKeyDictionary

import trio

from trio_pipes._base import BusError

from .._bus import Bus, BusMessage
from .._worker import Host
from ._directory import ROUNDS

__all__ = ["Keeper", "keeper_of"]

# Seconds from a gap to the question what was lost in it, so that a hail of gaps is one question.
AFTER_A_GAP = 0.1


class Kept(Protocol):
    """A job that was asked for."""

    has_gap: bool

    @property
    def has_all(self) -> bool:
        """Nothing more is waited for."""
        ...

    def pass_a_round(self) -> BusMessage | None:
        """What is to be said now."""

    def say_again(self) -> BusMessage | None:
        """What is to be said after a gap."""

    def run_is_over(self) -> None:
        """Nobody hears of it any more."""


@final
class Keeper:
    """Says for each job, every other round, that somebody waits; and at once where something was lost."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._jobs: dict[Kept, None] = {}
        self._woken = trio.Event()
        self._rests = True  # until there is a job; else it looks at the jobs in each round

    def add(self, job: Kept) -> None:
        """It was asked for."""
        if self._rests:
            self.wake()
        self._jobs[job] = None

    def remove(self, job: Kept) -> None:
        """It was left."""
        self._jobs.pop(job, None)

    def wake(self) -> None:
        """Something is to be done now."""
        self._woken.set()

    def run_is_over(self) -> None:
        """The runner's run has ended."""
        for job in tuple(self._jobs):
            job.run_is_over()
        self._jobs.clear()

    async def serve(self) -> None:
        """The task."""
        one_round = self._bus.lease / ROUNDS
        while True:
            while not self._jobs:
                self._rests = True
                await self._wait()
            self._rests = False
            messages: list[BusMessage] = []
            next_round = trio.current_time() + one_round
            while self._jobs:
                with trio.move_on_at(next_round):  # a broker that is away takes nothing: time counts all the same
                    while True:
                        await self._say(messages)
                        await self._wait()
                        await trio.sleep(AFTER_A_GAP)
                        messages = self._collect(lambda job: job.say_again() if job.has_gap else None)
                next_round = trio.current_time() + one_round
                messages = self._collect(lambda job: job.pass_a_round())

    async def _wait(self) -> None:
        await self._woken.wait()
        self._woken = trio.Event()

    def _collect(self, what: Callable[[Kept], BusMessage | None]) -> list[BusMessage]:
        messages = [message for job in self._jobs if (message := what(job)) is not None]
        for job in [job for job in self._jobs if job.has_all]:
            self.remove(job)
        return messages

    async def _say(self, messages: list[BusMessage]) -> None:
        for message in messages:
            with suppress(BusError):
                await self._bus.send(message)


_keepers: WeakKeyDictionary[Host, Keeper] = WeakKeyDictionary()


def keeper_of(runner: Host) -> Keeper:
    """The keeper of a runner, made when it first asks for a job."""
    keeper = _keepers.get(runner)
    if keeper is None:
        keeper = _keepers[runner] = Keeper(runner.bus)
        runner._serve_also(keeper)
    return keeper
