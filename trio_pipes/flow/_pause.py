"""Pausing one processor: it takes no ordered downstream frame until it is resumed.

# What a pause holds, and what it does not.
#
# Frames wait where they would wait anyway, in the processor's lane, so a pause is as bounded as a slow handler is, and
# makes those above wait in the same way. The handler that is working goes on. System frames, upstream frames and
# `StartFrame` are not held.
#
# Nothing that was accepted may be lost, and no end may hang on a pause. So the request to end the task ends the pauses,
# and what they held is handled before the end. The one kind that lasts is `pause_until`: it has a deadline.
#
# Each pause has an owner, and lasts until its owner ends it: `pause()` is one owner (a second call adds nothing), each
# block and each `pause_until` is another. The processor works when there is none left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, final

import trio

if TYPE_CHECKING:
    from ._contracts import Run

__all__ = ["BY_CALL", "NO_PAUSES", "Pausable", "Pause", "add_pause", "end_pauses", "remove_pause", "wait_resumed"]


@final
class Pause:
    """One owner's pause; `lasting` ones are not ended by the end of the task."""

    def __init__(self, *, lasting: bool = False) -> None:
        self.lasting = lasting


BY_CALL: Final = Pause()
"""The pause of `pause()` and of `PauseFrame`, which `resume()` and `ResumeFrame` end."""

NO_PAUSES: Final[frozenset[Pause]] = frozenset()


class Pausable(Protocol):
    """What is asked of a node here."""

    name: str
    pauses: frozenset[Pause]
    resumed: trio.Event | None
    inbox: Any

    @property
    def engine(self) -> Run: ...

    @property
    def may_pause(self) -> bool: ...

    def refresh(self) -> None: ...

    def tell_pusher(self) -> None: ...


def add_pause(node: Pausable, pause: Pause) -> None:
    """Pause a node. Raises `RuntimeError` for one that works within the task of another as a matter of course."""
    if not node.may_pause:
        raise RuntimeError(
            f"{node.name!r} is a synchronous function, which works within the processor above it and cannot be paused "
            "by itself. Pause that one, or make the function async."
        )
    engine = node.engine
    if not (engine.over or engine.done or (engine.is_ending and not pause.lasting)):
        _set(node, node.pauses | {pause})


def remove_pause(node: Pausable, pause: Pause) -> None:
    """End one pause; harmless when it has ended."""
    _set(node, node.pauses - {pause})


def end_pauses(node: Pausable, *, all_of_them: bool) -> None:
    """The task is to end, or is over (`all_of_them`)."""
    _set(node, NO_PAUSES if all_of_them else frozenset(pause for pause in node.pauses if pause.lasting))


def _set(node: Pausable, pauses: frozenset[Pause]) -> None:
    if pauses == node.pauses:
        return
    was, node.pauses = node.pauses, pauses
    if bool(was) != bool(pauses):
        node.refresh()
        node.tell_pusher()
    if not pauses:
        if node.resumed is not None:
            node.resumed.set()
            node.resumed = None
        node.inbox.start()


async def wait_resumed(node: Pausable) -> None:
    """Wait until nobody pauses the node."""
    while node.pauses:
        if node.resumed is None:
            node.resumed = trio.Event()
        await node.resumed.wait()
    await trio.lowlevel.checkpoint()
