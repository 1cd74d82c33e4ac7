"""How the objects of one class are taken apart and made again, worked out once from its attrs fields."""

from __future__ import annotations

import operator
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NotRequired, Required, TypedDict, TypeVar

import attrs
import msgspec

from ._listing import BESIDES, CLASSES, LATER, LEFT_OUT, LOCAL, TAGS, Besides, Listed
from ._wire_types import checked_type, field_hints, types_of_its_own

__all__ = ["PLAIN", "Plan", "find_class", "find_tag"]

PLAIN: Final = frozenset([type(None), bool, int, float, str, bytes])
"""What msgspec sends and brings back by itself, wherever it stands."""

T = TypeVar("T")
make_typed_dict: Any = TypedDict  # called, which type checkers take for a definition to be read
Hook = Callable[[int, memoryview], Any]


@attrs.frozen(eq=False)
class Plan:
    """The fields of a listed class, and what checks them."""

    listed: Listed
    names: tuple[str, ...]
    """The names on the wire: those of the arguments that the class is made with."""
    taken: Callable[[Any], tuple[Any, ...]]
    """Takes their values out of an object."""
    types: dict[str, frozenset[type[Any]]]
    """Of some fields: the classes that only their annotations bring back."""
    besides: Besides | None
    why_local: str | None
    """Why objects of it stay in their process; None: they need not."""
    checked: Any
    """The fields as msgspec checks them."""
    decoder: msgspec.msgpack.Decoder[dict[str, Any]]

    @classmethod
    def of(cls, listed: Listed, hook: Hook) -> Plan:
        """Raises `ConfigurationError`, `TypeError` or `NameError` for annotations that make no sense."""
        _load(lambda _prefix, base: issubclass(listed.cls, base))
        left_out = frozenset().union(*_by_class(LEFT_OUT, listed.cls))
        # What an object is not made with is its own: the receiver's object makes it for itself.
        fields = [it for it in attrs.fields(listed.cls) if it.init and it.name not in left_out]
        hints = field_hints(listed.cls)
        types: dict[str, Any] = {}
        for field in fields:
            check = checked_type(hints.get(field.name, Any))
            types[str(field.alias)] = Required[check] if field.default is attrs.NOTHING else NotRequired[check]
        besides = next(iter(_by_class(BESIDES, listed.cls)), None)
        if besides is not None:
            types.update({name: NotRequired[checked_type(it)] for name, it in besides.types.items()})
        checked: Any = make_typed_dict(listed.cls.__name__, types)
        return cls(
            listed=listed,
            names=tuple(str(field.alias) for field in fields),
            taken=_taker([field.name for field in fields]),
            types={str(it.alias): own for it in fields if (own := types_of_its_own(hints.get(it.name, Any)))},
            besides=besides,
            why_local=next(iter(_by_class(LOCAL, listed.cls)), None),
            checked=checked,
            decoder=msgspec.msgpack.Decoder(checked, dec_hook=as_it_came, ext_hook=hook),
        )

    def fields_of(self, obj: Any) -> dict[str, Any]:
        """The fields of an object, by their names on the wire."""
        return dict(zip(self.names, self.taken(obj), strict=True))

    def make(self, fields: dict[str, Any]) -> Any:
        """A new object of fields that were checked, made as any object of the class is."""
        if self.besides is None:
            return self.listed.cls(**fields)
        rest = {name: fields.pop(name) for name in self.besides.types if name in fields}
        made = self.listed.cls(**fields)
        if rest:
            self.besides.give(made, rest)
        return made


def _taker(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda obj: tuple(getattr(obj, name) for name in names)


def as_it_came(_: type[Any], value: Any) -> Any:
    """For msgspec, which asks how to make a stand-in's value: it is made already, and msgspec checks its class."""
    return value


def _by_class(table: dict[type[Any], T], cls: type[Any]) -> list[T]:
    return [table[base] for base in cls.__mro__ if base in table]


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


def _load(wanted: Callable[[str, type[Any]], bool]) -> None:
    for later in [it for it in LATER if wanted(it[0], it[1])]:
        import_module(later[2])
        if later in LATER:
            LATER.remove(later)
