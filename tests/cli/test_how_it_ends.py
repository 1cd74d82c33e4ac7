"""Exit codes, signals, and what is shown while it runs."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from itertools import takewhile

import pytest

LISTENING = "from parts import *\ntask = PipelineTask(Pipeline([Listener()]), name='ear')\n"

# It takes a minute over its frame: an orderly end would wait for that.
STUCK = """
from parts import *

class Stuck(FrameProcessor):
    async def process_frame(self, frame, direction):
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.push_frame(TextFrame("work"))

class Worker(FrameProcessor):
    async def process_frame(self, frame, direction):
        if isinstance(frame, TextFrame):
            print("busy", flush=True)
            try:
                while task.state is not TaskState.ENDING:
                    await trio.sleep(0.01)
                print("goes on", flush=True)
                await trio.sleep(60)
            finally:
                print("cleaned up", flush=True)

task = PipelineTask(Pipeline([Stuck(), Worker()]))
"""

FAILING = """
from parts import *

@each
def spoil(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text + 1)

pipeline = Pipeline([Greeter(), spoil])
"""


def start_and_wait_for(files, text: str, said: str) -> subprocess.Popen[str]:
    files.write(text)
    process = files.start("run", "app.py", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == said + "\n"
    return process


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order(files, signum: int, code: int) -> None:
    with start_and_wait_for(files, LISTENING, "listening") as process:
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "ended in order\n"), err
    assert "Traceback" not in err


# No pipeline task in it that could tell which signal it was: the runner does.
OWN_WORKER = """
from parts import *

class Own:
    name = "own"

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        self.scope = trio.CancelScope()
        with self.scope:
            task_status.started()
            print("up", flush=True)
            await trio.sleep(60)

    def stop_when_done(self, reason=None):
        self.scope.cancel()

    cancel = stop_when_done

runner = PipelineRunner(Own())
"""


def test_a_signal_ends_a_runner_without_pipelines(files) -> None:
    with start_and_wait_for(files, OWN_WORKER, "up") as process:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_cancels(files, signum: int, code: int) -> None:
    with start_and_wait_for(files, STUCK, "busy") as process:
        process.send_signal(signum)
        assert process.stdout is not None
        assert process.stdout.readline() == "goes on\n", "the first one waits for the frame in hand"
        process.send_signal(signum)  # not before: two that come at once are one to the operating system
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "cleaned up\n"), err
    assert "Traceback" not in err


FUNCTION = """
import trio
async def main():
    try:
        print("up", flush=True)
        await trio.sleep(60)
    finally:
        print("cleaned up", flush=True)
"""

# Through a nursery Ctrl-C arrives in an exception group.
IN_A_NURSERY = (
    FUNCTION.replace("main", "_inner")
    + """
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_inner)
"""
)


@pytest.mark.parametrize("text", [FUNCTION, IN_A_NURSERY], ids=["alone", "in a nursery"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_function(files, text: str, signum: int, code: int) -> None:
    with start_and_wait_for(files, text, "up") as process:
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "cleaned up\n"), err
    assert "Traceback" not in err


# A script that says when it is importing, so that the signal meets it there.
def test_ctrl_c_while_the_file_is_imported(files) -> None:
    with start_and_wait_for(
        files, "import time\nprint('importing', flush=True)\ntime.sleep(60)\n", "importing"
    ) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_failure_is_told_readably(run_app) -> None:
    ended = run_app(FAILING)
    assert ended.returncode == 1
    told = ended.stderr
    assert "trio-pipes: the run failed: TypeError: can only concatenate str" in told
    assert "return TextFrame(frame.text + 1)" in told
    assert "spoil" in told  # from the note that names the processor
    assert told.count("Traceback") == 1
    assert "/trio/" not in told, "frames of the machinery"
    assert "/trio_pipes/flow/" not in told, "frames of the machinery"


def test_the_whole_traceback_on_request(files) -> None:
    files.write(FAILING)
    ended = files.run("run", "--traceback", "app.py")
    assert ended.returncode == 1
    assert "ExceptionGroup" in ended.stderr
    assert "/trio_pipes/" in ended.stderr


def test_several_errors_are_told_one_by_one(run_app) -> None:
    ended = run_app(
        "import trio\n"
        "async def fail(error):\n    try:\n        await trio.sleep(60)\n    finally:\n        raise error\n"
        "async def main():\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        nursery.start_soon(fail, KeyError('first'))\n"
        "        nursery.start_soon(fail, OSError('second'))\n"
        "        await trio.sleep(0)\n"
        "        nursery.cancel_scope.cancel()\n"
    )
    assert ended.returncode == 1
    assert "(1 of 2): " in ended.stderr
    assert "(2 of 2): " in ended.stderr
    assert "KeyError: 'first'" in ended.stderr
    assert "OSError: second" in ended.stderr


def test_a_function_may_choose_its_exit_code(run_app) -> None:
    ended = run_app("import sys\nasync def main(): sys.exit(5)\n")
    assert (ended.returncode, ended.stderr) == (5, ""), ended


# ---------------------------------------------------------------------------------------------------------- the status


def test_plain_lines_where_there_is_no_terminal(files) -> None:
    with start_and_wait_for(files, LISTENING, "listening") as process:
        assert process.stderr is not None
        lines = list(takewhile(lambda line: "running" not in line, iter(process.stderr.readline, "")))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    lines = [*map(str.rstrip, lines), *err.splitlines()]
    assert all(line.startswith("trio-pipes: ear: ") for line in lines), lines
    assert "\x1b" not in "".join(lines)
    states = [line.split()[2].rstrip(",") for line in lines]
    assert states[-1] == "ended"
    assert re.fullmatch(r"trio-pipes: ear: ended, 0 in, 0 out, 0 queued, 0:00:\d\d", lines[-1])
    assert out == "ended in order\n", "stdout is the pipeline's own"


def test_quiet(files) -> None:
    files.write("from parts import *\npipeline = Pipeline([Greeter(), show])\n")
    ended = files.run("run", "-q", "app.py", "there")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "hello there\n", "")


def read_terminal(terminal: int, until: str, patience: float = 30.0) -> str:
    """What comes out of a terminal until it has shown a text (a regular expression), or its other side is closed."""
    seen = ""
    give_up = time.monotonic() + patience
    while not re.search(until, seen) and time.monotonic() < give_up:
        ready, _, _ = select.select([terminal], [], [], 0.5)
        if ready:
            try:
                chunk = os.read(terminal, 4096)
            except OSError:  # Linux: nobody has the other side open any more
                break
            seen += chunk.decode()
    return seen


def test_a_live_line_on_a_terminal(files) -> None:
    files.write(LISTENING)
    terminal, other_side = pty.openpty()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, terminal)
        process = stack.enter_context(
            files.start("run", "app.py", stdin=other_side, stdout=other_side, stderr=other_side)
        )
        os.close(other_side)
        seen = read_terminal(terminal, r"(?s)0:00:00.*0:00:0[1-9]")  # it is written again and again
        os.kill(process.pid, signal.SIGINT)
        rest = read_terminal(terminal, "never shown")
        assert process.wait(timeout=30) == 130
    assert "listening" in seen
    assert "\x1b[" in seen, "the line is rewritten in place"
    assert "ear: running, 0 in, 0 out, 0 queued" in seen
    assert re.search(r"0:00:0[1-9]", seen)
    assert "ended in order" in rest
    last = [
        line for line in re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", rest).replace("\r", "\n").splitlines() if line.strip()
    ][-1]
    assert last.startswith("ear: ended, 0 in, 0 out, 0 queued"), rest
