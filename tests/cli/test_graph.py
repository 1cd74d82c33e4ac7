"""`trio-pipes graph FILE[:NAME]`."""

import os
import subprocess
from pathlib import Path

import pytest

TEXT = """from parts import *
class Reader(FrameProcessor): ...
bot = Pipeline([Reader("reader"), show])
"""
DRAWN = 'flowchart TB\n    n0["reader<br/>Reader"]\n'


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "import parts\n" + TEXT.replace("bot = Pipeline", "_bot = Pipeline") + "bot = PipelineTask(_bot)\n",
        TEXT.replace("bot = Pipeline", "_bot = Pipeline") + "bot = PipelineRunner(PipelineTask(_bot))\n",
    ],
    ids=["pipeline", "task", "runner"],
)
@pytest.mark.parametrize("target", ["app.py", "app.py:bot"])
def test_mermaid_on_stdout(files, text: str, target: str) -> None:
    files.write(text)
    ended = files.run("graph", target)
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert ended.stdout.startswith(DRAWN)


def test_from_left_to_right(files) -> None:
    files.write(TEXT)
    assert files.run("graph", "--direction", "LR", "app.py").stdout.startswith("flowchart LR\n")


def test_a_task_of_one_processor(files) -> None:
    files.write("from parts import *\ntask = PipelineTask(Listener('ear'))\n")
    assert files.run("graph", "app.py").stdout == 'flowchart TB\n    n0["ear<br/>Listener"]\n'


def test_svg_into_a_file(files) -> None:
    files.write(TEXT)
    ended = files.run("graph", "app.py", "--svg", "out.svg")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", ""), ended
    assert "reader" in (files.place / "out.svg").read_text()


BAD = {
    "no file": ("missing.py", [], ["'missing.py' does not exist"]),
    "nothing to draw": ("empty.py", [], ["defines nothing that can be drawn", "trio-pipes graph empty.py:NAME"]),
    "several": ("two.py", [], ["2 things that can be drawn", "a (Pipeline), b (PipelineTask)", "graph two.py:a"]),
    "a function": ("two.py:main", [], ["'main' in two.py is <function", "a Pipeline, PipelineTask or PipelineRunner"]),
    "several tasks": ("tasks.py", [], ["has 2 pipeline tasks: one, two; expected one"]),
    "no tasks": ("tasks.py:none", [], ["has 0 pipeline tasks; expected one"]),
    "a folder that is not there": ("one.py", ["--svg", "no/out.svg"], ["'no/out.svg' cannot be written"]),
}


@pytest.mark.parametrize(("target", "options", "told"), BAD.values(), ids=BAD)
def test_what_cannot_be_drawn(files, target: str, options: list[str], told: list[str]) -> None:
    files.write("async def main(): ...\n", "empty.py")
    files.write(TEXT, "one.py")
    files.write("from parts import *\na = Pipeline([show])\nb = PipelineTask(a)\nasync def main(): ...\n", "two.py")
    files.write(
        "from parts import *\n"
        "runner = PipelineRunner(*(PipelineTask(Pipeline([show]), name=name) for name in ('one', 'two')))\n"
        "_none = PipelineRunner()\nfrom empty import main\n"
        "def __getattr__(name): return _none\n",
        "tasks.py",
    )
    ended = files.run("graph", target, *options)
    assert (ended.returncode, ended.stdout) == (2, ""), ended
    for words in told:
        assert words in ended.stderr


def test_without_the_extra(files) -> None:
    files.write("raise ImportError\n", "pygraphviz.py")
    files.write("import sys\nsys.modules['pygraphviz'] = None\n" + TEXT)
    ended = files.run("graph", "app.py", "--svg", "out.svg")
    assert ended.returncode == 2
    assert "pip install 'trio-pipes[pictures]'" in ended.stderr


def test_graphviz_fails(files) -> None:
    files.write("raise ImportError('libgvc is broken')\n", "pygraphviz.py")
    files.environment["PYTHONPATH"] = os.pathsep.join([str(files.place), files.environment.get("PYTHONPATH", "")])
    files.write(TEXT)
    ended = files.run("graph", "app.py", "--svg", "out.svg")
    assert ended.returncode == 1
    assert "Graphviz could not draw" in ended.stderr
    assert not (files.place / "out.svg").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_stdout_that_cannot_be_written_to_is_said_in_one_line(files) -> None:
    files.write(TEXT)
    with Path("/dev/full").open("w") as full:
        ended = files.start("graph", "app.py", stdout=full, stderr=subprocess.PIPE)
        _, told = ended.communicate(timeout=60)
    assert ended.returncode == 2
    assert told == "trio-pipes: stdout cannot be written to: No space left on device\n"


@pytest.mark.parametrize("target", ["", ":pipeline"])
def test_a_target_without_a_file_is_refused(files, target: str) -> None:
    ended = files.run("graph", target)
    assert ended.returncode == 2
    assert f"{target!r} names no file: expected FILE or FILE:NAME" in ended.stderr
