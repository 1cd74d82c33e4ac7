"""The layer table of docs/layers.toml, which the architecture page shows, holds for every import there is."""

import tomllib
from graphlib import CycleError, TopologicalSorter

import pytest

from source_tree import MODULES, PUBLIC_MODULES, ROOT, Import, imports_of, room_of

MAY_IMPORT: dict[str, list[str]] = tomllib.loads((ROOT / "docs" / "layers.toml").read_text())
ROOMS = sorted({room_of(name) for name in MODULES} - {""})


def allowed(step: Import) -> bool:
    room, other = room_of(step.importer), room_of(step.target)
    if room in ("", other):
        return True  # the top __init__ shows everything; a room may know itself
    if "public" in MAY_IMPORT[room]:
        return step.written in PUBLIC_MODULES or other in MAY_IMPORT[room]
    return other in MAY_IMPORT[room]


def test_every_room_has_a_row_in_the_table() -> None:
    assert set(ROOMS) <= set(MAY_IMPORT)


def test_the_architecture_page_shows_this_table() -> None:
    assert "layers.toml" in (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down(room: str) -> None:
    steps = [step for name in MODULES if room_of(name) == room for step in imports_of(name)]
    assert [str(step) for step in steps if not allowed(step)] == []


# A cycle hidden under TYPE_CHECKING or in a function is one all the same: neither module can be understood alone.
# The top package apart, which shows names of all rooms, and a package's own `__init__`, which shows its modules' names.
def test_no_import_cycle_hidden_or_not() -> None:
    graph = {
        name: {step.target for step in imports_of(name) if step.target != "trio_pipes"} - {name}
        for name in MODULES
        if name != "trio_pipes"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " imports ".join(reversed(error.args[1])))


# The checks above would pass on an empty list; this shows that they can fail.
def test_the_walk_sees_hidden_imports(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    hidden = tmp_path / "_hidden.py"
    hidden.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from trio_pipes.host import _task\n"
        "def late():\n"
        "    from .. import voice\n"
        "    import trio_pipes.cli\n"
    )
    for name in ("trio_pipes.host", "trio_pipes.host._task", "trio_pipes.voice", "trio_pipes.cli"):
        monkeypatch.setitem(MODULES, name, hidden)
    monkeypatch.setitem(MODULES, "trio_pipes.flow._hidden", hidden)
    steps = list(imports_of("trio_pipes.flow._hidden"))
    assert {step.target for step in steps} == {"trio_pipes.host._task", "trio_pipes.voice", "trio_pipes.cli"}
    assert not any(allowed(step) for step in steps)
