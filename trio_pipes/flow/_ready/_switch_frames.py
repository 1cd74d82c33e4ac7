"""The frames of a service switcher: one that asks for a switch, and one that tells of it."""

from __future__ import annotations

from typing import Any

import attrs

from trio_pipes._base import ConfigurationError
from trio_pipes.flow._frames import ControlFrame, Frame

__all__ = ["ServiceSwitchedFrame", "SwitchServiceFrame"]


def _service(frame: Frame, _: object, value: object) -> None:
    if isinstance(value, type) or not (hasattr(value, "process_frame") or (isinstance(value, str) and value)):
        raise ConfigurationError(
            f"{type(frame).__name__}(service={value!r}): expected a service of a switcher, or its name"
        )


@attrs.define(eq=False)
class SwitchServiceFrame(ControlFrame):
    """Asks the switcher that has this service, or one of this name, to choose it; ends there. Survives interrupts.

    On its way down it takes effect in its place: what was pushed before goes to the service that was active. On its way
    up it takes effect when it has come to the switcher, as `switch_to` does.
    """

    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)
    service: Any = attrs.field(validator=_service)


@attrs.define(eq=False)
class ServiceSwitchedFrame(ControlFrame):
    """Another service is active now. A switcher pushes one each way.

    Downstream it comes between what the old one made and what the new one makes. Survives interrupts.
    """

    interruptible: bool = attrs.field(default=False, kw_only=True, repr=False)
    switcher: Any = attrs.field(default=None, repr=False)
    """The `ServiceSwitcher`."""
    service: Any = None
    """The service that is active now."""
    before: Any = None
    """The one that was."""
    reason: str | None = None
    """Why the one before cannot work any more; None: the other one was chosen."""
