"""One open link between two buses: what comes, what goes, and who stands for whom.

# Names and answers.
#
# For each name that is reached, and that the other end exposes and says is ready, a `StandIn` is added to the runner: the registry
# knows it, its name is claimed as any other, and whoever sends to it sends to the link. Answers go to addresses below a runner's
# id; those of the other end's runner are caught by a subscription of "<id>/". Broadcasts cross where `forward` names
# their class, and never go back where they came from: they are sent here under a source of the other end's.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

import attrs
import trio

from trio_pipes._base import BusError, Codec, WireError
from trio_pipes.host import Bus, BusGap, BusMessage, Host, SystemMessage, WorkerChange

from ._jobs_across import JobsAcross, answers_to, refusal
from ._outbox import Outbox
from ._rules import Rules
from ._stand_in import BUFFER, StandIn, carry_all
from ._words import PROTOCOL, Gap, Hello, Names, Refused

__all__ = ["Counts", "Link", "ProxyRefused", "Wire"]

logger = logging.getLogger("trio_pipes")

# Runners at the other end whose workers ask for jobs here.
MOST_TOPICS: Final = 1000


class Wire(Protocol):
    """What carries bytes: a websocket connection."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes | None:
        """None: it is closed."""
        ...


class ProxyRefused(Exception):
    """The other end is none that this one can work with: its text says why."""


@attrs.define
class Counts:
    """What has crossed a proxy."""

    sent: int = 0
    received: int = 0
    refused_here: int = 0
    """Messages from the other end that were not let in."""
    refused_there: int = 0
    lost: int = 0
    """Messages for the other end that did not fit while the link was slow, or that a bus could not carry."""


class Link:
    """Serves one connection until it is closed."""

    def __init__(self, owner: str, runner: Host, rules: Rules, codec: Codec, counts: Counts) -> None:
        self._owner = owner
        self._runner = runner
        self._bus: Bus = runner.bus
        self._rules = rules
        self._codec = codec
        self._counts = counts
        self._outbox = Outbox()
        self._jobs = JobsAcross()
        self._nursery: trio.Nursery | None = None
        self._answered: set[str] = set()  # topics of which answers are carried
        self._stand_ins: dict[str, StandIn] = {}
        self._said_why: set[str] = set()
        self.peer: str = "the other end"

    async def meet(self, wire: Wire) -> str:
        """Say hello; gives the id of the runner at the other end."""
        await wire.send(self._codec.encode(Hello(PROTOCOL, self._runner.runner_id, self._bus.id)))
        data = await wire.receive()
        if data is None:
            raise ProxyRefused("the connection was closed before a word was said")
        word = self._codec.decode(data, self.peer)
        if not isinstance(word, Hello):
            raise ProxyRefused(f"{self.peer} began with a {type(word).__name__}, expected Hello")
        if word.protocol != PROTOCOL:
            raise ProxyRefused(f"{self.peer} speaks version {word.protocol} of this protocol, expected {PROTOCOL}")
        if word.bus == self._bus.id:
            raise ProxyRefused(f"{self.peer} is on the bus that it would be joined to")
        self.peer = word.runner
        return word.runner

    async def serve(self, wire: Wire, task_status: trio.TaskStatus[None]) -> None:
        """Carry messages until `wire` closes."""
        async with trio.open_nursery() as self._nursery:
            nursery = self._nursery
            try:
                nursery.start_soon(self._write, wire)
                await self._hear_answers(self.peer)
                await nursery.start(self._carry_broadcasts)
                nursery.start_soon(self._tell_names)
                task_status.started()
                while (data := await wire.receive()) is not None:
                    await self._take(data)
            finally:
                for stand_in in self._stand_ins.values():
                    stand_in.cancel("the link is closed")
            nursery.cancel_scope.cancel(reason="the link is closed")

    async def end_jobs(self) -> None:
        """Tell both parties of each job that went through the link that it is over."""
        for message in self._jobs.last_words(self.peer):
            await self._give(message)

    async def tell_gap(self, missed: int | None) -> None:
        """Tell this side's subscribers that messages of the other one were lost."""
        await self._give(BusGap(peer=self.peer, missed=missed))

    # -- out

    def _say(self, word: object) -> None:
        self._put_urgent(self._codec.encode(word))

    def _put_urgent(self, data: bytes) -> None:
        if not self._outbox.put_urgent(data) and self._nursery is not None:
            self._warn(f"{self.peer} does not read: the link is closed")
            self._nursery.cancel_scope.cancel(reason=f"{self.peer} does not read")

    async def _write(self, wire: Wire) -> None:
        """The only task that writes: a send that is cancelled in the middle would spoil the connection for others."""
        while True:
            await wire.send(await self._outbox.take())

    async def _carry(self, message: BusMessage) -> None:
        here = self._runner.runner_id
        if message.source and message.source.partition("/")[0] not in (*self._rules.expose, here):
            message = attrs.evolve(message, source=f"{here}/{message.source}")  # who sends need not be known there
        try:
            data = self._codec.encode(message)
        except WireError as exc:  # its sender has sent it to a name that is far away; others must not suffer for it
            self._counts.lost += 1
            logger.error("%s: a message from %r cannot cross: %s", self._owner, message.source, exc)
            return
        self._counts.sent += 1
        self._jobs.goes(message)
        if isinstance(message, SystemMessage):
            self._put_urgent(data)
        else:
            await self._outbox.put(data)

    def _lost(self, count: int) -> None:
        self._counts.lost += count
        self._say(Gap(count))

    async def _carry_answers(
        self, runner: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with self._bus.subscribe(f"{runner}/", buffer=BUFFER, overflow="drop_oldest") as messages:
            task_status.started()
            await carry_all(messages, self._carry, self._lost)

    async def _carry_broadcasts(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        if not self._rules.forward:
            task_status.started()
            return
        subscription = self._bus.subscribe(
            f"{self._runner.runner_id}/{self._owner}", *self._rules.forward, buffer=BUFFER, overflow="drop_oldest"
        )
        async with subscription as messages:
            task_status.started()
            async for message in messages:
                theirs = message.source.partition("/")[0] in (*self._rules.reach, self.peer)
                if isinstance(message, self._rules.forward) and not theirs:
                    await self._carry(message)

    async def _tell_names(self) -> None:
        """Say which of the exposed workers are ready, whenever that changes."""
        if not self._rules.expose:
            return
        ready: set[str] = set()
        async with self._runner.registry.watch(*sorted(self._rules.expose)) as events:
            async for event in events:
                (ready.add if event.kind is not WorkerChange.GONE else ready.discard)(event.worker.name)
                self._say(Names(sorted(ready)))

    # -- in

    async def _take(self, data: bytes) -> None:
        try:
            word = self._codec.decode(data, self.peer)
        except WireError as exc:
            self._refuse(str(exc))
            return
        match word:
            case Names():
                await self._know(set(word.ready) & self._rules.reach)
            case Gap():
                await self.tell_gap(word.missed)
            case Refused():
                self._counts.refused_there += 1
                self._warn(f"{self.peer} did not let a message in: {word.what}")
            case _:
                await self._let_in(word)

    async def _let_in(self, message: object) -> None:
        why = self._rules.why_not(message, self._runner.runner_id, self.peer, self._jobs.asked_from)
        if why is not None or not isinstance(message, BusMessage):
            self._refuse(why or "", message)
            return
        self._counts.received += 1
        self._jobs.comes(message)
        await self._hear_answers(answers_to(message))
        why = await self._give(message)
        if why is not None:
            self._say(refusal(message, why) or Refused(why))

    async def _give(self, message: BusMessage) -> str | None:
        """To the bus on this side. One that cannot carry it loses that message, and not the link; gives why."""
        try:
            return None if await self._bus.send(message) else f"{message.target!r} is not there"
        except (BusError, WireError) as exc:
            self._counts.lost += 1
            self._warn(f"a message from {self.peer} was lost: {exc}")
            return "the bus there could not carry it"

    async def _hear_answers(self, topic: str | None) -> None:
        """Requesters may be on other runners of the bus at the other end."""
        if topic is None or topic in self._answered or len(self._answered) >= MOST_TOPICS:
            return
        if topic == self._runner.runner_id or topic in self._runner.registry.runners:
            return  # of this bus
        assert self._nursery is not None
        self._answered.add(topic)
        await self._nursery.start(self._carry_answers, topic)

    def _refuse(self, why: str, message: object = None) -> None:
        self._counts.refused_here += 1
        self._say((refusal(message, why) if isinstance(message, BusMessage) else None) or Refused(why))
        self._warn(f"a message from {self.peer} was refused: {why}")

    def _warn(self, text: str) -> None:
        """Once for each text, and only so many: a hostile end must not fill the log."""
        if text not in self._said_why and len(self._said_why) < 100:
            self._said_why.add(text)
            logger.warning("%s: %s", self._owner, text)

    async def _know(self, ready: set[str]) -> None:
        """These of the other end's workers are ready, and no others."""
        for name in tuple(self._stand_ins):
            if name not in ready:
                self._stand_ins.pop(name).cancel(f"{name!r} is gone from {self.peer}")
                for message in self._jobs.last_words(self.peer, worker=name):
                    await self._give(message)
        for name in sorted(ready - set(self._stand_ins)):
            self._stand_ins[name] = StandIn(name, self._bus, self._carry, self._lost)
            self._runner.add_workers(self._stand_ins[name], isolated=True, parent=self._owner)
