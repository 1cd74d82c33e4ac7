"""The roster of a runner: which workers it has, and what they are to each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
import trio

from trio_pipes._base import DuplicateName

from ._worker import Worker

__all__ = ["Entry", "Roster"]


@attrs.define(eq=False)
class Entry:
    """One worker, from the moment it was added to the moment it has ended."""

    worker: Worker
    name: str
    isolated: bool = False
    """Its error is its own."""
    helper: bool = False
    """Outlives the others and does not keep the runner up."""
    parent: str | None = None
    """Name of the worker that it belongs to; a worker without one is a root."""
    may_follow: trio.Event = attrs.field(factory=trio.Event)
    """It is ready or over: the next may start."""
    is_ready: bool = False
    is_told: bool = False
    """It has been asked to end."""
    has_failed: bool = False
    scope: trio.CancelScope | None = None
    """What it runs in, once it is hosted."""
    following: trio.CancelScope | None = None
    """Of the task that looks whether its parent, on another runner, is still there."""
    result: object = None

    @property
    def is_root(self) -> bool:
        """Whether it keeps the runner up."""
        return self.parent is None and not self.helper


class Roster:
    """Workers by name, in the order they were added."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._entries: dict[str, Entry] = {}
        self._children: dict[str, dict[Entry, None]] = {}  # by the name of the parent

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """Add all, or raise `DuplicateName` for a name that is already up, and add none."""
        new: dict[str, Entry] = {}
        for entry in entries:
            there = self._entries.get(entry.name) or new.get(entry.name)
            if there is not None:
                same = " (the same worker)" if there.worker is entry.worker else f": {there.worker!r}"
                raise DuplicateName(
                    f"{self._owner} already has a worker named {entry.name!r}{same}. "
                    "Give this one another name, or wait until the first has ended."
                )
            new[entry.name] = entry
        self._entries.update(new)
        for entry in new.values():
            if entry.parent is not None:
                self._children.setdefault(entry.parent, {})[entry] = None

    def remove(self, entry: Entry) -> None:
        if self._entries.get(entry.name) is entry:
            del self._entries[entry.name]
        if entry.parent is not None and (family := self._children.get(entry.parent)) is not None:
            family.pop(entry, None)
            if not family:
                del self._children[entry.parent]

    def get(self, name: str) -> Entry | None:
        return self._entries.get(name)

    def children_of(self, name: str) -> tuple[Entry, ...]:
        """Those whose parent has this name."""
        return tuple(self._children.get(name, ()))
