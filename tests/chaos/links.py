"""Scenarios: the way between members and broker is away for a while."""

from __future__ import annotations

import trio

from .process import Process, now
from .scenario import LEASE, Stage, scenario

EVERY = 0.02  # seconds between two messages of a talk
QUIET = 3.0  # seconds in which what is on its way comes


async def conversation(stage: Stage, near: Process, far: Process) -> None:
    """Each talks to the other by name, and one to everybody."""
    for member, name in ((near, "near"), (far, "far")):
        await member.tell(do="hear", ear=f"{name}-ear")
        await member.tell(do="hear", ear=f"{name}-all")
        await member.wait_for("hears", ear=f"{name}-ear")
        await member.wait_for("hears", ear=f"{name}-all")
    for member, name, other in ((near, "near", "far"), (far, "far", "near")):
        await member.tell(do="talk", source=f"{name}-told", to=f"{other}-ear", every=EVERY)
        await member.tell(do="talk", source=f"{name}-cried", every=EVERY)
    for member, name, other in ((near, "near", "far"), (far, "far", "near")):
        await member.wait_for("got", ear=f"{name}-ear", source=f"{other}-told")
        await member.wait_for("got", ear=f"{name}-all", source=f"{other}-cried")


async def verdict(stage: Stage, near: Process, far: Process) -> None:
    """End the conversation and judge it."""
    longest = 0.0
    for member, name in ((near, "near"), (far, "far")):
        for source in (f"{name}-told", f"{name}-cried"):
            if member.killed:
                continue
            await member.tell(do="hush", source=source)
            longest = max(longest, (await member.wait_for("silent", source=source))["longest"])
    await trio.sleep(QUIET)
    stage.figure("longest send", longest)
    stage.judge(
        (near, "near-told", far, "far-ear"),
        (near, "near-cried", far, "far-all"),
        (far, "far-told", near, "near-ear"),
        (far, "far-cried", near, "near-all"),
    )


async def resumed(stage: Stage, near: Process, far: Process, since: float, limit: float) -> None:
    """Messages come again both ways within so many seconds of the healing."""
    for member, name, other in ((near, "near", "far"), (far, "far", "near")):
        for ear, source in ((f"{name}-ear", f"{other}-told"), (f"{name}-all", f"{other}-cried")):
            line = await member.wait_for("got", within=limit + 10, since=since, ear=ear, source=source)
            stage.within(f"{source} again after", line["at"] - since, limit)


async def cut_for(stage: Stage, seconds: float) -> None:
    """Cut the cable of one of two that talk."""
    here, there = await stage.machine("here"), await stage.machine("there")
    near, far = await stage.member(here, "near"), await stage.member(there, "far")
    await conversation(stage, near, far)
    await trio.sleep(1)
    await there.cut()
    await trio.sleep(seconds)
    await there.heal()
    healed = now()
    await resumed(stage, near, far, healed, 10)
    await trio.sleep(2)
    await verdict(stage, near, far)


@scenario()
async def link_cut_for_10_s(stage: Stage) -> None:
    """A link is cut for ten seconds, which is longer than the lease, and healed."""
    await cut_for(stage, 10)


@scenario()
async def link_cut_shortly(stage: Stage) -> None:
    """A link is cut for less than a lease."""
    await cut_for(stage, LEASE / 2)


@scenario()
async def broker_killed(stage: Stage) -> None:
    """The broker is killed and comes back after a while."""
    near = await stage.member(await stage.machine("here"), "near")
    far = await stage.member(await stage.machine("there"), "far")
    await conversation(stage, near, far)
    await trio.sleep(1)
    await stage.broker.kill()
    await trio.sleep(3)
    await stage.broker.start()
    back = now()
    await resumed(stage, near, far, back, 10)
    await trio.sleep(2)
    await verdict(stage, near, far)


@scenario()
async def broker_away_for_long(stage: Stage) -> None:
    """The broker is away for longer than a sender waits: the sender is told, and goes on when the broker is back."""
    near = await stage.member(await stage.machine("here"), "near", send_timeout=2)
    far = await stage.member(await stage.machine("there"), "far", send_timeout=2)
    await conversation(stage, near, far)
    await trio.sleep(1)
    killed = now()
    await stage.broker.kill()
    for member, source in ((near, "near-told"), (far, "far-cried")):
        line = await member.wait_for("not sent", source=source, within=10)
        stage.within(f"{source}: error after", line["at"] - killed, 3)
        stage.check(line["kind"] == "BusError", f"it is not a BusError: {line}")
    await trio.sleep(5)
    await stage.broker.start()
    await resumed(stage, near, far, now(), 10)
    await trio.sleep(2)
    await verdict(stage, near, far)
