"""Scenario: one fault after another, at random, among three that talk to each other."""

from __future__ import annotations

import random
import secrets

import trio

from .links import EVERY, QUIET
from .scenario import Stage, scenario

FAULTS = 12
NAMES = ("one", "two", "three")


@scenario(within=240)
async def storm(stage: Stage) -> None:
    """Cuts, freezes and dead brokers, some at the same time, each for up to two leases; then it is calm, and everybody hears everybody."""
    seed = secrets.token_hex(4)
    stage.figure("seed", seed)
    chance = random.Random(seed)
    members = {name: await stage.member(await stage.machine(name), name, send_timeout=4) for name in NAMES}
    for name, member in members.items():
        for ear in ("ear", "all"):
            await member.tell(do="hear", ear=f"{name}-{ear}", buffer=100_000)
            await member.wait_for("hears", ear=f"{name}-{ear}")
    pairs = []
    for name, member in members.items():
        await member.tell(do="talk", source=f"{name}-cried", every=EVERY, size=2000)
        for other in NAMES:
            if other != name:
                await member.tell(do="talk", source=f"{name}-to-{other}", to=f"{other}-ear", every=EVERY)
                pairs += [(member, f"{name}-to-{other}", members[other], f"{other}-ear")]
                pairs += [(member, f"{name}-cried", members[other], f"{other}-all")]
    kinds: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(FAULTS):
            await trio.sleep(chance.uniform(0.2, 4))
            kind = chance.choice(["cut", "cut", "freeze", "broker", "broker cut"])
            kinds.append(kind)
            nursery.start_soon(fault, stage, kind, chance.choice(NAMES), chance.uniform(0.1, 6))
    stage.figure("faults", ", ".join(f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))))
    await trio.sleep(10)
    for name, member in members.items():
        for source in (f"{name}-cried", *(f"{name}-to-{other}" for other in NAMES if other != name)):
            await member.tell(do="hush", source=source)
            await member.wait_for("silent", source=source)
    await trio.sleep(QUIET)
    stage.judge(*pairs)
    for talker, source, listener, ear in pairs:
        last = max(line["n"] for line in talker.all("sent", source=source))
        stage.check(
            listener.all("got", ear=ear, source=source, n=last), f"{source} to {ear}: not the last one, in the calm"
        )


async def fault(stage: Stage, kind: str, name: str, seconds: float) -> None:
    """One of them. What is cut or frozen or dead already is left to whom it concerns."""
    lock = stage.locks.setdefault("broker" if "broker" in kind else name, trio.Lock())
    async with lock:
        if kind == "cut":
            machine = stage.network.machines[name]
            await machine.cut()
            await trio.sleep(seconds)
            await machine.heal()
        elif kind == "freeze":
            stage.members[name].freeze()
            await trio.sleep(seconds)
            stage.members[name].thaw()
        elif kind == "broker cut":
            await stage.broker.machine.cut()
            await trio.sleep(seconds)
            await stage.broker.machine.heal()
        else:
            await stage.broker.kill()
            await trio.sleep(seconds)
            await stage.broker.start()
