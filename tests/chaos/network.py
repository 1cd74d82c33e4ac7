"""Machines that are namespaces: each has a network, a host name, and a monotonic clock of its own.

How a machine is made. A network namespace with one card, `eth0`, whose other end is a port of a bridge, and the bridge is in a
namespace of its own: nothing of it is in the network of the real machine, and all of it goes with the namespaces. A machine's
monotonic clock is days away from every other's (a time namespace), as it is between real machines: who sends a value of it over
the wire, and compares, is found out. Its wall clock may be shifted as well, by libfaketime, which leaves the monotonic clock as it
is: Trio runs on that one.

A cable is cut behind the machine: its port leaves the bridge. Neither side sees a carrier go, packets go nowhere both ways, and no
connection is reset. Nothing needs to be told when it is healed.

What outlives a harness that was killed. Every process has a pipe of the harness as its standard input, which programs of ours read to its end.
Names have the harness's process id in them; the next harness removes what belongs to one that is not alive, processes first.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import time as wall_time
from typing import Any, Final, TypeVar

import attrs
import outcome
import trio

from .process import Process
from .rights import faketime

T = TypeVar("T")
PREFIX: Final = "tpchaos-"
DAY: Final = 86_400
CLEAN_UP_WITHIN: Final = 20.0  # seconds


@attrs.define(eq=False)
class Machine:
    """One of them. Get these from `Network.machine`."""

    name: str
    address: str
    namespace: str
    wall_clock: Path | None
    """Where it is written how far its wall clock is from the real one; None: nowhere, it is the real one."""
    _network: Network = attrs.field(repr=False)
    _keeper: trio.Process = attrs.field(repr=False)
    _keeper_pid: int = attrs.field(repr=False)  # whose namespaces processes enter
    ahead: float
    """Seconds that its monotonic clock is ahead of the real one."""

    async def start(self, *command: str, name: str = "", user: str | None = None) -> Process:
        """Start a program here. It ends with the network at the latest, killed."""
        enter = ["nsenter", f"--target={self._keeper_pid}", "--net", "--uts", "--time", "--"]
        if user is not None:
            enter += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
        environment = dict(os.environ, HOSTNAME=self.name)
        if (
            self.wall_clock is not None
        ):  # set behind `setpriv`: what libfaketime makes in memory belongs to the user who runs it
            enter += [
                "env",
                f"LD_PRELOAD={faketime()}",
                f"FAKETIME_TIMESTAMP_FILE={self.wall_clock}",
                "FAKETIME_CACHE_DURATION=1",  # seconds until a change of it is seen
                "FAKETIME_DONT_FAKE_MONOTONIC=1",
                "FAKETIME_FORCE_MONOTONIC_FIX=0",  # a mend for old C libraries: with it, Python's own lock times out 5 min late
            ]
        return await self._network._start([*enter, *command], environment, name or Path(command[0]).name, self)

    def shift_wall_clock(self, seconds: float) -> None:
        """From about now its wall clock is so many seconds ahead of the real one. It must have been made with a shift."""
        assert self.wall_clock is not None
        self.wall_clock.write_text(f"{seconds:+}\n")

    async def cut(self) -> None:
        """Nothing comes in or goes out any more, and nobody is told."""
        await ip("-n", self._network.switch, "link", "set", f"p-{self.name}", "nomaster")

    async def heal(self) -> None:
        """The cable is back."""
        await ip("-n", self._network.switch, "link", "set", f"p-{self.name}", "master", "br0")

    async def kill_all(self) -> None:
        """All processes here die at once (`kill -9`)."""
        keepers = {self._keeper.pid, self._keeper_pid}
        await kill([pid for pid in await pids(self.namespace) if pid not in keepers])


@attrs.define(eq=False)
class Network:
    """Machines on one switch. Get one from `in_network`."""

    folder: Path
    """What its processes write stands here."""
    _nursery: trio.Nursery
    switch: str = attrs.field(factory=lambda: f"{PREFIX}{os.getpid()}-switch")
    machines: dict[str, Machine] = attrs.field(factory=dict)
    processes: list[Process] = attrs.field(factory=list)

    async def open(self) -> None:
        """Make the switch."""
        await ip("netns", "add", self.switch)
        await ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        await ip("-n", self.switch, "link", "set", "br0", "up")

    async def machine(self, name: str, *, wall_shift: float | None = None) -> Machine:
        """Another machine, named with at most 12 letters (an interface's name has 15)."""
        number = len(self.machines) + 1
        namespace = f"{PREFIX}{os.getpid()}-{name}"
        address = f"10.77.0.{number}"
        switch = ["-n", self.switch, "link"]
        await ip("netns", "add", namespace)
        await ip(*switch, "add", f"p-{name}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
        await ip(*switch, "set", f"p-{name}", "master", "br0", "up")
        await ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        for card in ("lo", "eth0"):
            await ip("-n", namespace, "link", "set", card, "up")
        clock = ["--time", "--monotonic", str(number * DAY)]
        shell = f"hostname {name}; echo $$; exec cat"  # until the harness is gone
        keeper = await trio.lowlevel.open_process(
            ["ip", "netns", "exec", namespace, "unshare", "--uts", *clock, "--fork", "--kill-child", "sh", "-c", shell],
            stdin=-1,
            stdout=-1,
            start_new_session=True,
        )
        assert keeper.stdout is not None
        pid = b""
        while not pid.endswith(b"\n"):
            piece = bytes(await keeper.stdout.receive_some())
            if not piece:
                raise RuntimeError(f"no machine {name!r}: {await keeper.wait()}")
            pid += piece
        wall_clock = None if wall_shift is None else self.folder / f"{name}.clock"
        machine = Machine(name, address, namespace, wall_clock, self, keeper, int(pid), number * DAY)
        if wall_shift is not None:
            machine.shift_wall_clock(wall_shift)
        self.machines[name] = machine
        return machine

    async def close(self) -> None:
        """Everything that runs on it dies, and is waited for."""
        for name in self.machines:
            await kill(await pids(self.machines[name].namespace))
        for machine in self.machines.values():
            await close(machine._keeper)
        for process in self.processes:
            await process.over.wait()
            await close(process._process)

    async def _start(self, command: list[str], environment: dict[str, str], name: str, machine: Machine) -> Process:
        errors = self.folder / f"{len(self.processes):02}-{name}.stderr"
        with errors.open("wb") as file:
            process = await trio.lowlevel.open_process(
                command, stdin=-1, stdout=-1, stderr=file, env=environment, start_new_session=True
            )
        running = Process(name, machine.name, process, errors, machine.ahead)
        self.processes.append(running)
        self._nursery.start_soon(running.read)
        return running


async def in_network(body: Callable[[Network], Awaitable[T]]) -> T:
    """Run `body` with a network of its own; afterwards nothing of it is left, however the body ended.

    Raises: what the body raises, with a note that tells in which folder the processes' errors are; it is kept then.
    """
    await remove_stale()
    folder = make_folder()
    try:
        async with trio.open_nursery() as nursery:
            network = Network(folder, nursery)
            await network.open()
            ended = await outcome.acapture(body, network)  # so that its error is not in a group
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEAN_UP_WITHIN):
                await network.close()
        result = ended.unwrap()
    except Exception as error:
        error.add_note(f"what its processes wrote is in {folder}")
        raise
    except BaseException:  # Ctrl-C: nobody has asked for it
        shutil.rmtree(folder)
        raise
    else:
        shutil.rmtree(folder)
        return result
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEAN_UP_WITHIN):
            await remove(f"{PREFIX}{os.getpid()}-")  # also what an opening left that failed


async def remove_stale() -> None:
    """Remove what harnesses left behind that are not alive any more; folders with what they wrote only after a day."""
    for name in await namespaces():
        if name.startswith(PREFIX):
            owner = int(name.split("-")[1])
            if owner == os.getpid() or not alive(owner):
                await remove(f"{PREFIX}{owner}-")
    remove_old_folders()


def make_folder() -> Path:
    """A new one that all users can look into: PostgreSQL does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    return folder


def remove_old_folders() -> None:
    """Those of failures that nobody has looked into for a day."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if folder.stat().st_mtime < wall_time() - DAY:
            shutil.rmtree(folder, ignore_errors=True)


async def remove(prefix: str) -> None:
    """Remove the namespaces of these names, and kill what runs in them."""
    for name in await namespaces():
        if name.startswith(prefix):
            await kill(await pids(name))
            await ip("netns", "del", name)


async def kill(ids: list[int]) -> None:
    """Kill these processes, and come back when they are dead."""
    for pid in ids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with trio.move_on_after(5):
        while any(alive(pid) for pid in ids):  # noqa: ASYNC110 # of another's end there is no event
            await trio.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether this process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def close(process: trio.Process) -> None:
    """Its pipes, and its entry in the kernel's table."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await stream.aclose()
    await process.wait()


async def namespaces() -> list[str]:
    """The names of all network namespaces."""
    return [line.split()[0] for line in (await ip("netns", "list")).splitlines() if line.strip()]


async def pids(namespace: str) -> list[int]:
    """What runs in one."""
    return [int(pid) for pid in (await ip("netns", "pids", namespace)).split()]


async def ip(*arguments: str) -> str:
    """Run `ip`. Raises `RuntimeError` with what it says against it."""
    done: Any = await trio.run_process(["ip", *arguments], capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.decode().strip()}")
    text: str = done.stdout.decode()
    return text
