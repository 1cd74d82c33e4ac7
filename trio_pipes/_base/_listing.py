"""Which classes may cross a wire, under which tag: tables that cost nothing until a `Codec` reads them.

A tag stands for a class; no class is ever found by a name that a peer sent. What a class cannot say itself, because it
knows nothing of wires, the package that owns it says here: what stays in its process, what is left out, what an object
has besides the arguments that it is made with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, TypeVar

from ._checks import check_callable, check_count, refuse
from ._errors import ConfigurationError

__all__ = [
    "BESIDES",
    "LOCAL",
    "TAGS",
    "Besides",
    "Listed",
    "by_class",
    "find_class",
    "find_tag",
    "leave_out",
    "left_out_of",
    "listed_later",
    "on_wire",
    "stays_local",
    "travels_with",
]

T = TypeVar("T", bound=type[Any])
V = TypeVar("V")
Upgrade = Callable[[dict[str, Any], int], dict[str, Any]]
Take = Callable[[Any, dict[str, Any]], None]

# Short, because every message carries one; of letters that are the same in every font and log.
TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}"


# Plain classes, not attrs: whoever imports the package pays for these, and most never use a codec.


class Listed:
    """A class and what its messages are called."""

    __slots__ = ("cls", "tag", "upgrade", "version")

    def __init__(self, cls: type[Any], tag: str, version: int, upgrade: Upgrade | None) -> None:
        self.cls = cls
        self.tag = tag
        self.version = version
        self.upgrade = upgrade


class Besides:
    """What objects have that they are not made with: of which types, how it is read, and how it is put back."""

    __slots__ = ("give", "take", "types")

    def __init__(self, types: Mapping[str, Any], take: Take, give: Take) -> None:
        self.types = types
        self.take = take
        """Given an object and the fields to be sent, which it changes."""
        self.give = give
        """Given a new object and those of the names that came."""


TAGS: Final[dict[str, Listed]] = {}
CLASSES: Final[dict[type[Any], Listed]] = {}
LOCAL: Final[dict[type[Any], str]] = {}
"""Classes, those derived from them included, that stay in their process unless a codec is told otherwise: why."""
LEFT_OUT: Final[dict[type[Any], frozenset[str]]] = {}
"""Fields that are not sent, of a class and of those derived from it."""
BESIDES: Final[dict[type[Any], Besides]] = {}
LATER: Final[list[tuple[str, type[Any], str]]] = []
"""Modules that list classes when they are imported: the beginning of their tags, a base of their classes, their names."""


def on_wire(tag: str, *, version: int = 1, upgrade: Upgrade | None = None) -> Callable[[T], T]:
    """Let objects of an attrs class travel, and be stored, under `tag`. Written above `@attrs.define`.

    The tag is what peers know the class by: it stays when the class is renamed or moved, and begins with a name of your
    own, as in `"acme.weather"`. A message of another `version` is refused, except that `upgrade(fields, version)` is given
    the fields of an older one and returns those of this one. What changes need no new version: docs/wire.md.

    Raises `ConfigurationError` for what is no attrs class, and for a tag that another class has.
    """
    if not isinstance(tag, str) or not re.fullmatch(TAG, tag):
        raise refuse("on_wire(tag", tag, "up to 100 letters, digits and _ . : -, such as 'acme.weather'")
    check_count(f"on_wire({tag!r}, version", version)
    if upgrade is not None:
        check_callable(f"on_wire({tag!r}, upgrade", upgrade, "upgrade(fields, version) -> fields, or None")

    def list_it(cls: T) -> T:
        if not isinstance(cls, type) or "__attrs_attrs__" not in vars(cls):
            raise ConfigurationError(
                f"on_wire({tag!r}) was given {cls!r}, expected a class made with attrs. Write it on top:\n"
                f"    @on_wire({tag!r})\n"
                f"    @attrs.define\n"
                f"    class {getattr(cls, '__name__', 'Weather')}: ..."
            )
        _add(Listed(cls, tag, version, upgrade))
        return cls

    return list_it


def _add(listed: Listed) -> None:
    cls, tag = listed.cls, listed.tag
    known, before = TAGS.get(tag), CLASSES.get(cls)
    if known is not None and (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigurationError(
            f"on_wire({tag!r}): {cls.__module__}.{cls.__qualname__} cannot have this tag, "
            f"{known.cls.__module__}.{known.cls.__qualname__} has it"
        )
    if before is not None and before.tag != tag:
        raise ConfigurationError(f"on_wire({tag!r}): {cls.__qualname__} is listed already, as {before.tag!r}")
    # The same class made again is a module that was reloaded: objects of the old one can still be sent.
    TAGS[tag] = CLASSES[cls] = listed


def listed_later(prefix: str, base: type[Any], module: str) -> None:
    """Import `module`, which lists classes, when a codec first meets a tag with `prefix` or a class under `base`.

    Both are ours: a peer chooses among the modules that were named here, and names none.
    """
    LATER.append((prefix, base, module))


def stays_local(cls: type[Any], why: str) -> None:
    """Objects of the class, and of classes derived from it, are refused by codecs that were not told to take them."""
    LOCAL[cls] = why


def leave_out(cls: type[Any], *fields: str) -> None:
    """These fields of the class, and of classes derived from it, are not sent: the receiver's have their defaults."""
    LEFT_OUT[cls] = frozenset(fields)


def travels_with(cls: type[Any], types: Mapping[str, Any], take: Take, give: Take) -> None:
    """Objects of the class, and of classes derived from it, have more than what they are made with: see `Besides`."""
    BESIDES[cls] = Besides(types, take, give)


def find_tag(tag: str) -> Listed | None:
    """The class of a tag; modules that list classes with such tags are imported first."""
    if tag not in TAGS:
        _load(lambda prefix, _base: tag.startswith(prefix))
    return TAGS.get(tag)


def find_class(cls: type[Any]) -> Listed | None:
    """How a class is listed; modules that list such classes are imported first."""
    if cls not in CLASSES:
        _load(lambda _prefix, base: issubclass(cls, base))
    return CLASSES.get(cls)


def left_out_of(cls: type[Any]) -> frozenset[str]:
    """The fields of a class that are neither sent nor stored."""
    _load(lambda _prefix, base: issubclass(cls, base))
    none: frozenset[str] = frozenset()
    return none.union(*(LEFT_OUT[base] for base in cls.__mro__ if base in LEFT_OUT))


def by_class(table: Mapping[type[Any], V], cls: type[Any]) -> V | None:
    """What a table says of a class, or of the nearest of its bases."""
    _load(lambda _prefix, base: issubclass(cls, base))
    return next((table[base] for base in cls.__mro__ if base in table), None)


def _load(wanted: Callable[[str, type[Any]], bool]) -> None:
    for later in [it for it in LATER if wanted(it[0], it[1])]:
        import_module(later[2])
        if later in LATER:  # a thread may have been faster
            LATER.remove(later)
