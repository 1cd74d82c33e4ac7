"""Scenarios without a fault of the network: clocks, sleepers, sizes and names."""

from __future__ import annotations

from itertools import pairwise
from time import time

import trio

from .deaths import two_with_work
from .links import verdict
from .network import Machine
from .process import Line, Process, now
from .rights import postgres
from .scenario import LEASE, Stage, scenario

MINUTES = 60


@scenario()
async def clocks_apart(stage: Stage) -> None:
    """The machines' clocks are 5 minutes apart, both ways from the broker's: nobody is forgotten, nothing times out."""
    await stage.machine("here", wall_shift=5 * MINUTES)
    await stage.machine("there", wall_shift=-5 * MINUTES)
    near, far = await two_with_work(stage)
    clocks = [(await member.wait_for("up"))["wall"] for member in (near, far)]
    stage.figure("apart", clocks[0] - clocks[1])
    stage.check(590 < clocks[0] - clocks[1] < 610, f"the clocks are {clocks[0] - clocks[1]} s apart, not ten minutes")
    for payload in range(5):
        await trio.sleep(LEASE)
        await near.tell(do="ask", worker="near-one", target="far-three", job="echo", payload=payload, timeout=5)
        await near.wait_for("asked", job="echo", result=payload)
    stage.check(not near.all("worker", kind="gone"), "a worker was forgotten")
    stage.check(not near.all("asked", job="for ever"), "a job ended that has no end")
    started = now()
    await near.tell(do="ask", worker="near-one", target="far-three", job="for ever", timeout=1)
    line = await near.wait_for("asked", since=started, job="for ever")
    stage.within("a timeout of 1 s after", line["at"] - started, 2)
    await verdict(stage, near, far)


@scenario(broker_shift=0, brokers=("postgres",))  # Redis has an allocator that libfaketime cannot be loaded with
async def broker_clock_jumps(stage: Stage) -> None:
    """The broker's clock is set 5 minutes ahead, and later back: nobody is forgotten, and names stay whose they are."""
    near, far = await two_with_work(stage)
    for minutes in (5, 0):
        stage.broker.machine.shift_wall_clock(minutes * MINUTES)
        await trio.sleep(2 * LEASE)
        ahead = await server_clock(stage.broker.machine) - time()
        stage.check(abs(ahead - minutes * MINUTES) < 5, f"the broker's clock is {ahead} s ahead, not {minutes} min")
        await near.tell(do="ask", worker="near-one", target="far-three", job="echo", payload=minutes)
        await near.wait_for("asked", job="echo", result=minutes)
        began = now()
        await near.tell(do="work", name="far-one")
        line = await near.wait_for("refused", since=began, name="far-one", within=15)
        stage.check(line["kind"] == "DuplicateName", f"the name of somebody who is there: {line}")
    for member in (near, far):
        stage.check(not member.all("worker", kind="gone"), "a worker was forgotten")
        stage.check(not member.all("asked", job="for ever"), "a job ended that has no end")
    await verdict(stage, near, far)


async def server_clock(machine: Machine) -> float:
    """What PostgreSQL there takes for the time."""
    options = ["-h", "127.0.0.1", "-U", "postgres", "-Atc", "SELECT extract(epoch FROM clock_timestamp())"]
    psql = await machine.start(postgres("psql") or "", *options, name="psql")
    await psql.over.wait()
    return float(psql.text[0])


@scenario()
async def subscriber_sleeps(stage: Stage) -> None:
    """One subscriber is slow, and one never reads: each is told, by its policy, and no other one notices."""
    near = await stage.member(await stage.machine("here"), "near")
    far = await stage.member(await stage.machine("there"), "far")
    for ear, options in (
        ("awake", {}),
        ("slow", {"buffer": 16, "nap": 0.1}),
        ("drops", {"buffer": 16, "nap": 0.1, "overflow": "drop_oldest"}),
    ):
        await far.tell(do="hear", ear=ear, **options)
        await far.wait_for("hears", ear=ear)
    await near.tell(do="talk", source="near", every=0.005, count=1500)
    line = await near.wait_for("silent", source="near", within=60)
    stage.figure("longest send", line["longest"])
    stage.within("deaf after", (await far.wait_for("deaf", ear="slow"))["at"] - near.lines[1]["at"], 5)
    stage.check(far.all("deaf", ear="slow")[0]["kind"] == "SubscriberTooSlow", "the slow one was told something else")
    await trio.sleep(4)
    whole = stage.judge((near, "near", far, "awake"), (near, "near", far, "slow"))
    stage.check(len(far.all("got", ear="awake")) == 1500, f"the one that is awake missed something: {whole}")
    await far.tell(do="count", ear="drops")
    dropped = (await far.wait_for("counted", ear="drops"))["dropped"]
    came = [line["n"] for line in far.all("got", ear="drops")]
    stage.figure("dropped and counted", str(dropped))
    stage.check(came == sorted(set(came)), "what was not dropped came in disorder")
    stage.check(len(came) + dropped == 1500, f"{len(came)} came and {dropped} were counted as dropped, of 1500")


@scenario()
async def process_sleeps_under_load(stage: Stage) -> None:
    """A process gets no time for 5 s while large messages come: those that talk do not wait for it, and it is told what it missed."""
    near = await stage.member(await stage.machine("here"), "near", lease=30)
    far = await stage.member(await stage.machine("there"), "far", lease=30)
    third = await stage.member(await stage.machine("third"), "third", lease=30)
    for member, ear in ((far, "far"), (third, "third")):
        await member.tell(do="hear", ear=ear)
        await member.wait_for("hears", ear=ear)
    await near.tell(do="talk", source="near", every=0.005, size=60_000)
    await trio.sleep(1)
    froze = now()
    far.freeze()
    await trio.sleep(5)
    far.thaw()
    await far.wait_for("got", since=froze + 5, ear="far", within=20)
    await trio.sleep(3)
    await near.tell(do="hush", source="near")
    line = await near.wait_for("silent", source="near")
    stage.within("longest send", line["longest"], 2)
    await trio.sleep(3)
    stage.judge((near, "near", far, "far"), (near, "near", third, "third"))
    times = [line["at"] for line in third.all("got", ear="third")]
    pauses = [after - before for before, after in pairwise(times)]
    stage.within("longest pause at the third", max(pauses), 2)


@scenario()
async def largest_messages(stage: Stage) -> None:
    """Messages of the maximum size come whole; one byte more is an error at its sender, which goes on."""
    near = await stage.member(await stage.machine("here"), "near", lease=10)
    far = await stage.member(await stage.machine("there"), "far", lease=10)
    for member, ear in ((near, "near-ear"), (far, "far-ear")):
        await member.tell(do="hear", ear=ear)
        await member.wait_for("hears", ear=ear)
    await near.tell(do="fit", source="near", to="far-ear")
    most = (await near.wait_for("fits"))["size"]
    stage.figure("maximum", f"{most:,} bytes")
    began = now()
    await near.tell(do="talk", source="near", to="far-ear", every=0, count=20, size=most)
    await far.tell(do="talk", source="far", to="near-ear", every=0, count=20, size=most)
    for member, source in ((near, "near"), (far, "far")):
        await member.wait_for("silent", source=source, within=60)
    for member, ear, source in ((far, "far-ear", "near"), (near, "near-ear", "far")):
        await member.wait_for("got", ear=ear, source=source, n=19, size=most, within=30)
    stage.figure("40 of them", now() - began)
    await near.tell(do="talk", source="more", to="far-ear", every=0, count=1, size=most + 1)
    stage.check((await near.wait_for("not sent", source="more"))["kind"] == "WireError", "one byte more was sent")
    await near.tell(do="talk", source="after", to="far-ear", every=0, count=1)
    await far.wait_for("got", ear="far-ear", source="after")
    stage.judge((near, "near", far, "far-ear"), (far, "far", near, "near-ear"))


@scenario()
async def names_twice(stage: Stage) -> None:
    """A second runner of one name, and a second owner of a worker's name, are refused; when the first is killed, one lease later they are not."""
    here, there = await stage.machine("here"), await stage.machine("there")
    first = await stage.member(here, "same")
    began = now()
    second = await stage.member(there, "same", ready=False)
    line = await second.wait_for("refused", within=20)
    stage.figure("runner refused after", line["at"] - began)
    stage.check(line["kind"] == "DuplicateName", f"the second runner was refused with {line}")
    stage.check(await second.wait(10) != 0, "the second runner ended as if all were well")
    third = await stage.member(there, "other")
    await first.tell(do="work", name="only-one")
    await first.wait_for("works", name="only-one")
    began = now()
    await third.tell(do="work", name="only-one")
    line = await third.wait_for("refused", within=20)
    stage.within("worker refused after", line["at"] - began, 2)
    stage.check(line["kind"] == "DuplicateName", f"the second owner was refused with {line}")
    await third.tell(do="work", name="third-one")
    await third.wait_for("works", name="third-one")
    await third.tell(do="ask", worker="third-one", target="only-one", job="echo", payload=1)
    await third.wait_for("asked", job="echo", result=1)
    died = now()
    first.kill()
    line = await takes(third, "only-one", died)
    stage.within("the name is free after", line["at"] - died, LEASE * 4 / 3 + 1.5)
    again = await stage.member(here, "same", ready=False)
    await again.wait_for("up", within=30)


@scenario()
async def name_taken_over(stage: Stage) -> None:
    """The owner of a name is cut off for two leases, and another takes the name: the old worker fails when it is told, its siblings go on."""
    here, there = await stage.machine("here"), await stage.machine("there")
    old, new = await stage.member(there, "old"), await stage.member(here, "new")
    for name in ("wanted", "other"):
        await old.tell(do="work", name=name)
        await old.wait_for("works", name=name)
    await new.tell(do="watch", names=["wanted", "other"])
    await new.wait_for("worker", name="other", kind="ready")
    cut = now()
    await there.cut()
    line = await takes(new, "wanted", cut)
    stage.within("taken after", line["at"] - cut, LEASE * 4 / 3 + 1.5)
    await new.wait_for("worker", since=cut, name="other", kind="gone")
    await trio.sleep(max(0.0, cut + 2 * LEASE - now()))
    await there.heal()
    healed = now()
    line = await old.wait_for("refused", name="wanted", since=healed, within=20)
    stage.within("the old owner was told after", line["at"] - healed, 6)
    stage.check(line["kind"] == "LeaseLost", f"the old owner was told {line}")
    await new.wait_for("worker", since=healed, name="other", kind="back", within=20)
    await new.tell(do="ask", worker="wanted", target="other", job="echo", payload=1)
    await new.wait_for("asked", job="echo", result=1)
    await old.tell(do="ask", worker="other", target="wanted", job="echo", payload=2)
    await old.wait_for("asked", job="echo", result=2)


async def takes(member: Process, name: str, since: float) -> Line:
    """Have a member ask for a name until it has it."""
    while True:
        await member.tell(do="work", name=name)
        with trio.move_on_after(0.3):
            return await member.wait_for("works", since=since, name=name)
