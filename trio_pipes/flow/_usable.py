"""A processor that cannot do its work any more says so, and the task goes on without it, ends, or is cancelled.

What cannot come back by itself (refused credentials, a model that is gone) is no error of one frame: without this each
frame would fail again. Data and control frames then pass by the processor, in both directions and in their place;
system and lifecycle frames are still shown to it, so it may find out that it works again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ._frames import CancelTaskFrame, EndTaskFrame, ErrorFrame
from ._params import UnusablePolicy

if TYPE_CHECKING:
    from ._contracts import Run, Works

__all__ = ["make_unusable", "set_unusable", "set_usable"]


class _MayFail(Protocol):
    """What is asked of a node here."""

    name: str
    unusable: str | None

    @property
    def engine(self) -> Run: ...

    @property
    def processor(self) -> Works: ...

    @property
    def may_be_unusable(self) -> bool: ...

    def refresh(self) -> None: ...

    def tell_pusher(self) -> None: ...

    def report(self, frame: ErrorFrame) -> None: ...


def set_unusable(node: _MayFail, reason: str, exception: Exception | None) -> None:
    """Take a processor out of the way of frames, tell everybody, and do what the policy says; once."""
    if not isinstance(reason, str) or not reason:
        raise TypeError(f"{node.name}.set_unusable({reason!r}): expected a text that says why")
    if exception is not None and not isinstance(exception, Exception):
        raise TypeError(f"{node.name}.set_unusable(exception={exception!r}): expected an exception")
    if not node.may_be_unusable:
        raise RuntimeError(
            f"{node.name!r} cannot be unusable by itself: it is a synchronous function (let it raise), or is made of "
            "others, which frames have to go through (say it of one of them)"
        )
    make_unusable(node, reason, exception)


def make_unusable(node: _MayFail, reason: str, exception: Exception | None) -> None:
    """The same for whoever knows that it can be."""
    engine = node.engine
    if engine.over or engine.done or node.unusable is not None:
        return
    node.unusable = reason
    node.refresh()
    node.tell_pusher()
    engine.owner.usable_changed(node.processor, usable=False)
    text = f"{node.name} is unusable: {reason}"
    node.report(ErrorFrame(error=text, exception=exception, processor=node.processor))
    policy = node.processor.on_unusable or engine.params.on_unusable
    if policy is UnusablePolicy.END:
        engine.request(EndTaskFrame(reason=text))
    elif policy is UnusablePolicy.CANCEL:
        engine.request(CancelTaskFrame(reason=text))


def set_usable(node: _MayFail) -> None:
    """Let frames come to the processor again."""
    if node.unusable is None or node.engine.over or node.engine.done:
        return
    node.unusable = None
    node.refresh()
    node.tell_pusher()
    node.engine.owner.usable_changed(node.processor, usable=True)
