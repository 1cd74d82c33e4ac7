"""Scenarios: a pipeline that does a part of its work on another machine, which goes away for a while."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import trio

from .process import Process, now
from .scenario import LEASE, Stage, scenario
from .verdict import disorder


async def bridged(stage: Stage, fault: Callable[[Process], Awaitable[Process]]) -> None:
    """Frames go over and come back; then there is the fault, which gives the member that is the far end after it."""
    near = await stage.member(await stage.machine("here"), "near")
    far = await stage.member(await stage.machine("there"), "far")
    await far.tell(do="bridge_far", name="part")
    await far.wait_for("works", name="part")
    await near.tell(do="bridge_near", to="part", every=0.02)
    await near.wait_for("back", within=15)
    await trio.sleep(1)
    far = await fault(far)
    mended = now()
    line = await near.wait_for("back", since=mended, within=30)
    stage.within("frames come back again after", line["at"] - mended, LEASE * 2 + 3)
    await trio.sleep(3)
    await near.tell(do="hush", source="bridge")
    end = await near.wait_for("bridged", within=20)
    numbers = [line["n"] for line in near.all("back")]
    missing = end["count"] - len(numbers)
    errors = [line["error"] for line in near.all("error") + far.all("error")]
    told = sum(int(found[1]) if (found := re.search(r"up to (\d+) frames", error)) else 1 for error in errors)
    figures = f"{end['count']} sent, {len(numbers)} back, {missing} missing, {told} told of in {len(errors)} errors"
    stage.figure("frames", figures)
    for problem in disorder(numbers):
        stage.check(False, problem)
    stage.check(missing <= told, f"{missing} frames are missing, and {told} were told of: {errors}")
    stage.check(numbers and numbers[-1] == end["count"] - 1, f"the last is missing, in the calm: {numbers[-1:]}")


@scenario()
async def bridge_cut_shortly(stage: Stage) -> None:
    """The far end's link is cut for less than a lease."""

    async def fault(far: Process) -> Process:
        await stage.network.machines["there"].cut()
        await trio.sleep(LEASE / 2)
        await stage.network.machines["there"].heal()
        return far

    await bridged(stage, fault)


@scenario()
async def bridge_cut_for_two_leases(stage: Stage) -> None:
    """The far end's link is cut for two leases."""

    async def fault(far: Process) -> Process:
        await stage.network.machines["there"].cut()
        await trio.sleep(2 * LEASE)
        await stage.network.machines["there"].heal()
        return far

    await bridged(stage, fault)


@scenario()
async def bridge_far_end_killed(stage: Stage) -> None:
    """The far end is killed, and another one is started in its place."""

    async def fault(far: Process) -> Process:
        far.kill()
        again = await stage.member(stage.network.machines["there"], "again")
        await again.tell(do="bridge_far", name="part")
        return again

    await bridged(stage, fault)


@scenario()
async def bridge_broker_killed(stage: Stage) -> None:
    """The broker is killed, and comes back."""

    async def fault(far: Process) -> Process:
        await stage.broker.kill()
        await trio.sleep(LEASE / 2)
        await stage.broker.start()
        return far

    await bridged(stage, fault)
