"""The register of behaviours is whole, what it names is there, and so is what the page for newcomers names."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
import trio

import trio_pipes
import trio_pipes.observers
import trio_pipes.testing
import trio_pipes.transports
import trio_pipes.voice
from trio_pipes.host import _observers as events

HERE = Path(__file__).parent
TESTS = HERE.parent
PAGE = TESTS.parent / "docs" / "coming-from-pipecat.md"

FILES = tomllib.loads((HERE / "register.toml").read_text())
LATER = {f"later: {topic}" for topic in FILES.pop("later")}
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
    if place in LATER:
        return None
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
    assert {place for *_, place in PLACES} >= LATER


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


# -- what the page says is here, is here

PLACES_OF_NAMES = (
    trio_pipes,
    trio_pipes.observers,
    trio_pipes.testing,
    trio_pipes.transports,
    trio_pipes.voice,
    builtins,
    trio,
    trio.to_thread,
)
HAVE_MEMBERS = [*(getattr(trio_pipes, name) for name in trio_pipes.__all__), trio_pipes.testing.Received]
HAVE_MEMBERS += [getattr(trio_pipes.voice, name) for name in trio_pipes.voice.__all__]
HAVE_MEMBERS += [getattr(trio_pipes.observers, name) for name in trio_pipes.observers.__all__]
# What code on the page is made of besides: keywords, and the names of things that are handed over.
WORDS = """
async await with nursery received trio trio_pipes voice transports frames pipes_clock on_
task runner worker result error_frame frame direction message timeout stuck usable arrival drop_oldest
"""


@cache
def names_here() -> frozenset[str]:
    """All names that a user can see: public ones, their members, their parameters, events."""
    names = {name for place in PLACES_OF_NAMES for name in dir(place)}
    names |= {*events.TASK_EVENTS, *events.RUNNER_EVENTS} | set(WORDS.split())
    for thing in HAVE_MEMBERS:
        names |= set(dir(thing)) | set(getattr(thing, "__annotations__", ()))
        if isinstance(thing, type) and not issubclass(thing, Exception):
            names |= set(inspect.signature(thing).parameters)
            for _, member in inspect.getmembers(thing, inspect.isfunction):
                names |= set(inspect.signature(member).parameters)
            names |= set(getattr(getattr(thing.__init__, "__code__", None), "co_names", ()))  # attributes that it sets
    return frozenset(names)


def told_as_here() -> list[str]:
    """The code in the last columns of the tables whose last heading begins with "here"."""
    found: list[str] = []
    inside = False
    for line in prose().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[-1].startswith("here"):
            inside = True
        elif inside:
            found += re.findall(r"`([^`]+)`", cells[-1])
    return found


def test_what_the_page_says_is_here_is_here() -> None:
    codes = told_as_here()
    assert len(codes) > 100
    unknown = {code: lost for code in codes if (lost := set(re.findall(r"[A-Za-z_]\w*", code)) - names_here())}
    assert unknown == {}


def test_the_defaults_that_the_page_gives_are_the_defaults() -> None:
    given = {code for code in told_as_here() if code.startswith("PipelineParams(")}
    for code in sorted(given):
        assert eval(code, dict(vars(trio_pipes))) == trio_pipes.PipelineParams(), code
