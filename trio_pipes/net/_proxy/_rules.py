"""What one side of a proxy lets in and out. No I/O."""

from __future__ import annotations

from collections.abc import Container, Iterable

import attrs

from trio_pipes._base import ConfigurationError, are_classes, check_iterable, refuse
from trio_pipes.host import BusMessage
from trio_pipes.host._jobs._messages import JobAnswer

__all__ = ["Rules", "make_rules"]


@attrs.frozen
class Rules:
    """The allow-list of one side."""

    expose: frozenset[str]
    """Names of workers here that the other side knows and may send to."""
    reach: frozenset[str]
    """Names of workers there that are known here, where the other side exposes them."""
    accept: tuple[type[BusMessage], ...]
    """Classes that may come in, those derived from them included."""
    forward: tuple[type[BusMessage], ...]
    """Classes of broadcasts that go out."""

    def why_not(self, message: object, runner_id: str, their_runner: str, answers: Container[str]) -> str | None:
        """Why what came from the other side may not enter; None: it may.

        The ids are of both sides' runners; `answers` are addresses that something was asked from.
        """
        if not isinstance(message, BusMessage):
            return f"a {type(message).__name__} is no message of a bus"
        if isinstance(message, JobAnswer) and message.target is not None and message.target in answers:
            return None  # whatever is accepted: a refusal is one
        if message.local or not isinstance(message, self.accept):
            return f"a {type(message).__name__} is not accepted here"
        if message.source and message.source.partition("/")[0] not in (*self.reach, their_runner):
            return f"its source {message.source!r} is none of the names that are reached"
        target = message.target
        if target is not None and target not in answers and target.partition("/")[0] not in (*self.expose, runner_id):
            return f"its target {target!r} is not exposed here"
        return None


def make_rules(
    who: str,
    expose: Iterable[str],
    reach: Iterable[str],
    accept: Iterable[type[BusMessage]],
    forward: Iterable[type[BusMessage]],
) -> Rules:
    """Raises `ConfigurationError` for what are no names and no classes of messages."""
    for what, value in (("expose", expose), ("reach", reach), ("accept", accept), ("forward", forward)):
        check_iterable(f"{who}({what}", value, "a list")
    for what, value in (("expose", expose := tuple(expose)), ("reach", reach := tuple(reach))):
        for name in value:
            if not isinstance(name, str) or not name or "/" in name or "#" in name:
                raise refuse(f"{who}({what}", list(value), "names that were given to workers")
    if both := sorted(set(expose) & set(reach)):
        raise ConfigurationError(f"{who}: {', '.join(both)} cannot be at both ends: a name has one owner")
    for what, value in (("accept", accept), ("forward", forward)):
        classes = tuple(value)
        if not are_classes(classes, BusMessage):
            raise refuse(f"{who}({what}", classes, "classes below BusMessage")
        local = [each.__name__ for each in classes if each.local]
        if local:
            raise ConfigurationError(f"{who}({what}=...): {', '.join(local)} never leaves its process")
    return Rules(frozenset(expose), frozenset(reach), tuple(accept), tuple(forward))
