"""What a scenario is, what it finds on its stage, and what it reports."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from .brokers import BROKERS, Broker
from .network import Machine, Network
from .process import Process
from .verdict import Account, judge

LEASE = 3.0  # seconds; short, so that many leases pass in a scenario


@attrs.define
class Report:
    """What came of one scenario."""

    scenario: str
    broker: str
    figures: dict[str, str] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    seconds: float = 0

    def __str__(self) -> str:
        figures = "; ".join(f"{name}: {value}" for name, value in self.figures.items())
        line = f"{'FAIL' if self.problems else 'ok  '} {self.broker:<8} {self.scenario:<22} {self.seconds:5.1f} s  {figures}"
        return "\n".join([line, *(f"     - {problem}" for problem in self.problems)])


@attrs.define(eq=False)
class Stage:
    """A network with a broker on it, where a scenario plays."""

    network: Network
    broker: Broker
    report: Report
    members: dict[str, Process] = attrs.field(factory=dict)
    locks: dict[str, trio.Lock] = attrs.field(factory=dict)
    """What a fault has to itself, by name."""
    frozen: dict[str, float] = attrs.field(factory=dict)
    """Seconds that a member had no time, in all."""

    async def machine(self, name: str, *, wall_shift: float | None = None) -> Machine:
        """The machine of this name; a new one, if there is none yet."""
        if name in self.network.machines:
            return self.network.machines[name]
        return await self.network.machine(name, wall_shift=wall_shift)

    async def member(
        self, machine: Machine, name: str, *, lease: float = LEASE, send_timeout: float = 30, ready: bool = True
    ) -> Process:
        """A process of ours with a runner of this name on the bus. Comes back when it is up, unless `ready` is False."""
        options = [self.broker.url, f"--name={name}", f"--lease={lease}", f"--send-timeout={send_timeout}"]
        member = await machine.start(sys.executable, "-m", "chaos.member", *options, name=name)
        self.members[name] = member
        if ready:
            await member.wait_for("up", within=30)
        return member

    def figure(self, name: str, value: float | str) -> None:
        """Something that was measured; a number is in seconds."""
        self.report.figures[name] = value if isinstance(value, str) else f"{value:.2f} s"

    def within(self, name: str, seconds: float, limit: float) -> None:
        """A time, and what it may be."""
        self.figure(name, seconds)
        if seconds > limit:
            self.report.problems.append(f"{name}: {seconds:.2f} s, and it may be {limit:.2f} s")

    def check(self, truth: object, problem: str) -> None:
        """Something that must hold."""
        if not truth:
            self.report.problems.append(problem)

    def judge(self, *pairs: tuple[Process, str, Process, str]) -> Account:
        """The accounts of these senders and receivers: talker, source, listener, ear."""
        whole = Account()
        for talker, source, listener, ear in pairs:
            whole += judge(talker, source, listener, ear)
        self.report.problems += whole.problems
        self.figure("messages", str(whole))
        return whole


@attrs.frozen
class Scenario:
    """One fault, or one kind of them."""

    name: str
    act: Callable[[Stage], Awaitable[Any]]
    within: float
    """Seconds after which it hangs."""
    brokers: tuple[str, ...]
    broker_shift: float | None
    """Seconds that the broker's wall clock is ahead at the beginning; None: it will not be shifted."""


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *, within: float = 90, brokers: tuple[str, ...] = tuple(BROKERS), broker_shift: float | None = None
) -> Callable[[Any], Any]:
    """Put a function among the scenarios, under its name."""

    def put(act: Callable[[Stage], Awaitable[Any]]) -> Callable[[Stage], Awaitable[Any]]:
        name = act.__name__.replace("_", "-")
        SCENARIOS[name] = Scenario(name, act, within, brokers, broker_shift)
        return act

    return put
