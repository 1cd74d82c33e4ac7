"""Which service of a switcher works, when something has happened to one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import attrs

from trio_pipes._base import check_flag, check_timeout
from trio_pipes.flow._frames import ErrorFrame
from trio_pipes.flow._processor import FrameProcessor

__all__ = ["Failover", "SwitchStrategy"]


class SwitchStrategy(ABC):
    """Decides when a switcher turns to another service by itself, and to which.

    The methods are called with the `ServiceSwitcher` when something happens, so they look and do not wait. Each gives the
    service that is to work, which has to be one of `switcher.usable_services`.
    """

    retry_after: float | None = None
    """Seconds after which a service that was lost counts as usable again, and may be tried; None: when it says so."""
    repeat: bool = True
    """Whether the next service gets the frame on which one failed, if nothing has come of it yet."""

    @abstractmethod
    def next_service(self, switcher: Any) -> FrameProcessor | None:
        """Which one takes over from the active one, which cannot work any more; None: nobody."""

    def after_error(self, switcher: Any, error: ErrorFrame) -> FrameProcessor | None:
        """Which one takes over after an error that the active one has reported; None: it goes on."""
        return None

    def after_return(self, switcher: Any, service: FrameProcessor) -> FrameProcessor | None:
        """Which one takes over when `service`, which is not active, can work again; None: the active one goes on."""
        return None


@final
@attrs.frozen
class Failover(SwitchStrategy):
    """When the active service cannot work any more, the next usable one in the list takes over; after the last the first.

    `failback=True`: a service takes over again as soon as it is usable, from one that stands behind it in the list.
    `retry_after`: seconds after which a service that was lost counts as usable again. `repeat=False`: the frame on which
    a service failed is not given to the next one.
    """

    failback: bool = False
    retry_after: float | None = attrs.field(default=None, kw_only=True)
    repeat: bool = attrs.field(default=True, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_flag("Failover(failback", self.failback)
        check_timeout("Failover(retry_after", self.retry_after)
        check_flag("Failover(repeat", self.repeat)

    def next_service(self, switcher: Any) -> FrameProcessor | None:
        """The next usable one behind the active one, in a ring."""
        services, usable = list(switcher.services), switcher.usable_services
        here = services.index(switcher.active)
        return next((service for service in services[here + 1 :] + services[:here] if service in usable), None)

    def after_return(self, switcher: Any, service: FrameProcessor) -> FrameProcessor | None:
        """With `failback`, the one that stands before the active one."""
        services = list(switcher.services)
        preferred = self.failback and services.index(service) < services.index(switcher.active)
        return service if preferred else None
