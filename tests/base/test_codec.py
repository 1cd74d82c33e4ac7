"""Objects as bytes, and back: what travels, what is refused, and in which words."""

import datetime as dt
import decimal
import math
import sys
import uuid
from collections.abc import Mapping, Sequence
from enum import Enum
from types import ModuleType
from typing import Any, Literal
from unittest.mock import Mock

import attrs
import msgspec
import pytest

from trio_pipes import Codec, ConfigurationError, WireError, on_wire


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@on_wire("test.box")
@attrs.define
class Box:
    payload: Any = None
    other: Any = None


@on_wire("test.typed")
@attrs.define
class Typed:
    number: int
    text: str = ""
    share: float = 0.0
    names: tuple[str, ...] = ()
    some: frozenset[int] = frozenset()
    colour: Colour = Colour.RED
    way: Literal["up", "down"] = "up"
    at: dt.datetime | None = None
    day: dt.date | None = None
    wait: dt.timedelta | None = None
    box: Box | None = None
    boxes: list[Box] = attrs.Factory(list)
    by_name: dict[str, Box] = attrs.Factory(dict)
    either: Box | int | None = None
    key: uuid.UUID | None = None
    price: decimal.Decimal | None = None
    several: Sequence[str] | None = None
    table: Mapping[str, int] | None = None


@on_wire("test.careful")
@attrs.define
class Careful:
    """Validates, converts, hides a name, and makes something for itself."""

    port: int = attrs.field(validator=attrs.validators.lt(65536))
    path: str = attrs.field(default="", converter=str.upper)
    _secret: str = ""
    made: list[str] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        if self.port < 0:
            raise KeyError(f"{self.port} is no port")
        self.made.append("here")


def there_and_back(obj: Any, codec: Codec | None = None) -> Any:
    codec = codec or Codec()
    return codec.decode(codec.encode(obj), peer="bob")


def message(tag: str, version: int, fields: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode((tag, version, fields))


# ------------------------------------------------------------------------------------------------------- what travels

NOON = dt.datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            False,
            0,
            -(2**63),
            2**64 - 1,
            1.5,
            -0.0,
            math.inf,
            "",
            "a\0b",
            "\N{GRINNING FACE}",
            b"",
            b"\0\xff",
        ),
        *([], {}, [1, "a", [b"b", [None]]], {"a": {"b": [1, 2, {"c": None}]}}, {1: "a", b"b": 2, None: 3, 2.5: 4}),
        *(uuid.UUID(int=7), decimal.Decimal("1.10"), decimal.Decimal("-Infinity"), NOON),
        *([uuid.UUID(int=7), {"a": decimal.Decimal(1), "b": [NOON]}], Box(1), [Box({"a": Box([Box(Box())])})]),
        {"a": (b"x" * 70_000)},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_value_of_a_field_that_takes_anything_comes_back(value: Any) -> None:
    back = there_and_back(Box(value)).payload
    assert back == value
    assert type(back) is type(value)


def test_what_comes_back_as_something_like_it() -> None:
    assert there_and_back(Box((1, (2, [3])))).payload == [1, [2, [3]]]
    assert there_and_back(Box(bytearray(b"a"), memoryview(b"bcd")[::2])) == Box(b"a", b"bd")
    back = there_and_back(Box(NOON)).payload
    assert back.utcoffset() == dt.timedelta(0)
    assert math.isnan(there_and_back(Box(math.nan)).payload)


def test_typed_fields_come_back_as_their_annotations_say() -> None:
    typed = Typed(
        number=1,
        text="a",
        share=3,
        names=("a", "b"),
        some=frozenset([1, 2]),
        colour=Colour.BLUE,
        way="down",
        at=NOON,
        day=NOON.date(),
        wait=dt.timedelta(seconds=1.5),
        box=Box({"a": 1}),
        boxes=[Box(1), Box(2)],
        by_name={"a": Box([Box()])},
        either=Box(3),
        key=uuid.UUID(int=9),
        price=decimal.Decimal("9.90"),
        several=("a",),
        table={"a": 1},
    )
    back = there_and_back(typed)
    assert back == attrs.evolve(typed, several=["a"])
    assert there_and_back(Typed(1)) == Typed(1)
    assert there_and_back(Typed(1, either=5)).either == 5


@on_wire("test.strings")
@attrs.define
class Strings:
    """With annotations that are strings, one of a name that the class has as well."""

    day: "dt.date | None" = None
    inner: list["Strings"] = attrs.Factory(list)
    Box: "Box | None" = None
    unknown: "NoSuchName" = 1  # type: ignore[name-defined]  # noqa: F821


def test_annotations_that_are_strings() -> None:
    sent = Strings(dt.date(2026, 1, 2), [Strings(None, [], Box(2))], None, {"any": "thing"})
    assert there_and_back(sent) == sent
    for wrong in (Strings(5), Strings(inner=[5]), Strings(Box=5)):  # type: ignore[arg-type,list-item]
        with pytest.raises(WireError, match=r"Expected .*, got int"):
            there_and_back(wrong)


def test_an_object_is_made_as_any_of_its_class() -> None:
    back = there_and_back(Careful(80, "a/b", secret="s"))
    assert (back.path, back._secret, back.made) == ("A/B", "s", ["here"])


def test_bytes_of_every_kind_are_read() -> None:
    data = Codec().encode(Box(b"abc"))
    assert [Codec().decode(kind(data)) for kind in (bytes, bytearray, memoryview)] == [Box(b"abc")] * 3


# ----------------------------------------------------------------------------------------------- what the sender is told


class Word(str):  # noqa: SLOT000  (as users write them)
    """A text of another class."""


@attrs.define
class Unlisted:
    pass


@pytest.mark.parametrize(
    ("value", "field", "why"),
    [
        (object(), "payload", "is of builtins.object, expected None, numbers"),
        ({"a": [1, 2, {3}]}, "payload['a'][2]", "is of builtins.set"),
        ([[Colour.RED]], "payload[0][0]", "Colour"),
        (Word("a"), "payload", "Word"),
        (Mock(spec=str), "payload", "Mock"),
        (1j, "payload", "complex"),
        (2**64, "payload", "more than 64 bits"),
        ({"a": [0, -(2**63) - 1]}, "payload['a'][1]", "more than 64 bits"),
        (["\ud800"], "payload[0]", "half a character"),
        ({"\ud800": 1}, "payload", "half a character"),
        ({(1, 2): 3}, "payload", "its key (1, 2) is of tuple"),
        ({"a": dt.datetime(2026, 1, 1)}, "payload['a']", "no time zone"),  # noqa: DTZ001  (the point)
        ([Unlisted()], "payload[0]", "Unlisted is not listed: write @on_wire"),
        ([Box([Box({"a": object()})])], "payload[0](test.box).payload[0](test.box).payload['a']", "builtins.object"),
        ([Box(2**64)], "payload[0](test.box).payload", "more than 64 bits"),
    ],
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_what_cannot_travel_is_told_with_its_place(value: Any, field: str, why: str) -> None:
    with pytest.raises(WireError) as caught:
        Codec().encode(Box(value))
    assert why in str(caught.value)
    assert str(caught.value).startswith(f"test.box.{field}")
    assert (caught.value.peer, caught.value.tag, caught.value.field) == (None, "test.box", field)


@pytest.mark.parametrize("thing", [3, "a", None, Unlisted(), Box, object()])
def test_only_objects_of_listed_classes_are_messages(thing: object) -> None:
    with pytest.raises(WireError, match="is not listed"):
        Codec().encode(thing)


def test_a_class_below_a_listed_one_is_not_listed() -> None:
    @attrs.define
    class Small(Box):
        pass

    with pytest.raises(WireError, match="Small is not listed"):
        Codec().encode(Small())


def test_an_object_that_is_not_complete() -> None:
    box = Box()
    del box.payload
    with pytest.raises(WireError, match="not complete"):
        Codec().encode(box)


def test_the_content_is_shortened_in_errors() -> None:
    with pytest.raises(WireError) as sent:
        Codec().encode(Box({"x" * 5000: Word("y" * 5000)}))
    with pytest.raises(WireError) as came:
        Codec().decode(message("test.typed", 1, {"number": 1, "colour": "z" * 5000}), peer="p" * 5000)
    assert max(len(str(sent.value)), len(str(came.value))) < 600


# --------------------------------------------------------------------------------------------- what the receiver is told


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({}, None, "missing required field number"),
        ({"number": "1"}, "number", "Expected int, got str"),
        ({"number": 2.0}, "number", "Expected int, got float"),
        ({"number": 1, "names": ["a", 2]}, "names[1]", "Expected str, got int"),
        ({"number": 1, "box": {"payload": 1}}, "box", "Expected Box, got dict"),
        ({"number": 1, "boxes": [{"payload": 1}]}, "boxes[0]", "Expected Box, got dict"),
        ({"number": 1, "by_name": {"a": 1}}, "by_name[...]", "Expected Box, got int"),
        ({"number": 1, "either": "a"}, "either", "Expected Box | int"),
        ({"number": 1, "colour": "green"}, "colour", "Invalid enum value 'green'"),
        ({"number": 1, "way": "left"}, "way", "Invalid enum value 'left'"),
        ({"number": 1, "key": "a"}, "key", "Expected UUID"),
        ({"number": 1, "at": "2026-01-01T00:00:00"}, "at", "timezone"),
    ],
    ids=repr,
)
def test_wrong_fields_are_refused_by_name(fields: dict[str, Any], field: str | None, why: str) -> None:
    with pytest.raises(WireError) as caught:
        Codec().decode(message("test.typed", 1, fields), peer="bob")
    assert why in str(caught.value)
    assert "from bob" in str(caught.value)
    assert (caught.value.peer, caught.value.tag, caught.value.field) == ("bob", "test.typed", field)


def test_what_the_class_refuses_is_a_wire_error() -> None:
    for port in (70_000, -1):
        with pytest.raises(WireError, match=r"test\.careful from bob cannot be read: (ValueError|KeyError)") as caught:
            Codec().decode(message("test.careful", 1, {"port": port}), peer="bob")
        assert isinstance(caught.value.__cause__, ValueError | KeyError)


def test_an_object_in_another_is_refused_with_both_tags() -> None:
    inner = msgspec.msgpack.Ext(1, message("test.typed", 1, {"number": "a"}))
    with pytest.raises(WireError, match=r"test\.box\.…\(test\.typed\)\.number from bob .* Expected int, got str"):
        Codec().decode(message("test.box", 1, {"payload": [inner]}), peer="bob")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "damaged"),
        (b"\xc1", "damaged"),
        (b"\x93\xa1a\x01", "damaged"),
        (message("test.box", 1, {}) + b"\x00", "trailing"),
        (msgspec.msgpack.encode(["test.box", 1]), "length 3"),
        (msgspec.msgpack.encode({"tag": "test.box"}), "Expected array"),
        (message("test.nobody", 1, {}), "no class has this tag here"),
        (message("os.system", 1, {}), "no class has this tag here"),
        (message("test.box", 2, {}), "it is of version 2, and this process knows 1"),
        (message("test.box", 0, {}), "it is of version 0"),
        (message("test.box", -1, {}), "it is of version -1"),
        (message("test.box", 1, {"payload": msgspec.msgpack.Ext(9, b"")}), "an extension 9"),
        (message("test.box", 1, {"payload": msgspec.msgpack.Ext(2, b"short")}), "no UUID"),
        (message("test.box", 1, {"payload": msgspec.msgpack.Ext(3, b"1.2.3")}), "no Decimal"),
        (message("test.box", 1, {"payload": msgspec.msgpack.Ext(1, b"")}), "damaged"),
        ("a text", "expected bytes"),
        (5, "expected bytes"),
        (None, "expected bytes"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_damaged_and_foreign_messages(data: Any, why: str) -> None:
    with pytest.raises(WireError, match="from bob cannot be read") as caught:
        Codec().decode(data, peer="bob")
    assert why in str(caught.value)


# --------------------------------------------------------------------------------------------------------------- limits


def test_size_is_limited_both_ways() -> None:
    small, large = Codec(max_bytes=100), Codec()
    small.encode(Box(b"x" * 60))
    with pytest.raises(WireError, match=r"test\.box cannot be sent: it has \d+ bytes, and at most 100"):
        small.encode(Box(b"x" * 100))
    with pytest.raises(WireError, match="from bob cannot be read: it has .* at most 100"):
        small.decode(large.encode(Box(b"x" * 100)), peer="bob")


def nested(levels: int, how: str) -> Any:
    value: Any = None
    for _ in range(levels):
        value = {"list": lambda v: [v], "dict": lambda v: {"a": v}, "object": Box}[how](value)
    return value


@pytest.mark.parametrize("how", ["list", "dict", "object"])
def test_depth_is_limited_both_ways(how: str) -> None:
    codec = Codec()
    assert there_and_back(Box(nested(64, how))) == Box(nested(64, how))
    for levels in (65, 5000):
        with pytest.raises(WireError, match="nested") as caught:
            codec.encode(Box(nested(levels, how)))
        assert len(str(caught.value)) < 600


def test_a_list_in_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(WireError, match="nested"):
        Codec().encode(Box(loop))


@pytest.mark.parametrize("levels", [66, 500, 100_000])
def test_deep_bytes_are_refused(levels: int) -> None:
    codec = Codec(max_values=1_000_000)
    head = message("test.box", 1, {"payload": None})[:-1]
    for opening in (b"\x91", b"\x81\xa1a"):
        with pytest.raises(WireError, match="nested"):
            codec.decode(head + opening * levels + b"\xc0", peer="bob")
    data = message("test.box", 1, {})
    for _ in range(min(levels, 500)):
        data = message("test.box", 1, {"payload": msgspec.msgpack.Ext(1, data)})
    with pytest.raises(WireError, match="nested"):
        codec.decode(data, peer="bob")


def test_a_length_that_is_not_there_takes_no_memory() -> None:
    head = message("test.box", 1, {"payload": None})[:-1]
    for claim in (
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\xdd\x7f\xff\xff\xff",
    ):
        with pytest.raises(WireError, match="damaged"):
            Codec().decode(head + claim, peer="bob")
        inner = msgspec.msgpack.Ext(1, head + claim)
        with pytest.raises(WireError, match="damaged"):
            Codec().decode(message("test.box", 1, {"payload": inner}), peer="bob")


def test_many_small_values_are_refused_before_they_are_made() -> None:
    codec = Codec(max_values=20_000)
    with pytest.raises(WireError, match="more than 20,000 values"):
        codec.encode(Box([[]] * 20_000))
    data = Codec().encode(Box([[]] * 20_000))
    with pytest.raises(WireError, match="more than 20,000 values"):
        codec.decode(data, peer="bob")
    assert Codec().decode(data) == Box([[]] * 20_000)
    codec.encode(Box(b"\x90" * 200_000))  # one value, whatever is in it
    # Also where they stand in an object, and behind one that claims to hold them.
    with pytest.raises(WireError, match="more than 20,000 values"):
        codec.decode(Codec().encode(Box([Box([[]] * 20_000)])))
    liar = msgspec.msgpack.Ext(1, b"\xc6\xff\xff\xff\xff")
    with pytest.raises(WireError, match="more than 20,000 values"):
        codec.decode(message("test.box", 1, {"unknown": liar, "payload": [[]] * 20_000}))


# --------------------------------------------------------------------------------------------------------------- changes


def renamed(tag: str, version: int = 1, upgrade: Any = None, **fields: Any) -> type[Any]:
    """A class that another peer has under this tag."""
    cls = attrs.make_class(f"V{version}", fields)
    on_wire(tag, version=version, upgrade=upgrade)(cls)
    return cls


def test_fields_of_a_newer_peer_are_ignored_and_those_of_an_older_one_have_defaults() -> None:
    assert Codec().decode(message("test.box", 1, {"payload": 1, "new": [1, {"a": 2}]})) == Box(1)
    assert Codec().decode(message("test.typed", 1, {"number": 1})) == Typed(1)


def _upgrade(fields: dict[str, Any], version: int) -> dict[str, Any]:
    if version < 2:
        fields["cents"] = round(fields.pop("euros") * 100)
    fields.setdefault("box", Box(version))
    return fields


@on_wire("test.price", version=3, upgrade=_upgrade)
@attrs.define
class Price:
    cents: int
    box: Box
    key: uuid.UUID | None = None
    data: bytes = b""


def test_older_versions_are_upgraded() -> None:
    old = {"euros": 1.5, "key": msgspec.msgpack.Ext(2, uuid.UUID(int=1).bytes), "data": b"\xff"}
    assert Codec().decode(message("test.price", 1, old)) == Price(150, Box(1), uuid.UUID(int=1), b"\xff")
    assert Codec().decode(message("test.price", 2, {"cents": 7})) == Price(7, Box(2))
    with pytest.raises(WireError, match="version 4, and this process knows 3"):
        Codec().decode(message("test.price", 4, {}))
    with pytest.raises(WireError, match="KeyError: 'euros'"):
        Codec().decode(message("test.price", 1, {}))
    with pytest.raises(WireError, match=r"test\.price\.cents .* Expected int, got str"):
        Codec().decode(message("test.price", 2, {"cents": "7"}))


def test_an_older_version_that_nothing_upgrades() -> None:
    renamed("test.newer", version=2, x=attrs.field(default=1))
    with pytest.raises(WireError, match=r"of version 1, and nothing makes 2 of that: on_wire\(upgrade=...\)"):
        Codec().decode(message("test.newer", 1, {}))


# --------------------------------------------------------------------------------------------------------------- listing


@pytest.mark.parametrize("tag", ["", "a b", "ä", "a" * 101, ".a", 5, None, b"a"])
def test_bad_tags(tag: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected up to 100 letters"):
        on_wire(tag)


@pytest.mark.parametrize("version", [0, -1, 1.0, True, None, "1"])
def test_bad_versions(version: Any) -> None:
    with pytest.raises(ConfigurationError, match="version"):
        on_wire("test.bad", version=version)


def test_bad_upgrades_and_classes() -> None:
    with pytest.raises(ConfigurationError, match="upgrade"):
        on_wire("test.bad", upgrade=5)  # type: ignore[arg-type]

    class Plain:
        pass

    class Below(Box):  # attrs has not seen it
        pass

    for thing in (Plain, Below, 5, Box()):
        with pytest.raises(ConfigurationError, match="expected a class made with attrs"):
            on_wire("test.bad")(thing)  # type: ignore[type-var]


def test_a_tag_belongs_to_one_class_and_a_class_has_one_tag() -> None:
    with pytest.raises(ConfigurationError, match="cannot have this tag, .*Box has it"):
        renamed("test.box")
    with pytest.raises(ConfigurationError, match=r"is listed already, as 'test\.box'"):
        on_wire("test.another")(Box)
    on_wire("test.box")(Box)


def test_a_module_that_is_reloaded_lists_its_classes_anew() -> None:
    source = "import attrs, trio_pipes\n@trio_pipes.on_wire('test.reloaded')\n@attrs.define\nclass R:\n    x: int = 1\n"
    module = ModuleType("reloaded")
    sys.modules["reloaded"] = module
    try:
        codec = Codec()
        exec(source, module.__dict__)
        old = module.R(5)
        data = codec.encode(old)
        exec(source.replace("x: int", "y: int = 2; x: int"), module.__dict__)
        assert type(codec.decode(data)) is module.R is not type(old)
        assert codec.decode(data).y == 2
        assert codec.encode(old) == data
    finally:
        del sys.modules["reloaded"]


@pytest.mark.parametrize(
    "wrong", [{"max_bytes": 0}, {"max_bytes": None}, {"max_values": 1.5}, {"allow": 5}, {"allow": [5]}, {"allow": "a"}]
)
def test_bad_codecs(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"Codec\("):
        Codec(**wrong)
