"""What the registries of a bus tell each other. `source` is the `runner_id` of the registry that speaks.

# How they agree.
#
# Each registry numbers what it tells of its own workers: a change has the version that it leads to. Who has version 4 and
# gets change 5 has version 5; who gets 6 has missed something, and asks. A beat says the version too, so that a loss
# with nothing after it shows at the next beat. The answer to a question is a snapshot, in parts that each fit in a message.
# Nobody compares clocks: each judges by its own when it has heard of whom.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

import attrs

from trio_pipes._base import on_wire
from trio_pipes.host._bus import SystemMessage

__all__ = [
    "ACTIVE",
    "READY",
    "RegistryBeat",
    "RegistryChange",
    "RegistryGoodbye",
    "RegistryMessage",
    "RegistryQuestion",
    "RegistrySnapshot",
    "Row",
]

Row = tuple[str, str, str | None, int, int]
"""A worker: name, class, parent, READY and ACTIVE added up, life."""

READY: Final = 1
ACTIVE: Final = 2


def _passes(_: object, field: attrs.Attribute[float], value: float) -> None:
    """What a peer sent may be anything."""
    if not 0 < value < math.inf:
        raise ValueError(f"{field.name} is {value}, expected a finite number of seconds above 0")


@attrs.define(eq=False, kw_only=True)
class RegistryMessage(SystemMessage):
    """What registries tell each other."""

    internal: ClassVar[bool] = True


@on_wire("trio_pipes.registry.beat")
@attrs.define(eq=False, kw_only=True)
class RegistryBeat(RegistryMessage):
    """The runner is up, and this is what its registry has told last."""

    version: int = attrs.field(validator=attrs.validators.ge(0))
    lease: float = attrs.field(validator=_passes)
    """Seconds until who hears nothing more may forget the runner."""


@on_wire("trio_pipes.registry.change")
@attrs.define(eq=False, kw_only=True)
class RegistryChange(RegistryBeat):
    """Leads from the version before to `version`: first `removed`, then `added`, which also has what is changed."""

    added: list[Row] = attrs.field(factory=list)
    removed: list[str] = attrs.field(factory=list)


@on_wire("trio_pipes.registry.snapshot")
@attrs.define(eq=False, kw_only=True)
class RegistrySnapshot(RegistryBeat):
    """Part `part` of `parts` of all workers at `version`."""

    part: int = attrs.field(validator=attrs.validators.ge(0))
    parts: int = attrs.field(validator=attrs.validators.ge(1))
    workers: list[Row] = attrs.field(factory=list)


@on_wire("trio_pipes.registry.question")
@attrs.define(eq=False, kw_only=True)
class RegistryQuestion(RegistryMessage):
    """To one runner: a snapshot, please. To all: a beat, please."""


@on_wire("trio_pipes.registry.goodbye")
@attrs.define(eq=False, kw_only=True)
class RegistryGoodbye(RegistryMessage):
    """The runner has left the bus. What it told before has a lower version, and what it tells in another run a higher one."""

    version: int = attrs.field(validator=attrs.validators.ge(0))
