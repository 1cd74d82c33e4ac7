"""What `trio-pipes run FILE[:NAME]` runs, and what it says when it cannot."""

from pathlib import Path

import pytest

RUNNABLES = {
    "pipeline": "from parts import *\nbot = Pipeline([Greeter(), show])\n",
    "task": "from parts import *\nbot = PipelineTask(Pipeline([Greeter(), show]))\n",
    "runner": "from parts import *\nbot = PipelineRunner(PipelineTask(Pipeline([Greeter(), show])))\n",
    "function": "async def bot(*names):\n    print('hello', *names)\n",
}


@pytest.mark.parametrize("text", RUNNABLES.values(), ids=RUNNABLES)
@pytest.mark.parametrize("name", ["", "bot"], ids=["found", "named"])
def test_runs_and_passes_arguments(run_app, text: str, name: str) -> None:
    ended = run_app(text, "big", "--world", name=name)
    assert (ended.returncode, ended.stdout) == (0, "hello big --world\n"), ended


def test_the_example_of_the_docs(files) -> None:
    example = Path(__file__).parents[2] / "docs" / "examples" / "echo.py"
    ended = files.run("run", str(example), "world")
    assert (ended.returncode, ended.stdout) == (0, "hello world\n"), ended


def test_help_after_the_file_is_the_files(run_app) -> None:
    ended = run_app("async def main(*args): print(args)", "--help", "--", "-q")
    assert ended.stdout == "('--help', '--', '-q')\n"


def test_what_stands_below_main_does_not_run(run_app) -> None:
    ended = run_app("async def main(): print(__name__)\nif __name__ == '__main__':\n    print('twice')\n")
    assert ended.stdout == "app\n"


# A file may be called like a module that is in use already.
def test_a_file_called_trio(files) -> None:
    files.write("import trio\nasync def main():\n    await trio.sleep(0)\n    print('slept')\n", "sniffio.py")
    ended = files.run("run", "sniffio.py")
    assert (ended.returncode, ended.stdout) == (0, "slept\n"), ended


def test_imported_private_and_uncallable_things_are_not_found(files, run_app) -> None:
    text = "from other import theirs\nasync def _mine(): ...\nasync def needs(argument): ...\nasync def main(): print('main')\n"
    files.write("async def theirs(): ...\n", "other.py")
    ended = run_app(text)
    assert (ended.returncode, ended.stdout) == (0, "main\n"), ended


BAD = {
    "no runnable": ("x = 1\n", [], ["app.py defines nothing that can be run", "Pipeline", "async function"]),
    "two runnables": (
        "async def one(): ...\nasync def two(): ...\n",
        [],
        ["app.py defines 2 things", "one (async def one())", "two (async def two())", "trio-pipes run app.py:one"],
    ),
    "two kinds": (
        "from parts import *\npipeline = Pipeline([show])\ntask = PipelineTask(pipeline)\n",
        [],
        ["defines 2 things", "pipeline (Pipeline)", "task (PipelineTask)"],
    ),
    "arguments missing": ("async def main(name): ...\n", [], ["no arguments", "main (async def main(name))"]),
    "too many arguments": ("async def main(): ...\n", ["a", "b"], ["'a' 'b'", "async def main()"]),
    "not Python": ("This is some prose.\n", [], ["'app.py' is not Python, line 1", "name another file"]),
    "a zero byte": ("\0", [], ["'app.py' is not Python"]),
    "raises": ("def f():\n    1 / 0\nf()\n", [], ["raised ZeroDivisionError", 'app.py", line 2, in f', "only defines"]),
    "exits": ("import sys\nsys.exit(0)\n", [], ["raised SystemExit"]),
    "import fails": ("import nonsense_module\n", [], ["No module named 'nonsense_module'"]),
}


@pytest.mark.parametrize(("text", "args", "told"), BAD.values(), ids=BAD)
def test_bad_file(run_app, text: str, args: list[str], told: list[str]) -> None:
    ended = run_app(text, *args)
    assert (ended.returncode, ended.stdout) == (2, ""), ended
    for words in told:
        assert words in ended.stderr
    assert "_load.py" not in ended.stderr, "our own frames are no help"


NAMED = {
    "no such name": ("async def main(): ...\n", "mian", ["has no 'mian'", "main (async def main())"]),
    "a function": ("def main(): ...\n", "main", ["'main' in app.py is <function main", "async def"]),
    "a value": ("main = 3\n", "main", ["'main' in app.py is 3", "PipelineTask"]),
    "a coroutine function that needs more": (
        "async def main(a): ...\n",
        "main",
        ["it is async def main(a)", "no arguments"],
    ),
}


@pytest.mark.parametrize(("text", "name", "told"), NAMED.values(), ids=NAMED)
def test_bad_name(run_app, text: str, name: str, told: list[str]) -> None:
    ended = run_app(text, name=name)
    assert (ended.returncode, ended.stdout) == (2, ""), ended
    for words in told:
        assert words in ended.stderr


def test_an_imported_thing_runs_when_it_is_named(files) -> None:
    files.write("async def theirs(): print('theirs')\n", "other.py")
    files.write("from other import theirs\n")
    assert files.run("run", "app.py:theirs").stdout == "theirs\n"


def test_no_such_file(files) -> None:
    ended = files.run("run", "missing.py")
    assert ended.returncode == 2
    assert "'missing.py' does not exist: expected a Python file" in ended.stderr
    assert str(files.place) in ended.stderr


def test_a_folder_and_bytes_that_are_no_text(files) -> None:
    ended = files.run("run", ".")
    assert ended.returncode == 2
    assert "is a folder" in ended.stderr
    (files.place / "sound.wav").write_bytes(b"RIFF\x80\xff\x00WAVE")
    ended = files.run("run", "sound.wav")
    assert ended.returncode == 2
    assert "'sound.wav' is not Python" in ended.stderr


def test_usage(files) -> None:
    for args in (["run"], ["walk"], ["run", "--bogus", "app.py"]):
        assert files.run(*args).returncode == 2, args
    told = files.run("run", "--help")
    assert told.returncode == 0
    for words in ("trio-pipes run assistant.py:task", "Exit codes", "130 and 143", "--quiet"):
        assert words in told.stdout
    assert files.run("--version").stdout.strip().startswith("0.")
