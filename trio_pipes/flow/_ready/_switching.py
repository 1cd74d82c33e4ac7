"""How another service of a switcher becomes the active one.

#   set up    a service that is not set up (a cold one, or one that broke) is, while the active one works on
#   hold      the switcher's node takes nothing more. What the active service has not begun comes back to it; not when
#             the switch was asked for by a frame on its way down, which has its place behind what went before
#   drain     the active service finishes what it has in hand. Then frames from below are held until it has handed on
#             those that it has
#   switch    the other one is active, everybody is told, and gets what was held and what waits
#
# One task does all this, one switch after the other, and goes when there is nothing to do. So what the old one made comes
# out before what the new one makes, and a frame is in one service only.
#
# Refused: to let the new service begin while the old one finishes, with its outputs held back. It saves the time of one
# frame, and costs a buffer without a bound.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from trio_pipes.flow._content import Asked
from trio_pipes.flow._frames import Direction, ErrorFrame, Frame, StartFrame
from trio_pipes.flow._pause import Pause, add_pause, end_pauses, remove_pause
from trio_pipes.flow._usable import make_unusable, set_usable

from ._losses import Losses, reasons, why
from ._service import FrameSet, Service
from ._switch_frames import ServiceSwitchedFrame

if TYPE_CHECKING:
    pass

__all__ = ["Switching"]

DOWN = Direction.DOWNSTREAM
UP = Direction.UPSTREAM


class Has(Protocol):
    """What the settings of a switcher are, as far as this goes."""

    @property
    def strategy(self) -> Any: ...

    @property
    def warm(self) -> bool: ...


@attrs.define(eq=False)
class Wish:
    """A service that somebody has chosen."""

    service: Service
    asked: Asked
    frame: Frame | None = None
    """The frame by which it was chosen, on its way down: what was before it is for the one that is active."""
    withdrawn: bool = False


class Switching:
    """Sees to it that the service works that should."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._wishes: deque[Wish] = deque()
        self._here: Wish | None = None  # of a frame that the node has in hand
        self._at_work = False  # the task that switches is
        self._pause = Pause(lasting=True)

    # -- what is asked for

    def ask(self, service: Service, asked: Asked) -> None:
        """Somebody has chosen a service, and may wait for it."""
        node = self._node
        if node.engine.over:
            asked.settle(self._too_late())
            return
        node.engine.pool.check_here()
        if service is node.active and service.works and not self._at_work:
            asked.settle()
            return
        self._wish(Wish(service, asked))

    def choose(self, service: Service) -> None:
        """Somebody has chosen a service, and does not wait."""
        self._wish(Wish(service, Asked("")))

    async def choose_here(self, service: Service, frame: Frame) -> None:
        """The same by a frame that the node has in hand, behind everything that the active service was given."""
        self._here = Wish(service, Asked(""), frame)
        self._wish(self._here)
        await self._here.asked.over()
        self._here = None

    def withdraw_here(self) -> Frame | None:
        """What was before that frame comes back: it has to come again, behind that."""
        wish = self._here
        if wish is None or wish.withdrawn:
            return None
        wish.withdrawn = True
        wish.asked.settle()
        return wish.frame

    def _wish(self, wish: Wish) -> None:
        if self._node.engine.over:
            wish.asked.settle(self._too_late())
            return
        self._wishes.append(wish)
        if not wish.service.needs_set_up:
            self.hold()  # nothing more, be it the end, goes to the one that is active
        self.wake()

    def hold(self) -> None:
        """Take nothing more until it is clear who gets it."""
        add_pause(self._node, self._pause)

    def wake(self) -> None:
        """See whether there is a reason for a switch."""
        if not (self._at_work or self._node.engine.over):
            self._at_work = True
            self._node.engine.spawn(self._work)

    # -- the task

    async def _work(self) -> None:
        node = self._node
        try:
            await node.has_begun.wait()
            if node.active.content is None and not node.end.passed_start:  # the active one broke with it in hand
                await node.end.let_lifecycle_out(node.engine.start)
            while await self._step():
                pass
        finally:
            self._at_work = False
            if node.engine.over:
                self._settle_too_late()

    async def _step(self) -> bool:
        """One switch, if there is a reason for one."""
        node = self._node
        if node.ended:
            self._settle_too_late()
            await node.await_no_more()
        elif self._wishes:
            await self._fulfil(self._wishes.popleft())
            return True
        elif (service := self._successor()) is not None:
            try:
                await self._switch(service)
            except Exception as exc:  # noqa: BLE001  (told; then the next one is tried)
                self._tell_failure(service, exc)
            return True
        elif node.active.lost is not None and (node.settings.strategy is not None or node.active.content is None):
            make_unusable(node, f"no service is left: {reasons(node.services)}", None)
        else:
            set_usable(node)
        remove_pause(node, self._pause)
        node.end.let_go()
        return False

    def _successor(self) -> Service | None:
        """The service that has to take over now, if one has to."""
        active: Service = self._node.active
        if active.lost is None:
            return active if active.needs_set_up else None
        losses: Losses = self._node.losses
        return losses.successor()

    async def _fulfil(self, wish: Wish) -> None:
        service = wish.service
        if wish.withdrawn:
            return
        try:
            if service.lost is not None and not service.needs_set_up:
                raise RuntimeError(
                    f"{service.name!r} cannot be chosen, because it is unusable: {service.lost}. "
                    "When it works again, its set_usable() says so."
                )
            if service is not self._node.active or not service.works:
                await self._switch(service, wish)
            wish.asked.settle()
        except Exception as exc:  # noqa: BLE001  (handed on; the active one stays)
            wish.asked.settle(exc)
            self._tell_failure(service, exc)
        finally:
            wish.asked.settle(self._too_late())

    async def _switch(self, service: Service, wish: Wish | None = None) -> None:
        """Make a service the active one. Raises what keeps it from that."""
        node = self._node
        before: Service = node.active
        if service.needs_set_up:
            await self._set_up(service)
        if service is before:
            return
        self.hold()
        if before.content is not None:
            if wish is None or wish.frame is None:
                node.give_back(before.take_back())
            await self._drain(before)
        if wish is not None and wish.withdrawn:
            return
        if not service.works:
            raise RuntimeError(f"{service.name!r} is unusable: {service.lost}")
        node.active = service
        service.has_worked = True
        await self._tell(before, service)

    async def _drain(self, service: Service) -> None:
        """Wait until a service has finished what it has; a cold one ends with that."""
        node, content = self._node, service.content
        assert content is not None
        run: Any = content.run
        if node.settings.warm:
            await run.wait_idle(also_up=False)
        else:
            for one in content.nodes():
                end_pauses(one, all_of_them=False)
            await content.end(f"{node.name} turns to another service")
        if service.content is not content:  # it broke meanwhile
            return
        node.end.hold()
        await run.wait_idle(also_up=True)
        if not node.settings.warm and service.content is content:
            service.content = None
            node.graph.gather()
            node.losses.put_away(service, content.leave)

    async def _set_up(self, service: Service) -> None:
        """Set up a service that is not, or that is worn. Raises what goes wrong; then it is lost."""
        node = self._node
        if service.content is not None:
            worn, service.content = service.content, None
            node.graph.gather()
            node.losses.put_away(service, worn.give_up)
        if service.put_away is not None:
            await service.put_away.wait()
        start = StartFrame()
        start.metadata.update(node.engine.start.metadata)
        content = service.content_for(start)
        try:
            await content.set_up(node.name)
            reason = next((one.unusable for one in content.nodes() if one.unusable is not None), None)
            if reason is not None:
                raise RuntimeError(f"{service.name!r} is unusable: {reason}")
            content.run.setting_up = False
            service.content, service.lost, service.copies = content, None, FrameSet()
        except Exception as exc:
            node.losses.lose(service, why(exc))
            raise
        finally:
            if service.content is not content:
                await content.give_up()  # noqa: ASYNC102
        node.graph.gather()
        await content.begin()

    async def _tell(self, before: Service, service: Service) -> None:
        """A frame down, between what the two make, and one up."""
        node = self._node
        for direction in (DOWN, UP):
            frame = ServiceSwitchedFrame(
                switcher=node.processor, service=service.processor, before=before.processor, reason=before.lost
            )
            node.tell_push(frame, direction)
            if direction is DOWN:
                await node.end.let_out(frame, nowait=True)
            else:
                node.above.accept_up(frame)

    def _tell_failure(self, service: Service, exc: Exception) -> None:
        node = self._node
        text = f"{node.name!r} could not switch to {service.name!r}: {str(exc) or repr(exc)}"
        node.report(ErrorFrame(error=text, exception=exc, processor=node.processor))

    def _settle_too_late(self) -> None:
        while self._wishes:
            self._wishes.popleft().asked.settle(self._too_late())

    def _too_late(self) -> Exception:
        name = self._node.engine.name
        return trio.ClosedResourceError(f"the run of {name} has ended, or is ending: nothing was switched")
