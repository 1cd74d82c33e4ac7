"""What a node does with a frame that is its turn: show it to the processor, carry it on, tell of what went wrong."""

from __future__ import annotations

from ._deadline import by_deadline, has_deadline
from ._frames import (
    ADDRESSED,
    LIFECYCLE,
    ORDERED,
    Direction,
    ErrorFrame,
    FlushMarker,
    Frame,
    InterruptionFrame,
)
from ._params import ErrorPolicy
from ._pause import BY_CALL, add_pause
from ._place import DOWN, UP, Place
from ._watch import told_of_handling

__all__ = ["Handling"]


class Handling(Place):
    """The part of a node that handles frames."""

    __slots__ = ()

    def choose_handler(self) -> None:
        """Somebody begins or stops to watch."""
        watch = self.engine.observed
        told = watch is not None and watch.of_handling
        self.process = told_of_handling(self, self.handler) if told else self.handler

    async def take(self, frame: Frame, direction: Direction) -> None:
        """Handle a frame of any kind."""
        if self.members and frame.interruptible is not True:
            # What is handed over within the task is stopped with the frame in hand, and this one is not; or it would
            # be stopped by its deadline.
            self.foreign += 1
            self.refresh()
            try:
                await self._take(frame, direction)
            finally:
                self.foreign -= 1
                self.refresh()
        else:
            await self._take(frame, direction)

    async def _take(self, frame: Frame, direction: Direction) -> None:
        lane = frame._lane
        if lane == ORDERED:
            if self.unusable is None:
                await self.handle(frame, direction)
            else:
                await self.pass_by(frame, direction)
        elif lane == LIFECYCLE:
            await self.lifecycle(frame)
        elif lane == ADDRESSED and self.is_meant(frame):
            add_pause(self, BY_CALL)
        elif type(frame) is InterruptionFrame and frame._given:
            await self.interrupted(frame)
        else:
            await self.handle(frame, direction)

    async def pass_by(self, frame: Frame, direction: Direction) -> None:
        """Hand a frame on that the processor is not shown, because it is unusable."""
        await self.push(frame, direction)

    def is_meant(self, frame: Frame) -> bool:
        """Whether a frame that names a processor names this one."""
        named = getattr(frame, "processor", None)
        return self.may_pause and (named is self.processor or named == self.name)

    async def handle(self, frame: Frame, direction: Direction) -> None:
        try:
            if has_deadline(frame):
                await by_deadline(self.process, frame, direction, self.name)
            else:
                await self.process(frame, direction)
        except Exception as exc:  # noqa: BLE001  (handed on: it fails the task or becomes an ErrorFrame)
            self.failed(exc, frame)

    async def lifecycle(self, frame: Frame) -> None:
        """Show a lifecycle frame to the processor and see that it goes on, once."""
        self.shown = frame
        if not isinstance(frame, FlushMarker) and self.takes_lifecycle(frame):
            await self.handle(frame, DOWN)
        if not self.engine.over:
            await self.carry(frame)

    def _has_started(self) -> None:
        self.started = True
        inbox = self.inbox
        inbox.limit = 0 if inbox.waiting else inbox.bound
        if self.urgent_down is not None:  # interrupts that came before the start are handled before all else
            self.hold += sum(type(frame) is InterruptionFrame and frame._given for frame in self.urgent_down.q)
        self.refresh()
        self.tell_pusher()
        self.start_lanes()

    async def carry(self, frame: Frame) -> None:
        """Hand on the lifecycle frame that is shown; a second time does nothing."""
        if self.shown is not frame:
            return
        self.shown = None
        if frame is self.engine.last:
            self.ended = self.inbox.terminal = True
            self.refresh()
        elif frame is self.engine.start:
            self._has_started()  # who hands it on has handled it, and may wait for an answer from below
        await self._carry_on(frame)
        if frame is self.engine.start:
            while self.early:
                await self.below.accept(self.early.pop(0), nowait=True)
            self.passed_start = True
            self.refresh()

    async def _carry_on(self, frame: Frame) -> None:
        """Past the functions that run within this node's pushes: they are not shown lifecycle frames."""
        passed: list[Place] = [self]
        while isinstance(passed[-1].below, Place) and passed[-1].below in self.functions:
            passed.append(passed[-1].below)
        for node in passed[1:]:
            if frame is self.engine.last:
                node.ended = True
            elif frame is self.engine.start:
                node.started = node.passed_start = True
            node.refresh()
        await passed[-1].below.accept_lifecycle(frame)

    def failed(self, exc: Exception, frame: Frame | None) -> None:
        """An exception in this processor: the task's failure, or a report, as the policy says."""
        self.note(exc, frame)
        policy = self.processor.on_error or self.engine.params.on_error
        if policy is ErrorPolicy.REPORT and not self.engine.over:
            self.report(ErrorFrame(error=str(exc) or repr(exc), exception=exc, processor=self.processor))
        elif not self.engine.loses(self, exc, frame):
            text = str(exc) or repr(exc)
            self.engine.owner.error_reported(ErrorFrame(text, exception=exc, processor=self.processor, fatal=True))
            self.engine.fail(exc)

    def note(self, exc: Exception, frame: Frame | None) -> None:
        """Write into an error where it happened."""
        at = f", frame {frame.name}" if frame is not None and hasattr(frame, "id") else ""
        exc.add_note(f"in processor {self.name!r}{at}, of {self.engine.name!r}")

    def report(self, frame: ErrorFrame) -> None:
        """Send an error upstream; a fatal one ends the task here and now."""
        if frame.fatal:
            self.engine.fail_with(frame)
        elif not self.engine.over:
            self.above.accept_urgent(frame, UP)

    # -- interrupts

    async def interrupted(self, frame: InterruptionFrame) -> None:
        """Tell the processor, then let newer frames in."""
        try:
            await self.processor.on_interrupt()
            await self.process(frame, DOWN)
        except Exception as exc:  # noqa: BLE001  (handed on)
            self.failed(exc, frame)
        finally:
            self.hold -= 1
            self.refresh()
            self.tell_pusher()
            if not self.hold:
                self.start_lanes()
        self.engine.check_quiet()
