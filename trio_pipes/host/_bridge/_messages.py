"""What the two ends of a bridge send each other. `source` and `target` are their addresses; `serial` tells one opening from the next.

What must keep its place among frames is a data message: the end of a bridge, and the signs of life that say how many frames
were sent before.
"""

from __future__ import annotations

import attrs

from trio_pipes._base import on_wire
from trio_pipes.flow import ControlFrame, Frame

from .._bus import DataMessage, SystemMessage

__all__ = [
    "BridgeClose",
    "BridgeFlushFrame",
    "BridgeFrame",
    "BridgeInterrupt",
    "BridgeKeep",
    "BridgeOpen",
    "BridgeState",
    "BridgeTaken",
    "BridgeUrgent",
    "FromBridge",
    "OfALink",
]


@on_wire("trio_pipes.bridge.open")
@attrs.define(eq=False, kw_only=True)
class BridgeOpen(SystemMessage):
    """A bridge would like to have its frames taken. Sent again until it is answered."""

    serial: int
    bridge: str
    """The name of the processor."""
    window: int
    """How many frames of one direction may be under way, to it and from it."""


@on_wire("trio_pipes.bridge.state")
@attrs.define(eq=False, kw_only=True)
class BridgeState(SystemMessage):
    """The answer, and news: whether the pipeline on the far side is active."""

    serial: int
    active: bool
    number: int
    """Of its activation: a higher one is a later one."""
    refused: str | None = None
    """Why it does not take this bridge's frames at all."""


@on_wire("trio_pipes.bridge.frame")
@attrs.define(eq=False, kw_only=True)
class BridgeFrame(DataMessage):
    """A data or control frame."""

    serial: int
    up: bool
    seq: int
    """Its place among those of its direction, from 1."""
    epoch: int
    """Interrupts before it."""
    number: int
    """Of the activation under which it was made; 0 from the bridge."""
    frame: Frame


@on_wire("trio_pipes.bridge.urgent")
@attrs.define(eq=False, kw_only=True)
class BridgeUrgent(SystemMessage):
    """A system frame: overtakes the others and needs no room."""

    serial: int
    up: bool
    number: int
    frame: Frame


@on_wire("trio_pipes.bridge.taken")
@attrs.define(eq=False, kw_only=True)
class BridgeTaken(SystemMessage):
    """So many frames of this direction are in the pipeline: there is room for more."""

    serial: int
    up: bool
    taken: int


@on_wire("trio_pipes.bridge.interrupt")
@attrs.define(eq=False, kw_only=True)
class BridgeInterrupt(SystemMessage):
    """What is under way is stale."""

    serial: int
    epoch: int


@on_wire("trio_pipes.bridge.keep")
@attrs.define(eq=False, kw_only=True)
class BridgeKeep(DataMessage):
    """A sign of life, on a bus that may lose messages: what the other end may have missed."""

    serial: int
    epoch: int
    sent: tuple[int, int]
    """Frames that were sent down, and up."""
    taken: tuple[int, int]


@on_wire("trio_pipes.bridge.close")
@attrs.define(eq=False, kw_only=True)
class BridgeClose(DataMessage):
    """This end is over."""

    serial: int
    taken: tuple[int, int]


@on_wire("trio_pipes.bridge.flush")
@attrs.define(eq=False)
class BridgeFlushFrame(ControlFrame):
    """Goes behind the last frame to the far side, through the pipeline there, and back: then nothing is under way."""

    flush: int = 0
    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)


OfALink = BridgeFrame | BridgeUrgent | BridgeTaken | BridgeInterrupt | BridgeKeep | BridgeClose
"""What both ends send."""

FromBridge = OfALink | BridgeOpen
