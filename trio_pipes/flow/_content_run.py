"""What the nodes in a slot take for the engine: the run they are in, with a start and an end of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import trio

from ._frames import EndFrame, ErrorFrame, Frame, StartFrame

if TYPE_CHECKING:
    from ._contracts import Owner, Run
    from ._node import Node

__all__ = ["ContentRun"]


class ContentRun:
    """What the nodes in a slot take for the engine."""

    def __init__(self, run: Run, start: StartFrame | None) -> None:
        self.run = run
        self.errors: list[Exception] = []  # of the set-up
        self.is_replacement = start is not None
        self.setting_up = self.is_replacement  # nobody else needs to know what goes wrong
        self.closed = False
        self.ended = trio.Event()
        self.quiet = trio.Event()
        self.nodes: Callable[[], Iterator[Node]]
        self.waiting: trio.CancelScope | None = None  # of who waits for the set-up
        self._start = start
        self._last: EndFrame | None = None
        self._scopes: set[trio.CancelScope] = set()
        self._when_idle: list[Callable[[], bool]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    @property
    def start(self) -> Frame:
        return self._start or self.run.start

    @property
    def last(self) -> Frame | None:
        return self._last or self.run.last

    @property
    def over(self) -> bool:
        return self.closed or self.run.over

    @property
    def done(self) -> bool:
        return self.closed or self.run.done

    @property
    def owner(self) -> Owner:
        return cast("Owner", _Discreet(self.run.owner)) if self.setting_up else self.run.owner

    def is_own(self, frame: Frame) -> bool:
        return frame is self.start or frame is self.last

    def stays_inside(self, frame: Frame) -> bool:
        """Whether this lifecycle frame is for the nodes in the slot alone."""
        return frame is self._start or frame is self._last

    def spawn(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        if not self.closed:
            self.run.spawn(self._scoped, fn, *args)

    async def _scoped(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await fn(*args)
            finally:
                self._scopes.discard(scope)

    def fail(self, exc: Exception) -> None:
        if self.setting_up:
            self.errors.append(exc)
            if self.waiting is not None:
                self.waiting.cancel(reason="the set-up has failed")
        else:
            self.run.fail(exc)

    def loses(self, node: Node, exc: Exception, frame: Frame | None) -> bool:
        """Whether the run goes on without a processor that has failed."""
        return not self.setting_up and self.run.loses(node, exc, frame)

    def end(self, reason: str) -> EndFrame:
        """The frame that ends these nodes alone."""
        self._last = EndFrame(reason=reason)
        return self._last

    def when_idle(self, frame: Frame) -> list[Callable[[], bool]]:
        """Who is asked when these nodes are idle, for a frame that is for them alone; or when all are."""
        return self._when_idle if self.stays_inside(frame) else self.run.when_idle(frame)

    def check_quiet(self) -> None:
        if (self.ended.is_set() or self._when_idle) and not any(node.busy() for node in self.nodes()):
            if self.ended.is_set():
                self.quiet.set()
            if not self.over:
                any(call() for call in tuple(self._when_idle))
        self.run.check_quiet()

    def stop(self) -> None:
        """Stop what still works."""
        for scope in self._scopes:
            scope.cancel(reason="the set-up is given up")


class _Discreet:
    """An owner who is not told of errors."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._owner, name)

    def error_reported(self, frame: ErrorFrame) -> None: ...
