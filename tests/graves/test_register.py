"""The register: every grave has a test here, and the page in the docs says which."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "graveyard.md"

# What the core of frames, tasks and runners must make impossible. Another layer's come with their tests.
GRAVES = list(range(1, 40))


def named() -> dict[str, list[int]]:
    """Every test in this folder, and the graves that its name tells."""
    found: dict[str, list[int]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        if path != Path(__file__):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    assert node.name not in found, f"{node.name} stands twice"
                    found[node.name] = [int(number) for number in re.findall(r"(?:test|\d)_g(\d\d)(?=_)", node.name)]
    return found


def rows() -> dict[int, list[str]]:
    """The lines of the page: a grave, and the tests that are named there."""
    found: dict[int, list[str]] = {}
    for line in PAGE.read_text().splitlines():
        if row := re.fullmatch(r"\| G(\d+) \| .+ \| (.+) \|", line):
            assert int(row[1]) not in found, f"G{row[1]} stands twice"
            found[int(row[1])] = re.findall(r"`(\w+)`", row[2])
    return found


@pytest.mark.parametrize("grave", GRAVES)
def test_every_grave_has_a_test(grave: int) -> None:
    assert [name for name, graves in named().items() if grave in graves] != []


def test_every_test_says_which_grave_it_is_about() -> None:
    assert [name for name, graves in named().items() if not set(graves) & set(GRAVES)] == []


def test_the_page_has_every_grave_and_its_tests_are_there() -> None:
    there, told = named(), rows()
    assert sorted(told) == GRAVES
    for grave, names in told.items():
        assert names != [], f"G{grave} names no test"
        for name in names:
            assert grave in there.get(name, []), f"G{grave} is said to be shown by {name}"


def test_the_page_is_linked() -> None:
    assert "graveyard" in (PAGE.parent / "index.md").read_text().split()
