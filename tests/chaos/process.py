"""A process on a machine, which says what happens to it in lines of JSON and is told what to do in such lines."""

from __future__ import annotations

import json
import signal
from math import inf
from pathlib import Path
from time import perf_counter as now
from typing import Any

import attrs
import trio

Line = dict[str, Any]


@attrs.define(eq=False)
class Process:
    """One of them. Get these from `Machine.start`."""

    name: str
    machine: str
    _process: trio.Process = attrs.field(repr=False)
    _errors: Path = attrs.field(repr=False)
    _ahead: float = 0
    """Seconds that its machine's monotonic clock is ahead of the harness's."""
    lines: list[Line] = attrs.field(factory=list, repr=False)
    """What it has said. Each line's `at` is by the harness's clock: it has one of the process's own, or was read then."""
    text: list[str] = attrs.field(factory=list, repr=False)
    """Lines of its that are no JSON."""
    killed: bool = False
    frozen: bool = False
    over: trio.Event = attrs.field(factory=trio.Event, repr=False)
    """Its standard output has ended."""
    _news: trio.Event = attrs.field(factory=trio.Event, repr=False)

    @property
    def errors(self) -> str:
        """What it has written to standard error."""
        return self._errors.read_text(errors="replace")

    async def read(self) -> None:
        """Read what it says, until its end."""
        stdout = self._process.stdout
        assert stdout is not None
        rest = b""
        async for piece in stdout:  # to the end: the network's last act is to kill it
            *whole, rest = (rest + piece).split(b"\n")
            for text in whole:
                try:
                    line = json.loads(text)
                    line["at"] = line["at"] - self._ahead if "at" in line else now()
                    self.lines.append(line)
                except (ValueError, TypeError):
                    self.text.append(text.decode(errors="replace"))
            self._tell()
        await self._process.wait()
        self.over.set()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def tell(self, **command: Any) -> None:
        """Tell it what to do."""
        stdin = self._process.stdin
        assert stdin is not None
        await stdin.send_all(json.dumps(command).encode() + b"\n")

    async def type(self, line: str) -> None:
        """Type a line."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line.encode() + b"\n")

    def all(self, event: str, **fields: Any) -> list[Line]:
        """Its lines of this event with these values."""
        wanted = {"event": event, **fields}
        return [line for line in self.lines if all(line.get(name) == value for name, value in wanted.items())]

    async def wait_for(self, event: str, *, within: float = 10, since: float = -inf, **fields: Any) -> Line:
        """The first such line said after `since`. Raises `Hung` when it does not come in time, or the process ends."""
        with trio.move_on_after(within):
            while True:
                wanted = {"event": event, **fields}
                for line in self.lines:
                    if line["at"] > since and all(line.get(name) == value for name, value in wanted.items()):
                        return line
                if self.over.is_set():
                    break
                await self._news.wait()
        how = f"ended with {self._process.returncode}" if self.over.is_set() else f"did not within {within} s"
        last = [{name: value for name, value in line.items() if name != "at"} for line in self.lines[-3:]]
        raise Hung(
            f"{self.name} on {self.machine} should say {event} {fields}, and {how}; last: {last}; {self.errors[-2000:]}"
        )

    async def wait_for_text(self, text: str, *, within: float = 10, times: int = 1) -> None:
        """So many lines that are no JSON have this in them. Raises `Hung` when they do not come in time, or the process ends."""
        with trio.move_on_after(within):
            while sum(text in line for line in self.text) < times:
                if self.over.is_set():
                    break
                await self._news.wait()
            else:
                return
        said = "; ".join(self.text[-8:])
        raise Hung(
            f"{self.name} on {self.machine} did not say {text!r} within {within} s; {said}; {self.errors[-2000:]}"
        )

    async def wait(self, within: float = 10) -> int:
        """Its exit code. Raises `Hung` when it does not end in time."""
        with trio.move_on_after(within):
            return await self._process.wait()
        raise Hung(f"{self.name} on {self.machine} does not end within {within} s; {self.errors[-2000:]}")

    async def close_input(self) -> None:
        """There is nothing more to do for it: a program of ours ends."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()

    def kill(self) -> None:
        """`kill -9`."""
        self.killed = True
        self._process.send_signal(signal.SIGKILL)

    def freeze(self) -> None:
        """It gets no time any more (SIGSTOP); its connections stay."""
        self.frozen = True
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on (SIGCONT)."""
        self._process.send_signal(signal.SIGCONT)
        self.frozen = False

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)


class Hung(Exception):
    """Something did not happen in time."""
