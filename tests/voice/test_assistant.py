"""The voice assistant of docs/examples: its dialogue, and whole conversations with the real models."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

from trio_pipes import Pipeline, PipelineTask, TextFrame
from trio_pipes.testing import run_processor
from trio_pipes.transports import read_wav_format
from trio_pipes.voice import Heard, TranscriptionFrame, UserTurns
from turns_kit import talk
from voice_kit import RATE, children
from wav_files import tone, wav_bytes, write_wav

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples import each other as scripts do."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return


# ----------------------------------------------------------------------------------------------------------- dialogue


def test_every_sentence_has_one_meaning() -> None:
    from assistant._sentences import COMMANDS, PATTERNS, Command, expand

    assert len(COMMANDS) == sum(len(list(expand(pattern))) for patterns in PATTERNS.values() for pattern in patterns)
    assert COMMANDS["please switch the living room lights off"] == Command(
        "light", {"room": "living room", "switch": "off"}
    )
    assert COMMANDS["set a timer for five minutes"] == Command("set timer", {"number": "five", "unit": "minute"})
    assert COMMANDS["set a timer for one hour please"] == Command("set timer", {"unit": "hour"})
    assert COMMANDS["what's the time"] == Command("time")


async def answers(*said: str | tuple[str, float]) -> list[str]:
    from assistant._dialogue import Dialogue

    frames = [TranscriptionFrame(*(text if isinstance(text, tuple) else (text,))) for text in said]
    dialogue = Dialogue(lambda: datetime(2026, 11, 21, 15, 7))  # noqa: DTZ001  (the time on the wall)
    received = await run_processor(dialogue, frames)
    return [frame.text for frame in received.down if isinstance(frame, TextFrame)]


async def test_lights_and_time(pipes_clock: trio.abc.Clock) -> None:
    assert await answers("which lights are on", "turn on the hall light", "please turn the kitchen light on") == [
        "All the lights are off.",
        "The hall light is on.",
        "The kitchen light is on.",
    ]
    said = ["turn on all the lights", "turn off the office light", "which lights are on", "what time is it"]
    assert await answers(*said) == [
        "All the lights are on.",
        "The office light is off.",
        "The light is on in the kitchen and the bedroom and the living room and the hall.",
        "It is 15 07.",
    ]


# Words of its own in another order, half a sentence, a sentence that it is not sure of: it says so and does nothing.
async def test_what_is_not_understood(pipes_clock: trio.abc.Clock) -> None:
    said = [
        ("turn on the hall light", 0.9),
        "turn on the",
        "light hall the on turn",
        "",
        ("set a timer for ten minutes", 0.0),
    ]
    assert await answers(*said, "which lights are on", "how much time is left") == [
        *["I did not understand."] * 5,
        "All the lights are off.",
        "There is no timer.",
    ]


async def test_timers(pipes_clock: trio.abc.Clock) -> None:
    from assistant._dialogue import Dialogue

    dialogue = Dialogue()
    task = PipelineTask(Pipeline([dialogue]))
    said: list[tuple[float, str]] = []
    async with trio.open_nursery() as nursery, task.open_output(TextFrame) as output:
        await nursery.start(task.run)
        start = trio.current_time()
        for text in ("set a timer for ten minutes", "set a timer for two hours", "cancel the timer"):
            await task.queue_frame(TranscriptionFrame(text))
        await trio.sleep(100)
        await task.queue_frame(TranscriptionFrame("how long is left"))
        await trio.sleep(3600 * 3)
        task.stop_when_done()
        async for frame in output:
            said.append((trio.current_time() - start, frame.text))
    assert [text for _, text in said] == [
        "A timer for ten minutes.",
        "A timer for two hours.",
        "The timer for two hours is cancelled.",
        "8 minutes and 20 seconds.",
        "Your timer for ten minutes is over.",
    ]
    assert dialogue.timers == []


# The end does not wait for a timer, and a timer does not outlive it.
async def test_a_timer_that_runs_at_the_end(pipes_clock: trio.abc.Clock) -> None:
    start = trio.current_time()
    assert await answers("set a timer for ten minutes") == ["A timer for ten minutes."]
    assert trio.current_time() == start


# -------------------------------------------------------------------------------------------------------------- turns


@pytest.mark.parametrize(
    ("sentences", "patience"),
    [
        (["turn on the kitchen light"], 0.0),
        (["turn on the", "kitchen light"], 0.0),
        (["set a timer for"], 1.2),
        (["please"], 1.2),
        (["turn on the kitchen"], 1.2),
        # A whole command, and a beginning of one that means something else.
        (["stop"], 1.2),
        # More of it is only politeness.
        (["cancel the timer"], 0.0),
        (["on kitchen the"], 0.6),
        ([""], 0.6),
    ],
)
async def test_how_long_the_assistant_waits_for_more(
    pipes_clock: trio.abc.Clock, sentences: list[str], patience: float
) -> None:
    from assistant._turns import Patience

    said = " .05 ".join(f"S 1 E T:{sentence.replace(' ', '_')}" for sentence in sentences)
    talked = await talk(f"{said} 3", UserTurns(stop=[Patience()]))
    ((over,), spoken) = talked.times("over"), talked.times("E")
    assert over - spoken[-1] == pytest.approx(patience)


# A pause in the middle of a command: it is one turn, and understood.
def test_a_pause_within_a_command(tmp_path: Path) -> None:
    outcome, lines = converse_with_standins(
        tmp_path, ["turn on the", "hall light"], tone(1, RATE), bytes(RATE), tone(1, RATE)
    )
    assert [turn.text for turn in outcome.conversation.turns] == ["turn on the hall light"]
    assert any("The hall light is on." in line for line in lines)


# Eight seconds after the answer, and again; then it waits without a word.
def test_who_says_nothing_is_asked(tmp_path: Path) -> None:
    _, lines = converse_with_standins(tmp_path, ["which lights are on"], tone(1, RATE), bytes(RATE * 2 * 40))
    assert [line.split("  ")[-1].strip() for line in lines if "assistant" in line] == [
        "All the lights are off.",
        "Are you still there?",
        "I am here when you need me.",
    ]


def converse_with_standins(folder: Path, heard: list[str], *sound: bytes) -> tuple[Any, list[str]]:
    from assistant._run import Models, converse, run_paced
    from assistant._standins import LoudnessVad, WaitingRecogniser, WaitingVoice

    lines: list[str] = []
    wav = write_wav(folder / "in.wav", b"".join([bytes(RATE), *sound, bytes(RATE * 4)]))
    models = Models(LoudnessVad, WaitingRecogniser([Heard(text, 1.0) for text in heard]), WaitingVoice())
    return run_paced("fast", converse, wav, folder / "out.wav", lines.append, models), lines


def test_word_errors() -> None:
    from assistant._words import word_errors

    assert word_errors("turn on the light", "turn on the light") == 0
    assert word_errors("turn on the light", "") == 4
    assert word_errors("turn on the light", "please turn the lights") == 3
    assert word_errors("", "hello") == 1


# ------------------------------------------------------------------------------------------------ whole conversations


# The script, as `nox -s demo` plays it: heard right, each sentence a turn, one reply cut off, a timer that goes off.
def test_the_script(tmp_path: Path) -> None:
    from assistant._check import hold
    from assistant._dialogue import NOT_UNDERSTOOD
    from assistant._script import SCRIPT

    before = children()
    _, found, outcome = hold(SCRIPT, "en-us", tmp_path)
    assert [len(turns) for _, turns in found] == [1] * len(SCRIPT)
    assert [turns[0].text for line, turns in found if line.understood] == [
        line.text for line in SCRIPT if line.understood
    ]
    assert [turns[0].reply != NOT_UNDERSTOOD for _, turns in found] == [line.understood for line in SCRIPT]
    assert outcome.conversation.interruptions >= 1
    assert [timer.name for timer in outcome.dialogue.timers] == ["five minutes"]  # the other one went off
    assert not any(outcome.dialogue.lights.values())
    assert children() == before
    # A clock that skips the waits keeps the times: the answer comes 0.3 s of silence after the sentence, and the
    # sound that is played lasts as long as the conversation.
    latencies = [turn.over_at - turn.stopped_at for _, (turn,) in found]
    assert min(latencies) > 0.3
    assert 60 < read_wav_format(tmp_path / "answered.wav").seconds < 90


# A person (tests/voice/data/LICENCE.txt) says to an assistant for lights what it does not know.
def test_a_foreign_recording(tmp_path: Path) -> None:
    from assistant._dialogue import NOT_UNDERSTOOD
    from assistant._run import Models, converse, run_paced

    recording = Path(__file__).parent / "data" / "go_forward_ten_meters.wav"
    outcome = run_paced("fast", converse, recording, tmp_path / "out.wav", print, Models())
    assert [turn.reply for turn in outcome.conversation.turns] == [NOT_UNDERSTOOD]
    assert outcome.dialogue.switched == 0


# ------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import voice_assistant

    return voice_assistant


BAD = {
    "empty.wav": (b"", "an empty file"),
    "truncated.wav": (wav_bytes(tone(1, 16_000))[:-1000], "a truncated file"),
    "deep.wav": (wav_bytes(bytes(4800), bits=24), "24-bit samples"),
    "text.wav": (b"To be, or not to be", "no WAV"),
    "missing.wav": (None, "No such file"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_bad_input_is_exit_code_2(
    main: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    check: list[str],
) -> None:
    content, found = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["voice_assistant.py", *check, str(tmp_path / name)])
    assert main.main() == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("voice_assistant: ")
    assert name in printed.err
    assert found in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_timeline(main: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Path(__file__).parent / "data" / "go_forward_ten_meters.wav"
    page = tmp_path / "page.html"
    files = ["--out", str(tmp_path / "out.wav"), "--timeline", str(page), str(recording)]
    monkeypatch.setattr(sys, "argv", ["voice_assistant.py", *files])
    assert main.main() == 0
    written = page.read_text()
    assert "silence, until the end was noticed, by VoiceActivity" in written
    assert "I did not understand." in written


def test_a_timeline_that_cannot_be_written(
    main: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["voice_assistant.py", "--timeline", "no/page.html"])
    assert main.main() == 2
    assert "no/page.html: there is no folder no" in capsys.readouterr().err


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / "voice_assistant.py"), "--pace", "real", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def read_until(program: subprocess.Popen[str], pattern: str) -> str:
    """What it prints, to the first line that matches."""
    assert program.stdout is not None
    printed = ""
    for line in program.stdout:
        printed += line
        if re.search(pattern, line):
            return printed
    raise AssertionError(f"it ended without {pattern!r}:\n{printed}")


def group_members(leader: int) -> list[str]:
    """Processes of ours that run the scripts of the voice package and were started since."""
    return [
        command
        for process in Path("/proc").iterdir()
        if process.name.isdigit()
        and (command := _command(process))
        and "_child.py" in command
        and _started_by(process) in (leader, 1)
    ]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _started_by(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


# Ctrl-C in mid-sentence: the sentence is heard to its end and answered, then it ends by itself.
def test_one_ctrl_c_ends_after_the_sentence(tmp_path: Path) -> None:
    with start(folder=tmp_path) as program:
        printed = read_until(program, r"user +\.\.\.$")
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to the whole group
        rest, _ = program.communicate(timeout=30)
    assert program.returncode == 130
    assert '"hello"' not in printed
    assert '"hello"' in rest
    assert "What can I do for you?" in rest
    assert "turn on" not in rest
    assert "latency" in rest
    assert read_wav_format(tmp_path / "assistant.wav").seconds > 2.5  # the answer was played
    assert "Traceback" not in rest
    assert group_members(program.pid) == []


def wait_until_taken(process: int, signum: signal.Signals) -> None:
    """Until a signal does not wait any more: a second one of its kind that waited with it would be the same one."""
    mask = 1 << (signum - 1)
    status = Path(f"/proc/{process}/status")
    while any(
        int(line.split()[1], 16) & mask
        for line in status.read_text().splitlines()
        if line.startswith(("SigPnd:", "ShdPnd:"))
    ):
        trio.run(trio.sleep, 0.01)
    trio.run(trio.sleep, 0.1)  # for Python, which is told of it


# It does not hear the sentence to its end, nor answer it.
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for signals in /proc")
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(tmp_path: Path, second: signal.Signals) -> None:
    with start(folder=tmp_path) as program:
        read_until(program, r"user +\.\.\.$")
        os.killpg(program.pid, signal.SIGINT)
        wait_until_taken(program.pid, signal.SIGINT)
        os.killpg(program.pid, second)
        rest, _ = program.communicate(timeout=30)
    assert program.returncode == 128 + second
    assert '"hello"' not in rest
    assert "What can I do for you?" not in rest
    assert "Traceback" not in rest
    assert group_members(program.pid) == []


# A program that is killed cleans nothing up: its child sees the end of its input, and ends too.
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_kill_leaves_no_process(tmp_path: Path) -> None:
    with start(folder=tmp_path) as program:
        read_until(program, r"user +\.\.\.$")
        assert len(group_members(program.pid)) == 1
        program.kill()
    deadline = time.monotonic() + 30
    while group_members(program.pid) and time.monotonic() < deadline:
        trio.run(trio.sleep, 0.05)
    assert group_members(program.pid) == []
