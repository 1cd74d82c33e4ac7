"""One turn of Trio's loop, and how much of it pipelines may use.

Trio runs every runnable task once in each pass of its loop. A processor that has a backlog should use its
pass well (going back to the scheduler for each frame costs ten times what the frame does) but the *pass*
must stay short, whatever the number of processors that have a backlog: so the slice of time is shared by all
pipelines of a Trio run. An instrument marks where a pass begins; drain loops compare against `until`.

The clock here is the real one on purpose, also under a test clock: it measures work, it never ends a wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

import trio

__all__ = ["FRAMES_A_TURN", "SECONDS_A_TURN", "Turn", "turn_of_this_run"]

# After this much work the drain loops go back to the scheduler. A millisecond is a twentieth of an audio
# frame; at a microsecond a hop it still lets hundreds of frames share the cost of one pass.
SECONDS_A_TURN: Final = 0.001
FRAMES_A_TURN: Final = 64


class Turn(trio.abc.Instrument):
    """The pass of Trio's loop that is going on now."""

    __slots__ = ("began", "named", "now", "number", "until", "users")

    def __init__(self) -> None:
        self.users: int = 0
        self.number: int = 0
        self.named: int = 0  # the pass in which somebody was named for a stall
        self.after_io_wait(0)

    def after_io_wait(self, timeout: float) -> None:
        """Called by Trio when a pass begins."""
        self.began: float = perf_counter()  # seconds, real
        self.until: float = self.began + SECONDS_A_TURN
        self.now: float = trio.current_time()  # seconds on Trio's clock
        self.number += 1

    def spent(self) -> bool:
        """Whether this pass has lasted as long as it may."""
        return perf_counter() > self.until


_turn: trio.lowlevel.RunVar[Turn] = trio.lowlevel.RunVar("trio_pipes.turn")


@contextmanager
def turn_of_this_run() -> Iterator[Turn]:
    """The one `Turn` of this Trio run, counted: the last to leave takes the instrument out."""
    try:
        turn = _turn.get()
    except LookupError:
        turn = Turn()
        _turn.set(turn)
    turn.users += 1
    if turn.users == 1:
        turn.after_io_wait(0)
        trio.lowlevel.add_instrument(turn)
    try:
        yield turn
    finally:
        turn.users -= 1
        if turn.users == 0:
            trio.lowlevel.remove_instrument(turn)
