"""`trio-pipes run --timeline FILE`."""

import json
import os
import signal

import pytest

GREETER = "from parts import *\nbot = Pipeline([Greeter('greeter'), show])\n"


@pytest.mark.parametrize("option", [["--timeline", "out.html"], ["--timeline=out.html"]])
def test_a_page(files, option: list[str]) -> None:
    files.write(GREETER)
    ended = files.run("run", *option, "--quiet", "app.py", "you", "--timeline", "mine")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "hello you --timeline mine\n", ""), ended
    page = (files.place / "out.html").read_text()
    assert ">greeter<" in page
    assert '"what":"starting"' in page  # from the very beginning


@pytest.mark.parametrize(
    "text",
    [GREETER, GREETER + "bot = PipelineTask(bot)\n", GREETER + "bot = PipelineRunner(PipelineTask(bot))\n"],
    ids=["pipeline", "task", "runner"],
)
def test_a_trace(files, text: str) -> None:
    files.write(text)
    ended = files.run("run", "--timeline", "out.json", "app.py")
    assert ended.returncode == 0, ended
    events = json.loads((files.place / "out.json").read_text())["traceEvents"]
    assert "greeter" in [it["args"].get("name") for it in events]


def test_of_a_run_that_fails(files) -> None:
    files.write(GREETER + "@each\ndef fails(frame: TextFrame): 1 / 0\nbot = Pipeline([Greeter(), fails])\n")
    ended = files.run("run", "--timeline", "out.html", "app.py")
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
    assert "fails#0" in (files.place / "out.html").read_text()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_of_a_run_that_a_signal_ends(files, signum: signal.Signals) -> None:
    files.write("from parts import *\nbot = Pipeline([Listener('ear')])\n")
    with files.start("run", "--quiet", "--timeline", "out.html", "app.py", stdout=-1) as process:
        assert process.stdout.readline() == "listening\n"
        process.send_signal(signum)
        assert process.wait(30) == 128 + signum
    assert '"text":"ended"' in (files.place / "out.html").read_text()


BAD = {
    "another kind of file": (["--timeline", "out.txt"], ["out.txt", "ends in .html", ".json"]),
    "no kind": (["--timeline", "out"], ["expected a name that ends in .html"]),
    "no such folder": (["--timeline", "no/out.html"], ["no/out.html", "cannot be written there"]),
    "a folder": (["--timeline", "dir.html"], ["dir.html", "cannot be written there"]),
}


# Said before the run, not after it.
@pytest.mark.parametrize(("options", "told"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_be(files, options: list[str], told: list[str]) -> None:
    (files.place / "dir.html").mkdir()
    files.write(GREETER)
    ended = files.run("run", *options, "app.py")
    assert (ended.returncode, ended.stdout) == (2, ""), ended
    for words in told:
        assert words in ended.stderr


def test_an_async_function_makes_its_own(files) -> None:
    files.write("async def main(): print('ran')\n")
    ended = files.run("run", "--timeline", "out.html", "app.py")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "trio_pipes.observers.Timeline" in ended.stderr


def test_a_folder_that_goes_away_meanwhile(files) -> None:
    (files.place / "out").mkdir()
    files.write("import os\n" + GREETER + "os.rmdir('out')\n")
    ended = files.run("run", "--timeline", "out/out.html", "--quiet", "app.py")
    assert (ended.returncode, ended.stdout) == (1, "hello \n")
    assert "out/out.html could not be written: No such file or directory" in ended.stderr
