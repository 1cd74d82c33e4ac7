"""The benchmark of many assistants in one process."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "assistant.py"


def test_each_session_hears_all_that_is_said_and_the_shares_are_of_one_whole() -> None:
    command = [sys.executable, str(BENCHMARK), "--sessions=2", "--models=waits"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    (record,) = json.loads(ended.stdout)
    assert record["turns"] == 2 * 3
    assert 0 < record["vad_cpu_seconds"] < record["loop_cpu_seconds"]
    assert record["children_cpu_seconds"] == 0  # the models are waits
    assert 0.5 < record["share_ours"] < 1
    assert ended.stderr.count("|") > 20  # the table
