"""The turns and latencies of a task, found once for all who tell of them elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final
from weakref import WeakKeyDictionary, ref

from trio_pipes.host import PipelineTask

from ._latency import UserBotLatencyObserver
from ._latency_records import UserBotLatency
from ._turns import Turn, TurnTrackingObserver

__all__ = ["Listener", "listen"]


class Listener:
    """Who wants to know; as it stands, nothing."""

    def turn_started(self, turn: Turn) -> None:
        """A turn has begun."""

    def turn_ended(self, turn: Turn) -> None:
        """A turn is over."""

    def latency(self, latency: UserBotLatency) -> None:
        """The bot has answered, or was kept from it."""


@final
class _Conversation:
    """What a task's observers find, told to all listeners. It is these observers that keep it, and the task keeps them."""

    def __init__(self, task: PipelineTask) -> None:
        self.listeners: list[Listener] = []
        turns = TurnTrackingObserver(
            on_turn_started=self._teller("turn_started"), on_turn_ended=self._teller("turn_ended"), keep=1
        )
        task.add_observer(turns)
        task.add_observer(UserBotLatencyObserver(on_latency=self._teller("latency"), keep=1))

    def _teller(self, event: str) -> Callable[[Any], None]:
        def tell(what: Any) -> None:
            for listener in self.listeners:
                getattr(listener, event)(what)

        return tell


# A listener may know processors of the task. A conversation that was kept here would keep the task, for ever.
_known: WeakKeyDictionary[PipelineTask, ref[_Conversation]] = WeakKeyDictionary()


def listen(task: PipelineTask, listener: Listener) -> None:
    """Have a listener told of a task that is about to begin, from observers that all listeners share."""
    known = _known.get(task)
    conversation = None if known is None else known()
    if conversation is None:
        conversation = _Conversation(task)
        _known[task] = ref(conversation)
    conversation.listeners.append(listener)
