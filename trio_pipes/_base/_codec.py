"""Objects of listed classes as bytes, and back.

# How a message looks.
#
# Msgpack: an array of the class's tag, its version and a map of its fields by name. Nothing else says what to make: the tag is
# looked up among the classes that were listed with `@on_wire`, in this process, by its own code. An object in a field of
# another is an extension that holds the same array. UUIDs and Decimals are extensions too, so that they come back as what they
# were in a field that may hold anything.
#
# A new object is made by calling its class, so converters, validators and `__attrs_post_init__` have seen what came, after
# msgspec has compared it with the annotations. (msgspec could make attrs objects by itself, in half the time, past `__init__`:
# without converters, and with what `init=False` fields are meant to be made of missing.)
"""

from __future__ import annotations

import datetime as dt
import decimal
import threading
import uuid
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ._checks import check_classes, check_count, check_iterable
from ._errors import WireError
from ._listing import TAGS, Listed, find_class, find_tag
from ._shown import shown
from ._wire_limits import COUNTED_FROM, MAX_DEPTH, OBJECT, deeper_than, values_in
from ._wire_pack import Unfit, culprit, pack, unpack
from ._wire_plan import PLAIN, Plan, as_it_came

__all__ = ["Codec"]

CONTAINERS: Final = frozenset([list, tuple, dict, set, frozenset])
NO_TYPES: Final[frozenset[type[Any]]] = frozenset()
ENVELOPE: Final = msgspec.msgpack.Decoder(tuple[str, int, msgspec.Raw])
BUILTIN: Final = (bytes, dt.datetime, uuid.UUID, decimal.Decimal)


class _Level(threading.local):
    """How many objects deep the decoding in this thread is."""

    now = 0


class Codec:
    """Encodes and decodes objects of classes that have `@on_wire`. Does no I/O, keeps nothing of what it was given.

    `max_bytes` is the size of the largest message, and `max_values` how many values one may hold, in both directions; lists,
    dicts and objects are nested at most 64 deep. Classes in `allow`, and those derived from them, pass although their
    objects usually stay in their process, as an `EndFrame` does.
    """

    def __init__(
        self, max_bytes: int = 1_048_576, *, max_values: int = 100_000, allow: Iterable[type[Any]] = ()
    ) -> None:
        check_count("Codec(max_bytes", max_bytes, "a number of bytes, of at least 1")
        check_count("Codec(max_values", max_values)
        check_iterable("Codec(allow", allow, "classes")
        self.max_bytes = max_bytes
        self.max_values = max_values
        self._small = min(max_bytes, max_values, COUNTED_FROM)  # so few bytes are no more values
        self._allowed = check_classes("Codec(allow", tuple(allow), object, "classes")
        self._encode = msgspec.msgpack.Encoder().encode
        self._any_fields = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=self._extension)
        self._plans: dict[type[Any], Plan] = {}
        self._level = _Level()

    # -- to bytes

    def encode(self, obj: Any) -> bytes:
        """The message of an object.

        Raises `WireError`, which names the class's tag and the field, for what cannot be sent or is too large.
        """
        try:
            data = self._packed(obj, 0)
            if len(data) > self._small:
                self._check_size(data)
            return data
        except Unfit as unfit:
            listed = find_class(type(obj))
            tag = listed.tag if listed else None
            where = _short(unfit.where)
            what = ".".join(filter(None, [tag or type(obj).__qualname__, where]))
            text = f"{what} cannot be sent: {shown(unfit.why, 400)}"
            raise WireError(text, tag=tag, field=where or None) from unfit.__cause__

    def _packed(self, obj: Any, level: int) -> bytes:
        plan = self._plans.get(type(obj)) or self._plan_to_send(type(obj))
        try:
            fields = plan.fields_of(obj)
            if plan.besides is not None:
                plan.besides.take(obj, fields)
        except AttributeError as exc:
            raise Unfit(f"it is not complete: {exc}") from exc
        for name, value in fields.items():
            if type(value) not in PLAIN:
                fields[name] = self._pack_field(name, value, plan.types.get(name, NO_TYPES), level)
        try:
            return self._encode((plan.listed.tag, plan.listed.version, fields))
        except (OverflowError, ValueError, TypeError) as exc:
            raise self._culprit(fields) from exc

    def _pack_field(self, name: str, value: Any, types: frozenset[type[Any]], level: int) -> Any:
        try:
            return pack(value, types, level + 1, self._packed_inside)
        except Unfit as unfit:
            unfit.where = name + unfit.where
            raise
        except RecursionError as exc:
            raise Unfit("it is nested too deep", name) from exc

    def _packed_inside(self, obj: Any, level: int) -> bytes:
        try:
            return self._packed(obj, level)
        except Unfit as unfit:
            _say_inside(unfit, type(obj))
            raise

    def _culprit(self, fields: dict[str, Any]) -> Unfit:
        for name, value in fields.items():
            try:
                self._encode(value)
            except (OverflowError, ValueError, TypeError):
                unfit = culprit(value, self._encode)
                unfit.where = name + unfit.where
                return unfit
        raise AssertionError("each field can be encoded, and all of them together cannot")

    def _plan_to_send(self, cls: type[Any]) -> Plan:
        listed = find_class(cls)
        if listed is None:
            raise Unfit(
                f"its class {cls.__module__}.{cls.__qualname__} is not listed: write @on_wire('a.tag') on top of "
                f"@attrs.define"
            )
        return self._plan(listed)

    # -- from bytes

    def decode(self, data: bytes | bytearray | memoryview, peer: str = "a peer") -> Any:
        """A new object of a message that `peer` sent.

        Raises `WireError` and nothing else, which names the peer, the tag and the field, for whatever the bytes are: damaged,
        of an unknown class or version, of wrong types, refused by the class, too large.
        """
        try:
            if data.__class__ is not bytes or len(data) > self._small:
                data = self._checked(data)
            return self._opened(data)
        except Unfit as unfit:
            where = _short(unfit.where)
            what = ".".join(filter(None, [unfit.tag, where])) or "a message"
            text = f"{what} from {shown(peer)} cannot be read: {shown(unfit.why, 400)}"
            raise WireError(text, peer=peer, tag=unfit.tag, field=where or None) from unfit.__cause__

    def knows(self, tag: str) -> bool:
        """Whether a class with this tag is listed in this process."""
        return find_tag(tag) is not None

    def _checked(self, data: bytes | bytearray | memoryview) -> bytes:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise Unfit(f"it is {shown(data, 40)}, expected bytes")
        size = memoryview(data).nbytes
        if size > self.max_bytes:
            raise Unfit(f"it has {size:,} bytes, and at most {self.max_bytes:,} are taken")
        data = bytes(data)
        self._check_size(data)
        return data

    def _check_size(self, data: bytes) -> None:
        if len(data) > self.max_bytes:
            raise Unfit(f"it has {len(data):,} bytes, and at most {self.max_bytes:,} may be sent")
        if len(data) > self._small and values_in(data, self.max_values) > self.max_values:
            raise Unfit(f"it has more than {self.max_values:,} values in it")

    def _opened(self, data: bytes | bytearray | memoryview) -> Any:
        tag = None
        try:
            tag, version, body = ENVELOPE.decode(data)
            listed = TAGS.get(tag) or find_tag(tag)
            if listed is None:
                raise Unfit("no class has this tag here: the module that lists it is not imported, or knows it no more")
            plan = self._plans.get(listed.cls) or self._plan(listed)
            fields = plan.decoder.decode(body) if version == listed.version else self._upgraded(plan, version, body)
            for name, value in fields.items():
                if value.__class__ in CONTAINERS and deeper_than(value, MAX_DEPTH):
                    raise Unfit(f"it is nested more than {MAX_DEPTH} deep", name)
            return plan.make(fields)
        except Unfit as unfit:
            if tag is not None:
                unfit.tag = shown(tag, 100)
            raise
        except Exception as exc:
            # What the class's own code has raised, what msgspec found, nesting that used up the stack.
            why = _unfit_of(exc)
            why.tag = None if tag is None else shown(tag, 100)
            raise why from exc

    def _upgraded(self, plan: Plan, version: int, body: msgspec.Raw) -> dict[str, Any]:
        listed = plan.listed
        if not 0 < version < listed.version:
            raise Unfit(f"it is of version {version}, and this process knows {listed.version}")
        if listed.upgrade is None:
            raise Unfit(f"it is of version {version}, and nothing makes {listed.version} of that: on_wire(upgrade=...)")
        fields = listed.upgrade(self._any_fields.decode(body), version)
        checked: dict[str, Any] = msgspec.convert(fields, plan.checked, builtin_types=BUILTIN, dec_hook=as_it_came)
        return checked

    def _extension(self, code: int, data: memoryview) -> Any:
        if code != OBJECT:
            return unpack(code, data)
        level = self._level
        if level.now >= MAX_DEPTH:
            raise Unfit(f"it is nested more than {MAX_DEPTH} deep")
        level.now += 1
        try:
            return self._opened(data)
        except Unfit as unfit:
            unfit.where = f"…({unfit.tag}).{unfit.where}" if unfit.where else f"…({unfit.tag})"
            raise
        finally:
            level.now -= 1

    # -- both

    def _plan(self, listed: Listed) -> Plan:
        plan = Plan.of(listed, self._extension)
        if plan.why_local is not None and not issubclass(listed.cls, self._allowed):
            raise Unfit(f"it stays in its process: {plan.why_local}")
        self._plans[listed.cls] = plan
        return plan


def _short(where: str) -> str:
    """A place on one line, its beginning and its end."""
    return shown(where if len(where) <= 120 else f"{where[:60]}…{where[-59:]}", 120)


def _say_inside(unfit: Unfit, cls: type[Any]) -> None:
    """The place is in an object of this class, which is in a field of another."""
    listed = find_class(cls)
    if listed is not None:
        unfit.where = f"({listed.tag}).{unfit.where}" if unfit.where else f"({listed.tag})"


def _unfit_of(exc: Exception) -> Unfit:
    """What is wrong, in words of this library where the error is msgspec's."""
    if isinstance(exc, msgspec.ValidationError):
        why, _, where = str(exc).replace("`", "").partition(" - at ")
        if where.startswith("key in "):
            why, where = f"{why} for a key", where.removeprefix("key in ")
        return Unfit(why, where.removeprefix("$").removeprefix("."))
    if isinstance(exc, msgspec.MsgspecError):
        return Unfit(f"it is damaged: {exc}")
    if isinstance(exc, UnicodeDecodeError):
        return Unfit("it is damaged: a text in it is not UTF-8")
    if isinstance(exc, RecursionError):
        return Unfit("it is nested too deep")
    return Unfit(f"{type(exc).__name__}: {exc}")
