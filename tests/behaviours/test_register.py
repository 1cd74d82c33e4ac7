"""The register of behaviours is whole, and what it names is there."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
PAGE = TESTS.parent / "docs" / "coming-from-pipecat.md"

FILES = tomllib.loads((HERE / "register.toml").read_text())
LATER = FILES.pop("later")
LINES = 428  # in 29 files, as counted in the other's test suite
PLACES = [
    (file, line, place)
    for file, table in FILES.items()
    for line, places in table.items()
    if line != "lines"
    for place in ([places] if isinstance(places, str) else places)
]


@cache
def functions_of(path: Path) -> frozenset[str]:
    """The names of the test functions of a file."""
    return frozenset(
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


@cache
def prose() -> str:
    """The page without its blocks of code."""
    return re.sub(r"^(?P<fence> *`{3,}).*?^(?P=fence)", "", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


@cache
def headings() -> frozenset[str]:
    """The anchors of the page's headings, as Sphinx makes them."""
    found = re.findall(r"^#{1,3} +(.+)$", prose(), re.MULTILINE)
    return frozenset(re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in found)


def why_wrong(place: str) -> str | None:
    """What is wrong with a place where a behaviour is said to be shown."""
    if place.startswith("#"):
        return None if place[1:] in headings() else f"{PAGE.name} has no heading {place}"
    if place.startswith("later: "):
        return None if place.removeprefix("later: ") in LATER else f"{place!r} is no part that comes later"
    file, _, test = place.partition("::")
    if not (TESTS / file).is_file():
        return f"there is no file tests/{file}"
    return None if test in functions_of(TESTS / file) else f"tests/{file} has no {test}"


@pytest.mark.parametrize("file", FILES)
def test_every_line_of_a_file_is_there(file: str) -> None:
    table = FILES[file]
    lines = [line for line in table if line != "lines"]
    assert lines == ["all"] or (len(lines) == table["lines"] and "all" not in lines)
    assert all(table[line] for line in lines)


def test_every_file_is_there() -> None:
    assert (len(FILES), sum(table["lines"] for table in FILES.values())) == (29, LINES)


def test_what_shows_a_behaviour_exists() -> None:
    wrong = [f"{file}, {line}: {why}" for file, line, place in PLACES if (why := why_wrong(place))]
    assert wrong == []


def test_each_later_part_has_a_line() -> None:
    assert {place.removeprefix("later: ") for *_, place in PLACES if place.startswith("later: ")} == set(LATER)


@pytest.mark.parametrize(
    "place",
    ["#no-such-heading", "later: never", "flow/test_no.py::test_x", "behaviours/test_register.py::test_no", "pending"],
)
def test_a_wrong_place_is_told(place: str) -> None:
    assert why_wrong(place)


# -- the page tells of every name


NAMES = tomllib.loads((HERE / "names.toml").read_text())


@pytest.mark.parametrize("module", [module for module in NAMES if module != "version"])
def test_the_page_tells_of_every_name(module: str) -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", prose()))))
    assert sorted(set(NAMES[module]) - words) == []
