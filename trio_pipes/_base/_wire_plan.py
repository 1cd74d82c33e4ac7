"""How the objects of one class are taken apart and made again, worked out once from its attrs fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NotRequired, Required, TypedDict

import attrs
import msgspec

from ._listing import BESIDES, LOCAL, Besides, Listed, by_class, left_out_of
from ._wire_types import checked_type, field_hints, types_of_its_own

__all__ = ["PLAIN", "Plan", "as_it_came"]

PLAIN: Final = frozenset([type(None), bool, int, float, str, bytes])
"""What msgspec sends and brings back by itself, wherever it stands."""

make_typed_dict: Any = TypedDict  # called, which type checkers take for a definition to be read
Hook = Callable[[int, memoryview], Any]


@attrs.frozen(eq=False)
class Plan:
    """The fields of a listed class, and what checks them."""

    listed: Listed
    fields_of: Callable[[Any], dict[str, Any]]
    """The fields of an object, by their names on the wire: those of the arguments that the class is made with."""
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
        left_out = left_out_of(listed.cls)
        # What an object is not made with is its own: the receiver's object makes it for itself.
        fields = [it for it in attrs.fields(listed.cls) if it.init and it.name not in left_out]
        hints = field_hints(listed.cls)
        types: dict[str, Any] = {}
        for field in fields:
            check = checked_type(hints.get(field.name, Any))
            types[str(field.alias)] = Required[check] if field.default is attrs.NOTHING else NotRequired[check]
        besides = by_class(BESIDES, listed.cls)
        if besides is not None:
            types.update({name: NotRequired[checked_type(it)] for name, it in besides.types.items()})
        checked: Any = make_typed_dict(listed.cls.__name__, types)
        return cls(
            listed=listed,
            fields_of=_taker({str(field.alias): field.name for field in fields}),
            types={str(it.alias): own for it in fields if (own := types_of_its_own(hints.get(it.name, Any)))},
            besides=besides,
            why_local=by_class(LOCAL, listed.cls),
            checked=checked,
            decoder=msgspec.msgpack.Decoder(checked, dec_hook=as_it_came, ext_hook=hook),
        )

    def make(self, fields: dict[str, Any]) -> Any:
        """A new object of fields that were checked, made as any object of the class is."""
        if self.besides is None or self.besides.types.keys().isdisjoint(fields):
            return self.listed.cls(**fields)
        rest = {name: fields.pop(name) for name in self.besides.types if name in fields}
        made = self.listed.cls(**fields)
        self.besides.give(made, rest)
        return made


def _taker(names: dict[str, str]) -> Callable[[Any], dict[str, Any]]:
    # Written out, as attrs writes `__init__`: half a microsecond less for each message.
    items = ", ".join(f"{alias!r}: obj.{attribute}" for alias, attribute in names.items())
    taker: Callable[[Any], dict[str, Any]] = eval(f"lambda obj: {{{items}}}")
    return taker


def as_it_came(_: type[Any], value: Any) -> Any:
    """For msgspec, which asks how to make a stand-in's value: it is made already, and msgspec checks its class."""
    return value
