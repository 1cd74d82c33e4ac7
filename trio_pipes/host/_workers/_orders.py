"""What workers send each other to say who is active."""

from __future__ import annotations

from typing import Any

import attrs

from trio_pipes._base import next_id, on_wire

from .._bus import SystemMessage

__all__ = [
    "ActivateMessage",
    "ActivationAnswer",
    "ConfirmMessage",
    "DeactivateMessage",
    "Order",
    "RecallMessage",
]


@attrs.define(eq=False, kw_only=True)
class Order(SystemMessage):
    """What is answered with an `ActivationAnswer`. Sent again until it is."""

    serial: int = attrs.field(factory=next_id)
    """Tells it from the sender's other orders."""
    number: int = 0
    """Higher than any that the sender has seen: who has seen a higher one refuses it."""


@on_wire("trio_pipes.worker.activate")
@attrs.define(eq=False, kw_only=True)
class ActivateMessage(Order):
    """Be active."""

    args: Any = None
    hands_over: bool = False
    """The sender was active, and is not any more."""


@on_wire("trio_pipes.worker.deactivate")
@attrs.define(eq=False, kw_only=True)
class DeactivateMessage(Order):
    """Be inactive."""


@on_wire("trio_pipes.worker.recall")
@attrs.define(eq=False, kw_only=True)
class RecallMessage(Order):
    """Give back what was handed over under this number, unless it has gone on to somebody else."""


@on_wire("trio_pipes.worker.answer")
@attrs.define(eq=False, kw_only=True)
class ActivationAnswer(SystemMessage):
    """What came of an order."""

    serial: int = 0
    number: int = 0
    accepted: bool = False
    changed: bool = False
    """Whether it made a difference."""
    highest: int = 0
    """The highest number that its sender has seen."""
    why: str | None = None
    """Why it was refused; None where the number was too low."""


@on_wire("trio_pipes.worker.confirm")
@attrs.define(eq=False, kw_only=True)
class ConfirmMessage(SystemMessage):
    """The answer to a handover has arrived: what was handed over may be handed on."""

    number: int = 0
