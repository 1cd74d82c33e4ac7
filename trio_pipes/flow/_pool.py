"""The tasks that serve the lanes of a run.

# A task per processor, without one.
#
# Each processor works as if it had a task of its own: while its handler waits, the others go on. But a parked task
# costs 2 KB and waking one costs ten times what a frame does, so tasks are not tied to lanes. A lane that has
# something to do gets in line; a server takes the first, handles what is there, and takes the next. As long as no
# handler waits, one server does everything there is to do in one step of Trio's scheduler.
#
# That a handler waits cannot be known before it does. So whoever gets in line calls a second server, which comes in
# the next pass of the scheduler: if the first is held up by then, it takes over, and calls a third. Invariant:
# while somebody is in line, a server has been called, or one is between two lanes and will look.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Abort, Task, checkpoint, checkpoint_if_cancelled, current_task, reschedule

if TYPE_CHECKING:
    from ._contracts import Run
    from ._lane import Lane

__all__ = ["Pool", "Server"]


# Seconds that a step may last also in a pass whose slice others have used up: with a hundred busy pipelines a frame for
# each step would cost more in steps than in frames.
QUANTUM = 0.000_025


class Pool:
    """The lanes of one run that are in line, and who serves them."""

    __slots__ = (
        "_coming",
        "_dismissed",
        "_engine",
        "_line",
        "_spare",
        "_token",
        "_urgent_line",
        "_wanted",
        "after_others",
    )

    def __init__(self, engine: Run, spare: int) -> None:
        self._wanted = spare  # servers that wait for work
        self._engine = engine
        self._token = trio.lowlevel.current_trio_token()
        self._line: list[Lane] = []  # short: a lane is in it once
        self._urgent_line: list[Lane] = []
        self._spare: list[Task] = []
        self._coming = 0  # servers that have been called, or come again by themselves, and have not begun to look
        self._dismissed = False
        self.after_others = False  # whoever comes next lets the others who are about to run go first

    def add(self, lane: Lane) -> None:
        """Have a lane served."""
        if not self._coming:
            self._call()
        (self._urgent_line if lane.urgent else self._line).append(lane)

    def check_here(self) -> None:
        """Raise for a caller from another Trio run: Trio's own checks would come too late, or not at all."""
        if trio.lowlevel.current_trio_token() is not self._token:
            raise RuntimeError(
                f"{self._engine.name} is used from another Trio run than the one it runs in: use its from_thread() there"
            )

    def _call(self) -> None:
        self.check_here()
        self._coming += 1
        if self._spare:
            reschedule(self._spare.pop())
        else:
            self._engine.spawn(Server(self).run)

    def dismiss(self) -> None:
        """Nothing is left to do: send everybody home."""
        self._dismissed = True
        while self._spare:
            reschedule(self._spare.pop())

    # -- servers ask

    def comes_again(self) -> None:
        """A server looks again in the next pass, so nobody need be called for what is in line."""
        self._coming += 1

    async def arrive(self) -> None:
        """Called in vain or not, here is a server; it may have to let others go first."""
        if self.after_others:
            self.after_others = False
            await checkpoint()
        self._coming -= 1

    def next(self) -> Lane | None:
        """The first in line; somebody is called for those behind it."""
        line = self._urgent_line or self._line
        if not line:
            return None
        lane = line.pop(0)
        if (line or self._line) and not self._coming:
            self._call()
        return lane

    async def wait(self) -> bool:
        """Wait to be called; False: there are enough who wait, or nothing is left to do."""
        if self._dismissed or len(self._spare) >= self._wanted:
            return False
        task = current_task()
        self._spare.append(task)

        def abort(_: object) -> Abort:
            self._spare.remove(task)
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        return not self._dismissed


class Server:
    """One task that serves lanes, one after the other.

    An interrupt stops a handler with the cancel scope that is round the server. A scope per frame, or per lane, would
    be simpler to read and cost more than the hop; so the server leaves its scope and enters another one.
    """

    __slots__ = (
        "_lane",
        "_pool",
        "scope",
        "spare",
        "task",
    )

    scope: trio.CancelScope
    task: Task

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lane: Lane | None = None

    async def run(self) -> None:
        """Serve until nobody is needed any more."""
        self.task = current_task()
        try:
            await self._pool.arrive()
            while await self._serve_under_scope():
                pass
        finally:
            self._leave()

    async def _serve_under_scope(self) -> bool:
        try:
            with trio.CancelScope() as self.scope:
                if not await self._serve():
                    return False
        except Exception as exc:  # noqa: BLE001  (handed on: it fails the task or becomes an ErrorFrame)
            assert self._lane is not None
            self._lane.node.failed(exc, self._lane.frame)
        self._leave()
        return True

    async def _serve(self) -> bool:
        """True: an interrupt has cancelled the scope."""
        pool = self._pool
        number, until = 0, 0.0  # the pass of the loop that goes on, and how long this step in it may last
        while True:
            while (lane := pool.next()) is not None:
                await checkpoint_if_cancelled()  # no handler begins when the run has been cancelled meanwhile
                self._lane = lane
                lane.enter(self)
                turn = lane.node.engine.turn
                began = perf_counter()
                if number != turn.number:
                    number = turn.number
                    until = max(turn.until, began + QUANTUM)
                await lane.drain(until)
                if lane.stop:
                    return True
                node = lane.node
                if perf_counter() > until:
                    pool.comes_again()
                    self._leave()
                    node.engine.check_stall(node, began)
                    await checkpoint()
                    await pool.arrive()
                else:
                    self._leave()
            if not await pool.wait():
                return False
            await pool.arrive()

    def _leave(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.leave(self)
