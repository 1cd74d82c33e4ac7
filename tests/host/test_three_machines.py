"""The example of three machines: in one process on the test clock, and as three programs over a Redis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_pipes import BridgedPipeline, MemoryBus, Pipeline, PipelineRunner, PipelineTask, TextFrame, each
from trio_pipes.voice import TranscriptionFrame

PROGRAMS = Path(__file__).parent.parent.parent / "docs" / "examples" / "three_machines"
# Another database than everybody's: the example's channel has one name, and databases do not hear each other.
REDIS = "redis://127.0.0.1:6379/13"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PROGRAMS))
    yield
    for name in ("_program", "_words", "answers", "dialogue", "front"):
        sys.modules.pop(name, None)


async def converse(lines: list[tuple[float, str]], *, answers_there: bool = True) -> list[tuple[float, str]]:
    """What is replied, and when; each line is said so many seconds after the one before."""
    from answers import Answers
    from dialogue import Dialogue
    from front import bridge

    replied: list[tuple[float, str]] = []

    @each
    def listen(frame: TextFrame) -> None:
        replied.append((trio.current_time(), frame.text))

    bus = MemoryBus()
    front = PipelineTask(Pipeline([bridge(), listen]), name="front")
    dialogue = PipelineTask(BridgedPipeline([Dialogue()]), name="dialogue")
    async with trio.open_nursery() as nursery:
        runners = [PipelineRunner(dialogue, bus=bus, handle_sigint=False)]
        if answers_there:
            runners.append(PipelineRunner(Answers("answers"), bus=bus, handle_sigint=False))
        runners.append(PipelineRunner(front, bus=bus, handle_sigint=False))
        for runner in runners:
            nursery.start_soon(runner.run)
            await runner.wait_ready("front" if runner is runners[-1] else "dialogue")
        for pause, line in lines:
            await trio.sleep(pause)
            await front.queue_frame(TranscriptionFrame(line))
        await trio.sleep(30)
        for runner in runners:
            runner.end()
    return replied


async def test_quick_answers_come_while_a_slow_one_is_on_its_way(autojump_clock: Any, programs: None) -> None:
    replied = await converse([(0, "How far away is the moon?"), (0.5, "are you there"), (0.5, "what?")])
    assert [(round(at, 1), text) for at, text in replied] == [
        (0, "I am searching the catalogue."),
        (0.5, "Yes, I am listening."),
        (1, "I did not understand."),
        (2, "I am searching the archive."),
        (4, "The moon is about 384 thousand kilometres away."),
    ]


async def test_never_mind_cancels_the_work_elsewhere(
    autojump_clock: Any, programs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    replied = await converse([(0, "how long is the longest river"), (1, "never mind")])
    assert [text for _, text in replied] == ["I am searching the catalogue.", "All right."]
    assert "not wanted any more: the river" in capsys.readouterr().out


async def test_without_the_third_machine_the_dialogue_says_so(autojump_clock: Any, programs: None) -> None:
    ((at, text),) = await converse([(0, "how long is the longest river")], answers_there=False)
    assert (round(at), text) == (20, "I cannot find out at the moment.")


@pytest.mark.server
def test_three_programs_over_a_redis() -> None:
    def start(name: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", str(PROGRAMS / name), REDIS, *arguments]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, **pipes)

    def until(process: subprocess.Popen[str], is_it: Callable[[str], bool]) -> list[str]:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if is_it(lines[-1]):
                return lines
        raise AssertionError(lines)

    answers, dialogue, front = start("answers.py"), start("dialogue.py"), start("front.py", "--text")
    try:
        assert front.stdin is not None
        until(dialogue, lambda line: line == "the front is ready")
        front.stdin.write("how high is the highest mountain\nhello\n")
        front.stdin.flush()
        said = until(front, lambda line: "Everest" in line)
        assert "assistant  Hello. Ask me something." in said
        for process in (front, dialogue, answers):  # the end of its input ends the front, and that the others
            assert process.communicate(timeout=20)[1] == ""
            assert process.returncode == 0
    finally:
        for process in (answers, dialogue, front):
            process.kill()
            process.communicate()
