"""The installed script, run as its users run it: in a process of its own."""

import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "trio-pipes")

# What the files under test share. `Greeter` ends its task by itself; `Listener` runs until it is stopped.
PARTS = """
import sys
import trio
from trio_pipes import EndFrame, EndTaskFrame, FrameProcessor, Pipeline, PipelineRunner, PipelineTask, StartFrame, TaskState, TextFrame, each

class Greeter(FrameProcessor):
    async def process_frame(self, frame, direction):
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.push_frame(TextFrame("hello " + " ".join(sys.argv[1:])))
            await self.push_frame(EndTaskFrame())

class Listener(FrameProcessor):
    async def process_frame(self, frame, direction):
        if isinstance(frame, StartFrame):
            print("listening", flush=True)
        elif isinstance(frame, EndFrame):
            print("ended in order", flush=True)
        await self.push_frame(frame, direction)

@each
def show(frame: TextFrame) -> None:
    print(frame.text, flush=True)
"""


class Files:
    """A folder of Python files, and the script in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "parts.py").write_text(PARTS)
        self.environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1"}

    def write(self, text: str, name: str = "app.py") -> Path:
        path = self.place / name
        path.write_text(text)
        return path

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *args],
            cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def start(self, *args: str, **options: object) -> subprocess.Popen[str]:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [SCRIPT, *args], cwd=self.place, env=self.environment, text=True, **options
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def run_app(files: Files) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Write `app.py` and run `trio-pipes run app.py ...`."""

    def run(text: str, *args: str, name: str = "") -> subprocess.CompletedProcess[str]:
        files.write(text)
        return files.run("run", f"app.py:{name}" if name else "app.py", *args)

    return run
