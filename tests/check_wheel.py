"""Checks for `nox -s wheel`: what is in the built files, and that what was installed from them works.

`contents WHEEL SDIST` looks into the files; `bare` runs in an environment with the wheel and its dependencies only; `cli`
in one with the extra [cli] as well. No pytest here: the environment is meant to have nothing else.
"""

import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "trio-pipes")

PROGRAM = """
import trio
from trio_pipes import Pipeline, PipelineTask, TextFrame, each

@each
def shout(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text.upper())

async def main():
    task = PipelineTask(Pipeline([shout]))
    await task.queue_frame(TextFrame("hello"))
    task.stop_when_done()
    async with trio.open_nursery() as nursery, task.open_output(TextFrame) as frames:
        nursery.start_soon(task.run)
        async for frame in frames:
            print(frame.text)
"""


def contents(wheel: str, sdist: str) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    outside = [name for name in names if not name.startswith(("trio_pipes/", "trio_pipes-"))]
    assert not outside, f"the wheel would install these beside the package: {outside}"
    assert not [name for name in names if "test_" in name or name.endswith(".pyi")], names
    assert "trio_pipes/py.typed" in names
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        assert any(name.endswith(f"licenses/{licence}") for name in names), licence
    files = {str(path) for path in Path("trio_pipes").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert files <= set(names), files - set(names)

    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("pyproject.toml", "noxfile.py", "constraints.txt", "tests/conftest.py", "docs/conf.py", "README.md"):
        assert needed in files, f"{needed} is not in the sdist"
    assert not [name for name in files if name.startswith((".git/", ".nox", ".venv", "docs/_build"))]
    print(f"{len(names)} files in the wheel, {len(files)} in the sdist")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def bare() -> None:
    answer = run(sys.executable, "-W", "error", "-c", f"{PROGRAM}\ntrio.run(main)")
    assert (answer.returncode, answer.stdout) == (0, "HELLO\n"), answer
    answer = run(SCRIPT, "run", "some.py")
    assert answer.returncode == 2, answer
    assert "pip install" in answer.stderr, answer
    assert "trio-pipes[cli]" in answer.stderr, answer
    print("bare: a pipeline runs; the script names the line that installs the extra [cli]")


def cli() -> None:
    version = metadata.version("trio-pipes")
    answer = run(SCRIPT, "--version")
    assert (answer.returncode, answer.stdout.split()[-1]) == (0, version), answer
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "hello.py"
        file.write_text(PROGRAM)
        answer = run(SCRIPT, "run", f"{file}:main")
        assert (answer.returncode, answer.stdout) == (0, "HELLO\n"), answer
    print(f"cli: `trio-pipes run` works in version {version}")


if __name__ == "__main__":
    {"contents": contents, "bare": bare, "cli": cli}[sys.argv[1]](*sys.argv[2:])
