"""What the two ends of a proxy say to each other, beside the messages that they carry."""

from __future__ import annotations

from typing import Final

import attrs

from trio_pipes._base import on_wire

__all__ = ["PROTOCOL", "Gap", "Hello", "Names", "Refused"]

PROTOCOL: Final = 1


@on_wire("trio_pipes.proxy.hello")
@attrs.frozen
class Hello:
    """The first word of each end."""

    protocol: int
    runner: str
    """The id of the runner that hosts it: where answers go."""
    bus: str
    """The `id` of its bus object."""


@on_wire("trio_pipes.proxy.names")
@attrs.frozen
class Names:
    """Which of the exposed workers are ready: all of them, each time one comes or goes."""

    ready: list[str]


@on_wire("trio_pipes.proxy.gap")
@attrs.frozen
class Gap:
    """Messages for the other end were lost here: too many came while the link was slow."""

    missed: int | None


@on_wire("trio_pipes.proxy.refused")
@attrs.frozen
class Refused:
    """A message was not let in."""

    what: str
