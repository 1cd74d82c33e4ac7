"""The pytest plugin, in a pytest of its own: its fixtures work on top of pytest-trio."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import trio_pipes.testing

TESTS = """
import time
import pytest
import trio
from trio_pipes import FrameProcessor, Pipeline, PipelineTask, TaskState, TextFrame, each

@each
def shout(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text.upper())

async def test_an_hour_takes_no_time(pipes_clock):
    began = time.perf_counter()
    await trio.sleep(3600)
    assert trio.current_time() == pytest.approx(3600)
    assert time.perf_counter() - began < 30

async def test_the_clock_is_held_while_a_thread_works_for_the_library(pipes_clock):
    from trio_pipes._base import outside
    with trio.fail_after(1), outside():
        await trio.to_thread.run_sync(time.sleep, 0.05)

async def test_recorder(pipes_clock, recorder):
    from trio_pipes.testing import run_processor
    await run_processor(recorder, [TextFrame("a")])
    assert [frame.text for frame in recorder.down] == ["a"]

async def test_running_workers(pipes_clock, running_workers):
    task = PipelineTask(Pipeline([shout]))
    async with running_workers(task), task.open_output(TextFrame) as frames:
        await task.queue_frame(TextFrame("a"))
        assert (await frames.receive()).text == "A"
    assert task.state is TaskState.ENDED
"""


def run_pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    # Installed, pytest finds the plugin by itself; from a checkout it has to be named.
    installed = any(point.value == "trio_pipes.testing._plugin" for point in entry_points(group="pytest11"))
    plugin = () if installed else ("-p", "trio_pipes.testing._plugin")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "trio_mode=true", *plugin, *args],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_k1_the_fixtures_work(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    (tmp_path / "test_it.py").write_text(TESTS)
    done = run_pytest(tmp_path)
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_the_fixtures_explain_themselves(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    (tmp_path / "test_it.py").write_text("def test_nothing(): pass\n")
    done = run_pytest(tmp_path, "--fixtures")
    for fixture in ("pipes_clock", "running_workers", "recorder"):
        assert fixture in done.stdout
        after = done.stdout.split(fixture, 1)[1]
        assert "no docstring available" not in after.splitlines()[1]


@pytest.mark.parametrize("name", trio_pipes.testing.__all__)
def test_the_kit_is_public(name) -> None:
    assert getattr(trio_pipes.testing, name).__doc__
