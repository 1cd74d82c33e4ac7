"""`import trio_pipes` stays light: what is heavy is imported when it is first used."""

from pathlib import Path

import import_cost


def test_import_is_light() -> None:
    cost = import_cost.judge()
    assert cost.heavy == []
    assert cost.is_within(), str(cost)


def test_the_measure_can_see_a_heavy_import(tmp_path: Path) -> None:
    seconds, _, heavy = import_cost.run_import("msgspec, trio", str(tmp_path))
    assert heavy == ["msgspec"]
    assert seconds > 0
