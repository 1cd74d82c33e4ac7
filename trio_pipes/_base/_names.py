"""Ids that are unique in the process, and default names that count per class."""

from __future__ import annotations

import re
from itertools import count
from typing import Final
from weakref import WeakKeyDictionary

__all__ = ["default_name", "is_default_name", "next_id"]

next_id = count(1).__next__

_counts: WeakKeyDictionary[object, count[int]] = WeakKeyDictionary()


def default_name(kind: object, label: str | None = None) -> str:
    """`"Shout#0"`, `"Shout#1"`, ... : what it is and how many of that kind were named before.

    `kind` is a class, or anything else that can be counted for; then `label` says what to call it.
    """
    counter = _counts.get(kind)
    if counter is None:
        counter = _counts[kind] = count()
    return f"{label or getattr(kind, '__name__', '?')}#{next(counter)}"


DEFAULT_NAME: Final = re.compile(r".+#\d+", re.DOTALL)


def is_default_name(name: str) -> bool:
    """Whether a name looks as if nobody had given it: another process may well have the same."""
    return DEFAULT_NAME.fullmatch(name) is not None
