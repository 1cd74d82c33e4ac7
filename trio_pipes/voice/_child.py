"""A child process of ours that answers requests over its pipes, one at a time.

# Why a process, and why like this.
#
# Recognising speech holds Python's global lock for a second at a time; in a thread it would stop the loop. The child
# is a script of ours run by the same interpreter. Parent and child take turns: a request has exactly one answer, so
# there is nothing to match up, and a sender that is ahead waits. It belongs to the block that opened it: leaving the
# block, however it is left, kills it and waits for its end. It has a process group of its own, so that a Ctrl-C in a
# terminal reaches only us, and it ends by itself when its standard input does, so that it cannot outlive us either.
#
#   request:  one byte that names it, the length of what follows (4 bytes, little-endian), what follows
#   answer:   the length (4 bytes, little-endian), JSON
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from trio_pipes._base import ConfigurationError, outside

__all__ = ["Child", "open_child"]

# How long a killed process may take to be gone, in seconds. It has nothing to clean up.
KILL_GRACE: Final = 5.0

# How much of what a dead child wrote to its standard error goes into our error, in characters.
LAST_WORDS: Final = 2000


class Child:
    """A running child process. You get one from `open_child`."""

    def __init__(self, process: trio.Process, what: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._what = what
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.stderr = process.stderr
        self._answer_is_due = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, request: bytes, payload: bytes = b"") -> Any:
        """Send a request and wait for its answer.

        Raises:
            ConfigurationError: the child found something wrong with what it was given.
            trio.BrokenResourceError: the child has died; the text has its exit code and its last words.
        """
        if self._answer_is_due:
            raise RuntimeError(f"{self._what}: asked while the answer to an earlier request is due (or was given up)")
        self._answer_is_due = True
        with outside():
            try:
                await self.stdin.send_all(struct.pack("<cI", request, len(payload)) + payload)
                (length,) = struct.unpack("<I", await self._receive(4))
                answer = json.loads(await self._receive(length))
            except (trio.BrokenResourceError, trio.EndOfChannel) as exc:
                raise await self._died() from exc
        self._answer_is_due = False
        if "error" in answer:
            raise ConfigurationError(answer["error"])
        return answer

    async def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = await self.stdout.receive_some(length - len(data))
            if not part:
                raise trio.EndOfChannel
            data += part
        return data

    async def _died(self) -> trio.BrokenResourceError:
        with trio.move_on_after(KILL_GRACE):
            await self._process.wait()
        code = self._process.returncode
        how = "closed its pipes" if code is None else f"died with exit code {code}"
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        words = b""
        with trio.move_on_after(1.0):
            # Never more than a traceback, so it has all been waiting in the pipe.
            async for part in self.stderr:
                words += part
        said = words.decode(errors="replace").strip()[-LAST_WORDS:]
        return trio.BrokenResourceError(
            f"{self._what} (process {self.pid}) {how}" + (f". It said:\n{said}" if said else " and said nothing")
        )


@asynccontextmanager
async def open_child(script: Path, what: str) -> AsyncIterator[Child]:
    """Run a script in a child process while the block lasts; `what` names it in errors."""
    options: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
    with outside():
        # -P: the folder of the script does not become a place to import from.
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", os.fspath(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
    child = Child(process, what)
    try:
        yield child
    finally:
        process.kill()
        with trio.move_on_after(KILL_GRACE, shield=True), outside():
            await process.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                await stream.aclose()
