"""What workers send each other: attrs classes below `SystemMessage` and `DataMessage`."""

from __future__ import annotations

from typing import ClassVar

import attrs

__all__ = ["BusGap", "BusMessage", "DataMessage", "SystemMessage"]


@attrs.define(eq=False, kw_only=True)
class BusMessage:
    """What every message has. Make your own below `DataMessage` or `SystemMessage`."""

    local: ClassVar[bool] = False
    """True: never leaves the process, whatever the bus. For messages with objects in them."""

    internal: ClassVar[bool] = False
    """True: a broadcast of it is for subscriptions that name this class, or one like it, and not for those of everything."""

    source: str = ""
    """Who sends it, by name: does not get its own broadcasts back. Empty: nobody in particular."""
    target: str | None = None
    """Whom it is for, by name. None: everybody whose subscription has its class."""


@attrs.define(eq=False, kw_only=True)
class SystemMessage(BusMessage):
    """Overtakes data messages; never waits and is never dropped."""


@attrs.define(eq=False, kw_only=True)
class DataMessage(BusMessage):
    """Comes in the order its sender sent it, through the bounded buffer of each subscription."""


@attrs.define(eq=False, kw_only=True)
class BusGap(SystemMessage):
    """Messages were lost on the way here. Every subscription is told, whatever classes it asked for.

    What comes after it was sent after what is missing. Who needs to know what that was asks its sender.
    """

    local: ClassVar[bool] = True

    peer: str | None = None
    """The `id` of the bus object whose messages are missing. None: it may be anybody's."""
    missed: int | None = None
    """How many. None: nobody can tell, since the connection was away."""
