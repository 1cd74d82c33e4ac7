"""Scenario: one fault after another, at random, among three that talk to each other."""

from __future__ import annotations

import random
import secrets

import trio

from .links import EVERY, QUIET
from .process import Process
from .scenario import Stage, scenario

FAULTS = 12
NAMES = ("one", "two", "three")
TIME_FOR_A_JOB = 6.0  # seconds


async def three(stage: Stage) -> dict[str, Process]:
    """The members, whose senders wait for little."""
    return {name: await stage.member(await stage.machine(name), name, send_timeout=4) for name in NAMES}


async def weather(stage: Stage) -> None:
    """The faults, drawn by a seed that is told; at the end all is mended."""
    seed = secrets.token_hex(4)
    stage.figure("seed", seed)
    chance = random.Random(seed)
    kinds: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(FAULTS):
            await trio.sleep(chance.uniform(0.2, 4))
            kind = chance.choice(["cut", "cut", "freeze", "broker", "broker cut"])
            kinds.append(kind)
            nursery.start_soon(fault, stage, kind, chance.choice(NAMES), chance.uniform(0.1, 6))
    stage.figure("faults", ", ".join(f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds))))


@scenario(within=240)
async def storm(stage: Stage) -> None:
    """Cuts, freezes and dead brokers, some at the same time, each for up to two leases; then it is calm, and everybody hears everybody."""
    members = await three(stage)
    for name, member in members.items():
        for ear in ("ear", "all"):
            await member.tell(do="hear", ear=f"{name}-{ear}", buffer=100_000)
            await member.wait_for("hears", ear=f"{name}-{ear}")
    pairs = []
    for name, member in members.items():
        await member.tell(do="talk", source=f"{name}-cried", every=EVERY, size=2000)
        for other in others(name):
            await member.tell(do="talk", source=f"{name}-to-{other}", to=f"{other}-ear", every=EVERY)
            pairs += [(member, f"{name}-to-{other}", members[other], f"{other}-ear")]
            pairs += [(member, f"{name}-cried", members[other], f"{other}-all")]
    await weather(stage)
    await trio.sleep(10)
    for name, member in members.items():
        for source in (f"{name}-cried", *(f"{name}-to-{other}" for other in others(name))):
            await member.tell(do="hush", source=source)
            await member.wait_for("silent", source=source)
    await trio.sleep(QUIET)
    stage.judge(*pairs)
    for talker, source, listener, ear in pairs:
        last = max(line["n"] for line in talker.all("sent", source=source))
        stage.check(
            listener.all("got", ear=ear, source=source, n=last), f"{source} to {ear}: not the last one, in the calm"
        )


@scenario(within=240)
async def storm_of_jobs(stage: Stage) -> None:
    """The same weather over workers that ask each other for jobs: each job ends in time, and none is done twice."""
    members = await three(stage)
    for name, member in members.items():
        await member.tell(do="work", name=f"{name}-worker")
        await member.tell(do="watch", names=[f"{other}-worker" for other in others(name)])
    for name, member in members.items():
        for other in others(name):
            await member.wait_for("worker", name=f"{other}-worker", kind="ready")
    sources = {}
    for name, member in members.items():
        for number, other in enumerate(others(name)):
            source = f"{name}-asks-{other}"
            sources[source] = member, members[other]
            await member.tell(
                do="labour", source=source, worker=f"{name}-worker", target=f"{other}-worker",
                every=0.2, seconds=1.5 * number, timeout=TIME_FOR_A_JOB,
            )  # fmt: skip
    await weather(stage)
    await trio.sleep(10)
    for source, (asker, _) in sources.items():
        await asker.tell(do="hush", source=source)
    for source, (asker, doer) in sources.items():
        count = (await asker.wait_for("laboured", source=source, within=TIME_FOR_A_JOB + 10))["count"]
        over = asker.all("job over", source=source)
        stage.check(len(over) == count, f"{source}: {count} jobs were asked for, and {len(over)} ended")
        begun = [line["n"] for line in doer.all("begins") if line["n"].startswith(f"{source}/")]
        twice = sorted({n for n in begun if begun.count(n) > 1})
        stage.check(not twice, f"{source}: done twice: {twice}")
        ended = {line["n"] for line in doer.all("ends")}
        wrong = [line for line in over if "result" in line and not (line["result"] == line["n"] in ended)]
        stage.check(not wrong, f"{source}: a result of work that was not done: {wrong}")
        stage.check(
            "result" in over[-1] and over[-1]["n"] == f"{source}/{count}",
            f"{source}: the last, in the calm: {over[-1]}",
        )
        late = [line for line in over if line["took"] > TIME_FOR_A_JOB + frozen_for(stage, asker) + 2.5]
        stage.check(not late, f"{source}: ended late: {late}")
    for name, member in members.items():
        await member.tell(do="census")
        line = await member.wait_for("census")
        runners = sorted(member.all("up")[0]["runner"] for member in members.values())
        stage.check(line["runners"] == runners, f"{name} knows the runners {line['runners']}, and there are {runners}")
        workers = sorted(f"{name}-worker" for name in NAMES)
        stage.check(line["workers"] == workers, f"{name} knows the workers {line['workers']}")
    every = [line for source, (asker, _) in sources.items() for line in asker.all("job over", source=source)]
    failed = [line["kind"] for line in every if "kind" in line]
    kinds = ", ".join(f"{failed.count(kind)} x {kind}" for kind in sorted(set(failed)))
    stage.figure("jobs", f"{len(every)}, of which {len(failed)} failed ({kinds})")


def others(name: str) -> list[str]:
    """The other two."""
    return [other for other in NAMES if other != name]


def frozen_for(stage: Stage, member: Process) -> float:
    """Seconds that a member had no time, in all."""
    return stage.frozen.get(member.name, 0.0)


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
            stage.frozen[name] = stage.frozen.get(name, 0.0) + seconds
        elif kind == "broker cut":
            await stage.broker.machine.cut()
            await trio.sleep(seconds)
            await stage.broker.machine.heal()
        else:
            await stage.broker.kill()
            await trio.sleep(seconds)
            await stage.broker.start()
