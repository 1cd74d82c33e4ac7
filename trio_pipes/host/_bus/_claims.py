"""Who owns which names, within one process."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Claims"]


class Claims:
    """Names and their owners. Nothing expires: in one process, whoever ends gives back what it had."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}

    def claim(self, names: Iterable[str], owner: str) -> dict[str, str]:
        """All of them or none; gives those that another one has, with that owner."""
        names = tuple(names)
        taken = {name: self._owners[name] for name in names if self._owners.get(name, owner) != owner}
        if not taken:
            self._owners.update(dict.fromkeys(names, owner))
            self._names.setdefault(owner, set()).update(names)
        return taken

    def release(self, names: Iterable[str] | None, owner: str) -> None:
        """Give back `names`, or all. What the owner does not have is left alone."""
        owned = self._names.get(owner, set())
        for name in tuple(owned) if names is None else names:
            if name in owned:
                owned.discard(name)
                del self._owners[name]
        if not owned:
            self._names.pop(owner, None)
