"""Scenarios: a runner dies, is as good as dead for a while, or its machine goes without a word."""

from __future__ import annotations

import trio

from .links import conversation, verdict
from .process import Process, now
from .scenario import LEASE, Stage, scenario

# Seconds to notice a death: the lease counts from the last beat, which may be a third of a lease old or new; the rest is the way.
NOTICED = LEASE * 4 / 3 + 1.0
WORKERS = ("far-one", "far-two", "far-three")


async def two_with_work(stage: Stage) -> tuple[Process, Process]:
    """Two members that see each other's workers, talk, and have jobs that take for ever with each other."""
    near = await stage.member(await stage.machine("here"), "near")
    far = await stage.member(await stage.machine("there"), "far")
    for name in WORKERS:
        await far.tell(do="work", name=name)
    await near.tell(do="work", name="near-one")
    await near.tell(do="watch", names=WORKERS)
    await far.tell(do="watch", names=["near-one"])
    for name in WORKERS:
        await near.wait_for("worker", name=name, kind="ready")
    await conversation(stage, near, far)
    await near.tell(do="ask", worker="near-one", target="far-one", job="for ever")
    await far.tell(do="ask", worker="far-two", target="near-one", job="for ever")
    await far.wait_for("job begins", name="far-one")
    await near.wait_for("job begins", name="near-one")
    await near.tell(do="ask", worker="near-one", target="far-one", job="echo", payload=1)
    await near.wait_for("asked", job="echo", result=1)
    return near, far


async def noticed(stage: Stage, near: Process, died: float, limit: float = NOTICED) -> None:
    """The one that is left sees the workers go, its job fail, and the other's job cancelled."""
    latest = 0.0
    for name in WORKERS:
        line = await near.wait_for("worker", within=limit + 20, since=died, name=name, kind="gone")
        latest = max(latest, line["at"] - died)
    stage.within("workers gone after", latest, limit)
    line = await near.wait_for("asked", within=limit + 20, since=died, job="for ever")
    stage.within("job failed after", line["at"] - died, limit)
    stage.check(line.get("error"), f"the job of a dead worker gave {line}")
    line = await near.wait_for("job cancelled", within=limit + 20, since=died, name="near-one")
    stage.within("job cancelled after", line["at"] - died, limit)


@scenario()
async def runner_killed(stage: Stage) -> None:
    """`kill -9`: its connections are closed, and nothing else is said."""
    near, far = await two_with_work(stage)
    died = now()
    far.kill()
    await noticed(stage, near, died)
    await verdict(stage, near, far)


@scenario()
async def machine_without_power(stage: Stage) -> None:
    """A machine goes: no connection of it is closed."""
    near, far = await two_with_work(stage)
    died = now()
    await stage.network.machines["there"].cut()
    far.kill()
    await noticed(stage, near, died)
    await verdict(stage, near, far)


@scenario()
async def runner_frozen(stage: Stage) -> None:
    """A runner gets no time for two leases (SIGSTOP), and then goes on: it is gone, and it is back."""
    near, far = await two_with_work(stage)
    froze = now()
    far.freeze()
    await noticed(stage, near, froze)
    await trio.sleep(max(0.0, froze + 2 * LEASE - now()))
    thawed = now()
    far.thaw()
    latest = 0.0
    for name in WORKERS:
        line = await near.wait_for("worker", since=thawed, name=name, kind="back", within=20)
        latest = max(latest, line["at"] - thawed)
    stage.within("workers back after", latest, NOTICED)
    await near.tell(do="ask", worker="near-one", target="far-three", job="echo", payload=2)
    await near.wait_for("asked", job="echo", result=2)
    await verdict(stage, near, far)


@scenario()
async def link_cut_for_two_leases(stage: Stage) -> None:
    """A link is cut for longer than a lease: each forgets the other, and finds it again when it is healed."""
    near, far = await two_with_work(stage)
    there = stage.network.machines["there"]
    began = now()
    await there.cut()
    await noticed(stage, near, began)
    await trio.sleep(max(0.0, began + 2 * LEASE - now()))
    await there.heal()
    healed = now()
    latest = 0.0
    for name in WORKERS:
        line = await near.wait_for("worker", since=healed, name=name, kind="back", within=30)
        latest = max(latest, line["at"] - healed)
    stage.within("workers back after", latest, 10)
    await near.tell(do="ask", worker="near-one", target="far-three", job="echo", payload=2)
    await near.wait_for("asked", job="echo", result=2)
    line = await far.wait_for("asked", job="for ever")
    stage.check(line.get("error"), f"the job that was cut off gave {line}")
    await verdict(stage, near, far)
