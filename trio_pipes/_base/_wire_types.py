"""What msgspec is asked to check of a field, from the field's annotation.

msgspec checks plain values and containers of them while it decodes them. It would also make attrs classes, dataclasses and
the like by itself, past their `__init__` and without asking which class a peer meant: for those there is a stand-in, which
takes only what has come as an object of a listed class, or as one of the codec's own extensions.
"""

from __future__ import annotations

import datetime as dt
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence, Set as AbstractSet
from enum import Enum
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, Union, get_args, get_origin

import msgspec

__all__ = ["checked_type", "field_hints", "types_of_its_own"]

NATIVE: Final = frozenset([type(None), bool, int, float, str, bytes])
WITH_ZONE: Final = Annotated[dt.datetime, msgspec.Meta(tz=True)]
# What msgspec sends as a text or an array, so that only the annotation of its field can bring it back.
BY_ANNOTATION: Final = (dt.date, dt.time, dt.timedelta, set, frozenset)
CONTAINERS: Final[tuple[Any, ...]] = (
    *(list, tuple, set, frozenset, dict),
    *(Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence, AbstractSet),
)


def field_hints(cls: type[Any]) -> dict[str, Any]:
    """The annotations of a class and its bases, strings resolved, each in the module where it was written."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        names = {**vars(base), **vars(sys.modules.get(base.__module__, types))}
        for name, hint in vars(base).get("__annotations__", {}).items():
            hints[name] = _resolved(hint, names)
    return hints


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    alone = types.SimpleNamespace(__annotations__={"it": hint})
    try:
        return typing.get_type_hints(alone, names, include_extras=True)["it"]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any  # a name that is imported for type checkers only, or is local to a function; or no annotation of a field


class _StandIn(type):
    """Looks like a class to msgspec, and is one of several classes to `isinstance`."""

    of: tuple[type[Any], ...]

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.of)


def _stand_in(classes: tuple[type[Any], ...]) -> Any:
    name = " | ".join(it.__name__ for it in classes)
    return _StandIn(name, (), {"of": classes})


def checked_type(hint: Any) -> Any:
    """The type that msgspec checks for a field with this annotation; `Any` where there is nothing to check."""
    checked = _checked(hint)
    try:
        msgspec.msgpack.Decoder(checked)
    except TypeError:  # several kinds of text in one union, and the like
        classes = _classes(hint)
        return _stand_in(classes) if classes else Any
    return checked


def _checked(hint: Any) -> Any:
    hint = _plainer(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(hint, arguments)
    if origin is Literal or hint is Any or hint is object:
        return Any if hint is object else hint
    if origin is Annotated:
        return Annotated[(_checked(arguments[0]), *hint.__metadata__)]
    kind = origin or hint
    if not isinstance(kind, type):
        return Any
    if kind in CONTAINERS:
        container: Any = kind
        inner = tuple(it if it is ... else _checked(it) for it in arguments)
        return container[inner] if inner else container
    if hint in NATIVE or kind in BY_ANNOTATION or issubclass(kind, Enum):
        return hint
    if kind is dt.datetime:
        return WITH_ZONE
    if typing.is_typeddict(kind):
        return dict[str, Any]
    return _stand_in((kind,))


def _union(hint: Any, members: tuple[Any, ...]) -> Any:
    checked = [_checked(member) for member in members]
    if Any in checked:
        return Any
    if any(isinstance(it, _StandIn) for it in checked):  # msgspec takes these alone, or beside None
        some = tuple(it for it in _classes(hint) if it is not type(None))
        stand_in = _stand_in(some)
        return Union[stand_in, None] if type(None) in _classes(hint) else stand_in  # noqa: UP007  (no class to `|`)
    return Union[tuple(checked)]  # noqa: UP007  (as many as there are)


def _plainer(hint: Any) -> Any:
    """Without the names that are given to types."""
    if hint is None:
        return type(None)
    if isinstance(hint, NewType):
        return _plainer(hint.__supertype__)
    if isinstance(hint, TypeVar):
        return _plainer(hint.__bound__) if hint.__bound__ is not None else Any
    if type(hint).__name__ == "TypeAliasType":  # `type X = ...`, from Python 3.12
        return _plainer(hint.__value__)
    return hint


def _classes(hint: Any) -> tuple[type[Any], ...]:
    """The classes that an annotation names at its top; none where one of them is unknown."""
    hint = _plainer(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        each = [_classes(member) for member in arguments]
        return tuple(dict.fromkeys(cls for classes in each for cls in classes)) if all(each) else ()
    if origin is Annotated:
        return _classes(arguments[0])
    if origin is Literal:
        return tuple(dict.fromkeys(type(it) for it in arguments))
    kind = origin or hint
    if not isinstance(kind, type):
        return ()
    if typing.is_typeddict(kind):
        return (dict,)
    return (float, int) if kind is float else (kind,)


def types_of_its_own(hint: Any) -> frozenset[type[Any]]:
    """The classes in an annotation whose values only such a field can bring back: sets, dates, enumerations."""
    hint = _plainer(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    found = [types_of_its_own(it) for it in arguments if origin is not Literal and it is not ...]
    kind: Any = origin or hint
    if isinstance(kind, type):
        if issubclass(kind, AbstractSet):
            found.append(frozenset([set, frozenset]))
        elif kind in BY_ANNOTATION or issubclass(kind, Enum):
            found.append(frozenset([kind]))
    return frozenset().union(*found)
