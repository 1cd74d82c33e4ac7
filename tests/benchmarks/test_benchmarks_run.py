"""The benchmarks run and say what they should; how fast anything is, is not a test's business."""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import trio

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
TINY = {
    "n": 3,
    "frames": 40,
    "single": False,
    "count": 2,
    "backlog": 0,
    "inner": 1,
    "share": False,
    "rest": 0.0,
    "observe": "none",
    "metrics": False,
    "targeted": False,
    "carrier": "memory",
}


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("ours")


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("frames")


@pytest.mark.parametrize("kind", ["class", "inline", "sync", "block"])
@pytest.mark.parametrize("measurement", ["throughput", "stall", "latency", "lifecycle", "many"])
def test_measurement_of_each_kind(ours: ModuleType, measurement: str, kind: str) -> None:
    record = trio.run(ours.MEASUREMENTS[measurement], argparse.Namespace(**TINY, kind=kind))
    assert record["value"] > 0
    assert record["unit"]


@pytest.mark.parametrize(
    ("measurement", "changes"),
    [
        ("throughput", {"single": True}),
        ("throughput", {"observe": "pushes"}),
        ("throughput", {"observe": "both"}),
        ("throughput", {"kind": "measures"}),
        ("throughput", {"kind": "measures", "metrics": True}),
        ("per_hop", {"frames": 10}),
        ("construction", {"frames": 5000}),
        ("cancel", {}),
        ("interrupt", {}),
        ("interrupt", {"backlog": 70}),
        ("interrupt", {"backlog": 70, "kind": "inline"}),
        pytest.param("memory", {}, marks=pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")),
        pytest.param(
            "memory", {"share": True}, marks=pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
        ),
        ("bare_pairs", {}),
        ("bare_calls", {}),
        ("bus", {}),
        ("bus", {"targeted": True}),
        ("registry", {}),
        ("registry", {"carrier": "none"}),
    ],
)
def test_other_measurement(ours: ModuleType, measurement: str, changes: dict[str, object]) -> None:
    record = trio.run(ours.MEASUREMENTS[measurement], argparse.Namespace(**{**TINY, "kind": "class", **changes}))
    assert isinstance(record["value"], float | int)


def test_a_job_is_measured() -> None:
    command = [sys.executable, "-W", "error", str(BENCHMARKS / "jobs.py"), "--once", "--count=2"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["cpu_us"] > 0


def run(*arguments: str) -> tuple[dict[str, object], str]:
    command = [sys.executable, "-W", "error", str(BENCHMARKS / "frames.py"), "--runs=1", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), ended.stderr


def test_without_the_peer_it_says_so() -> None:
    record, table = run(
        "--rows=throughput", "--n=10", "--kinds=inline", "--frames=50", "--peer-python=", "--peer-scripts="
    )
    assert "Without the peer" in table
    assert "--peer-python" in table
    listed, single = record["results"]
    assert listed["ours"] > 0
    assert (listed["peer"], listed["ratio"]) == (None, None)
    assert listed["limit"] > 0
    assert [goal["reached"] for goal in single["goals"]] == [None]
    assert record["goals"]["not_measured"] == 2


PEER = """
import json, sys
if "--help" not in sys.argv:
    print("some other line")
    print(json.dumps({"value": 2.0, "max_loop_stall_ms": {"med": 3.0}, "window": "--window" in " ".join(sys.argv)}))
"""


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    for name in ("throughput", "cancel"):
        (tmp_path / f"pipecat_{name}.py").write_text(PEER)
    return tmp_path


def test_beside_a_peer(peer: Path) -> None:
    arguments = (f"--peer-python={sys.executable}", f"--peer-scripts={peer}")
    record, table = run("--rows=throughput,cancel", "--n=1", "--kinds=class", "--frames=50", "--scale=0.01", *arguments)
    listed, _, cancelled = record["results"]
    assert listed["ratio"] == pytest.approx(listed["ours"] / 2)
    assert listed["goals"] == [{"goal": ">= 25 x the peer", "reached": True}]
    assert cancelled["peer"] == 2
    assert table.count("| frames/CPU-s") == 2
    assert record["goals"]["not_measured"] == 0


def test_a_peer_that_cannot_be_is_told(frames: ModuleType, tmp_path: Path) -> None:
    assert "both" in frames.find_peer("python", None)
    assert "no pipecat_throughput.py" in frames.find_peer("python", str(tmp_path))
    (tmp_path / "pipecat_throughput.py").write_text("import there_is_no_such_peer")
    assert "there_is_no_such_peer" in frames.find_peer(sys.executable, str(tmp_path))


def test_goals_look_both_ways(frames: ModuleType) -> None:
    assert frames._is_reached(frames.ratio(40), 41.0)
    assert not frames._is_reached(frames.ratio(40), 39.0)
    assert frames._is_reached(frames.share(8), 1 / 9)
    assert frames._is_reached(frames.share(8), None) is None


def test_an_unknown_row_is_refused() -> None:
    command = [sys.executable, str(BENCHMARKS / "frames.py"), "--rows=speed"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert "throughput" in ended.stderr


@pytest.mark.server
def test_the_table_of_brokers() -> None:
    command = [sys.executable, str(BENCHMARKS / "brokers.py"), "--runs", "1", "--count", "20"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (row,) = json.loads(done.stdout)
    assert row["broker"] == "redis"
    assert all(row[what]["p50_us"] > 0 for what in ("bare", "bus", "job"))
    assert "goal: job < 3 x bare" in done.stderr
