"""A child process of ours: it answers, it dies loudly, and it is never left behind."""

import os
import signal
import textwrap
from pathlib import Path

import pytest
import trio

from trio_pipes import ConfigurationError
from trio_pipes.voice._child import open_child
from voice_kit import children

# Answers how long the payload was; some requests make it misbehave.
SCRIPT = """
    import json, os, struct, sys, time

    while len(header := sys.stdin.buffer.read(5)) == 5:
        request, length = struct.unpack("<cI", header)
        payload = sys.stdin.buffer.read(length)
        answer = {"length": length, "pid": os.getpid()}
        match request:
            case b"W":
                time.sleep(60)
            case b"X":
                sys.exit("I have had enough")
            case b"K":
                os.kill(os.getpid(), 9)
            case b"Q":
                os._exit(0)
            case b"H":
                sys.stdout.buffer.write(b"\\x10\\x00")
                sys.stdout.flush()
                os._exit(3)
            case b"U":
                answer = {"error": "that will not do"}
            case b"R":
                raise RuntimeError("a bug in the child")
        data = json.dumps(answer).encode()
        sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)
        sys.stdout.flush()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "child.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


async def test_it_answers_in_turn(script: Path) -> None:
    before = children()
    async with open_child(script, "the child") as child:
        assert children() - before == {child.pid}
        for length in (0, 1, 640, 1_000_000):
            assert (await child.ask(b"A", bytes(length)))["length"] == length
    assert children() == before


async def test_what_it_refuses_is_our_error(script: Path) -> None:
    async with open_child(script, "the child") as child:
        with pytest.raises(ConfigurationError, match="that will not do"):
            await child.ask(b"U")
        assert (await child.ask(b"A", b"go on"))["length"] == 5


# Its death is told with who, how and its last words.
@pytest.mark.parametrize(
    ("request_", "how"),
    [
        (b"X", r"the child \(process \d+\) died with exit code 1. It said:\nI have had enough"),
        (b"K", r"the child \(process \d+\) was killed by SIGKILL and said nothing"),
        (b"Q", r"died with exit code 0 and said nothing"),
        (b"H", r"died with exit code 3"),
        (b"R", r"(?s)died with exit code 1. It said:\nTraceback.*RuntimeError: a bug in the child"),
    ],
)
async def test_its_death_is_told(script: Path, request_: bytes, how: str) -> None:
    before = children()
    with trio.fail_after(10):
        with pytest.raises(trio.BrokenResourceError, match=how):
            async with open_child(script, "the child") as child:
                await child.ask(request_)
    assert children() == before


async def test_a_child_that_died_between_two_requests(script: Path) -> None:
    async with open_child(script, "the child") as child:
        os.kill(child.pid, signal.SIGKILL)
        with trio.fail_after(10), pytest.raises(trio.BrokenResourceError, match="SIGKILL"):
            await child.ask(b"A", bytes(10_000_000))


async def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with trio.fail_after(10), pytest.raises(trio.BrokenResourceError, match="can't open file"):
        async with open_child(tmp_path / "nowhere.py", "the child") as child:
            await child.ask(b"A")


async def _work(script: Path) -> None:
    async with open_child(script, "the child") as child:
        await child.ask(b"A", b"hello")
        await child.ask(b"W")


# Cancelled whenever: at once, while it starts, while it answers. (Real time: a process does not wait for a test's clock.)
@pytest.mark.parametrize("after", [0, 0.001, 0.01, 0.05, 0.2, 0.5])
async def test_a_cancel_leaves_no_process(script: Path, after: float) -> None:
    before = children()
    with trio.move_on_after(after) as scope:
        await _work(script)
    assert scope.cancelled_caught
    assert children() == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
async def test_an_error_in_the_block_leaves_no_process(script: Path, error: type[BaseException]) -> None:
    before = children()
    with pytest.raises(error):
        async with open_child(script, "the child"):
            raise error
    assert children() == before


# A request that was given up has an answer on its way: the next one would get it.
async def test_after_a_cancelled_request_it_cannot_be_asked(script: Path) -> None:
    async with open_child(script, "the child") as child:
        with trio.move_on_after(0.05):
            await child.ask(b"W")
        with pytest.raises(RuntimeError, match="given up"):
            await child.ask(b"A")


# A Ctrl-C in a terminal goes to a whole process group; the child is not in ours.
@pytest.mark.skipif(os.name != "posix", reason="process groups")
async def test_a_process_group_of_its_own(script: Path) -> None:
    async with open_child(script, "the child") as child:
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)


# When we are killed there is nobody to kill it: the end of its standard input ends it.
async def test_it_ends_with_its_input(script: Path) -> None:
    async with open_child(script, "the child") as child:
        await child.ask(b"A")
        await child.stdin.aclose()
        with trio.fail_after(10), pytest.raises(trio.ClosedResourceError):
            await child.ask(b"A")
        with trio.fail_after(10):
            assert not await child.stdout.receive_some()
