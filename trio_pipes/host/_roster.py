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
    ready: trio.Event = attrs.field(factory=trio.Event)
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

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

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

    def remove(self, entry: Entry) -> None:
        self._entries.pop(entry.name, None)

    def get(self, name: str) -> Entry | None:
        return self._entries.get(name)
